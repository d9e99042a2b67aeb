//! One file: plain pages in memory over encrypted sectors.
//!
//! A page is *clean* (the sector on the device is the same), *dirty* (it is not), or on its way to
//! the device: clean, but not to be let go before it has arrived, or a read would find the old one.

use super::device::Sectors;
use super::{SECTOR, Shared};
use parking_lot::{Mutex, RwLock};
use ringfort_base::Untrusted;
use ringfort_base::world::DiskFile;
use std::collections::{BTreeSet, HashMap};
use std::io::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Sectors that go to the device with one write at the most.
const RUN_MAX: usize = 256;
/// From so many dirty pages on the writer thread begins.
const DIRTY_SOON: usize = 256;
/// From so many on whoever writes does it himself.
const DIRTY_MAX: usize = 4096;

pub struct File {
    shared: Arc<Shared>,
    sectors: Arc<Sectors>,
    state: RwLock<State>,
    /// Held by who writes back, so that sectors arrive in the order in which they were written.
    writing_back: Mutex<()>,
}

#[derive(Default)]
struct State {
    len: u64,
    pages: HashMap<u64, Page>,
    dirty: BTreeSet<u64>,
    /// Sectors that the device has.
    on_device: Bits,
    /// Counts writes: a page that was read before one is not kept after it.
    writes: u64,
    failed: Option<(std::io::ErrorKind, String)>,
}

/// A set of sectors.
#[derive(Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn has(&self, sector: u64) -> bool {
        self.0.get(sector as usize / 64).is_some_and(|word| word >> (sector % 64) & 1 == 1)
    }

    fn insert(&mut self, sector: u64) {
        let word = sector as usize / 64;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (sector % 64);
    }

    /// Takes out `from` and all behind it.
    fn cut(&mut self, from: u64) {
        self.0.truncate((from as usize).div_ceil(64));
        if let Some(last) = self.0.get_mut(from as usize / 64) {
            *last &= (1 << (from % 64)) - 1;
        }
    }
}

struct Page {
    data: Box<[u8]>,
    used: AtomicBool,
    on_its_way: bool,
}

impl Page {
    fn new(data: Box<[u8]>) -> Self {
        Self { data, used: AtomicBool::new(false), on_its_way: false }
    }
}

/// What is read and not in memory: where it goes in the buffer, and which sectors it takes.
struct Miss {
    first: u64,
    count: usize,
}

impl File {
    pub fn new(shared: Arc<Shared>, sectors: Arc<Sectors>) -> Arc<Self> {
        Arc::new(Self { shared, sectors, state: RwLock::default(), writing_back: Mutex::new(()) })
    }

    /// Lets a page go if nobody needs it; whether it is gone.
    pub fn let_go(&self, sector: u64) -> bool {
        let mut state = self.state.write();
        let Some(page) = state.pages.get(&sector) else { return true };
        if page.on_its_way || state.dirty.contains(&sector) || page.used.swap(false, Ordering::Relaxed) {
            return false;
        }
        state.pages.remove(&sector);
        self.shared.pages.went(1);
        true
    }

    fn read(self: &Arc<Self>, mut buf: Vec<u8>, offset: u64, len: usize) -> Result<Vec<u8>> {
        buf.clear();
        let (misses, writes) = {
            let state = self.state.read();
            let len = usize::try_from(state.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(len);
            buf.resize(len, 0);
            (state.read(&mut buf, offset), state.writes)
        };
        for Miss { first, count } in misses {
            let data = self.shared.device.read(&self.sectors, first, count)?;
            for (sector, page) in (first..).zip(data.chunks_exact(SECTOR)) {
                copy_out(&mut buf, offset, sector, page);
            }
            if self.shared.pages.keeps() {
                self.keep(first, &data, writes);
            }
        }
        Ok(buf)
    }

    /// Keeps pages that were read when `writes` had been made.
    fn keep(self: &Arc<Self>, first: u64, data: &[u8], writes: u64) {
        let mut came = Vec::new();
        {
            let mut state = self.state.write();
            if state.writes != writes {
                return;
            }
            for (sector, page) in (first..).zip(data.chunks_exact(SECTOR)) {
                if let std::collections::hash_map::Entry::Vacant(place) = state.pages.entry(sector) {
                    place.insert(Page::new(page.into()));
                    came.push(sector);
                }
            }
        }
        self.shared.pages.came(self, &came);
    }

    fn write(self: &Arc<Self>, data: &[u8], offset: u64) -> Result<()> {
        let mut came = Vec::new();
        let dirty = {
            let mut state = self.state.write();
            state.check()?;
            state.writes += 1;
            let end = offset + data.len() as u64;
            let mut at = offset;
            while at < end {
                let (sector, within) = (at / SECTOR as u64, (at % SECTOR as u64) as usize);
                let part = (SECTOR - within).min((end - at) as usize);
                let from = (at - offset) as usize;
                if !state.pages.contains_key(&sector) {
                    // A part of a sector that the device has: read, change, write.
                    let whole = part == SECTOR || !state.on_device.has(sector);
                    let page = match whole {
                        true => vec![0; SECTOR],
                        false => self.shared.device.read(&self.sectors, sector, 1)?,
                    };
                    state.pages.insert(sector, Page::new(page.into()));
                    came.push(sector);
                }
                if let Some(page) = state.pages.get_mut(&sector) {
                    page.data[within..within + part].copy_from_slice(&data[from..from + part]);
                }
                state.dirty.insert(sector);
                at += part as u64;
            }
            state.len = state.len.max(end);
            state.dirty.len()
        };
        self.shared.pages.came(self, &came);
        if dirty >= DIRTY_MAX {
            self.write_back(false)?;
        } else if dirty >= DIRTY_SOON {
            self.shared.write_back_soon(Arc::clone(self));
        }
        Ok(())
    }

    /// Brings dirty pages to the device; without `all`, not the last one if more will be written to it.
    pub fn write_back(&self, all: bool) -> Result<()> {
        let outcome = self.write_runs(all);
        self.shared.pages.shrink();
        outcome
    }

    fn write_runs(&self, all: bool) -> Result<()> {
        let _turn = self.writing_back.lock();
        loop {
            let Some((first, data)) = self.state.write().take_run(all) else { return Ok(()) };
            let outcome = self.shared.device.write(&self.sectors, first, &data);
            let mut state = self.state.write();
            for sector in first..first + (data.len() / SECTOR) as u64 {
                state.on_device.insert(sector);
                if let Some(page) = state.pages.get_mut(&sector) {
                    page.on_its_way = false;
                }
                // Without a page cache nothing that the device has is kept.
                if !self.shared.pages.keeps() && !state.dirty.contains(&sector) {
                    self.shared.pages.went(usize::from(state.pages.remove(&sector).is_some()));
                }
            }
            if let Err(error) = outcome {
                state.failed = Some((error.kind(), error.to_string()));
                return Err(error);
            }
        }
    }

    fn cut(self: &Arc<Self>, len: u64) -> Result<()> {
        let _turn = self.writing_back.lock();
        let mut came = Vec::new();
        let mut state = self.state.write();
        state.check()?;
        state.writes += 1;
        let keeps = len.div_ceil(SECTOR as u64);
        let gone: Vec<u64> = state.pages.keys().copied().filter(|sector| *sector >= keeps).collect();
        gone.iter().for_each(|sector| drop(state.pages.remove(sector)));
        self.shared.pages.went(gone.len());
        state.dirty.split_off(&keeps);
        state.on_device.cut(keeps);
        let within = (len % SECTOR as u64) as usize;
        let last = len / SECTOR as u64;
        if within > 0 && len < state.len {
            if !state.pages.contains_key(&last) && state.on_device.has(last) {
                let page = self.shared.device.read(&self.sectors, last, 1)?;
                state.pages.insert(last, Page::new(page.into()));
                came.push(last);
            }
            if let Some(page) = state.pages.get_mut(&last) {
                page.data[within..].fill(0);
                state.dirty.insert(last);
            }
        }
        state.len = len;
        drop(state);
        self.shared.pages.came(self, &came);
        Ok(())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        self.shared.pages.went(self.state.get_mut().pages.len());
    }
}

impl State {
    fn check(&self) -> Result<()> {
        match &self.failed {
            None => Ok(()),
            Some((kind, message)) => Err(Error::new(*kind, message.clone())),
        }
    }

