//! The range tombstones of all sources, as one snapshot sees them, flattened.
//!
//! A tombstone covers an older entry wherever either of them lies, so the lists of all sources can
//! be joined; and for one snapshot only the newest tombstone over each range matters. What is
//! left are disjoint ranges with one sequence number each.

use crate::engine::lsm::tombstone::{Fragment, FragmentedTombstones};
use ringfort_base::Seq;
use std::sync::Arc;

/// Disjoint ranges in key order. Remembers the last one met: keys are asked for in order.
#[derive(Default)]
pub(super) struct VisibleTombstones {
    ranges: Vec<Covered>,
    at: usize,
}

/// All entries of `from..to` below `seq` are removed.
pub(super) struct Covered {
    pub(super) from: Vec<u8>,
    pub(super) to: Vec<u8>,
    pub(super) seq: Seq,
}

impl VisibleTombstones {
    /// What a reader at `snapshot` sees of `lists` in `from..to`.
    pub(super) fn new(
        lists: &[Arc<FragmentedTombstones>],
        snapshot: Seq,
        (from, to): (&[u8], Option<&[u8]>),
    ) -> Self {
        let mut lists: Vec<&[Arc<Fragment>]> = lists.iter().map(|list| list.overlapping(from, to)).collect();
        let mut bounds: Vec<&[u8]> =
            lists.iter().copied().flatten().flat_map(|f| [f.from.as_slice(), f.to.as_slice()]).collect();
        bounds.sort_unstable();
        bounds.dedup();
        let mut ranges: Vec<Covered> = Vec::new();
        // Between two neighbouring bounds each list has one fragment or none.
        for pair in bounds.windows(2) {
            let newest = lists.iter_mut().filter_map(|list| newest_over(list, pair[0], snapshot)).max();
            let Some(seq) = newest else { continue };
            match ranges.last_mut() {
                Some(last) if last.seq == seq && last.to == pair[0] => last.to = pair[1].to_vec(),
                _ => ranges.push(Covered { from: pair[0].to_vec(), to: pair[1].to_vec(), seq }),
            }
        }
        Self { ranges, at: 0 }
    }

    /// Whether there are none.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The range over `key`.
    pub(super) fn covering(&mut self, key: &[u8]) -> Option<&Covered> {
        let here = |range: &Covered| range.from.as_slice() <= key && key < range.to.as_slice();
        // The range met last, or the next one; else a search.
        if !self.ranges.get(self.at).is_some_and(here) {
            if self.ranges.get(self.at + 1).is_some_and(here) {
                self.at += 1;
            } else {
                self.at = self.ranges.partition_point(|range| range.to.as_slice() <= key);
            }
        }
        self.ranges.get(self.at).filter(|range| here(range))
    }
}

/// The newest tombstone of a list over `key`; drops the fragments before it, since keys ascend.
fn newest_over(list: &mut &[Arc<Fragment>], key: &[u8], snapshot: Seq) -> Option<Seq> {
    while let [first, rest @ ..] = *list
        && first.to.as_slice() <= key
    {
        *list = rest;
    }
    list.first().filter(|first| first.from.as_slice() <= key)?.newest_at(snapshot)
}
