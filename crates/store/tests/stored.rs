//! Values by the piece from outside: what is refused, what is left behind (nothing), what a host can do to
//! a file that only the log names (be refused), and how much memory it takes (a few pieces).
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;
#[path = "common/model.rs"]
mod model;
#[path = "common/power.rs"]
mod power;

use common::{MODES, Machine, commit, dump, get, put, settle, small};
use model::stored;
use power::Power;
use ringfort_base::limits::BATCH_VALUE_BYTES_MAX;
use ringfort_base::world::Disk;
use ringfort_base::{ErrorKind, EvidenceKind, KeyspaceId, Level};
use ringfort_fault::attack;
use ringfort_fault::memory::MemDisk;
use ringfort_fault::script::{Fault, Op};
use ringfort_store::{Checkpoint, Filter, KeyspaceOptions, MergeOperators, Store, StoreOptions, WriteBatch};
use std::sync::Arc;

fn open(machine: &Machine) -> (Store, KeyspaceId) {
    let store = machine.open().unwrap();
    let ks = store.create_keyspace("ks", small()).unwrap();
    (store, ks)
}

fn put_stored(store: &Store, ks: KeyspaceId, key: &[u8], value: &[u8], level: Level) {
    let mut batch = WriteBatch::new();
    batch.put_stored(ks, key, stored(store, value).unwrap());
    commit(store, batch, level).unwrap();
}

fn value_paths(machine: &Machine) -> Vec<String> {
    machine.table_disk().files().into_keys().filter(|path| path.ends_with(".blob")).collect()
}

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| ((i ^ i >> 9).wrapping_mul(31) + seed) as u8).collect()
}

