//! Markers: positions of the log that change nothing.
//!
//! A bulk load takes one, as of which its tables are. A flush that leaves nothing in memory puts one at
//! the beginning of a new segment, so that it frees the segments before:
//!
//! ```text
//!   3.log [ ops … ops ]   4.log [ marker                    the flush's tables hold everything up to
//!         └── freed by the flush's edit (R10)               the marker, where replay starts from now on
//! ```
//! Without it the flushed end of the log, and the space reserved behind it, would stay until the
//! segment is full: up to 64 MiB for a store that is no longer written to.
//!
//! Crash points: a marker that is not durable was never there; a durable one is replayed as a change of
//! a count by nothing, or skipped once its keyspace is flushed through it.

use super::Inner;
use super::commit::{Log, Trees};
use crate::batch::WriteBatch;
use crate::engine::lsm::tree::Tree;
use crate::store::Step;
use crate::wal;
use crate::wal::writer::Entry;
use ringfort_base::{ErrorKind, KeyspaceId, Level, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Inner {
    /// Writes what is queued, and takes the next position if it `may`.
    pub(super) fn place_marker(
        &self,
        log: &mut Log,
        keyspace: KeyspaceId,
        may: impl Fn(&Trees<'_>) -> Result<bool>,
    ) -> Result<Option<Entry>> {
        loop {
            let trees = self.trees.read();
            self.check()?;
            // With the log held only leading, below, fills memtables: the answer stands if it is idle.
            if !may(&trees)? {
                return Ok(None);
            }
            if self.lead_group(log, trees)? == Step::Worked {
                continue;
            }
            let mut queue = self.queue.lock();
            if queue.pending.is_empty() {
                let mut batch = WriteBatch::new();
                batch.mark(keyspace);
                return queue.place(batch, None).map(Some);
            }
        }
    }

    /// Goes on in a new segment if flushing `all_of` is going to free all that the log holds.
    pub(super) fn begin_segment_before_flush(&self, all_of: &[Arc<Tree>]) -> Result<()> {
        let unflushed = |tree: &&Arc<Tree>| tree.first_unflushed(None).is_some();
        let Some(flushed) = all_of.iter().find(unflushed) else { return Ok(()) };
        let mut log = self.log.lock();
        if !log.writer.is_reserved() || self.unreplayed.load(Ordering::Acquire) != u64::MAX {
            return Ok(());
        }
        let is_flushed = |tree: &Arc<Tree>| all_of.iter().any(|flushed| flushed.id == tree.id);
        let frees_all = |trees: &Trees<'_>| {
            let mut others = trees.values().filter(|tree| !is_flushed(tree));
            let is_held = self.prepared.lock().pinned(self.frontiers.get(Level::Durable)).is_some();
            let others_need_it = is_held || others.any(|tree| tree.first_unflushed(None).is_some());
            Ok(trees.contains_key(&flushed.id) && !others_need_it)
        };
        if !frees_all(&self.trees.read())? || !self.rotate_if_there_is_space(&mut log)? {
            return Ok(());
        }
        let Some(marker) = self.place_marker(&mut log, flushed.id, frees_all)? else { return Ok(()) };
        let position = marker.last();
        let time_ms = self.clock.now().now_ms;
        // A position is taken (R11).
        self.or_stop(|| log.writer.append_marker(marker, position, time_ms))?;
        log.note_end(position);
        self.clock.logged(time_ms);
        self.frontiers.raise(Level::Buffered, position);
        Ok(())
    }
    /// A full disk stops nothing here: the log goes on where it is, and the flush may make room.
    fn rotate_if_there_is_space(&self, log: &mut Log) -> Result<bool> {
        let number = self.new_file();
        let error = match self.rotate_to(log, number) {
            Ok(()) => return Ok(true),
            Err(error) => error,
        };
        let removed = || match self.context.disk.remove(&wal::path(number)) {
            Err(e) => e.kind() == std::io::ErrorKind::NotFound,
            Ok(()) => true,
        };
        if error.kind() != ErrorKind::Exhausted || !removed() {
            return Err(self.stop(error));
        }
        // Half a header must not come back between two segments.
        log.dir_unsynced = true;
        Ok(false)
    }
}
