//! R8 to R18: in which order files are written, synced, named and deleted, and which are believed.

use crate::anchor;
use crate::common::{MODES, Machine, commit, dump, get, put, settle, small, wait};
use crate::power::{Call, Power, Which};
use ringfort_base::world::Disk;
use ringfort_base::{ErrorKind, EvidenceKind, FileNo, Incarnation, KeyspaceId, Level, Untrusted};
use ringfort_fault::attack;
use ringfort_fault::entropy::SeededEntropy;
use ringfort_fault::memory::{CrashChoice, MemDisk};
use ringfort_fault::script::Op;
use ringfort_store::{KeyspaceOptions, Store, StoreOptions, WriteBatch};
use ringfort_trust::chain::SegmentHeader;
use ringfort_trust::keyfile::Mode;
use std::collections::BTreeSet;
use std::sync::Arc;

const TINY: u64 = 4096;

fn tiny_segments(machine: &Machine) -> StoreOptions {
    StoreOptions { segment_bytes: TINY, ..machine.options() }
}

fn is_store_file(path: &str) -> bool {
    path.starts_with("wal/") || path.starts_with("tables/") || path.starts_with("MANIFEST-")
}

fn dir_of(path: &str) -> String {
    path.rsplit_once('/').map_or("", |(dir, _)| dir).to_owned()
}

/// Whether this call moves the counter on.
fn advances(call: &Call, mode: Mode) -> bool {
    let counters = if mode == Mode::Software {
        call.disk == Which::Platform && call.path.starts_with("stores/")
    } else {
        call.path.starts_with("CLAIM")
    };
    counters && call.op == Op::Write
}

/// At every advance: every log segment, MANIFEST and table that was written is synced, and so is the
/// name of every one that was created. Every deletion is covered by a synced anchor of the edit before.
#[test]
fn r8_files_are_synced_before_the_advance_and_deleted_after_it() {
    for mode in MODES {
        let machine = Machine::new(mode, 1);
        let power = Power::default();
        power.start_journal();
        let store = Store::open(power.world(&machine), tiny_segments(&machine)).unwrap();
        let ks = store.create_keyspace("ks", small()).unwrap();
        for i in 0..60u32 {
            put(&store, ks, format!("k{}", i % 13).as_bytes(), &[i as u8; 900], Level::Buffered).unwrap();
            if i % 4 == 0 {
                wait(&store, store.frontier(Level::Buffered), Level::Fresh).unwrap();
            }
            if i % 9 == 0 {
                settle(&store).unwrap();
            }
        }
        store.close().unwrap();
        let journal = power.journal();
        let (mut dirty, mut unnamed) = (BTreeSet::new(), BTreeSet::new());
        let (mut edit_synced, mut anchor_synced) = (0, 0);
        let (mut moves, mut deletions, mut rotations) = (0, 0, 0);
        for (at, call) in journal.iter().enumerate() {
            let key = (call.disk as u8, call.path.clone());
            match call.op {
                Op::Create if is_store_file(&call.path) => {
                    rotations += u32::from(call.path.starts_with("wal/"));
                    unnamed.insert(key);
                }
                Op::Write | Op::Allocate if is_store_file(&call.path) => {
                    dirty.insert(key);
                }
                Op::Sync => {
                    dirty.remove(&key);
                    if call.path.starts_with("MANIFEST-") {
                        edit_synced = at;
                    }
                    if call.disk == Which::Platform || call.path.starts_with("CLAIM") {
                        anchor_synced = at;
                    }
                }
                Op::SyncDir => unnamed.retain(|(disk, path)| *disk != key.0 || dir_of(path) != call.path),
                Op::Remove if is_store_file(&call.path) => {
                    deletions += 1;
                    assert!(
                        anchor_synced > edit_synced,
                        "{mode}: {} goes before its edit is anchored",
                        call.path
                    );
                    dirty.remove(&key);
                }
                _ => {}
            }
            if advances(call, mode) {
                moves += 1;
                assert!(dirty.is_empty(), "{mode}: advanced over unsynced {dirty:?}");
                assert!(unnamed.is_empty(), "{mode}: advanced over unsynced names {unnamed:?}");
            }
        }
        assert!(moves > 15 && deletions > 10 && rotations > 5, "{moves} {deletions} {rotations}");
    }
}

