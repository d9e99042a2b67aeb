//! Prepared transactions (R10, R26): a vote outlives every crash, locks stay until the decision, and neither flushes,
//! nor the log's limit, nor another life make a difference.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{MODES, Machine, commit, dump, get, now, poll, put, settle, small, wait};
use ringfort_base::{ErrorKind, KeyspaceId, Level, Result};
use ringfort_fault::memory::CrashChoice;
use ringfort_store::txn::locks::Mode as Lock;
use ringfort_store::txn::prepared::Prepared;
use ringfort_store::txn::transaction::{Concurrency, Transaction, TxnOptions};
use ringfort_store::{Checkpoint, MergeOperators, Store, StoreOptions, WriteBatch};
use ringfort_trust::keyfile::Mode;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

fn waits<F: Future>(future: F) -> bool {
    poll(future).is_pending()
}

fn begin(store: &Store, concurrency: Concurrency) -> Transaction {
    store.begin(TxnOptions { concurrency, ..TxnOptions::default() })
}

fn keyspaces(store: &Store) -> [KeyspaceId; 2] {
    ["a", "b"].map(|name| store.create_keyspace(name, small()).unwrap())
}

/// Reads `x` of the first keyspace, writes `k` in both, deletes the range `r..s` and counts.
fn prepare(store: &Store, [a, b]: [KeyspaceId; 2], name: &[u8], how: Concurrency) -> Result<Prepared> {
    let mut txn = begin(store, how);
    now(txn.get(a, b"x"))?;
    now(txn.scan(b, b"m", Some(b"n"), false, usize::MAX))?;
    now(txn.put(a, b"k", b"of a"))?;
    now(txn.put(b, b"k", b"of b"))?;
    now(txn.delete_range(a, b"r", b"s"))?;
    txn.count(b, 3);
    now(txn.prepare(name))
}

/// A plain write of `key` waits for a transaction.
fn is_locked(store: &Store, ks: KeyspaceId, key: &[u8]) -> bool {
    let mut batch = WriteBatch::new();
    batch.put(ks, key, b"plain");
    waits(store.hold(&batch))
}

/// Whether another transaction would wait for a lock on the key.
fn excludes(store: &Store, ks: KeyspaceId, key: &[u8], mode: Lock) -> bool {
    let mut txn = begin(store, Concurrency::Pessimistic);
    match mode {
        Lock::Shared => waits(txn.get(ks, key)),
        Lock::Exclusive => waits(txn.get_for_update(ks, key)),
    }
}

/// What everybody sees of a transaction of [`prepare`] in doubt.
fn check_in_doubt(store: &Store, [a, b]: [KeyspaceId; 2], names: &[&[u8]]) {
    let listed: Vec<Vec<u8>> = store.prepared().into_iter().map(|txn| txn.name).collect();
    assert_eq!(listed, names);
    assert_eq!(store.statistics().in_doubt, names.len() as u64);
    assert_eq!(get(store, a, b"k").unwrap(), None, "nothing is visible before the decision");
    assert_eq!(store.count(b).unwrap().value, 0);
    for (ks, key) in [(a, &b"k"[..]), (b, b"k"), (a, b"r"), (a, b"rr"), (a, b"x"), (b, b"m"), (b, b"mm")] {
        assert!(is_locked(store, ks, key), "a plain write of {key:?} waits");
        assert!(excludes(store, ks, key, Lock::Exclusive), "{key:?}");
    }
    for (ks, key) in [(a, &b"k"[..]), (b, b"k"), (a, b"rr")] {
        assert!(excludes(store, ks, key, Lock::Shared), "what is written is not read: {key:?}");
    }
    for (ks, key) in [(a, &b"x"[..]), (b, b"mm"), (a, b"s"), (b, b"n")] {
        assert!(!excludes(store, ks, key, Lock::Shared), "what was read is read by others: {key:?}");
    }
    for (ks, key) in [(b, &b"x"[..]), (a, b"m"), (b, b"rr"), (a, b"s"), (b, b"n")] {
        assert!(!is_locked(store, ks, key), "no other lock stays: {key:?}");
    }
}

