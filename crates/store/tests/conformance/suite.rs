//! The suite: each check gets a store of its own.

use crate::common::{Machine, dump, get, put, settle};
use crate::model::{Prepend, stored};
use ringfort_base::limits::{BATCH_VALUE_BYTES_MAX, KEY_BYTES_MAX};
use ringfort_base::{ErrorKind, KeyspaceId, Level};
use ringfort_store::{KeyspaceOptions, Snapshot, Store, WriteBatch};
use ringfort_trust::keyfile::Mode;
use std::collections::BTreeMap;
use std::sync::Arc;

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// What is under test.
pub struct Setup {
    pub engine: &'static str,
    pub mode: Mode,
    pub options: KeyspaceOptions,
}

impl Setup {
    fn open(&self) -> (Machine, Store, KeyspaceId) {
        let machine = Machine::new(self.mode, 42);
        let store = machine.open().unwrap();
        let ks = store.create_keyspace("ks", self.options.clone()).unwrap();
        (machine, store, ks)
    }
}

/// Runs every check.
pub fn conformance(setup: &Setup) {
    type Check = fn(&Setup);
    let checks: [(&str, Check); 19] = [
        ("points", points),
        ("range deletes", range_deletes),
        ("batches are atomic over keyspaces", batches),
        ("snapshots", snapshots),
        ("iterators", iterators),
        ("iterators stand still", iterators_stand_still),
        ("empty keys and values", empty),
        ("values by the piece", stored_values),
        ("counts", counts),
        ("merges", merges),
        ("merges that cannot be carried out", failing_merges),
        ("operands go", operands_go),
        ("upkeep", upkeep),
        ("many tables", many_tables),
        ("a large index", large_index),
        ("keyspaces", keyspaces),
        ("wrong requests", wrong_requests),
        ("positions in order of submission", submitted_in_order),
        ("reopening", reopening),
    ];
    for (name, check) in checks {
        println!("{}, {}: {name}", setup.engine, setup.mode);
        check(setup);
    }
}

fn write(store: &Store, f: impl FnOnce(&mut WriteBatch)) {
    let mut batch = WriteBatch::new();
    f(&mut batch);
    store.apply(batch).unwrap();
}

fn delete(store: &Store, ks: KeyspaceId, key: &[u8]) {
    write(store, |batch| batch.delete(ks, key));
}

fn set(store: &Store, ks: KeyspaceId, key: &[u8], value: &[u8]) {
    put(store, ks, key, value, Level::Buffered).unwrap();
}

fn keys(entries: &[(Vec<u8>, Vec<u8>)]) -> Vec<String> {
    entries.iter().map(|(key, _)| String::from_utf8_lossy(key).into_owned()).collect()
}

fn range(
    store: &Store,
    ks: KeyspaceId,
    from: &[u8],
    to: Option<&[u8]>,
    reverse: bool,
    at: &Snapshot,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    store.iter(ks, from, to, reverse, at).unwrap().collect::<Result<_, _>>().unwrap()
}

/// After each of the places that data passes on its way down: memtable, table, deeper levels.
fn at_every_depth(store: &Store, ks: KeyspaceId, mut check: impl FnMut(&str)) {
    check("in the memtable");
    store.flush(Some(ks)).unwrap();
    check("in a table");
    settle(store).unwrap();
    check("settled");
    store.compact_range(ks, None, None).unwrap();
    check("compacted");
    settle(store).unwrap();
    check("purged");
}

fn points(setup: &Setup) {
    let (_machine, store, ks) = setup.open();
    assert_eq!(get(&store, ks, b"k").unwrap(), None);
    set(&store, ks, b"k", b"1");
    set(&store, ks, b"k", b"2");
    set(&store, ks, b"gone", b"x");
    delete(&store, ks, b"gone");
    delete(&store, ks, b"never");
    at_every_depth(&store, ks, |place| {
        assert_eq!(get(&store, ks, b"k").unwrap().as_deref(), Some(b"2".as_slice()), "{place}");
        assert_eq!(get(&store, ks, b"gone").unwrap(), None, "{place}");
        assert_eq!(get(&store, ks, b"never").unwrap(), None, "{place}");
        assert_eq!(get(&store, ks, b"k\0").unwrap(), None, "{place}");
        assert_eq!(keys(&dump(&store, ks).unwrap()), ["k"], "{place}");
    });
    // Deleted below, set again above; overwritten below and deleted above.
    set(&store, ks, b"gone", b"back");
    delete(&store, ks, b"k");
    at_every_depth(&store, ks, |place| {
        assert_eq!(keys(&dump(&store, ks).unwrap()), ["gone"], "{place}");
        assert_eq!(get(&store, ks, b"k").unwrap(), None, "{place}");
    });
}

