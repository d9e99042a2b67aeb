//! Many threads on one store: whatever the interleaving, batches stay atomic, each writer's history
//! stays in order, counts are exact, and what was acknowledged survives.
//!
//! Here the operating system chooses the interleavings; `tests/interleaving.rs` enumerates those of
//! the small kernels.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;
#[path = "common/power.rs"]
mod power;

use common::{MODES, Machine, dump, settle, small};
use power::Power;
use ringfort_base::world::{Clock, Device, Disk, Entropy};
use ringfort_base::{ErrorKind, KeyspaceId, Level, Result, Seq};
use ringfort_fault::device::{DeviceFault, FaultDevice};
use ringfort_fault::memory::CrashChoice;
use ringfort_fault::script::Fault;
use ringfort_store::txn::locks::{Acquire, Mode as LockMode};
use ringfort_store::{KeyspaceOptions, Snapshot, Step, Store, World, WriteBatch};
use ringfort_trust::platform::sim::{SimDevice, SimPlatform};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;

const WRITERS: usize = 3;

/// Waits while other threads run the steps.
fn wait(store: &Store, position: Seq, level: Level) -> Result<()> {
    let mut wait = pin!(store.wait(position, level));
    loop {
        if let Poll::Ready(outcome) = wait.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return outcome;
        }
        thread::yield_now();
    }
}

/// What a run shares.
struct Arena {
    store: Store,
    ks: [KeyspaceId; 2],
    done: AtomicBool,
    /// Per writer: the highest round acknowledged as durable.
    durable: [AtomicU64; WRITERS],
}

impl Arena {
    fn new(store: Store) -> Self {
        let ks = ["a", "b"].map(|name| store.create_keyspace(name, small()).unwrap());
        Self { store, ks, done: AtomicBool::new(false), durable: Default::default() }
    }

    /// Round by round: the round's number in both keyspaces, an entry of its own, and a count.
    fn writer(&self, me: usize, rounds: u64) -> Result<()> {
        for round in 1..=rounds {
            let mut batch = WriteBatch::new();
            let number = round.to_be_bytes();
            batch.put(self.ks[0], format!("last/{me}"), number);
            batch.put(self.ks[1], format!("entry/{me}/{round:06}"), [round as u8; 100]);
            batch.put(self.ks[1], format!("last/{me}"), number);
            batch.count(self.ks[1], 1);
            if round % 16 == 0 {
                // Of the older entries only the last ten stay.
                let to = format!("entry/{me}/{:06}", round - 10);
                batch.delete_range(self.ks[1], format!("entry/{me}/"), to);
            }
            let ticket = self.store.apply(batch)?;
            assert!(self.store.frontier(Level::Buffered) >= ticket.position);
            if round % 7 == 0 {
                let level = if round % 2 == 0 { Level::Fresh } else { Level::Durable };
                wait(&self.store, ticket.position, level)?;
                assert!(self.store.frontier(level) >= ticket.position);
                self.durable[me].store(round, Ordering::SeqCst);
            }
        }
        Ok(())
    }

    fn last(&self, ks: usize, writer: usize, at: &Snapshot) -> Result<u64> {
        let answer = self.store.get(self.ks[ks], format!("last/{writer}").as_bytes(), Some(at))?;
        assert!(answer.depends <= at.position());
        Ok(answer.value.map_or(0, |value| u64::from_be_bytes(value[..].try_into().unwrap())))
    }

    /// One look through one snapshot: both sides agree, and the entries are those of the round.
    fn look(&self, seen: &mut [u64; WRITERS], reverse: bool) -> Result<()> {
        let snapshot = self.store.snapshot();
        for (writer, seen) in seen.iter_mut().enumerate() {
            let round = self.last(0, writer, &snapshot)?;
            assert_eq!(round, self.last(1, writer, &snapshot)?, "half a batch is visible");
            assert!(round >= *seen, "writer {writer} went back from {seen} to {round}");
            *seen = round;
            let (from, to) = (format!("entry/{writer}/"), format!("entry/{writer}0"));
            let mut rounds = Vec::new();
            for entry in
                self.store.iter(self.ks[1], from.as_bytes(), Some(to.as_bytes()), reverse, &snapshot)?
            {
                let (key, value) = entry?;
                let number: u64 = String::from_utf8_lossy(&key).rsplit('/').next().unwrap().parse().unwrap();
                assert_eq!(value, [number as u8; 100]);
                rounds.push(number);
            }
            if reverse {
                rounds.reverse();
            }
            let cut = round / 16 * 16;
            let oldest = if cut == 0 { 1 } else { cut - 10 };
            assert_eq!(rounds, (oldest..=round).collect::<Vec<_>>(), "writer {writer} at round {round}");
        }
        Ok(())
    }

