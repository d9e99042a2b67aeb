//! fjall: an LSM store in Rust, the fastest writer among the peers.
//!
//! Unprotected. Its settings have the names below; where it has no such setting its default stands.

use super::Kind;
use crate::Result;
use fjall::config::{
    BlockSizePolicy, BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry,
};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use ringfort_base::Level;
use ringfort_bench::engine::synced;
use ringfort_bench::{Compression, Engine, Settings, Unsupported};
use ringfort_host::door;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How it is opened.
pub const KIND: Kind = Kind { name: "fjall", about, open };

struct Fjall {
    database: Database,
    keyspace: Keyspace,
}

fn about() -> String {
    "fjall 3.1, unprotected".to_owned()
}

fn open(dir: &Path, settings: &Settings) -> Result<Arc<dyn Engine>> {
    if settings.compression_type != Compression::None {
        return Err(Unsupported("compression (not built in here)").into());
    }
    let database = Database::builder(dir)
        .cache_size(settings.memory_budget as u64)
        .worker_threads(settings.background_jobs)
        .journal_compression(CompressionType::None)
        .open()?;
    let keyspace = database.keyspace("bench", || {
        let filter = match settings.bloom_bits {
            0 => FilterPolicyEntry::None,
            bits => FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(bits as f32)),
        };
        KeyspaceCreateOptions::default()
            .max_memtable_size(settings.write_buffer_size as u64)
            .data_block_size_policy(BlockSizePolicy::all(
                u32::try_from(settings.block_size).unwrap_or(u32::MAX),
            ))
            .data_block_compression_policy(CompressionPolicy::disabled())
            .index_block_compression_policy(CompressionPolicy::disabled())
            .filter_policy(FilterPolicy::all(filter))
    })?;
    Ok(Arc::new(Fjall { database, keyspace }))
}

impl Engine for Fjall {
    fn put(&self, key: &[u8], value: &[u8], level: Level) -> Result<()> {
        let sync = synced(level)?;
        self.keyspace.insert(key, value)?;
        if sync {
            self.database.persist(PersistMode::SyncData)?;
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        Ok(self.keyspace.get(key)?.map(|value| value.len()))
    }

    fn settle(&self) -> Result<()> {
        self.keyspace.rotate_memtable_and_wait()?;
        // Between two jobs nothing may seem due for a moment: it has to stay so.
        let mut quiet = 0;
        while quiet < 5 {
            door::sleep(Duration::from_millis(10));
            let busy = self.database.outstanding_flushes() > 0 || self.database.active_compactions() > 0;
            quiet = if busy { 0 } else { quiet + 1 };
        }
        Ok(())
    }

    fn close(&self) -> Result<()> {
        Ok(self.database.persist(PersistMode::Buffer)?)
    }
}
