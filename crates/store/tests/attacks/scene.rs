//! The store that is attacked: a history with everything in it that an attacker could touch, told
//! the same way in every mode, and what an honest reader must see of it.
//!
//! ```text
//! life 1   five keyspaces filled, one of them by a bulk load, flushed, compacted over several levels; closed
//! life 2   overwritten, deleted (point and range), loaded again, a stack of tables of level 0; then only log,
//!          with prepared transactions that commit, abort and stay in doubt:
//!          ── anchored commits over several segments ──┐ head ── durable commits ── killed
//! ```
//! The anchored part is what no attack may take away; the durable part behind it may be lost as in
//! an honest crash, from its end only (R3).

use crate::anatomy;
use crate::common::{MODES, Machine, commit, dump, poll, settle, small, wait};
use ringfort_base::{Error, KeyspaceId, Level, Result};
use ringfort_fault::attack::{Image, capture};
use ringfort_fault::memory::MemDisk;
use ringfort_store::txn::transaction::TxnOptions;
use ringfort_store::{Compression, KeyspaceOptions, Store, StoreOptions, WriteBatch};
use ringfort_trust::keyfile::Mode;
use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};
use std::task::Poll;

/// In every key and every value that a scene writes, so that a scan finds any that leaks.
pub const KEY_CANARY: &str = "canary-key-5b1f9c73e2";
pub const VALUE_CANARY: &str = "canary-value-a94d07e6bb";

/// What a reader sees: one map per keyspace, in the order of [`NAMES`], and the names of the prepared
/// transactions that are in doubt.
pub type View = [BTreeMap<Vec<u8>, Vec<u8>>; 6];
/// Where in a view those are.
const IN_DOUBT: usize = 5;

/// `ledger`: many small tables; `journal`: compressed; `wide`: keys so long that the index is partitioned;
/// `vault`: values in files of their own; `intake`: filled by bulk loads alone.
pub const NAMES: [&str; 5] = ["ledger", "journal", "wide", "vault", "intake"];

/// Tables by path.
pub type Tables = BTreeMap<String, Vec<u8>>;

/// The three disks at one moment.
#[derive(Clone)]
pub struct Moment {
    pub data: Image,
    pub trusted: Image,
}

impl Moment {
    pub fn of(machine: &Machine) -> Self {
        Self { data: capture(&machine.data).unwrap(), trusted: capture(&machine.trusted).unwrap() }
    }

    /// The volume that holds the tables.
    pub fn tables(&self, mode: Mode) -> &Image {
        if mode == Mode::Hardware { &self.trusted } else { &self.data }
    }
}

/// The attacked store; see the module.
pub struct Scene {
    pub mode: Mode,
    /// Killed. Never opened itself: every attack works on a [`Scene::fork`].
    pub machine: Machine,
    pub keyspaces: [KeyspaceId; 5],
    /// Another store on the same platform, with the same keys.
    pub other: Moment,
    /// What was anchored, then the state behind each commit that was only durable.
    pub views: Vec<View>,
    /// The end of life 1, closed.
    pub earlier_life: Moment,
    /// Moments of life 2, each before a later anchored commit, with a name for messages.
    pub same_life: Vec<(String, Moment)>,
    /// A checkpoint taken in life 2 (R21).
    pub checkpoint: Image,
    /// What bulk loads wrote.
    pub loads: Loads,
}

/// The tables of bulk loads. All are of the same lengths: the same number of entries of one length.
#[derive(Clone, Default)]
pub struct Loads {
    /// Of life 1, with the keys of today; deleted since.
    pub older: Tables,
    /// Of a load that was refused at its last key: nothing ever named them.
    pub abandoned: Tables,
    /// Of the other store, with the keys of today.
    pub other: Tables,
}

/// Writes to a store and keeps the book on what it must show.
pub struct Author<'m> {
    pub store: Store,
    pub machine: &'m Machine,
    pub keyspaces: [KeyspaceId; 5],
    pub view: View,
}

