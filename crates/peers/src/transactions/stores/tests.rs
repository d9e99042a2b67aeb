//! What all stores with transactions must do alike.

use super::*;
use crate::Result;
use ringfort_bench::scratch::Scratch;
use ringfort_bench::transactional::End;
use std::sync::atomic::{AtomicU64, Ordering};

fn each(test: impl Fn(&'static Kind, &dyn Fn() -> Box<dyn Store>)) {
    for kind in ALL {
        for by in kind.by {
            let dir = Scratch::new(&std::env::temp_dir(), "ringfort-transactions").unwrap();
            let settings = Settings { memory_budget: 64 << 20, ..Settings::default() };
            let opening = Opening { settings: &settings, by: *by, counter_latency: Duration::ZERO };
            test(kind, &|| (kind.open)(&dir.0, &opening).unwrap());
        }
    }
}

fn entries(names: &[&str]) -> Vec<(Vec<u8>, Vec<u8>)> {
    names.iter().map(|name| (name.as_bytes().to_vec(), format!("v{name}").into_bytes())).collect()
}

fn scanned(store: &dyn Transactional, read_only: bool, reverse: bool, limit: usize) -> Vec<String> {
    let mut seen = Vec::new();
    store
        .transact(read_only, &mut |txn| {
            seen.clear();
            txn.scan(b"b", b"e", reverse, limit, &mut |key, value| {
                seen.push(format!("{}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(value)));
                Ok(())
            })?;
            Ok(End::Commit)
        })
        .unwrap();
    seen
}

#[test]
fn what_is_committed_is_there_and_what_is_rolled_back_is_not() {
    each(|kind, open| {
        let name = kind.name;
        let opened = open();
        let store = opened.at(Level::Buffered, kind.reads).unwrap();
        store.load(&entries(&["a", "b", "c", "d", "e"])).unwrap();
        let mut value = Vec::new();
        let mut write = |end| {
            let ran = store.transact(false, &mut |txn| {
                assert!(txn.get(b"b", true, &mut value)?);
                txn.put(b"b", b"new")?;
                txn.delete(b"c")?;
                // Its own writes.
                assert!(txn.get(b"b", false, &mut value)? && value == b"new", "{name}");
                assert!(!txn.get(b"c", false, &mut value)?, "{name}");
                Ok(end)
            });
            assert_eq!(ran.unwrap(), 0, "{name}");
        };
        write(End::Rollback);
        assert_eq!(scanned(&*store, true, false, 9), ["b=vb", "c=vc", "d=vd"], "{name}");
        write(End::Commit);
        for read_only in [false, true] {
            assert_eq!(scanned(&*store, read_only, false, 9), ["b=new", "d=vd"], "{name}");
            assert_eq!(scanned(&*store, read_only, true, 9), ["d=vd", "b=new"], "{name}");
            assert_eq!(scanned(&*store, read_only, true, 1), ["d=vd"], "{name}");
        }
        store.settle().unwrap();
        drop(store);
        opened.close().unwrap();
        let opened = open();
        let store = opened.at(Level::Durable, kind.reads).unwrap();
        assert_eq!(scanned(&*store, false, false, 9), ["b=new", "d=vd"], "{name}, opened again");
    });
}

/// What it has written itself is found within the bounds of a scan, and only there.
#[test]
fn a_scan_sees_the_transactions_own_writes_and_ends_at_its_bounds() {
    each(|kind, open| {
        let opened = open();
        let store = opened.at(Level::Buffered, kind.reads).unwrap();
        store.load(&entries(&["a", "c", "f"])).unwrap();
        for reverse in [false, true] {
            let mut seen = Vec::new();
            let ran = store.transact(false, &mut |txn| {
                ["0", "b", "d", "e", "g"].iter().try_for_each(|key| txn.put(key.as_bytes(), b"own"))?;
                seen.clear();
                txn.scan(b"b", b"e", reverse, 9, &mut |key, _| {
                    seen.push(String::from_utf8_lossy(key).into_owned());
                    Ok(())
                })?;
                Ok(End::Rollback)
            });
            assert_eq!(ran.unwrap(), 0, "{}", kind.name);
            let mut expected = ["b", "c", "d"];
            if reverse {
                expected.reverse();
            }
            assert_eq!(seen, expected, "{}", kind.name);
        }
    });
}

#[test]
fn an_error_of_the_work_comes_back_and_changes_nothing() {
    each(|kind, open| {
        let opened = open();
        let store = opened.at(Level::Buffered, kind.reads).unwrap();
        let failed = store.transact(false, &mut |txn| {
            txn.put(b"b", b"1")?;
            Err("as planned".into())
        });
        assert!(failed.unwrap_err().to_string().contains("as planned"), "{}", kind.name);
        assert!(scanned(&*store, true, false, 9).is_empty(), "{}", kind.name);
    });
}

/// Transactions that read, and write what they read and one: none may be lost, although what they read is not
/// read for update.
#[test]
fn no_update_is_lost_where_reads_are_tracked() {
    const EACH: u64 = 60;
    each(|kind, open| {
        if kind.name == PLAIN_READS.name {
            return;
        }
        let opened = open();
        let store = opened.at(Level::Buffered, kind.reads).unwrap();
        let count = |value: &[u8]| String::from_utf8_lossy(value).parse().unwrap_or(0u64);
        let add = |key: &[u8]| -> Result<u64> {
            let mut value = Vec::new();
            store.transact(false, &mut |txn| {
                let before = if txn.get(key, false, &mut value)? { count(&value) } else { 0 };
                txn.put(key, (before + 1).to_string().as_bytes())?;
                Ok(End::Commit)
            })
        };
        let retries = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for nth in 0..EACH {
                        let key = if nth % 2 == 0 { b"even" } else { b"odd!" };
                        retries.fetch_add(add(key).unwrap(), Ordering::Relaxed);
                    }
                });
            }
        });
        let mut sum = 0;
        store
            .transact(true, &mut |txn| {
                sum = 0;
                txn.scan(b"a", b"z", false, 9, &mut |_, value| {
                    sum += count(value);
                    Ok(())
                })?;
                Ok(End::Commit)
            })
            .unwrap();
        assert_eq!(sum, 4 * EACH, "{}, {} retries", kind.name, retries.into_inner());
    });
}

