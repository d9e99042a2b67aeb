//! Opening, reopening, and what survives what.

mod common;
use common::*;
use ringfort_base::{ErrorKind, EvidenceKind, Level};
use ringfort_fault::memory::CrashChoice;
use ringfort_store::{KeyspaceOptions, MergeOperators, Store, StoreOptions, WriteBatch};
use std::sync::Arc;

#[test]
fn what_was_closed_cleanly_is_all_there_in_every_mode() {
    for mode in MODES {
        let machine = Machine::new(mode, 1);
        let store = machine.open().unwrap();
        let a = store.create_keyspace("a", small()).unwrap();
        let b = store.create_keyspace("b", KeyspaceOptions::default()).unwrap();
        for i in 0..2000u32 {
            let mut batch = WriteBatch::new();
            batch.put(a, format!("k{:05}", i % 700), format!("value {i} {}", "x".repeat(50)));
            batch.put(b, format!("k{i:05}"), i.to_le_bytes());
            batch.count(b, 1);
            store.apply(batch).unwrap();
            if i % 50 == 0 {
                settle(&store).unwrap();
            }
        }
        let expected = (dump(&store, a).unwrap(), dump(&store, b).unwrap());
        assert_eq!(expected.0.len(), 700);
        store.close().unwrap();
        drop(store);
        let store = machine.open().unwrap();
        assert_eq!(store.incarnation().0, 2);
        assert_eq!((store.keyspace("a"), store.keyspace("b")), (Some(a), Some(b)));
        assert_eq!((dump(&store, a).unwrap(), dump(&store, b).unwrap()), expected);
        assert_eq!(store.count(b).unwrap().value, 2000);
        settle(&store).unwrap();
        assert_eq!((dump(&store, a).unwrap(), dump(&store, b).unwrap()), expected);
        assert!(store.verify_checksums().unwrap() > 0);
    }
}

#[test]
fn a_kill_loses_nothing_buffered_and_a_power_cut_nothing_durable() {
    for mode in MODES {
        let machine = Machine::new(mode, 2);
        let store = machine.open().unwrap();
        let ks = store.create_keyspace("ks", small()).unwrap();
        put(&store, ks, b"fresh", b"1", Level::Fresh).unwrap();
        put(&store, ks, b"durable", b"2", Level::Durable).unwrap();
        put(&store, ks, b"buffered", b"3", Level::Buffered).unwrap();

        let killed = machine.after_kill().open().unwrap();
        for key in [b"fresh".as_slice(), b"durable", b"buffered"] {
            assert!(get(&killed, ks, key).unwrap().is_some(), "{mode}: {key:?} after a kill");
        }
        for seed in 0..20 {
            let store = machine.after_power_cut(CrashChoice::Seeded(seed)).open().unwrap();
            assert_eq!(get(&store, ks, b"fresh").unwrap().as_deref(), Some(b"1".as_slice()));
            assert_eq!(get(&store, ks, b"durable").unwrap().as_deref(), Some(b"2".as_slice()));
        }
    }
}

#[test]
fn ten_lives_in_a_row() {
    for mode in MODES {
        let mut machine = Machine::new(mode, 3);
        for life in 0..10u32 {
            let store = machine.open().unwrap();
            let ks = store.create_keyspace("ks", small()).unwrap();
            for i in 0..life {
                assert_eq!(get(&store, ks, &i.to_be_bytes()).unwrap().as_deref(), Some(b"here".as_slice()));
            }
            put(&store, ks, &life.to_be_bytes(), b"here", Level::Durable).unwrap();
            for i in 0..300u32 {
                put(&store, ks, format!("filler {i}").as_bytes(), &[life as u8; 200], Level::Buffered)
                    .unwrap();
            }
            if life % 3 == 1 {
                settle(&store).unwrap();
            }
            machine = machine.after_power_cut(CrashChoice::Seeded(u64::from(life)));
        }
    }
}

#[test]
fn a_store_in_use_is_busy_and_a_wrong_mode_is_refused() {
    let machine = Machine::new(common::MODES[0], 4);
    let store = machine.open().unwrap();
    assert_eq!(machine.open().err().unwrap().kind(), ErrorKind::Busy);
    store.close().unwrap();
    drop(store);
    let mut options = machine.options();
    options.mode = Some(common::MODES[2]);
    let error = ringfort_store::Store::open(machine.world(), options).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
}