fn range_deletes(setup: &Setup) {
    let (_machine, store, ks) = setup.open();
    for key in ["a", "b", "c", "d", "e", "f"] {
        set(&store, ks, key.as_bytes(), b"old");
    }
    store.flush(None).unwrap();
    let before = store.snapshot();
    write(&store, |batch| batch.delete_range(ks, b"b", b"e"));
    set(&store, ks, b"c", b"new");
    // Empty and inverted ranges cover nothing.
    write(&store, |batch| {
        batch.delete_range(ks, b"f", b"f");
        batch.delete_range(ks, b"f", b"a");
    });
    at_every_depth(&store, ks, |place| {
        assert_eq!(keys(&dump(&store, ks).unwrap()), ["a", "c", "e", "f"], "{place}");
        assert_eq!(get(&store, ks, b"b").unwrap(), None, "{place}");
        assert_eq!(get(&store, ks, b"c").unwrap().as_deref(), Some(b"new".as_slice()), "{place}");
        assert_eq!(
            keys(&range(&store, ks, b"", None, true, &before)),
            ["f", "e", "d", "c", "b", "a"],
            "{place}"
        );
        let old = store.get(ks, b"c", Some(&before)).unwrap().value;
        assert_eq!(old.as_deref(), Some(b"old".as_slice()), "{place}");
    });
    drop(before);
    // Put and deleted by range in one batch: the order within the batch decides.
    write(&store, |batch| {
        batch.put(ks, b"x1", b"");
        batch.delete_range(ks, b"x", b"y");
        batch.put(ks, b"x2", b"");
    });
    at_every_depth(&store, ks, |place| {
        assert_eq!(keys(&dump(&store, ks).unwrap()), ["a", "c", "e", "f", "x2"], "{place}");
    });
    write(&store, |batch| batch.delete_range(ks, b"", b"\xff"));
    at_every_depth(&store, ks, |place| assert!(dump(&store, ks).unwrap().is_empty(), "{place}"));
}

fn batches(setup: &Setup) {
    let (machine, store, ks) = setup.open();
    let other = store.create_keyspace("other", setup.options.clone()).unwrap();
    for i in 0..20u8 {
        let before = store.snapshot();
        let mut batch = WriteBatch::new();
        batch.put(ks, [i], [i]);
        let mut more = WriteBatch::new();
        more.put(other, [i], [i]);
        more.delete(ks, [i.wrapping_sub(2)]);
        batch.append(more);
        let ticket = store.submit(batch).unwrap();
        assert_eq!(get(&store, ks, &[i]).unwrap(), None, "visible before it was logged");
        store.log_step().unwrap();
        assert_eq!(store.frontier(Level::Buffered), ticket.position);
        let now = store.snapshot();
        for keyspace in [ks, other] {
            assert!(store.get(keyspace, &[i], Some(&before)).unwrap().value.is_none());
            assert!(store.get(keyspace, &[i], Some(&now)).unwrap().value.is_some());
        }
        if i % 5 == 2 {
            store.flush(Some(if i % 2 == 0 { ks } else { other })).unwrap();
        }
    }
    let expected = (dump(&store, ks).unwrap(), dump(&store, other).unwrap());
    assert_eq!((expected.0.len(), expected.1.len()), (2, 20));
    drop(store);
    let store = machine.after_kill().open().unwrap();
    assert_eq!((dump(&store, ks).unwrap(), dump(&store, other).unwrap()), expected);
}

fn snapshots(setup: &Setup) {
    let (_machine, store, ks) = setup.open();
    let mut views: Vec<(Snapshot, Entries)> = Vec::new();
    for round in 0..6u8 {
        for i in 0..40u8 {
            set(&store, ks, &[i], &[round; 100]);
        }
        delete(&store, ks, &[round]);
        write(&store, |batch| batch.delete_range(ks, [30 - round], [33 - round]));
        let snapshot = store.snapshot();
        let seen = range(&store, ks, b"", None, false, &snapshot);
        assert_eq!(seen, dump(&store, ks).unwrap());
        views.push((snapshot, seen));
        if round % 2 == 0 {
            store.flush(None).unwrap();
        }
    }
    let check = |views: &[(Snapshot, Entries)], place: &str| {
        for (snapshot, seen) in views {
            assert_eq!(range(&store, ks, b"", None, false, snapshot), *seen, "{place}");
            let mut reversed = range(&store, ks, b"", None, true, snapshot);
            reversed.reverse();
            assert_eq!(reversed, *seen, "{place}");
            for i in 0..40u8 {
                let expected = seen.iter().find(|(key, _)| key == &[i]).map(|(_, value)| value.as_slice());
                assert_eq!(
                    store.get(ks, &[i], Some(snapshot)).unwrap().value.as_deref(),
                    expected,
                    "{place}"
                );
            }
        }
    };
    at_every_depth(&store, ks, |place| check(&views, place));
    views.remove(3);
    views.remove(0);
    at_every_depth(&store, ks, |place| check(&views, place));
}

