//! R1 to R7: what the counter vouches for, and what a reply waits for.

use crate::common::{MODES, Machine, commit, get, put, settle, small, wait};
use crate::power::{Power, Which};
use crate::{anchor, counter};
use ringfort_base::world::{Clock, Device, Disk, Entropy};
use ringfort_base::{Epoch, ErrorKind, EvidenceKind, Incarnation, Level, Lineage, Seq};
use ringfort_fault::device::{DeviceFault, FaultDevice};
use ringfort_fault::memory::{CrashChoice, MemDisk};
use ringfort_fault::script::{Fault, Op};
use ringfort_store::{Step, Store, World, WriteBatch};
use ringfort_trust::counter::Advance;
use ringfort_trust::platform::sim::{SimDevice, SimPlatform};
use ringfort_trust::{Anchor, Tag};
use std::sync::Arc;

/// Whatever part of the anchor differs from what is on the disk, recovery refuses.
#[test]
fn r1_the_anchor_covers_every_part() {
    type Alter = fn(&mut Anchor);
    let parts: [(&str, Alter); 9] = [
        ("lineage", |a| a.lineage = Lineage([9; 16])),
        ("epoch", |a| a.epoch = Epoch(a.epoch.0 + 1)),
        ("incarnation", |a| a.incarnation = Incarnation(a.incarnation.0 + 1)),
        ("claim", |a| a.claim[3] ^= 1),
        ("log position", |a| a.wal.position += 1),
        ("log tag", |a| a.wal.tag = Tag([1; 16])),
        ("MANIFEST position", |a| a.manifest.position += 1),
        ("key file version", |a| a.key_file_version += 1),
        ("key file digest", |a| a.key_file_digest[31] ^= 1),
    ];
    for mode in MODES {
        for (part, alter) in parts {
            let machine = Machine::new(mode, 1);
            let store = machine.open().unwrap();
            let ks = store.create_keyspace("ks", small()).unwrap();
            put(&store, ks, b"k", b"v", Level::Fresh).unwrap();
            let id = store.id();
            store.close().unwrap();
            drop(store);
            let old = anchor(&machine, id);
            let mut new = old.clone();
            alter(&mut new);
            assert!(matches!(
                counter(&machine, id).advance(Some(old.digest()), &new, true),
                Ok(Advance::Done(_))
            ));
            let error = machine.open().err().unwrap_or_else(|| panic!("{mode}: another {part} is accepted"));
            assert!(error.proof().is_some(), "{mode}, {part}: {error:?}");
        }
    }
}

#[test]
fn r2_every_open_claims_the_next_incarnation() {
    for mode in MODES {
        let machine = Machine::new(mode, 2);
        let mut seen: Vec<Anchor> = Vec::new();
        for life in 1..5 {
            let store = machine.open().unwrap();
            let now = anchor(&machine, store.id());
            assert_eq!((now.incarnation, store.incarnation()), (Incarnation(life), Incarnation(life)));
            assert!(
                seen.iter().all(|before| before.claim != now.claim && before.wal.position < now.wal.position)
            );
            seen.push(now);
            // Also if nothing was written, and however the life ended.
            if life % 2 == 0 {
                store.close().unwrap();
            }
        }
    }
}

/// A process that was paused, not dead, writes on behind the head that its successor claimed: that is
/// neither replayed nor called an attack. And what it had made durable before was copied.
#[test]
fn r2_what_lies_behind_the_claimed_head_is_ignored() {
    for mode in MODES {
        let machine = Machine::new(mode, 3);
        let paused = machine.open().unwrap();
        let ks = paused.create_keyspace("ks", small()).unwrap();
        put(&paused, ks, b"anchored", b"1", Level::Fresh).unwrap();
        put(&paused, ks, b"durable", b"1", Level::Durable).unwrap();
        machine.data.unlock_all();
        machine.trusted.unlock_all();
        let second = machine.open().unwrap();
        assert!(get(&second, ks, b"durable").unwrap().is_some(), "{mode}: the tail was not copied");
        for i in 0..50u32 {
            put(&paused, ks, format!("behind {i}").as_bytes(), b"2", Level::Durable).unwrap();
        }
        put(&second, ks, b"second", b"1", Level::Durable).unwrap();
        drop(second);
        machine.data.unlock_all();
        machine.trusted.unlock_all();
        let third = machine.open().unwrap();
        for key in ["anchored", "durable", "second"] {
            assert!(get(&third, ks, key.as_bytes()).unwrap().is_some(), "{mode}: {key}");
        }
        assert_eq!(get(&third, ks, b"behind 0").unwrap(), None, "{mode}");
        // The old segment and its tail can be lost now: everything of it is in the new life's log.
        third.flush(None).unwrap();
        settle(&third).unwrap();
        assert!(get(&third, ks, b"durable").unwrap().is_some());
    }
}

