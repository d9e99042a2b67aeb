//! From a batch to the frontier: submit → log step (seal, write, memtable, publish) → sync step.
//!
//! The locks under which a batch was made travel with it, and whoever leads its group releases them
//! (early lock release, R26): as soon as the group is visible, since who gets one must see what
//! was written under it; not later, since the log is one total order. If the store stops instead, they are
//! released behind that, and who gets them finds it stopped (R11): he reads nothing, writes nothing, and
//! cannot tell a batch that may yet be recovered from one that is lost.

use super::Inner;
use crate::batch::WriteBatch;
use crate::engine::lsm::blob::Stored;
use crate::engine::lsm::tree::Tree;
use crate::store::{Step, Ticket};
use crate::txn::locks::Owner;
use crate::wal::writer::{Entry, WalWriter};
use parking_lot::{MutexGuard, RwLockReadGuard};
use ringfort_base::limits::{BATCH_BYTES_MAX, BATCH_OPS_MAX, GROUP_BYTES_MAX, SEQ_MAX};
use ringfort_base::world::DiskFile;
use ringfort_base::{Error, ErrorKind, FileNo, KeyspaceId, Level, Result, Seq};
use ringfort_trust::defence::{self, Defence};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Most bytes that may wait for the log; more is refused rather than queued without bound.
const QUEUE_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX;

/// So many groups are led for others by who only wanted to hand his own batch in.
const GROUPS_AT_ONCE: u32 = 4;

/// Batches that have a position and are not in the log yet.
pub(crate) struct Queue {
    pub(crate) next_seq: Seq,
    pub(crate) pending: VecDeque<Entry>,
    pub(crate) bytes: usize,
}

impl Queue {
    /// Gives a batch its place.
    pub(crate) fn place(&mut self, batch: WriteBatch, locks: Option<Owner>) -> Result<Entry> {
        let first = self.next_seq;
        let next = first.0 + batch.len() as u64;
        if next > SEQ_MAX {
            return Err(Error::new(ErrorKind::Exhausted, "the sequence numbers of this store are used up"));
        }
        Stored::keep_all(batch.stored())?;
        self.next_seq = Seq(next);
        let locks = locks.filter(|_| defence::on(Defence::LocksUntilVisible));
        Ok(Entry { first, batch, locks })
    }

    /// As old as everything submitted so far.
    pub(crate) fn newest(&self) -> Ticket {
        Ticket { position: Seq(self.next_seq.0 - 1) }
    }
}

/// What a batch takes in the queue.
fn queued_bytes(batch: &WriteBatch) -> usize {
    batch.encoded().len() + size_of::<Entry>()
}

pub(crate) type Trees<'a> = RwLockReadGuard<'a, BTreeMap<KeyspaceId, Arc<Tree>>>;

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
    /// Scratch, kept for its capacity: the group, and the trees that it touches.
    group: Vec<Entry>,
    touched: Vec<Arc<Tree>>,
}

impl Log {
    /// The present segment ends at `position` now.
    pub(crate) fn note_end(&mut self, position: Seq) {
        let bytes = self.writer.len();
        if let Some(segment) = self.segments.back_mut() {
            (segment.end, segment.bytes) = (position, bytes);
        }
    }
}

impl Inner {
    /// Assigns a position and queues.
    pub(crate) fn submit(&self, batch: WriteBatch, locks: Option<Owner>) -> Result<Ticket> {
        self.check()?;
        // Held until the batch has its position: whoever drops a keyspace finds all of it at or
        // below the position that he reads behind the removal.
        let _trees = self.admit(&batch)?;
        self.enqueue(&mut self.queue.lock(), batch, locks)
    }

    pub(super) fn enqueue(
        &self,
        queue: &mut Queue,
        batch: WriteBatch,
        locks: Option<Owner>,
    ) -> Result<Ticket> {
        // With the queue held: who stops the store empties it behind that.
        self.check()?;
        let bytes = queued_bytes(&batch);
        if queue.bytes + bytes > QUEUE_BYTES_MAX {
            return Err(Error::new(ErrorKind::Exhausted, "too many bytes wait for the log; try again later"));
        }
        if !batch.is_empty() {
            let entry = queue.place(batch, locks)?;
            queue.bytes += bytes;
            queue.pending.push_back(entry);
        }
        Ok(queue.newest())
    }

