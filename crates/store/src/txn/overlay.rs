//! The writes of a transaction that has not committed: over what the store holds, for its own reads, and
//! as a batch in the end.
//!
//! Deleted ranges lie under the keys: a key that is written after its range was deleted stands here as
//! written, and one written before is dropped from here. So the batch is: ranges first, then keys.
//! Savepoints are marks in a journal of what each write replaced.

use super::locks::Key;
use crate::batch::WriteBatch;
use ringfort_base::KeyspaceId;
use std::collections::BTreeMap;
use std::ops::Bound;

/// What the transaction made of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Pending {
    Put(Vec<u8>),
    Delete,
    /// Operands onto what lies under them, oldest first.
    Merge(Vec<Vec<u8>>),
}

impl Pending {
    fn bytes(&self) -> usize {
        match self {
            Pending::Put(value) => value.len(),
            Pending::Delete => 0,
            Pending::Merge(operands) => operands.iter().map(Vec::len).sum(),
        }
    }
}

/// What a savepoint needs to go back.
enum Undo {
    Key(Key, Option<Pending>),
    Range,
    Count(KeyspaceId, i64),
}

#[derive(Default)]
pub(super) struct Overlay {
    keys: BTreeMap<Key, Pending>,
    /// Deleted ranges, with their keyspace in front, in the order of their deletion.
    ranges: Vec<(Key, Key)>,
    counts: BTreeMap<KeyspaceId, i64>,
    bytes: usize,
    /// Kept while there are savepoints.
    journal: Vec<Undo>,
    savepoints: Vec<usize>,
}

impl Overlay {
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.ranges.is_empty() && self.counts.values().all(|delta| *delta == 0)
    }

    /// What the writes take, bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What the transaction made of a key; where it deleted a range over it, that it is deleted.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Pending> {
        match self.keys.get(key) {
            None if self.is_in_range(key) => Some(&Pending::Delete),
            found => found,
        }
    }

    fn is_in_range(&self, key: &[u8]) -> bool {
        self.ranges.iter().any(|(from, to)| **from <= *key && *key < **to)
    }

    pub(super) fn set(&mut self, key: Key, pending: Pending) {
        self.bytes += key.len() + pending.bytes();
        let before = self.keys.insert(key.clone(), pending);
        self.bytes -= before.as_ref().map_or(0, |before| key.len() + before.bytes());
        self.note(Undo::Key(key, before));
    }

    /// Adds an operand to what the transaction made of the key, which is no put.
    pub(super) fn merge(&mut self, key: Key, operand: Vec<u8>) {
        let mut operands = match self.keys.get(&key) {
            Some(Pending::Merge(operands)) => operands.clone(),
            _ => Vec::new(),
        };
        operands.push(operand);
        self.set(key, Pending::Merge(operands));
    }

    pub(super) fn delete_range(&mut self, from: Key, to: Key) {
        let inside: Vec<Key> =
            self.keys.range(from.clone()..to.clone()).map(|(key, _)| key.clone()).collect();
        for key in inside {
            if let Some(before) = self.keys.remove(&key) {
                self.bytes -= key.len() + before.bytes();
                self.note(Undo::Key(key, Some(before)));
            }
        }
        self.bytes += from.len() + to.len();
        self.ranges.push((from, to));
        self.note(Undo::Range);
    }

    pub(super) fn count(&mut self, keyspace: KeyspaceId, delta: i64) {
        *self.counts.entry(keyspace).or_default() += delta;
        self.note(Undo::Count(keyspace, delta));
    }

    /// How the keyspace's maintained count changes.
    pub(super) fn counted(&self, keyspace: KeyspaceId) -> i64 {
        self.counts.get(&keyspace).copied().unwrap_or(0)
    }

    /// What the transaction made of the keys of a range, in order; deleted ranges are told by [`Overlay::get`].
    pub(super) fn range<'o>(
        &'o self,
        from: &[u8],
        to: &[u8],
    ) -> impl DoubleEndedIterator<Item = (&'o Key, &'o Pending)> {
        let (from, to) = if from < to { (from, to) } else { (from, from) };
        self.keys.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)))
    }

    fn note(&mut self, undo: Undo) {
        if !self.savepoints.is_empty() {
            self.journal.push(undo);
        }
    }

    pub(super) fn set_savepoint(&mut self) {
        self.savepoints.push(self.journal.len());
    }

    /// Takes back everything since the newest savepoint, which goes too; `false` if there is none.
    pub(super) fn rollback_to_savepoint(&mut self) -> bool {
        let Some(mark) = self.savepoints.pop() else { return false };
        for undo in self.journal.split_off(mark).into_iter().rev() {
            match undo {
                Undo::Key(key, before) => self.restore(key, before),
                Undo::Range => {
                    if let Some((from, to)) = self.ranges.pop() {
                        self.bytes -= from.len() + to.len();
                    }
                }
                Undo::Count(keyspace, delta) => *self.counts.entry(keyspace).or_default() -= delta,
            }
        }
        true
    }

    /// Forgets the newest savepoint; `false` if there is none.
    pub(super) fn pop_savepoint(&mut self) -> bool {
        let popped = self.savepoints.pop().is_some();
        if self.savepoints.is_empty() {
            self.journal.clear();
        }
        popped
    }

    fn restore(&mut self, key: Key, before: Option<Pending>) {
        self.bytes += before.as_ref().map_or(0, |before| key.len() + before.bytes());
        let after = match before {
            Some(before) => self.keys.insert(key.clone(), before),
            None => self.keys.remove(&key),
        };
        self.bytes -= after.map_or(0, |after| key.len() + after.bytes());
    }

    /// The keys and ranges that are written, for whoever has to lock them.
    pub(super) fn written(&self) -> (impl Iterator<Item = &Key>, &[(Key, Key)]) {
        (self.keys.keys(), &self.ranges)
    }

    /// All of it as one batch.
    pub(super) fn into_batch(self) -> WriteBatch {
        let mut batch = WriteBatch::new();
        for (from, to) in &self.ranges {
            let (keyspace, from) = split(from);
            let (_, to) = split(to);
            batch.delete_range(keyspace, from, to);
        }
        for (key, pending) in &self.keys {
            let (keyspace, key) = split(key);
            match pending {
                Pending::Put(value) => batch.put(keyspace, key, value),
                Pending::Delete => batch.delete(keyspace, key),
                Pending::Merge(operands) => {
                    operands.iter().for_each(|operand| batch.merge(keyspace, key, operand));
                }
            }
        }
        for (keyspace, delta) in self.counts.into_iter().filter(|(_, delta)| *delta != 0) {
            batch.count(keyspace, delta);
        }
        batch
    }
}

/// A key of the lock table, taken apart.
pub(super) fn split(key: &[u8]) -> (KeyspaceId, &[u8]) {
    match key.split_first_chunk() {
        Some((keyspace, key)) => (KeyspaceId(u32::from_be_bytes(*keyspace)), key),
        None => (KeyspaceId::SYSTEM, key),
    }
}
