//! Merges sources into one order.

use super::source::Source;
use crate::engine::lsm::key::Trailer;
use crate::value::Value;
use ringfort_base::{Error, Result};
use std::cmp::Ordering;

/// Every internal entry of its sources, in order (or in reverse).
///
/// A binary heap of source indexes with the current entry on top. Moving on sifts only the top
/// down and stops as soon as it is in place, so a run of entries from one source costs a
/// comparison or two each; comparisons look at 8-byte prefixes first.
pub struct MergingIter {
    sources: Vec<Source>,
    /// Indexes of valid sources; the top is the current one.
    heap: Vec<u32>,
    prefixes: Vec<u64>,
    reverse: bool,
    failed: Option<Error>,
}

impl MergingIter {
    /// A merge of `sources`, newest first. It stands on no entry.
    #[must_use]
    pub fn new(sources: Vec<Source>) -> Self {
        let prefixes = vec![0; sources.len()];
        let heap = Vec::with_capacity(sources.len());
        Self { sources, heap, prefixes, reverse: false, failed: None }
    }

    /// The sources.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Whether it stands on an entry. The accessors mean something only then.
    #[inline]
    #[must_use]
    pub fn valid(&self) -> bool {
        !self.heap.is_empty()
    }

    #[inline]
    fn top(&self) -> &Source {
        &self.sources[self.heap[0] as usize]
    }

    /// The user key.
    #[inline]
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.top().key()
    }

    /// The trailer.
    #[inline]
    #[must_use]
    pub fn trailer(&self) -> Trailer {
        self.top().trailer()
    }

    /// The value.
    #[inline]
    #[must_use]
    pub fn value(&self) -> &[u8] {
        self.top().value()
    }

    /// The value, without a copy, for as long as it is wanted.
    #[must_use]
    pub fn pin_value(&self) -> Option<Value> {
        if self.valid() { self.top().pin_value() } else { None }
    }

    /// [`Source::largest_seq`] of the source of the current entry.
    #[must_use]
    pub fn source_largest_seq(&self) -> ringfort_base::Seq {
        self.top().largest_seq()
    }

    /// Moves to the first entry at or behind an internal key; goes forward from there.
    ///
    /// # Errors
    /// As [`Source::next`]; the error stays. So for all moves.
    pub fn seek(&mut self, key: &[u8], trailer: Trailer) -> Result<()> {
        self.restart(false, |source| source.seek(key, trailer))
    }

    /// Moves to the last entry before an internal key; goes backward from there.
    ///
    /// # Errors
    /// See [`MergingIter::seek`].
    pub fn seek_before(&mut self, key: &[u8], trailer: Trailer) -> Result<()> {
        self.restart(true, |source| source.seek_before(key, trailer))
    }

    /// Moves to the first entry.
    ///
    /// # Errors
    /// See [`MergingIter::seek`].
    pub fn seek_to_first(&mut self) -> Result<()> {
        self.restart(false, Source::seek_to_first)
    }

    /// Moves to the last entry.
    ///
    /// # Errors
    /// See [`MergingIter::seek`].
    pub fn seek_to_last(&mut self) -> Result<()> {
        self.restart(true, Source::seek_to_last)
    }

    /// Moves to the next entry. After a move backward: seeks, so that all sources turn around.
    ///
    /// # Errors
    /// See [`MergingIter::seek`].
    #[inline]
    pub fn next(&mut self) -> Result<()> {
        if self.reverse {
            return self.turn(false);
        }
        self.move_top(Source::next)
    }

    /// Moves to the entry before. After a move forward: seeks, so that all sources turn around.
    ///
    /// # Errors
    /// See [`MergingIter::seek`].
    #[inline]
    pub fn prev(&mut self) -> Result<()> {
        if !self.reverse {
            return self.turn(true);
        }
        self.move_top(Source::prev)
    }

    /// Moves the source of the current entry, and no other, to its first entry at or behind `key`
    /// (going backward: to its last entry before `key`).
    ///
    /// # Errors
    /// See [`MergingIter::seek`].
    pub fn skip_source_to(&mut self, key: &[u8]) -> Result<()> {
        if self.reverse {
            self.move_top(|source| source.seek_before(key, Trailer::FIRST))
        } else {
            self.move_top(|source| source.seek(key, Trailer::FIRST))
        }
    }

    fn turn(&mut self, reverse: bool) -> Result<()> {
        if !self.valid() {
            return self.status();
        }
        let (key, trailer) = (self.key().to_vec(), self.trailer());
        if reverse {
            return self.seek_before(&key, trailer);
        }
        self.seek(&key, trailer)?;
        self.next()
    }

    /// The error that ended the iteration, if one did.
    ///
    /// # Errors
    /// That error.
    pub fn status(&self) -> Result<()> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Ends the iteration with an error, which stays.
    pub(super) fn fail<T>(&mut self, error: Error) -> Result<T> {
        self.heap.clear();
        self.failed = Some(error.clone());
        Err(error)
    }

    /// Positions all sources and builds the heap.
    fn restart(&mut self, reverse: bool, mut place: impl FnMut(&mut Source) -> Result<()>) -> Result<()> {
        self.status()?;
        self.reverse = reverse;
        self.heap.clear();
        for at in 0..self.sources.len() {
            if let Err(error) = place(&mut self.sources[at]) {
                return self.fail(error);
            }
            if self.sources[at].valid() {
                self.prefixes[at] = self.sources[at].prefix();
                self.heap.push(at as u32);
            }
        }
        for at in (0..self.heap.len() / 2).rev() {
            self.sift_down(at);
        }
        Ok(())
    }

    #[inline]
    fn move_top(&mut self, step: impl FnOnce(&mut Source) -> Result<()>) -> Result<()> {
        let Some(&top) = self.heap.first() else { return self.status() };
        let source = &mut self.sources[top as usize];
        if let Err(error) = step(source) {
            return self.fail(error);
        }
        if source.valid() {
            self.prefixes[top as usize] = source.prefix();
        } else {
            self.heap.swap_remove(0);
        }
        self.sift_down(0);
        Ok(())
    }

    #[inline]
    fn sift_down(&mut self, mut at: usize) {
        loop {
            let mut child = 2 * at + 1;
            if child >= self.heap.len() {
                return;
            }
            if child + 1 < self.heap.len() && self.comes_before(self.heap[child + 1], self.heap[child]) {
                child += 1;
            }
            if !self.comes_before(self.heap[child], self.heap[at]) {
                return;
            }
            self.heap.swap(at, child);
            at = child;
        }
    }

    /// Whether source `a`'s entry is met before source `b`'s in the current direction.
    #[inline]
    fn comes_before(&self, a: u32, b: u32) -> bool {
        let (i, j) = (a as usize, b as usize);
        let order = match self.prefixes[i].cmp(&self.prefixes[j]) {
            Ordering::Equal => {
                let (x, y) = (&self.sources[i], &self.sources[j]);
                // Equal internal keys do not occur (a sequence number is used once); if they did,
                // the newer source decides, the same way each time.
                x.key().cmp(y.key()).then_with(|| y.trailer().cmp(&x.trailer())).then(a.cmp(&b))
            }
            order => order,
        };
        if self.reverse { order == Ordering::Greater } else { order == Ordering::Less }
    }
}
