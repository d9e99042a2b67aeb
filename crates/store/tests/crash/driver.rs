//! Runs steps on a store and keeps the book of what was acknowledged.

use crate::common::{self, Machine};
use crate::model::{self, Change, End, History, Operator};
use crate::power::Power;
use parking_lot::Mutex;
use ringfort_base::{KeyspaceId, Level, Result, Seq};
use ringfort_fault::rng::SplitMix64;
use ringfort_store::{KeyspaceOptions, Store, StoreOptions};
use ringfort_trust::keyfile::Mode;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// A step of a workload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// One put in keyspace a, awaited at a level.
    Put(Level),
    /// A batch over both keyspaces, with merges, a delete and a count.
    Both,
    /// A batch over both keyspaces with values that were written by the piece, to files of their own.
    Stored(Level),
    /// Such a value, which nobody commits.
    GiveUp,
    /// Every key of keyspace b, in one batch: one value file.
    Many,
    /// A range delete over what keyspace a holds.
    DeleteRange,
    /// Keyspace a becomes a table; b stays in the log.
    FlushA,
    /// Both flushed, and all background work done.
    Settle,
    /// A put that does not fit the present segment any more and fills its memtable.
    Rotate(Level),
    /// One piece of background work.
    Background,
    /// Whatever is durable gets anchored, without a sync.
    Anchor,
    /// A further keyspace.
    Create,
    /// A bulk load over some of keyspace a's keys, and beyond them.
    Load,
    /// A transaction over both keyspaces is prepared, and the vote awaited at a level.
    Prepare(Level),
    /// The first of those that are in doubt commits.
    Commit(Level),
    /// It aborts.
    Abort(Level),
    /// A clean end, and the next life.
    Reopen,
}

/// The alphabet of the exhaustive search.
pub const ALPHABET: [Step; 9] = [
    Step::Put(Level::Buffered),
    Step::Put(Level::Durable),
    Step::Put(Level::Fresh),
    Step::Both,
    Step::FlushA,
    Step::Settle,
    Step::Rotate(Level::Buffered),
    Step::Create,
    Step::Reopen,
];

/// Any step, for long runs: the ordinary ones more often.
pub fn any_step(rng: &mut SplitMix64) -> Step {
    let level = Level::ALL[rng.below(3) as usize];
    match rng.below(30) {
        0..=5 => Step::Put(level),
        6 => Step::Many,
        7..=9 => Step::Both,
        10 => Step::DeleteRange,
        11 => Step::FlushA,
        12 => Step::Settle,
        13..=14 => Step::Rotate(level),
        15..=16 => Step::Background,
        17 => Step::Anchor,
        18 => Step::Create,
        19 => Step::Load,
        20..=22 => Step::Stored(level),
        23 => Step::GiveUp,
        24..=26 => Step::Prepare(level),
        27 => Step::Commit(level),
        28 => Step::Abort(level),
        _ => Step::Reopen,
    }
}

/// Tiny, so that a handful of puts rotates segments and fills memtables.
pub fn tiny() -> KeyspaceOptions {
    KeyspaceOptions {
        write_buffer_bytes: 4096,
        block_bytes: 1024,
        table_bytes: 4096,
        level0_tables: 2,
        level1_bytes: 8192,
        merge_operator: Some("append:2c".to_owned()),
        // What `Both` puts into b and what `Rotate` puts lies in value files.
        separate_values_from_bytes: 30,
        ..KeyspaceOptions::default()
    }
}

/// A store at work.
pub struct Run {
    pub machine: Machine,
    pub power: Power,
    pub store: Option<Store>,
    /// Shared with whoever takes pictures while a step runs.
    pub history: Arc<Mutex<History>>,
    pub ids: Vec<KeyspaceId>,
    /// What keyspaces are created with.
    pub keyspace: KeyspaceOptions,
    /// What the store is opened with.
    pub options: fn(Mode) -> StoreOptions,
    /// The position of the last commit that is known to be durable.
    durable_at: Seq,
    written: u32,
}

pub fn options(mode: Mode) -> StoreOptions {
    StoreOptions {
        mode: Some(mode),
        segment_bytes: 4096,
        memory_budget: 1 << 20,
        stored_values_from_bytes: 100,
        ..StoreOptions::default()
    }
}

impl Run {
    /// A machine without a store.
    pub fn new(machine: Machine) -> Self {
        Self::continuing(machine, History::default())
    }

