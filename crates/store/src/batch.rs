//! [`WriteBatch`]: operations that become visible, durable and fresh together, across keyspaces.
//!
//! A batch is one buffer in the log's own encoding of operations (`wal::record`), so that an
//! operation is copied once into the batch, once with all others of its batch into the log's buffer,
//! and once into the memtable; none of them allocates.
//!
//! ```text
//! bytes: │ op │ op │ op │ op │ op │        op := kind u8 | body
//! spans: └─ keyspace 1 ─┘└─ 2 ────┘        consecutive operations of one keyspace
//! ```
//!
//! Buffers go back to their thread when a batch is dropped, and the next batch takes them from there:
//! a thread that writes small batches allocates nothing.

use crate::engine::lsm::blob::stored::{Place, Stored};
use crate::engine::lsm::blob::{LoneValue, StoredValue};
use ringfort_base::codec::{DecodeError, Reader, Write};
use ringfort_base::limits::{
    BATCH_BYTES_MAX, BATCH_VALUE_BYTES_MAX, KEY_BYTES_MAX, KEYSPACES_MAX, PREPARED_NAME_BYTES_MAX,
    VALUE_BYTES_MAX,
};
use ringfort_base::{Error, KeyspaceId, Result};
use std::cell::Cell;
use std::sync::Arc;

const DELETE: u8 = 0;
const PUT: u8 = 1;
const RANGE_DELETE: u8 = 2;
const MERGE: u8 = 3;
const PUT_STORED: u8 = 5;
const COUNT: u8 = 16;
const PART: u8 = 32;
const PREPARE: u8 = 33;
const DECIDE: u8 = 34;

/// What a prepared transaction does in one keyspace takes at most this, encoded, bytes: with it the offsets of
/// a group that is replayed stay below 4 GiB.
pub(crate) const PART_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX;

/// Larger buffers are freed rather than kept for the next batch.
const KEPT_BYTES_MAX: usize = 64 << 10;