#[test]
fn destroying_forgets_the_name_and_only_this_store() {
    let machine = Machine::new(common::MODES[0], 5);
    assert_eq!(Store::destroy(&machine.world(), "default").unwrap_err().kind(), ErrorKind::NotFound);
    let store = machine.open().unwrap();
    assert_eq!(Store::destroy(&machine.world(), "default").unwrap_err().kind(), ErrorKind::Busy);
    drop(store);
    let other = Machine::new(common::MODES[0], 6);
    drop(other.open().unwrap());
    let foreign = machine.world_over(Arc::new(other.data.clone()), Arc::new(other.trusted.clone()));
    let error = Store::destroy(&foreign, "default").unwrap_err();
    assert_eq!(error.proof().map(|p| p.kind), Some(EvidenceKind::BadSeal), "{error}");
    let emptied = machine.with_disks(ringfort_fault::memory::MemDisk::new(), machine.trusted.clone());
    let error = emptied.open().err().unwrap();
    assert!(error.message().contains("ringfort destroy"), "{error}");
    Store::destroy(&machine.world(), "default").unwrap();
    assert!(machine.data.files().keys().all(|file| file == "LOCK"), "files are left");
    machine.open().unwrap();
}

/// R15: the key of a dropped keyspace leaves the MANIFEST when the log no longer holds its records.
#[test]
fn r15_a_dropped_keyspace_is_replayed_over_and_its_key_forgotten() {
    let machine = Machine::new(common::MODES[0], 7);
    let store = machine.open().unwrap();
    let gone = store.create_keyspace("gone", small()).unwrap();
    let kept = store.create_keyspace("kept", small()).unwrap();
    put(&store, gone, b"k", b"v", Level::Buffered).unwrap();
    put(&store, kept, b"k", b"v", Level::Fresh).unwrap();
    crate::common::now(store.drop_keyspace("gone")).unwrap();
    drop(store);
    let machine = machine.after_kill();
    let store = machine.open().unwrap();
    assert_eq!(store.keyspace("gone"), None);
    assert_eq!(get(&store, kept, b"k").unwrap().as_deref(), Some(b"v".as_slice()));
    let again = store.create_keyspace("gone", small()).unwrap();
    assert_ne!(again, gone, "ids are never reused (R10)");
    assert_eq!(get(&store, again, b"k").unwrap(), None);
    for i in 0..3000u32 {
        put(&store, kept, &i.to_be_bytes(), &[1; 100], Level::Buffered).unwrap();
        if i % 100 == 0 {
            settle(&store).unwrap();
        }
    }
    store.flush(None).unwrap();
    settle(&store).unwrap();
    drop(store);
    assert_eq!(dump(&machine.after_kill().open().unwrap(), kept).unwrap().len(), 3001);
}

