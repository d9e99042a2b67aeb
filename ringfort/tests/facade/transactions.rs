//! Transactions in the embedded library. That they are serializable is the isolation checker's business
//! (`ringfort-store`, `tests/isolation.rs`); here is what a caller sees.

use ringfort::{Concurrency, Db, Error, ErrorKind, KeyspaceOptions, Level, Options, TxnOptions, WriteBatch};
use ringfort_base::world::Clock;
use ringfort_host::door::OsClock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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

fn keys_of(scan: ringfort::TxnScan<'_>) -> Vec<String> {
    scan.map(|entry| String::from_utf8(entry.unwrap().0).unwrap()).collect()
}

/// Waits for a lock that another one has, for so long and no longer; its place in the queue goes with it.
#[test]
fn patience_ends_with_a_kind_of_its_own_and_gives_the_place_back() {
    let db = Db::open_temporary().unwrap();
    let ks = db.default_keyspace();
    db.put("k", "1").unwrap();
    let mut readers = [db.begin(TxnOptions::default()), db.begin(TxnOptions::default())];
    for reader in &mut readers {
        reader.get(ks, "k").unwrap();
    }
    let hasty = TxnOptions::pessimistic().lock_timeout(Duration::from_millis(30));
    let clock = OsClock::new();
    for (what, scans) in [("a key", false), ("a range", true)] {
        let mut txn = db.begin(hasty);
        let before = clock.monotonic();
        let error = match scans {
            false => txn.put(ks, "k", "2").unwrap_err(),
            true => txn.delete_range(ks, "a", "z").unwrap_err(),
        };
        assert_eq!(error.kind(), ErrorKind::LockTimeout, "{what}: {error}");
        assert!(error.message().contains("30ms: 2 other transactions"), "{what}: {error}");
        assert!(clock.monotonic() - before >= Duration::from_millis(30));
        // Nobody waits behind who is gone, be he shared or exclusive; and he may go on.
        let mut other = db.begin(hasty);
        assert!(other.get(ks, "k").unwrap().is_some(), "{what}");
        other.commit().unwrap();
        txn.put(ks, "else", "3").unwrap();
        txn.commit().unwrap();
    }
    // A commit that has to wait is patient in the same way.
    let mut late = db.begin(TxnOptions::optimistic().lock_timeout(Duration::from_millis(20)));
    late.put(ks, "k", "4").unwrap();
    assert_eq!(late.commit().err().unwrap().kind(), ErrorKind::LockTimeout);
    // Who gets it in time knows nothing of timeouts.
    drop(readers);
    let mut txn = db.begin(hasty);
    txn.put(ks, "k", "5").unwrap();
    txn.commit().unwrap();
    assert_eq!(db.get("k").unwrap().as_deref(), Some(&b"5"[..]));
    // `transact` leaves it to the caller, who knows what he waits for.
    let mut holder = db.begin(TxnOptions::default());
    holder.put(ks, "k", "6").unwrap();
    let mut tries = 0;
    let refused = db.transact(hasty, |txn| {
        tries += 1;
        txn.get(ks, "k")
    });
    assert_eq!((refused.unwrap_err().kind(), tries), (ErrorKind::LockTimeout, 1));
}

#[test]
fn a_commit_has_the_level_that_the_transaction_was_begun_with() {
    let db = Db::open_temporary().unwrap();
    let ks = db.default_keyspace();
    let mut txn = db.begin(TxnOptions::optimistic().level(Level::Fresh));
    txn.put(ks, "k", "v").unwrap();
    assert!(txn.commit().unwrap().has(Level::Fresh));
    let options = TxnOptions::pessimistic().level(Level::Fresh);
    db.transact(options, |txn| txn.put(ks, "l", "v")).unwrap();
    assert!(db.frontier(Level::Fresh) >= db.snapshot().unwrap().position());
}

/// One that only reads is in nobody's way, and nobody in its.
#[test]
fn a_read_only_transaction_takes_no_locks() {
    let db = Db::open_temporary().unwrap();
    let ks = db.default_keyspace();
    db.put("k", "1").unwrap();
    let mut writer = db.begin(TxnOptions::default());
    writer.put(ks, "k", "2").unwrap();
    let mut report = db.begin(TxnOptions::read_only().lock_timeout(Duration::ZERO));
    assert_eq!(report.get(ks, "k").unwrap().as_deref(), Some(&b"1"[..]));
    writer.commit().unwrap();
    assert_eq!(report.scan(ks, ..).next().unwrap().unwrap().1, b"1");
    assert_eq!(report.multi_get(ks, &["k", "l"]).unwrap(), [Some(b"1".to_vec().into()), None]);
    assert_eq!(report.delete(ks, "k").unwrap_err().kind(), ErrorKind::Invalid);
    assert!(report.commit_with(Level::Fresh).unwrap().position() < db.snapshot().unwrap().position());
}