fn check_decided(store: &Store, [a, b]: [KeyspaceId; 2], committed: bool) {
    assert!(store.prepared().is_empty());
    let value = |text: &[u8]| committed.then(|| text.to_vec());
    assert_eq!(get(store, a, b"k").unwrap(), value(b"of a"));
    assert_eq!(get(store, b, b"k").unwrap(), value(b"of b"));
    assert_eq!(get(store, a, b"rr").unwrap().is_none(), committed);
    assert_eq!(store.count(b).unwrap().value, if committed { 3 } else { 0 });
    for (ks, key) in [(a, &b"k"[..]), (b, b"k"), (a, b"rr"), (a, b"x"), (b, b"m")] {
        assert!(!is_locked(store, ks, key), "{key:?} is still locked");
    }
}

fn filled(store: &Store) -> [KeyspaceId; 2] {
    let ids = keyspaces(store);
    put(store, ids[0], b"rr", b"in the range", Level::Fresh).unwrap();
    ids
}

#[test]
fn a_decision_is_what_ends_it() {
    for mode in MODES {
        for how in [Concurrency::Pessimistic, Concurrency::Optimistic] {
            for commits in [true, false] {
                let machine = Machine::new(mode, 1);
                let store = machine.open().unwrap();
                let ids = filled(&store);
                let prepared = prepare(&store, ids, b"t", how).unwrap();
                assert_eq!(prepared.name(), b"t");
                check_in_doubt(&store, ids, &[b"t"]);
                drop(prepared);
                check_in_doubt(&store, ids, &[b"t"]);
                let prepared = store.resume(b"t").unwrap();
                let late = store.resume(b"t").unwrap();
                let ticket = if commits { prepared.commit() } else { prepared.abort() }.unwrap();
                check_decided(&store, ids, commits);
                wait(&store, ticket.position, Level::Fresh).unwrap();
                // The name is free, and an old handle is not the new transaction's.
                let mut txn = begin(&store, how);
                now(txn.put(ids[0], b"new", b"new")).unwrap();
                let again = now(txn.prepare(b"t")).unwrap();
                assert_eq!(late.commit().unwrap_err().kind(), ErrorKind::NotFound);
                assert_eq!(get(&store, ids[0], b"new").unwrap(), None);
                again.commit().unwrap();
                assert_eq!(get(&store, ids[0], b"new").unwrap().as_deref(), Some(&b"new"[..]));
                assert_eq!(store.resume(b"t").err().map(|e| e.kind()), Some(ErrorKind::NotFound));
            }
        }
    }
}

#[test]
fn what_cannot_be_prepared_is_refused_and_leaves_nothing() {
    let machine = Machine::new(MODES[0], 2);
    let store = machine.open().unwrap();
    let ids = filled(&store);
    let kind = |result: Result<Prepared>| result.err().map(|e| e.kind());
    let txn = |key: &[u8]| {
        let mut txn = begin(&store, Concurrency::Pessimistic);
        now(txn.put(ids[0], key, b"v")).unwrap();
        txn
    };
    assert_eq!(kind(now(txn(b"1").prepare(b""))), Some(ErrorKind::Invalid));
    assert_eq!(kind(now(txn(b"1").prepare(&[7; 129]))), Some(ErrorKind::Invalid));
    let snapshot = begin(&store, Concurrency::Snapshot);
    assert_eq!(kind(now(snapshot.prepare(b"s"))), Some(ErrorKind::Invalid));
    now(txn(b"1").prepare(&[7; 128])).unwrap();
    assert_eq!(kind(now(txn(b"2").prepare(&[7; 128]))), Some(ErrorKind::AlreadyExists));
    // A quarter of the budget: 2 MiB.
    let mut large = txn(b"2");
    now(large.put(ids[0], b"large", &vec![1; 3 << 20])).unwrap();
    assert_eq!(kind(now(large.prepare(b"large"))), Some(ErrorKind::Exhausted));
    assert!(!is_locked(&store, ids[0], b"2") && !is_locked(&store, ids[0], b"large"));
    // One that read what has been changed since.
    let mut stale = begin(&store, Concurrency::Optimistic);
    now(stale.get(ids[0], b"x")).unwrap();
    put(&store, ids[0], b"x", b"newer", Level::Buffered).unwrap();
    assert_eq!(kind(now(stale.prepare(b"stale"))), Some(ErrorKind::Conflict));
    assert!(!is_locked(&store, ids[0], b"x"));
    assert_eq!(store.prepared().len(), 1);
}