impl<'m> Author<'m> {
    pub fn open(machine: &'m Machine, view: View) -> Self {
        let store = Store::open(machine.world(), options(machine)).unwrap();
        let keyspaces = NAMES.map(|name| store.create_keyspace(name, keyspace_options(name)).unwrap());
        Self { store, machine, keyspaces, view }
    }

    pub fn commit(&mut self, ops: &[Change], level: Level) -> Result<()> {
        let mut batch = WriteBatch::new();
        for op in ops {
            match op {
                Change::Put(k, key, value) => {
                    batch.put(self.keyspaces[*k], key.clone(), value.clone());
                    self.view[*k].insert(key.clone(), value.clone());
                }
                Change::PutStored(k, key, value) => {
                    let mut writer = self.store.value_writer();
                    writer.write(value)?;
                    batch.put_stored(self.keyspaces[*k], key, writer.finish()?);
                    self.view[*k].insert(key.clone(), value.clone());
                }
                Change::Delete(k, key) => {
                    batch.delete(self.keyspaces[*k], key.clone());
                    self.view[*k].remove(key);
                }
                Change::DeleteRange(k, from, to) => {
                    batch.delete_range(self.keyspaces[*k], from.clone(), to.clone());
                    self.view[*k].retain(|key, _| key < from || key >= to);
                }
            }
        }
        commit(&self.store, batch, level).map(drop)
    }

    /// Prepares a transaction over two keyspaces.
    fn prepare(&mut self, n: usize, level: Level) {
        let work = async {
            let mut txn = self.store.begin(TxnOptions::default());
            for k in [0, 1] {
                txn.get(self.keyspaces[k], &key(n + 1)).await?;
                txn.put(self.keyspaces[k], &key(n), &value(n, 20)).await?;
            }
            txn.prepare(&name(n)).await
        };
        let Poll::Ready(prepared) = poll(work) else { panic!("nobody holds its keys") };
        wait(&self.store, prepared.unwrap().ticket().position, level).unwrap();
        self.view[IN_DOUBT].insert(name(n), Vec::new());
    }

    fn decide(&mut self, n: usize, commits: bool, level: Level) {
        let prepared = self.store.resume(&name(n)).unwrap();
        let ticket = if commits { prepared.commit() } else { prepared.abort() }.unwrap();
        wait(&self.store, ticket.position, level).unwrap();
        self.view[IN_DOUBT].remove(&name(n));
        if commits {
            self.view[..2].iter_mut().for_each(|view| drop(view.insert(key(n), value(n, 20))));
        }
    }

    /// Loads the `intake`: the tables that this wrote.
    fn load(&mut self, numbers: std::ops::Range<usize>, version: usize) -> Tables {
        let entries = numbers.map(|n| (key(n), value(n, version)));
        self.view[4].extend(entries.clone());
        let before = self.machine.table_disk().files();
        crate::common::now(self.store.bulk_load(self.keyspaces[4], entries)).unwrap();
        new_tables(self.machine, &before)
    }

    /// Begins a load like any other, which ends with a key that is out of order: its tables before they
    /// are removed again.
    fn abandon_a_load(&self, numbers: std::ops::Range<usize>) -> Tables {
        let (before, mut written) = (self.machine.table_disk().files(), Tables::new());
        let refused = numbers.chain([0]).map(|n| {
            written = new_tables(self.machine, &before);
            (key(n), value(n, 5))
        });
        let error = crate::common::now(self.store.bulk_load(self.keyspaces[4], refused))
            .expect_err("keys must ascend");
        assert_eq!(error.kind(), ringfort_base::ErrorKind::Invalid);
        // The last one was not finished.
        written.retain(|_, bytes| !bytes.is_empty());
        written
    }
}

fn new_tables(machine: &Machine, before: &Tables) -> Tables {
    machine.table_disk().files().into_iter().filter(|(path, _)| !before.contains_key(path)).collect()
}

/// A table or a value file.
pub fn is_table(path: &str) -> bool {
    path.starts_with("tables/")
}

pub fn is_values(path: &str) -> bool {
    path.ends_with(".blob")
}