thread_local! {
    /// The buffer of a batch that this thread dropped.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// One operation, as it stands in a batch or in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op<'a> {
    /// Sets a key.
    Put { key: &'a [u8], value: &'a [u8] },
    /// Sets a key to a value that lies in a file of its own; `lone` is a [`LoneValue`].
    PutStored { key: &'a [u8], lone: &'a [u8] },
    /// Removes a key.
    Delete { key: &'a [u8] },
    /// Removes all keys in `from..to`.
    DeleteRange { from: &'a [u8], to: &'a [u8] },
    /// Changes a key's value by the keyspace's merge operator.
    Merge { key: &'a [u8], operand: &'a [u8] },
    /// Adds to the keyspace's maintained count (what DBSIZE answers). Not an entry: it is kept in
    /// the log and, at a flush, in the MANIFEST.
    Count { delta: i64 },
    /// What a prepared transaction is going to do in this keyspace, and what it has read there
    /// ([`crate::txn::prepared`]). It changes nothing.
    Part { ops: &'a [u8], reads: &'a [u8] },
    /// A transaction of this name is prepared; the next `parts` numbers are its parts.
    Prepare { name: &'a [u8], time_ms: u64, parts: u64 },
    /// It is decided. If it commits, its operations stand in the same group.
    Decide { name: &'a [u8], commit: bool },
}

impl<'a> Op<'a> {
    fn encode(self, out: &mut Vec<u8>) {
        match self {
            Self::Put { key, value } => encode_pair(out, PUT, key, value),
            Self::Merge { key, operand } => encode_pair(out, MERGE, key, operand),
            Self::PutStored { key, lone } => encode_pair(out, PUT_STORED, key, lone),
            Self::Delete { key } => {
                out.put_u8(DELETE);
                out.put_bytes(key);
            }
            Self::DeleteRange { from, to } => {
                out.put_u8(RANGE_DELETE);
                out.put_bytes(from);
                out.put_bytes(to);
            }
            Self::Count { delta } => {
                out.put_u8(COUNT);
                out.put_varint(((delta << 1) ^ (delta >> 63)) as u64);
            }
            Self::Part { ops, reads } => encode_pair(out, PART, ops, reads),
            Self::Prepare { name, time_ms, parts } => {
                out.put_u8(PREPARE);
                out.put_bytes(name);
                out.put_varint(time_ms);
                out.put_varint(parts);
            }
            Self::Decide { name, commit } => {
                out.put_u8(DECIDE);
                out.put_bytes(name);
                out.put_u8(u8::from(commit));
            }
        }
    }

    /// Decodes the body of an operation of this kind.
    #[inline]
    pub(crate) fn decode(kind: u8, r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match kind {
            PUT => Self::Put { key: r.bytes(KEY_BYTES_MAX)?, value: r.bytes(BATCH_VALUE_BYTES_MAX)? },
            MERGE => Self::Merge { key: r.bytes(KEY_BYTES_MAX)?, operand: r.bytes(BATCH_VALUE_BYTES_MAX)? },
            PUT_STORED => {
                let (key, lone) = (r.bytes(KEY_BYTES_MAX)?, r.bytes(LoneValue::ENCODED_BYTES_MAX)?);
                LoneValue::decode(lone)?;
                Self::PutStored { key, lone }
            }
            DELETE => Self::Delete { key: r.bytes(KEY_BYTES_MAX)? },
            RANGE_DELETE => Self::DeleteRange { from: r.bytes(KEY_BYTES_MAX)?, to: r.bytes(KEY_BYTES_MAX)? },
            COUNT => {
                let z = r.varint()?;
                Self::Count { delta: (z >> 1) as i64 ^ -((z & 1) as i64) }
            }
            PART => Self::Part { ops: r.bytes(PART_BYTES_MAX)?, reads: r.bytes(PART_BYTES_MAX)? },
            PREPARE => {
                let name = r.bytes(PREPARED_NAME_BYTES_MAX)?;
                let (time_ms, parts) = (r.varint()?, r.varint()?);
                if name.is_empty() || parts > KEYSPACES_MAX as u64 {
                    return Err(DecodeError::Limit);
                }
                Self::Prepare { name, time_ms, parts }
            }
            DECIDE => {
                let name = r.bytes(PREPARED_NAME_BYTES_MAX)?;
                let commit = match r.u8()? {
                    0 => false,
                    1 => true,
                    other => return Err(DecodeError::Variant(other)),
                };
                Self::Decide { name, commit }
            }
            other => return Err(DecodeError::Variant(other)),
        })
    }
}

fn encode_pair(out: &mut Vec<u8>, kind: u8, key: &[u8], value: &[u8]) {
    out.reserve(key.len() + value.len() + 1 + 2 * 5);
    out.put_u8(kind);
    out.put_bytes(key);
    out.put_bytes(value);
}

/// Consecutive operations of one keyspace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct SpanEnd {
    keyspace: KeyspaceId,
    ops: usize,
    /// Where its bytes end; they begin where those of the span before do.
    end: usize,
}

const NO_SPAN: SpanEnd = SpanEnd { keyspace: KeyspaceId::SYSTEM, ops: 0, end: 0 };

/// As [`SpanEnd`], with its bytes. Each operation consumes one sequence number, in order.
#[derive(Clone, Copy)]
pub(crate) struct Span<'a> {
    pub(crate) keyspace: KeyspaceId,
    pub(crate) ops: usize,
    /// At least one operation, encoded.
    pub(crate) bytes: &'a [u8],
}

impl<'a> Span<'a> {
    /// Its operations. Errors cannot be: the batch encoded them within the limits.
    pub(crate) fn iter(self) -> impl Iterator<Item = Result<Op<'a>, DecodeError>> {
        let mut reader = Reader::new(self.bytes);
        (0..self.ops).map(move |_| {
            let kind = reader.u8()?;
            Op::decode(kind, &mut reader)
        })
    }
}

/// An atomic batch of operations.
#[derive(Debug)]
pub struct WriteBatch {
    bytes: Vec<u8>,
    /// All spans but the last, so that a batch of one keyspace has none here.
    before: Vec<SpanEnd>,
    last: SpanEnd,
    ops: usize,
    payload_bytes: usize,
    /// Longest key and value; what is too long is refused when the batch is submitted.
    key_len_max: usize,
    value_len_max: usize,
    merges: bool,
    /// The values that lie in files of their own.
    stored: Vec<Arc<Stored>>,
}

