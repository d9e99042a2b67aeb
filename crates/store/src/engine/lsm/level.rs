//! A level of tables as readers want it: open tables, and what a search wants of each in one array.

use super::key::key_prefix;
use super::table::TableMeta;
use super::table_cache::TableSlot;
use ringfort_base::{FileNo, Seq};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// The tables of a level. Immutable: a new version makes a new one, with the slots of tables that
/// stay, so that these stay open.
#[derive(Default)]
pub struct Level {
    slots: Box<[Arc<TableSlot>]>,
    /// The first bytes of each table's largest key, and of its smallest.
    fences: Box<[u64]>,
    starts: Box<[u64]>,
    largest_seq: Seq,
    has_tombstones: bool,
}

impl Level {
    /// A level of `metas`, in the level's order; slots of tables that are `known` are kept.
    #[must_use]
    pub fn new(metas: &[Arc<TableMeta>], known: &HashMap<FileNo, &Arc<TableSlot>>) -> Self {
        let slot = |meta: &Arc<TableMeta>| match known.get(&meta.file) {
            Some(slot) => Arc::clone(slot),
            None => TableSlot::new(Arc::clone(meta)),
        };
        Self {
            slots: metas.iter().map(slot).collect(),
            fences: metas.iter().map(|meta| key_prefix(&meta.largest)).collect(),
            starts: metas.iter().map(|meta| key_prefix(&meta.smallest)).collect(),
            largest_seq: metas.iter().map(|meta| meta.largest_seq).max().unwrap_or_default(),
            has_tombstones: metas.iter().any(|meta| meta.range_tombstones > 0),
        }
    }

    /// The tables.
    #[inline]
    #[must_use]
    pub fn slots(&self) -> &[Arc<TableSlot>] {
        &self.slots
    }

    /// The highest sequence number in any of them.
    #[must_use]
    pub const fn largest_seq(&self) -> Seq {
        self.largest_seq
    }

    /// Whether any of them has range tombstones.
    #[must_use]
    pub const fn has_tombstones(&self) -> bool {
        self.has_tombstones
    }

    /// Of a sorted level: the number of the first table that is not wholly before `key`, whose
    /// [`key_prefix`] is `prefix`.
    #[inline]
    #[must_use]
    pub fn first_not_before(&self, key: &[u8], prefix: u64) -> usize {
        let at = self.fences.partition_point(|fence| *fence < prefix);
        if self.fences.get(at) != Some(&prefix) {
            return at;
        }
        let equal = self.fences[at..].partition_point(|fence| *fence == prefix);
        at + self.slots[at..at + equal].partition_point(|slot| slot.meta().is_before(key))
    }

    /// Whether table `at` may concern `key`, whose [`key_prefix`] is `prefix`.
    #[inline]
    #[must_use]
    pub fn contains(&self, at: usize, key: &[u8], prefix: u64) -> bool {
        let (start, fence) = (self.starts[at], self.fences[at]);
        // Prefixes decide unless they are equal.
        start <= prefix
            && prefix <= fence
            && ((start < prefix && prefix < fence) || self.slots[at].meta().contains(key))
    }

    /// Of a sorted level: the tables that touch `from..to` (`None`: no end), by number.
    #[must_use]
    pub fn overlapping(&self, from: &[u8], to: Option<&[u8]>) -> Range<usize> {
        let first = self.first_not_before(from, key_prefix(from));
        let rest = &self.slots[first..];
        let count = to.map_or(rest.len(), |to| rest.partition_point(|s| s.meta().smallest.as_slice() < to));
        first..first + count
    }
}
