//! [`Hold`]: how a write outside of transactions keeps out of their way, and how a bulk load and the end of a keyspace do.

use super::gate::Pass;
use super::locks::{LockError, Mode, Owner};
use super::transaction::refusal;
use crate::batch::{Op, WriteBatch};
use crate::core::Inner;
use crate::store::Ticket;
use ringfort_base::{Error, ErrorKind, KeyspaceId, Level, Result, Seq};

/// What a write holds: a pass, while no transaction lives, or locks on all that it writes.
pub struct Hold<'s> {
    inner: &'s Inner,
    held: Held<'s>,
}

enum Held<'s> {
    Pass(Pass<'s>),
    Locks(Owner),
}

impl<'s> Hold<'s> {
    pub(crate) async fn of(inner: &'s Inner, batch: &WriteBatch) -> Result<Self> {
        if let Some(pass) = inner.gate.enter() {
            return Ok(Self { inner, held: Held::Pass(pass) });
        }
        let mut wanted = spans(batch)?;
        // In order, so that two batches do not wait for each other.
        wanted.sort_unstable();
        wanted.dedup();
        let mut age = None;
        loop {
            let mut locks = inner.locks.owner(age);
            age = Some(locks.age());
            match lock_all(&mut locks, &wanted).await {
                Ok(()) => return Ok(Self { inner, held: Held::Locks(locks) }),
                // Transactions take theirs in any order. This one has done nothing yet, so it begins again, and
                // is older than theirs in the end.
                Err(LockError::Deadlock(_)) => {}
                Err(full) => return Err(refusal(full)),
            }
        }
    }

    /// As [`crate::store::Store::apply`], for the batch that this is of.
    ///
    /// # Errors
    /// Those of [`crate::store::Store::apply`].
    pub fn apply(self, batch: WriteBatch) -> Result<Ticket> {
        match self.held {
            Held::Pass(_pass) => self.inner.apply(batch, None),
            Held::Locks(locks) => self.inner.apply(batch, Some(locks)),
        }
    }

    /// As [`crate::store::Store::submit`]; a batch with locks is applied at once, so that nobody waits for a group that
    /// nobody is in a hurry to write.
    ///
    /// # Errors
    /// Those of [`crate::store::Store::apply`].
    pub fn submit(self, batch: WriteBatch) -> Result<Ticket> {
        match self.held {
            Held::Pass(pass) => {
                let ticket = self.inner.submit(batch, None)?;
                pass.queued(ticket.position);
                Ok(ticket)
            }
            Held::Locks(locks) => self.inner.apply(batch, Some(locks)),
        }
    }

    /// Whether it took locks: a transaction lives.
    #[must_use]
    pub fn has_locks(&self) -> bool {
        matches!(self.held, Held::Locks(_))
    }
}

impl Inner {
    /// A lock on a whole range, for what changes it at once: a bulk load, the end of a keyspace. So no transaction sees
    /// one half of that before it and the other behind.
    pub(crate) async fn lock_whole(
        &self,
        keyspace: KeyspaceId,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> Result<Owner> {
        let mut age = None;
        loop {
            let mut locks = self.locks.owner(age);
            age = Some(locks.age());
            match locks.lock_range(keyspace, from, to, Mode::Exclusive).await {
                Ok(()) => return Ok(locks),
                // A range is locked a stripe at a time: as in [`Hold::of`].
                Err(LockError::Deadlock(_)) => {}
                Err(full) => return Err(refusal(full)),
            }
        }
    }
}

async fn lock_all(locks: &mut Owner, wanted: &[Span<'_>]) -> std::result::Result<(), LockError> {
    for &(keyspace, from, to) in wanted {
        match to {
            None => locks.lock(keyspace, from, Mode::Exclusive).await?,
            Some(to) => locks.lock_range(keyspace, from, Some(to), Mode::Exclusive).await?,
        }
    }
    Ok(())
}

/// A key, or a range of keys.
pub(super) type Span<'b> = (KeyspaceId, &'b [u8], Option<&'b [u8]>);

pub(super) fn spans(batch: &WriteBatch) -> Result<Vec<Span<'_>>> {
    // What is too long cannot be read back.
    batch.check_lengths()?;
    let mut wanted = Vec::with_capacity(batch.len());
    for span in batch.spans() {
        for op in span.iter() {
            let op =
                op.map_err(|e| Error::new(ErrorKind::Internal, format!("a batch cannot be read: {e}")))?;
            match op {
                Op::Put { key, .. }
                | Op::PutStored { key, .. }
                | Op::Merge { key, .. }
                | Op::Delete { key } => {
                    wanted.push((span.keyspace, key, None));
                }
                Op::DeleteRange { from, to } => wanted.push((span.keyspace, from, Some(to))),
                Op::Count { .. } | Op::Part { .. } | Op::Prepare { .. } | Op::Decide { .. } => {}
            }
        }
    }
    Ok(wanted)
}

impl Inner {
    /// See [`crate::store::Store::lock_always`].
    pub(crate) async fn lock_always(&self) -> Result<()> {
        let live = self.gate.live();
        live.alone().await;
        let newest = self.queue.lock().newest().position;
        self.make_visible(newest)?;
        self.gate.shut(&live);
        Ok(())
    }

    /// Writes what is queued up to a position.
    pub(super) fn make_visible(&self, position: Seq) -> Result<()> {
        while self.frontiers.get(Level::Buffered) < position {
            self.log_step()?;
        }
        Ok(())
    }
}
