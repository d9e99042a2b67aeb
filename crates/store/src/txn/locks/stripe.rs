//! One stripe: who holds what, and who waits, in the order of tickets.
//!
//! A request conflicts with locks that others hold and with requests that stand before it. One that
//! waits for the asker himself is not before him: it cannot be granted until he is done, and if he
//! waited for it, both would wait forever.

use super::ranges::{Range, Ranges};
use super::waits::Waits;
use super::{Deadlock, Key, Mode, OwnerId, Span};
use std::collections::btree_map::Entry::{Occupied, Vacant};
use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;

/// A request's place: who turns a shared lock into an exclusive one stands before all others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Ticket {
    pub(super) last: bool,
    pub(super) number: u64,
}

/// A request.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) span: &'a Span,
    pub(super) mode: Mode,
    pub(super) owner: OwnerId,
}

#[derive(Clone, Copy)]
struct Waiter {
    ticket: Ticket,
    mode: Mode,
    owner: OwnerId,
    /// How many came later and got the key before.
    overtaken: u8,
}

/// So many may get a key before who waits for it.
pub(super) const OVERTAKEN_MAX: u8 = 16;

impl Waiter {
    /// An upgrade is not: others wait for what it holds.
    fn may_be_overtaken(&self) -> bool {
        self.ticket.last && self.overtaken < OVERTAKEN_MAX
    }
}

/// The locks on a key.
struct Point {
    mode: Mode,
    /// The first holder; most keys have no other.
    holder: Option<OwnerId>,
    others: Vec<OwnerId>,
    queue: VecDeque<Waiter>,
}

#[derive(Default)]
pub(super) struct Stripe {
    points: BTreeMap<Key, Point>,
    ranges: Ranges,
    /// Locks that are held or waited for.
    pub(super) locks: u64,
}

impl Point {
    fn new() -> Self {
        Self { mode: Mode::Shared, holder: None, others: Vec::new(), queue: VecDeque::new() }
    }

    fn holders(&self) -> impl Iterator<Item = OwnerId> {
        self.holder.iter().chain(&self.others).copied()
    }

    fn grant(&mut self, owner: OwnerId, mode: Mode) {
        self.mode = mode;
        if self.holders().any(|holder| holder == owner) {
            return;
        }
        match self.holder {
            None => self.holder = Some(owner),
            Some(_) => self.others.push(owner),
        }
    }

    fn release(&mut self, owner: OwnerId) {
        if self.holder == Some(owner) {
            self.holder = self.others.pop();
        } else {
            self.others.retain(|other| *other != owner);
        }
        if self.holder.is_none() {
            self.mode = Mode::Shared;
        }
    }
}

impl Stripe {
    /// Whether the owner has this already, by a lock of the key or by one of a range over it.
    pub(super) fn holds(&self, asked: &Asked<'_>) -> bool {
        let point = match asked.span {
            Span::Key(key) => self.points.get(key),
            Span::Range(..) => None,
        };
        let by_point = point.is_some_and(|point| {
            point.mode.covers(asked.mode) && point.holders().any(|holder| holder == asked.owner)
        });
        by_point || self.own_ranges(asked).any(|range| range.mode.covers(asked.mode))
    }

    /// Whether the owner has a shared lock of what he wants exclusively.
    pub(super) fn is_upgrade(&self, asked: &Asked<'_>) -> bool {
        asked.mode == Mode::Exclusive && self.holds(&Asked { mode: Mode::Shared, ..*asked })
    }

