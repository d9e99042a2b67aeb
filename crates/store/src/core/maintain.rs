//! Background work, a piece at a time: flush before purge before compaction.
//!
//! Crash points: dying before the MANIFEST's edit is synced leaves a table that nothing names and
//! that the next open removes; dying behind it leaves the new state, and the files it freed are
//! still there.

use super::Inner;
use super::commit::{Log, Segment};
use super::purge::{Freed, Readers};
use super::read::{level_source, table_source};
use crate::engine::lsm::blob::separate::Placing;
use crate::engine::lsm::blob::{BlobMeta, BlobWriter, Separator, blob_path, gc};
use crate::engine::lsm::compaction::merge::{Merged, Rules, merge};
use crate::engine::lsm::compaction::pick::{self, Choice};
use crate::engine::lsm::iter::Source;
use crate::engine::lsm::table;
use crate::engine::lsm::table::TableMeta;
use crate::engine::lsm::table::format::Place;
use crate::engine::lsm::table::writer::{TableIdentity, TableWriter};
use crate::engine::lsm::tombstone::FragmentedTombstones;
use crate::engine::lsm::tree::{Change, Mem, Tables, Tree, Version};
use crate::manifest::edit::Entry;
use crate::manifest::state::State;
use crate::manifest::writer::ManifestWriter;
use crate::options::{Compression, KeyspaceOptions};
use crate::store::Step;
use crate::{manifest, wal};
use parking_lot::MutexGuard;
use ringfort_base::limits::LEVELS;
use ringfort_base::world::Disk;
use ringfort_base::{Error, ErrorKind, FileNo, KeyspaceId, Level, Result, Seq};
use ringfort_trust::chain::draw_salt;
use ringfort_trust::keys::Secret;
use ringfort_trust::volume::Class;
use ringfort_trust::{Head, Protection};
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Memtables may take this share of the memory budget before the largest is frozen.
const MEMTABLE_SHARE: usize = 3;
/// Level 0 is compacted before the next flush when it holds this many times its trigger, unless this
/// many frozen memtables wait.
const LEVEL0_PILE: usize = 4;
const FROZEN_PILE: usize = 4;
/// However small the memory budget, memtables may hold this much before writes are refused, bytes.
const MEMTABLE_BYTES_LEAST: usize = 64 << 20;
/// How often, in commit groups, the memtables' share is looked at.
const BUDGET_CHECK_GROUPS: u64 = 64;
/// The longest pause that writers are asked for, microseconds.
const WRITE_DELAY_US_MAX: f64 = 10_000.0;

impl Inner {
    pub(crate) fn maintenance_step(&self) -> Result<Step> {
        self.check()?;
        if self.memtables_full.load(Ordering::Relaxed) {
            self.update_write_delay(); // what was full may have been dropped
        }
        self.limit_log()?;
        if self.level0_is_piled_up() && self.compact_step()? == Step::Worked {
            return Ok(Step::Worked);
        }
        if self.flush_step()? == Step::Worked || self.purge_step()? == Step::Worked {
            return Ok(Step::Worked);
        }
        self.compact_step()
    }

    /// Flushes come first, but not for ever: under saturating writes level 0 would only grow.
    fn level0_is_piled_up(&self) -> bool {
        self.trees.read().values().any(|tree| {
            let view = tree.view();
            let trigger = tree.options().level0_tables;
            view.version.levels[0].len() > LEVEL0_PILE * trigger && view.frozen.len() < FROZEN_PILE
        })
    }

    /// Smooth slow-down of writers: from nothing to 10 ms a write as level 0 or the frozen
    /// memtables pile up.
    pub(crate) fn write_delay(&self) -> Duration {
        Duration::from_micros(self.delay_us.load(Ordering::Relaxed))
    }

    /// Called whenever memtables or versions change.
    fn update_write_delay(&self) {
        let mut worst = 0.0f64;
        let mut bytes = 0;
        for tree in self.trees.read().values() {
            let view = tree.view();
            let trigger = tree.options().level0_tables.max(1) as f64;
            let level0 = (view.version.levels[0].len() as f64 / trigger - 4.0) / 5.0;
            let frozen = (view.frozen.len() as f64 - 3.0) / 4.0;
            worst = worst.max(level0).max(frozen);
            bytes += tree.memtable_bytes();
        }
        let delay_us = (worst.clamp(0.0, 1.0) * WRITE_DELAY_US_MAX) as u64;
        self.delay_us.store(delay_us, Ordering::Relaxed);
        let most = self.options.memory_budget.max(MEMTABLE_BYTES_LEAST);
        self.memtables_full.store(bytes > most, Ordering::Relaxed);
    }

