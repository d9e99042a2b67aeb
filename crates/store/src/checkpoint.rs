//! # Checkpoints: a consistent copy that says what it is (R21)
//!
//! A checkpoint is a directory with the store's key file, tables, value files and a MANIFEST that carries an
//! authenticated marker. It is sealed whatever volume its source lives on. It opens read-only, with
//! [`Checkpoint::open`], and never as a store: no counter anchors its MANIFEST, so putting it in
//! the place of a store is refused like any older state. It says nothing about freshness.

use crate::core::Inner;
use crate::core::read::{merged, sources, values_of};
use crate::engine::lsm::blob::{BlobMeta, blob_path};
use crate::engine::lsm::iter::{Entries, Shown, VisibleIter};
use crate::engine::lsm::key::Trailer;
use crate::engine::lsm::table::TableMeta;
use crate::engine::lsm::table::writer::TableOptions;
use crate::engine::lsm::table::{self, TableCursor};
use crate::engine::lsm::tree::{GetOutcome, Tables, Tree, Version};
use crate::manifest::reader;
use crate::manifest::state::State;
use crate::manifest::writer::ManifestWriter;
use crate::merge::MergeOperators;
use crate::options::{Compression, World};
use crate::value::Value;
use crate::wal::writer::LogContext;
use parking_lot::RwLock;
use ringfort_base::limits::SEQ_MAX;
use ringfort_base::world::Disk;
use ringfort_base::{Error, ErrorKind, Incarnation, KeyspaceId, Result, Seq};
use ringfort_trust::keyfile::KeyFile;
use ringfort_trust::volume::copy_opaque;
use ringfort_trust::{Head, Protection, Suite};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

const SEALED: Protection = Protection::Sealed(Suite::Aes256Gcm);

impl Inner {
    /// Writes a checkpoint of everything applied so far into the empty volume `to`.
    pub(crate) fn checkpoint(&self, to: &Arc<dyn Disk>) -> Result<Seq> {
        self.check()?;
        let taken = !crate::files::list(&**to, "")?.is_empty();
        if taken {
            let message = format!("{} is not empty; a checkpoint needs an empty directory", to.describe());
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        }
        let failed = |e: std::io::Error| Error::io("write a checkpoint to", &to.describe(), &e);
        to.create_dir(table::TABLE_DIR).map_err(failed)?;
        let (at, mut state, versions) = self.consistent_cut()?;
        for (id, version) in &versions {
            let Some(keyspace) = state.keyspaces.get_mut(id) else { continue };
            for meta in keyspace.values.values_mut() {
                *meta = self.copy_values(meta, to)?;
            }
            for (metas, tables) in keyspace.levels.iter_mut().zip(&version.levels) {
                *metas = tables.iter().map(|table| self.copy_table(table, to)).collect::<Result<_>>()?;
            }
        }
        to.sync_dir(table::TABLE_DIR).map_err(failed)?;
        let slot = format!("KEYS.{}", self.anchor.lock().current.key_file_version % 2);
        copy_opaque(&*self.volumes.data, &**to, &slot)?;
        state.lives.clear();
        state.checkpoint = Some(at);
        ManifestWriter::create(
            &self.context,
            Arc::clone(to),
            SEALED,
            self.new_file(),
            Head::default(),
            state,
        )?;
        Ok(at)
    }

    /// Everything up to one position in tables, of all keyspaces: the state there.
    fn consistent_cut(&self) -> Result<(Seq, State, Versions)> {
        // Nothing newer is flushed until the state is taken.
        let _flushing = self.flushing.lock();
        let (at, trees) = {
            // Under the log: a keyspace that is not listed has nothing at or below the cut.
            let _log = self.log.lock();
            let at = self.visible();
            let trees: Vec<Arc<Tree>> = self.trees.read().values().cloned().collect();
            for tree in &trees {
                tree.freeze(at)?;
            }
            (at, trees)
        };
        for tree in &trees {
            while let Some(mem) = tree.oldest_frozen().filter(|mem| mem.frozen_at() <= at) {
                self.flush_mem(tree, &mem)?;
            }
        }
        let manifest = self.manifest.lock();
        // Taken under the lock that versions change under, they match the state; holding them keeps
        // their tables from being purged.
        let versions = trees.iter().map(|tree| (tree.id, Arc::clone(&tree.view().version))).collect();
        Ok((at, manifest.state.clone(), versions))
    }

    /// Copies a sealed table as it is; seals one that is not.
    fn copy_table(&self, meta: &Arc<TableMeta>, to: &Arc<dyn Disk>) -> Result<Arc<TableMeta>> {
        if meta.protection == SEALED {
            copy_opaque(&*self.tables.disk, &**to, &table::table_path(meta.file))?;
            return Ok(Arc::clone(meta));
        }
        let options = crate::options::KeyspaceOptions::default();
        let mut writer = self.table_writer(&**to, SEALED, meta.file, TableOptions::at(&options, true))?;
        let table = self.tables.get(meta)?;
        let mut cursor = TableCursor::new(Arc::clone(&table), Arc::clone(&self.tables.blocks), false);
        cursor.seek_to_first()?;
        while cursor.valid() {
            let trailer: Trailer = cursor.trailer();
            writer.add(cursor.key(), trailer, cursor.value())?;
            cursor.next()?;
        }
        for fragment in table.range_tombstones().fragments() {
            writer.add_tombstone(fragment)?;
        }
        writer.finish().map(Arc::new)
    }
}

