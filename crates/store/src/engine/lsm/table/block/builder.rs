//! Builds the plaintext of a block.

use super::{ENDING_BYTES, RESTART_BYTES};
use crate::engine::lsm::key::{Trailer, common_prefix};
use ringfort_base::codec::Write;

/// Collects entries, which must come in internal order, each once.
pub struct BlockBuilder {
    entries: Vec<u8>,
    values: Vec<u8>,
    restarts: Vec<(u32, u32)>,
    restart_interval: usize,
    since_restart: usize,
    last_key: Vec<u8>,
}

impl BlockBuilder {
    /// A block that stores a key whole every `restart_interval` entries.
    #[must_use]
    pub fn new(restart_interval: usize) -> Self {
        Self {
            entries: Vec::new(),
            values: Vec::new(),
            restarts: Vec::new(),
            restart_interval: restart_interval.max(1),
            since_restart: 0,
            last_key: Vec::new(),
        }
    }

    /// Adds an entry.
    pub fn add(&mut self, key: &[u8], trailer: Trailer, value: &[u8]) {
        let shared = common_prefix(&self.last_key, key);
        self.add_shared(shared, key, trailer, value);
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(&key[shared..]);
    }

    /// As [`BlockBuilder::add`], for a caller that knows how long the longest common prefix with the
    /// key before is, in this block or the one before it. A block is built by one of the two only.
    pub(crate) fn add_shared(&mut self, shared: usize, key: &[u8], trailer: Trailer, value: &[u8]) {
        let shared = if self.restarts.is_empty() || self.since_restart >= self.restart_interval {
            self.restarts.push((self.entries.len() as u32, self.values.len() as u32));
            self.since_restart = 0;
            0
        } else {
            shared
        };
        self.since_restart += 1;
        self.entries.put_varint(shared as u64);
        self.entries.put_varint((key.len() - shared) as u64);
        self.entries.put_varint(value.len() as u64);
        self.entries.put(&key[shared..]);
        self.entries.put_u64(trailer.0);
        self.values.put(value);
    }

    /// Whether nothing was added yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.restarts.is_empty()
    }

    /// The size of the block as it is now, bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.entries.len() + self.values.len() + RESTART_BYTES * self.restarts.len() + ENDING_BYTES
    }

    /// Appends the finished block to `out` and starts anew.
    pub fn finish_into(&mut self, out: &mut Vec<u8>) {
        out.reserve(self.size() + ringfort_base::limits::TAG_BYTES);
        out.put(&self.entries);
        out.put(&self.values);
        for (entry, value) in &self.restarts {
            out.put_u32(*entry);
            out.put_u32(*value);
        }
        out.put_u32(self.entries.len() as u32);
        out.put_u32(self.restarts.len() as u32);
        self.entries.clear();
        self.values.clear();
        self.restarts.clear();
        self.last_key.clear();
        self.since_restart = 0;
    }
}
