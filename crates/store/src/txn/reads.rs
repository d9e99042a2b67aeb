//! [`ReadSet`]: what an optimistic transaction has read, in bounded memory.
//!
//! Keys stand one behind the other in one buffer. Beyond so many of them they are remembered as ranges over
//! neighbours, and beyond so many ranges those are joined with theirs. What was read stays covered
//! always; what was not read may become covered too, and then costs false conflicts.

use super::locks::{Key, with_keyspace};
use super::overlay::split;
use ringfort_base::KeyspaceId;

/// Keys that are remembered one by one, and what they may take.
const KEYS_MAX: usize = 1 << 16;
const KEY_BYTES_MAX: usize = 16 << 20;
/// So many neighbours become one range then.
const KEYS_PER_RANGE: usize = 64;
/// Ranges of one keyspace that are remembered one by one.
const RANGES_MAX: usize = 1 << 12;

/// See the module.
#[derive(Default)]
pub(super) struct ReadSet {
    names: Vec<u8>,
    /// Where each name ends.
    ends: Vec<u32>,
    ranges: Vec<(Key, Key)>,
}

impl ReadSet {
    /// Notes that a key was read.
    pub(super) fn note(&mut self, keyspace: KeyspaceId, key: &[u8]) {
        self.names.reserve(4 + key.len());
        self.names.extend_from_slice(&keyspace.0.to_be_bytes());
        self.names.extend_from_slice(key);
        self.ends.push(self.names.len() as u32);
        if self.ends.len() > KEYS_MAX || self.names.len() > KEY_BYTES_MAX {
            self.condense();
        }
    }

    /// Notes that a range was looked at. A scan comes here piece by piece.
    pub(super) fn note_range(&mut self, from: Key, to: Key) {
        match self.ranges.last_mut() {
            Some(last) if last.1 == from && is_of_one(&last.0, &from) => last.1 = to,
            Some(last) if last.0 == to && is_of_one(&last.0, &from) => last.0 = from,
            _ => self.ranges.push((from, to)),
        }
        self.join_ranges();
    }

    /// The names of the keys, in order, each once.
    pub(super) fn keys(&self) -> Vec<&[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().map(|end| *end as usize));
        let mut keys: Vec<&[u8]> =
            begins.zip(&self.ends).map(|(begin, end)| &self.names[begin..*end as usize]).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    pub(super) fn ranges(&self) -> &[(Key, Key)] {
        &self.ranges
    }

    /// Each key once, if that makes them few again; else as ranges.
    fn condense(&mut self) {
        let keys = self.keys();
        let bytes: usize = keys.iter().map(|key| key.len()).sum();
        if keys.len() <= KEYS_MAX / 2 && bytes <= KEY_BYTES_MAX / 2 {
            let (mut names, mut ends) = (Vec::with_capacity(bytes), Vec::with_capacity(keys.len()));
            for key in keys {
                names.extend_from_slice(key);
                ends.push(names.len() as u32);
            }
            (self.names, self.ends) = (names, ends);
            return;
        }
        let runs = keys.chunk_by(|a, b| is_of_one(a, b)).flat_map(|run| run.chunks(KEYS_PER_RANGE));
        let ranges: Vec<(Key, Key)> = runs.map(|run| (run[0].into(), behind(run[run.len() - 1]))).collect();
        self.ranges.extend(ranges);
        self.names.clear();
        self.ends.clear();
        self.join_ranges();
    }

    /// Makes ranges fewer when they are too many: those that touch become one, then neighbours of a keyspace.
    fn join_ranges(&mut self) {
        if self.ranges.len() <= RANGES_MAX {
            return;
        }
        self.ranges.sort_unstable();
        let mut per_range = 1;
        loop {
            let ranges = std::mem::take(&mut self.ranges);
            for chunk in ranges.chunk_by(|a, b| is_of_one(&a.0, &b.0)) {
                chunk.chunks(per_range).for_each(|near| self.push_joined(near));
            }
            per_range = 2;
            let keyspaces = self.ranges.chunk_by(|a, b| is_of_one(&a.0, &b.0)).count();
            if self.ranges.len() <= (RANGES_MAX / 2).max(keyspaces) {
                return;
            }
        }
    }

