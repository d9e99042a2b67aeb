//! A directory of one's own, gone with everything in it when it is dropped.

use ringfort_base::world::Entropy;
use ringfort_base::{Error, Result};
use ringfort_host::door::OsEntropy;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The directory.
#[derive(Debug)]
pub(crate) struct TempDir {
    path: PathBuf,
}

impl TempDir {
    /// Creates it under the system's directory for such, readable by nobody else.
    pub(crate) fn new() -> Result<Self> {
        let mut random = [0; 12];
        OsEntropy.fill(&mut random).map_err(|e| Error::io("draw", "random bytes", &e))?;
        let name: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = std::env::temp_dir().join(format!("ringfort-{name}"));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|e| Error::io("create", &path.display().to_string(), &e))?;
        Ok(Self { path })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // Nobody is left to tell; what stays is the system's to clean.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
