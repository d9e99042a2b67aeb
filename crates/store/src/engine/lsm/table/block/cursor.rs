//! Walks over a block's entries, both ways, with the current key put together in a buffer that is
//! reused: no allocation per entry.

use super::reader::{Block, Entry, Spot};
use crate::engine::lsm::key::{Trailer, cmp_internal, key_prefix};
use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

/// A place in a block. It owns its block.
#[derive(Default)]
pub struct BlockCursor {
    block: Option<Arc<Block>>,
    /// The current entry's start and end; `start == usize::MAX`: on no entry.
    start: usize,
    end: usize,
    key: Vec<u8>,
    prefix: u64,
    trailer: u64,
    value: Range<usize>,
    /// Entries before the current one, up to their restart point, decoded once for a walk back.
    /// The last one ends where the current entry starts.
    behind: Vec<Passed>,
    behind_keys: Vec<u8>,
}

struct Passed {
    start: usize,
    end: usize,
    key: Range<usize>,
    trailer: Trailer,
    value: Range<usize>,
}

const NOWHERE: usize = usize::MAX;

impl BlockCursor {
    /// A cursor without a block, on no entry.
    #[must_use]
    pub fn new() -> Self {
        Self { start: NOWHERE, ..Self::default() }
    }

    /// Puts another block under the cursor; it stands on no entry.
    pub fn set_block(&mut self, block: Arc<Block>) {
        self.block = Some(block);
        self.leave();
    }

    /// Lets go of the block.
    pub fn clear(&mut self) {
        self.block = None;
        self.leave();
    }

    /// The block.
    #[must_use]
    pub fn block(&self) -> Option<&Arc<Block>> {
        self.block.as_ref()
    }

    /// Whether it stands on an entry. The accessors mean something only then.
    #[inline]
    #[must_use]
    pub fn valid(&self) -> bool {
        self.start != NOWHERE
    }

    fn leave(&mut self) {
        self.start = NOWHERE;
        self.behind.clear();
    }

    /// The user key.
    #[inline]
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// [`key_prefix`] of the user key.
    #[inline]
    #[must_use]
    pub fn prefix(&self) -> u64 {
        self.prefix
    }

    /// The trailer.
    #[inline]
    #[must_use]
    pub fn trailer(&self) -> Trailer {
        Trailer(self.trailer)
    }

    /// The value.
    #[inline]
    #[must_use]
    pub fn value(&self) -> &[u8] {
        self.block.as_ref().map_or(&[], |block| &block.bytes()[self.value.clone()])
    }

    /// The value's place in its block.
    #[must_use]
    pub fn value_range(&self) -> Range<usize> {
        self.value.clone()
    }

    /// Moves to the first entry.
    pub fn seek_to_first(&mut self) {
        self.behind.clear();
        self.key.clear();
        if let Some(block) = &self.block {
            self.step_to(block.first());
        }
    }

    /// Moves to the last entry.
    pub fn seek_to_last(&mut self) {
        let end = self.block.as_ref().map_or(0, |block| block.entries_end());
        self.behind.clear();
        self.step_back_from(end);
    }

    /// Moves to the first entry at or behind an internal key.
    pub fn seek(&mut self, key: &[u8], trailer: Trailer) {
        let Some(block) = &self.block else { return };
        let at = block.start_before(key, trailer);
        self.behind.clear();
        self.key.clear();
        self.step_to(at);
        while self.valid() && cmp_internal((&self.key, self.trailer()), (key, trailer)) == Ordering::Less {
            self.step_to(self.after());
        }
    }

    /// Moves to the last entry before an internal key.
    pub fn seek_before(&mut self, key: &[u8], trailer: Trailer) {
        self.seek(key, trailer);
        if self.valid() {
            self.prev();
        } else {
            self.seek_to_last();
        }
    }

    /// Moves to the next entry.
    #[inline]
    pub fn next(&mut self) {
        self.behind.clear();
        if self.valid() {
            self.step_to(self.after());
        }
    }

    /// Moves to the entry before.
    pub fn prev(&mut self) {
        if !self.valid() {
            return;
        }
        if self.behind.is_empty() {
            self.step_back_from(self.start);
        } else {
            self.take_behind();
        }
    }

    const fn after(&self) -> Spot {
        Spot { entry: self.end, value: self.value.end }
    }

    /// Onto the entry at `at`, whose predecessor's key is in the buffer.
    #[inline]
    fn step_to(&mut self, at: Spot) {
        let entry = self.block.as_ref().and_then(|block| Some((block, block.entry(at.entry)?)));
        let Some((block, entry)) = entry else {
            self.start = NOWHERE;
            return;
        };
        self.key.truncate(entry.shared);
        self.key.extend_from_slice(block.delta(&entry));
        self.prefix = key_prefix(&self.key);
        self.trailer = block.trailer(&entry).0;
        (self.start, self.end) = (at.entry, entry.end);
        self.value = at.value..at.value + entry.value_len;
    }

    /// Onto the entry that ends at `end`: decodes from the restart point before it.
    fn step_back_from(&mut self, end: usize) {
        let Some(block) = self.block.clone() else { return };
        self.leave();
        self.behind_keys.clear();
        let mut at = restart_below(&block, end);
        let mut last: Range<usize> = 0..0;
        while at.entry < end {
            let Some(entry) = block.entry(at.entry) else { break };
            last = self.pass(&block, at, &entry, &last);
            at = at.after(&entry);
        }
        self.take_behind();
    }

    fn pass(&mut self, block: &Block, at: Spot, entry: &Entry, last: &Range<usize>) -> Range<usize> {
        let from = self.behind_keys.len();
        self.behind_keys.extend_from_within(last.start..(last.start + entry.shared).min(last.end));
        self.behind_keys.extend_from_slice(block.delta(entry));
        let key = from..self.behind_keys.len();
        let value = at.value..at.value + entry.value_len;
        let (start, end, trailer) = (at.entry, entry.end, block.trailer(entry));
        self.behind.push(Passed { start, end, key: key.clone(), trailer, value });
        key
    }

    fn take_behind(&mut self) {
        let Some(passed) = self.behind.pop() else {
            self.start = NOWHERE;
            return;
        };
        self.key.clear();
        self.key.extend_from_slice(&self.behind_keys[passed.key]);
        self.prefix = key_prefix(&self.key);
        self.trailer = passed.trailer.0;
        (self.start, self.end) = (passed.start, passed.end);
        self.value = passed.value;
    }
}

/// The last restart point before `end`; the first entry if there is none.
fn restart_below(block: &Block, end: usize) -> Spot {
    let (mut low, mut high) = (0, block.restarts());
    while low < high {
        let middle = low.midpoint(high);
        if block.restart(middle).entry < end {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if low == 0 { block.first() } else { block.restart(low - 1) }
}
