//! # SCAN cursors: handles into a bounded table of last keys
//!
//! A scan goes through the keys in order; a cursor stands for the last key that was returned. So an
//! element that is present from the beginning of an iteration to its end is returned (Redis's
//! guarantee), here even exactly once, whatever is inserted and deleted meanwhile, and the cursor
//! leaks nothing of the store's layout.
//!
//! The table is bounded in entries and bytes, server-wide; the least recently used goes first. A
//! cursor that is not (or no longer) in the table, from another database or for another command
//! begins again from the start: elements may then be returned twice, which Redis allows, and none is missed. For
//! the same reason ids start at a random place at each start of the server: a cursor of an earlier
//! life must not be taken for one of this life. Ids stay below 2^53, because some clients keep them
//! in floating point.

use ringfort_base::KeyspaceId;
use std::collections::{BTreeMap, HashMap};

/// Most cursors.
pub const CURSORS_MAX: usize = 65_536;
/// Most memory for their last keys, bytes.
pub const CURSOR_BYTES_MAX: usize = 64 << 20;
const ID_MAX: u64 = 1 << 53;

/// What a cursor iterates over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scanned {
    /// The keys of a database.
    Keys(KeyspaceId),
    /// The fields of one generation of a hash.
    Fields(KeyspaceId, Vec<u8>, u64),
}

impl Scanned {
    fn bytes(&self) -> usize {
        match self {
            Self::Keys(_) => 0,
            Self::Fields(_, key, _) => key.len(),
        }
    }
}

struct Entry {
    scanned: Scanned,
    last: Vec<u8>,
    stamp: u64,
}

/// The table.
pub struct Cursors {
    entries: HashMap<u64, Entry>,
    by_stamp: BTreeMap<u64, u64>,
    next_id: u64,
    next_stamp: u64,
    bytes: usize,
}

impl Cursors {
    /// An empty table; `random` places its first id.
    #[must_use]
    pub fn new(random: u64) -> Self {
        Self {
            entries: HashMap::new(),
            by_stamp: BTreeMap::new(),
            next_id: random % (ID_MAX >> 1) + 1,
            next_stamp: 0,
            bytes: 0,
        }
    }

    /// A new cursor behind `last`.
    pub fn save(&mut self, scanned: Scanned, last: Vec<u8>) -> u64 {
        let id = self.next_id;
        self.next_id = if id + 1 >= ID_MAX { 1 } else { id + 1 };
        self.forget(id);
        self.next_stamp += 1;
        self.bytes += scanned.bytes() + last.len();
        self.by_stamp.insert(self.next_stamp, id);
        self.entries.insert(id, Entry { scanned, last, stamp: self.next_stamp });
        while self.entries.len() > CURSORS_MAX || self.bytes > CURSOR_BYTES_MAX {
            let Some((_, oldest)) = self.by_stamp.pop_first() else { break };
            self.forget(oldest);
        }
        id
    }

    /// The last key behind `id`, if it is a cursor over `scanned`. It stays valid: a client may ask again.
    pub fn resume(&mut self, id: u64, scanned: &Scanned) -> Option<Vec<u8>> {
        let entry = self.entries.get_mut(&id)?;
        if entry.scanned != *scanned {
            return None;
        }
        self.next_stamp += 1;
        self.by_stamp.remove(&entry.stamp);
        entry.stamp = self.next_stamp;
        self.by_stamp.insert(self.next_stamp, id);
        Some(entry.last.clone())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn forget(&mut self, id: u64) {
        if let Some(entry) = self.entries.remove(&id) {
            self.by_stamp.remove(&entry.stamp);
            self.bytes -= entry.scanned.bytes() + entry.last.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_resumes_what_it_was_made_for_and_nothing_else() {
        let mut cursors = Cursors::new(u64::MAX);
        let keys = Scanned::Keys(KeyspaceId(1));
        let fields = Scanned::Fields(KeyspaceId(1), b"h".to_vec(), 7);
        let id = cursors.save(keys.clone(), b"last".to_vec());
        assert!(id > 0 && id < ID_MAX);
        assert_eq!(cursors.resume(id, &keys), Some(b"last".to_vec()));
        assert_eq!(cursors.resume(id, &keys), Some(b"last".to_vec()), "a repeated request is answered");
        assert_eq!(cursors.resume(id, &Scanned::Keys(KeyspaceId(2))), None);
        assert_eq!(cursors.resume(id, &fields), None);
        assert_eq!(cursors.resume(id + 1, &keys), None);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_least_recently_used() {
        let mut cursors = Cursors::new(0);
        let keys = Scanned::Keys(KeyspaceId(1));
        let first = cursors.save(keys.clone(), vec![0]);
        let second = cursors.save(keys.clone(), vec![1]);
        for _ in 2..CURSORS_MAX {
            cursors.save(keys.clone(), vec![2]);
        }
        assert!(cursors.resume(first, &keys).is_some());
        cursors.save(keys.clone(), vec![3]);
        assert_eq!(cursors.len(), CURSORS_MAX);
        assert!(cursors.resume(first, &keys).is_some(), "just used");
        assert!(cursors.resume(second, &keys).is_none(), "the oldest");

        let mut cursors = Cursors::new(0);
        for _ in 0..3 {
            cursors.save(keys.clone(), vec![0; CURSOR_BYTES_MAX / 2]);
        }
        assert_eq!(cursors.len(), 2);
    }
}
