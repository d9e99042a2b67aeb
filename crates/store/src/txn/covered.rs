//! For callers that lock by names of their own: one name stands for all keys that belong together, as a hash's
//! record does for its fields.
//!
//! Who [covers](Transaction::cover) a name before he reads or writes what it stands for, shared to read and exclusively
//! to write, needs no lock of each key. He reads the store himself, what the transaction wrote
//! ([`Transaction::own`]) before what is stored, and tells what he saw: an optimistic transaction checks that in the end,
//! and locks the names then.

use super::locks::{Key, Mode, with_keyspace};
use super::overlay::{self, split};
use super::transaction::{Concurrency, Transaction};
use crate::batch::WriteBatch;
use crate::store::Snapshot;
use crate::value::Value;
use ringfort_base::{Error, KeyspaceId, Result, Seq};
use std::collections::BTreeSet;

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

/// What an optimistic transaction locks exclusively when it commits, beside what it wrote: names of what it changed.
#[derive(Default)]
pub(super) struct Covered {
    names: BTreeSet<Key>,
    bytes: usize,
}

impl Covered {
    fn add(&mut self, name: Key) {
        let bytes = name.len() + size_of::<Key>();
        if self.names.insert(name) {
            self.bytes += bytes;
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.names.iter().map(|name| &**name)
    }

    fn bytes(&self) -> usize {
        self.bytes
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

    /// What its writes take in memory, and the names that it covers when it commits, bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.overlay.held_bytes() + self.covered.bytes()
    }

    /// Covers a name: by a lock, now or, for an optimistic one, when it commits.
    ///
    /// # Errors
    /// As [`Transaction::get`]; `Invalid` for a snapshot that wants to write.
    pub async fn cover(&mut self, keyspace: KeyspaceId, name: &[u8], mode: Mode) -> Result<()> {
        match (self.concurrency, mode) {
            (Concurrency::Pessimistic, _) => self.lock(keyspace, name, mode).await,
            (Concurrency::Optimistic, Mode::Exclusive) => {
                self.covered.add(with_keyspace(keyspace, name));
                Ok(())
            }
            (Concurrency::Snapshot, Mode::Exclusive) => {
                Err(Error::invalid("a transaction of a snapshot only reads"))
            }
            (_, Mode::Shared) => Ok(()),
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
    /// `Invalid` for a key that it merged into: only [`Transaction::get`] knows what that makes. As
    /// [`Transaction::get`] for a value by the piece.
    pub fn own(&self, keyspace: KeyspaceId, key: &[u8]) -> Result<Option<Option<Value>>> {
        if self.overlay.hides_nothing() {
            return Ok(None);
        }
        let own = self.overlay.get(&with_keyspace(keyspace, key));
        own.map(|own| self.value_of(own)).transpose()
    }

    /// [`Transaction::own`] of a range.
    ///
    /// # Errors
    /// As [`Transaction::own`].
    pub fn own_range(&self, keyspace: KeyspaceId, from: &[u8], to: &[u8]) -> Result<Own> {
        if self.overlay.hides_nothing() {
            return Ok(Own::default());
        }
        let (from, to) = (with_keyspace(keyspace, from), with_keyspace(keyspace, to));
        let keys = self.overlay.range(&from, &to).map(|(name, own)| {
            let value = self.value_of(own)?;
            Ok((split(name).1.to_vec(), value.map(|value| value.to_vec())))
        });
        let keys = keys.collect::<Result<_>>()?;
        let (_, deleted) = self.overlay.written();
        let deleted = deleted
            .iter()
            .filter(|(begin, end)| *begin < to && from < *end)
            .map(|(begin, end)| (split(begin).1.to_vec(), split(end).1.to_vec()))
            .collect();
        Ok(Own { keys, deleted })
    }

    fn value_of(&self, own: overlay::Own<'_>) -> Result<Option<Value>> {
        match own {
            overlay::Own::Put(value) => Ok(Some(value.into())),
            overlay::Own::Stored(stored) => self.inner.stored_value(stored).map(Some),
            overlay::Own::Delete => Ok(None),
            overlay::Own::Merge(_) => {
                Err(Error::invalid("a key that was merged into is read by Transaction::get"))
            }
        }
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
            self.reads.note(keyspace, key);
        }
    }

    /// Tells that all of `from..to` was looked at.
    pub fn saw_range(&mut self, keyspace: KeyspaceId, from: &[u8], to: &[u8], depends: Seq) {
        self.depends = self.depends.max(depends);
        if self.concurrency == Concurrency::Optimistic && from < to {
            self.reads.note_range(with_keyspace(keyspace, from), with_keyspace(keyspace, to));
        }
    }

    /// Writes what is covered: all of it, or nothing.
    ///
    /// # Errors
    /// As [`Transaction::write`].
    pub fn write_covered(&mut self, batch: &WriteBatch) -> Result<()> {
        self.write_locked(batch)
    }
}
