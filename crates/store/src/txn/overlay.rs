//! The writes of a transaction that has not committed: over what the store holds, for its own reads, and
//! as a batch in the end.
//!
//! ```text
//!  keys    name ──▶ Put(at, len) | Merge[(at, len), …] | Stored | Delete      the newest of each key
//!                         │
//!  bytes   ───────────────┴── values and operands, one behind the other       no allocation per value
//!  ranges  deleted ones, in the order of their deletion
//! ```
//!
//! Deleted ranges lie under the keys: a key that is written after its range was deleted stands here as
//! written, and one written before is dropped from here. So the batch is: ranges first, then keys.
//! Savepoints are marks in a journal of what each write replaced.

use super::locks::Key;
use crate::batch::WriteBatch;
use crate::engine::lsm::blob::StoredValue;
use crate::engine::lsm::blob::stored::{Place, Stored};
use ringfort_base::KeyspaceId;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// What is written nearly always fits, and else the bytes grow by doubling.
const FIRST_BYTES: usize = 4 << 10;
/// From so many bytes on, those that nothing names any more are worth to be dropped.
const DEAD_BYTES_MIN: usize = 1 << 20;

/// Where in the bytes a value or an operand lies.
#[derive(Clone, Copy)]
struct Piece {
    at: u32,
    len: u32,
}

/// What the transaction made of a key.
#[derive(Clone)]
enum Pending {
    Put(Piece),
    /// A value that lies in a file of its own.
    Stored(Arc<Stored>),
    Delete,
    /// Operands onto what lies under them, oldest first.
    Merge(Vec<Piece>),
}

impl Pending {
    /// What it takes of the bytes.
    fn len(&self) -> usize {
        match self {
            Pending::Put(piece) => piece.len as usize,
            Pending::Merge(operands) => operands.iter().map(|piece| piece.len as usize).sum(),
            Pending::Stored(_) | Pending::Delete => 0,
        }
    }

    /// Operations that it is in the batch, beyond the first.
    fn more_operands(&self) -> usize {
        match self {
            Pending::Merge(operands) => operands.len() - 1,
            Pending::Put(_) | Pending::Stored(_) | Pending::Delete => 0,
        }
    }
}

