//! [`Scratch`]: where a measured store lies for the time of a run.

use crate::Result;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A new directory that goes with everything in it.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// Makes one below `parent`; its name begins with `program`.
    pub fn new(parent: &Path, program: &str) -> Result<Self> {
        static NTH: AtomicU64 = AtomicU64::new(0);
        let nth = NTH.fetch_add(1, Ordering::Relaxed);
        let dir = parent.join(format!("{program}-{}-{nth}", std::process::id()));
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::create_dir(&dir))
            .map_err(|e| format!("{}: {e}", dir.display()))?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} stays behind: {error}", self.0.display());
        }
    }
}
