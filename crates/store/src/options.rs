//! What a store is handed (the world) and how it is tuned (options).

use crate::merge::MergeOperators;
use ringfort_base::Level;
use ringfort_base::world::{Clock, Disk, Entropy};
use ringfort_trust::keyfile::Mode;
use ringfort_trust::platform::Platform;
use std::sync::Arc;
use std::time::Duration;

/// Everything outside, as the store reaches it.
#[derive(Clone)]
pub struct World {
    /// The untrusted volume.
    pub data: Arc<dyn Disk>,
    /// The trusted volume, for `hardware` and `twin`.
    pub trusted: Option<Arc<dyn Disk>>,
    /// The host's clock.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub entropy: Arc<dyn Entropy>,
    /// The TEE platform.
    pub platform: Arc<dyn Platform>,
}

/// Settings of a store. Data, no behaviour; `Default` is right for a laptop and a server.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The name under which the platform knows the store (R18).
    pub name: String,
    /// The mode; `None`: as the store was created, `software` for a new one. A mode that
    /// disagrees with the store is refused (R17).
    pub mode: Option<Mode>,
    /// Create the store if the platform does not know its name.
    pub create_if_missing: bool,
    /// The level of writes that do not say.
    pub default_level: Level,
    /// Memory for memtables, cache, indexes, filters and open tables, bytes.
    pub memory_budget: usize,
    /// Blocks of tables are read past the system's page cache, where the disk can do that: for a budget
    /// that takes most of the memory there is.
    pub direct_reads: bool,
    /// A segment is closed at this size, bytes.
    pub segment_bytes: u64,
    /// Beyond this much log, the keyspace that pins the oldest segment is flushed, bytes.
    pub max_total_wal_size: u64,
    /// A value that is written by the piece gets a file of its own from this length on, bytes; a shorter
    /// one is held in memory until it is complete, and goes the way of all values.
    pub stored_values_from_bytes: usize,
    /// Un-anchored commits are anchored in the background within this time (R7).
    pub anchor_window: Duration,
    /// The furthest that the host clock may jump ahead of what the log knows, per commit (R20).
    pub clock_step_max: Duration,
    /// Merge operators besides the built-in ones.
    pub merge_operators: MergeOperators,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            mode: None,
            create_if_missing: true,
            default_level: Level::Durable,
            memory_budget: 512 << 20,
            direct_reads: false,
            segment_bytes: 64 << 20,
            max_total_wal_size: 512 << 20,
            stored_values_from_bytes: ringfort_base::limits::STORED_VALUE_BYTES_MIN,
            anchor_window: Duration::from_millis(ringfort_base::limits::ANCHOR_WINDOW_MS),
            clock_step_max: Duration::from_secs(24 * 3600),
            merge_operators: MergeOperators::default(),
        }
    }
}

/// How the blocks of a keyspace's tables are compressed. Compression before encryption leaks
/// through lengths; hence `None` by default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Compression {
    /// As they are.
    #[default]
    None = 0,
    /// LZ4.
    Lz4 = 1,
    /// Zstandard, level 3.
    Zstd = 2,
}

/// Settings of a keyspace, recorded in the MANIFEST (R16).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyspaceOptions {
    /// A memtable is flushed at this size, bytes.
    pub write_buffer_bytes: usize,
    /// Plaintext of a data block, bytes.
    pub block_bytes: usize,
    /// A key is stored whole every this many entries.
    pub restart_interval: usize,
    /// Bloom filter bits per key at the bottom of the tree, a few more above; 0 = no filter.
    pub bloom_bits_per_key: u32,
    /// Compression of data blocks.
    pub compression: Compression,
    /// Tables of a compaction are cut at this size, bytes.
    pub table_bytes: u64,
    /// Level 0 is compacted at this many tables if that is worth rewriting level 1; at twice as many in any
    /// case.
    pub level0_tables: usize,
    /// Size of level 1, bytes; each deeper level is ten times as large.
    pub level1_bytes: u64,
    /// The name of the merge operator: built in (`add_u64`, `max`, `min`, `append`, `append:2c`: see
    /// [`crate::merge`]) or registered in [`StoreOptions::merge_operators`]. `None`: nothing is merged.
    pub merge_operator: Option<String>,
    /// Values of this length or longer are written once, to value files, and tables hold pointers to
    /// them, bytes; 0: never. The default is where that costs reads and scans nothing. From 1024 on
    /// writes cost less still, and so do point reads, but scans twice as much.
    pub separate_values_from_bytes: usize,
    /// So many first bytes of each key go into the filters as well: a scan over keys that have them in
    /// common skips tables without such a key. 0 = none; needs `bloom_bits_per_key`.
    pub prefix_bytes: usize,
}

impl Default for KeyspaceOptions {
    fn default() -> Self {
        Self {
            write_buffer_bytes: 64 << 20,
            block_bytes: 4096,
            restart_interval: 16,
            bloom_bits_per_key: 10,
            compression: Compression::None,
            table_bytes: 64 << 20,
            level0_tables: 4,
            level1_bytes: 256 << 20,
            merge_operator: None,
            separate_values_from_bytes: 8 << 10,
            prefix_bytes: 0,
        }
    }
}
