//! Where transactions and plain writes meet. That everything together is serializable is shown by the campaigns
//! (`tests/campaign.rs`); here are the edges, one by one.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;
#[path = "campaign/schedule.rs"]
#[allow(dead_code, reason = "this is its other user")]
mod schedule;

use common::{MODES, Machine, small};
use ringfort_base::{ErrorKind, Level};
use ringfort_store::WriteBatch;
use ringfort_store::txn::locks::Mode as Lock;
use ringfort_store::txn::transaction::{Concurrency, TxnOptions};
use schedule::block_on;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

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
        assert!(poll(read.as_mut()).is_pending(), "a lock that was released before its batch is visible");
        store.log_step().unwrap();
        let Poll::Ready(read) = poll(read.as_mut()) else { panic!("a lock that outlives its group") };
        assert_eq!(read.unwrap().as_deref(), Some(&b"v"[..]));
    }
    assert!(
        store.frontier(Level::Buffered) >= ticket.position
            && store.frontier(Level::Durable) < ticket.position
    );

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

/// A transaction in doubt keeps its locks for a decision that a stopped store cannot make: nobody waits for that.
#[test]
fn who_waits_for_a_transaction_in_doubt_is_told_that_the_store_stopped() {
    let machine = Machine::new(MODES[0], 13);
    let store = machine.open().unwrap();
    let ks = store.create_keyspace("ks", small()).unwrap();
    let mut first = store.begin(TxnOptions::default());
    block_on(first.put(ks, b"k", b"v")).unwrap();
    let prepared = block_on(first.prepare(b"in doubt")).unwrap();
    let mut second = store.begin(TxnOptions::default());
    {
        let mut read = pin!(second.get(ks, b"k"));
        assert!(poll(read.as_mut()).is_pending());
        store.fail(ringfort_base::Error::new(ErrorKind::Io, "the disk is gone"));
        let Poll::Ready(read) = poll(read.as_mut()) else { panic!("nobody will ever decide") };
        assert_eq!(read.unwrap_err().kind(), ErrorKind::Stopped);
    }
    assert_eq!(prepared.commit().unwrap_err().kind(), ErrorKind::Stopped);
    drop((second, store));
    // The next life knows of it, and nobody gets by.
    let store = machine.after_kill().open().unwrap();
    assert_eq!(store.prepared().len(), 1);
    let mut third = store.begin(TxnOptions::default());
    let mut read = pin!(third.get(ks, b"k"));
    assert!(poll(read.as_mut()).is_pending());
    store.resume(b"in doubt").unwrap().commit().unwrap();
    let Poll::Ready(read) = poll(read.as_mut()) else { panic!("it is decided") };
    assert_eq!(read.unwrap().as_deref(), Some(&b"v"[..]));
}

/// What is locked by name, as a hash is for all its fields: the field alone would keep nobody out.
#[test]
fn an_optimistic_commit_locks_the_names_that_it_covers() {
    let machine = Machine::new(MODES[0], 13);
    let store = machine.open().unwrap();
    let ks = store.create_keyspace("ks", small()).unwrap();
    let mut reader = store.begin(TxnOptions::default());
    block_on(reader.cover(ks, b"name", Lock::Shared)).unwrap();
    let mut writer = store.begin(TxnOptions { concurrency: Concurrency::Optimistic, age: None });
    block_on(writer.cover(ks, b"name", Lock::Exclusive)).unwrap();
    let mut field = WriteBatch::new();
    field.put(ks, b"name field", b"v");
    writer.write_covered(&field).unwrap();
    let mut ready = pin!(writer.ready());
    assert!(poll(ready.as_mut()).is_pending(), "the reader would see two states");
    drop(reader);
    assert!(matches!(poll(ready.as_mut()), Poll::Ready(Ok(_))));
}

/// A transaction's memory is bounded by what it is going to write, not by how often it thought better of it;
/// and what it keeps for its savepoints counts.
#[test]
fn what_is_overwritten_again_and_again_is_forgotten() {
    let machine = Machine::new(MODES[0], 14);
    let store = machine.open().unwrap();
    let ks = store.create_keyspace("ks", small()).unwrap();
    let mut txn = store.begin(TxnOptions::default());
    for n in 0..200 {
        let mut batch = WriteBatch::new();
        batch.put(ks, b"k", vec![n; 1 << 20]);
        block_on(txn.write(&batch)).unwrap();
        block_on(txn.delete_range(ks, b"a", b"b")).unwrap();
    }
    assert!(txn.bytes() < 4 << 20, "{}", txn.bytes());
    let before = txn.bytes();
    txn.set_savepoint();
    for _ in 0..1000 {
        block_on(txn.delete(ks, b"k")).unwrap();
    }
    assert!(txn.bytes() > before + 1000 * 16, "{}", txn.bytes() - before);
    txn.pop_savepoint().unwrap();
    assert!(txn.bytes() <= before);
    let mut optimistic = store.begin(TxnOptions { concurrency: Concurrency::Optimistic, age: None });
    block_on(optimistic.cover(ks, &[7; 1000], Lock::Exclusive)).unwrap();
    assert!(optimistic.bytes() > 1000);
}
