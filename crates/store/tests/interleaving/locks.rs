//! The lock table and its gate: nobody is let in to somebody, nobody is forgotten, and who waits for himself is told.

use crate::sync::explore;
use crate::txn::gate::Gate;
use crate::txn::locks::{LockError, LockTable, Mode, Owner};
use ringfort_base::KeyspaceId;
use shuttle::future::block_on;
use shuttle::sync::atomic::{AtomicU64, Ordering};
use shuttle::thread;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

const KS: KeyspaceId = KeyspaceId(1);

/// What somebody wants: a key, or a range of keys without its end.
#[derive(Clone, Copy)]
enum Want {
    Key(u8, Mode),
    Range(u8, u8, Mode),
    /// Asked for once, then given up.
    Glance(u8, Mode),
}
use Mode::{Exclusive, Shared};
use Want::{Glance, Key, Range};

/// Who is inside of each of three keys: readers, and writers as a thousand each.
#[derive(Default)]
struct Inside([AtomicU64; 3]);

const WRITER: u64 = 1000;

impl Inside {
    fn keys(want: Want) -> (std::ops::Range<usize>, Mode) {
        match want {
            Key(key, mode) => (usize::from(key)..usize::from(key) + 1, mode),
            Range(from, to, mode) => (usize::from(from)..usize::from(to), mode),
            Glance(_, mode) => (0..0, mode),
        }
    }

    fn enter(&self, want: Want) {
        let (keys, mode) = Self::keys(want);
        for key in &self.0[keys] {
            match mode {
                Shared => assert!(key.fetch_add(1, Ordering::SeqCst) < WRITER, "a reader beside a writer"),
                Exclusive => assert_eq!(key.fetch_add(WRITER, Ordering::SeqCst), 0, "a writer beside others"),
            }
        }
    }

    fn leave(&self, want: Want) {
        let (keys, mode) = Self::keys(want);
        for key in &self.0[keys] {
            key.fetch_sub(if mode == Shared { 1 } else { WRITER }, Ordering::SeqCst);
        }
    }
}

fn acquire(owner: &mut Owner, want: Want) -> Result<(), LockError> {
    match want {
        Key(key, mode) => block_on(owner.lock(KS, &[key], mode)),
        Range(from, to, mode) => block_on(owner.lock_range(KS, &[from], Some(&[to]), mode)),
        Glance(key, mode) => {
            let mut glance = pin!(owner.lock(KS, &[key], mode));
            let _ = glance.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            thread::yield_now();
            Ok(())
        }
    }
}

/// Takes everything one by one, and begins again for a deadlock, as old as at first: it gets through in the end.
fn work(table: &Arc<LockTable>, inside: &Inside, wants: &[Want]) {
    let mut age = None;
    for _ in 0..20 {
        let mut owner = table.owner(age);
        age = Some(owner.age());
        let mut had = Vec::new();
        let refused = wants.iter().find_map(|&want| {
            let refused = acquire(&mut owner, want).err();
            if refused.is_none() {
                inside.enter(want);
                had.push(want);
                thread::yield_now();
            }
            refused
        });
        had.iter().for_each(|&want| inside.leave(want));
        drop(owner);
        match refused {
            None => return,
            Some(LockError::Deadlock(deadlock)) => assert!(deadlock.cycle.len() > 1, "{deadlock}"),
            Some(full) => panic!("{full:?}"),
        }
    }
    panic!("it was refused again and again");
}

