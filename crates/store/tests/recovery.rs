//! Opening, reopening, and what survives what.

mod common;
use common::*;
use ringfort_base::{ErrorKind, Level};
use ringfort_fault::memory::CrashChoice;
use ringfort_store::{KeyspaceOptions, WriteBatch};

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
