//! The block cache: opened, checked plaintext blocks, inside the TEE, under one budget.
//!
//! ```text
//! table ─▶ part (filter, index) ─▶ slot of a data block ─▶ Arc<Block>
//!                                   ▲
//! ring: (shelf, number) … ──────────┘  the clock: cools a block when it passes, frees a cold one
//! ```
//! A block is decrypted once, into the memory in which it stays and is read. Whoever knows a block's
//! place in the index knows its [`Slot`]: finding it costs no hash, no search and no lock that others
//! want. Slots belong to the index that leads to them (a *shelf*), so what a deleted table had goes
//! with it, and nothing in the cache can go stale.
//!
//! *Eviction* is a clock with a small count per block: a read warms its block, the hand cools it. A
//! block that was read once goes before one that is read often, so a scan passes through.
//!
//! *Guides*: the parts of tables (filter, index, slots) serve many reads each. They are pinned until
//! they take half of the budget; more of them take part in the clock.
//!
//! *One account*: pinned memory and what memtables take ([`BlockCache::set_reserved`]) are taken off
//! the room for blocks, so that all of it together keeps the budget.
//!
//! # Invariants
//! 1. A slot's lock is held while its block is read: threads that miss the same block wait for the one
//!    that reads it. The hand and readers that must not wait only try.
//! 2. `used` is the sum over all filled slots: filling adds under the slot's lock, the hand and the
//!    shelf's end subtract what they take out.

use super::buffers::Buffers;
use parking_lot::Mutex;
use ringfort_base::Result;
use ringfort_base::world::{Disk, DiskFile};
use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// What a cached block takes beside its memory: reference counts, its place in the ring, the
/// allocator's part.
const ENTRY_BYTES: usize = 96;
/// Reads that a block is remembered for; as often the hand spares it.
const HEAT_MAX: u8 = 3;
/// Rings, so that threads that miss at the same time do not meet.
const RINGS: usize = 8;
/// Buffers that wait for a block take at most one part of so many of the budget, beside it.
const BUFFERS_SHARE: usize = 64;
/// A ring is looked through for the remains of deleted tables when it is at least so long.
const RING_CLEAN_MIN: usize = 512;

/// What may be cached.
pub(crate) trait Cached {
    /// Memory that it takes.
    fn memory_bytes(&self) -> usize;
    /// How warm it is.
    fn heat(&self) -> &Heat;
    /// Its buffer, if it has one that another may have.
    fn into_buffer(self) -> Option<Vec<u8>>;
}

/// How often something was read lately.
pub(crate) struct Heat(AtomicU8);

impl Heat {
    pub(crate) const COLD: u8 = 0;
    pub(crate) const HOT: u8 = HEAT_MAX;

    pub(crate) const fn new(heat: u8) -> Self {
        Self(AtomicU8::new(heat))
    }

    /// Races lose a count, which is no matter.
    #[inline]
    pub(crate) fn warm(&self) {
        let now = self.0.load(Ordering::Relaxed);
        if now < HEAT_MAX {
            self.0.store(now + 1, Ordering::Relaxed);
        }
    }

    /// `false`: it was cold already.
    pub(crate) fn cool(&self) -> bool {
        let now = self.0.load(Ordering::Relaxed);
        self.0.store(now.saturating_sub(1), Ordering::Relaxed);
        now > 0
    }
}

