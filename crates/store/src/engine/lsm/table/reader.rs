//! An open table: point lookups, and the blocks that cursors ask for.

use super::block::{Block, BlockCursor, Content};
use super::format::{BlockHandle, BlockKind, Footer, PartitionHandles, Place, SealedFile};
use super::meta::TableMeta;
use super::properties::Properties;
use super::table_path;
use crate::engine::lsm::blob::{BlobPointer, Uses};
use crate::engine::lsm::cache::{BlockCache, BlockKey, PinnedBytes};
use crate::engine::lsm::filter::{Filter, hash_key};
use crate::engine::lsm::key::{Kind, Trailer};
use crate::engine::lsm::memtable::PinnedValue;
use crate::engine::lsm::tombstone::{Fragment, FragmentedTombstones};
use ringfort_base::codec::{DecodeError, Reader};
use ringfort_base::world::Disk;
use ringfort_base::{Error, EvidenceKind, Result, Seq, StoreId};
use ringfort_trust::Sealer;
use std::ops::Deref;
use std::sync::Arc;

/// A value where it lies, in a cached block or a memtable, which it keeps alive, or alone in memory.
#[derive(Clone)]
pub struct PinnedSlice(Pinned);

#[derive(Clone)]
enum Pinned {
    Block { block: Arc<Block>, start: usize, end: usize },
    Memtable(PinnedValue),
    Value(Arc<Vec<u8>>),
}

impl PinnedSlice {
    pub(in crate::engine::lsm) const fn in_block(block: Arc<Block>, range: std::ops::Range<usize>) -> Self {
        Self(Pinned::Block { block, start: range.start, end: range.end })
    }
}

impl From<PinnedValue> for PinnedSlice {
    fn from(value: PinnedValue) -> Self {
        Self(Pinned::Memtable(value))
    }
}

impl From<Arc<Vec<u8>>> for PinnedSlice {
    fn from(value: Arc<Vec<u8>>) -> Self {
        Self(Pinned::Value(value))
    }
}

impl Deref for PinnedSlice {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Pinned::Block { block, start, end } => &block.bytes()[*start..*end],
            Pinned::Memtable(value) => value,
            Pinned::Value(value) => value,
        }
    }
}

/// What a table says of a key.
pub enum Lookup {
    /// Its newest entry at the snapshot, a deletion or the pointer to a value perhaps. Range tombstones are asked apart.
    Found(Seq, Kind, PinnedSlice),
    /// Nothing.
    Absent,
    /// Not without reading from the disk (R23); only if asked to stay resident.
    NeedsIo,
}

enum Index {
    Whole { index: Arc<Block>, filter: Option<Filter> },
    Partitioned { top: Arc<Block> },
}

/// An open table. Opening verifies footer, properties, tombstones, and index and filter (of a
/// partitioned table: the top index); every other block is verified when it is read.
pub struct Table {
    file: SealedFile,
    meta: Arc<TableMeta>,
    index: Index,
    tombstones: Arc<FragmentedTombstones>,
    properties: Properties,
    pinned: PinnedBytes,
}

