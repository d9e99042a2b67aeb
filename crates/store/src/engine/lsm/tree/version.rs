//! A version: an immutable set of tables, by level.

use super::handles::Handles;
use crate::engine::lsm::blob::{BlobFiles, BlobMeta, BlobSet};
use crate::engine::lsm::cache::BlockCache;
use crate::engine::lsm::key::key_prefix;
use crate::engine::lsm::level::Level;
use crate::engine::lsm::table::{Table, TableMeta};
use crate::engine::lsm::table_cache::{TableCache, TableSlot};
use ringfort_base::StoreId;
use ringfort_base::limits::LEVELS;
use ringfort_base::world::Disk;
use ringfort_trust::Protection;
use std::collections::HashMap;
use std::sync::Arc;

/// One part of so many of the memory budget is left to buffers, and to what the allocator loses.
const BUFFERS_SHARE: usize = 8;
/// Most tables that are kept open.
const OPEN_TABLES_MAX: usize = 4096;

/// What all tables of a store share.
pub(crate) struct Tables {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) protection: Protection,
    pub(crate) store: StoreId,
    pub(crate) blocks: Arc<BlockCache>,
    pub(crate) open: Arc<TableCache>,
    pub(crate) values: Arc<BlobFiles>,
    pub(crate) handles: Arc<Handles>,
}

impl Tables {
    /// `memory_budget` is the store's. The block cache keeps within it together with what open tables
    /// pin and what memtables take ([`BlockCache::set_reserved`]); a part is left for buffers, and for
    /// what the allocator loses between blocks. `direct_reads`: see [`BlockCache::uncached_files`].
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        protection: Protection,
        store: StoreId,
        memory_budget: usize,
        direct_reads: bool,
    ) -> Self {
        let share = memory_budget - memory_budget / BUFFERS_SHARE;
        let blocks = Arc::new(BlockCache::new(share).uncached_files(direct_reads));
        let open = Arc::new(TableCache::new(
            store,
            Arc::clone(&disk),
            Arc::clone(&blocks),
            OPEN_TABLES_MAX,
            share / 2,
        ));
        let values = Arc::new(BlobFiles::new(store, Arc::clone(&disk), Arc::clone(&blocks)));
        Self { disk, protection, store, blocks, open, values, handles: Arc::default() }
    }

    /// A table: its footer is the one that the MANIFEST names.
    pub(crate) fn get(&self, meta: &Arc<TableMeta>) -> ringfort_base::Result<Arc<Table>> {
        self.open.get(meta)
    }

    /// A table read anew from the disk, footer, index and filter included.
    pub(crate) fn reopen(&self, meta: &Arc<TableMeta>) -> ringfort_base::Result<Arc<Table>> {
        Table::open(&*self.disk, self.store, meta, &self.blocks).map(Arc::new)
    }
}

/// Inserts a table where its level's order wants it. Level 0: oldest first, by the newest sequence
/// number in it: two that overlap were written one after the other. Deeper levels: by smallest key;
/// they are disjoint.
pub(crate) fn insert_in_level(tables: &mut Vec<Arc<TableMeta>>, level: usize, table: Arc<TableMeta>) {
    let at = if level == 0 {
        tables.partition_point(|t| (t.largest_seq, t.file) < (table.largest_seq, table.file))
    } else {
        tables.partition_point(|t| t.smallest < table.smallest)
    };
    tables.insert(at, table);
}

/// The tables of a tree at one moment. Level 0: oldest first, overlapping. Deeper levels: sorted
/// and disjoint.
pub(crate) struct Version {
    pub(crate) levels: [Vec<Arc<TableMeta>>; LEVELS],
    /// The same tables as readers want them.
    read: [Arc<Level>; LEVELS],
    /// The value files that the tables point into.
    pub(crate) blobs: Arc<BlobSet>,
    /// The keyspace's option: so many first bytes of each key are in the filters.
    pub(crate) prefix_bytes: usize,
}

/// What turns a version into the next.
#[derive(Default)]
pub(crate) struct Change {
    /// Tables that leave; one that only moves is in both lists.
    pub(crate) removed: Vec<(usize, Arc<TableMeta>)>,
    /// Tables that join, with their level.
    pub(crate) added: Vec<(usize, Arc<TableMeta>)>,
    /// Value files that join.
    pub(crate) values: Vec<Arc<BlobMeta>>,
}

