//! Prepared transactions: the half of a distributed commit that a participant keeps.
//!
//! ```text
//!   Transaction ── prepare(name) ──▶ Prepared ─┬─ commit() ──▶ its writes, as of now
//!                     │                        └─ abort()  ──▶ nothing
//!                     │ logged: what it is going to write, what it has read
//!                     └ from here on only a decision ends it: no drop, no crash
//! ```
//!
//! - *A vote.* A participant may vote yes when the record has `durable` or `fresh`: then the transaction is
//!   there after any crash, and can be committed whatever happens here. [`Prepared::ticket`] is what to wait for.
//! - *In doubt until decided.* Dropping the handle decides nothing: [`Store::prepared`](crate::Store::prepared)
//!   lists it, [`Store::resume`](crate::Store::resume) gives a handle again, in this life and in all later ones.
//! - *It keeps all its locks* (R26), those of what it has read as well. They could go at the vote only if no
//!   participant took another lock afterwards, and an optimistic one takes its locks when it is asked to
//!   prepare: somebody else could come between two votes, and see one of them before and one after himself. So
//!   they stay, and stand in the record, so that they are taken again before a recovered store serves.
//! - *Its writes get their positions when it is decided*, and are written into the log a second time then, in
//!   one group with the decision. So a recovery needs no prepared record for anything that is decided, a flush
//!   asks nothing about transactions, and an old record can be carried to the log's head ([`crate::core::prepared`]).
//!
//! Names are the coordinator's; one can be used again when its transaction is decided. A second decision finds
//! nothing (`NotFound`).

use super::gate::Live;
use super::locks::{Key, LockError, Mode, Owner, with_keyspace};
use super::overlay::split;
use super::reads::{end_of, keys_of};
use super::transaction::{Concurrency, Transaction};
use crate::batch::WriteBatch;
use crate::core::Inner;
use crate::store::Ticket;
use ringfort_base::codec::{DecodeError, Reader, Write};
use ringfort_base::limits::{KEY_BYTES_MAX, PREPARED_NAME_BYTES_MAX};
use ringfort_base::{Error, ErrorKind, KeyspaceId, Result, Seq};
use std::collections::BTreeSet;
use std::sync::Arc;

const READ_KEY: u8 = 0;
const READ_RANGE: u8 = 1;
const READ_TO_END: u8 = 2;

/// A range may begin, and end, right behind the longest key.
const READ_BYTES_MAX: usize = KEY_BYTES_MAX + 1;

/// What a transaction has read and does not write: keys, and ranges with their end.
pub(crate) type Reads = BTreeSet<(Key, Option<Key>)>;

/// A transaction whose locks are all taken, on its way into the log.
pub(crate) struct Preparing {
    pub(crate) batch: WriteBatch,
    pub(crate) reads: Reads,
    pub(crate) locks: Owner,
    /// Writes outside of transactions take locks while this is here.
    pub(crate) live: Live,
}

/// A transaction that was prepared. See the module.
pub struct Prepared {
    inner: Arc<Inner>,
    name: Box<[u8]>,
    /// Which transaction of this name.
    id: u64,
    position: Seq,
}

/// What is known of a prepared transaction that is not decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InDoubt {
    /// Its name.
    pub name: Vec<u8>,
    /// When it was prepared, by the store's time (R20), Unix milliseconds.
    pub since_ms: u64,
    /// The position of its record.
    pub position: Seq,
    /// How many operations it is going to write.
    pub writes: usize,
    /// What it takes in memory and in the log, bytes.
    pub bytes: usize,
}

impl Transaction {
    /// Prepares: what it is going to do is certain to be possible, and only a decision ends it. The name is the
    /// coordinator's for it. See [`crate::txn::prepared`].
    ///
    /// # Errors
    /// As [`Transaction::ready`]; `AlreadyExists` if a transaction of this name is not decided, `Exhausted` for
    /// too many or too large ones: nothing was prepared then. `OutcomeUnknown`: it may have been (R11).
    pub async fn prepare(mut self, name: &[u8]) -> Result<Prepared> {
        if name.is_empty() || name.len() > PREPARED_NAME_BYTES_MAX {
            let message = format!("a prepared transaction's name has 1 to {PREPARED_NAME_BYTES_MAX} bytes");
            return Err(Error::invalid(message));
        }
        match self.concurrency {
            Concurrency::Snapshot => {
                return Err(Error::invalid("a transaction of a snapshot has nothing to prepare"));
            }
            // One that only reads as well: others may write elsewhere for the same transaction.
            Concurrency::Optimistic => {
                self.check().await?;
            }
            Concurrency::Pessimistic => self.be_alone().await?,
        }
        let Self { inner, owner: locks, overlay, live, .. } = self;
        let live =
            live.ok_or_else(|| Error::new(ErrorKind::Internal, "a transaction that writes is not counted"))?;
        let mut reads: Reads = locks.spans().map(|(from, to)| (from.clone(), to.cloned())).collect();
        let (keys, ranges) = overlay.written();
        for key in keys {
            reads.remove(&(Key::from(key), None));
        }
        for (from, to) in ranges {
            reads.remove(&(from.clone(), Some(to.clone())));
        }
        check_lengths(&reads)?;
        let txn = Preparing { batch: overlay.into_batch(), reads, locks, live };
        let (id, ticket) = inner.prepare(name, txn)?;
        Ok(Prepared { inner, name: name.into(), id, position: ticket.position })
    }
}