/// One that only reads keeps others from what it has read, over a crash as well.
#[test]
fn a_participant_that_only_reads_keeps_what_it_read() {
    for how in [Concurrency::Pessimistic, Concurrency::Optimistic] {
        let machine = Machine::new(MODES[0], 3);
        let store = machine.open().unwrap();
        let ids = keyspaces(&store);
        let mut txn = begin(&store, how);
        now(txn.get(ids[0], b"x")).unwrap();
        now(txn.scan(ids[1], b"y", None, true, usize::MAX)).unwrap();
        // A write that was taken back is a read of nothing; its lock stays all the same.
        if how == Concurrency::Pessimistic {
            txn.set_savepoint();
            now(txn.put(ids[0], b"back", b"v")).unwrap();
            txn.rollback_to_savepoint().unwrap();
        }
        let ticket = now(txn.prepare(b"reader")).unwrap().ticket();
        wait(&store, ticket.position, Level::Durable).unwrap();
        let machine = machine.after_power_cut(CrashChoice::LoseAll);
        drop(store);
        let store = machine.open().unwrap();
        for (ks, key) in [(ids[0], &b"x"[..]), (ids[1], b"y"), (ids[1], b"zzz")] {
            assert!(is_locked(&store, ks, key), "{how:?}: {key:?}");
            assert!(!excludes(&store, ks, key, Lock::Shared));
        }
        assert_eq!(is_locked(&store, ids[0], b"back"), how == Concurrency::Pessimistic);
        assert!(!is_locked(&store, ids[1], b"x"));
        store.resume(b"reader").unwrap().commit().unwrap();
        assert!(!is_locked(&store, ids[0], b"x"));
    }
}

#[test]
fn it_stays_in_doubt_through_three_lives_and_is_decided_in_the_fourth() {
    for mode in MODES {
        for (seed, commits) in [(4, true), (5, false)] {
            let mut machine = Machine::new(mode, seed);
            let mut store = machine.open().unwrap();
            let ids = filled(&store);
            let ticket = prepare(&store, ids, b"t", Concurrency::Pessimistic).unwrap().ticket();
            wait(&store, ticket.position, Level::Durable).unwrap();
            let told = store.prepared();
            for life in 0..3 {
                machine = match life {
                    0 => machine.after_power_cut(CrashChoice::LoseAll),
                    1 => machine.after_kill(),
                    _ => {
                        store.close().unwrap();
                        machine.after_power_cut(CrashChoice::LoseAll)
                    }
                };
                drop(store);
                store = machine.open().unwrap();
                check_in_doubt(&store, ids, &[b"t"]);
                assert_eq!(store.prepared(), told);
                // The rest of the store works.
                put(&store, ids[0], b"beside", &[life], Level::Durable).unwrap();
                store.flush(None).unwrap();
                settle(&store).unwrap();
            }
            let prepared = store.resume(b"t").unwrap();
            let ticket = if commits { prepared.commit() } else { prepared.abort() }.unwrap();
            wait(&store, ticket.position, Level::Durable).unwrap();
            for _ in 0..2 {
                machine = machine.after_power_cut(CrashChoice::LoseAll);
                drop(store);
                store = machine.open().unwrap();
                check_decided(&store, ids, commits);
            }
        }
    }
}

/// What was acknowledged stays: the vote at the least, the decision if it was waited for.
#[test]
fn a_power_cut_takes_no_vote_back_and_no_durable_decision() {
    for mode in MODES {
        for seed in 0..24 {
            let machine = Machine::new(mode, seed);
            let store = machine.open().unwrap();
            let ids = filled(&store);
            let prepared = prepare(&store, ids, b"t", Concurrency::Pessimistic).unwrap();
            let level = if seed % 2 == 0 { Level::Durable } else { Level::Fresh };
            wait(&store, prepared.ticket().position, level).unwrap();
            let decision = prepared.commit().unwrap();
            let waited = seed % 3 == 0;
            if waited {
                wait(&store, decision.position, level).unwrap();
            }
            let cut = if seed < 2 { CrashChoice::LoseAll } else { CrashChoice::Seeded(seed) };
            let machine = machine.after_power_cut(cut);
            drop(store);
            let store = machine.open().unwrap();
            if waited || store.prepared().is_empty() {
                check_decided(&store, ids, true);
            } else {
                check_in_doubt(&store, ids, &[b"t"]);
            }
        }
    }
}

