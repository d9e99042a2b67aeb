//! Value files from outside: nothing is lost and space comes back, whatever is overwritten, held by
//! snapshots, compacted, reopened; values are read when they are asked for, and not before.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;
#[path = "common/power.rs"]
mod power;

use common::{MODES, Machine, commit, dump, get, put, settle, small};
use power::Power;
use ringfort_base::world::Disk;
use ringfort_base::{ErrorKind, KeyspaceId, Level};
use ringfort_fault::memory::{CrashChoice, MemDisk};
use ringfort_fault::rng::SplitMix64;
use ringfort_fault::script::{Fault, Op};
use ringfort_store::{
    Checkpoint, Compression, Filter, KeyspaceOptions, MergeOperators, Snapshot, Store, WriteBatch,
};
use ringfort_trust::keyfile::Mode;
use std::collections::BTreeMap;
use std::sync::Arc;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn apart() -> KeyspaceOptions {
    KeyspaceOptions { separate_values_from_bytes: 100, ..small() }
}

fn value_paths(machine: &Machine) -> Vec<String> {
    machine.table_disk().files().into_keys().filter(|path| path.ends_with(".blob")).collect()
}

fn bytes_of(rng: &mut SplitMix64, len: usize) -> Vec<u8> {
    // Half of it compresses.
    let mut bytes = vec![7; len];
    rng.fill(&mut bytes[..len / 2]);
    bytes
}

/// A store and what it must show, now and in snapshots.
struct Twin {
    machine: Machine,
    store: Store,
    ks: KeyspaceId,
    rows: Rows,
    snapshots: Vec<(Snapshot, Rows)>,
}

impl Twin {
    fn new(mode: Mode, seed: u64, options: KeyspaceOptions) -> Self {
        let machine = Machine::new(mode, seed);
        let store = machine.open().unwrap();
        let ks = store.create_keyspace("ks", options).unwrap();
        Self { machine, store, ks, rows: Rows::new(), snapshots: Vec::new() }
    }

    fn write(&mut self, rng: &mut SplitMix64) {
        let mut batch = WriteBatch::new();
        for _ in 0..1 + rng.below(8) {
            let key = format!("key {:02}", rng.below(60)).into_bytes();
            match rng.below(20) {
                0 => {
                    batch.delete(self.ks, key.clone());
                    self.rows.remove(&key);
                }
                1 => {
                    let to = format!("key {:02}", rng.below(60)).into_bytes();
                    let (from, to) = if key <= to { (key, to) } else { (to, key) };
                    batch.delete_range(self.ks, from.clone(), to.clone());
                    self.rows.retain(|key, _| *key < from || *key >= to);
                }
                _ => {
                    let len = [0, 10, 99, 100, 101, 400, 3000][rng.below(7) as usize];
                    let value = bytes_of(rng, len);
                    batch.put(self.ks, key.clone(), value.clone());
                    self.rows.insert(key, value);
                }
            }
        }
        commit(&self.store, batch, [Level::Buffered, Level::Durable][rng.below(2) as usize]).unwrap();
    }

    fn check(&self) {
        let shown: Rows = dump(&self.store, self.ks).unwrap().into_iter().collect();
        assert!(shown == self.rows, "a scan shows what was written");
        for (snapshot, rows) in &self.snapshots {
            let iter = self.store.iter(self.ks, b"", None, true, snapshot).unwrap();
            let shown: Rows = iter.map(Result::unwrap).collect();
            assert!(shown == *rows, "a snapshot shows what was there");
            for key in rows.keys().step_by(5) {
                let value = self.store.get(self.ks, key, Some(snapshot)).unwrap().value;
                assert!(value.as_deref() == rows.get(key).map(Vec::as_slice));
            }
        }
        let (files, bytes, garbage) = self.store.value_files(self.ks).unwrap();
        assert!(garbage < bytes.max(1), "a file of garbage alone is no file of the version any more");
        assert!(files > 0 || bytes == 0);
    }

    fn reopen(&mut self, machine: Machine) {
        self.snapshots.clear();
        self.machine = machine;
        self.store = self.machine.open().unwrap();
    }

