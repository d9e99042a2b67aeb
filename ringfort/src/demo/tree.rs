//! Directories as wholes: copies of them, and whether one is still what it was.

use ringfort_host::door;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Files at least this large are linked instead of copied. The attacks replace files and never
/// change bytes in place, and a store never reopens a file for writing (R13).
const LINK_BYTES_MIN: u64 = 64 << 10;

/// A copy that shares large files with its original, where the file system can.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    each_file(from, to, |from, to, len| {
        if len >= LINK_BYTES_MIN && fs::hard_link(from, to).is_ok() {
            Ok(())
        } else {
            fs::copy(from, to).map(drop)
        }
    })
}

/// A copy that shares nothing.
pub(crate) fn copy_apart(from: &Path, to: &Path) -> Result<()> {
    each_file(from, to, |from, to, _| fs::copy(from, to).map(drop))
}

/// As [`copy_apart`], of a directory that a server works in: one moment of it, as a snapshot of the
/// disk would be. Tried again while files come, go or change.
pub(crate) fn copy_live(from: &Path, to: &Path) -> Result<()> {
    const ATTEMPTS: usize = 200;
    let mut last = Error::other("it never stood still");
    for _ in 0..ATTEMPTS {
        let copied = fingerprint(from).and_then(|before| {
            copy_apart(from, to)?;
            Ok(fingerprint(from)? == before)
        });
        match copied {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            // A file that was there a moment ago was deleted.
            Err(e) if e.kind() == ErrorKind::NotFound => last = e,
            Err(e) => return Err(e),
        }
        fs::remove_dir_all(to)?;
        door::sleep(Duration::from_millis(10));
    }
    Err(last)
}

fn each_file(from: &Path, to: &Path, copy: fn(&Path, &Path, u64) -> Result<()>) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            each_file(&source, &target, copy)?;
        } else {
            copy(&source, &target, entry.metadata()?.len())?;
        }
    }
    Ok(())
}

/// What a file is, for telling whether it was changed: of a small one its bytes, of a large one
/// what the file system changes whenever somebody changes it.
#[derive(PartialEq, Eq)]
pub(crate) enum Print {
    Dir,
    Bytes(Vec<u8>),
    /// Inode, length, times of the last change of contents and of anything, in nanoseconds.
    Large([i128; 4]),
}

/// All files and directories below `root`.
pub(crate) fn fingerprint(root: &Path) -> Result<BTreeMap<PathBuf, Print>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            let meta = fs::symlink_metadata(&path)?;
            let print = if meta.is_dir() {
                dirs.push(path.clone());
                Print::Dir
            } else if meta.len() < LINK_BYTES_MIN {
                Print::Bytes(fs::read(&path)?)
            } else {
                let time = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
                let modified = time(meta.mtime(), meta.mtime_nsec());
                let changed = time(meta.ctime(), meta.ctime_nsec());
                Print::Large([meta.ino().into(), meta.len().into(), modified, changed])
            };
            found.insert(path, print);
        }
    }
    Ok(found)
}

/// The files of `dir` whose names end with `end`, smallest name first.
pub(crate) fn files(dir: &Path, end: &str) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir)?
        .map(|entry| Ok(entry?.path()))
        .filter(|path| path.as_ref().is_ok_and(|path| path.to_string_lossy().ends_with(end)))
        .collect::<Result<_>>()?;
    found.sort();
    Ok(found)
}
