//! Range tombstones, fragmented: disjoint ranges, each with the sequence numbers that cover it.
//!
//! ```text
//! raw:        [a────────────────────m) @5
//!                   [d──────────────────────t) @9
//! fragments:  [a───d)@5  [d─────────m)@9,5  [m──t)@9
//! ```
//!
//! A tombstone with sequence number `t` removes an entry of its range with a sequence number
//! below `t`, for every reader whose snapshot is at or above `t`. Being disjoint and sorted, the
//! fragments answer "what covers this key?" by one binary search.

use ringfort_base::Seq;
use std::sync::Arc;

/// One range and the tombstones that cover exactly it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// First key covered.
    pub from: Vec<u8>,
    /// First key not covered; above `from`.
    pub to: Vec<u8>,
    /// Sequence numbers, newest first, each once; never empty.
    pub seqs: Vec<Seq>,
}

impl Fragment {
    /// The newest of its tombstones that a reader at `snapshot` sees.
    #[must_use]
    pub fn newest_at(&self, snapshot: Seq) -> Option<Seq> {
        let newer = self.seqs.partition_point(|seq| *seq > snapshot);
        self.seqs.get(newer).copied()
    }

    /// What of it lies in `from..to` (`None`: no end), for a table that ends there.
    #[must_use]
    pub fn clipped(&self, from: &[u8], to: Option<&[u8]>) -> Option<Self> {
        let low = self.from.as_slice().max(from);
        let high = to.map_or(self.to.as_slice(), |to| to.min(&self.to));
        (low < high).then(|| Self { from: low.to_vec(), to: high.to_vec(), seqs: self.seqs.clone() })
    }
}

/// Disjoint fragments in key order. Immutable: adding makes a new list that shares what did not
/// change.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct FragmentedTombstones {
    fragments: Vec<Arc<Fragment>>,
}

impl FragmentedTombstones {
    /// The list with one more tombstone. An empty or reversed range changes nothing.
    #[must_use]
    pub fn with(&self, seq: Seq, from: &[u8], to: &[u8]) -> Self {
        if from >= to {
            return self.clone();
        }
        let first = self.fragments.partition_point(|f| f.to.as_slice() <= from);
        let end = first + self.fragments[first..].partition_point(|f| f.from.as_slice() < to);
        let mut fragments = Vec::with_capacity(self.fragments.len() + 3);
        fragments.extend_from_slice(&self.fragments[..first]);
        let mut at = from;
        for old in &self.fragments[first..end] {
            split_into(&mut fragments, old, seq, &mut at, to);
        }
        if at < to {
            fragments.push(Arc::new(Fragment { from: at.to_vec(), to: to.to_vec(), seqs: vec![seq] }));
        }
        fragments.extend_from_slice(&self.fragments[end..]);
        Self { fragments }
    }

    /// Takes fragments that are sorted and disjoint already; `None` if they are not.
    #[must_use]
    pub fn from_fragments(fragments: Vec<Fragment>) -> Option<Self> {
        let sound = fragments
            .iter()
            .all(|f| f.from < f.to && !f.seqs.is_empty() && f.seqs.windows(2).all(|pair| pair[0] > pair[1]));
        let disjoint = fragments.windows(2).all(|pair| pair[0].to <= pair[1].from);
        (sound && disjoint).then(|| Self { fragments: fragments.into_iter().map(Arc::new).collect() })
    }

    /// The fragments in key order.
    #[must_use]
    pub fn fragments(&self) -> &[Arc<Fragment>] {
        &self.fragments
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fragments.is_empty()
    }

    /// The fragment that contains `key`.
    #[must_use]
    pub fn covering(&self, key: &[u8]) -> Option<&Arc<Fragment>> {
        let at = self.fragments.partition_point(|f| f.to.as_slice() <= key);
        self.fragments.get(at).filter(|f| f.from.as_slice() <= key)
    }

