//! Sectors on the host's files: AES-256-GCM each, in one of two layouts.
//!
//! ```text
//! Beside      file:    (ciphertext 4096 | nonce 12 | tag 16 | 0 4) *
//! Journaled   file:    ciphertext 4096 *             what stands here was in JOURNAL before
//!             .tags:   (nonce 12 | tag 16 | 0 4) *
//!             JOURNAL: ring of 64 MiB: (file 8 | sector 8 | nonce 12 | tag 16 | 0 20) * | ciphertext 4096 *
//! ```
//! A sync of the journaled layout syncs the journal: what it holds need not be in place. Before the
//! ring begins anew everything that it holds is synced in place. 64 MiB is dm-integrity's own limit.

use super::SECTOR;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use parking_lot::{Mutex, RwLock};
use ringfort_base::world::Entropy;
use ringfort_host::door::OsEntropy;
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The journal's name in the root of the disk.
pub const JOURNAL: &str = "JOURNAL";
const JOURNAL_BYTES: u64 = 64 << 20;
const NONCE: usize = 12;
const TAG: usize = 16;
/// Nonce, tag and padding.
const META: usize = 32;
/// What the journal says of one sector.
const ENTRY: usize = 64;
/// A sector with its meta data beside it.
const STRIDE: usize = SECTOR + META;

/// Where tags lie, and whether there is a journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// Each tag beside its sector: one write, as a drive with room for meta data does it.
    Beside,
    /// dm-integrity's: journal, sector in place, tag area.
    Journaled,
}

/// What all files of a disk share below their pages.
pub struct Device {
    key: LessSafeKey,
    /// No nonce twice: drawn once per disk, counted on.
    nonce_base: [u8; 4],
    nonce_next: AtomicU64,
    journal: Option<Journal>,
    encrypted: AtomicU64,
    decrypted: AtomicU64,
}

struct Journal {
    file: File,
    end: Mutex<u64>,
    /// Writers of sectors hold it for reading from their entry in the journal until they are in
    /// place; who begins the ring anew holds it for writing.
    writers: RwLock<()>,
    /// What is in place and not synced there.
    unsynced: Mutex<Vec<Arc<Sectors>>>,
}

/// The sectors of one file.
pub struct Sectors {
    number: u64,
    file: File,
    tags: Option<File>,
}

