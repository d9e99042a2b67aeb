//! What a WAL record says.
//!
//! ```text
//! payload   := 1 | ops                       start of a keyspace's run
//!            | 2 | ops                       continuation: bytes that follow on those before
//!            | 3 | claim
//! ops       := time_ms varint | first_seq varint | op*          (the run's pieces joined)
//! op        := kind u8 | [skip varint, if bit 7 of kind is set] | body
//! body      := key bytes                     kind 0 delete
//!            | key bytes | value bytes       kind 1 put
//!            | from bytes | to bytes         kind 2 range delete
//!            | key bytes | operand bytes     kind 3 merge
//!            | key bytes | lone bytes        kind 5 put of a value in a file of its own: `lone` is the
//!                                            length of the value varint and the file's record, as the
//!                                            MANIFEST would have it (blob/format.rs)
//!            | delta zigzag varint           kind 16 count
//!            | ops bytes | reads bytes       kind 32 part: what a prepared transaction is going to do in this
//!                                            keyspace, in the order of a batch, and what it has read there
//!            | name bytes | time_ms varint | parts varint
//!                                            kind 33 prepare, keyspace 0: the next numbers are its parts
//!            | name bytes | commit u8        kind 34 decide, keyspace 0; what it does, if it commits, stands
//!                                            in the same group as other operations do
//! reads     := (what u8 | bytes | [bytes, if what is 1])*
//!                                            what: 0 a key, 1 a range, 2 a range to the keyspace's end
//! claim     := time_ms varint | incarnation u64 | claim id 16 | continues: position u64, tag 16
//! bytes     := length varint | that many bytes
//! ```
//! A run's first operation has `first_seq`, each further one the next number; `skip` (at least 1) is
//! how many numbers operations of other keyspaces took in between. So the operations of a batch are
//! copied into a run as they stand, but for the first. Kind 4 (single delete) is reserved, as in tables.

use crate::batch::{Op, Span};
use ringfort_base::codec::{DecodeError, Reader, Write};
use ringfort_base::limits::SEQ_MAX;
use ringfort_base::{Incarnation, KeyspaceId, Seq};
use ringfort_trust::{Head, Tag};

pub(crate) const OPS_START: u8 = 1;
pub(crate) const OPS_CONTINUED: u8 = 2;
pub(crate) const CLAIM: u8 = 3;

/// Set in an operation's kind if a `skip` follows it.
const SKIPS: u8 = 0x80;

/// The beginning of a run: what stands before its first op.
pub(crate) fn encode_run_header(out: &mut Vec<u8>, time_ms: u64, first: Seq) {
    out.put_varint(time_ms);
    out.put_varint(first.0);
}

/// The operations of a span, `skip` sequence numbers behind the run's last.
pub(crate) fn encode_span(out: &mut Vec<u8>, skip: u64, span: Span<'_>) {
    match span.bytes.split_first() {
        Some((kind, rest)) if skip > 0 => {
            out.put_u8(kind | SKIPS);
            out.put_varint(skip);
            out.put(rest);
        }
        _ => out.put(span.bytes),
    }
}

/// Decodes the joined pieces of a run.
pub(crate) struct RunReader<'a> {
    reader: Reader<'a>,
    next: u64,
    /// The time that the group was logged with (R20).
    pub(crate) time_ms: u64,
}

impl<'a> RunReader<'a> {
    pub(crate) fn new(run: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(run);
        let time_ms = reader.varint()?;
        let next = reader.varint()?;
        Ok(Self { reader, next, time_ms })
    }

    /// The next operation with its sequence number.
    pub(crate) fn next(&mut self) -> Result<Option<(Seq, Op<'a>)>, DecodeError> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        let kind = self.reader.u8()?;
        let skip = match kind & SKIPS {
            0 => 0,
            _ => match self.reader.varint()? {
                0 => return Err(DecodeError::Meaning("an operation skips nothing")),
                skip => skip,
            },
        };
        let seq = self.next.checked_add(skip).filter(|seq| *seq <= SEQ_MAX).ok_or(DecodeError::Limit)?;
        let op = Op::decode(kind & !SKIPS, &mut self.reader)?;
        self.next = seq + 1;
        Ok(Some((Seq(seq), op)))
    }
}