impl WriteBatch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bytes: SPARE.try_with(Cell::take).unwrap_or_default(),
            before: Vec::new(),
            last: NO_SPAN,
            ops: 0,
            payload_bytes: 0,
            key_len_max: 0,
            value_len_max: 0,
            merges: false,
            stored: Vec::new(),
        }
    }

    /// Sets a key.
    pub fn put(&mut self, keyspace: KeyspaceId, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let (key, value) = (key.as_ref(), value.as_ref());
        self.note(key.len(), value.len());
        self.push(keyspace, Op::Put { key, value });
    }

    /// Sets a key to a value that was written by the piece
    /// ([`Store::value_writer`](crate::Store::value_writer)). Of a batch and its copies only one can be
    /// submitted then.
    pub fn put_stored(&mut self, keyspace: KeyspaceId, key: impl AsRef<[u8]>, value: StoredValue) {
        let stored = match value.0 {
            Place::Memory(bytes) => return self.put(keyspace, key, bytes),
            Place::File(stored) => stored,
        };
        let (key, mut lone) = (key.as_ref(), Vec::new());
        stored.value().encode(&mut lone);
        self.note(key.len(), lone.len());
        self.push(keyspace, Op::PutStored { key, lone: &lone });
        self.stored.push(stored);
    }

    /// Changes a key's value by the keyspace's merge operator.
    pub fn merge(&mut self, keyspace: KeyspaceId, key: impl AsRef<[u8]>, operand: impl AsRef<[u8]>) {
        let (key, operand) = (key.as_ref(), operand.as_ref());
        self.note(key.len(), operand.len());
        self.merges = true;
        self.push(keyspace, Op::Merge { key, operand });
    }

    /// Removes a key.
    pub fn delete(&mut self, keyspace: KeyspaceId, key: impl AsRef<[u8]>) {
        let key = key.as_ref();
        self.note(key.len(), 0);
        self.push(keyspace, Op::Delete { key });
    }

    /// Removes all keys in `from..to`.
    pub fn delete_range(&mut self, keyspace: KeyspaceId, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) {
        let (from, to) = (from.as_ref(), to.as_ref());
        self.note(from.len(), 0);
        self.note(to.len(), 0);
        self.push(keyspace, Op::DeleteRange { from, to });
    }

    /// Adds to the keyspace's maintained count.
    pub fn count(&mut self, keyspace: KeyspaceId, delta: i64) {
        if delta != 0 {
            self.push(keyspace, Op::Count { delta });
        }
    }

    /// Takes a position and changes nothing.
    pub(crate) fn mark(&mut self, keyspace: KeyspaceId) {
        self.push(keyspace, Op::Count { delta: 0 });
    }

    /// What a prepared transaction is going to do in a keyspace, and what it has read there.
    pub(crate) fn part(&mut self, keyspace: KeyspaceId, ops: &[u8], reads: &[u8]) {
        self.push(keyspace, Op::Part { ops, reads });
    }

    /// A transaction is prepared; its parts follow.
    pub(crate) fn prepare(&mut self, name: &[u8], time_ms: u64, parts: u64) {
        self.push(KeyspaceId::SYSTEM, Op::Prepare { name, time_ms, parts });
    }

    /// A prepared transaction is decided; if it commits, this batch holds what it does.
    pub(crate) fn decide(&mut self, name: &[u8], commit: bool) {
        self.push(KeyspaceId::SYSTEM, Op::Decide { name, commit });
    }

    /// Appends operations as they stood in a [`WriteBatch::part`].
    pub(crate) fn append_part(&mut self, keyspace: KeyspaceId, ops: &[u8]) -> Result<(), DecodeError> {
        let mut reader = Reader::new(ops);
        while !reader.is_empty() {
            let kind = reader.u8()?;
            match Op::decode(kind, &mut reader)? {
                Op::Put { key, value } => self.put(keyspace, key, value),
                Op::Merge { key, operand } => self.merge(keyspace, key, operand),
                Op::Delete { key } => self.delete(keyspace, key),
                Op::DeleteRange { from, to } => self.delete_range(keyspace, from, to),
                Op::Count { delta } => self.count(keyspace, delta),
                Op::PutStored { .. } | Op::Part { .. } | Op::Prepare { .. } | Op::Decide { .. } => {
                    return Err(DecodeError::Variant(kind));
                }
            }
        }
        Ok(())
    }

    /// Its operations in one keyspace, encoded, in their order.
    pub(crate) fn encoded_in(&self, keyspace: KeyspaceId) -> Vec<u8> {
        let spans = self.spans().filter(|span| span.keyspace == keyspace);
        spans.flat_map(|span| span.bytes).copied().collect()
    }

    /// Appends the operations of `other`.
    pub fn append(&mut self, other: Self) {
        self.append_spans(&other);
    }

    fn append_spans(&mut self, other: &Self) {
        let base = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        for span in other.span_ends() {
            self.extend_span(span.keyspace, span.ops, base + span.end);
        }
        self.payload_bytes += other.payload_bytes;
        self.key_len_max = self.key_len_max.max(other.key_len_max);
        self.value_len_max = self.value_len_max.max(other.value_len_max);
        self.merges |= other.merges;
        self.stored.extend(other.stored.iter().cloned());
    }

    fn note(&mut self, key_len: usize, value_len: usize) {
        self.payload_bytes += key_len + value_len;
        self.key_len_max = self.key_len_max.max(key_len);
        self.value_len_max = self.value_len_max.max(value_len);
    }

    #[inline]
    fn push(&mut self, keyspace: KeyspaceId, op: Op<'_>) {
        op.encode(&mut self.bytes);
        self.extend_span(keyspace, 1, self.bytes.len());
    }

    fn extend_span(&mut self, keyspace: KeyspaceId, ops: usize, end: usize) {
        self.ops += ops;
        if self.last.keyspace != keyspace && self.last.ops > 0 {
            self.before.push(std::mem::replace(&mut self.last, NO_SPAN));
        }
        self.last = SpanEnd { keyspace, ops: self.last.ops + ops, end };
    }

    fn span_ends(&self) -> impl Iterator<Item = SpanEnd> {
        let last = (self.last.ops > 0).then_some(self.last);
        self.before.iter().copied().chain(last)
    }

    /// Its spans in order.
    pub(crate) fn spans(&self) -> impl Iterator<Item = Span<'_>> {
        let mut start = 0;
        self.span_ends().map(move |SpanEnd { keyspace, ops, end }| {
            let bytes = &self.bytes[std::mem::replace(&mut start, end)..end];
            Span { keyspace, ops, bytes }
        })
    }

    /// The keyspace, if all operations are of one.
    #[inline]
    pub(crate) fn single_keyspace(&self) -> Option<KeyspaceId> {
        (self.before.is_empty() && self.ops > 0).then_some(self.last.keyspace)
    }

    /// All operations, encoded.
    #[inline]
    pub(crate) fn encoded(&self) -> &[u8] {
        &self.bytes
    }

    /// The spans that hold a merge.
    pub(crate) fn merge_spans(&self) -> impl Iterator<Item = Span<'_>> {
        let is_merge = |op| matches!(op, Ok(Op::Merge { .. }));
        let spans = if self.merges { Some(self.spans()) } else { None };
        spans.into_iter().flatten().filter(move |span| span.iter().any(is_merge))
    }

    /// The values that lie in files of their own.
    pub(crate) fn stored(&self) -> &[Arc<Stored>] {
        &self.stored
    }

    /// How many operations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops == 0
    }

    /// Bytes of keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.payload_bytes
    }

    /// Refuses keys and values above their limits.
    pub(crate) fn check_lengths(&self) -> Result<()> {
        check_lengths(self.key_len_max, self.value_len_max)
    }
}

