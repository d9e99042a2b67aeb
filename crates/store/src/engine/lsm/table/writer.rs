//! Writes a table, front to back, once, through a [`SealedOutput`].

use super::block::BlockBuilder;
use super::collector::Collector;
use super::format::{BlockHandle, BlockKind, Footer};
use super::meta::TableMeta;
use super::properties::Properties;
use super::table_path;
use crate::engine::lsm::blob::{BlobPointer, Uses};
use crate::engine::lsm::key::{Kind, Trailer, common_prefix, separator};
use crate::engine::lsm::sealed_output::{FileIdentity, SealedOutput, Sealing};
use crate::engine::lsm::tombstone::Fragment;
use crate::options::{Compression, KeyspaceOptions};
use ringfort_base::limits::{BATCH_VALUE_BYTES_MAX, KEY_BYTES_MAX, SEQ_MAX};
use ringfort_base::world::DiskFile;
use ringfort_base::{Result, Seq};
use ringfort_trust::Tag;
use std::cmp::Ordering;
use std::sync::Arc;

/// So many filter bits per key more than at the bottom: one false answer in a thousand for one in a hundred.
const UPPER_BLOOM_BITS: u32 = 6;
/// The tombstone block's restart interval: its entries are few and read once, in order.
const TOMBSTONE_RESTARTS: usize = 16;

/// How a table is built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableOptions {
    /// Plaintext of a data block, bytes.
    pub block_bytes: usize,
    /// A key is stored whole every this many entries.
    pub restart_interval: usize,
    /// Filter bits per key; 0: no filter.
    pub bloom_bits_per_key: u32,
    /// So many first bytes of each key go into the filter as well; 0: none.
    pub prefix_bytes: usize,
    /// Compression of data blocks.
    pub compression: Compression,
}

impl TableOptions {
    /// Of a keyspace's table that lies at the `bottom`, with nothing older below it, or further up.
    ///
    /// A read that ends in a deeper level, or nowhere, asks the filter of every table above, and each false
    /// answer costs a block. The tables further up hold the fewer keys: what their filters take more
    /// is little memory (Monkey).
    #[must_use]
    pub fn at(options: &KeyspaceOptions, bottom: bool) -> Self {
        let &KeyspaceOptions { block_bytes, restart_interval, bloom_bits_per_key: bits, .. } = options;
        let &KeyspaceOptions { prefix_bytes, compression, .. } = options;
        let more = if bottom || bits == 0 { 0 } else { UPPER_BLOOM_BITS };
        Self { block_bytes, restart_interval, bloom_bits_per_key: bits + more, prefix_bytes, compression }
    }
}

/// See the module.
pub struct TableWriter {
    output: SealedOutput,
    options: TableOptions,
    block: BlockBuilder,
    block_has_key: bool,
    plain: Vec<u8>,
    collector: Collector,
    tombstones: BlockBuilder,
    last: Option<Trailer>,
    last_key: Vec<u8>,
    last_tombstone: Option<Fragment>,
    range: KeyRange,
    seqs: Option<(Seq, Seq)>,
    counts: (u64, u64, u64),
    properties: Properties,
    uses: Uses,
}

impl Sealing for TableWriter {
    fn output(&mut self) -> &mut SealedOutput {
        &mut self.output
    }
}

#[derive(Default)]
struct KeyRange {
    smallest: Option<Vec<u8>>,
    largest: Vec<u8>,
    excluded: bool,
}

impl TableWriter {
    /// A writer into a new, empty file.
    #[must_use]
    pub fn new(file: Arc<dyn DiskFile>, identity: FileIdentity, options: TableOptions) -> Self {
        let name = table_path(identity.place.file);
        Self {
            output: SealedOutput::new(file, name, identity),
            options,
            block: BlockBuilder::new(options.restart_interval),
            block_has_key: false,
            plain: Vec::new(),
            collector: Collector::new(options.bloom_bits_per_key, options.prefix_bytes),
            tombstones: BlockBuilder::new(TOMBSTONE_RESTARTS),
            last: None,
            last_key: Vec::new(),
            last_tombstone: None,
            range: KeyRange::default(),
            seqs: None,
            counts: (0, 0, 0),
            properties: Properties {
                bloom_bits_per_key: u64::from(options.bloom_bits_per_key),
                prefix_bytes: options.prefix_bytes as u64,
                ..Properties::default()
            },
            uses: Uses::default(),
        }
    }

