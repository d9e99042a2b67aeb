//! # Background jobs: who runs the store's steps
//!
//! The store never waits and has no thread (R22). Here are the loops that run its steps, as plain
//! blocking functions; the binary hands in a [`Spawner`] that puts each on a thread of its own.
//!
//! | worker | runs | sleeps until |
//! |---|---|---|
//! | `sync` | [`Store::sync_step`] | somebody waits for the sync of what is in the log |
//! | `anchor` | [`Store::anchor_step`] | log work, a write that nobody waits for, or the end of the anchor window (R7) |
//! | `maintenance` | [`Store::maintenance_step`] | the store has maintenance work |
//! | `reaper` | [`reap`](crate::reaper) | the earliest expiry is due |
//!
//! `sync` and `anchor` are two workers, so that the next group is synced while the counter, which may
//! be slow, is being advanced over the one before. The anchor worker syncs what is wanted before it
//! begins a round: a round over less than its waiters need would release none of them, and be
//! begun again and again. And it gives those whom the last round released a moment to come back
//! ([`Pace`]), so that they do not wait for two. Nothing polls: a [`Signal`] counts wake-ups, so none between a
//! step that found nothing and the wait is lost.
//!
//! What becomes of a worker whose step fails:
//! - **The store has stopped** (R11), or the error is evidence: reported once, the worker ends and the
//!   server shuts down.
//! - **Anything else** (the counter did not answer a read, a table could not be read, a limit was
//!   reached) changed nothing: it is logged, the worker pauses (100 ms, doubled up to 1 s) and begins
//!   again. What it was to do is still wanted: the store keeps that, not the worker.
//! - **A worker that panics, or has no thread**, cannot be done without: the server fails as if its
//!   store had stopped, so that nobody waits for ever for what will not happen.

use crate::reaper;
use crate::server::Server;
use parking_lot::{Condvar, Mutex};
use ringfort_base::{Error, Level, Result};
use ringfort_store::Store;
use ringfort_store::pace::{Operation, Pace};
use ringfort_store::store::Step;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

/// The pause after the first failed step, and after many.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Runs a named worker on a thread of its own. One that cannot drops the work: the server fails.
pub type Spawner = Arc<dyn Fn(&str, Box<dyn FnOnce() + Send>) + Send + Sync>;

/// A level-triggered wake-up for one worker.
#[derive(Default)]
pub struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    raised: bool,
    stopped: bool,
}

/// Why a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Woken {
    /// The signal was raised.
    Raised,
    /// The time is over.
    TimedOut,
    /// The worker is to end.
    Stopped,
}

impl Signal {
    /// A signal that is not raised.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Wakes the worker, or keeps it from its next sleep.
    pub fn raise(&self) {
        let mut state = self.state.lock();
        if !state.raised {
            state.raised = true;
            self.changed.notify_one();
        }
    }

    /// Ends the worker.
    pub fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Whether the worker is to end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.state.lock().stopped
    }

    /// Sleeps until raised, stopped, or for `time`; lowers the signal.
    pub fn wait(&self, time: Option<Duration>) -> Woken {
        let mut state = self.state.lock();
        loop {
            if state.stopped {
                return Woken::Stopped;
            }
            if std::mem::take(&mut state.raised) {
                return Woken::Raised;
            }
            match time {
                None => self.changed.wait(&mut state),
                Some(time) => {
                    if self.changed.wait_for(&mut state, time).timed_out() && !state.raised && !state.stopped
                    {
                        return Woken::TimedOut;
                    }
                }
            }
        }
    }
}

impl Signal {
    /// Sleeps for `time`, and no longer than twice that if it is raised meanwhile (which stays
    /// raised); whether the worker is to end, which ends the sleep.
    fn pause(&self, time: Duration) -> bool {
        let mut state = self.state.lock();
        while !state.stopped && !self.changed.wait_for(&mut state, time).timed_out() {}
        state.stopped
    }
}

/// The running workers; see [`Jobs::start`].
pub struct Jobs {
    signals: [Arc<Signal>; 4],
    running: Arc<Running>,
}

#[derive(Default)]
struct Running {
    count: Mutex<usize>,
    changed: Condvar,
}

