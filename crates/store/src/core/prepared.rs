//! Transactions that are prepared and not decided: their book, their records in the log, and how old records
//! keep up with it.
//!
//! ```text
//!   log    … [prepare a][part][part] … [prepare b][part] … [a's writes, decide a: commit] … [decide b: abort]
//!   book      a ─────────────────────────────────────────▶ out
//!                                       b ─────────────────────────────────────────────────▶ out
//! ```
//!
//! - *The book follows the log*: names come and go under the lock under which the record gets its position.
//! - *A segment stays while a prepared record in it counts* (R10): until the decision, or a later copy of the
//!   record, is durable. So every recovery finds each transaction or its decision: the edit that gives a
//!   segment up is written behind the decision's sync, and an anchor that covers the one covers the other (R9).
//! - *An old record is carried*: when the log has reached its limit and nothing but prepared records holds the
//!   oldest segment, they are written again at the head. So a transaction that nobody decides costs its own
//!   bytes now and then, and never a flush that is too early. All that is in doubt takes at most a quarter
//!   of the log's limit, and of the memory budget, so that what is carried stays the smaller part.
//!
//! Crash points: a prepared record that is not durable was never there, and nobody has voted on it; a decision
//! that is not durable was not made, and the transaction is in doubt again. A copy beside its original is
//! the same transaction.

use super::Inner;
use crate::batch::{PART_BYTES_MAX, WriteBatch};
use crate::store::Ticket;
use crate::txn::gate::Live;
use crate::txn::locks::Owner;
use crate::txn::prepared::{InDoubt, Prepared, Preparing, Reads, keyspaces, record};
use ringfort_base::limits::PREPARED_MAX;
use ringfort_base::{Error, ErrorKind, KeyspaceId, Level, Result, Seq};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// All that is in doubt takes at most this share of the log's limit and of the memory budget.
const SHARE: u64 = 4;
/// What a record takes in the log beyond its batch, about: its frame, and a run for each part.
const RECORD_FRAME_BYTES: usize = 192;

/// A transaction in doubt.
pub(crate) struct Open {
    /// Of this life: handles know by it whether a name is still theirs.
    id: u64,
    batch: WriteBatch,
    reads: Reads,
    since_ms: u64,
    /// The end of its first record of this life.
    position: Seq,
    /// The beginning of the oldest record that the log must keep.
    pinned: Seq,
    bytes: usize,
    locks: Owner,
    live: Live,
}

/// What the log said of a transaction that is in doubt.
pub(crate) struct Recovered {
    pub(crate) txn: Preparing,
    pub(crate) since_ms: u64,
    pub(crate) first: Seq,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Book {
    open: BTreeMap<Box<[u8]>, Open>,
    /// Decided, perhaps not durably: what the log keeps for it, and where the decision is.
    decided: Vec<(Seq, Seq)>,
    bytes: usize,
    next_id: u64,
}

impl Book {
    /// What a recovery found, with its locks.
    pub(crate) fn recovered(found: BTreeMap<Box<[u8]>, Recovered>) -> Self {
        let mut book = Self::default();
        for (name, Recovered { txn, since_ms, first }) in found {
            let bytes = record(&name, since_ms, &txn.batch, &txn.reads).encoded().len();
            let last = Seq(first.0 + keyspaces(&txn.batch, &txn.reads).len() as u64);
            book.add(&name, txn, (since_ms, bytes), (first, last));
        }
        book
    }

    fn add(
        &mut self,
        name: &[u8],
        txn: Preparing,
        (since_ms, bytes): (u64, usize),
        (first, last): (Seq, Seq),
    ) -> u64 {
        let Preparing { batch, reads, locks, live } = txn;
        let id = self.next_id;
        self.next_id += 1;
        self.bytes += bytes;
        let open = Open { id, batch, reads, since_ms, position: last, pinned: first, bytes, locks, live };
        self.open.insert(name.into(), open);
        id
    }

