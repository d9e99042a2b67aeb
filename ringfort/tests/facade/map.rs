//! Reading and writing: keys, ranges, keyspaces, batches, snapshots.

use crate::dir::Dir;
use ringfort::{
    CannotMerge, Checkpoint, Compression, Db, ErrorKind, KeyspaceOptions, MergeOperator, Mode, Options,
    Result, Scan, WriteBatch,
};
use std::sync::Arc;

fn keys(scan: Scan) -> Vec<String> {
    scan.map(|entry| String::from_utf8(entry.unwrap().0).unwrap()).collect()
}

#[test]
fn all_three_modes_keep_what_was_written() {
    for mode in Mode::ALL {
        let dir = Dir::new();
        let db = Db::open(dir.options(mode)).unwrap();
        assert_eq!(db.mode(), mode);
        for n in 0..200u32 {
            db.put(format!("k{n:03}"), vec![n as u8; 100]).unwrap();
        }
        db.flush().unwrap();
        db.delete("k007").unwrap();
        db.put("k008", "changed").unwrap();
        let id = db.id();
        db.close().unwrap();
        drop(db);

        let db = Db::open(dir.options(mode)).unwrap();
        assert_eq!((db.id(), db.incarnation().0), (id, 2), "{mode}");
        assert_eq!(db.get("k007").unwrap(), None, "{mode}");
        assert_eq!(db.get("k008").unwrap().as_deref(), Some(&b"changed"[..]), "{mode}");
        assert_eq!(db.get("k199").unwrap(), Some(vec![199; 100].into()), "{mode}");
        assert_eq!(db.scan(..).unwrap().count(), 199, "{mode}");
        assert!(db.verify_checksums().unwrap() > 0, "{mode}");
    }
}

#[test]
fn ranges_forward_in_reverse_and_by_prefix() {
    let db = Db::open_temporary().unwrap();
    for key in ["a", "ab", "abc", "b", "c"] {
        db.put(key, key).unwrap();
    }
    assert_eq!(keys(db.scan(..).unwrap()), ["a", "ab", "abc", "b", "c"]);
    assert_eq!(keys(db.scan("ab".."b").unwrap()), ["ab", "abc"]);
    assert_eq!(keys(db.scan("ab"..="b").unwrap()), ["ab", "abc", "b"]);
    assert_eq!(keys(db.scan(.."ab").unwrap()), ["a"]);
    assert_eq!(keys(db.scan_rev("ab"..).unwrap()), ["c", "b", "abc", "ab"]);
    assert_eq!(keys(db.prefix("ab").unwrap()), ["ab", "abc"]);
    assert_eq!(keys(db.prefix("").unwrap()).len(), 5);
    db.delete_range("ab", "b").unwrap();
    assert_eq!(keys(db.scan(..).unwrap()), ["a", "b", "c"]);
    db.compact_range(..).unwrap();
    assert_eq!(keys(db.scan_rev(..).unwrap()), ["c", "b", "a"]);
    assert!(db.approximate_size(..).unwrap() > 0);
}

#[test]
fn a_scan_lends_its_entries() -> Result<()> {
    let db = Db::open_temporary()?;
    for key in ["a", "b", "c"] {
        db.put(key, [key, key].concat())?;
    }
    let mut scan = db.scan_rev(..="b")?;
    assert_eq!(scan.entry(), Some((&b"b"[..], &b"bb"[..])));
    assert_eq!(scan.entry(), Some((&b"b"[..], &b"bb"[..])), "it stays until the scan moves on");
    scan.advance()?;
    assert_eq!(scan.entry(), Some((&b"a"[..], &b"aa"[..])));
    scan.advance()?;
    assert_eq!(scan.entry(), None);
    scan.advance()?;
    assert!(scan.entry().is_none() && scan.next().is_none(), "behind the end is the end");
    Ok(())
}

#[test]
fn a_snapshot_stays_what_it_was() -> Result<()> {
    let db = Db::open_temporary()?;
    db.put("k", "1")?;
    let snapshot = db.snapshot()?;
    let scan = db.scan(..)?;
    db.put("k", "2")?;
    db.put("l", "2")?;
    db.flush()?;
    db.compact_range(..)?;
    assert_eq!(snapshot.get(db.default_keyspace(), "k")?.as_deref(), Some(&b"1"[..]));
    assert_eq!(snapshot.get(db.default_keyspace(), "l")?, None);
    assert_eq!(keys(snapshot.scan_rev(db.default_keyspace(), ..)?), ["k"]);
    assert_eq!(keys(scan), ["k"], "a scan shows the moment of its beginning");
    assert_eq!(db.get("k")?.as_deref(), Some(&b"2"[..]));
    Ok(())
}