    /// Whether the batch may be written now; the keyspaces that it may be written to.
    pub(super) fn admit(&self, batch: &WriteBatch) -> Result<Trees<'_>> {
        check_batch(batch)?;
        let trees = self.trees.read();
        if let Some(span) = batch.spans().find(|span| !trees.contains_key(&span.keyspace)) {
            let message = format!("keyspace {} does not exist", span.keyspace);
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        if batch.stored().iter().any(|value| !value.is_of(&self.tables.values)) {
            return Err(Error::invalid(
                "a stored value is of another store, or of an earlier life of this one",
            ));
        }
        // Only a batch that holds a merge is looked through.
        for span in batch.merge_spans() {
            match trees.get(&span.keyspace).and_then(|tree| tree.view().merger.clone()) {
                Some(merger) => merger.operator().map(drop)?,
                None => {
                    let message = format!("keyspace {} has no merge operator", span.keyspace);
                    return Err(Error::invalid(message));
                }
            }
        }
        if self.memtables_full.load(Ordering::Relaxed) {
            let message = "flushing cannot keep up (is the disk full, or slow?): more is waiting in memory than the \
                           memory budget allows; try again later";
            self.wake_maintenance();
            return Err(Error::new(ErrorKind::Exhausted, message));
        }
        self.owe_pause(queued_bytes(batch));
        Ok(trees)
    }

    /// Submits and sees to it that the batch is applied, leading the group if nobody else does.
    pub(crate) fn apply(&self, batch: WriteBatch, locks: Option<Owner>) -> Result<Ticket> {
        match self.log.try_lock() {
            Some(log) => self.apply_first(log, batch, locks),
            None => {
                let ticket = self.submit(batch, locks)?;
                self.apply_queued(ticket, None)
            }
        }
    }

    /// Submits, and leads if nobody else does; else whoever leads takes the batch with him. Either way nobody waits
    /// here: on return the batch has its position, and is visible or soon will be.
    pub(crate) fn hand_in(&self, batch: WriteBatch, locks: Owner) -> Result<Ticket> {
        let ticket = self.submit(batch, Some(locks))?;
        // A failure stops the store: whoever waits for the position hears of it (R11).
        let _ = self.lead_all();
        Ok(ticket)
    }

    /// Leads as long as batches are queued that nobody leads. Who finds another at it may leave: that one looks again
    /// after he has given the log up.
    fn lead_all(&self) -> Result<()> {
        for _ in 0..GROUPS_AT_ONCE {
            if self.queue.lock().pending.is_empty() {
                return Ok(());
            }
            let Some(log) = self.log.try_lock() else { return Ok(()) };
            self.lead(log)?;
        }
        self.wake_log();
        Ok(())
    }

    /// Whoever finds the log free leads at once, and alone if nothing is queued: then his batch
    /// need not go through the queue.
    fn apply_first(
        &self,
        mut log: MutexGuard<'_, Log>,
        batch: WriteBatch,
        locks: Option<Owner>,
    ) -> Result<Ticket> {
        self.check()?;
        let trees = self.admit(&batch)?;
        let mut queue = self.queue.lock();
        if !queue.pending.is_empty() || batch.is_empty() {
            let ticket = self.enqueue(&mut queue, batch, locks)?;
            drop(queue);
            drop(trees);
            return self.apply_queued(ticket, Some(log));
        }
        let entry = queue.place(batch, locks)?;
        drop(queue);
        let position = entry.last();
        let mut group = std::mem::take(&mut log.group);
        group.push(entry);
        // Whatever fails, the batch has a position already: its outcome is unknown (R11).
        self.write_group(&mut log, trees, group).map_err(|_| self.unknown(position))?;
        drop(log);
        if self.frontiers.sync_wanted() {
            self.wake_log();
        }
        Ok(Ticket { position })
    }

