//! Background work, a piece at a time: flush before compaction before purge, and the writers' pace.
//!
//! Crash points: dying before the MANIFEST's edit is synced leaves a table that nothing names and
//! that the next open removes; dying behind it leaves the new state, and the files it freed are
//! still there.

use super::Inner;
use super::commit::Log;
use super::purge::{Freed, Readers};
use super::values::{Opening, Written, change_entries};
use crate::engine::lsm::compaction::merge::{Merge, Rules};
use crate::engine::lsm::iter::Source;
use crate::engine::lsm::memtable;
use crate::engine::lsm::sealed_output::FileIdentity;
use crate::engine::lsm::table;
use crate::engine::lsm::table::TableMeta;
use crate::engine::lsm::table::format::Place;
use crate::engine::lsm::table::writer::{TableOptions, TableWriter};
use crate::engine::lsm::tree::{Change, Mem, Tables, Tree};
use crate::manifest;
use crate::manifest::edit::Entry;
use crate::manifest::writer::ManifestWriter;
use crate::options::KeyspaceOptions;
use crate::store::Step;
use parking_lot::MutexGuard;
use ringfort_base::limits::LEVELS;
use ringfort_base::world::Disk;
use ringfort_base::{Error, ErrorKind, FileNo, KeyspaceId, Level, Result, Seq};
use ringfort_trust::chain::draw_salt;
use ringfort_trust::keys::Secret;
use ringfort_trust::volume::Class;
use ringfort_trust::{Head, Protection};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Memtables may take this share of the memory budget. One that is written may take half of it, so
/// that another can be flushed meanwhile.
const MEMTABLE_SHARE: usize = 3;
/// However small the memory budget, memtables may hold this much before writes are refused, bytes.
const MEMTABLE_BYTES_LEAST: usize = 64 << 20;
/// How often, in commit groups, the memtables' share and the writers' pace are looked at.
const BUDGET_CHECK_GROUPS: u64 = 64;
/// Compaction goes before flushes when level 0 holds this many times its trigger: from here on
/// writers are slowed down ...
const LEVEL0_PILE: f64 = 4.0;
/// ... and at this many times they nearly stand still.
const LEVEL0_PILE_MAX: f64 = 8.0;
/// By how much of their share memtables exceed it when writers nearly stand still.
const MEMTABLE_EXCESS_MAX: f64 = 0.3;
/// The pause for a write under full pressure, as a power of two of nanoseconds: about 8 ms.
const WRITE_DELAY_LOG2_NS_MAX: f64 = 23.0;
/// A write of this size or less owes one pause, a larger one more, bytes.
const PACED_WRITE_BYTES: usize = 4096;
/// The longest pause, and the most that writers can owe.
const PAUSE_NS_MAX: u64 = 100_000_000;

/// A merge, and the files that it has begun.
pub(crate) struct Writing {
    merge: Merge,
    /// Paths.
    created: Vec<String>,
}

impl Writing {
    pub(crate) const fn new(merge: Merge) -> Self {
        Self { merge, created: Vec::new() }
    }
}

impl Inner {
    pub(crate) fn maintenance_step(&self) -> Result<Step> {
        self.check()?;
        if self.memtables_full.load(Ordering::Relaxed) {
            self.update_write_delay(); // what was full may have been dropped
        }
        self.limit_log()?;
        let done = self.most_urgent();
        let full = done.as_ref().is_err_and(|error| error.kind() == ErrorKind::Exhausted);
        if full && self.check().is_ok() {
            self.purge_step()?; // what may go makes room for the next try
        }
        match &done {
            Ok(Step::Worked) => self.maintained.store(true, Ordering::Relaxed),
            // Memtables and a compaction's buffers are gone now; their memory is the cache's again.
            Ok(Step::Idle) if self.maintained.swap(false, Ordering::Relaxed) => ringfort_base::memory::trim(),
            Ok(Step::Idle) | Err(_) => {}
        }
        done
    }