/// The place of one block in memory.
pub(crate) struct Slot<T>(Mutex<Option<Arc<T>>>);

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Cached> Slot<T> {
    /// What is there, without waiting (R23): `None` also while somebody else looks or reads.
    #[inline]
    pub(crate) fn resident(&self) -> Option<Arc<T>> {
        let held = self.0.try_lock()?;
        let value = held.as_ref()?;
        value.heat().warm();
        Some(Arc::clone(value))
    }

    /// Looks at the slot so that the processor fetches it.
    #[inline]
    pub(crate) fn touch(&self) {
        std::hint::black_box(self.0.is_locked());
    }

    /// The hand passes.
    pub(crate) fn sweep(&self) -> Swept {
        let Some(mut held) = self.0.try_lock() else { return Swept::Kept };
        match &*held {
            None => Swept::Gone,
            // What somebody is reading would free nothing now.
            Some(value) if Arc::strong_count(value) > 1 || value.heat().cool() => Swept::Kept,
            Some(value) => {
                let bytes = charge(&**value);
                let buffer = held.take().and_then(Arc::into_inner).and_then(T::into_buffer);
                Swept::Freed { bytes, buffer }
            }
        }
    }

    /// Empties it: bytes and blocks to subtract.
    fn end(&mut self) -> (usize, usize) {
        self.0.get_mut().take().map_or((0, 0), |value| (charge(&*value), 1))
    }
}

/// Something borrowed from where it is pinned, or shared.
pub(crate) enum Ref<'a, T> {
    Pinned(&'a Arc<T>),
    Shared(Arc<T>),
}

impl<T> Deref for Ref<'_, T> {
    type Target = Arc<T>;
    #[inline]
    fn deref(&self) -> &Arc<T> {
        match self {
            Self::Pinned(value) => value,
            Self::Shared(value) => value,
        }
    }
}

/// Where a guide is pinned, with its memory in the account.
pub(crate) type Pin<T> = OnceLock<(Arc<T>, PinnedBytes)>;

/// What a cached block is charged.
pub(crate) fn charge(value: &impl Cached) -> usize {
    value.memory_bytes() + ENTRY_BYTES
}

/// What the hand found in a slot.
pub(crate) enum Swept {
    /// Nothing.
    Gone,
    /// Something that stays.
    Kept,
    /// So many bytes, which are free now; and a buffer.
    Freed { bytes: usize, buffer: Option<Vec<u8>> },
}

/// A row of slots.
pub(crate) trait Shelf: Send + Sync {
    /// The hand passes slot `number`.
    fn sweep(&self, number: usize) -> Swept;
}

/// The slots of a shelf, with the account that they are charged to.
pub(crate) struct Slots<T: Cached> {
    slots: Box<[Slot<T>]>,
    account: Arc<Account>,
}

impl<T: Cached> Slots<T> {
    pub(crate) fn new(len: usize, cache: &BlockCache) -> Self {
        Self { slots: (0..len).map(|_| Slot::default()).collect(), account: Arc::clone(&cache.account) }
    }

    #[inline]
    pub(crate) fn get(&self, number: usize) -> Option<&Slot<T>> {
        self.slots.get(number)
    }

    /// Memory that it takes, empty.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.slots.len() * size_of::<Slot<T>>()
    }
}

impl<T: Cached> Drop for Slots<T> {
    fn drop(&mut self) {
        for slot in &mut self.slots {
            let (bytes, blocks) = slot.end();
            self.account.used.fetch_sub(bytes, Ordering::Relaxed);
            self.account.blocks.fetch_sub(blocks, Ordering::Relaxed);
        }
    }
}

#[derive(Default)]
struct Account {
    budget: AtomicUsize,
    reserved: AtomicUsize,
    used: AtomicUsize,
    blocks: AtomicUsize,
    pinned: AtomicUsize,
}

impl Account {
    /// Bytes that cached blocks may take now.
    fn room(&self) -> usize {
        let taken = self.reserved.load(Ordering::Relaxed) + self.pinned.load(Ordering::Relaxed);
        self.budget.load(Ordering::Relaxed).saturating_sub(taken)
    }

    fn over(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.room()
    }
}

struct Place {
    shelf: Weak<dyn Shelf>,
    number: usize,
}

#[derive(Default)]
struct Ring {
    places: VecDeque<Place>,
    clean_at: usize,
}

/// See the module.
pub struct BlockCache {
    account: Arc<Account>,
    buffers: Arc<Buffers>,
    rings: [Mutex<Ring>; RINGS],
    next: AtomicUsize,
    uncached_files: bool,
}