    fn step(&mut self, rng: &mut SplitMix64) {
        match rng.below(40) {
            0..=24 => self.write(rng),
            25..=27 => self.store.flush(Some(self.ks)).unwrap(),
            28..=32 => {
                self.store.maintenance_step().unwrap();
            }
            33 => settle(&self.store).unwrap(),
            34 => self.store.compact_range(self.ks, None, None).unwrap(),
            35 => self.snapshots.push((self.store.snapshot(), self.rows.clone())),
            36 => drop((!self.snapshots.is_empty()).then(|| self.snapshots.remove(0))),
            37 => {
                self.store.close().unwrap();
                self.reopen(self.machine.after_kill());
            }
            38 => self.reopen(self.machine.after_kill()),
            _ => {
                let durable = self.store.frontier(Level::Durable);
                common::wait(&self.store, durable, Level::Fresh).unwrap();
            }
        }
        if rng.chance(10) {
            self.check();
        }
    }

    /// All that may go is gone: little garbage, no file that no table needs.
    fn space_is_back(&mut self) {
        self.snapshots.clear();
        let now = self.store.frontier(Level::Buffered);
        common::wait(&self.store, now, Level::Fresh).unwrap();
        self.store.compact_range(self.ks, None, None).unwrap();
        settle(&self.store).unwrap();
        self.check();
        self.store.verify_checksums().unwrap();
        let (files, bytes, garbage) = self.store.value_files(self.ks).unwrap();
        assert!(garbage * 5 <= bytes, "{garbage} of {bytes} bytes are garbage after settling");
        assert_eq!(value_paths(&self.machine).len(), files, "a file is deleted when nothing needs it");
        let live: usize = self.rows.values().map(Vec::len).filter(|len| *len >= 100).sum();
        let most = live * 5 / 4 + 32 * self.rows.len() + 100;
        assert!(bytes as usize <= most, "{bytes} bytes for {live} of values");
    }
}

#[test]
fn nothing_is_lost_and_space_comes_back() {
    let long = std::env::var_os("RINGFORT_LONG").is_some_and(|value| value == "1");
    for seed in 0..if long { 300 } else { 12 } {
        let mut rng = SplitMix64::new(seed);
        let compression = [Compression::None, Compression::Lz4, Compression::Zstd][seed as usize % 3];
        let mut twin = Twin::new(MODES[seed as usize % 3], seed, KeyspaceOptions { compression, ..apart() });
        for _ in 0..3 {
            (0..120).for_each(|_| twin.step(&mut rng));
            twin.space_is_back();
        }
        let collected = twin.store.statistics().value_bytes_moved;
        println!("seed {seed}: {} rows, {collected} bytes moved in the last life", twin.rows.len());
    }
}

/// What a reader began to read stays, whatever is collected meanwhile.
#[test]
fn readers_keep_the_files_that_they_read() {
    for mode in MODES {
        let mut rng = SplitMix64::new(5);
        let mut twin = Twin::new(mode, 5, apart());
        for n in 0..40u8 {
            put(&twin.store, twin.ks, &[n], &bytes_of(&mut rng, 500), Level::Fresh).unwrap();
        }
        twin.store.flush(None).unwrap();
        let before: Rows = dump(&twin.store, twin.ks).unwrap().into_iter().collect();
        let paths = value_paths(&twin.machine);
        let snapshot = twin.store.snapshot();
        let mut iter = twin.store.iter(twin.ks, b"", None, false, &snapshot).unwrap();
        let first = iter.next().unwrap().unwrap();
        drop(snapshot);
        for n in 0..40u8 {
            put(&twin.store, twin.ks, &[n], &bytes_of(&mut rng, 500), Level::Fresh).unwrap();
        }
        twin.store.compact_range(twin.ks, None, None).unwrap();
        settle(&twin.store).unwrap();
        assert!(
            paths.iter().all(|path| value_paths(&twin.machine).contains(path)),
            "the iterator needs them"
        );
        let seen: Rows = [first].into_iter().chain(iter.map(Result::unwrap)).collect();
        assert!(seen == before, "{mode}: the iterator shows its moment to the end");
        twin.rows = dump(&twin.store, twin.ks).unwrap().into_iter().collect();
        twin.space_is_back();
        assert!(!paths.iter().any(|path| value_paths(&twin.machine).contains(path)), "now nobody does");
    }
}