fn iterators(setup: &Setup) {
    let (_machine, store, ks) = setup.open();
    let mut model = BTreeMap::new();
    for i in 0..200u32 {
        let key = format!("{:03}", i * 7 % 200).into_bytes();
        set(&store, ks, &key, &i.to_le_bytes());
        model.insert(key, i.to_le_bytes().to_vec());
        if i % 60 == 59 {
            store.flush(None).unwrap();
        }
    }
    let bounds: [(&[u8], Option<&[u8]>); 8] = [
        (b"", None),
        (b"050", None),
        (b"", Some(b"050")),
        (b"0500", Some(b"0991")),
        (b"100", Some(b"101")),
        (b"100", Some(b"100")),
        (b"199", None),
        (b"2", None),
    ];
    at_every_depth(&store, ks, |place| {
        let snapshot = store.snapshot();
        for (from, to) in bounds {
            let expected: Vec<_> = model
                .range(from.to_vec()..)
                .take_while(|(key, _)| to.is_none_or(|to| key.as_slice() < to))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            assert_eq!(range(&store, ks, from, to, false, &snapshot), expected, "{place} {from:?}..{to:?}");
            let mut reversed = range(&store, ks, from, to, true, &snapshot);
            reversed.reverse();
            assert_eq!(reversed, expected, "{place} {from:?}..{to:?} in reverse");
        }
    });
}

/// An iterator shows its snapshot to its end, whatever happens meanwhile.
fn iterators_stand_still(setup: &Setup) {
    let (_machine, store, ks) = setup.open();
    for i in 0..300u32 {
        set(&store, ks, &i.to_be_bytes(), &[1; 60]);
    }
    for reverse in [false, true] {
        let snapshot = store.snapshot();
        let iter = store.iter(ks, b"", None, reverse, &snapshot).unwrap();
        drop(snapshot); // the iterator keeps what it needs
        let mut seen = 0;
        for entry in iter {
            let (_, value) = entry.unwrap();
            assert_eq!(value[..59], [1; 59]);
            seen += 1;
            match seen {
                50 => (0..300u32).for_each(|i| set(&store, ks, &i.to_be_bytes(), &[1; 59])),
                100 => write(&store, |batch| batch.delete_range(ks, b"", b"\xff")),
                150 => store.flush(None).unwrap(),
                200 => store.compact_range(ks, None, None).unwrap(),
                250 => settle(&store).unwrap(),
                _ => {}
            }
        }
        assert_eq!(seen, 300);
        assert!(dump(&store, ks).unwrap().is_empty());
        for i in 0..300u32 {
            set(&store, ks, &i.to_be_bytes(), &[1; 60]);
        }
    }
}

fn empty(setup: &Setup) {
    let (_machine, store, ks) = setup.open();
    set(&store, ks, b"", b"the empty key");
    set(&store, ks, b"\0", b"");
    set(&store, ks, b"\xff\xff", b"");
    at_every_depth(&store, ks, |place| {
        assert_eq!(get(&store, ks, b"").unwrap().as_deref(), Some(b"the empty key".as_slice()), "{place}");
        assert_eq!(get(&store, ks, b"\0").unwrap().as_deref(), Some(b"".as_slice()), "{place}");
        assert_eq!(dump(&store, ks).unwrap().len(), 3, "{place}");
        let snapshot = store.snapshot();
        assert_eq!(range(&store, ks, b"", Some(b"\0"), false, &snapshot).len(), 1, "{place}");
        assert_eq!(range(&store, ks, b"", Some(b""), true, &snapshot).len(), 0, "{place}");
        assert_eq!(range(&store, ks, b"\0", None, true, &snapshot).len(), 2, "{place}");
    });
    // A batch of nothing is as old as everything before it.
    let ticket = store.apply(WriteBatch::new()).unwrap();
    assert_eq!(ticket.position, store.frontier(Level::Buffered));
    delete(&store, ks, b"");
    at_every_depth(&store, ks, |place| assert_eq!(get(&store, ks, b"").unwrap(), None, "{place}"));
}