impl Version {
    /// A version of these tables.
    pub(crate) fn new(
        levels: [Vec<Arc<TableMeta>>; LEVELS],
        blobs: Arc<BlobSet>,
        prefix_bytes: usize,
    ) -> Self {
        let read = std::array::from_fn(|level| Arc::new(Level::new(&levels[level], &HashMap::new())));
        Self { levels, read, blobs, prefix_bytes }
    }

    /// The tables of all levels as readers want them.
    pub(crate) fn levels_read(&self) -> &[Arc<Level>; LEVELS] {
        &self.read
    }

    /// The tables of a level as readers want them.
    pub(crate) fn read(&self, level: usize) -> &Arc<Level> {
        &self.read[level]
    }

    /// The tables that may hold `key`, newest first.
    #[inline]
    pub(crate) fn candidates<'v>(&'v self, key: &'v [u8]) -> impl Iterator<Item = &'v Arc<TableSlot>> {
        let prefix = key_prefix(key);
        let [level0, deeper @ ..] = &self.read;
        let newest_first = (0..level0.slots().len()).rev();
        let level0 =
            newest_first.filter(move |at| level0.contains(*at, key, prefix)).map(|at| &level0.slots()[at]);
        let deeper = deeper.iter().filter_map(move |level| {
            let at = level.first_not_before(key, prefix);
            let slot = level.slots().get(at)?;
            level.contains(at, key, prefix).then_some(slot)
        });
        level0.chain(deeper)
    }

    /// The tables of a level that touch `from..=to` (`None` = unbounded).
    pub(crate) fn overlapping(
        &self,
        level: usize,
        from: Option<&[u8]>,
        to: Option<&[u8]>,
    ) -> Vec<Arc<TableMeta>> {
        let touches = |table: &TableMeta| {
            from.is_none_or(|from| !table.is_before(from))
                && to.is_none_or(|to| table.smallest.as_slice() <= to)
        };
        self.levels[level].iter().filter(|table| touches(table)).cloned().collect()
    }

    /// The version after `change`, and the value files that leave with it: nothing points into them
    /// any more. Tables that stay stay open.
    ///
    /// # Errors
    /// Why tables and value files contradict each other.
    pub(crate) fn with(&self, change: &Change) -> Result<(Self, Vec<Arc<BlobMeta>>), String> {
        let mut levels = self.levels.clone();
        for tables in &mut levels {
            tables.retain(|table| !change.removed.iter().any(|(_, gone)| gone.file == table.file));
        }
        for (level, table) in &change.added {
            insert_in_level(&mut levels[*level], *level, Arc::clone(table));
        }
        let slots = self.read.iter().flat_map(|level| level.slots().iter());
        let known = slots.map(|slot| (slot.meta().file, slot)).collect();
        let read = std::array::from_fn(|level| Arc::new(Level::new(&levels[level], &known)));
        let (blobs, dead) = self.blobs_with(change)?;
        Ok((Self { levels, read, blobs, prefix_bytes: self.prefix_bytes }, dead))
    }

    fn blobs_with(&self, change: &Change) -> Result<(Arc<BlobSet>, Vec<Arc<BlobMeta>>), String> {
        let mut tables = change.removed.iter().chain(&change.added);
        if change.values.is_empty() && tables.all(|(_, table)| table.values.is_empty()) {
            return Ok((Arc::clone(&self.blobs), Vec::new()));
        }
        let mut blobs = BlobSet::clone(&self.blobs);
        change.removed.iter().for_each(|(_, table)| blobs.remove_uses(&table.values));
        change.values.iter().for_each(|meta| blobs.add_file(Arc::clone(meta)));
        change.added.iter().try_for_each(|(_, table)| blobs.add_uses(&table.values))?;
        let dead = blobs.take_dead();
        Ok((Arc::new(blobs), dead))
    }

    /// Bytes of a level.
    pub(crate) fn level_bytes(&self, level: usize) -> u64 {
        self.levels[level].iter().map(|table| table.file_bytes).sum()
    }
}