/// CURRENT is a hint: recovery finds the MANIFEST that the anchor names without it, and against it.
#[test]
fn r8_current_is_only_a_hint() {
    for mode in MODES {
        let machine = Machine::new(mode, 2);
        let store = machine.open().unwrap();
        let ks = store.create_keyspace("ks", small()).unwrap();
        put(&store, ks, b"k", b"v", Level::Fresh).unwrap();
        store.close().unwrap();
        drop(store);
        for hint in [None, Some(b"MANIFEST-99999999\n".as_slice()), Some(&[0xff; 40])] {
            let copy = machine.map(MemDisk::fork);
            match hint {
                None => attack::delete(copy.log_disk(), "CURRENT").unwrap(),
                Some(bytes) => attack::write_file(copy.log_disk(), "CURRENT", bytes).unwrap(),
            }
            assert!(get(&copy.open().unwrap(), ks, b"k").unwrap().is_some(), "{mode}");
        }
    }
}

/// When the edit of a flush is written, nothing that the table holds is missing from the synced log.
#[test]
fn r9_a_flush_never_overtakes_the_log() {
    for mode in MODES {
        let machine = Machine::new(mode, 3);
        let power = Power::default();
        let store = Store::open(power.world(&machine), tiny_segments(&machine)).unwrap();
        let ks = store.create_keyspace("ks", small()).unwrap();
        power.start_journal();
        for i in 0..30u32 {
            put(&store, ks, &i.to_be_bytes(), &[1; 700], Level::Buffered).unwrap();
        }
        let last = store.frontier(Level::Buffered);
        assert!(store.frontier(Level::Durable) < last);
        store.flush(None).unwrap();
        assert!(store.frontier(Level::Durable) >= last);
        let journal = power.journal();
        let edit = journal.iter().position(|c| c.op == Op::Write && c.path.starts_with("MANIFEST-")).unwrap();
        let mut dirty = BTreeSet::new();
        for call in journal[..edit].iter().filter(|call| call.path.starts_with("wal/")) {
            match call.op {
                Op::Write => drop(dirty.insert(&call.path)),
                Op::Sync => drop(dirty.remove(&call.path)),
                _ => {}
            }
        }
        assert!(dirty.is_empty(), "{mode}: the edit was written over an unsynced log: {dirty:?}");
        // And positions go on above everything that tables hold, even if the log is gone by then.
        drop(store);
        let store = machine.after_kill().open().unwrap();
        let next = put(&store, ks, b"k", b"v", Level::Buffered).unwrap();
        assert!(next > last);
    }
}

/// A batch over two keyspaces, one side flushed: replay takes the other side only. Counts tell.
#[test]
fn r10_replay_skips_what_is_flushed() {
    for mode in MODES {
        let mut machine = Machine::new(mode, 4);
        let mut expected = 0;
        for life in 0..6u32 {
            let store = machine.open().unwrap();
            let ks = ["a", "b", "c"].map(|name| store.create_keyspace(name, small()).unwrap());
            for id in ks {
                assert_eq!(store.count(id).unwrap().value, expected, "{mode}, life {life}");
            }
            for i in 0..10u32 {
                let mut batch = WriteBatch::new();
                for id in ks {
                    batch.put(id, format!("{life} {i}"), b"v");
                    batch.count(id, 1);
                }
                store.apply(batch).unwrap();
                expected += 1;
                if i % 4 == 3 {
                    store.flush(Some(ks[(life as usize + i as usize) % 3])).unwrap();
                }
            }
            machine = machine.after_kill();
        }
    }
}