    /// Adds a point entry. Entries come in strictly ascending internal order.
    ///
    /// # Errors
    /// `Internal` for an entry out of order or above a limit; a disk error. The table is then lost.
    pub fn add(&mut self, key: &[u8], trailer: Trailer, value: &[u8]) -> Result<()> {
        self.guarded(|w| w.add_entry(key, trailer, value))
    }

    /// Adds a fragment of range tombstones. Fragments come in key order, disjoint; they may be
    /// added before, between and after point entries.
    ///
    /// # Errors
    /// As [`TableWriter::add`].
    pub fn add_tombstone(&mut self, fragment: &Fragment) -> Result<()> {
        self.guarded(|w| w.add_fragment(fragment))
    }

    /// About how large the file would be if it were finished now, bytes.
    #[must_use]
    pub fn approximate_bytes(&self) -> u64 {
        let open = self.block.size() + self.tombstones.size() + self.collector.bytes();
        self.output.end() + open as u64
    }

    /// Bytes of the values that its entries point to.
    #[must_use]
    pub fn value_bytes(&self) -> u64 {
        self.uses.bytes()
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.range.smallest.is_none()
    }

    /// Writes what remains and syncs the file. The directory is the caller's to sync.
    ///
    /// # Errors
    /// `Internal` if the table is empty; a disk error. The file is then to be removed.
    pub fn finish(mut self) -> Result<TableMeta> {
        self.guarded(Self::finish_file)
    }

    fn add_entry(&mut self, key: &[u8], trailer: Trailer, value: &[u8]) -> Result<()> {
        let kind = trailer.kind().map_err(|e| self.output.internal(e))?;
        if key.len() > KEY_BYTES_MAX || value.len() > BATCH_VALUE_BYTES_MAX || kind == Kind::RangeDelete {
            return Err(self.output.internal("an entry is no point entry or above a limit"));
        }
        if kind == Kind::ValuePointer {
            self.uses.add(&BlobPointer::decode(value).map_err(|e| self.output.internal(e))?);
        }
        if kind == Kind::Delete && !value.is_empty() {
            return Err(self.output.internal("a deletion has a value"));
        }
        // Shared bytes of neighbours say their order, what the block stores, and if it is a new key.
        let shared = common_prefix(&self.last_key, key);
        let same_key = shared == key.len() && shared == self.last_key.len();
        if let Some(last) = self.last {
            let ascends = if same_key { trailer < last } else { self.last_key[shared..] < key[shared..] };
            if !ascends {
                return Err(self.output.internal("an entry is out of order"));
            }
        } else if self.range.smallest.as_ref().is_none_or(|smallest| key < smallest.as_slice()) {
            self.range.smallest = Some(key.to_vec());
        }
        let with_entry = self.block.size() + key.len() + value.len() + Trailer::BYTES + 8;
        if !self.block.is_empty() && with_entry > self.options.block_bytes {
            self.end_block(Some(key))?;
        }
        if !(same_key && self.block_has_key) {
            self.collector.note_key(key);
            self.block_has_key = true;
        }
        self.block.add_shared(shared, key, trailer, value);
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(&key[shared..]);
        self.last = Some(trailer);
        self.note_seq(trailer.seq());
        self.counts.0 += 1;
        self.counts.1 += u64::from(kind == Kind::Delete);
        self.properties.raw_key_bytes += key.len() as u64;
        self.properties.raw_value_bytes += value.len() as u64;
        Ok(())
    }

    fn add_fragment(&mut self, fragment: &Fragment) -> Result<()> {
        let Fragment { from, to, seqs } = fragment;
        let disjoint = self.last_tombstone.as_ref().is_none_or(|last| last.to <= *from);
        let newest_first = seqs.windows(2).all(|pair| pair[0] > pair[1]);
        if from >= to || to.len() > KEY_BYTES_MAX || !disjoint || seqs.is_empty() || !newest_first {
            return Err(self.output.internal("a range tombstone is empty or out of order"));
        }
        for &seq in seqs {
            if seq.0 > SEQ_MAX {
                return Err(self.output.internal("a sequence number is above its limit"));
            }
            self.tombstones.add(from, Trailer::new(seq, Kind::RangeDelete), to);
            self.note_seq(seq);
            self.counts.2 += 1;
        }
        self.note_range(from, to, true);
        self.last_tombstone = Some(Fragment { from: from.clone(), to: to.clone(), seqs: Vec::new() });
        Ok(())
    }