/// What a reader meets of the transaction's own writes.
pub(super) enum Own<'o> {
    Put(&'o [u8]),
    Stored(&'o Arc<Stored>),
    Delete,
    /// Operands onto what lies under them, oldest first.
    Merge(Vec<&'o [u8]>),
}

/// What a savepoint needs to go back.
enum Undo {
    Key(Box<[u8]>, Option<Pending>),
    /// One more onto the others of the key.
    Operand(Box<[u8]>),
    Range,
    Count(KeyspaceId, i64),
}

impl Undo {
    fn bytes(&self) -> usize {
        let name = if let Undo::Key(name, _) | Undo::Operand(name) = self { name.len() } else { 0 };
        size_of::<Undo>() + name
    }
}

#[derive(Default)]
pub(super) struct Overlay {
    keys: BTreeMap<Box<[u8]>, Pending>,
    bytes: Vec<u8>,
    /// Of these, what nothing in `keys` names.
    dead_bytes: usize,
    /// Deleted ranges, with their keyspace in front, in the order of their deletion.
    ranges: Vec<(Key, Key)>,
    counts: BTreeMap<KeyspaceId, i64>,
    /// Of all names, as often as the batch has them, and ranges.
    name_bytes: usize,
    /// Operands beyond the first of each key.
    more_operands: usize,
    /// What each write replaced; kept while there are savepoints.
    journal: Vec<Undo>,
    /// What that takes.
    journal_bytes: usize,
    savepoints: Vec<Savepoint>,
}

/// What there was of each when it was set.
struct Savepoint {
    journal: usize,
    bytes: usize,
    dead_bytes: usize,
}

impl Overlay {
    /// Whether there is nothing that a read could meet.
    #[inline]
    pub(super) fn hides_nothing(&self) -> bool {
        self.keys.is_empty() && self.ranges.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hides_nothing() && self.counts.values().all(|delta| *delta == 0)
    }

    /// What the batch will take, bytes.
    pub(super) fn batch_bytes(&self) -> usize {
        self.name_bytes + self.bytes.len() - self.dead_bytes
    }

    /// How many operations the batch will have, about.
    pub(super) fn ops(&self) -> usize {
        self.keys.len() + self.more_operands + self.ranges.len()
    }

    /// What the transaction made of a key; where it deleted a range over it, that it is deleted.
    pub(super) fn get(&self, name: &[u8]) -> Option<Own<'_>> {
        match self.keys.get(name) {
            Some(pending) => Some(self.own(pending)),
            None => self.is_in_range(name).then_some(Own::Delete),
        }
    }

    fn own<'o>(&'o self, pending: &'o Pending) -> Own<'o> {
        match pending {
            Pending::Put(piece) => Own::Put(self.at(*piece)),
            Pending::Stored(stored) => Own::Stored(stored),
            Pending::Delete => Own::Delete,
            Pending::Merge(operands) => Own::Merge(operands.iter().map(|piece| self.at(*piece)).collect()),
        }
    }

    fn at(&self, piece: Piece) -> &[u8] {
        &self.bytes[piece.at as usize..][..piece.len as usize]
    }

    fn is_in_range(&self, name: &[u8]) -> bool {
        self.ranges.iter().any(|(from, to)| **from <= *name && *name < **to)
    }

    // --- writes -----------------------------------------------------------------------------------

    pub(super) fn put(&mut self, name: &[u8], value: &[u8]) {
        let piece = self.push(value);
        self.set(name, Pending::Put(piece));
    }

    pub(super) fn put_stored(&mut self, name: &[u8], stored: Arc<Stored>) {
        self.set(name, Pending::Stored(stored));
    }

    pub(super) fn delete(&mut self, name: &[u8]) {
        self.set(name, Pending::Delete);
    }

    /// Adds an operand to what the transaction made of the key, which is no put.
    pub(super) fn merge(&mut self, name: &[u8], operand: &[u8]) {
        let piece = self.push(operand);
        let Some(Pending::Merge(operands)) = self.keys.get_mut(name) else {
            return self.set(name, Pending::Merge(vec![piece]));
        };
        operands.push(piece);
        // Each stands in the batch with the key.
        self.more_operands += 1;
        self.name_bytes += name.len();
        if !self.savepoints.is_empty() {
            self.note(Undo::Operand(name.into()));
        }
    }

    /// The limit of a batch keeps places below 4 GiB: see [`Overlay::drop_dead`].
    fn push(&mut self, value: &[u8]) -> Piece {
        self.drop_dead();
        if self.bytes.capacity() == 0 {
            self.bytes.reserve(FIRST_BYTES.max(value.len()));
        }
        let piece = Piece { at: self.bytes.len() as u32, len: value.len() as u32 };
        self.bytes.extend_from_slice(value);
        piece
    }

    fn set(&mut self, name: &[u8], pending: Pending) {
        if let Some(known) = self.keys.get_mut(name) {
            let before = std::mem::replace(known, pending);
            self.dead_bytes += before.len();
            self.more_operands -= before.more_operands();
            self.name_bytes -= before.more_operands() * name.len();
            if !self.savepoints.is_empty() {
                self.note(Undo::Key(name.into(), Some(before)));
            }
            return;
        }
        self.name_bytes += name.len();
        self.keys.insert(name.into(), pending);
        if !self.savepoints.is_empty() {
            self.note(Undo::Key(name.into(), None));
        }
    }

    pub(super) fn delete_range(&mut self, from: Key, to: Key) {
        let inside: Vec<Box<[u8]>> =
            self.keys.range::<[u8], _>(between(&from, &to)).map(|(name, _)| name.clone()).collect();
        for name in inside {
            if let Some(before) = self.keys.remove(&name) {
                self.name_bytes -= name.len() * (1 + before.more_operands());
                self.more_operands -= before.more_operands();
                self.dead_bytes += before.len();
                self.note(Undo::Key(name, Some(before)));
            }
        }
        // What was deleted already, and not written since, is so still.
        if self.ranges.iter().any(|(begin, end)| *begin <= from && to <= *end) {
            return;
        }
        self.name_bytes += from.len() + to.len();
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

    /// Forgets the bytes that nothing names, once they are most of all. Not while there are savepoints, which
    /// name them: then the limit of what is [held](Overlay::held_bytes) is what bounds them.
    pub(super) fn drop_dead(&mut self) {
        if self.dead_bytes < DEAD_BYTES_MIN
            || self.dead_bytes < self.bytes.len() / 2
            || !self.savepoints.is_empty()
        {
            return;
        }
        let mut bytes = Vec::with_capacity(self.bytes.len() - self.dead_bytes);
        let mut keep = |piece: &mut Piece| {
            let at = bytes.len() as u32;
            bytes.extend_from_slice(&self.bytes[piece.at as usize..][..piece.len as usize]);
            piece.at = at;
        };
        for pending in self.keys.values_mut() {
            match pending {
                Pending::Put(piece) => keep(piece),
                Pending::Merge(operands) => operands.iter_mut().for_each(&mut keep),
                Pending::Stored(_) | Pending::Delete => {}
            }
        }
        (self.bytes, self.dead_bytes) = (bytes, 0);
    }

    /// What the writes take in memory: with the bytes that only savepoints name, or nothing any more, and what
    /// savepoints need to go back.
    pub(super) fn held_bytes(&self) -> usize {
        let savepoints = self.savepoints.len() * size_of::<Savepoint>();
        self.name_bytes + self.bytes.len() + self.journal_bytes + savepoints
    }

    // --- scans ------------------------------------------------------------------------------------

    /// What the transaction made of the keys of a range, in order; deleted ranges are told by [`Overlay::hides`].
    pub(super) fn range<'o>(
        &'o self,
        from: &[u8],
        to: &[u8],
    ) -> impl DoubleEndedIterator<Item = (&'o [u8], Own<'o>)> {
        let keys = self.keys.range::<[u8], _>(between(from, to));
        keys.map(|(name, pending)| (&**name, self.own(pending)))
    }

    /// Whether a key that was not written since lies in a deleted range.
    pub(super) fn hides(&self, name: &[u8]) -> bool {
        self.is_in_range(name)
    }

    /// Whether there are deleted ranges.
    pub(super) fn has_ranges(&self) -> bool {
        !self.ranges.is_empty()
    }

    // --- savepoints -------------------------------------------------------------------------------

    fn note(&mut self, undo: Undo) {
        if !self.savepoints.is_empty() {
            self.journal_bytes += undo.bytes();
            self.journal.push(undo);
        }
    }

    pub(super) fn set_savepoint(&mut self) {
        let (journal, bytes) = (self.journal.len(), self.bytes.len());
        self.savepoints.push(Savepoint { journal, bytes, dead_bytes: self.dead_bytes });
    }

    /// Takes back everything since the newest savepoint, which goes too; `false` if there is none.
    pub(super) fn rollback_to_savepoint(&mut self) -> bool {
        let Some(mark) = self.savepoints.pop() else { return false };
        for undo in self.journal.split_off(mark.journal).into_iter().rev() {
            self.journal_bytes -= undo.bytes();
            match undo {
                Undo::Key(name, before) => self.restore(name, before),
                Undo::Operand(name) => self.take_operand(&name),
                Undo::Range => {
                    if let Some((from, to)) = self.ranges.pop() {
                        self.name_bytes -= from.len() + to.len();
                    }
                }
                Undo::Count(keyspace, delta) => *self.counts.entry(keyspace).or_default() -= delta,
            }
        }
        // No bytes move while there are savepoints: what was written since lies behind.
        self.bytes.truncate(mark.bytes);
        self.dead_bytes = mark.dead_bytes;
        true
    }

    /// Forgets the newest savepoint; `false` if there is none.
    pub(super) fn pop_savepoint(&mut self) -> bool {
        let popped = self.savepoints.pop().is_some();
        if self.savepoints.is_empty() {
            self.journal.clear();
            self.journal_bytes = 0;
        }
        popped
    }

    fn restore(&mut self, name: Box<[u8]>, before: Option<Pending>) {
        if let Some(after) = self.keys.remove(&name) {
            self.name_bytes -= name.len() * (1 + after.more_operands());
            self.more_operands -= after.more_operands();
        }
        if let Some(before) = before {
            self.name_bytes += name.len() * (1 + before.more_operands());
            self.more_operands += before.more_operands();
            self.keys.insert(name, before);
        }
    }

    fn take_operand(&mut self, name: &[u8]) {
        if let Some(Pending::Merge(operands)) = self.keys.get_mut(name) {
            operands.pop();
            self.more_operands -= 1;
            self.name_bytes -= name.len();
        }
    }

    // --- the end ----------------------------------------------------------------------------------

    /// The keys and ranges that are written, for whoever has to lock them.
    pub(super) fn written(&self) -> (impl Iterator<Item = &[u8]>, &[(Key, Key)]) {
        (self.keys.keys().map(|name| &**name), &self.ranges)
    }

    /// All of it as one batch.
    pub(super) fn into_batch(self) -> WriteBatch {
        let mut batch = WriteBatch::new();
        for (from, to) in &self.ranges {
            let (keyspace, from) = split(from);
            let (_, to) = split(to);
            batch.delete_range(keyspace, from, to);
        }
        for (name, pending) in &self.keys {
            let (keyspace, key) = split(name);
            match pending {
                Pending::Put(piece) => batch.put(keyspace, key, self.at(*piece)),
                Pending::Stored(stored) => {
                    batch.put_stored(keyspace, key, StoredValue(Place::File(Arc::clone(stored))));
                }
                Pending::Delete => batch.delete(keyspace, key),
                Pending::Merge(operands) => {
                    operands.iter().for_each(|piece| batch.merge(keyspace, key, self.at(*piece)));
                }
            }
        }
        for (keyspace, delta) in self.counts.into_iter().filter(|(_, delta)| *delta != 0) {
            batch.count(keyspace, delta);
        }
        batch
    }
}

/// The names of `from..to`; none if it ends before it begins.
fn between<'k>(from: &'k [u8], to: &'k [u8]) -> (Bound<&'k [u8]>, Bound<&'k [u8]>) {
    (Bound::Included(from), Bound::Excluded(if from < to { to } else { from }))
}

/// A key of the lock table, taken apart.
pub(super) fn split(key: &[u8]) -> (KeyspaceId, &[u8]) {
    match key.split_first_chunk() {
        Some((keyspace, key)) => (KeyspaceId(u32::from_be_bytes(*keyspace)), key),
        None => (KeyspaceId::SYSTEM, key),
    }
}