impl Jobs {
    /// Starts the workers of `server`'s store.
    pub fn start(server: &Arc<Server>, anchor_window: Duration, spawner: &Spawner) -> Self {
        let [sync, maintenance] = std::array::from_fn(|_| Signal::new());
        let anchor = Arc::clone(server.anchor_signal());
        let reaper_signal = Arc::clone(server.reaper_signal());
        let store = server.store().clone();
        let (s, a, m) = (Arc::clone(&sync), Arc::clone(&anchor), Arc::clone(&maintenance));
        // The store keeps the callback: it must not keep the store.
        let of = Arc::downgrade(server);
        store.on_work(
            Box::new(move || {
                let Some(server) = of.upgrade() else { return };
                if server.store().sync_due() {
                    s.raise();
                }
                if server.store().round_wanted() {
                    a.raise();
                }
            }),
            Box::new(move || m.raise()),
        );
        let jobs = Self {
            signals: [sync, anchor, maintenance, reaper_signal],
            running: Arc::new(Running::default()),
        };
        let [sync, anchor, maintenance, reaper_signal] = jobs.signals.clone();
        let st = store.clone();
        let syncing = Arc::new(Mutex::new(()));
        let turn = Arc::clone(&syncing);
        jobs.run("ringfort-sync", spawner, server, &jobs.signals[0], move || sync_worker(&st, &sync, &turn));
        let sv = Arc::clone(server);
        jobs.run("ringfort-anchor", spawner, server, &jobs.signals[1], move || {
            anchor_worker(&sv, &anchor, anchor_window, &syncing)
        });
        jobs.run("ringfort-maintenance", spawner, server, &jobs.signals[2], move || {
            maintenance_worker(&store, &maintenance)
        });
        let sv = Arc::clone(server);
        jobs.run("ringfort-reaper", spawner, server, &jobs.signals[3], move || {
            reaper::worker(&sv, &reaper_signal)
        });
        jobs
    }

    fn run(
        &self,
        name: &str,
        spawner: &Spawner,
        server: &Arc<Server>,
        signal: &Arc<Signal>,
        work: impl Fn() -> Result<()> + Send + 'static,
    ) {
        // Made here: a closure that is dropped instead of run counts its worker out as well.
        let worker = Worker::new(name, server, signal, &self.running);
        spawner(name, Box::new(move || worker.run(work)));
    }

    /// Ends the workers and waits until they have.
    pub fn stop(&self) {
        self.signals.iter().for_each(|signal| signal.stop());
        let mut count = self.running.count.lock();
        while *count > 0 {
            self.running.changed.wait(&mut count);
        }
    }
}

/// One worker: runs its loop again after errors that stopped nothing, and is counted out however it
/// ends.
struct Worker {
    name: String,
    server: Arc<Server>,
    signal: Arc<Signal>,
    running: Arc<Running>,
    /// It ended as workers may: it was told to, or the store has stopped.
    ended: bool,
}

impl Worker {
    fn new(name: &str, server: &Arc<Server>, signal: &Arc<Signal>, running: &Arc<Running>) -> Self {
        *running.count.lock() += 1;
        Self {
            name: name.to_owned(),
            server: Arc::clone(server),
            signal: Arc::clone(signal),
            running: Arc::clone(running),
            ended: false,
        }
    }