/// The segment that holds the other side's unflushed half stays until that is flushed, too.
#[test]
fn r10_a_segment_stays_until_every_keyspace_has_flushed_past_it() {
    for mode in MODES {
        let machine = Machine::new(mode, 5);
        let power = Power::default();
        let store = Store::open(power.world(&machine), tiny_segments(&machine)).unwrap();
        let [a, b] = ["a", "b"].map(|name| store.create_keyspace(name, KeyspaceOptions::default()).unwrap());
        let segments = || machine.log_disk().files().keys().filter(|path| path.starts_with("wal/")).count();
        let mut batch = WriteBatch::new();
        batch.put(a, b"k", b"v");
        batch.put(b, b"k", b"v");
        store.apply(batch).unwrap();
        for i in 0..20u32 {
            put(&store, a, &i.to_be_bytes(), &[1; 1000], Level::Durable).unwrap();
        }
        let before = segments();
        assert!(before >= 5);
        store.flush(Some(a)).unwrap();
        settle(&store).unwrap();
        assert_eq!(segments(), before, "{mode}: b needs the first one");
        store.flush(Some(b)).unwrap();
        put(&store, b, b"k2", b"v", Level::Durable).unwrap();
        store.flush(Some(b)).unwrap();
        settle(&store).unwrap();
        assert!(segments() <= 2, "{mode}: {} segments are left of {before}", segments());
        drop(store);
        let store = machine.after_kill().open().unwrap();
        assert!(get(&store, b, b"k").unwrap().is_some() && get(&store, a, b"k").unwrap().is_some());
    }
}

/// A flush of all that is in memory frees the whole log, with the space that is reserved behind its end, and
/// what is written next is found again. With something elsewhere unflushed it begins no segment.
#[test]
fn r10_a_flush_of_everything_leaves_no_log_behind() {
    for mode in MODES {
        let machine = Machine::new(mode, 15);
        let store = machine.open().unwrap();
        let [a, b] = ["a", "b"].map(|name| store.create_keyspace(name, KeyspaceOptions::default()).unwrap());
        let segments = |machine: &Machine| -> Vec<(String, usize)> {
            let files = machine.log_disk().files().into_iter();
            files
                .filter(|(path, _)| path.starts_with("wal/"))
                .map(|(path, bytes)| (path, bytes.len()))
                .collect()
        };
        let reserved = machine.options().segment_bytes as usize;
        for i in 0..10u32 {
            put(&store, a, &i.to_be_bytes(), &[1; 1000], Level::Buffered).unwrap();
        }
        put(&store, b, b"k", b"v", Level::Buffered).unwrap();
        let before = segments(&machine);
        assert!(before.iter().any(|(_, bytes)| *bytes >= reserved), "{mode}: {before:?}");
        store.flush(Some(a)).unwrap();
        settle(&store).unwrap();
        assert_eq!(segments(&machine), before, "{mode}: b is in it");
        store.flush(None).unwrap();
        settle(&store).unwrap();
        let after = segments(&machine);
        assert!(after.len() == 1 && after[0].1 < 4096 && after[0] != before[0], "{mode}: {after:?}");
        store.flush(None).unwrap();
        assert_eq!(segments(&machine), after, "{mode}: nothing was written");
        put(&store, b, b"k2", b"v", Level::Durable).unwrap();
        let store = machine.after_power_cut(CrashChoice::LoseAll).open().unwrap();
        assert_eq!(dump(&store, a).unwrap().len(), 10, "{mode}");
        assert_eq!(dump(&store, b).unwrap().len(), 2, "{mode}");
    }
}

/// `max_total_wal_size`: the keyspace that pins the log is flushed, however little it holds.
#[test]
fn r10_the_log_stays_bounded() {
    for mode in MODES {
        let machine = Machine::new(mode, 6);
        let options = StoreOptions { max_total_wal_size: 4 * TINY, ..tiny_segments(&machine) };
        let store = Store::open(machine.world(), options).unwrap();
        let [quiet, busy] = ["quiet", "busy"].map(|name| store.create_keyspace(name, small()).unwrap());
        put(&store, quiet, b"k", b"v", Level::Buffered).unwrap();
        for i in 0..200u32 {
            put(&store, busy, &i.to_be_bytes(), &[1; 1000], Level::Buffered).unwrap();
            settle(&store).unwrap();
        }
        let segments = machine.log_disk().files().keys().filter(|path| path.starts_with("wal/")).count();
        assert!(segments < 12, "{mode}: {segments} segments");
        assert_eq!(
            store.levels(quiet).unwrap().iter().map(|level| level.0).sum::<usize>(),
            1,
            "flushed alone"
        );
    }
}

