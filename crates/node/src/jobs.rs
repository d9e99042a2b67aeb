//! # Background jobs: who runs the store's steps
//!
//! The store never waits and has no thread (R22). Here are the loops that run its steps, as plain
//! blocking functions; the binary hands in a [`Spawner`] that puts each on a thread of its own.
//!
//! | worker | runs | sleeps until |
//! |---|---|---|
//! | `sync` | [`Store::log_step`], [`Store::sync_step`] | the store has log work |
//! | `anchor` | [`Store::anchor_step`] | log work, a write that nobody waits for, or the end of the anchor window (R7) |
//! | `maintenance` | [`Store::maintenance_step`] | the store has maintenance work |
//! | `reaper` | [`reap`](crate::reaper) | the earliest expiry is due |
//!
//! `sync` and `anchor` are two workers, so that the next group is synced while the counter, which may
//! be slow, is being advanced over the one before. The anchor worker syncs what is wanted before it
//! begins a round: a round over less than its waiters need would release none of them, and be
//! begun again and again. Nothing polls: a [`Signal`] counts wake-ups, so none between a
//! step that found nothing and the wait is lost. A step that fails has stopped the store (R11); the
//! worker reports it once and ends.

use crate::reaper;
use crate::server::Server;
use parking_lot::{Condvar, Mutex};
use ringfort_base::{Error, Level, Result};
use ringfort_store::Store;
use ringfort_store::store::Step;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

/// Runs a named worker on a thread of its own.
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
        store.on_work(
            Box::new(move || {
                s.raise();
                a.raise();
            }),
            Box::new(move || m.raise()),
        );
        let jobs = Self {
            signals: [sync, anchor, maintenance, reaper_signal],
            running: Arc::new(Running::default()),
        };
        let [sync, anchor, maintenance, reaper_signal] = jobs.signals.clone();
        let (st, next) = (store.clone(), Arc::clone(&anchor));
        let syncing = Arc::new(Mutex::new(()));
        let turn = Arc::clone(&syncing);
        jobs.run("ringfort-sync", spawner, server, move || sync_worker(&st, &sync, &next, &turn));
        let sv = Arc::clone(server);
        jobs.run("ringfort-anchor", spawner, server, move || {
            anchor_worker(&sv, &anchor, anchor_window, &syncing)
        });
        jobs.run("ringfort-maintenance", spawner, server, move || maintenance_worker(&store, &maintenance));
        let sv = Arc::clone(server);
        jobs.run("ringfort-reaper", spawner, server, move || reaper::worker(&sv, &reaper_signal));
        jobs
    }

    fn run(
        &self,
        name: &str,
        spawner: &Spawner,
        server: &Arc<Server>,
        work: impl FnOnce() -> Result<()> + Send + 'static,
    ) {
        *self.running.count.lock() += 1;
        // Made here: a closure that is dropped instead of run counts its worker out as well.
        let (leaving, server) = (Leaving(Arc::clone(&self.running)), Arc::clone(server));
        let named = name.to_owned();
        spawner(
            name,
            Box::new(move || {
                let _leaving = leaving;
                if let Err(error) = work() {
                    tracing::error!(worker = %named, %error, "a background worker stopped");
                    server.store_failed(&error);
                }
            }),
        );
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

/// Counts a worker out, also if it panics.
struct Leaving(Arc<Running>);

impl Drop for Leaving {
    fn drop(&mut self) {
        *self.0.count.lock() -= 1;
        self.0.changed.notify_all();
    }
}

/// Writes and syncs the log while there is something to.
pub fn sync_worker(store: &Store, signal: &Signal, anchor: &Signal, syncing: &Mutex<()>) -> Result<()> {
    while !signal.is_stopped() {
        let wrote = store.log_step()?;
        let synced = sync(store, syncing)?;
        if synced == Step::Worked {
            anchor.raise();
        }
        if (wrote, synced) == (Step::Idle, Step::Idle) && signal.wait(None) == Woken::Stopped {
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
    while !signal.is_stopped() {
        // A round that begins before the sync that its waiters need would release nobody.
        sync(store, syncing)?;
        if store.anchor_step()? == Step::Worked {
            ends = None;
            continue;
        }
        // First disarm, then look: a write after the look raises the signal.
        server.anchor_armed().store(false, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let mut left = None;
        if store.frontier(Level::Fresh) < store.frontier(Level::Buffered) {
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
