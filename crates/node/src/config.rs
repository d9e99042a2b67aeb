//! [`ServerConfig`]: how a server is tuned. Data, no behaviour.

use ringfort_base::Level;
use std::time::Duration;

/// How many databases `SELECT` knows: `SELECT n` is the keyspace `db`n.
pub const DATABASES: usize = 16;

/// Settings of a server. `Default` is right for a server that listens on the loopback.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The password that clients must give; `None`: everybody who can connect may command.
    pub requirepass: Option<Vec<u8>>,
    /// The level of sessions that do not say.
    pub default_level: Level,
    /// The level below which no session can go (R17: sealed in the store by the caller).
    pub minimum_level: Level,
    /// Connections beyond this many are refused.
    pub maxclients: usize,
    /// A connection that sends nothing for this long is closed; zero: never.
    pub idle_timeout: Duration,
    /// A connection that does not take the replies of a turn within this time, and a second more for
    /// each 64 KiB, is closed.
    pub write_timeout: Duration,
    /// One budget for the requests and replies of all connections, bytes.
    pub connection_memory_bytes: usize,
    /// An interactive transaction whose client sends nothing for this long is rolled back; zero: never.
    pub txn_idle_timeout: Duration,
    /// How long a command of an interactive transaction waits for others' locks, at most.
    pub txn_lock_timeout: Duration,
    /// What a connection's transaction may hold: queued commands, writes, watched keys; bytes.
    pub txn_memory_bytes: usize,
    /// Commands slower than this are noted, microseconds; negative: none.
    pub slowlog_log_slower_than_us: i64,
    /// How many are kept.
    pub slowlog_max_len: usize,
    /// How long a clean shutdown waits for connections to finish their turn.
    pub shutdown_timeout: Duration,
    /// What `INFO` and `CONFIG GET port` say.
    pub port: u16,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            requirepass: None,
            default_level: Level::Fresh,
            minimum_level: Level::Buffered,
            maxclients: 10_000,
            idle_timeout: Duration::ZERO,
            write_timeout: Duration::from_secs(60),
            connection_memory_bytes: 1 << 30,
            txn_idle_timeout: Duration::from_secs(60),
            txn_lock_timeout: Duration::from_secs(10),
            txn_memory_bytes: 64 << 20,
            slowlog_log_slower_than_us: 10_000,
            slowlog_max_len: 128,
            shutdown_timeout: Duration::from_secs(5),
            port: 6379,
        }
    }
}
