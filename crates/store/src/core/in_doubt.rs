//! What the log says of prepared transactions, as a replay meets it, and what of it is in doubt in the end.
//!
//! ```text
//!   group   part (keyspace a)  part (keyspace b)  prepare "x", 2 parts         in any order: by number
//!             n+1                n+2                n                ──▶ in doubt: "x"
//!   group   … decide "x"                                             ──▶ not any more
//! ```
//!
//! Decisions are obeyed in the order of the log, whatever is flushed: what a committed transaction did
//! stands beside its decision as ordinary operations, which know themselves whether they are in a table
//! already. A decision whose transaction is not known belongs to a record in a segment that is gone. A record
//! of a name that is in doubt is a copy that was carried, and takes the place of its original.

use super::prepared::Recovered;
use crate::batch::{Op, WriteBatch};
use crate::txn::gate::Gate;
use crate::txn::locks::LockTable;
use crate::txn::prepared::{Preparing, Reads, decode_reads, lock_again};
use ringfort_base::codec::DecodeError;
use ringfort_base::{KeyspaceId, Result, Seq};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A transaction's part in one keyspace.
struct Part {
    keyspace: KeyspaceId,
    batch: WriteBatch,
    reads: Reads,
}

/// What a group says of a transaction.
enum Note {
    Prepare { name: Box<[u8]>, since_ms: u64, parts: u64 },
    Decide { name: Box<[u8]> },
}

/// A transaction that no decision was met for.
struct Found {
    since_ms: u64,
    first: Seq,
    parts: Vec<Part>,
}

/// See the module.
#[derive(Default)]
pub(super) struct InDoubts {
    open: BTreeMap<Box<[u8]>, Found>,
    /// Of the present group, by number.
    parts: BTreeMap<Seq, Part>,
    notes: BTreeMap<Seq, Note>,
}

impl InDoubts {
    /// Takes an operation of the present group. Those of keys and counts are none of its business.
    pub(super) fn op(&mut self, keyspace: KeyspaceId, seq: Seq, op: Op<'_>) -> Result<(), DecodeError> {
        let is_system = keyspace == KeyspaceId::SYSTEM;
        match op {
            Op::Part { ops, reads } if !is_system => {
                let mut part = Part { keyspace, batch: WriteBatch::new(), reads: Reads::new() };
                part.batch.append_part(keyspace, ops)?;
                decode_reads(keyspace, reads, &mut part.reads)?;
                self.parts.insert(seq, part);
            }
            Op::Prepare { name, time_ms, parts } if is_system => {
                self.notes.insert(seq, Note::Prepare { name: name.into(), since_ms: time_ms, parts });
            }
            Op::Decide { name, commit: _ } if is_system => {
                self.notes.insert(seq, Note::Decide { name: name.into() });
            }
            Op::Part { .. } | Op::Prepare { .. } | Op::Decide { .. } => {
                return Err(DecodeError::Meaning("a record of a prepared transaction in the wrong keyspace"));
            }
            _ => {}
        }
        Ok(())
    }

    /// Ends the group.
    pub(super) fn end_group(&mut self) -> Result<(), DecodeError> {
        while let Some((seq, note)) = self.notes.pop_first() {
            match note {
                Note::Decide { name } => drop(self.open.remove(&name)),
                Note::Prepare { name, since_ms, parts } => {
                    let part = |n| self.parts.remove(&Seq(seq.0 + n));
                    let parts: Option<Vec<Part>> = (1..=parts).map(part).collect();
                    let parts = parts.ok_or(DecodeError::Meaning("a prepared transaction lacks a part"))?;
                    self.open.insert(name, Found { since_ms, first: seq, parts });
                }
            }
        }
        match self.parts.is_empty() {
            true => Ok(()),
            false => Err(DecodeError::Meaning("a part of no prepared transaction")),
        }
    }

    /// The first position that the log must keep for what is in doubt.
    pub(super) fn pinned(&self) -> Option<Seq> {
        self.open.values().map(|found| found.first).min()
    }

    /// At least as many locks as it takes, each counted as a range.
    pub(super) fn locks(&self) -> u64 {
        let parts = self.open.values().flat_map(|found| &found.parts);
        parts.map(|part| (part.batch.len() + part.reads.len()) as u64).sum()
    }

    /// All that is in doubt, with its locks. What it did in a keyspace that was dropped is left out: the
    /// decision was lost with the end of the log, and the drop was not; both came behind each other.
    pub(super) fn with_locks(
        self,
        exists: impl Fn(KeyspaceId) -> bool,
        locks: &Arc<LockTable>,
        gate: &Arc<Gate>,
    ) -> Result<BTreeMap<Box<[u8]>, Recovered>> {
        let mut all = BTreeMap::new();
        for (name, Found { since_ms, first, parts }) in self.open {
            let (mut batch, mut reads) = (WriteBatch::new(), Reads::new());
            for part in parts.into_iter().filter(|part| exists(part.keyspace)) {
                batch.append(part.batch);
                reads.extend(part.reads);
            }
            let mut owner = locks.owner(None);
            lock_again(&mut owner, &batch, &reads)?;
            let txn = Preparing { batch, reads, locks: owner, live: gate.live() };
            all.insert(name, Recovered { txn, since_ms, first });
        }
        Ok(all)
    }
}
