//! Transactions in the embedded library. That they are serializable is the isolation checker's business
//! (`ringfort-store`, `tests/isolation.rs`); here is what a caller sees.

use ringfort::{Concurrency, Db, Error, ErrorKind, Level, Options, TxnOptions, WriteBatch};
use std::sync::atomic::{AtomicU64, Ordering};

fn options(concurrency: Concurrency) -> TxnOptions {
    TxnOptions { concurrency, ..TxnOptions::default() }
}

fn number(value: Option<ringfort::Value>) -> u64 {
    value.map_or(0, |value| u64::from_be_bytes(value[..].try_into().unwrap()))
}

/// Many threads count in few keys, by both kinds of transactions, and plain writes reset one of them: no
/// count is lost.
#[test]
fn counting_together_loses_nothing() {
    let db = Db::open_temporary().unwrap();
    let ks = db.default_keyspace().id();
    let plain = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (db, plain) = (&db, &plain);
            scope.spawn(move || {
                let how = if thread % 2 == 0 { Concurrency::Pessimistic } else { Concurrency::Optimistic };
                for n in 0..300u64 {
                    let key = [(n * 7 + thread) as u8 % 3];
                    db.transact(options(how), |txn| {
                        let count = number(txn.get(ks, key)?);
                        txn.put(ks, key, (count + 1).to_be_bytes())?;
                        let total = number(txn.get_for_update(ks, b"total")?);
                        txn.put(ks, b"total", (total + 1).to_be_bytes())
                    })
                    .unwrap();
                    if n % 10 == 0 {
                        db.put([10 + thread as u8], n.to_be_bytes()).unwrap();
                        plain.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(number(db.get(b"total").unwrap()), 1200);
    let counts: u64 = (0..3u8).map(|key| number(db.get([key]).unwrap())).sum();
    assert_eq!(counts, 1200);
    assert_eq!(plain.load(Ordering::Relaxed), 120);
    assert!((0..4u8).all(|thread| number(db.get([10 + thread]).unwrap()) == 290));
}

/// A plain write waits for the transaction that has read what it is about to change.
#[test]
fn a_plain_write_does_not_run_over_a_transaction() {
    let db = Db::open_temporary().unwrap();
    let ks = db.default_keyspace().id();
    db.put("balance", 100u64.to_be_bytes()).unwrap();
    let mut txn = db.begin(TxnOptions::default());
    let balance = number(txn.get_for_update(ks, "balance").unwrap());
    std::thread::scope(|scope| {
        let write = scope.spawn(|| db.put("balance", 7u64.to_be_bytes()).unwrap());
        db.put("other", "not in its way").unwrap();
        ringfort_host::door::sleep(std::time::Duration::from_millis(20));
        assert!(!write.is_finished());
        txn.put(ks, "balance", (balance - 30).to_be_bytes()).unwrap();
        assert_eq!(number(db.get("balance").unwrap()), 100, "nobody sees a part of it");
        txn.commit().unwrap();
        write.join().unwrap();
    });
    assert_eq!(number(db.get("balance").unwrap()), 7);
}

#[test]
fn a_transaction_sees_its_writes_and_nobody_sees_one_that_was_dropped() {
    let db = Db::open_temporary().unwrap();
    let ks = db.default_keyspace().id();
    for key in ["a", "b", "c", "d"] {
        db.put(key, "old").unwrap();
    }
    for how in [Concurrency::Pessimistic, Concurrency::Optimistic] {
        let mut txn = db.begin(options(how));
        txn.put(ks, "bb", "new").unwrap();
        txn.delete(ks, "c").unwrap();
        txn.set_savepoint();
        txn.delete_range(ks, "a", "z").unwrap();
        txn.put(ks, "d", "again").unwrap();
        let found: Vec<_> = txn.scan(ks, ..).map(Result::unwrap).collect();
        assert_eq!(found, [(b"d".to_vec(), b"again".to_vec())]);
        txn.rollback_to_savepoint().unwrap();
        let keys: Vec<Vec<u8>> = txn.scan_rev(ks, ..).limit(3).map(|entry| entry.unwrap().0).collect();
        assert_eq!(keys, [b"d".to_vec(), b"bb".to_vec(), b"b".to_vec()]);
        assert_eq!(txn.get(ks, "c").unwrap(), None);
        assert_eq!(txn.rollback_to_savepoint().unwrap_err().kind(), ErrorKind::NotFound);
        drop(txn);
        assert_eq!(db.get("bb").unwrap(), None);
        assert_eq!(db.get("c").unwrap().as_deref(), Some(&b"old"[..]));
    }
}

#[test]
fn the_kinds_fail_each_in_its_way() {
    let db = Db::open_temporary().unwrap();
    let ks = db.default_keyspace().id();
    db.put("k", "1").unwrap();
    let mut late = db.begin(options(Concurrency::Optimistic));
    assert!(late.get(ks, "k").unwrap().is_some());
    late.put(ks, "other", "x").unwrap();
    db.put("k", "2").unwrap();
    assert_eq!(late.commit().err().unwrap().kind(), ErrorKind::Conflict);
    assert_eq!(db.get("other").unwrap(), None);

    // One that only reads shows one moment, and cannot fail.
    let mut view = db.begin(options(Concurrency::Snapshot));
    db.put("k", "3").unwrap();
    assert_eq!(view.get(ks, "k").unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(view.put(ks, "k", "no").unwrap_err().kind(), ErrorKind::Invalid);
    view.commit().unwrap();

    // Two that want what the other has.
    let (mut first, mut second) = (db.begin(TxnOptions::default()), db.begin(TxnOptions::default()));
    first.put(ks, "x", "1").unwrap();
    second.put(ks, "y", "2").unwrap();
    std::thread::scope(|scope| {
        let waits = scope.spawn(move || first.put(ks, "y", "1").map(|()| first));
        // The younger of the two is refused, whichever of them closes the cycle.
        let error = second.get(ks, "x").err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Deadlock, "{error}");
        second.rollback();
        waits.join().unwrap().unwrap().commit_with(Level::Fresh).unwrap();
    });
    assert_eq!(db.get("y").unwrap().as_deref(), Some(&b"1"[..]));
}

#[test]
fn a_committed_transaction_has_its_level_and_survives() {
    let db = Db::open_temporary().unwrap();
    let ks = db.default_keyspace().id();
    let mut txn = db.begin(TxnOptions::default());
    txn.put(ks, "k", "v").unwrap();
    let commit = txn.commit_with(Level::Fresh).unwrap();
    assert!(commit.has(Level::Fresh));
    // One that wrote nothing waits for what it read.
    let mut read = db.begin(TxnOptions::default());
    assert!(read.get(ks, "k").unwrap().is_some());
    assert!(read.commit_with(Level::Fresh).unwrap().position() >= commit.position());
    let value = db.transact(TxnOptions::default(), |txn| Ok(txn.get(ks, "k")?.map(|v| v.len()))).unwrap();
    assert_eq!(value, Some(1));
}

/// That a transaction was not carried out is an answer too, and waits for what it was concluded from (R6).
#[test]
fn a_refusal_by_the_caller_waits_for_what_it_read() {
    let quiet = Options::new("").anchor_window(std::time::Duration::from_secs(3600));
    let db = Db::open_temporary_with(quiet).unwrap();
    let ks = db.default_keyspace().id();
    for how in [Concurrency::Pessimistic, Concurrency::Optimistic, Concurrency::Snapshot] {
        let mut batch = WriteBatch::new();
        batch.put(ks, "balance", "0");
        let written = db.write_with(batch, Level::Buffered).unwrap();
        assert!(!written.has(Level::Durable));
        let refused = db.transact(options(how), |txn| -> ringfort::Result<()> {
            assert!(txn.get(ks, "balance")?.is_some());
            Err(Error::new(ErrorKind::Invalid, "not enough money"))
        });
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
        assert!(written.has(Level::Durable), "{how:?}: the balance may still be lost");
    }
}