    // --- freezing ----------------------------------------------------------------------------------

    /// Called by the leader with the log held, after `position` was published.
    pub(crate) fn freeze_full_memtables(&self, _log: &Log, touched: &[Arc<Tree>], position: Seq) {
        let mut frozen = false;
        for tree in touched {
            if tree.active_bytes() >= tree.options().write_buffer_bytes {
                frozen |= tree.freeze(position).unwrap_or(false);
            }
        }
        // The budget over all memtables changes slowly: now and then is enough.
        if frozen || self.stats.groups.load(Ordering::Relaxed).is_multiple_of(BUDGET_CHECK_GROUPS) {
            frozen |= self.freeze_over_budget(position);
        }
        if frozen {
            self.update_write_delay();
            self.wake_maintenance();
        }
    }

    /// Freezes the largest memtable if all together take more than their share.
    fn freeze_over_budget(&self, position: Seq) -> bool {
        let trees = self.trees.read();
        let active = trees.values().map(|tree| (tree.active_bytes(), tree));
        let total: usize = active.clone().map(|(bytes, _)| bytes).sum();
        if total <= self.options.memory_budget / MEMTABLE_SHARE {
            return false;
        }
        active.max_by_key(|(bytes, _)| *bytes).is_some_and(|(_, tree)| tree.freeze(position).unwrap_or(false))
    }

    /// Freezes a tree's memtable between two groups.
    fn freeze_now(&self, tree: &Tree) -> Result<bool> {
        let _log = self.log.lock();
        tree.freeze(self.visible())
    }

    /// `max_total_wal_size`: freezes the memtable that pins the oldest segment.
    fn limit_log(&self) -> Result<()> {
        let total: u64 = self.log.lock().segments.iter().map(|segment| segment.bytes).sum();
        if total <= self.options.max_total_wal_size {
            return Ok(());
        }
        let trees: Vec<Arc<Tree>> = self.trees.read().values().cloned().collect();
        let pinning =
            trees.iter().filter_map(|tree| Some((tree.first_unflushed(None)?, tree))).min_by_key(|p| p.0);
        match pinning {
            Some((_, tree)) if tree.oldest_frozen().is_none() => self.freeze_now(tree).map(drop),
            _ => Ok(()),
        }
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
        let tombstones = mem.table.range_tombstones();
        let sources = vec![Source::Memtable(mem.table.cursor())];
        let new = self.write_tables(tree, &tree.view().version, sources, &tombstones, &rules)?;
        let mut manifest = self.manifest.lock();
        if !self.trees.read().contains_key(&tree.id) {
            // Dropped meanwhile: the next open removes what was written.
            tree.install_flush(mem, Version::clone(&tree.view().version));
            return Ok(());
        }
        let (written, change) = (new.bytes(), new.joining(0));
        let (version, dead) = self.next_version(tree, &change)?;
        let mut entries = change_entries(tree.id, &change, &dead);
        let count = tree.count_through(mem);
        entries.push(Entry::Flushed { keyspace: tree.id, through, count });
        entries.push(self.counters_entry());
        let freed = self.free_segments(tree, mem, &mut entries);
        let forgotten = self.forget_dropped(&manifest.state, &freed, &mut entries);
        let head = self.edit_manifest(&mut manifest, entries)?;
        tree.install_flush(mem, version);
        drop(manifest);
        self.context.domain_keys.write().retain(|id, _| !forgotten.contains(id));
        let (disk, _) = self.volumes.place(Class::Wal);
        let freed = freed.into_iter().map(|segment| Freed {
            disk: Arc::clone(disk),
            dir: wal::DIR,
            path: wal::path(segment.number),
            edit: head.position,
            readers: Readers::None,
        });
        self.purge.lock().files.extend(freed);
        self.update_write_delay();
        self.stats.flushes.fetch_add(1, Ordering::Relaxed);
        self.stats.flush_bytes.fetch_add(written, Ordering::Relaxed);
        self.wake_maintenance();
        Ok(())
    }