/// Every refusal leaves all three disks as they were, whatever the evidence.
#[test]
fn r12_refusing_writes_nothing() {
    for mode in MODES {
        let machine = Machine::new(mode, 7);
        let store = machine.open().unwrap();
        let ks = store.create_keyspace("ks", small()).unwrap();
        put(&store, ks, b"old", b"1", Level::Fresh).unwrap();
        let old = attack::capture(machine.log_disk()).unwrap();
        for i in 0..80u32 {
            put(&store, ks, &i.to_be_bytes(), &[1; 300], Level::Buffered).unwrap();
        }
        store.flush(None).unwrap();
        put(&store, ks, b"new", b"1", Level::Fresh).unwrap();
        store.close().unwrap();
        drop(store);
        let names = |machine: &Machine, prefix: &str| -> Vec<String> {
            machine.log_disk().files().into_keys().filter(|name| name.starts_with(prefix)).collect()
        };
        type Attack<'a> = Box<dyn Fn(&Machine) + 'a>;
        let attacks: Vec<(&str, Attack<'_>)> = vec![
            (
                "a log segment is gone",
                Box::new(|m| attack::delete(m.log_disk(), names(m, "wal/").last().unwrap()).unwrap()),
            ),
            (
                "a bit of the log is flipped",
                Box::new(|m| attack::flip(m.log_disk(), names(m, "wal/").last().unwrap(), 150, 4).unwrap()),
            ),
            (
                "the MANIFEST is cut",
                Box::new(|m| attack::truncate(m.log_disk(), &names(m, "MANIFEST-")[0], 200).unwrap()),
            ),
            (
                "the MANIFEST is gone",
                Box::new(|m| attack::delete(m.log_disk(), &names(m, "MANIFEST-")[0]).unwrap()),
            ),
            ("the key file is altered", Box::new(|m| attack::flip(&m.data, "KEYS.1", 60, 1).unwrap())),
            ("the key file is gone", Box::new(|m| attack::delete(&m.data, "KEYS.1").unwrap())),
            ("everything is gone", Box::new(|m| attack::empty(&m.data).unwrap())),
            (
                "all is old",
                Box::new(|m| {
                    // In hardware and twin the trusted volume's claim is part of what cannot be rolled back.
                    let mut old = old.clone();
                    if m.mode != Mode::Software {
                        old.files.insert("CLAIM".to_owned(), m.trusted.bytes_of("CLAIM").unwrap());
                    }
                    attack::restore(m.log_disk(), &old).unwrap();
                }),
            ),
        ];
        for (what, attack) in attacks {
            let target = machine.map(MemDisk::fork);
            attack(&target);
            let before = [target.data.files(), target.trusted.files(), target.platform_disk.files()];
            let power = Power::default();
            power.start_journal();
            let error = Store::open(power.world(&target), target.options()).err();
            let error = error.unwrap_or_else(|| panic!("{mode}: {what}, and it opens"));
            assert!(error.proof().is_some(), "{mode}: {what}: {error:?}");
            let after = [target.data.files(), target.trusted.files(), target.platform_disk.files()];
            // The advisory lock's empty file is a courtesy that an emptied directory may get back.
            let same = before.iter().zip(&after).all(|(before, after)| {
                after
                    .iter()
                    .filter(|(name, _)| !name.ends_with("LOCK"))
                    .eq(before.iter().filter(|(name, _)| !name.ends_with("LOCK")))
            });
            assert!(same, "{mode}: {what}: something was written");
            let writes: Vec<_> = power.journal().into_iter().filter(Call::is_mutating).collect();
            assert!(writes.is_empty(), "{mode}: {what}: {writes:?}");
        }
    }
}