/// What a scan found is protected, key by key, so nobody takes an entry away that another has seen.
#[test]
fn an_entry_of_a_scan_is_taken_by_one_only() {
    each(|kind, open| {
        if kind.name == PLAIN_READS.name {
            return;
        }
        let opened = open();
        let store = opened.at(Level::Buffered, kind.reads).unwrap();
        let names: Vec<String> = (0..80).map(|nth| format!("c{nth:02}")).collect();
        store.load(&entries(&names.iter().map(|name| &**name).collect::<Vec<_>>())).unwrap();
        let taken = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        let mut first = None;
                        store
                            .transact(false, &mut |txn| {
                                first = None;
                                txn.scan(b"b", b"e", false, 1, &mut |key, _| {
                                    first = Some(key.to_vec());
                                    Ok(())
                                })?;
                                if let Some(key) = &first {
                                    txn.delete(key)?;
                                }
                                Ok(End::Commit)
                            })
                            .unwrap();
                        if first.is_none() {
                            break;
                        }
                        taken.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(taken.into_inner(), 80, "{}", kind.name);
    });
}

#[test]
fn names_are_found_and_fresh_is_refused_by_who_has_none() {
    assert!(by_name("rocksdb").is_ok());
    assert!(by_name("none").err().unwrap().to_string().contains("rocksdb-plain-reads"));
    each(|kind, open| {
        let is_ours = kind.name.starts_with("ringfort");
        assert_eq!(open().at(Level::Fresh, kind.reads).is_ok(), is_ours, "{}", kind.name);
    });
}
