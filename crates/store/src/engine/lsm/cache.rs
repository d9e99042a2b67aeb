//! The block cache: opened, checked plaintext blocks, inside the TEE, under one budget.
//!
//! Values of value files are kept beside the blocks of tables, by the same names.
//!
//! A block is decrypted once, into the memory in which it stays and is read. Blocks are named by
//! (file number, offset): file numbers are never reused, so nothing in the cache can go stale.
//! Threads that miss the same block wait for the one that reads it.
//!
//! *Priority*: index and filter partitions serve many reads each; as long as they take less than
//! half of the budget they are not evicted for data.
//!
//! Open tables keep their top index, filter and tombstones outside the cache; that memory is
//! accounted for here ([`BlockCache::pinned_bytes`]), so that one place knows the whole.

use super::filter::Filter;
use super::table::block::Block;
use quick_cache::sync::{Cache, GuardResult};
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};
use ringfort_base::{Error, ErrorKind, FileNo, Result};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What an entry takes beside its block: key, links, reference counts.
const ENTRY_BYTES: usize = 96;
/// A shard should hold at least this much, bytes, so that a large block finds room.
const SHARD_BYTES_MIN: usize = 8 << 20;
const SHARDS_MAX: usize = 32;
const TYPICAL_BLOCK_BYTES: usize = 4096;

/// The name of a block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BlockKey {
    /// The file.
    pub file: FileNo,
    /// The block's offset.
    pub offset: u64,
}

/// What is kept.
#[derive(Clone)]
enum Cached {
    Data(Arc<Block>),
    Index(Arc<Block>),
    Filter(Arc<Filter>),
    Value(Arc<Vec<u8>>),
}

impl Cached {
    fn bytes(&self) -> usize {
        ENTRY_BYTES
            + match self {
                Self::Data(block) | Self::Index(block) => block.memory_bytes(),
                Self::Filter(filter) => filter.bytes(),
                Self::Value(value) => value.capacity() + size_of::<Vec<u8>>(),
            }
    }

    const fn guides(&self) -> bool {
        matches!(self, Self::Index(_) | Self::Filter(_))
    }
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<BlockKey, Cached> for ByBytes {
    fn weight(&self, _: &BlockKey, value: &Cached) -> u64 {
        value.bytes() as u64
    }
}

/// Keeps what guides reads while it is not too much.
#[derive(Clone)]
struct KeepGuides {
    guide_bytes: Arc<AtomicUsize>,
    guide_bytes_max: usize,
}

impl Lifecycle<BlockKey, Cached> for KeepGuides {
    type RequestState = ();

    fn is_pinned(&self, _: &BlockKey, value: &Cached) -> bool {
        value.guides() && self.guide_bytes.load(Ordering::Relaxed) <= self.guide_bytes_max
    }

    fn on_evict(&self, (): &mut (), _: BlockKey, value: Cached) {
        if value.guides() {
            self.guide_bytes.fetch_sub(value.bytes(), Ordering::Relaxed);
        }
    }
}

/// A fixed hash: the same run evicts the same blocks. Names are ours, not a client's.
#[derive(Clone, Default)]
pub(crate) struct FixedHash(u64);

impl BuildHasher for FixedHash {
    type Hasher = Self;
    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

impl Hasher for FixedHash {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }
    #[inline]
    fn write_u64(&mut self, n: u64) {
        let wide = u128::from(self.0 ^ n ^ 0x9e37_79b9_7f4a_7c15) * u128::from(0xa076_1d64_78bd_642f_u64);
        self.0 = wide as u64 ^ (wide >> 64) as u64;
    }
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

/// See the module.
pub struct BlockCache {
    cache: Cache<BlockKey, Cached, ByBytes, FixedHash, KeepGuides>,
    guide_bytes: Arc<AtomicUsize>,
    pinned_bytes: Arc<AtomicUsize>,
}

/// How full the cache is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheUsage {
    /// Bytes of cached blocks.
    pub cached_bytes: usize,
    /// Of these, index and filter partitions.
    pub guide_bytes: usize,
    /// Bytes that open tables hold outside.
    pub pinned_bytes: usize,
    /// Cached blocks.
    pub blocks: usize,
    /// The budget for cached blocks, bytes.
    pub capacity_bytes: usize,
}

impl BlockCache {
    /// A cache of at most `budget_bytes`.
    #[must_use]
    pub fn new(budget_bytes: usize) -> Self {
        let guide_bytes = Arc::new(AtomicUsize::new(0));
        let lifecycle =
            KeepGuides { guide_bytes: Arc::clone(&guide_bytes), guide_bytes_max: budget_bytes / 2 };
        let cache = build_cache(budget_bytes, budget_bytes / TYPICAL_BLOCK_BYTES, ByBytes, lifecycle);
        Self { cache, guide_bytes, pinned_bytes: Arc::default() }
    }

    /// Changes the budget; evicts what no longer fits.
    pub fn set_budget(&self, budget_bytes: usize) {
        self.cache.set_capacity(budget_bytes as u64);
    }

    /// How full it is.
    #[must_use]
    pub fn usage(&self) -> CacheUsage {
        CacheUsage {
            cached_bytes: self.cache.weight() as usize,
            guide_bytes: self.guide_bytes.load(Ordering::Relaxed),
            pinned_bytes: self.pinned_bytes(),
            blocks: self.cache.len(),
            capacity_bytes: self.cache.capacity() as usize,
        }
    }

