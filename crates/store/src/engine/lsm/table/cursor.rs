//! Walks over a table's point entries, both ways, a block at a time.

use super::block::BlockCursor;
use super::format::{BlockHandle, PartitionHandles};
use super::readahead::Readahead;
use super::reader::{Table, checked, decode_handle};
use crate::engine::lsm::cache::BlockCache;
use crate::engine::lsm::key::Trailer;
use crate::value::Value;
use ringfort_base::Result;
use std::sync::Arc;

/// A place in a table. It owns its table; blocks are read when they are reached.
pub struct TableCursor {
    table: Arc<Table>,
    cache: Arc<BlockCache>,
    /// Whether blocks that are read go into the cache: no for compactions.
    fill_cache: bool,
    /// Over the top index; without a block if the table is not partitioned.
    top: BlockCursor,
    /// Over the index or the index partition that `top` stands on.
    index: BlockCursor,
    /// Over the data block that `index` stands on.
    data: BlockCursor,
    data_offset: Option<u64>,
    partition_offset: Option<u64>,
    ahead: Readahead,
}

impl TableCursor {
    /// A cursor on no entry.
    #[must_use]
    pub fn new(table: Arc<Table>, cache: Arc<BlockCache>, fill_cache: bool) -> Self {
        let (mut top, mut index) = (BlockCursor::new(), BlockCursor::new());
        match table.root() {
            (root, true) => top.set_block(Arc::clone(root)),
            (root, false) => index.set_block(Arc::clone(root)),
        }
        let data = BlockCursor::new();
        let ahead = if fill_cache { Readahead::default() } else { Readahead::full() };
        Self { table, cache, fill_cache, top, index, data, data_offset: None, partition_offset: None, ahead }
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Whether it stands on an entry. The accessors mean something only then.
    #[inline]
    #[must_use]
    pub fn valid(&self) -> bool {
        self.data.valid()
    }

    /// The user key.
    #[inline]
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.data.key()
    }

    /// The first eight bytes of the user key.
    #[inline]
    #[must_use]
    pub fn prefix(&self) -> u64 {
        self.data.prefix()
    }

    /// The trailer.
    #[inline]
    #[must_use]
    pub fn trailer(&self) -> Trailer {
        self.data.trailer()
    }

    /// The value.
    #[inline]
    #[must_use]
    pub fn value(&self) -> &[u8] {
        self.data.value()
    }

    /// The value, without a copy, for as long as it is wanted.
    #[must_use]
    pub fn pin_value(&self) -> Option<Value> {
        let block = self.data.block()?;
        Some(Value::in_block(Arc::clone(block), self.data.value_range()))
    }

    /// Moves to the first entry at or behind an internal key.
    ///
    /// # Errors
    /// As [`Table::get`]; the cursor then stands on no entry. So for all moves.
    pub fn seek(&mut self, key: &[u8], trailer: Trailer) -> Result<()> {
        if self.seek_index(key, trailer)? {
            self.load_data()?;
            self.data.seek(key, trailer);
            self.skip_ends_forward()
        } else {
            self.leave();
            Ok(())
        }
    }

    /// Moves to the last entry before an internal key.
    ///
    /// # Errors
    /// See [`TableCursor::seek`].
    pub fn seek_before(&mut self, key: &[u8], trailer: Trailer) -> Result<()> {
        if self.seek_index(key, trailer)? {
            self.load_data()?;
            self.data.seek_before(key, trailer);
            self.skip_ends_backward()
        } else {
            self.seek_to_last()
        }
    }

    /// Moves to the first entry.
    ///
    /// # Errors
    /// See [`TableCursor::seek`].
    pub fn seek_to_first(&mut self) -> Result<()> {
        self.top.seek_to_first();
        self.load_partition()?;
        self.index.seek_to_first();
        self.load_data()?;
        self.data.seek_to_first();
        self.skip_ends_forward()
    }

    /// Moves to the last entry.
    ///
    /// # Errors
    /// See [`TableCursor::seek`].
    pub fn seek_to_last(&mut self) -> Result<()> {
        self.top.seek_to_last();
        self.load_partition()?;
        self.index.seek_to_last();
        self.load_data()?;
        self.data.seek_to_last();
        self.skip_ends_backward()
    }

    /// Moves to the next entry.
    ///
    /// # Errors
    /// See [`TableCursor::seek`].
    #[inline]
    pub fn next(&mut self) -> Result<()> {
        self.data.next();
        if self.data.valid() { Ok(()) } else { self.skip_ends_forward() }
    }

    /// Moves to the entry before.
    ///
    /// # Errors
    /// See [`TableCursor::seek`].
    #[inline]
    pub fn prev(&mut self) -> Result<()> {
        self.data.prev();
        if self.data.valid() { Ok(()) } else { self.skip_ends_backward() }
    }

    fn leave(&mut self) {
        self.data.clear();
        self.data_offset = None;
    }

    fn partitioned(&self) -> bool {
        self.top.block().is_some()
    }

    /// Puts `index` on the block that may hold the target; `false` if all are before it.
    fn seek_index(&mut self, key: &[u8], trailer: Trailer) -> Result<bool> {
        if self.partitioned() {
            self.top.seek(key, trailer);
            self.load_partition()?;
        }
        self.index.seek(key, trailer);
        Ok(self.index.valid())
    }

    /// Puts the partition that `top` stands on under `index`.
    fn load_partition(&mut self) -> Result<()> {
        if !self.partitioned() {
            return Ok(());
        }
        if !self.top.valid() {
            self.index.clear();
            self.partition_offset = None;
            return Ok(());
        }
        let handle = PartitionHandles::decode(self.top.value()).map_err(checked)?.index;
        if self.partition_offset != Some(handle.offset) {
            self.index.clear();
            self.partition_offset = None;
            let loaded = self.table.index_partition(&handle, &self.cache, false);
            if loaded.is_err() {
                self.leave();
            }
            if let Some(block) = loaded? {
                self.index.set_block(block);
                self.partition_offset = Some(handle.offset);
            }
        }
        Ok(())
    }

    /// Puts the block that `index` stands on under `data`.
    fn load_data(&mut self) -> Result<()> {
        if !self.index.valid() {
            self.leave();
            self.ahead.clear();
            return Ok(());
        }
        let handle: BlockHandle = decode_handle(self.index.value()).map_err(checked)?;
        if self.data_offset != Some(handle.offset) {
            self.leave();
            let block =
                self.table.data_block_ahead(&handle, &self.cache, &mut self.ahead, self.fill_cache)?;
            self.data.set_block(block);
            self.data_offset = Some(handle.offset);
        }
        Ok(())
    }

    /// Where a block ended, goes on with the next.
    fn skip_ends_forward(&mut self) -> Result<()> {
        while !self.data.valid() && self.index.valid() {
            self.index.next();
            if !self.index.valid() && self.partitioned() && self.top.valid() {
                self.top.next();
                self.load_partition()?;
                self.index.seek_to_first();
            }
            self.load_data()?;
            self.data.seek_to_first();
        }
        Ok(())
    }

    fn skip_ends_backward(&mut self) -> Result<()> {
        while !self.data.valid() && self.index.valid() {
            self.index.prev();
            if !self.index.valid() && self.partitioned() && self.top.valid() {
                self.top.prev();
                self.load_partition()?;
                self.index.seek_to_last();
            }
            self.load_data()?;
            self.data.seek_to_last();
        }
        Ok(())
    }
}
