//! The library as the benchmarks see it: [`Ringfort`] opens a store, [`Db`] is an
//! [`Engine`].
//!
//! What is measured is what is shipped: the public calls of [`Db`], its two background workers, the
//! anchor window (R7), and everything that is read back verified. `ringfort bench db` and the
//! comparison with other stores use this one adapter.

mod transactional;

pub use transactional::TransactionalDb;

use crate::{Commit, Compression, Db, KeyspaceOptions, Level, Mode, Options, WriteBatch};
use ringfort_base::limits::ANCHOR_WINDOW_MS;
use ringfort_bench::{Begun, Direction, Engine, Op, Result, Settings, Unsupported, Visit};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How a store is opened, besides what all engines are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ringfort {
    /// The mode of the store.
    pub mode: Mode,
    /// How long an operation of the simulated counter takes.
    pub counter_latency: Duration,
}

impl Default for Ringfort {
    fn default() -> Self {
        Self { mode: Mode::Software, counter_latency: Duration::ZERO }
    }
}

impl Ringfort {
    /// Name, version, and what a reader must know.
    #[must_use]
    pub fn about(&self) -> String {
        format!(
            "Ringfort {}, AES-256-GCM, mode {}, anchored every {ANCHOR_WINDOW_MS} ms (simulated counter, {} us)",
            env!("CARGO_PKG_VERSION"),
            self.mode,
            self.counter_latency.as_micros()
        )
    }

    /// Opens a store with all of its volumes below `dir`: `data`, `platform` and, where the mode needs
    /// one, `trusted`.
    pub fn open(&self, dir: &Path, settings: &Settings) -> Result<Arc<dyn Engine>> {
        Ok(Arc::new(Db::open(self.options(dir, settings)?)?))
    }

    /// What [`Ringfort::open`] opens the store with, for a caller who changes some of it.
    pub fn options(&self, dir: &Path, settings: &Settings) -> Result<Options> {
        let mut options = Options::new(dir.join("data"))
            .platform_state(dir.join("platform"))
            .mode(self.mode)
            .level(Level::Buffered)
            .memory_budget(settings.memory_budget)
            .keyspace_defaults(self.keyspace(settings)?)
            .counter_latency(self.counter_latency);
        if let Some(direct) = settings.use_direct_reads {
            options = options.direct_reads(direct);
        }
        if self.mode.needs_trusted_volume() {
            options = options.trusted(dir.join("trusted"));
        }
        Ok(options)
    }

    /// The options of the keyspace that the benchmarks use.
    pub fn keyspace(&self, settings: &Settings) -> Result<KeyspaceOptions> {
        let compression = match settings.compression_type {
            ringfort_bench::Compression::None => Compression::None,
            ringfort_bench::Compression::Lz4 => Compression::Lz4,
            ringfort_bench::Compression::Zstd => Compression::Zstd,
            ringfort_bench::Compression::Snappy => return Err(Unsupported("compression by snappy").into()),
        };
        let default = KeyspaceOptions::default();
        Ok(KeyspaceOptions {
            write_buffer_bytes: settings.write_buffer_size,
            block_bytes: settings.block_size,
            bloom_bits_per_key: settings.bloom_bits,
            compression,
            merge_operator: settings.merge_operator.clone(),
            separate_values_from_bytes: settings.min_blob_size.unwrap_or(default.separate_values_from_bytes),
            ..default
        })
    }
}

impl Engine for Db {
    fn put(&self, key: &[u8], value: &[u8], level: Level) -> Result<()> {
        self.default_keyspace().put_with(key, value, level)?;
        Ok(())
    }

    fn delete(&self, key: &[u8], level: Level) -> Result<()> {
        Engine::write(self, &[Op::Delete { key }], level)
    }

    fn write(&self, batch: &[Op<'_>], level: Level) -> Result<()> {
        self.write_with(writes(self, batch), level)?;
        Ok(())
    }

    fn begin(&self, batch: &[Op<'_>], level: Level) -> Result<Box<dyn Begun>> {
        let commit = self.submit(writes(self, batch), level)?;
        Ok(Box::new(UnderWay { commit, level }))
    }

    /// By the operator that the keyspace was created with; an error if it has none.
    fn merge(&self, key: &[u8], operand: &[u8], level: Level) -> Result<()> {
        let mut batch = WriteBatch::new();
        batch.merge(self.default_keyspace().id(), key, operand);
        self.write_with(batch, level)?;
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        Ok(Db::get(self, key)?.map(|value| value.len()))
    }

    fn read(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        let found = Db::get(self, key)?;
        value.clear();
        value.extend_from_slice(found.as_deref().unwrap_or_default());
        Ok(found.is_some())
    }

    fn multi_get(&self, keys: &[&[u8]], lens: &mut Vec<Option<usize>>) -> Result<()> {
        let found = Db::multi_get(self, keys)?;
        lens.extend(found.iter().map(|value| value.as_ref().map(|value| value.len())));
        Ok(())
    }

    fn scan(&self, from: Option<&[u8]>, direction: Direction, visit: &mut Visit<'_>) -> Result<()> {
        let mut scan = match (direction, from) {
            (Direction::Forward, None) => Db::scan(self, ..)?,
            (Direction::Forward, Some(from)) => Db::scan(self, from..)?,
            (Direction::Reverse, None) => self.scan_rev(..)?,
            (Direction::Reverse, Some(from)) => self.scan_rev(..=from)?,
        };
        while let Some((key, value)) = scan.entry() {
            if visit(key, value).is_break() {
                break;
            }
            scan.advance()?;
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(Db::flush(self)?)
    }

    fn settle(&self) -> Result<()> {
        Db::flush(self)?;
        Ok(self.wait_for_upkeep()?)
    }

    fn statistics(&self) -> Result<String> {
        let mut text = String::new();
        for (name, value) in Db::statistics(self).entries() {
            writeln!(text, "{name} COUNT : {value}")?;
        }
        for (level, (tables, bytes)) in self.default_keyspace().levels()?.into_iter().enumerate() {
            writeln!(text, "level {level} : {tables} tables, {bytes} bytes")?;
        }
        Ok(text)
    }

    fn close(&self) -> Result<()> {
        Ok(Db::close(self)?)
    }
}

fn writes(db: &Db, batch: &[Op<'_>]) -> WriteBatch {
    let keyspace = db.default_keyspace().id();
    let mut writes = WriteBatch::new();
    for op in batch {
        match *op {
            Op::Put { key, value } => writes.put(keyspace, key, value),
            Op::Delete { key } => writes.delete(keyspace, key),
        }
    }
    writes
}

struct UnderWay {
    commit: Commit,
    level: Level,
}

impl Begun for UnderWay {
    fn wait(self: Box<Self>) -> Result<()> {
        Ok(self.commit.wait(self.level)?)
    }
}