/// R21: a checkpoint is sealed whatever its source, opens read-only, and never as the store.
#[test]
fn r21_a_checkpoint_is_a_consistent_sealed_copy_and_no_store() {
    for mode in MODES {
        let machine = Machine::new(mode, 8);
        let store = machine.open().unwrap();
        let a = store.create_keyspace("a", small()).unwrap();
        let b = store.create_keyspace("b", small()).unwrap();
        for i in 0..500u32 {
            let mut batch = WriteBatch::new();
            batch.put(a, i.to_be_bytes(), b"canary canary canary canary".as_slice());
            batch.put(b, i.to_be_bytes(), i.to_le_bytes());
            store.apply(batch).unwrap();
        }
        let mut batch = WriteBatch::new();
        batch.delete_range(a, 100u32.to_be_bytes(), 200u32.to_be_bytes());
        store.apply(batch).unwrap();
        let expected = (dump(&store, a).unwrap(), dump(&store, b).unwrap());
        let copy = ringfort_fault::memory::MemDisk::new();
        store.checkpoint(&(Arc::new(copy.clone()) as Arc<dyn ringfort_base::world::Disk>)).unwrap();
        put(&store, a, b"later", b"x", Level::Fresh).unwrap();

        for (path, bytes) in copy.files() {
            assert!(!bytes.windows(13).any(|w| w == b"canary canary"), "{mode}: {path} holds plaintext");
        }
        let world = machine.world_over(Arc::new(copy.clone()), Arc::new(machine.trusted.clone()));
        let checkpoint =
            ringfort_store::Checkpoint::open(&world, 8 << 20, &MergeOperators::default()).unwrap();
        let all =
            |ks| checkpoint.iter(ks, b"", None).unwrap().collect::<ringfort_base::Result<Vec<_>>>().unwrap();
        assert_eq!((all(a), all(b)), expected);
        assert_eq!(checkpoint.get(a, &150u32.to_be_bytes()).unwrap(), None);
        drop(store);
        if mode == MODES[0] {
            let error = Store::open(world, machine.options()).err().unwrap();
            assert!(error.proof().is_some(), "a checkpoint was taken for the store: {error}");
        } // else the log and the MANIFEST are on the trusted volume: what lies here decides nothing
        let error = ringfort_store::Checkpoint::open(
            &machine.after_kill().world(),
            8 << 20,
            &MergeOperators::default(),
        )
        .err()
        .unwrap();
        assert!(
            error.proof().is_some() || error.kind() == ErrorKind::Refused,
            "{mode}: a store was taken for a checkpoint"
        );
    }
}

/// Memtables that flushes cannot keep up with are bounded: writes are refused, not queued without
/// end, and accepted again as soon as there is room.
#[test]
fn writes_beyond_what_memory_holds_are_refused_until_flushes_catch_up() {
    let machine = Machine::new(common::MODES[0], 9);
    let store = machine.open().unwrap();
    let ks = store.create_keyspace("ks", KeyspaceOptions { write_buffer_bytes: 4 << 20, ..small() }).unwrap();
    let value = vec![7u8; 1 << 20];
    let mut accepted = 0u32;
    let refusal = loop {
        let mut batch = WriteBatch::new();
        batch.put(ks, accepted.to_be_bytes(), value.clone());
        match store.apply(batch) {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 200, "nothing bounds the memtables");
    };
    assert_eq!(refusal.kind(), ErrorKind::Exhausted, "{refusal}");
    assert!(accepted >= 32, "{accepted}");
    assert!(store.write_delay() > std::time::Duration::ZERO, "no slow-down before the refusal");
    settle(&store).unwrap();
    put(&store, ks, b"again", b"v", Level::Durable).unwrap();
    assert_eq!(dump(&store, ks).unwrap().len(), accepted as usize + 1);
}

/// `max_total_wal_size`: the keyspace that pins the oldest segment is flushed.
#[test]
fn the_log_is_bounded_by_flushing_whoever_pins_it() {
    let machine = Machine::new(common::MODES[0], 10);
    let options = ringfort_store::StoreOptions { max_total_wal_size: 512 << 10, ..machine.options() };
    let store = Store::open(machine.world(), options).unwrap();
    let idle = store.create_keyspace("idle", KeyspaceOptions::default()).unwrap();
    let busy = store.create_keyspace("busy", small()).unwrap();
    put(&store, idle, b"old", b"v", Level::Durable).unwrap();
    let mut most = 0;
    for i in 0..4000u32 {
        put(&store, busy, &i.to_be_bytes(), &[1; 1000], Level::Buffered).unwrap();
        settle(&store).unwrap();
        most = most.max(machine.data.files().keys().filter(|path| path.starts_with("wal/")).count());
    }
    assert!(most <= 12, "{most} segments of 64 KiB at once under a limit of 512 KiB");
    assert_eq!(store.levels(idle).unwrap()[0].0, 1, "the idle keyspace was not flushed");
    assert_eq!(get(&store, idle, b"old").unwrap().as_deref(), Some(b"v".as_slice()));
}

