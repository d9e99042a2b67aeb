//! Reading: point reads, snapshots, iterators.

use super::Inner;
use crate::engine::lsm::iter::{LevelCursor, Source, VisibleIter};
use crate::engine::lsm::table::{TableCursor, TableMeta};
use crate::engine::lsm::tree::{GetOutcome, Tables, Tree, View};
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
            GetOutcome::Merge if resident_only => None, // its older entries may be anywhere
            GetOutcome::Merge => {
                let merged = merged(&tree, &view, key, at, &self.tables);
                Some(merged.map_err(|error| self.refuse(error))?)
            }
        })
    }

    pub(crate) fn iter(
        self: &Arc<Self>,
        keyspace: KeyspaceId,
        from: &[u8],
        to: Option<&[u8]>,
        reverse: bool,
        at: Seq,
    ) -> Result<VisibleIter> {
        self.check()?;
        self.stats.iterators.fetch_add(1, Ordering::Relaxed);
        let tree = self.tree(keyspace)?;
        let open = || {
            let sources = sources(&tree.view(), from, to, &self.tables)?;
            let mut iter = VisibleIter::new(sources, at, from, to)?.with_merger(tree.merger());
            if reverse {
                iter.seek_to_last()?
            } else {
                iter.seek_to_first()?
            }
            Ok(iter)
        };
        open().map_err(|error| self.refuse(error))
    }

    /// Evidence met while reading stops the store: nothing more is written (fail closed).
    pub(crate) fn refuse(&self, error: ringfort_base::Error) -> ringfort_base::Error {
        if error.proof().is_some() { self.stop(error) } else { error }
    }
}

/// The value of a key whose newest entry is an operand.
pub(crate) fn merged(
    tree: &Tree,
    view: &View,
    key: &[u8],
    at: Seq,
    tables: &Tables,
) -> Result<Answer<Option<Value>>> {
    let behind = [key, &[0]].concat();
    let sources = sources(view, key, Some(&behind), tables)?;
    let mut iter = VisibleIter::new(sources, at, key, Some(&behind))?.with_merger(tree.merger());
    iter.seek_to_first()?;
    Ok(Answer { value: iter.pin_value(), depends: iter.depends() })
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

/// One table. `fill_cache`: keep its blocks, as a reader wants and a compaction does not.
pub(crate) fn table_source(meta: &Arc<TableMeta>, tables: &Tables, fill_cache: bool) -> Result<Source> {
    Ok(Source::Table(TableCursor::new(tables.get(meta)?, Arc::clone(&tables.blocks), fill_cache)))
}

/// Disjoint tables in order.
pub(crate) fn level_source(metas: Vec<Arc<TableMeta>>, tables: &Tables, fill_cache: bool) -> Source {
    Source::Level(LevelCursor::new(metas.into(), Arc::clone(&tables.open), fill_cache))
}