/// Flushes and compactions between the vote and the decision, and between the decision and the crash, with the
/// log in many segments.
#[test]
fn flushes_and_segments_between_make_no_difference() {
    for mode in MODES {
        for decided_first in [false, true] {
            let machine = Machine::new(mode, 6);
            let options = || StoreOptions { segment_bytes: 4 << 10, ..machine.options() };
            let store = Store::open(machine.world(), options()).unwrap();
            let ids = filled(&store);
            let prepared = prepare(&store, ids, b"t", Concurrency::Pessimistic).unwrap();
            wait(&store, prepared.ticket().position, Level::Durable).unwrap();
            let churn = |from: u32| {
                for n in from..from + 60 {
                    put(&store, ids[0], &n.to_be_bytes(), &[1; 400], Level::Durable).unwrap();
                }
                store.flush(None).unwrap();
                store.compact_range(ids[0], None, None).unwrap();
                settle(&store).unwrap();
            };
            churn(0);
            let kept = machine.log_disk().files().into_keys().filter(|path| path.ends_with(".log")).count();
            assert!(kept > 3, "the segment of the vote and all behind it stay, {kept} do");
            if decided_first {
                let decision = prepared.commit().unwrap();
                wait(&store, decision.position, Level::Durable).unwrap();
                churn(100);
                let kept =
                    machine.log_disk().files().into_keys().filter(|path| path.ends_with(".log")).count();
                assert!(kept < 3, "nothing holds the log any more, {kept} segments are there");
            }
            let crashed = machine.after_power_cut(CrashChoice::LoseAll);
            drop(store);
            let store = Store::open(crashed.world(), options()).unwrap();
            match decided_first {
                true => check_decided(&store, ids, true),
                false => {
                    check_in_doubt(&store, ids, &[b"t"]);
                    store.resume(b"t").unwrap().commit().unwrap();
                    store.flush(None).unwrap();
                    check_decided(&store, ids, true);
                }
            }
        }
    }
}

/// A transaction that nobody decides holds neither the log nor the flushes.
#[test]
fn an_old_record_is_carried_and_the_log_keeps_its_limit() {
    for mode in MODES {
        let machine = Machine::new(mode, 7);
        let options =
            || StoreOptions { segment_bytes: 8 << 10, max_total_wal_size: 64 << 10, ..machine.options() };
        let store = Store::open(machine.world(), options()).unwrap();
        let ids = filled(&store);
        for name in [&b"old"[..], b"older"] {
            let mut txn = begin(&store, Concurrency::Pessimistic);
            now(txn.put(ids[0], name, &[7; 1000])).unwrap();
            now(txn.prepare(name)).unwrap();
        }
        let segments = || {
            let files = machine.log_disk().files();
            files.keys().filter(|path| path.ends_with(".log")).count()
        };
        let mut most = 0;
        for n in 0..600u32 {
            put(&store, ids[1], &n.to_be_bytes(), &[1; 900], Level::Durable).unwrap();
            settle(&store).unwrap();
            most = most.max(segments());
        }
        let statistics = store.statistics();
        assert!(most < 14, "the log grew to {most} segments");
        assert!(statistics.prepared_carried >= 2, "{statistics:?}");
        // 540 kB through write buffers of 16 kB; without carrying, each step beyond the limit is a flush.
        assert!(statistics.flushes < 60, "{statistics:?}");
        let crashed = machine.after_power_cut(CrashChoice::LoseAll);
        drop(store);
        let store = Store::open(crashed.world(), options()).unwrap();
        assert_eq!(store.prepared().len(), 2);
        assert!(is_locked(&store, ids[0], b"old"));
        store.resume(b"old").unwrap().abort().unwrap();
        store.resume(b"older").unwrap().commit().unwrap();
        let rows = dump(&store, ids[0]).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(get(&store, ids[0], b"older").unwrap(), Some(vec![7; 1000]));
    }
}

