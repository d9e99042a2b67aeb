//! Compactions: one at a time, a slice at a time, so that what is more urgent goes first.
//!
//! ```text
//! choose (pick) ──▶ Job { inputs, merge } ──slice──slice──slice──▶ edit of the MANIFEST ──▶ purge
//!                          └── a flush goes between two slices ──┘
//! ```
//! A job holds the records of its inputs, so their files stay. Flushes only add to level 0 and
//! nobody else changes the deeper levels meanwhile: what was chosen stays true until it is installed.
//! A job that is given up, by a full disk or because its keyspace was dropped, leaves no trace.

use super::Inner;
use super::maintain::Writing;
use super::purge::Freed;
use super::read::{level_source, table_source};
use super::values::{Written, change_entries};
use crate::engine::lsm::blob::gc;
use crate::engine::lsm::compaction::merge::Merge;
use crate::engine::lsm::compaction::pick::{self, Choice};
use crate::engine::lsm::iter::Source;
use crate::engine::lsm::table::TableMeta;
use crate::engine::lsm::tombstone::FragmentedTombstones;
use crate::engine::lsm::tree::{Change, Tree, Version};
use crate::store::Step;
use ringfort_base::limits::LEVELS;
use ringfort_base::{KeyspaceId, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A slice reads about this much, bytes: some ten milliseconds.
const SLICE_BYTES: usize = 4 << 20;

/// A compaction under way.
pub(crate) struct Job {
    tree: Arc<Tree>,
    level: usize,
    inputs: Vec<Arc<TableMeta>>,
    /// Where the new tables go, with what they replace there.
    target: usize,
    below: Vec<Arc<TableMeta>>,
    writing: Writing,
}

impl Job {
    /// Whether it compacts this tree.
    pub(crate) fn is_of(&self, tree: &Tree) -> bool {
        self.tree.id == tree.id
    }
}

impl Inner {
    /// A slice of the compaction that is under way, or of a new one.
    pub(crate) fn compact_step(&self) -> Result<Step> {
        let Some(mut job) = self.compacting.try_lock() else { return Ok(Step::Idle) };
        if job.is_some() {
            return self.go_on(&mut job, SLICE_BYTES).map(|_| Step::Worked);
        }
        let trees: Vec<Arc<Tree>> = self.trees.read().values().cloned().collect();
        // Values are collected when no compaction is due: compactions find out what is garbage.
        for collecting in [false, true] {
            for tree in &trees {
                let view = tree.view();
                let choice = if collecting {
                    gc::choose(&view.version)
                } else {
                    pick::choose(&view.version, tree.options())
                };
                if !matches!(choice, Choice::Nothing) {
                    *job = self.begin(tree, &view.version, choice)?;
                    self.go_on(&mut job, SLICE_BYTES)?;
                    return Ok(Step::Worked);
                }
            }
        }
        Ok(Step::Idle)
    }

    /// Begins what was chosen; a move is done at once.
    fn begin(&self, tree: &Arc<Tree>, version: &Version, choice: Choice) -> Result<Option<Job>> {
        let (level, inputs, target, below) = match choice {
            Choice::Nothing => return Ok(None),
            Choice::Move { level, tables } => {
                self.stats.trivial_moves.fetch_add(tables.len() as u64, Ordering::Relaxed);
                let at = |level| tables.iter().map(|table| (level, Arc::clone(table))).collect();
                let change = Change { removed: at(level), added: at(level + 1), values: Vec::new() };
                return self.replace(tree, change).map(|()| None);
            }
            Choice::Rewrite { level, tables } => {
                self.stats.value_collections.fetch_add(1, Ordering::Relaxed);
                (level, tables, level, Vec::new())
            }
            Choice::Merge { level, inputs, below } => (level, inputs, level + 1, below),
        };
        let bottom = self.is_bottom(version, target, inputs.iter().chain(&below));
        let rules = self.rules(tree, bottom, tree.options().table_bytes);
        let mut sources: Vec<Source> = if level == 0 {
            let newest_first = inputs.iter().rev();
            newest_first.map(|meta| table_source(meta, &self.tables, false)).collect::<Result<_>>()?
        } else {
            vec![level_source(inputs.clone(), &self.tables, false)]
        };
        if !below.is_empty() {
            sources.push(level_source(below.clone(), &self.tables, false));
        }
        let mut tombstones = FragmentedTombstones::default();
        for meta in inputs.iter().chain(&below).filter(|meta| meta.range_tombstones > 0) {
            tombstones = merged(&tombstones, self.tables.get(meta)?.range_tombstones());
        }
        let separator = self.separator(tree, version, rules.table_bytes);
        let writing = Writing::new(Merge::new(sources, tombstones, rules, separator));
        Ok(Some(Job { tree: Arc::clone(tree), level, inputs, target, below, writing }))
    }

    /// A slice of `job`, if there is one; it is taken when it is done, installed or given up.
    pub(crate) fn go_on(&self, job: &mut Option<Job>, slice_bytes: usize) -> Result<()> {
        let Some(mut present) = job.take() else { return Ok(()) };
        if !self.trees.read().contains_key(&present.tree.id) {
            self.remove_unnamed(&present.writing);
            return Ok(());
        }
        match self.write_tables(present.tree.options(), &mut present.writing, slice_bytes)? {
            Some(written) => self.install(present, written),
            None => {
                *job = Some(present);
                Ok(())
            }
        }
    }

    fn install(&self, job: Job, new: Written) -> Result<()> {
        let Job { tree, level, inputs, target, below, .. } = job;
        let read = inputs.iter().chain(&below).map(|table| table.file_bytes).sum::<u64>() + new.moved_bytes;
        self.stats.compaction_bytes_read.fetch_add(read, Ordering::Relaxed);
        self.stats.compaction_bytes_written.fetch_add(new.bytes(), Ordering::Relaxed);
        self.stats.compactions.fetch_add(1, Ordering::Relaxed);
        let mut change = new.joining(target);
        change.removed.extend(inputs.into_iter().map(|table| (level, table)));
        change.removed.extend(below.into_iter().map(|table| (target, table)));
        self.replace(&tree, change)
    }

    /// Nothing below `level` touches the keys of `tables`.
    fn is_bottom<'t>(
        &self,
        version: &Version,
        level: usize,
        tables: impl Iterator<Item = &'t Arc<TableMeta>> + Clone,
    ) -> bool {
        let smallest = tables.clone().map(|table| table.smallest.as_slice()).min();
        let largest = tables.map(|table| table.largest.as_slice()).max();
        (level + 1..LEVELS).all(|deeper| version.overlapping(deeper, smallest, largest).is_empty())
    }

    /// Writes the edit that replaces tables, installs it, and leaves the old files to the purge.
    fn replace(&self, tree: &Tree, change: Change) -> Result<()> {
        let mut manifest = self.manifest.lock();
        if !self.trees.read().contains_key(&tree.id) {
            return Ok(()); // dropped meanwhile: the next open removes what was written
        }
        let (version, dead) = self.next_version(tree, &change)?;
        let mut entries = change_entries(tree.id, &change, &dead);
        entries.push(self.counters_entry());
        let head = self.edit_manifest(&mut manifest, entries)?;
        tree.install_version(version);
        drop(manifest);
        // A table that only moved stays.
        let stays = |old: &TableMeta| change.added.iter().any(|(_, table)| table.file == old.file);
        let gone = change.removed.iter().filter(|(_, old)| !stays(old));
        let tables = gone.map(|(_, old)| self.freed_table(old, head));
        let freed: Vec<Freed> = tables.chain(dead.iter().map(|meta| self.freed_values(meta, head))).collect();
        self.purge.lock().files.extend(freed);
        self.update_write_delay();
        self.wake_maintenance();
        Ok(())
    }

    /// Compacts a range through all levels, whatever is due. A compaction that is under way is
    /// finished first.
    pub(crate) fn compact_range(
        &self,
        keyspace: KeyspaceId,
        from: Option<&[u8]>,
        to: Option<&[u8]>,
    ) -> Result<()> {
        self.flush(Some(keyspace))?;
        let tree = self.tree(keyspace)?;
        let mut job = self.compacting.lock();
        self.go_on(&mut job, usize::MAX)?;
        let view = tree.view();
        let deepest = (1..LEVELS).rev().find(|level| !view.version.levels[*level].is_empty()).unwrap_or(1);
        // Even the deepest level is rewritten, so that what it need not keep goes.
        for level in 0..=deepest.min(LEVELS - 2) {
            let version = Arc::clone(&tree.view().version);
            let inputs =
                if level == 0 { version.levels[0].clone() } else { version.overlapping(level, from, to) };
            let choice = match pick::plan(&version, level, inputs) {
                Choice::Move { level, tables } if level == deepest => {
                    Choice::Merge { level, inputs: tables, below: Vec::new() }
                }
                choice => choice,
            };
            *job = self.begin(&tree, &version, choice)?;
            self.go_on(&mut job, usize::MAX)?;
        }
        Ok(())
    }
}

/// Two lists of range tombstones as one.
fn merged(one: &FragmentedTombstones, other: &FragmentedTombstones) -> FragmentedTombstones {
    let mut all = one.clone();
    for fragment in other.fragments() {
        for &seq in &fragment.seqs {
            all = all.with(seq, &fragment.from, &fragment.to);
        }
    }
    all
}
