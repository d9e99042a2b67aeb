//! The pump: how a thread that waits for a level makes it come true (R22).
//!
//! The store's core never waits. Two kinds of steps bring a level about: writing and syncing the log,
//! and advancing the counter. Each is run by one thread at a time, who has its [`Role`]; the two go on
//! beside each other, so that the log is written and synced while the counter is under way.
//!
//! ```text
//!   wait(position, level) ──► ready? ──────────────────────────────────────────► done
//!        ▲                      │ no
//!        │                      ▼            free: run one step, give the role up ─┐
//!        ├─ not durable:  the log's role     taken: sleep until the frontier comes │
//!        └─ durable:      the counter's role    (same)                             │
//!        ▲                                                                         │
//!        └─────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A thread that is alone so does everything itself, without a change of threads. Where several want
//! the same, the one who has the role calls a worker as he leaves, and the worker carries on for as
//! long as there is work: the others only submit and sleep, one group is written and synced for all
//! of them, and each is woken once. Handles that nobody waits for (see [`Commit`](crate::Commit)) are
//! the workers' business from the start.
//!
//! Nothing polls. The store calls [`Pump::call`] whenever it leaves work behind or gets some.

use crate::contention;
use crate::workers::Signal;
use crate::{Error, ErrorKind, Level, Result, Seq, WriteBatch};
use parking_lot::Mutex;
use ringfort_base::limits::GROUP_BYTES_MAX;
use ringfort_base::world::Clock;
use ringfort_host::door::OsClock;
use ringfort_store::role::{Holder, Role};
use ringfort_store::store::{Step, Ticket};
use ringfort_store::txn::transaction::Ready;
use ringfort_store::{Store, Wait};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

/// The shortest pause that a thread's timer keeps about.
const SHORTEST_PAUSE: Duration = Duration::from_micros(100);

/// The store and the roles before its steps.
pub(crate) struct Pump {
    pub(crate) store: Store,
    /// Who writes and syncs the log.
    pub(crate) log: Role,
    /// Who advances the counter.
    pub(crate) counter: Role,
    /// Wakes the log's worker.
    pub(crate) log_call: Signal,
    /// Wakes the counter's worker.
    pub(crate) counter_call: Signal,
    /// Something was written since the counter's worker last had everything anchored (R7).
    pub(crate) written: AtomicBool,
    /// Without workers: threads that found a role taken.
    parked: Mutex<Vec<Thread>>,
    background: bool,
}

impl Pump {
    pub(crate) fn new(store: Store, background: bool) -> Self {
        Self {
            store,
            log: Role::default(),
            counter: Role::default(),
            log_call: Signal::default(),
            counter_call: Signal::default(),
            written: AtomicBool::new(false),
            parked: Mutex::default(),
            background,
        }
    }

    // --- writing ---------------------------------------------------------------------------------

    /// Writes a batch and returns when it has `level`.
    pub(crate) fn write(&self, batch: WriteBatch, level: Level) -> Result<Ticket> {
        if level == Level::Buffered {
            self.hold_back()?;
            let ticket = block_on(self.store.hold(&batch))?.apply(batch)?;
            self.wrote();
            return Ok(ticket);
        }
        // Only queued: whoever syncs next writes it with all that is queued by then.
        let ticket = self.enqueue(batch)?;
        self.settle(ticket, level)?;
        Ok(ticket)
    }

    /// Writes what a transaction has for it and returns when it has `level`. One that wrote nothing waits for what it has
    /// read (R6). `held` is dropped as soon as others may go on.
    pub(crate) fn commit<T>(&self, ready: Ready, level: Level, held: T) -> Result<Ticket> {
        if ready.batch.is_empty() {
            let position = ready.depends;
            // Others may go on before this is answered, as with one that wrote (R26).
            drop((ready, held));
            self.gate(position, level)?;
            return Ok(Ticket { position });
        }
        self.hold_back()?;
        let ticket = self.hand_in(ready, level)?;
        drop(held);
        self.wrote();
        if level > Level::Buffered {
            self.settle(ticket, level)?;
        }
        Ok(ticket)
    }

