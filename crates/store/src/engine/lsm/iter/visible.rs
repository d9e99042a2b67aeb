//! What a snapshot sees: of each key the newest version at or below it, unless that is a deletion
//! or a range tombstone covers it. If that version is an operand of a merge: what the keyspace's
//! operator makes of it and of all older ones down to a value, a deletion or a tombstone.

use super::merging::MergingIter;
use super::source::Source;
use super::tombstones::VisibleTombstones;
use crate::engine::lsm::blob::{BlobFiles, BlobSet};
use crate::engine::lsm::key::Trailer;
use crate::merge::{Merger, no_operator};
use crate::value::Value;
use ringfort_base::{Result, Seq};
use std::sync::Arc;

/// What merging needs: the operator, and the values that operands are merged with.
struct Merging {
    merger: Arc<Merger>,
    files: Arc<BlobFiles>,
    set: Arc<BlobSet>,
}

impl Merging {
    /// `existing` is a value, or a pointer to one.
    fn merge(&self, key: &[u8], existing: Option<(Value, bool)>, operands: &[Value]) -> Result<Value> {
        let existing = match existing {
            Some((pointer, true)) => {
                self.merger.check_base(&pointer)?;
                self.files.value(&self.set, &pointer, false)?
            }
            Some((value, false)) => Some(value),
            None => None,
        };
        let operands: Vec<&[u8]> = operands.iter().map(|operand| &**operand).collect();
        self.merger.full(key, existing.as_deref(), &operands).map(Value::from)
    }
}

/// The visible entries of `from..to`, in one direction chosen by the first move:
/// [`VisibleIter::seek_to_first`], [`VisibleIter::seek`] or [`VisibleIter::seek_to_last`],
/// [`VisibleIter::seek_before`], and changed by [`VisibleIter::next`] and [`VisibleIter::prev`].
///
/// # Invariants
/// - On an entry, going forward: the merge stands on it; its key is in `key`. If its value was merged,
///   it is in `held`, and the merge stands on an older version of the key or `passed` it.
/// - On an entry, going backward: the merge stands on the newest entry of the next smaller user
///   key (or on none); key and value of the entry are in `key` and `held`.
pub struct VisibleIter {
    merge: MergingIter,
    snapshot: Seq,
    from: Vec<u8>,
    to: Option<Vec<u8>>,
    tombstones: VisibleTombstones,
    reverse: bool,
    valid: bool,
    key: Vec<u8>,
    held: Option<Value>,
    /// Going forward: whether the value was merged, so that the merge has moved on.
    passed: bool,
    /// Whether `held` is a pointer.
    held_pointer: bool,
    merging: Option<Merging>,
    newest: Seq,
}

impl VisibleIter {
    /// The entries of `sources` (newest first) in `from..to` (`None`: no end), as of `snapshot`.
    /// Stands on no entry.
    ///
    /// # Errors
    /// As opening the tables that have range tombstones there.
    pub fn new(sources: Vec<Source>, snapshot: Seq, from: &[u8], to: Option<&[u8]>) -> Result<Self> {
        let mut lists = Vec::new();
        for source in &sources {
            source.collect_tombstones((from, to), &mut lists)?;
        }
        let newest = lists
            .iter()
            .flat_map(|list| list.overlapping(from, to))
            .filter_map(|fragment| fragment.newest_at(snapshot))
            .max()
            .unwrap_or_default();
        Ok(Self {
            merge: MergingIter::new(sources),
            snapshot,
            from: from.to_vec(),
            to: to.map(<[u8]>::to_vec),
            tombstones: VisibleTombstones::new(&lists, snapshot, (from, to)),
            reverse: false,
            valid: false,
            key: Vec::new(),
            held: None,
            passed: false,
            held_pointer: false,
            merging: None,
            newest,
        })
    }

    /// With the keyspace's merge operator, if it has one, and where the pointers of the view lead.
    pub(crate) fn with_merger(
        mut self,
        merger: Option<&Arc<Merger>>,
        (files, set): (Arc<BlobFiles>, Arc<BlobSet>),
    ) -> Self {
        self.merging = merger.map(|merger| Merging { merger: Arc::clone(merger), files, set });
        self
    }