#[test]
fn keyspaces_are_apart_and_a_batch_spans_them() -> Result<()> {
    let db = Db::open_temporary()?;
    let options = KeyspaceOptions { compression: Compression::Zstd, ..KeyspaceOptions::default() };
    let (users, mail) = (db.create_keyspace("users", options)?, db.open_keyspace("mail")?);
    let mut batch = WriteBatch::new();
    batch.put(users.id(), "1", "Ada");
    batch.put(mail.id(), "1", "ada@example.org");
    batch.delete(db.default_keyspace().id(), "1");
    db.write(batch)?;
    assert_eq!(db.get("1")?, None);
    assert_eq!(users.get("1")?.as_deref(), Some(&b"Ada"[..]));
    assert_eq!(db.keyspace("mail")?.get("1")?.as_deref(), Some(&b"ada@example.org"[..]));
    assert_eq!(db.keyspaces(), ["default", "mail", "users"]);

    // A batch that names one that is gone changes nothing at all.
    db.drop_keyspace("mail")?;
    let mut batch = WriteBatch::new();
    batch.put(users.id(), "2", "Grace");
    batch.put(mail.id(), "2", "grace@example.org");
    assert_eq!(db.write(batch).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(users.get("2")?, None);
    assert_eq!(db.keyspace("mail").err().map(|e| e.kind()), Some(ErrorKind::NotFound));
    Ok(())
}

#[test]
fn limits_are_errors_and_change_nothing() {
    let db = Db::open_temporary().unwrap();
    let long = vec![b'k'; ringfort_base::limits::KEY_BYTES_MAX + 1];
    assert_eq!(db.put(long, "v").unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(db.scan(..).unwrap().count(), 0);
    db.put("k", vec![1; 5 << 20]).unwrap();
    assert_eq!(db.get("k").unwrap().map(|value| value.len()), Some(5 << 20));
}

/// A keyspace is bound to its operator by name: without it nothing is merged and nothing guessed.
#[test]
fn merge_operators_of_users_are_registered_at_every_open() {
    struct Sum;
    impl MergeOperator for Sum {
        fn name(&self) -> &str {
            "app.sum"
        }
        fn full_merge(
            &self,
            _: &[u8],
            existing: Option<&[u8]>,
            operands: &[&[u8]],
        ) -> std::result::Result<Vec<u8>, CannotMerge> {
            let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<i64>().ok();
            let terms = existing.into_iter().chain(operands.iter().copied()).map(number);
            let sum: Option<i64> = terms.sum();
            sum.map(|sum| sum.to_string().into_bytes()).ok_or(CannotMerge("a term is no number"))
        }
    }
    let dir = Dir::new();
    let options = || dir.options(Mode::Software).merge_operator(Arc::new(Sum));
    let db = Db::open(options()).unwrap();
    let sums = KeyspaceOptions { merge_operator: Some("app.sum".into()), ..KeyspaceOptions::default() };
    let sums = db.create_keyspace("sums", sums).unwrap();
    for term in ["40", "-1", "3"] {
        sums.merge("k", term).unwrap();
        db.flush().unwrap();
    }
    assert_eq!(sums.get("k").unwrap().as_deref(), Some(&b"42"[..]));
    assert_eq!(db.merge("k", "1").unwrap_err().kind(), ErrorKind::Invalid, "the default keyspace has none");
    db.checkpoint(dir.path("copy")).unwrap();
    db.close().unwrap();
    drop((sums, db));

    let copy = Options::new(dir.path("copy")).platform_state(dir.path("platform"));
    let get = |options: &Options| Checkpoint::open(options).unwrap().get("sums", "k");
    assert_eq!(get(&copy).unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(get(&copy.merge_operator(Arc::new(Sum))).unwrap().as_deref(), Some(&b"42"[..]));
    let db = Db::open(dir.options(Mode::Software)).unwrap();
    let error = db.keyspace("sums").unwrap().get("k").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.message().contains("app.sum"), "{error}");
}
