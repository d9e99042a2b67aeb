//! Pictures of the disks before every mutating call, what power cuts make of them, and what a store
//! that opens there must show.

use crate::common::{self, Machine};
use crate::driver::{Run, options};
use crate::model::{Change, End, History, batch, check_locks};
use crate::power::Power;
use parking_lot::Mutex;
use ringfort_base::{KeyspaceId, Level};
use ringfort_fault::memory::CrashChoice;
use ringfort_store::{Store, StoreOptions};
use ringfort_trust::keyfile::Mode;
use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The disks just before a call, and what had been promised by then.
pub struct Cut {
    pub machine: Machine,
    pub history: History,
    /// The call that did not happen any more.
    pub before: String,
}

/// Where a run puts its pictures.
#[derive(Clone, Default)]
pub struct Album(Arc<Mutex<Vec<Cut>>>);

impl Album {
    /// Takes a picture of the run's machine before every mutating call from now on. Dying there is
    /// the same as going on and looking at the picture, and one run serves all calls.
    pub fn watch(&self, run: &Run) {
        let machine = run.machine.map(Clone::clone);
        let (album, history) = (Arc::clone(&self.0), Arc::clone(&run.history));
        run.power.plan(move |call| {
            if call.is_mutating() {
                let before =
                    format!("{:?} {} of the {:?} disk (call {})", call.op, call.path, call.disk, call.nth);
                let machine = machine.map(ringfort_fault::memory::MemDisk::fork);
                album.lock().push(Cut { machine, history: history.lock().clone(), before });
            }
            None
        });
    }

    /// One picture now: of a power cut between two steps.
    pub fn take(&self, run: &Run, before: &str) {
        let machine = run.machine.map(ringfort_fault::memory::MemDisk::fork);
        self.0.lock().push(Cut { machine, history: run.history.lock().clone(), before: before.to_owned() });
    }

    pub fn cuts(&self) -> Vec<Cut> {
        std::mem::take(&mut self.0.lock())
    }
}

/// How many ways to cut are tried per picture.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// All subsets of the unsynced steps are tried if they are at most this many.
    pub masks: u64,
    /// Otherwise, beside losing all and keeping all, this many random ones.
    pub seeds: u64,
    /// How often recovery is cut in turn.
    pub depth: usize,
}

/// The explorer: counts states, and looks at none twice.
pub struct Explorer {
    pub effort: Effort,
    /// What each recovery is opened with.
    pub options: fn(Mode) -> StoreOptions,
    pub states: u64,
    /// States that were the same as one seen before.
    pub known: u64,
    seen: HashSet<u64>,
}

impl Explorer {
    pub fn new(effort: Effort) -> Self {
        Self { effort, options, states: 0, known: 0, seen: HashSet::new() }
    }

    /// Every way to cut at every picture.
    pub fn explore(&mut self, cuts: &[Cut], what: &str) -> Result<(), String> {
        cuts.iter().try_for_each(|cut| self.cut(cut, self.effort.depth, what))
    }

    fn cut(&mut self, cut: &Cut, depth: usize, what: &str) -> Result<(), String> {
        for (end, choice, machine) in outcomes(&cut.machine, self.effort) {
            if !self.seen.insert(fingerprint(&machine, &cut.history, end, depth)) {
                self.known += 1;
                continue;
            }
            self.states += 1;
            let context = |why: String| format!("{what}: {end:?} ({choice}) before {}: {why}", cut.before);
            let picture = machine.map(ringfort_fault::memory::MemDisk::fork);
            let settle = self.states.is_multiple_of(3);
            examine_with(self.options, &machine, &cut.history, end, settle).map_err(context)?;
            if depth > 0 {
                let nested = cuts_of_recovery(self.options, picture, &cut.history, end);
                let what = format!("{what}: {end:?} ({choice}) before {}; then in recovery", cut.before);
                nested.iter().try_for_each(|cut| self.cut(cut, depth - 1, &what))?;
            }
        }
        Ok(())
    }
}

/// Pictures of an open that goes well.
pub fn cuts_of_recovery(
    options: fn(Mode) -> StoreOptions,
    machine: Machine,
    history: &History,
    end: End,
) -> Vec<Cut> {
    // What survived a kill is still not durable, if a power cut follows.
    let mut history = history.clone();
    history.survive(end);
    let run = Run::continuing(machine, history);
    let album = Album::default();
    album.watch(&run);
    let opened = Store::open(run.power.world(&run.machine), options(run.machine.mode));
    run.power.unplan();
    assert!(opened.is_ok(), "it opened before");
    album.cuts()
}