    /// Writes what `work` writes by the store's own means.
    pub(crate) fn led<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.hold_back()?;
        let done = work()?;
        self.wrote();
        Ok(done)
    }

    /// Others may go on when the transaction is visible; the level is its caller's to wait for (R26).
    fn hand_in(&self, ready: Ready, level: Level) -> Result<Ticket> {
        match level {
            Level::Buffered => self.store.apply_locked(ready.batch, ready.locks),
            // Who waits for more than that need not wait for the group's leader first.
            Level::Durable | Level::Fresh => self.store.hand_in(ready.batch, ready.locks),
        }
    }

    /// Queues a batch and sees to it that it gets `level`; returns at once, unless it has to wait for a
    /// transaction.
    pub(crate) fn submit(&self, batch: WriteBatch, level: Level) -> Result<Ticket> {
        let ticket = self.enqueue(batch)?;
        self.store.request(ticket.position, level);
        self.call();
        Ok(ticket)
    }

    fn enqueue(&self, batch: WriteBatch) -> Result<Ticket> {
        self.hold_back()?;
        if self.store.queued_bytes() > GROUP_BYTES_MAX {
            // More than a group is waiting: who brings more helps to write it.
            self.store.log_step()?;
        }
        let ticket = block_on(self.store.hold(&batch))?.submit(batch)?;
        self.wrote();
        Ok(ticket)
    }

    /// Notes that something was written: its anchor window begins.
    fn wrote(&self) {
        if self.background
            && !self.written.load(Ordering::Acquire)
            && !self.written.swap(true, Ordering::AcqRel)
        {
            self.counter_call.raise();
        }
    }

    /// A writer slows down so that flush and compaction keep up; without workers it does their
    /// work.
    fn hold_back(&self) -> Result<()> {
        match self.store.take_pause(SHORTEST_PAUSE) {
            None => Ok(()),
            Some(pause) if self.background => {
                ringfort_host::door::sleep(pause);
                Ok(())
            }
            Some(_) => self.store.maintenance_step().map(drop),
        }
    }

    // --- waiting ---------------------------------------------------------------------------------

    /// Waits until a commit has `level`. Whatever fails now, it may have happened and may yet be
    /// anchored (R11): no error may read as if it had not.
    pub(crate) fn settle(&self, ticket: Ticket, level: Level) -> Result<()> {
        let ask = || self.store.wait_commit(ticket, level);
        self.until(ticket.position, level, ask).map_err(|error| match error.kind() {
            ErrorKind::OutcomeUnknown => error,
            _ => error
                .with_kind(ErrorKind::OutcomeUnknown)
                .context("the batch is submitted, but not confirmed"),
        })
    }

    /// Waits until a reader may see what depends on `depends` (R6). There is no outcome that could
    /// be unknown to him.
    pub(crate) fn gate(&self, depends: Seq, level: Level) -> Result<()> {
        if level == Level::Buffered || (level == Level::Durable && self.store.frontier(level) >= depends) {
            return Ok(());
        }
        self.until(depends, level, || self.store.wait(depends, level)).map_err(|error| match error.kind() {
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

    /// Waits until `position` has `level`, running the steps that nobody else is at. `ask` begins the
    /// wait: with the role in hand, so that the store calls no worker for what the caller does himself.
    fn until(&self, position: Seq, level: Level, ask: impl Fn() -> Wait) -> Result<()> {
        let mut asked: Option<Wait> = None;
        loop {
            if !self.background && asked.is_some() {
                self.parked.lock().push(std::thread::current());
            }
            let turn = self.turn(position, level);
            let looks_again = asked.is_none();
            let wait = asked.get_or_insert_with(&ask);
            if !wait.is_ready() {
                match turn.as_ref().map(Turn::step) {
                    Some(Ok(Step::Worked)) => continue,
                    // A failure that stopped the store is the wait's outcome, with its own words.
                    Some(Err(error)) if !wait.is_ready() => return Err(error),
                    // Whoever had the role may have given it up before he could know of this wait.
                    None if looks_again => continue,
                    _ => {}
                }
            }
            drop(turn);
            if let Poll::Ready(outcome) = poll_with_unpark(Pin::new(wait)) {
                return outcome;
            }
            std::thread::park();
        }
    }

    /// The role of the step that `position` needs next, if it is free.
    fn turn(&self, position: Seq, level: Level) -> Option<Turn<'_>> {
        let kind = match level {
            Level::Buffered if self.store.frontier(Level::Buffered) >= position => return None,
            Level::Durable | Level::Fresh if self.store.frontier(Level::Durable) >= position => Kind::Counter,
            _ => Kind::Log,
        };
        if kind == Kind::Counter && level != Level::Fresh {
            return None;
        }
        Turn::take(self, kind)
    }

    /// Runs all steps of the log and the counter that somebody asks for: for a store without workers.
    pub(crate) fn run_pending(&self) -> Result<Step> {
        let mut all = Step::Idle;
        loop {
            let mut now = Step::Idle;
            for kind in [Kind::Log, Kind::Counter] {
                if let Some(turn) = Turn::take(self, kind)
                    && turn.step()? == Step::Worked
                {
                    now = Step::Worked;
                }
            }
            if now == Step::Idle {
                return Ok(all);
            }
            all = Step::Worked;
        }
    }

    // --- who does it -----------------------------------------------------------------------------

    /// Writes what is queued as one group and syncs, if that is wanted.
    pub(crate) fn log_step(&self) -> Result<Step> {
        let steps = [self.store.log_step()?, self.store.sync_step()?];
        Ok(if steps == [Step::Idle; 2] { Step::Idle } else { Step::Worked })
    }

    /// Work is there: calls the workers for what no caller is at. Without workers, all who sleep look
    /// whether it is for them.
    pub(crate) fn call(&self) {
        if !self.background {
            self.parked.lock().drain(..).for_each(|thread| thread.unpark());
            return;
        }
        if self.log.needs_call() && self.store.log_wanted() {
            self.log_call.raise();
        }
        if self.counter.needs_call() && self.store.round_wanted() {
            self.counter_call.raise();
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Log,
    Counter,
}

/// A role in a caller's hands, for one step.
struct Turn<'a> {
    pump: &'a Pump,
    kind: Kind,
}

impl<'a> Turn<'a> {
    fn take(pump: &'a Pump, kind: Kind) -> Option<Self> {
        let turn = Self { pump, kind };
        if turn.role().take(Holder::Caller) {
            return Some(turn);
        }
        // It is somebody else's to give up.
        std::mem::forget(turn);
        None
    }

    fn role(&self) -> &'a Role {
        match self.kind {
            Kind::Log => &self.pump.log,
            Kind::Counter => &self.pump.counter,
        }
    }

    fn step(&self) -> Result<Step> {
        match self.kind {
            Kind::Log => self.pump.log_step(),
            Kind::Counter => self.pump.store.anchor_step(),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.role().give_up();
        self.pump.call();
    }
}

/// Runs a future that waits for other transactions, and for nothing that this thread would have to do.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        match poll_with_unpark(future.as_mut()) {
            Poll::Ready(output) => return output,
            Poll::Pending => {
                contention::note();
                std::thread::park();
            }
        }
    }
}

/// As [`block_on`], but not for longer than `timeout`: then `given_up` is called while the future still waits, it is
/// dropped, and there is no output. The clock is read only by who has to wait.
pub(crate) fn block_on_for<F: Future>(
    future: F,
    timeout: Duration,
    given_up: impl FnOnce(),
) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut clock: Option<OsClock> = None;
    loop {
        if let Poll::Ready(output) = poll_with_unpark(future.as_mut()) {
            return Some(output);
        }
        let left = timeout.saturating_sub(clock.get_or_insert_with(OsClock::new).monotonic());
        if left.is_zero() {
            given_up();
            return None;
        }
        contention::note();
        std::thread::park_timeout(left);
    }
}

/// Polls on behalf of this thread, which is unparked when it is worth polling again.
fn poll_with_unpark<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    thread_local! {
        static WAKER: Waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    }
    WAKER.with(|waker| future.poll(&mut Context::from_waker(waker)))
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}