    /// Flushes go before compactions, between two slices of one, but not for ever: under saturating
    /// writes level 0 would only grow. Files that may be deleted already are; only an idle store
    /// advances the counter for them.
    fn most_urgent(&self) -> Result<Step> {
        let steps: [&dyn Fn() -> Result<Step>; 5] = [
            &|| if self.level0_goes_first() { self.compact_step() } else { Ok(Step::Idle) },
            &|| self.flush_step(),
            &|| self.purge_anchored(),
            &|| self.compact_step(),
            &|| self.purge_step(),
        ];
        for step in steps {
            if step()? == Step::Worked {
                return Ok(Step::Worked);
            }
        }
        Ok(Step::Idle)
    }

    fn level0_goes_first(&self) -> bool {
        let trees = self.trees.read();
        let memtables: usize = trees.values().map(|tree| tree.memtable_bytes()).sum();
        memtables <= self.memtable_share() && trees.values().any(|tree| level0_pile(tree) > LEVEL0_PILE)
    }

    const fn memtable_share(&self) -> usize {
        self.options.memory_budget / MEMTABLE_SHARE
    }

    // --- pace --------------------------------------------------------------------------------------

    /// How long a writer should pause for a write of ordinary size.
    pub(crate) fn write_delay(&self) -> Duration {
        Duration::from_nanos(self.delay_ns.load(Ordering::Relaxed))
    }

    /// Notes that `bytes` were submitted: under pressure they owe a pause.
    #[inline]
    pub(crate) fn owe_pause(&self, bytes: usize) {
        let delay = self.delay_ns.load(Ordering::Relaxed);
        if delay > 0 {
            let owed = delay.saturating_mul((bytes / PACED_WRITE_BYTES).max(1) as u64);
            self.owed_ns.fetch_add(owed.min(PAUSE_NS_MAX), Ordering::Relaxed);
        }
    }

    /// The pause that the writes so far owe, if it is at least `least`: whoever gets it, pauses for
    /// all. Small delays add up to pauses that a timer can keep.
    pub(crate) fn take_pause(&self, least: Duration) -> Option<Duration> {
        let owed = self.owed_ns.load(Ordering::Relaxed);
        if owed == 0 || u128::from(owed) < least.as_nanos() {
            return None;
        }
        let pause = self.owed_ns.swap(0, Ordering::Relaxed).min(PAUSE_NS_MAX);
        Some(Duration::from_nanos(pause)).filter(|pause| *pause >= least)
    }

    /// Smooth slow-down: the pause doubles with every 23rd of the way from no pressure to the most,
    /// so that somewhere in between writers and upkeep are in balance. Called whenever memtables or
    /// versions change, and now and then while memtables grow.
    pub(crate) fn update_write_delay(&self) {
        let mut pressure = 0.0f64;
        let mut bytes = 0;
        for tree in self.trees.read().values() {
            pressure = pressure.max((level0_pile(tree) - LEVEL0_PILE) / (LEVEL0_PILE_MAX - LEVEL0_PILE));
            bytes += tree.memtable_bytes();
        }
        let prepared = self.prepared.lock().bytes();
        self.tables.blocks.set_reserved(bytes + prepared + memtable::spare_bytes());
        let excess = bytes as f64 / self.memtable_share().max(1) as f64 - 1.0;
        pressure = pressure.max(excess / MEMTABLE_EXCESS_MAX);
        let delay_ns =
            if pressure > 0.0 { (WRITE_DELAY_LOG2_NS_MAX * pressure.min(1.0)).exp2() as u64 } else { 0 };
        self.delay_ns.store(delay_ns, Ordering::Relaxed);
        if delay_ns == 0 {
            self.owed_ns.store(0, Ordering::Relaxed);
        }
        let most = self.options.memory_budget.max(MEMTABLE_BYTES_LEAST);
        self.memtables_full.store(bytes > most, Ordering::Relaxed);
    }

    // --- freezing ----------------------------------------------------------------------------------

    /// Called by the leader with the log held, after `position` was published.
    pub(crate) fn freeze_full_memtables(&self, _log: &Log, touched: &[Arc<Tree>], position: Seq) {
        let mut frozen = false;
        for tree in touched {
            // Without memory for it the keyspace goes on as it is.
            let _ = tree.learn_early();
            if tree.active_bytes() >= tree.options().write_buffer_bytes {
                frozen |= tree.freeze(position).unwrap_or(false);
            }
        }
        // The budget over all memtables changes slowly: now and then is enough.
        if frozen || self.stats.groups.load(Ordering::Relaxed).is_multiple_of(BUDGET_CHECK_GROUPS) {
            frozen |= self.freeze_over_budget(position);
            self.update_write_delay();
        }
        if frozen {
            self.wake_maintenance();
        }
    }