    /// Without a snapshot: many keys at once are as of one moment all the same.
    fn look_at_once(&self, writer: usize, seen: &mut u64) -> Result<()> {
        let entry = |round: u64| format!("entry/{writer}/{round:06}");
        let keys: Vec<String> =
            std::iter::once(format!("last/{writer}")).chain((*seen..*seen + 20).map(entry)).collect();
        let answer = self.store.multi_get(self.ks[1], &keys, None)?;
        let Some(last) = &answer.value[0] else { return Ok(()) };
        let round = u64::from_be_bytes(last[..].try_into().unwrap());
        assert!(round >= *seen);
        let cut = round / 16 * 16;
        let oldest = if cut == 0 { 1 } else { cut - 10 };
        for (n, value) in (*seen..).zip(&answer.value[1..]) {
            assert_eq!(value.is_some(), (oldest..=round).contains(&n), "round {n} of {round}: half a batch");
        }
        *seen = round;
        Ok(())
    }

    /// Writers, readers, a log thread and a maintenance thread, until the writers are done.
    fn run(&self, rounds: u64) -> Vec<Result<()>> {
        thread::scope(|scope| {
            let writers: Vec<_> =
                (0..WRITERS).map(|me| scope.spawn(move || self.writer(me, rounds))).collect();
            let mut others = Vec::new();
            for reverse in [false, true] {
                others.push(scope.spawn(move || {
                    let mut seen = [0; WRITERS];
                    while !self.done.load(Ordering::SeqCst) {
                        self.look(&mut seen, reverse)?;
                        for (writer, seen) in seen.iter_mut().enumerate() {
                            self.look_at_once(writer, seen)?;
                        }
                    }
                    Ok(())
                }));
            }
            others.push(scope.spawn(|| {
                while !self.done.load(Ordering::SeqCst) {
                    let worked = [self.store.sync_step()?, self.store.anchor_step()?];
                    if worked == [Step::Idle, Step::Idle] {
                        thread::yield_now();
                    }
                }
                Ok(())
            }));
            others.push(scope.spawn(|| {
                while !self.done.load(Ordering::SeqCst) {
                    if self.store.maintenance_step()? == Step::Idle {
                        thread::yield_now();
                    }
                }
                Ok(())
            }));
            let mut outcomes: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
            self.done.store(true, Ordering::SeqCst);
            outcomes.extend(others.into_iter().map(|other| other.join().unwrap()));
            outcomes
        })
    }
}

#[test]
fn writers_readers_and_jobs_at_once() {
    let rounds = if std::env::var_os("RINGFORT_LONG").is_some_and(|v| v == "1") { 20_000 } else { 600 };
    for mode in MODES {
        let machine = Machine::new(mode, 1);
        let arena = Arena::new(machine.open().unwrap());
        for outcome in arena.run(rounds) {
            outcome.unwrap();
        }
        arena.look(&mut [rounds; WRITERS], false).unwrap();
        let total = rounds as i64 * WRITERS as i64;
        assert_eq!(arena.store.count(arena.ks[1]).unwrap().value, total);
        let before = arena.ks.map(|ks| dump(&arena.store, ks).unwrap());
        settle(&arena.store).unwrap();
        let statistics = arena.store.statistics();
        assert!(statistics.flushes > 2 && statistics.compactions > 0, "{statistics:?}");
        arena.store.verify_checksums().unwrap();
        arena.store.close().unwrap();
        drop(arena);
        let store = machine.open().unwrap();
        let ks = ["a", "b"].map(|name| store.keyspace(name).unwrap());
        assert!(ks.map(|ks| dump(&store, ks).unwrap()) == before);
        assert_eq!(store.count(ks[1]).unwrap().value, total);
    }
}

