//! Point reads: newest source first, the newest version that the reader may see.

use super::{Tables, View};
use crate::engine::lsm::filter::hash_key;
use crate::engine::lsm::key::Kind;
use crate::engine::lsm::memtable::PinnedValue;
use crate::engine::lsm::table::{self, PinnedSlice};
use ringfort_base::{Result, Seq};

/// A value that is borrowed from where it lives: reading copies nothing.
pub(crate) enum Lookup {
    Memtable(PinnedValue),
    Table(PinnedSlice),
}

impl std::ops::Deref for Lookup {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Memtable(value) => value,
            Self::Table(value) => value,
        }
    }
}

/// What a point read found.
pub(crate) enum GetOutcome {
    /// A value, and the sequence number that put it.
    Found(Lookup, Seq),
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
                return Ok(decide(seq, kind, covered, || Lookup::Memtable(value)));
            }
        }
        for meta in self.version.candidates(key) {
            if covered >= meta.largest_seq {
                continue; // everything in it is covered
            }
            let table = match tables.open.resident(meta.file) {
                Some(table) => table,
                None if resident_only => return Ok(GetOutcome::NeedsIo),
                None => tables.get(meta)?,
            };
            covered = covered.max(table.max_covering_seq(key, snapshot).unwrap_or_default());
            match table.get_hashed(key, hash, snapshot, &tables.blocks, resident_only)? {
                table::Lookup::NeedsIo => return Ok(GetOutcome::NeedsIo),
                table::Lookup::Found(seq, Kind::ValuePointer, pointer) if seq > covered => {
                    let value = tables.values.value(&self.version.blobs, &pointer, resident_only)?;
                    return Ok(value
                        .map_or(GetOutcome::NeedsIo, |value| GetOutcome::Found(Lookup::Table(value), seq)));
                }
                table::Lookup::Found(seq, kind, value) => {
                    return Ok(decide(seq, kind, covered, || Lookup::Table(value)));
                }
                table::Lookup::Absent => {}
            }
        }
        Ok(GetOutcome::Absent(covered))
    }
}

fn decide(seq: Seq, kind: Kind, covered: Seq, value: impl FnOnce() -> Lookup) -> GetOutcome {
    match kind {
        Kind::Put if seq > covered => GetOutcome::Found(value(), seq),
        _ => GetOutcome::Absent(seq.max(covered)),
    }
}
