//! A counter in a slot file of a disk that the host cannot roll back: the trusted volume's
//! claim record (`volume` counter), and the store of the simulated device.
//!
//! ```text
//! file    := slot 0 at offset 0 | slot 1 at offset 4096 | slot 2 at offset 8192
//! slot    := sequence u64 | length u32 | payload | sha256("ringfort v1 slot" | sequence | length | payload) 32
//! CLAIM   := a file whose payload is: value u64 | anchor                                  (little-endian)
//! ```
//! The highest valid sequence counts. A write goes to a slot that is neither the newest (so one that
//! fails half-way loses nothing that was confirmed) nor the last that was synced (so a power cut loses
//! at most what was never synced). If no slot is valid, somebody altered them.
//!
//! Files are not reopened for writing. Whoever writes first replaces the file by a copy of his own with
//! the next sequence, durably, and writes in place from then on, for as long as the file under that name
//! still ends with his last write. So several processes may share one file: each looks at what is there,
//! under the disk's lock, before it writes, and takes the file over if another one did in between.

use super::{Advance, Counter, Reading, conditional};
use crate::anchor::{Anchor, sha256};
use crate::files::{join, read_whole, replace};
use ringfort_base::codec::{DecodeError, Reader, Write};
use ringfort_base::world::{Disk, DiskFile};
use ringfort_base::{Error, ErrorKind, EvidenceKind, Result, StoreId};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SLOTS: usize = 3;
const SLOT_BYTES: usize = 4096;
const PAYLOAD_BYTES_MAX: usize = SLOT_BYTES - 8 - 4 - 32;

/// What a valid slot holds.
struct Slot {
    sequence: u64,
    digest: [u8; 32],
    payload: Vec<u8>,
}

impl Slot {
    fn encode(sequence: u64, payload: &[u8]) -> (Vec<u8>, [u8; 32]) {
        let mut out = Vec::with_capacity(payload.len() + 44);
        out.put_u64(sequence);
        out.put_u32(payload.len() as u32);
        out.put(payload);
        let digest = sha256(&[b"ringfort v1 slot", &out]);
        out.put(&digest);
        (out, digest)
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        let sequence = from.u64()?;
        let len = from.u32()? as usize;
        let payload = from.take(len)?;
        let digest = from.array()?;
        if sha256(&[b"ringfort v1 slot", &bytes[..12 + len]]) != digest {
            return Err(DecodeError::Meaning("another digest"));
        }
        Ok(Self { sequence, digest, payload: payload.to_vec() })
    }
}

/// The file that this process wrote last.
struct Own {
    file: Arc<dyn DiskFile>,
    sequence: u64,
    digest: [u8; 32],
    /// The slot that was written last.
    newest: usize,
    /// The slot that was synced last.
    durable: usize,
}

/// One slot file. The caller holds the disk's lock around every call.
pub(crate) struct SlotFile {
    dir: &'static str,
    name: String,
    own: Option<Own>,
}

impl SlotFile {
    pub(crate) fn new(dir: &'static str, name: String) -> Self {
        Self { dir, name, own: None }
    }

    /// The payload of the newest slot; `None` if there is no file.
    pub(crate) fn load(&self, disk: &dyn Disk) -> Result<Option<Vec<u8>>> {
        Ok(self.newest(disk)?.map(|slot| slot.payload))
    }

    fn newest(&self, disk: &dyn Disk) -> Result<Option<Slot>> {
        let path = join(self.dir, &self.name);
        let Some(bytes) = read_whole(disk, &path, SLOTS * SLOT_BYTES)? else { return Ok(None) };
        bytes
            .chunks(SLOT_BYTES)
            .take(SLOTS)
            .filter_map(|slot| Slot::decode(slot).ok())
            .max_by_key(|slot| slot.sequence)
            .map(Some)
            .ok_or_else(|| Error::evidence(EvidenceKind::BadSeal, path, 0, "none of its slots is valid"))
    }

