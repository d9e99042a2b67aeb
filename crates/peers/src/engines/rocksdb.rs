//! RocksDB, as db_bench sets it up: LRU block cache, full Bloom filters, pipelined writes.
//!
//! Unprotected: nothing is encrypted, and its checksums do not stop an attacker. It is the reference.
//! Its memtables and the indexes and filters of its tables come on top of the block cache, so it may
//! use more memory than Ringfort, whose budget covers all of them.
//!
//! Merge operators are Ringfort's built-in ones by name, written against RocksDB's interface. Values lie apart
//! (its blob files, with their garbage collection) only if `--min_blob_size` says so.

use super::{Kind, Open};
use crate::Result;
use ringfort_base::Level;
use ringfort_bench::engine::synced;
use ringfort_bench::{Compression, Direction, Engine, Op, Settings, Visit};
use ringfort_host::door;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, FlushOptions, MergeOperands,
    Options, WriteBatch, WriteOptions,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How it is opened.
pub const KIND: Kind = Kind { name: "rocksdb", about, open: Open::Plain(open), cache_share: 0.33 };

/// Background work that is due or under way, as RocksDB counts it.
const DEBT: [&str; 4] = [
    "rocksdb.mem-table-flush-pending",
    "rocksdb.num-running-flushes",
    "rocksdb.compaction-pending",
    "rocksdb.num-running-compactions",
];

/// What it has in memory, as it counts it: memtables, indexes and filters of open tables, cache.
const MEMORY: [&str; 3] =
    ["rocksdb.size-all-mem-tables", "rocksdb.estimate-table-readers-mem", "rocksdb.block-cache-usage"];

struct RocksDb {
    db: DB,
    write: WriteOptions,
    write_synced: WriteOptions,
}

/// Name and version, with what a reader must know about the build.
pub fn about() -> String {
    let crc = if cfg!(target_arch = "x86_64") { ", CRC-32C by the processor's instruction" } else { "" };
    format!("RocksDB 7.8 (the system's library, crate rocksdb 0.19){crc}, unprotected")
}

/// Opens a store.
pub fn open(dir: &Path, settings: &Settings) -> Result<Arc<dyn Engine>> {
    let options = options(settings)?;
    // By name, so that it can be had as a handle, which MultiGet asks for.
    let family = ColumnFamilyDescriptor::new("default", options.clone());
    let (mut write, mut write_synced) = (WriteOptions::default(), WriteOptions::default());
    write.set_sync(false);
    write_synced.set_sync(true);
    Ok(Arc::new(RocksDb { db: DB::open_cf_descriptors(&options, dir, [family])?, write, write_synced }))
}

/// Opens a store for reading only: its log is replayed into a memtable, and nothing is written.
pub fn replay(dir: &Path, settings: &Settings) -> Result<Arc<dyn Engine>> {
    let db = DB::open_for_read_only(&options(settings)?, dir, false)?;
    Ok(Arc::new(RocksDb { db, write: WriteOptions::default(), write_synced: WriteOptions::default() }))
}

/// The options of a store, whatever is built on it.
pub fn options(settings: &Settings) -> Result<Options> {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(settings.memory_budget)?);
    table.set_block_size(settings.block_size);
    table.set_format_version(5);
    if settings.bloom_bits > 0 {
        table.set_bloom_filter(f64::from(settings.bloom_bits), false);
    }
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(settings.write_buffer_size);
    options.set_max_background_jobs(i32::try_from(settings.background_jobs)?);
    options.set_compression_type(match settings.compression_type {
        Compression::None => DBCompressionType::None,
        Compression::Lz4 => DBCompressionType::Lz4,
        Compression::Zstd => DBCompressionType::Zstd,
        Compression::Snappy => DBCompressionType::Snappy,
    });
    options.set_use_direct_reads(settings.use_direct_reads.unwrap_or(false));
    options.set_enable_pipelined_write(true);
    options.set_max_open_files(-1);
    if let Some(bytes) = settings.min_blob_size.filter(|bytes| *bytes > 0) {
        options.set_enable_blob_files(true);
        options.set_min_blob_size(bytes as u64);
        options.set_enable_blob_gc(true);
    }
    match settings.merge_operator.as_deref() {
        None => {}
        Some("append") => options.set_merge_operator_associative("append", append),
        Some("max") => options.set_merge_operator_associative("max", greatest),
        Some("min") => options.set_merge_operator_associative("min", least),
        Some("add_u64") => options.set_merge_operator_associative("add_u64", add_u64),
        Some(other) => {
            return Err(
                format!("'{other}' is no merge operator; there are: append, max, min, add_u64").into()
            );
        }
    }
    Ok(options)
}

