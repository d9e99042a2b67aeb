//! Honest misfortune that looks like an attack, and must not be taken for one (matrix row 3).

use crate::common::{MODES, Machine, commit, get, put, settle, small};
use crate::scene::options;
use ringfort_base::Level;
use ringfort_fault::memory::CrashChoice;
use ringfort_store::{KeyspaceOptions, Store, WriteBatch};

/// A flush frees every segment but the present one, whose records are not durable yet; the edit is
/// anchored; then the power fails. The log may not start at a segment that a power cut can take.
#[test]
fn a_power_cut_right_after_segments_were_freed_is_no_attack() {
    for (mode, durable) in MODES.into_iter().flat_map(|mode| (6..14u32).map(move |durable| (mode, durable))) {
        let machine = Machine::new(mode, 7);
        let store = Store::open(machine.world(), options(&machine)).unwrap();
        let ks =
            store.create_keyspace("ks", KeyspaceOptions { write_buffer_bytes: 4096, ..small() }).unwrap();
        let other = store.create_keyspace("other", KeyspaceOptions::default()).unwrap();
        let mut last = None;
        for n in 0..durable {
            last = Some(put(&store, ks, &n.to_be_bytes(), &[1; 300], Level::Durable).unwrap());
        }
        // Only buffered, and large enough to need a segment of its own.
        put(&store, other, b"buffered", &[2; 3500], Level::Buffered).unwrap();
        // Every memtable but that record's is flushed. The counter is advanced over what is durable and
        // over the MANIFEST; no sync is asked for.
        while store.statistics().flushes < u64::from(durable) {
            store.maintenance_step().unwrap();
        }
        let mut wait = std::pin::pin!(store.wait(last.unwrap(), Level::Fresh));
        while crate::common::poll(wait.as_mut()).is_pending() {
            store.anchor_step().unwrap();
        }
        for choice in (0..10).map(CrashChoice::Seeded).chain([CrashChoice::LoseAll, CrashChoice::KeepAll]) {
            let machine = machine.after_power_cut(choice);
            let store = Store::open(machine.world(), options(&machine))
                .unwrap_or_else(|e| panic!("{mode} {durable} {choice:?}: FALSE ALARM: {e:?}"));
            for n in 0..durable {
                assert!(
                    get(&store, ks, &n.to_be_bytes()).unwrap().is_some(),
                    "{mode} {choice:?}: {n} was durable"
                );
            }
        }
    }
}

/// Many ways for the power to fail in a short workload over several segments, tables and
/// lives: no alarm, nothing lost that was acknowledged at its level.
#[test]
fn power_cuts_at_any_moment_are_no_attack() {
    for mode in MODES {
        let machine = Machine::new(mode, 8);
        let mut store = Store::open(machine.world(), options(&machine)).unwrap();
        let ks = store.create_keyspace("ks", small()).unwrap();
        for n in 0..60u32 * crate::matrix::effort() as u32 {
            let level = [Level::Buffered, Level::Durable, Level::Fresh][n as usize % 3];
            let mut batch = WriteBatch::new();
            (0..4).for_each(|k| batch.put(ks, format!("{k}"), n.to_le_bytes()));
            batch.put(ks, format!("n{n}"), vec![n as u8; 400]);
            commit(&store, batch, level).unwrap();
            match n % 20 {
                7 => drop(store.maintenance_step().unwrap()),
                12 => store.flush(None).unwrap(),
                17 => settle(&store).unwrap(),
                19 => {
                    store.close().unwrap();
                    drop(store);
                    store = Store::open(machine.world(), options(&machine)).unwrap();
                }
                _ => {}
            }
            for seed in 0..12 {
                let machine = machine.after_power_cut(CrashChoice::Seeded(u64::from(n) * 100 + seed));
                let store = Store::open(machine.world(), options(&machine))
                    .unwrap_or_else(|e| panic!("{mode} {n} {seed}: FALSE ALARM: {e:?}"));
                let durable = if level == Level::Buffered { n.saturating_sub(1) } else { n };
                let got = get(&store, ks, b"0").unwrap();
                let got = got.map_or(0, |bytes| u32::from_le_bytes(bytes.try_into().unwrap()));
                assert!(got >= durable, "{mode} {n} {seed}: {got}");
                for k in 1..4 {
                    let other = get(&store, ks, format!("{k}").as_bytes()).unwrap();
                    assert_eq!(
                        other.map_or(0, |b| u32::from_le_bytes(b.try_into().unwrap())),
                        got,
                        "a batch is whole"
                    );
                }
            }
        }
    }
}
