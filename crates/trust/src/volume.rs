//! Volumes: directories with a protection, and where each class of file lives in each mode.

use crate::aead::Suite;
use crate::keyfile::Mode;
use crate::seal::Protection;
use ringfort_base::Result;
use ringfort_base::world::{Disk, Entropy};
use std::sync::Arc;

/// A class of files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Log segments.
    Wal,
    /// MANIFEST files and CURRENT.
    Manifest,
    /// Tables.
    Table,
}

/// The volumes of an open store.
#[derive(Clone)]
pub struct Volumes {
    /// Untrusted: always there; the key file lives on it.
    pub data: Arc<dyn Disk>,
    /// Trusted: in `hardware` and `twin`.
    pub trusted: Option<Arc<dyn Disk>>,
    /// The mode.
    pub mode: Mode,
}

impl Volumes {
    /// Where files of `class` live and how they are protected (the table in DESIGN).
    #[must_use]
    pub fn place(&self, class: Class) -> (&Arc<dyn Disk>, Protection) {
        let on_trusted = match self.mode {
            Mode::Software => false,
            Mode::Hardware => true,
            Mode::Twin => class != Class::Table,
        };
        match &self.trusted {
            Some(trusted) if on_trusted => (trusted, Protection::Checksummed),
            _ => (&self.data, Protection::Sealed(Suite::Aes256Gcm)),
        }
    }
}

/// Marks a directory as a trusted volume: draws a random id into its file `VOLUME`, synced. An
/// existing id is kept and returned.
pub fn init_trusted_volume(_disk: &dyn Disk, _entropy: &dyn Entropy) -> Result<[u8; 16]> {
    todo!()
}

/// The id of a trusted volume, or `None` if the directory is none.
pub fn trusted_volume_id(_disk: &dyn Disk) -> Result<Option<[u8; 16]>> {
    todo!()
}
