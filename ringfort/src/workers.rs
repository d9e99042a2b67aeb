//! The two background workers: one for the log, one for maintenance.
//!
//! | worker | runs | sleeps until |
//! |---|---|---|
//! | `ringfort-log` | what futures wait for; every anchor window, all that was written (R7) | a future, or the window's end |
//! | `ringfort-upkeep` | flush, purge, compaction | the store has such work |
//!
//! Threads that block on a level run the log's steps themselves and need no worker. Nothing polls:
//! an idle store costs nothing. A step that fails without stopping the store (a full disk) is tried
//! again after a pause, and what it said can be asked for.

use crate::pump::Pump;
use crate::{Error, Result};
use parking_lot::{Condvar, Mutex};
use ringfort_base::world::Clock;
use ringfort_host::door::{self, OsClock};
use ringfort_store::store::Step;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

/// After a failure that did not stop the store.
const TRY_AGAIN: Duration = Duration::from_millis(200);
/// While futures wait for a step that the store itself is at.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// A wake-up for one worker. One that comes before the sleep is not lost.
#[derive(Default)]
pub(crate) struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    raised: bool,
    /// The worker sleeps: whatever it was woken for is done.
    asleep: bool,
    stopped: bool,
}

impl Signal {
    pub(crate) fn raise(&self) {
        let mut state = self.state.lock();
        if !state.raised {
            state.raised = true;
            self.changed.notify_one();
        }
    }

    fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Sleeps until raised, stopped or for `time`; lowers the signal. Whether to go on.
    fn wait(&self, time: Option<Duration>) -> bool {
        let mut state = self.state.lock();
        state.asleep = true;
        while !state.stopped && !std::mem::take(&mut state.raised) {
            match time {
                None => self.changed.wait(&mut state),
                Some(time) => {
                    if self.changed.wait_for(&mut state, time).timed_out() {
                        break;
                    }
                }
            }
        }
        state.raised = false;
        state.asleep = false;
        !state.stopped
    }

    /// Whether the worker sleeps and nothing has called it.
    fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.asleep && !state.raised
    }
}

/// The running workers. They hold the store, never the handle that callers have, so that dropping
/// the last handle ends them.
pub(crate) struct Workers {
    signals: [Arc<Signal>; 2],
    threads: Mutex<Vec<JoinHandle<()>>>,
    pub(crate) failure: Arc<Mutex<Option<Error>>>,
}

impl Workers {
    /// Starts both.
    pub(crate) fn start(pump: &Arc<Pump>, window: Duration) -> Result<Self> {
        let (log, upkeep) = (Arc::clone(&pump.log), Arc::<Signal>::default());
        let hook = Arc::clone(&upkeep);
        // Who waits for the log runs its steps or raises the signal itself.
        pump.store.on_work(Box::new(|| {}), Box::new(move || hook.raise()));
        let workers = Self {
            signals: [Arc::clone(&log), Arc::clone(&upkeep)],
            threads: Mutex::default(),
            failure: Arc::default(),
        };
        let (of_log, failure) = (Arc::clone(pump), Arc::clone(&workers.failure));
        workers.run("ringfort-log", move || log_worker(&of_log, window, &failure))?;
        let (of_upkeep, failure) = (Arc::clone(pump), Arc::clone(&workers.failure));
        workers.run("ringfort-upkeep", move || upkeep_worker(&of_upkeep, &upkeep, &failure))?;
        Ok(workers)
    }

    fn run(&self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = door::spawn(name, work).map_err(|e| Error::io("start", name, &e))?;
        self.threads.lock().push(thread);
        Ok(())
    }

    /// Whether the upkeep worker has done all that it was woken for. One that starts is at work.
    pub(crate) fn upkeep_is_idle(&self) -> bool {
        self.signals[1].is_idle()
    }

    /// Ends the workers and waits until they have.
    pub(crate) fn stop(&self) {
        self.signals.iter().for_each(|signal| signal.stop());
        for thread in std::mem::take(&mut *self.threads.lock()) {
            // One that panicked has ended as well.
            let _ = thread.join();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}

fn log_worker(pump: &Pump, window: Duration, failure: &Mutex<Option<Error>>) {
    let clock = OsClock::new();
    // When the window of what was written ends.
    let mut due: Option<Duration> = None;
    let mut pause = None;
    loop {
        let left = due.map(|due| due.saturating_sub(clock.monotonic()));
        let look_again = pump.is_asked().then_some(LOOK_AGAIN);
        let time = pause.take().or_else(|| [left, look_again].into_iter().flatten().min());
        if !pump.log.wait(time) {
            return;
        }
        if due.is_none() && pump.written.load(Ordering::Acquire) {
            due = Some(clock.monotonic() + window);
        }
        if due.is_some_and(|due| due <= clock.monotonic()) {
            due = None;
            // Sees all of whoever wrote before: what comes later begins a window of its own.
            pump.written.swap(false, Ordering::AcqRel);
            pump.store.request_anchor();
        }
        if let Err(error) = pump.run_log() {
            if pump.store.stopped().is_some() {
                return;
            }
            *failure.lock() = Some(error);
            due = Some(clock.monotonic() + window);
            pause = Some(TRY_AGAIN);
        }
    }
}

fn upkeep_worker(pump: &Pump, signal: &Signal, failure: &Mutex<Option<Error>>) {
    let mut time = None;
    while signal.wait(time) {
        time = loop {
            match pump.store.maintenance_step() {
                Ok(Step::Worked) if !signal.state.lock().stopped => {}
                Ok(_) => break None,
                Err(_) if pump.store.stopped().is_some() => return,
                Err(error) => {
                    *failure.lock() = Some(error);
                    break Some(TRY_AGAIN);
                }
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_before_the_sleep_is_not_lost() {
        let signal = Signal::default();
        signal.raise();
        signal.raise();
        assert!(signal.wait(None));
        assert!(signal.wait(Some(Duration::from_millis(1))), "it times out, and goes on");
        signal.stop();
        signal.raise();
        assert!(!signal.wait(None));
    }
}
