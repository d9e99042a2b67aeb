//! [`Commit`]: a submitted batch, as something that can be awaited for a level.

use crate::db::Shared;
use crate::{Level, Result, Seq};
use ringfort_store::Wait;
use ringfort_store::store::Ticket;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A handle to a commit: looked at ([`Commit::has`]), waited for by a thread ([`Commit::wait`]) or
/// awaited by a task of any runtime ([`Commit::future`], or `commit.await` for the level that it was
/// submitted for). Dropping it changes nothing about the commit.
///
/// Many commits may be under way at once, without a thread each. All that have their level by the
/// same sync, or the same advance of the counter, are released together:
///
/// ```
/// use ringfort::{Db, Level, WriteBatch};
///
/// # fn main() -> ringfort::Result<()> {
/// let db = Db::open_temporary()?;
/// let mut under_way = Vec::new();
/// for n in 0..100u32 {
///     let mut batch = WriteBatch::new();
///     batch.put(db.default_keyspace().id(), n.to_be_bytes(), "value");
///     under_way.push(db.submit(batch, Level::Fresh)?);
/// }
/// // A few syncs and advances of the counter for all hundred.
/// for commit in &under_way {
///     commit.wait(Level::Fresh)?;
/// }
/// # Ok(())
/// # }
/// ```
///
/// In a task, with whatever runtime:
///
/// ```
/// use ringfort::{Db, Level, WriteBatch};
///
/// async fn transfer(db: &Db, batch: WriteBatch) -> ringfort::Result<()> {
///     let commit = db.submit(batch, Level::Fresh)?;
///     // ... other work ...
///     commit.await // anchored, or an error
/// }
/// # fn main() {}
/// ```
#[derive(Clone)]
pub struct Commit {
    shared: Arc<Shared>,
    ticket: Ticket,
    level: Level,
}

impl Commit {
    pub(crate) fn new(shared: Arc<Shared>, ticket: Ticket, level: Level) -> Self {
        Self { shared, ticket, level }
    }

    /// Its position in the log.
    #[must_use]
    pub fn position(&self) -> Seq {
        self.ticket.position
    }

    /// Whether it has `level` already. At [`Level::Fresh`]: whether it is anchored.
    #[must_use]
    pub fn has(&self, level: Level) -> bool {
        self.shared.pump.store.frontier(level) >= self.ticket.position
    }

    /// Waits until it has `level`. After an error of kind
    /// [`OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown) it may or may not have happened (R11).
    pub fn wait(&self, level: Level) -> Result<()> {
        self.shared.pump.settle(self.ticket, level)
    }

    /// As [`Commit::wait`], for a caller that does not block. The workers do the work, from now on and
    /// whether or not the future is polled; without workers somebody must call
    /// [`Db::run_pending`](crate::Db::run_pending). A waker is called by whoever ran the step, in the
    /// middle of it: it must wake, and not call the store.
    pub fn future(&self, level: Level) -> CommitFuture {
        let wait = self.shared.pump.store.wait_commit(self.ticket, level);
        CommitFuture { wait, _shared: Arc::clone(&self.shared) }
    }
}

impl IntoFuture for Commit {
    type Output = Result<()>;
    type IntoFuture = CommitFuture;

    /// [`Commit::future`] for the level that it was submitted for.
    fn into_future(self) -> CommitFuture {
        self.future(self.level)
    }
}

/// Resolves when the commit has its level; see [`Commit::future`].
pub struct CommitFuture {
    wait: Wait,
    /// The workers run for as long as somebody awaits them.
    _shared: Arc<Shared>,
}

impl Future for CommitFuture {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.wait).poll(cx)
    }
}
