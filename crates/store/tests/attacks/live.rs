//! Attacks on a store that runs: second copies, lies of the host under its feet, bytes that change
//! after they were read (matrix rows 4, 11, 28).

use crate::common::{MODES, Machine, commit, dump, get, poll, put, settle, small, wait};
use crate::matrix::{Outcome, observe};
use crate::scene::{note, scene};
use ringfort_base::world::{Disk, DiskFile, DiskLock};
use ringfort_base::{Error, ErrorKind, EvidenceKind, KeyspaceId, Level, Result, Untrusted};
use ringfort_fault::memory::{CrashChoice, MemDisk};
use ringfort_fault::script::{Fault, FaultDisk, Op, When};
use ringfort_store::{Store, StoreOptions, WriteBatch};
use ringfort_trust::keyfile::Mode;
use std::io;
use std::sync::Arc;

/// The machine's clone: its own copy of the untrusted disk, the same platform, and the same trusted
/// volume, whose advisory locks the host just ignores.
fn cloned(machine: &Machine) -> Machine {
    machine.trusted.unlock_all();
    Machine {
        data: machine.data.fork(),
        trusted: machine.trusted.second_process(),
        ..machine.map(Clone::clone)
    }
}

/// Segments so large that the original needs no new one: on a shared volume its name would be taken.
fn options(machine: &Machine) -> StoreOptions {
    machine.options()
}

fn running(mode: Mode, seed: u64) -> (Machine, Store, KeyspaceId) {
    let machine = Machine::new(mode, seed);
    let store = Store::open(machine.world(), options(&machine)).unwrap();
    let ks = store.create_keyspace("ks", small()).unwrap();
    for n in 0..100u32 {
        put(&store, ks, &n.to_be_bytes(), b"from the original", Level::Durable).unwrap();
    }
    put(&store, ks, b"x", b"1", Level::Fresh).unwrap();
    (machine, store, ks)
}

fn is_second_copy(error: &Error) {
    note(error);
    assert_eq!(error.kind(), ErrorKind::SecondCopy, "{error:?}");
}

/// The store has stopped and says why, whatever it is asked.
fn has_stopped(store: &Store, ks: KeyspaceId) {
    is_second_copy(&store.stopped().expect("it has stopped"));
    is_second_copy(&get(store, ks, b"x").expect_err("no more reads"));
    let mut batch = WriteBatch::new();
    batch.put(ks, "y", "2");
    note(&store.apply(batch).expect_err("no more writes"));
    assert!(wait(store, store.frontier(Level::Fresh), Level::Fresh).is_err(), "no more fresh replies");
}

#[test]
fn a_clone_claims_and_the_originals_next_fresh_write_stops_it() {
    for mode in MODES {
        let (machine, original, ks) = running(mode, 1);
        let other = cloned(&machine);
        let clone = Store::open(other.world(), options(&other)).unwrap();
        assert_eq!(clone.incarnation().0, 2);
        put(&clone, ks, b"x", b"from the clone", Level::Fresh).unwrap();
        // The original may still write, but nothing that it writes becomes fresh.
        let mut batch = WriteBatch::new();
        batch.put(ks, "x", "from the original");
        let ticket = original.apply(batch).unwrap();
        let error = wait(&original, ticket.position, Level::Fresh).expect_err("a fresh write beside a clone");
        note(&error);
        assert!(matches!(error.kind(), ErrorKind::SecondCopy | ErrorKind::OutcomeUnknown), "{error:?}");
        assert_eq!(error.proof().map(|proof| proof.kind), Some(EvidenceKind::SecondCopy), "{error:?}");
        has_stopped(&original, ks);
        // The one that claimed goes on, and what it acknowledged is there in its next life.
        put(&clone, ks, b"z", b"still here", Level::Fresh).unwrap();
        drop((original, clone));
        let next = other.after_kill();
        let store = Store::open(next.world(), options(&next)).unwrap();
        assert_eq!(get(&store, ks, b"x").unwrap().as_deref(), Some(b"from the clone".as_slice()));
        assert_eq!(get(&store, ks, b"z").unwrap().as_deref(), Some(b"still here".as_slice()));
    }
}

