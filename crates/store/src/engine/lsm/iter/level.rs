//! A level: sorted, disjoint tables read as one.

use crate::engine::lsm::key::{Trailer, key_prefix};
use crate::engine::lsm::level::Level;
use crate::engine::lsm::table::{TableCursor, TableMeta};
use crate::engine::lsm::table_cache::{TableCache, TableSlot};
use crate::engine::lsm::tombstone::FragmentedTombstones;
use ringfort_base::{Result, Seq};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Asking more tables than this whether they have a prefix costs more than it saves.
const NARROWED_TABLES_MAX: usize = 4;

/// A place in a run of a level's tables. Tables are opened when they are reached.
pub struct LevelCursor {
    level: Arc<Level>,
    /// The tables of the run, by number.
    run: Range<usize>,
    cache: Arc<TableCache>,
    fill_cache: bool,
    /// The table that `cursor` is in.
    at: usize,
    cursor: Option<TableCursor>,
}

impl LevelCursor {
    /// A cursor over `tables`, which are in key order and disjoint.
    #[must_use]
    pub fn new(tables: &[Arc<TableMeta>], cache: Arc<TableCache>, fill_cache: bool) -> Self {
        debug_assert!(tables.windows(2).all(|pair| pair[0].is_before_table(&pair[1])));
        let level = Arc::new(Level::new(tables, &HashMap::new()));
        Self { run: 0..tables.len(), level, cache, fill_cache, at: 0, cursor: None }
    }

    /// A cursor over the tables of a level that touch `from..to`; `None` if there are none.
    #[must_use]
    pub fn over(level: &Arc<Level>, from: &[u8], to: Option<&[u8]>, cache: &Arc<TableCache>) -> Option<Self> {
        let run = level.overlapping(from, to);
        let (level, cache) = (Arc::clone(level), Arc::clone(cache));
        (!run.is_empty()).then(|| Self { at: run.start, run, level, cache, fill_cache: true, cursor: None })
    }

    /// Leaves out tables at both ends that `keep` does not want, from a run of a few; `false`: none
    /// is left.
    ///
    /// # Errors
    /// What `keep` fails with.
    pub(crate) fn narrow(&mut self, keep: impl Fn(&TableSlot) -> Result<bool>) -> Result<bool> {
        if self.run.len() > NARROWED_TABLES_MAX {
            return Ok(true);
        }
        let slots = self.level.slots();
        while !self.run.is_empty() && !keep(&slots[self.run.start])? {
            self.run.start += 1;
        }
        while !self.run.is_empty() && !keep(&slots[self.run.end - 1])? {
            self.run.end -= 1;
        }
        self.at = self.run.start;
        Ok(!self.run.is_empty())
    }

    /// The range tombstones of its tables that touch `from..to`; tables that have some are opened.
    ///
    /// # Errors
    /// As opening a table.
    pub(super) fn tombstones(
        &self,
        (from, to): (&[u8], Option<&[u8]>),
        mut take: impl FnMut(&Arc<FragmentedTombstones>),
    ) -> Result<()> {
        if self.level.has_tombstones() {
            for slot in &self.level.slots()[self.run.clone()] {
                if slot.meta().range_tombstones > 0 && slot.meta().overlaps(from, to) {
                    take(self.cache.open(slot)?.range_tombstones());
                }
            }
        }
        Ok(())
    }

    /// No point entry of the level is newer.
    #[must_use]
    pub fn largest_seq(&self) -> Seq {
        self.level.largest_seq()
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
        let at = self.level.first_not_before(key, key_prefix(key)).max(self.run.start);
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
        let tables = &self.level.slots()[self.run.clone()];
        let before = tables.partition_point(|slot| slot.meta().smallest.as_slice() <= key);
        let Some(at) = (self.run.start + before).checked_sub(1) else {
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
        if let Some(cursor) = self.enter(self.run.start)? {
            cursor.seek_to_first()?;
        }
        self.skip_ends_forward()
    }

    /// Moves to the last entry.
    ///
    /// # Errors
    /// See [`LevelCursor::seek`].
    pub fn seek_to_last(&mut self) -> Result<()> {
        if let Some(cursor) = self.enter(self.run.end.wrapping_sub(1))? {
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
        let Some(slot) = self.level.slots().get(at).filter(|_| self.run.contains(&at)) else {
            self.cursor = None;
            return Ok(None);
        };
        if self.at != at || self.cursor.is_none() {
            self.cursor = None;
            let table = Arc::clone(&*self.cache.open(slot)?);
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
