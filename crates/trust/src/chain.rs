//! # The sealed chained log: the bytes of WAL segments and MANIFEST files
//!
//! A *segment* is a clear header and records. Each record is sealed under a key derived from the
//! segment's fresh salt and header, and its associated data carries the tag of the record before
//! it (the first one: the tag that the header continues from). So order, gaps, splices and
//! truncation inside are caught by the chain; truncation of the tail, by the anchor.
//!
//! ```text
//! segment := header record* (zeros | torn end)
//! header  := magic "RFLG" | version u16 | kind u8 | 0 u8 | store id 16 | lineage 16 | segment u64
//!          | incarnation u64 | epoch u32 | salt 32 | continues: position u64, tag 16     (little-endian)
//! record  := len u32 | index u32 | random u64 | domain u32 | flags u8 | ciphertext (len) | tag 16
//! plain   := position u64 | payload
//! nonce   := index u32 | random u64                                                          (R13)
//! aad     := sha256(header) | tag before | len | index | random | domain | flags
//! ```
//! `len` counts the plaintext and is at least 8; a frame whose `len` is 0 is the end. `domain` is
//! the keyspace whose key seals the record (R15), 0 for the system. Flag bit 0: the last record of
//! its group (a group is applied when its last record verifies); other bits are 0.
//!
//! `len` is at most `RECORD_BYTES_MAX + 64`; `index` counts up from 0. A header that differs from the
//! one that the keys were derived from, a frame out of these bounds and a tag that does not verify are
//! one and the same to a reader: [`EndReason::BadSeal`]. Whether that is a torn end or an attack, the
//! anchor decides (R3).
//!
//! This module is pure: bytes in, bytes out.

mod header;
mod reader;

pub use header::{LogKind, SegmentHeader, draw_salt};
pub use reader::{Ahead, ChainReader, EndReason, Record};

use crate::aead::{NONCE_BYTES, Tag};
use crate::anchor::{Head, sha256};
use crate::defence::{self, Defence};
use crate::seal::Sealer;
use ringfort_base::codec::{DecodeError, Reader, Write};
use ringfort_base::limits::{RECORD_BYTES_MAX, SEGMENT_RECORDS_MAX, TAG_BYTES};
use ringfort_base::world::Entropy;
use ringfort_base::{Error, ErrorKind, KeyspaceId, Result};

/// Bytes of a record in front of its ciphertext.
const FRAME_BYTES: usize = 4 + 4 + 8 + 4 + 1;
const POSITION_BYTES: usize = 8;
/// Largest `len`: a full record and room for the store's own few bytes around it.
const PLAIN_BYTES_MAX: usize = RECORD_BYTES_MAX + 64;
const AAD_BYTES: usize = 32 + TAG_BYTES + FRAME_BYTES;
const FLAG_LAST: u8 = 1;

/// The clear fields in front of a record's ciphertext.
#[derive(Clone, Copy)]
struct Frame {
    len: u32,
    index: u32,
    random: [u8; 8],
    domain: u32,
    flags: u8,
}

impl Frame {
    fn encode(self) -> [u8; FRAME_BYTES] {
        let mut out = [0; FRAME_BYTES];
        out[..4].copy_from_slice(&self.len.to_le_bytes());
        out[4..8].copy_from_slice(&self.index.to_le_bytes());
        out[8..16].copy_from_slice(&self.random);
        out[16..20].copy_from_slice(&self.domain.to_le_bytes());
        out[20] = self.flags;
        out
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            len: from.u32()?,
            index: from.u32()?,
            random: from.array()?,
            domain: from.u32()?,
            flags: from.u8()?,
        })
    }

    fn nonce(self) -> [u8; NONCE_BYTES] {
        let mut nonce = [0; NONCE_BYTES];
        nonce[..4].copy_from_slice(&self.index.to_le_bytes());
        nonce[4..].copy_from_slice(&self.random);
        nonce
    }

    /// What binds a record to its segment, to the record before it and to its own frame.
    fn aad(self, header_hash: &[u8; 32], before: Tag) -> [u8; AAD_BYTES] {
        let before = if defence::on(Defence::ChainPrevious) { before } else { Tag::default() };
        let mut aad = [0; AAD_BYTES];
        aad[..32].copy_from_slice(header_hash);
        aad[32..48].copy_from_slice(&before.0);
        aad[48..].copy_from_slice(&self.encode());
        aad
    }
}

/// Seals records in order. One per segment; never re-created for the same segment.
pub struct ChainWriter {
    header_hash: [u8; 32],
    head: Head,
    /// The index of the next record.
    index: u32,
    /// A failure behind which nothing more may be sealed.
    broken: bool,
}

impl ChainWriter {
    /// Starts the chain of a new segment.
    #[must_use]
    pub fn new(header: &SegmentHeader) -> Self {
        Self { header_hash: sha256(&[&header.encode()]), head: header.continues, index: 0, broken: false }
    }

    /// Starts a record in `out`: reserves the frame and writes `position`. The caller appends the
    /// payload to `out` and calls [`ChainWriter::finish`] with what this returned.
    pub fn begin(&self, out: &mut Vec<u8>, position: u64) -> usize {
        let start = out.len();
        out.extend_from_slice(&[0; FRAME_BYTES]);
        out.put_u64(position);
        start
    }

    /// Seals the record in place. The index is consumed whatever happens afterwards (R13).
    /// Returns the head that the record makes. Fails when the segment is full of records or the
    /// entropy source fails; then the writer must be abandoned (it refuses every further record), and
    /// `out` ends where the record began, so that no plaintext is left to be written.
    pub fn finish(
        &mut self,
        out: &mut Vec<u8>,
        start: usize,
        domain: KeyspaceId,
        last: bool,
        sealer: &Sealer,
        entropy: &dyn Entropy,
    ) -> Result<Head> {
        let sealed = self.seal(out, start, domain, last, sealer, entropy);
        if sealed.is_err() {
            self.broken = true;
            out.truncate(start);
        }
        sealed
    }

    fn seal(
        &mut self,
        out: &mut Vec<u8>,
        start: usize,
        domain: KeyspaceId,
        last: bool,
        sealer: &Sealer,
        entropy: &dyn Entropy,
    ) -> Result<Head> {
        if self.broken {
            return Err(Error::new(
                ErrorKind::Stopped,
                "this log segment was abandoned after a failed record",
            ));
        }
        let body = start + FRAME_BYTES;
        let len = out.len().checked_sub(body).filter(|len| (POSITION_BYTES..=PLAIN_BYTES_MAX).contains(len));
        let Some(len) = len else {
            let message =
                format!("a log record of {} bytes is out of bounds", out.len().saturating_sub(body));
            return Err(Error::new(ErrorKind::Internal, message));
        };
        if self.index >= SEGMENT_RECORDS_MAX {
            return Err(Error::new(
                ErrorKind::Exhausted,
                "the log segment is full of records: start another",
            ));
        }
        let index = self.index;
        self.index += 1;
        let random = entropy
            .fresh()
            .map_err(|error| Error::io("draw random bits from", "the entropy source", &error))?;

        let flags = if last { FLAG_LAST } else { 0 };
        let frame = Frame { len: len as u32, index, random, domain: domain.0, flags };
        out[start..body].copy_from_slice(&frame.encode());
        let position = Reader::new(&out[body..]).u64().expect("len is at least that of a position");
        let aad = frame.aad(&self.header_hash, self.head.tag);
        let tag = sealer.seal(frame.nonce(), &aad, out, body);
        self.head = Head { position, tag };
        Ok(self.head)
    }

    /// The head that the next record continues from.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }
}

#[cfg(test)]
mod tests;
