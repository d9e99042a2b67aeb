//! Internal keys: what orders every entry of the engine.
//!
//! An entry's internal key is its user key and its *trailer*, one word that packs the sequence
//! number and the kind:
//!
//! ```text
//!  63                                     8 7      0
//! ┌────────────────────────────────────────┬────────┐
//! │ sequence number (56 bits)              │ kind   │
//! └────────────────────────────────────────┴────────┘
//! ```
//!
//! Order: user key bytewise ascending, then trailer *descending*, so that the newest version of a
//! key comes first. The two parts are always compared apart; a concatenation of them would order
//! `"a" + trailer` against `"ab" + trailer` wrongly.

use ringfort_base::Seq;
use ringfort_base::codec::DecodeError;
use ringfort_base::limits::SEQ_MAX;
use std::cmp::Ordering;

/// What an entry says. The numbers are final: formats store them. 4 (single delete) is reserved;
/// meeting it is a typed error.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// The key is removed.
    Delete = 0,
    /// The key has this value.
    Put = 1,
    /// All keys from the entry's key up to its value are removed. Only in tombstone blocks.
    RangeDelete = 2,
    /// The key's value is what the keyspace's merge operator makes of the older one and this operand.
    Merge = 3,
    /// The key has a value that lies in a value file; the entry holds its
    /// [pointer](super::blob::BlobPointer). In tables, and in a memtable for a value that was written
    /// to its file before it was named.
    ValuePointer = 5,
}

impl Kind {
    /// The kind with this number.
    ///
    /// # Errors
    /// [`DecodeError::Variant`] for a reserved or unknown number.
    #[inline]
    pub const fn from_code(code: u8) -> Result<Self, DecodeError> {
        match code {
            0 => Ok(Self::Delete),
            1 => Ok(Self::Put),
            2 => Ok(Self::RangeDelete),
            3 => Ok(Self::Merge),
            5 => Ok(Self::ValuePointer),
            other => Err(DecodeError::Variant(other)),
        }
    }
}

/// Sequence number and kind in one word; see the module's picture. As a number, a greater trailer
/// is newer; in the order of entries it comes first ([`cmp_internal`]).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Trailer(pub u64);

impl Trailer {
    /// Bytes of a trailer in a block.
    pub const BYTES: usize = 8;

    /// Of an entry.
    #[must_use]
    #[inline]
    pub const fn new(seq: Seq, kind: Kind) -> Self {
        debug_assert!(seq.0 <= SEQ_MAX);
        Self(seq.0 << 8 | kind as u64)
    }

    /// The target that finds, within one user key, the newest entry with a sequence number of at
    /// most `snapshot`.
    #[must_use]
    #[inline]
    pub const fn seek(snapshot: Seq) -> Self {
        let seq = if snapshot.0 > SEQ_MAX { SEQ_MAX } else { snapshot.0 };
        Self(seq << 8 | 0xff)
    }

    /// The target before all versions of a user key.
    pub const FIRST: Self = Self(u64::MAX);

    /// The target behind all versions of a user key.
    pub const LAST: Self = Self(0);

    /// The sequence number.
    #[must_use]
    #[inline]
    pub const fn seq(self) -> Seq {
        Seq(self.0 >> 8)
    }

    /// The kind.
    ///
    /// # Errors
    /// [`DecodeError::Variant`] for a reserved or unknown number.
    #[inline]
    pub const fn kind(self) -> Result<Kind, DecodeError> {
        Kind::from_code(self.0 as u8)
    }

    /// Whether it removes a single key. Reserved kinds never pass a block's check, so that what is
    /// neither this nor [`Trailer::is_merge`] is a value, here or behind a pointer.
    #[must_use]
    #[inline]
    pub const fn is_delete(self) -> bool {
        self.0 as u8 == Kind::Delete as u8
    }

    /// Whether it is an operand of a merge.
    #[must_use]
    #[inline]
    pub const fn is_merge(self) -> bool {
        self.0 as u8 == Kind::Merge as u8
    }

    /// The kind of a point entry that was checked when it came in.
    #[must_use]
    #[inline]
    pub(crate) const fn point_kind(self) -> Kind {
        match self.0 as u8 {
            0 => Kind::Delete,
            3 => Kind::Merge,
            5 => Kind::ValuePointer,
            _ => Kind::Put,
        }
    }

