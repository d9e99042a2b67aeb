//! # Watched keys (`WATCH`)
//!
//! ```text
//!  WATCH k   shared lock of k ── place in the table ── lock given back
//!  writer    exclusive lock of k ── anybody watching? ── marks the places of k ── submit … visible, lock given back
//!  EXEC      locks ── is a place of mine marked? ── nil, or the commands
//! ```
//!
//! Who writes a key looks for its watchers while he holds its lock, and who watches takes his place under that lock: no
//! write is missed, and none that was visible before counts. While nobody watches anything it costs a writer one load.
//!
//! A key that was not there when it was watched (absent, or expired) is not changed by being removed, only by being
//! written. One that was there is changed by its expiry too, which EXEC looks for itself: no write tells of it.

use crate::model::Touched;
use parking_lot::Mutex;
use ringfort_base::KeyspaceId;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A watched key of a session.
struct Place {
    /// Commands saw the key when it was watched.
    was_live: bool,
    changed: AtomicBool,
}

type Keys = HashMap<Vec<u8>, Vec<Arc<Place>>>;

/// The watched keys of all sessions.
#[derive(Default)]
pub(crate) struct Watches {
    places: AtomicUsize,
    databases: Mutex<HashMap<KeyspaceId, Keys>>,
}

impl Watches {
    /// Whether anybody watches anything: to be asked by a writer who holds his locks.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        self.places.load(Ordering::SeqCst) > 0
    }

    /// Marks the places of what is being changed. Called with the locks held, before they can be given back.
    pub(crate) fn mark(&self, touched: &Touched) {
        if !self.any() {
            return;
        }
        let databases = self.databases.lock();
        let Some(keys) = databases.get(&touched.keyspace) else { return };
        let mark = |places: &Vec<Arc<Place>>, only_live: bool| {
            for place in places.iter().filter(|place| place.was_live || !only_live) {
                place.changed.store(true, Ordering::Release);
            }
        };
        touched.written.iter().filter_map(|key| keys.get(key)).for_each(|places| mark(places, false));
        touched.removed.iter().filter_map(|key| keys.get(key)).for_each(|places| mark(places, true));
        if touched.cleared {
            keys.values().for_each(|places| mark(places, true));
        }
    }
}

/// What one session watches. Dropped, it watches nothing.
pub(crate) struct Watching {
    watches: Arc<Watches>,
    places: Vec<(KeyspaceId, Vec<u8>, Arc<Place>)>,
    bytes: usize,
}

impl Watching {
    /// Nothing yet.
    pub(crate) fn new(watches: &Arc<Watches>) -> Self {
        Self { watches: Arc::clone(watches), places: Vec::new(), bytes: 0 }
    }

    /// What a place takes beyond the key's bytes, which stand in it twice.
    pub(crate) const PLACE_BYTES: usize = 160;

    /// Begins to watch a key, whose lock the caller holds.
    pub(crate) fn watch(&mut self, keyspace: KeyspaceId, key: &[u8], was_live: bool) {
        if self.places.iter().any(|(of, name, _)| *of == keyspace && name == key) {
            return;
        }
        let place = Arc::new(Place { was_live, changed: AtomicBool::new(false) });
        let mut databases = self.watches.databases.lock();
        let keys = databases.entry(keyspace).or_default();
        keys.entry(key.to_vec()).or_default().push(Arc::clone(&place));
        self.watches.places.fetch_add(1, Ordering::SeqCst);
        drop(databases);
        self.bytes += 2 * key.len() + Self::PLACE_BYTES;
        self.places.push((keyspace, key.to_vec(), place));
    }

    /// Watches nothing any more.
    pub(crate) fn forget(&mut self) {
        if self.places.is_empty() {
            return;
        }
        let mut databases = self.watches.databases.lock();
        for (keyspace, key, place) in self.places.drain(..) {
            let Some(keys) = databases.get_mut(&keyspace) else { continue };
            if let Some(places) = keys.get_mut(&key) {
                places.retain(|other| !Arc::ptr_eq(other, &place));
                if places.is_empty() {
                    keys.remove(&key);
                }
            }
            self.watches.places.fetch_sub(1, Ordering::SeqCst);
        }
        self.bytes = 0;
    }

    /// What it watches, and whether commands saw it then.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (KeyspaceId, &[u8], bool)> {
        self.places.iter().map(|(keyspace, key, place)| (*keyspace, key.as_slice(), place.was_live))
    }

    /// Whether anything was changed since it is watched. With the keys locked the answer stays true.
    pub(crate) fn is_changed(&self) -> bool {
        self.places.iter().any(|(.., place)| place.changed.load(Ordering::Acquire))
    }

    /// What it takes, bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DB: KeyspaceId = KeyspaceId(1);

    fn touched(written: &[&[u8]], removed: &[&[u8]], cleared: bool) -> Touched {
        let owned = |keys: &[&[u8]]| keys.iter().map(|key| key.to_vec()).collect();
        Touched { keyspace: DB, written: owned(written), removed: owned(removed), cleared }
    }

    #[test]
    fn what_changes_a_key_marks_who_watches_it_and_nobody_else() {
        let table: [(bool, Touched, bool); 7] = [
            (true, touched(&[b"k"], &[], false), true),
            (true, touched(&[], &[b"k"], false), true),
            (true, touched(&[], &[], true), true),
            (true, touched(&[b"other"], &[b"kk"], false), false),
            (false, touched(&[b"k"], &[], false), true),
            (false, touched(&[], &[b"k"], false), false),
            (false, touched(&[], &[], true), false),
        ];
        for (was_live, touched, changed) in table {
            let watches = Arc::new(Watches::default());
            let mut watching = Watching::new(&watches);
            watching.watch(DB, b"k", was_live);
            watches.mark(&Touched { keyspace: KeyspaceId(2), ..touched.clone() });
            assert!(!watching.is_changed(), "of another database");
            watches.mark(&touched);
            assert_eq!(watching.is_changed(), changed, "{was_live} {touched:?}");
        }
    }

    #[test]
    fn nothing_is_left_of_who_stopped_watching() {
        let watches = Arc::new(Watches::default());
        let (mut one, mut two) = (Watching::new(&watches), Watching::new(&watches));
        for _ in 0..2 {
            one.watch(DB, b"k", true);
        }
        two.watch(DB, b"k", true);
        one.forget();
        assert!(watches.any() && one.bytes() == 0);
        watches.mark(&touched(&[b"k"], &[], false));
        assert!(two.is_changed() && !one.is_changed());
        drop(two);
        assert!(!watches.any() && watches.databases.lock()[&DB].is_empty());
    }
}
