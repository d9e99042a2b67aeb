//! A directory for one test's store, and copies of it: what the tests of the library and of the
//! binary share.

use ringfort_host::door;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Removed when dropped.
pub struct Dir(PathBuf);

impl Dir {
    pub fn new() -> Self {
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!(
            "ringfort-{}-{}-{nth}",
            env!("CARGO_CRATE_NAME"),
            std::process::id()
        ));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    #[allow(dead_code, reason = "each test binary uses its part")]
    pub fn root(&self) -> &Path {
        &self.0
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Copies `from` to `to`, both names in this directory; what `to` was goes.
    pub fn copy(&self, from: &str, to: &str) {
        let _ = fs::remove_dir_all(self.path(to));
        copy(&self.path(from), &self.path(to)).unwrap();
    }

    /// As [`Dir::copy`], of a directory in use: one moment of it, as a snapshot of the disk would be.
    pub fn copy_live(&self, from: &str, to: &str) {
        for _ in 0..500 {
            let _ = fs::remove_dir_all(self.path(to));
            let before = contents(&self.path(from));
            let copied = copy(&self.path(from), &self.path(to)).is_ok();
            if copied && contents(&self.path(from)) == before {
                return;
            }
            door::sleep(Duration::from_millis(10));
        }
        panic!("{from} never stood still");
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Every path below `root`, with the bytes of files.
pub fn contents(root: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path.clone());
                found.push((path, None));
            } else {
                // A file of a store in use may go meanwhile.
                let bytes = fs::read(&path).unwrap_or_default();
                found.push((path, Some(bytes)));
            }
        }
    }
    found.sort();
    found
}
