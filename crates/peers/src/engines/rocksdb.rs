//! RocksDB, as db_bench sets it up: LRU block cache, full Bloom filters, pipelined writes.
//!
//! Unprotected: nothing is encrypted, and its checksums do not stop an attacker. It is the reference.
//! Its memtables and the indexes and filters of its tables come on top of the block cache, so it may
//! use more memory than Ringfort, whose budget covers all of them.

use super::Kind;
use crate::Result;
use ringfort_base::Level;
use ringfort_bench::engine::synced;
use ringfort_bench::{Compression, Engine, Settings};
use ringfort_host::door;
use rocksdb::{BlockBasedOptions, Cache, DB, DBCompressionType, FlushOptions, Options, WriteOptions};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How it is opened.
pub const KIND: Kind = Kind { name: "rocksdb", about, open };

/// Background work that is due or under way, as RocksDB counts it.
const DEBT: [&str; 4] = [
    "rocksdb.mem-table-flush-pending",
    "rocksdb.num-running-flushes",
    "rocksdb.compaction-pending",
    "rocksdb.num-running-compactions",
];

struct RocksDb {
    db: DB,
    write: WriteOptions,
    write_synced: WriteOptions,
}

fn about() -> String {
    let crc = if cfg!(target_arch = "x86_64") { ", CRC-32C by the processor's instruction" } else { "" };
    format!("RocksDB 7.8 (the system's library, crate rocksdb 0.19){crc}, unprotected")
}

fn open(dir: &Path, settings: &Settings) -> Result<Arc<dyn Engine>> {
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
    options.set_enable_pipelined_write(true);
    options.set_max_open_files(-1);
    let (mut write, mut write_synced) = (WriteOptions::default(), WriteOptions::default());
    write.set_sync(false);
    write_synced.set_sync(true);
    Ok(Arc::new(RocksDb { db: DB::open(&options, dir)?, write, write_synced }))
}

impl Engine for RocksDb {
    fn put(&self, key: &[u8], value: &[u8], level: Level) -> Result<()> {
        let options = if synced(level)? { &self.write_synced } else { &self.write };
        Ok(self.db.put_opt(key, value, options)?)
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        Ok(self.db.get_pinned(key)?.map(|value| value.len()))
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
    fn flush(&self) -> Result<()> {
        let mut flush = FlushOptions::default();
        flush.set_wait(true);
        Ok(self.db.flush_opt(&flush)?)
    }
}