    /// What all that is in doubt takes in the log, about.
    pub(super) fn log_bytes(&self) -> u64 {
        (self.bytes + self.open.len() * RECORD_FRAME_BYTES) as u64
    }

    fn find(&self, name: &[u8], id: u64) -> Result<&Open> {
        self.open.get(name).filter(|open| open.id == id).ok_or_else(not_in_doubt)
    }

    /// Takes it out of the book; its locks are for whoever makes the decision visible.
    fn decide(&mut self, name: &[u8], at: Seq) -> Option<Open> {
        let open = self.open.remove(name)?;
        self.bytes -= open.bytes;
        self.decided.push((open.pinned, at));
        Some(open)
    }

    /// The first position that the log must keep for prepared records, with this much of it durable.
    pub(crate) fn pinned(&mut self, durable: Seq) -> Option<Seq> {
        self.decided.retain(|(_, at)| *at > durable);
        let open = self.open.values().map(|open| open.pinned);
        open.chain(self.decided.iter().map(|(pinned, _)| *pinned)).min()
    }

    /// Those whose records lie at or below a position.
    fn recorded_through(&self, through: Seq) -> Vec<(Box<[u8]>, u64)> {
        let old = self.open.iter().filter(|(_, open)| open.pinned <= through);
        old.map(|(name, open)| (name.clone(), open.id)).collect()
    }

    /// The store has stopped, and decides nothing any more: who waits for one of them is to be told so.
    pub(crate) fn release(&mut self) {
        self.open.values_mut().for_each(|open| open.locks.release());
    }

    /// Bytes of all records.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether one of them wrote to a keyspace or read in it.
    pub(crate) fn touches(&self, keyspace: KeyspaceId) -> bool {
        self.open.values().any(|open| keyspaces(&open.batch, &open.reads).contains(&keyspace))
    }
}

impl Inner {
    /// Logs a transaction whose locks are taken, and enters it in the book.
    pub(crate) fn prepare(&self, name: &[u8], mut txn: Preparing) -> Result<(u64, Ticket)> {
        self.check()?;
        if !txn.batch.stored().is_empty() {
            return Err(Error::invalid("a value that was written by the piece cannot be prepared"));
        }
        let since_ms = self.clock.now().now_ms;
        let (id, ticket) = {
            let trees = self.admit(&txn.batch)?;
            // A lock in a keyspace that does not exist protects nothing.
            txn.reads.retain(|(from, _)| trees.contains_key(&crate::txn::keyspace_of(from)));
            let record = record(name, since_ms, &txn.batch, &txn.reads);
            let (parts, bytes) = (record.len() as u64 - 1, record.encoded().len());
            let mut book = self.prepared.lock();
            self.has_room(&book, name, bytes)?;
            let ticket = self.enqueue(&mut self.queue.lock(), record, None)?;
            let first = Seq(ticket.position.0 - parts);
            (book.add(name, txn, (since_ms, bytes), (first, ticket.position)), ticket)
        };
        self.stats.prepared.fetch_add(1, Ordering::Relaxed);
        self.apply_queued(ticket, None).map(|ticket| (id, ticket))
    }

    fn has_room(&self, book: &Book, name: &[u8], bytes: usize) -> Result<()> {
        if book.open.contains_key(name) {
            let message = "a prepared transaction of this name is not decided yet";
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        }
        let all = (self.options.memory_budget as u64).min(self.options.max_total_wal_size) / SHARE;
        let limit = usize::try_from(all).unwrap_or(usize::MAX).min(PART_BYTES_MAX);
        if book.len() >= PREPARED_MAX || bytes > limit.saturating_sub(book.bytes) {
            let message = format!(
                "{} prepared transactions with {} bytes are not decided; at most {PREPARED_MAX} with {limit} may be \
                 (a quarter of the memory budget, or of the log's limit)",
                book.len(),
                book.bytes
            );
            return Err(Error::new(ErrorKind::Exhausted, message));
        }
        Ok(())
    }

