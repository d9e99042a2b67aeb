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

use super::gate::Live;
use super::locks::{Key, LockError, Mode, Owner, Refused, with_keyspace};
use super::overlay::{Overlay, Pending, split};
use crate::batch::WriteBatch;
use crate::core::Inner;
use crate::engine::lsm::iter::Shown;
use crate::store::{Answer, Snapshot, Ticket};
use crate::value::Value;
use ringfort_base::limits::BATCH_BYTES_MAX;
use ringfort_base::{Error, ErrorKind, KeyspaceId, Result, Seq};
use ringfort_trust::defence::{self, Defence};
use std::collections::BTreeSet;
use std::sync::Arc;

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

/// Keys that an optimistic transaction remembers one by one; more are remembered as ranges over
/// neighbours, which costs false conflicts and bounds the memory.
const READS_MAX: usize = 1 << 16;
/// So many neighbours become one range then.
const READS_PER_RANGE: usize = 64;
/// Entries that a scan looks at between two locks.
const SCAN_CHUNK: usize = 64;

/// What a scan found, in its order: keys with values.
pub type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// See the module.
pub struct Transaction {
    inner: Arc<Inner>,
    owner: Owner,
    concurrency: Concurrency,
    /// What reads see; none if they see the newest.
    snapshot: Option<Snapshot>,
    overlay: Overlay,
    /// What an optimistic transaction has read: keys, and ranges of keys.
    reads: BTreeSet<Key>,
    scans: Vec<(Key, Key)>,
    /// The newest position that an answer depended on (R6).
    depends: Seq,
    /// Writes outside of transactions take locks while this is here. Who only reads a snapshot has none.
    live: Option<Live>,
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
            reads: BTreeSet::new(),
            scans: Vec::new(),
            depends: Seq::ZERO,
            live: (options.concurrency != Concurrency::Snapshot).then(|| inner.gate.live()),
            is_alone: inner.gate.is_shut(),
        }
    }

    /// Sees to it that no write is under way that knows nothing of transactions, and that all that went
    /// before is visible: from then on only who has the lock can change a key.
    async fn be_alone(&mut self) -> Result<()> {
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

    async fn lock(&mut self, keyspace: KeyspaceId, key: &[u8], mode: Mode) -> Result<()> {
        self.be_alone().await?;
        if mode == Mode::Shared && !defence::on(Defence::ReadLocks) {
            return Ok(());
        }
        self.owner.lock(keyspace, key, mode).await.map_err(refusal)
    }

    async fn lock_range(
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

    /// For the next try of the same work.
    #[must_use]
    pub fn age(&self) -> u64 {
        self.owner.age()
    }

    /// What was refused last as a deadlock: for the next try of the same work.
    pub fn refused(&mut self) -> Option<Refused> {
        self.owner.refused()
    }

    /// Locks what was refused to an earlier try. Before anything else it waits for whoever has it, and for
    /// nobody in a circle.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub async fn lock_refused(&mut self, refused: &Refused) -> Result<()> {
        self.be_alone().await?;
        self.owner.lock_refused(refused).await.map_err(refusal)
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

    async fn read(&mut self, keyspace: KeyspaceId, key: &[u8], mode: Mode) -> Result<Option<Value>> {
        let name = with_keyspace(keyspace, key);
        match self.overlay.get(&name) {
            Some(Pending::Put(value)) => return Ok(Some(value.clone().into())),
            Some(Pending::Delete) => return Ok(None),
            Some(Pending::Merge(_)) | None => {}
        }
        if self.concurrency == Concurrency::Pessimistic {
            self.lock(keyspace, key, mode).await?;
        }
        let under = self.look(keyspace, key)?;
        if self.concurrency == Concurrency::Optimistic {
            self.note_read(name.clone());
        }
        match self.overlay.get(&name) {
            Some(Pending::Merge(operands)) => {
                let operands: Vec<&[u8]> = operands.iter().map(Vec::as_slice).collect();
                let merged = self.inner.merge_onto(keyspace, key, under.as_deref(), &operands)?;
                Ok(Some(merged.into()))
            }
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

    fn note_read(&mut self, key: Key) {
        self.reads.insert(key);
        if self.reads.len() <= READS_MAX {
            return;
        }
        let keys: Vec<Key> = std::mem::take(&mut self.reads).into_iter().collect();
        for run in keys.chunk_by(|a, b| split(a).0 == split(b).0).flat_map(|run| run.chunks(READS_PER_RANGE))
        {
            self.scans.push((run[0].clone(), behind(&run[run.len() - 1])));
        }
    }

    /// The entries of `from..to` in order, or in reverse, at most `limit`; `to` is `None` for the end of
    /// the keyspace. What was looked at, and not more, is protected from others' changes.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub async fn scan(
        &mut self,
        keyspace: KeyspaceId,
        from: &[u8],
        to: Option<&[u8]>,
        reverse: bool,
        limit: usize,
    ) -> Result<Entries> {
        let mut rest = (with_keyspace(keyspace, from), end_of(keyspace, to));
        let mut found = Entries::new();
        while found.len() < limit && rest.0 < rest.1 {
            let wanted = (limit - found.len()).min(SCAN_CHUNK);
            let chunk = self.bounds(keyspace, &rest, reverse, wanted)?;
            self.protect(keyspace, &chunk).await?;
            let entries = self.entries(keyspace, &chunk, reverse)?;
            found.extend(entries);
            rest = if reverse { (rest.0, chunk.0) } else { (chunk.1, rest.1) };
        }
        found.truncate(limit);
        Ok(found)
    }

    /// What a scan sees now: the transaction's snapshot, or the newest.
    fn view(&self) -> Snapshot {
        match &self.snapshot {
            Some(snapshot) => self.inner.pin_snapshot(snapshot.position()),
            None => self.inner.snapshot(),
        }
    }

    /// The part of a range that has about so many entries from its beginning, or its end.
    fn bounds(
        &self,
        keyspace: KeyspaceId,
        range: &(Key, Key),
        reverse: bool,
        wanted: usize,
    ) -> Result<(Key, Key)> {
        let view = self.view();
        let (from, to) = keys_of(range);
        let mut entries = self.inner.iter(keyspace, from, to, (reverse, Shown::Keys), view.position())?;
        for _ in 1..wanted {
            if entries.entry().is_none() {
                break;
            }
            entries.advance()?;
        }
        let Some((key, _)) = entries.entry() else { return Ok(range.clone()) };
        let key = with_keyspace(keyspace, key);
        Ok(if reverse { (key, range.1.clone()) } else { (range.0.clone(), behind(&key)) })
    }

    async fn protect(&mut self, keyspace: KeyspaceId, range: &(Key, Key)) -> Result<()> {
        let (from, to) = keys_of(range);
        match self.concurrency {
            Concurrency::Pessimistic => self.lock_range(keyspace, from, to, Mode::Shared).await,
            Concurrency::Optimistic => {
                self.scans.push(range.clone());
                Ok(())
            }
            Concurrency::Snapshot => Ok(()),
        }
    }

    /// All entries of a range, with the transaction's own writes.
    fn entries(&mut self, keyspace: KeyspaceId, range: &(Key, Key), reverse: bool) -> Result<Entries> {
        let view = self.view();
        let (from, to) = keys_of(range);
        let mut stored = self.inner.iter(keyspace, from, to, (false, Shown::Values), view.position())?;
        let mut own = self.overlay.range(&range.0, &range.1).peekable();
        let mut found = Entries::new();
        while let Some((key, value)) = stored.entry() {
            while let Some((name, pending)) = own.next_if(|(name, _)| split(name).1 < key) {
                self.inner.show(keyspace, split(name).1, None, pending, &mut found)?;
            }
            match own.next_if(|(name, _)| split(name).1 == key) {
                Some((_, pending)) => self.inner.show(keyspace, key, Some(value), pending, &mut found)?,
                None if self.overlay.get(&with_keyspace(keyspace, key)).is_some() => {} // its range was deleted
                None => found.push((key.to_vec(), value.to_vec())),
            }
            stored.advance()?;
        }
        for (name, pending) in own {
            self.inner.show(keyspace, split(name).1, None, pending, &mut found)?;
        }
        self.depends = self.depends.max(stored.depends());
        if reverse {
            found.reverse();
        }
        Ok(found)
    }

    // --- writes -----------------------------------------------------------------------------------

    /// Writes a value.
    ///
    /// # Errors
    /// As [`Transaction::get`]; `Invalid` for a snapshot, `Exhausted` for more than a batch may hold.
    pub async fn put(&mut self, keyspace: KeyspaceId, key: &[u8], value: &[u8]) -> Result<()> {
        let name = self.lock_to_write(keyspace, key, value.len()).await?;
        self.overlay.set(name, Pending::Put(value.to_vec()));
        Ok(())
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// As [`Transaction::put`].
    pub async fn delete(&mut self, keyspace: KeyspaceId, key: &[u8]) -> Result<()> {
        let name = self.lock_to_write(keyspace, key, 0).await?;
        self.overlay.set(name, Pending::Delete);
        Ok(())
    }

    /// Merges an operand into a key by the keyspace's operator, without reading it.
    ///
    /// # Errors
    /// As [`Transaction::put`], and those of the operator.
    pub async fn merge(&mut self, keyspace: KeyspaceId, key: &[u8], operand: &[u8]) -> Result<()> {
        let name = self.lock_to_write(keyspace, key, operand.len()).await?;
        let under = match self.overlay.get(&name) {
            Some(Pending::Put(value)) => Some(value.as_slice()),
            Some(Pending::Delete) => None,
            Some(Pending::Merge(_)) | None => {
                self.overlay.merge(name, operand.to_vec());
                return Ok(());
            }
        };
        let merged = self.inner.merge_onto(keyspace, key, under, &[operand])?;
        self.overlay.set(name, Pending::Put(merged));
        Ok(())
    }

    /// Deletes all keys of `from..to`.
    ///
    /// # Errors
    /// As [`Transaction::put`].
    pub async fn delete_range(&mut self, keyspace: KeyspaceId, from: &[u8], to: &[u8]) -> Result<()> {
        self.may_write(from.len() + to.len())?;
        if self.concurrency == Concurrency::Pessimistic {
            self.lock_range(keyspace, from, Some(to), Mode::Exclusive).await?;
        }
        if from < to {
            self.overlay.delete_range(with_keyspace(keyspace, from), with_keyspace(keyspace, to));
        }
        Ok(())
    }

    /// Changes the keyspace's maintained count. It conflicts with nobody.
    pub fn count(&mut self, keyspace: KeyspaceId, delta: i64) {
        self.overlay.count(keyspace, delta);
    }

    async fn lock_to_write(&mut self, keyspace: KeyspaceId, key: &[u8], bytes: usize) -> Result<Key> {
        self.may_write(key.len() + bytes)?;
        if self.concurrency == Concurrency::Pessimistic {
            self.lock(keyspace, key, Mode::Exclusive).await?;
        }
        Ok(with_keyspace(keyspace, key))
    }

    fn may_write(&self, bytes: usize) -> Result<()> {
        if self.concurrency == Concurrency::Snapshot {
            return Err(Error::invalid("a transaction of a snapshot only reads"));
        }
        if self.overlay.bytes() + bytes > BATCH_BYTES_MAX {
            let message = format!("a transaction writes at most {BATCH_BYTES_MAX} bytes");
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
            self.lock_all().await?;
            self.validate()?;
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

    /// Locks what was written and read, in order, so that optimistic ones do not become deadlocks among themselves.
    async fn lock_all(&mut self) -> Result<()> {
        let mut wanted: Vec<(Key, Option<Key>, Mode)> = Vec::new();
        let (keys, ranges) = self.overlay.written();
        wanted.extend(keys.map(|key| (key.clone(), None, Mode::Exclusive)));
        wanted.extend(ranges.iter().map(|(from, to)| (from.clone(), Some(to.clone()), Mode::Exclusive)));
        wanted.extend(self.reads.iter().map(|key| (key.clone(), None, Mode::Shared)));
        wanted.extend(self.scans.iter().map(|(from, to)| (from.clone(), Some(to.clone()), Mode::Shared)));
        // Of one key the exclusive request first: then the shared one is had already.
        wanted.sort_by(|a, b| (&a.0, a.2 == Mode::Shared, &a.1).cmp(&(&b.0, b.2 == Mode::Shared, &b.1)));
        for (from, to, mode) in wanted {
            let (keyspace, key) = split(&from);
            match to {
                None => self.lock(keyspace, key, mode).await?,
                Some(to) => {
                    let range = (from.clone(), to);
                    let (key, to) = keys_of(&range);
                    self.lock_range(keyspace, key, to, mode).await?;
                }
            }
        }
        Ok(())
    }

    fn validate(&self) -> Result<()> {
        let Some(snapshot) = &self.snapshot else { return Ok(()) };
        let seen = snapshot.position();
        let now = self.inner.snapshot();
        if now.position() == seen {
            return Ok(());
        }
        for key in self.reads.iter().filter(|_| defence::on(Defence::KeyValidation)) {
            let (keyspace, key) = split(key);
            let newest = self.inner.get(keyspace, key, Some(now.position()), false)?;
            if newest.is_none_or(|answer| answer.depends > seen) {
                return Err(conflict());
            }
        }
        for range in self.scans.iter().filter(|_| defence::on(Defence::RangeValidation)) {
            let (from, to) = keys_of(range);
            let mut entries =
                self.inner.iter(split(&range.0).0, from, to, (false, Shown::Keys), now.position())?;
            while entries.entry().is_some() {
                entries.advance()?;
            }
            if entries.depends() > seen {
                return Err(conflict());
            }
        }
        Ok(())
    }
}

impl Inner {
    /// What operands make of a value.
    fn merge_onto(
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

    /// Adds what a scan shows of a key that the transaction wrote.
    fn show(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        under: Option<&[u8]>,
        pending: &Pending,
        found: &mut Entries,
    ) -> Result<()> {
        let value = match pending {
            Pending::Delete => return Ok(()),
            Pending::Put(value) => value.clone(),
            Pending::Merge(operands) => {
                let operands: Vec<&[u8]> = operands.iter().map(Vec::as_slice).collect();
                self.merge_onto(keyspace, key, under, &operands)?
            }
        };
        found.push((key.to_vec(), value));
        Ok(())
    }
}

/// The first key behind this one.
fn behind(key: &Key) -> Key {
    [key, &[0][..]].concat().into()
}

fn end_of(keyspace: KeyspaceId, to: Option<&[u8]>) -> Key {
    match to {
        Some(to) => with_keyspace(keyspace, to),
        None => with_keyspace(keyspace.next(), &[]),
    }
}

/// A range without its keyspace; one that ends with the keyspace has no end.
fn keys_of(range: &(Key, Key)) -> (&[u8], Option<&[u8]>) {
    let ((keyspace, from), (end_in, to)) = (split(&range.0), split(&range.1));
    (from, (keyspace == end_in).then_some(to))
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

fn conflict() -> Error {
    Error::new(ErrorKind::Conflict, "what the transaction read has been changed since: try again")
}