/// A claim: a life begins (R2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Claim {
    pub(crate) time_ms: u64,
    pub(crate) incarnation: Incarnation,
    pub(crate) id: [u8; 16],
    /// The exact head that the life continues from, its copied tail not counted.
    pub(crate) continues: Head,
}

impl Claim {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(CLAIM);
        out.put_varint(self.time_ms);
        out.put_u64(self.incarnation.0);
        out.put(&self.id);
        out.put_u64(self.continues.position);
        out.put(&self.continues.tag.0);
    }

    /// Decodes what follows the kind byte.
    pub(crate) fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(body);
        let claim = Self {
            time_ms: r.varint()?,
            incarnation: Incarnation(r.u64()?),
            id: r.array()?,
            continues: Head { position: r.u64()?, tag: Tag(r.array()?) },
        };
        r.finish()?;
        Ok(claim)
    }
}

/// One keyspace's part of a group, as bytes that can be cut anywhere.
pub(crate) struct Run {
    pub(crate) keyspace: KeyspaceId,
    pub(crate) bytes: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::WriteBatch;

    #[test]
    fn a_run_round_trips() {
        let ks = KeyspaceId(1);
        let mut batch = WriteBatch::new();
        batch.put(ks, b"k", [7; 300]);
        batch.delete(ks, b"");
        batch.delete_range(ks, b"a", b"b");
        let mut run = Vec::new();
        encode_run_header(&mut run, 1234, Seq(50));
        batch.spans().for_each(|span| encode_span(&mut run, 0, span));
        batch.spans().for_each(|span| encode_span(&mut run, 1, span));
        batch.spans().for_each(|span| encode_span(&mut run, 1000, span));
        let mut reader = RunReader::new(&run).unwrap();
        assert_eq!(reader.time_ms, 1234);
        for first in [50, 54, 1057] {
            assert_eq!(reader.next(), Ok(Some((Seq(first), Op::Put { key: b"k", value: &[7; 300] }))));
            assert_eq!(reader.next(), Ok(Some((Seq(first + 1), Op::Delete { key: b"" }))));
            assert_eq!(reader.next(), Ok(Some((Seq(first + 2), Op::DeleteRange { from: b"a", to: b"b" }))));
        }
        assert_eq!(reader.next(), Ok(None));
        for cut in 0..run.len() {
            // Every cut is an error or a shorter run, never a panic.
            if let Ok(mut reader) = RunReader::new(&run[..cut]) {
                while let Ok(Some(_)) = reader.next() {}
            }
        }
    }

    fn only_op(first: u64, op: &[u8]) -> Result<(), DecodeError> {
        let mut run = Vec::new();
        encode_run_header(&mut run, 0, Seq(first));
        run.extend(op);
        RunReader::new(&run)?.next().map(drop)
    }

    #[test]
    fn reserved_kinds_are_refused() {
        for kind in [4, 6, 17, 31, 35, 127] {
            assert_eq!(only_op(1, &[kind, 0, 0]), Err(DecodeError::Variant(kind)));
            assert_eq!(only_op(1, &[kind | SKIPS, 1, 0, 0]), Err(DecodeError::Variant(kind)));
        }
    }

    #[test]
    fn sequence_numbers_have_one_spelling_and_a_limit() {
        assert_eq!(only_op(1, &[SKIPS, 1, 0]), Ok(()));
        assert!(matches!(only_op(1, &[SKIPS, 0, 0]), Err(DecodeError::Meaning(_))));
        assert_eq!(only_op(SEQ_MAX, &[0, 0]), Ok(()));
        assert_eq!(only_op(SEQ_MAX, &[SKIPS, 1, 0]), Err(DecodeError::Limit));
        assert_eq!(only_op(u64::MAX, &[SKIPS, 1, 0]), Err(DecodeError::Limit));
        assert_eq!(only_op(u64::MAX, &[0, 0]), Err(DecodeError::Limit));
    }
}
