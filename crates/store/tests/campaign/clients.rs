//! The clients of a store, and what they say they did and saw.
//!
//! | keys | as the store has them | as the checker has them |
//! |---|---|---|
//! | lists | values that a transaction reads, lengthens and puts back | lists |
//! | logs | operands of a merge, added without reading | lists |
//! | registers | a number each; also written by plain batches | registers |
//! | doomed | a number each, put there before all, deleted at most once | registers; "deleted" is a value |
//!
//! Keys rotate, so that lists stay short and new keys appear under scans; a few are hot.

use crate::common::small;
use crate::schedule::turn;
use parking_lot::Mutex;
use ringfort_base::{Error, ErrorKind, KeyspaceId, Level, Result, Seq};
use ringfort_checker::{Op, Outcome, Txn};
use ringfort_fault::rng::SplitMix64;
use ringfort_store::store::Ticket;
use ringfort_store::txn::prepared::Prepared;
use ringfort_store::txn::transaction::{Concurrency, Transaction, TxnOptions};
use ringfort_store::{KeyspaceOptions, Store, WriteBatch};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

/// The checker's names of each sort begin here; the store's names of lists and logs are below.
pub const LOGS: u64 = 1 << 41;
pub const REGISTERS: u64 = 1 << 40;
pub const DOOMED: u64 = 1 << 42;
/// What a doomed register holds once it is deleted. Written values are above.
const DEAD: u64 = 1;
/// Doomed registers that are deleted together.
const DOOM: u64 = 4;

/// What all lives of a store share, for unique numbers.
#[derive(Default)]
pub struct Numbers {
    clock: AtomicU64,
    values: AtomicU64,
    /// The first doomed register that nobody was told to delete.
    dooms: AtomicU64,
    doomed: AtomicU64,
}

impl Numbers {
    pub fn new() -> Self {
        let numbers = Self::default();
        numbers.values.store(2 * DEAD, Ordering::Relaxed);
        numbers
    }

    pub fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn value(&self) -> u64 {
        self.values.fetch_add(1, Ordering::Relaxed)
    }

    /// The first of the present keys.
    fn base(&self) -> u64 {
        self.values.load(Ordering::Relaxed) / 200 * 4
    }
}

/// A transaction as it goes into the history, with what its client was promised.
pub struct Event {
    pub txn: Txn,
    /// Of a commit: its place in the log, or the newest that it read.
    pub position: Option<Seq>,
    /// What its acknowledgement promised.
    pub level: Level,
    /// Of one that was prepared.
    pub vote: Option<Vote>,
}

/// A transaction that was prepared: it is in doubt until its decision is durable.
#[derive(Clone, Copy, Debug)]
pub struct Vote {
    pub name: u64,
    /// It was promised that it is there after any crash.
    pub is_safe: bool,
    /// Somebody began to decide.
    pub is_decided: bool,
}

impl Event {
    /// The lists and logs that it appended to, with what.
    pub fn appended(&self) -> impl Iterator<Item = (u64, u64)> {
        self.txn.ops.iter().filter_map(|op| match op {
            Op::Append { key, value } => Some((*key, *value)),
            _ => None,
        })
    }

    pub fn has_written(&self) -> bool {
        self.txn.ops.iter().any(|op| matches!(op, Op::Append { .. } | Op::Write { .. }))
    }
}

/// One life of the store with its clients.
pub struct Life<'n> {
    pub store: Store,
    pub numbers: &'n Numbers,
    pub events: Mutex<Vec<Event>>,
    /// Transactions that are still to be run.
    pub left: AtomicU64,
    /// Whether a client does the store's jobs himself where he waits, as a thread must.
    pub threads: bool,
    /// How many of a hundred wait for more than that others see it.
    pub careful_percent: u64,
    pub counts: Counts,
    lists: KeyspaceId,
    logs: KeyspaceId,
    jobs: Mutex<()>,
}

