//! The memtable: the newest entries of a keyspace, in memory, ordered, until a flush.
//!
//! Point entries live in a [`skiplist`] over an [`arena`], which compares keys by their [`rank`] first,
//! with a [`hash_index`] for point reads; range tombstones, which are rare, in an
//! immutable fragmented list that is swapped under a lock. A memtable is written by any number of
//! threads and read by any number at the same time; it decides nothing about visibility: a writer
//! publishes a sequence number only after its entries are in, and readers bring a snapshot.
//!
//! Entries are never changed or removed. All memory is freed when the memtable drops.

mod arena;
mod hash_index;
mod rank;
mod skiplist;

pub use rank::Ranks;
pub use skiplist::{Cursor, Holder, PinnedValue};

/// Memory that is kept for memtables to come, bytes.
pub(crate) fn spare_bytes() -> usize {
    arena::spare_bytes()
}

use super::blob::BlobMeta;
use super::filter::hash_key;
use super::key::{Kind, Trailer};
use super::tombstone::FragmentedTombstones;
use arena::CHUNK_BYTES;
use parking_lot::RwLock;
use ringfort_base::limits::{BATCH_VALUE_BYTES_MAX, KEY_BYTES_MAX, SEQ_MAX};
use ringfort_base::{Error, ErrorKind, FileNo, Result, Seq};
use skiplist::{NODE_BYTES_MAX, Refused, SkipList};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};

/// What a memtable takes beside its entries and index: the table of chunk addresses and the like.
const FIXED_BYTES: usize = 18 << 10;

/// See the module's chapter.
pub struct Memtable {
    list: SkipList,
    entries: AtomicUsize,
    first_seq: AtomicU64,
    last_seq: AtomicU64,
    count: AtomicI64,
    /// Bytes of `tombstones`; 0 means none, which spares readers the lock.
    tombstone_bytes: AtomicUsize,
    tombstones: RwLock<Arc<FragmentedTombstones>>,
    /// Value files that only the log names besides: entries here point into them.
    values: RwLock<BTreeMap<FileNo, Arc<BlobMeta>>>,
    /// Whether there are any, which spares readers the lock.
    has_values: AtomicBool,
}

impl Memtable {
    /// An empty memtable with the smallest index. `seed` moves the skiplist's random heights; any
    /// number will do.
    ///
    /// # Errors
    /// `Exhausted` if there is no memory for the first chunk.
    pub fn new(seed: u64) -> Result<Self> {
        Self::with_capacity(seed, 0, Ranks::default())
    }

    /// An empty memtable that is meant to grow to `capacity_bytes` (it may grow further): its
    /// index is as large as point reads then want it. It orders its keys by `ranks` where they suffice.
    ///
    /// # Errors
    /// `Exhausted` if there is no memory for the first chunk.
    pub fn with_capacity(seed: u64, capacity_bytes: usize, ranks: Ranks) -> Result<Self> {
        let list = SkipList::new(seed, capacity_bytes, ranks)
            .ok_or_else(|| no_room("there is no memory for a memtable"))?;
        Ok(Self {
            list,
            entries: AtomicUsize::new(0),
            first_seq: AtomicU64::new(u64::MAX),
            last_seq: AtomicU64::new(0),
            count: AtomicI64::new(0),
            tombstone_bytes: AtomicUsize::new(0),
            tombstones: RwLock::default(),
            values: RwLock::default(),
            has_values: AtomicBool::new(false),
        })
    }

    /// Inserts an entry.
    ///
    /// # Errors
    /// `Exhausted` if the memtable's 4 GiB are full: seal it and insert into a new one
    /// ([`Memtable::has_room`] tells before). `Invalid` for a key or value above its limit or a
    /// kind that is no point entry. `Internal` if the sequence number was used for this key before.
    pub fn insert(&self, seq: Seq, kind: Kind, key: &[u8], value: &[u8]) -> Result<()> {
        if key.len() > KEY_BYTES_MAX || value.len() > BATCH_VALUE_BYTES_MAX || seq.0 > SEQ_MAX {
            return Err(Error::invalid("a key, a value or a sequence number is above its limit"));
        }
        if kind == Kind::RangeDelete {
            return Err(Error::invalid("a range deletion is no point entry"));
        }
        self.list.insert(key, Trailer::new(seq, kind), value).map_err(|refused| match refused {
            Refused::Full => no_room("the memtable is full"),
            Refused::Duplicate => {
                Error::new(ErrorKind::Internal, format!("sequence number {seq} was used twice for one key"))
            }
        })?;
        self.entries.fetch_add(1, Ordering::Relaxed);
        self.note_seq(seq);
        Ok(())
    }

    fn note_seq(&self, seq: Seq) {
        if seq.0 > self.last_seq.load(Ordering::Relaxed) {
            self.last_seq.fetch_max(seq.0, Ordering::Relaxed);
        }
        if seq.0 < self.first_seq.load(Ordering::Relaxed) {
            self.first_seq.fetch_min(seq.0, Ordering::Relaxed);
        }
    }

    /// Whether `entries` more entries with `bytes` of keys and values are certain to fit.
    #[must_use]
    pub fn has_room(&self, entries: usize, bytes: usize) -> bool {
        // Each large entry may waste a chunk's rest.
        let waste = (bytes >> 18) + 2;
        let need = bytes as u64 + entries as u64 * NODE_BYTES_MAX as u64 + waste as u64 * CHUNK_BYTES;
        need <= self.list.free_bytes()
    }

