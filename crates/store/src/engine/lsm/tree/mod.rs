//! One keyspace's tree: memtables over levels of tables.
//!
//! ```text
//! current ─▶ View { active memtable, frozen memtables (newest first), version (levels of tables) }
//! ```
//! A reader takes one `Arc<View>` and is undisturbed by everything that follows. Only the leader
//! of the log inserts and freezes; flush and compaction replace the view under its lock.

mod changed;
mod get;
mod handles;
mod multi;
mod version;

pub(crate) use get::{GetOutcome, Met};
pub(crate) use handles::{Handle, Handles, Reads};
pub(crate) use version::{Change, Tables, Version, insert_in_level};

use super::blob::format::POINTER_BYTES_MAX;
use super::blob::{BlobSet, LoneValue};
use super::key::{Kind, Trailer};
use super::memtable::{Memtable, Ranks};
use crate::batch::{Op, Span};
use crate::manifest::state::KeyspaceState;
use crate::merge::{MergeOperators, Merger};
use crate::options::KeyspaceOptions;
use parking_lot::RwLock;
use ringfort_base::{Error, ErrorKind, EvidenceKind, KeyspaceId, Result, Seq};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// A keyspace without tables learns how its keys begin from so many of them, if they take no more
/// memory than this with their index: copying them is a short pause, once.
const LEARN_ENTRIES: usize = 512;
const LEARN_BYTES_MAX: usize = 4 << 20;

/// A memtable with what the log needs to know about it.
pub(crate) struct Mem {
    pub(crate) table: Arc<Memtable>,
    /// Sequence number of its first operation; `u64::MAX` while it has none. It pins the log.
    first: AtomicU64,
    /// Everything of the keyspace up to here is in this memtable or older ones. Set by freezing.
    frozen_at: AtomicU64,
}

impl Mem {
    fn new(seed: u64, capacity_bytes: usize, ranks: Ranks) -> Result<Arc<Self>> {
        Ok(Self::of(Memtable::with_capacity(seed, capacity_bytes, ranks)?, u64::MAX))
    }

    fn of(table: Memtable, first: u64) -> Arc<Self> {
        Arc::new(Self { table: Arc::new(table), first: AtomicU64::new(first), frozen_at: AtomicU64::new(0) })
    }

    /// The first operation that is in no table yet.
    pub(crate) fn first(&self) -> Option<Seq> {
        match self.first.load(Ordering::Acquire) {
            u64::MAX => None,
            first => Some(Seq(first)),
        }
    }

    pub(crate) fn frozen_at(&self) -> Seq {
        Seq(self.frozen_at.load(Ordering::Acquire))
    }

    fn note(&self, seq: Seq) {
        // It only falls, and mostly it is there already: one load then.
        if seq.0 < self.first.load(Ordering::Acquire) {
            self.first.fetch_min(seq.0, Ordering::AcqRel);
        }
    }
}

/// A consistent set of sources.
pub(crate) struct View {
    pub(crate) active: Arc<Mem>,
    /// Newest first.
    pub(crate) frozen: Vec<Arc<Mem>>,
    pub(crate) version: Arc<Version>,
    /// How merges are carried out, if the keyspace has an operator.
    pub(crate) merger: Option<Arc<Merger>>,
}

impl View {
    /// All memtables, newest first.
    pub(crate) fn memtables(&self) -> impl Iterator<Item = &Arc<Mem>> {
        std::iter::once(&self.active).chain(&self.frozen)
    }

    /// All value files that its entries point into: those of the version, and those that only the log
    /// names yet.
    pub(crate) fn value_files(&self) -> Arc<BlobSet> {
        let mut set = Arc::clone(&self.version.blobs);
        for meta in self.memtables().flat_map(|mem| mem.table.value_files()) {
            Arc::make_mut(&mut set).add_file(meta);
        }
        set
    }
}

