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

/// Copies a sealed file as it is, without looking at it: what the copy is worth is proven when it
/// is opened. Synced; the directory is the caller's to sync.
pub fn copy_opaque(from: &dyn Disk, to: &dyn Disk, path: &str) -> Result<u64> {
    const PIECE: usize = 1 << 20;
    let failed = |doing: &str, e: std::io::Error| ringfort_base::Error::io(doing, path, &e);
    let source = from.open(path).map_err(|e| failed("open", e))?;
    let target = to.create(path).map_err(|e| failed("create", e))?;
    let mut offset = 0u64;
    loop {
        let piece = source.read_at(Vec::new(), offset, PIECE).map_err(|e| failed("read", e))?;
        #[expect(clippy::disallowed_methods, reason = "copied unseen: nothing is decided by these bytes")]
        let bytes = piece.expose_to_verifier();
        target.write_at(&bytes, offset).map_err(|e| failed("write", e))?;
        offset += bytes.len() as u64;
        if bytes.len() < PIECE {
            break;
        }
    }
    target.sync().map_err(|e| failed("sync", e))?;
    Ok(offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestEntropy;
    use ringfort_fault::memory::{CrashChoice, MemDisk};
    use ringfort_fault::script::{Fault, FaultDisk, When};

    #[test]
    fn a_volume_keeps_its_id() {
        let (disk, entropy) = (MemDisk::new(), TestEntropy::default());
        assert_eq!(trusted_volume_id(&disk), Ok(None));
        let id = init_trusted_volume(&disk, &entropy).unwrap();
        assert_eq!(init_trusted_volume(&disk, &entropy), Ok(id));
        assert_eq!(trusted_volume_id(&disk.crash(CrashChoice::LoseAll)), Ok(Some(id)));
        assert_ne!(init_trusted_volume(&MemDisk::new(), &entropy), Ok(id));
    }

    #[test]
    fn a_damaged_mark_is_evidence() {
        let disk = MemDisk::new();
        init_trusted_volume(&disk, &TestEntropy::default()).unwrap();
        let good = disk.bytes_of(VOLUME).unwrap();
        for at in 0..=good.len() {
            let mut bad = good.clone();
            bad.resize(good.len().max(at + 1), 0);
            bad[at] ^= 1;
            disk.poke(VOLUME, 0, &bad).unwrap();
            let error = trusted_volume_id(&disk).unwrap_err();
            assert_eq!(error.proof().map(|proof| &*proof.file), Some(VOLUME), "byte {at}");
        }
    }

    #[test]
    fn a_crash_while_it_is_marked_is_no_damage() {
        for nth in 1..8 {
            let memory = MemDisk::new();
            let faulty = FaultDisk::new(Arc::new(memory.clone()));
            faulty.inject(When::Mutating(nth), Fault::Freeze);
            let marked = init_trusted_volume(&faulty, &TestEntropy::default()).ok();
            for seed in 0..20 {
                let after = memory.crash(CrashChoice::Seeded(seed));
                let id = trusted_volume_id(&after).unwrap();
                assert!(marked.is_none() || id == marked, "call {nth}, seed {seed}");
                init_trusted_volume(&after, &TestEntropy::default()).unwrap();
            }
        }
    }

    #[test]
    fn the_mode_places_each_class() {
        let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
        let sealed = |mode, class| {
            let volumes = Volumes { data: disk.clone(), trusted: Some(disk.clone()), mode };
            volumes.place(class).1 != Protection::Checksummed
        };
        let classes = [Class::Wal, Class::Manifest, Class::Table];
        assert_eq!(classes.map(|class| sealed(Mode::Software, class)), [true, true, true]);
        assert_eq!(classes.map(|class| sealed(Mode::Hardware, class)), [false, false, false]);
        assert_eq!(classes.map(|class| sealed(Mode::Twin, class)), [false, false, true]);
        let volumes = Volumes { data: disk.clone(), trusted: None, mode: Mode::Hardware };
        assert_ne!(volumes.place(Class::Wal).1, Protection::Checksummed, "no trusted volume: sealed");
    }
}
