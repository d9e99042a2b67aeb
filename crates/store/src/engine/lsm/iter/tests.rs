//! Merging and visibility against a model of operations, over every kind of source.

use super::*;
use crate::engine::lsm::cache::BlockCache;
use crate::engine::lsm::key::{Kind, Trailer, cmp_internal};
use crate::engine::lsm::memtable::Memtable;
use crate::engine::lsm::sealed_output::FileIdentity;
use crate::engine::lsm::table::format::Place;
use crate::engine::lsm::table::{TABLE_DIR, TableCursor, TableMeta, TableOptions, TableWriter, table_path};
use crate::engine::lsm::table_cache::TableCache;
use crate::engine::lsm::tombstone::FragmentedTombstones;
use crate::options::Compression;
use proptest::prelude::*;
use ringfort_base::world::Disk;
use ringfort_base::{Epoch, EvidenceKind, FileNo, Seq, StoreId};
use ringfort_fault::memory::MemDisk;
use ringfort_trust::keys::Secret;
use ringfort_trust::{Protection, Suite};
use std::collections::BTreeMap;
use std::sync::Arc;

const STORE: StoreId = StoreId([1; 16]);

#[derive(Clone, Debug)]
enum Op {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    DeleteRange(Vec<u8>, Vec<u8>),
}

/// Operation `i` has sequence number `i + 1`.
type Ops = Vec<Op>;
type Entries = Vec<(Vec<u8>, Trailer, Vec<u8>)>;

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(0..3u8, 1..4),
        1 => prop::collection::vec(0..2u8, 7..11),
    ]
}

fn ops(max: usize) -> impl Strategy<Value = Ops> {
    let op = prop_oneof![
        8 => (key(), prop::collection::vec(any::<u8>(), 0..30)).prop_map(|(k, v)| Op::Put(k, v)),
        3 => key().prop_map(Op::Delete),
        1 => (key(), key()).prop_map(|(a, b)| if a < b { Op::DeleteRange(a, b) } else { Op::DeleteRange(b, a) }),
    ];
    prop::collection::vec(op, 0..max)
}

fn model(ops: &Ops, snapshot: usize) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut map = BTreeMap::new();
    for op in &ops[..snapshot] {
        match op {
            Op::Put(key, value) => {
                map.insert(key.clone(), value.clone());
            }
            Op::Delete(key) => {
                map.remove(key);
            }
            Op::DeleteRange(from, to) => map.retain(|key, _| !(from <= key && key < to)),
        }
    }
    map
}

fn internal(ops: &Ops, range: std::ops::Range<usize>) -> (Entries, FragmentedTombstones) {
    let (mut entries, mut tombstones) = (Entries::new(), FragmentedTombstones::default());
    for i in range {
        let seq = Seq(i as u64 + 1);
        match &ops[i] {
            Op::Put(key, value) => entries.push((key.clone(), Trailer::new(seq, Kind::Put), value.clone())),
            Op::Delete(key) => entries.push((key.clone(), Trailer::new(seq, Kind::Delete), Vec::new())),
            Op::DeleteRange(from, to) => tombstones = tombstones.with(seq, from, to),
        }
    }
    entries.sort_by(|a, b| cmp_internal((&a.0, a.1), (&b.0, b.1)));
    (entries, tombstones)
}

struct Fixture {
    disk: MemDisk,
    cache: Arc<TableCache>,
    next_file: u64,
}

impl Fixture {
    fn new() -> Self {
        let disk = MemDisk::new();
        disk.create_dir(TABLE_DIR).unwrap();
        let blocks = Arc::new(BlockCache::new(1 << 20));
        let cache = Arc::new(TableCache::new(STORE, Arc::new(disk.clone()), blocks, 4, 1 << 20));
        Self { disk, cache, next_file: 1 }
    }