    /// Leads, or waits for who does, until the ticket is reached.
    pub(super) fn apply_queued<'a>(
        &'a self,
        ticket: Ticket,
        mut log: Option<MutexGuard<'a, Log>>,
    ) -> Result<Ticket> {
        while self.frontiers.get(Level::Buffered) < ticket.position {
            let log = log.take().unwrap_or_else(|| self.log.lock());
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

    /// One group, after the one that another thread may be leading.
    pub(crate) fn log_step(&self) -> Result<Step> {
        self.check()?;
        self.lead(self.log.lock())
    }

    /// Leads one group of what is queued.
    pub(crate) fn lead(&self, mut log: MutexGuard<'_, Log>) -> Result<Step> {
        self.check()?;
        let done = self.lead_group(&mut log, self.trees.read())?;
        drop(log);
        if self.frontiers.sync_wanted() {
            self.wake_log();
        }
        Ok(done)
    }

    /// As [`Inner::lead`], for who goes on with the log.
    pub(crate) fn lead_group(&self, log: &mut Log, trees: Trees<'_>) -> Result<Step> {
        let mut group = std::mem::take(&mut log.group);
        self.drain(&mut group);
        if group.is_empty() {
            log.group = group;
            return Ok(Step::Idle);
        }
        self.write_group(log, trees, group)?;
        Ok(Step::Worked)
    }

    /// Seals, writes, inserts and publishes a group, which is not empty.
    fn write_group(&self, log: &mut Log, trees: Trees<'_>, mut group: Vec<Entry>) -> Result<()> {
        let position = group.last().map_or(Seq(0), Entry::last);
        let bytes: usize = group.iter().map(|entry| entry.batch.encoded().len()).sum();
        let time_ms = self.clock.now().now_ms;
        let mut touched = std::mem::take(&mut log.touched);
        // A failure from here on leaves the outcome unknown: sealing consumes an index (R11, R13).
        self.or_stop(|| {
            if log.writer.is_full(bytes) {
                self.rotate(log)?;
            }
            log.writer.append(&group, position, time_ms)?;
            log.note_end(position);
            insert(&trees, &group, &mut touched)
        })?;
        drop(trees);
        self.clock.logged(time_ms);
        self.stats.groups.fetch_add(1, Ordering::Relaxed);
        self.stats.bytes_written.fetch_add(bytes as u64, Ordering::Relaxed);
        self.frontiers.raise(Level::Buffered, position);
        group.iter_mut().for_each(|entry| drop(entry.locks.take()));
        self.freeze_full_memtables(log, &touched, position);
        group.clear();
        touched.clear();
        (log.group, log.touched) = (group, touched);
        Ok(())
    }

    /// The store has stopped: nobody writes what is queued any more, and its locks are released.
    pub(super) fn empty_queue(&self) {
        let mut queue = self.queue.lock();
        queue.bytes = 0;
        let pending = std::mem::take(&mut queue.pending);
        drop(queue);
        drop(pending);
    }

    fn drain(&self, group: &mut Vec<Entry>) {
        let mut queue = self.queue.lock();
        let mut bytes = 0;
        while let Some(entry) = queue.pending.pop_front() {
            let size = queued_bytes(&entry.batch);
            if bytes > 0 && bytes + size > GROUP_BYTES_MAX {
                queue.pending.push_front(entry);
                break;
            }
            bytes += size;
            queue.bytes -= size;
            group.push(entry);
        }
    }

    /// Starts a new segment. The old one and the directory are synced before a record of the new
    /// one is anchored (R8): the sync step does both.
    pub(crate) fn rotate(&self, log: &mut Log) -> Result<()> {
        self.rotate_to(log, self.new_file())
    }

    /// As [`Inner::rotate`], to a number that was just drawn.
    pub(crate) fn rotate_to(&self, log: &mut Log, number: FileNo) -> Result<()> {
        let continues = log.writer.head();
        let writer = WalWriter::create(Arc::clone(&self.context), number, continues)?;
        let old = std::mem::replace(&mut log.writer, writer);
        log.unsynced.push(Arc::clone(old.file()));
        log.dir_unsynced = true;
        log.segments.push_back(Segment { number, end: Seq(continues.position), bytes: 0 });
        self.wake_maintenance(); // the log may have grown beyond its limit
        Ok(())
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

/// Inserts a group into the memtables and collects the trees that it touched.
fn insert(trees: &Trees<'_>, group: &[Entry], touched: &mut Vec<Arc<Tree>>) -> Result<()> {
    for entry in group {
        let mut first = entry.first;
        for span in entry.batch.spans() {
            // One that is not there was dropped since the batch was submitted.
            if let Some(tree) = trees.get(&span.keyspace) {
                tree.apply_span(first, span)?;
                if !touched.iter().any(|known| known.id == span.keyspace) {
                    touched.push(Arc::clone(tree));
                }
            }
            first = Seq(first.0 + span.ops as u64);
        }
    }
    Ok(())
}

fn check_batch(batch: &WriteBatch) -> Result<()> {
    batch.check_lengths()?;
    if batch.bytes() > BATCH_BYTES_MAX || batch.len() > BATCH_OPS_MAX {
        let message = format!("a batch holds at most {BATCH_BYTES_MAX} bytes and {BATCH_OPS_MAX} operations");
        return Err(Error::invalid(message));
    }
    if batch.spans().any(|span| span.keyspace == KeyspaceId::SYSTEM) {
        return Err(Error::invalid("keyspace 0 is the store itself"));
    }
    Ok(())
}

/// The head that recovery starts from.
pub(crate) fn initial_log(writer: WalWriter, segments: VecDeque<Segment>) -> Log {
    Log {
        writer,
        unsynced: Vec::new(),
        dir_unsynced: false,
        segments,
        group: Vec::new(),
        touched: Vec::new(),
    }
}
