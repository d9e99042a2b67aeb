//! Point reads: newest source first, the newest version that the reader may see.

use super::{Tables, View};
use crate::engine::lsm::filter::hash_key;
use crate::engine::lsm::key::Kind;
use crate::engine::lsm::table;
use crate::value::Value;
use ringfort_base::{Result, Seq};

/// What a point read found.
pub(crate) enum GetOutcome {
    /// A value, and the sequence number that put it.
    Found(Value, Seq),
    /// The newest entry is an operand: the value has to be merged ([`crate::engine::lsm::iter`]).
    Merge,
    /// Nothing, and the newest tombstone that says so (zero if there is none): absence depends on
    /// it (R6).
    Absent(Seq),
    /// It is not in memory (only when asked not to read, R23).
    NeedsIo,
}

impl View {
    /// Reads `key` as of `snapshot`. The newest range tombstone seen on the way down covers every
    /// older entry.
    pub(crate) fn get(
        &self,
        key: &[u8],
        snapshot: Seq,
        tables: &Tables,
        resident_only: bool,
    ) -> Result<GetOutcome> {
        let mut covered = Seq::ZERO;
        let hash = hash_key(key);
        for mem in self.memtables() {
            if let Some(seq) = mem.table.max_covering_seq(key, snapshot) {
                covered = covered.max(seq);
            }
            if let Some((seq, kind, value)) = mem.table.get_pinned_hashed(key, hash, snapshot) {
                return Ok(decide(seq, kind, covered, value.into()));
            }
        }
        for slot in self.version.candidates(key) {
            if covered > Seq::ZERO && covered >= slot.meta().largest_seq {
                continue; // everything in it is covered
            }
            let table = match tables.open.resident(slot) {
                Some(table) => table,
                None if resident_only => return Ok(GetOutcome::NeedsIo),
                None => tables.open.open(slot)?,
            };
            covered = covered.max(table.max_covering_seq(key, snapshot).unwrap_or_default());
            match table.get_hashed(key, hash, snapshot, &tables.blocks, resident_only)? {
                table::Lookup::NeedsIo => return Ok(GetOutcome::NeedsIo),
                table::Lookup::Found(seq, kind, value) => {
                    return self.decide_stored((seq, kind, value), covered, tables, resident_only);
                }
                table::Lookup::Absent => {}
            }
        }
        Ok(GetOutcome::Absent(covered))
    }

    /// What a table's entry says: its value may lie in a value file.
    pub(super) fn decide_stored(
        &self,
        (seq, kind, value): (Seq, Kind, Value),
        covered: Seq,
        tables: &Tables,
        resident_only: bool,
    ) -> Result<GetOutcome> {
        if kind != Kind::ValuePointer || seq <= covered {
            return Ok(decide(seq, kind, covered, value));
        }
        let value = tables.values.value(&self.version.blobs, &value, resident_only)?;
        Ok(value.map_or(GetOutcome::NeedsIo, |value| GetOutcome::Found(value, seq)))
    }
}

pub(super) fn decide(seq: Seq, kind: Kind, covered: Seq, value: Value) -> GetOutcome {
    match kind {
        Kind::Put if seq > covered => GetOutcome::Found(value, seq),
        Kind::Merge if seq > covered => GetOutcome::Merge,
        _ => GetOutcome::Absent(seq.max(covered)),
    }
}
