//! The caches: budgets, priority, one read per miss.

use super::cache::*;
use super::table::block::{Block, BlockBuilder, Content};
use super::table::format::Plain;
use crate::engine::lsm::key::{Kind, Trailer};
use ringfort_base::{Error, ErrorKind, FileNo, Result, Seq};
use std::sync::atomic::{AtomicUsize, Ordering};

fn block(bytes: usize) -> Result<Block> {
    let mut builder = BlockBuilder::new(16);
    builder.add(b"k", Trailer::new(Seq(1), Kind::Put), &vec![1; bytes]);
    let mut plain = Vec::new();
    builder.finish_into(&mut plain);
    Ok(Block::parse(Plain::pretend(plain), Content::Data).unwrap())
}

const fn key(offset: u64) -> BlockKey {
    BlockKey { file: FileNo(1), offset }
}

#[test]
fn the_budget_is_kept() {
    let cache = BlockCache::new(1 << 20);
    for n in 0..2000 {
        cache.data_or(key(n), || block(4000)).unwrap();
        assert!(cache.usage().cached_bytes <= 1 << 20);
    }
    assert!(cache.usage().cached_bytes > 1 << 19, "and used: {:?}", cache.usage());
    cache.set_budget(1 << 18);
    assert!(cache.usage().cached_bytes <= 1 << 18, "{:?}", cache.usage());
    let large = cache.data_or(key(9999), || block(2 << 20)).unwrap();
    assert!(large.memory_bytes() > 2 << 20, "what never fits is read all the same");
    assert!(cache.usage().cached_bytes <= 1 << 18);
}

#[test]
fn what_guides_reads_outlives_a_flood_of_data_but_not_the_budget() {
    let cache = BlockCache::new(1 << 20);
    for n in 0..50 {
        cache.index_or(key(n), || block(4000)).unwrap();
    }
    for n in 1000..6000 {
        cache.data_or(key(n), || block(4000)).unwrap();
    }
    let kept = (0..50).filter(|n| cache.index(key(*n)).is_some()).count();
    assert_eq!(kept, 50, "indexes are kept while they are a small part");
    for n in 10_000..11_000 {
        cache.index_or(key(n), || block(4000)).unwrap();
    }
    let usage = cache.usage();
    assert!(usage.cached_bytes <= 1 << 20, "{usage:?}");
    assert!(usage.guide_bytes <= usage.cached_bytes, "the account balances: {usage:?}");
    for n in 20_000..30_000 {
        cache.data_or(key(n), || block(4000)).unwrap();
    }
    let usage = cache.usage();
    assert!(usage.guide_bytes <= (1 << 19) + 4500, "beyond half of the budget they yield: {usage:?}");
}

#[test]
fn a_failed_read_is_not_remembered_and_kinds_do_not_mix() {
    let cache = BlockCache::new(1 << 20);
    let fail = || Err(Error::new(ErrorKind::Io, "broken"));
    assert_eq!(cache.data_or(key(1), fail).err().unwrap().kind(), ErrorKind::Io);
    assert!(cache.data(key(1)).is_none());
    assert!(cache.data_or(key(1), || block(10)).is_ok());
    assert!(cache.index(key(1)).is_none());
    assert_eq!(cache.index_or(key(1), || block(10)).err().unwrap().kind(), ErrorKind::Internal);
}

#[test]
fn threads_that_miss_together_read_once() {
    let cache = BlockCache::new(1 << 20);
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
                    cache.data_or(key(n), load).unwrap();
                }
            });
        }
    });
    assert_eq!(reads.into_inner(), 100);
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