pub enum Change {
    Put(usize, Vec<u8>, Vec<u8>),
    /// A put whose value was written by the piece, to a file of its own.
    PutStored(usize, Vec<u8>, Vec<u8>),
    Delete(usize, Vec<u8>),
    DeleteRange(usize, Vec<u8>, Vec<u8>),
}

pub fn key(n: usize) -> Vec<u8> {
    format!("{KEY_CANARY}-{n:05}").into_bytes()
}

/// The name of a prepared transaction: a coordinator's, and nobody else's business.
fn name(n: usize) -> Vec<u8> {
    format!("{KEY_CANARY} transaction {n:05}").into_bytes()
}

/// Of one length, so that records and blocks can be exchanged without moving anything else.
pub fn value(n: usize, version: usize) -> Vec<u8> {
    format!("{VALUE_CANARY}-{n:05}-v{version:03}-{}", "x".repeat(60)).into_bytes()
}

/// Differs only at the end: separators in the index are as long.
fn wide_key(n: usize) -> Vec<u8> {
    format!("{KEY_CANARY}-{}-{n:05}", "w".repeat(1500)).into_bytes()
}

fn put(k: usize, n: usize, version: usize) -> Change {
    Change::Put(k, key(n), value(n, version))
}

pub fn options(machine: &Machine) -> StoreOptions {
    StoreOptions { segment_bytes: 4 << 10, ..machine.options() }
}

fn keyspace_options(name: &str) -> KeyspaceOptions {
    let large = KeyspaceOptions { write_buffer_bytes: 1 << 20, table_bytes: 1 << 20, ..small() };
    match name {
        "journal" => KeyspaceOptions { compression: Compression::Lz4, ..small() },
        "wide" => large,
        "vault" => KeyspaceOptions { separate_values_from_bytes: 1, ..small() },
        "intake" => KeyspaceOptions { compression: Compression::None, ..small() },
        _ => small(),
    }
}

/// The scene of a mode, told once per process.
pub fn scene(mode: Mode) -> &'static Scene {
    static SCENES: [OnceLock<Scene>; 3] = [const { OnceLock::new() }; 3];
    let at = MODES.iter().position(|m| *m == mode).unwrap();
    SCENES[at].get_or_init(|| tell(mode, 40 + at as u64))
}

/// Of the vault, overwritten often enough that its value files are collected.
const VAULT_KEYS: usize = 150;

/// What is loaded today, in two loads.
const LOADED: [std::ops::Range<usize>; 2] = [200..320, 500..620];

/// Tells the history from the beginning.
pub fn tell(mode: Mode, seed: u64) -> Scene {
    let machine = Machine::new(mode, seed);
    let mut loads = Loads::default();
    let view = first_life(&machine, &mut loads);
    let earlier_life = Moment::of(&machine);

    let mut author = Author::open(&machine, view);
    let mut same_life = vec![("just opened".to_owned(), Moment::of(&machine))];
    let checkpoint = overwrite_and_delete(&mut author, &mut same_life, &mut loads);
    write_log_only(&mut author, &mut same_life);
    let mut views = vec![author.view.clone()];
    // More than a segment.
    for n in 0..16 {
        let changes = [put(0, 900 + n, 9), put(1, 900 + n, 9)];
        author.commit(if n % 3 == 0 { &changes } else { &changes[..1] }, Level::Durable).unwrap();
        views.push(author.view.clone());
        match n {
            3 => author.prepare(3300, Level::Durable),
            7 => author.decide(3200, true, Level::Durable),
            11 => author.decide(3300, false, Level::Durable),
            _ => continue,
        }
        views.push(author.view.clone());
    }
    let keyspaces = author.keyspaces;
    let killed = machine.after_kill();
    drop(author);
    let other = other_store(&killed, &mut loads);
    Scene { mode, machine: killed, keyspaces, other, views, earlier_life, same_life, checkpoint, loads }
}