/// Dying between the claim's sync and the advance leaves a life that nobody claimed.
#[test]
fn r2_a_claim_that_was_not_anchored_is_no_claim() {
    for mode in MODES {
        let machine = Machine::new(mode, 4);
        let store = machine.open().unwrap();
        let ks = store.create_keyspace("ks", small()).unwrap();
        put(&store, ks, b"k", b"durable", Level::Durable).unwrap();
        drop(store);
        for attempt in 0..3 {
            let power = Power::default();
            power.plan(|call| {
                let counters = call.disk == Which::Platform || call.path.starts_with("CLAIM");
                (counters && call.is_mutating()).then_some(Fault::Freeze)
            });
            power.start_journal();
            assert!(Store::open(power.world(&machine), machine.options()).is_err());
            let synced = |c: &crate::power::Call| c.op == Op::Sync && c.path.starts_with("wal/");
            assert!(power.journal().iter().any(synced), "{mode}: it died before the claim's sync");
            let after = if attempt == 1 {
                machine.after_power_cut(CrashChoice::LoseAll)
            } else {
                machine.after_kill()
            };
            let store = after.open().unwrap();
            assert_eq!(store.incarnation(), Incarnation(2), "{mode}: nobody lived in between");
            assert!(get(&store, ks, b"k").unwrap().is_some());
            machine.data.unlock_all();
            machine.trusted.unlock_all();
        }
    }
}

/// R3, line by line.
#[test]
fn r3_the_recovery_table() {
    for mode in MODES {
        let machine = Machine::new(mode, 5);
        let store = machine.open().unwrap();
        let ks = store.create_keyspace("ks", small()).unwrap();
        put(&store, ks, b"first", b"1", Level::Fresh).unwrap();
        let early = machine.map(MemDisk::fork);
        put(&store, ks, b"anchored", b"1", Level::Fresh).unwrap();
        let at_anchor = machine.map(MemDisk::fork);
        put(&store, ks, b"durable", b"1", Level::Durable).unwrap();
        let beyond = machine.map(MemDisk::fork);
        let id = store.id();
        drop(store);
        let log = |machine: &Machine| {
            let names: Vec<String> =
                machine.log_disk().files().into_keys().filter(|n| n.starts_with("wal/")).collect();
            names.last().unwrap().clone()
        };
        // The log ends at the anchor: served.
        assert!(get(&at_anchor.open().unwrap(), ks, b"anchored").unwrap().is_some());
        // It goes on: kept, as far as it verifies.
        assert!(get(&beyond.map(MemDisk::fork).open().unwrap(), ks, b"durable").unwrap().is_some());
        let end = |machine: &Machine| {
            let bytes = machine.log_disk().bytes_of(&log(machine)).unwrap();
            bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64
        };
        let torn = beyond.map(MemDisk::fork);
        torn.log_disk().poke(&log(&torn), end(&torn) - 3, &[0xaa; 3]).unwrap();
        let store = torn.open().unwrap();
        assert_eq!(get(&store, ks, b"durable").unwrap(), None, "{mode}: the torn end");
        assert!(get(&store, ks, b"anchored").unwrap().is_some());
        drop(store);
        // A record at or before the anchor does not verify: refused.
        let damaged = at_anchor.map(MemDisk::fork);
        damaged.log_disk().poke(&log(&damaged), end(&damaged) - 3, &[0xaa; 3]).unwrap();
        let error = damaged.open().err().unwrap();
        let proof = error.proof().unwrap();
        assert_eq!(proof.kind, EvidenceKind::BadSeal, "{mode}: {error}");
        assert!(proof.file.starts_with("wal/") && proof.position > 0, "{mode}: {error}");
        // The anchored head is not in the log: an older one was put in place.
        let rolled_back = at_anchor.map(MemDisk::fork);
        let old = early.log_disk().bytes_of(&log(&early)).unwrap();
        rolled_back.log_disk().poke(&log(&rolled_back), 0, &old).unwrap();
        let error = rolled_back.open().err().unwrap();
        assert_eq!(
            (error.kind(), error.proof().unwrap().kind),
            (ErrorKind::Rollback, EvidenceKind::Rollback),
            "{mode}"
        );
        // Another tag at its position: a history of its own, grown from a copy. The host can swap it
        // in on the untrusted volume only.
        if mode == ringfort_trust::keyfile::Mode::Software {
            let fork = early.map(MemDisk::fork);
            let honest = early.map(MemDisk::fork);
            for (machine, value) in [(&fork, b"a"), (&honest, b"b")] {
                let store = machine.open().unwrap();
                put(&store, ks, b"k", value, Level::Fresh).unwrap();
                store.close().unwrap();
            }
            let (a, b) = (anchor(&fork, id), anchor(&honest, id));
            assert!(a.wal.position == b.wal.position && a.wal.tag != b.wal.tag);
            let swapped = Machine { platform_disk: honest.platform_disk.fork(), ..fork.map(MemDisk::fork) };
            assert_eq!(swapped.open().err().unwrap().kind(), ErrorKind::Rollback);
        }
    }
}