    fn run(mut self, work: impl Fn() -> Result<()>) {
        let mut pause = PAUSE_MIN;
        loop {
            let began = self.server.monotonic();
            let Err(error) = work() else { break };
            if self.server.store_failed(&error) {
                tracing::error!(worker = %self.name, %error, "a background worker stopped");
                break;
            }
            if self.server.monotonic().saturating_sub(began) > PAUSE_MAX {
                // It worked for a while: this is another trouble than the last one.
                pause = PAUSE_MIN;
            }
            tracing::warn!(worker = %self.name, %error, "a background step failed; it is tried again");
            if self.signal.pause(pause) {
                break;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
        self.ended = true;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.ended {
            self.server.worker_lost(&self.name);
        }
        *self.running.count.lock() -= 1;
        self.running.changed.notify_all();
    }
}

/// Syncs the log while somebody waits for what is in it: who submits applies (see [`crate::server`]).
pub fn sync_worker(store: &Store, signal: &Signal, syncing: &Mutex<()>) -> Result<()> {
    while !signal.is_stopped() {
        // Whoever waits for the counter is told by the store.
        if sync(store, syncing)? == Step::Idle && signal.wait(None) == Woken::Stopped {
            break;
        }
    }
    Ok(())
}

/// One sync at a time, and nobody takes a sync that another worker is at for "nothing to do".
fn sync(store: &Store, syncing: &Mutex<()>) -> Result<Step> {
    let _one_at_a_time = syncing.lock();
    store.sync_step()
}

/// Advances the counter for those who wait for `fresh`, and within `window` for what nobody waits
/// for (R7): the window begins with the first write that is not anchored, and neither later writes
/// nor other wake-ups extend it.
pub fn anchor_worker(server: &Server, signal: &Signal, window: Duration, syncing: &Mutex<()>) -> Result<()> {
    let store = server.store();
    let mut ends: Option<Duration> = None;
    let mut pace = Pace::default();
    while !signal.is_stopped() {
        if let Some(rest) = pace.rest(store.frontier(Level::Durable), server.monotonic()) {
            if signal.wait(Some(rest)) == Woken::TimedOut {
                pace.over(store.frontier(Level::Durable));
            }
            continue;
        }
        // A round that begins before the sync that its waiters need would release nobody.
        sync(store, syncing)?;
        let began = server.monotonic();
        if let Some(round) = store.anchor()? {
            pace.ended(Operation::of(&round, began, server.monotonic()));
            ends = None;
            continue;
        }
        let unanchored = || store.frontier(Level::Fresh) < store.frontier(Level::Buffered);
        if ends.is_none() || !unanchored() {
            // First disarm, then look: a write after the look raises the signal. While a window is
            // open no write need tell.
            ends = None;
            server.anchor_armed().store(false, Ordering::SeqCst);
            fence(Ordering::SeqCst);
        }
        let mut left = None;
        if unanchored() {
            let now = server.monotonic();
            left = Some(ends.get_or_insert(now + window).saturating_sub(now));
        }
        let woken = if left == Some(Duration::ZERO) { Woken::TimedOut } else { signal.wait(left) };
        match woken {
            Woken::Stopped => break,
            Woken::Raised => {}
            Woken::TimedOut => {
                ends = None;
                store.request_anchor();
            }
        }
    }
    Ok(())
}

/// Flushes, compacts and purges while there is something to.
pub fn maintenance_worker(store: &Store, signal: &Signal) -> Result<()> {
    while !signal.is_stopped() {
        if store.maintenance_step()? == Step::Idle && signal.wait(None) == Woken::Stopped {
            break;
        }
    }
    Ok(())
}

/// Whether an error means that the store will answer no more (R11): everything else is about one
/// request.
#[must_use]
pub fn is_fatal(error: &Error) -> bool {
    use ringfort_base::ErrorKind as K;
    matches!(error.kind(), K::Tampered | K::Rollback | K::SecondCopy | K::Stopped | K::OutcomeUnknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::server::pending::tests::server;
    use ringfort_base::ErrorKind;
    use std::sync::atomic::AtomicUsize;

    fn worker(server: &Arc<Server>, running: &Arc<Running>) -> Worker {
        Worker::new("ringfort-test", server, &Signal::new(), running)
    }

    #[test]
    fn an_error_that_stops_nothing_is_survived() {
        let (server, running, calls) = (server(), Arc::default(), AtomicUsize::new(0));
        worker(&server, &running).run(|| match calls.fetch_add(1, Ordering::Relaxed) {
            0 => Err(Error::new(ErrorKind::Io, "a read failed")),
            1 => Err(Error::new(ErrorKind::Exhausted, "too much at once")),
            _ => Ok(()),
        });
        assert_eq!(calls.into_inner(), 3);
        assert!(server.health().is_ok());
        assert_eq!(*running.count.lock(), 0);
    }

    #[test]
    fn an_error_that_stopped_the_store_ends_the_worker() {
        let (server, running, calls) = (server(), Arc::default(), AtomicUsize::new(0));
        worker(&server, &running).run(|| {
            calls.fetch_add(1, Ordering::Relaxed);
            Err(Error::new(ErrorKind::Rollback, "older than it was"))
        });
        assert_eq!(calls.into_inner(), 1);
        assert!(server.failure().is_some_and(|e| e.kind() == ErrorKind::Rollback));
    }

    #[test]
    fn a_worker_that_panics_or_never_runs_fails_the_server() {
        for panics in [true, false] {
            let (server, running) = (server(), Arc::default());
            let worker = worker(&server, &running);
            if panics {
                let work = std::panic::AssertUnwindSafe(|| worker.run(|| panic!("a bug")));
                assert!(std::panic::catch_unwind(work).is_err());
            } else {
                drop(worker);
            }
            assert!(server.health().is_err());
            assert!(server.failure().is_some_and(|e| e.message().contains("ringfort-test")));
            assert_eq!(*running.count.lock(), 0);
        }
    }

    #[test]
    fn a_pause_is_ended_by_stop_alone() {
        let signal = Signal::new();
        signal.raise();
        assert!(!signal.pause(Duration::from_millis(1)));
        assert_eq!(signal.wait(None), Woken::Raised, "the wake-up is kept");
        signal.stop();
        assert!(signal.pause(Duration::from_secs(3600)));
    }

    #[test]
    fn a_signal_raised_before_the_wait_is_not_lost() {
        let signal = Signal::new();
        signal.raise();
        signal.raise();
        assert_eq!(signal.wait(None), Woken::Raised);
        assert_eq!(signal.wait(Some(Duration::from_millis(1))), Woken::TimedOut);
        signal.raise();
        signal.stop();
        assert_eq!(signal.wait(None), Woken::Stopped, "stopping comes first");
    }
}
