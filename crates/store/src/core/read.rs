//! Reading: point reads, snapshots, iterators.

use super::Inner;
use crate::engine::lsm::blob::{BlobFiles, BlobSet};
use crate::engine::lsm::iter::{Entries, LevelCursor, Source, VisibleIter};
use crate::engine::lsm::table::{TableCursor, TableMeta};
use crate::engine::lsm::tree::{GetOutcome, Tables, View};
use crate::store::{Answer, Snapshot};
use crate::value::Value;
use ringfort_base::{KeyspaceId, Level, Result, Seq};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Inner {
    /// The newest visible position.
    pub(crate) fn visible(&self) -> Seq {
        self.frontiers.get(Level::Buffered)
    }

    pub(crate) fn snapshot(self: &Arc<Self>) -> Snapshot {
        // Registered under the lock that compaction reads the list under: it never misses one.
        let mut snapshots = self.snapshots.lock();
        let position = self.visible();
        *snapshots.entry(position.0).or_default() += 1;
        drop(snapshots);
        Snapshot::new(Arc::clone(self), position)
    }

    /// Registers a position that is registered already once more.
    pub(crate) fn pin_snapshot(self: &Arc<Self>, position: Seq) -> Snapshot {
        *self.snapshots.lock().entry(position.0).or_default() += 1;
        Snapshot::new(Arc::clone(self), position)
    }

    pub(crate) fn release_snapshot(&self, position: Seq) {
        let mut snapshots = self.snapshots.lock();
        if let Some(count) = snapshots.get_mut(&position.0) {
            *count -= 1;
            if *count == 0 {
                snapshots.remove(&position.0);
            }
        }
    }

    /// `None`: it needs I/O and `resident_only` was asked for.
    pub(crate) fn get(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        at: Option<Seq>,
        resident_only: bool,
    ) -> Result<Option<Answer<Option<Value>>>> {
        self.check()?;
        self.stats.gets.fetch_add(1, Ordering::Relaxed);
        let tree = self.tree(keyspace)?;
        // The view first: a version that a later view lacks may be the one that an earlier position needs.
        let view = tree.view();
        let at = at.unwrap_or_else(|| self.visible());
        let outcome = view.get(key, at, &self.tables, resident_only).map_err(|error| self.refuse(error))?;
        Ok(match outcome {
            GetOutcome::Found(value, depends) => Some(Answer { value: Some(value), depends }),
            GetOutcome::Absent(depends) => Some(Answer { value: None, depends }),
            GetOutcome::NeedsIo => None,
        })
    }

    pub(crate) fn iter(
        self: &Arc<Self>,
        keyspace: KeyspaceId,
        from: &[u8],
        to: Option<&[u8]>,
        (reverse, keys_only): (bool, bool),
        at: Seq,
    ) -> Result<Entries> {
        self.check()?;
        self.stats.iterators.fetch_add(1, Ordering::Relaxed);
        let tree = self.tree(keyspace)?;
        let open = || {
            let view = tree.view();
            let iter = VisibleIter::new(sources(&view, from, to, &self.tables)?, at, from, to)?;
            Entries::new(iter, (reverse, keys_only), values_of(&view, &self.tables))
        };
        open().map_err(|error| self.refuse(error))
    }

    /// Evidence met while reading stops the store: nothing more is written (fail closed).
    pub(crate) fn refuse(&self, error: ringfort_base::Error) -> ringfort_base::Error {
        if error.proof().is_some() { self.stop(error) } else { error }
    }
}

/// All sources of a view that may touch `from..to`, newest first.
pub(crate) fn sources(view: &View, from: &[u8], to: Option<&[u8]>, tables: &Tables) -> Result<Vec<Source>> {
    let mut sources: Vec<Source> = view.memtables().map(|mem| Source::Memtable(mem.table.cursor())).collect();
    let low = Some(from);
    for meta in view.version.overlapping(0, low, to).iter().rev() {
        sources.push(table_source(meta, tables, true)?);
    }
    for level in 1..view.version.levels.len() {
        let overlapping = view.version.overlapping(level, low, to);
        if !overlapping.is_empty() {
            sources.push(level_source(overlapping, tables, true));
        }
    }
    Ok(sources)
}

/// Where the pointers of a view lead.
pub(crate) fn values_of(view: &View, tables: &Tables) -> (Arc<BlobFiles>, Arc<BlobSet>) {
    (Arc::clone(&tables.values), Arc::clone(&view.version.blobs))
}

/// One table. `fill_cache`: keep its blocks, as a reader wants and a compaction does not.
pub(crate) fn table_source(meta: &Arc<TableMeta>, tables: &Tables, fill_cache: bool) -> Result<Source> {
    Ok(Source::Table(TableCursor::new(tables.get(meta)?, Arc::clone(&tables.blocks), fill_cache)))
}

/// Disjoint tables in order.
pub(crate) fn level_source(metas: Vec<Arc<TableMeta>>, tables: &Tables, fill_cache: bool) -> Source {
    Source::Level(LevelCursor::new(metas.into(), Arc::clone(&tables.open), fill_cache))
}