/// Values that are written by the piece, short ones and ones with files of their own, are values.
fn stored_values(setup: &Setup) {
    let (machine, store, ks) = setup.open();
    let value = |len: usize| (0..len).map(|i| (i % 253) as u8).collect::<Vec<u8>>();
    let lens = [0, 1, 49, 50, 51, 400, 3000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 19];
    let rows: Entries = lens.iter().map(|len| (format!("key {len:08}").into_bytes(), value(*len))).collect();
    set(&store, ks, b"key", b"before");
    for (key, value) in &rows {
        write(&store, |batch| batch.put_stored(ks, key, stored(&store, value).unwrap()));
    }
    let at_first = store.snapshot();
    // Overwritten by an ordinary value, by another of its kind, removed.
    write(&store, |batch| batch.put(ks, &rows[4].0, b"new"));
    write(&store, |batch| batch.put_stored(ks, &rows[5].0, stored(&store, &value(700)).unwrap()));
    delete(&store, ks, &rows[6].0);
    let mut expected = rows.clone();
    expected[4].1 = b"new".to_vec();
    expected[5].1 = value(700);
    expected.remove(6);
    expected.insert(0, (b"key".to_vec(), b"before".to_vec()));
    let check = |store: &Store, place: &str| {
        assert!(dump(store, ks).unwrap() == expected, "{place}");
        let keys: Vec<&[u8]> = expected.iter().map(|(key, _)| key.as_slice()).collect();
        let answer = store.multi_get(ks, &keys, None).unwrap();
        for ((key, value), many) in expected.iter().zip(answer.value) {
            assert!(get(store, ks, key).unwrap().as_ref() == Some(value), "{place}: {} bytes", value.len());
            assert!(many.unwrap() == *value, "{place}");
            let mut reader = store.value_reader(ks, key, None).unwrap().value.unwrap();
            assert_eq!((reader.len(), reader.is_empty()), (value.len(), value.is_empty()));
            for at in [0, 1, value.len() / 2, value.len().saturating_sub(1)] {
                let bytes = reader.read_at(at).unwrap();
                assert!(!bytes.is_empty() || at >= value.len());
                assert!(*bytes == value[at.min(value.len())..][..bytes.len()], "{place}: from {at}");
            }
            assert_eq!(reader.read_at(value.len()).unwrap(), b"");
            assert!(reader.into_value().unwrap() == *value, "{place}");
        }
        assert!(store.value_reader(ks, b"none", None).unwrap().value.is_none());
    };
    check(&store, "before anything");
    assert!(range(&store, ks, b"key 0", None, false, &at_first) == rows, "a snapshot");
    assert!(range(&store, ks, b"key 0", None, true, &at_first).into_iter().rev().eq(rows.iter().cloned()));
    drop(store);
    let store = machine.after_kill().open().unwrap();
    check(&store, "recovered from the log");
    at_every_depth(&store, ks, |place| check(&store, place));
    store.verify_checksums().unwrap();
}

/// Once, with the largest that a batch may hold; and one byte more is refused.
pub fn the_largest_key_and_value(setup: &Setup) {
    let (machine, store, ks) = setup.open();
    let key = vec![b'k'; KEY_BYTES_MAX];
    let value: Vec<u8> = (0..BATCH_VALUE_BYTES_MAX).map(|i| (i % 251) as u8).collect();
    put(&store, ks, &key, &value, Level::Durable).unwrap();
    assert!(get(&store, ks, &key).unwrap() == Some(value.clone()), "in the memtable");
    for (key, value) in
        [(vec![0; KEY_BYTES_MAX + 1], Vec::new()), (Vec::new(), vec![0; BATCH_VALUE_BYTES_MAX + 1])]
    {
        let mut batch = WriteBatch::new();
        batch.put(ks, key, value);
        let error = store.submit(batch).unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.message().contains("at most"), "{error}");
    }
    drop(store);
    let store = machine.after_kill().open().unwrap();
    assert!(get(&store, ks, &key).unwrap() == Some(value.clone()), "recovered");
    store.flush(None).unwrap();
    assert!(get(&store, ks, &key).unwrap() == Some(value.clone()), "in a table");
    assert!(dump(&store, ks).unwrap() == [(key, value)], "by an iterator");
    assert!(store.verify_checksums().unwrap() > BATCH_VALUE_BYTES_MAX as u64);
}

fn counts(setup: &Setup) {
    let (machine, store, ks) = setup.open();
    assert_eq!(store.count(ks).unwrap().value, 0);
    for delta in [5, -2, i64::from(i32::MAX), -1] {
        write(&store, |batch| batch.count(ks, delta));
        store.flush(None).unwrap();
    }
    write(&store, |batch| {
        batch.count(ks, 10);
        batch.put(ks, b"k", b"v");
    });
    let expected = 5 - 2 + i64::from(i32::MAX) - 1 + 10;
    at_every_depth(&store, ks, |place| assert_eq!(store.count(ks).unwrap().value, expected, "{place}"));
    write(&store, |batch| batch.count(ks, -10));
    drop(store);
    let store = machine.after_kill().open().unwrap();
    assert_eq!(store.count(ks).unwrap().value, expected - 10);
}

/// A store with a keyspace per operator.
fn merging(setup: &Setup, operators: &[&str]) -> (Machine, Store, Vec<KeyspaceId>) {
    let machine = Machine::new(setup.mode, 42);
    let store = open_with_prepend(&machine);
    let create = |name: &&str| {
        let options = KeyspaceOptions { merge_operator: Some((*name).to_owned()), ..setup.options.clone() };
        store.create_keyspace(name, options).unwrap()
    };
    let ids = operators.iter().map(create).collect();
    (machine, store, ids)
}

fn open_with_prepend(machine: &Machine) -> Store {
    let mut options = machine.options();
    options.merge_operators.register(Arc::new(Prepend));
    Store::open(machine.world(), options).unwrap()
}

fn merge(store: &Store, ks: KeyspaceId, key: &[u8], operand: &[u8]) {
    write(store, |batch| batch.merge(ks, key, operand));
}