    /// The newest entry of `key` that a reader at `snapshot` sees, deletions included. Range
    /// tombstones are the caller's to ask for ([`Memtable::max_covering_seq`]).
    #[inline]
    #[must_use]
    pub fn get(&self, key: &[u8], snapshot: Seq) -> Option<(Seq, Kind, &[u8])> {
        let (trailer, value) = self.list.get(key, hash_key(key), Trailer::seek(snapshot))?;
        let kind = trailer.point_kind();
        Some((trailer.seq(), kind, value))
    }

    /// As [`Memtable::get`]; the value stays where it is and keeps the memtable alive.
    #[must_use]
    pub fn get_pinned(self: &Arc<Self>, key: &[u8], snapshot: Seq) -> Option<(Seq, Kind, PinnedValue)> {
        self.get_pinned_hashed(key, hash_key(key), snapshot)
    }

    /// As [`Memtable::get_pinned`], for a caller that asks several sources and has the key's
    /// [`hash_key`].
    #[inline]
    #[must_use]
    pub fn get_pinned_hashed(
        self: &Arc<Self>,
        key: &[u8],
        hash: u64,
        snapshot: Seq,
    ) -> Option<(Seq, Kind, PinnedValue)> {
        let (trailer, value) = PinnedValue::find(self, key, hash, Trailer::seek(snapshot))?;
        let kind = trailer.point_kind();
        Some((trailer.seq(), kind, value))
    }

    /// A cursor that borrows the memtable.
    #[must_use]
    pub fn iter(&self) -> Cursor<&Self> {
        Cursor::new(self)
    }

    /// A cursor that keeps the memtable alive.
    #[must_use]
    pub fn cursor(self: &Arc<Self>) -> Cursor<Arc<Self>> {
        Cursor::new(Arc::clone(self))
    }

    /// Adds a range tombstone over `from..to`.
    pub fn add_range_tombstone(&self, seq: Seq, from: &[u8], to: &[u8]) {
        let mut list = self.tombstones.write();
        *list = Arc::new(list.with(seq, from, to));
        // Release: a reader that sees a later published sequence number sees this too.
        self.tombstone_bytes.store(list.bytes(), Ordering::Release);
        drop(list);
        self.note_seq(seq);
    }

    /// Whether any range tombstone is here: one atomic load.
    #[inline]
    #[must_use]
    pub fn has_range_tombstones(&self) -> bool {
        self.tombstone_bytes.load(Ordering::Acquire) != 0
    }

    /// The range tombstones as they are now.
    #[must_use]
    pub fn range_tombstones(&self) -> Arc<FragmentedTombstones> {
        Arc::clone(&self.tombstones.read())
    }

    /// The newest range tombstone over `key` that a reader at `snapshot` sees.
    #[inline]
    #[must_use]
    pub fn max_covering_seq(&self, key: &[u8], snapshot: Seq) -> Option<Seq> {
        if !self.has_range_tombstones() {
            return None;
        }
        self.tombstones.read().max_covering_seq(key, snapshot)
    }

    /// Notes the value file that an entry will point into. Before the entry: who finds that finds the file.
    pub(crate) fn add_value_file(&self, meta: Arc<BlobMeta>) {
        self.values.write().insert(meta.file, meta);
        self.has_values.store(true, Ordering::Release);
    }

    /// The value files that entries were put with; of these some may be hidden by newer ones.
    pub(crate) fn value_files(&self) -> Vec<Arc<BlobMeta>> {
        if !self.has_values.load(Ordering::Acquire) {
            return Vec::new();
        }
        self.values.read().values().cloned().collect()
    }

    /// One of them.
    pub(crate) fn value_file(&self, file: FileNo) -> Option<Arc<BlobMeta>> {
        self.values.read().get(&file).cloned()
    }

    /// Adds to the keyspace's maintained count.
    pub fn add_count(&self, delta: i64) {
        self.count.fetch_add(delta, Ordering::Relaxed);
    }

    /// What this memtable adds to the keyspace's maintained count.
    #[must_use]
    pub fn count(&self) -> i64 {
        self.count.load(Ordering::Relaxed)
    }

    /// About how much memory it takes.
    #[must_use]
    pub fn approximate_bytes(&self) -> usize {
        FIXED_BYTES + self.data_bytes() + self.list.untouched_bytes()
    }

    /// About how much of that its entries take: what the write buffer's size is measured by, so that
    /// a small one is not full from the start.
    #[must_use]
    pub fn data_bytes(&self) -> usize {
        self.list.used_bytes(self.len()) + self.tombstone_bytes.load(Ordering::Relaxed)
    }

    /// How many point entries it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    /// Whether it holds neither entry nor range tombstone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && !self.has_range_tombstones()
    }

    /// The lowest sequence number inside, if any.
    #[must_use]
    pub fn first_seq(&self) -> Option<Seq> {
        let seq = self.first_seq.load(Ordering::Relaxed);
        (seq != u64::MAX).then_some(Seq(seq))
    }

    /// The highest sequence number inside, if any.
    #[must_use]
    pub fn last_seq(&self) -> Option<Seq> {
        self.first_seq().map(|_| Seq(self.last_seq.load(Ordering::Relaxed)))
    }
}

fn no_room(message: &str) -> Error {
    Error::new(ErrorKind::Exhausted, message)
}

#[cfg(test)]
mod tests;