    /// Bytes that open tables hold outside the cache.
    #[must_use]
    pub fn pinned_bytes(&self) -> usize {
        self.pinned_bytes.load(Ordering::Relaxed)
    }

    /// Accounts for memory outside the cache until the guard drops.
    #[must_use]
    pub fn pin_bytes(&self, bytes: usize) -> PinnedBytes {
        self.pinned_bytes.fetch_add(bytes, Ordering::Relaxed);
        PinnedBytes { counter: Arc::clone(&self.pinned_bytes), bytes }
    }

    /// A data block, if it is resident.
    #[inline]
    pub(crate) fn data(&self, key: BlockKey) -> Option<Arc<Block>> {
        match self.cache.get(&key)? {
            Cached::Data(block) => Some(block),
            _ => None,
        }
    }

    /// An index partition, if it is resident.
    pub(crate) fn index(&self, key: BlockKey) -> Option<Arc<Block>> {
        match self.cache.get(&key)? {
            Cached::Index(block) => Some(block),
            _ => None,
        }
    }

    /// A filter partition, if it is resident.
    pub(crate) fn filter(&self, key: BlockKey) -> Option<Arc<Filter>> {
        match self.cache.get(&key)? {
            Cached::Filter(filter) => Some(filter),
            _ => None,
        }
    }

    /// A value of a value file, if it is resident.
    #[inline]
    pub(crate) fn value(&self, key: BlockKey) -> Option<Arc<Vec<u8>>> {
        match self.cache.get(&key)? {
            Cached::Value(value) => Some(value),
            _ => None,
        }
    }

    /// A value of a value file; read if it is not resident.
    pub(crate) fn value_or(
        &self,
        key: BlockKey,
        load: impl FnOnce() -> Result<Vec<u8>>,
    ) -> Result<Arc<Vec<u8>>> {
        match self.get_or(key, || load().map(|value| Cached::Value(Arc::new(value))))? {
            Cached::Value(value) => Ok(value),
            _ => Err(wrong_kind(key)),
        }
    }

    /// A data block; read if it is not resident.
    pub(crate) fn data_or(&self, key: BlockKey, load: impl FnOnce() -> Result<Block>) -> Result<Arc<Block>> {
        match self.get_or(key, || load().map(|block| Cached::Data(Arc::new(block))))? {
            Cached::Data(block) => Ok(block),
            _ => Err(wrong_kind(key)),
        }
    }

    /// An index partition; read if it is not resident.
    pub(crate) fn index_or(&self, key: BlockKey, load: impl FnOnce() -> Result<Block>) -> Result<Arc<Block>> {
        match self.get_or(key, || load().map(|block| Cached::Index(Arc::new(block))))? {
            Cached::Index(block) => Ok(block),
            _ => Err(wrong_kind(key)),
        }
    }

    /// A filter partition; read if it is not resident.
    pub(crate) fn filter_or(
        &self,
        key: BlockKey,
        load: impl FnOnce() -> Result<Filter>,
    ) -> Result<Arc<Filter>> {
        match self.get_or(key, || load().map(|filter| Cached::Filter(Arc::new(filter))))? {
            Cached::Filter(filter) => Ok(filter),
            _ => Err(wrong_kind(key)),
        }
    }

    /// One thread loads, the others wait for it; if it fails, the next one tries.
    fn get_or(&self, key: BlockKey, load: impl FnOnce() -> Result<Cached>) -> Result<Cached> {
        let guard = match self.cache.get_value_or_guard(&key, None) {
            GuardResult::Value(value) => return Ok(value),
            GuardResult::Guard(guard) => guard,
            GuardResult::Timeout => return load(), // There is none.
        };
        let value = load()?;
        let guide_bytes = if value.guides() { value.bytes() } else { 0 };
        self.guide_bytes.fetch_add(guide_bytes, Ordering::Relaxed);
        if guard.insert(value.clone()).is_err() {
            self.guide_bytes.fetch_sub(guide_bytes, Ordering::Relaxed);
        }
        Ok(value)
    }
}

/// A quick_cache with our hash and shards that are not too small.
pub(crate) fn build_cache<
    K: std::hash::Hash + Eq + Clone,
    V: Clone,
    W: Weighter<K, V> + Clone,
    L: Lifecycle<K, V> + Clone,
>(
    budget_bytes: usize,
    typical_items: usize,
    weighter: W,
    lifecycle: L,
) -> Cache<K, V, W, FixedHash, L> {
    let shards = (budget_bytes / SHARD_BYTES_MIN).clamp(1, SHARDS_MAX);
    let options = OptionsBuilder::new()
        .shards(1 << shards.ilog2())
        .estimated_items_capacity(typical_items.max(16))
        .weight_capacity(budget_bytes as u64)
        .build()
        .expect("all required options are given");
    Cache::with_options(options, weighter, FixedHash::default(), lifecycle)
}

fn wrong_kind(key: BlockKey) -> Error {
    Error::new(ErrorKind::Internal, format!("the block at {} of file {} has two kinds", key.offset, key.file))
}

/// Memory accounted for until it drops.
pub struct PinnedBytes {
    counter: Arc<AtomicUsize>,
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
        self.counter.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