/// What was given up, committed twice, refused, overwritten or dropped leaves no file behind.
#[test]
fn nothing_is_left_behind() {
    for mode in MODES {
        let machine = Machine::new(mode, 1);
        let (store, ks) = open(&machine);
        let files = || value_paths(&machine).len();

        let mut writer = store.value_writer();
        writer.write(&[1; 100]).unwrap();
        assert_eq!(files(), 1, "a file from the length of the option on");
        drop(writer);
        drop(stored(&store, &[2; 100]).unwrap());
        let mut batch = WriteBatch::new();
        batch.put_stored(ks, b"a", stored(&store, &[3; 100]).unwrap());
        drop(batch);
        assert_eq!(files(), 0, "{mode}: dropped anywhere");

        let mut batch = WriteBatch::new();
        batch.put_stored(KeyspaceId(77), b"a", stored(&store, &[4; 100]).unwrap());
        assert_eq!(store.submit(batch).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(files(), 0, "{mode}: refused");

        put_stored(&store, ks, b"a", &pattern(200, 1), Level::Durable);
        put_stored(&store, ks, b"a", &pattern(300, 2), Level::Fresh);
        assert_eq!(files(), 2);
        store.flush(None).unwrap();
        settle(&store).unwrap();
        assert_eq!(
            (files(), store.value_files(ks).unwrap().0),
            (1, 1),
            "{mode}: overwritten in the memtable"
        );
        assert!(get(&store, ks, b"a").unwrap().unwrap() == pattern(300, 2));
        put(&store, ks, b"a", b"short", Level::Fresh).unwrap();
        store.compact_range(ks, None, None).unwrap();
        settle(&store).unwrap();
        assert_eq!(files(), 0, "{mode}: overwritten in a table");

        let other = store.create_keyspace("other", small()).unwrap();
        put_stored(&store, other, b"a", &pattern(200, 1), Level::Durable);
        store.flush(Some(other)).unwrap();
        put_stored(&store, other, b"b", &pattern(200, 1), Level::Durable);
        crate::common::now(store.drop_keyspace("other")).unwrap();
        settle(&store).unwrap();
        assert_eq!(files(), 0, "{mode}: dropped, in a table and in the log");
    }
}

/// Files that a dead writer left go at the next open, those that the log names stay.
#[test]
fn the_next_open_removes_what_no_log_names() {
    for mode in MODES {
        let machine = Machine::new(mode, 2);
        let (store, ks) = open(&machine);
        put_stored(&store, ks, b"named", &pattern(5000, 3), Level::Durable);
        let mut writer = store.value_writer();
        writer.write(&pattern(2 << 20, 0)).unwrap();
        let whole = stored(&store, &pattern(400, 0)).unwrap();
        let machine = machine.after_kill();
        assert_eq!(value_paths(&machine).len(), 3);
        let again = machine.open().unwrap();
        settle(&again).unwrap();
        assert_eq!(value_paths(&machine).len(), 1, "{mode}");
        assert!(get(&again, ks, b"named").unwrap().unwrap() == pattern(5000, 3));
        // Numbers of files that only the log names are not given out again.
        put_stored(&again, ks, b"next", &pattern(600, 4), Level::Durable);
        assert_eq!(value_paths(&machine).len(), 2);
        again.flush(None).unwrap();
        assert_eq!(dump(&again, ks).unwrap().len(), 2);
        drop((writer, whole));
    }
}

/// A value has one pointer: it is committed once, in the life of the store that wrote it.
#[test]
fn a_stored_value_is_committed_once_and_where_it_was_written() {
    let machine = Machine::new(MODES[0], 3);
    let (store, ks) = open(&machine);
    let mut batch = WriteBatch::new();
    batch.put_stored(ks, b"a", stored(&store, &[5; 100]).unwrap());
    let copy = batch.clone();
    let mut doubled = batch.clone();
    doubled.append(batch.clone());
    assert_eq!(store.submit(doubled).unwrap_err().kind(), ErrorKind::Invalid, "twice in one batch");
    commit(&store, batch, Level::Durable).unwrap();
    assert_eq!(store.submit(copy).unwrap_err().kind(), ErrorKind::Invalid, "a copy");
    assert_eq!(value_paths(&machine).len(), 1, "what was refused took nothing with it");
    assert_eq!(get(&store, ks, b"a").unwrap().unwrap(), [5; 100]);

    let another = Machine::new(MODES[0], 4);
    let (foreign, _) = open(&another);
    let mut batch = WriteBatch::new();
    batch.put_stored(ks, b"b", stored(&foreign, &[6; 100]).unwrap());
    assert_eq!(store.submit(batch).unwrap_err().kind(), ErrorKind::Invalid, "of another store");
    assert_eq!(value_paths(&another).len(), 0);
}

/// The file of a value that is in no table yet: whatever a host does to it is found, by `open` or, where
/// only a piece was touched, by whoever reads it.
#[test]
fn a_file_that_only_the_log_names_is_proven() {
    for mode in MODES {
        let machine = Machine::new(mode, 5);
        let (store, ks) = open(&machine);
        put_stored(&store, ks, b"old", &pattern(3 << 20, 1), Level::Fresh);
        let old = value_paths(&machine).remove(0);
        put_stored(&store, ks, b"new", &pattern(3 << 20, 2), Level::Fresh);
        let new = value_paths(&machine).into_iter().find(|path| *path != old).unwrap();
        store.close().unwrap();
        drop(store);
        type Attack<'a> = Box<dyn Fn(&MemDisk) + 'a>;
        let piece = (1 << 20) + 16;
        let refused: [(&str, EvidenceKind, Attack<'_>); 4] = [
            ("deleted", EvidenceKind::Missing, Box::new(|disk| attack::delete(disk, &new).unwrap())),
            ("cut", EvidenceKind::Truncated, Box::new(|disk| attack::truncate(disk, &new, piece).unwrap())),
            (
                "replaced",
                EvidenceKind::BadSeal,
                Box::new(|disk| {
                    let other = disk.bytes_of(&old).unwrap();
                    attack::write_file(disk, &new, &other).unwrap();
                }),
            ),
            ("exchanged", EvidenceKind::BadSeal, Box::new(|disk| attack::swap(disk, &old, &new).unwrap())),
        ];
        for (what, kind, attack) in refused {
            let machine = machine.after_kill();
            attack(machine.table_disk());
            let before = machine.map(MemDisk::fork);
            let error = machine.open().err().unwrap_or_else(|| panic!("{mode}: {what}: opened"));
            let proof = error.proof().unwrap_or_else(|| panic!("{mode}: {what}: {error}"));
            assert_eq!(proof.kind, kind, "{mode}: {what}: {error}");
            assert!(proof.file.starts_with("tables/"), "{mode}: {what}: {error}");
            assert_eq!(
                machine.table_disk().files(),
                before.table_disk().files(),
                "nothing was written (R12)"
            );
        }
        let on_read: [(&str, Attack<'_>); 4] = [
            ("a bit", Box::new(|disk| attack::flip(disk, &new, 2 * piece + 77, 4).unwrap())),
            (
                "two pieces exchanged",
                Box::new(|disk| {
                    let bytes = disk.bytes_of(&new).unwrap();
                    let (one, two) = bytes[..2 * piece as usize].split_at(piece as usize);
                    disk.poke(&new, 0, two).unwrap();
                    disk.poke(&new, piece, one).unwrap();
                }),
            ),
            (
                "a piece repeated",
                Box::new(|disk| {
                    let bytes = disk.bytes_of(&new).unwrap();
                    disk.poke(&new, piece, &bytes[..piece as usize]).unwrap();
                }),
            ),
            (
                "the same piece of another file",
                Box::new(|disk| {
                    let bytes = disk.bytes_of(&old).unwrap();
                    disk.poke(&new, piece, &bytes[piece as usize..2 * piece as usize]).unwrap();
                }),
            ),
        ];
        for (what, attack) in on_read {
            for scrub in [false, true] {
                let machine = machine.after_kill();
                attack(machine.table_disk());
                let store = machine.open().unwrap();
                assert!(get(&store, ks, b"old").unwrap().unwrap() == pattern(3 << 20, 1));
                let error = if scrub {
                    store.verify_checksums().unwrap_err()
                } else {
                    store.value_reader(ks, b"new", None).unwrap().value.unwrap().into_value().unwrap_err()
                };
                let proof = error.proof().unwrap_or_else(|| panic!("{mode}: {what}: {error}"));
                assert_eq!(proof.kind, EvidenceKind::BadSeal, "{mode}: {what}: {error}");
                assert!(store.stopped().is_some() && get(&store, ks, b"old").is_err(), "{mode}: stopped");
            }
        }
    }
}

/// A reader keeps its file and its moment.
#[test]
fn a_reader_keeps_what_it_began_to_read() {
    for mode in MODES {
        let machine = Machine::new(mode, 6);
        let (store, ks) = open(&machine);
        let value = pattern((3 << 20) + 5, 9);
        put_stored(&store, ks, b"k", &value, Level::Fresh);
        let reader = |store: &Store| store.value_reader(ks, b"k", None).unwrap().value.unwrap();
        let mut from_log = reader(&store);
        assert!(*from_log.read_at(1 << 20).unwrap() == value[1 << 20..2 << 20]);
        store.flush(None).unwrap();
        let mut from_table = reader(&store);
        assert!(*from_table.read_at((1 << 20) + 7).unwrap() == value[(1 << 20) + 7..2 << 20]);
        put(&store, ks, b"k", b"new", Level::Fresh).unwrap();
        store.compact_range(ks, None, None).unwrap();
        settle(&store).unwrap();
        assert_eq!(value_paths(&machine).len(), 1, "{mode}: two read it");
        assert!(from_log.into_value().unwrap() == value);
        assert!(from_table.into_value().unwrap() == value);
        settle(&store).unwrap();
        assert_eq!(value_paths(&machine).len(), 0, "{mode}: nobody reads it");
        assert_eq!(reader(&store).into_value().unwrap(), b"new");
    }
}

/// A checkpoint carries it, sealed whatever the source; a snapshot of the machine in between as well.
#[test]
fn a_checkpoint_carries_it() {
    for mode in MODES {
        let machine = Machine::new(mode, 7);
        let (store, ks) = open(&machine);
        let value = pattern((2 << 20) + 9, 1);
        put_stored(&store, ks, b"k", &value, Level::Durable);
        let to = MemDisk::new();
        store.checkpoint(&(Arc::new(to.clone()) as Arc<dyn Disk>)).unwrap();
        let world = ringfort_store::World { data: Arc::new(to), ..machine.world() };
        let checkpoint = Checkpoint::open(&world, 8 << 20, &MergeOperators::default()).unwrap();
        assert!(checkpoint.get(ks, b"k").unwrap().unwrap() == value, "{mode}");
    }
}

/// A log that does not fit the memory budget is replayed in two goes: the files that only its second part
/// names are kept, and proven, by the first.
#[test]
fn a_log_beyond_the_budget_names_files() {
    for mode in MODES {
        let machine = Machine::new(mode, 10);
        let roomy = KeyspaceOptions { write_buffer_bytes: 64 << 20, ..small() };
        let options = StoreOptions { memory_budget: 64 << 20, ..machine.options() };
        let store = Store::open(machine.world(), options).unwrap();
        let ks = store.create_keyspace("ks", roomy).unwrap();
        for n in 0..60u8 {
            put_stored(&store, ks, &[n, 0], &pattern(200 + usize::from(n), 1), Level::Durable);
            put(&store, ks, &[n, 1], &vec![n; 50_000], Level::Durable).unwrap();
        }
        put_stored(&store, ks, &[59, 0], &pattern(77, 2), Level::Durable);
        let killed = machine.after_kill();
        drop(store);
        assert_eq!(value_paths(&killed).len(), 61);
        let tight = StoreOptions { memory_budget: 1 << 20, ..machine.options() };
        let last = value_paths(&killed).pop().unwrap();
        let attacked = killed.after_kill();
        attack::delete(attacked.table_disk(), &last).unwrap();
        let error = Store::open(attacked.world(), tight.clone()).err().unwrap();
        assert_eq!(error.proof().map(|proof| proof.kind), Some(EvidenceKind::Missing), "{mode}: {error}");
        let store = Store::open(killed.world(), tight).unwrap();
        let check = || {
            for n in 0..60u8 {
                let expected = if n == 59 { pattern(77, 2) } else { pattern(200 + usize::from(n), 1) };
                assert!(get(&store, ks, &[n, 0]).unwrap().unwrap() == expected, "{mode}: {n}");
                assert!(get(&store, ks, &[n, 1]).unwrap().unwrap() == vec![n; 50_000]);
            }
        };
        check();
        assert!(store.statistics().flushes > 0, "{mode}: it did not fit");
        settle(&store).unwrap();
        store.flush(None).unwrap();
        let now = store.frontier(Level::Buffered);
        common::wait(&store, now, Level::Fresh).unwrap();
        store.compact_range(ks, None, None).unwrap();
        settle(&store).unwrap();
        check();
        assert_eq!(value_paths(&killed).len(), store.value_files(ks).unwrap().0, "{mode}");
        store.verify_checksums().unwrap();
    }
}

struct Refuses;

impl Filter for Refuses {
    fn is_garbage(&self, _: KeyspaceId, _: &[u8], value: &[u8]) -> bool {
        assert!(value.len() <= BATCH_VALUE_BYTES_MAX);
        false
    }
}

/// A value that no batch could hold goes through everything by the piece, but for who asks for it whole:
/// a filter is not shown it, nothing is merged with it.
#[test]
fn a_long_value_is_never_held() {
    let machine = Machine::new(MODES[0], 8);
    let power = Power::default();
    let store = Store::open(power.world(&machine), machine.options()).unwrap();
    let options = KeyspaceOptions { merge_operator: Some("append".to_owned()), ..small() };
    let ks = store.create_keyspace("ks", options).unwrap();
    store.set_compaction_filter(Arc::new(Refuses));
    let piece = pattern(777_777, 5);
    let len = BATCH_VALUE_BYTES_MAX + 12_345_678;
    let mut writer = store.value_writer();
    while writer.len() < len {
        writer.write(&piece[..piece.len().min(len - writer.len())]).unwrap();
    }
    let mut batch = WriteBatch::new();
    batch.put_stored(ks, b"k", writer.finish().unwrap());
    assert!(batch.bytes() < 1000, "what the log gets");
    commit(&store, batch, Level::Fresh).unwrap();
    let check = |store: &Store| {
        let mut reader = store.value_reader(ks, b"k", None).unwrap().value.unwrap();
        assert_eq!(reader.len(), len);
        let mut at = 0;
        while at < len {
            let bytes = reader.read_at(at).unwrap();
            assert!(bytes.len() <= 1 << 20);
            assert!(
                bytes.iter().enumerate().step_by(997).all(|(i, byte)| *byte == piece[(at + i) % piece.len()])
            );
            at += bytes.len();
        }
    };
    check(&store);
    assert!(store.memtable_bytes() < 4 << 20);
    let heads = |store: &Store| {
        let snapshot = store.snapshot();
        let heads = store.iter_heads(ks, b"", None, false, &snapshot).unwrap().map(Result::unwrap);
        let backward = store.iter_heads(ks, b"", None, true, &snapshot).unwrap().map(Result::unwrap);
        let (heads, backward): (Vec<_>, Vec<_>) = (heads.collect(), backward.collect());
        assert!(heads.iter().eq(backward.iter().rev()));
        heads
    };
    let first = |head: &[u8]| head.len() == 1 << 20 && head.starts_with(&piece);
    assert!(first(&heads(&store)[0].1), "of a log's file");
    store.flush(None).unwrap();
    put(&store, ks, b"l", b"another", Level::Fresh).unwrap();
    let shown = heads(&store);
    assert!(first(&shown[0].1) && shown[1].1 == b"another", "of a table's, and what is short whole");
    store.compact_range(ks, None, None).unwrap();
    settle(&store).unwrap();
    check(&store);
    store.verify_checksums().unwrap();
    assert_eq!(get(&store, ks, b"k").unwrap().map(|value| value.len()), Some(len), "whole, if asked for");

    // Nothing is merged with it: that would have to be held, and could not be stored.
    let mut batch = WriteBatch::new();
    batch.merge(ks, b"k", b"operand");
    commit(&store, batch, Level::Fresh).unwrap();
    assert_eq!(store.get(ks, b"k", None).unwrap_err().kind(), ErrorKind::Invalid);
    store.compact_range(ks, None, None).unwrap();
    settle(&store).unwrap();
    assert_eq!(store.get(ks, b"k", None).unwrap_err().kind(), ErrorKind::Invalid);
    put(&store, ks, b"k", b"short", Level::Fresh).unwrap();
    store.compact_range(ks, None, None).unwrap();
    settle(&store).unwrap();
    assert_eq!(value_paths(&machine).len(), store.value_files(ks).unwrap().0);
    assert_eq!(get(&store, ks, b"k").unwrap().unwrap(), b"short");
}

/// A full disk gives the value up and nothing else; a sync that fails stops the store.
#[test]
fn a_full_disk_costs_the_value_alone() {
    for mode in MODES {
        let machine = Machine::new(mode, 9);
        let power = Power::default();
        let store = Store::open(power.world(&machine), machine.options()).unwrap();
        let ks = store.create_keyspace("ks", small()).unwrap();
        power.plan(|call| {
            (call.op == Op::Write && call.path.ends_with(".blob"))
                .then_some(Fault::Error(std::io::ErrorKind::StorageFull))
        });
        let failed = stored(&store, &pattern(4 << 20, 0)).err().unwrap();
        assert_eq!(failed.kind(), ErrorKind::Exhausted, "{mode}: {failed}");
        power.unplan();
        assert_eq!(value_paths(&machine).len(), 0);
        put_stored(&store, ks, b"k", &pattern(4 << 20, 1), Level::Durable);
        assert!(get(&store, ks, b"k").unwrap().unwrap() == pattern(4 << 20, 1));
        power.plan(|call| {
            (call.op == Op::Sync && call.path.ends_with(".blob"))
                .then_some(Fault::Error(std::io::ErrorKind::Other))
        });
        assert!(stored(&store, &pattern(200, 0)).is_err());
        power.unplan();
        assert!(store.stopped().is_some(), "{mode}: a sync that failed is final (R11)");
        drop(store);
        let store = machine.after_kill().open().unwrap();
        assert!(get(&store, ks, b"k").unwrap().unwrap() == pattern(4 << 20, 1));
    }
}

/// Writers by the piece, readers, flushes, compactions and purges at the same time: a reader sees whole
/// values only, and in the end there are as many files as there should be.
#[test]
fn whole_under_concurrency() {
    use std::sync::atomic::{AtomicBool, Ordering};
    const WRITERS: u8 = 3;
    const ROUNDS: usize = 40;
    for mode in MODES {
        let machine = Machine::new(mode, 11);
        let (store, ks) = open(&machine);
        let done = AtomicBool::new(false);
        let whole = |value: &[u8]| value.len() > 8 && value.iter().all(|byte| *byte == value[0]);
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|w| {
                    let store = &store;
                    scope.spawn(move || {
                        for n in 0..ROUNDS {
                            let key = [(n % 5) as u8];
                            let value = vec![w * 80 + n as u8; 60 + n * 997];
                            if n % 4 == 0 {
                                put(store, ks, &key, &value, Level::Buffered).unwrap();
                            } else {
                                put_stored(store, ks, &key, &value, Level::Buffered);
                            }
                        }
                    })
                })
                .collect();
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    store.maintenance_step().unwrap();
                    store.flush(None).unwrap();
                    let now = store.frontier(Level::Buffered);
                    common::wait(&store, now, Level::Fresh).unwrap();
                }
            });
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Acquire) {
                        for key in 0..5u8 {
                            let value = get(&store, ks, &[key]).unwrap();
                            assert!(value.is_none_or(|value| whole(&value)), "{mode}: a get");
                            let reader = store.value_reader(ks, &[key], None).unwrap().value;
                            assert!(reader.is_none_or(|reader| whole(&reader.into_value().unwrap())));
                        }
                        assert!(dump(&store, ks).unwrap().iter().all(|(_, value)| whole(value)), "a scan");
                    }
                });
            }
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            done.store(true, Ordering::Release);
        });
        store.flush(None).unwrap();
        let now = store.frontier(Level::Buffered);
        common::wait(&store, now, Level::Fresh).unwrap();
        store.compact_range(ks, None, None).unwrap();
        settle(&store).unwrap();
        assert_eq!(value_paths(&machine).len(), store.value_files(ks).unwrap().0, "{mode}");
        store.verify_checksums().unwrap();
    }
}