    fn table(
        &mut self,
        entries: &[(Vec<u8>, Trailer, Vec<u8>)],
        tombstones: &FragmentedTombstones,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> Option<Arc<TableMeta>> {
        let file = FileNo(self.next_file);
        self.next_file += 1;
        let identity = FileIdentity {
            place: Place { store: STORE, file },
            protection: Protection::Sealed(Suite::Aes256Gcm),
            key: Secret::from_verified([file.0 as u8; 32]),
            epoch: Epoch(1),
        };
        let options = TableOptions {
            block_bytes: 80,
            restart_interval: 3,
            bloom_bits_per_key: 10,
            prefix_bytes: 0,
            compression: Compression::None,
        };
        let mut writer = TableWriter::new(self.disk.create(&table_path(file)).unwrap(), identity, options);
        for (key, trailer, value) in entries {
            writer.add(key, *trailer, value).unwrap();
        }
        for fragment in tombstones.fragments().iter().filter_map(|f| f.clipped(from, to)) {
            writer.add_tombstone(&fragment).unwrap();
        }
        (!writer.is_empty()).then(|| Arc::new(writer.finish().unwrap()))
    }

    /// The operations of `range` as a level of tables, cut where the user key changes.
    fn level(&mut self, ops: &Ops, range: std::ops::Range<usize>, each: usize) -> Arc<[Arc<TableMeta>]> {
        let (entries, tombstones) = internal(ops, range);
        let mut metas = Vec::new();
        let (mut at, mut from) = (0, Vec::new());
        loop {
            let mut end = (at + each).min(entries.len());
            while end < entries.len() && entries[end].0 == entries[end - 1].0 {
                end += 1;
            }
            let to = entries.get(end).map(|entry| entry.0.clone());
            metas.extend(self.table(&entries[at..end], &tombstones, &from, to.as_deref()));
            let Some(to) = to else { return metas.into() };
            (at, from) = (end, to);
        }
    }

    /// Newest first: two memtables, two tables of level 0, two levels.
    fn sources(&mut self, ops: &Ops, cuts: &[usize; 5], each: usize) -> Box<dyn Fn() -> Vec<Source>> {
        let n = ops.len();
        let at = |i: usize| if i == 0 { 0 } else { cuts[i - 1] * n / 100 };
        let mut memtables = Vec::new();
        for range in [at(5)..n, at(4)..at(5)] {
            let memtable = Memtable::new(3).unwrap();
            let (entries, tombstones) = internal(ops, range);
            entries.iter().for_each(|(key, trailer, value)| {
                memtable.insert(trailer.seq(), trailer.kind().unwrap(), key, value).unwrap();
            });
            for fragment in tombstones.fragments() {
                fragment
                    .seqs
                    .iter()
                    .for_each(|seq| memtable.add_range_tombstone(*seq, &fragment.from, &fragment.to));
            }
            memtables.push(Arc::new(memtable));
        }
        let mut tables = Vec::new();
        for range in [at(3)..at(4), at(2)..at(3)] {
            let (entries, tombstones) = internal(ops, range);
            tables.extend(self.table(&entries, &tombstones, &[], None));
        }
        let levels = [self.level(ops, at(1)..at(2), each), self.level(ops, at(0)..at(1), each)];
        let cache = Arc::clone(&self.cache);
        Box::new(move || {
            let mut sources: Vec<Source> = memtables.iter().map(|m| Source::Memtable(m.cursor())).collect();
            sources.extend(tables.iter().map(|meta| {
                Source::Table(TableCursor::new(cache.get(meta).unwrap(), Arc::clone(cache.blocks()), true))
            }));
            sources.extend(
                levels.iter().map(|level| Source::Level(LevelCursor::new(level, Arc::clone(&cache), true))),
            );
            sources
        })
    }
}

fn shown(iter: &VisibleIter) -> Option<(Vec<u8>, Vec<u8>)> {
    iter.valid().then(|| {
        assert_eq!(iter.value(), &*iter.pin_value().unwrap());
        (iter.key().to_vec(), iter.value().to_vec())
    })
}

fn cuts() -> impl Strategy<Value = [usize; 5]> {
    prop::array::uniform5(0..=100usize).prop_map(|mut cuts| {
        cuts.sort_unstable();
        cuts
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn agrees_with_the_model(
        ops in ops(120), cuts in cuts(), each in 1..12usize, snapshot in 0..=100usize,
        bounds in prop::option::of((key(), prop::option::of(key()))),
        moves in prop::collection::vec((0..6u8, key()), 0..40),
    ) {
        let mut fixture = Fixture::new();
        let sources = fixture.sources(&ops, &cuts, each);
        let snapshot = snapshot * ops.len() / 100;
        let (from, to) = bounds.unwrap_or_default();
        let expected: Vec<_> = model(&ops, snapshot).into_iter()
            .filter(|(key, _)| from <= *key && to.as_ref().is_none_or(|to| key < to)).collect();
        let mut iter = VisibleIter::new(sources(), Seq(snapshot as u64), &from, to.as_deref()).unwrap();

        let mut forward = Vec::new();
        iter.seek_to_first().unwrap();
        while let Some(entry) = shown(&iter) {
            forward.push(entry);
            iter.next().unwrap();
        }
        prop_assert_eq!(&forward, &expected);
        prop_assert!(iter.depends().0 <= snapshot as u64);
        let mut backward = Vec::new();
        iter.seek_to_last().unwrap();
        while let Some(entry) = shown(&iter) {
            backward.push(entry);
            iter.prev().unwrap();
        }
        backward.reverse();
        prop_assert_eq!(&backward, &expected);

        // A walk of random moves, beside an index into the expected list.
        let mut at: Option<usize> = None;
        for (step, key) in moves {
            match step {
                0 => { iter.seek_to_first().unwrap(); at = (!expected.is_empty()).then_some(0); }
                1 => { iter.seek_to_last().unwrap(); at = expected.len().checked_sub(1); }
                2 => {
                    iter.seek(&key).unwrap();
                    at = Some(expected.partition_point(|e| e.0 < key)).filter(|at| *at < expected.len());
                }
                3 => {
                    iter.seek_before(&key).unwrap();
                    at = expected.partition_point(|e| e.0 < key).checked_sub(1);
                }
                4 => { iter.next().unwrap(); at = at.map(|at| at + 1).filter(|at| *at < expected.len()); }
                _ => { iter.prev().unwrap(); at = at.and_then(|at| at.checked_sub(1)); }
            }
            prop_assert_eq!(shown(&iter), at.map(|at| expected[at].clone()));
        }
    }

    #[test]
    fn a_merge_yields_every_internal_entry_in_order(ops in ops(120), cuts in cuts(), each in 1..12usize, turns in prop::collection::vec(any::<bool>(), 0..60)) {
        let mut fixture = Fixture::new();
        let sources = fixture.sources(&ops, &cuts, each);
        let (expected, _) = internal(&ops, 0..ops.len());
        let mut merge = MergingIter::new(sources());
        let entry = |merge: &MergingIter| merge.valid().then(|| (merge.key().to_vec(), merge.trailer(), merge.value().to_vec()));
        merge.seek_to_first().unwrap();
        for e in &expected {
            prop_assert_eq!(entry(&merge), Some(e.clone()));
            merge.next().unwrap();
        }
        prop_assert!(!merge.valid());
        merge.seek_to_last().unwrap();
        for e in expected.iter().rev() {
            prop_assert_eq!(entry(&merge), Some(e.clone()));
            merge.prev().unwrap();
        }
        prop_assert!(!merge.valid());
        let middle = expected.len() / 2;
        if let Some((key, trailer, _)) = expected.get(middle) {
            merge.seek(key, *trailer).unwrap();
            let mut at = Some(middle);
            for forward in turns {
                prop_assert_eq!(entry(&merge), at.map(|at| expected[at].clone()));
                if forward {
                    merge.next().unwrap();
                    at = at.map(|at| at + 1).filter(|at| *at < expected.len());
                } else {
                    merge.prev().unwrap();
                    at = at.and_then(|at| at.checked_sub(1));
                }
            }
        }
    }
}

#[test]
fn what_an_answer_depends_on_includes_deletions_and_tombstones() {
    let memtable = Arc::new(Memtable::new(1).unwrap());
    memtable.insert(Seq(1), Kind::Put, b"a", b"1").unwrap();
    memtable.insert(Seq(2), Kind::Put, b"b", b"1").unwrap();
    memtable.insert(Seq(5), Kind::Delete, b"b", b"").unwrap();
    memtable.insert(Seq(9), Kind::Put, b"c", b"1").unwrap();
    let depends = |to: &[u8], snapshot| {
        let sources = vec![Source::Memtable(memtable.cursor())];
        let mut forward = VisibleIter::new(sources, Seq(snapshot), b"a", Some(to)).unwrap();
        forward.seek_to_first().unwrap();
        while forward.valid() {
            forward.next().unwrap();
        }
        let sources = vec![Source::Memtable(memtable.cursor())];
        let mut backward = VisibleIter::new(sources, Seq(snapshot), b"a", Some(to)).unwrap();
        backward.seek_to_last().unwrap();
        while backward.valid() {
            backward.prev().unwrap();
        }
        assert_eq!(forward.depends(), backward.depends());
        forward.depends().0
    };
    assert_eq!((depends(b"b", 9), depends(b"c", 9), depends(b"c", 4), depends(b"d", 9)), (1, 5, 2, 9));
    memtable.add_range_tombstone(Seq(7), b"bb", b"bz");
    assert_eq!((depends(b"b", 9), depends(b"c", 9)), (1, 7), "a gap may be a tombstone's");
}

#[test]
fn a_scan_skips_what_a_tombstone_covers_without_reading_it() {
    let mut fixture = Fixture::new();
    let mut ops: Ops = (0..2000u32).map(|n| Op::Put(n.to_be_bytes().to_vec(), vec![1; 20])).collect();
    ops.push(Op::DeleteRange(vec![0], 1990u32.to_be_bytes().to_vec()));
    let level = fixture.level(&ops, 0..2000, 100);
    let (_, tombstones) = internal(&ops, 2000..2001);
    let table = fixture.table(&[], &tombstones, &[], None).unwrap();
    let sources = || {
        let cache = Arc::clone(&fixture.cache);
        let top = TableCursor::new(cache.get(&table).unwrap(), Arc::clone(cache.blocks()), true);
        vec![Source::Table(top), Source::Level(LevelCursor::new(&level, cache, true))]
    };
    for reverse in [false, true] {
        let before = fixture.cache.blocks().usage().blocks;
        let mut iter = VisibleIter::new(sources(), Seq(3000), &[], None).unwrap();
        let mut count = 0;
        if reverse {
            iter.seek_to_last().unwrap()
        } else {
            iter.seek_to_first().unwrap()
        }
        while iter.valid() {
            count += 1;
            if reverse { iter.prev().unwrap() } else { iter.next().unwrap() }
        }
        assert_eq!(count, 10);
        let blocks = fixture.cache.blocks().usage().blocks - before;
        assert!(blocks < 20, "{blocks} blocks were read for ten entries");
    }
}

#[test]
fn an_error_stays() {
    let mut fixture = Fixture::new();
    let ops: Ops = (0..500u32).map(|n| Op::Put(n.to_be_bytes().to_vec(), vec![1; 20])).collect();
    let level = fixture.level(&ops, 0..500, 100);
    let path = table_path(level[2].file);
    fixture.disk.poke(&path, 300, &[1, 2, 3]).unwrap();
    let source = Source::Level(LevelCursor::new(&level, Arc::clone(&fixture.cache), true));
    let mut iter = VisibleIter::new(vec![source], Seq(1000), &[], None).unwrap();
    iter.seek_to_first().unwrap();
    let mut seen = 0;
    let error = loop {
        assert!(iter.valid(), "the end was reached past a damaged block");
        seen += 1;
        if let Err(error) = iter.next() {
            break error;
        }
    };
    assert_eq!((error.proof().unwrap().kind, &error.proof().unwrap().file), (EvidenceKind::BadSeal, &path));
    assert!((200..300).contains(&seen), "all before the damage was shown: {seen}");
    assert!(!iter.valid());
    assert_eq!(iter.next().unwrap_err(), error);
    assert_eq!(iter.seek_to_first().unwrap_err(), error, "no way around");
    assert!(!iter.valid());
}
