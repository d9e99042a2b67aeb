//! Bulk load: sorted entries become tables without the log, the memtable and compactions.
//!
//! ```text
//! write      sorted entries ──▶ tables, synced; nothing names them
//! lock       the whole range, so that no transaction sees the load in its middle
//! install    flush what overlaps ─▶ [ log: a marker takes position P, synced     R9
//!                                     MANIFEST: one edit adds all tables, as of P
//!                                     counter: an anchor covers both
//!                                     version, then the frontier: P is visible ]
//! ```
//!
//! The tables are sealed before their position is known, so their entries carry sequence number 0, and
//! the table's record says that all of them are as of P (`TableMeta::loaded`). What is in brackets
//! happens with the log held: whoever sees a position at or above P sees the tables, whoever has a
//! snapshot below does not. The MANIFEST is recovered at its anchored edit, and the log does not hold
//! the entries: so the anchor comes before anybody sees them. Dying before it leaves files that nothing
//! names; the marker alone means nothing. Writers wait for these two syncs and one advance.
//!
//! A table goes to the deepest level that no newer data hides and that is large enough for it. No
//! compaction of the keyspace is under way meanwhile, so none has chosen without seeing it.

use super::Inner;
use super::commit::{Log, Trees};
use super::compact::Job;
use super::values::change_entries;
use crate::batch::check_lengths;
use crate::engine::lsm::compaction::pick::level_target_bytes;
use crate::engine::lsm::key::{Kind, Trailer};
use crate::engine::lsm::table::writer::TableOptions;
use crate::engine::lsm::table::{self, TableMeta, TableWriter};
use crate::engine::lsm::tree::{Change, Mem, Tree, Version};
use crate::manifest::edit::Entry;
use crate::store::Ticket;
use crate::wal::writer::Entry as Logged;
use parking_lot::MutexGuard;
use ringfort_base::limits::LEVELS;
use ringfort_base::{Error, ErrorKind, FileNo, KeyspaceId, Level, Result, Seq};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How often memtables that overlap are flushed before a load gives way to whoever goes on writing
/// into its range.
const FLUSHES_MAX: usize = 8;

/// Takes one entry.
pub(crate) type Sink<'s> = &'s mut dyn FnMut(&[u8], &[u8]) -> Result<()>;

/// The tables of a load, which no edit names yet.
struct Loading<'a> {
    inner: &'a Inner,
    tree: &'a Tree,
    writer: Option<TableWriter>,
    last_key: Vec<u8>,
    created: Vec<FileNo>,
    done: Vec<TableMeta>,
}

impl Loading<'_> {
    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if !self.created.is_empty() && key <= self.last_key.as_slice() {
            return Err(Error::invalid("the keys of a bulk load must ascend, each once"));
        }
        let full = |writer: &TableWriter| writer.approximate_bytes() >= self.tree.options().table_bytes;
        if self.writer.as_ref().is_some_and(full) {
            self.close()?;
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => {
                let (number, tables) = (self.inner.new_file(), &self.inner.tables);
                self.created.push(number);
                // Where it goes is not known yet: most likely deep.
                let options = TableOptions::at(self.tree.options(), true);
                none.insert(self.inner.table_writer(&*tables.disk, tables.protection, number, options)?)
            }
        };
        writer.add(key, Trailer::new(Seq::ZERO, Kind::Put), value)?;
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            self.done.push(writer.finish()?);
        }
        Ok(())
    }
}

/// Given up, by an error or by who waited for it: nothing names what was written.
impl Drop for Loading<'_> {
    fn drop(&mut self) {
        for number in &self.created {
            let _ = self.inner.tables.disk.remove(&table::table_path(*number));
        }
    }
}

