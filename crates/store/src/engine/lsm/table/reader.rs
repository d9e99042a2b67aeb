//! An open table: point lookups, and the blocks that cursors ask for.

use super::block::{Block, BlockCursor, Content, Found};
use super::format::{BlockHandle, BlockKind, Footer, PartitionHandles, Place, Plain, SealedFile};
use super::index::Index;
use super::meta::TableMeta;
use super::part::{Guide, Part, Parts};
use super::properties::Properties;
use super::readahead::Readahead;
use super::table_path;
use crate::engine::lsm::blob::{BlobPointer, Uses};
use crate::engine::lsm::cache::{BlockCache, PinnedBytes, Ref, Slot};
use crate::engine::lsm::filter::{Filter, hash_key};
use crate::engine::lsm::key::{Kind, Trailer};
use crate::engine::lsm::tombstone::{Fragment, FragmentedTombstones};
use crate::value::Value;
use ringfort_base::codec::{DecodeError, Reader};
use ringfort_base::world::Disk;
use ringfort_base::{Error, ErrorKind, EvidenceKind, Result, Seq, StoreId};
use ringfort_trust::Sealer;
use std::sync::Arc;

/// What a table says of a key.
pub enum Lookup {
    /// Its newest entry at the snapshot, a deletion or the pointer to a value perhaps. Range tombstones
    /// are asked apart.
    Found(Seq, Kind, Value),
    /// Nothing.
    Absent,
    /// Not without reading from the disk (R23); only if asked to stay resident.
    NeedsIo,
}

/// A key that a table is asked for, with its [`hash_key`].
#[derive(Clone, Copy)]
pub struct Ask<'k> {
    /// The key.
    pub key: &'k [u8],
    /// Its hash.
    pub hash: u64,
}

