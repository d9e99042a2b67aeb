//! For callers that lock by names of their own: one name stands for all keys that belong together, as a hash's
//! record does for its fields.
//!
//! Who [covers](Transaction::cover) a name before he reads or writes what it stands for, shared to read and exclusively
//! to write, needs no lock of each key. He reads the store himself, what the transaction wrote
//! ([`Transaction::own`]) before what is stored, and tells what he saw: an optimistic transaction checks that in the end,
//! and locks the names then.

use super::{Concurrency, Transaction, end_of};
use crate::batch::{Op, WriteBatch};
use crate::store::Snapshot;
use crate::txn::locks::{Key, Mode, with_keyspace};
use crate::txn::overlay::{Pending, split};
use ringfort_base::{Error, ErrorKind, KeyspaceId, Result, Seq};

/// What a transaction itself made of a range of keys.
#[derive(Clone, Default, Debug)]
pub struct Own {
    /// Keys in order, with their values; `None` for those that it deleted.
    pub keys: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Deleted ranges; the keys above were written afterwards.
    pub deleted: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Own {
    /// Whether it made nothing of it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.deleted.is_empty()
    }
}

impl Transaction {
    /// How it keeps others away.
    #[must_use]
    pub fn concurrency(&self) -> Concurrency {
        self.concurrency
    }

    /// What its reads see; `None` if they see the newest.
    #[must_use]
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    /// What its writes take, bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.overlay.bytes()
    }

    /// Covers a name: by a lock, now or, for an optimistic one, when it commits.
    ///
    /// # Errors
    /// As [`Transaction::get`]; `Invalid` for a snapshot that wants to write.
    pub async fn cover(&mut self, keyspace: KeyspaceId, name: &[u8], mode: Mode) -> Result<()> {
        if mode == Mode::Exclusive {
            self.may_write(0)?;
        }
        match self.concurrency {
            Concurrency::Pessimistic => self.lock(keyspace, name, mode).await,
            Concurrency::Optimistic if mode == Mode::Exclusive => {
                self.covered.insert(with_keyspace(keyspace, name));
                Ok(())
            }
            Concurrency::Optimistic | Concurrency::Snapshot => Ok(()),
        }
    }

    /// Covers the names of `from..to`; an optimistic transaction can only read under that.
    ///
    /// # Errors
    /// As [`Transaction::cover`].
    pub async fn cover_range(
        &mut self,
        keyspace: KeyspaceId,
        from: &[u8],
        to: &[u8],
        mode: Mode,
    ) -> Result<()> {
        match (self.concurrency, mode) {
            (Concurrency::Pessimistic, _) => self.lock_range(keyspace, from, Some(to), mode).await,
            (_, Mode::Shared) => Ok(()),
            (_, Mode::Exclusive) => {
                Err(Error::invalid("only a pessimistic transaction changes a whole range"))
            }
        }
    }

    /// What the transaction made of a key: its value, or that it is deleted. `None` if it did not touch it.
    ///
    /// # Errors
    /// `Invalid` for a key that it merged into: only [`Transaction::get`] knows what that makes.
    pub fn own(&self, keyspace: KeyspaceId, key: &[u8]) -> Result<Option<Option<&[u8]>>> {
        if self.overlay.is_empty() {
            return Ok(None);
        }
        self.overlay.get(&with_keyspace(keyspace, key)).map(value_of).transpose()
    }

    /// [`Transaction::own`] of a range.
    ///
    /// # Errors
    /// As [`Transaction::own`].
    pub fn own_range(&self, keyspace: KeyspaceId, from: &[u8], to: &[u8]) -> Result<Own> {
        let (from, to) = (with_keyspace(keyspace, from), with_keyspace(keyspace, to));
        let keys = self
            .overlay
            .range(&from, &to)
            .map(|(key, pending)| Ok((split(key).1.to_vec(), value_of(pending)?.map(<[u8]>::to_vec))));
        let keys = keys.collect::<Result<_>>()?;
        let (_, deleted) = self.overlay.written();
        let deleted = deleted
            .iter()
            .filter(|(begin, end)| *begin < to && from < *end)
            .map(|(begin, end)| (split(begin).1.to_vec(), split(end).1.to_vec()))
            .collect();
        Ok(Own { keys, deleted })
    }

    /// How many keys of a range it wrote or deleted one by one.
    #[must_use]
    pub fn own_len(&self, keyspace: KeyspaceId, from: &[u8], to: &[u8]) -> usize {
        self.overlay.range(&with_keyspace(keyspace, from), &with_keyspace(keyspace, to)).count()
    }

    /// How it changed the keyspace's maintained count.
    #[must_use]
    pub fn own_count(&self, keyspace: KeyspaceId) -> i64 {
        self.overlay.counted(keyspace)
    }

    /// Tells what was read of a key: an answer that depends on `depends`.
    pub fn saw(&mut self, keyspace: KeyspaceId, key: &[u8], depends: Seq) {
        self.depends = self.depends.max(depends);
        if self.concurrency == Concurrency::Optimistic {
            self.note_read(with_keyspace(keyspace, key));
        }
    }

    /// Tells that all of `from..to` was looked at.
    pub fn saw_range(&mut self, keyspace: KeyspaceId, from: &[u8], to: &[u8], depends: Seq) {
        self.depends = self.depends.max(depends);
        if self.concurrency == Concurrency::Optimistic && from < to {
            self.scans.push((with_keyspace(keyspace, from), end_of(keyspace, Some(to))));
        }
    }

    /// Writes what is covered.
    ///
    /// # Errors
    /// As [`Transaction::put`]. Values by the piece and merges are refused.
    pub fn write(&mut self, batch: &WriteBatch) -> Result<()> {
        self.may_write(batch.bytes())?;
        for span in batch.spans() {
            for op in span.iter() {
                let op =
                    op.map_err(|e| Error::new(ErrorKind::Internal, format!("a batch cannot be read: {e}")))?;
                self.take_over(span.keyspace, &op)?;
            }
        }
        Ok(())
    }

    fn take_over(&mut self, keyspace: KeyspaceId, op: &Op<'_>) -> Result<()> {
        let name = |key: &[u8]| -> Key { with_keyspace(keyspace, key) };
        match *op {
            Op::Put { key, value } => self.overlay.set(name(key), Pending::Put(value.to_vec())),
            Op::Delete { key } => self.overlay.set(name(key), Pending::Delete),
            Op::DeleteRange { from, to } => self.overlay.delete_range(name(from), name(to)),
            Op::Count { delta } => self.overlay.count(keyspace, delta),
            Op::PutStored { .. } | Op::Merge { .. } => {
                return Err(Error::invalid("a covered write is a put or a deletion"));
            }
        }
        Ok(())
    }
}

fn value_of(pending: &Pending) -> Result<Option<&[u8]>> {
    match pending {
        Pending::Put(value) => Ok(Some(value)),
        Pending::Delete => Ok(None),
        Pending::Merge(_) => Err(Error::invalid("a key that was merged into is read by Transaction::get")),
    }
}
