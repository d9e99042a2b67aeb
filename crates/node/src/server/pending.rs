//! # The writes of a turn go to the log as one group
//!
//! A pipeline of writes is submitted command by command and applied together (R23: one turn, one
//! group): one seal and one write to the log instead of one each. At the end of the turn the group is left
//! with the [`lane`](super::lane), which makes one of what all its connections left.
//!
//! ```text
//! SET a ─ lock a, read, submit ┐
//! SET b ─ lock b, read, submit ├─ flush: apply all; whoever leads the group releases a, b, c
//! INCR c ─ lock c, read, submit ┘        (within the turn, or by the lane's clerk)
//! ```
//!
//! Invariants:
//! - A lock is held until its write is visible, so nobody reads a key between submit and apply;
//!   neither does this connection: whatever is no locked write of other keys flushes first.
//! - **No deadlock.** Each command's locks have an owner of their own, so the lock table does not see that a
//!   connection holds what its earlier commands locked. It never *waits* for a lock (or for memory) with
//!   those in hand: if one is not free at once, it flushes, which releases all, and waits then. What was
//!   left with the lane is released by its clerk, who waits for nobody.
//! - Dropped with pending writes (a connection that is cancelled), it flushes.

use super::Server;
use ringfort_base::{Level, Seq};
use ringfort_store::WriteBatch;
use std::sync::Arc;

/// A group is flushed at this many writes or bytes.
const WRITES_MAX: usize = 128;
const BYTES_MAX: usize = 1 << 20;

/// Submitted writes that are not visible yet, which release their locks then.
pub(crate) struct Pending {
    server: Arc<Server>,
    writes: usize,
    position: Seq,
    bytes: usize,
    earliest_expiry_ms: Option<u64>,
}

impl Pending {
    /// None yet.
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        let server = Arc::clone(server);
        Self { server, writes: 0, position: Seq::ZERO, bytes: 0, earliest_expiry_ms: None }
    }

    /// Adds a write that was submitted at `position`.
    pub(crate) fn add(&mut self, position: Seq, bytes: usize, expiry_ms: Option<u64>) {
        self.writes += 1;
        self.position = position;
        self.bytes += bytes;
        self.earliest_expiry_ms = self.earliest_expiry_ms.into_iter().chain(expiry_ms).min();
        if self.writes >= WRITES_MAX || self.bytes >= BYTES_MAX {
            self.flush();
        }
    }

    /// Whether nothing waits to be made visible.
    pub(crate) fn is_empty(&self) -> bool {
        self.writes == 0
    }

    /// Takes over what `other` has, unless both together are too much for a group.
    pub(crate) fn absorb(&mut self, other: &mut Self) -> bool {
        if self.bytes + other.bytes > BYTES_MAX {
            return false;
        }
        self.writes += std::mem::take(&mut other.writes);
        self.position = self.position.max(other.position);
        self.bytes += std::mem::take(&mut other.bytes);
        let expiries = self.earliest_expiry_ms.into_iter().chain(other.earliest_expiry_ms.take());
        self.earliest_expiry_ms = expiries.min();
        true
    }

    /// All of it, in other hands.
    pub(crate) fn take(&mut self) -> Self {
        let mut taken = Self::new(&self.server);
        std::mem::swap(&mut taken, self);
        taken
    }

    /// Up to where a turn's writes, flushed or not, will be visible.
    pub(crate) fn position(&self) -> Seq {
        self.position
    }

    /// Makes all of them visible, which releases their locks. If the store stops meanwhile, the gate
    /// says so for each reply.
    pub(crate) fn flush(&mut self) {
        if self.writes == 0 {
            return;
        }
        let store = self.server.store();
        while store.frontier(Level::Buffered) < self.position && store.stopped().is_none() {
            // An empty batch is as old as all that was submitted: leads the group, or waits for
            // whoever leads. An error means that the store has stopped, or will be found so.
            if let Err(error) = store.apply(WriteBatch::new()) {
                self.server.store_failed(&error);
            }
        }
        self.writes = 0;
        self.bytes = 0;
        // Only now can the workers see what they are told of.
        self.server.note_unanchored();
        if let Some(expiry_ms) = self.earliest_expiry_ms.take() {
            self.server.alarm().note(expiry_ms, self.server.reaper_signal());
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::ServerConfig;
    use crate::door;
    use crate::model::meta_key;
    use crate::server::locking;
    use ringfort_base::world::{Clock, Entropy};
    use ringfort_fault::clock::ManualClock;
    use ringfort_fault::entropy::SeededEntropy;
    use ringfort_fault::memory::MemDisk;
    use ringfort_store::txn::locks::Owner;
    use ringfort_store::{Store, StoreOptions, World};
    use ringfort_trust::platform::sim::{SimDevice, SimPlatform};
    use std::time::Duration;

    /// The lock of a key of the first database.
    pub(crate) fn lock(server: &Server, key: &[u8]) -> Owner {
        let name = meta_key(key);
        door::block_on(locking::take_one(server.store(), server.databases()[0], &name)).expect("locks")
    }

    pub(crate) fn server() -> Arc<Server> {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Duration::from_secs(1_700_000_000)));
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(1));
        let device = SimDevice::new(Arc::new(MemDisk::new()), Arc::clone(&entropy));
        let world = World {
            data: Arc::new(MemDisk::new()),
            trusted: None,
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
            platform: Arc::new(SimPlatform::new(Arc::new(device))),
        };
        let store = Store::open(world, StoreOptions::default()).expect("opens");
        Server::new(store, ServerConfig::default(), clock, &*entropy).expect("starts")
    }

    /// A lock never comes free before its write is visible: not by a flush, not by being dropped.
    #[test]
    fn a_lock_is_held_until_its_write_is_visible() {
        let server = server();
        let store = server.store();
        let keyspace = server.databases()[0];
        let write = |pending: &mut Pending, key: &'static [u8]| {
            let lock = lock(&server, key);
            let mut batch = WriteBatch::new();
            batch.put(keyspace, key, b"v".as_slice());
            let ticket = store.submit_locked(batch, lock).expect("submits");
            pending.add(ticket.position, 2, None);
        };
        let seen = |key: &[u8]| store.get(keyspace, key, None).expect("reads").value.is_some();
        let mut pending = Pending::new(&server);
        write(&mut pending, b"a");
        assert!(!seen(b"a"));
        pending.flush();
        assert!(seen(b"a"));
        drop(lock(&server, b"a"));
        write(&mut pending, b"b");
        assert!(!seen(b"b"));
        drop(pending);
        assert!(seen(b"b"), "a connection that is cancelled flushes");
        drop(lock(&server, b"b"));
    }

    #[test]
    fn a_group_is_bounded() {
        let server = server();
        let (store, keyspace) = (server.store(), server.databases()[0]);
        let mut pending = Pending::new(&server);
        for n in 0..WRITES_MAX {
            let key = [b'k', n as u8];
            let lock = lock(&server, &key);
            let mut batch = WriteBatch::new();
            batch.put(keyspace, key.as_slice(), b"v".as_slice());
            let ticket = store.submit_locked(batch, lock).expect("submits");
            pending.add(ticket.position, 3, None);
            assert_eq!(pending.is_empty(), n + 1 == WRITES_MAX);
        }
        assert_eq!(store.frontier(Level::Buffered), pending.position);
    }
}