/// The value files of a keyspace: opening proves each one's footer, as it does for tables.
fn open_values(state: &KeyspaceState, tables: &Tables) -> Result<Arc<BlobSet>> {
    let mut set = BlobSet::default();
    for meta in state.values.values() {
        tables.values.get(meta)?;
        set.add_file(Arc::clone(meta));
    }
    for table in state.levels.iter().flatten() {
        let added = set.add_uses(&table.values);
        added.map_err(|why| Error::evidence(EvidenceKind::Inconsistent, "MANIFEST", 0, why))?;
    }
    Ok(Arc::new(set))
}

/// Ranks for keys like those at which the keyspace's tables begin and end.
fn ranks_of(state: &KeyspaceState) -> Ranks {
    let ends = state.levels.iter().flatten().flat_map(|meta| [&*meta.smallest, &*meta.largest]);
    let mut ends: Vec<&[u8]> = ends.collect();
    ends.sort_unstable();
    Ranks::learn(&ends)
}

/// A keyspace's tree.
pub(crate) struct Tree {
    pub(crate) id: KeyspaceId,
    pub(crate) name: String,
    options: KeyspaceOptions,
    current: RwLock<Arc<View>>,
    /// Readers' ways to the current view; told of every change of it.
    handles: Arc<Handles>,
    /// The maintained count, as of everything applied.
    count: AtomicI64,
    /// The position of the last change of the count: what a reply that shows it depends on (R6).
    counted_at: AtomicU64,
    /// Everything at or below is in tables (R10).
    flushed: AtomicU64,
    /// The count as of `flushed`.
    flushed_count: AtomicI64,
    /// The active memtable ranks its keys by others that the keyspace had before.
    learned: AtomicBool,
}

impl Tree {
    /// The tree of a keyspace as the MANIFEST knows it; its memtables are empty.
    pub(crate) fn open(
        id: KeyspaceId,
        state: &KeyspaceState,
        tables: &Tables,
        operators: &MergeOperators,
    ) -> Result<Self> {
        // Opening proves each table's footer: a table that is missing, cut, old or swapped fails here.
        for meta in state.levels.iter().flatten() {
            tables.get(meta)?;
        }
        let values = open_values(state, tables)?;
        let version = Arc::new(Version::new(state.levels.clone(), values, state.options.prefix_bytes));
        let merger = state.options.merge_operator.as_deref();
        let merger = merger.map(|name| Arc::new(Merger::new(&state.name, name, operators)));
        let ranks = ranks_of(state);
        let learned = AtomicBool::new(state.levels.iter().flatten().next().is_some());
        let active = Mem::new(u64::from(id.0), state.options.write_buffer_bytes, ranks)?;
        Ok(Self {
            id,
            name: state.name.clone(),
            options: state.options.clone(),
            current: RwLock::new(Arc::new(View { active, frozen: Vec::new(), version, merger })),
            handles: Arc::clone(&tables.handles),
            count: AtomicI64::new(state.count),
            counted_at: AtomicU64::new(state.flushed.0),
            flushed: AtomicU64::new(state.flushed.0),
            flushed_count: AtomicI64::new(state.count),
            learned,
        })
    }

