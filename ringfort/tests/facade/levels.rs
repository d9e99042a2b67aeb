//! Levels: what a write waits for, what a read waits for, and who does the work.

use crate::dir::Dir;
use ringfort::{Commit, Db, ErrorKind, Level, Options, WriteBatch};
use ringfort_host::door;
use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

fn put(db: &Db, key: &str, level: Level) -> Commit {
    let mut batch = WriteBatch::new();
    batch.put(db.default_keyspace().id(), key, "value");
    db.write_with(batch, level).unwrap()
}

/// A store on which nothing happens unless somebody asks for it.
fn quiet() -> Options {
    Options::new("").anchor_window(Duration::from_secs(3600))
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn a_commit_has_its_level_and_can_get_a_higher_one() {
    let db = Db::open_temporary_with(quiet()).unwrap();
    let commit = put(&db, "a", Level::Buffered);
    assert!(commit.has(Level::Buffered) && !commit.has(Level::Durable));
    commit.wait(Level::Durable).unwrap();
    assert!(commit.has(Level::Durable) && !commit.has(Level::Fresh));
    commit.wait(Level::Fresh).unwrap();
    assert!(commit.has(Level::Fresh));
    assert!(put(&db, "b", Level::Fresh).has(Level::Fresh));
    assert!(db.frontier(Level::Fresh) >= commit.position());
}

#[test]
fn a_commit_can_be_awaited_without_blocking() {
    let db = Db::open_temporary_with(quiet()).unwrap();
    let commits: Vec<_> = (0..20).map(|n| put(&db, &n.to_string(), Level::Buffered)).collect();
    let futures: Vec<_> = commits.iter().map(|commit| commit.future(Level::Fresh)).collect();
    drop(commits[0].future(Level::Fresh));
    for future in futures {
        block_on(future).unwrap();
    }
    assert!(commits.iter().all(|commit| commit.has(Level::Fresh)));
}

/// The level that it was submitted for comes of itself, and releases all who are covered at once.
#[test]
fn submitted_commits_come_to_their_level_without_a_thread_each() {
    const HANDLES: usize = 3_000;
    let db = Db::open_temporary_with(quiet().counter_latency(Duration::from_millis(2))).unwrap();
    let before = db.statistics();
    let submit = |n: usize, level| {
        let mut batch = WriteBatch::new();
        batch.put(db.default_keyspace().id(), format!("{n:05}"), "value");
        db.submit(batch, level).unwrap()
    };
    let commits: Vec<_> = (0..HANDLES).map(|n| submit(n, Level::Fresh)).collect();
    for (n, commit) in commits.into_iter().enumerate() {
        match n % 3 {
            0 => commit.wait(Level::Fresh).unwrap(),
            1 => block_on(commit.clone().into_future()).unwrap(),
            _ => block_on(commit.future(Level::Durable)).unwrap(),
        }
        assert!(commit.has(if n % 3 == 2 { Level::Durable } else { Level::Fresh }));
    }
    let after = db.statistics();
    assert_eq!(after.counter_reads, before.counter_reads, "an advance that covers a commit confirms it");
    assert!(after.advances - before.advances < 300, "{} advances", after.advances - before.advances);
    assert!(after.groups - before.groups < HANDLES as u64, "they are written in groups");
    // Nobody has to ask for what a commit was submitted for.
    for level in Level::ALL {
        let commit = submit(0, level);
        let mut waited = Duration::ZERO;
        while !commit.has(level) {
            assert!(waited < Duration::from_secs(10), "{level}: it never came");
            door::sleep(Duration::from_millis(1));
            waited += Duration::from_millis(1);
        }
    }
    assert_eq!(db.scan(..).unwrap().count(), HANDLES);
}

/// Blocking writers, handles and readers at all levels at once: nobody is forgotten, and the roles
/// are free afterwards.
#[test]
fn threads_and_handles_of_all_levels_share_the_pipeline() {
    let db = Db::open_temporary_with(quiet().counter_latency(Duration::from_micros(300))).unwrap();
    let threads: Vec<_> = (0..9usize)
        .map(|thread| {
            let db = db.clone();
            let level = Level::ALL[thread % 3];
            let work = move || {
                let ks = db.default_keyspace();
                for n in 0..60 {
                    let key = format!("{thread}/{n}");
                    match thread / 3 {
                        0 => drop(ks.put_with(key.clone(), "v", level).unwrap()),
                        1 => {
                            let mut batch = WriteBatch::new();
                            batch.put(ks.id(), key.clone(), "v");
                            block_on(db.submit(batch, level).unwrap().into_future()).unwrap();
                        }
                        _ => {
                            let commit = ks.put_with(key.clone(), "v", Level::Buffered).unwrap();
                            if n % 7 == 0 {
                                db.flush().unwrap();
                            }
                            commit.wait(level).unwrap();
                        }
                    }
                    assert_eq!(ks.get_with(&key, level).unwrap().as_deref(), Some(&b"v"[..]));
                }
            };
            door::spawn("mixed", work).unwrap()
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(db.scan(..).unwrap().count(), 9 * 60);
    db.default_keyspace().put_with("last", "v", Level::Fresh).unwrap();
    db.close().unwrap();
}

/// Several threads share a store without workers: whoever has a role passes the work on.
#[test]
fn without_workers_many_threads_do_the_work() {
    let db = Db::open_temporary_with(quiet().background(false)).unwrap();
    let threads: Vec<_> = (0..6usize)
        .map(|thread| {
            let db = db.clone();
            let work = move || {
                for n in 0..50 {
                    let level = if thread % 2 == 0 { Level::Fresh } else { Level::Durable };
                    db.default_keyspace().put_with(format!("{thread}/{n}"), "v", level).unwrap();
                }
            };
            door::spawn("alone", work).unwrap()
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(db.scan(..).unwrap().count(), 300);
}

/// R7: what nobody waits for is anchored all the same.
#[test]
fn r7_the_window_is_kept_in_the_background() {
    let window = Duration::from_millis(30);
    let db = Db::open_temporary_with(Options::new("").anchor_window(window)).unwrap();
    for round in 0..3 {
        let commit = put(&db, "k", Level::Buffered);
        let mut waited = Duration::ZERO;
        while !commit.has(Level::Fresh) {
            assert!(waited < Duration::from_secs(10), "round {round}: never anchored");
            door::sleep(Duration::from_millis(5));
            waited += Duration::from_millis(5);
        }
    }
}

#[test]
fn many_writers_share_syncs_and_advances() {
    const WRITERS: usize = 8;
    const EACH: usize = 40;
    let db = Db::open_temporary_with(quiet().counter_latency(Duration::from_millis(2))).unwrap();
    let before = db.statistics();
    let threads: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let db = db.clone();
            let work = move || {
                for n in 0..EACH {
                    db.default_keyspace().put_with(format!("{writer}/{n}"), "v", Level::Fresh).unwrap();
                    let read = db.default_keyspace().get_with(format!("{writer}/{n}"), Level::Fresh);
                    assert_eq!(read.unwrap().as_deref(), Some(&b"v"[..]));
                }
            };
            door::spawn("writer", work).unwrap()
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(db.scan(..).unwrap().count(), WRITERS * EACH);
    let after = db.statistics();
    let rounds = after.advances + after.counter_reads - before.advances - before.counter_reads;
    assert!(rounds < (WRITERS * EACH * 2) as u64, "{rounds} rounds for {} waits", WRITERS * EACH * 2);
}

/// R6: an answer, absence included, is not given before it has the reader's level.
#[test]
fn r6_a_read_brings_about_the_level_that_it_waits_for() {
    let db = Db::open_temporary_with(quiet()).unwrap();
    let commit = put(&db, "k", Level::Buffered);
    db.default_keyspace().get_with("k", Level::Durable).unwrap();
    assert!(commit.has(Level::Durable) && !commit.has(Level::Fresh));
    db.delete("k").unwrap();
    let deleted = put(&db, "other", Level::Buffered);
    assert_eq!(db.default_keyspace().get_with("k", Level::Fresh).unwrap(), None);
    assert!(commit.has(Level::Fresh), "the tombstone was anchored before its absence was shown");
    let snapshot = db.snapshot().unwrap().with_level(Level::Fresh);
    assert_eq!(snapshot.scan(db.default_keyspace(), ..).unwrap().count(), 1);
    assert!(deleted.has(Level::Fresh), "a scan depends on all that its snapshot shows");
}

/// R5: a copy that lags is found out by the first read at `fresh`, though nothing was written to it.
#[test]
fn r5_of_two_live_copies_the_first_serves_nothing_fresh() {
    let dir = Dir::new();
    let first = Db::open(dir.software().anchor_window(Duration::from_secs(3600))).unwrap();
    first.default_keyspace().put_with("k", "1", Level::Fresh).unwrap();
    dir.copy_live("data", "clone");
    let second = Options::new(dir.path("clone")).platform_state(dir.path("platform"));
    let second = Db::open(second).unwrap();
    second.default_keyspace().put_with("k", "2", Level::Fresh).unwrap();

    let error = first.default_keyspace().get_with("k", Level::Fresh).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SecondCopy, "{error}");
    assert!(error.proof().is_some());
    assert_eq!(first.get("k").unwrap_err().kind(), ErrorKind::SecondCopy, "it has stopped for good");
    assert!(first.put("k", "3").is_err() && first.stopped().is_some());
    assert_eq!(second.default_keyspace().get_with("k", Level::Fresh).unwrap().as_deref(), Some(&b"2"[..]));
}

#[test]
fn without_workers_the_callers_do_the_work() {
    let small = ringfort::KeyspaceOptions { write_buffer_bytes: 64 << 10, ..Default::default() };
    let db = Db::open_temporary_with(quiet().background(false).keyspace_defaults(small)).unwrap();
    for n in 0..3_000u32 {
        put(&db, &format!("{n:05}"), Level::Buffered);
        if n % 200 == 0 {
            db.default_keyspace().put_with(format!("big{n}"), vec![0; 40 << 10], Level::Buffered).unwrap();
        }
    }
    let last = put(&db, "last", Level::Buffered);
    let future = last.future(Level::Fresh);
    while db.run_pending().unwrap() {}
    block_on(future).unwrap();
    assert!(db.statistics().flushes > 0);
    assert_eq!(db.get("02999").unwrap().as_deref(), Some(&b"value"[..]));
}

#[test]
fn upkeep_can_be_waited_for_with_workers_and_without() {
    for background in [true, false] {
        let small = ringfort::KeyspaceOptions { write_buffer_bytes: 64 << 10, ..Default::default() };
        let options = quiet().background(background).level(Level::Buffered).keyspace_defaults(small);
        let db = Db::open_temporary_with(options).unwrap();
        for n in 0..5_000u32 {
            db.put(n.to_be_bytes().repeat(4), vec![7; 200]).unwrap();
        }
        db.flush().unwrap();
        db.wait_for_upkeep().unwrap();
        let before = db.statistics();
        assert!(before.flushes > 5, "{before:?}");
        let (level0, _) = db.default_keyspace().levels().unwrap()[0];
        assert!(level0 <= 8, "the debt is paid, level 0 at twice its trigger at most: {level0}");
        assert!(!db.run_pending().unwrap(), "and nothing is left to do");
        door::sleep(Duration::from_millis(20));
        let after = db.statistics();
        assert_eq!((after.flushes, after.compactions), (before.flushes, before.compactions));
        db.close().unwrap();
        assert!(db.wait_for_upkeep().is_err(), "a closed store has no upkeep");
    }
}

/// R11: a counter that cannot be reached leaves an applied batch in doubt, never undone.
#[test]
fn r11_a_failure_of_the_counter_is_an_unknown_outcome() {
    // Once only the counter's answer is missing, once nobody knows whether it advanced.
    for anchored_before in [true, false] {
        let dir = Dir::new();
        let quiet = || dir.software().anchor_window(Duration::from_secs(3600)).background(false);
        let db = Db::open(quiet()).unwrap();
        let commit = put(&db, "a", Level::Durable);
        if anchored_before {
            commit.wait(Level::Fresh).unwrap();
        }
        let (lock, aside) = (dir.path("platform/LOCK"), dir.path("platform/LOCK.aside"));
        std::fs::rename(&lock, &aside).unwrap();
        std::fs::create_dir(&lock).unwrap();
        if anchored_before {
            // The advance that covers it began after it was written (R5): nobody need be asked again.
            commit.wait(Level::Fresh).unwrap();
            let error = db.default_keyspace().get_with("a", Level::Fresh).unwrap_err();
            assert_eq!(
                error.kind(),
                ErrorKind::Stopped,
                "a read is confirmed anew, or not answered: {error}"
            );
        } else {
            let error = commit.wait(Level::Fresh).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
        }
        std::fs::remove_dir(&lock).unwrap();
        std::fs::rename(&aside, &lock).unwrap();
        // Whether or not that stopped the store: what was durable is there.
        drop((commit, db));
        let db = Db::open(quiet()).unwrap();
        assert_eq!(db.get("a").unwrap().as_deref(), Some(&b"value"[..]));
    }
}
