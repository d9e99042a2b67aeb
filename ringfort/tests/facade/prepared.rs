//! Prepared transactions of an embedded database: a vote, a decision, and threads that wait for it.

use crate::dir::Dir;
use ringfort::{Db, ErrorKind, Level, Options, TxnOptions};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[test]
fn a_transfer_between_two_databases_survives_a_restart_of_both() {
    let dirs = [Dir::new(), Dir::new()];
    let open = |n: usize| Db::open(dirs[n].software()).unwrap();
    let banks = [open(0), open(1)];
    for (bank, change) in banks.iter().zip(["70", "130"]) {
        bank.put("balance", "100").unwrap();
        let ks = bank.default_keyspace().id();
        let mut txn = bank.begin(TxnOptions::default());
        assert_eq!(txn.get_for_update(ks, "balance").unwrap().as_deref(), Some(&b"100"[..]));
        txn.put(ks, "balance", change).unwrap();
        txn.prepare("transfer 1").unwrap();
    }
    // Decided, but only one of them hears of it before the end.
    banks[0].resume("transfer 1").unwrap().commit().unwrap();
    drop(banks);
    let banks = [open(0), open(1)];
    assert!(banks[0].prepared().is_empty());
    assert_eq!(banks[0].get("balance").unwrap().as_deref(), Some(&b"70"[..]));
    let in_doubt = banks[1].prepared();
    assert_eq!((in_doubt.len(), &in_doubt[0].name[..], in_doubt[0].writes), (1, &b"transfer 1"[..], 1));
    assert_eq!(banks[1].get("balance").unwrap().as_deref(), Some(&b"100"[..]));
    let commit = banks[1].resume("transfer 1").unwrap().commit_with(Level::Fresh).unwrap();
    assert!(commit.has(Level::Fresh));
    assert_eq!(banks[1].get("balance").unwrap().as_deref(), Some(&b"130"[..]));
    assert_eq!(banks[1].resume("transfer 1").err().unwrap().kind(), ErrorKind::NotFound);
}

#[test]
fn a_writer_waits_until_it_is_decided() {
    let db = Db::open_temporary().unwrap();
    let ks = db.default_keyspace().id();
    let mut txn = db.begin(TxnOptions::default());
    txn.put(ks, "k", "prepared").unwrap();
    let vote = txn.prepare("t").unwrap();
    let written = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            db.put("k", "plain").unwrap();
            written.store(true, Ordering::SeqCst);
        });
        db.put("another", "goes on").unwrap();
        ringfort_host::door::sleep(Duration::from_millis(50));
        assert!(!written.load(Ordering::SeqCst));
        vote.commit().unwrap();
    });
    assert_eq!(db.get("k").unwrap().as_deref(), Some(&b"plain"[..]), "behind the transaction");
}

#[test]
fn a_vote_is_durable_at_the_least() {
    let db = Db::open_temporary_with(Options::new("").level(Level::Buffered)).unwrap();
    let ks = db.default_keyspace().id();
    let begin = || {
        let mut txn = db.begin(TxnOptions::default());
        txn.put(ks, "k", "v").unwrap();
        txn
    };
    let refused = begin().prepare_with("t", Level::Buffered).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    let syncs = db.statistics().syncs;
    let vote = begin().prepare("t").unwrap();
    assert!(db.statistics().syncs > syncs);
    assert_eq!(begin_other(&db, "t").err().unwrap().kind(), ErrorKind::AlreadyExists);
    vote.abort().unwrap();
    assert_eq!(db.get("k").unwrap(), None);
    begin_other(&db, "t").unwrap().abort_with(Level::Buffered).unwrap();
}

fn begin_other(db: &Db, name: &str) -> ringfort::Result<ringfort::Prepared> {
    let mut txn = db.begin(TxnOptions::default());
    txn.put(db.default_keyspace().id(), "other", "v")?;
    txn.prepare(name)
}