/// R23, and scans of keys: a value that was not asked for is not read.
#[test]
fn values_are_read_when_they_are_asked_for() {
    let machine = Machine::new(Mode::Software, 9);
    let store = machine.open().unwrap();
    let ks = store.create_keyspace("ks", apart()).unwrap();
    for n in 0..50u8 {
        put(&store, ks, &[n], &[n; 300], Level::Durable).unwrap();
    }
    store.flush(None).unwrap();
    store.close().unwrap();
    drop(store);
    let power = Power::default();
    let store = Store::open(power.world(&machine), machine.options()).unwrap();
    let reads = |power: &Power| {
        let journal = power.journal();
        journal.iter().filter(|call| call.op == Op::Read && call.path.ends_with(".blob")).count()
    };
    power.start_journal();
    let snapshot = store.snapshot();
    let keys: Vec<_> =
        store.iter_keys(ks, b"", None, false, &snapshot).unwrap().map(Result::unwrap).collect();
    assert_eq!(keys.len(), 50);
    assert!(keys.iter().all(|(_, value)| value.is_empty()));
    let reversed = store.iter_keys(ks, b"", None, true, &snapshot).unwrap().map(Result::unwrap);
    assert!(reversed.map(|entry| entry.0).eq(keys.iter().rev().map(|entry| entry.0.clone())));
    assert_eq!(reads(&power), 0, "keys alone");
    assert!(store.get_resident(ks, &[7], None).unwrap().is_none(), "it needs I/O");
    assert_eq!(reads(&power), 0, "and does none");
    assert_eq!(get(&store, ks, &[7]).unwrap().unwrap(), [7; 300]);
    assert_eq!(reads(&power), 1, "one value, one read");
    assert_eq!(store.get_resident(ks, &[7], None).unwrap().unwrap().value.unwrap(), [7; 300]);
    assert_eq!(get(&store, ks, &[7]).unwrap().unwrap(), [7; 300]);
    assert_eq!(reads(&power), 1, "then it is in memory");
    assert_eq!(dump(&store, ks).unwrap().len(), 50);
    assert!(reads(&power) < 30, "a scan reads ahead: {} reads of 50 values", reads(&power));
}

/// A checkpoint carries the values, sealed whatever its source.
#[test]
fn a_checkpoint_carries_values() {
    for mode in MODES {
        let mut rng = SplitMix64::new(3);
        let mut twin = Twin::new(mode, 3, KeyspaceOptions { compression: Compression::Lz4, ..apart() });
        (0..100).for_each(|_| twin.write(&mut rng));
        let large = bytes_of(&mut rng, 3 << 20);
        put(&twin.store, twin.ks, b"large", &large, Level::Durable).unwrap();
        twin.rows.insert(b"large".to_vec(), large);
        let to = MemDisk::new();
        twin.store.checkpoint(&(Arc::new(to.clone()) as Arc<dyn Disk>)).unwrap();
        let expected = twin.rows.clone();
        (0..50).for_each(|_| twin.write(&mut rng));
        let world = ringfort_store::World { data: Arc::new(to.clone()), ..twin.machine.world() };
        let checkpoint = Checkpoint::open(&world, 8 << 20, &MergeOperators::default()).unwrap();
        let shown: Rows = checkpoint.iter(twin.ks, b"", None).unwrap().map(Result::unwrap).collect();
        assert!(shown == expected, "{mode}");
        for (key, value) in &expected {
            assert!(checkpoint.get(twin.ks, key).unwrap().unwrap() == *value);
        }
        let files = to.files();
        let values = files.iter().filter(|(path, _)| path.ends_with(".blob"));
        // The large value fills most of its file.
        let (path, bytes) = values.max_by_key(|(_, bytes)| bytes.len()).unwrap();
        ringfort_fault::attack::flip(&to, path, bytes.len() as u64 / 2, 1).unwrap();
        let reading = Checkpoint::open(&world, 8 << 20, &MergeOperators::default()).unwrap();
        let error = reading.get(twin.ks, b"large").err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Tampered, "{mode}");
        let rows: ringfort_base::Result<Vec<_>> = reading.iter(twin.ks, b"", None).unwrap().collect();
        assert!(rows.is_err(), "{mode}: a scan ends there as well");
    }
}

