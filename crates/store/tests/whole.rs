//! Bulk loads and the end of a keyspace beside transactions: each of these sees all of it or nothing, and who has
//! to wait is woken.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{MODES, Machine, dump, get, now, poll, put, settle, small};
use ringfort_base::{ErrorKind, KeyspaceId, Level};
use ringfort_store::Store;
use ringfort_store::txn::transaction::{Concurrency, Transaction, TxnOptions};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Counts how often it was woken.
#[derive(Default)]
struct Counted(AtomicUsize);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn store(machine: &Machine) -> (Store, KeyspaceId) {
    let store = machine.open().unwrap();
    let ks = store.create_keyspace("ks", small()).unwrap();
    (store, ks)
}

fn begin(store: &Store, concurrency: Concurrency) -> Transaction {
    store.begin(TxnOptions { concurrency, ..TxnOptions::default() })
}

fn key(n: u32) -> Vec<u8> {
    n.to_be_bytes().to_vec()
}

fn loaded(range: std::ops::Range<u32>) -> impl Iterator<Item = (Vec<u8>, &'static str)> {
    range.map(|n| (key(n), "loaded"))
}

#[test]
fn a_load_waits_for_who_read_in_its_range_and_for_nobody_else() {
    for mode in MODES {
        let machine = Machine::new(mode, 1);
        let (store, ks) = store(&machine);
        let mut reader = begin(&store, Concurrency::Pessimistic);
        assert!(now(reader.get(ks, &key(500))).unwrap().is_none());
        // Beside it, and right behind its end.
        now(store.bulk_load(ks, loaded(0..500))).unwrap();
        now(store.bulk_load(ks, loaded(501..600))).unwrap();

        let waker = Arc::new(Counted::default());
        let mut load = Box::pin(store.bulk_load(ks, loaded(400..501)));
        let cx_waker = Waker::from(Arc::clone(&waker));
        let mut cx = Context::from_waker(&cx_waker);
        assert!(load.as_mut().poll(&mut cx).is_pending());
        assert!(now(reader.get(ks, &key(500))).unwrap().is_none(), "it reads the same again");
        assert_eq!(waker.0.load(Ordering::SeqCst), 0);
        now(reader.commit()).unwrap();
        assert!(waker.0.load(Ordering::SeqCst) > 0);
        assert!(load.as_mut().poll(&mut cx).is_ready());
        drop(load);
        assert_eq!(dump(&store, ks).unwrap().len(), 600);
    }
}

