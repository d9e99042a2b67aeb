//! Writes a table, front to back, once.
//!
//! The key is used for this file only, each offset is sealed at once and once (R13). After any
//! error the writer refuses everything: file and key are to be abandoned, never written again.

use super::block::BlockBuilder;
use super::collector::Collector;
use super::format::{BlockHandle, BlockKind, Footer, Place, seal_block, seal_payload};
use super::meta::TableMeta;
use super::properties::Properties;
use super::table_path;
use crate::engine::lsm::blob::{BlobPointer, Uses};
use crate::engine::lsm::key::{Kind, Trailer, common_prefix, separator};
use crate::engine::lsm::tombstone::Fragment;
use crate::options::{Compression, KeyspaceOptions};
use ringfort_base::limits::{BATCH_VALUE_BYTES_MAX, BLOCK_ON_DISK_BYTES_MAX, KEY_BYTES_MAX, SEQ_MAX};
use ringfort_base::world::DiskFile;
use ringfort_base::{Epoch, Error, ErrorKind, Result, Seq};
use ringfort_trust::keys::Secret;
use ringfort_trust::{Protection, Sealer, Tag};
use std::cmp::Ordering;
use std::sync::Arc;

/// Finished blocks are handed to the disk in pieces of about this size, bytes.
const WRITE_PIECE_BYTES: usize = 512 << 10;
/// Space is reserved this far ahead of what is written, bytes: writing into reserved space costs a
/// file system half as much as growing the file page by page. A table of one piece reserves nothing.
const RESERVE_BYTES: u64 = 8 << 20;
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

impl From<&KeyspaceOptions> for TableOptions {
    fn from(options: &KeyspaceOptions) -> Self {
        let &KeyspaceOptions { block_bytes, restart_interval, bloom_bits_per_key, .. } = options;
        let &KeyspaceOptions { prefix_bytes, compression, .. } = options;
        Self { block_bytes, restart_interval, bloom_bits_per_key, prefix_bytes, compression }
    }
}

/// Who a new table is, besides its content.
pub struct TableIdentity {
    /// Store and file number.
    pub place: Place,
    /// How its volume wants it protected.
    pub protection: Protection,
    /// A fresh random key, for this table alone.
    pub key: Secret<32>,
    /// The current key epoch.
    pub epoch: Epoch,
}