    fn own_ranges<'s>(&'s self, asked: &'s Asked<'s>) -> impl Iterator<Item = &'s Range> {
        self.ranges.touching(asked.span).filter(move |range| {
            range.owner == asked.owner
                && range.waiting.is_none()
                && match asked.span {
                    Span::Key(_) => true,
                    Span::Range(from, to) => range.from <= *from && *to <= range.to,
                }
        })
    }

    /// Locks a key that nobody else wants and over which no range is, or that the owner has. Whether that is one lock
    /// more; `None` if it takes more than this.
    pub(super) fn lock_free(&mut self, asked: &Asked<'_>) -> Option<bool> {
        let Span::Key(key) = asked.span else { return None };
        if !self.ranges.is_empty() && self.ranges.over(key).next().is_some() {
            return None;
        }
        let point = match self.points.entry(key.clone()) {
            Vacant(place) => {
                place.insert(Point::new()).grant(asked.owner, asked.mode);
                return Some(true);
            }
            Occupied(point) => point.into_mut(),
        };
        let has = point.holders().any(|holder| holder == asked.owner);
        if has && point.mode.covers(asked.mode) {
            return Some(false);
        }
        let is_alone = has && point.others.is_empty();
        if !point.queue.is_empty() || (!is_alone && asked.mode.conflicts(point.mode)) {
            return None;
        }
        point.grant(asked.owner, asked.mode);
        Some(!has)
    }

    /// Grants the request if nothing stands against it.
    pub(super) fn try_grant(
        &mut self,
        asked: &Asked<'_>,
        ticket: Ticket,
        overtakes: bool,
        waits: &Waits,
    ) -> bool {
        let is_blocked = !self.blockers(asked, ticket).is_empty();
        if is_blocked && !(overtakes && self.overtake(asked, waits)) {
            return false;
        }
        self.grant(asked);
        self.got_before(asked, ticket, waits);
        true
    }

    /// Whether the key is free and those who wait for it, who are being woken, may be overtaken once more.
    fn overtake(&mut self, asked: &Asked<'_>, waits: &Waits) -> bool {
        let Span::Key(key) = asked.span else { return false };
        let Some(point) = self.points.get_mut(key) else { return false };
        let is_free = point.holder.is_none() && self.ranges.over(key).next().is_none();
        if !is_free || !point.queue.iter().all(Waiter::may_be_overtaken) {
            return false;
        }
        for waiter in point.queue.iter_mut().filter(|waiter| waiter.mode.conflicts(asked.mode)) {
            waiter.overtaken += 1;
            waits.also_blocked_by(waiter.owner, asked.owner);
        }
        true
    }

    /// Who waits takes what has been released meanwhile, if nobody overtook him.
    pub(super) fn claim(&mut self, asked: &Asked<'_>, ticket: Ticket, waits: &Waits) -> bool {
        if !self.blockers(asked, ticket).is_empty() {
            return false;
        }
        self.end_wait(asked.span, ticket, asked.owner, asked.mode);
        waits.unblock(asked.owner);
        true
    }

    /// Makes a request that waits a lock.
    fn end_wait(&mut self, span: &Span, ticket: Ticket, owner: OwnerId, mode: Mode) {
        match span {
            Span::Key(key) => {
                if let Some(point) = self.points.get_mut(key) {
                    point.queue.retain(|other| other.ticket != ticket);
                    point.grant(owner, mode);
                }
            }
            Span::Range(from, _) => self.ranges.end_wait(from, ticket),
        }
    }

    fn grant(&mut self, asked: &Asked<'_>) {
        match asked.span {
            Span::Key(key) => match self.points.get_mut(key) {
                Some(point) => point.grant(asked.owner, asked.mode),
                None => {
                    let mut point = Point::new();
                    point.grant(asked.owner, asked.mode);
                    self.points.insert(key.clone(), point);
                }
            },
            Span::Range(from, to) => self.ranges.add(Range::new(from, to, asked.mode, asked.owner, None)),
        }
    }

    /// Who stands against a request with this ticket. Of a key's queue: back to the nearest exclusive
    /// request, which itself waits for all before it.
    fn blockers(&self, asked: &Asked<'_>, ticket: Ticket) -> Vec<OwnerId> {
        let mut blockers = Vec::new();
        match asked.span {
            Span::Key(key) => {
                if let Some(point) = self.points.get(key) {
                    self.blockers_at(key, point, asked, ticket, &mut blockers);
                }
            }
            Span::Range(from, to) if from < to => {
                for (key, point) in self.points.range(from.clone()..to.clone()) {
                    self.blockers_at(key, point, asked, ticket, &mut blockers);
                }
            }
            Span::Range(..) => {}
        }
        for range in self.ranges.touching(asked.span) {
            let is_before =
                range.waiting.is_none_or(|place| place < ticket && !self.stops_range(asked.owner, range));
            if range.owner != asked.owner && is_before && asked.mode.conflicts(range.mode) {
                blockers.push(range.owner);
            }
        }
        blockers
    }

    fn blockers_at(
        &self,
        key: &Key,
        point: &Point,
        asked: &Asked<'_>,
        ticket: Ticket,
        blockers: &mut Vec<OwnerId>,
    ) {
        let before = point.queue.iter().rev().skip_while(|waiter| waiter.ticket >= ticket);
        for waiter in before.filter(|waiter| waiter.owner != asked.owner && asked.mode.conflicts(waiter.mode))
        {
            if !self.stops_key(asked.owner, key, point, waiter.mode) {
                blockers.push(waiter.owner);
                if waiter.mode == Mode::Exclusive {
                    return;
                }
            }
        }
        if asked.mode.conflicts(point.mode) {
            blockers.extend(point.holders().filter(|holder| *holder != asked.owner));
        }
    }

    /// Whether `owner` holds what a request for this key has to wait for.
    fn stops_key(&self, owner: OwnerId, key: &Key, point: &Point, mode: Mode) -> bool {
        let by_point = point.mode.conflicts(mode) && point.holders().any(|holder| holder == owner);
        by_point
            || self
                .ranges
                .over(key)
                .any(|range| range.owner == owner && range.waiting.is_none() && range.mode.conflicts(mode))
    }

    /// Whether `owner` holds what a waiting range has to wait for.
    fn stops_range(&self, owner: OwnerId, waiting: &Range) -> bool {
        let span = Span::Range(waiting.from.clone(), waiting.to.clone());
        let mut points = self.points.range(waiting.from.clone()..waiting.to.clone());
        points.any(|(key, point)| self.stops_key(owner, key, point, waiting.mode))
            || self.ranges.touching(&span).any(|range| {
                range.owner == owner && range.waiting.is_none() && range.mode.conflicts(waiting.mode)
            })
    }

    /// Puts a request into the queue.
    ///
    /// # Errors
    /// Whoever asks is the youngest of those who would wait for each other; then he is not in the queue.
    pub(super) fn wait(
        &mut self,
        asked: &Asked<'_>,
        ticket: Ticket,
        age: u64,
        waker: &Waker,
        waits: &Waits,
        woken: &mut Vec<Waker>,
    ) -> Result<(), Deadlock> {
        let blockers = self.blockers(asked, ticket);
        self.enqueue(asked, ticket);
        self.got_before(asked, ticket, waits);
        let result = waits.block(asked.owner, age, blockers, asked.span, waker, woken);
        if result.is_err() {
            self.give_up(asked, ticket, waits, woken);
        }
        result
    }

    /// Who waits already waits for an upgrade too, which gets before him.
    fn got_before(&self, asked: &Asked<'_>, ticket: Ticket, waits: &Waits) {
        if !ticket.last {
            for other in self.behind(asked, ticket) {
                waits.also_blocked_by(other, asked.owner);
            }
        }
    }

    fn enqueue(&mut self, asked: &Asked<'_>, ticket: Ticket) {
        match asked.span {
            Span::Key(key) => {
                let point = self.points.entry(key.clone()).or_insert_with(Point::new);
                let at = point.queue.partition_point(|waiter| waiter.ticket < ticket);
                point.queue.insert(at, Waiter { ticket, mode: asked.mode, owner: asked.owner, overtaken: 0 });
            }
            Span::Range(from, to) => {
                self.ranges.add(Range::new(from, to, asked.mode, asked.owner, Some(ticket)));
            }
        }
    }

    /// Who waits behind this request and conflicts with it.
    fn behind(&self, asked: &Asked<'_>, ticket: Ticket) -> Vec<OwnerId> {
        let mut behind = Vec::new();
        let mut note = |owner: OwnerId, mode: Mode, place: Ticket| {
            if place > ticket && owner != asked.owner && asked.mode.conflicts(mode) {
                behind.push(owner);
            }
        };
        let points = match asked.span {
            Span::Key(key) => self.points.range(key.clone()..=key.clone()),
            Span::Range(from, to) => self.points.range(from.clone()..=to.clone()),
        };
        for waiter in points.flat_map(|(_, point)| &point.queue) {
            note(waiter.owner, waiter.mode, waiter.ticket);
        }
        for range in self.ranges.touching(asked.span) {
            if let Some(place) = range.waiting {
                note(range.owner, range.mode, place);
            }
        }
        behind
    }

    pub(super) fn is_waiting(&self, asked: &Asked<'_>, ticket: Ticket) -> bool {
        match asked.span {
            Span::Key(key) => self
                .points
                .get(key)
                .is_some_and(|point| point.queue.iter().any(|waiter| waiter.ticket == ticket)),
            Span::Range(from, _) => self.ranges.is_waiting(from, ticket),
        }
    }

    /// Takes a request out of the queue; who waited behind it only goes on.
    pub(super) fn give_up(
        &mut self,
        asked: &Asked<'_>,
        ticket: Ticket,
        waits: &Waits,
        woken: &mut Vec<Waker>,
    ) {
        match asked.span {
            Span::Key(key) => {
                if let Some(point) = self.points.get_mut(key) {
                    point.queue.retain(|waiter| waiter.ticket != ticket);
                }
            }
            Span::Range(from, _) => self.ranges.remove(from, |range| range.waiting == Some(ticket)),
        }
        self.locks -= 1;
        waits.unblock(asked.owner);
        // The owner goes on and may wait elsewhere: nobody may seem to wait for him because of this request.
        self.renew(asked.span, waits, woken);
        self.grant_waiting(asked.span, waits, woken);
    }

    /// Computes anew whom the waiters around `span` wait for.
    fn renew(&self, span: &Span, waits: &Waits, woken: &mut Vec<Waker>) {
        for (span, waiter) in self.waiting_around(span, true) {
            let asked = Asked { span: &span, mode: waiter.mode, owner: waiter.owner };
            waits.set_blockers(waiter.owner, self.blockers(&asked, waiter.ticket), woken);
        }
    }

    /// Releases a lock.
    pub(super) fn release(&mut self, span: &Span, owner: OwnerId, waits: &Waits, woken: &mut Vec<Waker>) {
        self.locks -= 1;
        match span {
            Span::Key(key) => {
                let Some(point) = self.points.get_mut(key) else { return };
                point.release(owner);
                if point.queue.is_empty() && !self.ranges.any_waits() {
                    if point.holder.is_none() {
                        self.points.remove(key);
                    }
                    return;
                }
            }
            Span::Range(from, to) => {
                self.ranges
                    .remove(from, |range| range.owner == owner && range.waiting.is_none() && range.to == *to);
            }
        }
        self.grant_waiting(span, waits, woken);
    }

    /// Grants what can be granted around `span`, in the order of tickets.
    fn grant_waiting(&mut self, span: &Span, waits: &Waits, woken: &mut Vec<Waker>) {
        for (span, waiter) in self.waiting_around(span, false) {
            let asked = Asked { span: &span, mode: waiter.mode, owner: waiter.owner };
            if !self.blockers(&asked, waiter.ticket).is_empty() {
                continue;
            }
            // Waking takes long, and the key need not be locked by a sleeper all the while: he is called, and
            // takes it when he comes, unless somebody was faster.
            if waiter.may_be_overtaken() {
                woken.extend(waits.waker(waiter.owner));
                continue;
            }
            self.end_wait(&span, waiter.ticket, waiter.owner, waiter.mode);
            woken.extend(waits.unblock(waiter.owner));
        }
        self.forget(span);
    }

    /// The requests that a change of `span` may concern, in the order of tickets. Of a key's queue, if not `all`,
    /// only what may be granted now: what stands behind an exclusive request waits for that.
    fn waiting_around(&self, span: &Span, all: bool) -> Vec<(Span, Waiter)> {
        let mut found = Vec::new();
        let points = match span {
            Span::Key(key) => self.points.range(key.clone()..=key.clone()),
            Span::Range(from, to) => self.points.range(from.clone()..=to.clone()),
        };
        for (key, point) in points {
            for waiter in &point.queue {
                found.push((Span::Key(key.clone()), *waiter));
                if waiter.mode == Mode::Exclusive && !all {
                    break;
                }
            }
        }
        for range in self.ranges.touching(span) {
            if let Some(ticket) = range.waiting {
                let waiter =
                    Waiter { ticket, mode: range.mode, owner: range.owner, overtaken: OVERTAKEN_MAX };
                found.push((Span::Range(range.from.clone(), range.to.clone()), waiter));
            }
        }
        found.sort_unstable_by_key(|(_, waiter)| waiter.ticket);
        found
    }

    /// Points that nobody holds or wants any more.
    fn forget(&mut self, span: &Span) {
        match span {
            Span::Key(key) => {
                if self.points.get(key).is_some_and(|point| point.holder.is_none() && point.queue.is_empty())
                {
                    self.points.remove(key);
                }
            }
            // A range's release leaves points as they are: each is held or wanted by somebody.
            Span::Range(..) => {}
        }
    }
}