impl Table {
    /// Opens the table that `meta` describes.
    ///
    /// # Errors
    /// Evidence: a missing or truncated file, a bad seal, a structure that contradicts itself or
    /// the MANIFEST. Or the disk's error.
    pub fn open(disk: &dyn Disk, store: StoreId, meta: &Arc<TableMeta>, cache: &BlockCache) -> Result<Self> {
        let name = table_path(meta.file);
        let file = disk.open(&name).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::evidence(
                EvidenceKind::Missing,
                &name,
                0,
                "the MANIFEST names this table; it is not there",
            ),
            _ => Error::io("open", &name, &e),
        })?;
        let sealer = Sealer::new(meta.protection, &meta.key);
        let file = SealedFile { file, name, place: Place { store, file: meta.file }, sealer };
        let footer = file.open_footer(BlockKind::Footer, (&meta.footer, meta.footer_tag), Footer::decode)?;
        let counts = (footer.entries, footer.deletes, footer.range_tombstones, footer.partitioned);
        if counts != (meta.entries, meta.deletes, meta.range_tombstones, meta.partitioned) {
            return Err(file.inconsistent(BlockKind::Footer, &meta.footer, "contradicts the MANIFEST"));
        }
        let properties =
            Properties::decode(&file.open_block(BlockKind::Properties, &footer.properties)?.into_bytes())
                .map_err(|e| file.inconsistent(BlockKind::Properties, &footer.properties, e))?;
        let tombstones = match &footer.tombstones {
            Some(handle) => Arc::new(open_tombstones(&file, handle, meta.range_tombstones)?),
            None => Arc::default(),
        };
        let index = if footer.partitioned {
            let top = open_entries(&file, BlockKind::TopIndex, &footer.index, Content::TopIndex)?;
            Index::Partitioned { top: Arc::new(top) }
        } else {
            let index = open_entries(&file, BlockKind::Index, &footer.index, Content::Index)?;
            let filter = footer.filter.map(|handle| open_filter(&file, &handle)).transpose()?;
            Index::Whole { index: Arc::new(index), filter }
        };
        let pinned =
            cache.pin_bytes(size_of::<Self>() + tombstones.bytes() + index.bytes() + file.name.len());
        Ok(Self { file, meta: Arc::clone(meta), index, tombstones, properties, pinned })
    }

    /// The MANIFEST's record.
    #[must_use]
    pub fn meta(&self) -> &Arc<TableMeta> {
        &self.meta
    }

    /// Properties.
    #[must_use]
    pub fn properties(&self) -> &Properties {
        &self.properties
    }

    /// Memory that it holds outside the cache.
    #[must_use]
    pub fn pinned_bytes(&self) -> usize {
        self.pinned.bytes()
    }

    /// Its range tombstones.
    #[must_use]
    pub fn range_tombstones(&self) -> &Arc<FragmentedTombstones> {
        &self.tombstones
    }

    /// The newest range tombstone over `key` that a reader at `snapshot` sees.
    #[inline]
    #[must_use]
    pub fn max_covering_seq(&self, key: &[u8], snapshot: Seq) -> Option<Seq> {
        if self.tombstones.is_empty() { None } else { self.tombstones.max_covering_seq(key, snapshot) }
    }

    /// The newest entry of `key` that a reader at `snapshot` sees. `resident_only`: from memory
    /// alone, or [`Lookup::NeedsIo`] (R23).
    ///
    /// # Errors
    /// As [`Table::open`], for the blocks on the way.
    pub fn get(&self, key: &[u8], snapshot: Seq, cache: &BlockCache, resident_only: bool) -> Result<Lookup> {
        self.get_hashed(key, hash_key(key), snapshot, cache, resident_only)
    }

    /// As [`Table::get`], for a caller that asks several tables and has the key's [`hash_key`].
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn get_hashed(
        &self,
        key: &[u8],
        hash: u64,
        snapshot: Seq,
        cache: &BlockCache,
        resident_only: bool,
    ) -> Result<Lookup> {
        let target = Trailer::seek(snapshot);
        let handle = match &self.index {
            Index::Whole { index, filter } => {
                if filter.as_ref().is_some_and(|filter| !filter.may_contain(hash)) {
                    return Ok(Lookup::Absent);
                }
                find_handle(index, key, target)?
            }
            Index::Partitioned { top } => {
                let Some(found) = top.seek_entry(key, target) else { return Ok(Lookup::Absent) };
                let handles = PartitionHandles::decode(&top.bytes()[found.value]).map_err(checked)?;
                if let Some(handle) = &handles.filter {
                    match self.filter_partition(handle, cache, resident_only)? {
                        None => return Ok(Lookup::NeedsIo),
                        Some(filter) if !filter.may_contain(hash) => return Ok(Lookup::Absent),
                        Some(_) => {}
                    }
                }
                match self.index_partition(&handles.index, cache, resident_only)? {
                    None => return Ok(Lookup::NeedsIo),
                    Some(index) => find_handle(&index, key, target)?,
                }
            }
        };
        let Some(handle) = handle else { return Ok(Lookup::Absent) };
        let Some(block) = self.data_block(&handle, cache, resident_only, true)? else {
            return Ok(Lookup::NeedsIo);
        };
        Ok(match block.seek_entry(key, target) {
            Some(found) if found.same_key => {
                let kind = found.trailer.kind().map_err(checked)?;
                Lookup::Found(found.trailer.seq(), kind, PinnedSlice::in_block(block, found.value))
            }
            _ => Lookup::Absent,
        })
    }

    /// A guess at where `key` would lie in the file, bytes from its start; for size estimates.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn approximate_offset(&self, key: &[u8], cache: &BlockCache) -> Result<u64> {
        let index = match &self.index {
            Index::Whole { index, .. } => Some(Arc::clone(index)),
            Index::Partitioned { top } => match top.seek_entry(key, Trailer::FIRST) {
                None => None,
                Some(found) => {
                    let handles = PartitionHandles::decode(&top.bytes()[found.value]).map_err(checked)?;
                    self.index_partition(&handles.index, cache, false)?
                }
            },
        };
        let handle = index.map(|index| find_handle(&index, key, Trailer::FIRST)).transpose()?.flatten();
        Ok(handle.map_or(self.properties.data_bytes, |handle| handle.offset))
    }

    /// Reads and verifies every block that opening did not, past the cache. A scrub opens the table
    /// anew ([`Table::open`]) and then calls this: every byte of the file was then verified.
    ///
    /// # Errors
    /// As [`Table::open`], for the first block that fails; the disk's error.
    pub fn verify(&self) -> Result<()> {
        let mut entries = 0;
        let mut uses = Uses::default();
        let mut verify_index = |index: &Arc<Block>, entries: &mut u64| -> Result<()> {
            let mut handles = BlockCursor::new();
            handles.set_block(Arc::clone(index));
            handles.seek_to_first();
            while handles.valid() {
                let handle = decode_handle(handles.value()).map_err(checked)?;
                let block = open_entries(&self.file, BlockKind::Data, &handle, Content::Data)?;
                let mut cursor = BlockCursor::new();
                cursor.set_block(Arc::new(block));
                cursor.seek_to_first();
                while cursor.valid() {
                    *entries += 1;
                    if cursor.trailer().is_pointer() {
                        uses.add(&BlobPointer::decode(cursor.value()).map_err(checked)?);
                    }
                    cursor.next();
                }
                handles.next();
            }
            Ok(())
        };
        match &self.index {
            Index::Whole { index, .. } => verify_index(index, &mut entries)?,
            Index::Partitioned { top } => {
                let mut parts = BlockCursor::new();
                parts.set_block(Arc::clone(top));
                parts.seek_to_first();
                while parts.valid() {
                    let handles = PartitionHandles::decode(parts.value()).map_err(checked)?;
                    handles.filter.map(|handle| open_filter(&self.file, &handle)).transpose()?;
                    let index = open_entries(&self.file, BlockKind::Index, &handles.index, Content::Index)?;
                    verify_index(&Arc::new(index), &mut entries)?;
                    parts.next();
                }
            }
        }
        if uses.take() != self.meta.values {
            let why = "its pointers to values are others than the MANIFEST says";
            return Err(self.file.inconsistent(BlockKind::Index, &self.meta.footer, why));
        }
        if entries == self.meta.entries {
            return Ok(());
        }
        let why = format!("{entries} entries where the MANIFEST says {}", self.meta.entries);
        Err(self.file.inconsistent(BlockKind::Index, &self.meta.footer, why))
    }

    /// The block that a cursor starts from, and whether it is a top index.
    pub(super) fn root(&self) -> (&Arc<Block>, bool) {
        match &self.index {
            Index::Whole { index, .. } => (index, false),
            Index::Partitioned { top } => (top, true),
        }
    }

    const fn block_key(&self, handle: &BlockHandle) -> BlockKey {
        BlockKey { file: self.file.place.file, offset: handle.offset }
    }

    /// A data block; `None` only if it is not resident and must be. `fill`: keep it in the cache.
    #[inline]
    pub(super) fn data_block(
        &self,
        handle: &BlockHandle,
        cache: &BlockCache,
        resident_only: bool,
        fill: bool,
    ) -> Result<Option<Arc<Block>>> {
        let key = self.block_key(handle);
        if let Some(block) = cache.data(key) {
            return Ok(Some(block));
        }
        if resident_only {
            return Ok(None);
        }
        let load = || open_entries(&self.file, BlockKind::Data, handle, Content::Data);
        if fill { cache.data_or(key, load).map(Some) } else { load().map(|block| Some(Arc::new(block))) }
    }

    pub(super) fn index_partition(
        &self,
        handle: &BlockHandle,
        cache: &BlockCache,
        resident_only: bool,
    ) -> Result<Option<Arc<Block>>> {
        let key = self.block_key(handle);
        if resident_only {
            return Ok(cache.index(key));
        }
        let load = || open_entries(&self.file, BlockKind::Index, handle, Content::Index);
        cache.index_or(key, load).map(Some)
    }

    fn filter_partition(
        &self,
        handle: &BlockHandle,
        cache: &BlockCache,
        resident_only: bool,
    ) -> Result<Option<Arc<Filter>>> {
        let key = self.block_key(handle);
        if resident_only {
            return Ok(cache.filter(key));
        }
        cache.filter_or(key, || open_filter(&self.file, handle)).map(Some)
    }
}