    /// Freezes the largest memtable if all that are written take more than half of their share.
    fn freeze_over_budget(&self, position: Seq) -> bool {
        let trees = self.trees.read();
        let active = trees.values().map(|tree| (tree.active_bytes(), tree));
        let total: usize = active.clone().map(|(bytes, _)| bytes).sum();
        if total <= self.memtable_share() / 2 {
            return false;
        }
        active.max_by_key(|(bytes, _)| *bytes).is_some_and(|(_, tree)| tree.freeze(position).unwrap_or(false))
    }

    /// Freezes a tree's memtable between two groups.
    pub(super) fn freeze_now(&self, tree: &Tree) -> Result<bool> {
        let _log = self.log.lock();
        tree.freeze(self.visible())
    }

    // --- flush -------------------------------------------------------------------------------------

    fn flush_step(&self) -> Result<Step> {
        let Some(_flushing) = self.flushing.try_lock() else { return Ok(Step::Idle) };
        let oldest = {
            let trees = self.trees.read();
            let frozen = trees.values().filter_map(|tree| Some((Arc::clone(tree), tree.oldest_frozen()?)));
            frozen.min_by_key(|(_, mem)| mem.frozen_at())
        };
        match oldest {
            Some((tree, mem)) => self.flush_mem(&tree, &mem).map(|()| Step::Worked),
            None => Ok(Step::Idle),
        }
    }

    pub(crate) fn flush_mem(&self, tree: &Tree, mem: &Arc<Mem>) -> Result<()> {
        let through = mem.frozen_at();
        // R9: the log first, through the memtable's last position.
        while self.frontiers.get(Level::Durable) < through {
            self.sync_now()?;
        }
        let rules = self.rules(tree, false, u64::MAX);
        let sources = vec![Source::Memtable(mem.table.cursor())];
        let tombstones = (*mem.table.range_tombstones()).clone();
        let separator = self.flush_separator(tree, &tree.view(), mem);
        let mut writing = Writing::new(Merge::new(sources, tombstones, rules, separator));
        // One slice: nothing is more urgent.
        let new = self.write_tables(tree.options(), &mut writing, usize::MAX)?.unwrap_or_default();
        drop(writing);
        let mut manifest = self.manifest.lock();
        if !self.trees.read().contains_key(&tree.id) {
            // Dropped meanwhile: the next open removes what was written.
            tree.install_flush(mem, self.next_version(tree, &Change::default())?.0);
            return Ok(());
        }
        let (written, change) = (new.bytes(), new.joining(0));
        let (version, dead) = self.next_version(tree, &change)?;
        let mut entries = change_entries(tree.id, &change, &dead);
        let count = tree.count_through(mem);
        entries.push(Entry::Flushed { keyspace: tree.id, through, count });
        entries.push(self.counters_entry());
        let freed = self.free_segments(Some((tree, mem)), &mut entries);
        let forgotten = self.forget_dropped(&manifest.state, &freed, &mut entries);
        let head = self.edit_manifest(&mut manifest, entries)?;
        tree.install_flush(mem, version);
        drop(manifest);
        self.forget_keys(&forgotten);
        let values = self.left_over(mem, &change, head);
        self.purge.lock().files.extend(self.freed_segments(freed, head).chain(values));
        self.update_write_delay();
        self.stats.flushes.fetch_add(1, Ordering::Relaxed);
        self.stats.flush_bytes.fetch_add(written, Ordering::Relaxed);
        self.wake_maintenance();
        Ok(())
    }

    // --- shared by flush and compaction ----------------------------------------------------------------

    pub(crate) fn rules(&self, tree: &Tree, bottom: bool, table_bytes: u64) -> Rules {
        let snapshots = self.snapshots.lock().keys().map(|position| Seq(*position)).collect();
        let anchored = self.frontiers.get(Level::Fresh);
        let filter = self.filter.read().clone();
        let merger = tree.view().merger.clone();
        Rules { keyspace: tree.id, snapshots, anchored, bottom, filter, table_bytes, merger }
    }

