//! # The reaper: removes what has expired
//!
//! Expired keys are absent for every command at once; the reaper gives their space back. It walks
//! the expiry index in order of time, a small batch at a time, takes the locks of the keys, looks at each
//! record again (the key may have been written meanwhile) and removes what is still due. So it never
//! races a command, and never looks at a key that is not due.
//!
//! It sleeps until the earliest expiry; a command that writes an earlier one raises its signal, and so
//! does a reply that hides a key because it has expired. Time is the store's (R20): a host clock set
//! back revives nothing, and while one that was set far forward is not believed nothing is removed.
//!
//! It waits for no lock: an interactive transaction may hold one for long, and commands would wait for those that the
//! reaper has already. A key that somebody works with stays for a later pass.
//!
//! Removed entries of the index leave tombstones until a compaction. So the reaper remembers, in
//! [`Places`], up to where it has emptied the index of each database, and does not read that part
//! again, unless [`Alarm::note`] says that an earlier expiry was written since. A note comes after its
//! write is visible, and the notes are taken before the index is read: none is missed.

use crate::jobs::{Signal, Woken};
use crate::model::{Changes, Finished, Slot, expiry_key, expiry_until, meta_key, parse_expiry_key};
use crate::server::Server;
use crate::server::locking;
use ringfort_base::{KeyspaceId, Result};
use ringfort_store::Store;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Keys per batch: small, so that locks are held shortly.
const KEYS_PER_BATCH: usize = 64;
/// Looks again after this long at the latest: the store's time may run ahead of the one that sleep
/// was measured with.
const SLEEP_MAX: Duration = Duration::from_secs(60);
/// Never looks again sooner than this, whatever the index says is due.
const SLEEP_MIN: Duration = Duration::from_millis(1);
/// The same while others hold what is due.
const SLEEP_MIN_BUSY: Duration = Duration::from_millis(50);
/// The same while the clock is not believed: what is due stays, and is not looked at all the time.
const SLEEP_MIN_SUSPECT: Duration = Duration::from_secs(1);

/// What commands tell the reaper.
pub struct Alarm {
    /// The expiry that the reaper is sleeping towards; commands compare theirs with it.
    next_ms: AtomicU64,
    /// The earliest expiry that was written since the reaper asked.
    written_ms: AtomicU64,
    /// Somebody saw an expired key that is still stored.
    overdue: AtomicBool,
}

impl Default for Alarm {
    fn default() -> Self {
        Self {
            next_ms: AtomicU64::new(u64::MAX),
            written_ms: AtomicU64::new(u64::MAX),
            overdue: AtomicBool::new(false),
        }
    }
}

impl Alarm {
    /// Notes an expiry that was written and is visible; wakes the reaper if it is the earliest.
    pub fn note(&self, expiry_ms: u64, signal: &Signal) {
        // In this order: whoever takes the alarm back sees what was written.
        self.written_ms.fetch_min(expiry_ms, Ordering::AcqRel);
        if expiry_ms < self.next_ms.fetch_min(expiry_ms, Ordering::AcqRel) {
            signal.raise();
        }
    }

    /// Notes that a key was hidden that expired at `expiry_ms`: the reaper sleeps by another clock than
    /// the store's, and is late. Wakes it once, until it has looked.
    pub fn overdue(&self, expiry_ms: u64, signal: &Signal) {
        if !self.overdue.load(Ordering::Relaxed) && !self.overdue.swap(true, Ordering::AcqRel) {
            self.written_ms.fetch_min(expiry_ms, Ordering::AcqRel);
            signal.raise();
        }
    }
}

/// Up to where the index of each database holds nothing but tombstones.
pub struct Places(Vec<(KeyspaceId, Vec<u8>)>);

impl Places {
    /// Nothing is known.
    #[must_use]
    pub fn new(server: &Server) -> Self {
        let (start, _) = expiry_until(0);
        Self(server.databases().iter().map(|&keyspace| (keyspace, start.clone())).collect())
    }

    /// Goes back to the earliest expiry that was written since the last call.
    fn take_notes(&mut self, alarm: &Alarm) {
        let written_ms = alarm.written_ms.swap(u64::MAX, Ordering::AcqRel);
        if written_ms != u64::MAX {
            let written = expiry_key(written_ms, b"");
            for (_, place) in self.0.iter_mut().filter(|(_, place)| *place > written) {
                place.clone_from(&written);
            }
        }
    }
}

