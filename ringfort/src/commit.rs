//! [`Commit`]: a written batch, as something that can be awaited for a later level.

use crate::db::Shared;
use crate::{Level, Result, Seq};
use ringfort_store::Wait;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A commit that has the level it was written with, and can get a higher one.
///
/// ```
/// use ringfort::{Db, Level, WriteBatch};
///
/// # fn main() -> ringfort::Result<()> {
/// let db = Db::open_temporary()?;
/// let mut last = None;
/// for n in 0..100u32 {
///     let mut batch = WriteBatch::new();
///     batch.put(db.default_keyspace().id(), n.to_be_bytes(), "value");
///     last = Some(db.write_with(batch, Level::Buffered)?);
/// }
/// // One sync and one advance of the counter for all hundred.
/// last.expect("there were some").wait(Level::Fresh)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Commit {
    shared: Arc<Shared>,
    position: Seq,
}

impl Commit {
    pub(crate) fn new(shared: Arc<Shared>, position: Seq) -> Self {
        Self { shared, position }
    }

    /// Its position in the log.
    #[must_use]
    pub fn position(&self) -> Seq {
        self.position
    }

    /// Whether it has `level` already. At [`Level::Fresh`]: whether it is anchored.
    #[must_use]
    pub fn has(&self, level: Level) -> bool {
        self.shared.pump.store.frontier(level) >= self.position
    }

    /// Waits until it has `level`. After an error of kind
    /// [`OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown) it may or may not have happened (R11).
    pub fn wait(&self, level: Level) -> Result<()> {
        self.shared.pump.settle(self.position, level)
    }

    /// As [`Commit::wait`], for a caller that does not block. The log worker does the work; without
    /// background workers somebody must call [`Db::run_pending`](crate::Db::run_pending).
    pub fn future(&self, level: Level) -> CommitFuture {
        CommitFuture { wait: self.shared.pump.ask(self.position, level), _shared: Arc::clone(&self.shared) }
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

#[cfg(test)]
mod tests {
    use crate::{Db, Level, Options, WriteBatch};
    use std::time::Duration;

    #[test]
    fn a_future_that_is_kept_beyond_its_resolution_keeps_nobody_awake() {
        let quiet = Options::new("").anchor_window(Duration::from_secs(3600)).background(false);
        let db = Db::open_temporary_with(quiet).unwrap();
        let mut batch = WriteBatch::new();
        batch.put(db.default_keyspace().id(), "k", "v");
        let commit = db.write_with(batch, Level::Buffered).unwrap();
        let pump = &commit.shared.pump;
        assert!(!pump.is_asked());
        let kept: Vec<_> = [Level::Fresh, Level::Durable].map(|level| commit.future(level)).into();
        assert!(pump.is_asked());
        while db.run_pending().unwrap() {}
        assert!(!pump.is_asked(), "nobody polled them, and nobody need look again");
        drop(kept);
    }
}