#[test]
fn a_clone_claims_and_the_originals_next_fresh_read_stops_it() {
    for mode in MODES {
        let (machine, original, ks) = running(mode, 2);
        let other = cloned(&machine);
        let clone = Store::open(other.world(), options(&other)).unwrap();
        // An ordinary read may lag (R5, level "anchored"); a fresh one may not.
        let answer = original.get(ks, b"x", None).unwrap();
        assert_eq!(answer.value.as_deref(), Some(b"1".as_slice()));
        is_second_copy(
            &wait(&original, answer.depends, Level::Fresh).expect_err("a fresh read beside a clone"),
        );
        has_stopped(&original, ks);
        assert_eq!(get(&clone, ks, b"x").unwrap().as_deref(), Some(b"1".as_slice()));
    }
}

#[test]
fn an_original_that_was_paused_for_three_lives_wakes_and_stops() {
    for mode in MODES {
        let (machine, original, ks) = running(mode, 3);
        let mut other = cloned(&machine);
        for life in 2..5u64 {
            let store = Store::open(other.world(), options(&other)).unwrap();
            assert_eq!(store.incarnation().0, life);
            put(&store, ks, b"x", &life.to_le_bytes(), Level::Fresh).unwrap();
            store.flush(None).unwrap();
            settle(&store).unwrap();
            drop(store);
            other = Machine { trusted: other.trusted.clone(), ..other.after_kill() };
            other.trusted.unlock_all();
            other.platform_disk = machine.platform_disk.clone();
        }
        let answer = original.get(ks, b"x", None).unwrap();
        is_second_copy(&wait(&original, answer.depends, Level::Fresh).expect_err("a paused copy"));
        has_stopped(&original, ks);
    }
}

/// Two copies of one stopped store: whoever claims second is an old state.
#[test]
fn of_two_copies_of_a_stopped_store_one_opens() {
    for mode in [Mode::Software, Mode::Twin] {
        let (machine, original, _) = running(mode, 4);
        drop(original);
        let (one, two) = (cloned(&machine), cloned(&machine));
        let first = Store::open(one.world(), options(&one)).unwrap();
        if mode == Mode::Software {
            let error = Store::open(two.world(), options(&two)).err().expect("the second copy is refused");
            note(&error);
            assert_eq!(error.kind(), ErrorKind::Rollback, "{error:?}");
        } else {
            // Log and MANIFEST are on the trusted volume, which is one: the second open is simply the next
            // life, and the first one finds out.
            two.trusted.unlock_all();
            let second = Store::open(two.world(), options(&two)).unwrap();
            assert_eq!(second.incarnation().0, 3);
        }
        let fresh = wait(&first, first.frontier(Level::Fresh), Level::Fresh);
        assert_eq!(fresh.is_ok(), mode == Mode::Software);
    }
}

#[test]
fn a_commit_that_a_clone_overtook_is_not_called_committed() {
    for mode in MODES {
        let (machine, original, ks) = running(mode, 5);
        let mut batch = WriteBatch::new();
        batch.put(ks, "late", "1");
        let late = original.apply(batch).unwrap();
        let mut waiting = Box::pin(original.wait(late.position, Level::Fresh));
        assert!(poll(waiting.as_mut()).is_pending());
        let other = cloned(&machine);
        let _clone = Store::open(other.world(), options(&other)).unwrap();
        let outcome = wait(&original, late.position, Level::Fresh).expect_err("overtaken");
        note(&outcome);
        let std::task::Poll::Ready(Err(error)) = poll(waiting.as_mut()) else {
            panic!("released without an error")
        };
        note(&error);
        assert!(matches!(error.kind(), ErrorKind::OutcomeUnknown | ErrorKind::SecondCopy), "{error:?}");
    }
}