impl Inner {
    /// See the module. `entries` hands each entry to its argument.
    pub(crate) async fn bulk_load(
        &self,
        keyspace: KeyspaceId,
        entries: &mut dyn FnMut(Sink<'_>) -> Result<()>,
    ) -> Result<Ticket> {
        self.check()?;
        let tree = self.tree(keyspace)?;
        let mut loading = Loading {
            inner: self,
            tree: &tree,
            writer: None,
            last_key: Vec::new(),
            created: Vec::new(),
            done: Vec::new(),
        };
        let written = entries(&mut |key, value| {
            check_lengths(key.len(), value.len())?;
            loading.add(key, value)
        });
        let written = written.and_then(|()| loading.close());
        let tables = std::mem::take(&mut loading.done);
        let synced = written.and_then(|()| {
            if tables.is_empty() {
                return Ok(());
            }
            let synced = self.tables.disk.sync_dir(table::TABLE_DIR);
            synced.map_err(|e| Error::io("sync", table::TABLE_DIR, &e).with_kind(ErrorKind::Io))
        });
        let installed = match (synced, tables.first(), tables.last()) {
            (Ok(()), Some(first), Some(last)) => {
                // Up to the largest key, itself included.
                let end = [&last.largest[..], &[0]].concat();
                let locks = self.lock_whole(keyspace, &first.smallest, Some(&end)).await;
                locks.and_then(|_locks| self.install_load(&tree, &tables))
            }
            (synced, ..) => synced.map(|()| Ticket { position: self.visible() }),
        };
        match installed {
            Ok(ticket) => {
                loading.created.clear();
                Ok(ticket)
            }
            // Nothing was changed, and nothing names these files.
            Err(error) if load_may_be_retried(&error) && self.check().is_ok() => Err(error),
            Err(error) => {
                loading.created.clear();
                Err(self.stop(error))
            }
        }
    }

    fn install_load(&self, tree: &Arc<Tree>, tables: &[TableMeta]) -> Result<Ticket> {
        for _ in 0..FLUSHES_MAX {
            if view_overlaps(tree, tables) {
                self.flush(Some(tree.id))?;
            }
            let mut job = self.compacting.lock();
            self.finish_compaction(&mut job, tree)?;
            if let Some(ticket) = self.try_install_load(tree, tables)? {
                drop(job);
                self.update_write_delay();
                self.wake_maintenance();
                return Ok(ticket);
            }
        }
        let message = "writes into the range of a bulk load do not end; try again when there are fewer";
        Err(Error::new(ErrorKind::Exhausted, message))
    }

    /// A compaction of this tree that is under way has chosen without seeing the new tables.
    fn finish_compaction(&self, job: &mut MutexGuard<'_, Option<Job>>, tree: &Tree) -> Result<()> {
        if job.as_ref().is_some_and(|job| job.is_of(tree)) { self.go_on(job, usize::MAX) } else { Ok(()) }
    }

    /// `None`: memtables overlap again.
    fn try_install_load(&self, tree: &Arc<Tree>, tables: &[TableMeta]) -> Result<Option<Ticket>> {
        let _sync = self.sync.lock();
        let anchor = self.anchor.lock();
        let mut manifest = self.manifest.lock();
        let mut log = self.log.lock();
        let may = |trees: &Trees<'_>| match trees.contains_key(&tree.id) {
            true => Ok(!view_overlaps(tree, tables)),
            false => {
                let message = format!("keyspace {} was dropped while it was loaded", tree.id);
                Err(Error::new(ErrorKind::NotFound, message))
            }
        };
        let Some(marker) = self.place_marker(&mut log, tree.id, may)? else { return Ok(None) };
        let position = marker.last();
        let added = placed(&tree.view().version, tree, tables, position);
        let change = Change { added, ..Change::default() };
        let (version, _) = self.next_version(tree, &change)?;
        let installed = self.or_stop(|| {
            self.log_marker(&mut log, marker, position)?;
            self.edit_manifest(&mut manifest, self.load_entries(tree, &change, position))?;
            self.anchor_round(anchor, true)
        });
        // A position is taken, and the edit may be anchored (R11).
        installed.map_err(|error| error.with_kind(ErrorKind::OutcomeUnknown))?;
        tree.install_version(version);
        self.frontiers.raise(Level::Buffered, position);
        let bytes = change.added.iter().map(|(_, meta)| meta.file_bytes).sum();
        self.stats.flush_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(Some(Ticket { position }))
    }

