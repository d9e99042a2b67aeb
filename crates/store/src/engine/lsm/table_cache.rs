//! Open tables by file number, bounded in number and in the memory that they pin.

use super::cache::{BlockCache, Ref};
use super::table::{Table, TableMeta};
use quick_cache::sync::{Cache, DefaultLifecycle, GuardResult};
use quick_cache::{OptionsBuilder, Weighter};
use ringfort_base::world::Disk;
use ringfort_base::{FileNo, Result, StoreId};
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// A shard should hold at least this much, bytes, so that a large table finds room.
const SHARD_BYTES_MIN: usize = 8 << 20;
const SHARDS_MAX: usize = 32;

/// A fixed hash: the same run evicts the same tables. Numbers are ours, not a client's.
#[derive(Clone, Default)]
pub(crate) struct FixedHash(u64);

impl BuildHasher for FixedHash {
    type Hasher = Self;
    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

impl Hasher for FixedHash {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }
    #[inline]
    fn write_u64(&mut self, n: u64) {
        let wide = u128::from(self.0 ^ n ^ 0x9e37_79b9_7f4a_7c15) * u128::from(0xa076_1d64_78bd_642f_u64);
        self.0 = wide as u64 ^ (wide >> 64) as u64;
    }
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

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

/// A table of a version. Once it was opened it stays open here, for as long as versions have it: the
/// next reader finds it without asking anybody. Only so many are kept so; the others go through the
/// cache each time.
pub struct TableSlot {
    meta: Arc<TableMeta>,
    open: OnceLock<Kept>,
}

struct Kept {
    table: Arc<Table>,
    count: Arc<AtomicUsize>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl TableSlot {
    /// A table that is not open yet.
    #[must_use]
    pub fn new(meta: Arc<TableMeta>) -> Arc<Self> {
        Arc::new(Self { meta, open: OnceLock::new() })
    }

    /// The MANIFEST's record.
    #[inline]
    #[must_use]
    pub fn meta(&self) -> &Arc<TableMeta> {
        &self.meta
    }
}

/// Opens tables and keeps them open. A table that is evicted lives on while somebody reads it.
pub struct TableCache {
    store: StoreId,
    disk: Arc<dyn Disk>,
    blocks: Arc<BlockCache>,
    /// How many tables slots may keep, and do.
    kept_max: usize,
    kept: Arc<AtomicUsize>,
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
        let shards = (bytes_max / SHARD_BYTES_MIN).clamp(1, SHARDS_MAX);
        let settings = OptionsBuilder::new()
            .shards(1 << shards.ilog2())
            .estimated_items_capacity(tables_max.max(16))
            .weight_capacity(bytes_max as u64)
            .build()
            .expect("all required options are given");
        let weighter = ByPinnedBytes { least };
        let open = Cache::with_options(settings, weighter, FixedHash::default(), DefaultLifecycle::default());
        Self { store, disk, blocks, kept_max: tables_max, kept: Arc::default(), open }
    }

    /// The block cache that its tables read through.
    #[must_use]
    pub fn blocks(&self) -> &Arc<BlockCache> {
        &self.blocks
    }

    /// The table, if it is open (R23).
    #[inline]
    pub(crate) fn resident<'s>(&self, slot: &'s TableSlot) -> Option<Ref<'s, Table>> {
        match slot.open.get() {
            Some(kept) => Some(Ref::Pinned(&kept.table)),
            None => self.open.get(&slot.meta.file).map(|table| self.keep(slot, table)),
        }
    }

    /// The table; opened if it is not.
    ///
    /// # Errors
    /// See [`Table::open`].
    #[inline]
    pub(crate) fn open<'s>(&self, slot: &'s TableSlot) -> Result<Ref<'s, Table>> {
        match slot.open.get() {
            Some(kept) => Ok(Ref::Pinned(&kept.table)),
            None => self.open_slot(slot),
        }
    }

    fn open_slot<'s>(&self, slot: &'s TableSlot) -> Result<Ref<'s, Table>> {
        Ok(self.keep(slot, self.get(&slot.meta)?))
    }

    /// Keeps a table open in its slot, if not too many are kept.
    fn keep<'s>(&self, slot: &'s TableSlot, table: Arc<Table>) -> Ref<'s, Table> {
        if self.kept.fetch_add(1, Ordering::Relaxed) < self.kept_max {
            let kept = Kept { table: Arc::clone(&table), count: Arc::clone(&self.kept) };
            let _ = slot.open.set(kept); // Another thread may have been first: the same table.
        } else {
            self.kept.fetch_sub(1, Ordering::Relaxed);
        }
        Ref::Shared(table)
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