#[test]
fn a_transaction_spans_keyspaces() {
    let db = Db::open_temporary().unwrap();
    let (from, to) = (db.open_keyspace("from").unwrap(), db.open_keyspace("to").unwrap());
    from.put("a", "1").unwrap();
    for how in [TxnOptions::pessimistic(), TxnOptions::optimistic()] {
        let mut txn = db.begin(how);
        let moved = txn.get_for_update(&from, "a").unwrap().unwrap();
        txn.delete(&from, "a").unwrap();
        txn.put(&to, "a", &moved).unwrap();
        assert!(keys_of(txn.scan(&from, ..)).is_empty());
        assert_eq!(keys_of(txn.scan(&to, ..)), ["a"]);
        assert_eq!((from.get("a").unwrap().is_some(), to.get("a").unwrap().is_some()), (true, false));
        txn.commit().unwrap();
        assert_eq!((from.get("a").unwrap().is_some(), to.get("a").unwrap().is_some()), (false, true));
        to.delete("a").unwrap();
        from.put("a", "1").unwrap();
    }
    // What was read in one keyspace is checked though only the other is written.
    let mut late = db.begin(TxnOptions::optimistic());
    late.get(&from, "a").unwrap();
    late.put(&to, "b", "2").unwrap();
    from.put("a", "changed").unwrap();
    let conflict = late.commit().err().unwrap();
    assert_eq!(conflict.kind(), ErrorKind::Conflict);
    assert!(conflict.message().contains(&format!("keyspace {}", from.id())), "{conflict}");
    assert_eq!(to.get("b").unwrap(), None);
}