/// Row 28: syncs that lie. What was acknowledged as fresh and is gone after the power cut is
/// missed; it is never silently not there.
#[test]
fn a_lying_sync_is_found_out_by_the_anchor() {
    for from in 1..40 {
        let machine = Machine::new(Mode::Software, 6);
        let disk = FaultDisk::new(Arc::new(machine.data.clone()));
        disk.inject(When::From(Op::Sync, from), Fault::LyingSync);
        disk.inject(When::From(Op::SyncDir, from), Fault::LyingSync);
        let world = machine.world_over(Arc::new(disk), Arc::new(machine.trusted.clone()));
        let store = Store::open(world, options(&machine)).unwrap();
        let ks = store.create_keyspace("ks", small()).unwrap();
        let mut acknowledged = 0;
        for n in 0..20u32 {
            put(&store, ks, b"n", &n.to_le_bytes(), Level::Fresh).unwrap();
            acknowledged = n;
        }
        drop(store);
        // The platform's own state is hardware: it loses nothing.
        let cut = Machine {
            platform_disk: machine.platform_disk.clone(),
            ..machine.after_power_cut(CrashChoice::LoseAll)
        };
        match Store::open(cut.world(), options(&cut)) {
            Ok(store) => {
                let got = get(&store, ks, b"n").unwrap().expect("acknowledged");
                assert_eq!(got, acknowledged.to_le_bytes(), "syncs lie from the {from}th on");
            }
            Err(error) => {
                note(&error);
                assert!(error.proof().is_some(), "syncs lie from the {from}th on: {error:?}");
            }
        }
    }
}

/// Row 28: tables that were never synced although the disk said so.
#[test]
fn a_lying_sync_of_tables_is_found_out_by_the_manifest() {
    for mode in [Mode::Software, Mode::Twin] {
        let machine = Machine::new(mode, 7);
        let disk = FaultDisk::new(Arc::new(machine.data.clone()));
        let world = machine.world_over(Arc::new(disk.clone()), Arc::new(machine.trusted.clone()));
        let store = Store::open(world, options(&machine)).unwrap();
        let ks = store.create_keyspace("ks", small()).unwrap();
        for n in 0..50u32 {
            put(&store, ks, &n.to_be_bytes(), &[7; 100], Level::Fresh).unwrap();
        }
        // Only what is written from here on is lied about: the table, and in `software` the MANIFEST.
        let (files, dirs) = (disk.count(Op::Sync), disk.count(Op::SyncDir));
        disk.inject(When::Nth(Op::Sync, files + 1), Fault::LyingSync);
        disk.inject(When::Nth(Op::SyncDir, dirs + 1), Fault::LyingSync);
        store.flush(None).unwrap();
        settle(&store).unwrap();
        store.close().unwrap();
        drop(store);
        let cut = Machine {
            platform_disk: machine.platform_disk.clone(),
            ..machine.after_power_cut(CrashChoice::LoseAll)
        };
        let read = Store::open(cut.world(), options(&cut)).and_then(|store| dump(&store, ks));
        match read {
            Ok(rows) => assert_eq!(rows.len(), 50, "{mode}"),
            Err(error) => {
                note(&error);
                assert!(error.proof().is_some(), "{mode}: {error:?}");
            }
        }
    }
}

/// What a lying host does to a call.
#[derive(Clone)]
struct Liar {
    inner: MemDisk,
    /// Names that listings leave out.
    hides: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// What `len` says of a true length.
    len: fn(u64) -> u64,
    /// How many of the bytes that there are a read gives.
    read: ReadLie,
}

type ReadLie = Arc<dyn Fn(&str, u64, usize) -> usize + Send + Sync>;

impl Liar {
    fn honest(inner: &MemDisk) -> Self {
        Self {
            inner: inner.clone(),
            hides: Arc::new(|_| false),
            len: |len| len,
            read: Arc::new(|_, _, len| len),
        }
    }
}

struct LyingFile {
    inner: Arc<dyn DiskFile>,
    path: String,
    liar: Liar,
}

impl DiskFile for LyingFile {
    fn read_at(&self, buf: Vec<u8>, offset: u64, len: usize) -> io::Result<Untrusted<Vec<u8>>> {
        self.inner.read_at(buf, offset, (self.liar.read)(&self.path, offset, len))
    }
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(data, offset)
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.inner.allocate(len)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.inner.truncate(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }
    #[expect(clippy::disallowed_methods, reason = "the liar looks at the truth")]
    fn len(&self) -> io::Result<Untrusted<u64>> {
        Ok(Untrusted::new((self.liar.len)(self.inner.len()?.expose_to_verifier())))
    }
}

