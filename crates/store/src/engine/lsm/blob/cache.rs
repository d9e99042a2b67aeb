//! [`ValueCache`]: values of value files in memory, under the block cache's budget and clock.
//!
//! A pointer does not say which value of its file it names, so that a value has no slot of its own as a
//! table's block has: it is found by file and offset, in one of several shards. Each shard is a shelf
//! of the [`BlockCache`]: a value takes a free place in it, and the clock's hand frees the place.
//!
//! # Invariant
//! Every taken place is in a ring of the cache exactly once, and only the hand takes a place back.
//! File numbers are never reused, so nothing here can go stale; what a deleted file had gets cold.

use crate::engine::lsm::cache::{BlockCache, Cached, Heat, Shelf, Swept, charge};
use crate::engine::lsm::table_cache::FixedHash;
use parking_lot::Mutex;
use ringfort_base::FileNo;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

/// So that threads seldom meet; a power of two.
const SHARDS: usize = 16;
/// What a place takes beside its value: key, hash table, free list.
const PLACE_BYTES: usize = 64;

/// A value that is read whole and kept by itself.
pub struct ApartValue {
    bytes: Vec<u8>,
    heat: Heat,
}

impl ApartValue {
    pub(crate) const fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, heat: Heat::new(Heat::COLD) }
    }

    /// The value.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Cached for ApartValue {
    fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + size_of::<Self>() + PLACE_BYTES
    }

    fn heat(&self) -> &Heat {
        &self.heat
    }

    fn into_buffer(self) -> Option<Vec<u8>> {
        Some(self.bytes)
    }
}

/// A file and the offset of a value in it.
type Key = (FileNo, u64);

#[derive(Default)]
struct Places {
    /// A value with its place.
    by_key: HashMap<Key, (usize, Arc<ApartValue>), FixedHash>,
    places: Vec<Option<Key>>,
    free: Vec<usize>,
}

#[derive(Default)]
struct Shard(Mutex<Places>);

impl Shelf for Shard {
    fn sweep(&self, number: usize) -> Swept {
        let Some(mut held) = self.0.try_lock() else { return Swept::Kept };
        let Places { by_key, places, free } = &mut *held;
        let Some(place) = places.get_mut(number) else { return Swept::Gone };
        let Some((_, value)) = place.as_ref().and_then(|key| by_key.get(key)) else { return Swept::Gone };
        // What somebody is reading would free nothing now.
        if Arc::strong_count(value) > 1 || value.heat().cool() {
            return Swept::Kept;
        }
        let bytes = charge(&**value);
        let gone = place.take().and_then(|key| by_key.remove(&key));
        free.push(number);
        let value = gone.and_then(|(_, value)| Arc::into_inner(value));
        Swept::Freed { bytes, buffer: value.and_then(ApartValue::into_buffer) }
    }
}

/// See the module.
pub(crate) struct ValueCache {
    shards: [Arc<Shard>; SHARDS],
    blocks: Arc<BlockCache>,
    hash: FixedHash,
}

impl ValueCache {
    pub(crate) fn new(blocks: Arc<BlockCache>) -> Self {
        Self { shards: Default::default(), blocks, hash: FixedHash::default() }
    }

    /// The cache whose budget and clock it shares.
    pub(crate) const fn blocks(&self) -> &Arc<BlockCache> {
        &self.blocks
    }

    fn shard(&self, key: Key) -> &Arc<Shard> {
        // Not the bits by which the shard's own table chooses.
        let at = (self.hash.hash_one(key) >> 40) as usize % SHARDS;
        &self.shards[at]
    }

    /// The value, if it is there.
    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<Arc<ApartValue>> {
        let held = self.shard(key).0.lock();
        let (_, value) = held.by_key.get(&key)?;
        value.heat().warm();
        Some(Arc::clone(value))
    }

    /// Keeps a value, unless there is no room for it or another thread was first.
    pub(crate) fn insert(&self, key: Key, value: &Arc<ApartValue>) {
        let bytes = charge(&**value);
        if !self.blocks.has_room(bytes) {
            return;
        }
        let shard = self.shard(key);
        let number = {
            let mut held = shard.0.lock();
            if held.by_key.contains_key(&key) {
                return;
            }
            let number = held.free.pop().unwrap_or(held.places.len());
            if number == held.places.len() {
                held.places.push(None);
            }
            held.places[number] = Some(key);
            held.by_key.insert(key, (number, Arc::clone(value)));
            number
        };
        self.blocks.filled((shard, number), bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(len: usize) -> Arc<ApartValue> {
        Arc::new(ApartValue::new(vec![7; len]))
    }

    #[test]
    fn values_share_the_budget_and_the_coldest_go() {
        let blocks = Arc::new(BlockCache::new(100_000));
        let cache = ValueCache::new(Arc::clone(&blocks));
        let hot = (FileNo(1), 0);
        cache.insert(hot, &value(1000));
        for n in 1..1000u64 {
            assert!(cache.get(hot).is_some(), "what is read again and again stays ({n})");
            cache.insert((FileNo(1 + n % 3), n * 1000), &value(1000));
            assert!(blocks.usage().cached_bytes <= 100_000);
        }
        let usage = blocks.usage();
        assert!(usage.blocks > 60 && usage.cached_bytes > 70_000, "the budget is used: {usage:?}");
        let there = (1..1000u64).filter(|n| cache.get((FileNo(1 + n % 3), n * 1000)).is_some()).count();
        assert_eq!(there + 1, usage.blocks);
    }

    #[test]
    fn what_is_too_large_or_there_already_is_not_kept() {
        let blocks = Arc::new(BlockCache::new(10_000));
        let cache = ValueCache::new(Arc::clone(&blocks));
        cache.insert((FileNo(1), 0), &value(20_000));
        assert!(cache.get((FileNo(1), 0)).is_none());
        cache.insert((FileNo(1), 0), &value(10));
        let used = blocks.usage();
        cache.insert((FileNo(1), 0), &value(10));
        assert_eq!(blocks.usage(), used);
        blocks.set_budget(0);
        assert_eq!(blocks.usage().cached_bytes, 0);
        assert!(cache.get((FileNo(1), 0)).is_none());
    }

    #[test]
    fn a_value_in_use_is_not_taken_out() {
        let blocks = Arc::new(BlockCache::new(10_000));
        let cache = ValueCache::new(Arc::clone(&blocks));
        let held = value(100);
        cache.insert((FileNo(1), 0), &held);
        blocks.set_budget(0);
        assert!(cache.get((FileNo(1), 0)).is_some());
        drop(held);
        blocks.set_reserved(1);
        assert!(cache.get((FileNo(1), 0)).is_none());
    }
}
