//! Deleting what is no longer needed, and not a moment earlier (R8): a file goes when the edit that
//! freed it is covered by an anchor that the platform synced, and nobody reads it any more.

use super::Inner;
use crate::engine::lsm::blob::BlobMeta;
use crate::engine::lsm::table::TableMeta;
use crate::engine::lsm::tree::Tables;
use crate::store::Step;
use ringfort_base::world::Disk;
use ringfort_base::{Error, FileNo, Result};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// A file that an edit freed.
pub(crate) struct Freed {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: &'static str,
    pub(crate) path: String,
    /// The position of the edit that freed it.
    pub(crate) edit: u64,
    /// Who may read it still.
    pub(crate) readers: Readers,
}

/// The record of a file, which readers hold while they need it.
pub(crate) enum Readers {
    /// Nobody reads the file.
    None,
    Table(FileNo, Weak<TableMeta>),
    Values(FileNo, Weak<BlobMeta>),
}

impl Readers {
    /// Whether there are any. A late one may have opened the file again.
    fn are_there(&self, tables: &Tables) -> bool {
        match self {
            Self::None => false,
            Self::Table(number, record) => {
                tables.open.remove(*number);
                record.strong_count() > 0
            }
            Self::Values(number, record) => {
                tables.values.remove(*number);
                record.strong_count() > 0
            }
        }
    }
}

/// What waits to be deleted.
#[derive(Default)]
pub(crate) struct PurgeList {
    pub(crate) files: Vec<Freed>,
}

/// So many files go in one piece of work: deleting a large one takes milliseconds.
const FILES_PER_STEP: usize = 4;

impl Inner {
    /// Deletes what may be deleted; anchors first if that is what is missing.
    pub(crate) fn purge_step(&self) -> Result<Step> {
        let newest = match self.purge.lock().files.iter().map(|file| file.edit).max() {
            None => return Ok(Step::Idle),
            Some(edit) => edit,
        };
        if self.anchor.lock().synced_manifest < newest {
            self.sync_now()?;
            self.anchor_now()?;
        }
        self.purge_anchored()
    }

    /// Deletes some of what may be deleted already.
    pub(crate) fn purge_anchored(&self) -> Result<Step> {
        if self.purge.lock().files.is_empty() {
            return Ok(Step::Idle);
        }
        // While the counter is asked, another piece of work is better than waiting.
        let Some(anchored) = self.anchor.try_lock().map(|anchor| anchor.synced_manifest) else {
            return Ok(Step::Idle);
        };
        let ready: Vec<Freed> = {
            let mut list = self.purge.lock();
            let may_go = |file: &mut Freed| file.edit <= anchored && !file.readers.are_there(&self.tables);
            list.files.extract_if(.., may_go).take(FILES_PER_STEP).collect()
        };
        if ready.is_empty() {
            return Ok(Step::Idle);
        }
        let mut dirs: Vec<(Arc<dyn Disk>, &'static str)> = Vec::new();
        for file in ready {
            match file.disk.remove(&file.path) {
                Ok(()) => self.stats.files_deleted.fetch_add(1, Ordering::Relaxed),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                // Not deleting endangers nothing but space: the next open tries again.
                Err(_) => continue,
            };
            if !dirs.iter().any(|(disk, dir)| Arc::ptr_eq(disk, &file.disk) && *dir == file.dir) {
                dirs.push((file.disk, file.dir));
            }
        }
        // A directory's failed sync may have dropped the name of a new file as well: final (R11).
        self.or_stop(|| {
            let mut dirs = dirs.iter();
            dirs.try_for_each(|(disk, dir)| disk.sync_dir(dir).map_err(|e| Error::io("sync", dir, &e)))
        })?;
        Ok(Step::Worked)
    }
}
