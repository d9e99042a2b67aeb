//! Ranks: eight bytes that order most keys of a memtable, although they begin alike.
//!
//! A node of the [`skiplist`](super::skiplist) keeps the rank of its key beside its tower, and a search
//! that meets two different ranks need not touch the key. The first eight bytes would do if keys
//! differed in them; but `key:000000000123` and `user0000012345` do not. So ranks are made for the part
//! of the keys where they do differ: a *stem*, which is learned from keys that the tree has already, is
//! left out.
//!
//! ```text
//! keys before all with the stem      the stem, then …                keys behind all with the stem
//! 00 │ first 62 bits                 2^62 + the next 63 bits         11 │ first 62 bits
//! ```
//!
//! Ranks agree with the order of keys: if two differ, they order their keys; if they are equal, the keys
//! must be compared. That holds for every stem, good or bad. Without a stem a rank is [`key_prefix`].

use super::Memtable;
use crate::engine::lsm::key::{common_prefix, key_prefix};
use ringfort_base::Result;
use std::sync::atomic::Ordering;

/// Where the ranks of keys with the stem begin.
const STEM: u64 = 1 << 62;
/// Where the ranks of keys behind them begin.
const BEHIND: u64 = 3 << 62;
/// From so many keys a stem is learned, at the most and at the least.
const SAMPLES_MAX: usize = 64;
const SAMPLES_MIN: usize = 8;

/// How a memtable ranks its keys. See the module's chapter.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Ranks {
    stem: Box<[u8]>,
}

impl Ranks {
    /// For keys of which most begin with `stem`.
    #[must_use]
    pub fn with_stem(stem: &[u8]) -> Self {
        Self { stem: stem.into() }
    }

    /// Ranks that tell keys like these apart: what they all begin with is left out, or what a third of
    /// them begins with, if that leaves fewer neighbours with equal ranks. `sorted` is in ascending order.
    #[must_use]
    pub fn learn(sorted: &[&[u8]]) -> Self {
        let step = sorted.len().div_ceil(SAMPLES_MAX).max(1);
        let keys: Vec<&[u8]> = sorted.iter().step_by(step).copied().collect();
        let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return Self::default() };
        if keys.len() < SAMPLES_MIN || first == last {
            return Self::default(); // They say nothing of others.
        }
        let mut best = Self::with_stem(&first[..common_prefix(first, last)]);
        let mut equals = best.equal_neighbours(&keys);
        let third = keys.len() / 3;
        let mut tried = best.stem.len();
        for (low, high) in keys.iter().zip(&keys[third..]) {
            let common = common_prefix(low, high);
            // The same length as for the third before it: nearly always the same stem.
            if equals > 0 && common != tried && common > 0 {
                tried = common;
                let other = Self::with_stem(&low[..common]);
                let others = other.equal_neighbours(&keys);
                if others < equals {
                    (best, equals) = (other, others);
                }
            }
        }
        best
    }

    /// How many neighbours differ, but not in their ranks.
    fn equal_neighbours(&self, sorted: &[&[u8]]) -> usize {
        sorted.windows(2).filter(|pair| pair[0] != pair[1] && self.of(pair[0]) == self.of(pair[1])).count()
    }

    /// The rank of a key.
    #[inline]
    #[must_use]
    pub fn of(&self, key: &[u8]) -> u64 {
        if self.stem.is_empty() {
            return key_prefix(key);
        }
        match key.strip_prefix(&*self.stem) {
            Some(rest) => STEM + (key_prefix(rest) >> 1),
            None if *key < *self.stem => key_prefix(key) >> 2,
            None => BEHIND | key_prefix(key) >> 2,
        }
    }
}

impl Memtable {
    /// Ranks for a memtable of keys like those of this one.
    #[must_use]
    pub fn learn_ranks(&self) -> Ranks {
        Ranks::learn(&self.list.sample(SAMPLES_MAX / 2))
    }

