//! The small kernels under a scheduler that chooses the interleaving: the same source files as in the
//! store, compiled over shuttle's primitives instead of the operating system's. Their unit tests run
//! here once more, under it.
#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(dead_code, reason = "the kernels are here for their protocols, not for all that they offer")]

/// Stands in for `crate::sync`.
mod sync {
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64};
    pub(crate) use shuttle::thread_local;

    /// A mutex with the face of the production one.
    #[derive(Default)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn lock(&self) -> shuttle::sync::MutexGuard<'_, T> {
            self.0.lock().expect("no test panics while it holds a lock")
        }
    }

    /// A unit test of one thread.
    pub(crate) fn check(body: impl Fn() + Send + Sync + 'static) {
        shuttle::check_random(body, 1);
    }

    /// Runs `body` in many interleavings: random ones, and such with few preemptions.
    pub(crate) fn explore(body: impl Fn() + Send + Sync + 'static) {
        let long = std::env::var_os("RINGFORT_LONG").is_some_and(|v| v == "1");
        let runs = if long { 200_000 } else { 3_000 };
        let body = std::sync::Arc::new(body);
        let again = std::sync::Arc::clone(&body);
        shuttle::check_random(move || body(), runs);
        shuttle::check_pct(move || again(), runs, 3);
    }
}

#[path = "../src/frontier.rs"]
mod frontier;
#[path = "interleaving/locks.rs"]
mod lock_table;
#[path = "../src/role.rs"]
mod role;
#[path = "../src/txn"]
mod txn {
    pub(crate) mod gate;
    pub(crate) mod locks;
}

use frontier::Frontiers;
use ringfort_base::{Error, ErrorKind, Level, Seq};
use role::{Holder, Role};
use shuttle::sync::atomic::{AtomicU64, Ordering};
use shuttle::thread;
use std::sync::Arc;

/// The counter as the model has it: how many operations began, and which head each confirmed.
struct Model {
    frontiers: Arc<Frontiers>,
    written: AtomicU64,
    durable: AtomicU64,
    /// The number of the last counter operation that began.
    operations: AtomicU64,
    anchor: sync::Mutex<()>,
}

impl Model {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            frontiers: Arc::default(),
            written: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            operations: AtomicU64::new(0),
            anchor: sync::Mutex::default(),
        })
    }

    fn write(&self) -> Seq {
        let position = self.written.fetch_add(1, Ordering::SeqCst) + 1;
        self.frontiers.raise(Level::Buffered, Seq(position));
        Seq(position)
    }

    /// As `sync_step`: `false` if nobody asks.
    fn sync(&self) -> bool {
        if !self.frontiers.sync_wanted() {
            return false;
        }
        let position = self.written.load(Ordering::SeqCst);
        self.durable.fetch_max(position, Ordering::SeqCst);
        self.frontiers.raise(Level::Durable, Seq(position));
        true
    }

    /// As `anchor_step`.
    fn anchor(&self) -> bool {
        if !self.frontiers.round_wanted() {
            return false;
        }
        let guard = self.anchor.lock();
        let round = self.frontiers.begin_round();
        let position = self.durable.load(Ordering::SeqCst);
        self.operations.fetch_add(1, Ordering::SeqCst);
        drop(guard);
        self.frontiers.raise(Level::Fresh, Seq(position));
        self.frontiers.end_round(round);
        true
    }
}