/// Nothing is ever flushed, and the log is freed all the same.
#[test]
fn a_log_of_aborted_transactions_is_freed_without_a_flush() {
    let machine = Machine::new(MODES[0], 8);
    let options =
        || StoreOptions { segment_bytes: 8 << 10, max_total_wal_size: 64 << 10, ..machine.options() };
    let store = Store::open(machine.world(), options()).unwrap();
    let ids = keyspaces(&store);
    for n in 0..400u32 {
        let mut txn = begin(&store, Concurrency::Pessimistic);
        now(txn.put(ids[0], b"k", &[1; 900])).unwrap();
        now(txn.prepare(&n.to_be_bytes())).unwrap().abort().unwrap();
        wait(&store, store.frontier(Level::Buffered), Level::Durable).unwrap();
        settle(&store).unwrap();
    }
    let logs = machine.data.files().into_keys().filter(|path| path.ends_with(".log")).count();
    assert!(logs < 14, "{logs} segments");
    assert_eq!(store.statistics().flushes, 0);
    drop(store);
    let store = Store::open(machine.after_kill().world(), options()).unwrap();
    assert!(store.prepared().is_empty() && dump(&store, ids[0]).unwrap().is_empty());
}

/// The log does not fit the memory budget: it is read twice, and what is in doubt is taken once.
#[test]
fn a_replay_beyond_the_memory_budget_finds_it() {
    let machine = Machine::new(MODES[0], 9);
    let store = machine.open().unwrap();
    let ids = filled(&store);
    let decided = prepare(&store, ids, b"decided", Concurrency::Pessimistic).unwrap();
    decided.commit().unwrap();
    let mut txn = begin(&store, Concurrency::Pessimistic);
    now(txn.put(ids[1], b"late", b"v")).unwrap();
    now(txn.prepare(b"t")).unwrap();
    for n in 0..40u32 {
        put(&store, ids[0], &n.to_be_bytes(), &[1; 200], Level::Durable).unwrap();
    }
    let crashed = machine.after_kill();
    drop(store);
    let tight = StoreOptions { memory_budget: 12 << 10, ..crashed.options() };
    let store = Store::open(crashed.world(), tight).unwrap();
    assert_eq!(store.prepared().len(), 1);
    assert!(is_locked(&store, ids[1], b"late"));
    assert_eq!(store.count(ids[1]).unwrap().value, 3, "the commit's count, once");
    assert_eq!(get(&store, ids[0], b"k").unwrap().as_deref(), Some(&b"of a"[..]));
    store.resume(b"t").unwrap().commit().unwrap();
    assert_eq!(get(&store, ids[1], b"late").unwrap().as_deref(), Some(&b"v"[..]));
}

/// A checkpoint shows what was decided when it was taken.
#[test]
fn a_checkpoint_holds_nothing_that_is_in_doubt() {
    for mode in MODES {
        let machine = Machine::new(mode, 10);
        let store = machine.open().unwrap();
        let ids = filled(&store);
        prepare(&store, ids, b"t", Concurrency::Pessimistic).unwrap();
        let to = ringfort_fault::memory::MemDisk::new();
        let disk: Arc<dyn ringfort_base::world::Disk> = Arc::new(to.clone());
        store.checkpoint(&disk).unwrap();
        check_in_doubt(&store, ids, &[b"t"]);
        store.resume(b"t").unwrap().commit().unwrap();
        let world = ringfort_store::World { data: disk, ..machine.world() };
        let checkpoint = Checkpoint::open(&world, 8 << 20, &MergeOperators::default()).unwrap();
        assert!(checkpoint.get(ids[0], b"k").unwrap().is_none());
        assert!(checkpoint.get(ids[0], b"rr").unwrap().is_some());
    }
}

#[test]
fn a_keyspace_that_it_needs_cannot_be_dropped() {
    let machine = Machine::new(MODES[0], 13);
    let store = machine.open().unwrap();
    let ids = filled(&store);
    let mut txn = begin(&store, Concurrency::Pessimistic);
    now(txn.put(ids[0], b"k", b"v")).unwrap();
    now(txn.get(ids[1], b"x")).unwrap();
    let prepared = now(txn.prepare(b"t")).unwrap();
    wait(&store, prepared.ticket().position, Level::Durable).unwrap();
    for name in ["a", "b"] {
        assert_eq!(now(store.drop_keyspace(name)).unwrap_err().kind(), ErrorKind::Busy);
    }
    // Behind the decision it can, at once; the drop is anchored, the decision is not.
    prepared.commit().unwrap();
    now(store.drop_keyspace("b")).unwrap();
    let crashed = machine.after_power_cut(CrashChoice::LoseAll);
    drop(store);
    let store = crashed.open().unwrap();
    assert_eq!(store.keyspace("b"), None);
    assert_eq!(store.prepared().len(), 1, "what is left of it is in doubt");
    assert!(is_locked(&store, ids[0], b"k"));
    // A keyspace's id is not given out again.
    assert_ne!(store.create_keyspace("b", small()).unwrap(), ids[1]);
    store.resume(b"t").unwrap().commit().unwrap();
    assert_eq!(get(&store, ids[0], b"k").unwrap().as_deref(), Some(&b"v"[..]));
    now(store.drop_keyspace("a")).unwrap();
}