    /// Makes `payload` the newest; durable before it returns if `sync`. After an error the outcome is unknown.
    pub(crate) fn store(&mut self, disk: &dyn Disk, payload: &[u8], sync: bool) -> Result<()> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::Internal,
                format!("{} bytes do not fit a slot", payload.len()),
            ));
        }
        let newest = self.newest(disk)?;
        let sequence = newest.as_ref().map_or(0, |slot| slot.sequence) + 1;
        let (bytes, digest) = Slot::encode(sequence, payload);
        // Taken out and put back at the end, so that any error leads to a fresh file.
        let own = self.own.take().filter(|own| {
            newest.is_some_and(|slot| slot.sequence == own.sequence && slot.digest == own.digest)
        });
        self.own = Some(match own {
            Some(own) => self.write_in_place(own, &bytes, sequence, digest, sync)?,
            None => Own {
                file: replace(disk, self.dir, &self.name, &bytes)?,
                sequence,
                digest,
                newest: 0,
                durable: 0,
            },
        });
        Ok(())
    }

    fn write_in_place(
        &self,
        own: Own,
        bytes: &[u8],
        sequence: u64,
        digest: [u8; 32],
        sync: bool,
    ) -> Result<Own> {
        let slot = (0..SLOTS)
            .find(|slot| *slot != own.newest && *slot != own.durable)
            .expect("there are more slots than the two to keep");
        let failed = |error| Error::io("write", &join(self.dir, &self.name), &error);
        own.file.write_at(bytes, (slot * SLOT_BYTES) as u64).map_err(failed)?;
        if sync {
            own.file.sync().map_err(failed)?;
        }
        Ok(Own { sequence, digest, newest: slot, durable: if sync { slot } else { own.durable }, ..own })
    }
}

/// Locks a mutex whose holder may have panicked: every user of these leaves them consistent or empty.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The file of the claim record.
pub const CLAIM: &str = "CLAIM";
const CLAIM_LOCK: &str = "CLAIM.lock";

/// The claim record of a trusted volume (R2, R5): file `CLAIM` at its root.
pub struct VolumeCounter {
    disk: Arc<dyn Disk>,
    store: StoreId,
    file: Mutex<SlotFile>,
}

impl VolumeCounter {
    /// On the trusted volume `disk`, for `store`.
    pub fn new(disk: Arc<dyn Disk>, store: StoreId) -> Self {
        Self { disk, store, file: Mutex::new(SlotFile::new("", CLAIM.to_owned())) }
    }

    /// Runs `work` on the file, under the volume's lock.
    fn critical<T>(&self, work: impl FnOnce(&mut SlotFile) -> Result<T>) -> Result<T> {
        let mut file = locked(&self.file);
        let _lock = self.disk.lock_wait(CLAIM_LOCK).map_err(|error| Error::io("lock", CLAIM_LOCK, &error))?;
        work(&mut file)
    }

    fn reading(&self, file: &SlotFile) -> Result<Option<Reading>> {
        let Some(payload) = file.load(&*self.disk)? else { return Ok(None) };
        let reading = decode_reading(&payload).map_err(|error| {
            Error::evidence(
                EvidenceKind::Inconsistent,
                CLAIM,
                0,
                format!("its valid slot does not decode: {error}"),
            )
        })?;
        if reading.anchor.store != self.store {
            let detail = format!("it claims for store {}, expected {}", reading.anchor.store, self.store);
            return Err(Error::evidence(EvidenceKind::Foreign, CLAIM, 0, detail));
        }
        Ok(Some(reading))
    }
}

fn decode_reading(payload: &[u8]) -> Result<Reading, DecodeError> {
    let mut from = Reader::new(payload);
    Ok(Reading { value: from.u64()?, anchor: Anchor::decode(from.rest())? })
}

impl Counter for VolumeCounter {
    fn kind(&self) -> &'static str {
        "volume"
    }

    fn read(&self) -> Result<Option<Reading>> {
        // Without a claim not even the lock's file is made: a refusal leaves the volume as it is (R12).
        if read_whole(&*self.disk, CLAIM, 0)?.is_none() {
            return Ok(None);
        }
        self.critical(|file| self.reading(file))
    }

    fn advance(&self, expected: Option<[u8; 32]>, to: &Anchor, claim: bool) -> Result<Advance> {
        if to.store != self.store {
            return Err(Error::new(ErrorKind::Internal, "an anchor of another store for this counter"));
        }
        self.critical(|file| {
            let outcome = conditional(self.reading(file)?, expected);
            let Advance::Done(value) = outcome else { return Ok(outcome) };
            let mut payload = value.to_le_bytes().to_vec();
            payload.put(&to.encode());
            file.store(&*self.disk, &payload, claim)?;
            Ok(outcome)
        })
    }
}