    /// The fragments that touch `from..to` (`None`: no end).
    #[must_use]
    pub fn overlapping(&self, from: &[u8], to: Option<&[u8]>) -> &[Arc<Fragment>] {
        let first = self.fragments.partition_point(|f| f.to.as_slice() <= from);
        let rest = &self.fragments[first..];
        let count = to.map_or(rest.len(), |to| rest.partition_point(|f| f.from.as_slice() < to));
        &rest[..count]
    }

    /// The newest tombstone over `key` that a reader at `snapshot` sees.
    #[must_use]
    pub fn max_covering_seq(&self, key: &[u8], snapshot: Seq) -> Option<Seq> {
        self.covering(key)?.newest_at(snapshot)
    }

    /// About how much memory it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let one =
            |f: &Arc<Fragment>| size_of::<Fragment>() + 16 + f.from.len() + f.to.len() + 8 * f.seqs.len();
        self.fragments.iter().map(one).sum()
    }
}

/// Splits `old` where the new tombstone `at..to` begins and ends within it, and moves `at` behind
/// what is done.
fn split_into<'a>(
    out: &mut Vec<Arc<Fragment>>,
    old: &'a Arc<Fragment>,
    seq: Seq,
    at: &mut &'a [u8],
    to: &'a [u8],
) {
    let mut piece = |from: &[u8], to: &[u8], seqs: Vec<Seq>| {
        if from < to {
            out.push(Arc::new(Fragment { from: from.to_vec(), to: to.to_vec(), seqs }));
        }
    };
    piece(at, &old.from, vec![seq]); // A gap before the old fragment.
    piece(&old.from, at, old.seqs.clone()); // Its part before the new tombstone.
    let covered_from = (*at).max(&old.from);
    let covered_to = to.min(&old.to);
    piece(covered_from, covered_to, merge_seq(&old.seqs, seq));
    piece(covered_to, &old.to, old.seqs.clone()); // Its part behind the new tombstone.
    *at = covered_to;
}

fn merge_seq(seqs: &[Seq], seq: Seq) -> Vec<Seq> {
    let mut merged = seqs.to_vec();
    let at = merged.partition_point(|s| *s > seq);
    if merged.get(at) != Some(&seq) {
        merged.insert(at, seq);
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_picture_holds() {
        let list = FragmentedTombstones::default().with(Seq(5), b"a", b"m").with(Seq(9), b"d", b"t");
        let shown: Vec<_> =
            list.fragments().iter().map(|f| (f.from.as_slice(), f.to.as_slice(), f.seqs.clone())).collect();
        assert_eq!(
            shown,
            [
                (&b"a"[..], &b"d"[..], vec![Seq(5)]),
                (b"d", b"m", vec![Seq(9), Seq(5)]),
                (b"m", b"t", vec![Seq(9)])
            ]
        );
    }

    proptest! {
        #[test]
        fn agrees_with_the_raw_list(raw in prop::collection::vec((1..30u64, 0..12u8, 0..12u8), 0..20)) {
            let mut list = FragmentedTombstones::default();
            for (seq, from, to) in &raw {
                list = list.with(Seq(*seq), &[*from], &[*to]);
                let owned = list.fragments().iter().map(|f| (**f).clone()).collect();
                let again = FragmentedTombstones::from_fragments(owned);
                prop_assert_eq!(again.as_ref(), Some(&list));
            }
            for key in 0..13u8 {
                for snapshot in 0..31u64 {
                    let expected = raw.iter()
                        .filter(|(seq, from, to)| *seq <= snapshot && *from <= key && key < *to)
                        .map(|(seq, ..)| Seq(*seq)).max();
                    prop_assert_eq!(list.max_covering_seq(&[key], Seq(snapshot)), expected);
                    prop_assert_eq!(
                        list.overlapping(&[key], Some(&[key + 1])).iter().any(|f| f.from.as_slice() <= &[key][..]),
                        list.covering(&[key]).is_some());
                }
            }
        }
    }
}
