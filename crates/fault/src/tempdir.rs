//! A directory of one's own that is gone afterwards.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A new directory under the system's temporary one, removed with all it holds on drop.
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl TempDir {
    /// Creates it; `label` makes it recognisable to people.
    pub fn new(label: &str) -> io::Result<Self> {
        loop {
            let nth = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("ringfort-{label}-{}-{nth}", std::process::id());
            let path = std::env::temp_dir().join(name);
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                // Left over by an earlier process with the same number.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // Best effort: a test that removed or locked it has its own say.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::TempDir;

    #[test]
    fn each_is_new_and_goes_away() {
        let (one, two) = (TempDir::new("t").unwrap(), TempDir::new("t").unwrap());
        assert_ne!(one.path(), two.path());
        let path = one.path().to_owned();
        std::fs::write(path.join("x"), "x").unwrap();
        drop(one);
        assert!(!path.exists() && two.path().exists());
    }
}