/// Refuses a key or a value above its limit.
pub(crate) fn check_lengths(key: usize, value: usize) -> Result<()> {
    if key > KEY_BYTES_MAX {
        return Err(Error::invalid(format!("a key of {key} bytes: at most {KEY_BYTES_MAX} are allowed")));
    }
    if value > BATCH_VALUE_BYTES_MAX {
        return Err(Error::invalid(format!(
            "a value of {value} bytes: at most {BATCH_VALUE_BYTES_MAX} are allowed in a batch; longer ones, up to \
             {VALUE_BYTES_MAX}, are written by the piece (value_writer, put_from)"
        )));
    }
    Ok(())
}

impl Default for WriteBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for WriteBatch {
    fn clone(&self) -> Self {
        let mut copy = Self::new();
        copy.append_spans(self);
        copy
    }
}

impl PartialEq for WriteBatch {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes && self.span_ends().eq(other.span_ends())
    }
}

impl Eq for WriteBatch {}

impl Drop for WriteBatch {
    fn drop(&mut self) {
        if (1..=KEPT_BYTES_MAX).contains(&self.bytes.capacity()) {
            let mut bytes = std::mem::take(&mut self.bytes);
            bytes.clear();
            // A thread that ends has no place for it any more: then it is freed.
            let _ = SPARE.try_with(|spare| spare.set(bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(batch: &WriteBatch) -> Vec<(KeyspaceId, Op<'_>)> {
        let ops = batch.spans().flat_map(|span| span.iter().map(move |op| (span.keyspace, op.unwrap())));
        ops.collect()
    }

    #[test]
    fn operations_come_back_in_order_with_their_keyspaces() {
        let (a, b) = (KeyspaceId(1), KeyspaceId(2));
        let mut batch = WriteBatch::new();
        assert!(batch.is_empty() && read(&batch).is_empty() && batch.single_keyspace().is_none());
        batch.put(a, b"k", [7; 300]);
        batch.delete(a, b"");
        assert_eq!(batch.single_keyspace(), Some(a));
        batch.count(a, 0);
        batch.count(b, i64::MIN);
        batch.delete_range(b, "from", "to");
        let mut tail = WriteBatch::new();
        tail.count(b, -1);
        tail.put(a, "x", "");
        batch.append(tail);
        let expected = [
            (a, Op::Put { key: b"k", value: &[7; 300] }),
            (a, Op::Delete { key: b"" }),
            (b, Op::Count { delta: i64::MIN }),
            (b, Op::DeleteRange { from: b"from", to: b"to" }),
            (b, Op::Count { delta: -1 }),
            (a, Op::Put { key: b"x", value: b"" }),
        ];
        assert_eq!(read(&batch), expected);
        assert_eq!(batch.spans().map(|span| span.ops).collect::<Vec<_>>(), [2, 3, 1]);
        assert_eq!((batch.len(), batch.bytes()), (6, 1 + 300 + 6 + 1));
        assert_eq!(batch.single_keyspace(), None);
        assert_eq!(batch.clone(), batch);
        assert_eq!(read(&batch.clone()), expected);
    }

    #[test]
    fn a_batch_appended_to_an_empty_one_is_itself() {
        let mut batch = WriteBatch::new();
        batch.put(KeyspaceId(3), "k", "v");
        let mut empty = WriteBatch::new();
        empty.append(batch.clone());
        empty.append(WriteBatch::new());
        assert_eq!(empty, batch);
        assert_ne!(empty, WriteBatch::new());
    }

    #[test]
    fn a_dropped_batch_leaves_its_buffer_and_nothing_else() {
        let mut batch = WriteBatch::new();
        batch.put(KeyspaceId(1), "k", [1; 1000]);
        let at = batch.bytes.as_ptr();
        drop(batch);
        let mut batch = WriteBatch::new();
        assert!(batch.is_empty() && batch.encoded().is_empty());
        batch.put(KeyspaceId(1), "k", [2; 900]);
        assert_eq!(batch.bytes.as_ptr(), at, "no allocation");
        let mut large = WriteBatch::new();
        large.put(KeyspaceId(1), "k", vec![0; KEPT_BYTES_MAX]);
        drop(large);
        assert_eq!(WriteBatch::new().bytes.capacity(), 0, "a large buffer is not kept");
    }

    #[test]
    fn what_is_too_long_is_found() {
        let mut batch = WriteBatch::new();
        batch.put(KeyspaceId(1), vec![0; KEY_BYTES_MAX], "v");
        batch.check_lengths().unwrap();
        batch.delete_range(KeyspaceId(1), "a", vec![0; KEY_BYTES_MAX + 1]);
        assert!(batch.check_lengths().is_err());
        let mut batch = WriteBatch::new();
        batch.put(KeyspaceId(1), "k", vec![0; BATCH_VALUE_BYTES_MAX + 1]);
        assert!(batch.check_lengths().is_err());
    }
}