    /// Adds one range over all of `near`, which are sorted and begin behind those that are here.
    fn push_joined(&mut self, near: &[(Key, Key)]) {
        let Some((first, _)) = near.first() else { return };
        let Some(to) = near.iter().map(|(_, to)| to).max() else { return };
        match self.ranges.last_mut() {
            Some(last) if last.1 >= *first && is_of_one(&last.0, first) => {
                last.1 = last.1.clone().max(to.clone())
            }
            _ => self.ranges.push((first.clone(), to.clone())),
        }
    }
}

/// Whether two names are of one keyspace.
fn is_of_one(a: &[u8], b: &[u8]) -> bool {
    split(a).0 == split(b).0
}

/// The first name behind this one.
pub(super) fn behind(name: &[u8]) -> Key {
    [name, &[0][..]].concat().into()
}

/// Where a range of a keyspace ends, as a name.
pub(super) fn end_of(keyspace: KeyspaceId, to: Option<&[u8]>) -> Key {
    match to {
        Some(to) => with_keyspace(keyspace, to),
        None => with_keyspace(keyspace.next(), &[]),
    }
}

/// A range without its keyspace; one that ends with the keyspace has no end.
pub(super) fn keys_of(range: &(Key, Key)) -> (&[u8], Option<&[u8]>) {
    let ((keyspace, from), (end_in, to)) = (split(&range.0), split(&range.1));
    (from, (keyspace == end_in).then_some(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A million keys and ranges of some keyspaces: little is kept, nothing is forgotten, and what lies in another
    /// keyspace is never covered.
    #[test]
    fn what_was_read_stays_covered_in_bounded_memory() {
        let mut reads = ReadSet::default();
        let key = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        for n in 0..400_000u64 {
            reads.note(KeyspaceId(7 + (n % 2) as u32), &key(n));
            if n % 8 == 0 {
                let from = with_keyspace(KeyspaceId(9), &key(n));
                reads.note_range(from.clone(), behind(&from));
            }
            assert!(reads.ends.len() <= KEYS_MAX && reads.ranges.len() <= RANGES_MAX);
        }
        let keys = reads.keys();
        let covers = |keyspace, key: &[u8]| {
            let name = with_keyspace(KeyspaceId(keyspace), key);
            keys.binary_search(&&*name).is_ok()
                || reads.ranges().iter().any(|(from, to)| **from <= *name && *name < **to)
        };
        assert!((0..400_000).step_by(977).all(|n| covers(7 + (n % 2) as u32, &key(n))));
        assert!((0..400_000).step_by(8 * 501).all(|n| covers(9, &key(n))));
        assert!(!(0..1000).any(|n| covers(10, &key(n)) || covers(6, &key(n))));
        assert!(reads.ranges().iter().all(|(from, to)| is_of_one(from, to)));
    }

    #[test]
    fn the_same_key_again_and_again_stays_one_key() {
        let mut reads = ReadSet::default();
        for n in 0..300_000u32 {
            reads.note(KeyspaceId(1), &(n % 10).to_be_bytes());
        }
        assert_eq!((reads.keys().len(), reads.ranges().len()), (10, 0));
    }

    #[test]
    fn the_pieces_of_a_scan_are_one_range() {
        let mut reads = ReadSet::default();
        let at = |n: u8| with_keyspace(KeyspaceId(1), &[n]);
        for n in 0..100 {
            reads.note_range(at(n), at(n + 1));
        }
        for n in (100..200).rev() {
            reads.note_range(at(n), at(n + 1));
        }
        assert_eq!(reads.ranges(), [(at(0), at(100)), (at(100), at(200))]);
    }

    /// The end of a keyspace is the beginning of the next.
    #[test]
    fn ranges_of_two_keyspaces_do_not_become_one() {
        let mut reads = ReadSet::default();
        let whole = |n| (with_keyspace(KeyspaceId(n), &[]), end_of(KeyspaceId(n), None));
        for _ in 0..=RANGES_MAX {
            for n in [1, 2] {
                let (from, to) = whole(n);
                reads.note_range(from, to);
            }
        }
        assert!(reads.ranges().iter().all(|range| *range == whole(1) || *range == whole(2)));
        assert!(reads.ranges().len() <= RANGES_MAX);
    }
}
