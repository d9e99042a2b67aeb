//! [`Store`]: the open store.

use crate::batch::WriteBatch;
use crate::frontier::Wait;
use crate::options::{KeyspaceOptions, StoreOptions, World};
use crate::txn::latch::Latches;
use ringfort_base::{KeyspaceId, Level, Result, Seq};
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
#[derive(Clone)]
pub struct Snapshot {
    _inner: (),
}

impl Snapshot {
    /// The position that it shows.
    #[must_use]
    pub fn position(&self) -> Seq {
        todo!()
    }
}

/// What one background step did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Something; call again.
    Worked,
    /// Nothing to do now.
    Idle,
}

/// An open store. Cheap to clone; closed when the last clone drops (cleanly by [`Store::close`]).
#[derive(Clone)]
pub struct Store {
    _inner: Arc<()>,
}

impl Store {
    /// Opens or creates the store: verify everything, claim, serve (R2, R3).
    pub fn open(_world: World, _options: StoreOptions) -> Result<Self> {
        todo!()
    }

    // --- keyspaces -----------------------------------------------------------------------------

    /// The id of a keyspace, if it exists.
    pub fn keyspace(&self, _name: &str) -> Option<KeyspaceId> {
        todo!()
    }
    /// Creates a keyspace (R19: committed at `fresh` before this returns) or returns the existing one.
    pub fn create_keyspace(&self, _name: &str, _options: KeyspaceOptions) -> Result<KeyspaceId> {
        todo!()
    }
    /// Drops a keyspace with all that it holds.
    pub fn drop_keyspace(&self, _name: &str) -> Result<()> {
        todo!()
    }
    /// Names and ids.
    pub fn keyspaces(&self) -> Vec<(String, KeyspaceId)> {
        todo!()
    }

    // --- writing -------------------------------------------------------------------------------

    /// Assigns the batch its log position and queues it. Nothing is visible before a
    /// [`Store::log_step`] wrote it. Refuses (Exhausted) rather than queue without bound.
    pub fn submit(&self, _batch: WriteBatch) -> Result<Ticket> {
        todo!()
    }

    /// The submit-and-lead shortcut of one thread's turn: submits and runs log steps until the
    /// batch is applied (or another thread, which is leading, applied it). On return it is visible and `buffered`.
    pub fn apply(&self, _batch: WriteBatch) -> Result<Ticket> {
        todo!()
    }

    /// Seals, writes and applies the queued batches as one group. `Idle` if nothing is queued or
    /// another thread is at it.
    pub fn log_step(&self) -> Result<Step> {
        todo!()
    }

    /// Syncs the log up to what was written when it began. `Idle` if all is synced or nobody asks.
    pub fn sync_step(&self) -> Result<Step> {
        todo!()
    }

    /// Anchors what is durable, or confirms by a read for those who wait for `fresh` (R5).
    pub fn anchor_step(&self) -> Result<Step> {
        todo!()
    }

    /// One piece of background work: flush, compaction, purge. The most urgent first.
    pub fn maintenance_step(&self) -> Result<Step> {
        todo!()
    }

    /// How long writers should pause now (smooth write stall), zero if not at all.
    pub fn write_delay(&self) -> Duration {
        todo!()
    }

    /// Registers a callback that is called (from any thread, must not block) whenever there is
    /// something for `sync_step`/`anchor_step` (first) or `maintenance_step` (second) to do.
    pub fn on_work(&self, _log: Box<dyn Fn() + Send + Sync>, _maintenance: Box<dyn Fn() + Send + Sync>) {
        todo!()
    }

    // --- waiting -------------------------------------------------------------------------------

    /// Waits for `position` to have `level`. At `Fresh`, by R5, a counter operation that begins
    /// after this call must confirm this incarnation, even if the position is anchored already.
    /// Asking triggers sync and advance.
    pub fn wait(&self, _position: Seq, _level: Level) -> Wait {
        todo!()
    }

    /// The highest position that has `level`.
    pub fn frontier(&self, _level: Level) -> Seq {
        todo!()
    }

    // --- reading -------------------------------------------------------------------------------

    /// The newest visible state.
    pub fn snapshot(&self) -> Snapshot {
        todo!()
    }

    /// Reads a key. Without a snapshot: the newest visible state.
    pub fn get(
        &self,
        _keyspace: KeyspaceId,
        _key: &[u8],
        _at: Option<&Snapshot>,
    ) -> Result<Answer<Option<Vec<u8>>>> {
        todo!()
    }

    /// [`Store::get`] from memory alone; `None` if it needs I/O (R23): run `get` in a pool then.
    pub fn get_resident(
        &self,
        _keyspace: KeyspaceId,
        _key: &[u8],
        _at: Option<&Snapshot>,
    ) -> Result<Option<Answer<Option<Vec<u8>>>>> {
        todo!()
    }

    /// Iterates over `from..to` (`to` empty = no end) of a snapshot, forward or in reverse.
    pub fn iter(
        &self,
        _keyspace: KeyspaceId,
        _from: &[u8],
        _to: Option<&[u8]>,
        _reverse: bool,
        _at: &Snapshot,
    ) -> Result<Iter> {
        todo!()
    }

    /// The keyspace's maintained count ([`WriteBatch::count`]).
    pub fn count(&self, _keyspace: KeyspaceId) -> Result<Answer<i64>> {
        todo!()
    }

    /// The store's time (R20): Unix milliseconds, never behind what the log knows, the host clock bounded.
    pub fn now_ms(&self) -> u64 {
        todo!()
    }

    /// The latches for read-modify-write.
    pub fn latches(&self) -> &Arc<Latches> {
        todo!()
    }

    // --- upkeep --------------------------------------------------------------------------------

    /// Flushes the memtable of a keyspace (all of them: `None`) and waits for it, running the steps itself if nobody else does.
    pub fn flush(&self, _keyspace: Option<KeyspaceId>) -> Result<()> {
        todo!()
    }
    /// Compacts `from..to` of a keyspace down to the last level.
    pub fn compact_range(
        &self,
        _keyspace: KeyspaceId,
        _from: Option<&[u8]>,
        _to: Option<&[u8]>,
    ) -> Result<()> {
        todo!()
    }
    /// Syncs, anchors and closes. Later calls answer `Stopped`.
    pub fn close(&self) -> Result<()> {
        todo!()
    }
}

/// Entries of a range, in order; holds its snapshot's view.
pub struct Iter {
    _inner: (),
}

impl Iterator for Iter {
    /// Key and value.
    type Item = Result<(Vec<u8>, Vec<u8>)>;
    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}