/// An open table. Opening verifies footer, properties, tombstones, and index and filter (of a
/// partitioned table: the top index); every other block is verified when it is read.
pub struct Table {
    file: SealedFile,
    meta: Arc<TableMeta>,
    guide: Guide,
    parts: Arc<Parts>,
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
        let file = cache.open_file(disk, &name).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::evidence(
                EvidenceKind::Missing,
                &name,
                0,
                "the MANIFEST names this table; it is not there",
            ),
            _ => Error::io("open", &name, &e),
        })?;
        let sealer = Sealer::new(meta.protection, &meta.key);
        let place = Place { store, file: meta.file };
        let file = SealedFile { file, name, place, sealer, buffers: Arc::clone(cache.buffers()) };
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
        let guide = if footer.partitioned {
            Guide::Top(open_index(&file, BlockKind::TopIndex, &footer.index)?)
        } else {
            Guide::Flat(PartitionHandles { index: footer.index, filter: footer.filter })
        };
        let parts = Arc::new(Parts::new(guide.len(), cache));
        let pinned = cache.pin_bytes(
            size_of::<Self>()
                + tombstones.bytes()
                + guide.memory_bytes()
                + parts.memory_bytes()
                + file.name.len(),
        );
        let table = Self { file, meta: Arc::clone(meta), guide, parts, tombstones, properties, pinned };
        if !footer.partitioned {
            table.part(0, cache)?;
        }
        Ok(table)
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

    /// Memory that it holds outside the cache, parts apart.
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
        let at = self.part_of(key, target);
        let part = match self.parts.resident(at) {
            Some(part) => part,
            None if at == self.part_count() => return Ok(Lookup::Absent),
            None if resident_only => return Ok(Lookup::NeedsIo),
            None => self.part(at, cache)?,
        };
        if part.filter.as_ref().is_some_and(|filter| !filter.may_contain(hash)) {
            return Ok(Lookup::Absent);
        }
        let mut number = part.index.seek_near(key, target);
        loop {
            let Some(slot) = part.blocks.get(number) else { return Ok(Lookup::Absent) };
            let block = if resident_only {
                let Some(block) = slot.resident() else { return Ok(Lookup::NeedsIo) };
                block
            } else {
                cache.fetch(slot, (&*part, number), || self.load_block(&part, number))?
            };
            match block.seek_entry(key, target) {
                Some(found) if found.same_key => return Ok(found_in(block, found)),
                Some(_) => return Ok(Lookup::Absent),
                None => number += 1,
            }
        }
    }

    /// As [`Table::get`] for each of `asks`, which ascend; the answers in their order. First all
    /// filters and indexes are asked, then each block that is left is found once.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn get_many(&self, asks: &[Ask<'_>], snapshot: Seq, cache: &BlockCache) -> Result<Vec<Lookup>> {
        let target = Trailer::seek(snapshot);
        let mut answers: Vec<Lookup> = asks.iter().map(|_| Lookup::Absent).collect();
        let mut part: Option<(usize, Ref<'_, Part>)> = None;
        // The asks that are for the present part, and soon, for which of its blocks.
        let mut left: Vec<(usize, usize)> = Vec::new();
        for (nth, ask) in asks.iter().enumerate() {
            let at = self.part_of(ask.key, target);
            if at == self.part_count() {
                break; // Nor are later keys in any part.
            }
            if part.as_ref().is_none_or(|(present, _)| *present != at) {
                if let Some((_, part)) = part.take() {
                    self.get_left(&part, asks, &mut left, (target, snapshot), cache, &mut answers)?;
                }
                part = Some((at, self.part(at, cache)?));
            }
            part.iter()
                .filter_map(|(_, part)| part.filter.as_ref())
                .for_each(|filter| filter.touch(ask.hash));
            left.push((nth, 0));
        }
        if let Some((_, part)) = part {
            self.get_left(&part, asks, &mut left, (target, snapshot), cache, &mut answers)?;
        }
        Ok(answers)
    }

    /// Answers what is left for a part, block by block.
    fn get_left(
        &self,
        part: &Arc<Part>,
        asks: &[Ask<'_>],
        left: &mut Vec<(usize, usize)>,
        (target, snapshot): (Trailer, Seq),
        cache: &BlockCache,
        answers: &mut [Lookup],
    ) -> Result<()> {
        // The processor waits for many of them at a time: filters, slots, blocks.
        left.retain_mut(|(nth, number)| {
            let Ask { key, hash } = asks[*nth];
            let passes = part.filter.as_ref().is_none_or(|filter| filter.may_contain(hash));
            if passes {
                *number = part.index.seek_near(key, target);
            }
            passes
        });
        left.iter().filter_map(|(_, number)| part.blocks.get(*number)).for_each(Slot::touch);
        let mut blocks: Vec<(usize, usize, Arc<Block>)> = Vec::with_capacity(left.len());
        for (nth, number) in left.drain(..) {
            let Some(slot) = part.blocks.get(number) else { continue };
            let block = match blocks.last() {
                Some((_, same, block)) if *same == number => Arc::clone(block),
                _ => cache.fetch(slot, (part, number), || self.load_block(part, number))?,
            };
            blocks.push((nth, number, block));
        }
        blocks.iter().for_each(|(_, _, block)| block.touch());
        for (nth, _, block) in blocks {
            let Ask { key, hash } = asks[nth];
            answers[nth] = match block.seek_entry(key, target) {
                Some(found) if found.same_key => found_in(block, found),
                Some(_) => Lookup::Absent,
                None => self.get_hashed(key, hash, snapshot, cache, false)?, // In the next block, if at all.
            };
        }
        Ok(())
    }

    /// Whether a key of the table may begin with `prefix`, as far as its filters know: they do if
    /// the table was written with prefixes of this length.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn may_have_prefix(&self, prefix: &[u8], cache: &BlockCache) -> Result<bool> {
        if self.properties.prefix_bytes != prefix.len() as u64 || prefix.is_empty() {
            return Ok(true);
        }
        let hash = hash_key(prefix);
        let mut at = self.part_of(prefix, Trailer::FIRST);
        while at < self.part_count() {
            if self.part(at, cache)?.filter.as_ref().is_none_or(|filter| filter.may_contain(hash)) {
                return Ok(true);
            }
            if !self.guide.goes_on_behind(at, prefix) {
                break;
            }
            at += 1;
        }
        Ok(false)
    }

    /// A guess at where `key` would lie in the file, bytes from its start; for size estimates.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn approximate_offset(&self, key: &[u8], cache: &BlockCache) -> Result<u64> {
        let at = self.part_of(key, Trailer::FIRST);
        if at < self.part_count() {
            let part = self.part(at, cache)?;
            let number = part.index.seek(key, Trailer::FIRST);
            if number < part.index.len() {
                return Ok(block_handle(&part, number)?.offset);
            }
        }
        Ok(self.properties.data_bytes)
    }

    /// Reads and verifies every block that opening did not, past the cache. A scrub opens the table
    /// anew ([`Table::open`]) and then calls this: every byte of the file was then verified.
    ///
    /// # Errors
    /// As [`Table::open`], for the first block that fails; the disk's error.
    pub fn verify(&self) -> Result<()> {
        let aside = BlockCache::new(0);
        let (mut entries, mut uses) = (0, Uses::default());
        for at in 0..self.part_count() {
            let part = self.load_part(at, &aside)?;
            for number in 0..part.index.len() {
                let mut cursor = BlockCursor::new();
                cursor.set_block(Arc::new(self.load_block(&part, number)?));
                cursor.seek_to_first();
                while cursor.valid() {
                    entries += 1;
                    if cursor.trailer().is_pointer() {
                        uses.add(&BlobPointer::decode(cursor.value()).map_err(checked)?);
                    }
                    cursor.next();
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

    /// How many parts it has.
    #[inline]
    pub(super) fn part_count(&self) -> usize {
        self.guide.len()
    }

    /// The part that may hold an internal key; [`Table::part_count`] if all are before it.
    #[inline]
    pub(super) fn part_of(&self, key: &[u8], trailer: Trailer) -> usize {
        match &self.guide {
            Guide::Flat(_) => 0,
            Guide::Top(top) => top.seek(key, trailer),
        }
    }

    /// A part.
    pub(super) fn part(&self, at: usize, cache: &BlockCache) -> Result<Ref<'_, Part>> {
        let part = self.parts.get(at, cache, || self.load_part(at, cache))?;
        part.ok_or_else(|| Error::new(ErrorKind::Internal, format!("{} has no part {at}", self.file.name)))
    }

    /// A data block for a cursor: what is not cached is read ahead. `fill`: keep it in the cache.
    pub(super) fn data_block_ahead(
        &self,
        (part, number): (&Arc<Part>, usize),
        cache: &BlockCache,
        ahead: &mut Readahead,
        fill: bool,
    ) -> Result<Option<Arc<Block>>> {
        let Some(slot) = part.blocks.get(number) else { return Ok(None) };
        let mut load = || {
            let handle = block_handle(part, number)?;
            let plain = ahead.open_block(&self.file, &handle, self.properties.data_bytes)?;
            self.parse_data(plain, &handle)
        };
        if fill {
            return cache.fetch(slot, (part, number), load).map(Some);
        }
        match slot.resident() {
            Some(block) => Ok(Some(block)),
            None => load().map(|block| Some(Arc::new(block))),
        }
    }

    fn load_block(&self, part: &Part, number: usize) -> Result<Block> {
        let handle = block_handle(part, number)?;
        self.parse_data(self.file.open_block(BlockKind::Data, &handle)?, &handle)
    }

    /// Checks a data block, once. Entries of a loaded table get their sequence number.
    fn parse_data(&self, plain: Plain, handle: &BlockHandle) -> Result<Block> {
        let block = Block::parse(plain, Content::Data).and_then(|block| {
            if self.meta.loaded { block.stamped(self.meta.largest_seq) } else { Ok(block) }
        });
        block.map_err(|e| self.file.inconsistent(BlockKind::Data, handle, e))
    }

    fn load_part(&self, at: usize, cache: &BlockCache) -> Result<Part> {
        let handles = self.guide.handles(at).map_err(checked)?;
        let filter = handles.filter.map(|handle| open_filter(&self.file, &handle)).transpose()?;
        Ok(Part::new(filter, open_index(&self.file, BlockKind::Index, &handles.index)?, cache))
    }
}

fn found_in(block: Arc<Block>, found: Found) -> Lookup {
    Lookup::Found(found.trailer.seq(), found.trailer.point_kind(), Value::in_block(block, found.value))
}

/// A handle as it stands in an index entry.
pub(in crate::engine::lsm) fn decode_handle(value: &[u8]) -> Result<BlockHandle, DecodeError> {
    BlockHandle::decode(&mut Reader::new(value))
}

fn block_handle(part: &Part, number: usize) -> Result<BlockHandle> {
    decode_handle(part.index.value(number)).map_err(checked)
}

/// What a block's check has excluded before.
fn checked(error: DecodeError) -> Error {
    Error::new(ErrorKind::Internal, format!("a checked index entry does not decode: {error}"))
}

fn open_entries(file: &SealedFile, kind: BlockKind, handle: &BlockHandle, content: Content) -> Result<Block> {
    let plain = file.open_block(kind, handle)?;
    Block::parse(plain, content).map_err(|e| file.inconsistent(kind, handle, e))
}

fn open_index(file: &SealedFile, kind: BlockKind, handle: &BlockHandle) -> Result<Index> {
    let content = if kind == BlockKind::TopIndex { Content::TopIndex } else { Content::Index };
    open_entries(file, kind, handle, content).map(Index::new)
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
