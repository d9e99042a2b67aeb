//! Collects what a table's index and filters are made of, and lays them out at the end.
//!
//! A small table gets one index block and one filter. If either would be large, both are cut at
//! the same keys into partitions, so that each pair can be cached and evicted alone.

use super::block::BlockBuilder;
use super::format::{BlockHandle, BlockKind, PartitionHandles};
use crate::engine::lsm::filter;
use crate::engine::lsm::key::Trailer;
use std::ops::Range;

/// An index above this, bytes, is partitioned.
const INDEX_FLAT_BYTES_MAX: usize = 64 << 10;
/// A filter above this, bytes, is partitioned, and so is the index.
const FILTER_FLAT_BYTES_MAX: usize = 256 << 10;
/// An index partition is cut at this size, bytes: what one miss has to open.
const INDEX_PARTITION_BYTES: usize = 16 << 10;
/// A filter partition is cut at this size, bytes.
const FILTER_PARTITION_BYTES: usize = 64 << 10;
/// Trailer, handle, lengths and restart offset of an index entry.
const ENTRY_OVERHEAD_BYTES: usize = 30;

struct IndexEntry {
    key: Range<usize>,
    trailer: Trailer,
    handle: BlockHandle,
    /// The hashes of this block's keys and of all blocks before end here.
    hashes_end: usize,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Collector {
    entries: Vec<IndexEntry>,
    keys: Vec<u8>,
    hashes: Vec<u64>,
    bits_per_key: u32,
    prefix_bytes: usize,
    /// The prefix that was noted last for the current block.
    last_prefix: Option<Vec<u8>>,
}

/// Where index and filter came to lie.
pub(crate) struct Layout {
    pub(crate) partitions: usize,
    pub(crate) index: BlockHandle,
    pub(crate) filter: Option<BlockHandle>,
    pub(crate) index_bytes: usize,
    pub(crate) filter_bytes: usize,
}

impl Collector {
    /// `bits_per_key == 0`: no filters.
    pub(crate) fn new(bits_per_key: u32, prefix_bytes: usize) -> Self {
        Self { bits_per_key, prefix_bytes, ..Self::default() }
    }

    /// Notes the hash of a user key of the current block; a key of two blocks is noted for both,
    /// since they may fall into two partitions.
    pub(crate) fn note_key(&mut self, user_key: &[u8]) {
        if self.bits_per_key != 0 {
            self.hashes.push(filter::hash_key(user_key));
            self.note_prefix(user_key);
        }
    }

    /// As keys: once for each block that has it.
    fn note_prefix(&mut self, user_key: &[u8]) {
        let Some(prefix) = user_key.get(..self.prefix_bytes).filter(|prefix| !prefix.is_empty()) else {
            return;
        };
        if self.last_prefix.as_deref() != Some(prefix) {
            self.hashes.push(filter::hash_key(prefix));
            let last = self.last_prefix.get_or_insert_default();
            last.clear();
            last.extend_from_slice(prefix);
        }
    }

    /// Ends the current block: its separator and its place.
    pub(crate) fn end_block(&mut self, key: &[u8], trailer: Trailer, handle: BlockHandle) {
        self.last_prefix = None;
        let from = self.keys.len();
        self.keys.extend_from_slice(key);
        let key = from..self.keys.len();
        self.entries.push(IndexEntry { key, trailer, handle, hashes_end: self.hashes.len() });
    }

    /// Bytes that index and filters will take, about.
    pub(crate) fn bytes(&self) -> usize {
        self.keys.len() + self.entries.len() * ENTRY_OVERHEAD_BYTES + self.filter_bytes(self.hashes.len())
    }

    fn filter_bytes(&self, keys: usize) -> usize {
        if self.bits_per_key == 0 { 0 } else { filter::filter_bytes(keys, self.bits_per_key) }
    }

    /// Writes filters and indexes through `write`, in the order of their offsets.
    pub(crate) fn write<E>(
        &self,
        mut write: impl FnMut(BlockKind, &[u8]) -> Result<BlockHandle, E>,
    ) -> Result<Layout, E> {
        let index_bytes = self.keys.len() + self.entries.len() * ENTRY_OVERHEAD_BYTES;
        let filter_bytes = self.filter_bytes(self.hashes.len());
        if index_bytes <= INDEX_FLAT_BYTES_MAX && filter_bytes <= FILTER_FLAT_BYTES_MAX {
            let (handles, index_bytes, filter_bytes) = self.write_part(0..self.entries.len(), &mut write)?;
            let PartitionHandles { index, filter } = handles;
            return Ok(Layout { partitions: 0, index, filter, index_bytes, filter_bytes });
        }
        let mut top = BlockBuilder::new(1);
        let (mut partitions, mut index_bytes, mut filter_bytes) = (0, 0, 0);
        let mut from = 0;
        while from < self.entries.len() {
            let to = self.partition_end(from);
            let (handles, index_len, filter_len) = self.write_part(from..to, &mut write)?;
            let last = &self.entries[to - 1];
            let mut value = Vec::new();
            handles.encode(&mut value);
            top.add(&self.keys[last.key.clone()], last.trailer, &value);
            (partitions, index_bytes, filter_bytes) =
                (partitions + 1, index_bytes + index_len, filter_bytes + filter_len);
            from = to;
        }
        let mut plain = Vec::new();
        top.finish_into(&mut plain);
        let index = write(BlockKind::TopIndex, &plain)?;
        index_bytes += plain.len();
        Ok(Layout { partitions, index, filter: None, index_bytes, filter_bytes })
    }

    /// The end of the partition that begins with entry `from`: at least one entry.
    fn partition_end(&self, from: usize) -> usize {
        let hashes_from = self.hashes_before(from);
        let mut index_bytes = 0;
        let mut to = from;
        for entry in &self.entries[from..] {
            index_bytes += entry.key.len() + ENTRY_OVERHEAD_BYTES;
            let filter_bytes = self.filter_bytes(entry.hashes_end - hashes_from);
            if to > from && (index_bytes > INDEX_PARTITION_BYTES || filter_bytes > FILTER_PARTITION_BYTES) {
                break;
            }
            to += 1;
        }
        to
    }

    fn hashes_before(&self, entry: usize) -> usize {
        entry.checked_sub(1).map_or(0, |before| self.entries[before].hashes_end)
    }

    fn write_part<E>(
        &self,
        part: Range<usize>,
        write: &mut impl FnMut(BlockKind, &[u8]) -> Result<BlockHandle, E>,
    ) -> Result<(PartitionHandles, usize, usize), E> {
        let hashes = self.hashes_before(part.start)..self.hashes_before(part.end);
        let (filter, filter_bytes) = if self.bits_per_key == 0 {
            (None, 0)
        } else {
            let bytes = filter::build(&self.hashes[hashes], self.bits_per_key);
            (Some(write(BlockKind::Filter, &bytes)?), bytes.len())
        };
        let mut block = BlockBuilder::new(1);
        let mut value = Vec::new();
        for entry in &self.entries[part] {
            value.clear();
            entry.handle.encode(&mut value);
            block.add(&self.keys[entry.key.clone()], entry.trailer, &value);
        }
        let mut plain = Vec::new();
        block.finish_into(&mut plain);
        let index = write(BlockKind::Index, &plain)?;
        Ok((PartitionHandles { index, filter }, plain.len(), filter_bytes))
    }
}