/// The machine's world, its platform behind a hostile bus.
fn with_bus(machine: &Machine) -> (World, Arc<FaultDevice>) {
    let entropy = Arc::clone(&machine.entropy) as Arc<dyn Entropy>;
    let device = SimDevice::new(Arc::new(machine.platform_disk.clone()), Arc::clone(&entropy));
    let bus = Arc::new(FaultDevice::new(Arc::new(device)));
    let world = World {
        data: Arc::new(machine.data.clone()) as Arc<dyn Disk>,
        trusted: None,
        clock: Arc::clone(&machine.clock) as Arc<dyn Clock>,
        entropy,
        platform: Arc::new(SimPlatform::new(Arc::clone(&bus) as Arc<dyn Device>)),
    };
    (world, bus)
}

#[test]
fn r4_lost_messages_at_every_exchange_of_an_open() {
    for fault in [DeviceFault::DropReply, DeviceFault::DropRequest, DeviceFault::ReplayReply] {
        for created in [false, true] {
            for nth in 1.. {
                let machine = Machine::new(MODES[0], nth);
                if created {
                    let store = machine.open().unwrap();
                    store.create_keyspace("ks", small()).unwrap();
                    store.close().unwrap();
                }
                let (world, bus) = with_bus(&machine);
                bus.at(nth, fault.clone());
                let opened = Store::open(world, machine.options());
                let exchanges = bus.transactions();
                if let Err(error) = &opened {
                    let kinds = [ErrorKind::Io, ErrorKind::OutcomeUnknown];
                    assert!(
                        kinds.contains(&error.kind()) && error.proof().is_none(),
                        "{fault:?} at {nth}: {error:?}"
                    );
                }
                drop(opened);
                let store = machine.open().unwrap_or_else(|e| panic!("{fault:?} at {nth}, afterwards: {e}"));
                assert_eq!(store.keyspace("ks").is_some(), created);
                if exchanges < nth {
                    assert!(nth > 3);
                    break;
                }
            }
        }
    }
}

#[test]
fn r4_lost_messages_in_service() {
    for fault in [DeviceFault::DropReply, DeviceFault::DropRequest, DeviceFault::ReplayReply] {
        let machine = Machine::new(MODES[0], 7);
        let (world, bus) = with_bus(&machine);
        let store = Store::open(world, machine.options()).unwrap();
        let ks = store.create_keyspace("ks", small()).unwrap();
        for i in 0..5u8 {
            bus.next(fault.clone());
            let position = put(&store, ks, &[i], b"v", Level::Fresh).unwrap();
            assert_eq!(anchor(&machine, store.id()).wal.position, position.0, "{fault:?}");
        }
        // A read that gets lost stops nothing: it is asked again.
        let waiting = store.wait(store.frontier(Level::Buffered), Level::Fresh);
        bus.next(DeviceFault::DropReply);
        assert_eq!(store.anchor_step().unwrap(), Step::Worked);
        assert!(waiting.is_ready());
        // Nobody answers any more: the outcome is unknown, and the store stops.
        let mut batch = WriteBatch::new();
        batch.put(ks, b"k", b"v");
        let ticket = store.apply(batch).unwrap();
        let now = bus.transactions();
        (now + 1..now + 40).for_each(|nth| bus.at(nth, DeviceFault::DropReply));
        drop(store.wait(ticket.position, Level::Durable));
        let wait = store.wait(ticket.position, Level::Fresh);
        store.sync_step().unwrap();
        assert_eq!(store.anchor_step().unwrap_err().kind(), ErrorKind::OutcomeUnknown);
        assert!(wait.is_ready() && store.stopped().is_some());
    }
}