/// The first memtable of a keyspace is replaced once, by one that ranks its keys better.
#[test]
fn a_memtable_that_learns_hides_nothing() {
    const ENTRIES: u64 = 3_000;
    let store = Machine::new(MODES[0], 1).open().unwrap();
    let ks = store.create_keyspace("a", KeyspaceOptions::default()).unwrap();
    let key = |n: u64| format!("key:{n:012}").into_bytes();
    let mut batch = WriteBatch::new();
    batch.put(ks, key(ENTRIES + 7), b"gone");
    batch.delete_range(ks, key(ENTRIES + 5), key(ENTRIES + 10));
    store.apply(batch).unwrap();
    let look = |from: u64| {
        let snapshot = store.snapshot();
        let last = store.get(ks, b"last", Some(&snapshot)).unwrap().value;
        let written = last.map_or(0, |value| u64::from_be_bytes(value[..].try_into().unwrap()));
        let mut entries = store.iter(ks, b"key:", Some(b"kez"), false, &snapshot).unwrap();
        (0..written).for_each(|n| assert_eq!(entries.next().unwrap().unwrap().0, key(n), "of {written}"));
        assert!(entries.next().is_none());
        for n in from..written {
            assert!(store.get(ks, &key(n), Some(&snapshot)).unwrap().value.is_some(), "{n} of {written}");
        }
        written
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..ENTRIES {
                let mut batch = WriteBatch::new();
                batch.put(ks, key(n), b"value");
                batch.put(ks, b"last", (n + 1).to_be_bytes());
                batch.count(ks, 1);
                store.apply(batch).unwrap();
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                let mut written = 0;
                while written < ENTRIES {
                    written = look(written);
                }
            });
        }
    });
    assert_eq!(store.count(ks).unwrap().value, ENTRIES as i64);
    store.flush(None).unwrap();
    assert_eq!(look(0), ENTRIES);
}

/// The power goes in the middle of everything.
#[test]
fn a_power_cut_in_the_middle_of_it() {
    let cuts = if std::env::var_os("RINGFORT_LONG").is_some_and(|v| v == "1") { 300 } else { 12 };
    for mode in MODES {
        for n in 0..cuts {
            let machine = Machine::new(mode, n);
            let power = Power::default();
            let store = Store::open(power.world(&machine), machine.options()).unwrap();
            let arena = Arena::new(store);
            power.at_mutating(10 + n * 37, Fault::Freeze);
            let outcomes = arena.run(400);
            let kinds = [ErrorKind::OutcomeUnknown, ErrorKind::Stopped, ErrorKind::Io];
            for error in outcomes.into_iter().filter_map(Result::err) {
                assert!(kinds.contains(&error.kind()), "{mode}, {n}: {error:?}");
            }
            assert!(power.is_dead() && arena.store.stopped().is_some(), "{mode}, {n}");
            let promised: Vec<u64> = arena.durable.iter().map(|round| round.load(Ordering::SeqCst)).collect();
            drop(arena);
            let store = machine
                .after_power_cut(CrashChoice::Seeded(n))
                .open()
                .unwrap_or_else(|e| panic!("{mode}, {n}: {e}"));
            let arena = Arena::new(store);
            let mut left = [0; WRITERS];
            arena.look(&mut left, n % 2 == 0).unwrap();
            for (writer, (left, promised)) in left.iter().zip(&promised).enumerate() {
                assert!(
                    left >= promised,
                    "{mode}, {n}: writer {writer}: {left} rounds left of {promised} acknowledged"
                );
            }
            assert_eq!(arena.store.count(arena.ks[1]).unwrap().value, left.iter().sum::<u64>() as i64);
        }
    }
}

/// A world whose platform sits behind a bus that can hold back a reply.
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

/// Found by reading: while the first creation waited for its anchor, a second one of the same name did
/// not see it and made another keyspace.
#[test]
fn two_creations_of_one_name_make_one_keyspace() {
    let machine = Machine::new(MODES[0], 3);
    let (world, bus) = with_bus(&machine);
    let store = Store::open(world, machine.options()).unwrap();
    bus.next(DeviceFault::HoldReply);
    let ids: Vec<KeyspaceId> = thread::scope(|scope| {
        let create = || store.create_keyspace("same", small()).unwrap();
        let first = scope.spawn(create);
        while bus.held() == 0 {
            thread::yield_now();
        }
        let second = scope.spawn(create);
        // It has every chance to go wrong before the first one is answered.
        (0..2000).for_each(|_| thread::yield_now());
        bus.release();
        [first, second].map(|thread| thread.join().unwrap()).into()
    });
    assert_eq!(ids[0], ids[1]);
    assert_eq!(store.keyspaces().len(), 1);
}