    /// A machine whose store has this history; it is not open.
    pub fn continuing(machine: Machine, history: History) -> Self {
        Self {
            machine,
            power: Power::default(),
            store: None,
            history: Arc::new(Mutex::new(history)),
            ids: Vec::new(),
            keyspace: tiny(),
            options,
            durable_at: Seq::ZERO,
            written: 0,
        }
    }

    /// Goes on with what an end left of the disks; the store is not open.
    pub fn restart(&mut self, machine: Machine, end: End) {
        self.store = None;
        self.machine = machine;
        self.power = Power::default();
        self.history.lock().survive(end);
    }

    /// Opens the store, takes what it holds as the new beginning (the claim made it durable), and
    /// creates what the workload needs.
    pub fn open(&mut self) -> Result<()> {
        let store = Store::open(self.power.world(&self.machine), (self.options)(self.machine.mode))?;
        {
            let mut history = self.history.lock();
            let left = history.check(&store, End::Kill).unwrap_or_else(|why| panic!("after an open: {why}"));
            history.begin_with(left, &store);
        }
        self.durable_at = store.frontier(Level::Durable);
        self.store = Some(store);
        self.ids.clear();
        let names = self.history.lock().names.clone();
        for name in &names {
            self.ids.extend(self.store().keyspace(name));
        }
        while self.ids.len() < 2 {
            self.create()?;
        }
        Ok(())
    }

    pub fn store(&self) -> &Store {
        self.store.as_ref().expect("the store is open")
    }

    fn create(&mut self) -> Result<()> {
        let name = format!("keyspace {}", self.ids.len());
        {
            let mut history = self.history.lock();
            history.names.push(name.clone());
            history.base.push(model::Space::default());
        }
        let id = self.store().create_keyspace(&name, self.keyspace.clone())?;
        assert!(!self.ids.contains(&id), "a keyspace's id was given out twice");
        self.ids.push(id);
        self.history.lock().created = self.ids.len();
        Ok(())
    }

    fn commit(&mut self, commit: Vec<Change>, level: Level) -> Result<()> {
        let submitted = self.note(commit.clone());
        let ticket = self.store().apply(model::batch(self.store(), &self.ids, &commit)?)?;
        self.acknowledge(submitted, ticket.position, level)
    }

    /// Notes a commit that the store is about to be asked for: its number.
    fn note(&self, commit: Vec<Change>) -> usize {
        let mut history = self.history.lock();
        history.commits.push(commit);
        history.commits.len()
    }

    /// The store did it, as of a position.
    fn acknowledge(&mut self, submitted: usize, position: Seq, level: Level) -> Result<()> {
        self.history.lock().applied = submitted;
        if level > Level::Buffered {
            self.wait(position, level)?;
            self.durable_at = position;
            self.history.lock().durable = submitted;
        }
        Ok(())
    }

    fn prepare(&mut self, name: Vec<u8>, changes: Vec<Change>, level: Level) -> Result<()> {
        let submitted = self.note(vec![Change::Prepare(name.clone())]);
        self.history.lock().prepared.insert(name.clone(), changes.clone());
        match model::prepare(self.store(), &self.ids, &name, &changes)? {
            Some(prepared) => self.acknowledge(submitted, prepared.ticket().position, level),
            // Another one in doubt holds its keys.
            None => {
                self.history.lock().commits.pop();
                Ok(())
            }
        }
    }

    fn decide(&mut self, commits: bool, level: Level) -> Result<()> {
        let Some(txn) = self.store().prepared().into_iter().next() else { return Ok(()) };
        let changes = self.history.lock().prepared[&txn.name].clone();
        let done = if commits { changes } else { Vec::new() };
        let submitted = self.note(vec![Change::Decide(txn.name.clone(), done)]);
        let prepared = self.store().resume(&txn.name)?;
        let ticket = if commits { prepared.commit()? } else { prepared.abort()? };
        self.acknowledge(submitted, ticket.position, level)
    }

    /// Anchored on return.
    fn load(&mut self, entries: Vec<(Vec<u8>, Vec<u8>)>) -> Result<()> {
        let submitted = {
            let mut history = self.history.lock();
            let puts = entries.iter().map(|(key, value)| Change::Put(0, key.clone(), value.clone()));
            history.commits.push(puts.collect());
            history.commits.len()
        };
        let Poll::Ready(loaded) = common::poll(self.store().bulk_load(self.ids[0], entries)) else {
            // A transaction in doubt holds some of the range.
            self.history.lock().commits.pop();
            return Ok(());
        };
        self.durable_at = loaded?.position;
        let mut history = self.history.lock();
        (history.applied, history.durable) = (submitted, submitted);
        Ok(())
    }