/// A second store that the same platform knows under another name.
fn other_store(machine: &Machine, loads: &mut Loads) -> Moment {
    let disks = Machine { data: MemDisk::new(), trusted: MemDisk::new(), ..machine.map(Clone::clone) };
    let options = StoreOptions { name: "other".to_owned(), ..options(&disks) };
    let store = Store::open(disks.world(), options).unwrap();
    let keyspaces = NAMES.map(|name| store.create_keyspace(name, keyspace_options(name)).unwrap());
    for n in 400..600 {
        let mut batch = WriteBatch::new();
        batch.put(keyspaces[0], key(n), value(n, 66));
        commit(&store, batch, Level::Fresh).unwrap();
        if n == 450 {
            store.flush(None).unwrap();
        }
    }
    let before = disks.table_disk().files();
    crate::common::now(store.bulk_load(keyspaces[4], LOADED[0].clone().map(|n| (key(n), value(n, 66)))))
        .unwrap();
    loads.other = new_tables(&disks, &before);
    Moment::of(&disks)
}

fn first_life(machine: &Machine, loads: &mut Loads) -> View {
    let mut author = Author::open(machine, View::default());
    for n in 0..900 {
        author.commit(&[put(0, n, 1)], Level::Buffered).unwrap();
        if n % 3 == 0 {
            author.commit(&[put(1, n, 1)], Level::Buffered).unwrap();
        }
        author.commit(&[put(3, n % VAULT_KEYS, n / VAULT_KEYS)], Level::Buffered).unwrap();
        if n % 60 == 0 {
            settle(&author.store).unwrap();
        }
    }
    for n in 0..100 {
        author.commit(&[Change::Put(2, wide_key(n), value(n, 1))], Level::Buffered).unwrap();
    }
    loads.older = author.load(LOADED[0].clone(), 1);
    author.store.flush(None).unwrap();
    settle(&author.store).unwrap();
    author.store.close().unwrap();
    author.view
}

/// The first load makes room; two others, and one that fails, stay what they are.
fn load_again(author: &mut Author<'_>, loads: &mut Loads) {
    author.commit(&[Change::DeleteRange(4, key(0), key(1000))], Level::Fresh).unwrap();
    author.store.flush(None).unwrap();
    author.store.compact_range(author.keyspaces[4], None, None).unwrap();
    settle(&author.store).unwrap();
    loads.abandoned = author.abandon_a_load(LOADED[0].clone());
    for (version, numbers) in LOADED.into_iter().enumerate() {
        author.load(numbers, 2 + version);
    }
}

/// Overwrites, deletes, and leaves tables with tombstones of both sorts at the top.
fn overwrite_and_delete(
    author: &mut Author<'_>,
    moments: &mut Vec<(String, Moment)>,
    loads: &mut Loads,
) -> Image {
    for n in 100..160 {
        author.commit(&[put(0, n, 2), put(1, n, 2), put(3, n % VAULT_KEYS, 7)], Level::Durable).unwrap();
    }
    author.commit(&[put(0, 160, 2)], Level::Fresh).unwrap();
    moments.push(("before a flush".to_owned(), Moment::of(author.machine)));
    author.store.flush(None).unwrap();
    moments.push(("between flush and purge".to_owned(), Moment::of(author.machine)));
    author.store.compact_range(author.keyspaces[0], Some(&key(100)), Some(&key(200))).unwrap();
    author.store.compact_range(author.keyspaces[3], None, None).unwrap();
    moments.push(("between compaction and purge".to_owned(), Moment::of(author.machine)));
    for step in 0.. {
        if author.store.maintenance_step().unwrap() == ringfort_store::Step::Idle {
            break;
        }
        moments.push((format!("after background step {step}"), Moment::of(author.machine)));
    }
    for n in 200..240 {
        author.commit(&[Change::Delete(0, key(n))], Level::Buffered).unwrap();
    }
    load_again(author, loads);
    author.commit(&[Change::DeleteRange(0, key(300), key(350))], Level::Buffered).unwrap();
    author.commit(&[Change::DeleteRange(1, key(0), key(30))], Level::Buffered).unwrap();
    author.store.flush(None).unwrap();
    settle(&author.store).unwrap();
    let to = MemDisk::new();
    author.store.checkpoint(&(std::sync::Arc::new(to.clone()) as _)).unwrap();
    settle(&author.store).unwrap();
    moments.push(("after the deletions".to_owned(), Moment::of(author.machine)));
    capture(&to).unwrap()
}

