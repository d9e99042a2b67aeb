//! A version: an immutable set of tables, by level.

use crate::engine::lsm::cache::BlockCache;
use crate::engine::lsm::table::Table;
use crate::engine::lsm::table::meta::TableMeta;
use ringfort_base::limits::LEVELS;
use ringfort_base::world::Disk;
use ringfort_base::{FileNo, Result, StoreId};
use ringfort_trust::Protection;
use std::sync::Arc;

/// What all tables of a store share.
pub(crate) struct Tables {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) protection: Protection,
    pub(crate) store: StoreId,
    pub(crate) cache: Arc<BlockCache>,
}

impl Tables {
    /// `memory_budget` is the store's: memtables get a third of it (see `core::maintain`), the
    /// cache, with the indexes and filters that it holds, the rest.
    pub(crate) fn new(disk: Arc<dyn Disk>, protection: Protection, store: StoreId, memory_budget: usize) -> Self {
        let cache = Arc::new(BlockCache::new(memory_budget / 3 * 2));
        Self { disk, protection, store, cache }
    }

    /// Opens a table: its footer must be the one that the MANIFEST names.
    pub(crate) fn open(&self, meta: &Arc<TableMeta>) -> Result<Arc<Table>> {
        Table::open(&*self.disk, self.store, meta, &self.cache).map(Arc::new)
    }
}

/// The tables of a tree at one moment. Level 0: oldest first, overlapping. Deeper levels: sorted
/// and disjoint.
#[derive(Clone)]
pub(crate) struct Version {
    pub(crate) levels: [Vec<Arc<Table>>; LEVELS],
}

impl Version {
    pub(crate) fn open(levels: &[Vec<Arc<TableMeta>>; LEVELS], tables: &Tables) -> Result<Self> {
        let mut opened: [Vec<Arc<Table>>; LEVELS] = Default::default();
        for (to, from) in opened.iter_mut().zip(levels) {
            *to = from.iter().map(|meta| tables.open(meta)).collect::<Result<_>>()?;
        }
        Ok(Self { levels: opened })
    }

    /// The tables that may hold `key`, newest first.
    pub(crate) fn candidates<'v>(&'v self, key: &'v [u8]) -> impl Iterator<Item = &'v Arc<Table>> {
        let level0 = self.levels[0].iter().rev().filter(move |table| table.meta().contains(key));
        let deeper = self.levels[1..].iter().filter_map(move |tables| {
            let at = tables.partition_point(|table| table.meta().is_before(key));
            tables.get(at).filter(|table| table.meta().contains(key))
        });
        level0.chain(deeper)
    }

    /// The tables of a level that touch `from..=to` (`None` = unbounded).
    pub(crate) fn overlapping(&self, level: usize, from: Option<&[u8]>, to: Option<&[u8]>) -> Vec<Arc<Table>> {
        let touches = |meta: &TableMeta| {
            from.is_none_or(|from| meta.largest.as_slice() >= from) && to.is_none_or(|to| meta.smallest.as_slice() <= to)
        };
        self.levels[level].iter().filter(|table| touches(table.meta())).cloned().collect()
    }

    /// The version without `removed` and with `added` (level, table).
    pub(crate) fn with(&self, removed: &[FileNo], added: &[(usize, Arc<Table>)]) -> Self {
        let mut new = self.clone();
        for tables in &mut new.levels {
            tables.retain(|table| !removed.contains(&table.meta().file));
        }
        for (level, table) in added {
            let tables = &mut new.levels[*level];
            let at = if *level == 0 {
                tables.partition_point(|t| t.meta().file < table.meta().file)
            } else {
                tables.partition_point(|t| t.meta().smallest < table.meta().smallest)
            };
            tables.insert(at, Arc::clone(table));
        }
        new
    }

    /// Bytes of a level.
    pub(crate) fn level_bytes(&self, level: usize) -> u64 {
        self.levels[level].iter().map(|table| table.meta().file_bytes).sum()
    }
}