fn together(all: &'static [&'static [Want]]) {
    explore(move || {
        let table = LockTable::new(2, 1000);
        let inside: Arc<Inside> = Arc::default();
        let threads: Vec<_> = all
            .iter()
            .map(|wants| {
                let (table, inside) = (Arc::clone(&table), Arc::clone(&inside));
                thread::spawn(move || work(&table, &inside, wants))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(table.held(), 0, "a lock is left over");
    });
}

/// In any order, so that they wait for each other in cycles of two and of three.
#[test]
fn keys_exclude_and_cycles_are_broken() {
    together(&[
        &[Key(0, Exclusive), Key(1, Exclusive)],
        &[Key(1, Exclusive), Key(2, Shared), Key(0, Shared)],
        &[Key(2, Exclusive), Key(0, Shared)],
    ]);
}

/// Ranges stand in every stripe, and are taken there one after another.
#[test]
fn ranges_exclude_keys_and_ranges() {
    together(&[
        &[Range(0, 2, Shared), Key(2, Exclusive)],
        &[Key(0, Exclusive), Range(1, 3, Shared)],
        &[Range(1, 3, Exclusive)],
    ]);
    together(&[
        &[Range(0, 2, Exclusive), Key(2, Shared)],
        &[Range(1, 3, Exclusive), Key(0, Shared)],
        &[Key(1, Shared)],
    ]);
}

/// Whoever gives up passes on what he was given meanwhile, and stands in nobody's way.
#[test]
fn who_gives_up_is_in_nobodys_way() {
    together(&[
        &[Key(0, Exclusive), Key(1, Shared)],
        &[Glance(0, Exclusive), Key(1, Exclusive), Glance(0, Shared)],
        &[Glance(1, Shared), Range(0, 2, Shared)],
    ]);
}

/// Readers that become writers: of several only one at a time, and what he read is still so.
#[test]
fn upgrades_lose_nothing() {
    explore(|| {
        let table = LockTable::new(1, 1000);
        let value = Arc::new(AtomicU64::new(0));
        let threads = [0, 1, 2].map(|nth| {
            let (table, value) = (Arc::clone(&table), Arc::clone(&value));
            thread::spawn(move || {
                let mut age = None;
                loop {
                    let mut owner = table.owner(age);
                    age = Some(owner.age());
                    // Two read the key, one a range over it.
                    let read = match nth {
                        0 => block_on(owner.lock_range(KS, b"a", Some(b"z"), Shared)),
                        _ => block_on(owner.lock(KS, b"k", Shared)),
                    };
                    let seen = value.load(Ordering::SeqCst);
                    let upgraded = read.and_then(|()| block_on(owner.lock(KS, b"k", Exclusive)));
                    match upgraded {
                        Ok(()) => return value.store(seen + 1, Ordering::SeqCst),
                        Err(LockError::Deadlock(_)) => {}
                        Err(full) => panic!("{full:?}"),
                    }
                }
            })
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!((value.load(Ordering::SeqCst), table.held()), (3, 0));
    });
}

/// Plain writes pass, or take locks; transactions read and write in two steps. Nothing is lost, and nobody waits
/// for ever.
#[test]
fn a_plain_write_passes_no_transaction() {
    explore(|| {
        let (gate, table) = (Arc::new(Gate::default()), LockTable::new(1, 1000));
        let value = Arc::new(AtomicU64::new(0));
        let writers = [(); 2].map(|()| {
            let (gate, table, value) = (Arc::clone(&gate), Arc::clone(&table), Arc::clone(&value));
            thread::spawn(move || {
                for _ in 0..2 {
                    match gate.enter() {
                        Some(_pass) => {
                            thread::yield_now();
                            value.fetch_add(1, Ordering::SeqCst);
                        }
                        None => {
                            let mut owner = table.owner(None);
                            block_on(owner.lock(KS, b"k", Exclusive)).unwrap();
                            value.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
            })
        });
        let transactions = [(); 2].map(|()| {
            let (gate, table, value) = (Arc::clone(&gate), Arc::clone(&table), Arc::clone(&value));
            thread::spawn(move || {
                let live = gate.live();
                let mut owner = table.owner(None);
                block_on(live.alone());
                block_on(owner.lock(KS, b"k", Exclusive)).unwrap();
                let seen = value.load(Ordering::SeqCst);
                thread::yield_now();
                value.store(seen + 1, Ordering::SeqCst);
                drop(owner);
                drop(live);
            })
        });
        writers.into_iter().chain(transactions).for_each(|thread| thread.join().unwrap());
        assert_eq!(value.load(Ordering::SeqCst), 6);
        assert!(gate.enter().is_some(), "it stays shut");
    });
}
