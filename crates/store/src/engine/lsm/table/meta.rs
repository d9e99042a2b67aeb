//! [`TableMeta`]: what the MANIFEST knows of a table, and everything that opening it hangs on.
//!
//! ```text
//! meta := version u8 (1) | file varint | file bytes varint | protection u8 | key 32
//!       | footer handle | footer tag 16 | flags u8 | smallest bytes | largest bytes
//!       | smallest seq varint | largest seq varint
//!       | entries varint | deletes varint | range tombstones varint | epoch u32
//!       | [count varint | use*]            value files (blob/format.rs), if the flags say so
//! ```

use super::format::BlockHandle;
use crate::engine::lsm::blob::BlobUse;
use crate::engine::lsm::blob::format::{decode_uses, encode_uses};
use ringfort_base::codec::{DecodeError, Reader, Write};
use ringfort_base::limits::{KEY_BYTES_MAX, SEQ_MAX};
use ringfort_base::{Epoch, FileNo, Seq};
use ringfort_trust::keys::Secret;
use ringfort_trust::{Protection, Tag};

const VERSION: u8 = 1;
const PARTITIONED: u8 = 1;
const LARGEST_EXCLUDED: u8 = 2;
const LOADED: u8 = 4;
const HAS_VALUES: u8 = 8;

/// A table's record in the MANIFEST. It holds the table's key: it is written sealed, never shown.
#[derive(Clone, PartialEq)]
pub struct TableMeta {
    /// The file.
    pub file: FileNo,
    /// Its length.
    pub file_bytes: u64,
    /// How its blocks are protected (R16).
    pub protection: Protection,
    /// The table's own random key.
    pub key: Secret<32>,
    /// Where the footer lies: the end of the file.
    pub footer: BlockHandle,
    /// The footer's tag.
    pub footer_tag: Tag,
    /// The smallest user key, of entries and range tombstones.
    pub smallest: Vec<u8>,
    /// The largest user key; if a range tombstone reaches furthest, its end, which is then
    /// excluded ([`TableMeta::largest_excluded`]).
    pub largest: Vec<u8>,
    /// Whether `largest` itself is outside.
    pub largest_excluded: bool,
    /// The lowest sequence number, tombstones included.
    pub smallest_seq: Seq,
    /// The highest sequence number, tombstones included.
    pub largest_seq: Seq,
    /// Point entries.
    pub entries: u64,
    /// Deletions among them.
    pub deletes: u64,
    /// Range tombstones (one per fragment and sequence number).
    pub range_tombstones: u64,
    /// Whether the index is partitioned.
    pub partitioned: bool,
    /// The key epoch in which the table was written (R14).
    pub epoch: Epoch,
    /// Written by a bulk load, before its position was known: entries carry sequence number 0 in the
    /// file, and all of them are as of `largest_seq`.
    pub loaded: bool,
    /// The value files that its entries point into, by number, and how much of each.
    pub values: Vec<BlobUse>,
}

impl TableMeta {
    /// The record of a table whose entries, all of them puts with sequence number 0, are as of `seq`.
    #[must_use]
    pub fn into_loaded(self, seq: Seq) -> Self {
        Self { loaded: true, smallest_seq: seq, largest_seq: seq, ..self }
    }

