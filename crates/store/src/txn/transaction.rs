//! [`Transaction`]: reads, writes and a commit that are one step to everybody else.
//!
//! ```text
//!  pessimistic   each read and write takes its lock first, and reads the newest; commit only writes
//!  optimistic    reads a snapshot, remembers what; commit locks, looks whether that is still the newest, writes
//!  snapshot      reads a snapshot, writes nothing
//!                                   │
//!                        Ready: a batch and the locks that hold until it is visible
//! ```
//!
//! All of them are serializable with each other, since both kinds of writers meet in one
//! [lock table](super::locks) before they get their position, and the log is one total order. A commit
//! is acknowledged at the level that its caller waits for; so is a commit that wrote nothing: it waits
//! for what it has read (R6).
//!
//! Waiting is pending + waker (R22): dropping a future, or the transaction, gives everything back.

use super::batch_locks::spans;
use super::covered::Covered;
use super::gate::Live;
use super::locks::{LockError, Mode, Owner, Waiting, with_keyspace};
use super::overlay::{Overlay, Own};
use super::reads::ReadSet;
use crate::batch::{Op, WriteBatch, check_lengths};
use crate::core::Inner;
use crate::engine::lsm::blob::StoredValue;
use crate::engine::lsm::blob::stored::{Place, Stored};
use crate::store::{Answer, Snapshot, Ticket};
use crate::value::Value;
use ringfort_base::limits::{BATCH_BYTES_MAX, BATCH_OPS_MAX};
use ringfort_base::{Error, ErrorKind, KeyspaceId, Result, Seq};
use ringfort_trust::defence::{self, Defence};
use std::sync::Arc;

/// Most bytes of memory that a transaction's writes take: what it overwrote since a savepoint is kept.
const HELD_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX;

/// How a transaction keeps others away.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Concurrency {
    /// By locks, from the first use of a key on. It waits for others; it fails only as a deadlock's
    /// victim.
    #[default]
    Pessimistic,
    /// By a check at the end. It waits for nobody before; it fails if what it read has changed.
    Optimistic,
    /// It only reads, everything as of its begin, and disturbs nobody.
    Snapshot,
}

/// How to begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TxnOptions {
    /// How it keeps others away.
    pub concurrency: Concurrency,
    /// The [`Transaction::age`] of an earlier try of the same work, so that it is not the youngest
    /// again.
    pub age: Option<u64>,
}

/// See the module.
pub struct Transaction {
    pub(super) inner: Arc<Inner>,
    pub(super) owner: Owner,
    pub(super) concurrency: Concurrency,
    /// What reads see; none if they see the newest.
    pub(super) snapshot: Option<Snapshot>,
    pub(super) overlay: Overlay,
    /// What an optimistic transaction has read.
    pub(super) reads: ReadSet,
    /// Names that an optimistic transaction locks, beside what it wrote, when it commits.
    pub(super) covered: Covered,
    /// The newest position that an answer depended on (R6).
    pub(super) depends: Seq,
    /// The name of the key that is worked with: its keyspace, and it.
    name: Vec<u8>,
    /// Writes outside of transactions take locks while this is here. Who only reads a snapshot has none.
    pub(super) live: Option<Live>,
    /// Those that did not are all visible.
    is_alone: bool,
}

/// A transaction that may be written: nothing can come between any more, as long as this is kept, until the
/// batch has its position.
pub struct Ready {
    /// What is to be written; empty if there is nothing.
    pub batch: WriteBatch,
    /// The newest position that it read: a commit without a batch waits for this.
    pub depends: Seq,
    /// To be kept until the batch is visible, or handed to [`crate::store::Store::apply_locked`].
    pub locks: Owner,
    /// Writes outside of transactions still take locks: else one could take its position now, between what was
    /// read and what is written.
    _live: Option<Live>,
}

impl Transaction {
    pub(crate) fn begin(inner: &Arc<Inner>, options: TxnOptions) -> Self {
        let snapshot = match options.concurrency {
            Concurrency::Pessimistic => None,
            Concurrency::Optimistic | Concurrency::Snapshot => Some(inner.snapshot()),
        };
        Self {
            inner: Arc::clone(inner),
            owner: inner.locks.owner(options.age),
            concurrency: options.concurrency,
            snapshot,
            overlay: Overlay::default(),
            reads: ReadSet::default(),
            covered: Covered::default(),
            depends: Seq::ZERO,
            name: Vec::new(),
            live: (options.concurrency != Concurrency::Snapshot).then(|| inner.gate.live()),
            is_alone: inner.gate.is_shut(),
        }
    }