/// See the module.
pub struct TableWriter {
    file: Arc<dyn DiskFile>,
    name: String,
    identity: TableIdentity,
    sealer: Sealer,
    options: TableOptions,
    /// Sealed blocks that are not written yet; the first byte lies at `written` in the file.
    out: Vec<u8>,
    written: u64,
    /// The file has this much space, of which the rest is given back at the end.
    reserved: u64,
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
    failed: bool,
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
    pub fn new(file: Arc<dyn DiskFile>, identity: TableIdentity, options: TableOptions) -> Self {
        Self {
            file,
            name: table_path(identity.place.file),
            sealer: Sealer::new(identity.protection, &identity.key),
            identity,
            options,
            out: Vec::with_capacity(WRITE_PIECE_BYTES + WRITE_PIECE_BYTES / 8),
            written: 0,
            reserved: 0,
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
            failed: false,
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
        self.written + (self.out.len() + open) as u64
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

    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.failed {
            return Err(Error::new(ErrorKind::Stopped, format!("{} was given up after an error", self.name)));
        }
        let result = work(self);
        self.failed = result.is_err();
        result
    }

    fn add_entry(&mut self, key: &[u8], trailer: Trailer, value: &[u8]) -> Result<()> {
        let kind = trailer.kind().map_err(|e| self.internal(e))?;
        if key.len() > KEY_BYTES_MAX || value.len() > BATCH_VALUE_BYTES_MAX || kind == Kind::RangeDelete {
            return Err(self.internal("an entry is no point entry or above a limit"));
        }
        if kind == Kind::ValuePointer {
            self.uses.add(&BlobPointer::decode(value).map_err(|e| self.internal(e))?);
        }
        if kind == Kind::Delete && !value.is_empty() {
            return Err(self.internal("a deletion has a value"));
        }
        // Shared bytes of neighbours say their order, what the block stores, and if it is a new key.
        let shared = common_prefix(&self.last_key, key);
        let same_key = shared == key.len() && shared == self.last_key.len();
        if let Some(last) = self.last {
            let ascends = if same_key { trailer < last } else { self.last_key[shared..] < key[shared..] };
            if !ascends {
                return Err(self.internal("an entry is out of order"));
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
            return Err(self.internal("a range tombstone is empty or out of order"));
        }
        for &seq in seqs {
            if seq.0 > SEQ_MAX {
                return Err(self.internal("a sequence number is above its limit"));
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
            self.check_block_bytes(BlockKind::Data, self.block.size())?;
            let (from, codec) = (self.out.len(), Compression::None);
            self.block.finish_into(&mut self.out);
            let at = (&mut self.out, self.written);
            let (handle, _) =
                seal_payload(&self.sealer, (self.identity.place, BlockKind::Data), codec, from, at);
            self.write_out_if_full()?;
            handle
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
        self.check_block_bytes(kind, plain.len())?;
        let at = (&mut self.out, self.written);
        let sealed = seal_block(&self.sealer, (self.identity.place, kind), plain, codec, at);
        self.write_out_if_full()?;
        Ok(sealed)
    }

    fn check_block_bytes(&self, kind: BlockKind, bytes: usize) -> Result<()> {
        if bytes <= BLOCK_ON_DISK_BYTES_MAX {
            return Ok(());
        }
        let (kind, name) = (kind.name(), &self.name);
        let what = format!("a {kind} of {bytes} bytes in {name}: at most {BLOCK_ON_DISK_BYTES_MAX}");
        Err(Error::new(ErrorKind::Exhausted, what))
    }

    fn write_out_if_full(&mut self) -> Result<()> {
        if self.out.len() < WRITE_PIECE_BYTES {
            return Ok(());
        }
        let end = self.written + self.out.len() as u64;
        if end > self.reserved {
            let reserve = end + RESERVE_BYTES;
            self.file.allocate(reserve).map_err(|e| Error::io("reserve space for", &self.name, &e))?;
            self.reserved = reserve;
        }
        let (from, len) = (self.written, self.out.len() as u64);
        self.write_out()?;
        self.file.write_back(from, len);
        Ok(())
    }

    fn write_out(&mut self) -> Result<()> {
        self.file.write_at(&self.out, self.written).map_err(|e| Error::io("write", &self.name, &e))?;
        self.written += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }

    fn finish_file(&mut self) -> Result<TableMeta> {
        self.end_block(None)?;
        if self.last.is_some() {
            let last_key = std::mem::take(&mut self.last_key);
            self.note_range(&last_key, &last_key, false);
        }
        let Some(smallest) = self.range.smallest.take() else {
            return Err(self.internal("a table without entries"));
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
        self.write_out()?;
        if self.reserved > self.written {
            self.file.truncate(self.written).map_err(|e| Error::io("cut", &self.name, &e))?;
        }
        // Never "disk full, try again": what a failed sync lost, nobody knows (R11).
        let synced = self.file.sync();
        synced.map_err(|e| Error::io("sync", &self.name, &e).with_kind(ErrorKind::Io))?;
        let (smallest_seq, largest_seq) = self.seqs.unwrap_or_default();
        Ok(TableMeta {
            file: self.identity.place.file,
            file_bytes: self.written,
            protection: self.identity.protection,
            key: self.identity.key.clone(),
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
            epoch: self.identity.epoch,
            values: self.uses.take(),
            loaded: false,
        })
    }

    fn internal(&self, why: impl std::fmt::Display) -> Error {
        Error::new(ErrorKind::Internal, format!("writing {}: {why}", self.name))
    }
}