    /// Whether it stands on an entry. The accessors mean something only then.
    #[inline]
    #[must_use]
    pub fn valid(&self) -> bool {
        self.valid
    }

    /// The user key.
    #[inline]
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Whether [`VisibleIter::value`] is the pointer to the value, which lies in a value file.
    #[inline]
    #[must_use]
    pub fn is_pointer(&self) -> bool {
        self.valid && if self.held.is_some() { self.held_pointer } else { self.merge.trailer().is_pointer() }
    }

    /// The value, or its pointer.
    #[inline]
    #[must_use]
    pub fn value(&self) -> &[u8] {
        match &self.held {
            Some(held) => held,
            None if self.valid => self.merge.value(),
            None => &[],
        }
    }

    /// The value or its pointer, without a copy, for as long as it is wanted.
    #[must_use]
    pub fn pin_value(&self) -> Option<Value> {
        if self.held.is_some() { self.held.clone() } else { self.merge.pin_value().filter(|_| self.valid) }
    }

    /// The highest sequence number that what was shown so far depends on: entries, deletions and
    /// range tombstones alike (R6).
    #[must_use]
    pub fn depends(&self) -> Seq {
        self.newest
    }

    /// Moves to the first entry.
    ///
    /// # Errors
    /// As [`Source::next`]; the iterator then stands on no entry for good. So for all moves.
    pub fn seek_to_first(&mut self) -> Result<()> {
        let from = std::mem::take(&mut self.from);
        let result = self.merge.seek(&from, Trailer::FIRST);
        self.from = from;
        self.begin(false);
        result?;
        self.find_forward(false)
    }

    /// Moves to the first entry at or behind `key`.
    ///
    /// # Errors
    /// See [`VisibleIter::seek_to_first`].
    pub fn seek(&mut self, key: &[u8]) -> Result<()> {
        if key <= self.from.as_slice() {
            return self.seek_to_first();
        }
        self.begin(false);
        self.merge.seek(key, Trailer::FIRST)?;
        self.find_forward(false)
    }

    /// Moves to the last entry.
    ///
    /// # Errors
    /// See [`VisibleIter::seek_to_first`].
    pub fn seek_to_last(&mut self) -> Result<()> {
        self.begin(true);
        match &self.to {
            Some(to) => self.merge.seek_before(to, Trailer::FIRST)?,
            None => self.merge.seek_to_last()?,
        }
        self.find_backward()
    }

    /// Moves to the last entry before `key`.
    ///
    /// # Errors
    /// See [`VisibleIter::seek_to_first`].
    pub fn seek_before(&mut self, key: &[u8]) -> Result<()> {
        if self.to.as_ref().is_some_and(|to| key >= to.as_slice()) {
            return self.seek_to_last();
        }
        self.begin(true);
        self.merge.seek_before(key, Trailer::FIRST)?;
        self.find_backward()
    }

    /// Moves to the next entry.
    ///
    /// # Errors
    /// See [`VisibleIter::seek_to_first`].
    #[inline]
    pub fn next(&mut self) -> Result<()> {
        if !self.valid {
            return self.merge.status();
        }
        if self.reverse {
            let key = std::mem::take(&mut self.key);
            self.begin(false);
            let moved = self.merge.seek(&key, Trailer::LAST);
            self.key = key;
            moved?;
            return self.find_forward(true);
        }
        self.valid = false;
        if self.passed {
            (self.passed, self.held) = (false, None);
        } else {
            self.merge.next()?;
        }
        self.find_forward(true)
    }

    /// Moves to the entry before.
    ///
    /// # Errors
    /// See [`VisibleIter::seek_to_first`].
    #[inline]
    pub fn prev(&mut self) -> Result<()> {
        if !self.valid {
            return self.merge.status();
        }
        if !self.reverse {
            let key = std::mem::take(&mut self.key);
            self.begin(true);
            let moved = self.merge.seek_before(&key, Trailer::FIRST);
            self.key = key;
            moved?;
        }
        self.find_backward()
    }

    fn begin(&mut self, reverse: bool) {
        self.reverse = reverse;
        self.valid = false;
        self.held = None;
        self.held_pointer = false;
        self.passed = false;
    }

    fn note(&mut self, seq: Seq) {
        self.newest = self.newest.max(seq);
    }