    /// The edit of a load.
    fn load_entries(&self, tree: &Tree, change: &Change, position: Seq) -> Vec<Entry> {
        let mut entries = change_entries(tree.id, change, &[]);
        let mut counters = self.counters_entry();
        if let Entry::Counters { last_seq, .. } = &mut counters {
            *last_seq = position;
        }
        entries.push(counters);
        entries
    }

    /// Writes the marker and syncs the log through it (R8, R9). The caller holds the sync's lock.
    fn log_marker(&self, log: &mut Log, marker: Logged, position: Seq) -> Result<()> {
        let time_ms = self.clock.now().now_ms;
        if log.writer.is_full(marker.batch.encoded().len()) {
            self.rotate(log)?;
        }
        log.writer.append(&[marker], position, time_ms)?;
        log.note_end(position);
        self.clock.logged(time_ms);
        let number = log.writer.number();
        let failed = |e: std::io::Error| Error::io("sync", &crate::wal::path(number), &e);
        for old in std::mem::take(&mut log.unsynced) {
            old.sync().map_err(failed)?;
        }
        log.writer.file().sync().map_err(failed)?;
        if std::mem::take(&mut log.dir_unsynced) {
            self.context.disk.sync_dir(crate::wal::DIR).map_err(failed)?;
        }
        *self.durable_head.lock() = log.writer.head();
        self.frontiers.raise(Level::Durable, position);
        Ok(())
    }
}

/// Where each table goes.
fn placed(
    version: &Version,
    tree: &Tree,
    tables: &[TableMeta],
    position: Seq,
) -> Vec<(usize, Arc<TableMeta>)> {
    let bytes: u64 = tables.iter().map(|meta| meta.file_bytes).sum();
    // No deeper than the data makes the tree: what is written later has to come by.
    let deepest = (0..LEVELS).rev().find(|level| !version.levels[*level].is_empty()).unwrap_or(0);
    let has_room =
        |level: &usize| version.level_bytes(*level) + bytes <= level_target_bytes(tree.options(), *level);
    let roomy = (1..LEVELS - 1).find(has_room).unwrap_or(LEVELS - 1);
    let place = |meta: &TableMeta| {
        let free =
            |level: &usize| version.overlapping(*level, Some(&meta.smallest), Some(&meta.largest)).is_empty();
        let hidden_by_none = (0..LEVELS).take_while(free).last().unwrap_or(0);
        hidden_by_none.min(deepest.max(roomy))
    };
    let loaded = |meta: &TableMeta| Arc::new(meta.clone().into_loaded(position));
    tables.iter().map(|meta| (place(meta), loaded(meta))).collect()
}

/// Whether a memtable holds something in the tables' ranges: it would hide what is newer.
fn view_overlaps(tree: &Tree, tables: &[TableMeta]) -> bool {
    let view = tree.view();
    view.memtables().any(|mem| tables.iter().any(|meta| overlaps(mem, meta)))
}

fn overlaps(mem: &Mem, meta: &TableMeta) -> bool {
    let mut cursor = mem.table.cursor();
    cursor.seek(&meta.smallest, Trailer::FIRST);
    if cursor.valid() && cursor.key() <= meta.largest.as_slice() {
        return true;
    }
    // Up to the largest key, itself included.
    let end: Vec<u8> = meta.largest.iter().copied().chain([0]).collect();
    !mem.table.range_tombstones().overlapping(&meta.smallest, Some(&end)).is_empty()
}

/// What the caller did, or a full disk: not what the host did to us.
fn load_may_be_retried(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Exhausted | ErrorKind::NotFound)
}
