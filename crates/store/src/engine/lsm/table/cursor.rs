//! Walks over a table's point entries, both ways, a block at a time.

use super::block::BlockCursor;
use super::part::Part;
use super::readahead::Readahead;
use super::reader::Table;
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
    /// The part that the cursor is in, and its number.
    part: Option<Arc<Part>>,
    part_at: usize,
    /// The number, in its part, of the block that `data` is on.
    block_at: usize,
    data: BlockCursor,
    ahead: Readahead,
}

impl TableCursor {
    /// A cursor on no entry.
    #[must_use]
    pub fn new(table: Arc<Table>, cache: Arc<BlockCache>, fill_cache: bool) -> Self {
        let data = BlockCursor::new();
        let ahead = if fill_cache { Readahead::default() } else { Readahead::full() };
        Self { table, cache, fill_cache, part: None, part_at: 0, block_at: 0, data, ahead }
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
        if !self.seek_block(key, trailer)? {
            self.leave();
            return Ok(());
        }
        self.data.seek(key, trailer);
        self.skip_ends_forward()
    }

    /// Moves to the last entry before an internal key.
    ///
    /// # Errors
    /// See [`TableCursor::seek`].
    pub fn seek_before(&mut self, key: &[u8], trailer: Trailer) -> Result<()> {
        if !self.seek_block(key, trailer)? {
            return self.seek_to_last();
        }
        self.data.seek_before(key, trailer);
        self.skip_ends_backward()
    }

    /// Moves to the first entry.
    ///
    /// # Errors
    /// See [`TableCursor::seek`].
    pub fn seek_to_first(&mut self) -> Result<()> {
        if self.enter_part(0)? > 0 {
            self.enter_block(0)?;
            self.data.seek_to_first();
        }
        self.skip_ends_forward()
    }

    /// Moves to the last entry.
    ///
    /// # Errors
    /// See [`TableCursor::seek`].
    pub fn seek_to_last(&mut self) -> Result<()> {
        let blocks = self.enter_part(self.table.part_count().wrapping_sub(1))?;
        if blocks > 0 {
            self.enter_block(blocks - 1)?;
            self.data.seek_to_last();
        }
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
        self.ahead.clear();
    }

    /// Enters the block that may hold the target; `false` if all are before it.
    fn seek_block(&mut self, key: &[u8], trailer: Trailer) -> Result<bool> {
        let blocks = self.enter_part(self.table.part_of(key, trailer))?;
        let at = self.part.as_ref().map_or(0, |part| part.index.seek(key, trailer));
        if at < blocks {
            self.enter_block(at)?;
        }
        Ok(at < blocks)
    }

    /// Makes a part the present one; how many blocks it has, 0 if there is no such part.
    fn enter_part(&mut self, at: usize) -> Result<usize> {
        if self.part.is_none() || self.part_at != at {
            self.part = None;
            self.data.clear();
            if at >= self.table.part_count() {
                return Ok(0);
            }
            self.part = Some(Arc::clone(&*self.table.part(at, &self.cache)?));
            self.part_at = at;
        }
        Ok(self.part.as_ref().map_or(0, |part| part.index.len()))
    }

    /// Puts a block of the present part under `data`, on no entry.
    fn enter_block(&mut self, at: usize) -> Result<()> {
        if self.data.block().is_some() && self.block_at == at {
            return Ok(());
        }
        self.data.clear();
        let Some(part) = &self.part else { return Ok(()) };
        let place = (part, at);
        let block = self.table.data_block_ahead(place, &self.cache, &mut self.ahead, self.fill_cache)?;
        if let Some(block) = block {
            self.data.set_block(block);
            self.block_at = at;
        }
        Ok(())
    }

    /// Where a block ended, goes on with the next.
    fn skip_ends_forward(&mut self) -> Result<()> {
        while !self.data.valid() {
            let Some(part) = self.part.as_ref().filter(|_| self.data.block().is_some()) else {
                return Ok(());
            };
            let next = self.block_at + 1;
            if next < part.index.len() {
                self.enter_block(next)?;
            } else if self.enter_part(self.part_at + 1)? > 0 {
                self.enter_block(0)?;
            } else {
                self.leave();
                return Ok(());
            }
            self.data.seek_to_first();
        }
        Ok(())
    }

    fn skip_ends_backward(&mut self) -> Result<()> {
        while !self.data.valid() {
            if self.part.is_none() || self.data.block().is_none() {
                return Ok(());
            }
            if let Some(before) = self.block_at.checked_sub(1) {
                self.enter_block(before)?;
            } else {
                let blocks = self.enter_part(self.part_at.wrapping_sub(1))?;
                if blocks == 0 {
                    self.leave();
                    return Ok(());
                }
                self.enter_block(blocks - 1)?;
            }
            self.data.seek_to_last();
        }
        Ok(())
    }
}
