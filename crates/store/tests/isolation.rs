//! Concurrent transactions of every kind on one store; what their clients saw goes to the isolation
//! checker, which knows nothing of how the store works.
//!
//! Keys hold lists of numbers, to which transactions append. Keys rotate, so that lists stay short and new
//! keys appear under scans; a few are hot. Others hold one number each: those are also written without a
//! transaction, by batches that know of transactions only what [`Store::hold`] tells them.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{MODES, Machine, small};
use ringfort_base::{ErrorKind, KeyspaceId, Level, Result};
use ringfort_checker::{Op, Order, Outcome, Report, Txn, check};
use ringfort_store::txn::locks::Mode as Lock;
use ringfort_store::txn::transaction::{Concurrency, Transaction, TxnOptions};
use ringfort_store::{Store, WriteBatch};
use ringfort_trust::keyfile::Mode;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

/// Wakes a thread.
struct Parked(thread::Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a lock as an embedded caller does.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Parked(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// What the clients of a run share.
struct Run {
    store: Store,
    ks: KeyspaceId,
    /// One clock for all: a number per event.
    clock: AtomicU64,
    values: AtomicU64,
    history: Mutex<Vec<Txn>>,
    /// How often a transaction was begun again.
    again: AtomicU64,
    /// Plain writes that went past the lock table, and such that took locks.
    passed: AtomicU64,
    locked: AtomicU64,
}

const CLIENTS: u32 = 6;
/// The checker's names of registers begin here; lists are below.
const REGISTERS: u64 = 1 << 40;

fn encode(list: &[u64]) -> Vec<u8> {
    list.iter().flat_map(|value| value.to_be_bytes()).collect()
}

fn decode(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks(8).map(|chunk| u64::from_be_bytes(chunk.try_into().unwrap())).collect()
}

impl Run {
    fn new(store: Store) -> Self {
        let ks = store.create_keyspace("lists", small()).unwrap();
        let zero = || AtomicU64::new(0);
        Self {
            store,
            ks,
            clock: zero(),
            values: zero(),
            history: Mutex::default(),
            again: zero(),
            passed: zero(),
            locked: zero(),
        }
    }

    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn client(&self, session: u32, seed: u64, txns: u64) {
        let mut rng = Rng(seed.wrapping_mul(97) + u64::from(session));
        for _ in 0..txns {
            if rng.below(5) == 0 {
                self.write_plainly(session, &mut rng);
                continue;
            }
            let concurrency = match rng.below(5) {
                0 | 1 => Concurrency::Pessimistic,
                2 | 3 => Concurrency::Optimistic,
                _ => Concurrency::Snapshot,
            };
            let mut age = None;
            // The same kind of work until it commits, as `transact` does it.
            for _ in 0..100 {
                let start = self.now();
                let mut txn = self.store.begin(TxnOptions { concurrency, age });
                age = Some(txn.age());
                let mut ops = Vec::new();
                let worked = self.work(&mut txn, concurrency, &mut rng, &mut ops);
                let rolls_back = rng.below(20) == 0;
                let committed = match worked {
                    Ok(()) if !rolls_back => block_on(txn.commit()).map(drop),
                    other => other,
                };
                let outcome = match &committed {
                    Ok(()) if rolls_back => Outcome::Aborted,
                    Ok(()) => Outcome::Committed,
                    Err(e) => {
                        assert!(matches!(e.kind(), ErrorKind::Conflict | ErrorKind::Deadlock), "{e}");
                        Outcome::Aborted
                    }
                };
                self.history.lock().unwrap().push(Txn { session, start, end: self.now(), outcome, ops });
                if committed.is_ok() {
                    break;
                }
                self.again.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The name of a register, as the store and as the checker know it.
    fn register(base: u64, rng: &mut Rng) -> (u64, [u8; 9]) {
        let key = base + rng.below(3);
        let mut name = [u8::MAX; 9];
        name[1..].copy_from_slice(&key.to_be_bytes());
        (REGISTERS + key, name)
    }

    fn base(&self) -> u64 {
        self.values.load(Ordering::Relaxed) / 200 * 4
    }

    /// One or two registers in a batch, outside of any transaction.
    fn write_plainly(&self, session: u32, rng: &mut Rng) {
        let (mut batch, mut ops) = (WriteBatch::new(), Vec::new());
        let start = self.now();
        for nth in 0..1 + rng.below(2) {
            let (key, name) = Self::register(self.base() + 3 * nth, rng);
            let value = self.values.fetch_add(1, Ordering::Relaxed);
            batch.put(self.ks, name, value.to_be_bytes());
            ops.push(Op::Write { key, value });
        }
        let hold = block_on(self.store.hold(&batch)).unwrap();
        if hold.has_locks() {
            self.locked.fetch_add(1, Ordering::Relaxed);
            hold.apply(batch).unwrap();
        } else {
            self.passed.fetch_add(1, Ordering::Relaxed);
            // Whoever begins a transaction makes it visible; for the others' reads it must be before the end.
            hold.submit(batch).unwrap();
            self.store.log_step().unwrap();
        }
        let end = self.now();
        self.history.lock().unwrap().push(Txn { session, start, end, outcome: Outcome::Committed, ops });
    }

    fn work(&self, txn: &mut Transaction, how: Concurrency, rng: &mut Rng, ops: &mut Vec<Op>) -> Result<()> {
        let base = self.base();
        for _ in 0..1 + rng.below(5) {
            let key = if rng.below(4) == 0 { base } else { base + rng.below(12) };
            match rng.below(8) {
                6 | 7 => self.register_work(txn, how, base, rng, ops)?,
                0 => ops.push(self.scan(txn, base, rng)?),
                1 | 2 => {
                    let values = decode(&block_on(txn.get(self.ks, &key.to_be_bytes()))?.unwrap_or_default());
                    ops.push(Op::List { key, values });
                }
                _ if how == Concurrency::Snapshot => {}
                n => {
                    let name = key.to_be_bytes();
                    let found = match n {
                        3 => block_on(txn.get(self.ks, &name))?,
                        _ => block_on(txn.get_for_update(self.ks, &name))?,
                    };
                    let mut values = decode(&found.unwrap_or_default());
                    ops.push(Op::List { key, values: values.clone() });
                    let value = self.values.fetch_add(1, Ordering::Relaxed);
                    values.push(value);
                    block_on(txn.put(self.ks, &name, &encode(&values)))?;
                    ops.push(Op::Append { key, value });
                    if rng.below(10) == 0 {
                        self.take_back(txn, key, &mut values)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads a register, and mostly replaces it.
    fn register_work(
        &self,
        txn: &mut Transaction,
        how: Concurrency,
        base: u64,
        rng: &mut Rng,
        ops: &mut Vec<Op>,
    ) -> Result<()> {
        let (key, name) = Self::register(base + rng.below(4), rng);
        let found = block_on(txn.get(self.ks, &name))?;
        ops.push(Op::Read {
            key,
            value: found.map(|bytes| u64::from_be_bytes(bytes[..].try_into().unwrap())),
        });
        if how != Concurrency::Snapshot && rng.below(3) > 0 {
            let value = self.values.fetch_add(1, Ordering::Relaxed);
            block_on(txn.put(self.ks, &name, &value.to_be_bytes()))?;
            ops.push(Op::Write { key, value });
        }
        Ok(())
    }

    /// Writes something that a savepoint undoes: nobody may ever see it.
    fn take_back(&self, txn: &mut Transaction, key: u64, values: &mut Vec<u64>) -> Result<()> {
        txn.set_savepoint();
        values.push(u64::MAX);
        block_on(txn.put(self.ks, &key.to_be_bytes(), &encode(values)))?;
        block_on(txn.delete(self.ks, &(key + 1).to_be_bytes()))?;
        txn.rollback_to_savepoint()
    }

    fn scan(&self, txn: &mut Transaction, base: u64, rng: &mut Rng) -> Result<Op> {
        let (mut from, mut to) = (base + rng.below(6), base + 6 + rng.below(8));
        let reverse = rng.below(2) == 0;
        let limit = if rng.below(2) == 0 { usize::MAX } else { 1 + rng.below(3) as usize };
        let found =
            block_on(txn.scan(self.ks, &from.to_be_bytes(), Some(&to.to_be_bytes()), reverse, limit))?;
        let mut found: Vec<(u64, Vec<u64>)> = found
            .iter()
            .map(|(key, value)| (u64::from_be_bytes(key[..].try_into().unwrap()), decode(value)))
            .collect();
        // A scan that stopped at its limit says nothing of what lies behind.
        if found.len() == limit {
            match (reverse, found.last()) {
                (false, Some((last, _))) => to = last + 1,
                (true, Some((last, _))) => from = *last,
                _ => {}
            }
        }
        found.sort_unstable();
        Ok(Op::ScanLists { from, to, found })
    }

    fn check(&self, order: Order) -> Report {
        let mut history = self.history.lock().unwrap();
        history.sort_by_key(|txn| txn.start);
        check(&history, order).unwrap()
    }
}

fn run(mode: Mode, seed: u64, txns: u64) {
    let machine = Machine::new(mode, seed);
    let run = Run::new(machine.open().unwrap());
    thread::scope(|scope| {
        let run = &run;
        for session in 0..CLIENTS {
            scope.spawn(move || run.client(session, seed, txns));
        }
        scope.spawn(move || {
            // Flushes and compactions move under the transactions.
            while run.history.lock().unwrap().len() < (txns * u64::from(CLIENTS)) as usize {
                run.store.flush(None).unwrap();
                while run.store.maintenance_step().unwrap() == ringfort_store::Step::Worked {}
                thread::yield_now();
            }
        });
    });
    let report = run.check(Order::RealTime);
    assert!(report.is_clean(), "{mode:?}, seed {seed}: {report}");
    assert!(report.reads as u64 > txns, "{report}");
    assert!(run.again.load(Ordering::Relaxed) > 0, "nothing ever conflicted: {report}");
    assert!(run.locked.load(Ordering::Relaxed) > 0, "no plain write ever met a transaction: {report}");
}

#[test]
fn transactions_of_all_kinds_are_strictly_serializable_in_every_mode() {
    let long = std::env::var_os("RINGFORT_LONG").is_some_and(|v| v == "1");
    for mode in MODES {
        for seed in 1..=3 {
            run(mode, seed, if long { 20_000 } else { 700 });
        }
    }
}

/// A long report must not make every other write take locks.
#[test]
fn only_who_may_write_keeps_plain_writes_at_the_lock_table() {
    let machine = Machine::new(MODES[0], 9);
    let store = machine.open().unwrap();
    let ks = store.create_keyspace("ks", small()).unwrap();
    let mut batch = WriteBatch::new();
    batch.put(ks, b"k", b"v");
    let locks = || block_on(store.hold(&batch)).unwrap().has_locks();
    let begin = |concurrency| store.begin(TxnOptions { concurrency, age: None });
    let report = begin(Concurrency::Snapshot);
    assert!(!locks());
    for concurrency in [Concurrency::Pessimistic, Concurrency::Optimistic] {
        let writer = begin(concurrency);
        assert!(locks());
        let ready = block_on(writer.ready()).unwrap();
        assert!(locks(), "a write may come between what was read and what is going to be written");
        drop(ready);
        assert!(!locks());
    }
    drop(report);
}

/// The step from its last check to its place in the log is the one in which nobody may come between.
#[test]
fn who_is_ready_to_commit_still_keeps_plain_writes_at_the_lock_table() {
    let machine = Machine::new(MODES[0], 10);
    let store = machine.open().unwrap();
    let ks = store.create_keyspace("ks", small()).unwrap();
    let mut batch = WriteBatch::new();
    batch.put(ks, b"k", b"plain");
    for concurrency in [Concurrency::Pessimistic, Concurrency::Optimistic] {
        let mut txn = store.begin(TxnOptions { concurrency, age: None });
        block_on(txn.get(ks, b"k")).unwrap();
        block_on(txn.put(ks, b"k", b"transaction's")).unwrap();
        let ready = block_on(txn.ready()).unwrap();
        let mut hold = pin!(store.hold(&batch));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(hold.as_mut().poll(&mut cx).is_pending(), "{concurrency:?}: its update would be lost");
        drop(ready);
        assert!(matches!(hold.as_mut().poll(&mut cx), Poll::Ready(Ok(_))));
    }
}

/// A range that ends before it begins holds nothing, and says so to nobody else.
#[test]
fn a_range_that_ends_before_it_begins_is_empty() {
    let machine = Machine::new(MODES[0], 11);
    let store = machine.open().unwrap();
    let ks = store.create_keyspace("ks", small()).unwrap();
    let mut plain = WriteBatch::new();
    plain.put(ks, b"m", b"v");
    for concurrency in [Concurrency::Pessimistic, Concurrency::Optimistic] {
        let mut txn = store.begin(TxnOptions { concurrency, age: None });
        block_on(txn.delete_range(ks, b"z", b"a")).unwrap();
        block_on(txn.delete_range(ks, b"m", b"m")).unwrap();
        assert!(block_on(txn.scan(ks, b"z", Some(b"a"), false, 9)).unwrap().is_empty());
        block_on(store.hold(&plain)).unwrap().apply(plain.clone()).unwrap(); // it does not wait for the transaction
        block_on(txn.commit()).unwrap();
    }
    let _other = store.begin(TxnOptions::default());
    let mut backwards = WriteBatch::new();
    backwards.delete_range(ks, b"z", b"a");
    block_on(store.hold(&backwards)).unwrap().apply(backwards.clone()).unwrap();
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// R26: whoever writes the group gives the locks back, no earlier and no later.
#[test]
fn locks_are_given_back_by_the_group_that_makes_their_batch_visible() {
    let machine = Machine::new(MODES[0], 12);
    let store = machine.open().unwrap();
    let ks = store.create_keyspace("ks", small()).unwrap();
    let mut first = store.locks().owner(None);
    block_on(first.lock(ks, b"k", Lock::Exclusive)).unwrap();
    let mut batch = WriteBatch::new();
    batch.put(ks, b"k", b"v");
    let ticket = store.submit_locked(batch, first).unwrap();
    let mut reader = store.begin(TxnOptions::default());
    {
        let mut read = pin!(reader.get(ks, b"k"));
        // The transaction writes what is queued when it begins to read; so the first one here was visible then.
        let Poll::Ready(read) = poll(read.as_mut()) else { panic!("a lock that nobody releases") };
        assert_eq!(read.unwrap().as_deref(), Some(&b"v"[..]));
    }
    assert!(
        store.frontier(Level::Buffered) >= ticket.position
            && store.frontier(Level::Durable) < ticket.position
    );

    let mut second = store.locks().owner(None);
    block_on(second.lock(ks, b"l", Lock::Exclusive)).unwrap();
    let mut batch = WriteBatch::new();
    batch.put(ks, b"l", b"w");
    store.submit_locked(batch, second).unwrap();
    {
        let mut read = pin!(reader.get(ks, b"l"));
        assert!(poll(read.as_mut()).is_pending(), "a lock that was released before its batch is visible");
        store.log_step().unwrap();
        let Poll::Ready(read) = poll(read.as_mut()) else { panic!("a lock that outlives its group") };
        assert_eq!(read.unwrap().as_deref(), Some(&b"w"[..]));
    }
    // Nothing is to be written: nothing is to be waited for.
    let mut third = store.locks().owner(None);
    block_on(third.lock(ks, b"m", Lock::Exclusive)).unwrap();
    store.submit_locked(WriteBatch::new(), third).unwrap();
    drop(reader);
    assert_eq!(store.locks().held(), 0);
}

/// R11: who gets the lock of a batch that may or may not come back sees neither.
#[test]
fn who_gets_the_locks_of_a_stopped_store_finds_it_stopped() {
    let machine = Machine::new(MODES[0], 11);
    let store = machine.open().unwrap();
    let ks = store.create_keyspace("ks", small()).unwrap();
    let mut reader = store.begin(TxnOptions::default());
    assert!(block_on(reader.get(ks, b"other")).unwrap().is_none());
    let mut first = store.locks().owner(None);
    block_on(first.lock(ks, b"k", Lock::Exclusive)).unwrap();
    let mut batch = WriteBatch::new();
    batch.put(ks, b"k", b"v");
    store.submit_locked(batch.clone(), first).unwrap();
    {
        let mut read = pin!(reader.get(ks, b"k"));
        assert!(poll(read.as_mut()).is_pending());
        store.fail(ringfort_base::Error::new(ErrorKind::Io, "the disk is gone"));
        let Poll::Ready(read) = poll(read.as_mut()) else { panic!("nobody will ever release it") };
        assert_eq!(read.unwrap_err().kind(), ErrorKind::Stopped);
    }
    drop(reader);
    let mut late = store.locks().owner(None);
    block_on(late.lock(ks, b"k", Lock::Exclusive)).unwrap();
    assert_eq!(store.submit_locked(batch, late).unwrap_err().kind(), ErrorKind::Stopped);
    assert_eq!((store.locks().held(), store.queued_bytes()), (0, 0));
}
