//! A verified, structurally checked block, and the search inside it.

use super::{Content, ENDING_BYTES, RESTART_BYTES};
use crate::engine::lsm::blob::BlobPointer;
use crate::engine::lsm::cache::{Cached, Heat};
use crate::engine::lsm::key::{Kind, Trailer, cmp_internal, common_prefix};
use crate::engine::lsm::table::format::{BlockHandle, PartitionHandles, Plain};
use ringfort_base::Seq;
use ringfort_base::codec::{DecodeError, Reader, read_varint};
use ringfort_base::limits::{BATCH_VALUE_BYTES_MAX, KEY_BYTES_MAX};
use std::cmp::Ordering;
use std::ops::Range;

/// One block in memory.
///
/// # Invariants (proven by [`Block::parse`], relied on by all readers)
/// 1. Entries fill the bytes before `entries_end` exactly, their values those from there to the
///    restart array; each decodes, and its kind and value are what the content demands.
/// 2. Entries ascend strictly in internal order; keys and values are within their limits.
/// 3. Restart offsets ascend from 0 and are starts of entries with `shared == 0`, each with the
///    offset of its value.
///    In indexes every entry is one.
/// 4. Elsewhere `shared` is the length of the longest common prefix with the key before.
pub struct Block {
    bytes: Vec<u8>,
    entries_end: usize,
    restarts_at: usize,
    restarts: usize,
    heat: Heat,
}

impl Cached for Block {
    fn memory_bytes(&self) -> usize {
        Self::memory_bytes(self)
    }

    fn heat(&self) -> &Heat {
        &self.heat
    }

    fn into_buffer(self) -> Option<Vec<u8>> {
        Some(self.bytes)
    }
}

/// Where an entry's parts lie.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) shared: usize,
    /// Where the unshared part of the key begins; the trailer follows it and ends the entry.
    pub(super) key_at: usize,
    pub(super) end: usize,
    pub(super) value_len: usize,
}

/// The start of an entry and of its value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) entry: usize,
    pub(super) value: usize,
}

impl Spot {
    /// Behind an entry that starts here.
    #[inline]
    pub(super) const fn after(self, entry: &Entry) -> Self {
        Self { entry: entry.end, value: self.value + entry.value_len }
    }
}

/// An entry that a search found, by place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its trailer.
    pub(crate) trailer: Trailer,
    /// Its value, as a range of [`Block::bytes`].
    pub(crate) value: Range<usize>,
    /// Whether its user key is the one that was asked for.
    pub(crate) same_key: bool,
}

impl Block {
    /// Takes a block out of its opened bytes and checks its structure, once.
    ///
    /// # Errors
    /// [`DecodeError`] if any invariant does not hold.
    pub fn parse(plain: Plain, content: Content) -> Result<Self, DecodeError> {
        Self::from_plain(plain.into_bytes(), content)
    }

    pub(in crate::engine::lsm) fn from_plain(bytes: Vec<u8>, content: Content) -> Result<Self, DecodeError> {
        let (rest, ending) = bytes.split_last_chunk::<ENDING_BYTES>().ok_or(DecodeError::Short)?;
        let mut ending = Reader::new(ending);
        let (entries_end, restarts) = (ending.u32()? as usize, ending.u32()? as usize);
        let array = restarts.checked_mul(RESTART_BYTES).ok_or(DecodeError::Limit)?;
        let restarts_at = rest.len().checked_sub(array).ok_or(DecodeError::Short)?;
        if entries_end > restarts_at {
            return Err(DecodeError::Short);
        }
        let block = Self { bytes, entries_end, restarts_at, restarts, heat: Heat::new(Heat::COLD) };
        block.check(content)?;
        Ok(block)
    }

    /// Gives all entries, which carry sequence number 0, this one.
    ///
    /// # Errors
    /// [`DecodeError`] if one carries another.
    pub(in crate::engine::lsm) fn stamped(mut self, seq: Seq) -> Result<Self, DecodeError> {
        let mut at = self.first();
        while at.entry < self.entries_end {
            let entry = self.entry(at.entry).ok_or(DecodeError::Short)?;
            let trailer = self.trailer(&entry);
            if trailer.seq() != Seq::ZERO {
                return Err(DecodeError::Meaning("an entry of a loaded table has a sequence number"));
            }
            let stamped = Trailer::new(seq, trailer.kind()?);
            self.bytes[entry.end - Trailer::BYTES..entry.end].copy_from_slice(&stamped.0.to_le_bytes());
            at = at.after(&entry);
        }
        Ok(self)
    }

