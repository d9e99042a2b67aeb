//! Bulk loads: what they promise besides agreeing with the model (`conformance`) and surviving every
//! cut (`crash`).

use crate::common::{MODES, Machine, dump, get, put, settle, small};
use ringfort_base::{ErrorKind, Level};
use ringfort_store::{KeyspaceOptions, WriteBatch};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

fn entries(range: std::ops::Range<u32>, value: &str) -> impl Iterator<Item = ([u8; 4], String)> {
    range.map(move |i| (i.to_be_bytes(), format!("{value} {i}")))
}

#[test]
fn a_load_is_newer_than_what_was_and_older_than_what_comes() {
    for mode in MODES {
        let machine = Machine::new(mode, 1);
        let store = machine.open().unwrap();
        let ks = store.create_keyspace("ks", small()).unwrap();
        let key = |i: u32| i.to_be_bytes();
        put(&store, ks, &key(5), b"in a table", Level::Buffered).unwrap();
        store.flush(None).unwrap();
        put(&store, ks, &key(6), b"in a memtable", Level::Buffered).unwrap();
        let mut batch = WriteBatch::new();
        batch.delete_range(ks, key(7), key(9));
        store.apply(batch).unwrap();
        let before = store.snapshot();
        let ticket = crate::common::now(store.bulk_load(ks, entries(0..2000, "loaded"))).unwrap();
        assert!(store.frontier(Level::Fresh) >= ticket.position, "anchored on return");
        for i in [0, 5, 6, 7, 8, 1999] {
            let value = get(&store, ks, &key(i)).unwrap().unwrap();
            assert_eq!(value, format!("loaded {i}").into_bytes(), "{mode}: {i}");
        }
        let old = |i: u32| store.get(ks, &key(i), Some(&before)).unwrap().value.map(|value| value.to_vec());
        assert_eq!((old(5), old(6)), (Some(b"in a table".to_vec()), Some(b"in a memtable".to_vec())));
        assert_eq!((old(7), old(0), old(1999)), (None, None, None), "the snapshot is older");
        put(&store, ks, &key(6), b"later", Level::Buffered).unwrap();
        store.flush(None).unwrap();
        drop(before);
        store.compact_range(ks, None, None).unwrap();
        settle(&store).unwrap();
        store.verify_checksums().unwrap();
        drop(store);
        let store = machine.after_kill().open().unwrap();
        let ks = store.keyspace("ks").unwrap();
        let all = dump(&store, ks).unwrap();
        assert_eq!(all.len(), 2000);
        assert_eq!(all[6], (key(6).to_vec(), b"later".to_vec()));
    }
}

#[test]
fn what_is_not_sorted_or_too_long_is_refused_and_leaves_nothing() {
    let machine = Machine::new(MODES[0], 2);
    let store = machine.open().unwrap();
    let ks = store.create_keyspace("ks", small()).unwrap();
    let tables = || machine.data.files().keys().filter(|path| path.starts_with("tables/")).count();
    let position = store.frontier(Level::Buffered);
    let long = vec![0; ringfort_base::limits::KEY_BYTES_MAX + 1];
    let bad: [Vec<&[u8]>; 4] = [vec![b"b", b"a"], vec![b"a", b"a"], vec![b"a", b"b", b""], vec![b"a", &long]];
    for keys in bad {
        let error = crate::common::now(store.bulk_load(ks, keys.iter().map(|key| (key, "v")))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert_eq!(tables(), 0, "a file was left");
    }
    let nothing: [(&str, &str); 0] = [];
    crate::common::now(store.bulk_load(ks, nothing)).unwrap();
    assert_eq!(store.frontier(Level::Buffered), position, "a position was taken for nothing");
    assert!(store.stopped().is_none() && dump(&store, ks).unwrap().is_empty());
}

#[test]
fn a_load_goes_as_deep_as_nothing_hides_it_and_is_compacted_from_there() {
    let machine = Machine::new(MODES[0], 3);
    let store = machine.open().unwrap();
    let options = KeyspaceOptions { table_bytes: 32 << 10, level1_bytes: 64 << 10, ..small() };
    let ks = store.create_keyspace("ks", options).unwrap();
    let levels = || store.levels(ks).unwrap().iter().map(|level| level.0).collect::<Vec<_>>();
    crate::common::now(store.bulk_load(ks, entries(0..20_000, "first"))).unwrap();
    let first = levels();
    assert_eq!(first[..2], [0, 0], "{first:?}: too much for level 1");
    assert!(first.iter().sum::<usize>() > 4, "{first:?}: cut into tables");
    // Beside it: the same level. Over it: the level above.
    crate::common::now(store.bulk_load(ks, entries(30_000..30_100, "beside"))).unwrap();
    let deep = first.iter().position(|tables| *tables > 0).unwrap();
    assert_eq!(levels()[deep], first[deep] + 1, "{:?}", levels());
    crate::common::now(store.bulk_load(ks, entries(10_000..10_100, "over"))).unwrap();
    assert_eq!(levels()[deep - 1], 1, "{:?}", levels());
    settle(&store).unwrap();
    store.compact_range(ks, None, None).unwrap();
    let all = dump(&store, ks).unwrap();
    assert_eq!(all.len(), 20_100);
    assert_eq!(all[10_050], (10_050u32.to_be_bytes().to_vec(), b"over 10050".to_vec()));
}

/// Others write on, into the same tree and into the range itself.
#[test]
fn a_load_among_writers_is_complete() {
    let machine = Machine::new(MODES[0], 4);
    let store = machine.open().unwrap();
    let ks =
        store.create_keyspace("ks", KeyspaceOptions { write_buffer_bytes: 16 << 10, ..small() }).unwrap();
    let (done, written) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let n = written.fetch_add(1, Ordering::Relaxed);
                put(&store, ks, &(100_000 + n % 500).to_be_bytes(), &n.to_be_bytes(), Level::Buffered)
                    .unwrap();
                store.maintenance_step().unwrap();
            }
        });
        for round in 0..10 {
            while written.load(Ordering::Relaxed) <= round * 20 {
                std::thread::yield_now();
            }
            crate::common::now(store.bulk_load(ks, entries(round * 1000..round * 1000 + 500, "loaded")))
                .unwrap();
            let loaded = |(key, _): &(Vec<u8>, Vec<u8>)| *key < 100_000u32.to_be_bytes().to_vec();
            let count = dump(&store, ks).unwrap().into_iter().filter(loaded).count();
            assert_eq!(count as u32, (round + 1) * 500);
        }
        done.store(true, Ordering::Relaxed);
    });
    settle(&store).unwrap();
    store.verify_checksums().unwrap();
}