fn headers(disk: &MemDisk) -> Vec<SegmentHeader> {
    let logs = disk
        .files()
        .into_iter()
        .filter(|(name, _)| name.starts_with("wal/") || name.starts_with("MANIFEST-"));
    logs.map(|(_, bytes)| SegmentHeader::claimed(&Untrusted::new(bytes)).unwrap()).collect()
}

/// Each life draws its own salts, even from entropy that repeats (a machine resumed from a snapshot).
#[test]
fn r13_salts_are_fresh_in_every_life() {
    for mode in MODES {
        let mut machine = Machine::new(mode, 8);
        let mut salts = BTreeSet::new();
        let mut files: BTreeSet<(u8, FileNo, Incarnation)> = BTreeSet::new();
        for _ in 0..4 {
            machine.entropy = Arc::new(SeededEntropy::new(99));
            let store = Store::open(machine.world(), tiny_segments(&machine)).unwrap();
            let ks = store.create_keyspace("ks", small()).unwrap();
            for i in 0..12u32 {
                put(&store, ks, &i.to_be_bytes(), &[1; 900], Level::Durable).unwrap();
            }
            for header in headers(machine.log_disk()) {
                if files.insert((header.kind as u8, header.segment, header.incarnation)) {
                    assert!(salts.insert(header.salt), "{mode}: a salt was drawn twice");
                }
            }
            store.close().unwrap();
        }
        assert!(files.len() > 12);
    }
}

/// Whatever is written goes to a file that this life has created.
#[test]
fn r13_no_file_is_reopened_for_writing() {
    for mode in MODES {
        let mut machine = Machine::new(mode, 9);
        for life in 0..4 {
            let power = Power::default();
            power.start_journal();
            let store = Store::open(power.world(&machine), tiny_segments(&machine)).unwrap();
            let ks = store.create_keyspace("ks", small()).unwrap();
            for i in 0..30u32 {
                put(&store, ks, &i.to_be_bytes(), &[1; 700], Level::Durable).unwrap();
            }
            settle(&store).unwrap();
            put(&store, ks, b"k", b"v", Level::Fresh).unwrap();
            drop(store);
            let mut created = BTreeSet::new();
            let mut written = 0;
            for call in power.journal() {
                match call.op {
                    Op::Create => drop(created.insert((call.disk as u8, call.path))),
                    Op::Write | Op::Allocate | Op::Truncate => {
                        written += 1;
                        let own = created.contains(&(call.disk as u8, call.path.clone()));
                        assert!(own, "{mode}, life {life}: wrote to {}, which it did not create", call.path);
                    }
                    _ => {}
                }
            }
            assert!(written > 30);
            machine = machine.after_kill();
        }
    }
}

/// One entropy, one history, two modes: the same names, numbers and keys, other protections.
fn grown(mode: Mode) -> (Machine, KeyspaceId) {
    let machine = Machine::new(mode, 10);
    let store = machine.open().unwrap();
    let ks = store.create_keyspace("ks", small()).unwrap();
    for i in 0..40u32 {
        put(&store, ks, &i.to_be_bytes(), &[1; 200], Level::Durable).unwrap();
    }
    store.flush(None).unwrap();
    store.close().unwrap();
    (machine, ks)
}

/// R16: how a file is protected is not the file's to say. The checksummed twin of a sealed table is
/// refused in its place, and the other way round.
#[test]
fn r16_protection_does_not_come_from_the_file() {
    let (hardware, ks) = grown(Mode::Hardware);
    let (twin, _) = grown(Mode::Twin);
    let id = |m: &Machine| m.map(MemDisk::fork).open().unwrap().id();
    assert_eq!(id(&hardware), id(&twin));
    let name = twin.data.files().into_keys().find(|name| name.starts_with("tables/")).unwrap();
    let checksummed = hardware.trusted.bytes_of(&name).unwrap();
    let sealed = twin.data.bytes_of(&name).unwrap();
    assert_ne!(checksummed, sealed);
    attack::write_file(&twin.data, &name, &checksummed).unwrap();
    attack::write_file(&hardware.trusted, &name, &sealed).unwrap();
    for machine in [twin, hardware] {
        let outcome = machine.open().and_then(|store| dump(&store, ks));
        let error = outcome.err().unwrap_or_else(|| panic!("{}: a file chose its protection", machine.mode));
        assert_eq!(error.kind(), ErrorKind::Tampered, "{error}");
    }
}