impl Inner {
    /// Copies a sealed value file as it is; seals one that is not. Each value stays where it is in the
    /// file, so pointers stay as they are.
    fn copy_values(&self, meta: &Arc<BlobMeta>, to: &Arc<dyn Disk>) -> Result<Arc<BlobMeta>> {
        if meta.protection == SEALED {
            copy_opaque(&*self.tables.disk, &**to, &blob_path(meta.file))?;
            return Ok(Arc::clone(meta));
        }
        let mut writer = self.blob_writer(&**to, SEALED, meta.file, Compression::None)?;
        self.tables.values.get(meta)?.copy_to(&mut writer)?;
        writer.finish().map(Arc::new)
    }
}

/// The versions of all trees.
type Versions = Vec<(KeyspaceId, Arc<Version>)>;

/// An opened checkpoint: read-only, as of one position.
pub struct Checkpoint {
    trees: BTreeMap<KeyspaceId, Arc<Tree>>,
    tables: Arc<Tables>,
    at: Seq,
}

impl Checkpoint {
    /// Opens the checkpoint on `world.data`; `operators` are those that its keyspaces may be bound to
    /// besides the built-in ones. Verifies everything that it reads; that it is the newest
    /// checkpoint, nobody can know.
    pub fn open(world: &World, memory_budget: usize, operators: &MergeOperators) -> Result<Self> {
        let key_file = KeyFile::open_unanchored(&*world.data, &*world.platform)?;
        let context = LogContext {
            disk: Arc::clone(&world.data),
            protection: SEALED,
            entropy: Arc::clone(&world.entropy),
            store: key_file.store,
            lineage: key_file.lineage,
            incarnation: Incarnation::ZERO,
            epoch: key_file.ring.current(),
            ring: Arc::new(key_file.ring.clone()),
            domain_keys: Arc::new(RwLock::new(HashMap::new())),
            segment_bytes: 0,
        };
        let state = reader::whole(&context, &*world.data, SEALED)?;
        let at = state.checkpoint.ok_or_else(|| {
            Error::new(
                ErrorKind::Refused,
                format!("{} is not a checkpoint: it carries no marker", world.data.describe()),
            )
        })?;
        let disk = Arc::clone(&world.data);
        let tables = Arc::new(Tables::new(disk, SEALED, key_file.store, memory_budget, false));
        let live = state.keyspaces.iter().filter(|(_, keyspace)| keyspace.dropped.is_none());
        let trees =
            live.map(|(&id, keyspace)| Ok((id, Arc::new(Tree::open(id, keyspace, &tables, operators)?))));
        Ok(Self { trees: trees.collect::<Result<_>>()?, tables, at })
    }

    /// The log position that it shows.
    #[must_use]
    pub fn position(&self) -> Seq {
        self.at
    }

    /// Names and ids of its keyspaces.
    #[must_use]
    pub fn keyspaces(&self) -> Vec<(String, KeyspaceId)> {
        self.trees.values().map(|tree| (tree.name.clone(), tree.id)).collect()
    }

    /// Reads a key.
    pub fn get(&self, keyspace: KeyspaceId, key: &[u8]) -> Result<Option<Value>> {
        let view = self.tree(keyspace)?.view();
        match view.get(key, Seq(SEQ_MAX), &self.tables, false)? {
            GetOutcome::Found(value, _) => Ok(Some(value)),
            GetOutcome::Merge => Ok(merged(&view, key, Seq(SEQ_MAX), &self.tables)?.value),
            _ => Ok(None),
        }
    }

    /// All entries of `from..to`, in order.
    pub fn iter(&self, keyspace: KeyspaceId, from: &[u8], to: Option<&[u8]>) -> Result<CheckpointIter> {
        let view = self.tree(keyspace)?.view();
        let sources = sources(&view, from, to, &self.tables)?;
        let iter = VisibleIter::new(sources, Seq(SEQ_MAX), from, to)?
            .with_merger(view.merger.as_ref(), values_of(&view, &self.tables));
        Entries::new(iter, (false, Shown::Values), values_of(&view, &self.tables)).map(CheckpointIter)
    }

    fn tree(&self, keyspace: KeyspaceId) -> Result<&Arc<Tree>> {
        self.trees
            .get(&keyspace)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("keyspace {keyspace} does not exist")))
    }
}

/// Entries of a checkpoint, in order.
pub struct CheckpointIter(Entries);

impl Iterator for CheckpointIter {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value) = self.0.entry()?;
        let entry = (key.to_vec(), value.to_vec());
        Some(self.0.advance().map(|()| entry))
    }
}