impl Index {
    fn bytes(&self) -> usize {
        match self {
            Self::Whole { index, filter } => index.memory_bytes() + filter.as_ref().map_or(0, Filter::bytes),
            Self::Partitioned { top } => top.memory_bytes(),
        }
    }
}

/// A handle as it stands in an index entry.
pub(in crate::engine::lsm) fn decode_handle(value: &[u8]) -> Result<BlockHandle, DecodeError> {
    BlockHandle::decode(&mut Reader::new(value))
}

fn find_handle(index: &Block, key: &[u8], trailer: Trailer) -> Result<Option<BlockHandle>> {
    let found = index.seek_entry(key, trailer);
    found.map(|found| decode_handle(&index.bytes()[found.value]).map_err(checked)).transpose()
}

/// What a block's check has excluded before.
pub(super) fn checked(error: DecodeError) -> Error {
    Error::new(ringfort_base::ErrorKind::Internal, format!("a checked index entry does not decode: {error}"))
}

fn open_entries(file: &SealedFile, kind: BlockKind, handle: &BlockHandle, content: Content) -> Result<Block> {
    let plain = file.open_block(kind, handle)?;
    Block::parse(plain, content).map_err(|e| file.inconsistent(kind, handle, e))
}

fn open_filter(file: &SealedFile, handle: &BlockHandle) -> Result<Filter> {
    let plain = file.open_block(BlockKind::Filter, handle)?;
    Filter::parse(plain).map_err(|e| file.inconsistent(BlockKind::Filter, handle, e))
}