    /// A copy that ranks its keys otherwise. Nobody may insert meanwhile.
    ///
    /// # Errors
    /// `Exhausted` if there is no memory.
    pub fn ranked_by(&self, ranks: Ranks, seed: u64, capacity_bytes: usize) -> Result<Self> {
        let copy = Self::with_capacity(seed, capacity_bytes, ranks)?;
        let mut entries = self.iter();
        entries.seek_to_first();
        while entries.valid() {
            let trailer = entries.trailer();
            copy.insert(trailer.seq(), trailer.point_kind(), entries.key(), entries.value())?;
            entries.next();
        }
        for seq in [self.first_seq(), self.last_seq()].into_iter().flatten() {
            copy.note_seq(seq);
        }
        copy.add_count(self.count());
        let tombstones = self.range_tombstones();
        copy.tombstone_bytes.store(tombstones.bytes(), Ordering::Release);
        *copy.tombstones.write() = tombstones;
        Ok(copy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Keys of few letters, the least and the greatest byte among them, which often share a beginning.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        let letter = prop::sample::select(vec![0, 1, b'a', b'b', 0xfe, 0xff]);
        let run = (letter.clone(), 0..20_usize).prop_map(|(byte, n)| vec![byte; n]);
        (run, prop::collection::vec(letter, 0..12)).prop_map(|(run, rest)| [run, rest].concat())
    }

    fn check(ranks: &Ranks, a: &[u8], b: &[u8]) {
        let (x, y) = (ranks.of(a), ranks.of(b));
        assert!(x == y || (x < y) == (a < b), "{a:x?} {b:x?} with {ranks:x?}");
    }

    proptest! {
        #[test]
        fn ranks_agree_with_keys(stem in key(), keys in prop::collection::vec(key(), 1..12), tail: Vec<u8>) {
            let with_stem = [&stem[..], &tail].concat();
            let mut keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            keys.extend([&with_stem[..], &stem, &stem[..stem.len() / 2], &tail, b"", &[0xff; 24]]);
            for ranks in [Ranks::with_stem(&stem), Ranks::with_stem(&with_stem), Ranks::default()] {
                keys.iter().for_each(|a| keys.iter().for_each(|b| check(&ranks, a, b)));
            }
            keys.sort_unstable();
            let learned = Ranks::learn(&keys);
            keys.iter().for_each(|a| keys.iter().for_each(|b| check(&learned, a, b)));
        }
    }

    fn learned(keys: &[String]) -> Ranks {
        let mut keys: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
        keys.sort_unstable();
        Ranks::learn(&keys)
    }

    #[test]
    fn what_all_keys_begin_with_is_left_out() {
        let keys: Vec<String> = (0..500).map(|n| format!("key:{:012}", n * 1_999)).collect();
        let ranks = learned(&keys);
        assert_eq!(ranks, Ranks::with_stem(b"key:000000"));
        let mut all: Vec<u64> = (0..1_000_000).map(|n| ranks.of(format!("key:{n:012}").as_bytes())).collect();
        all.dedup();
        assert_eq!(all.len(), 1_000_000, "every key has its own rank");
        assert_eq!(Ranks::learn(&[]), Ranks::default());
        assert_eq!(Ranks::learn(&[b"", b"a"]), Ranks::default());
        assert_eq!(learned(&vec!["same".into(); 9]), Ranks::default());
    }

    #[test]
    fn a_few_other_keys_do_not_spoil_it() {
        let mut keys: Vec<String> = (0..50).map(|n| format!("\x01key:{:012}", n * 19_999)).collect();
        keys.extend((0..14).map(|n| format!("\x03{n:8}")));
        assert_eq!(learned(&keys), Ranks::with_stem(b"\x01key:000000"));
        // Two kinds, half and half: the ones that ranks without a stem cannot tell apart have it.
        keys.extend((14..50).map(|n| format!("\x03{:07}", n * 1_000)));
        assert_eq!(learned(&keys), Ranks::with_stem(b"\x01key:000000"));
    }
}
