//! What a WAL record says.
//!
//! ```text
//! payload   := 1 | ops                       start of a keyspace's run
//!            | 2 | ops                       continuation: bytes that follow on those before
//!            | 3 | claim
//! ops       := time_ms varint | first_seq varint | op*          (the run's pieces joined)
//! op        := seq offset varint | kind u8 | body
//! body      := key bytes                     kind 0 delete
//!            | key bytes | value bytes       kind 1 put
//!            | from bytes | to bytes         kind 2 range delete
//!            | delta zigzag varint           kind 16 count
//! claim     := time_ms varint | incarnation u64 | claim id 16 | continues: position u64, tag 16
//! bytes     := length varint | that many bytes
//! ```
//! Kinds 3 (merge), 4 (single delete), 5 (value pointer) are reserved, as in tables.

use crate::batch::Op;
use ringfort_base::codec::{DecodeError, Reader, Write, varint_len};
use ringfort_base::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use ringfort_base::{Incarnation, KeyspaceId, Seq};
use ringfort_trust::{Head, Tag};

pub(crate) const OPS_START: u8 = 1;
pub(crate) const OPS_CONTINUED: u8 = 2;
pub(crate) const CLAIM: u8 = 3;

const DELETE: u8 = 0;
const PUT: u8 = 1;
const RANGE_DELETE: u8 = 2;
const COUNT: u8 = 16;

/// The beginning of a run: what stands before its first op.
pub(crate) fn encode_run_header(out: &mut Vec<u8>, time_ms: u64, first: Seq) {
    out.put_varint(time_ms);
    out.put_varint(first.0);
}

/// One operation at `offset` sequence numbers behind the run's first.
pub(crate) fn encode_op(out: &mut Vec<u8>, offset: u64, op: &Op) {
    out.put_varint(offset);
    match op {
        Op::Put { key, value, .. } => {
            out.put_u8(PUT);
            out.put_bytes(key);
            out.put_bytes(value);
        }
        Op::Delete { key, .. } => {
            out.put_u8(DELETE);
            out.put_bytes(key);
        }
        Op::DeleteRange { from, to, .. } => {
            out.put_u8(RANGE_DELETE);
            out.put_bytes(from);
            out.put_bytes(to);
        }
        Op::Count { delta, .. } => {
            out.put_u8(COUNT);
            out.put_varint(((delta << 1) ^ (delta >> 63)) as u64);
        }
    }
}

/// An upper bound of [`encode_op`]'s length.
pub(crate) fn op_len_max(op: &Op) -> usize {
    let body = match op {
        Op::Put { key, value, .. } => key.len() + value.len(),
        Op::Delete { key, .. } => key.len(),
        Op::DeleteRange { from, to, .. } => from.len() + to.len(),
        Op::Count { .. } => varint_len(u64::MAX),
    };
    body + 11 + 2 * 5
}

/// A decoded operation, borrowing from its run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OpRef<'a> {
    Put { key: &'a [u8], value: &'a [u8] },
    Delete { key: &'a [u8] },
    DeleteRange { from: &'a [u8], to: &'a [u8] },
    Count { delta: i64 },
}

/// Decodes the joined pieces of a run.
pub(crate) struct RunReader<'a> {
    reader: Reader<'a>,
    first: Seq,
    /// The time that the group was logged with (R20).
    pub(crate) time_ms: u64,
}

impl<'a> RunReader<'a> {
    pub(crate) fn new(run: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(run);
        let time_ms = reader.varint()?;
        let first = Seq(reader.varint()?);
        Ok(Self { reader, first, time_ms })
    }

    /// The next operation with its sequence number.
    pub(crate) fn next(&mut self) -> Result<Option<(Seq, OpRef<'a>)>, DecodeError> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        let r = &mut self.reader;
        let seq = self.first.0.checked_add(r.varint()?).filter(|s| *s <= ringfort_base::limits::SEQ_MAX);
        let seq = Seq(seq.ok_or(DecodeError::Limit)?);
        let op = match r.u8()? {
            PUT => OpRef::Put { key: r.bytes(KEY_BYTES_MAX)?, value: r.bytes(VALUE_BYTES_MAX)? },
            DELETE => OpRef::Delete { key: r.bytes(KEY_BYTES_MAX)? },
            RANGE_DELETE => OpRef::DeleteRange { from: r.bytes(KEY_BYTES_MAX)?, to: r.bytes(KEY_BYTES_MAX)? },
            COUNT => {
                let z = r.varint()?;
                OpRef::Count { delta: (z >> 1) as i64 ^ -((z & 1) as i64) }
            }
            other => return Err(DecodeError::Variant(other)),
        };
        Ok(Some((seq, op)))
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

    #[test]
    fn a_run_round_trips() {
        let ks = KeyspaceId(1);
        let ops = [
            Op::Put { keyspace: ks, key: b"k".to_vec(), value: vec![7; 300] },
            Op::Delete { keyspace: ks, key: vec![] },
            Op::DeleteRange { keyspace: ks, from: b"a".to_vec(), to: b"b".to_vec() },
            Op::Count { keyspace: ks, delta: i64::MIN },
            Op::Count { keyspace: ks, delta: -1 },
        ];
        let mut run = Vec::new();
        encode_run_header(&mut run, 1234, Seq(50));
        for (i, op) in ops.iter().enumerate() {
            let before = run.len();
            encode_op(&mut run, i as u64 * 2, op);
            assert!(run.len() - before <= op_len_max(op));
        }
        let mut reader = RunReader::new(&run).unwrap();
        assert_eq!(reader.time_ms, 1234);
        assert_eq!(reader.next(), Ok(Some((Seq(50), OpRef::Put { key: b"k", value: &[7; 300] }))));
        assert_eq!(reader.next(), Ok(Some((Seq(52), OpRef::Delete { key: b"" }))));
        assert_eq!(reader.next(), Ok(Some((Seq(54), OpRef::DeleteRange { from: b"a", to: b"b" }))));
        assert_eq!(reader.next(), Ok(Some((Seq(56), OpRef::Count { delta: i64::MIN }))));
        assert_eq!(reader.next(), Ok(Some((Seq(58), OpRef::Count { delta: -1 }))));
        assert_eq!(reader.next(), Ok(None));
        for cut in 0..run.len() {
            // Every cut is an error or a shorter run, never a panic.
            if let Ok(mut reader) = RunReader::new(&run[..cut]) {
                while let Ok(Some(_)) = reader.next() {}
            }
        }
    }

    #[test]
    fn reserved_kinds_are_refused() {
        for kind in [3, 4, 5, 6, 17, 255] {
            let mut run = Vec::new();
            encode_run_header(&mut run, 0, Seq(1));
            run.extend([0, kind, 0, 0]);
            assert_eq!(RunReader::new(&run).unwrap().next(), Err(DecodeError::Variant(kind)));
        }
    }
}