/// The disks after each way to cut.
fn outcomes(machine: &Machine, effort: Effort) -> Vec<(End, String, Machine)> {
    let cut = |choice| machine.map(|disk| disk.crash(choice));
    // The death of a process leaves what was not synced as it was: visible, and still to be lost.
    let killed = machine.map(ringfort_fault::memory::MemDisk::fork);
    let mut all = vec![(End::Kill, "the process".to_owned(), killed)];
    let masks = [&machine.data, &machine.trusted, &machine.platform_disk].map(|disk| disk.crash_masks());
    let product = masks.iter().try_fold(1u64, |product, masks| product.checked_mul((*masks)?));
    match (product, masks) {
        (Some(product), [Some(data), Some(trusted), Some(_)]) if product <= effort.masks => {
            for mask in 0..product {
                let crashed = Machine {
                    data: machine.data.crash(CrashChoice::Mask(mask % data)),
                    trusted: machine.trusted.crash(CrashChoice::Mask(mask / data % trusted)),
                    platform_disk: machine.platform_disk.crash(CrashChoice::Mask(mask / data / trusted)),
                    ..machine.map(Clone::clone)
                };
                all.push((End::PowerCut, format!("mask {mask}"), crashed));
            }
        }
        _ => {
            all.push((End::PowerCut, "all lost".to_owned(), cut(CrashChoice::LoseAll)));
            for seed in 0..effort.seeds {
                all.push((End::PowerCut, format!("seed {seed}"), cut(CrashChoice::Seeded(seed))));
            }
        }
    }
    all
}

/// Equal disks with equal promises need to be looked at once.
fn fingerprint(machine: &Machine, history: &History, end: End, depth: usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    for disk in [&machine.data, &machine.trusted, &machine.platform_disk] {
        disk.files().hash(&mut hasher);
    }
    let promised = if end == End::Kill { history.applied } else { history.durable };
    // Cut again, a dead process's unsynced steps can still be lost.
    let pending = depth > 0 && end == End::Kill;
    (promised, history.created, history.commits.len(), depth, pending).hash(&mut hasher);
    hasher.finish()
}

/// A value file that nothing names is not there any more.
fn no_value_file_is_left_over(machine: &Machine, store: &Store) -> Result<(), String> {
    let there = machine.table_disk().files().into_keys().filter(|path| path.ends_with(".blob")).count();
    let files = |(_, id): (String, _)| store.value_files(id).map_or(0, |files| files.0);
    let named: usize = store.keyspaces().into_iter().map(files).sum();
    if there == named { Ok(()) } else { Err(format!("{there} value files for {named} that are named")) }
}

/// Opens the store, compares it with its history, goes on with it, and opens it once more.
pub fn examine(machine: &Machine, history: &History, end: End, settle: bool) -> Result<(), String> {
    examine_with(options, machine, history, end, settle)
}

/// What is in doubt has its locks; of every three states one commits it, one aborts it, and one leaves it for
/// the next life.
fn decide_some(store: &Store, ids: &[KeyspaceId], history: &mut History, settle: bool) -> Result<(), String> {
    for (n, txn) in store.prepared().into_iter().enumerate() {
        let changes =
            history.prepared.get(&txn.name).ok_or("a transaction in doubt that was never prepared")?;
        check_locks(store, ids, changes)?;
        let what = (history.base[0].entries.len() + n + usize::from(settle)) % 3;
        if what == 2 {
            continue;
        }
        let prepared = store.resume(&txn.name).map_err(|e| format!("cannot resume: {e}"))?;
        let decided = if what == 0 { prepared.commit() } else { prepared.abort() };
        decided.map_err(|e| format!("cannot decide: {e}"))?;
        let done = if what == 0 { changes.clone() } else { Vec::new() };
        history.commits.push(vec![Change::Decide(txn.name, done)]);
    }
    Ok(())
}

fn examine_with(
    options: fn(Mode) -> StoreOptions,
    machine: &Machine,
    history: &History,
    end: End,
    settle: bool,
) -> Result<(), String> {
    let power = Power::default();
    let open = || {
        let opened = Store::open(power.world(machine), options(machine.mode));
        opened.map_err(|e| format!("an honest crash is refused: {e}"))
    };
    let store = open()?;
    let mut history = history.clone();
    let left = history.check(&store, end)?;
    history.begin_with(left, &store);
    let mut ids = Vec::new();
    for name in &history.names {
        ids.extend(store.keyspace(name));
    }
    if !ids.is_empty() {
        decide_some(&store, &ids, &mut history, settle)?;
        let changes: Vec<Change> =
            (0..ids.len()).map(|ks| Change::Put(ks, b"after".to_vec(), b"the crash".to_vec())).collect();
        batch(&store, &ids, &changes)
            .and_then(|batch| common::commit(&store, batch, Level::Fresh))
            .map_err(|e| format!("cannot go on: {e}"))?;
        history.commits.push(changes);
        history.applied = history.commits.len();
        history.durable = history.applied;
    }
    if settle {
        let settled = store.flush(None).and_then(|()| common::settle(&store));
        settled.map_err(|e| format!("background work fails: {e}"))?;
        store.verify_checksums().map_err(|e| format!("the tables do not verify: {e}"))?;
        no_value_file_is_left_over(machine, &store)?;
    }
    let life = store.incarnation();
    store.close().map_err(|e| format!("cannot close: {e}"))?;
    drop(store);
    let store = open().map_err(|why| format!("the second time {why}"))?;
    if store.incarnation() <= life {
        return Err(format!("incarnation {} after {life}", store.incarnation()));
    }
    history.check(&store, End::Kill).map_err(|why| format!("the second time {why}")).map(drop)
}