fn merges(setup: &Setup) {
    let operators = ["add_u64", "max", "min", "append:2c", "test.prepend"];
    let (_machine, store, ids) = merging(setup, &operators);
    let [add, max, min, append, prepend] = ids[..] else { panic!("five keyspaces") };
    let n = |n: u64| n.to_le_bytes();
    for i in 0..20u64 {
        merge(&store, add, b"hits", &n(i));
        merge(&store, max, b"m", &[i as u8 * 7 % 20]);
        merge(&store, min, b"m", &[i as u8 * 7 % 20 + 1]);
    }
    for ks in [append, prepend] {
        set(&store, ks, b"a", b"0");
        merge(&store, ks, b"a", b"1");
        set(&store, ks, b"deleted", b"0");
        delete(&store, ks, b"deleted");
        merge(&store, ks, b"deleted", b"1");
        set(&store, ks, b"ranged", b"0");
        merge(&store, ks, b"ranged", b"x");
        write(&store, |batch| batch.delete_range(ks, b"ranged", b"rangee"));
        merge(&store, ks, b"ranged", b"1");
        merge(&store, ks, b"z", b"1");
    }
    store.flush(None).unwrap();
    let before = store.snapshot();
    for ks in [append, prepend] {
        for key in [b"a".as_slice(), b"deleted", b"ranged", b"z"] {
            merge(&store, ks, key, b"2");
        }
        merge(&store, ks, b"covered", b"1");
        merge(&store, ks, b"overwritten", b"1");
        set(&store, ks, b"overwritten", b"whole");
        write(&store, |batch| batch.delete_range(ks, b"covered", b"coverer"));
    }
    let entries = |pairs: &[(&str, &str)]| -> Entries {
        pairs.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
    };
    let appended = entries(&[
        ("a", "0,1,2"),
        ("deleted", "1,2"),
        ("overwritten", "whole"),
        ("ranged", "1,2"),
        ("z", "1,2"),
    ]);
    let prepended = entries(&[
        ("a", "2|1|0"),
        ("deleted", "2|1"),
        ("overwritten", "whole"),
        ("ranged", "2|1"),
        ("z", "2|1"),
    ]);
    let old = |a: &str| entries(&[("a", a), ("deleted", "1"), ("ranged", "1"), ("z", "1")]);
    for round in 0..2 {
        at_every_depth_of(&store, &ids, |place| {
            let now = store.snapshot();
            for (ks, expected, old) in [(append, &appended, old("0,1")), (prepend, &prepended, old("1|0"))] {
                for reverse in [false, true] {
                    let seen = |at| {
                        let mut seen = range(&store, ks, b"", None, reverse, at);
                        if reverse {
                            seen.reverse();
                        }
                        seen
                    };
                    assert_eq!(&seen(&now), expected, "{place}, reverse {reverse}, round {round}");
                    if round == 0 {
                        assert_eq!(seen(&before), old, "{place}, reverse {reverse}");
                    }
                }
                for (key, value) in expected {
                    assert_eq!(get(&store, ks, key).unwrap().as_ref(), Some(value), "{place}");
                }
                assert_eq!(get(&store, ks, b"covered").unwrap(), None, "{place}");
            }
            assert_eq!(get(&store, add, b"hits").unwrap(), Some(n(190).to_vec()), "{place}");
            assert_eq!(get(&store, max, b"m").unwrap(), Some(vec![19]), "{place}");
            assert_eq!(get(&store, min, b"m").unwrap(), Some(vec![1]), "{place}");
        });
        if round == 0 {
            // What the snapshot still saw apart may now be folded.
            anchor_everything(&store, &ids);
        }
    }
    drop(before);
    // An iterator that turns round on a merged entry.
    let newest = store.get(append, b"z", None).unwrap();
    let ticket = {
        let mut batch = WriteBatch::new();
        batch.merge(append, b"z", b"3");
        store.apply(batch).unwrap()
    };
    let answer = store.get(append, b"z", None).unwrap();
    assert!(newest.depends < answer.depends);
    assert_eq!(answer.depends, ticket.position, "R6: the answer depends on its newest operand");
}

/// Everything anchored, so that compactions may fold it.
fn anchor_everything(store: &Store, ids: &[KeyspaceId]) {
    put(store, ids[0], b"anchor", &[0; 8], Level::Fresh).unwrap();
}

fn at_every_depth_of(store: &Store, ids: &[KeyspaceId], mut check: impl FnMut(&str)) {
    check("in the memtable");
    store.flush(None).unwrap();
    check("in a table");
    settle(store).unwrap();
    check("settled");
    for &ks in ids {
        store.compact_range(ks, None, None).unwrap();
    }
    check("compacted");
    settle(store).unwrap();
    check("purged");
}

