//! A level: sorted, disjoint tables read as one.

use crate::engine::lsm::key::Trailer;
use crate::engine::lsm::table::{TableCursor, TableMeta};
use crate::engine::lsm::table_cache::TableCache;
use ringfort_base::{Result, Seq};
use std::sync::Arc;

/// A place in a level. Tables are opened when they are reached.
pub struct LevelCursor {
    tables: Arc<[Arc<TableMeta>]>,
    cache: Arc<TableCache>,
    fill_cache: bool,
    /// The table that `cursor` is in.
    at: usize,
    cursor: Option<TableCursor>,
    largest_seq: Seq,
}

impl LevelCursor {
    /// A cursor over `tables`, which are in key order and disjoint.
    #[must_use]
    pub fn new(tables: Arc<[Arc<TableMeta>]>, cache: Arc<TableCache>, fill_cache: bool) -> Self {
        debug_assert!(tables.windows(2).all(|pair| pair[0].is_before_table(&pair[1])));
        let largest_seq = tables.iter().map(|table| table.largest_seq).max().unwrap_or_default();
        Self { tables, cache, fill_cache, at: 0, cursor: None, largest_seq }
    }

    /// The tables.
    #[must_use]
    pub fn tables(&self) -> &Arc<[Arc<TableMeta>]> {
        &self.tables
    }

    /// The highest sequence number of the level.
    #[must_use]
    pub const fn largest_seq(&self) -> Seq {
        self.largest_seq
    }

    /// Through which tables are opened.
    #[must_use]
    pub fn table_cache(&self) -> &Arc<TableCache> {
        &self.cache
    }

    /// The cursor in the current table, if it stands on an entry.
    #[inline]
    #[must_use]
    pub fn current(&self) -> Option<&TableCursor> {
        self.cursor.as_ref().filter(|cursor| cursor.valid())
    }

    /// Moves to the first entry at or behind an internal key.
    ///
    /// # Errors
    /// As [`TableCursor::seek`]. So for all moves.
    pub fn seek(&mut self, key: &[u8], trailer: Trailer) -> Result<()> {
        let at = self.tables.partition_point(|table| table.is_before(key));
        if let Some(cursor) = self.enter(at)? {
            cursor.seek(key, trailer)?;
        }
        self.skip_ends_forward()
    }

    /// Moves to the last entry before an internal key.
    ///
    /// # Errors
    /// See [`LevelCursor::seek`].
    pub fn seek_before(&mut self, key: &[u8], trailer: Trailer) -> Result<()> {
        // The last table that begins at or before the key.
        let Some(at) = self.tables.partition_point(|table| table.smallest.as_slice() <= key).checked_sub(1)
        else {
            self.cursor = None;
            return Ok(());
        };
        if let Some(cursor) = self.enter(at)? {
            cursor.seek_before(key, trailer)?;
        }
        self.skip_ends_backward()
    }

    /// Moves to the first entry.
    ///
    /// # Errors
    /// See [`LevelCursor::seek`].
    pub fn seek_to_first(&mut self) -> Result<()> {
        if let Some(cursor) = self.enter(0)? {
            cursor.seek_to_first()?;
        }
        self.skip_ends_forward()
    }

    /// Moves to the last entry.
    ///
    /// # Errors
    /// See [`LevelCursor::seek`].
    pub fn seek_to_last(&mut self) -> Result<()> {
        if let Some(cursor) = self.enter(self.tables.len().wrapping_sub(1))? {
            cursor.seek_to_last()?;
        }
        self.skip_ends_backward()
    }

    /// Moves to the next entry.
    ///
    /// # Errors
    /// See [`LevelCursor::seek`].
    #[inline]
    pub fn next(&mut self) -> Result<()> {
        if let Some(cursor) = &mut self.cursor {
            cursor.next()?;
            if cursor.valid() {
                return Ok(());
            }
        }
        self.skip_ends_forward()
    }

    /// Moves to the entry before.
    ///
    /// # Errors
    /// See [`LevelCursor::seek`].
    #[inline]
    pub fn prev(&mut self) -> Result<()> {
        if let Some(cursor) = &mut self.cursor {
            cursor.prev()?;
            if cursor.valid() {
                return Ok(());
            }
        }
        self.skip_ends_backward()
    }

    /// Makes `at` the current table; `None` if there is no such.
    fn enter(&mut self, at: usize) -> Result<Option<&mut TableCursor>> {
        let Some(meta) = self.tables.get(at) else {
            self.cursor = None;
            return Ok(None);
        };
        if self.at != at || self.cursor.is_none() {
            self.cursor = None;
            let table = self.cache.get(meta)?;
            self.cursor = Some(TableCursor::new(table, Arc::clone(self.cache.blocks()), self.fill_cache));
            self.at = at;
        }
        Ok(self.cursor.as_mut())
    }

    /// Where a table ended (or has no point entries), goes on with the next.
    fn skip_ends_forward(&mut self) -> Result<()> {
        while self.cursor.as_ref().is_some_and(|cursor| !cursor.valid()) {
            if let Some(cursor) = self.enter(self.at + 1)? {
                cursor.seek_to_first()?;
            }
        }
        Ok(())
    }

    fn skip_ends_backward(&mut self) -> Result<()> {
        while self.cursor.as_ref().is_some_and(|cursor| !cursor.valid()) {
            if let Some(cursor) = self.enter(self.at.wrapping_sub(1))? {
                cursor.seek_to_last()?;
            }
        }
        Ok(())
    }
}