impl Prepared {
    pub(crate) fn new(inner: &Arc<Inner>, name: &[u8], (id, position): (u64, Seq)) -> Self {
        Self { inner: Arc::clone(inner), name: name.into(), id, position }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Its record: a vote waits until this has its level.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        Ticket { position: self.position }
    }

    /// Commits: its writes are visible on return, and the locks are given back. The ticket is what to wait for; a
    /// crash before it is durable leaves the transaction in doubt, as it was.
    ///
    /// # Errors
    /// `NotFound`: it was decided already. `Exhausted`: the store is too busy now; it stays in doubt, resume it and
    /// try again. `OutcomeUnknown` (R11).
    pub fn commit(self) -> Result<Ticket> {
        self.inner.decide(&self.name, self.id, true)
    }

    /// Aborts: as if it had never been. As [`Prepared::commit`].
    ///
    /// # Errors
    /// As [`Prepared::commit`].
    pub fn abort(self) -> Result<Ticket> {
        self.inner.decide(&self.name, self.id, false)
    }
}

/// The keyspaces that the transaction wrote to or read in, each once.
pub(crate) fn keyspaces(batch: &WriteBatch, reads: &Reads) -> BTreeSet<KeyspaceId> {
    batch.spans().map(|span| span.keyspace).chain(reads.iter().map(|(from, _)| split(from).0)).collect()
}

/// The record of a prepared transaction.
pub(crate) fn record(name: &[u8], since_ms: u64, batch: &WriteBatch, reads: &Reads) -> WriteBatch {
    let keyspaces = keyspaces(batch, reads);
    let mut record = WriteBatch::new();
    record.prepare(name, since_ms, keyspaces.len() as u64);
    for keyspace in keyspaces {
        record.part(keyspace, &batch.encoded_in(keyspace), &encode_reads(keyspace, reads));
    }
    record
}

fn encode_reads(keyspace: KeyspaceId, reads: &Reads) -> Vec<u8> {
    let mut out = Vec::new();
    for (from, to) in reads.iter().filter(|(from, _)| split(from).0 == keyspace) {
        let Some(to) = to else {
            out.put_u8(READ_KEY);
            out.put_bytes(split(from).1);
            continue;
        };
        let range = (from.clone(), to.clone());
        let (from, to) = keys_of(&range);
        out.put_u8(if to.is_some() { READ_RANGE } else { READ_TO_END });
        out.put_bytes(from);
        to.into_iter().for_each(|to| out.put_bytes(to));
    }
    out
}

/// What could not be read back is not written.
fn check_lengths(reads: &Reads) -> Result<()> {
    let is_long = |key: &Key| split(key).1.len() > READ_BYTES_MAX;
    match reads.iter().any(|(from, to)| is_long(from) || to.as_ref().is_some_and(is_long)) {
        true => Err(Error::invalid(format!("it has read keys of more than {KEY_BYTES_MAX} bytes"))),
        false => Ok(()),
    }
}

/// Reads back what a part says was read.
pub(crate) fn decode_reads(keyspace: KeyspaceId, bytes: &[u8], reads: &mut Reads) -> Result<(), DecodeError> {
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let what = reader.u8()?;
        let from = with_keyspace(keyspace, reader.bytes(READ_BYTES_MAX)?);
        let to = match what {
            READ_KEY => None,
            READ_RANGE => Some(with_keyspace(keyspace, reader.bytes(READ_BYTES_MAX)?)),
            READ_TO_END => Some(end_of(keyspace, None)),
            other => return Err(DecodeError::Variant(other)),
        };
        reads.insert((from, to));
    }
    Ok(())
}