    /// Whether the value lies in a value file.
    #[must_use]
    #[inline]
    pub const fn is_pointer(self) -> bool {
        self.0 as u8 == Kind::ValuePointer as u8
    }
}

/// The order of internal keys.
#[inline]
#[must_use]
pub fn cmp_internal(a: (&[u8], Trailer), b: (&[u8], Trailer)) -> Ordering {
    a.0.cmp(b.0).then_with(|| b.1.cmp(&a.1))
}

/// The first eight bytes of a user key as a number (zeros behind a shorter key). If two prefixes
/// differ, they order their keys; if they are equal, the keys must be compared.
#[inline]
#[must_use]
pub fn key_prefix(user: &[u8]) -> u64 {
    match user.first_chunk::<8>() {
        Some(head) => u64::from_be_bytes(*head),
        None => {
            let mut padded = [0; 8];
            padded[..user.len()].copy_from_slice(user);
            u64::from_be_bytes(padded)
        }
    }
}

/// The length of the longest common prefix of two keys.
#[inline]
#[must_use]
pub fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let max = a.len().min(b.len());
    let mut at = 0;
    while let (Some(x), Some(y)) = (a[at..].first_chunk::<8>(), b[at..].first_chunk::<8>()) {
        let differ = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if differ != 0 {
            return at + differ.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while at < max && a[at] == b[at] {
        at += 1;
    }
    at
}

/// A short key `k` with `low <= k < high`, for index entries; `low` itself if there is none
/// shorter. Needs `low < high`.
pub(crate) fn separator<'a>(low: &'a [u8], high: &[u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let shared = common_prefix(low, high);
    if shared >= low.len() || shared >= high.len() {
        return low; // One is a prefix of the other.
    }
    let byte = low[shared];
    if byte < 0xff && byte + 1 < high[shared] && shared + 1 < low.len() {
        scratch.clear();
        scratch.extend_from_slice(&low[..shared]);
        scratch.push(byte + 1);
        return scratch;
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn newest_first_within_a_key() {
        let t = |seq, kind| Trailer::new(Seq(seq), kind);
        assert_eq!(cmp_internal((b"a", t(9, Kind::Put)), (b"a", t(3, Kind::Put))), Ordering::Less);
        assert_eq!(cmp_internal((b"a", t(1, Kind::Put)), (b"ab", t(9, Kind::Put))), Ordering::Less);
        assert_eq!(cmp_internal((b"a", Trailer::seek(Seq(9))), (b"a", t(9, Kind::Put))), Ordering::Less);
        assert_eq!(cmp_internal((b"a", Trailer::seek(Seq(8))), (b"a", t(9, Kind::Put))), Ordering::Greater);
    }

    #[test]
    fn reserved_kinds_are_refused() {
        for code in (4..=255u8).filter(|code| *code != 5) {
            assert_eq!(Kind::from_code(code), Err(DecodeError::Variant(code)));
        }
        for kind in [Kind::Delete, Kind::Put, Kind::RangeDelete, Kind::Merge, Kind::ValuePointer] {
            assert_eq!(Kind::from_code(kind as u8), Ok(kind));
        }
    }

    proptest! {
        #[test]
        fn prefixes_agree_with_keys(a: Vec<u8>, b: Vec<u8>) {
            match key_prefix(&a).cmp(&key_prefix(&b)) {
                Ordering::Equal => {}
                order => prop_assert_eq!(order, a.cmp(&b)),
            }
        }

        #[test]
        fn common_prefix_is_the_longest(a in prop::collection::vec(0..2u8, 0..40), b in prop::collection::vec(0..2u8, 0..40)) {
            let n = common_prefix(&a, &b);
            prop_assert_eq!(&a[..n], &b[..n]);
            prop_assert!(n == a.len() || n == b.len() || a[n] != b[n]);
        }

        #[test]
        fn separators_separate(a in prop::collection::vec(0..5u8, 0..6), b in prop::collection::vec(0..5u8, 0..6)) {
            prop_assume!(a != b);
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            let mut scratch = Vec::new();
            let s = separator(&low, &high, &mut scratch).to_vec();
            prop_assert!(low <= s && s < high && s.len() <= low.len());
        }
    }
}