/// How full the cache is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheUsage {
    /// Bytes of cached blocks.
    pub cached_bytes: usize,
    /// Bytes that open tables hold outside.
    pub pinned_bytes: usize,
    /// Cached blocks.
    pub blocks: usize,
    /// The room for cached blocks, bytes.
    pub capacity_bytes: usize,
}

impl BlockCache {
    /// A cache that keeps within `budget_bytes`, pinned memory included.
    #[must_use]
    pub fn new(budget_bytes: usize) -> Self {
        let account = Account { budget: budget_bytes.into(), ..Account::default() };
        Self {
            account: Arc::new(account),
            buffers: Arc::new(Buffers::new(budget_bytes / BUFFERS_SHARE)),
            rings: Default::default(),
            next: AtomicUsize::new(0),
            uncached_files: false,
        }
    }

    /// Whether the files that it caches blocks of are read past the system's page cache; they are not if
    /// nobody says so.
    #[must_use]
    pub fn uncached_files(self, uncached_files: bool) -> Self {
        Self { uncached_files, ..self }
    }

    /// Opens a file that is read through this cache.
    pub(crate) fn open_file(&self, disk: &dyn Disk, path: &str) -> std::io::Result<Arc<dyn DiskFile>> {
        if self.uncached_files { disk.open_uncached(path) } else { disk.open(path) }
    }

    /// Buffers for blocks.
    pub(crate) fn buffers(&self) -> &Arc<Buffers> {
        &self.buffers
    }

    /// Changes the budget; evicts what no longer fits.
    pub fn set_budget(&self, budget_bytes: usize) {
        self.account.budget.store(budget_bytes, Ordering::Relaxed);
        self.shrink(0);
    }

    /// Says what memtables take of the budget; evicts what no longer fits.
    pub fn set_reserved(&self, bytes: usize) {
        if self.account.reserved.swap(bytes, Ordering::Relaxed) < bytes {
            self.shrink(0);
        }
    }

    /// How full it is.
    #[must_use]
    pub fn usage(&self) -> CacheUsage {
        CacheUsage {
            cached_bytes: self.account.used.load(Ordering::Relaxed),
            pinned_bytes: self.pinned_bytes(),
            blocks: self.account.blocks.load(Ordering::Relaxed),
            capacity_bytes: self.account.room(),
        }
    }

    /// Bytes that open tables hold outside the cache.
    #[must_use]
    pub fn pinned_bytes(&self) -> usize {
        self.account.pinned.load(Ordering::Relaxed)
    }

    /// Accounts for memory outside the cache until the guard drops.
    #[must_use]
    pub fn pin_bytes(&self, bytes: usize) -> PinnedBytes {
        self.account.pinned.fetch_add(bytes, Ordering::Relaxed);
        PinnedBytes { account: Arc::clone(&self.account), bytes }
    }

    /// Accounts for memory outside the cache, if guides then take no more than half of the budget.
    fn try_pin(&self, bytes: usize) -> Option<PinnedBytes> {
        let half = self.account.budget.load(Ordering::Relaxed) / 2;
        let fits = |pinned: usize| Some(pinned + bytes).filter(|sum| *sum <= half);
        let pinned = &self.account.pinned;
        pinned.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(PinnedBytes { account: Arc::clone(&self.account), bytes })
    }