fn open_tombstones(file: &SealedFile, handle: &BlockHandle, expected: u64) -> Result<FragmentedTombstones> {
    let block = open_entries(file, BlockKind::Tombstones, handle, Content::Tombstones)?;
    let (list, count) = collect_tombstones(block);
    list.filter(|_| count == expected).ok_or_else(|| {
        file.inconsistent(BlockKind::Tombstones, handle, "the ranges overlap, or their number is another")
    })
}

/// The fragments of a tombstone block and how many tombstones it holds; `None` if they overlap.
pub(in crate::engine::lsm) fn collect_tombstones(block: Block) -> (Option<FragmentedTombstones>, u64) {
    let mut cursor = BlockCursor::new();
    cursor.set_block(Arc::new(block));
    cursor.seek_to_first();
    let (mut fragments, mut count): (Vec<Fragment>, u64) = (Vec::new(), 0);
    while cursor.valid() {
        count += 1;
        let seq = cursor.trailer().seq();
        match fragments.last_mut() {
            Some(last) if last.from == cursor.key() && last.to == cursor.value() => last.seqs.push(seq),
            _ => fragments.push(Fragment {
                from: cursor.key().to_vec(),
                to: cursor.value().to_vec(),
                seqs: vec![seq],
            }),
        }
        cursor.next();
    }
    (FragmentedTombstones::from_fragments(fragments), count)
}