    /// Whether an entry or range tombstone of the table may concern `key`.
    #[inline]
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.smallest.as_slice() <= key && !self.is_before(key)
    }

    /// Whether everything in the table is before `key`.
    #[inline]
    #[must_use]
    pub fn is_before(&self, key: &[u8]) -> bool {
        if self.largest_excluded { self.largest.as_slice() <= key } else { self.largest.as_slice() < key }
    }

    /// Whether the table may concern a key of `from..to` (`None`: no end).
    #[must_use]
    pub fn overlaps(&self, from: &[u8], to: Option<&[u8]>) -> bool {
        !self.is_before(from) && to.is_none_or(|to| self.smallest.as_slice() < to)
    }

    /// Whether everything in this table is before everything in `other`, as neighbours on one
    /// level must be.
    #[must_use]
    pub fn is_before_table(&self, other: &Self) -> bool {
        self.is_before(&other.smallest)
    }

    /// How many of its entries are pointers.
    fn value_count(&self) -> u64 {
        self.values.iter().fold(0, |sum, used| sum.saturating_add(used.values))
    }

    /// Bytes of the values that it points to.
    #[must_use]
    pub fn value_bytes(&self) -> u64 {
        self.values.iter().fold(0, |sum, used| sum.saturating_add(used.bytes))
    }

    /// Appends the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(VERSION);
        out.put_varint(self.file.0);
        out.put_varint(self.file_bytes);
        out.put_u8(self.protection.code());
        out.put(self.key.expose_for_sealing());
        self.footer.encode(out);
        out.put(&self.footer_tag.0);
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        out.put_u8(
            flag(self.partitioned, PARTITIONED)
                | flag(self.largest_excluded, LARGEST_EXCLUDED)
                | flag(self.loaded, LOADED)
                | flag(!self.values.is_empty(), HAS_VALUES),
        );
        out.put_bytes(&self.smallest);
        out.put_bytes(&self.largest);
        for number in
            [self.smallest_seq.0, self.largest_seq.0, self.entries, self.deletes, self.range_tombstones]
        {
            out.put_varint(number);
        }
        out.put_u32(self.epoch.0);
        if !self.values.is_empty() {
            encode_uses(out, &self.values);
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`DecodeError`] if it is none or contradicts itself.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = r.u8()?;
        if version != VERSION {
            return Err(DecodeError::Variant(version));
        }
        let file = FileNo(r.varint()?);
        let file_bytes = r.varint()?;
        let code = r.u8()?;
        let protection = Protection::from_code(code).ok_or(DecodeError::Variant(code))?;
        let key = Secret::from_verified(r.array()?);
        let footer = BlockHandle::decode(r)?;
        let footer_tag = Tag(r.array()?);
        let flags = r.u8()?;
        if flags & !(PARTITIONED | LARGEST_EXCLUDED | LOADED | HAS_VALUES) != 0 {
            return Err(DecodeError::Variant(flags));
        }
        let meta = Self {
            file,
            file_bytes,
            protection,
            key,
            footer,
            footer_tag,
            partitioned: flags & PARTITIONED != 0,
            largest_excluded: flags & LARGEST_EXCLUDED != 0,
            smallest: r.bytes(KEY_BYTES_MAX)?.to_vec(),
            largest: r.bytes(KEY_BYTES_MAX)?.to_vec(),
            smallest_seq: Seq(r.varint()?),
            largest_seq: Seq(r.varint()?),
            entries: r.varint()?,
            deletes: r.varint()?,
            range_tombstones: r.varint()?,
            epoch: Epoch(r.u32()?),
            loaded: flags & LOADED != 0,
            values: if flags & HAS_VALUES == 0 { Vec::new() } else { decode_uses(r)? },
        };
        meta.validate().map(|()| meta).map_err(DecodeError::Meaning)
    }

    fn validate(&self) -> Result<(), &'static str> {
        if self.footer.end() != self.file_bytes {
            return Err("a table's footer is not at its end");
        }
        if self.smallest > self.largest || (self.largest_excluded && self.smallest == self.largest) {
            return Err("a table's key range is reversed");
        }
        if self.smallest_seq > self.largest_seq || self.largest_seq.0 > SEQ_MAX {
            return Err("a table's sequence numbers are reversed");
        }
        if self.value_count() > self.entries - self.deletes.min(self.entries) {
            return Err("a table points to more values than it has entries");
        }
        if self.deletes > self.entries || (self.entries == 0 && self.range_tombstones == 0) {
            return Err("a table's counts contradict each other");
        }
        let only_puts = self.deletes == 0 && self.range_tombstones == 0;
        if self.loaded && !(only_puts && self.smallest_seq == self.largest_seq) {
            return Err("a loaded table holds puts of one sequence number");
        }
        Ok(())
    }
}
