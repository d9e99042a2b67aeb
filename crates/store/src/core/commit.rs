//! From a batch to the frontier: submit → log step (seal, write, memtable, publish) → sync step.

use super::Inner;
use crate::batch::{Op, WriteBatch};
use crate::engine::lsm::key::Kind;
use crate::engine::lsm::tree::Tree;
use crate::store::{Step, Ticket};
use crate::wal::writer::{Entry, WalWriter};
use parking_lot::MutexGuard;
use ringfort_base::limits::{
    BATCH_BYTES_MAX, BATCH_OPS_MAX, GROUP_BYTES_MAX, KEY_BYTES_MAX, SEQ_MAX, VALUE_BYTES_MAX,
};
use ringfort_base::world::DiskFile;
use ringfort_base::{Error, ErrorKind, FileNo, KeyspaceId, Level, Result, Seq};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Most bytes that may wait for the log; more is refused rather than queued without bound.
const QUEUE_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX;

/// Batches that have a position and are not in the log yet.
pub(crate) struct Queue {
    pub(crate) next_seq: Seq,
    pub(crate) pending: VecDeque<(Entry, usize)>,
    pub(crate) bytes: usize,
}

/// A segment that is still needed, with the position at which it ends so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) number: FileNo,
    pub(crate) end: Seq,
    pub(crate) bytes: u64,
}

/// The log as its leader sees it.
pub(crate) struct Log {
    pub(crate) writer: WalWriter,
    /// Segments that were completed and not synced since.
    pub(crate) unsynced: Vec<Arc<dyn DiskFile>>,
    /// A segment was created and its directory not synced since (R8).
    pub(crate) dir_unsynced: bool,
    /// All segments that are still needed, oldest first; the last one is the writer's.
    pub(crate) segments: VecDeque<Segment>,
    /// Entries scratch, kept for its capacity.
    pub(crate) group: Vec<Entry>,
}

