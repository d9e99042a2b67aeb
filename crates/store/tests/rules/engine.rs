//! R20, R22, R23: time, steps, and reads in two steps.

use crate::common::{MODES, Machine, commit, dump, get, put, settle, small};
use crate::power::Power;
use ringfort_base::{ErrorKind, Level, Result};
use ringfort_fault::memory::CrashChoice;
use ringfort_fault::script::Op;
use ringfort_store::{Step, Store, WriteBatch};
use ringfort_trust::keyfile::Mode;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// The log knows the time: a host that sets its clock back, over crashes as well, revives nothing; one
/// that sets it far forward is not believed.
#[test]
fn r20_time_is_logged_with_the_commits() {
    for mode in MODES {
        let machine = Machine::new(mode, 1);
        let store = machine.open().unwrap();
        let ks = store.create_keyspace("ks", small()).unwrap();
        machine.clock.advance(10 * HOUR);
        put(&store, ks, b"k", b"v", Level::Durable).unwrap();
        let then = store.now_ms();
        drop(store);
        machine.clock.jump_back(9 * HOUR);
        for after in [machine.after_kill(), machine.after_power_cut(CrashChoice::LoseAll)] {
            let store = after.open().unwrap();
            assert!(store.now_ms() >= then, "{mode}: the clock went back by {} ms", then - store.now_ms());
            assert!(!store.time().suspect);
            store.flush(None).unwrap();
            settle(&store).unwrap();
            store.close().unwrap();
            drop(store);
            // Also when the log that knew it is gone: the MANIFEST knows it, too.
            assert!(after.open().unwrap().now_ms() >= then, "{mode}");
        }
        let after = machine.after_kill();
        machine.clock.jump_forward(1000 * HOUR);
        let store = after.open().unwrap();
        let time = store.time();
        assert!(time.suspect, "{mode}: a jump of a thousand hours is believed");
        assert!(time.now_ms <= then + 25 * 3_600_000, "{mode}: {} ms ahead", time.now_ms - then);
        put(&store, ks, b"k", b"v", Level::Durable).unwrap();
        machine.clock.jump_back(1000 * HOUR);
        assert!(store.now_ms() >= time.now_ms, "time never falls");
    }
}

/// The core has no thread, no clock of its own and never sleeps: no source file of it names one.
#[test]
fn r22_the_core_spawns_nothing_and_sleeps_never() {
    fn sources(dir: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    sources(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 20);
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        // Unit tests may: they stand last in a file, or in a file of their own.
        let production = text.split("#[cfg(test)]").next().unwrap_or_default();
        let of_tests = path.file_name().is_some_and(|name| name.to_string_lossy().contains("test"));
        for word in [
            "thread::spawn",
            "thread::sleep",
            "thread::scope",
            "Condvar",
            "Instant::now",
            "SystemTime",
            "block_on",
            "tokio",
        ] {
            assert!(of_tests || !production.contains(word), "{} names {word}", path.display());
        }
    }
}

/// A workload in which every job is one step, chosen by the caller.
fn stepwise(store: &Store, eager: bool) -> Result<()> {
    let ks = [store.create_keyspace("a", small())?, store.create_keyspace("b", small())?];
    for i in 0..400u32 {
        let mut batch = WriteBatch::new();
        batch.put(ks[0], format!("{:03}", i * 37 % 101), vec![i as u8; 150]);
        batch.put(ks[1], format!("{:03}", i * 17 % 101), i.to_be_bytes());
        if i % 10 == 0 {
            batch.delete_range(ks[0], "020", "025");
        }
        store.submit(batch)?;
        // The one takes each step at once, the other lets work pile up.
        if eager || i % 23 == 0 {
            while store.log_step()? == Step::Worked {}
        }
        if eager || i % 50 == 0 {
            store.request_anchor();
            store.sync_step()?;
            store.anchor_step()?;
            store.maintenance_step()?;
        }
    }
    while store.log_step()? == Step::Worked {}
    Ok(())
}

/// Nothing happens but by steps; whenever they are taken, the result is the same; and the same steps
/// make the same disks, byte by byte.
#[test]
fn r22_steps_give_one_result() {
    for mode in MODES {
        let run = |eager| {
            let machine = Machine::new(mode, 2);
            let store = machine.open().unwrap();
            stepwise(&store, eager).unwrap();
            let dumps = ["a", "b"].map(|name| dump(&store, store.keyspace(name).unwrap()).unwrap());
            (machine, dumps)
        };
        let (eager, one) = run(true);
        let (_, other) = run(false);
        assert!(one == other, "{mode}: the order of background work shows");
        let (again, _) = run(true);
        assert!(
            eager.data.files() == again.data.files() && eager.trusted.files() == again.trusted.files(),
            "{mode}"
        );
        assert!(eager.platform_disk.files() == again.platform_disk.files());
    }
}

/// A submitted batch waits for a step; nothing is queued without bound.
#[test]
fn r22_submitting_does_no_work() {
    let machine = Machine::new(Mode::Software, 3);
    let power = Power::default();
    let store = Store::open(power.world(&machine), machine.options()).unwrap();
    let ks = store.create_keyspace("ks", small()).unwrap();
    power.start_journal();
    let mut batch = WriteBatch::new();
    batch.put(ks, b"k", vec![0; 1 << 20]);
    let mut accepted = 0;
    let refused = loop {
        match store.submit(batch.clone()) {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), ErrorKind::Exhausted);
    assert!((100..1000).contains(&accepted), "{accepted} MiB were queued");
    assert_eq!(get(&store, ks, b"k").unwrap(), None);
    assert!(power.journal().is_empty(), "a submit reached the disk");
    assert_eq!(store.log_step().unwrap(), Step::Worked);
    assert!(get(&store, ks, b"k").unwrap().is_some());
    assert!(store.submit(batch).is_ok(), "there is room again");
}

/// What is in memory is answered there; what is not says so, and reads nothing.
#[test]
fn r23_reads_in_two_steps() {
    for mode in MODES {
        let machine = Machine::new(mode, 4);
        let store = machine.open().unwrap();
        let ks = store.create_keyspace("ks", small()).unwrap();
        let mut batch = WriteBatch::new();
        (0..200u32).for_each(|i| batch.put(ks, i.to_be_bytes(), vec![i as u8; 100]));
        commit(&store, batch, Level::Fresh).unwrap();
        let key = 77u32.to_be_bytes();
        assert!(store.get_resident(ks, &key, None).unwrap().is_some(), "in the memtable");
        store.flush(None).unwrap();
        settle(&store).unwrap();
        store.close().unwrap();
        drop(store);

        let power = Power::default();
        let store = Store::open(power.world(&machine), machine.options()).unwrap();
        power.start_journal();
        let reads = || power.journal().iter().filter(|c| matches!(c.op, Op::Read | Op::Open)).count();
        assert!(
            store.get_resident(ks, &key, None).unwrap().is_none(),
            "{mode}: a cold block is not resident"
        );
        assert_eq!(reads(), 0, "{mode}: it went to the disk all the same");
        let answer = store.get(ks, &key, None).unwrap();
        assert_eq!(answer.value.as_deref(), Some([77; 100].as_slice()));
        assert!(reads() > 0);
        let before = reads();
        assert_eq!(store.get_resident(ks, &key, None).unwrap(), Some(answer), "{mode}: now it is");
        let snapshot = store.snapshot();
        assert!(store.get_resident(ks, &key, Some(&snapshot)).unwrap().is_some());
        assert_eq!(reads(), before);
        assert_eq!(
            store.get_resident(ks, b"behind the last key", None).unwrap().map(|a| a.value),
            Some(None)
        );
    }
}
