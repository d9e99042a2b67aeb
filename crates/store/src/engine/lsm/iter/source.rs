//! [`Source`]: what a merge reads from, as one enum.

use super::level::LevelCursor;
use crate::engine::lsm::key::{Trailer, key_prefix};
use crate::engine::lsm::memtable::{Cursor, Memtable};
use crate::engine::lsm::table::TableCursor;
use crate::engine::lsm::tombstone::FragmentedTombstones;
use crate::value::Value;
use ringfort_base::{Result, Seq};
use std::sync::Arc;

/// A sorted run of internal entries, and its range tombstones.
pub enum Source {
    /// A memtable.
    Memtable(Cursor<Arc<Memtable>>),
    /// One table, of level 0 as a rule.
    Table(TableCursor),
    /// The tables of a deeper level.
    Level(LevelCursor),
}

/// Calls the same method on whatever the source is.
macro_rules! each {
    ($source:expr, $cursor:ident => $infallible:expr, $fallible:expr) => {
        match $source {
            Source::Memtable($cursor) => {
                $infallible;
                Ok(())
            }
            Source::Table($cursor) => $fallible,
            Source::Level($cursor) => $fallible,
        }
    };
}

impl Source {
    /// Whether it stands on an entry. The accessors mean something only then.
    #[inline]
    #[must_use]
    pub fn valid(&self) -> bool {
        match self {
            Self::Memtable(cursor) => cursor.valid(),
            Self::Table(cursor) => cursor.valid(),
            Self::Level(cursor) => cursor.current().is_some(),
        }
    }

    /// The user key.
    #[inline]
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Memtable(cursor) => cursor.key(),
            Self::Table(cursor) => cursor.key(),
            Self::Level(cursor) => cursor.current().map_or(&[], TableCursor::key),
        }
    }

    /// [`key_prefix`] of the user key.
    #[inline]
    #[must_use]
    pub fn prefix(&self) -> u64 {
        match self {
            Self::Memtable(cursor) => cursor.prefix(),
            Self::Table(cursor) => cursor.prefix(),
            Self::Level(cursor) => cursor.current().map_or_else(|| key_prefix(&[]), TableCursor::prefix),
        }
    }

    /// The trailer.
    #[inline]
    #[must_use]
    pub fn trailer(&self) -> Trailer {
        match self {
            Self::Memtable(cursor) => cursor.trailer(),
            Self::Table(cursor) => cursor.trailer(),
            Self::Level(cursor) => cursor.current().map_or(Trailer::LAST, TableCursor::trailer),
        }
    }

    /// The value.
    #[inline]
    #[must_use]
    pub fn value(&self) -> &[u8] {
        match self {
            Self::Memtable(cursor) => cursor.value(),
            Self::Table(cursor) => cursor.value(),
            Self::Level(cursor) => cursor.current().map_or(&[], TableCursor::value),
        }
    }

    /// The value, without a copy, for as long as it is wanted.
    #[must_use]
    pub fn pin_value(&self) -> Option<Value> {
        match self {
            Self::Memtable(cursor) => cursor.valid().then(|| cursor.pin_value().into()),
            Self::Table(cursor) => cursor.pin_value(),
            Self::Level(cursor) => cursor.current()?.pin_value(),
        }
    }

    /// Moves to the next entry.
    ///
    /// # Errors
    /// As [`TableCursor::seek`]. So for all moves.
    #[inline]
    pub fn next(&mut self) -> Result<()> {
        each!(self, cursor => cursor.next(), cursor.next())
    }

    /// Moves to the entry before.
    ///
    /// # Errors
    /// See [`Source::next`].
    pub fn prev(&mut self) -> Result<()> {
        each!(self, cursor => cursor.prev(), cursor.prev())
    }

    /// Moves to the first entry at or behind an internal key.
    ///
    /// # Errors
    /// See [`Source::next`].
    pub fn seek(&mut self, key: &[u8], trailer: Trailer) -> Result<()> {
        each!(self, cursor => cursor.seek(key, trailer), cursor.seek(key, trailer))
    }

    /// Moves to the last entry before an internal key.
    ///
    /// # Errors
    /// See [`Source::next`].
    pub fn seek_before(&mut self, key: &[u8], trailer: Trailer) -> Result<()> {
        each!(self, cursor => cursor.seek_before(key, trailer), cursor.seek_before(key, trailer))
    }

    /// Moves to the first entry.
    ///
    /// # Errors
    /// See [`Source::next`].
    pub fn seek_to_first(&mut self) -> Result<()> {
        each!(self, cursor => cursor.seek_to_first(), cursor.seek_to_first())
    }

    /// Moves to the last entry.
    ///
    /// # Errors
    /// See [`Source::next`].
    pub fn seek_to_last(&mut self) -> Result<()> {
        each!(self, cursor => cursor.seek_to_last(), cursor.seek_to_last())
    }

    /// No point entry of the source is newer: a range tombstone above it covers it all. A
    /// memtable that is still written may get newer ones, which a snapshot taken before does not see.
    #[must_use]
    pub fn largest_seq(&self) -> Seq {
        match self {
            Self::Memtable(cursor) => cursor.memtable().last_seq().unwrap_or_default(),
            Self::Table(cursor) => cursor.table().meta().largest_seq,
            Self::Level(cursor) => cursor.largest_seq(),
        }
    }

    /// The range tombstones that touch `from..to`; tables that have some are opened.
    ///
    /// # Errors
    /// As opening a table.
    pub fn collect_tombstones(
        &self,
        (from, to): (&[u8], Option<&[u8]>),
        out: &mut Vec<Arc<FragmentedTombstones>>,
    ) -> Result<()> {
        let mut take = |list: &Arc<FragmentedTombstones>| {
            if !list.overlapping(from, to).is_empty() {
                out.push(Arc::clone(list));
            }
        };
        match self {
            Self::Memtable(cursor) => {
                if cursor.memtable().has_range_tombstones() {
                    take(&cursor.memtable().range_tombstones());
                }
            }
            Self::Table(cursor) => take(cursor.table().range_tombstones()),
            Self::Level(cursor) => cursor.tombstones((from, to), take)?,
        }
        Ok(())
    }
}