    /// Runs the log's steps until the waiter is answered, whatever the steps themselves say.
    pub fn wait(&self, position: Seq, level: Level) -> Result<()> {
        let store = self.store();
        let mut wait = pin!(store.wait(position, level));
        for _ in 0..100 {
            if let Poll::Ready(outcome) = wait.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return outcome;
            }
            let _ = (store.sync_step(), store.anchor_step());
        }
        panic!("position {position} never became {level}, nor was the waiter told why");
    }

    pub fn step(&mut self, step: Step) -> Result<()> {
        self.written += 1;
        let n = self.written;
        let key = format!("key {}", n % 7).into_bytes();
        let value = |len: usize| format!("{n:08} ").into_bytes().repeat(len / 9 + 1);
        match step {
            Step::Put(level) => self.commit(vec![Change::Put(0, key, value(20))], level),
            Step::Both => {
                let other = format!("key {}", (n + 3) % 7).into_bytes();
                let batch = vec![
                    Change::Put(0, key.clone(), value(20)),
                    Change::Put(1, key.clone(), value(30)),
                    Change::Merge(0, other.clone(), value(10), Operator::Append),
                    Change::Merge(1, key, value(10), Operator::Append),
                    Change::Delete(1, other),
                    Change::Count(1, i64::from(n % 5) - 1),
                    Change::Count(0, 1),
                ];
                self.commit(batch, Level::Buffered)
            }
            Step::Stored(level) => {
                let other = format!("key {}", (n + 1) % 7).into_bytes();
                let batch = vec![
                    Change::PutStored(0, key.clone(), value(300)),
                    Change::Put(1, other.clone(), value(20)),
                    Change::PutStored(1, key, value(400)),
                    Change::Merge(1, other, value(10), Operator::Append),
                ];
                self.commit(batch, level)
            }
            Step::GiveUp => model::stored(self.store(), &value(300)).map(drop),
            Step::Many => {
                let put = |key| Change::Put(1, format!("key {key}").into_bytes(), value(40));
                self.commit((0..7).map(put).collect(), Level::Buffered)
            }
            Step::DeleteRange => self
                .commit(vec![Change::DeleteRange(0, b"key 2".to_vec(), b"key 5".to_vec())], Level::Buffered),
            Step::FlushA => self.store().flush(Some(self.ids[0])),
            Step::Settle => {
                self.store().flush(None)?;
                common::settle(self.store())
            }
            Step::Rotate(level) => self.commit(vec![Change::Put(0, key, value(5000))], level),
            Step::Background => self.store().maintenance_step().map(drop),
            Step::Anchor => {
                let _wait = self.store().wait(self.durable_at, Level::Fresh);
                self.store().anchor_step().map(drop)
            }
            Step::Create => self.create(),
            Step::Load => {
                let numbers = n % 5..n % 5 + 4;
                self.load(numbers.map(|k| (format!("key {k}").into_bytes(), value(2000))).collect())
            }
            Step::Prepare(level) => {
                let behind = |end: &[u8]| [&key[..], end].concat();
                let changes = vec![
                    Change::Put(1, key.clone(), value(40)),
                    Change::Merge(1, behind(b" merged"), value(5), Operator::Append),
                    Change::DeleteRange(0, key.clone(), behind(b"~")),
                    Change::Put(0, behind(b" again"), value(10)),
                    Change::Count(1, 7),
                ];
                // No life uses a name of another's again: its content is known by it.
                let name = format!("{} of life {}", n, self.store().incarnation());
                self.prepare(name.into_bytes(), changes, level)
            }
            Step::Commit(level) => self.decide(true, level),
            Step::Abort(level) => self.decide(false, level),
            Step::Reopen => {
                self.store().close()?;
                {
                    let mut history = self.history.lock();
                    history.durable = history.commits.len();
                }
                self.store = None;
                self.open()
            }
        }
    }

    /// Runs steps until one fails.
    pub fn steps(&mut self, steps: &[Step]) -> Result<()> {
        steps.iter().try_for_each(|step| self.step(*step))
    }
}