fn failing_merges(setup: &Setup) {
    let (machine, store, ids) = merging(setup, &["test.prepend", "add_u64"]);
    let plain = store.create_keyspace("plain", setup.options.clone()).unwrap();
    let refused = |store: &Store, ks| {
        let mut batch = WriteBatch::new();
        batch.put(ks, b"beside", b"it");
        batch.merge(ks, b"k", b"1");
        store.apply(batch).unwrap_err()
    };
    assert_eq!(refused(&store, plain).kind(), ErrorKind::Invalid);
    assert_eq!(get(&store, plain, b"beside").unwrap(), None);
    let unknown = KeyspaceOptions { merge_operator: Some("nobody's".to_owned()), ..setup.options.clone() };
    let error = store.create_keyspace("unknown", unknown).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.message().contains("nobody's"), "{error}");
    assert_eq!(store.keyspace("unknown"), None);

    // An operand that the operator refuses spoils its key, and nothing else, until the next put.
    set(&store, ids[0], b"a", b"0");
    set(&store, ids[0], b"secret key", b"0");
    merge(&store, ids[0], b"secret key", b"poison");
    merge(&store, ids[0], b"secret key", b"1");
    put(&store, ids[0], b"z", b"0", Level::Fresh).unwrap();
    merge(&store, ids[1], b"no number", b"x");
    at_every_depth_of(&store, &ids, |place| {
        for (ks, key) in [(ids[0], b"secret key".as_slice()), (ids[1], b"no number")] {
            let error = get(&store, ks, key).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{place}");
            assert!(error.message().contains("operator") && !error.message().contains("secret"), "{error}");
            for reverse in [false, true] {
                let at = store.snapshot();
                let outcome = store
                    .iter(ks, b"", None, reverse, &at)
                    .and_then(|iter| iter.collect::<Result<Vec<_>, _>>());
                assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Invalid, "{place}");
            }
        }
        assert_eq!(get(&store, ids[0], b"z").unwrap().as_deref(), Some(b"0".as_slice()), "{place}");
    });
    set(&store, ids[0], b"secret key", b"new");
    merge(&store, ids[0], b"secret key", b"1");
    assert_eq!(get(&store, ids[0], b"secret key").unwrap().as_deref(), Some(b"1|new".as_slice()));
    store.close().unwrap();
    drop(store);

    // Opened without the operator: its keyspace takes no merges and answers no merged key, by name.
    let store = machine.open().unwrap();
    for _ in 0..2 {
        for error in [get(&store, ids[0], b"secret key").unwrap_err(), refused(&store, ids[0])] {
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(error.message().contains("test.prepend"), "{error}");
        }
        assert_eq!(get(&store, ids[0], b"z").unwrap().as_deref(), Some(b"0".as_slice()));
        set(&store, ids[0], b"plain put", b"v");
        store.compact_range(ids[0], None, None).unwrap();
    }
    store.close().unwrap();
    drop(store);
    let store = open_with_prepend(&machine);
    assert_eq!(get(&store, ids[0], b"secret key").unwrap().as_deref(), Some(b"1|new".as_slice()));
    assert_eq!(get(&store, ids[0], b"plain put").unwrap().as_deref(), Some(b"v".as_slice()));
}

/// Compactions fold operands: what a counter takes does not grow with its increments.
fn operands_go(setup: &Setup) {
    let (_machine, store, ids) = merging(setup, &["add_u64"]);
    let mut sizes = Vec::new();
    for i in 0..3000u64 {
        merge(&store, ids[0], b"hits", &i.to_le_bytes());
        if i % 1000 == 999 {
            put(&store, ids[0], b"anchor", &[0; 8], Level::Fresh).unwrap();
            store.compact_range(ids[0], None, None).unwrap();
            sizes.push(store.approximate_size(ids[0], None, None).unwrap() - store.memtable_bytes() as u64);
            let expected = (i * (i + 1) / 2).to_le_bytes();
            assert_eq!(get(&store, ids[0], b"hits").unwrap().as_deref(), Some(expected.as_slice()));
        }
    }
    assert!(sizes.iter().all(|size| *size < 2000), "{sizes:?}");
}

fn upkeep(setup: &Setup) {
    let (_machine, store, ks) = setup.open();
    // An empty memtable takes its first piece of memory.
    let empty = store.approximate_size(ks, None, None).unwrap();
    assert_eq!(empty, store.memtable_bytes() as u64);
    for i in 0..500u32 {
        set(&store, ks, format!("{i:05}").as_bytes(), &incompressible(i));
    }
    store.flush(None).unwrap();
    store.compact_range(ks, None, None).unwrap();
    let all = store.approximate_size(ks, None, None).unwrap() - empty;
    let half = store.approximate_size(ks, Some(b"00000"), Some(b"00250")).unwrap() - empty;
    assert!(all > 100_000, "{all}");
    assert!(half > all / 4 && half < all * 3 / 4, "{half} of {all}");
    assert!(store.approximate_size(ks, Some(b"z"), None).unwrap() < empty + all / 10);
    assert!(store.verify_checksums().unwrap() >= all / 2);
    assert_eq!(store.levels(ks).unwrap()[0].0, 0, "compacted away from level 0");
    // What is overwritten goes with a compaction; what is deleted as well.
    for i in 0..500u32 {
        set(&store, ks, format!("{i:05}").as_bytes(), &incompressible(i + 1));
    }
    // Once it is anchored: before, compaction drops nothing (R6).
    crate::common::wait(&store, store.frontier(Level::Buffered), Level::Fresh).unwrap();
    store.compact_range(ks, None, None).unwrap();
    settle(&store).unwrap();
    let after = store.approximate_size(ks, None, None).unwrap() - empty;
    assert!(after < all * 3 / 2, "{after} against {all}");
    write(&store, |batch| batch.delete_range(ks, b"", b"9"));
    crate::common::wait(&store, store.frontier(Level::Buffered), Level::Fresh).unwrap();
    store.compact_range(ks, None, None).unwrap();
    settle(&store).unwrap();
    assert!(
        store.approximate_size(ks, None, None).unwrap() < empty + all / 10,
        "deleted and anchored, and still there"
    );
    assert_eq!(store.compact_range(KeyspaceId(999), None, None).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.flush(Some(KeyspaceId(999))).unwrap_err().kind(), ErrorKind::NotFound);
    let statistics = store.statistics();
    assert!(statistics.flushes > 1 && statistics.groups > 1000 && statistics.files_deleted > 0);
}