    /// What `slot`, which is `number` on `shelf`, holds; loaded if it is empty. What is too large for
    /// the room is not kept.
    #[inline]
    pub(crate) fn fetch<T: Cached, S: Shelf + 'static>(
        &self,
        slot: &Slot<T>,
        (shelf, number): (&Arc<S>, usize),
        load: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        let mut held = slot.0.lock();
        if let Some(value) = &*held {
            value.heat().warm();
            return Ok(Arc::clone(value));
        }
        let value = Arc::new(load()?);
        let bytes = charge(&*value);
        if bytes <= self.account.room() {
            *held = Some(Arc::clone(&value));
            self.account.used.fetch_add(bytes, Ordering::Relaxed);
            self.account.blocks.fetch_add(1, Ordering::Relaxed);
            drop(held);
            let shelf: Weak<S> = Arc::downgrade(shelf);
            self.enter(Place { shelf, number });
        }
        Ok(value)
    }

    /// Whether there is room for so many bytes at all.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        bytes <= self.account.room()
    }

    /// For a shelf that fills its places itself: `bytes` (see [`charge`]) came to lie in place `number`,
    /// which was empty. The hand will find it there.
    pub(crate) fn filled<S: Shelf + 'static>(&self, (shelf, number): (&Arc<S>, usize), bytes: usize) {
        self.account.used.fetch_add(bytes, Ordering::Relaxed);
        self.account.blocks.fetch_add(1, Ordering::Relaxed);
        let shelf: Weak<S> = Arc::downgrade(shelf);
        self.enter(Place { shelf, number });
    }

    /// As [`BlockCache::fetch`]; what guides may pin goes into `pinned` instead.
    pub(crate) fn fetch_guide<T: Cached, S: Shelf + 'static>(
        &self,
        (pinned, slot): (&Pin<T>, &Slot<T>),
        place: (&Arc<S>, usize),
        load: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        {
            let held = slot.0.lock();
            if let Some((value, _)) = pinned.get() {
                return Ok(Arc::clone(value)); // Another thread was first.
            }
            if held.is_none() {
                let value = load()?;
                if let Some(bytes) = self.try_pin(value.memory_bytes()) {
                    let value = Arc::new(value);
                    // Nobody else sets it: the slot is locked.
                    let _ = pinned.set((Arc::clone(&value), bytes));
                    drop(held);
                    self.shrink(0);
                    return Ok(value);
                }
                drop(held);
                return self.fetch(slot, place, || Ok(value));
            }
        }
        self.fetch(slot, place, load)
    }

    /// How many places the rings hold, remains of deleted tables included.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.rings.iter().map(|ring| ring.lock().places.len()).sum()
    }

    /// A slot was filled: it joins the ring, and something else makes room.
    fn enter(&self, place: Place) {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % RINGS;
        {
            let mut ring = self.rings[at].lock();
            ring.places.push_back(place);
            if ring.places.len() >= ring.clean_at.max(RING_CLEAN_MIN) {
                ring.places.retain(|place| place.shelf.strong_count() > 0);
                ring.clean_at = 2 * ring.places.len();
            }
        }
        self.shrink(at);
    }

    /// Frees cold blocks until the rest fits, beginning with ring `first`.
    fn shrink(&self, first: usize) {
        for at in 0..RINGS {
            if !self.account.over() {
                return;
            }
            let mut ring = self.rings[(first + at) % RINGS].lock();
            // After so many steps everything that is not in use was cold once.
            for _ in 0..ring.places.len() * (usize::from(HEAT_MAX) + 1) {
                if !self.account.over() {
                    return;
                }
                let Some(place) = ring.places.pop_front() else { break };
                match place.shelf.upgrade().map_or(Swept::Gone, |shelf| shelf.sweep(place.number)) {
                    Swept::Gone => {}
                    Swept::Kept => ring.places.push_back(place),
                    Swept::Freed { bytes, buffer } => {
                        buffer.into_iter().for_each(|buffer| self.buffers.give(buffer));
                        self.account.used.fetch_sub(bytes, Ordering::Relaxed);
                        self.account.blocks.fetch_sub(1, Ordering::Relaxed);
                    }
                }
            }
        }
    }
}

/// Memory accounted for until it drops.
pub struct PinnedBytes {
    account: Arc<Account>,
    bytes: usize,
}

impl PinnedBytes {
    /// How much.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for PinnedBytes {
    fn drop(&mut self) {
        self.account.pinned.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
