//! [`KeyRange`]: the ranges of Rust as ranges of keys.

use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// What a scan covers. Implemented for Rust's ranges over anything that is bytes:
///
/// ```
/// use ringfort::KeyRange;
///
/// assert_eq!(("a".."b").bounds(), (b"a".to_vec(), Some(b"b".to_vec())));
/// assert_eq!(("a"..="b").bounds(), (b"a".to_vec(), Some(b"b\0".to_vec())));
/// assert_eq!((..).bounds(), (vec![], None));
/// ```
pub trait KeyRange {
    /// The first key, and the first key beyond (`None`: to the end).
    fn bounds(&self) -> (Vec<u8>, Option<Vec<u8>>);
}

impl KeyRange for RangeFull {
    fn bounds(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        (Vec::new(), None)
    }
}

impl<K: AsRef<[u8]>> KeyRange for Range<K> {
    fn bounds(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        (self.start.as_ref().to_vec(), Some(self.end.as_ref().to_vec()))
    }
}

impl<K: AsRef<[u8]>> KeyRange for RangeFrom<K> {
    fn bounds(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        (self.start.as_ref().to_vec(), None)
    }
}

impl<K: AsRef<[u8]>> KeyRange for RangeTo<K> {
    fn bounds(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        (Vec::new(), Some(self.end.as_ref().to_vec()))
    }
}

impl<K: AsRef<[u8]>> KeyRange for RangeInclusive<K> {
    fn bounds(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        (self.start().as_ref().to_vec(), Some(just_after(self.end().as_ref())))
    }
}

impl<K: AsRef<[u8]>> KeyRange for RangeToInclusive<K> {
    fn bounds(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        (Vec::new(), Some(just_after(self.end.as_ref())))
    }
}

/// The smallest key above `key`.
fn just_after(key: &[u8]) -> Vec<u8> {
    let mut after = key.to_vec();
    after.push(0);
    after
}

/// The keys that begin with `prefix`.
pub(crate) fn of_prefix(prefix: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    // The first key beyond: the last byte that can grow, grown; what follows it, cut off.
    let end = prefix.iter().rposition(|byte| *byte < u8::MAX).map(|at| {
        let mut end = prefix[..=at].to_vec();
        end[at] += 1;
        end
    });
    (prefix.to_vec(), end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_no_key_with_it_can_follow() {
        assert_eq!(of_prefix(b"ab"), (b"ab".to_vec(), Some(b"ac".to_vec())));
        assert_eq!(of_prefix(b"a\xff\xff"), (b"a\xff\xff".to_vec(), Some(b"b".to_vec())));
        assert_eq!(of_prefix(b"\xff"), (b"\xff".to_vec(), None));
        assert_eq!(of_prefix(b""), (Vec::new(), None));
    }

    #[test]
    fn inclusive_ends_include_exactly_the_end() {
        let (_, end) = (..=b"k".to_vec()).bounds();
        let end = end.unwrap();
        assert!(b"k".to_vec() < end && end <= b"k\0".to_vec());
        assert_eq!((..b"k".to_vec()).bounds().1, Some(b"k".to_vec()));
        assert_eq!((b"k".to_vec()..).bounds(), (b"k".to_vec(), None));
    }
}