    /// Sees to it that no write is under way that knows nothing of transactions, and that all that went
    /// before is visible: from then on only who has the lock can change a key.
    pub(super) async fn be_alone(&mut self) -> Result<()> {
        if let Some(live) = &self.live
            && !self.is_alone
        {
            // What others left there with their locks is not waited for.
            let queued = live.alone().await;
            self.inner.make_visible(queued)?;
            self.is_alone = true;
        }
        Ok(())
    }

    pub(super) async fn lock(&mut self, keyspace: KeyspaceId, key: &[u8], mode: Mode) -> Result<()> {
        self.be_alone().await?;
        if mode == Mode::Shared && !defence::on(Defence::ReadLocks) {
            return Ok(());
        }
        self.owner.lock(keyspace, key, mode).await.map_err(refusal)
    }

    pub(super) async fn lock_range(
        &mut self,
        keyspace: KeyspaceId,
        from: &[u8],
        to: Option<&[u8]>,
        mode: Mode,
    ) -> Result<()> {
        self.be_alone().await?;
        if !defence::on(Defence::RangeLocks) {
            return Ok(());
        }
        self.owner.lock_range(keyspace, from, to, mode).await.map_err(refusal)
    }

    /// For who polls a request and will not wait forever: whom it waits for.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        self.owner.waiting()
    }

    /// For the next try of the same work.
    #[must_use]
    pub fn age(&self) -> u64 {
        self.owner.age()
    }

    /// The newest position that an answer of this transaction depends on: what a reply waits for (R6).
    #[must_use]
    pub fn depends(&self) -> Seq {
        self.depends
    }

    // --- reads ------------------------------------------------------------------------------------

    /// Reads a key: its own write, or what its concurrency shows.
    ///
    /// # Errors
    /// `Deadlock`, for a pessimistic one; then it is to be dropped and tried again. As [`crate::store::Store::get`].
    pub async fn get(&mut self, keyspace: KeyspaceId, key: &[u8]) -> Result<Option<Value>> {
        self.read(keyspace, key, Mode::Shared).await
    }

    /// Reads a key that is going to be written: locked exclusively at once, so that two who do the same
    /// do not become a deadlock.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub async fn get_for_update(&mut self, keyspace: KeyspaceId, key: &[u8]) -> Result<Option<Value>> {
        self.read(keyspace, key, Mode::Exclusive).await
    }

    /// Reads many keys, all as of one moment; the values in the order of the keys. They are locked in their own
    /// order, so that two who ask for the same do not become a deadlock.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub async fn multi_get<K: AsRef<[u8]>>(
        &mut self,
        keyspace: KeyspaceId,
        keys: &[K],
    ) -> Result<Vec<Option<Value>>> {
        let mut values: Vec<Option<Value>> = keys.iter().map(|_| None).collect();
        let mut asked = Vec::with_capacity(keys.len());
        for (nth, key) in keys.iter().enumerate() {
            match self.written(keyspace, key.as_ref())? {
                Some(own) => values[nth] = own,
                None => asked.push(nth),
            }
        }
        if self.concurrency == Concurrency::Pessimistic {
            let mut in_order: Vec<&[u8]> = asked.iter().map(|nth| keys[*nth].as_ref()).collect();
            in_order.sort_unstable();
            in_order.dedup();
            for key in in_order {
                self.lock(keyspace, key, Mode::Shared).await?;
            }
        }
        let names: Vec<&[u8]> = asked.iter().map(|nth| keys[*nth].as_ref()).collect();
        let at = self.snapshot.as_ref().map(Snapshot::position);
        let Answer { value: found, depends } = self.inner.multi_get(keyspace, &names, at)?;
        self.depends = self.depends.max(depends);
        for ((nth, key), under) in asked.into_iter().zip(names).zip(found) {
            if self.concurrency == Concurrency::Optimistic {
                self.reads.note(keyspace, key);
            }
            values[nth] = self.with_operands(keyspace, key, under)?;
        }
        Ok(values)
    }

    async fn read(&mut self, keyspace: KeyspaceId, key: &[u8], mode: Mode) -> Result<Option<Value>> {
        if let Some(own) = self.written(keyspace, key)? {
            return Ok(own);
        }
        if self.concurrency == Concurrency::Pessimistic {
            self.lock(keyspace, key, mode).await?;
        }
        let under = self.look(keyspace, key)?;
        if self.concurrency == Concurrency::Optimistic {
            self.reads.note(keyspace, key);
        }
        self.with_operands(keyspace, key, under)
    }

    /// What the transaction's own writes alone say of a key: a value, or that it is not there.
    fn written(&mut self, keyspace: KeyspaceId, key: &[u8]) -> Result<Option<Option<Value>>> {
        if self.overlay.hides_nothing() {
            return Ok(None);
        }
        name_into(&mut self.name, keyspace, key);
        Ok(match self.overlay.get(&self.name) {
            Some(Own::Put(value)) => Some(Some(value.into())),
            Some(Own::Stored(stored)) => Some(Some(self.inner.stored_value(stored)?)),
            Some(Own::Delete) => Some(None),
            Some(Own::Merge(_)) | None => None,
        })
    }

    /// What the transaction's operands make of what lies under them.
    fn with_operands(
        &mut self,
        keyspace: KeyspaceId,
        key: &[u8],
        under: Option<Value>,
    ) -> Result<Option<Value>> {
        if self.overlay.hides_nothing() {
            return Ok(under);
        }
        name_into(&mut self.name, keyspace, key);
        match self.overlay.get(&self.name) {
            Some(Own::Merge(operands)) => self
                .inner
                .merge_onto(keyspace, key, under.as_deref(), &operands)
                .map(|value| Some(value.into())),
            _ => Ok(under),
        }
    }

    /// What lies under the transaction's own writes.
    fn look(&mut self, keyspace: KeyspaceId, key: &[u8]) -> Result<Option<Value>> {
        let at = self.snapshot.as_ref().map(Snapshot::position);
        let answer = self.inner.get(keyspace, key, at, false)?;
        let Some(Answer { value, depends }) = answer else {
            return Err(Error::new(ErrorKind::Internal, "a read that may wait for the disk did not"));
        };
        self.depends = self.depends.max(depends);
        Ok(value)
    }

    // --- writes -----------------------------------------------------------------------------------

    /// Writes a value.
    ///
    /// # Errors
    /// As [`Transaction::get`]; `Invalid` for a snapshot and for a key or a value above its limit, `Exhausted` for more
    /// than a batch may hold.
    pub async fn put(&mut self, keyspace: KeyspaceId, key: &[u8], value: &[u8]) -> Result<()> {
        self.lock_to_write(keyspace, key, value.len()).await?;
        self.overlay.put(&self.name, value);
        Ok(())
    }

    /// Writes a value that was written by the piece ([`crate::Store::value_writer`]).
    ///
    /// # Errors
    /// As [`Transaction::put`]; `Invalid` if it is of another store or of an earlier life of this one.
    pub async fn put_stored(&mut self, keyspace: KeyspaceId, key: &[u8], value: StoredValue) -> Result<()> {
        match value.0 {
            Place::Memory(bytes) => self.put(keyspace, key, &bytes).await,
            Place::File(stored) => {
                self.lock_to_write(keyspace, key, 0).await?;
                self.put_file(stored)
            }
        }
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// As [`Transaction::put`].
    pub async fn delete(&mut self, keyspace: KeyspaceId, key: &[u8]) -> Result<()> {
        self.lock_to_write(keyspace, key, 0).await?;
        self.overlay.delete(&self.name);
        Ok(())
    }

    /// Merges an operand into a key by the keyspace's operator, without reading it.
    ///
    /// # Errors
    /// As [`Transaction::put`], and those of the operator.
    pub async fn merge(&mut self, keyspace: KeyspaceId, key: &[u8], operand: &[u8]) -> Result<()> {
        self.lock_to_write(keyspace, key, operand.len()).await?;
        self.merge_own(keyspace, key, operand)
    }

    /// Deletes all keys of `from..to`.
    ///
    /// # Errors
    /// As [`Transaction::put`].
    pub async fn delete_range(&mut self, keyspace: KeyspaceId, from: &[u8], to: &[u8]) -> Result<()> {
        self.may_write(keyspace, from.len().max(to.len()), 0)?;
        if from >= to {
            return Ok(());
        }
        if self.concurrency == Concurrency::Pessimistic {
            self.lock_range(keyspace, from, Some(to), Mode::Exclusive).await?;
        }
        self.overlay.delete_range(with_keyspace(keyspace, from), with_keyspace(keyspace, to));
        Ok(())
    }

    /// Changes the keyspace's maintained count. It conflicts with nobody.
    pub fn count(&mut self, keyspace: KeyspaceId, delta: i64) {
        self.overlay.count(keyspace, delta);
    }

    /// Does all that a batch does, or nothing of it. What it writes is locked in order, so that two who write the same
    /// do not become a deadlock.
    ///
    /// # Errors
    /// As [`Transaction::put`] and [`Transaction::merge`].
    pub async fn write(&mut self, batch: &WriteBatch) -> Result<()> {
        if self.concurrency == Concurrency::Pessimistic {
            let mut wanted = spans(batch)?;
            wanted.sort_unstable();
            for (keyspace, from, to) in wanted {
                match to {
                    None => self.lock(keyspace, from, Mode::Exclusive).await?,
                    Some(to) if from < to => {
                        self.lock_range(keyspace, from, Some(to), Mode::Exclusive).await?;
                    }
                    Some(_) => {}
                }
            }
        }
        self.write_locked(batch)
    }

    /// Does all that a batch does, or nothing of it, on what is locked.
    pub(super) fn write_locked(&mut self, batch: &WriteBatch) -> Result<()> {
        self.overlay.drop_dead();
        self.overlay.set_savepoint();
        let written = self.write_own(batch);
        match written {
            Ok(()) => self.overlay.pop_savepoint(),
            Err(_) => self.overlay.rollback_to_savepoint(),
        };
        written
    }

    /// The operations of a batch.
    fn write_own(&mut self, batch: &WriteBatch) -> Result<()> {
        let mut stored = batch.stored().iter();
        for span in batch.spans() {
            let keyspace = span.keyspace;
            for op in span.iter() {
                match op.map_err(|e| internal(&format!("a batch cannot be read: {e}")))? {
                    Op::Put { key, value } => {
                        self.name_to_write(keyspace, key, value.len())?;
                        self.overlay.put(&self.name, value);
                    }
                    Op::PutStored { key, .. } => {
                        let value = stored.next().ok_or_else(|| internal("a batch lacks a stored value"))?;
                        self.name_to_write(keyspace, key, 0)?;
                        self.put_file(Arc::clone(value))?;
                    }
                    Op::Merge { key, operand } => {
                        self.name_to_write(keyspace, key, operand.len())?;
                        self.merge_own(keyspace, key, operand)?;
                    }
                    Op::Delete { key } => {
                        self.name_to_write(keyspace, key, 0)?;
                        self.overlay.delete(&self.name);
                    }
                    Op::DeleteRange { from, to } => {
                        self.may_write(keyspace, from.len().max(to.len()), 0)?;
                        if from < to {
                            self.overlay
                                .delete_range(with_keyspace(keyspace, from), with_keyspace(keyspace, to));
                        }
                    }
                    Op::Count { delta } => {
                        self.may_write(keyspace, 0, 0)?;
                        self.count(keyspace, delta);
                    }
                    Op::Part { .. } | Op::Prepare { .. } | Op::Decide { .. } => {
                        return Err(internal("a batch of a user holds records of prepared transactions"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Sets the key that is named to a value that lies in a file.
    fn put_file(&mut self, stored: Arc<Stored>) -> Result<()> {
        if !stored.is_of(&self.inner.tables.values) {
            let message = "a stored value is of another store, or of an earlier life of this one";
            return Err(Error::invalid(message));
        }
        self.overlay.put_stored(&self.name, stored);
        Ok(())
    }

    /// Merges into the key that is named: into what the transaction wrote, if it did.
    fn merge_own(&mut self, keyspace: KeyspaceId, key: &[u8], operand: &[u8]) -> Result<()> {
        let merged = match self.overlay.get(&self.name) {
            Some(Own::Put(value)) => self.inner.merge_onto(keyspace, key, Some(value), &[operand])?,
            Some(Own::Stored(stored)) => {
                let value = self.inner.stored_value(stored)?;
                self.inner.merge_onto(keyspace, key, Some(&value), &[operand])?
            }
            Some(Own::Delete) => self.inner.merge_onto(keyspace, key, None, &[operand])?,
            Some(Own::Merge(_)) | None => {
                self.overlay.merge(&self.name, operand);
                return Ok(());
            }
        };
        self.may_write(keyspace, key.len(), merged.len())?;
        self.overlay.put(&self.name, &merged);
        Ok(())
    }

    async fn lock_to_write(&mut self, keyspace: KeyspaceId, key: &[u8], value_bytes: usize) -> Result<()> {
        self.name_to_write(keyspace, key, value_bytes)?;
        if self.concurrency == Concurrency::Pessimistic {
            self.lock(keyspace, key, Mode::Exclusive).await?;
        }
        Ok(())
    }

    /// Names a key that may be written.
    fn name_to_write(&mut self, keyspace: KeyspaceId, key: &[u8], value_bytes: usize) -> Result<()> {
        self.may_write(keyspace, key.len(), value_bytes)?;
        name_into(&mut self.name, keyspace, key);
        Ok(())
    }

    fn may_write(&self, keyspace: KeyspaceId, key_bytes: usize, value_bytes: usize) -> Result<()> {
        if self.concurrency == Concurrency::Snapshot {
            return Err(Error::invalid("a transaction of a snapshot only reads"));
        }
        if keyspace == KeyspaceId::SYSTEM {
            return Err(Error::invalid("keyspace 0 is the store itself"));
        }
        check_lengths(key_bytes, value_bytes)?;
        let more = key_bytes + value_bytes;
        let is_too_large = self.overlay.batch_bytes() + more > BATCH_BYTES_MAX
            || self.overlay.held_bytes() + more > HELD_BYTES_MAX;
        if is_too_large || self.overlay.ops() >= BATCH_OPS_MAX {
            let message =
                format!("a transaction writes at most {BATCH_BYTES_MAX} bytes in {BATCH_OPS_MAX} operations");
            return Err(Error::new(ErrorKind::Exhausted, message));
        }
        Ok(())
    }

    // --- savepoints and the end -------------------------------------------------------------------

    /// Marks where [`Transaction::rollback_to_savepoint`] goes back to. Savepoints nest.
    pub fn set_savepoint(&mut self) {
        self.overlay.set_savepoint();
    }

    /// Takes back what was written since the newest savepoint, which goes too. Locks stay: what was read
    /// is still known to who reads it.
    ///
    /// # Errors
    /// `NotFound` without a savepoint.
    pub fn rollback_to_savepoint(&mut self) -> Result<()> {
        match self.overlay.rollback_to_savepoint() {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::NotFound, "the transaction has no savepoint")),
        }
    }

    /// Forgets the newest savepoint and keeps what was written since.
    ///
    /// # Errors
    /// `NotFound` without a savepoint.
    pub fn pop_savepoint(&mut self) -> Result<()> {
        match self.overlay.pop_savepoint() {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::NotFound, "the transaction has no savepoint")),
        }
    }

    /// Makes it certain that it can be written: for an optimistic one, that what it read is still the newest.
    ///
    /// # Errors
    /// `Conflict` if it is not; `Deadlock`.
    pub async fn ready(mut self) -> Result<Ready> {
        // Who only reads a snapshot was serialized where that was taken.
        if self.concurrency == Concurrency::Optimistic && !self.overlay.is_empty() {
            self.check().await?;
        }
        Ok(Ready {
            batch: self.overlay.into_batch(),
            depends: self.depends,
            locks: self.owner,
            _live: self.live,
        })
    }

    /// Commits: writes, and gives the locks back when that is visible. The ticket is what to wait for, at
    /// whatever level.
    ///
    /// # Errors
    /// As [`Transaction::ready`] and [`crate::store::Store::apply`]: `OutcomeUnknown` is one of them (R11).
    pub async fn commit(self) -> Result<Ticket> {
        let inner = Arc::clone(&self.inner);
        let ready = self.ready().await?;
        if ready.batch.is_empty() {
            return Ok(Ticket { position: ready.depends });
        }
        inner.apply(ready.batch, Some(ready.locks))
    }
}

impl Inner {
    /// What operands make of a value.
    pub(super) fn merge_onto(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        under: Option<&[u8]>,
        operands: &[&[u8]],
    ) -> Result<Vec<u8>> {
        match &self.tree(keyspace)?.view().merger {
            Some(merger) => merger.full(key, under, operands),
            None => Err(Error::invalid(format!("keyspace {keyspace} has no merge operator"))),
        }
    }

    /// A value that a transaction has put and that is not committed.
    pub(super) fn stored_value(&self, stored: &Stored) -> Result<Value> {
        let value = stored.value();
        let meta = Arc::new(value.meta.clone());
        let found = self.tables.values.value_in(&meta, &value.pointer(), false);
        found
            .map_err(|error| self.refuse(error))?
            .ok_or_else(|| internal("a read that may wait for the disk did not"))
    }
}

fn name_into(name: &mut Vec<u8>, keyspace: KeyspaceId, key: &[u8]) {
    name.clear();
    name.extend_from_slice(&keyspace.0.to_be_bytes());
    name.extend_from_slice(key);
}

fn internal(why: &str) -> Error {
    Error::new(ErrorKind::Internal, why)
}

/// The error for a lock that was refused.
#[must_use]
pub fn refusal(why: LockError) -> Error {
    match why {
        LockError::Deadlock(deadlock) => {
            Error::new(ErrorKind::Deadlock, format!("{deadlock}: roll back and try again"))
        }
        LockError::Full { locks_max } => {
            let message = format!("transactions hold {locks_max} locks already: wait, or lock less at once");
            Error::new(ErrorKind::Exhausted, message)
        }
    }
}