    /// Decides a transaction: what it does is visible on return, and its locks are given back.
    pub(crate) fn decide(&self, name: &[u8], id: u64, commit: bool) -> Result<Ticket> {
        self.check()?;
        let mut batch = WriteBatch::new();
        if commit {
            batch = self.prepared.lock().find(name, id)?.batch.clone();
        }
        let (ticket, _live) = {
            // To abort needs nothing but its own record.
            let _trees = commit.then(|| self.admit(&batch)).transpose()?;
            batch.decide(name, commit);
            let mut book = self.prepared.lock();
            book.find(name, id)?;
            let mut queue = self.queue.lock();
            // Refused, it is still in doubt and has its locks.
            let ticket = self.enqueue(&mut queue, batch, None)?;
            let open = book.decide(name, ticket.position).ok_or_else(not_in_doubt)?;
            if let Some(entry) = queue.pending.back_mut() {
                entry.locks = Some(open.locks);
            }
            (ticket, open.live)
        };
        self.apply_queued(ticket, None)
    }

    /// A handle of a transaction in doubt.
    pub(crate) fn resume(self: &Arc<Self>, name: &[u8]) -> Result<Prepared> {
        self.check()?;
        let book = self.prepared.lock();
        let open = book.open.get(name).ok_or_else(not_in_doubt)?;
        Ok(Prepared::new(self, name, (open.id, open.position)))
    }

    /// All that is in doubt.
    pub(crate) fn in_doubt(&self) -> Vec<InDoubt> {
        let of = |name: &[u8], open: &Open| InDoubt {
            name: name.to_vec(),
            since_ms: open.since_ms,
            position: open.position,
            writes: open.batch.len(),
            bytes: open.bytes,
        };
        self.prepared.lock().open.iter().map(|(name, open)| of(name, open)).collect()
    }

    /// Writes the records that lie at or below `through` again, at the log's head, durably.
    pub(super) fn carry_prepared(&self, through: Seq) -> Result<()> {
        let old = self.prepared.lock().recorded_through(through);
        let mut carried = Vec::with_capacity(old.len());
        for (name, id) in old {
            let placed = {
                // In the order of the log's locks; what is in doubt keeps its keyspaces.
                let _trees = self.trees.read();
                let book = self.prepared.lock();
                // Decided meanwhile: a copy behind the decision would bring it back.
                let Ok(open) = book.find(&name, id) else { continue };
                let copy = record(&name, open.since_ms, &open.batch, &open.reads);
                let parts = copy.len() as u64 - 1;
                let ticket = self.enqueue(&mut self.queue.lock(), copy, None);
                ticket.map(|ticket| (ticket, Seq(ticket.position.0 - parts)))
            };
            let (ticket, first) = match placed {
                Ok(placed) => placed,
                // Too much is queued: the rest goes the next time.
                Err(error) if error.kind() == ErrorKind::Exhausted => break,
                Err(error) => return Err(error),
            };
            self.apply_queued(ticket, None)?;
            carried.push((name, id, ticket.position, first));
        }
        let Some(newest) = carried.last().map(|(_, _, position, _)| *position) else {
            // What holds the log is decided, and goes when that is durable.
            return self.sync_now().map(drop);
        };
        while self.frontiers.get(Level::Durable) < newest {
            self.sync_now()?;
        }
        self.stats.prepared_carried.fetch_add(carried.len() as u64, Ordering::Relaxed);
        let mut book = self.prepared.lock();
        for (name, id, _, first) in carried {
            if let Some(open) = book.open.get_mut(&name).filter(|open| open.id == id) {
                open.pinned = first;
            }
        }
        Ok(())
    }
}

/// Names are not told: they are the coordinator's, and may say whose transaction it is.
fn not_in_doubt() -> Error {
    Error::new(
        ErrorKind::NotFound,
        "no prepared transaction of this name is in doubt: it was decided, or never was",
    )
}
