//! The pump: how a thread that waits for a level makes it come true (R22).
//!
//! The store's core never waits. Whoever needs a level runs the steps that bring it: a sync, an
//! advance of the counter. Threads that need the same step queue at a lock; the first one runs it
//! for all who were there when it began, the others find on their turn that nothing is left to do.
//!
//! ```text
//!   wait(position, level) ──► ready? ──────────────────────────────► done
//!        ▲                      │ no
//!        │                      ▼
//!        │        not durable: [sync lock]   sync_step    (again ready? before the step)
//!        └────────  durable:   [anchor lock] anchor_step
//! ```
//!
//! A step answers `Idle` although somebody waits when the store itself is at it (a flush syncs the
//! log, say). Then the thread parks on the waker, and looks again soon in case that the other's
//! work did not cover it.

use crate::workers::Signal;
use crate::{Error, ErrorKind, Level, Result, Seq};
use parking_lot::Mutex;
use ringfort_store::store::Step;
use ringfort_store::{Store, Wait};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

/// How long a thread parks before it looks again whether there is a step for it to run.
const LOOK_AGAIN: Duration = Duration::from_micros(500);
/// The shortest pause that a thread's timer keeps about.
const SHORTEST_PAUSE: Duration = Duration::from_micros(100);

/// The store and the queues before its steps.
pub(crate) struct Pump {
    pub(crate) store: Store,
    sync: Mutex<()>,
    anchor: Mutex<()>,
    /// What futures wait for, who run no steps themselves: per level the highest position, and the
    /// wait that was begun last. Until these are ready the log worker looks again.
    asked: Mutex<[Option<(Seq, Wait)>; 3]>,
    /// Something was written since the log worker last anchored everything (R7).
    pub(crate) written: AtomicBool,
    /// Wakes the log worker.
    pub(crate) log: Arc<Signal>,
    background: bool,
}

impl Pump {
    pub(crate) fn new(store: Store, background: bool) -> Self {
        Self {
            store,
            sync: Mutex::default(),
            anchor: Mutex::default(),
            asked: Mutex::default(),
            written: AtomicBool::new(false),
            log: Arc::default(),
            background,
        }
    }

    /// Notes that something was written: its anchor window begins.
    pub(crate) fn wrote(&self) {
        if self.background && !self.written.swap(true, Ordering::AcqRel) {
            self.log.raise();
        }
    }

    /// A wait of a future, which the log worker brings about.
    pub(crate) fn ask(&self, position: Seq, level: Level) -> Wait {
        {
            let mut asked = self.asked.lock();
            let slot = match level {
                Level::Buffered => &mut asked[0],
                Level::Durable => &mut asked[1],
                Level::Fresh => &mut asked[2],
            };
            let highest = slot.as_ref().map_or(position, |(highest, _)| position.max(*highest));
            *slot = Some((highest, self.store.wait(highest, level)));
        }
        let wait = self.store.wait(position, level);
        self.log.raise();
        wait
    }

    /// Whether a future waits for something that has not come. Whether anybody still holds it, or
    /// has polled it since, makes no difference.
    pub(crate) fn is_asked(&self) -> bool {
        let mut asked = self.asked.lock();
        for slot in &mut *asked {
            slot.take_if(|(_, wait)| wait.is_ready());
        }
        asked.iter().any(Option::is_some)
    }

    /// As [`Pump::wait`], for the writer of a batch that is applied. Whatever fails now, it may have
    /// happened and may yet be anchored (R11): no error may read as if it had not.
    pub(crate) fn settle(&self, position: Seq, level: Level) -> Result<()> {
        self.wait(position, level).map_err(|error| match error.kind() {
            ErrorKind::OutcomeUnknown => error,
            _ => {
                error.with_kind(ErrorKind::OutcomeUnknown).context("the batch is applied, but not confirmed")
            }
        })
    }

    /// Waits until `position` has `level`, running the steps that it takes.
    pub(crate) fn wait(&self, position: Seq, level: Level) -> Result<()> {
        let mut wait = self.store.wait(position, level);
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut cx = Context::from_waker(&waker);
        loop {
            if wait.is_ready() || self.step(&wait, position)? == Step::Idle {
                if let Poll::Ready(outcome) = Pin::new(&mut wait).poll(&mut cx) {
                    return outcome;
                }
                std::thread::park_timeout(LOOK_AGAIN);
            }
        }
    }

    /// As [`Pump::wait`], for a reader: there is no outcome that could be unknown to it.
    pub(crate) fn gate(&self, depends: Seq, level: Level) -> Result<()> {
        if level == Level::Buffered {
            return Ok(());
        }
        self.wait(depends, level).map_err(|error| match error.kind() {
            ErrorKind::OutcomeUnknown => error.with_kind(self.stopped_kind()),
            _ => error,
        })
    }

    /// Why nothing more is answered.
    fn stopped_kind(&self) -> ErrorKind {
        use ErrorKind::{Rollback, SecondCopy, Stopped, Tampered};
        match self.store.stopped().as_ref().map(Error::kind) {
            Some(kind @ (Tampered | Rollback | SecondCopy)) => kind,
            _ => Stopped,
        }
    }

    /// Runs the next step towards what `wait` waits for, or finds that somebody else just did.
    fn step(&self, wait: &Wait, position: Seq) -> Result<Step> {
        let not_durable = || self.store.frontier(Level::Durable) < position;
        let step = if not_durable() {
            let _turn = self.sync.lock();
            if not_durable() { self.store.sync_step() } else { Ok(Step::Worked) }
        } else {
            let _turn = self.anchor.lock();
            if wait.is_ready() { Ok(Step::Worked) } else { self.store.anchor_step() }
        };
        // A failure that stopped the store is the wait's outcome, with its own words.
        step.or_else(|error| if wait.is_ready() { Ok(Step::Idle) } else { Err(error) })
    }

    /// Runs all steps of the log that somebody asks for; what the log worker does when it wakes.
    pub(crate) fn run_log(&self) -> Result<Step> {
        let mut all = Step::Idle;
        loop {
            let wrote = self.store.log_step()?;
            let synced = {
                let _turn = self.sync.lock();
                self.store.sync_step()?
            };
            let anchored = {
                let _turn = self.anchor.lock();
                self.store.anchor_step()?
            };
            if [wrote, synced, anchored] == [Step::Idle; 3] {
                return Ok(all);
            }
            all = Step::Worked;
        }
    }

    /// A writer slows down so that flush and compaction keep up; without workers it does their
    /// work.
    pub(crate) fn hold_back(&self) -> Result<()> {
        match self.store.take_pause(SHORTEST_PAUSE) {
            None => Ok(()),
            Some(pause) if self.background => {
                ringfort_host::door::sleep(pause);
                Ok(())
            }
            Some(_) => self.store.maintenance_step().map(drop),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