/// Batches for a keyspace that is being dropped are in the log before the drop's position or not at
/// all; so its key can be forgotten, and the log replayed without it.
#[test]
fn a_keyspace_is_dropped_under_its_writers() {
    for mode in MODES {
        let machine = Machine::new(mode, 4);
        let store = machine.open().unwrap();
        let stays = store.create_keyspace("stays", small()).unwrap();
        for round in 0..12u32 {
            let doomed = store.create_keyspace("doomed", small()).unwrap();
            let written = AtomicU64::new(0);
            thread::scope(|scope| {
                for me in 0..2 {
                    let (store, written) = (&store, &written);
                    scope.spawn(move || {
                        for i in 0u32.. {
                            let mut batch = WriteBatch::new();
                            batch.put(doomed, format!("{me}/{i}"), vec![7; 300]);
                            batch.put(stays, format!("{round}/{me}"), i.to_be_bytes());
                            match store.apply(batch) {
                                Ok(_) => written.fetch_add(1, Ordering::SeqCst),
                                Err(e) if e.kind() == ErrorKind::NotFound => break,
                                Err(e) => panic!("{e}"),
                            };
                        }
                    });
                }
                scope.spawn(|| {
                    while written.load(Ordering::SeqCst) < 150 {
                        store.maintenance_step().unwrap();
                        thread::yield_now();
                    }
                    crate::common::now(store.drop_keyspace("doomed")).unwrap();
                });
            });
            store.flush(None).unwrap();
            settle(&store).unwrap();
        }
        let expected = dump(&store, stays).unwrap();
        drop(store);
        let store = machine.after_kill().open().unwrap();
        assert!(dump(&store, stays).unwrap() == expected);
        assert_eq!(store.keyspaces().len(), 1);
    }
}

/// Nobody who hands a batch in waits for the group's leader, and none is left behind: who led looks once more when
/// he has given the log up, or calls a worker. Its locks go with it, so that the next on the same key gets there.
#[test]
fn what_is_handed_in_is_led_by_somebody() {
    const THREADS: u64 = 4;
    const EACH: u64 = 400;
    let machine = Machine::new(MODES[0], 4);
    let store = machine.open().unwrap();
    let ks = store.create_keyspace("ks", small()).unwrap();
    let called = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&called);
    let count = move || {
        counts.fetch_add(1, Ordering::SeqCst);
    };
    store.on_work(Box::new(count), Box::new(|| {}));
    let newest = AtomicU64::new(0);
    for round in 0..20 {
        let before = called.load(Ordering::SeqCst);
        let is_called = || called.load(Ordering::SeqCst) > before;
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (store, newest) = (&store, &newest);
                scope.spawn(move || {
                    for n in 0..EACH / 20 {
                        // One key for all: each waits for a lock that went with another's batch.
                        let mut locks = store.locks().owner(None);
                        take(store, locks.lock(ks, b"all", LockMode::Exclusive), is_called);
                        let mut batch = WriteBatch::new();
                        batch.put(ks, format!("{round}/{thread}/{n}"), b"v");
                        let ticket = store.hand_in(batch, locks).unwrap();
                        newest.fetch_max(ticket.position.0, Ordering::SeqCst);
                    }
                });
            }
        });
        let is_all_written = store.frontier(Level::Buffered).0 >= newest.load(Ordering::SeqCst);
        assert!(is_all_written || is_called(), "nobody leads what is queued");
    }
    store.log_step().unwrap();
    assert_eq!(store.locks().held(), 0);
    assert_eq!(dump(&store, ks).unwrap().len() as u64, THREADS * EACH);
}

/// Waits for a lock, running a step of the log only if a worker was called for that.
fn take(store: &Store, lock: Acquire<'_>, is_called: impl Fn() -> bool) {
    let mut lock = pin!(lock);
    for _ in 0..10_000_000 {
        if let Poll::Ready(taken) = lock.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return taken.unwrap();
        }
        if is_called() {
            store.log_step().unwrap();
        }
        thread::yield_now();
    }
    panic!("nobody leads what is queued");
}