/// A waiter for its locks goes on when it is decided, and sees what it did.
#[test]
fn who_waits_for_it_is_woken_by_the_decision() {
    let machine = Machine::new(MODES[0], 11);
    let store = machine.open().unwrap();
    let ids = filled(&store);
    let prepared = prepare(&store, ids, b"t", Concurrency::Optimistic).unwrap();
    let mut other = begin(&store, Concurrency::Pessimistic);
    let mut read = Box::pin(other.get(ids[0], b"k"));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(read.as_mut().poll(&mut cx).is_pending());
    prepared.commit().unwrap();
    match read.as_mut().poll(&mut cx) {
        Poll::Ready(value) => assert_eq!(value.unwrap().as_deref(), Some(&b"of a"[..])),
        Poll::Pending => panic!("it still waits"),
    }
}

/// When the store ends, nobody decides any more: who waits is told so, and does not wait for ever.
#[test]
fn who_waits_for_it_is_told_that_the_store_ended() {
    for closes in [true, false] {
        let machine = Machine::new(MODES[0], 14);
        let store = machine.open().unwrap();
        let ids = filled(&store);
        prepare(&store, ids, b"t", Concurrency::Pessimistic).unwrap();
        let mut other = begin(&store, Concurrency::Pessimistic);
        let mut read = Box::pin(other.get(ids[0], b"k"));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(read.as_mut().poll(&mut cx).is_pending());
        match closes {
            true => store.close().unwrap(),
            false => store.fail(ringfort_base::Error::new(ErrorKind::Io, "a worker died")),
        }
        match read.as_mut().poll(&mut cx) {
            Poll::Ready(read) => assert!(read.is_err()),
            Poll::Pending => panic!("it waits for ever"),
        }
        drop(read);
        drop((other, store));
        let store = machine.after_kill().open().unwrap();
        check_in_doubt(&store, ids, &[b"t"]);
    }
}

/// Many at once, some decided: each recovery finds the others, with their locks.
#[test]
fn hundreds_at_once() {
    let machine = Machine::new(Mode::Twin, 12);
    let store = machine.open().unwrap();
    let ids = keyspaces(&store);
    for n in 0..300u32 {
        let mut txn = begin(&store, Concurrency::Pessimistic);
        now(txn.put(ids[n as usize % 2], &n.to_be_bytes(), b"v")).unwrap();
        now(txn.get(ids[0], b"all read this")).unwrap();
        let prepared = now(txn.prepare(&n.to_be_bytes())).unwrap();
        match n % 3 {
            0 => drop(prepared.commit().unwrap()),
            1 => drop(prepared.abort().unwrap()),
            _ => {}
        }
    }
    wait(&store, store.frontier(Level::Buffered), Level::Fresh).unwrap();
    let crashed = machine.after_power_cut(CrashChoice::LoseAll);
    drop(store);
    let store = crashed.open().unwrap();
    assert_eq!(store.prepared().len(), 100);
    for n in 0..300u32 {
        let (ks, key) = (ids[n as usize % 2], n.to_be_bytes());
        assert_eq!(get(&store, ks, &key).unwrap().is_some(), n % 3 == 0);
        assert_eq!(is_locked(&store, ks, &key), n % 3 == 2);
    }
    assert!(is_locked(&store, ids[0], b"all read this"));
    for txn in store.prepared() {
        store.resume(&txn.name).unwrap().abort().unwrap();
    }
    assert!(!is_locked(&store, ids[0], b"all read this"));
    let mut batch = WriteBatch::new();
    batch.put(ids[0], b"all read this", b"v");
    commit(&store, batch, Level::Fresh).unwrap();
}
