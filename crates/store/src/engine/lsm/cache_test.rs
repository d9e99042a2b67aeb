//! The block cache: budget, warmth, guides, one read per miss, and nothing left of what is gone.

use super::cache::*;
use super::table::block::{Block, BlockBuilder, Content};
use super::table::format::Plain;
use crate::engine::lsm::key::{Kind, Trailer};
use ringfort_base::{Error, ErrorKind, Result, Seq};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn block(bytes: usize) -> Result<Block> {
    let mut builder = BlockBuilder::new(16);
    builder.add(b"k", Trailer::new(Seq(1), Kind::Put), &vec![1; bytes]);
    let mut plain = Vec::new();
    builder.finish_into(&mut plain);
    Ok(Block::parse(Plain::pretend(plain), Content::Data).unwrap())
}

struct Row(Slots<Block>);

impl Shelf for Row {
    fn sweep(&self, number: usize) -> Swept {
        self.0.get(number).map_or(Swept::Gone, Slot::sweep)
    }
}

impl Row {
    fn new(len: usize, cache: &BlockCache) -> Arc<Self> {
        Arc::new(Self(Slots::new(len, cache)))
    }

    fn fetch(
        self: &Arc<Self>,
        cache: &BlockCache,
        n: usize,
        load: impl FnOnce() -> Result<Block>,
    ) -> Result<Arc<Block>> {
        cache.fetch(self.0.get(n).unwrap(), (self, n), load)
    }

    fn is_resident(&self, n: usize) -> bool {
        self.0.get(n).unwrap().resident().is_some()
    }
}

#[test]
fn the_budget_is_kept() {
    let cache = BlockCache::new(1 << 20);
    let row = Row::new(3000, &cache);
    for n in 0..2000 {
        row.fetch(&cache, n, || block(4000)).unwrap();
        assert!(cache.usage().cached_bytes <= 1 << 20);
    }
    assert!(cache.usage().cached_bytes > 1 << 19, "and used: {:?}", cache.usage());
    cache.set_budget(1 << 19);
    assert!(cache.usage().cached_bytes <= 1 << 19, "{:?}", cache.usage());
    cache.set_reserved(1 << 18);
    assert!(cache.usage().cached_bytes <= 1 << 18, "memtables have a part of it: {:?}", cache.usage());
    let pinned = cache.pin_bytes(1 << 17);
    row.fetch(&cache, 2000, || block(4000)).unwrap();
    assert!(cache.usage().cached_bytes <= 1 << 17, "and open tables: {:?}", cache.usage());
    drop(pinned);
    let large = row.fetch(&cache, 2001, || block(2 << 20)).unwrap();
    assert!(large.memory_bytes() > 2 << 20, "what never fits is read all the same");
    assert!(cache.usage().cached_bytes <= 1 << 18);
}

#[test]
fn what_is_read_often_outlives_a_scan() {
    let cache = BlockCache::new(1 << 20);
    let row = Row::new(5000, &cache);
    for n in (0..50).chain(0..50) {
        row.fetch(&cache, n, || block(4000)).unwrap();
    }
    for n in 1000..1800 {
        row.fetch(&cache, n, || block(4000)).unwrap();
        if n % 50 == 0 {
            (0..50).for_each(|n| drop(row.fetch(&cache, n, || block(4000)).unwrap()));
        }
    }
    assert_eq!((0..50).filter(|n| row.is_resident(*n)).count(), 50);
    assert!(!row.is_resident(1000), "the scan went through");
}

