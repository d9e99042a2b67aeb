//! Which segments of the log are still needed, and what is done when they become too many.
//!
//! ```text
//!   oldest ▼                                     newest ▼
//!   [ 3.log ][ 4.log ][ 5.log ][ 6.log ][ 7.log ]
//!      ▲ freed when nothing needs it: no memtable, no prepared transaction (R10), no replay
//! ```
//!
//! A flush frees in its own edit. Beyond `max_total_wal_size` whoever holds the oldest segment is asked to let
//! go: a memtable is flushed, prepared records are carried to the head. If nobody holds it, an edit of
//! its own frees it.

use super::Inner;
use super::commit::Segment;
use super::purge::{Freed, Readers};
use crate::engine::lsm::tree::{Mem, Tree};
use crate::manifest::edit::Entry;
use crate::manifest::state::State;
use crate::wal;
use ringfort_base::{KeyspaceId, Level, Result, Seq};
use ringfort_trust::Head;
use ringfort_trust::volume::Class;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Inner {
    /// `max_total_wal_size`: sees to it that the oldest segment can go.
    pub(super) fn limit_log(&self) -> Result<()> {
        let (total, oldest) = {
            let log = self.log.lock();
            let total: u64 = log.segments.iter().map(|segment| segment.bytes).sum();
            (total, log.segments.front().filter(|_| log.segments.len() > 1).map(|oldest| oldest.end))
        };
        if total <= self.options.max_total_wal_size {
            return Ok(());
        }
        let trees: Vec<Arc<Tree>> = self.trees.read().values().cloned().collect();
        let unflushed = |tree| Some((Tree::first_unflushed(tree, None)?, tree));
        let pinning = trees.iter().filter_map(|tree| unflushed(&**tree)).min_by_key(|pinning| pinning.0);
        let holds = |first: Seq| oldest.is_some_and(|oldest| first <= oldest);
        if let Some(oldest) = oldest.filter(|_| !pinning.is_some_and(|(first, _)| holds(first))) {
            let durable = self.frontiers.get(Level::Durable);
            let (is_pinned, bytes) = {
                let mut book = self.prepared.lock();
                (book.pinned(durable).is_some_and(holds), book.log_bytes())
            };
            if is_pinned {
                // More than half of the limit, which a smaller one than before may be: to write it again makes work, and no room.
                return if bytes <= self.options.max_total_wal_size / 2 {
                    self.carry_prepared(oldest)
                } else {
                    Ok(())
                };
            }
            if self.free_log()? {
                return Ok(());
            }
        }
        match pinning {
            Some((_, tree)) if tree.oldest_frozen().is_none() => self.freeze_now(tree).map(drop),
            _ => Ok(()),
        }
    }

    /// Frees what nothing needs, without a flush. Whether there was any.
    fn free_log(&self) -> Result<bool> {
        let mut manifest = self.manifest.lock();
        let mut entries = vec![self.counters_entry()];
        let freed = self.free_segments(None, &mut entries);
        if freed.is_empty() {
            return Ok(false);
        }
        let forgotten = self.forget_dropped(&manifest.state, &freed, &mut entries);
        let head = self.edit_manifest(&mut manifest, entries)?;
        drop(manifest);
        self.forget_keys(&forgotten);
        self.purge.lock().files.extend(self.freed_segments(freed, head));
        self.wake_maintenance();
        Ok(true)
    }

    /// R10: segments that every keyspace has flushed past, once `flushed` is a table, and in which no
    /// prepared transaction begins. They leave the list here; their files go with the purge.
    pub(super) fn free_segments(
        &self,
        flushed: Option<(&Tree, &Arc<Mem>)>,
        entries: &mut Vec<Entry>,
    ) -> Vec<Segment> {
        let mut log = self.log.lock();
        let trees = self.trees.read();
        let durable = self.frontiers.get(Level::Durable);
        let except = |tree: &Tree| flushed.filter(|(flushed, _)| flushed.id == tree.id).map(|(_, mem)| mem);
        let unflushed = trees.values().filter_map(|tree| tree.first_unflushed(except(tree)));
        let unreplayed = Seq(self.unreplayed.load(Ordering::Acquire));
        let prepared = self.prepared.lock().pinned(durable);
        let pinned = unflushed.chain(prepared).min().unwrap_or(unreplayed).min(unreplayed);
        let mut freed = Vec::new();
        while log.segments.len() > 1 {
            let Some(oldest) = log.segments.front() else { break };
            // Strictly below the durable position: something behind it is durable, and with it the
            // name and the header of the next segment, where replay will start.
            if oldest.end >= pinned || oldest.end >= durable {
                break;
            }
            freed.extend(log.segments.pop_front());
        }
        if let (false, Some(first)) = (freed.is_empty(), log.segments.front()) {
            entries.push(Entry::LogStart { segment: first.number });
        }
        freed
    }

    /// Keys of dropped keyspaces that no record of the log needs any more go with the segments that
    /// held the last ones.
    pub(super) fn forget_dropped(
        &self,
        state: &State,
        freed: &[Segment],
        entries: &mut Vec<Entry>,
    ) -> Vec<KeyspaceId> {
        let Some(through) = freed.last().map(|segment| segment.end) else { return Vec::new() };
        let dropped =
            state.keyspaces.iter().filter(|(_, keyspace)| keyspace.dropped.is_some_and(|at| at <= through));
        let forgotten: Vec<KeyspaceId> = dropped.map(|(id, _)| *id).collect();
        entries.extend(forgotten.iter().map(|&id| Entry::ForgetKeyspace { id }));
        forgotten
    }

    /// Behind the edit that forgot them.
    pub(super) fn forget_keys(&self, forgotten: &[KeyspaceId]) {
        self.context.domain_keys.write().retain(|id, _| !forgotten.contains(id));
    }

    /// The files of segments that the edit at `head` freed.
    pub(super) fn freed_segments(&self, freed: Vec<Segment>, head: Head) -> impl Iterator<Item = Freed> {
        let disk = Arc::clone(self.volumes.place(Class::Wal).0);
        freed.into_iter().map(move |segment| Freed {
            disk: Arc::clone(&disk),
            dir: wal::DIR,
            path: wal::path(segment.number),
            edit: head.position,
            readers: Readers::None,
        })
    }
}