/// A clone of the machine claimed meanwhile: the paused copy releases no fresh reply, not even for
/// what was anchored long ago, and finds out why.
#[test]
fn r5_a_paused_copy_releases_no_fresh_reply() {
    for mode in MODES {
        for writes in [false, true] {
            let machine = Machine::new(mode, 8);
            let paused = machine.open().unwrap();
            let ks = paused.create_keyspace("ks", small()).unwrap();
            let old = put(&paused, ks, b"k", b"old", Level::Fresh).unwrap();
            let before = paused.wait(old, Level::Fresh);
            // The untrusted volume is copied; trusted volume and platform are the same ones.
            machine.trusted.unlock_all();
            let clone = Machine { data: machine.data.fork(), ..machine.map(Clone::clone) };
            let other = clone.open().unwrap();
            put(&other, ks, b"k", b"new", Level::Fresh).unwrap();
            if writes {
                let mut batch = WriteBatch::new();
                batch.put(ks, b"k2", b"x");
                paused.apply(batch).unwrap();
            }
            assert_eq!(
                get(&paused, ks, b"k").unwrap().as_deref(),
                Some(b"old".as_slice()),
                "it cannot know yet"
            );
            let error = wait(&paused, old, Level::Fresh).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::SecondCopy, "{mode}: {error}");
            assert_eq!(error.proof().unwrap().kind, EvidenceKind::SecondCopy);
            assert!(before.is_ready(), "told why");
            assert_eq!(paused.get(ks, b"k", None).unwrap_err().kind(), ErrorKind::SecondCopy);
            assert_eq!(paused.apply(WriteBatch::new()).unwrap_err().kind(), ErrorKind::SecondCopy);
            // The other one is not disturbed.
            put(&other, ks, b"k", b"newer", Level::Fresh).unwrap();
        }
    }
}

/// What an answer depends on: the value, the tombstone, the range tombstone, the gap, the count.
#[test]
fn r6_answers_say_what_they_depend_on() {
    for mode in MODES {
        let machine = Machine::new(mode, 9);
        let store = machine.open().unwrap();
        let ks = store.create_keyspace("ks", small()).unwrap();
        let apply = |f: &dyn Fn(&mut WriteBatch)| {
            let mut batch = WriteBatch::new();
            f(&mut batch);
            store.apply(batch).unwrap().position
        };
        let put_at = apply(&|b| b.put(ks, b"b", b"v"));
        let other_at = apply(&|b| b.put(ks, b"x", b"v"));
        let deleted_at = apply(&|b| b.delete(ks, b"d"));
        let range_at = apply(&|b| b.delete_range(ks, b"m", b"p"));
        let count_at = apply(&|b| b.count(ks, 3));
        let last = apply(&|b| b.put(ks, b"z", b"v"));
        let check = |place: &str| {
            let depends = |key: &[u8]| store.get(ks, key, None).unwrap().depends;
            assert_eq!(depends(b"b"), put_at, "{mode} {place}: a value");
            assert_eq!(depends(b"x"), other_at, "{mode} {place}: a value");
            assert_eq!(depends(b"d"), deleted_at, "{mode} {place}: a tombstone");
            assert_eq!(depends(b"n"), range_at, "{mode} {place}: a range tombstone");
            assert_eq!(depends(b"never"), range_at, "{mode} {place}: 'never' lies in the range");
            assert_eq!(depends(b"q"), Seq::ZERO, "{mode} {place}: never there");
            assert!(store.count(ks).unwrap().depends >= count_at, "{mode} {place}: a count");
            let scan = |from: &[u8], to: &[u8], reverse: bool| {
                let snapshot = store.snapshot();
                let mut iter = store.iter(ks, from, Some(to), reverse, &snapshot).unwrap();
                let entries = iter.by_ref().count();
                (entries, iter.depends())
            };
            for reverse in [false, true] {
                let (entries, depends) = scan(b"a", b"y", reverse);
                assert!(entries == 2 && depends >= range_at, "{mode} {place}: a scan over everything");
                let (entries, depends) = scan(b"c", b"e", reverse);
                assert!(
                    entries == 0 && depends >= deleted_at,
                    "{mode} {place}: an empty scan over a tombstone"
                );
                let (entries, depends) = scan(b"n", b"o", reverse);
                assert!(entries == 0 && depends >= range_at, "{mode} {place}: an empty scan under a range");
            }
        };
        check("in the memtable");
        assert!(store.frontier(Level::Fresh) < put_at);
        store.flush(None).unwrap();
        check("in a table");
        // Nothing of this is anchored yet, so nothing may be dropped or lose its number.
        let anchored = store.frontier(Level::Fresh);
        assert!(anchored < put_at);
        store.compact_range(ks, None, None).unwrap();
        assert_eq!(store.frontier(Level::Fresh), anchored, "compaction needs no anchor");
        check("compacted, unanchored");
        // Once it is, tombstones at the bottom go: their absence depends on nothing any more.
        wait(&store, last, Level::Fresh).unwrap();
        store.compact_range(ks, None, None).unwrap();
        assert_eq!(store.get(ks, b"d", None).unwrap().depends, Seq::ZERO);
        assert_eq!(store.get(ks, b"b", None).unwrap().value.as_deref(), Some(b"v".as_slice()));
    }
}