/// What happened, for whoever must know that it was not in vain.
#[derive(Default)]
pub struct Counts {
    /// How often a transaction was begun again.
    pub again: AtomicU64,
    /// Plain writes that went past the lock table, and such that took locks.
    pub passed: AtomicU64,
    pub locked: AtomicU64,
    /// Decisions about prepared transactions, and such that another life had left in doubt.
    pub decided: AtomicU64,
    pub resumed: AtomicU64,
}

/// What a client is at; if it is dropped, its process died.
struct Doing<'l, 'n> {
    life: &'l Life<'n>,
    session: u32,
    start: u64,
    ops: Vec<Op>,
    /// Its commit may have been written.
    is_written: bool,
    level: Level,
    vote: Option<Vote>,
}

impl Doing<'_, '_> {
    fn end(&mut self, outcome: Outcome, position: Option<Seq>) {
        let (session, start, end) = (self.session, self.start, self.life.numbers.now());
        let txn = Txn { session, start, end, outcome, ops: std::mem::take(&mut self.ops) };
        let (level, vote) = (self.level, self.vote.take());
        self.life.events.lock().push(Event { txn, position, level, vote });
    }

    /// What the client knows after `ended`: whatever it is, nothing or "unknown" (R11).
    fn outcome(&mut self, ended: &Result<Seq>) {
        match ended {
            Ok(position) => self.end(Outcome::Committed, Some(*position)),
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => self.end(Outcome::Unknown, None),
            // Only a decision ends what was prepared.
            Err(_) if self.vote.is_some() => self.end(Outcome::Unknown, None),
            Err(_) => self.end(Outcome::Aborted, None),
        }
    }
}

impl Drop for Doing<'_, '_> {
    fn drop(&mut self) {
        if !self.ops.is_empty() || self.vote.is_some() {
            self.end(if self.is_written { Outcome::Unknown } else { Outcome::Aborted }, None);
        }
    }
}

fn encode(list: &[u64]) -> Vec<u8> {
    list.iter().flat_map(|value| value.to_be_bytes()).collect()
}

fn decode(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks(8).map(|chunk| u64::from_be_bytes(chunk.try_into().unwrap())).collect()
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().unwrap())
}

/// The store's name of a register, or of a doomed one: behind all lists.
fn marked(mark: u8, key: u64) -> [u8; 9] {
    let mut name = [mark; 9];
    name[1..].copy_from_slice(&key.to_be_bytes());
    name
}

fn register(key: u64) -> [u8; 9] {
    marked(0xff, key)
}

fn doomed(key: u64) -> [u8; 9] {
    marked(0xfe, key)
}

impl<'n> Life<'n> {
    pub fn new(store: Store, numbers: &'n Numbers, txns: u64, threads: bool) -> Self {
        let keyspace = |name: &str, options| match store.keyspace(name) {
            Some(id) => id,
            None => store.create_keyspace(name, options).unwrap(),
        };
        let lists = keyspace("lists", small());
        let appends = KeyspaceOptions { merge_operator: Some("append".into()), ..small() };
        let logs = keyspace("logs", appends);
        Self {
            store,
            numbers,
            events: Mutex::default(),
            left: AtomicU64::new(txns),
            threads,
            careful_percent: 20,
            counts: Counts::default(),
            lists,
            logs,
            jobs: Mutex::default(),
        }
    }

    fn level(&self, rng: &mut SplitMix64) -> Level {
        match rng.chance(self.careful_percent) {
            false => Level::Buffered,
            true if rng.below(4) == 0 => Level::Fresh,
            true => Level::Durable,
        }
    }

    fn doing(&self, session: u32, level: Level) -> Doing<'_, 'n> {
        let (start, ops) = (self.numbers.now(), Vec::new());
        Doing { life: self, session, start, ops, is_written: false, level, vote: None }
    }