    /// R10: segments that every keyspace has flushed past, once `mem` is a table. They leave the
    /// list here; their files go with the purge.
    fn free_segments(&self, flushed: &Tree, mem: &Arc<Mem>, entries: &mut Vec<Entry>) -> Vec<Segment> {
        let mut log = self.log.lock();
        let trees = self.trees.read();
        let pinned =
            trees.values().filter_map(|tree| tree.first_unflushed((tree.id == flushed.id).then_some(mem)));
        let unreplayed = Seq(self.unreplayed.load(Ordering::Acquire));
        let pinned = pinned.min().unwrap_or(unreplayed).min(unreplayed);
        let durable = self.frontiers.get(Level::Durable);
        let mut freed = Vec::new();
        while log.segments.len() > 1 {
            let Some(oldest) = log.segments.front() else { break };
            // Strictly below the durable position: something behind it is durable, and with it the
            // name and the header of the next segment, where replay will start.
            if oldest.end >= pinned || oldest.end >= durable {
                break;
            }
            freed.extend(log.segments.pop_front());
        }
        if let (false, Some(first)) = (freed.is_empty(), log.segments.front()) {
            entries.push(Entry::LogStart { segment: first.number });
        }
        freed
    }

    /// Keys of dropped keyspaces that no record of the log needs any more go with the segments that
    /// held the last ones.
    fn forget_dropped(&self, state: &State, freed: &[Segment], entries: &mut Vec<Entry>) -> Vec<KeyspaceId> {
        let Some(through) = freed.last().map(|segment| segment.end) else { return Vec::new() };
        let dropped =
            state.keyspaces.iter().filter(|(_, keyspace)| keyspace.dropped.is_some_and(|at| at <= through));
        let forgotten: Vec<KeyspaceId> = dropped.map(|(id, _)| *id).collect();
        entries.extend(forgotten.iter().map(|&id| Entry::ForgetKeyspace { id }));
        forgotten
    }

    // --- compaction ----------------------------------------------------------------------------------

    fn compact_step(&self) -> Result<Step> {
        let Some(_compacting) = self.compacting.try_lock() else { return Ok(Step::Idle) };
        let trees: Vec<Arc<Tree>> = self.trees.read().values().cloned().collect();
        // Values are collected when no compaction is due: compactions find out what is garbage.
        for collecting in [false, true] {
            for tree in &trees {
                let view = tree.view();
                let choice = if collecting {
                    gc::choose(&view.version)
                } else {
                    pick::choose(&view.version, tree.options(), &tree.cursors.lock())
                };
                if !matches!(choice, Choice::Nothing) {
                    self.execute(tree, &view.version, choice)?;
                    return Ok(Step::Worked);
                }
            }
        }
        Ok(Step::Idle)
    }

    fn execute(&self, tree: &Tree, version: &Version, choice: Choice) -> Result<()> {
        match choice {
            Choice::Nothing => Ok(()),
            Choice::Move { level, tables } => {
                self.stats.trivial_moves.fetch_add(tables.len() as u64, Ordering::Relaxed);
                let at = |level| tables.iter().map(|table| (level, Arc::clone(table))).collect();
                self.replace(tree, Change { removed: at(level), added: at(level + 1), values: Vec::new() })
            }
            Choice::Rewrite { level, tables } => {
                self.stats.value_collections.fetch_add(1, Ordering::Relaxed);
                self.merge_tables(tree, version, (level, tables), (level, Vec::new()))
            }
            Choice::Merge { level, inputs, below } => {
                if let Some(last) = inputs.iter().map(|table| &table.largest).max() {
                    tree.cursors.lock()[level].clone_from(last);
                }
                self.merge_tables(tree, version, (level, inputs), (level + 1, below))
            }
        }
    }