#[test]
fn r18_a_known_name_with_missing_data_is_never_created_anew() {
    for mode in MODES {
        let machine = Machine::new(mode, 11);
        let store = machine.open().unwrap();
        let ks = store.create_keyspace("ks", small()).unwrap();
        put(&store, ks, b"k", b"v", Level::Fresh).unwrap();
        let id = store.id();
        store.close().unwrap();
        drop(store);
        let before = anchor(&machine, id);
        let emptied = Machine { data: MemDisk::new(), ..machine.map(Clone::clone) };
        let error = emptied.open().err().unwrap();
        assert_eq!(error.proof().unwrap().kind, EvidenceKind::Missing, "{mode}: {error}");
        assert!(error.message().contains("ringfort destroy"), "{mode}: {error}");
        assert!(emptied.data.files().is_empty());
        assert_eq!(anchor(&machine, id), before);
        // Moved, it is the same store: the platform knows name and id, not the place.
        let moved = Machine { data: MemDisk::new(), trusted: MemDisk::new(), ..machine.map(Clone::clone) };
        for (from, to) in [(&machine.data, &moved.data), (&machine.trusted, &moved.trusted)] {
            attack::restore(to as &dyn Disk, &attack::capture(from).unwrap()).unwrap();
        }
        let store = moved.open().unwrap();
        assert!(store.id() == id && get(&store, ks, b"k").unwrap().is_some());
        drop(store);
        // Under another name, or on another platform, it is somebody else's.
        let stranger = Machine { platform_disk: MemDisk::new(), ..moved.map(MemDisk::fork) };
        assert_eq!(stranger.open().err().unwrap().proof().unwrap().kind, EvidenceKind::Foreign, "{mode}");
        let renamed = moved.map(MemDisk::fork);
        let options = StoreOptions { name: "another".to_owned(), ..renamed.options() };
        let error = Store::open(renamed.world(), options).err().unwrap();
        assert_eq!(error.proof().unwrap().kind, EvidenceKind::Foreign, "{mode}");
        let nowhere = Machine::new(mode, 12);
        let options = StoreOptions { create_if_missing: false, ..nowhere.options() };
        assert_eq!(Store::open(nowhere.world(), options).err().unwrap().kind(), ErrorKind::NotFound);
        assert!(nowhere.data.files().is_empty() && nowhere.trusted.files().is_empty());
    }
}

/// A new store on a trusted volume that belongs to another one: refused, and the owner is unharmed.
#[test]
fn r18_a_trusted_volume_has_one_store() {
    for mode in [Mode::Hardware, Mode::Twin] {
        let machine = Machine::new(mode, 13);
        let store = machine.open().unwrap();
        let ks = store.create_keyspace("ks", small()).unwrap();
        put(&store, ks, b"k", b"v", Level::Fresh).unwrap();
        store.close().unwrap();
        drop(store);
        let newcomer = Machine { data: MemDisk::new(), ..machine.map(Clone::clone) };
        let options = StoreOptions { name: "newcomer".to_owned(), ..newcomer.options() };
        for _ in 0..2 {
            let error = Store::open(newcomer.world(), options.clone()).err().unwrap();
            assert_eq!(error.proof().unwrap().kind, EvidenceKind::Foreign, "{mode}: {error}");
        }
        assert!(newcomer.data.files().keys().all(|name| name == "LOCK"), "{mode}: nothing was written");
        let store = machine.open().unwrap();
        assert!(get(&store, ks, b"k").unwrap().is_some());
        commit(&store, WriteBatch::new(), Level::Fresh).unwrap();
    }
}