/// Waiters of every level against two threads that run the steps until nobody asks: none is
/// forgotten (shuttle reports a deadlock), and none is let go before its level.
#[test]
fn no_waiter_is_forgotten_or_let_go_too_early() {
    sync::explore(|| {
        let model = Model::new();
        let left = Arc::new(AtomicU64::new(4));
        let mut threads = Vec::new();
        for level in [Level::Buffered, Level::Durable, Level::Fresh, Level::Fresh] {
            let (model, left) = (Arc::clone(&model), Arc::clone(&left));
            threads.push(thread::spawn(move || {
                let position = model.write();
                if level == Level::Fresh {
                    // So that operations that began before are enough but for R5.
                    assert_eq!(
                        shuttle::future::block_on(model.frontiers.wait(position, Level::Durable)),
                        Ok(())
                    );
                }
                let before = model.operations.load(Ordering::SeqCst);
                let outcome = shuttle::future::block_on(model.frontiers.wait(position, level));
                assert_eq!(outcome, Ok(()));
                assert!(model.frontiers.get(level) >= position);
                if level > Level::Buffered {
                    assert!(model.durable.load(Ordering::SeqCst) >= position.0);
                }
                if level == Level::Fresh {
                    // R5: a counter operation that began after the wait did.
                    assert!(model.operations.load(Ordering::SeqCst) > before);
                }
                left.fetch_sub(1, Ordering::SeqCst);
            }));
        }
        for _ in 0..2 {
            let (model, left) = (Arc::clone(&model), Arc::clone(&left));
            threads.push(thread::spawn(move || {
                while left.load(Ordering::SeqCst) > 0 {
                    if !model.sync() & !model.anchor() {
                        thread::yield_now();
                    }
                }
            }));
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(!model.frontiers.sync_wanted() && !model.frontiers.round_wanted(), "work is left over");
    });
}

/// A stop between any two instructions: every waiter is answered, and "unknown" is never said of what
/// is visible as confirmed.
#[test]
fn a_stop_answers_every_waiter() {
    sync::explore(|| {
        let model = Model::new();
        let mut threads = Vec::new();
        for level in Level::ALL {
            let model = Arc::clone(&model);
            threads.push(thread::spawn(move || {
                let position = model.write();
                match shuttle::future::block_on(model.frontiers.wait(position, level)) {
                    Ok(()) => assert!(model.frontiers.get(level) >= position),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
                        assert!(level > Level::Buffered, "it was visible already");
                        assert!(model.frontiers.stopped().is_some());
                    }
                }
            }));
        }
        let model = Arc::clone(&model);
        threads.push(thread::spawn(move || {
            model.sync();
            model.anchor();
            model.frontiers.stop(Error::new(ErrorKind::Io, "the disk is gone"));
        }));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// Frontiers only rise, and none passes the one below it, whoever looks when.
#[test]
fn frontiers_keep_their_order() {
    sync::explore(|| {
        let model = Model::new();
        let writer = {
            let model = Arc::clone(&model);
            thread::spawn(move || {
                for _ in 0..3 {
                    let position = model.write();
                    model.frontiers.want(position, Level::Fresh);
                    model.sync();
                    model.anchor();
                }
            })
        };
        let mut last = [Seq::ZERO; 3];
        for _ in 0..4 {
            // Highest level first: what is below may have risen meanwhile, never fallen.
            let fresh = model.frontiers.get(Level::Fresh);
            let durable = model.frontiers.get(Level::Durable);
            let buffered = model.frontiers.get(Level::Buffered);
            assert!(fresh <= durable && durable <= buffered);
            assert!(fresh >= last[0] && durable >= last[1] && buffered >= last[2]);
            last = [fresh, durable, buffered];
        }
        writer.join().unwrap();
    });
}

/// The embedded shell over the model: callers who run a step where nobody is at it, and a worker who
/// is called for the rest.
struct Shell {
    model: Arc<Model>,
    log: Role,
    counter: Role,
    /// Called; to end.
    signal: shuttle::sync::Mutex<(bool, bool)>,
    changed: shuttle::sync::Condvar,
}

impl Shell {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            model: Model::new(),
            log: Role::default(),
            counter: Role::default(),
            signal: shuttle::sync::Mutex::default(),
            changed: shuttle::sync::Condvar::new(),
        })
    }

    fn call(&self) {
        let frontiers = &self.model.frontiers;
        let log = self.log.needs_call() && frontiers.sync_wanted();
        if log || (self.counter.needs_call() && frontiers.round_wanted()) {
            self.signal.lock().unwrap().0 = true;
            self.changed.notify_one();
        }
    }

    /// A step in the role that `position` needs next; whether the role was free.
    fn step(&self, position: Seq, level: Level, ask: impl FnOnce()) -> bool {
        let durable = self.model.frontiers.get(Level::Durable) >= position;
        if durable && level != Level::Fresh {
            ask();
            return false;
        }
        let role = if durable { &self.counter } else { &self.log };
        let taken = role.take(Holder::Caller);
        ask();
        self.call(); // as the store does when somebody asks
        if taken {
            if durable {
                self.model.anchor()
            } else {
                self.model.sync()
            };
            role.give_up();
            self.call();
        }
        taken
    }

    /// As the pump's `until`: until nothing is left that this caller may do, then asleep.
    fn until(&self, position: Seq, level: Level) {
        let mut wait = None;
        loop {
            let first = wait.is_none();
            let worked = self.step(position, level, || {
                wait.get_or_insert_with(|| self.model.frontiers.wait_commit(position, level));
            });
            if wait.as_ref().is_some_and(frontier::Wait::is_ready) || !(worked || first) {
                break;
            }
        }
        assert_eq!(shuttle::future::block_on(wait.unwrap()), Ok(()));
    }

    fn work(&self) {
        loop {
            {
                let mut signal = self.signal.lock().unwrap();
                while !signal.0 && !signal.1 {
                    signal = self.changed.wait(signal).unwrap();
                }
                if signal.1 {
                    return;
                }
                signal.0 = false;
            }
            if self.log.take(Holder::Worker) {
                while self.model.sync() {}
                self.log.give_up();
                self.call(); // the end of a sync is told to whoever may be waiting for it
            }
            if self.counter.take(Holder::Worker) {
                while self.model.anchor() {}
                self.counter.give_up();
            }
        }
    }
}

/// Callers that find a role taken sleep, and somebody always comes for them: the one who gives the
/// role up sees what they want, or the worker is called.
#[test]
fn nobody_sleeps_over_a_role_that_was_given_up() {
    sync::explore(|| {
        let shell = Shell::new();
        let callers = [Level::Durable, Level::Fresh, Level::Fresh].map(|level| {
            let shell = Arc::clone(&shell);
            thread::spawn(move || {
                let position = shell.model.write();
                shell.until(position, level);
                assert!(shell.model.frontiers.get(level) >= position);
            })
        });
        // And a handle, whose holder runs no step.
        let handle = {
            let shell = Arc::clone(&shell);
            thread::spawn(move || {
                let wait = shell.model.frontiers.wait_commit(shell.model.write(), Level::Fresh);
                shell.call();
                assert_eq!(shuttle::future::block_on(wait), Ok(()));
            })
        };
        let worker = {
            let shell = Arc::clone(&shell);
            thread::spawn(move || shell.work())
        };
        callers.into_iter().chain([handle]).for_each(|caller| caller.join().unwrap());
        shell.signal.lock().unwrap().1 = true;
        shell.changed.notify_one();
        worker.join().unwrap();
        assert!(shell.log.take(Holder::Caller) && shell.counter.take(Holder::Caller), "a role is still held");
    });
}