    /// Merges `inputs` of `level` and `below` of `target` into new tables of `target`.
    fn merge_tables(
        &self,
        tree: &Tree,
        version: &Version,
        (level, inputs): (usize, Vec<Arc<TableMeta>>),
        (target, below): (usize, Vec<Arc<TableMeta>>),
    ) -> Result<()> {
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
        let new = self.write_tables(tree, version, sources, &tombstones, &rules)?;
        let read = inputs.iter().chain(&below).map(|table| table.file_bytes).sum::<u64>() + new.moved_bytes;
        self.stats.compaction_bytes_read.fetch_add(read, Ordering::Relaxed);
        self.stats.compaction_bytes_written.fetch_add(new.bytes(), Ordering::Relaxed);
        self.stats.compactions.fetch_add(1, Ordering::Relaxed);
        let mut change = new.joining(target);
        change.removed.extend(inputs.into_iter().map(|table| (level, table)));
        change.removed.extend(below.into_iter().map(|table| (target, table)));
        self.replace(tree, change)
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

    /// The tree's version after a change. Under the MANIFEST's lock: versions change under it.
    fn next_version(&self, tree: &Tree, change: &Change) -> Result<(Version, Vec<Arc<BlobMeta>>)> {
        let next = tree.view().version.with(change);
        next.map_err(|why| self.stop(Error::new(ErrorKind::Internal, format!("keyspace {}: {why}", tree.id))))
    }

    // --- shared by flush and compaction ----------------------------------------------------------------

    fn rules(&self, tree: &Tree, bottom: bool, table_bytes: u64) -> Rules {
        let snapshots = self.snapshots.lock().keys().map(|position| Seq(*position)).collect();
        let anchored = self.frontiers.get(Level::Fresh);
        let filter = self.filter.read().clone();
        Rules { keyspace: tree.id, snapshots, anchored, bottom, filter, table_bytes }
    }

    /// Merges into new tables and value files, synced with their directory. A full disk changes
    /// nothing here: the caller may try again. Any other failure stops the store.
    fn write_tables(
        &self,
        tree: &Tree,
        version: &Version,
        sources: Vec<Source>,
        tombstones: &FragmentedTombstones,
        rules: &Rules,
    ) -> Result<Written> {
        let options = tree.options();
        let created = RefCell::new(Vec::new());
        let create = |path: fn(FileNo) -> String| {
            let number = self.new_file();
            created.borrow_mut().push(path(number));
            number
        };
        let (disk, protection) = (&*self.tables.disk, self.tables.protection);
        let mut open = || self.table_writer(disk, protection, create(table::table_path), options);
        let mut open_values = || self.blob_writer(disk, protection, create(blob_path), options.compression);
        let placing = Placing {
            from_bytes: options.separate_values_from_bytes,
            file_bytes: rules.table_bytes,
            victims: gc::victims(&version.blobs),
            files: &self.tables.values,
            set: &version.blobs,
        };
        let separator = Separator::new(placing, &mut open_values);
        let written = merge(sources, tombstones, rules, separator, &mut open).and_then(|merged| {
            if !merged.tables.is_empty() {
                let synced = disk.sync_dir(table::TABLE_DIR);
                synced.map_err(|e| Error::io("sync", table::TABLE_DIR, &e).with_kind(ErrorKind::Io))?;
            }
            Ok(merged)
        });
        match written {
            Ok(merged) => {
                self.stats.value_bytes_moved.fetch_add(merged.moved_bytes, Ordering::Relaxed);
                Ok(merged.into())
            }
            Err(error) if error.kind() == ErrorKind::Exhausted => {
                // Nothing names these files: what was begun goes, so that trying again on a full disk
                // does not fill it further.
                for path in created.take() {
                    let _ = disk.remove(&path);
                }
                Err(error)
            }
            // Anything else stops the store, and nothing more is written.
            Err(error) => Err(self.stop(error)),
        }
    }

    /// Who a new table or value file is: it gets its own random key. The incarnation is mixed in, so
    /// that no two lives share a key even if the host makes them draw the same randomness (R13).
    fn identity(&self, protection: Protection, file: FileNo) -> Result<TableIdentity> {
        let place = Place { store: self.tables.store, file };
        let key = Secret::from_verified(draw_salt(&*self.world.entropy, self.context.incarnation)?);
        Ok(TableIdentity { place, protection, key, epoch: self.context.epoch })
    }

    /// A new value file.
    pub(crate) fn blob_writer(
        &self,
        disk: &dyn Disk,
        protection: Protection,
        file: FileNo,
        codec: Compression,
    ) -> Result<BlobWriter> {
        let identity = self.identity(protection, file)?;
        let path = blob_path(file);
        let file = disk.create(&path).map_err(|e| Error::io("create", &path, &e))?;
        Ok(BlobWriter::new(file, identity, codec))
    }

    /// A new table.
    pub(crate) fn table_writer(
        &self,
        disk: &dyn Disk,
        protection: Protection,
        file: FileNo,
        options: &KeyspaceOptions,
    ) -> Result<TableWriter> {
        let identity = self.identity(protection, file)?;
        let path = table::table_path(file);
        let file = disk.create(&path).map_err(|e| Error::io("create", &path, &e))?;
        Ok(TableWriter::new(file, identity, options.into()))
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

    /// A value file that the edit at `head` freed: as for tables.
    pub(crate) fn freed_values(&self, meta: &Arc<BlobMeta>, head: Head) -> Freed {
        Freed {
            disk: Arc::clone(&self.tables.disk),
            dir: table::TABLE_DIR,
            path: blob_path(meta.file),
            edit: head.position,
            readers: Readers::Values(meta.file, Arc::downgrade(meta)),
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
        for tree in trees {
            self.freeze_now(&tree)?;
            let _flushing = self.flushing.lock();
            while let Some(mem) = tree.oldest_frozen() {
                self.flush_mem(&tree, &mem)?;
            }
        }
        Ok(())
    }

    pub(crate) fn compact_range(
        &self,
        keyspace: KeyspaceId,
        from: Option<&[u8]>,
        to: Option<&[u8]>,
    ) -> Result<()> {
        self.flush(Some(keyspace))?;
        let tree = self.tree(keyspace)?;
        let _compacting = self.compacting.lock();
        let view = tree.view();
        let deepest = (1..LEVELS).rev().find(|level| !view.version.levels[*level].is_empty()).unwrap_or(1);
        // Even the deepest level is rewritten, so that what it need not keep goes.
        for level in 0..=deepest.min(LEVELS - 2) {
            let version = Arc::clone(&tree.view().version);
            let inputs =
                if level == 0 { version.levels[0].clone() } else { version.overlapping(level, from, to) };
            let last = level == deepest;
            match pick::plan(&version, level, inputs) {
                Choice::Move { level, tables } if last => {
                    let below = Vec::new();
                    self.or_stop(|| {
                        self.execute(&tree, &version, Choice::Merge { level, inputs: tables, below })
                    })?;
                }
                choice => self.execute(&tree, &version, choice)?,
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
            for live in view.version.blobs.files() {
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
        self.frontiers.close();
        self.wake_log();
        self.wake_maintenance();
        Ok(())
    }
}

/// What a flush or compaction wrote; nothing names it yet.
struct Written {
    tables: Vec<Arc<TableMeta>>,
    values: Vec<Arc<BlobMeta>>,
    moved_bytes: u64,
}

impl From<Merged> for Written {
    fn from(merged: Merged) -> Self {
        let Merged { tables, values, moved_bytes } = merged;
        let tables = tables.into_iter().map(Arc::new).collect();
        Self { tables, values: values.into_iter().map(Arc::new).collect(), moved_bytes }
    }
}

impl Written {
    fn bytes(&self) -> u64 {
        let tables: u64 = self.tables.iter().map(|meta| meta.file_bytes).sum();
        tables + self.values.iter().map(|meta| meta.file_bytes).sum::<u64>()
    }

    /// The change by which it joins a level.
    fn joining(self, level: usize) -> Change {
        let added = self.tables.into_iter().map(|table| (level, table)).collect();
        Change { removed: Vec::new(), added, values: self.values }
    }
}

/// The entries of a change, in the order in which each finds what it refers to; `dead` are the value
/// files that leave with it.
fn change_entries(keyspace: KeyspaceId, change: &Change, dead: &[Arc<BlobMeta>]) -> Vec<Entry> {
    let removed = change.removed.iter().map(|(level, table)| Entry::RemoveTable {
        keyspace,
        level: *level as u8,
        file: table.file,
    });
    let values = change.values.iter().map(|meta| Entry::AddValues { keyspace, meta: Arc::clone(meta) });
    let added = change.added.iter().map(|(level, meta)| Entry::AddTable {
        keyspace,
        level: *level as u8,
        meta: Arc::clone(meta),
    });
    let dead = dead.iter().map(|meta| Entry::RemoveValues { keyspace, file: meta.file });
    removed.chain(values).chain(added).chain(dead).collect()
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

/// About how many bytes of a table lie in `from..=to`.
fn approximate_bytes(
    meta: &Arc<TableMeta>,
    from: Option<&[u8]>,
    to: Option<&[u8]>,
    tables: &Tables,
) -> Result<u64> {
    let table = tables.get(meta)?;
    let all = meta.file_bytes.max(1);
    let start = from.map_or(Ok(0), |from| table.approximate_offset(from, &tables.blocks))?;
    let end = to.map_or(Ok(meta.file_bytes), |to| table.approximate_offset(to, &tables.blocks))?;
    let bytes = end.saturating_sub(start);
    // Values that it points to: in proportion.
    let values = u128::from(meta.value_bytes()) * u128::from(bytes) / u128::from(all);
    Ok(bytes + values as u64)
}