    fn note_range(&mut self, from: &[u8], to: &[u8], excluded: bool) {
        let KeyRange { smallest, largest, excluded: open } = &mut self.range;
        let first = smallest.is_none();
        if smallest.as_ref().is_none_or(|smallest| from < smallest.as_slice()) {
            *smallest = Some(from.to_vec());
        }
        match if first { Ordering::Greater } else { to.cmp(largest) } {
            Ordering::Greater => {
                largest.clear();
                largest.extend_from_slice(to);
                *open = excluded;
            }
            Ordering::Equal => *open &= excluded,
            Ordering::Less => {}
        }
    }

    fn note_seq(&mut self, seq: Seq) {
        let (low, high) = self.seqs.unwrap_or((seq, seq));
        self.seqs = Some((low.min(seq), high.max(seq)));
    }

    /// Seals the open data block. Its separator lies between its last key and `next`.
    fn end_block(&mut self, next: Option<&[u8]>) -> Result<()> {
        let Some(last) = self.last.filter(|_| !self.block.is_empty()) else {
            return Ok(());
        };
        let handle = if self.options.compression == Compression::None {
            // What needs no compression is laid out where it is sealed and written from.
            self.block.finish_into(self.output.open());
            self.output.seal(BlockKind::Data, Compression::None)?.0
        } else {
            self.plain.clear();
            let mut plain = std::mem::take(&mut self.plain);
            self.block.finish_into(&mut plain);
            let handle = self.put_block(BlockKind::Data, &plain)?.0;
            self.plain = plain;
            handle
        };
        self.properties.data_blocks += 1;
        self.properties.data_bytes += u64::from(handle.sealed_len);
        let mut scratch = Vec::new();
        let key = match next {
            Some(next) if next != self.last_key => separator(&self.last_key, next, &mut scratch),
            _ => &self.last_key,
        };
        // A shortened key lies strictly between the blocks, so its trailer decides nothing.
        let shortened = key != self.last_key;
        let trailer = if shortened { Trailer::new(Seq(SEQ_MAX), Kind::Put) } else { last };
        self.collector.end_block(key, trailer, handle);
        self.block_has_key = false;
        Ok(())
    }

    fn put_block(&mut self, kind: BlockKind, plain: &[u8]) -> Result<(BlockHandle, Tag)> {
        let codec = if kind == BlockKind::Data { self.options.compression } else { Compression::None };
        self.output.put_block(kind, codec, plain)
    }

    fn finish_file(&mut self) -> Result<TableMeta> {
        self.end_block(None)?;
        if self.last.is_some() {
            let last_key = std::mem::take(&mut self.last_key);
            self.note_range(&last_key, &last_key, false);
        }
        let Some(smallest) = self.range.smallest.take() else {
            return Err(self.output.internal("a table without entries"));
        };
        let mut plain = Vec::new();
        let tombstones = if self.counts.2 == 0 {
            None
        } else {
            self.tombstones.finish_into(&mut plain);
            Some(self.put_block(BlockKind::Tombstones, &plain)?.0)
        };
        let collector = std::mem::take(&mut self.collector);
        let layout = collector.write(|kind, plain| self.put_block(kind, plain).map(|(handle, _)| handle))?;
        self.properties.index_bytes = layout.index_bytes as u64;
        self.properties.filter_bytes = layout.filter_bytes as u64;
        self.properties.partitions = layout.partitions as u64;
        let properties = self.properties.encode();
        let properties = self.put_block(BlockKind::Properties, &properties)?.0;
        let (entries, deletes, range_tombstones) = self.counts;
        let partitioned = layout.partitions > 0;
        let footer = Footer {
            partitioned,
            properties,
            index: layout.index,
            filter: layout.filter,
            tombstones,
            entries,
            deletes,
            range_tombstones,
        };
        let (footer, footer_tag) = self.put_block(BlockKind::Footer, &footer.encode())?;
        let file_bytes = self.output.finish()?;
        let (smallest_seq, largest_seq) = self.seqs.unwrap_or_default();
        let FileIdentity { place, protection, key, epoch } = self.output.identity();
        Ok(TableMeta {
            file: place.file,
            file_bytes,
            protection: *protection,
            key: key.clone(),
            footer,
            footer_tag,
            smallest,
            largest: std::mem::take(&mut self.range.largest),
            largest_excluded: self.range.excluded,
            smallest_seq,
            largest_seq,
            entries,
            deletes,
            range_tombstones,
            partitioned,
            epoch: *epoch,
            values: self.uses.take(),
            loaded: false,
        })
    }
}