    /// Goes on with a merge for about `slice_bytes`; when it is done: its files, synced with their
    /// directory. After a full disk the merge is to be given up, and the caller may try again with a
    /// new one; nothing was changed. Any other failure stops the store.
    pub(crate) fn write_tables(
        &self,
        options: &KeyspaceOptions,
        writing: &mut Writing,
        slice_bytes: usize,
    ) -> Result<Option<Written>> {
        let Writing { merge, created } = writing;
        let mut open = Opening { inner: self, options, bottom: merge.is_bottom(), created };
        let done = merge.step(slice_bytes, &mut open).and_then(|done| {
            if !done {
                return Ok(None);
            }
            let written = Written::from(merge.take_files());
            if !written.tables.is_empty() {
                let synced = self.tables.disk.sync_dir(table::TABLE_DIR);
                synced.map_err(|e| Error::io("sync", table::TABLE_DIR, &e).with_kind(ErrorKind::Io))?;
            }
            self.stats.value_bytes_moved.fetch_add(written.moved_bytes, Ordering::Relaxed);
            Ok(Some(written))
        });
        match done {
            Err(error) if error.kind() == ErrorKind::Exhausted => {
                self.remove_unnamed(writing);
                Err(error)
            }
            // Anything else stops the store, and nothing more is written.
            done => done.map_err(|error| self.stop(error)),
        }
    }

    /// Removes files that no edit names: what was begun goes, so that trying again on a full disk
    /// does not fill it further. What stays is removed by the next open.
    pub(crate) fn remove_unnamed(&self, writing: &Writing) {
        for path in &writing.created {
            let _ = self.tables.disk.remove(path);
        }
    }

    /// Who a new table or value file is: it gets its own random key. The incarnation is mixed in, so
    /// that no two lives share a key even if the host makes them draw the same randomness (R13).
    pub(crate) fn identity(&self, protection: Protection, file: FileNo) -> Result<FileIdentity> {
        let place = Place { store: self.tables.store, file };
        let key = Secret::from_verified(draw_salt(&*self.world.entropy, self.context.incarnation)?);
        Ok(FileIdentity { place, protection, key, epoch: self.context.epoch })
    }

    /// A new table.
    pub(crate) fn table_writer(
        &self,
        disk: &dyn Disk,
        protection: Protection,
        file: FileNo,
        options: TableOptions,
    ) -> Result<TableWriter> {
        let identity = self.identity(protection, file)?;
        let path = table::table_path(file);
        let file = disk.create(&path).map_err(|e| Error::io("create", &path, &e))?;
        Ok(TableWriter::new(file, identity, options))
    }

    /// A table that the edit at `head` freed: it goes when nobody holds its record any more.
    pub(crate) fn freed_table(&self, meta: &Arc<TableMeta>, head: Head) -> Freed {
        Freed {
            disk: Arc::clone(&self.tables.disk),
            dir: table::TABLE_DIR,
            path: table::table_path(meta.file),
            edit: head.position,
            readers: Readers::Table(meta.file, Arc::downgrade(meta)),
        }
    }

    pub(crate) fn counters_entry(&self) -> Entry {
        Entry::Counters {
            next_file: FileNo(self.next_file.load(Ordering::Relaxed)),
            next_keyspace: KeyspaceId::SYSTEM,
            last_seq: self.frontiers.get(Level::Durable),
            time_ms: self.clock.now().now_ms,
        }
    }

    /// Appends an edit and, when the MANIFEST has grown large, goes on in a new one.
    pub(crate) fn edit_manifest(
        &self,
        manifest: &mut MutexGuard<'_, ManifestWriter>,
        entries: Vec<Entry>,
    ) -> Result<Head> {
        // Another thread's failure may have stopped the store meanwhile: nothing more is written (R11).
        self.check()?;
        self.or_stop(|| {
            let head = manifest.append(&self.context, entries)?;
            if manifest.is_large() {
                self.roll_manifest(manifest)?;
            }
            *self.manifest_head.lock() = manifest.head();
            Ok(head)
        })
    }

    fn roll_manifest(&self, manifest: &mut MutexGuard<'_, ManifestWriter>) -> Result<()> {
        let (disk, protection) = self.volumes.place(Class::Manifest);
        let (old, number, continues) = (manifest.number, self.new_file(), manifest.head());
        let state = manifest.state.clone();
        **manifest =
            ManifestWriter::create(&self.context, Arc::clone(disk), protection, number, continues, state)?;
        let edit = manifest.head().position;
        let path = manifest::path(old);
        self.purge.lock().files.push(Freed {
            disk: Arc::clone(disk),
            dir: "",
            path,
            edit,
            readers: Readers::None,
        });
        Ok(())
    }