#[test]
fn guides_are_pinned_up_to_half_of_the_budget() {
    let cache = BlockCache::new(1 << 20);
    let row = Row::new(500, &cache);
    let pins: Vec<Pin<Block>> = (0..500).map(|_| Pin::new()).collect();
    let fetch = |n: usize| {
        let place = (&pins[n], row.0.get(n).unwrap());
        cache.fetch_guide(place, (&row, n), || block(4000)).unwrap()
    };
    (0..500).for_each(|n| drop(fetch(n)));
    let pinned = pins.iter().filter(|pin| pin.get().is_some()).count();
    let usage = cache.usage();
    assert!((120..=131).contains(&pinned), "{pinned}");
    assert!(usage.pinned_bytes <= 1 << 19 && usage.cached_bytes <= (1 << 20) - usage.pinned_bytes);
    assert!(usage.blocks > 50, "more of them stand in the cache: {usage:?}");
    assert!(Arc::ptr_eq(&fetch(0), &pins[0].get().unwrap().0), "and are found where they are pinned");
    drop(pins);
    assert_eq!(cache.pinned_bytes(), 0);
}

#[test]
fn a_failed_read_is_not_remembered() {
    let cache = BlockCache::new(1 << 20);
    let row = Row::new(2, &cache);
    let fail = || Err(Error::new(ErrorKind::Io, "broken"));
    assert_eq!(row.fetch(&cache, 1, fail).err().unwrap().kind(), ErrorKind::Io);
    assert!(!row.is_resident(1));
    assert!(row.fetch(&cache, 1, || block(10)).is_ok());
    assert!(row.is_resident(1));
}

#[test]
fn what_a_table_had_goes_with_it() {
    let cache = BlockCache::new(1 << 20);
    for round in 0..100 {
        let row = Row::new(100, &cache);
        (0..100).for_each(|n| drop(row.fetch(&cache, n, || block(1000)).unwrap()));
        let used = cache.usage();
        assert_eq!(used.blocks, 100, "round {round}");
        drop(row);
        let usage = cache.usage();
        assert_eq!((usage.cached_bytes, usage.blocks), (0, 0), "the account balances");
    }
    assert!(cache.remembered() < 5000, "the ring forgets what is gone: {}", cache.remembered());
}

#[test]
fn threads_that_miss_together_read_once() {
    let cache = BlockCache::new(1 << 20);
    let row = Row::new(100, &cache);
    let reads = AtomicUsize::new(0);
    let all_there = std::sync::Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                all_there.wait();
                for n in 0..100 {
                    let load = || {
                        reads.fetch_add(1, Ordering::Relaxed);
                        block(1000)
                    };
                    row.fetch(&cache, n, load).unwrap();
                }
            });
        }
    });
    assert_eq!(reads.into_inner(), 100);
}

/// Many threads over a cache that is much too small, while the budget moves: the account balances.
#[test]
fn the_account_balances_under_threads() {
    let cache = BlockCache::new(1 << 18);
    let row = Row::new(400, &cache);
    std::thread::scope(|scope| {
        for thread in 0..4usize {
            let (cache, row) = (&cache, &row);
            scope.spawn(move || {
                for n in 0..2000usize {
                    let at = (n * (2 * thread + 7) + thread) % 400;
                    let found = row.fetch(cache, at, || block(1000 + at)).unwrap();
                    assert!(found.memory_bytes() > 1000 + at);
                    if n % 100 == 0 {
                        cache.set_budget((1 << 18) + (n << 4));
                    }
                }
            });
        }
    });
    cache.set_budget(1 << 18);
    let usage = cache.usage();
    let held = (0..400).filter(|n| row.is_resident(*n)).count();
    assert_eq!(usage.blocks, held);
    assert!(usage.cached_bytes <= 1 << 18 && held > 100, "{usage:?}");
    drop(row);
    assert_eq!((cache.usage().cached_bytes, cache.usage().blocks), (0, 0));
}

#[test]
fn pinned_memory_is_counted_while_it_is_held() {
    let cache = BlockCache::new(1 << 20);
    let (one, two) = (cache.pin_bytes(100), cache.pin_bytes(50));
    assert_eq!(cache.usage().pinned_bytes, 150);
    drop(one);
    assert_eq!((cache.pinned_bytes(), two.bytes()), (50, 50));
    drop(two);
    assert_eq!(cache.pinned_bytes(), 0);
}