impl Liar {
    fn file(&self, path: &str, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(LyingFile { inner, path: path.to_owned(), liar: self.clone() })
    }
}

impl Disk for Liar {
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path, self.inner.create(path)?))
    }
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path, self.inner.open(path)?))
    }
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let path = |name: &String| if dir.is_empty() { name.clone() } else { format!("{dir}/{name}") };
        Ok(self.inner.list(dir)?.into_iter().filter(|name| !(self.hides)(&path(name))).collect())
    }
    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.inner.create_dir(dir)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        self.inner.remove(path)
    }
    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }
    fn lock(&self, path: &str) -> io::Result<Box<dyn DiskLock>> {
        self.inner.lock(path)
    }
    fn lock_wait(&self, path: &str) -> io::Result<Box<dyn DiskLock>> {
        self.inner.lock_wait(path)
    }
    fn describe(&self) -> String {
        "a lying disk".to_owned()
    }
}

/// Opens the killed scene over a liar and reads everything. `Ok(whether all is there)`.
fn under(mode: Mode, tell: impl FnOnce(&MemDisk) -> Liar) -> Result<bool> {
    let scene = scene(mode);
    let machine = scene.fork();
    let liar: Arc<dyn Disk> = Arc::new(tell(&machine.data));
    let store = Store::open(machine.world_over(liar, Arc::new(machine.trusted.clone())), options(&machine))?;
    let view = crate::scene::read_all(&store, &scene.keyspaces, scene.full())?;
    assert!(scene.views.contains(&view), "{mode}: FALSE DATA under a lying disk");
    Ok(view == *scene.full())
}

/// As [`under`], and an error has to be a typed one that a lie explains.
fn nothing_false(mode: Mode, what: &str, tell: impl FnOnce(&MemDisk) -> Liar) -> bool {
    match under(mode, tell) {
        Ok(all) => all,
        Err(error) => {
            note(&error);
            assert_ne!(error.kind(), ErrorKind::Internal, "{mode} {what}: {error:?}");
            false
        }
    }
}

#[test]
fn listings_that_hide_files() {
    for mode in MODES {
        let names: Vec<String> = scene(mode).fork().data.files().into_keys().collect();
        for name in &names {
            let hidden = name.clone();
            let all = nothing_false(mode, name, |disk| Liar {
                hides: Arc::new(move |path| path == hidden),
                ..Liar::honest(disk)
            });
            // Tables are opened by name: a listing is only asked for what to remove.
            assert!(
                all || !name.starts_with("tables/"),
                "{mode}: hiding {name} from a listing takes data away"
            );
        }
        nothing_false(mode, "all", |disk| Liar { hides: Arc::new(|_| true), ..Liar::honest(disk) });
    }
}

#[test]
fn lengths_that_lie() {
    for mode in MODES {
        for len in [|_| 0, |_| u64::MAX, |len| len / 2, |len: u64| len * 2 + 1] as [fn(u64) -> u64; 4] {
            let all = nothing_false(mode, "len", |disk| Liar { len, ..Liar::honest(disk) });
            assert!(all, "{mode}: lengths only size reads");
        }
    }
}

#[test]
fn reads_that_come_back_short() {
    for mode in MODES {
        for keep in [0, 1, 15, 16, 100, 1000, 3000] {
            nothing_false(mode, "short", |disk| Liar {
                read: Arc::new(move |_, _, len| len.min(keep)),
                ..Liar::honest(disk)
            });
        }
        for prefix in ["wal/", "tables/", "MANIFEST", "KEYS"] {
            for cut in [1, 17, 200] {
                let read = move |path: &str, _, len: usize| {
                    if path.starts_with(prefix) { len.saturating_sub(cut) } else { len }
                };
                nothing_false(mode, prefix, |disk| Liar { read: Arc::new(read), ..Liar::honest(disk) });
            }
        }
    }
}