    // --- on demand --------------------------------------------------------------------------------------

    pub(crate) fn flush(&self, keyspace: Option<KeyspaceId>) -> Result<()> {
        self.check()?;
        let trees: Vec<Arc<Tree>> = match keyspace {
            Some(id) => vec![self.tree(id)?],
            None => self.trees.read().values().cloned().collect(),
        };
        self.begin_segment_before_flush(&trees)?;
        for tree in trees {
            self.freeze_now(&tree)?;
            let _flushing = self.flushing.lock();
            while let Some(mem) = tree.oldest_frozen() {
                self.flush_mem(&tree, &mem)?;
            }
        }
        Ok(())
    }

    pub(crate) fn verify_checksums(&self) -> Result<u64> {
        self.check()?;
        let trees: Vec<Arc<Tree>> = self.trees.read().values().cloned().collect();
        let mut bytes = 0;
        for tree in trees {
            let view = tree.view();
            for table in view.version.levels.iter().flatten() {
                self.tables
                    .reopen(table)
                    .and_then(|open| open.verify())
                    .map_err(|error| self.refuse(error))?;
                bytes += table.file_bytes;
            }
            // Those as well that only the log names yet.
            for live in view.value_files().files() {
                let verified = self.tables.values.reopen(&live.meta).and_then(|file| file.verify());
                verified.map_err(|error| self.refuse(error))?;
                bytes += live.meta.file_bytes;
            }
        }
        Ok(bytes)
    }

    pub(crate) fn approximate_size(
        &self,
        keyspace: KeyspaceId,
        from: Option<&[u8]>,
        to: Option<&[u8]>,
    ) -> Result<u64> {
        let tree = self.tree(keyspace)?;
        let view = tree.view();
        let tables = (0..LEVELS).flat_map(|level| view.version.overlapping(level, from, to));
        let tables =
            tables.map(|table| approximate_bytes(&table, from, to, &self.tables)).sum::<Result<u64>>()?;
        Ok(tables + view.memtables().map(|mem| mem.table.approximate_bytes() as u64).sum::<u64>())
    }

    /// Applies what is queued, makes it durable and anchored (R7), then stops taking work.
    pub(crate) fn close(&self) -> Result<()> {
        // Whoever closes second waits for the first, and hears how it went.
        let mut closed = self.closed.lock();
        if let Some(outcome) = &*closed {
            return outcome.clone();
        }
        let outcome = self.close_now();
        *closed = Some(outcome.clone());
        outcome
    }

    fn close_now(&self) -> Result<()> {
        self.check()?;
        while self.lead(self.log.lock())? == Step::Worked {}
        self.sync_now()?;
        self.anchor_now()?;
        // Everything is safe by now. A disk that cannot keeps the space reserved until a flush frees the
        // segment.
        let _ = self.log.lock().writer.give_back();
        self.frontiers.close();
        self.empty_queue();
        self.prepared.lock().release();
        self.wake_log();
        self.wake_maintenance();
        Ok(())
    }
}

/// How many times its trigger level 0 holds, in tables.
fn level0_pile(tree: &Tree) -> f64 {
    tree.view().version.levels[0].len() as f64 / tree.options().level0_tables.max(1) as f64
}

/// About how many bytes of a table lie in `from..=to`.
fn approximate_bytes(
    meta: &Arc<TableMeta>,
    from: Option<&[u8]>,
    to: Option<&[u8]>,
    tables: &Tables,
) -> Result<u64> {
    let table = tables.get(meta)?;
    let start = from.map_or(Ok(0), |from| table.approximate_offset(from, &tables.blocks))?;
    let end = to.map_or(Ok(meta.file_bytes), |to| table.approximate_offset(to, &tables.blocks))?;
    let bytes = end.saturating_sub(start);
    // Values that it points to: in proportion.
    let values = u128::from(meta.value_bytes()) * u128::from(bytes) / u128::from(meta.file_bytes.max(1));
    Ok(bytes + values as u64)
}
