//! Point reads: newest source first, the newest version that the reader may see.

use super::{Mem, Tables, View};
use crate::engine::lsm::blob::{BlobMeta, BlobPointer};
use crate::engine::lsm::filter::hash_key;
use crate::engine::lsm::key::Kind;
use crate::engine::lsm::table;
use crate::value::Value;
use ringfort_base::{Error, ErrorKind, Result, Seq};
use std::sync::Arc;

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

/// The newest entry of a key, before anybody asked what it means.
pub(crate) enum Met<'v> {
    Entry(Entry<'v>),
    /// See [`GetOutcome::Absent`].
    Absent(Seq),
    /// See [`GetOutcome::NeedsIo`].
    NeedsIo,
}

/// An entry that a point read met.
pub(crate) struct Entry<'v> {
    pub(crate) seq: Seq,
    pub(crate) kind: Kind,
    /// Or its pointer.
    pub(crate) value: Value,
    /// The newest range tombstone over the key that was met on the way.
    pub(crate) covered: Seq,
    /// The memtable that holds it; else a table does.
    pub(crate) mem: Option<&'v Mem>,
}

impl View {
    /// Reads `key` as of `snapshot`.
    #[inline]
    pub(crate) fn get(
        &self,
        key: &[u8],
        snapshot: Seq,
        tables: &Tables,
        resident_only: bool,
    ) -> Result<GetOutcome> {
        match self.find(key, snapshot, tables, resident_only)? {
            Met::Entry(entry) => self.decide(entry, tables, resident_only),
            Met::Absent(depends) => Ok(GetOutcome::Absent(depends)),
            Met::NeedsIo => Ok(GetOutcome::NeedsIo),
        }
    }

    /// The newest entry of `key` as of `snapshot`. The newest range tombstone seen on the way down covers every
    /// older entry.
    #[inline]
    pub(crate) fn find(
        &self,
        key: &[u8],
        snapshot: Seq,
        tables: &Tables,
        resident_only: bool,
    ) -> Result<Met<'_>> {
        let mut covered = Seq::ZERO;
        let hash = hash_key(key);
        for mem in self.memtables() {
            if let Some(seq) = mem.table.max_covering_seq(key, snapshot) {
                covered = covered.max(seq);
            }
            if let Some((seq, kind, value)) = mem.table.get_pinned_hashed(key, hash, snapshot) {
                let mem = Some(&**mem);
                return Ok(Met::Entry(Entry { seq, kind, value: value.into(), covered, mem }));
            }
        }
        for slot in self.version.candidates(key) {
            if covered > Seq::ZERO && covered >= slot.meta().largest_seq {
                continue; // everything in it is covered
            }
            let table = match tables.open.resident(slot) {
                Some(table) => table,
                None if resident_only => return Ok(Met::NeedsIo),
                None => tables.open.open(slot)?,
            };
            covered = covered.max(table.max_covering_seq(key, snapshot).unwrap_or_default());
            match table.get_hashed(key, hash, snapshot, &tables.blocks, resident_only)? {
                table::Lookup::NeedsIo => return Ok(Met::NeedsIo),
                table::Lookup::Found(seq, kind, value) => {
                    return Ok(Met::Entry(Entry { seq, kind, value, covered, mem: None }));
                }
                table::Lookup::Absent => {}
            }
        }
        Ok(Met::Absent(covered))
    }

    /// What an entry says: its value may lie in a value file.
    #[inline]
    pub(super) fn decide(
        &self,
        entry: Entry<'_>,
        tables: &Tables,
        resident_only: bool,
    ) -> Result<GetOutcome> {
        let Entry { seq, kind, value, covered, mem } = entry;
        Ok(match kind {
            _ if seq <= covered => GetOutcome::Absent(covered),
            Kind::Put => GetOutcome::Found(value, seq),
            Kind::Merge => GetOutcome::Merge,
            Kind::ValuePointer => {
                let apart = match mem {
                    None => tables.values.value(&self.version.blobs, &value, resident_only)?,
                    Some(mem) => {
                        let (pointer, meta) = self.pointer(mem, &value)?;
                        tables.values.value_in(&meta, &pointer, resident_only)?
                    }
                };
                apart.map_or(GetOutcome::NeedsIo, |value| GetOutcome::Found(value, seq))
            }
            Kind::Delete | Kind::RangeDelete => GetOutcome::Absent(seq),
        })
    }

    /// Where the value behind a memtable's pointer lies.
    fn pointer(&self, mem: &Mem, value: &[u8]) -> Result<(BlobPointer, Arc<BlobMeta>)> {
        let internal = |why: String| Error::new(ErrorKind::Internal, format!("a memtable's pointer: {why}"));
        let pointer = BlobPointer::decode(value).map_err(|e| internal(e.to_string()))?;
        let meta = mem.table.value_file(pointer.file);
        let meta = meta.ok_or_else(|| internal(format!("value file {} is not noted", pointer.file)))?;
        Ok((pointer, meta))
    }

    /// Where the value behind the pointer of `entry` lies, in which file.
    pub(crate) fn pointer_of(
        &self,
        entry: &Entry<'_>,
        tables: &Tables,
    ) -> Result<(BlobPointer, Arc<BlobMeta>)> {
        match entry.mem {
            Some(mem) => self.pointer(mem, &entry.value),
            None => tables.values.locate(&self.version.blobs, &entry.value),
        }
    }
}
