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
//! This module is pure: bytes in, bytes out.

use crate::aead::Tag;
use crate::anchor::Head;
use crate::seal::Sealer;
use crate::verified::Verified;
use ringfort_base::codec::DecodeError;
use ringfort_base::world::Entropy;
use ringfort_base::{Epoch, FileNo, Incarnation, KeyspaceId, Lineage, Result, StoreId, Untrusted};

/// Which log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum LogKind {
    /// Commits.
    Wal = 1,
    /// Edits of the set of files.
    Manifest = 2,
}

/// The clear first bytes of a segment. Every field is bound into the segment's keys and
/// associated data, so a false one makes the first record fail.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// Which log.
    pub kind: LogKind,
    /// Which store.
    pub store: StoreId,
    /// Which history.
    pub lineage: Lineage,
    /// The file's number.
    pub segment: FileNo,
    /// The life that wrote it.
    pub incarnation: Incarnation,
    /// The epoch of its keys.
    pub epoch: Epoch,
    /// Fresh for every segment (R13).
    pub salt: [u8; 32],
    /// The head that its first record continues from.
    pub continues: Head,
}

impl SegmentHeader {
    /// Length of the encoding, bytes.
    pub const BYTES: usize = 4 + 2 + 1 + 1 + 16 + 16 + 8 + 8 + 4 + 32 + 8 + 16;

    /// The clear bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        todo!()
    }

    /// Parses the front of a segment. What it says is a *claim* until its first record opened,
    /// which is why the result is for choosing a file only.
    pub fn claimed(_bytes: &Untrusted<Vec<u8>>) -> Result<Self, DecodeError> {
        todo!()
    }
}

/// Draws a salt that mixes entropy with incarnation and a random id (R13).
pub fn draw_salt(_entropy: &dyn Entropy, _incarnation: Incarnation) -> Result<[u8; 32]> {
    todo!()
}

/// Seals records in order. One per segment; never re-created for the same segment.
pub struct ChainWriter {
    _inner: (),
}

impl ChainWriter {
    /// Starts the chain of a new segment.
    #[must_use]
    pub fn new(_header: &SegmentHeader) -> Self {
        todo!()
    }

    /// Starts a record in `out`: reserves the frame and writes `position`. The caller appends the
    /// payload to `out` and calls [`ChainWriter::finish`] with what this returned.
    pub fn begin(&self, _out: &mut Vec<u8>, _position: u64) -> usize {
        todo!()
    }

    /// Seals the record in place. The index is consumed whatever happens afterwards (R13).
    /// Returns the head that the record makes. Fails when the segment is full of records or the
    /// entropy source fails; then the writer must be abandoned.
    pub fn finish(
        &mut self,
        _out: &mut Vec<u8>,
        _start: usize,
        _domain: KeyspaceId,
        _last: bool,
        _sealer: &Sealer,
        _entropy: &dyn Entropy,
    ) -> Result<Head> {
        todo!()
    }

    /// The head that the next record continues from.
    #[must_use]
    pub fn head(&self) -> Head {
        todo!()
    }
}

/// A record that verified.
pub struct Record {
    /// Byte offset of its frame in the segment.
    pub offset: u64,
    /// Byte offset behind it.
    pub end: u64,
    /// Its key domain.
    pub domain: KeyspaceId,
    /// Whether it completes its group.
    pub last: bool,
    /// The head that it makes.
    pub head: Head,
    /// What it says.
    pub payload: Verified<Vec<u8>>,
}

/// Why a segment yields no further record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndReason {
    /// Zeros: space that was reserved and not written.
    Zeros,
    /// The bytes end exactly behind a record, or inside a frame.
    Short,
    /// A record whose seal or frame does not verify: torn, or altered. The anchor decides which.
    BadSeal,
    /// A record of a key domain that nobody knows.
    UnknownDomain(KeyspaceId),
}

/// Reads the records of one segment, front to back, in memory.
pub struct ChainReader {
    _inner: (),
}

impl ChainReader {
    /// Reads `segment` (the whole file), which must begin with exactly `header`, the caller having
    /// derived the keys from it.
    #[must_use]
    pub fn new(_segment: Untrusted<Vec<u8>>, _header: &SegmentHeader) -> Self {
        todo!()
    }

    /// The next record that verifies, or why there is none and at which byte offset. `sealer`
    /// gives the sealer of a key domain. After an end the reader keeps answering that end.
    #[allow(clippy::type_complexity)]
    pub fn next<'s>(
        &mut self,
        _sealer: &mut dyn FnMut(KeyspaceId) -> Option<&'s Sealer>,
    ) -> Result<Record, (EndReason, u64)> {
        todo!()
    }

    /// The head behind the last record that verified.
    #[must_use]
    pub fn head(&self) -> Head {
        todo!()
    }
}

#[allow(dead_code)]
fn unused(_: Tag) {}
