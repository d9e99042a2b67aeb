//! [`Store`]: the open store, as embedders of the core see it.

use crate::batch::WriteBatch;
use crate::clock::Time;
use crate::core::load::Sink;
use crate::core::open::Recovery;
use crate::core::stream::{ValueReader, ValueWriter};
use crate::core::{Inner, open};
use crate::engine::lsm::compaction::Filter;
use crate::engine::lsm::iter::{Entries, Shown};
use crate::engine::lsm::tree::Reads;
use crate::frontier::{Released, Wait};
use crate::options::{KeyspaceOptions, StoreOptions, World};
use crate::stats::Statistics;
use crate::txn::Hold;
use crate::txn::locks::{LockTable, Owner};
use crate::txn::prepared::{InDoubt, Prepared};
use crate::txn::transaction::{Transaction, TxnOptions};
use crate::value::Value;
use ringfort_base::world::Disk;
use ringfort_base::{Incarnation, KeyspaceId, Level, Result, Seq, StoreId};
use ringfort_trust::keyfile::Mode;
use std::sync::Arc;
use std::time::Duration;

/// A submitted commit: its log position.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket {
    /// The sequence number of the commit's last operation.
    pub position: Seq,
}

/// A read's result with the highest sequence number that it depends on, tombstones and absence
/// included: what the read gate waits for (R6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer<T> {
    /// What was read.
    pub value: T,
    /// What it depends on.
    pub depends: Seq,
}

/// A consistent view; entries that it sees are kept until it is dropped.
pub struct Snapshot {
    inner: Arc<Inner>,
    position: Seq,
}

impl Snapshot {
    pub(crate) fn new(inner: Arc<Inner>, position: Seq) -> Self {
        Self { inner, position }
    }

    /// The position that it shows: what a scan of it depends on (R6).
    #[must_use]
    pub fn position(&self) -> Seq {
        self.position
    }
}

impl Clone for Snapshot {
    fn clone(&self) -> Self {
        self.inner.pin_snapshot(self.position)
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.inner.release_snapshot(self.position);
    }
}

/// What a counter operation did.
pub struct Round {
    /// The frontier `fresh` before it.
    pub before: Seq,
    /// The frontier `fresh` after it.
    pub after: Seq,
    /// What was submitted when it ended, before anybody was released.
    pub submitted: Seq,
    /// Who is released by it.
    pub released: Released,
}

/// What one step of background work did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Something; call again.
    Worked,
    /// Nothing to do now.
    Idle,
}

/// An open store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

impl Store {
    /// Opens or creates the store: verify everything, claim, serve (R2, R3). Refuses with evidence
    /// (kinds `Tampered`, `Rollback`, `SecondCopy`), having written nothing (R12).
    pub fn open(world: World, options: StoreOptions) -> Result<Self> {
        open::open(world, options).map(|inner| Self { inner })
    }

    /// Destroys the store `name` and its files. Logically deleted only: older copies of the files may
    /// exist, and nothing on the simulated platform can forget what sealed them (R15).
    pub fn destroy(world: &World, name: &str) -> Result<()> {
        open::destroy(world, name)
    }

    /// The store's random identity.
    #[must_use]
    pub fn id(&self) -> StoreId {
        self.inner.context.store
    }