/// A log that the memory budget cannot hold is replayed in two goes: verified whole before anything
/// is written (R12), then into tables. Nothing is lost, whatever dies in between.
#[test]
fn a_log_beyond_the_memory_budget_is_flushed_while_it_is_replayed() {
    for mode in MODES {
        let machine = Machine::new(mode, 11);
        let store = machine.open().unwrap();
        let options = KeyspaceOptions { write_buffer_bytes: 1 << 30, ..small() };
        let a = store.create_keyspace("a", options.clone()).unwrap();
        let late = store.create_keyspace("late", options).unwrap();
        for i in 0..6000u32 {
            let mut batch = WriteBatch::new();
            batch.put(a, (i * 7919 % 2000).to_be_bytes(), [i as u8; 300]);
            batch.count(a, 1);
            match i {
                2500 => batch.delete_range(a, 100u32.to_be_bytes(), 300u32.to_be_bytes()),
                5000.. => batch.put(late, i.to_be_bytes(), b"late".as_slice()),
                _ => batch.delete(a, (i % 50).to_be_bytes()),
            }
            store.apply(batch).unwrap();
        }
        put(&store, a, b"last", b"one", Level::Fresh).unwrap();
        put(&store, a, b"behind the anchor", b"too", Level::Durable).unwrap();
        let expected = (dump(&store, a).unwrap(), dump(&store, late).unwrap());
        drop(store);

        let open = |machine: &Machine| {
            let options = ringfort_store::StoreOptions { memory_budget: 512 << 10, ..machine.options() };
            Store::open(machine.world(), options)
        };
        let check = |store: &Store| {
            assert_eq!((dump(store, a).unwrap(), dump(store, late).unwrap()), expected, "{mode}");
            assert_eq!(store.count(a).unwrap().value, 6000);
        };
        let altered = machine.after_kill();
        let newest = altered.log_disk().files().into_keys().rfind(|path| path.starts_with("wal/")).unwrap();
        ringfort_fault::attack::flip(altered.log_disk(), &newest, 300, 1).unwrap();
        let before = (altered.data.files(), altered.trusted.files());
        assert!(open(&altered).err().unwrap().proof().is_some(), "{mode}");
        assert_eq!((altered.data.files(), altered.trusted.files()), before, "{mode}: R12");

        let machine = machine.after_kill();
        let store = open(&machine).unwrap();
        assert!(store.levels(a).unwrap()[0].0 > 1, "{mode}: nothing was flushed");
        assert!(store.memtable_bytes() < 2 << 20, "{mode}: {} bytes", store.memtable_bytes());
        check(&store);
        let cut = machine.after_power_cut(CrashChoice::Seeded(3));
        drop(store);
        check(&cut.open().unwrap());
        let again = open(&machine.after_kill()).unwrap();
        check(&again);
        settle(&again).unwrap();
        check(&again);
    }
}

/// Every life has a segment of its own, with space reserved: lives that write little must not pile
/// that up.
#[test]
fn the_log_of_many_short_lives_stays_small() {
    for mode in MODES {
        let mut machine = Machine::new(mode, 31);
        let options = StoreOptions { max_total_wal_size: 256 << 10, ..machine.options() };
        let segments = |machine: &Machine| {
            let logs = machine.log_disk().files().into_iter().filter(|(path, _)| path.starts_with("wal/"));
            logs.map(|(_, bytes)| bytes.len() as u64).collect::<Vec<_>>()
        };
        for life in 0..40u32 {
            let store = Store::open(machine.world(), options.clone()).unwrap();
            let ks = store.create_keyspace("ks", small()).unwrap();
            put(&store, ks, &life.to_be_bytes(), b"here", Level::Durable).unwrap();
            settle(&store).unwrap();
            if life % 2 == 0 {
                store.close().unwrap();
                let last = *segments(&machine).last().unwrap();
                assert!(
                    last < options.segment_bytes / 2,
                    "{mode}: a closed log has no reserve: {last} bytes"
                );
            } else {
                machine = machine.after_kill();
            }
            let bytes: u64 = segments(&machine).iter().sum();
            let most = options.max_total_wal_size + options.segment_bytes;
            assert!(bytes <= most, "{mode}, life {life}: {bytes} bytes of log");
        }
        let store = machine.open().unwrap();
        let ks = store.keyspace("ks").unwrap();
        assert_eq!(dump(&store, ks).unwrap().len(), 40);
    }
}
