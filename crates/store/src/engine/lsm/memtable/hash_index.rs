//! A hash index beside the skiplist: where the newest version of a key is, or that there is none.
//!
//! Most reads of a busy store ask the memtable first and do not find their key there; a search of
//! the skiplist costs a dozen cache misses to say so, a look into the index one or two.
//!
//! ```text
//! line (one cache line):  │ tag 32 | node 32 │ × 8      0: free
//! ```
//!
//! A key may stand in two neighbouring lines, which its hash selects, in the first slot that was
//! free when it came. The index is a hint with three answers: *here*, *certainly not here*, and,
//! if both lines are full, *unknown*: then the skiplist is asked. It never grows.
//!
//! # Invariants
//! 1. A slot is never freed, and never changes its key, only to a newer version of it. So a key is
//!    in at most one slot: two threads that bring a new key race for the same one.
//! 2. If a key was inserted completely and is not found before a free slot, it is in no slot, and
//!    then all its slots were taken when it came: a free slot *proves* absence.

#![expect(unsafe_code, reason = "zeroed atomics, so that untouched pages cost nothing; and a prefetch")]

use std::sync::atomic::{AtomicU64, Ordering};

const LINE_SLOTS: usize = 8;
const LINE_BYTES: usize = LINE_SLOTS * 8;
/// How many lines a key may stand in.
const PROBED_LINES: usize = 2;
/// One slot for so many bytes of a memtable: entries of 16 + 100 bytes then fill two thirds.
const BYTES_PER_SLOT: usize = 96;
const LINES_MIN: usize = 64;
const LINES_MAX: usize = 1 << 24;
/// Randomly scattered first touches bring in a page each.
const PAGE_BYTES: usize = 4096;

/// What an index knows of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Probe {
    /// This node is its newest version.
    Here(u32),
    /// No insert of it was completed.
    Absent,
    /// Its lines are full of others.
    Unknown,
}

/// How a node that the index holds stands to one that is being noted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Held {
    /// Another key: same tag by chance.
    Other,
    /// The same key, an older version.
    Older,
    /// The same key, a newer version.
    Newer,
}

/// See the module's chapter.
pub(super) struct HashIndex {
    slots: Box<[AtomicU64]>,
    /// The first slot that begins a cache line.
    first: usize,
    lines: usize,
}

impl HashIndex {
    /// An index for a memtable that is meant to grow to `capacity_bytes`.
    pub(super) fn new(capacity_bytes: usize) -> Self {
        let lines = (capacity_bytes / (BYTES_PER_SLOT * LINE_SLOTS)).clamp(LINES_MIN, LINES_MAX);
        // SAFETY: zero bytes are an initialized `AtomicU64`.
        let slots: Box<[AtomicU64]> =
            unsafe { Box::new_zeroed_slice((lines + 1) * LINE_SLOTS).assume_init() };
        let misaligned = slots.as_ptr().addr() % LINE_BYTES;
        let first = (LINE_BYTES - misaligned) % LINE_BYTES / 8;
        Self { slots, first, lines }
    }

    /// About how much memory it takes once `entries` were noted.
    pub(super) fn used_bytes(&self, entries: usize) -> usize {
        (self.lines * LINE_BYTES).min(entries.saturating_mul(PAGE_BYTES))
    }

    /// The slots where a key with this hash may stand, in order.
    #[inline]
    fn slots(&self, hash: u64) -> impl Iterator<Item = &AtomicU64> {
        let home = (((hash >> 32) * self.lines as u64) >> 32) as usize;
        (0..PROBED_LINES).flat_map(move |step| {
            let line = if home + step < self.lines { home + step } else { home + step - self.lines };
            let at = self.first + line * LINE_SLOTS;
            &self.slots[at..at + LINE_SLOTS]
        })
    }

    /// Asks the memory for what [`HashIndex::note`] will want soon.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        #[cfg(target_arch = "x86_64")]
        if let Some(slot) = self.slots(hash).next() {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a hint that never faults, of an instruction that every x86-64 has.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(slot).cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = hash;
    }

    /// Notes that `node` is a version of the key with this hash; `held` says how another node
    /// stands to it.
    pub(super) fn note(&self, hash: u64, node: u32, mut held: impl FnMut(u32) -> Held) {
        let mine = hash << 32 | u64::from(node);
        for slot in self.slots(hash) {
            // Acquire: with the node that the slot names.
            let mut now = slot.load(Ordering::Acquire);
            loop {
                if now != 0 {
                    let same_tag = now >> 32 == mine >> 32;
                    match if same_tag { held(now as u32) } else { Held::Other } {
                        Held::Other => break,
                        Held::Newer => return,
                        Held::Older => {}
                    }
                }
                // Release: whoever finds the node sees it whole.
                match slot.compare_exchange(now, mine, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => return,
                    Err(other) => now = other,
                }
            }
        }
    }

    /// Looks for a key; `is_key` says whether a node is a version of it.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut is_key: impl FnMut(u32) -> bool) -> Probe {
        let tag = hash & u64::from(u32::MAX);
        for slot in self.slots(hash) {
            let now = slot.load(Ordering::Acquire);
            if now == 0 {
                return Probe::Absent;
            }
            if now >> 32 == tag && is_key(now as u32) {
                return Probe::Here(now as u32);
            }
        }
        Probe::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_newest_and_proves_absence() {
        let index = HashIndex::new(0);
        // Node 10·k + v is version v of key k.
        let note = |hash, node: u32| {
            index.note(hash, node, |held| match (held / 10 == node / 10, held.cmp(&node)) {
                (false, _) => Held::Other,
                (true, std::cmp::Ordering::Less) => Held::Older,
                (true, _) => Held::Newer,
            });
        };
        let find = |hash, key| index.find(hash, |node| node / 10 == key);
        let hash = 77 << 32 | 5;
        assert_eq!(find(hash, 1), Probe::Absent);
        note(hash, 12);
        note(hash, 11);
        assert_eq!(find(hash, 1), Probe::Here(12), "an older version does not displace a newer one");
        note(hash, 19);
        assert_eq!(find(hash, 1), Probe::Here(19));
        assert_eq!(find(hash, 2), Probe::Absent, "the same hash, another key");
        for key in 2..=16 {
            note(hash, key * 10);
        }
        assert_eq!(find(hash, 16), Probe::Here(160));
        assert_eq!(find(hash, 17), Probe::Unknown, "both lines are full");
        note(hash, 170);
        assert_eq!(find(hash, 17), Probe::Unknown);
        note(hash, 165);
        assert_eq!(find(hash, 16), Probe::Here(165), "a full line still follows its keys");
    }

    #[test]
    fn the_last_line_goes_on_in_the_first() {
        let index = HashIndex::new(0);
        for node in 1..=16 {
            index.note(u64::MAX, node, |_| Held::Other);
        }
        assert_eq!(index.find(u64::MAX, |node| node == 16), Probe::Here(16));
        assert_eq!(index.find(0, |_| false), Probe::Absent, "half of the first line's neighbour is free");
    }
}