    fn check(&self, content: Content) -> Result<(), DecodeError> {
        let mut last_key: Vec<u8> = Vec::new();
        let mut last_trailer = Trailer::FIRST;
        let mut restart = 0;
        let mut at = self.first();
        while at.entry < self.entries_end {
            let entry = self.entry(at.entry).ok_or(DecodeError::Short)?;
            let (delta, trailer) = (self.delta(&entry), self.trailer(&entry));
            let at_restart = restart < self.restarts && self.restart(restart).entry == at.entry;
            if at_restart {
                if self.restart(restart) != at {
                    return Err(DecodeError::Meaning("a restart point has another value"));
                }
                restart += 1;
            }
            let must_restart = matches!(content, Content::Index | Content::TopIndex);
            if must_restart && !at_restart {
                return Err(DecodeError::Meaning("an index has an entry that is no restart point"));
            }
            if entry.shared > last_key.len() || (at_restart && entry.shared != 0) || restart == 0 {
                return Err(DecodeError::Meaning("a block's restart points are not where they must be"));
            }
            let first = at == self.first();
            if !first && !follows(&last_key, last_trailer, &entry, delta, trailer, at_restart) {
                return Err(DecodeError::Meaning("a block's entries are out of order"));
            }
            last_key.truncate(entry.shared);
            last_key.extend_from_slice(delta);
            last_trailer = trailer;
            let end = at.after(&entry);
            let value = self.bytes[..self.restarts_at].get(at.value..end.value).ok_or(DecodeError::Short)?;
            check_entry(content, &last_key, trailer, value)?;
            at = end;
        }
        if restart != self.restarts || at.value != self.restarts_at {
            return Err(DecodeError::Meaning("a block has more restart points or values than entries"));
        }
        Ok(())
    }

    /// All bytes, which [`Found::value`] is a range of.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Looks at where a search begins so that the processor fetches it.
    #[inline]
    pub(crate) fn touch(&self) {
        std::hint::black_box((self.bytes.first(), self.bytes.last()));
    }

