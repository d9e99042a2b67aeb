//! Volumes: directories with a protection, and where each class of file lives in each mode.
//!
//! A trusted volume is one that its operator vouches for. It carries a random id, which the store seals
//! in its settings, so that another volume in its place is noticed (R17).
//!
//! ```text
//! VOLUME := magic "RFVOL1" 0 0 | id 16 | sha256(magic | id) 32
//! ```

use crate::aead::Suite;
use crate::anchor::sha256;
use crate::files::{read_whole, replace};
use crate::keyfile::Mode;
use crate::keys::fill;
use crate::seal::Protection;
use ringfort_base::codec::{DecodeError, Reader};
use ringfort_base::world::{Disk, Entropy};
use ringfort_base::{Error, EvidenceKind, Result};
use std::sync::Arc;

const VOLUME: &str = "VOLUME";
const MAGIC: [u8; 8] = *b"RFVOL1\0\0";
const BYTES: usize = 8 + 16 + 32;

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
pub fn init_trusted_volume(disk: &dyn Disk, entropy: &dyn Entropy) -> Result<[u8; 16]> {
    if let Some(id) = trusted_volume_id(disk)? {
        return Ok(id);
    }
    let mut id = [0; 16];
    fill(entropy, &mut id)?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&id);
    let digest = sha256(&[&bytes]);
    bytes.extend_from_slice(&digest);
    replace(disk, "", VOLUME, &bytes)?;
    Ok(id)
}

/// The id of a trusted volume, or `None` if the directory is none.
pub fn trusted_volume_id(disk: &dyn Disk) -> Result<Option<[u8; 16]>> {
    let Some(bytes) = read_whole(disk, VOLUME, BYTES)? else { return Ok(None) };
    match decode(&bytes) {
        Ok(id) => Ok(Some(id)),
        Err(error) => Err(Error::evidence(EvidenceKind::BadSeal, VOLUME, 0, format!("damaged: {error}"))),
    }
}

fn decode(bytes: &[u8]) -> Result<[u8; 16], DecodeError> {
    let mut from = Reader::new(bytes);
    if from.array()? != MAGIC {
        return Err(DecodeError::Meaning("not the mark of a trusted volume"));
    }
    let id = from.array()?;
    if from.array()? != sha256(&[&MAGIC, &id]) {
        return Err(DecodeError::Meaning("its checksum does not match"));
    }
    from.finish()?;
    Ok(id)
}