/// What a pass did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Reaped {
    /// Entries that it dealt with.
    dealt: usize,
    /// Others hold the lock of something that is due.
    busy: bool,
}

/// Removes one batch of what is due in `keyspace`; returns how many entries it dealt with.
pub fn reap(server: &Server, keyspace: KeyspaceId) -> Result<usize> {
    let (mut start, _) = expiry_until(0);
    Ok(reap_from(server, keyspace, &mut start)?.dealt)
}

/// The first entries of a part of the index: when a key expires, and which.
fn first_of(store: &Store, keyspace: KeyspaceId, from: &[u8], to: &[u8]) -> Result<Vec<(u64, Vec<u8>)>> {
    let snapshot = store.snapshot();
    let mut first = Vec::new();
    for entry in store.iter(keyspace, from, Some(to), false, &snapshot)?.take(KEYS_PER_BATCH) {
        let (stored, _) = entry?;
        if let Some((expiry_ms, key)) = parse_expiry_key(&stored) {
            first.push((expiry_ms, key.to_vec()));
        }
    }
    Ok(first)
}

/// [`reap`] from `place` in the index on; moves it behind what was dealt with.
fn reap_from(server: &Server, keyspace: KeyspaceId, place: &mut Vec<u8>) -> Result<Reaped> {
    let store = server.store();
    let time = store.time();
    if time.suspect {
        return Ok(Reaped::default());
    }
    let (_, to) = expiry_until(time.now_ms);
    if *place >= to {
        return Ok(Reaped::default());
    }
    let due = first_of(store, keyspace, place, &to)?;
    if due.is_empty() {
        return Ok(Reaped::default());
    }
    let mut locks = store.locks().owner(None);
    let mut busy = false;
    let now_ms = store.now_ms();
    let changes = Changes::new(keyspace);
    let mut changes = if server.watches().any() { changes.noting_keys() } else { changes };
    let mut removed = 0u64;
    // Where the next batch begins: behind this one, or at the first entry that must stay.
    let mut next = None;
    for (expiry_ms, key) in &due {
        if !locking::try_one(&mut locks, keyspace, &meta_key(key))? {
            busy = true;
            next.get_or_insert_with(|| expiry_key(*expiry_ms, key));
            continue;
        }
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
            Slot::Live(_) | Slot::Expired(_) => {
                next.get_or_insert_with(|| expiry_key(*expiry_ms, key));
            }
        }
    }
    let next = next.or_else(|| {
        due.last().map(|(expiry_ms, key)| {
            let mut behind = expiry_key(*expiry_ms, key);
            behind.push(0);
            behind
        })
    });
    let Finished { batch, touched, .. } = changes.finish();
    if batch.is_empty() {
        return Ok(Reaped { dealt: 0, busy });
    }
    touched.iter().for_each(|touched| server.watches().mark(touched));
    store.apply_locked(batch, locks)?;
    if let Some(next) = next {
        *place = next;
    }
    server.note_unanchored();
    server.stats().expired_keys.fetch_add(removed, Ordering::Relaxed);
    Ok(Reaped { dealt: due.len(), busy })
}

/// The earliest expiry in any database.
fn earliest(server: &Server, places: &Places) -> Result<Option<u64>> {
    let store = server.store();
    let snapshot = store.snapshot();
    let (_, to) = expiry_until(u64::MAX);
    let mut earliest: Option<u64> = None;
    for (keyspace, place) in &places.0 {
        let first = store.iter(*keyspace, place, Some(&to), false, &snapshot)?.next().transpose()?;
        if let Some((expiry_ms, _)) = first.as_ref().and_then(|(stored, _)| parse_expiry_key(stored)) {
            earliest = Some(earliest.map_or(expiry_ms, |e| e.min(expiry_ms)));
        }
    }
    Ok(earliest)
}

