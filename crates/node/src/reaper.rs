//! # The reaper: removes what has expired
//!
//! Expired keys are absent for every command at once; the reaper gives their space back. It walks
//! the expiry index in order of time, a small batch at a time, takes the latches of the keys, looks at each
//! record again (the key may have been written meanwhile) and removes what is still due. So it never
//! races a command, and never looks at a key that is not due.
//!
//! It sleeps until the earliest expiry; a command that writes an earlier one raises its signal. Time
//! is the store's (R20): a host clock set back revives nothing, and while one that was set far forward
//! is not believed nothing is removed.

use crate::config::DATABASES;
use crate::door;
use crate::jobs::{Signal, Woken};
use crate::model::{Changes, Slot, expiry_until, meta_key, parse_expiry_key};
use crate::server::Server;
use ringfort_base::{KeyspaceId, Result};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Keys per batch: small, so that latches are held shortly.
const KEYS_PER_BATCH: usize = 64;
/// Looks again after this long at the latest: the store's time may run ahead of the one that sleep
/// was measured with.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// The expiry that the reaper is sleeping towards; commands compare theirs with it.
pub struct Alarm(AtomicU64);

impl Default for Alarm {
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

impl Alarm {
    /// Notes an expiry that was written; wakes the reaper if it is the earliest.
    pub fn note(&self, expiry_ms: u64, signal: &Signal) {
        if expiry_ms < self.0.fetch_min(expiry_ms, Ordering::AcqRel) {
            signal.raise();
        }
    }
}

/// Removes one batch of what is due in `keyspace`; returns how many entries it dealt with.
pub fn reap(server: &Server, keyspace: KeyspaceId) -> Result<usize> {
    let store = server.store();
    let time = store.time();
    if time.suspect {
        return Ok(0);
    }
    let (from, to) = expiry_until(time.now_ms);
    let snapshot = store.snapshot();
    let mut due: Vec<(u64, Vec<u8>)> = Vec::new();
    for entry in store.iter(keyspace, &from, Some(&to), false, &snapshot)?.take(KEYS_PER_BATCH) {
        let (stored, _) = entry?;
        if let Some((expiry_ms, key)) = parse_expiry_key(&stored) {
            due.push((expiry_ms, key.to_vec()));
        }
    }
    drop(snapshot);
    if due.is_empty() {
        return Ok(0);
    }
    let keys = due.iter().map(|(_, key)| (keyspace, key.as_slice()));
    let guard = door::block_on(store.latches().acquire(keys));
    let now_ms = store.now_ms();
    let mut changes = Changes::new(keyspace);
    let mut removed = 0u64;
    for (expiry_ms, key) in &due {
        match Slot::decode(store.get(keyspace, &meta_key(key), None)?.value, || now_ms)? {
            Slot::Expired(record) if record.expiry_ms() == *expiry_ms => {
                changes.remove(key, &record);
                removed += 1;
            }
            // Written again since the scan: its old index entry went with that write.
            Slot::Live(record) | Slot::Expired(record) if record.expiry_ms() != *expiry_ms => {
                changes.remove_stale_expiry(key, *expiry_ms);
            }
            Slot::Absent => changes.remove_stale_expiry(key, *expiry_ms),
            Slot::Live(_) | Slot::Expired(_) => {}
        }
    }
    let (batch, _) = changes.finish();
    if batch.is_empty() {
        return Ok(0);
    }
    store.apply(batch)?;
    drop(guard);
    server.note_unanchored();
    server.stats().expired_keys.fetch_add(removed, Ordering::Relaxed);
    Ok(due.len())
}

/// The earliest expiry in any database.
fn earliest(server: &Server) -> Result<Option<u64>> {
    let store = server.store();
    let snapshot = store.snapshot();
    let (from, to) = expiry_until(u64::MAX);
    let mut earliest: Option<u64> = None;
    for &keyspace in server.databases() {
        let first = store.iter(keyspace, &from, Some(&to), false, &snapshot)?.next().transpose()?;
        if let Some((expiry_ms, _)) = first.as_ref().and_then(|(stored, _)| parse_expiry_key(stored)) {
            earliest = Some(earliest.map_or(expiry_ms, |e| e.min(expiry_ms)));
        }
    }
    Ok(earliest)
}

/// The worker's loop; see [`crate::jobs`].
pub fn worker(server: &Server, signal: &Signal) -> Result<()> {
    while !signal.is_stopped() {
        let mut dealt = 0;
        for &keyspace in server.databases().iter().take(DATABASES) {
            dealt += reap(server, keyspace)?;
        }
        if dealt > 0 {
            continue;
        }
        // From here on a command that writes an earlier expiry raises the signal.
        server.alarm().0.store(u64::MAX, Ordering::Release);
        let next = earliest(server)?;
        if let Some(next_ms) = next {
            server.alarm().0.fetch_min(next_ms, Ordering::AcqRel);
        }
        let sleep =
            next.map(|at| Duration::from_millis(at.saturating_sub(server.store().now_ms())).min(SLEEP_MAX));
        if signal.wait(sleep) == Woken::Stopped {
            break;
        }
    }
    Ok(())
}
