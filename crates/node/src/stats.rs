//! Counters for `INFO` and `/metrics`. Relaxed atomics: each is right by itself, no two need agree.

use std::sync::atomic::{AtomicU64, Ordering};

/// How often and how long one command ran.
#[derive(Default)]
pub struct CommandStats {
    /// Times it ran.
    pub calls: AtomicU64,
    /// All of them together, microseconds.
    pub took_us: AtomicU64,
    /// Times it answered with an error.
    pub failed: AtomicU64,
}

/// What the server has done since its start, or since `CONFIG RESETSTAT`.
pub struct Stats {
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections refused by `maxclients`.
    pub rejected_connections: AtomicU64,
    /// Commands carried out.
    pub commands: AtomicU64,
    /// Replies that were errors.
    pub errors: AtomicU64,
    /// Look-ups of keys that were there.
    pub hits: AtomicU64,
    /// Look-ups of keys that were not.
    pub misses: AtomicU64,
    /// Keys removed because they expired.
    pub expired_keys: AtomicU64,
    /// Bytes received.
    pub input_bytes: AtomicU64,
    /// Bytes sent.
    pub output_bytes: AtomicU64,
    /// Turns of connections that waited for a level.
    pub gated_turns: AtomicU64,
    /// How long they waited, microseconds.
    pub gate_wait_us: AtomicU64,
    /// Reads that had to go to the pool, and visits of scans to it.
    pub pool_reads: AtomicU64,
    /// Per command, by its number in the command table.
    pub by_command: Box<[CommandStats]>,
}

impl Stats {
    /// All zero, for `commands` commands.
    #[must_use]
    pub fn new(commands: usize) -> Self {
        Self {
            connections: AtomicU64::new(0),
            rejected_connections: AtomicU64::new(0),
            commands: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            expired_keys: AtomicU64::new(0),
            input_bytes: AtomicU64::new(0),
            output_bytes: AtomicU64::new(0),
            gated_turns: AtomicU64::new(0),
            gate_wait_us: AtomicU64::new(0),
            pool_reads: AtomicU64::new(0),
            by_command: (0..commands).map(|_| CommandStats::default()).collect(),
        }
    }

    /// All back to zero.
    pub fn reset(&self) {
        let counters = [
            &self.connections,
            &self.rejected_connections,
            &self.commands,
            &self.errors,
            &self.hits,
            &self.misses,
            &self.expired_keys,
            &self.input_bytes,
            &self.output_bytes,
            &self.gated_turns,
            &self.gate_wait_us,
            &self.pool_reads,
        ];
        let per_command = self.by_command.iter().flat_map(|c| [&c.calls, &c.took_us, &c.failed]);
        counters.into_iter().chain(per_command).for_each(|counter| counter.store(0, Ordering::Relaxed));
    }
}

/// Adds to a counter.
pub fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// Reads a counter.
#[must_use]
pub fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
