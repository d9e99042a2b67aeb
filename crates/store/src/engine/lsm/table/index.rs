//! An index in memory: a checked index block, with what a search wants in one small array.
//!
//! ```text
//! prefixes  │ u64 │ u64 │ u64 │ …      eight bytes of each separator behind what all have in common
//! block     │ separator, trailer │ …   asked only where prefixes are equal
//! ```
//! A search runs over eight bytes per entry instead of a cache line or two, and comes out with the
//! entry's number, which is also the number of the block's slot in the cache.

use super::block::Block;
use crate::engine::lsm::key::{Trailer, cmp_internal, common_prefix, key_prefix};
use std::cmp::Ordering;

/// See the module.
pub(crate) struct Index {
    block: Block,
    prefixes: Box<[u64]>,
    /// What all separators begin with.
    common: Box<[u8]>,
}

impl Index {
    /// Prepares a block that was checked as an index: each entry is a restart point.
    pub(crate) fn new(block: Block) -> Self {
        let len = block.restarts();
        let ends = (len > 0).then(|| (block.whole_entry(0).0, block.whole_entry(len - 1).0));
        // Sorted: what the first and the last have in common, all have.
        let common: Box<[u8]> =
            ends.map_or(&[][..], |(first, last)| &first[..common_prefix(first, last)]).into();
        let prefix = |at| key_prefix(block.whole_entry(at).0.get(common.len()..).unwrap_or_default());
        let prefixes = (0..len).map(prefix).collect();
        Self { block, prefixes, common }
    }

    /// How many entries.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.prefixes.len()
    }

    /// The number of the first entry at or behind an internal key; [`Index::len`] if there is none.
    #[inline]
    pub(crate) fn seek(&self, key: &[u8], trailer: Trailer) -> usize {
        let Some(rest) = key.strip_prefix(&*self.common) else {
            return if key < &*self.common { 0 } else { self.len() };
        };
        let prefix = key_prefix(rest);
        let from = self.prefixes.partition_point(|other| *other < prefix);
        if self.prefixes.get(from) != Some(&prefix) {
            return from;
        }
        self.seek_among_equals(from, prefix, (key, trailer))
    }

    #[cold]
    fn seek_among_equals(&self, from: usize, prefix: u64, target: (&[u8], Trailer)) -> usize {
        let (mut low, mut high) = (from, from + self.prefixes[from..].partition_point(|p| *p == prefix));
        while low < high {
            let middle = low.midpoint(high);
            let (key, trailer, _) = self.block.whole_entry(middle);
            if cmp_internal((key, trailer), target) == Ordering::Less {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The value of an entry; empty behind the last.
    pub(crate) fn value(&self, at: usize) -> &[u8] {
        if at < self.len() { self.block.whole_entry(at).2 } else { &[] }
    }

    /// Memory that it takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.block.memory_bytes() + size_of_val(&*self.prefixes) + self.common.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::lsm::key::Kind;
    use crate::engine::lsm::table::block::{BlockBuilder, Content};
    use crate::engine::lsm::table::format::{BlockHandle, Plain};
    use crate::options::Compression;
    use proptest::prelude::*;
    use ringfort_base::Seq;

    fn index(keys: &[(Vec<u8>, u64)]) -> Index {
        let mut builder = BlockBuilder::new(1);
        for (at, (key, seq)) in keys.iter().enumerate() {
            let mut value = Vec::new();
            let handle = BlockHandle { offset: at as u64, sealed_len: 100, codec: Compression::None };
            handle.encode(&mut value);
            builder.add(key, Trailer::new(Seq(*seq), Kind::Put), &value);
        }
        let mut plain = Vec::new();
        builder.finish_into(&mut plain);
        Index::new(Block::parse(Plain::pretend(plain), Content::Index).unwrap())
    }

    #[test]
    fn an_index_without_entries_leads_nowhere() {
        assert_eq!((index(&[]).seek(b"a", Trailer::FIRST), index(&[]).value(0)), (0, &[][..]));
    }

    proptest! {
        /// Long common prefixes, equal prefixes, short keys: as a linear search finds.
        #[test]
        fn finds_what_a_linear_search_finds(
            head in prop::collection::vec(any::<u8>(), 0..12),
            tails in prop::collection::btree_set((prop::collection::vec(0..3u8, 0..12), 1..5u64), 0..40),
            target in prop::collection::vec(0..3u8, 0..12),
            (whole, seq) in (any::<bool>(), 0..6u64),
        ) {
            let mut keys: Vec<(Vec<u8>, u64)> =
                tails.into_iter().map(|(tail, seq)| ([head.clone(), tail].concat(), seq)).collect();
            keys.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
            let index = index(&keys);
            let target = if whole { [head, target].concat() } else { target };
            let trailer = Trailer::seek(Seq(seq));
            let expected = keys.iter().position(|(key, seq)| {
                cmp_internal((key, Trailer::new(Seq(*seq), Kind::Put)), (&target, trailer)).is_ge()
            });
            prop_assert_eq!(index.seek(&target, trailer), expected.unwrap_or(keys.len()));
        }
    }
}