fn append(_: &[u8], existing: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    Some(existing.into_iter().chain(operands.iter()).collect::<Vec<_>>().concat())
}

fn greatest(_: &[u8], existing: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    existing.into_iter().chain(operands.iter()).max().map(<[u8]>::to_vec)
}

fn least(_: &[u8], existing: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    existing.into_iter().chain(operands.iter()).min().map(<[u8]>::to_vec)
}

fn add_u64(_: &[u8], existing: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    let terms = existing.into_iter().chain(operands.iter());
    let mut sum = 0u64;
    for term in terms {
        sum = sum.wrapping_add(u64::from_le_bytes(term.try_into().ok()?));
    }
    Some(sum.to_le_bytes().to_vec())
}

impl Engine for RocksDb {
    fn put(&self, key: &[u8], value: &[u8], level: Level) -> Result<()> {
        Ok(self.db.put_opt(key, value, self.options(level)?)?)
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        Ok(self.db.get_pinned(key)?.map(|value| value.len()))
    }

    fn delete(&self, key: &[u8], level: Level) -> Result<()> {
        Ok(self.db.delete_opt(key, self.options(level)?)?)
    }

    fn write(&self, batch: &[Op<'_>], level: Level) -> Result<()> {
        let mut writes = WriteBatch::default();
        for op in batch {
            match *op {
                Op::Put { key, value } => writes.put(key, value),
                Op::Delete { key } => writes.delete(key),
            }
        }
        Ok(self.db.write_opt(writes, self.options(level)?)?)
    }

    fn merge(&self, key: &[u8], operand: &[u8], level: Level) -> Result<()> {
        Ok(self.db.merge_opt(key, operand, self.options(level)?)?)
    }

    fn read(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let found = self.db.get_pinned(key)?;
        Ok(found.inspect(|found| value.extend_from_slice(found)).is_some())
    }

    fn multi_get(&self, keys: &[&[u8]], lens: &mut Vec<Option<usize>>) -> Result<()> {
        let family = self.db.cf_handle("default").ok_or("RocksDB has no default column family")?;
        for found in self.db.batched_multi_get_cf(family, keys.iter().copied(), false) {
            lens.push(found?.map(|value| value.len()));
        }
        Ok(())
    }

    fn scan(&self, from: Option<&[u8]>, direction: Direction, visit: &mut Visit<'_>) -> Result<()> {
        let mut iter = self.db.raw_iterator();
        match (direction, from) {
            (Direction::Forward, None) => iter.seek_to_first(),
            (Direction::Forward, Some(from)) => iter.seek(from),
            (Direction::Reverse, None) => iter.seek_to_last(),
            (Direction::Reverse, Some(from)) => iter.seek_for_prev(from),
        }
        while let Some((key, value)) = iter.item() {
            if visit(key, value).is_break() {
                return Ok(());
            }
            match direction {
                Direction::Forward => iter.next(),
                Direction::Reverse => iter.prev(),
            }
        }
        Ok(iter.status()?)
    }

    fn flush(&self) -> Result<()> {
        let mut flush = FlushOptions::default();
        flush.set_wait(true);
        Ok(self.db.flush_opt(&flush)?)
    }

    fn statistics(&self) -> Result<String> {
        Ok(self.db.property_value("rocksdb.stats")?.unwrap_or_default())
    }

    fn memory_used(&self) -> Result<u64> {
        let mut bytes = 0;
        for name in MEMORY {
            bytes += self.db.property_int_value(name)?.unwrap_or(0);
        }
        Ok(bytes)
    }

    fn settle(&self) -> Result<()> {
        self.flush()?;
        // Between two jobs nothing may seem due for a moment: it has to stay so.
        let mut quiet = 0;
        while quiet < 5 {
            door::sleep(Duration::from_millis(10));
            let mut debt = 0;
            for name in DEBT {
                debt += self.db.property_int_value(name)?.unwrap_or(0);
            }
            quiet = if debt == 0 { quiet + 1 } else { 0 };
        }
        Ok(())
    }

    fn close(&self) -> Result<()> {
        self.flush()?;
        self.db.cancel_all_background_work(true);
        Ok(())
    }
}

impl RocksDb {
    fn options(&self, level: Level) -> Result<&WriteOptions> {
        Ok(if synced(level)? { &self.write_synced } else { &self.write })
    }
}
