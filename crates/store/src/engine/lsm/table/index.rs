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
    /// Entries per unit of prefix, if they were spread evenly.
    slope: f64,
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
        let prefixes: Box<[u64]> = (0..len).map(prefix).collect();
        let range = prefixes.last().zip(prefixes.first()).map_or(0, |(last, first)| last - first);
        let slope = if range == 0 { 0.0 } else { (len - 1) as f64 / range as f64 };
        Self { block, prefixes, common, slope }
    }

    /// How many entries.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.prefixes.len()
    }

    /// The number of the first entry at or behind an internal key; [`Index::len`] if there is none.
    #[inline]
    pub(crate) fn seek(&self, key: &[u8], trailer: Trailer) -> usize {
        match self.place(key) {
            Place::Exact(at) => at,
            Place::Equal { from, prefix } => self.seek_among_equals(from, prefix, (key, trailer)),
        }
    }

    /// As [`Index::seek`], or the entry before that: for who looks into the block and goes on to the
    /// next one if everything in it is before the target. Separators are not read for it.
    #[inline]
    pub(crate) fn seek_near(&self, key: &[u8], trailer: Trailer) -> usize {
        match self.place(key) {
            Place::Exact(at) => at,
            Place::Equal { from, prefix } if self.prefixes.get(from + 1) != Some(&prefix) => from,
            Place::Equal { from, prefix } => self.seek_among_equals(from, prefix, (key, trailer)),
        }
    }

    #[inline]
    fn place(&self, key: &[u8]) -> Place {
        let Some(rest) = key.strip_prefix(&*self.common) else {
            return Place::Exact(if key < &*self.common { 0 } else { self.len() });
        };
        let prefix = key_prefix(rest);
        let from = self.first_at_least(prefix);
        if self.prefixes.get(from) == Some(&prefix) {
            Place::Equal { from, prefix }
        } else {
            Place::Exact(from)
        }
    }

    /// Looks where the prefix would stand if all were spread evenly, and from there in steps that
    /// double: keys that are evenly spread cost a cache line or two, others a binary search at worst.
    #[inline]
    fn first_at_least(&self, prefix: u64) -> usize {
        let all = &*self.prefixes;
        let Some(first) = all.first() else { return 0 };
        let guess = ((prefix.saturating_sub(*first)) as f64 * self.slope) as usize;
        let guess = guess.min(all.len() - 1);
        let (mut low, mut high, mut step) = (guess, guess, 4);
        if all[guess] < prefix {
            loop {
                low = high;
                high += step;
                step *= 2;
                match all.get(high) {
                    None => break high = all.len(),
                    Some(other) if *other >= prefix => break,
                    Some(_) => {}
                }
            }
        } else {
            loop {
                high = low;
                if low == 0 {
                    break;
                }
                low = low.saturating_sub(step);
                step *= 2;
                if all[low] < prefix {
                    break;
                }
            }
        }
        low + all[low..high].partition_point(|other| *other < prefix)
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

    /// The separator of an entry; empty behind the last.
    pub(crate) fn key(&self, at: usize) -> &[u8] {
        if at < self.len() { self.block.whole_entry(at).0 } else { &[] }
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

/// Where a key stands among the prefixes.
enum Place {
    Exact(usize),
    /// Prefixes from here on are the key's own.
    Equal {
        from: usize,
        prefix: u64,
    },
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
        /// Numbers, evenly spread or in clusters: the guess is good or bad, the answer right.
        #[test]
        fn finds_numbers_wherever_they_cluster(
            numbers in prop::collection::btree_set(
                prop_oneof![0..200u64, 1_000_000..1_000_100u64, any::<u64>()], 1..200),
            probes in prop::collection::vec(prop_oneof![0..201u64, 999_990..1_000_101u64, any::<u64>()], 20),
        ) {
            let keys: Vec<_> = numbers.iter().map(|n| (n.to_be_bytes().to_vec(), 1)).collect();
            let index = index(&keys);
            for probe in probes.iter().chain(&numbers) {
                let expected = numbers.iter().position(|n| n >= probe).unwrap_or(keys.len());
                prop_assert_eq!(index.seek(&probe.to_be_bytes(), Trailer::FIRST), expected);
            }
        }

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
            let expected = expected.unwrap_or(keys.len());
            prop_assert_eq!(index.seek(&target, trailer), expected);
            let near = index.seek_near(&target, trailer);
            prop_assert!(near == expected || near + 1 == expected, "{near} for {expected}");
        }
    }
}