    /// From the merge's place to the next visible entry. `skip`: versions of `key` are done with.
    fn find_forward(&mut self, mut skip: bool) -> Result<()> {
        while self.merge.valid() {
            let key = self.merge.key();
            if self.to.as_ref().is_some_and(|to| key >= to.as_slice()) {
                break;
            }
            let trailer = self.merge.trailer();
            if trailer.seq() > self.snapshot || (skip && key == self.key) {
                self.merge.next()?;
                continue;
            }
            if !self.tombstones.is_empty()
                && let Some(range) = self.tombstones.covering(key)
                && range.seq > trailer.seq()
            {
                // Older versions of the key are covered as well. A source without anything newer
                // than the tombstone has nothing to show before its end.
                if self.merge.source_largest_seq() < range.seq {
                    self.merge.skip_source_to(&range.to)?;
                } else {
                    self.merge.next()?;
                }
                continue;
            }
            self.key.clear();
            self.key.extend_from_slice(key);
            self.note(trailer.seq());
            if trailer.is_delete() {
                skip = true;
                self.merge.next()?;
                continue;
            }
            if trailer.is_merge() {
                self.merge_forward()?;
            }
            self.valid = true;
            return Ok(());
        }
        self.valid = false;
        Ok(())
    }

    /// From an operand, the newest visible version of `key`, down to what it is merged with.
    fn merge_forward(&mut self) -> Result<()> {
        let covered = self.tombstones.covering(&self.key).map_or(Seq::ZERO, |range| range.seq);
        let mut operands: Vec<Value> = Vec::new();
        let mut existing = None;
        while self.merge.valid() && self.merge.key() == self.key.as_slice() {
            let trailer = self.merge.trailer();
            if trailer.is_delete() || trailer.seq() < covered {
                break;
            }
            if !trailer.is_merge() {
                existing = self.merge.pin_value().map(|value| (value, trailer.is_pointer()));
                break;
            }
            operands.extend(self.merge.pin_value());
            self.merge.next()?;
        }
        operands.reverse();
        self.held = Some(self.merged(existing, &operands)?);
        self.passed = true;
        Ok(())
    }

    /// The value of `key`, from its operands, oldest first. An error ends the iteration.
    fn merged(&mut self, existing: Option<(Value, bool)>, operands: &[Value]) -> Result<Value> {
        let merged = match &self.merging {
            Some(merging) => merging.merge(&self.key, existing, operands),
            None => Err(no_operator()),
        };
        merged.or_else(|error| self.merge.fail(error))
    }

    /// From the merge's place, which is the oldest entry of a user key (or inside it), to the next
    /// smaller visible entry. Going backward, versions come oldest first: the last one met at or
    /// below the snapshot is the newest.
    fn find_backward(&mut self) -> Result<()> {
        self.valid = false;
        self.held = None;
        while self.merge.valid() && self.merge.key() >= self.from.as_slice() {
            self.key.clear();
            self.key.extend_from_slice(self.merge.key());
            let covered = match self.tombstones.covering(&self.key) {
                Some(range) if self.merge.source_largest_seq() < range.seq => {
                    self.merge.skip_source_to(&range.from)?;
                    continue;
                }
                Some(range) => range.seq,
                None => Seq::ZERO,
            };
            let mut newest: Option<Trailer> = None;
            let mut operands: Vec<Value> = Vec::new();
            while self.merge.valid() && self.merge.key() == self.key.as_slice() {
                let trailer = self.merge.trailer();
                if trailer.seq() <= self.snapshot && trailer.seq() >= covered {
                    newest = Some(trailer);
                    if trailer.is_merge() {
                        operands.extend(self.merge.pin_value());
                    } else {
                        operands.clear();
                        self.held = if trailer.is_delete() { None } else { self.merge.pin_value() };
                        self.held_pointer = trailer.is_pointer();
                    }
                }
                self.merge.prev()?;
            }
            let Some(newest) = newest else { continue };
            self.note(newest.seq());
            if newest.is_merge() {
                let existing = self.held.take().map(|held| (held, self.held_pointer));
                self.held_pointer = false;
                self.held = Some(self.merged(existing, &operands)?);
            }
            if !newest.is_delete() {
                self.valid = true;
                return Ok(());
            }
        }
        Ok(())
    }
}
