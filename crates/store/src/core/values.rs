//! Value files in flushes and compactions: what a change of tables means for them, and the edit of the
//! MANIFEST that says both.

use super::Inner;
use super::purge::{Freed, Readers};
use crate::engine::lsm::blob::separate::Placing;
use crate::engine::lsm::blob::{BlobMeta, BlobWriter, Separator, blob_path, gc};
use crate::engine::lsm::compaction::merge::{Merged, OpenFiles};
use crate::engine::lsm::table::writer::{TableOptions, TableWriter};
use crate::engine::lsm::table::{self, TableMeta};
use crate::engine::lsm::tree::{Change, Mem, Tree, Version, View};
use crate::manifest::edit::Entry;
use crate::options::{Compression, KeyspaceOptions};
use ringfort_base::world::Disk;
use ringfort_base::{Error, ErrorKind, FileNo, KeyspaceId, Result};
use ringfort_trust::{Head, Protection};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a flush or compaction wrote; nothing names it yet.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) tables: Vec<Arc<TableMeta>>,
    values: Vec<Arc<BlobMeta>>,
    /// Not written, but to be named from now on.
    adopted: Vec<Arc<BlobMeta>>,
    pub(crate) moved_bytes: u64,
}

impl From<Merged> for Written {
    fn from(merged: Merged) -> Self {
        let Merged { tables, values, adopted, moved_bytes } = merged;
        let tables = tables.into_iter().map(Arc::new).collect();
        Self { tables, values: values.into_iter().map(Arc::new).collect(), adopted, moved_bytes }
    }
}

impl Written {
    /// Bytes of all files that were written.
    pub(crate) fn bytes(&self) -> u64 {
        let tables: u64 = self.tables.iter().map(|meta| meta.file_bytes).sum();
        tables + self.values.iter().map(|meta| meta.file_bytes).sum::<u64>()
    }

    /// The change by which it joins a level.
    pub(crate) fn joining(self, level: usize) -> Change {
        let added = self.tables.into_iter().map(|table| (level, table)).collect();
        let values = self.values.into_iter().chain(self.adopted).collect();
        Change { removed: Vec::new(), added, values }
    }
}

/// Starts the files of a merge, and notes what it began.
pub(crate) struct Opening<'a> {
    pub(crate) inner: &'a Inner,
    pub(crate) options: &'a KeyspaceOptions,
    /// Whether nothing older lies below what is written.
    pub(crate) bottom: bool,
    /// Paths.
    pub(crate) created: &'a mut Vec<String>,
}

impl OpenFiles for Opening<'_> {
    fn table(&mut self) -> Result<TableWriter> {
        let (inner, number) = (self.inner, self.inner.new_file());
        self.created.push(table::table_path(number));
        let options = TableOptions::at(self.options, self.bottom);
        inner.table_writer(&*inner.tables.disk, inner.tables.protection, number, options)
    }

    fn values(&mut self) -> Result<BlobWriter> {
        let (inner, number) = (self.inner, self.inner.new_file());
        self.created.push(blob_path(number));
        inner.blob_writer(&*inner.tables.disk, inner.tables.protection, number, self.options.compression)
    }
}

impl Inner {
    /// Where a flush or compaction of the tree puts values.
    pub(crate) fn separator(&self, tree: &Tree, version: &Version, file_bytes: u64) -> Separator {
        Separator::new(self.placing(tree, version, file_bytes))
    }

    /// As [`Inner::separator`], for the flush of a memtable: the value files that only the log names
    /// are adopted, or left over.
    pub(crate) fn flush_separator(&self, tree: &Tree, view: &View, mem: &Mem) -> Separator {
        let unnamed = mem.table.value_files().into_iter().map(|meta| (meta.file, meta)).collect();
        let placing = self.placing(tree, &view.version, u64::MAX);
        Separator::new(Placing { set: view.value_files(), unnamed, ..placing })
    }

    fn placing(&self, tree: &Tree, version: &Version, file_bytes: u64) -> Placing {
        Placing {
            from_bytes: tree.options().separate_values_from_bytes,
            file_bytes,
            victims: gc::victims(&version.blobs),
            files: Arc::clone(&self.tables.values),
            set: Arc::clone(&version.blobs),
            unnamed: BTreeMap::new(),
        }
    }

    /// The files that only the log named, and that nothing points into once `change` has flushed the
    /// memtable.
    pub(crate) fn left_over(&self, mem: &Mem, change: &Change, head: Head) -> Vec<Freed> {
        let mut files = mem.table.value_files();
        files.retain(|meta| !change.values.iter().any(|adopted| adopted.file == meta.file));
        files.iter().map(|meta| self.freed_values(meta, head)).collect()
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

    /// The tree's version after a change, and the value files that leave with it. Under the MANIFEST's
    /// lock: versions change under it.
    pub(crate) fn next_version(&self, tree: &Tree, change: &Change) -> Result<(Version, Vec<Arc<BlobMeta>>)> {
        let next = tree.view().version.with(change);
        next.map_err(|why| self.stop(Error::new(ErrorKind::Internal, format!("keyspace {}: {why}", tree.id))))
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
}

/// The entries of a change, in the order in which each finds what it refers to; `dead` are the value
/// files that leave with it.
pub(crate) fn change_entries(keyspace: KeyspaceId, change: &Change, dead: &[Arc<BlobMeta>]) -> Vec<Entry> {
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
