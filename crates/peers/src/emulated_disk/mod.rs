//! # A trusted disk that does not exist, for benchmarks only
//!
//! A *trusted disk* (TEE-IO, self-encrypting) encrypts and authenticates every sector in hardware. None
//! can be bought, so the authors of TWINSTORE put `dm-crypt` with `dm-integrity` in its place.
//! [`EmulatedDisk`] does the same work in this process, as a [`Disk`] that a store can be opened on:
//!
//! ```text
//!   store ──► pages: 4 KiB, plain, in memory, written back      what the page cache of the system is
//!                │ miss            │ 256 sectors at a time,     to a disk below it (page cache size
//!                ▼                 ▼ or a sync                  is a setting)
//!   sectors: AES-256-GCM, a nonce of its own for every write, bound to file and place; verified on
//!            every read
//!                │                 │
//!                ▼                 ▼
//!   Beside:     4096 + 32 B, sector and tag side by side, as on a drive formatted so: one write
//!   Journaled:  sector and tag to a journal first, then the sector in place and the tag to the tag
//!               area: what dm-integrity does, three writes
//! ```
//!
//! - The work is real: keys are random, a partial sector is read, changed and encrypted whole, a tag
//!   that does not verify is an error of the read.
//! - Where it errs it favours the trusted disk: its pages are hit without a system call, write-back
//!   runs in a thread of its own, and nothing protects it from an older state of itself (hardware would).
//! - It lives as long as the process. Lengths and keys are in memory, so a directory of it cannot be
//!   opened again; nothing but a benchmark may be built on it.
//!
//! | module | holds |
//! |---|---|
//! | [`file`] | one file: pages, reading, writing, write-back |
//! | [`pages`] | how many pages are kept, and which go |
//! | [`device`] | sectors: encryption, layout on the host's files, the journal |

mod device;
mod file;
mod pages;

pub use device::Layout;

use device::Device;
use file::File;
use pages::Pages;
use parking_lot::{Condvar, Mutex};
use ringfort_base::world::{Disk, DiskFile, DiskLock, is_plain_path};
use ringfort_host::disk::OsDisk;
use ringfort_host::door;
use std::collections::{HashMap, VecDeque};
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

/// Bytes of a sector, and of a page.
pub const SECTOR: usize = 4096;
/// Behind a file's name: its tag area.
const TAGS: &str = ".tags";

/// See the module.
pub struct EmulatedDisk {
    host: OsDisk,
    dir: PathBuf,
    files: Mutex<HashMap<String, Arc<File>>>,
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

/// What the files of a disk share.
pub(crate) struct Shared {
    device: Device,
    pages: Pages,
    queue: Mutex<Queue>,
    due: Condvar,
    next_file: AtomicU64,
}

#[derive(Default)]
struct Queue {
    files: VecDeque<Arc<File>>,
    stop: bool,
}

impl Shared {
    /// Has the writer thread write the file back soon.
    fn write_back_soon(&self, file: Arc<File>) {
        let mut queue = self.queue.lock();
        if !queue.files.iter().any(|other| Arc::ptr_eq(other, &file)) {
            queue.files.push_back(file);
            self.due.notify_one();
        }
    }

    fn next_due(&self) -> Option<Arc<File>> {
        let mut queue = self.queue.lock();
        loop {
            if queue.stop {
                return None;
            }
            if let Some(file) = queue.files.pop_front() {
                return Some(file);
            }
            self.due.wait(&mut queue);
        }
    }
}

impl EmulatedDisk {
    /// A new disk whose sectors lie in `dir`, with up to `page_cache` bytes of plain pages in memory.
    pub fn create(dir: &Path, layout: Layout, page_cache: usize) -> Result<Self> {
        let host = OsDisk::create(dir)?;
        let shared = Arc::new(Shared {
            device: Device::create(dir, layout)?,
            pages: Pages::new(page_cache / SECTOR),
            queue: Mutex::default(),
            due: Condvar::new(),
            next_file: AtomicU64::new(0),
        });
        let of_writer = Arc::clone(&shared);
        let writer = door::spawn("disk-writeback", move || {
            while let Some(file) = of_writer.next_due() {
                // The file keeps the error: its next write or sync reports it.
                let _ = file.write_back(false);
            }
        })?;
        Ok(Self { host, dir: dir.to_owned(), files: Mutex::default(), shared, writer: Some(writer) })
    }

    /// Sectors that were encrypted and decrypted so far.
    #[cfg(test)]
    pub fn sectors(&self) -> (u64, u64) {
        self.shared.device.sectors()
    }
}

impl Drop for EmulatedDisk {
    fn drop(&mut self) {
        {
            let mut queue = self.shared.queue.lock();
            queue.stop = true;
            // The files hold what holds the queue.
            queue.files.clear();
        }
        self.shared.due.notify_all();
        if let Some(writer) = self.writer.take() {
            // One that panicked has ended as well.
            let _ = writer.join();
        }
    }
}

impl Disk for EmulatedDisk {
    fn create(&self, path: &str) -> Result<Arc<dyn DiskFile>> {
        if !is_plain_path(path) {
            return Err(Error::new(ErrorKind::InvalidInput, format!("not a plain path: {path}")));
        }
        let mut files = self.files.lock();
        if files.contains_key(path) {
            return Err(Error::from(ErrorKind::AlreadyExists));
        }
        let number = self.shared.next_file.fetch_add(1, Ordering::Relaxed);
        let tags = self.dir.join(format!("{path}{TAGS}"));
        let sectors = self.shared.device.create_file(number, &self.dir.join(path), &tags)?;
        let file = File::new(Arc::clone(&self.shared), sectors);
        files.insert(path.to_owned(), Arc::clone(&file));
        Ok(Arc::new(file::Handle(file)))
    }

    fn open(&self, path: &str) -> Result<Arc<dyn DiskFile>> {
        let files = self.files.lock();
        let file = files.get(path).ok_or_else(|| Error::new(ErrorKind::NotFound, path.to_owned()))?;
        Ok(Arc::new(file::Handle(Arc::clone(file))))
    }

    fn list(&self, dir: &str) -> Result<Vec<String>> {
        let names = self.host.list(dir)?;
        let own = |name: &String| name.ends_with(TAGS) || (dir.is_empty() && name == device::JOURNAL);
        Ok(names.into_iter().filter(|name| !own(name)).collect())
    }

    fn create_dir(&self, dir: &str) -> Result<()> {
        self.host.create_dir(dir)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut files = self.files.lock();
        self.host.rename(from, to)?;
        if self.shared.device.has_tag_area() {
            self.host.rename(&format!("{from}{TAGS}"), &format!("{to}{TAGS}"))?;
        }
        if let Some(file) = files.remove(from) {
            files.insert(to.to_owned(), file);
        }
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<()> {
        let mut files = self.files.lock();
        self.host.remove(path)?;
        if self.shared.device.has_tag_area() {
            self.host.remove(&format!("{path}{TAGS}"))?;
        }
        // Whoever still has it open reads on.
        files.remove(path);
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> Result<()> {
        self.host.sync_dir(dir)
    }

    fn lock(&self, path: &str) -> Result<Box<dyn DiskLock>> {
        self.host.lock(path)
    }

    fn lock_wait(&self, path: &str) -> Result<Box<dyn DiskLock>> {
        self.host.lock_wait(path)
    }

    fn describe(&self) -> String {
        format!("{} (emulated trusted disk)", self.dir.display())
    }
}

#[cfg(test)]
mod tests;
