//! What a store must offer to be compared: [`Engine`], and how one is opened: [`Kind`].
//!
//! An engine is one file under `engines/` and one line in [`crate::engines::ALL`]. It opens a fresh
//! directory with the [`Settings`] that all engines get, writes and reads by its cheapest call, and
//! can settle. Everything else (threads, keys, clocks, percentiles, bytes on disk) is the driver's,
//! so that no engine measures itself.

use crate::Result;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// An open store.
pub trait Engine: Send + Sync {
    /// Sets a key. On return the write is readable and handed to the operating system: it survives
    /// the end of the process (no sync).
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()>;

    /// Reads a key by the engine's cheapest call; how long the value is, `None` if there is none.
    fn get(&self, key: &[u8]) -> Result<Option<usize>>;

    /// Writes out what is in memory and waits until no background work is due: the debt is paid.
    fn settle(&self) -> Result<()>;

    /// Closes cleanly. No other thread uses the engine any more.
    fn close(&self) -> Result<()>;
}

/// How to open an engine.
pub struct Kind {
    /// What the command line calls it.
    pub name: &'static str,
    /// Name and version, with what a reader must know about the build.
    pub about: fn() -> String,
    /// Opens a store in an existing, empty directory.
    pub open: fn(&Path, &Settings) -> Result<Arc<dyn Engine>>,
}

/// Equal for all engines: write-ahead log on, no sync, no compression.
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[command(rename_all = "snake_case")]
pub struct Settings {
    /// Memory for the block cache (Ringfort: for everything, memtables too), MiB.
    #[arg(long, default_value_t = 512)]
    pub memory_budget_mib: usize,
    /// A memtable is flushed at this size, MiB.
    #[arg(long, default_value_t = 64)]
    pub write_buffer_mib: usize,
    /// Size of a data block, bytes.
    #[arg(long, default_value_t = 4096)]
    pub block_size: usize,
    /// Bloom filter bits per key.
    #[arg(long, default_value_t = 10)]
    pub bloom_bits: u32,
    /// Threads for flushes and compactions.
    #[arg(long, default_value_t = 2)]
    pub background_jobs: usize,
}

impl Settings {
    /// The memory budget, bytes.
    pub fn memory_budget(&self) -> usize {
        self.memory_budget_mib << 20
    }

    /// The write buffer, bytes.
    pub fn write_buffer(&self) -> usize {
        self.write_buffer_mib << 20
    }
}