/// The worker's loop; see [`crate::jobs`].
pub fn worker(server: &Server, signal: &Signal) -> Result<()> {
    let alarm = server.alarm();
    let mut places = Places::new(server);
    while !signal.is_stopped() {
        if !server.store().time().suspect {
            // While nothing is removed nobody needs to say again that something is due.
            alarm.overdue.store(false, Ordering::Release);
        }
        places.take_notes(alarm);
        let mut all = Reaped::default();
        for (keyspace, place) in &mut places.0 {
            let reaped = reap_from(server, *keyspace, place)?;
            all = Reaped { dealt: all.dealt + reaped.dealt, busy: all.busy || reaped.busy };
        }
        if all.dealt > 0 {
            continue;
        }
        // From here on a command that writes an earlier expiry raises the signal. What was noted
        // before is taken into account now.
        alarm.next_ms.swap(u64::MAX, Ordering::AcqRel);
        places.take_notes(alarm);
        let next = earliest(server, &places)?;
        if let Some(next_ms) = next {
            alarm.next_ms.fetch_min(next_ms, Ordering::AcqRel);
        }
        let time = server.store().time();
        let least = match (time.suspect, all.busy) {
            (true, _) => SLEEP_MIN_SUSPECT,
            (false, true) => SLEEP_MIN_BUSY,
            (false, false) => SLEEP_MIN,
        };
        let sleep =
            next.map(|at| Duration::from_millis(at.saturating_sub(time.now_ms)).clamp(least, SLEEP_MAX));
        if signal.wait(sleep) == Woken::Stopped {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::pending::tests::{lock, server};

    /// Writes `count` strings that expired at `expiry_ms`, and tells the reaper.
    fn expired(server: &Server, name: &str, count: usize, expiry_ms: u64) {
        let keyspace = server.databases()[0];
        let mut changes = Changes::new(keyspace);
        for n in 0..count {
            changes.put_string(format!("{name}{n}").as_bytes(), None, expiry_ms, &[b"v"]);
        }
        let finished = changes.finish();
        server.store().apply(finished.batch).expect("applies");
        server.alarm().note(finished.earliest_expiry_ms.expect("an expiry"), server.reaper_signal());
    }

    #[test]
    fn a_pass_does_not_read_again_what_it_has_removed() {
        let server = server();
        let keyspace = server.databases()[0];
        let now_ms = server.store().now_ms();
        let mut places = Places::new(&server);
        expired(&server, "late", 3 * KEYS_PER_BATCH, now_ms - 10);
        let mut before = Vec::new();
        for _ in 0..3 {
            places.take_notes(server.alarm());
            let place = &mut places.0[0].1;
            assert_eq!(reap_from(&server, keyspace, place).expect("reaps").dealt, KEYS_PER_BATCH);
            assert!(*place > before, "it moves on");
            before.clone_from(place);
        }
        assert!(before > expiry_key(now_ms - 10, b""));
        let reap = |places: &mut Places| reap_from(&server, keyspace, &mut places.0[0].1).expect("reaps");
        expired(&server, "early", 1, now_ms - 20);
        assert_eq!(reap(&mut places).dealt, 0, "not told yet");
        places.take_notes(server.alarm());
        assert_eq!(reap(&mut places).dealt, 1);
        assert_eq!(server.store().count(keyspace).expect("counts").value, 0);
    }

    /// Who holds one of the keys keeps the reaper from that one, and from nothing else.
    #[test]
    fn what_others_hold_stays_for_a_later_pass() {
        let server = server();
        let keyspace = server.databases()[0];
        expired(&server, "late", 3, server.store().now_ms() - 10);
        let mut place = Places::new(&server).0[0].1.clone();
        let held = lock(&server, b"late1");
        let reaped = reap_from(&server, keyspace, &mut place).expect("reaps");
        assert_eq!((reaped.dealt, reaped.busy), (3, true));
        assert_eq!(server.store().count(keyspace).expect("counts").value, 1);
        assert_eq!(reap_from(&server, keyspace, &mut place).expect("reaps"), Reaped { dealt: 0, busy: true });
        drop(held);
        assert_eq!(
            reap_from(&server, keyspace, &mut place).expect("reaps"),
            Reaped { dealt: 1, busy: false }
        );
        assert_eq!(server.store().count(keyspace).expect("counts").value, 0);
    }

    #[test]
    fn a_hidden_key_wakes_the_reaper_once() {
        let (alarm, signal) = (Alarm::default(), Signal::new());
        alarm.overdue(5, &signal);
        assert_eq!(signal.wait(None), Woken::Raised);
        alarm.overdue(5, &signal);
        assert_eq!(signal.wait(Some(Duration::ZERO)), Woken::TimedOut, "it knows");
    }
}