#[test]
fn a_load_that_is_given_up_while_it_waits_leaves_nothing() {
    let machine = Machine::new(MODES[0], 2);
    let (store, ks) = store(&machine);
    let mut writer = begin(&store, Concurrency::Pessimistic);
    now(writer.put(ks, &key(7), b"own")).unwrap();
    let files = || machine.table_disk().files().len();
    let before = files();
    {
        let mut load = Box::pin(store.bulk_load(ks, loaded(0..2000)));
        assert!(load.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert!(files() > before, "its tables are written");
        // Who comes behind it in the queue waits with it, and goes on when it is gone.
        let mut other = begin(&store, Concurrency::Pessimistic);
        assert!(poll(other.get(ks, &key(8))).is_pending());
    }
    assert_eq!(files(), before);
    let mut other = begin(&store, Concurrency::Pessimistic);
    assert!(now(other.get(ks, &key(8))).unwrap().is_none());
    now(writer.commit()).unwrap();
    drop(other);
    assert_eq!(dump(&store, ks).unwrap().len(), 1);
    now(store.bulk_load(ks, loaded(0..20))).unwrap();
}

/// An optimistic transaction that read what a load changed since does not commit.
#[test]
fn a_load_is_a_conflict_for_who_read_before_it() {
    let machine = Machine::new(MODES[0], 3);
    let (store, ks) = store(&machine);
    let mut by_key = begin(&store, Concurrency::Optimistic);
    assert!(now(by_key.get(ks, &key(5))).unwrap().is_none());
    now(by_key.put(ks, b"z", b"v")).unwrap();
    let mut by_range = begin(&store, Concurrency::Optimistic);
    assert!(now(by_range.scan(ks, &key(3), Some(&key(9)), false, 100)).unwrap().is_empty());
    now(by_range.put(ks, b"z", b"v")).unwrap();
    let mut beside = begin(&store, Concurrency::Optimistic);
    assert!(now(beside.get(ks, &key(50))).unwrap().is_none());
    now(beside.put(ks, b"y", b"v")).unwrap();
    now(store.bulk_load(ks, loaded(0..10))).unwrap();
    assert_eq!(now(by_key.commit()).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(now(by_range.commit()).unwrap_err().kind(), ErrorKind::Conflict);
    now(beside.commit()).unwrap();
    assert_eq!(get(&store, ks, b"z").unwrap(), None);
}

#[test]
fn a_keyspace_is_dropped_when_no_transaction_is_at_work_in_it() {
    for mode in MODES {
        let machine = Machine::new(mode, 4);
        let (store, ks) = store(&machine);
        let other = store.create_keyspace("other", small()).unwrap();
        put(&store, ks, b"k", b"v", Level::Durable).unwrap();
        let mut txn = begin(&store, Concurrency::Pessimistic);
        assert!(now(txn.get(ks, b"k")).unwrap().is_some());
        now(txn.put(other, b"k", b"v")).unwrap();
        let waker = Arc::new(Counted::default());
        let as_waker = Waker::from(Arc::clone(&waker));
        let mut end = Box::pin(store.drop_keyspace("ks"));
        assert!(end.as_mut().poll(&mut Context::from_waker(&as_waker)).is_pending());
        assert!(now(txn.get(ks, b"k")).unwrap().is_some(), "it is all there");
        // Who comes now comes behind the end.
        let mut late = begin(&store, Concurrency::Pessimistic);
        {
            let mut read = Box::pin(late.get(ks, b"k"));
            assert!(read.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            now(txn.commit()).unwrap();
            assert!(waker.0.load(Ordering::SeqCst) > 0);
            match end.as_mut().poll(&mut Context::from_waker(&as_waker)) {
                Poll::Ready(done) => done.unwrap(),
                Poll::Pending => panic!("nobody is at work in it"),
            }
            match read.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(read) => assert_eq!(read.unwrap_err().kind(), ErrorKind::NotFound),
                Poll::Pending => panic!("the end is behind it"),
            }
        }
        assert_eq!(store.keyspace("ks"), None);
        assert_eq!(get(&store, other, b"k").unwrap().as_deref(), Some(&b"v"[..]));
        assert_eq!(now(store.drop_keyspace("ks")).unwrap_err().kind(), ErrorKind::NotFound);
        // One of that name, made while somebody waits to drop the old one, is another keyspace.
        drop(late);
        let again = store.create_keyspace("ks", small()).unwrap();
        let mut txn = begin(&store, Concurrency::Pessimistic);
        assert!(now(txn.get(again, b"k")).unwrap().is_none());
        let mut ends = [Box::pin(store.drop_keyspace("ks")), Box::pin(store.drop_keyspace("ks"))];
        for end in &mut ends {
            assert!(end.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        drop(txn);
        let outcomes = ends.map(|mut end| match end.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => outcome.map_err(|e| e.kind()),
            Poll::Pending => panic!("nobody is at work in it"),
        });
        assert_eq!(outcomes, [Ok(()), Err(ErrorKind::NotFound)]);
    }
}

/// Pessimistic transactions read two keys of a range that is loaded again and again: never one of one load and the
/// other of another. Without the load's lock they do within a few rounds.
#[test]
fn no_transaction_sees_half_a_load() {
    let machine = Machine::new(MODES[0], 5);
    let (store, ks) = store(&machine);
    let done = AtomicBool::new(false);
    let reads = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let mut txn = begin(&store, Concurrency::Pessimistic);
                    let Ok(first) = block_on(txn.get(ks, &key(0))) else { continue };
                    std::thread::yield_now();
                    let Ok(last) = block_on(txn.get(ks, &key(40))) else { continue };
                    assert_eq!(first.map(Vec::from), last.map(Vec::from));
                    reads.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for round in 0..60u32 {
            let entries = (0..41).map(|n| (key(n), round.to_be_bytes()));
            block_on(store.bulk_load(ks, entries)).unwrap();
            while reads.load(Ordering::SeqCst) < round as usize * 3 {
                std::thread::yield_now();
            }
        }
        done.store(true, Ordering::SeqCst);
    });
    settle(&store).unwrap();
    assert_eq!(get(&store, ks, &key(3)).unwrap(), Some(59u32.to_be_bytes().to_vec()));
}

fn block_on<F: Future>(future: F) -> F::Output {
    struct Parked(std::thread::Thread);
    impl Wake for Parked {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = std::pin::pin!(future);
    let waker = Waker::from(Arc::new(Parked(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