fn incompressible(seed: u32) -> Vec<u8> {
    let mut bytes = vec![0; 400];
    ringfort_fault::rng::SplitMix64::new(u64::from(seed)).fill(&mut bytes);
    bytes
}

fn many_tables(setup: &Setup) {
    let (_machine, store, ks) = setup.open();
    let mut model = BTreeMap::new();
    let mut rng = ringfort_fault::rng::SplitMix64::new(1);
    for i in 0..3000u32 {
        let key = format!("user{:05}", rng.below(1500)).into_bytes();
        if rng.chance(15) {
            delete(&store, ks, &key);
            model.remove(&key);
        } else {
            let value = vec![b'a' + (i % 26) as u8; rng.below(120) as usize];
            set(&store, ks, &key, &value);
            model.insert(key, value);
        }
        if i % 100 == 0 {
            settle(&store).unwrap();
        }
    }
    let expected: Vec<_> = model.clone().into_iter().collect();
    at_every_depth(&store, ks, |place| {
        assert!(dump(&store, ks).unwrap() == expected, "{place}");
        for i in (0..1500).step_by(17) {
            let key = format!("user{i:05}").into_bytes();
            assert_eq!(get(&store, ks, &key).unwrap().as_ref(), model.get(&key), "{place}");
        }
    });
}

/// Long keys and about one entry per block: in engines with large tables the index has partitions.
fn large_index(setup: &Setup) {
    let (machine, store, ks) = setup.open();
    let key = |i: u32| format!("{}{i:06}", "long ".repeat(50)).into_bytes();
    let expected: Vec<_> = (0..500u32).map(|i| (key(2 * i), incompressible(i).repeat(2))).collect();
    for (key, value) in &expected {
        set(&store, ks, key, value);
    }
    let check = |store: &Store, place: &str| {
        assert!(dump(store, ks).unwrap() == expected, "{place}");
        let snapshot = store.snapshot();
        let mut reversed = range(store, ks, &key(101), Some(&key(601)), true, &snapshot);
        reversed.reverse();
        assert!(reversed == expected[51..301], "{place}");
        for (i, (key_there, value)) in expected.iter().enumerate().step_by(7) {
            assert!(get(store, ks, key_there).unwrap().as_ref() == Some(value), "{place}");
            assert_eq!(get(store, ks, &key(2 * i as u32 + 1)).unwrap(), None, "{place}");
        }
    };
    at_every_depth(&store, ks, |place| check(&store, place));
    store.verify_checksums().unwrap();
    store.close().unwrap();
    drop(store);
    check(&machine.open().unwrap(), "reopened");
}

