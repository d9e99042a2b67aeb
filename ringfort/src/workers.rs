//! The background workers: two for the log and the counter, one for maintenance.
//!
//! | worker | runs | sleeps until |
//! |---|---|---|
//! | `ringfort-log` | writing and syncing, for handles and where several threads wait for it | it is called |
//! | `ringfort-anchor` | advances of the counter for the same; every anchor window, for all that was written (R7) | it is called, or the window's end |
//! | `ringfort-upkeep` | flush, purge, compaction | the store has such work |
//!
//! The first two ask for short turns on the processor: whoever waits, waits for them, and without that they stand behind
//! all whom they have just woken.
//!
//! A thread that is alone with its wait runs the steps itself and needs no worker; see
//! [`pump`](crate::pump). Nothing polls: an idle store costs nothing. A step that fails without
//! stopping the store (a full disk) is tried again after a pause, and what it said can be asked for.
//! A worker that panics takes the store with it: nobody may wait for ever for what will not happen.

use crate::pump::Pump;
use crate::{Error, ErrorKind, Level, Result};
use parking_lot::{Condvar, Mutex};
use ringfort_base::world::Clock;
use ringfort_host::door::{self, OsClock};
use ringfort_store::pace::{Operation, Pace};
use ringfort_store::role::Holder;
use ringfort_store::store::Step;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// After a failure that did not stop the store.
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// A wake-up for one worker. One that comes before the sleep is not lost.
#[derive(Default)]
pub(crate) struct Signal {
    /// Looked at without the lock, so that raising what is raised costs nothing.
    raised: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The worker sleeps: whatever it was woken for is done.
    asleep: bool,
    stopped: bool,
}

impl Signal {
    pub(crate) fn raise(&self) {
        if !self.raised.load(Ordering::SeqCst) && !self.raised.swap(true, Ordering::SeqCst) {
            // Behind the lock: between the worker's look and its sleep it would be lost.
            drop(self.state.lock());
            self.changed.notify_one();
        }
    }

    fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    fn is_stopped(&self) -> bool {
        self.state.lock().stopped
    }

    /// Sleeps until raised, stopped or for `time`; lowers the signal. Whether to go on.
    fn wait(&self, time: Option<Duration>) -> bool {
        let mut state = self.state.lock();
        state.asleep = true;
        while !state.stopped && !self.raised.swap(false, Ordering::SeqCst) {
            match time {
                None => self.changed.wait(&mut state),
                Some(time) => {
                    if self.changed.wait_for(&mut state, time).timed_out() {
                        break;
                    }
                }
            }
        }
        self.raised.store(false, Ordering::SeqCst);
        state.asleep = false;
        !state.stopped
    }

    /// Whether the worker sleeps and nothing has called it.
    fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.asleep && !self.raised.load(Ordering::SeqCst)
    }
}

/// The running workers. They hold the store, never the handle that callers have, so that dropping
/// the last handle ends them.
pub(crate) struct Workers {
    pump: Arc<Pump>,
    upkeep: Arc<Signal>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    pub(crate) failure: Arc<Mutex<Option<Error>>>,
}

impl Workers {
    /// Starts all.
    pub(crate) fn start(pump: &Arc<Pump>, window: Duration) -> Result<Self> {
        let upkeep = Arc::<Signal>::default();
        let workers = Self {
            pump: Arc::clone(pump),
            upkeep: Arc::clone(&upkeep),
            threads: Mutex::default(),
            failure: Arc::default(),
        };
        workers.run("ringfort-log", log_worker)?;
        workers.run("ringfort-anchor", move |pump, failure| counter_worker(pump, window, failure))?;
        workers.run("ringfort-upkeep", move |pump, failure| upkeep_worker(pump, &upkeep, failure))?;
        Ok(workers)
    }

    fn run(
        &self,
        name: &'static str,
        work: impl FnOnce(&Pump, &Mutex<Option<Error>>) + Send + 'static,
    ) -> Result<()> {
        let (pump, failure) = (Arc::clone(&self.pump), Arc::clone(&self.failure));
        let thread = door::spawn(name, move || {
            let _alive = Alive { name, pump: &pump };
            work(&pump, &failure);
        });
        self.threads.lock().push(thread.map_err(|e| Error::io("start", name, &e))?);
        Ok(())
    }

    /// Whether the upkeep worker has done all that it was woken for. One that starts is at work.
    pub(crate) fn upkeep_is_idle(&self) -> bool {
        self.upkeep.is_idle()
    }