/// A reader that waits triggers sync and advance: nobody else needs to.
#[test]
fn r6_a_waiting_reader_is_enough() {
    let machine = Machine::new(MODES[0], 10);
    let store = machine.open().unwrap();
    let ks = store.create_keyspace("ks", small()).unwrap();
    let position = put(&store, ks, b"k", b"v", Level::Buffered).unwrap();
    assert_eq!((store.sync_step().unwrap(), store.anchor_step().unwrap()), (Step::Idle, Step::Idle));
    let answer = store.get(ks, b"k", None).unwrap();
    assert_eq!(answer.depends, position);
    wait(&store, answer.depends, Level::Fresh).unwrap();
    assert!(store.frontier(Level::Fresh) >= position);
}

/// What the pace of the operations is taken from: what an operation released, and what was submitted by
/// its end, before any of the released could write again.
#[test]
fn a_round_says_what_it_released_and_what_was_under_way() {
    let machine = Machine::new(MODES[0], 12);
    let store = machine.open().unwrap();
    let ks = store.create_keyspace("ks", small()).unwrap();
    let submit = || {
        let mut batch = WriteBatch::new();
        batch.put(ks, b"k", b"v");
        store.submit(batch).unwrap()
    };
    let before = store.frontier(Level::Fresh);
    let (_, second) = (submit(), submit());
    let wait = store.wait_commit(second, Level::Fresh);
    store.log_step().unwrap();
    store.sync_step().unwrap();
    let third = submit();
    let round = store.anchor().unwrap().expect("somebody waits");
    let fourth = submit();
    assert_eq!((round.before, round.after), (before, second.position));
    assert_eq!(round.submitted, third.position);
    assert!(round.submitted < fourth.position);
    assert!(wait.is_ready() && store.frontier(Level::Fresh) == second.position);
    assert!(store.anchor().unwrap().is_none(), "nobody asks for more");
}

#[test]
fn r7_a_request_or_a_clean_stop_anchors_everything() {
    for mode in MODES {
        let machine = Machine::new(mode, 11);
        let store = machine.open().unwrap();
        let ks = store.create_keyspace("ks", small()).unwrap();
        let mut batch = WriteBatch::new();
        batch.put(ks, b"k", b"v");
        let first = commit(&store, batch.clone(), Level::Buffered).unwrap();
        assert!(anchor(&machine, store.id()).wal.position < first.0);
        // What a worker does once per anchor window.
        store.request_anchor();
        store.sync_step().unwrap();
        store.anchor_step().unwrap();
        assert_eq!(anchor(&machine, store.id()).wal.position, first.0);
        assert_eq!(store.anchor_step().unwrap(), Step::Idle, "nothing new, nobody asks");
        let last = store.submit(batch).unwrap().position;
        store.close().unwrap();
        assert_eq!(anchor(&machine, store.id()).wal.position, last.0, "{mode}: at a clean stop");
    }
}