    /// Waits for a level; whatever goes wrong, the outcome is unknown.
    pub async fn settle(&self, position: Seq, level: Level) -> Result<()> {
        if level == Level::Buffered {
            return Ok(());
        }
        let mut wait = self.store.wait_commit(Ticket { position }, level);
        let unknown = |e: Error| e.with_kind(ErrorKind::OutcomeUnknown);
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(done) = Pin::new(&mut wait).poll(cx) {
                    return Poll::Ready(done.map_err(unknown));
                }
                if !self.threads {
                    return Poll::Pending;
                }
                let _job = self.jobs.lock();
                if !wait.is_ready()
                    && let Err(error) = self.steps()
                {
                    return Poll::Ready(Err(unknown(error)));
                }
            }
        })
        .await
    }

    /// The store's jobs of writing.
    pub fn steps(&self) -> Result<()> {
        self.store.log_step()?;
        self.store.sync_step()?;
        self.store.anchor_step().map(drop)
    }

    /// Puts doomed registers there, for sure.
    pub fn prepare(&self, session: u32, dooms: u64) {
        let first = self.numbers.doomed.load(Ordering::Relaxed);
        let mut doing = self.doing(session, Level::Fresh);
        let mut batch = WriteBatch::new();
        for key in first..first + dooms * DOOM {
            let value = self.numbers.value();
            batch.put(self.lists, doomed(key), value.to_be_bytes());
            doing.ops.push(Op::Write { key: DOOMED + key, value });
        }
        let ticket = self.store.apply(batch).unwrap();
        crate::common::wait(&self.store, ticket.position, Level::Fresh).unwrap();
        doing.end(Outcome::Committed, Some(ticket.position));
        // What is left of the last life's is left alone.
        self.numbers.dooms.store(first, Ordering::Relaxed);
        self.numbers.doomed.store(first + dooms * DOOM, Ordering::Relaxed);
    }

    /// Reads everything that there is, as one transaction; what the lists and logs hold.
    pub fn look_at_everything(&self, session: u32) -> Vec<(u64, Vec<u64>)> {
        let mut doing = self.doing(session, Level::Buffered);
        let snapshot = self.store.snapshot();
        let entries = |keyspace| {
            let all = self.store.iter(keyspace, b"", None, false, &snapshot).unwrap();
            all.collect::<Result<Vec<(Vec<u8>, Vec<u8>)>>>().unwrap()
        };
        let (lists, marked): (Vec<_>, Vec<_>) =
            entries(self.lists).into_iter().partition(|(key, _)| key.len() == 8);
        let named = |(key, value): &(Vec<u8>, Vec<u8>)| (number(key), decode(value));
        let lists: Vec<(u64, Vec<u64>)> = lists.iter().map(named).collect();
        let logs: Vec<(u64, Vec<u64>)> =
            entries(self.logs).iter().map(named).map(|(key, values)| (LOGS + key, values)).collect();
        let of = |mark: u8| marked.iter().filter(move |(key, _)| key[0] == mark);
        let registers = of(0xff).map(|(key, value)| (REGISTERS + number(&key[1..]), number(value))).collect();
        let alive: Vec<(u64, u64)> =
            of(0xfe).map(|(key, value)| (number(&key[1..]), number(value))).collect();
        let end = self.numbers.base() + 100;
        doing.ops = vec![
            Op::ScanLists { from: 0, to: end, found: lists.clone() },
            Op::ScanLists { from: LOGS, to: LOGS + end, found: logs.clone() },
            Op::ScanValues { from: REGISTERS, to: REGISTERS + end, found: registers },
            self.saw_doomed(0, self.numbers.doomed.load(Ordering::Relaxed), &alive),
        ];
        doing.end(Outcome::Committed, None);
        [lists, logs].concat()
    }

    /// Doomed registers that are not there were deleted.
    fn saw_doomed(&self, from: u64, to: u64, alive: &[(u64, u64)]) -> Op {
        let mut alive = alive.iter().peekable();
        let value_of = |key| alive.next_if(|(name, _)| *name == key).map_or(DEAD, |(_, value)| *value);
        let mut value_of = value_of;
        let found = (from..to).map(|key| (DOOMED + key, value_of(key))).collect();
        Op::ScanValues { from: DOOMED + from, to: DOOMED + to, found }
    }

    fn is_over(&self) -> bool {
        self.store.stopped().is_some()
            || self.left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err()
    }

    /// A client's life.
    pub async fn client(&self, session: u32, seed: u64) {
        let mut rng = SplitMix64::new(seed);
        while !self.is_over() {
            turn().await;
            match rng.below(20) {
                0..3 => self.write_plainly(session, &mut rng).await,
                3 => self.read_plainly(session, &mut rng).await,
                _ => self.transact(session, &mut rng).await,
            }
        }
    }

    /// One piece of work until it commits, as the library's `transact` does it.
    async fn transact(&self, session: u32, rng: &mut SplitMix64) {
        let concurrency = match rng.below(5) {
            0 | 1 => Concurrency::Pessimistic,
            2 | 3 => Concurrency::Optimistic,
            _ => Concurrency::Snapshot,
        };
        let mut age = None;
        for _ in 0..100 {
            let mut doing = self.doing(session, self.level(rng));
            let mut txn = self.store.begin(TxnOptions { concurrency, age });
            age = Some(txn.age());
            let work = Work { life: self, how: concurrency, base: self.numbers.base() };
            let worked = work.run(&mut txn, rng, &mut doing.ops).await;
            if worked.is_ok() && rng.below(20) == 0 {
                drop(txn);
                return doing.end(Outcome::Aborted, None);
            }
            let ended = match worked {
                Ok(()) if concurrency != Concurrency::Snapshot && rng.below(12) == 0 => {
                    match self.prepare_and_decide(txn, &mut doing, rng).await {
                        Ok(None) => return doing.end(Outcome::Aborted, None),
                        Ok(Some(position)) => Ok(position),
                        Err(error) => Err(error),
                    }
                }
                Ok(()) => self.commit(txn, &mut doing, rng).await,
                Err(error) => Err(error),
            };
            doing.outcome(&ended);
            if !matches!(&ended, Err(e) if matches!(e.kind(), ErrorKind::Conflict | ErrorKind::Deadlock)) {
                return;
            }
            self.counts.again.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Commits, or aborts (`None`), in two steps as a participant of a distributed transaction.
    async fn prepare_and_decide(
        &self,
        txn: Transaction,
        doing: &mut Doing<'_, '_>,
        rng: &mut SplitMix64,
    ) -> Result<Option<Seq>> {
        let name = self.numbers.value();
        doing.is_written = true;
        let prepared = match txn.prepare(&name.to_be_bytes()).await {
            Ok(prepared) => prepared,
            Err(error) => {
                let vote = Vote { name, is_safe: false, is_decided: false };
                doing.vote = (error.kind() == ErrorKind::OutcomeUnknown).then_some(vote);
                return Err(error);
            }
        };
        let vote = doing.vote.insert(Vote { name, is_safe: false, is_decided: false });
        let level = [Level::Buffered, Level::Durable][rng.below(2) as usize];
        self.settle(prepared.ticket().position, level).await?;
        vote.is_safe = level == Level::Durable;
        turn().await;
        self.decide(prepared, doing, rng).await
    }

    async fn decide(
        &self,
        prepared: Prepared,
        doing: &mut Doing<'_, '_>,
        rng: &mut SplitMix64,
    ) -> Result<Option<Seq>> {
        if let Some(vote) = &mut doing.vote {
            vote.is_decided = true;
        }
        let commits = rng.below(3) > 0;
        let ticket = if commits { prepared.commit()? } else { prepared.abort()? };
        self.counts.decided.fetch_add(1, Ordering::Relaxed);
        self.settle(ticket.position, doing.level).await?;
        Ok(commits.then_some(ticket.position))
    }

    /// Decides what another life has left in doubt, while others may wait for it already.
    pub async fn coordinator(&self, doubts: Vec<Event>, seed: u64) {
        let mut rng = SplitMix64::new(seed);
        // All are in its hands from the start: if it dies, they are left to the next one.
        let mut doubts: Vec<Doing<'_, 'n>> = doubts
            .into_iter()
            .map(|event| Doing {
                start: event.txn.start,
                ops: event.txn.ops,
                is_written: true,
                vote: event.vote.map(|vote| Vote { is_safe: true, is_decided: false, ..vote }),
                ..self.doing(event.txn.session, self.level(&mut rng))
            })
            .collect();
        for doing in &mut doubts {
            for _ in 0..rng.below(20) {
                turn().await;
            }
            let Some(vote) = doing.vote else { continue };
            let ended = match self.store.resume(&vote.name.to_be_bytes()) {
                Ok(prepared) => self.decide(prepared, doing, &mut rng).await,
                Err(error) => Err(error),
            };
            self.counts.resumed.fetch_add(1, Ordering::Relaxed);
            match ended {
                Ok(None) => doing.end(Outcome::Aborted, None),
                Ok(Some(position)) => doing.end(Outcome::Committed, Some(position)),
                Err(_) => doing.end(Outcome::Unknown, None),
            }
        }
    }

    /// Commits in one step or in two, between which others get their turn.
    async fn commit(&self, txn: Transaction, doing: &mut Doing<'_, '_>, rng: &mut SplitMix64) -> Result<Seq> {
        if rng.below(3) == 0 {
            doing.is_written = true;
            let ticket = txn.commit().await?;
            self.settle(ticket.position, doing.level).await?;
            return Ok(ticket.position);
        }
        let ready = txn.ready().await?;
        if ready.batch.is_empty() {
            self.settle(ready.depends, doing.level).await?;
            return Ok(ready.depends);
        }
        if rng.below(2) == 0 {
            turn().await;
        }
        doing.is_written = true;
        let ticket = match rng.below(3) {
            0 => {
                let ticket = self.store.submit_locked(ready.batch, ready.locks)?;
                turn().await;
                turn().await;
                // It is acknowledged when it is visible.
                self.store.log_step().map_err(|e| e.with_kind(ErrorKind::OutcomeUnknown))?;
                ticket
            }
            1 => self.store.apply_locked(ready.batch, ready.locks)?,
            _ => {
                let ticket = self.store.apply(ready.batch)?;
                turn().await;
                drop(ready.locks);
                ticket
            }
        };
        self.settle(ticket.position, doing.level).await?;
        Ok(ticket.position)
    }

    /// A batch outside of any transaction.
    async fn write_plainly(&self, session: u32, rng: &mut SplitMix64) {
        let mut doing = self.doing(session, self.level(rng));
        let mut batch = WriteBatch::new();
        let base = self.numbers.base();
        for nth in 0..1 + rng.below(2) {
            let (key, value) = (base + 3 * nth + rng.below(3), self.numbers.value());
            match rng.below(4) {
                0 => {
                    batch.merge(self.logs, key.to_be_bytes(), value.to_be_bytes());
                    doing.ops.push(Op::Append { key: LOGS + key, value });
                }
                1 => self.doom(rng, &mut doing.ops, |from, to| batch.delete_range(self.lists, from, to)),
                _ => {
                    batch.put(self.lists, register(key), value.to_be_bytes());
                    doing.ops.push(Op::Write { key: REGISTERS + key, value });
                }
            }
        }
        let ended = self.apply_plainly(batch, &mut doing, rng).await;
        doing.outcome(&ended);
    }

    async fn apply_plainly(
        &self,
        batch: WriteBatch,
        doing: &mut Doing<'_, '_>,
        rng: &mut SplitMix64,
    ) -> Result<Seq> {
        let hold = self.store.hold(&batch).await?;
        if rng.below(4) == 0 {
            turn().await;
        }
        doing.is_written = true;
        let way = if hold.has_locks() { &self.counts.locked } else { &self.counts.passed };
        way.fetch_add(1, Ordering::Relaxed);
        let ticket = if rng.below(2) == 0 {
            hold.apply(batch)?
        } else {
            let ticket = hold.submit(batch)?;
            turn().await;
            // It is acknowledged when it is visible.
            let unknown = |e: Error| e.with_kind(ErrorKind::OutcomeUnknown);
            self.store.log_step().map_err(unknown)?;
            ticket
        };
        self.settle(ticket.position, doing.level).await?;
        Ok(ticket.position)
    }

    /// Chooses registers that nobody else deletes, and says that they are.
    fn doom(&self, rng: &mut SplitMix64, ops: &mut Vec<Op>, delete: impl FnOnce([u8; 9], [u8; 9])) {
        let end = self.numbers.doomed.load(Ordering::Relaxed);
        let first = self.numbers.dooms.fetch_add(DOOM, Ordering::Relaxed);
        if first + DOOM > end {
            return;
        }
        let to = first + 1 + rng.below(DOOM);
        ops.extend((first..to).map(|key| Op::Write { key: DOOMED + key, value: DEAD }));
        delete(doomed(first), doomed(to));
    }

    /// Reads outside of any transaction: each is one of its own.
    async fn read_plainly(&self, session: u32, rng: &mut SplitMix64) {
        let mut doing = self.doing(session, self.level(rng));
        let key = self.numbers.base() + rng.below(12);
        let read = |keyspace, name: &[u8]| self.store.get(keyspace, name, None);
        let read = match rng.below(3) {
            0 => read(self.lists, &key.to_be_bytes()).map(|answer| {
                let values = decode(&answer.value.unwrap_or_default());
                (answer.depends, Op::List { key, values })
            }),
            1 => read(self.logs, &key.to_be_bytes()).map(|answer| {
                let values = decode(&answer.value.unwrap_or_default());
                (answer.depends, Op::List { key: LOGS + key, values })
            }),
            _ => read(self.lists, &register(key)).map(|answer| {
                let value = answer.value.map(|bytes| number(&bytes));
                (answer.depends, Op::Read { key: REGISTERS + key, value })
            }),
        };
        let ended = match read {
            Ok((depends, op)) => {
                doing.ops.push(op);
                self.settle(depends, doing.level).await.map(|()| depends)
            }
            Err(error) => Err(error),
        };
        doing.outcome(&ended);
    }
}

/// What a transaction does.
struct Work<'l, 'n> {
    life: &'l Life<'n>,
    how: Concurrency,
    base: u64,
}

impl Work<'_, '_> {
    async fn run(&self, txn: &mut Transaction, rng: &mut SplitMix64, ops: &mut Vec<Op>) -> Result<()> {
        for _ in 0..1 + rng.below(5) {
            turn().await;
            let key = self.base + if rng.below(4) == 0 { 0 } else { rng.below(12) };
            let may_write = self.how != Concurrency::Snapshot;
            match rng.below(20) {
                0 | 1 => self.scan(txn, rng, ops).await?,
                2 => self.scan_registers(txn, rng, ops).await?,
                3 | 4 => self.look_at_doomed(txn, rng, ops).await?,
                5..8 => self.read_list(txn, key, rng, ops).await?,
                8 if may_write => self.rewrite(txn, rng, ops).await?,
                9..11 if may_write => self.merge(txn, key, rng, ops).await?,
                11..14 => self.register_work(txn, rng, ops).await?,
                14 if may_write => self.delete_doomed(txn, rng, ops).await?,
                _ if may_write => self.append(txn, key, rng, ops).await?,
                _ => {}
            }
        }
        Ok(())
    }

    async fn read_list(
        &self,
        txn: &mut Transaction,
        key: u64,
        rng: &mut SplitMix64,
        ops: &mut Vec<Op>,
    ) -> Result<()> {
        let (keyspace, name) =
            if rng.below(3) == 0 { (self.life.logs, LOGS + key) } else { (self.life.lists, key) };
        let found = txn.get(keyspace, &key.to_be_bytes()).await?;
        ops.push(Op::List { key: name, values: decode(&found.unwrap_or_default()) });
        Ok(())
    }

    async fn append(
        &self,
        txn: &mut Transaction,
        key: u64,
        rng: &mut SplitMix64,
        ops: &mut Vec<Op>,
    ) -> Result<()> {
        let (lists, name) = (self.life.lists, key.to_be_bytes());
        let found = match rng.below(3) {
            0 => txn.get(lists, &name).await?,
            _ => txn.get_for_update(lists, &name).await?,
        };
        let mut values = decode(&found.unwrap_or_default());
        ops.push(Op::List { key, values: values.clone() });
        turn().await;
        let value = self.life.numbers.value();
        values.push(value);
        txn.put(lists, &name, &encode(&values)).await?;
        ops.push(Op::Append { key, value });
        if rng.below(10) == 0 {
            self.take_back(txn, key, &mut values).await?;
        }
        Ok(())
    }

    /// Adds to a log without looking; sometimes it looks at its own addition.
    async fn merge(
        &self,
        txn: &mut Transaction,
        key: u64,
        rng: &mut SplitMix64,
        ops: &mut Vec<Op>,
    ) -> Result<()> {
        let value = self.life.numbers.value();
        txn.merge(self.life.logs, &key.to_be_bytes(), &value.to_be_bytes()).await?;
        ops.push(Op::Append { key: LOGS + key, value });
        if rng.below(5) == 0 {
            let found = txn.get(self.life.logs, &key.to_be_bytes()).await?;
            ops.push(Op::List { key: LOGS + key, values: decode(&found.unwrap_or_default()) });
        }
        Ok(())
    }

    /// Reads a register, and mostly replaces it.
    async fn register_work(
        &self,
        txn: &mut Transaction,
        rng: &mut SplitMix64,
        ops: &mut Vec<Op>,
    ) -> Result<()> {
        let key = self.base + rng.below(6);
        let found = txn.get(self.life.lists, &register(key)).await?;
        ops.push(Op::Read { key: REGISTERS + key, value: found.map(|bytes| number(&bytes)) });
        if self.how != Concurrency::Snapshot && rng.below(3) > 0 {
            turn().await;
            let value = self.life.numbers.value();
            txn.put(self.life.lists, &register(key), &value.to_be_bytes()).await?;
            ops.push(Op::Write { key: REGISTERS + key, value });
        }
        Ok(())
    }

    /// Writes something that a savepoint undoes: nobody may ever see it.
    async fn take_back(&self, txn: &mut Transaction, key: u64, values: &mut Vec<u64>) -> Result<()> {
        let lists = self.life.lists;
        txn.set_savepoint();
        values.push(u64::MAX);
        txn.put(lists, &key.to_be_bytes(), &encode(values)).await?;
        txn.delete(lists, &(key + 1).to_be_bytes()).await?;
        txn.delete_range(lists, &(key + 2).to_be_bytes(), &(key + 4).to_be_bytes()).await?;
        txn.merge(self.life.logs, &key.to_be_bytes(), &u64::MAX.to_be_bytes()).await?;
        txn.rollback_to_savepoint()
    }

    /// A range of lists or of logs, in either direction, to its end or to a limit.
    async fn scan(&self, txn: &mut Transaction, rng: &mut SplitMix64, ops: &mut Vec<Op>) -> Result<()> {
        let (mut from, mut to) = (self.base + rng.below(6), self.base + 6 + rng.below(8));
        let reverse = rng.below(2) == 0;
        let limit = if rng.below(2) == 0 { usize::MAX } else { 1 + rng.below(3) as usize };
        let (keyspace, names) = if rng.below(3) == 0 { (self.life.logs, LOGS) } else { (self.life.lists, 0) };
        let found = txn.scan(keyspace, &from.to_be_bytes(), Some(&to.to_be_bytes()), reverse, limit).await?;
        let mut found: Vec<(u64, Vec<u64>)> =
            found.iter().map(|(key, value)| (number(key), decode(value))).collect();
        let is_sorted = found.windows(2).all(|pair| (pair[0].0 < pair[1].0) != reverse);
        assert!(is_sorted && found.len() <= limit, "not in its order: {found:?}");
        // A scan that stopped at its limit says nothing of what lies behind.
        if found.len() == limit {
            match (reverse, found.last()) {
                (false, Some((last, _))) => to = last + 1,
                (true, Some((last, _))) => from = *last,
                _ => {}
            }
        }
        found.sort_unstable();
        found.iter_mut().for_each(|(key, _)| *key += names);
        ops.push(Op::ScanLists { from: names + from, to: names + to, found });
        Ok(())
    }

    async fn scan_registers(
        &self,
        txn: &mut Transaction,
        rng: &mut SplitMix64,
        ops: &mut Vec<Op>,
    ) -> Result<()> {
        let (from, to) = (self.base + rng.below(3), self.base + 3 + rng.below(6));
        let found =
            txn.scan(self.life.lists, &register(from), Some(&register(to)), false, usize::MAX).await?;
        let found = found.iter().map(|(key, value)| (REGISTERS + number(&key[1..]), number(value))).collect();
        ops.push(Op::ScanValues { from: REGISTERS + from, to: REGISTERS + to, found });
        Ok(())
    }

    /// Doomed registers around the place where deletion is.
    async fn look_at_doomed(
        &self,
        txn: &mut Transaction,
        rng: &mut SplitMix64,
        ops: &mut Vec<Op>,
    ) -> Result<()> {
        let numbers = self.life.numbers;
        let (next, end) = (numbers.dooms.load(Ordering::Relaxed), numbers.doomed.load(Ordering::Relaxed));
        let from = (next + rng.below(8)).saturating_sub(8).min(end - 1);
        // Now and then more than a scan looks at in one piece.
        let long = if rng.below(8) == 0 { 150 } else { 8 };
        let to = (from + 1 + rng.below(long)).min(end);
        if rng.below(2) == 0 {
            let (name, until) = (doomed(from), doomed(to));
            let found = txn.scan(self.life.lists, &name, Some(&until), rng.below(2) == 0, usize::MAX).await?;
            let mut found: Vec<(u64, u64)> =
                found.iter().map(|(key, value)| (number(&key[1..]), number(value))).collect();
            found.sort_unstable();
            ops.push(self.life.saw_doomed(from, to, &found));
            return Ok(());
        }
        let found = txn.get(self.life.lists, &doomed(from)).await?;
        ops.push(Op::Read { key: DOOMED + from, value: Some(found.map_or(DEAD, |bytes| number(&bytes))) });
        if self.how != Concurrency::Snapshot && rng.below(3) == 0 {
            let value = numbers.value();
            txn.put(self.life.lists, &doomed(from), &value.to_be_bytes()).await?;
            ops.push(Op::Write { key: DOOMED + from, value });
        }
        Ok(())
    }

    async fn delete_doomed(
        &self,
        txn: &mut Transaction,
        rng: &mut SplitMix64,
        ops: &mut Vec<Op>,
    ) -> Result<()> {
        let mut range = None;
        let before = ops.len();
        self.life.doom(rng, ops, |from, to| range = Some((from, to)));
        let Some((from, to)) = range else { return Ok(()) };
        if rng.below(2) == 0 {
            return txn.delete_range(self.life.lists, &from, &to).await;
        }
        for nth in 0..(ops.len() - before) as u64 {
            txn.delete(self.life.lists, &doomed(number(&from[1..]) + nth)).await?;
        }
        Ok(())
    }

    /// Deletes a range of lists at once and puts them back, each with one value more.
    async fn rewrite(&self, txn: &mut Transaction, rng: &mut SplitMix64, ops: &mut Vec<Op>) -> Result<()> {
        let lists = self.life.lists;
        let from = self.base + rng.below(8);
        let to = from + 1 + rng.below(3);
        let found = txn.scan(lists, &from.to_be_bytes(), Some(&to.to_be_bytes()), false, usize::MAX).await?;
        let found: Vec<(u64, Vec<u64>)> =
            found.iter().map(|(key, value)| (number(key), decode(value))).collect();
        ops.push(Op::ScanLists { from, to, found: found.clone() });
        txn.delete_range(lists, &from.to_be_bytes(), &to.to_be_bytes()).await?;
        if rng.below(4) == 0 {
            let left = txn.scan(lists, &from.to_be_bytes(), Some(&to.to_be_bytes()), false, 1).await?;
            assert!(left.is_empty(), "a transaction sees what it deleted");
            assert!(
                txn.get(lists, &from.to_be_bytes()).await?.is_none(),
                "a transaction sees what it deleted"
            );
        }
        for (key, mut values) in found {
            turn().await;
            let value = self.life.numbers.value();
            values.push(value);
            txn.put(lists, &key.to_be_bytes(), &encode(&values)).await?;
            ops.push(Op::Append { key, value });
        }
        Ok(())
    }
}