impl Device {
    pub fn create(dir: &Path, layout: Layout) -> Result<Self> {
        let (mut key, mut nonce_base) = ([0; 32], [0; 4]);
        OsEntropy.fill(&mut key)?;
        OsEntropy.fill(&mut nonce_base)?;
        let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| Error::other("no AES-256-GCM"))?;
        let journal = match layout {
            Layout::Beside => None,
            Layout::Journaled => Some(Journal {
                file: new_file(&dir.join(JOURNAL))?,
                end: Mutex::new(0),
                writers: RwLock::new(()),
                unsynced: Mutex::default(),
            }),
        };
        Ok(Self {
            key: LessSafeKey::new(key),
            nonce_base,
            nonce_next: AtomicU64::new(0),
            journal,
            encrypted: AtomicU64::new(0),
            decrypted: AtomicU64::new(0),
        })
    }

    pub fn has_tag_area(&self) -> bool {
        self.journal.is_some()
    }

    pub fn create_file(&self, number: u64, path: &Path, tags: &Path) -> Result<Arc<Sectors>> {
        let tags = if self.has_tag_area() { Some(new_file(tags)?) } else { None };
        Ok(Arc::new(Sectors { number, file: new_file(path)?, tags }))
    }

    /// Sectors that were encrypted and decrypted so far.
    #[cfg(test)]
    pub fn sectors(&self) -> (u64, u64) {
        (self.encrypted.load(Ordering::Relaxed), self.decrypted.load(Ordering::Relaxed))
    }

    /// Writes whole sectors from `first` on.
    pub fn write(&self, of: &Arc<Sectors>, first: u64, plain: &[u8]) -> Result<()> {
        debug_assert_eq!(plain.len() % SECTOR, 0, "sectors are written whole");
        let count = plain.len() / SECTOR;
        self.encrypted.fetch_add(count as u64, Ordering::Relaxed);
        match &self.journal {
            None => {
                let mut out = Vec::with_capacity(count * STRIDE);
                for (sector, data) in (first..).zip(plain.chunks_exact(SECTOR)) {
                    let at = out.len();
                    out.extend_from_slice(data);
                    let meta = self.encrypt(of.number, sector, &mut out[at..])?;
                    out.extend_from_slice(&meta);
                }
                of.file.write_all_at(&out, first * STRIDE as u64)
            }
            Some(journal) => self.write_journaled(journal, of, first, plain),
        }
    }

    fn write_journaled(&self, journal: &Journal, of: &Arc<Sectors>, first: u64, plain: &[u8]) -> Result<()> {
        let count = plain.len() / SECTOR;
        // Entries and ciphertext in one buffer, as they go to the journal.
        let mut out = vec![0; count * ENTRY];
        out.extend_from_slice(plain);
        let (entries, data) = out.split_at_mut(count * ENTRY);
        let mut tags = Vec::with_capacity(count * META);
        for (nth, sector) in (first..first + count as u64).enumerate() {
            let meta = self.encrypt(of.number, sector, &mut data[nth * SECTOR..(nth + 1) * SECTOR])?;
            let entry = &mut entries[nth * ENTRY..(nth + 1) * ENTRY];
            entry[..8].copy_from_slice(&of.number.to_le_bytes());
            entry[8..16].copy_from_slice(&sector.to_le_bytes());
            entry[16..16 + META].copy_from_slice(&meta);
            tags.extend_from_slice(&meta);
        }
        let _writing = journal.append(&out, of)?;
        let tag_area = of.tags.as_ref().ok_or_else(|| Error::other("a journaled file has a tag area"))?;
        of.file.write_all_at(&out[count * ENTRY..], first * SECTOR as u64)?;
        tag_area.write_all_at(&tags, first * META as u64)
    }

    /// Reads and verifies `count` sectors from `first` on, all of which were written before.
    pub fn read(&self, of: &Sectors, first: u64, count: usize) -> Result<Vec<u8>> {
        self.decrypted.fetch_add(count as u64, Ordering::Relaxed);
        let mut plain = vec![0; count * SECTOR];
        match &of.tags {
            None => {
                let mut strides = vec![0; count * STRIDE];
                of.file.read_exact_at(&mut strides, first * STRIDE as u64)?;
                for (nth, stride) in strides.chunks_exact_mut(STRIDE).enumerate() {
                    let (data, meta) = stride.split_at_mut(SECTOR);
                    self.decrypt(of.number, first + nth as u64, data, meta)?;
                    plain[nth * SECTOR..(nth + 1) * SECTOR].copy_from_slice(data);
                }
            }
            Some(tag_area) => {
                let mut tags = vec![0; count * META];
                of.file.read_exact_at(&mut plain, first * SECTOR as u64)?;
                tag_area.read_exact_at(&mut tags, first * META as u64)?;
                for (nth, data) in plain.chunks_exact_mut(SECTOR).enumerate() {
                    let meta = &tags[nth * META..(nth + 1) * META];
                    self.decrypt(of.number, first + nth as u64, data, meta)?;
                }
            }
        }
        Ok(plain)
    }

    /// Makes what was written survive a power cut.
    pub fn sync(&self, of: &Sectors) -> Result<()> {
        match &self.journal {
            None => of.file.sync_data(),
            Some(journal) => journal.file.sync_data(),
        }
    }

    fn encrypt(&self, file: u64, sector: u64, data: &mut [u8]) -> Result<[u8; META]> {
        let mut meta = [0; META];
        meta[..4].copy_from_slice(&self.nonce_base);
        let counted = self.nonce_next.fetch_add(1, Ordering::Relaxed);
        meta[4..NONCE].copy_from_slice(&counted.to_le_bytes());
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(&meta), Aad::from(place(file, sector)), data)
            .map_err(|_| Error::other("a sector could not be encrypted"))?;
        meta[NONCE..NONCE + TAG].copy_from_slice(tag.as_ref());
        Ok(meta)
    }

    fn decrypt(&self, file: u64, sector: u64, data: &mut [u8], meta: &[u8]) -> Result<()> {
        let tag = &meta[NONCE..NONCE + TAG];
        self.key
            .open_in_place_separate_tag(nonce(meta), Aad::from(place(file, sector)), tag, data)
            .map(drop)
            .map_err(|_| {
                let message = format!("sector {sector} of file {file} does not verify");
                Error::new(ErrorKind::InvalidData, message)
            })
    }
}

impl Journal {
    /// Writes behind the journal's end, or at its beginning if it is full. The sectors are in place
    /// by the time the guard is dropped.
    fn append(&self, bytes: &[u8], of: &Arc<Sectors>) -> Result<parking_lot::RwLockReadGuard<'_, ()>> {
        loop {
            let writing = self.writers.read();
            let mut end = self.end.lock();
            if *end + bytes.len() as u64 <= JOURNAL_BYTES {
                let at = *end;
                *end += bytes.len() as u64;
                drop(end);
                let mut unsynced = self.unsynced.lock();
                if !unsynced.iter().any(|other| Arc::ptr_eq(other, of)) {
                    unsynced.push(Arc::clone(of));
                }
                drop(unsynced);
                self.file.write_all_at(bytes, at)?;
                return Ok(writing);
            }
            drop((end, writing));
            self.begin_anew(bytes.len() as u64)?;
        }
    }

    fn begin_anew(&self, room: u64) -> Result<()> {
        let _nobody_writes = self.writers.write();
        let mut end = self.end.lock();
        // Somebody else may have done it meanwhile.
        if *end + room > JOURNAL_BYTES {
            for sectors in std::mem::take(&mut *self.unsynced.lock()) {
                sectors.file.sync_data()?;
                if let Some(tags) = &sectors.tags {
                    tags.sync_data()?;
                }
            }
            *end = 0;
        }
        Ok(())
    }
}

fn new_file(path: &Path) -> Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).open(path)
}

fn nonce(meta: &[u8]) -> Nonce {
    let mut bytes = [0; NONCE];
    bytes.copy_from_slice(&meta[..NONCE]);
    Nonce::assume_unique_for_key(bytes)
}

fn place(file: u64, sector: u64) -> [u8; 16] {
    let mut out = [0; 16];
    out[..8].copy_from_slice(&file.to_le_bytes());
    out[8..].copy_from_slice(&sector.to_le_bytes());
    out
}