/// Takes the locks of a prepared transaction again: nobody else has any but others of its kind, which had
/// theirs beside its own.
pub(crate) fn lock_again(locks: &mut Owner, batch: &WriteBatch, reads: &Reads) -> Result<()> {
    for (keyspace, from, to) in super::batch_locks::spans(batch)? {
        lock_now(locks, keyspace, (from, to), Mode::Exclusive)?;
    }
    for (from, to) in reads {
        let (keyspace, key) = split(from);
        match to {
            None => lock_now(locks, keyspace, (key, None), Mode::Shared)?,
            Some(to) => {
                let range = (from.clone(), to.clone());
                let (from, to) = keys_of(&range);
                locked(ready(locks.lock_range(keyspace, from, to, Mode::Shared)))?;
            }
        }
    }
    Ok(())
}

fn lock_now(
    locks: &mut Owner,
    keyspace: KeyspaceId,
    (from, to): (&[u8], Option<&[u8]>),
    mode: Mode,
) -> Result<()> {
    locked(match to {
        None => ready(locks.lock(keyspace, from, mode)),
        Some(to) => ready(locks.lock_range(keyspace, from, Some(to), mode)),
    })
}

/// The answer to a request that waits for nobody.
fn ready(
    request: impl Future<Output = std::result::Result<(), LockError>>,
) -> Option<std::result::Result<(), LockError>> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(request).poll(&mut cx) {
        std::task::Poll::Ready(answer) => Some(answer),
        std::task::Poll::Pending => None,
    }
}

fn locked(answer: Option<std::result::Result<(), LockError>>) -> Result<()> {
    match answer {
        Some(Ok(())) => Ok(()),
        Some(Err(why)) => Err(super::transaction::refusal(why)),
        None => Err(Error::evidence(
            ringfort_base::EvidenceKind::Inconsistent,
            crate::wal::DIR,
            0,
            "two prepared transactions in doubt hold locks that exclude each other",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Op;

    #[test]
    fn a_record_says_what_it_was_made_of() {
        let (a, b, c) = (KeyspaceId(1), KeyspaceId(2), KeyspaceId(9));
        let mut batch = WriteBatch::new();
        batch.delete_range(a, "f", "t");
        batch.put(b, "k", [7; 300]);
        batch.put(a, "k", "");
        batch.merge(a, "k", "operand");
        batch.delete(b, "");
        batch.count(b, -3);
        let key = |keyspace, key: &str| with_keyspace(keyspace, key.as_bytes());
        let reads = Reads::from([
            (key(a, "read"), None),
            (key(c, ""), Some(key(c, "to"))),
            (key(c, "x"), Some(end_of(c, None))),
            (with_keyspace(c, &[7; READ_BYTES_MAX]), None),
        ]);
        check_lengths(&reads).unwrap();
        let record = record(b"name", 77, &batch, &reads);
        let (mut restored, mut read, mut ops) = (WriteBatch::new(), Reads::new(), Vec::new());
        for (keyspace, op) in record.spans().flat_map(|s| s.iter().map(move |op| (s.keyspace, op.unwrap()))) {
            match op {
                Op::Part { ops, reads } => {
                    restored.append_part(keyspace, ops).unwrap();
                    decode_reads(keyspace, reads, &mut read).unwrap();
                    for cut in 0..reads.len().min(40) {
                        // An error, or fewer of them; never a panic.
                        let _ = decode_reads(keyspace, &reads[..cut], &mut Reads::new());
                    }
                }
                other => ops.push((keyspace, other)),
            }
        }
        assert_eq!(ops, [(KeyspaceId::SYSTEM, Op::Prepare { name: b"name", time_ms: 77, parts: 3 })]);
        assert_eq!(read, reads);
        for keyspace in [a, b] {
            assert_eq!(restored.encoded_in(keyspace), batch.encoded_in(keyspace));
        }
        assert_eq!((restored.len(), restored.bytes()), (batch.len(), batch.bytes()));
    }

    #[test]
    fn what_could_not_be_read_back_is_refused() {
        let long = with_keyspace(KeyspaceId(1), &[7; READ_BYTES_MAX + 1]);
        assert!(check_lengths(&Reads::from([(long.clone(), None)])).is_err());
        assert!(
            check_lengths(&Reads::from([(with_keyspace(KeyspaceId(1), b""), Some(long.clone()))])).is_err()
        );
        let mut bytes = vec![READ_KEY];
        bytes.put_bytes(&long[4..]);
        assert_eq!(decode_reads(KeyspaceId(1), &bytes, &mut Reads::new()), Err(DecodeError::Limit));
        let other = [READ_TO_END + 1, 0];
        assert_eq!(decode_reads(KeyspaceId(1), &other, &mut Reads::new()), Err(DecodeError::Variant(3)));
    }
}