/// A read that fails is an error of that call, and no evidence: the next open works.
#[test]
fn reads_that_fail() {
    for mode in MODES {
        let scene = scene(mode);
        let disk_of = |machine: &Machine| FaultDisk::new(Arc::new(machine.data.clone()));
        let reads = {
            let machine = scene.fork();
            let disk = disk_of(&machine);
            let world = machine.world_over(Arc::new(disk.clone()), Arc::new(machine.trusted.clone()));
            drop(Store::open(world, options(&machine)).unwrap());
            disk.count(Op::Read)
        };
        for nth in 1..=reads {
            let machine = scene.fork();
            let disk = disk_of(&machine);
            disk.inject(When::Nth(Op::Read, nth), Fault::Error(io::ErrorKind::Other));
            let world = machine.world_over(Arc::new(disk), Arc::new(machine.trusted.clone()));
            if let Err(error) = Store::open(world, options(&machine)) {
                note(&error);
                assert_eq!(error.kind(), ErrorKind::Io, "{mode}: {error:?}");
                assert!(error.proof().is_none(), "{mode}: a failed read is no attack: {error:?}");
            }
            match observe(scene, &machine) {
                Outcome::Served(view, _) => assert!(*view == *scene.full(), "{mode}: read {nth}"),
                Outcome::Refused(error) | Outcome::Stopped(error) => {
                    panic!("{mode}: FALSE ALARM after read {nth}: {error:?}")
                }
            }
        }
    }
}

/// Bytes that change under a running store: what is in the cache stays true, what is read anew is
/// verified anew.
#[test]
fn tables_that_change_under_a_running_store() {
    for mode in MODES {
        let scene = scene(mode);
        let anatomy = scene.anatomy();
        for (nth, table) in anatomy.tables.iter().enumerate() {
            let machine = scene.fork();
            let store = Store::open(machine.world(), options(&machine)).unwrap();
            if nth.is_multiple_of(2) {
                dump(&store, scene.keyspaces[0]).unwrap();
            }
            let len = machine.table_disk().bytes_of(&table.path).unwrap().len();
            machine.table_disk().poke(&table.path, 0, &vec![0xa5; len]).unwrap();
            let snapshot = store.snapshot();
            for (k, &keyspace) in scene.keyspaces.iter().enumerate() {
                let Ok(iter) = store.iter(keyspace, b"", None, false, &snapshot) else { break };
                let mut truth = scene.full()[k].iter();
                for entry in iter {
                    match entry {
                        Ok((key, value)) => {
                            assert_eq!(truth.next(), Some((&key, &value)), "{mode}: {}", table.path)
                        }
                        Err(error) => {
                            note(&error);
                            assert_eq!(error.kind(), ErrorKind::Tampered, "{error:?}");
                            assert!(store.stopped().is_some());
                            break;
                        }
                    }
                }
            }
            let error = store.verify_checksums().expect_err("a scrub reads everything anew");
            note(&error);
            assert!(
                error.proof().is_some_and(|proof| proof.file == table.path) || store.stopped().is_some(),
                "{error:?}"
            );
        }
    }
}

/// A commit under which the log's disk dies: outcome unknown, nothing afterwards, and the next
/// life has it or has it not.
#[test]
fn a_disk_that_dies_under_a_commit() {
    let machine = Machine::new(Mode::Software, 8);
    for nth in 1..12 {
        let fork = machine.map(MemDisk::fork);
        let disk = FaultDisk::new(Arc::new(fork.data.clone()));
        let world = fork.world_over(Arc::new(disk.clone()), Arc::new(fork.trusted.clone()));
        let store = Store::open(world, options(&fork)).unwrap();
        let ks = store.create_keyspace("ks", small()).unwrap();
        disk.inject(When::Mutating(disk.count_mutating() + nth), Fault::Freeze);
        let mut last = None;
        for n in 0..5u32 {
            let mut batch = WriteBatch::new();
            batch.put(ks, "n", n.to_le_bytes());
            match commit(&store, batch, Level::Fresh) {
                Ok(_) => last = Some(n),
                Err(error) => note(&error),
            }
        }
        drop(store);
        let next = fork.after_kill();
        let store = Store::open(next.world(), options(&next)).unwrap();
        let got = get(&store, ks, b"n").unwrap().map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap()));
        assert!(got >= last, "the {nth}th call: acknowledged {last:?}, found {got:?}");
    }
}