    /// What the store calls when there is maintenance work.
    pub(crate) fn upkeep(&self) -> Arc<Signal> {
        Arc::clone(&self.upkeep)
    }

    /// Ends the workers and waits until they have.
    pub(crate) fn stop(&self) {
        for signal in [&self.pump.log_call, &self.pump.counter_call, &*self.upkeep] {
            signal.stop();
        }
        let own = std::thread::current().id();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            // A worker whose waking dropped the last handle ends by itself. One that panicked has ended.
            if thread.thread().id() != own {
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Held by a worker while it lives.
struct Alive<'a> {
    name: &'static str,
    pump: &'a Pump,
}

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.pump.store.fail(Error::new(ErrorKind::Internal, format!("worker {} panicked", self.name)));
        }
    }
}

fn log_worker(pump: &Pump, failure: &Mutex<Option<Error>>) {
    door::ask_for_short_turns();
    let mut pause = None;
    while pump.log_call.wait(pause.take()) {
        // A caller who has the role calls again when he gives it up, if there is anything left.
        if !pump.log.take(Holder::Worker) {
            continue;
        }
        let ended = loop {
            match pump.log_step() {
                Ok(Step::Worked) if !pump.log_call.is_stopped() => {}
                other => break other,
            }
        };
        // What comes before this calls, finding that no caller has the role.
        pump.log.give_up();
        if let Err(error) = ended {
            if pump.store.stopped().is_some() {
                return;
            }
            *failure.lock() = Some(error);
            pause = Some(TRY_AGAIN);
        }
    }
}

/// The anchor window: when what nobody waits for is to be anchored (R7).
struct Window {
    length: Duration,
    ends: Option<Duration>,
}

impl Window {
    /// Begins with the first write; at its end, asks for all that was written so far.
    fn look(&mut self, pump: &Pump, now: Duration) {
        if self.ends.is_none() && pump.written.load(Ordering::Acquire) {
            self.ends = Some(now + self.length);
        }
        if self.ends.is_some_and(|ends| ends <= now) {
            self.ends = None;
            // Sees all of whoever wrote before: what comes later begins a window of its own.
            pump.written.swap(false, Ordering::AcqRel);
            pump.store.request_anchor();
            pump.call();
        }
    }
}

fn counter_worker(pump: &Pump, window: Duration, failure: &Mutex<Option<Error>>) {
    door::ask_for_short_turns();
    let clock = OsClock::new();
    let mut window = Window { length: window, ends: None };
    let mut pace = Pace::default();
    let mut holds = false;
    loop {
        window.look(pump, clock.monotonic());
        holds = holds || pump.counter.take(Holder::Worker);
        let mut time = None;
        if holds {
            match rounds(pump, &clock, &mut pace) {
                // The role is kept, so that no caller begins before the others have gathered.
                Ok(Some(rest)) => time = Some(rest),
                Ok(None) => holds = false,
                Err(_) if pump.store.stopped().is_some() => return,
                Err(error) => {
                    holds = false;
                    *failure.lock() = Some(error);
                    window.ends.get_or_insert(clock.monotonic() + window.length);
                    time = Some(TRY_AGAIN);
                }
            }
            if !holds {
                pump.counter.give_up();
            }
        }
        let left = window.ends.map(|ends| ends.saturating_sub(clock.monotonic()));
        if !pump.counter_call.wait([time, left].into_iter().flatten().min()) {
            return;
        }
    }
}

/// Advances the counter for as long as somebody wants it; how long the next one is held back.
fn rounds(pump: &Pump, clock: &OsClock, pace: &mut Pace) -> Result<Option<Duration>> {
    let store = &pump.store;
    loop {
        if let Some(rest) = pace.rest(store.frontier(Level::Durable), clock.monotonic()) {
            return Ok(Some(rest));
        }
        let began = clock.monotonic();
        let Some(round) = store.anchor()? else { return Ok(None) };
        pace.ended(Operation::of(&round, began, clock.monotonic()));
        round.released.wake();
        if pump.counter_call.is_stopped() {
            return Ok(None);
        }
    }
}

fn upkeep_worker(pump: &Pump, signal: &Signal, failure: &Mutex<Option<Error>>) {
    let mut time = None;
    while signal.wait(time) {
        time = loop {
            match pump.store.maintenance_step() {
                Ok(Step::Worked) if !signal.is_stopped() => {}
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
