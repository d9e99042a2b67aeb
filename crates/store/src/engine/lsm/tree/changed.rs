//! Whether something was written since a position: what the check of an optimistic transaction asks.
//!
//! Only what took writes since is looked into: the memtable that is being written, as a rule. Entries that are not
//! visible yet count too.

use super::{Tables, View};
use crate::engine::lsm::filter::hash_key;
use crate::engine::lsm::key::Trailer;
use crate::engine::lsm::memtable::Memtable;
use crate::engine::lsm::table::{Lookup, TableCursor};
use crate::engine::lsm::table_cache::TableSlot;
use crate::engine::lsm::tombstone::FragmentedTombstones;
use ringfort_base::limits::SEQ_MAX;
use ringfort_base::{Result, Seq};
use std::sync::Arc;

/// Whoever looks from here sees all there is.
const NEWEST: Seq = Seq(SEQ_MAX);

impl View {
    /// Whether `key` was written, or deleted, after `seen`.
    ///
    /// # Errors
    /// As [`View::get`].
    pub(crate) fn key_changed_since(&self, key: &[u8], seen: Seq, tables: &Tables) -> Result<bool> {
        let hash = hash_key(key);
        for mem in self.memtables_since(seen) {
            let by_entry = mem.get_pinned_hashed(key, hash, NEWEST).is_some_and(|(seq, ..)| seq > seen);
            if by_entry || mem.max_covering_seq(key, NEWEST).is_some_and(|seq| seq > seen) {
                return Ok(true);
            }
        }
        if !self.tables_changed_since(seen) {
            return Ok(false);
        }
        for slot in self.version.candidates(key).filter(|slot| slot.meta().largest_seq > seen) {
            let table = tables.open.open(slot)?;
            let newest = table.get_hashed(key, hash, NEWEST, &tables.blocks, false)?;
            let by_entry = matches!(newest, Lookup::Found(seq, ..) if seq > seen);
            if by_entry || table.max_covering_seq(key, NEWEST).is_some_and(|seq| seq > seen) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether any key of a range was written, or deleted, after `seen`.
    ///
    /// # Errors
    /// As [`View::get`].
    pub(crate) fn range_changed_since(
        &self,
        (from, to): (&[u8], Option<&[u8]>),
        seen: Seq,
        tables: &Tables,
    ) -> Result<bool> {
        let is_inside = |key: &[u8]| to.is_none_or(|to| key < to);
        for mem in self.memtables_since(seen) {
            if mem.has_range_tombstones() && deleted_since(&mem.range_tombstones(), (from, to), seen) {
                return Ok(true);
            }
            let mut cursor = mem.iter();
            cursor.seek(from, Trailer::seek(NEWEST));
            while cursor.valid() && is_inside(cursor.key()) {
                if cursor.trailer().seq() > seen {
                    return Ok(true);
                }
                cursor.next();
            }
        }
        if !self.tables_changed_since(seen) {
            return Ok(false);
        }
        for slot in self.version.levels_read().iter().flat_map(|level| level.slots()) {
            if slot.meta().largest_seq > seen
                && slot.meta().overlaps(from, to)
                && table_changed_since(slot, (from, to), seen, tables)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The memtables that may hold something newer.
    fn memtables_since(&self, seen: Seq) -> impl Iterator<Item = &Arc<Memtable>> {
        let took_writes = move |mem: &&Arc<Memtable>| mem.last_seq().is_some_and(|last| last > seen);
        self.memtables().map(|mem| &mem.table).filter(took_writes)
    }

    fn tables_changed_since(&self, seen: Seq) -> bool {
        self.version.levels_read().iter().any(|level| level.largest_seq() > seen)
    }
}

fn table_changed_since(
    slot: &Arc<TableSlot>,
    (from, to): (&[u8], Option<&[u8]>),
    seen: Seq,
    tables: &Tables,
) -> Result<bool> {
    let table = Arc::clone(&*tables.open.open(slot)?);
    if deleted_since(table.range_tombstones(), (from, to), seen) {
        return Ok(true);
    }
    let mut cursor = TableCursor::new(table, Arc::clone(&tables.blocks), true);
    cursor.seek(from, Trailer::seek(NEWEST))?;
    while cursor.valid() && to.is_none_or(|to| cursor.key() < to) {
        if cursor.trailer().seq() > seen {
            return Ok(true);
        }
        cursor.next()?;
    }
    Ok(false)
}

fn deleted_since(list: &FragmentedTombstones, (from, to): (&[u8], Option<&[u8]>), seen: Seq) -> bool {
    list.overlapping(from, to).iter().any(|fragment| fragment.newest_at(NEWEST).is_some_and(|seq| seq > seen))
}