fn keyspaces(setup: &Setup) {
    let (machine, store, ks) = setup.open();
    assert_eq!(store.keyspace("ks"), Some(ks));
    assert_eq!(store.create_keyspace("ks", KeyspaceOptions::default()).unwrap(), ks, "the existing one");
    assert_eq!(store.keyspace("other"), None);
    assert_eq!(crate::common::now(store.drop_keyspace("other")).unwrap_err().kind(), ErrorKind::NotFound);
    let mut ids = vec![ks];
    let mut store = store;
    for round in 0..4u8 {
        let id = store.create_keyspace("again", setup.options.clone()).unwrap();
        assert!(!ids.contains(&id), "the id was used before (R10)");
        ids.push(id);
        assert!(dump(&store, id).unwrap().is_empty(), "something of its predecessor is left");
        set(&store, id, b"k", &[round]);
        if round % 2 == 0 {
            store.flush(None).unwrap();
        }
        crate::common::now(store.drop_keyspace("again")).unwrap();
        assert_eq!(store.keyspace("again"), None);
        assert_eq!(store.get(id, b"k", None).unwrap_err().kind(), ErrorKind::NotFound);
        let mut batch = WriteBatch::new();
        batch.put(ks, b"other side", b"");
        batch.put(id, b"k", b"");
        assert_eq!(store.submit(batch).unwrap_err().kind(), ErrorKind::NotFound, "atomic: none of it");
        if round == 1 {
            store.close().unwrap();
            drop(store);
            store = machine.open().unwrap();
            assert_eq!(store.keyspace("again"), None, "dropped for good");
        }
    }
    assert_eq!(get(&store, ks, b"other side").unwrap(), None);
    let long = "n".repeat(256);
    for name in ["", long.as_str()] {
        assert_eq!(
            store.create_keyspace(name, setup.options.clone()).unwrap_err().kind(),
            ErrorKind::Invalid
        );
    }
    let bad = KeyspaceOptions { block_bytes: 1, ..setup.options.clone() };
    assert_eq!(store.create_keyspace("bad", bad).unwrap_err().kind(), ErrorKind::Invalid);
    // A dropped one, queued before the drop, does no harm to its company.
    let doomed = store.create_keyspace("doomed", setup.options.clone()).unwrap();
    let mut batch = WriteBatch::new();
    batch.put(doomed, b"k", b"v");
    batch.put(ks, b"k", b"v");
    store.submit(batch).unwrap();
    crate::common::now(store.drop_keyspace("doomed")).unwrap();
    store.log_step().unwrap();
    assert_eq!(get(&store, ks, b"k").unwrap().as_deref(), Some(b"v".as_slice()));
    drop(store);
    let store = machine.after_kill().open().unwrap();
    assert_eq!(get(&store, ks, b"k").unwrap().as_deref(), Some(b"v".as_slice()));
    assert_eq!(store.keyspaces(), [("ks".to_owned(), ks)]);
}

fn wrong_requests(setup: &Setup) {
    let (_machine, store, ks) = setup.open();
    let mut batch = WriteBatch::new();
    batch.put(KeyspaceId::SYSTEM, b"k", b"v");
    assert!(store.submit(batch).is_err(), "keyspace 0 is the store's own");
    let snapshot = store.snapshot();
    assert_eq!(store.get(KeyspaceId(77), b"k", None).unwrap_err().kind(), ErrorKind::NotFound);
    let missing = store.iter(KeyspaceId(77), b"", None, false, &snapshot);
    assert_eq!(missing.err().map(|e| e.kind()), Some(ErrorKind::NotFound));
    assert_eq!(store.count(KeyspaceId(77)).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(range(&store, ks, b"z", Some(b"a"), false, &snapshot).is_empty(), "an inverted range");
    assert!(range(&store, ks, b"z", Some(b"a"), true, &snapshot).is_empty(), "an inverted range");
    store.close().unwrap();
    store.close().unwrap();
    assert_eq!(store.submit(WriteBatch::new()).unwrap_err().kind(), ErrorKind::Stopped);
    assert_eq!(store.get(ks, b"k", None).unwrap_err().kind(), ErrorKind::Stopped);
}

/// Positions rise by one per operation, and groups keep the order of submission.
fn submitted_in_order(setup: &Setup) {
    let (_machine, store, ks) = setup.open();
    let mut last = store.frontier(Level::Buffered);
    for i in 0..50u64 {
        let mut batch = WriteBatch::new();
        (0..=i % 3).for_each(|n| batch.put(ks, b"k", format!("{i} {n}")));
        let ticket = store.submit(batch).unwrap();
        assert_eq!(ticket.position.0, last.0 + 1 + i % 3);
        last = ticket.position;
    }
    while store.log_step().unwrap() == ringfort_store::Step::Worked {}
    assert_eq!(store.frontier(Level::Buffered), last);
    let answer = store.get(ks, b"k", None).unwrap();
    assert_eq!((answer.value.as_deref(), answer.depends), (Some(b"49 1".as_slice()), last));
}

fn reopening(setup: &Setup) {
    let (machine, store, ks) = setup.open();
    let mut store = store;
    let mut expected = BTreeMap::new();
    for life in 0..5u32 {
        for i in 0..60u32 {
            let key = (i * (life + 1)).to_be_bytes().to_vec();
            set(&store, ks, &key, &life.to_le_bytes().repeat(30));
            expected.insert(key, life.to_le_bytes().repeat(30));
        }
        let gone = (life * 3).to_be_bytes().to_vec();
        delete(&store, ks, &gone);
        expected.remove(&gone);
        match life {
            1 => store.flush(None).unwrap(),
            2 => settle(&store).unwrap(),
            _ => {}
        }
        let incarnation = store.incarnation();
        store.close().unwrap();
        drop(store);
        store = machine.open().unwrap();
        assert_eq!(store.incarnation(), incarnation.next());
        assert_eq!(store.mode(), setup.mode);
        assert_eq!(dump(&store, ks).unwrap(), expected.clone().into_iter().collect::<Vec<_>>());
        assert!(
            store.frontier(Level::Fresh) == store.frontier(Level::Buffered),
            "what an open shows is anchored"
        );
    }
}