    /// Fills what is in memory; the rest are misses. What was never written is zeros.
    fn read(&self, buf: &mut [u8], offset: u64) -> Vec<Miss> {
        let mut misses: Vec<Miss> = Vec::new();
        if buf.is_empty() {
            return misses;
        }
        let last = (offset + buf.len() as u64 - 1) / SECTOR as u64;
        for sector in offset / SECTOR as u64..=last {
            if let Some(page) = self.pages.get(&sector) {
                page.used.store(true, Ordering::Relaxed);
                copy_out(buf, offset, sector, &page.data);
            } else if self.on_device.has(sector) {
                match misses.last_mut() {
                    Some(miss) if miss.first + miss.count as u64 == sector => miss.count += 1,
                    _ => misses.push(Miss { first: sector, count: 1 }),
                }
            }
        }
        misses
    }

    /// The first dirty pages that lie side by side; from here on they are on their way.
    fn take_run(&mut self, all: bool) -> Option<(u64, Vec<u8>)> {
        let growing = (!self.len.is_multiple_of(SECTOR as u64) && !all).then_some(self.len / SECTOR as u64);
        let first = self.dirty.iter().copied().find(|sector| Some(*sector) != growing)?;
        let mut data = Vec::new();
        for sector in (first..).take(RUN_MAX) {
            if Some(sector) == growing || !self.dirty.remove(&sector) {
                break;
            }
            let Some(page) = self.pages.get_mut(&sector) else { break };
            page.on_its_way = true;
            data.extend_from_slice(&page.data);
        }
        Some((first, data))
    }
}

/// Copies the part of a page that lies in `buf`, which begins at `offset`.
fn copy_out(buf: &mut [u8], offset: u64, sector: u64, page: &[u8]) {
    let start = sector * SECTOR as u64;
    let end = offset + buf.len() as u64;
    let (from, to) = (start.max(offset), (start + SECTOR as u64).min(end));
    let part = &page[(from - start) as usize..(to - start) as usize];
    buf[(from - offset) as usize..(to - offset) as usize].copy_from_slice(part);
}

/// What callers have of a [`File`].
pub struct Handle(pub Arc<File>);

impl DiskFile for Handle {
    fn read_at(&self, buf: Vec<u8>, offset: u64, len: usize) -> Result<Untrusted<Vec<u8>>> {
        Ok(Untrusted::new(self.0.read(buf, offset, len)?))
    }

    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.0.write(data, offset)
    }

    fn allocate(&self, len: u64) -> Result<()> {
        // Room on the device grows as it is written; the length is what the system would show.
        let mut state = self.0.state.write();
        state.len = state.len.max(len);
        Ok(())
    }

    fn truncate(&self, len: u64) -> Result<()> {
        self.0.cut(len)
    }

    fn sync(&self) -> Result<()> {
        self.0.write_back(true)?;
        self.0.state.read().check()?;
        self.0.shared.device.sync(&self.0.sectors)
    }

    fn len(&self) -> Result<Untrusted<u64>> {
        Ok(Untrusted::new(self.0.state.read().len))
    }
}
