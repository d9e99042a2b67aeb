//! Open tables by file number, bounded in number and in the memory that they pin.

use super::cache::{BlockCache, FixedHash, build_cache};
use super::table::{Table, TableMeta};
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle, GuardResult};
use ringfort_base::world::Disk;
use ringfort_base::{FileNo, Result, StoreId};
use std::sync::Arc;

#[derive(Clone)]
struct ByPinnedBytes {
    least: u64,
}

impl Weighter<FileNo, Arc<Table>> for ByPinnedBytes {
    /// At least the budget's share of one table, so that the number is bounded as well.
    fn weight(&self, _: &FileNo, table: &Arc<Table>) -> u64 {
        (table.pinned_bytes() as u64).max(self.least)
    }
}

/// Opens tables and keeps them open. A table that is evicted lives on while somebody reads it.
pub struct TableCache {
    store: StoreId,
    disk: Arc<dyn Disk>,
    blocks: Arc<BlockCache>,
    open: Cache<FileNo, Arc<Table>, ByPinnedBytes, FixedHash, DefaultLifecycle<FileNo, Arc<Table>>>,
}

impl TableCache {
    /// Keeps at most `tables_max` tables of `disk` open, which pin at most about `bytes_max`.
    #[must_use]
    pub fn new(
        store: StoreId,
        disk: Arc<dyn Disk>,
        blocks: Arc<BlockCache>,
        tables_max: usize,
        bytes_max: usize,
    ) -> Self {
        let least = (bytes_max / tables_max.max(1)).max(1) as u64;
        let open = build_cache(bytes_max, tables_max, ByPinnedBytes { least }, DefaultLifecycle::default());
        Self { store, disk, blocks, open }
    }

    /// The block cache that its tables read through.
    #[must_use]
    pub fn blocks(&self) -> &Arc<BlockCache> {
        &self.blocks
    }

    /// The table, if it is open (R23).
    #[inline]
    #[must_use]
    pub fn resident(&self, file: FileNo) -> Option<Arc<Table>> {
        self.open.get(&file)
    }

    /// The table; opened if it is not.
    ///
    /// # Errors
    /// See [`Table::open`].
    pub fn get(&self, meta: &Arc<TableMeta>) -> Result<Arc<Table>> {
        let guard = match self.open.get_value_or_guard(&meta.file, None) {
            GuardResult::Value(table) => return Ok(table),
            GuardResult::Guard(guard) => Some(guard),
            GuardResult::Timeout => None,
        };
        let table = Arc::new(Table::open(&*self.disk, self.store, meta, &self.blocks)?);
        if let Some(guard) = guard {
            // Not kept if it was removed or is too large meanwhile: the caller has it all the same.
            let _ = guard.insert(Arc::clone(&table));
        }
        Ok(table)
    }

    /// Forgets a table that is about to be deleted.
    pub fn remove(&self, file: FileNo) {
        self.open.remove(&file);
    }

    /// How many tables are open here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}