    /// Memory that it takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + size_of::<Self>()
    }

    /// Whether it has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries_end == 0
    }

    /// Where entries end.
    #[inline]
    pub(super) fn entries_end(&self) -> usize {
        self.entries_end
    }

    /// How many restart points there are.
    #[inline]
    pub(in crate::engine::lsm::table) fn restarts(&self) -> usize {
        self.restarts
    }

    /// Where the first entry and its value start.
    #[inline]
    pub(super) const fn first(&self) -> Spot {
        Spot { entry: 0, value: self.entries_end }
    }

    /// A restart point; behind all entries if there is no such.
    #[inline]
    pub(super) fn restart(&self, index: usize) -> Spot {
        let at = self.restarts_at + RESTART_BYTES * index;
        let word = self.bytes.get(at..).and_then(|rest| rest.first_chunk()).copied();
        let word = word.map_or(u64::MAX, u64::from_le_bytes);
        Spot { entry: word as u32 as usize, value: self.entries_end + (word >> 32) as usize }
    }

    /// Key, trailer and value of the entry at a restart point; empty if there is no such.
    #[inline]
    pub(in crate::engine::lsm::table) fn whole_entry(&self, index: usize) -> (&[u8], Trailer, &[u8]) {
        let at = self.restart(index);
        let Some(entry) = self.entry(at.entry) else { return (&[], Trailer::LAST, &[]) };
        (self.delta(&entry), self.trailer(&entry), &self.bytes[at.value..at.value + entry.value_len])
    }

    /// The entry at an offset; `None` if there is none, or (before the check) if it is broken.
    #[inline]
    pub(super) fn entry(&self, at: usize) -> Option<Entry> {
        let bytes = &self.bytes[..self.entries_end];
        let rest = bytes.get(at..)?;
        let (shared, unshared, value_len, header) = match rest {
            [a, b, c, ..] if (a | b | c) & 0x80 == 0 => (*a as usize, *b as usize, *c as usize, 3),
            _ => long_header(rest)?,
        };
        let key_at = at + header;
        let end = key_at.checked_add(unshared)?.checked_add(Trailer::BYTES)?;
        (end <= bytes.len()).then_some(Entry { shared, key_at, end, value_len })
    }

    #[inline]
    pub(super) fn delta(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.key_at..entry.end - Trailer::BYTES]
    }

    #[inline]
    pub(super) fn trailer(&self, entry: &Entry) -> Trailer {
        let bytes = self.bytes[entry.end - Trailer::BYTES..entry.end].first_chunk();
        Trailer(bytes.map_or(0, |b| u64::from_le_bytes(*b)))
    }

    /// The last restart point whose entry is before the target; the first one if none is.
    #[inline]
    fn restart_before(&self, key: &[u8], trailer: Trailer) -> usize {
        let (mut low, mut high) = (0, self.restarts);
        // Invariant: restarts below `low` are before the target, those from `high` on are not.
        while low < high {
            let middle = low.midpoint(high);
            let before = self.entry(self.restart(middle).entry).is_some_and(|entry| {
                cmp_internal((self.delta(&entry), self.trailer(&entry)), (key, trailer)) == Ordering::Less
            });
            if before {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.saturating_sub(1)
    }

    /// Where a scan for the target starts.
    #[inline]
    pub(super) fn start_before(&self, key: &[u8], trailer: Trailer) -> Spot {
        if self.restarts == 0 { self.first() } else { self.restart(self.restart_before(key, trailer)) }
    }

    /// The first entry at or behind an internal key. Allocates nothing and builds no key: while
    /// scanning it knows `matched`, how many bytes the entry before has in common with the target
    /// (whose key is greater). An entry that shares more than that with its predecessor is below
    /// the target as well; one that shares less is above it; only one that shares exactly as much
    /// must be compared, from that byte on (invariant 4).
    #[inline]
    pub(crate) fn seek_entry(&self, key: &[u8], trailer: Trailer) -> Option<Found> {
        let mut at = self.start_before(key, trailer);
        let mut matched = 0;
        while let Some(entry) = self.entry(at.entry) {
            let mut same_key = false;
            let order = if entry.shared > matched {
                Ordering::Less
            } else if entry.shared < matched && entry.shared != 0 {
                Ordering::Greater
            } else {
                let (delta, rest) = (self.delta(&entry), &key[entry.shared..]);
                let common = common_prefix(delta, rest);
                matched = entry.shared + common;
                match (delta.get(common), rest.get(common)) {
                    (None, None) => {
                        same_key = true;
                        trailer.cmp(&self.trailer(&entry))
                    }
                    (a, b) => a.cmp(&b),
                }
            };
            if order != Ordering::Less {
                let value = at.value..at.value + entry.value_len;
                return Some(Found { trailer: self.trailer(&entry), value, same_key });
            }
            at = at.after(&entry);
        }
        None
    }
}

/// A header with a number above 127.
#[cold]
fn long_header(rest: &[u8]) -> Option<(usize, usize, usize, usize)> {
    let mut at = 0;
    let mut number = || {
        let (value, used) = read_varint(rest.get(at..)?).ok()?;
        at += used;
        u32::try_from(value).ok().map(|v| v as usize)
    };
    let (shared, unshared, value) = (number()?, number()?, number()?);
    Some((shared, unshared, value, at))
}

/// Whether an entry is strictly behind the one before it (invariants 2 and 4).
fn follows(
    last_key: &[u8],
    last: Trailer,
    entry: &Entry,
    delta: &[u8],
    trailer: Trailer,
    restart: bool,
) -> bool {
    if restart {
        return cmp_internal((last_key, last), (delta, trailer)) == Ordering::Less;
    }
    match (last_key.get(entry.shared), delta.first()) {
        (None, None) => trailer < last, // The same key: newest first.
        (None, Some(_)) => true,        // It extends the key before.
        (Some(_), None) => false,       // It is a prefix of the key before.
        (Some(before), Some(now)) => before < now,
    }
}

fn check_entry(content: Content, key: &[u8], trailer: Trailer, value: &[u8]) -> Result<(), DecodeError> {
    let kind = trailer.kind()?;
    if key.len() > KEY_BYTES_MAX {
        return Err(DecodeError::Limit);
    }
    match (content, kind) {
        (Content::Data, Kind::Put | Kind::Merge) if value.len() > BATCH_VALUE_BYTES_MAX => {
            Err(DecodeError::Limit)
        }
        (Content::Data, Kind::Put | Kind::Merge) => Ok(()),
        (Content::Data, Kind::Delete) if value.is_empty() => Ok(()),
        (Content::Data, Kind::ValuePointer) => BlobPointer::decode(value).map(drop),
        (Content::Tombstones, Kind::RangeDelete) if value.len() <= KEY_BYTES_MAX && key < value => Ok(()),
        (Content::Index, Kind::Put | Kind::Delete | Kind::Merge | Kind::ValuePointer) => {
            let mut reader = Reader::new(value);
            BlockHandle::decode(&mut reader)?;
            reader.finish()
        }
        (Content::TopIndex, Kind::Put | Kind::Delete | Kind::Merge | Kind::ValuePointer) => {
            PartitionHandles::decode(value).map(drop)
        }
        _ => Err(DecodeError::Meaning("an entry does not belong into its block")),
    }
}
