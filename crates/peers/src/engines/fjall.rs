//! fjall: an LSM store in Rust, the fastest writer among the peers.
//!
//! Unprotected. Its settings have the names below; where it has no such setting its default stands. Values
//! lie apart only if `--min_blob_size` says so.

use super::{Kind, Open};
use crate::Result;
use fjall::config::{
    BlockSizePolicy, BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry,
};
use fjall::{
    CompressionType, Database, Guard, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode,
};
use ringfort_base::Level;
use ringfort_bench::engine::synced;
use ringfort_bench::{Direction, Engine, Op, Settings, Visit};
use ringfort_host::door;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How it is opened.
pub const KIND: Kind = Kind { name: "fjall", about, open: Open::Plain(open), cache_share: 0.33 };

struct Fjall {
    database: Database,
    keyspace: Keyspace,
}

fn about() -> String {
    "fjall 3.1, unprotected".to_owned()
}

fn open(dir: &Path, settings: &Settings) -> Result<Arc<dyn Engine>> {
    super::plain_files(settings)?;
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
        let apart = settings.min_blob_size.filter(|bytes| *bytes > 0);
        let apart = apart.map(|bytes| {
            let threshold = u32::try_from(bytes).unwrap_or(u32::MAX);
            KvSeparationOptions::default().separation_threshold(threshold).compression(CompressionType::None)
        });
        KeyspaceCreateOptions::default()
            .with_kv_separation(apart)
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

impl Fjall {
    fn sync_if(&self, sync: bool) -> Result<()> {
        if sync {
            self.database.persist(PersistMode::SyncData)?;
        }
        Ok(())
    }
}

impl Engine for Fjall {
    fn put(&self, key: &[u8], value: &[u8], level: Level) -> Result<()> {
        let sync = synced(level)?;
        self.keyspace.insert(key, value)?;
        self.sync_if(sync)
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        Ok(self.keyspace.get(key)?.map(|value| value.len()))
    }

    fn delete(&self, key: &[u8], level: Level) -> Result<()> {
        let sync = synced(level)?;
        self.keyspace.remove(key)?;
        self.sync_if(sync)
    }

    fn write(&self, batch: &[Op<'_>], level: Level) -> Result<()> {
        let sync = synced(level)?;
        let mut writes = self.database.batch();
        for op in batch {
            match *op {
                Op::Put { key, value } => writes.insert(&self.keyspace, key, value),
                Op::Delete { key } => writes.remove(&self.keyspace, key),
            }
        }
        writes.commit()?;
        self.sync_if(sync)
    }

    fn read(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let found = self.keyspace.get(key)?;
        Ok(found.inspect(|found| value.extend_from_slice(found)).is_some())
    }

    fn scan(&self, from: Option<&[u8]>, direction: Direction, visit: &mut Visit<'_>) -> Result<()> {
        let range = match (from, direction) {
            (None, _) => self.keyspace.iter(),
            (Some(from), Direction::Forward) => self.keyspace.range(from..),
            (Some(from), Direction::Reverse) => self.keyspace.range(..=from),
        };
        let mut go_on = |entry: Guard| -> Result<bool> {
            let (key, value) = entry.into_inner()?;
            Ok(visit(&key, &value).is_continue())
        };
        match direction {
            Direction::Forward => {
                for entry in range {
                    if !go_on(entry)? {
                        break;
                    }
                }
            }
            Direction::Reverse => {
                for entry in range.rev() {
                    if !go_on(entry)? {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(self.keyspace.rotate_memtable_and_wait()?)
    }

    fn settle(&self) -> Result<()> {
        self.flush()?;
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