struct Ends(&'static [u8], bool);

impl Filter for Ends {
    fn is_garbage(&self, _: KeyspaceId, key: &[u8], value: &[u8]) -> bool {
        if self.1 {
            value.ends_with(self.0)
        } else {
            assert!(value.len() < 100);
            key.ends_with(self.0)
        }
    }

    fn needs_value(&self) -> bool {
        self.1
    }
}

/// A filter that asks for values sees those that lie apart, one that does not causes no read.
#[test]
fn a_compaction_filter_sees_values() {
    for (filter, by_value) in [(Ends(b"gone", true), true), (Ends(b"2", false), false)] {
        let machine = Machine::new(Mode::Software, 4);
        let store = machine.open().unwrap();
        let ks = store.create_keyspace("ks", apart()).unwrap();
        for n in 0..60u32 {
            let value = format!("{}{}", "x".repeat(200), if n % 3 == 0 { "gone" } else { "kept" });
            put(&store, ks, format!("key {n:02}").as_bytes(), value.as_bytes(), Level::Fresh).unwrap();
        }
        store.flush(None).unwrap();
        store.set_compaction_filter(Arc::new(filter));
        store.compact_range(ks, None, None).unwrap();
        settle(&store).unwrap();
        let left = dump(&store, ks).unwrap();
        assert_eq!(left.len(), if by_value { 40 } else { 54 });
        let gone = |(key, value): &(Vec<u8>, Vec<u8>)| {
            if by_value { value.ends_with(b"gone") } else { key.ends_with(b"2") }
        };
        assert!(!left.iter().any(gone));
        store.verify_checksums().unwrap();
    }
}

/// Values of a dropped keyspace go; those of others stay.
#[test]
fn a_dropped_keyspace_frees_its_values() {
    for mode in MODES {
        let machine = Machine::new(mode, 6);
        let store = machine.open().unwrap();
        let ids = ["a", "b"].map(|name| store.create_keyspace(name, apart()).unwrap());
        for n in 0..100u8 {
            for ks in ids {
                put(&store, ks, &[n], &[n; 200], Level::Durable).unwrap();
            }
        }
        store.flush(None).unwrap();
        settle(&store).unwrap();
        let size = store.approximate_size(ids[0], None, None).unwrap();
        assert!((20_000..80_000).contains(&size), "values count: {size}");
        let files = |ks| store.value_files(ks).unwrap().0;
        assert_eq!(value_paths(&machine).len(), files(ids[0]) + files(ids[1]));
        let kept = files(ids[1]);
        crate::common::now(store.drop_keyspace("a")).unwrap();
        settle(&store).unwrap();
        assert_eq!(value_paths(&machine).len(), kept);
        assert_eq!(dump(&store, ids[1]).unwrap().len(), 100);
        store.close().unwrap();
        drop(store);
        machine.data.unlock_all();
        machine.trusted.unlock_all();
        Store::destroy(&machine.world(), "default").unwrap();
        assert_eq!(value_paths(&machine), Vec::<String>::new());
    }
}

/// A full disk in the middle of a value file: what was begun goes, nothing is lost, and with room
/// again the flush succeeds.
#[test]
fn a_full_disk_leaves_no_half_of_a_value_file() {
    let machine = Machine::new(Mode::Software, 8);
    let power = Power::default();
    let store = Store::open(power.world(&machine), machine.options()).unwrap();
    let ks = store.create_keyspace("ks", KeyspaceOptions { write_buffer_bytes: 8 << 20, ..apart() }).unwrap();
    for n in 0..200u8 {
        put(&store, ks, &[n], &[n; 2000], Level::Durable).unwrap();
    }
    power.plan(|call| {
        (call.op == Op::Write && call.path.ends_with(".blob"))
            .then_some(Fault::Error(std::io::ErrorKind::StorageFull))
    });
    let error = store.flush(None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error:?}");
    assert_eq!(value_paths(&machine), Vec::<String>::new());
    power.unplan();
    store.flush(None).unwrap();
    assert_eq!(value_paths(&machine).len(), 1);
    drop(store);
    let store = machine.after_power_cut(CrashChoice::LoseAll).open().unwrap();
    assert!(dump(&store, ks).unwrap().iter().enumerate().all(|(n, (_, value))| *value == [n as u8; 2000]));
}