    /// The mode that is sealed in the store.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.inner.volumes.mode
    }

    /// The level that is sealed in the store as the least that a write may ask for (R17).
    #[must_use]
    pub fn minimum_level(&self) -> Level {
        self.inner.minimum_level
    }

    /// Which life this is.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.inner.context.incarnation
    }

    /// What the opening found behind the anchored head.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.inner.recovery
    }

    // --- keyspaces -------------------------------------------------------------------------------

    /// The id of a keyspace, if it exists.
    #[must_use]
    pub fn keyspace(&self, name: &str) -> Option<KeyspaceId> {
        self.inner.trees.read().values().find(|tree| tree.name == name).map(|tree| tree.id)
    }

    /// Creates a keyspace (committed at `fresh` before this returns, R19) or returns the existing
    /// one of that name, whose options stay as they are.
    pub fn create_keyspace(&self, name: &str, options: KeyspaceOptions) -> Result<KeyspaceId> {
        self.inner.create_keyspace(name, options)
    }

    /// Drops a keyspace with all that it holds, when no transaction is at work in it any more. Logically deleted (R15): its key goes from the
    /// MANIFEST when the log no longer needs it, but older copies of the MANIFEST held it.
    ///
    /// # Errors
    /// `NotFound`; `Busy` while a prepared transaction that wrote to it or read in it is not decided.
    pub async fn drop_keyspace(&self, name: &str) -> Result<()> {
        self.inner.drop_keyspace(name).await
    }

    /// Names and ids.
    #[must_use]
    pub fn keyspaces(&self) -> Vec<(String, KeyspaceId)> {
        self.inner.trees.read().values().map(|tree| (tree.name.clone(), tree.id)).collect()
    }

    // --- writing ---------------------------------------------------------------------------------

    /// Assigns the batch its log position and queues it. Nothing is visible before a
    /// [`Store::log_step`] wrote it. Refuses (`Exhausted`) rather than queue without bound.
    pub fn submit(&self, batch: WriteBatch) -> Result<Ticket> {
        self.inner.submit(batch, None)
    }

    /// Submits and leads the group unless somebody else does. On return the batch is visible and
    /// `buffered`.
    pub fn apply(&self, batch: WriteBatch) -> Result<Ticket> {
        self.inner.apply(batch, None)
    }

    /// As [`Store::submit`], with the locks under which the batch was made. Whoever leads the batch's group
    /// releases them as soon as it is visible, before any sync (R26). They are released as well if this fails, and
    /// if the store stops before: then whoever gets them finds it stopped. The locks of an empty batch are
    /// released at once.
    pub fn submit_locked(&self, batch: WriteBatch, locks: Owner) -> Result<Ticket> {
        self.inner.submit(batch, Some(locks))
    }

    /// As [`Store::submit_locked`], and writes what is queued, unless somebody is at that, who then writes this too. For
    /// who waits for the batch's level next: he need not wait until it is visible, and its locks not for him.
    pub fn hand_in(&self, batch: WriteBatch, locks: Owner) -> Result<Ticket> {
        self.inner.hand_in(batch, locks)
    }

    /// As [`Store::apply`], with the locks under which the batch was made: see [`Store::submit_locked`].
    pub fn apply_locked(&self, batch: WriteBatch, locks: Owner) -> Result<Ticket> {
        self.inner.apply(batch, Some(locks))
    }

    /// Writes a value by the piece, of up to 512 MiB, for
    /// [`WriteBatch::put_stored`](crate::WriteBatch::put_stored). What it writes goes past the log and the
    /// memory budget; it is durable before the batch is submitted.
    #[must_use]
    pub fn value_writer(&self) -> ValueWriter {
        ValueWriter::new(Arc::clone(&self.inner))
    }

    /// Seals, writes and applies the queued batches as one group. `Idle` if nothing is queued.
    pub fn log_step(&self) -> Result<Step> {
        self.inner.log_step()
    }

    /// Makes the log durable up to what was written when this began. `Idle` if nobody asks.
    pub fn sync_step(&self) -> Result<Step> {
        self.inner.sync_step()
    }

    /// Anchors what is durable, or confirms by a read of the counter for those who wait for
    /// `fresh` (R5). `Idle` if nobody asks.
    pub fn anchor_step(&self) -> Result<Step> {
        Ok(self.anchor()?.map_or(Step::Idle, |_round| Step::Worked))
    }

    /// As [`Store::anchor_step`], for who keeps a [`Pace`](crate::pace::Pace): what the operation did, and
    /// whom it releases, who are not awake yet. `None` if nobody asks.
    pub fn anchor(&self) -> Result<Option<Round>> {
        self.inner.round_wanted()
    }

    /// Asks for everything written so far to be anchored, waiting for nothing: what a worker does
    /// once per anchor window (R7).
    pub fn request_anchor(&self) {
        self.request(self.inner.visible(), Level::Fresh);
    }

    /// Asks for `position` to get `level`, waiting for nothing.
    pub fn request(&self, position: Seq, level: Level) {
        self.inner.frontiers.want(position, level);
    }

    /// Whether [`Store::log_step`] or [`Store::sync_step`] would do something for somebody.
    #[must_use]
    pub fn log_wanted(&self) -> bool {
        self.inner.frontiers.sync_wanted() || !self.inner.queue.lock().pending.is_empty()
    }

    /// Whether [`Store::sync_step`] alone would make something durable for somebody: what is queued has
    /// to be written before.
    #[must_use]
    pub fn sync_due(&self) -> bool {
        let frontiers = &self.inner.frontiers;
        frontiers.sync_wanted() && frontiers.get(Level::Buffered) > frontiers.get(Level::Durable)
    }

    /// Bytes of batches that have a position and are not in the log yet.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.inner.queue.lock().bytes
    }

    /// Whether [`Store::anchor_step`] would do something for somebody.
    #[must_use]
    pub fn round_wanted(&self) -> bool {
        self.inner.frontiers.round_wanted()
    }

    /// One piece of background work: flush, purge, compaction; the most urgent first.
    pub fn maintenance_step(&self) -> Result<Step> {
        self.inner.maintenance_step()
    }

    /// How long writers should pause now for each write, so that flush and compaction keep up; zero if
    /// not at all. A measure of pressure; [`Store::take_pause`] says when to pause.
    #[must_use]
    pub fn write_delay(&self) -> Duration {
        self.inner.write_delay()
    }

    /// Makes entries, which ascend by key, tables at once: no log, no memtable, no compaction. They
    /// become visible together, newer than everything written before, and are anchored (`fresh`)
    /// on return. Memtables that overlap are flushed first. It waits for transactions that hold locks in the range,
    /// once the tables are written; dropped then, it leaves nothing behind.
    ///
    /// # Errors
    /// `Invalid` for keys out of order or above a limit, `Exhausted` for a full disk or if others go
    /// on writing into the same range: nothing was changed then. Else as [`Store::apply`].
    pub async fn bulk_load<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        keyspace: KeyspaceId,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Ticket> {
        let mut entries = entries.into_iter();
        let mut entries =
            |add: Sink<'_>| entries.try_for_each(|(key, value)| add(key.as_ref(), value.as_ref()));
        self.inner.bulk_load(keyspace, &mut entries).await
    }

    /// To be asked around every write: the pause that the writes so far owe, once it is at least
    /// `least`, the shortest that the caller's timer keeps. Whoever gets it pauses for all.
    #[must_use]
    pub fn take_pause(&self, least: Duration) -> Option<Duration> {
        self.inner.take_pause(least)
    }

    /// Registers the callbacks that are called (from any thread; they must not block) whenever there
    /// is work for `sync_step`/`anchor_step` (first) or `maintenance_step` (second). Once only.
    pub fn on_work(&self, log: Box<dyn Fn() + Send + Sync>, maintenance: Box<dyn Fn() + Send + Sync>) {
        let _ = self.inner.hooks.set((log, maintenance));
        self.inner.wake_log();
        self.inner.wake_maintenance();
    }

    // --- waiting ---------------------------------------------------------------------------------

    /// Waits for `position` to have `level`. At `fresh`, by R5, a counter operation that begins
    /// after this call must confirm this life, even if the position is anchored already. Asking
    /// triggers sync and advance.
    #[must_use]
    pub fn wait(&self, position: Seq, level: Level) -> Wait {
        let wait = self.inner.frontiers.wait(position, level);
        if level > Level::Buffered && !wait.is_ready() {
            self.inner.wake_log();
        }
        wait
    }

    /// [`Store::wait`] for the writer of a commit. At `fresh`, the advance that covers the commit
    /// began after it was submitted, which is all that R5 asks: no other has to follow.
    #[must_use]
    pub fn wait_commit(&self, ticket: Ticket, level: Level) -> Wait {
        let wait = self.inner.frontiers.wait_commit(ticket.position, level);
        if level > Level::Buffered && !wait.is_ready() {
            self.inner.wake_log();
        }
        wait
    }

    /// The highest position that has `level`.
    #[must_use]
    pub fn frontier(&self, level: Level) -> Seq {
        self.inner.frontiers.get(level)
    }

    // --- reading ---------------------------------------------------------------------------------

    /// The newest visible state.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.inner.snapshot()
    }

    /// Reads a key as of `at`, or of the newest visible state. The value stays where it lies.
    pub fn get(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        at: Option<&Snapshot>,
    ) -> Result<Answer<Option<Value>>> {
        let answer = self.inner.get(keyspace, key, at.map(Snapshot::position), false)?;
        answer.ok_or_else(|| {
            ringfort_base::Error::new(ringfort_base::ErrorKind::Internal, "a read was not finished")
        })
    }

    /// Reads a key's value by the piece: one that lies in a value file uncompressed, as long ones do, is
    /// never held whole.
    pub fn value_reader(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        at: Option<&Snapshot>,
    ) -> Result<Answer<Option<ValueReader>>> {
        self.inner.value_reader(keyspace, key, at.map(Snapshot::position))
    }

    /// Reads many keys, all as of one position: `at`, or the newest visible state. The values in the
    /// order of the keys. Keys that lie together cost less than as many [`Store::get`]; keys in any
    /// order about as much.
    pub fn multi_get<K: AsRef<[u8]>>(
        &self,
        keyspace: KeyspaceId,
        keys: &[K],
        at: Option<&Snapshot>,
    ) -> Result<Answer<Vec<Option<Value>>>> {
        self.inner.multi_get(keyspace, keys, at.map(Snapshot::position))
    }

    /// [`Store::get`] from memory alone; `None` if it needs I/O (R23).
    pub fn get_resident(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        at: Option<&Snapshot>,
    ) -> Result<Option<Answer<Option<Value>>>> {
        self.inner.get(keyspace, key, at.map(Snapshot::position), true)
    }

    /// Iterates over `from..to` (`None` = no end) of a snapshot, forward or in reverse.
    pub fn iter(
        &self,
        keyspace: KeyspaceId,
        from: &[u8],
        to: Option<&[u8]>,
        reverse: bool,
        at: &Snapshot,
    ) -> Result<Iter> {
        self.entries(keyspace, (from, to), (reverse, Shown::Values), at)
    }

    /// As [`Store::iter`], for the keys alone: values are empty, and those that lie in value files are
    /// not read.
    pub fn iter_keys(
        &self,
        keyspace: KeyspaceId,
        from: &[u8],
        to: Option<&[u8]>,
        reverse: bool,
        at: &Snapshot,
    ) -> Result<Iter> {
        self.entries(keyspace, (from, to), (reverse, Shown::Keys), at)
    }

    /// As [`Store::iter`], for who looks at the beginning of values only: of a value by the piece the first
    /// piece is read and shown, 1 MiB.
    pub fn iter_heads(
        &self,
        keyspace: KeyspaceId,
        from: &[u8],
        to: Option<&[u8]>,
        reverse: bool,
        at: &Snapshot,
    ) -> Result<Iter> {
        self.entries(keyspace, (from, to), (reverse, Shown::Heads), at)
    }

    fn entries(
        &self,
        keyspace: KeyspaceId,
        (from, to): (&[u8], Option<&[u8]>),
        how: (bool, Shown),
        at: &Snapshot,
    ) -> Result<Iter> {
        let entries = self.inner.iter(keyspace, from, to, how, at.position())?;
        let snapshot = self.inner.pin_snapshot(at.position());
        Ok(Iter { inner: Arc::clone(&self.inner), entries, _snapshot: snapshot })
    }

    /// The keyspace's maintained count ([`WriteBatch::count`]).
    pub fn count(&self, keyspace: KeyspaceId) -> Result<Answer<i64>> {
        self.inner.check()?;
        let (value, depends) = self.inner.tree(keyspace)?.count();
        Ok(Answer { value, depends })
    }

    /// The store's time (R20).
    #[must_use]
    pub fn time(&self) -> Time {
        self.inner.clock.now()
    }

    /// [`Store::time`], Unix milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.inner.clock.now().now_ms
    }

    /// Begins a transaction.
    #[must_use]
    pub fn begin(&self, options: TxnOptions) -> Transaction {
        Transaction::begin(&self.inner, options)
    }

    /// The prepared transactions that are not decided, those of earlier lives too, by name.
    #[must_use]
    pub fn prepared(&self) -> Vec<InDoubt> {
        self.inner.in_doubt()
    }

    /// A handle of a prepared transaction, to decide it.
    ///
    /// # Errors
    /// `NotFound` if none of this name is in doubt.
    pub fn resume(&self, name: &[u8]) -> Result<Prepared> {
        self.inner.resume(name)
    }

    /// What a write outside of transactions needs, so that no transaction is run over; it is then written by
    /// [`Hold::apply`] or [`Hold::submit`]. Ready at once while no transaction lives.
    ///
    /// # Errors
    /// `Exhausted` if the lock table is full.
    pub async fn hold<'s>(&'s self, batch: &WriteBatch) -> Result<Hold<'s>> {
        Hold::of(&self.inner, batch).await
    }

    /// The lock table, for who reads, decides and writes in steps of his own, with [`Store::lock_always`] before:
    /// [`LockTable::owner`] takes locks, and [`Store::submit_locked`] gives them back. All that a store's
    /// transactions and other writers lock is here.
    #[must_use]
    pub fn locks(&self) -> &Arc<LockTable> {
        &self.inner.locks
    }

    /// From now on, until the store is closed, every write takes locks, whether a transaction lives or not: for a
    /// server, whose commands lock for themselves.
    ///
    /// # Errors
    /// As [`Store::log_step`].
    pub async fn lock_always(&self) -> Result<()> {
        self.inner.lock_always().await
    }

    // --- upkeep ----------------------------------------------------------------------------------

    /// Lets compactions drop entries that mean nothing any more.
    pub fn set_compaction_filter(&self, filter: Arc<dyn Filter>) {
        *self.inner.filter.write() = Some(filter);
    }

    /// Flushes the memtables of a keyspace, or of all of them, and waits until they are tables.
    pub fn flush(&self, keyspace: Option<KeyspaceId>) -> Result<()> {
        self.inner.flush(keyspace)
    }

    /// Flushes, then compacts `from..=to` of a keyspace (`None` = unbounded) down to one level.
    pub fn compact_range(&self, keyspace: KeyspaceId, from: Option<&[u8]>, to: Option<&[u8]>) -> Result<()> {
        self.inner.compact_range(keyspace, from, to)
    }

    /// Reads and verifies every block of every table and every value of every value file. Returns how many bytes were verified.
    pub fn verify_checksums(&self) -> Result<u64> {
        self.inner.verify_checksums()
    }

    /// About how many bytes of tables and memtables `from..=to` takes.
    pub fn approximate_size(
        &self,
        keyspace: KeyspaceId,
        from: Option<&[u8]>,
        to: Option<&[u8]>,
    ) -> Result<u64> {
        self.inner.approximate_size(keyspace, from, to)
    }

    /// Writes a checkpoint of everything applied so far into the empty volume `to`; the position
    /// that it shows. Always sealed, read-only, never at `fresh` (R21); see [`crate::Checkpoint`].
    pub fn checkpoint(&self, to: &Arc<dyn Disk>) -> Result<Seq> {
        self.inner.checkpoint(to)
    }

    /// What the store counts about itself.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let Reads { gets, iterators } = self.inner.tables.handles.reads();
        let in_doubt = self.inner.prepared.lock().len() as u64;
        Statistics { gets, iterators, in_doubt, ..self.inner.stats.read() }
    }

    /// Tables and bytes of each level of a keyspace.
    pub fn levels(&self, keyspace: KeyspaceId) -> Result<Vec<(usize, u64)>> {
        let version = Arc::clone(&self.inner.tree(keyspace)?.view().version);
        Ok((0..version.levels.len()).map(|l| (version.levels[l].len(), version.level_bytes(l))).collect())
    }

    /// Value files of a keyspace: how many, the bytes of their values, and how many of these are
    /// garbage.
    pub fn value_files(&self, keyspace: KeyspaceId) -> Result<(usize, u64, u64)> {
        let version = Arc::clone(&self.inner.tree(keyspace)?.view().version);
        let (bytes, garbage) = version.blobs.bytes();
        Ok((version.blobs.files().count(), bytes, garbage))
    }

    /// Bytes of all memtables.
    #[must_use]
    pub fn memtable_bytes(&self) -> usize {
        self.inner.trees.read().values().map(|tree| tree.memtable_bytes()).sum()
    }

    /// Why the store stopped, if it did.
    #[must_use]
    pub fn stopped(&self) -> Option<ringfort_base::Error> {
        self.inner.frontiers.stopped().cloned()
    }

    /// Stops for good, for a reason outside the store (a worker that it cannot do without has died):
    /// nothing more is written, and whoever waits hears of it (R11).
    pub fn fail(&self, cause: ringfort_base::Error) {
        self.inner.stop(cause);
    }

    /// Writes, syncs and anchors everything (R7) and closes. Later calls answer `Stopped`.
    pub fn close(&self) -> Result<()> {
        self.inner.close()
    }
}

/// Entries of a range, in order, as of a snapshot.
pub struct Iter {
    inner: Arc<Inner>,
    entries: Entries,
    _snapshot: Snapshot,
}

impl Iter {
    /// The present entry, borrowed from where it lives; `None` behind the last one.
    #[must_use]
    pub fn entry(&self) -> Option<(&[u8], &[u8])> {
        self.entries.entry()
    }

    /// Moves on, in the iterator's direction.
    pub fn advance(&mut self) -> Result<()> {
        self.entries.advance().map_err(|error| self.inner.refuse(error))
    }

    /// The highest sequence number that what was shown so far depends on, gaps and tombstones
    /// included (R6).
    #[must_use]
    pub fn depends(&self) -> Seq {
        self.entries.depends()
    }
}

impl Iterator for Iter {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value) = self.entry()?;
        let entry = (key.to_vec(), value.to_vec());
        Some(self.advance().map(|()| entry))
    }
}