impl Inner {
    /// Assigns a position and queues.
    pub(crate) fn submit(&self, batch: WriteBatch) -> Result<Ticket> {
        self.check()?;
        check_batch(&batch)?;
        // Held until the batch has its position: whoever drops a keyspace finds all of it at or
        // below the position that he reads behind the removal.
        let trees = self.trees.read();
        if let Some(op) = batch.ops.iter().find(|op| !trees.contains_key(&op.keyspace())) {
            let message = format!("keyspace {} does not exist", op.keyspace());
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        if self.memtables_full.load(Ordering::Relaxed) {
            let message = "flushing cannot keep up (is the disk full, or slow?): more is waiting in memory than the \
                           memory budget allows; try again later";
            self.wake_maintenance();
            return Err(Error::new(ErrorKind::Exhausted, message));
        }
        let ops = batch.ops.len() as u64;
        let bytes = batch.bytes + batch.ops.len() * 32;
        let mut queue = self.queue.lock();
        if queue.bytes + bytes > QUEUE_BYTES_MAX {
            return Err(Error::new(ErrorKind::Exhausted, "too many bytes wait for the log; try again later"));
        }
        if ops == 0 {
            // Nothing to log: as old as everything submitted so far.
            return Ok(Ticket { position: Seq(queue.next_seq.0 - 1) });
        }
        self.owe_pause(bytes);
        let first = queue.next_seq;
        if first.0 + ops > SEQ_MAX {
            return Err(Error::new(ErrorKind::Exhausted, "the sequence numbers of this store are used up"));
        }
        queue.next_seq = Seq(first.0 + ops);
        queue.bytes += bytes;
        queue.pending.push_back((Entry { first, ops: batch.ops }, bytes));
        Ok(Ticket { position: Seq(first.0 + ops - 1) })
    }

    /// Submits and sees to it that the batch is applied, leading the group if nobody else does.
    pub(crate) fn apply(&self, batch: WriteBatch) -> Result<Ticket> {
        let ticket = self.submit(batch)?;
        while self.frontiers.get(Level::Buffered) < ticket.position {
            let log = self.log.lock();
            if self.frontiers.get(Level::Buffered) >= ticket.position {
                break;
            }
            if self.frontiers.stopped().is_some() {
                return Err(self.unknown(ticket.position));
            }
            // Whatever failed, this batch has a position already: its outcome is unknown (R11).
            if !matches!(self.lead(log), Ok(Step::Worked)) {
                return Err(self.unknown(ticket.position));
            }
        }
        Ok(ticket)
    }

    /// R11: what happened to a position that was submitted and cannot be confirmed.
    fn unknown(&self, position: Seq) -> Error {
        match self.frontiers.stopped() {
            Some(cause) => cause.clone().with_kind(ErrorKind::OutcomeUnknown).context(&format!(
                "outcome unknown: the store stopped before position {position} was written"
            )),
            None => Error::new(ErrorKind::Internal, format!("position {position} is not in the queue")),
        }
    }

    /// One group, unless another thread leads.
    pub(crate) fn log_step(&self) -> Result<Step> {
        self.check()?;
        match self.log.try_lock() {
            Some(log) => self.lead(log),
            None => Ok(Step::Idle),
        }
    }

    /// Leads one group: drain, seal, write, insert, publish.
    pub(crate) fn lead(&self, mut log: MutexGuard<'_, Log>) -> Result<Step> {
        self.check()?;
        let mut group = std::mem::take(&mut log.group);
        let bytes = self.drain(&mut group);
        let Some(last) = group.last() else {
            log.group = group;
            return Ok(Step::Idle);
        };
        let position = Seq(last.first.0 + last.ops.len() as u64 - 1);
        let time_ms = self.clock.now().now_ms;
        // A failure from here on leaves the outcome unknown: sealing consumes an index (R11, R13).
        let touched = self.or_stop(|| {
            if log.writer.is_full(bytes) {
                self.rotate(&mut log)?;
            }
            log.writer.append(&group, position, time_ms)?;
            let len = log.writer.len();
            if let Some(segment) = log.segments.back_mut() {
                segment.end = position;
                segment.bytes = len;
            }
            self.insert(&mut group)
        })?;
        self.clock.logged(time_ms);
        self.stats.groups.fetch_add(1, Ordering::Relaxed);
        self.stats.bytes_written.fetch_add(bytes as u64, Ordering::Relaxed);
        self.frontiers.raise(Level::Buffered, position);
        group.clear();
        log.group = group;
        self.freeze_full_memtables(&log, &touched, position);
        drop(log);
        if self.frontiers.sync_wanted() {
            self.wake_log();
        }
        Ok(Step::Worked)
    }

    fn drain(&self, group: &mut Vec<Entry>) -> usize {
        let mut queue = self.queue.lock();
        let mut bytes = 0;
        while let Some((_, size)) = queue.pending.front() {
            if bytes > 0 && bytes + size > GROUP_BYTES_MAX {
                break;
            }
            bytes += size;
            if let Some((entry, size)) = queue.pending.pop_front() {
                queue.bytes -= size;
                group.push(entry);
            }
        }
        bytes
    }

    /// Starts a new segment. The old one and the directory are synced before a record of the new
    /// one is anchored (R8): the sync step does both.
    pub(crate) fn rotate(&self, log: &mut Log) -> Result<()> {
        let continues = log.writer.head();
        let writer = WalWriter::create(Arc::clone(&self.context), self.new_file(), continues)?;
        let number = writer.number();
        let old = std::mem::replace(&mut log.writer, writer);
        log.unsynced.push(Arc::clone(old.file()));
        log.dir_unsynced = true;
        log.segments.push_back(Segment { number, end: Seq(continues.position), bytes: 0 });
        self.wake_maintenance(); // the log may have grown beyond its limit
        Ok(())
    }

    /// Inserts a group into the memtables. Returns the trees that it touched.
    fn insert(&self, group: &mut [Entry]) -> Result<Vec<Arc<Tree>>> {
        let mut touched: Vec<Arc<Tree>> = Vec::new();
        for entry in group.iter_mut() {
            for (i, op) in entry.ops.drain(..).enumerate() {
                let keyspace = op.keyspace();
                let tree = match touched.iter().position(|tree| tree.id == keyspace) {
                    Some(at) => &touched[at],
                    None => match self.trees.read().get(&keyspace) {
                        Some(tree) => {
                            touched.push(Arc::clone(tree));
                            &touched[touched.len() - 1]
                        }
                        None => continue, // dropped since it was submitted
                    },
                };
                apply_op(tree, Seq(entry.first.0 + i as u64), &op)?;
            }
        }
        Ok(touched)
    }

    /// Makes the log durable up to what was written when this began.
    pub(crate) fn sync_step(&self) -> Result<Step> {
        self.check()?;
        if !self.frontiers.sync_wanted() {
            return Ok(Step::Idle);
        }
        let Some(guard) = self.sync.try_lock() else { return Ok(Step::Idle) };
        self.sync_log(guard)
    }

    /// As [`Inner::sync_step`], but waits for a sync that is under way and asks nobody.
    pub(crate) fn sync_now(&self) -> Result<Step> {
        self.sync_log(self.sync.lock())
    }

    fn sync_log(&self, guard: MutexGuard<'_, ()>) -> Result<Step> {
        let done = self.sync_written();
        drop(guard);
        self.wake_if_wanted();
        done
    }

    fn sync_written(&self) -> Result<Step> {
        let (file, unsynced, dir, head, number) = {
            let mut log = self.log.lock();
            // With the log held: a leader whose write failed has sealed a head that is in no file (R11).
            self.check()?;
            let head = log.writer.head();
            let dir = std::mem::take(&mut log.dir_unsynced);
            (Arc::clone(log.writer.file()), std::mem::take(&mut log.unsynced), dir, head, log.writer.number())
        };
        let position = Seq(head.position);
        if position <= self.frontiers.get(Level::Durable) && !dir && unsynced.is_empty() {
            return Ok(Step::Idle);
        }
        // A failed sync may have dropped the pages: nothing is written after it (R11).
        self.or_stop(|| {
            let failed = |e: std::io::Error| Error::io("sync", &crate::wal::path(number), &e);
            for old in &unsynced {
                old.sync().map_err(failed)?;
            }
            file.sync().map_err(failed)?;
            if dir {
                self.context.disk.sync_dir(crate::wal::DIR).map_err(failed)?;
            }
            Ok(())
        })?;
        self.stats.syncs.fetch_add(1, Ordering::Relaxed);
        *self.durable_head.lock() = head;
        self.frontiers.raise(Level::Durable, position);
        Ok(Step::Worked)
    }
}

/// Inserts one operation into its keyspace's memtable.
pub(crate) fn apply_op(tree: &Tree, seq: Seq, op: &Op) -> Result<()> {
    match op {
        Op::Put { key, value, .. } => tree.insert(seq, Kind::Put, key, value),
        Op::Delete { key, .. } => tree.insert(seq, Kind::Delete, key, &[]),
        Op::DeleteRange { from, to, .. } => tree.delete_range(seq, from, to),
        Op::Count { delta, .. } => {
            tree.add_count(seq, *delta);
            Ok(())
        }
    }
}

fn check_batch(batch: &WriteBatch) -> Result<()> {
    if batch.bytes > BATCH_BYTES_MAX || batch.ops.len() > BATCH_OPS_MAX {
        let message = format!("a batch holds at most {BATCH_BYTES_MAX} bytes and {BATCH_OPS_MAX} operations");
        return Err(Error::invalid(message));
    }
    for op in &batch.ops {
        let (key, value) = match op {
            Op::Put { key, value, .. } => (key.len(), value.len()),
            Op::Delete { key, .. } => (key.len(), 0),
            Op::DeleteRange { from, to, .. } => (from.len().max(to.len()), 0),
            Op::Count { .. } => (0, 0),
        };
        if key > KEY_BYTES_MAX {
            return Err(Error::invalid(format!("a key of {key} bytes: at most {KEY_BYTES_MAX} are allowed")));
        }
        if value > VALUE_BYTES_MAX {
            return Err(Error::invalid(format!(
                "a value of {value} bytes: at most {VALUE_BYTES_MAX} are allowed"
            )));
        }
        if op.keyspace() == KeyspaceId::SYSTEM {
            return Err(Error::invalid("keyspace 0 is the store itself"));
        }
    }
    Ok(())
}

/// The head that recovery starts from.
pub(crate) fn initial_log(writer: WalWriter, segments: VecDeque<Segment>) -> Log {
    Log { writer, unsynced: Vec::new(), dir_unsynced: false, segments, group: Vec::new() }
}
