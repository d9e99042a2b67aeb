//! The ranges of a stripe, held ones and waiting ones, so kept that those over a key are found without
//! looking at all.
//!
//! They stand in the order of their beginnings, each with how far it and those before it reach. Who looks for
//! what touches `from..to` begins at the last one that begins before `to` and goes back until nothing
//! reaches beyond `from`. The ranges of scans are short, so that is at once.

use super::stripe::Ticket;
use super::{Key, Mode, OwnerId, Span};

/// A range that is locked, or is to be.
pub(super) struct Range {
    pub(super) from: Key,
    pub(super) to: Key,
    pub(super) mode: Mode,
    pub(super) owner: OwnerId,
    /// Whether it waits yet.
    pub(super) waiting: Option<Ticket>,
    /// The furthest end of this and all before.
    reach: Key,
}

impl Range {
    pub(super) fn new(from: &Key, to: &Key, mode: Mode, owner: OwnerId, waiting: Option<Ticket>) -> Self {
        Self { from: from.clone(), to: to.clone(), mode, owner, waiting, reach: to.clone() }
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Ranges {
    list: Vec<Range>,
    /// How many wait.
    waiting: usize,
}

impl Ranges {
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn any_waits(&self) -> bool {
        self.waiting > 0
    }

    pub(super) fn add(&mut self, range: Range) {
        self.waiting += usize::from(range.waiting.is_some());
        let at = self.list.partition_point(|other| other.from <= range.from);
        self.list.insert(at, range);
        self.renew_reach(at);
    }

    /// Takes out the first one like `from..` that is `wanted`.
    pub(super) fn remove(&mut self, from: &Key, wanted: impl Fn(&Range) -> bool) {
        let begin = self.list.partition_point(|range| range.from < *from);
        let mut same = self.list[begin..].iter().take_while(|range| range.from == *from);
        if let Some(nth) = same.position(wanted) {
            let gone = self.list.remove(begin + nth);
            self.waiting -= usize::from(gone.waiting.is_some());
            self.renew_reach(begin + nth);
        }
    }

    /// The reaches from `at` on, as far as they change.
    fn renew_reach(&mut self, at: usize) {
        let mut before = at.checked_sub(1).map(|before| self.list[before].reach.clone());
        for (nth, range) in self.list[at..].iter_mut().enumerate() {
            let reach = match before {
                Some(before) if before > range.to => before,
                _ => range.to.clone(),
            };
            // The first one may be new.
            if nth > 0 && reach == range.reach {
                return;
            }
            range.reach = reach.clone();
            before = Some(reach);
        }
    }

    /// The one like `from..` with this ticket waits no more.
    pub(super) fn end_wait(&mut self, from: &Key, ticket: Ticket) {
        let begin = self.list.partition_point(|range| range.from < *from);
        let mut same = self.list[begin..].iter_mut().take_while(|range| range.from == *from);
        if let Some(range) = same.find(|range| range.waiting == Some(ticket)) {
            range.waiting = None;
            self.waiting -= 1;
        }
    }

    pub(super) fn is_waiting(&self, from: &Key, ticket: Ticket) -> bool {
        let begin = self.list.partition_point(|range| range.from < *from);
        let mut same = self.list[begin..].iter().take_while(|range| range.from == *from);
        same.any(|range| range.waiting == Some(ticket))
    }

    /// Those over a key.
    pub(super) fn over<'r>(&'r self, key: &'r [u8]) -> impl Iterator<Item = &'r Range> {
        let end = self.list.partition_point(|range| *range.from <= *key);
        self.back_from(end, key)
    }

    /// Those that have a key in common with `span`.
    pub(super) fn touching<'r>(&'r self, span: &'r Span) -> impl Iterator<Item = &'r Range> {
        let (end, from) = match span {
            Span::Key(key) => (self.list.partition_point(|range| range.from <= *key), key),
            Span::Range(from, to) => (self.list.partition_point(|range| range.from < *to), from),
        };
        self.back_from(end, from)
    }

    /// Those before `end` that reach beyond `from`.
    fn back_from<'r>(&'r self, end: usize, from: &'r [u8]) -> impl Iterator<Item = &'r Range> {
        let back = self.list[..end].iter().rev().take_while(move |range| *range.reach > *from);
        back.filter(move |range| *range.to > *from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(byte: u8) -> Key {
        [byte][..].into()
    }

    fn range(from: u8, to: u8, owner: u64) -> Range {
        Range::new(&key(from), &key(to), Mode::Shared, OwnerId(owner), None)
    }

    fn owners<'r>(found: impl Iterator<Item = &'r Range>) -> Vec<u64> {
        let mut owners: Vec<u64> = found.map(|range| range.owner.0).collect();
        owners.sort_unstable();
        owners
    }

    proptest! {
        #[test]
        fn what_touches_is_found_whatever_came_and_went(
            steps in prop::collection::vec((any::<bool>(), 0u8..40, 1u8..12), 1..60),
            (from, long) in (0u8..45, 1u8..9),
        ) {
            let (mut ranges, mut model) = (Ranges::default(), Vec::new());
            for (id, (comes, begin, long)) in (0u64..).zip(steps) {
                // Seldom a long one, which covers many.
                let end = begin + if long == 11 { 40 } else { long };
                if comes || model.is_empty() {
                    ranges.add(range(begin, end, id));
                    model.push((begin, end, id));
                } else {
                    let (begin, _, gone) = model.swap_remove(usize::from(long) % model.len());
                    ranges.remove(&key(begin), |range| range.owner == OwnerId(gone));
                }
            }
            let expect = |to: u8| {
                let touching = model.iter().filter(|(begin, end, _)| *begin < to && from < *end);
                let mut owners: Vec<u64> = touching.map(|(_, _, id)| *id).collect();
                owners.sort_unstable();
                owners
            };
            prop_assert_eq!(owners(ranges.over(&[from])), expect(from + 1));
            prop_assert_eq!(owners(ranges.touching(&Span::Key(key(from)))), expect(from + 1));
            let span = Span::Range(key(from), key(from + long));
            prop_assert_eq!(owners(ranges.touching(&span)), expect(from + long));
        }
    }
}