    pub(crate) fn options(&self) -> &KeyspaceOptions {
        &self.options
    }

    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.current.read())
    }

    pub(crate) fn flushed(&self) -> Seq {
        Seq(self.flushed.load(Ordering::Acquire))
    }

    /// The maintained count and what it depends on.
    pub(crate) fn count(&self) -> (i64, Seq) {
        (self.count.load(Ordering::Acquire), Seq(self.counted_at.load(Ordering::Acquire)))
    }

    // --- writing: only the leader of the log (or recovery) ---------------------------------------

    /// Applies one operation.
    pub(crate) fn apply(&self, seq: Seq, op: Op<'_>) -> Result<()> {
        self.apply_to(&mut self.active(), seq, op)
    }

    /// Inserts entries that come in the order of internal keys, all of which the active memtable has
    /// room for.
    pub(crate) fn insert_all<'e>(
        &self,
        entries: impl Iterator<Item = (Trailer, &'e [u8], &'e [u8])>,
    ) -> Result<()> {
        let view = self.view();
        let mut first = Seq(u64::MAX);
        for (trailer, key, value) in entries {
            let kind = trailer.kind().map_err(|e| Error::invalid(e.to_string()))?;
            first = first.min(trailer.seq());
            view.active.table.insert(trailer.seq(), kind, key, value)?;
        }
        view.active.note(first);
        Ok(())
    }

    /// Applies the operations of a span, the first of which has number `first`. Freezes by itself when
    /// the memtable's address space is used up.
    pub(crate) fn apply_span(&self, first: Seq, span: Span<'_>) -> Result<()> {
        let mut active = self.active();
        for (seq, op) in (first.0..).zip(span.iter()) {
            let op =
                op.map_err(|e| Error::new(ErrorKind::Internal, format!("a batch cannot be read: {e}")))?;
            self.apply_to(&mut active, Seq(seq), op)?;
        }
        Ok(())
    }

    fn active(&self) -> Arc<Mem> {
        Arc::clone(&self.current.read().active)
    }

    fn apply_to(&self, active: &mut Arc<Mem>, seq: Seq, op: Op<'_>) -> Result<()> {
        match op {
            Op::Put { key, value } => self.insert(active, seq, Kind::Put, key, value)?,
            Op::PutStored { key, lone } => self.insert_stored(active, seq, key, lone)?,
            Op::Merge { key, operand } => self.insert(active, seq, Kind::Merge, key, operand)?,
            Op::Delete { key } => self.insert(active, seq, Kind::Delete, key, &[])?,
            Op::DeleteRange { from, to } => {
                active.note(seq);
                active.table.add_range_tombstone(seq, from, to);
            }
            Op::Count { delta } => {
                active.note(seq);
                active.table.add_count(delta);
                // The position first: who sees the new count sees what it depends on (R6).
                self.counted_at.fetch_max(seq.0, Ordering::AcqRel);
                self.count.fetch_add(delta, Ordering::AcqRel);
            }
            // What a transaction is going to do is kept elsewhere until it is decided.
            Op::Part { .. } | Op::Prepare { .. } | Op::Decide { .. } => {}
        }
        Ok(())
    }

    /// The memtable gets the pointer, and holds the file's record for it.
    fn insert_stored(&self, active: &mut Arc<Mem>, seq: Seq, key: &[u8], lone: &[u8]) -> Result<()> {
        let lone = LoneValue::decode(lone)
            .map_err(|e| Error::new(ErrorKind::Internal, format!("a checked value is none: {e}")))?;
        let mut pointer = Vec::with_capacity(POINTER_BYTES_MAX);
        lone.pointer().encode(&mut pointer);
        self.make_room(active, seq, key.len() + pointer.len())?;
        active.table.add_value_file(Arc::new(lone.meta));
        active.table.insert(seq, Kind::ValuePointer, key, &pointer)
    }

    #[inline]
    fn insert(&self, active: &mut Arc<Mem>, seq: Seq, kind: Kind, key: &[u8], value: &[u8]) -> Result<()> {
        self.make_room(active, seq, key.len() + value.len())?;
        active.table.insert(seq, kind, key, value)
    }

    /// Makes `active` a memtable that has room for an entry of `bytes`, and notes that it gets `seq`.
    #[inline]
    fn make_room(&self, active: &mut Arc<Mem>, seq: Seq, bytes: usize) -> Result<()> {
        active.note(seq);
        if !active.table.has_room(1, bytes) {
            self.freeze(Seq(seq.0 - 1))?;
            *active = self.active();
            active.note(seq);
        }
        Ok(())
    }

    /// Bytes of the entries of the memtable that is being written.
    pub(crate) fn active_bytes(&self) -> usize {
        self.current.read().active.table.data_bytes()
    }

    /// Bytes of all memtables.
    pub(crate) fn memtable_bytes(&self) -> usize {
        self.view().memtables().map(|mem| mem.table.approximate_bytes()).sum()
    }

    /// Freezes the active memtable, which holds everything of the keyspace up to `position`.
    /// Does nothing if it is empty.
    pub(crate) fn freeze(&self, position: Seq) -> Result<bool> {
        let mut current = self.current.write();
        if current.active.first().is_none() {
            return Ok(false);
        }
        current.active.frozen_at.store(position.0, Ordering::Release);
        let mut frozen = Vec::with_capacity(current.frozen.len() + 1);
        frozen.push(Arc::clone(&current.active));
        frozen.extend_from_slice(&current.frozen);
        let capacity_bytes = self.options.write_buffer_bytes;
        let ranks = current.active.table.learn_ranks();
        let active = Mem::new(position.0 ^ (u64::from(self.id.0) << 48), capacity_bytes, ranks)?;
        *current = Arc::new(View {
            active,
            frozen,
            version: Arc::clone(&current.version),
            merger: current.merger.clone(),
        });
        drop(current);
        self.learned.store(true, Ordering::Relaxed);
        self.handles.forget(self.id);
        Ok(true)
    }

    /// The first memtable of a keyspace could not know how its keys begin. Once it has some, it is
    /// replaced by a copy that does; readers that have the old one find in it all that they may see.
    pub(crate) fn learn_early(&self) -> Result<()> {
        if self.learned.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut current = self.current.write();
        let active = &current.active;
        if active.table.len() < LEARN_ENTRIES {
            return Ok(());
        }
        self.learned.store(true, Ordering::Relaxed);
        let ranks = active.table.learn_ranks();
        if ranks == Ranks::default() || active.table.data_bytes() > LEARN_BYTES_MAX {
            return Ok(());
        }
        let capacity_bytes = self.options.write_buffer_bytes;
        let table = active.table.ranked_by(ranks, u64::from(self.id.0), capacity_bytes)?;
        let active = Mem::of(table, active.first.load(Ordering::Acquire));
        *current = Arc::new(View {
            active,
            frozen: current.frozen.clone(),
            version: Arc::clone(&current.version),
            merger: current.merger.clone(),
        });
        drop(current);
        self.handles.forget(self.id);
        Ok(())
    }

    // --- flush and compaction ---------------------------------------------------------------------

    /// The first operation that is in no table, over all memtables but `except`.
    pub(crate) fn first_unflushed(&self, except: Option<&Arc<Mem>>) -> Option<Seq> {
        let view = self.view();
        let others = view.memtables().filter(|mem| except.is_none_or(|except| !Arc::ptr_eq(mem, except)));
        others.filter_map(|mem| mem.first()).min()
    }

    /// The oldest frozen memtable.
    pub(crate) fn oldest_frozen(&self) -> Option<Arc<Mem>> {
        self.current.read().frozen.last().cloned()
    }

    /// The count as of the end of `mem`, the oldest frozen memtable.
    pub(crate) fn count_through(&self, mem: &Mem) -> i64 {
        self.flushed_count.load(Ordering::Acquire) + mem.table.count()
    }

    /// Replaces the oldest frozen memtable by the table that it was flushed to.
    pub(crate) fn install_flush(&self, mem: &Arc<Mem>, version: Version) {
        let mut current = self.current.write();
        let frozen = current.frozen.iter().filter(|m| !Arc::ptr_eq(m, mem)).cloned().collect();
        let active = Arc::clone(&current.active);
        self.flushed_count.fetch_add(mem.table.count(), Ordering::AcqRel);
        self.flushed.fetch_max(mem.frozen_at().0, Ordering::AcqRel);
        *current =
            Arc::new(View { active, frozen, version: Arc::new(version), merger: current.merger.clone() });
        drop(current);
        self.handles.forget(self.id);
    }

    /// Installs the result of a compaction.
    pub(crate) fn install_version(&self, version: Version) {
        let mut current = self.current.write();
        let (active, frozen) = (Arc::clone(&current.active), current.frozen.clone());
        *current =
            Arc::new(View { active, frozen, version: Arc::new(version), merger: current.merger.clone() });
        drop(current);
        self.handles.forget(self.id);
    }
}