fn write_log_only(author: &mut Author<'_>, moments: &mut Vec<(String, Moment)>) {
    for n in 0..60 {
        let changes = [put(0, 400 + n, 3), put(1, 400 + n, 3)];
        author.commit(if n % 5 == 0 { &changes } else { &changes[..1] }, Level::Fresh).unwrap();
        if n % 20 == 5 {
            // A value file that the log names and no MANIFEST does.
            author.commit(&[Change::PutStored(3, key(2000 + n), value(2000 + n, 3))], Level::Fresh).unwrap();
        }
        match n {
            // Decided both ways, and two that stay in doubt: one for ever, one to be decided behind the head.
            8 => [3000, 3050, 3100, 3200].iter().for_each(|n| author.prepare(*n, Level::Fresh)),
            28 => author.decide(3000, true, Level::Fresh),
            31 => author.decide(3050, false, Level::Fresh),
            _ => {}
        }
        if n % 20 == 10 {
            moments.push((format!("{n} commits before the end"), Moment::of(author.machine)));
        }
    }
    // The last anchored commit touches one keyspace, so that its record is the anchored head.
    author.commit(&[put(0, 460, 3)], Level::Fresh).unwrap();
}

impl Scene {
    /// A copy of all disks, to be attacked.
    pub fn fork(&self) -> Machine {
        self.machine.map(MemDisk::fork)
    }

    pub fn full(&self) -> &View {
        self.views.last().unwrap()
    }

    pub fn anatomy(&self) -> anatomy::Anatomy {
        anatomy::dissect(&self.machine)
    }
}

/// Every error that any test of this process met, for the canary scan.
static ERRORS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps an error's words and checks at once that they tell nothing (R15, matrix row 29).
pub fn note(error: &Error) {
    let words = format!("{error}\n{error:?}\n{:?}", error.proof());
    for canary in [KEY_CANARY, VALUE_CANARY, "wwwwwwwwwwwwwwww"] {
        assert!(!words.contains(canary), "an error tells what is stored: {words}");
    }
    ERRORS.lock().unwrap().push(words);
}

/// All that were noted.
pub fn noted() -> Vec<String> {
    ERRORS.lock().unwrap().clone()
}

/// Reads all there is, in three ways that must agree: scan, reverse scan, point reads.
pub fn read_all(store: &Store, keyspaces: &[KeyspaceId; 5], asked: &View) -> Result<View> {
    let mut view = View::default();
    for (k, &keyspace) in keyspaces.iter().enumerate() {
        view[k] = dump(store, keyspace)?.into_iter().collect();
        let snapshot = store.snapshot();
        let reverse: BTreeMap<_, _> =
            store.iter(keyspace, b"", None, true, &snapshot)?.collect::<Result<_>>()?;
        assert_eq!(reverse.len(), view[k].len(), "both directions meet the same entries");
        assert!(reverse == view[k], "both directions meet the same entries");
        for key in asked[k].keys().step_by(7) {
            let got = store.get(keyspace, key, None)?.value;
            assert!(got.as_deref() == view[k].get(key).map(Vec::as_slice), "a point read and a scan agree");
        }
    }
    view[IN_DOUBT] = store.prepared().into_iter().map(|txn| (txn.name, Vec::new())).collect();
    for name in view[IN_DOUBT].keys() {
        // Its locks are held: a plain write of what it writes waits.
        let n: usize = String::from_utf8_lossy(&name[name.len() - 5..]).parse().unwrap();
        let mut batch = WriteBatch::new();
        batch.put(keyspaces[0], key(n), "plain");
        assert!(poll(store.hold(&batch)).is_pending(), "a transaction in doubt has lost its locks");
    }
    store.verify_checksums()?;
    Ok(view)
}
