//! [`BlobSet`]: the value files of one version of a tree, and how much of each is alive.

use super::format::{BlobMeta, BlobPointer, BlobUse};
use ringfort_base::FileNo;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sums up pointers by their file, while a table is written or verified.
#[derive(Default)]
pub(crate) struct Uses {
    files: BTreeMap<FileNo, (u64, u64)>,
    bytes: u64,
}

impl Uses {
    /// One more pointer.
    pub(crate) fn add(&mut self, pointer: &BlobPointer) {
        let (values, bytes) = self.files.entry(pointer.file).or_default();
        *values += 1;
        *bytes += pointer.sealed_len();
        self.bytes += pointer.sealed_len();
    }

    /// Bytes of all values so far.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The sums, by file number.
    pub(crate) fn take(&mut self) -> Vec<BlobUse> {
        let files = std::mem::take(&mut self.files).into_iter();
        files.map(|(file, (values, bytes))| BlobUse { file, values, bytes }).collect()
    }
}

/// A value file with what the version's tables point to in it.
#[derive(Clone)]
pub(crate) struct Live {
    pub(crate) meta: Arc<BlobMeta>,
    pub(crate) values: u64,
    pub(crate) bytes: u64,
}

impl Live {
    /// Bytes to which nothing points.
    pub(crate) fn garbage_bytes(&self) -> u64 {
        self.meta.data_bytes.saturating_sub(self.bytes)
    }
}

/// See the module. Immutable within a version; a reader that holds it keeps its files.
#[derive(Clone, Default)]
pub(crate) struct BlobSet {
    files: BTreeMap<FileNo, Live>,
}

impl BlobSet {
    /// The record of a file.
    #[inline]
    pub(crate) fn get(&self, file: FileNo) -> Option<&Arc<BlobMeta>> {
        self.files.get(&file).map(|live| &live.meta)
    }

    /// All files, by number.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Live> {
        self.files.values()
    }

    /// Adds a file to which nothing points yet.
    pub(crate) fn add_file(&mut self, meta: Arc<BlobMeta>) {
        self.files.insert(meta.file, Live { meta, values: 0, bytes: 0 });
    }

    /// A table with these pointers joins.
    ///
    /// # Errors
    /// Why they contradict the files.
    pub(crate) fn add_uses(&mut self, uses: &[BlobUse]) -> Result<(), String> {
        for used in uses {
            let contradiction = || format!("tables point to more of value file {} than there is", used.file);
            let live = self.files.get_mut(&used.file).ok_or_else(contradiction)?;
            live.values = live.values.saturating_add(used.values);
            live.bytes = live.bytes.saturating_add(used.bytes);
            if live.values > live.meta.values || live.bytes > live.meta.data_bytes {
                return Err(contradiction());
            }
        }
        Ok(())
    }

    /// A table with these pointers leaves.
    pub(crate) fn remove_uses(&mut self, uses: &[BlobUse]) {
        for used in uses {
            if let Some(live) = self.files.get_mut(&used.file) {
                live.values = live.values.saturating_sub(used.values);
                live.bytes = live.bytes.saturating_sub(used.bytes);
            }
        }
    }

    /// Takes out the files to which nothing points any more.
    pub(crate) fn take_dead(&mut self) -> Vec<Arc<BlobMeta>> {
        let dead: Vec<Arc<BlobMeta>> =
            self.files.values().filter(|live| live.values == 0).map(|live| Arc::clone(&live.meta)).collect();
        dead.iter().for_each(|meta| {
            self.files.remove(&meta.file);
        });
        dead
    }

    /// Bytes of all values, and of these what nothing points to.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        self.files
            .values()
            .fold((0, 0), |(all, garbage), live| (all + live.meta.data_bytes, garbage + live.garbage_bytes()))
    }
}