/// It waits for who has locks in it; who has none there finds it gone.
#[test]
fn a_keyspace_that_is_dropped_takes_all_of_the_transaction_with_it() {
    let db = Db::open_temporary().unwrap();
    for (nth, how) in [TxnOptions::pessimistic(), TxnOptions::optimistic()].into_iter().enumerate() {
        let gone = db.open_keyspace(&format!("gone {nth}")).unwrap();
        gone.put("k", "v").unwrap();
        let mut txn = db.begin(how);
        txn.put(db.default_keyspace(), "other", "v").unwrap();
        if how == TxnOptions::optimistic() {
            assert!(txn.get(&gone, "k").unwrap().is_some());
            txn.put(&gone, "k", "new").unwrap();
        }
        db.drop_keyspace(gone.name()).unwrap();
        assert_eq!(txn.get(&gone, "l").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(txn.multi_get(&gone, &["l"]).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(txn.scan(&gone, ..).next().unwrap().unwrap_err().kind(), ErrorKind::NotFound);
        txn.put(&gone, "m", "new").unwrap();
        let refused = txn.commit().err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::NotFound, "{refused}");
        assert_eq!(db.get("other").unwrap(), None, "nothing of it was written");
    }
    let gone = db.open_keyspace("held").unwrap();
    let mut txn = db.begin(TxnOptions::pessimistic());
    txn.put(&gone, "k", "v").unwrap();
    std::thread::scope(|scope| {
        let dropped = scope.spawn(|| db.drop_keyspace("held").unwrap());
        ringfort_host::door::sleep(Duration::from_millis(20));
        assert!(!dropped.is_finished());
        txn.commit().unwrap();
        dropped.join().unwrap();
    });
    assert_eq!(gone.get("k").unwrap_err().kind(), ErrorKind::NotFound);
    // The locks went with it.
    db.put("other", "free").unwrap();
}

#[test]
fn many_keys_at_once_and_scans_that_stop() {
    let db = Db::open_temporary().unwrap();
    let ks = db.default_keyspace();
    for n in 0..200 {
        db.put(format!("k{n:03}"), n.to_string()).unwrap();
    }
    db.flush().unwrap();
    let mut txn = db.begin(TxnOptions::default());
    txn.put(ks, "k001", "own").unwrap();
    txn.delete(ks, "k002").unwrap();
    let found = txn.multi_get(ks, &["k003", "k001", "none", "k002", "k003"]).unwrap();
    let found: Vec<Option<&[u8]>> = found.iter().map(Option::as_deref).collect();
    assert_eq!(found, [Some(&b"3"[..]), Some(b"own"), None, None, Some(b"3")]);

    assert_eq!(keys_of(txn.scan(ks, "k1"..).limit(3)), ["k100", "k101", "k102"]);
    assert_eq!(keys_of(txn.scan_rev(ks, .."k1").limit(2)), ["k099", "k098"]);
    assert_eq!(keys_of(txn.prefix(ks, "k00")).len(), 9);
    assert_eq!(keys_of(txn.scan(ks, ..).limit(0)).len(), 0);
    let mut seen = 0;
    let mut all = txn.scan(ks, "k004".."k150");
    while let Some((key, value)) = all.next_entry().unwrap() {
        assert_eq!(String::from_utf8_lossy(key), format!("k{:0>3}", String::from_utf8_lossy(value)));
        seen += 1;
    }
    assert_eq!(seen, 146);
    assert!(all.next_entry().unwrap().is_none(), "the end is the end");

    // Behind the limit and before the range nobody has to wait; in it, they do.
    let mut other = db.begin(TxnOptions::pessimistic().lock_timeout(Duration::from_millis(10)));
    for key in ["k150", "k199", "a"] {
        other.put(ks, key, "x").unwrap();
    }
    for key in ["k100", "k0045", "k099"] {
        assert_eq!(other.put(ks, key, "x").unwrap_err().kind(), ErrorKind::LockTimeout, "{key}");
    }
}

/// Those that go to files of their own, and those that were written by the piece.
#[test]
fn long_values_and_batches_belong_to_the_transaction() {
    let db = Db::open_temporary().unwrap();
    let options = KeyspaceOptions { merge_operator: Some("append".into()), ..KeyspaceOptions::default() };
    let ks = db.create_keyspace("lists", options).unwrap();
    let long = vec![7u8; 5 << 20];
    let mut txn = db.begin(TxnOptions::default());
    txn.put(&ks, "long", &long).unwrap();
    assert_eq!(txn.get(&ks, "long").unwrap().as_deref(), Some(&long[..]));
    txn.merge(&ks, "long", "!").unwrap();
    let mut writer = db.value_writer();
    writer.write(b"by the piece").unwrap();
    txn.put_stored(&ks, "short", writer.finish().unwrap()).unwrap();

    // All of a batch or nothing: its last operation is refused.
    let mut batch = WriteBatch::new();
    batch.delete_range(ks.id(), "a", "z");
    batch.put(ks.id(), "b", "2");
    let mut bad = batch.clone();
    bad.put(ks.id(), vec![b'k'; 1 << 20], "too long a key");
    assert_eq!(txn.write(&bad).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(keys_of(txn.scan(&ks, ..)), ["long", "short"]);
    txn.set_savepoint();
    txn.write(&batch).unwrap();
    assert_eq!(keys_of(txn.scan(&ks, ..)), ["b"]);
    txn.rollback_to_savepoint().unwrap();
    txn.merge(&ks, "short", "!").unwrap();
    txn.commit().unwrap();
    assert_eq!(ks.get("long").unwrap().map(|value| value.len()), Some((5 << 20) + 1));
    assert_eq!(ks.get("short").unwrap().as_deref(), Some(&b"by the piece!"[..]));
    let refused = db.begin(TxnOptions::default()).put(&ks, vec![0; 1 << 20], "").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
}

/// All of them want the same two keys, in both orders: each gets through in the end, and nothing is lost.
#[test]
fn transact_gets_through_whatever_the_crowd() {
    let db = Db::open_temporary().unwrap();
    let ks = db.default_keyspace();
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let db = &db;
            scope.spawn(move || {
                for n in 0..60 {
                    let how = match (n + thread) % 2 {
                        0 => TxnOptions::pessimistic(),
                        _ => TxnOptions::optimistic(),
                    };
                    let keys = if thread % 2 == 0 { ["a", "b"] } else { ["b", "a"] };
                    db.transact(how.level(Level::Buffered), |txn| {
                        for key in keys {
                            let count = number(txn.get(ks, key)?);
                            txn.put(ks, key, (count + 1).to_be_bytes())?;
                        }
                        Ok(())
                    })
                    .unwrap();
                }
            });
        }
    });
    assert_eq!(number(db.get("a").unwrap()), 480);
    assert_eq!(number(db.get("b").unwrap()), 480);
}

#[test]
fn an_error_rolls_back_and_a_panic_releases() {
    let db = Db::open_temporary().unwrap();
    let ks = db.default_keyspace();
    let refused: ringfort::Result<()> = db.transact(TxnOptions::default(), |txn| {
        txn.put(ks, "k", "v")?;
        Err(ringfort::Error::new(ErrorKind::Invalid, "not so"))
    });
    assert_eq!(refused.unwrap_err().message(), "not so");
    let panicked = std::thread::scope(|scope| {
        let work = || {
            db.transact(TxnOptions::default(), |txn| -> ringfort::Result<()> {
                txn.put(ks, "k", "v")?;
                txn.scan(ks, ..).count();
                panic!("of the work")
            })
        };
        scope.spawn(work).join()
    });
    assert!(panicked.is_err());
    let hasty = TxnOptions::pessimistic().lock_timeout(Duration::ZERO);
    db.transact(hasty, |txn| {
        assert_eq!(txn.scan(ks, ..).count(), 0, "nothing was written");
        txn.put(ks, "k", "free")
    })
    .unwrap();
    assert_eq!(db.get("k").unwrap().as_deref(), Some(&b"free"[..]));
}
