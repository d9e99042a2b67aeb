//! The lock table: shared and exclusive locks on keys and on ranges of keys, held to the end of a
//! transaction (strict two-phase locking, no phantoms).
//!
//! ```text
//!  Owner (a transaction) ── lock(key) / lock_range(from, to) ──▶ stripe of the key / every stripe
//!     │ what it holds                                              │ holders, queue by ticket
//!     └ dropped: all is released, who waited is woken              └ blocked ──▶ waits: who waits for whom
//! ```
//!
//! - *Keys hash to stripes; a range stands in every stripe*, taken one after another. So a key costs one
//!   short mutex, and a range costs as many as there are stripes.
//! - *Fair.* Every request has a ticket; one is granted when nothing that conflicts is held, or was
//!   asked for before it. Only who turns his shared lock into an exclusive one goes first, and
//!   who comes by for the first time while the first in the queue is being woken: so a lock is not held by sleepers. Nobody is
//!   overtaken like this more than a few times; after that the lock is his as soon as it is free.
//! - *Waiting is pending + waker* (R22). Dropping the future gives up the place in the queue.
//! - *Deadlocks are found when they arise* (see [`waits`]): the youngest of the cycle is refused, with the
//!   cycle. A transaction that is tried again keeps its age, so the oldest always gets through.
//! - *Bounded*: each stripe holds its share of so many locks and not more; then requests are refused.
//!
//! Keys here carry their keyspace in front, so that one table serves all keyspaces.

mod ranges;
mod stripe;
mod waits;

use crate::sync::{AtomicU64, Mutex};
use ringfort_base::KeyspaceId;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use stripe::{Asked, Stripe, Ticket};
use waits::Waits;

/// A key with its keyspace in front.
pub(super) type Key = Arc<[u8]>;

/// A transaction, for the lock table. Ids are never reused in a store's life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OwnerId(pub u64);

/// What a lock excludes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Others' exclusive locks.
    Shared,
    /// All others' locks.
    Exclusive,
}

impl Mode {
    fn conflicts(self, other: Mode) -> bool {
        self == Mode::Exclusive || other == Mode::Exclusive
    }

    fn covers(self, other: Mode) -> bool {
        self == Mode::Exclusive || other == Mode::Shared
    }
}

/// What a lock is on.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Span {
    Key(Key),
    /// From the first key up to, and without, the second.
    Range(Key, Key),
}

/// A cycle of transactions that wait for each other: each entry waits for the next, the last for the first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deadlock {
    /// Who waits, and in which keyspace.
    pub cycle: Vec<(OwnerId, KeyspaceId)>,
}

impl fmt::Display for Deadlock {
    /// Keys are the owner's data and not told.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadlock: ")?;
        for (owner, keyspace) in &self.cycle {
            write!(f, "transaction {} waits in keyspace {keyspace} for ", owner.0)?;
        }
        match self.cycle.first() {
            Some((first, _)) => write!(f, "transaction {}", first.0),
            None => Ok(()),
        }
    }
}

/// Why a lock is refused. What the transaction holds it keeps, until it is dropped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LockError {
    /// It would wait for itself, and is the youngest of those who do.
    Deadlock(Deadlock),
    /// The table is full.
    Full {
        /// The most locks that it holds.
        locks_max: u64,
    },
}

/// The locks of a store.
pub struct LockTable {
    stripes: Box<[Mutex<Stripe>]>,
    waits: Waits,
    /// Keyed, so that a client cannot aim all its keys at one stripe.
    hasher: RandomState,
    next_owner: AtomicU64,
    next_ticket: AtomicU64,
    locks_max: u64,
}

impl LockTable {
    /// With `stripes` stripes, rounded up to a power of two, and room for `locks_max` locks.
    #[must_use]
    pub fn new(stripes: usize, locks_max: u64) -> Arc<Self> {
        let stripes = stripes.next_power_of_two();
        Arc::new(Self {
            stripes: (0..stripes).map(|_| Mutex::default()).collect(),
            waits: Waits::default(),
            hasher: RandomState::new(),
            next_owner: AtomicU64::new(1),
            next_ticket: AtomicU64::new(1),
            locks_max,
        })
    }

    /// A new owner, younger than all before it; one that tries again passes the age of its first try.
    pub fn owner(self: &Arc<Self>, age: Option<u64>) -> Owner {
        let id = self.next_owner.fetch_add(1, Ordering::Relaxed);
        Owner { table: Arc::clone(self), id: OwnerId(id), age: age.unwrap_or(id), held: Vec::new() }
    }

    /// Locks that are held now; a range counts once for each stripe.
    pub fn held(&self) -> u64 {
        self.stripes.iter().map(|stripe| stripe.lock().locks).sum()
    }

    /// The most locks of a stripe.
    fn share(&self) -> u64 {
        self.locks_max.div_ceil(self.stripes.len() as u64)
    }

    fn stripe_of(&self, key: &[u8]) -> usize {
        self.hasher.hash_one(key) as usize & (self.stripes.len() - 1)
    }

    fn ticket(&self, first: bool) -> Ticket {
        Ticket { last: !first, number: self.next_ticket.fetch_add(1, Ordering::Relaxed) }
    }
}

/// A transaction's locks. Dropping it releases them.
pub struct Owner {
    table: Arc<LockTable>,
    id: OwnerId,
    age: u64,
    held: Vec<(usize, Span)>,
}

impl Owner {
    /// Who this is.
    #[must_use]
    pub fn id(&self) -> OwnerId {
        self.id
    }

    /// To be passed to [`LockTable::owner`] when the transaction is tried again.
    #[must_use]
    pub fn age(&self) -> u64 {
        self.age
    }

    /// For whoever polls its requests.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        Waiting { table: Arc::clone(&self.table), id: self.id }
    }

    /// What it has locked: keys, and ranges with their end.
    pub(super) fn spans(&self) -> impl Iterator<Item = (&Key, Option<&Key>)> {
        self.held.iter().map(|(_, span)| match span {
            Span::Key(key) => (key, None),
            Span::Range(from, to) => (from, Some(to)),
        })
    }

    /// Locks a key.
    pub fn lock(&mut self, keyspace: KeyspaceId, key: &[u8], mode: Mode) -> Acquire<'_> {
        let key = with_keyspace(keyspace, key);
        let stripe = self.table.stripe_of(&key);
        let had = self.held.len();
        Acquire { owner: self, span: Span::Key(key), mode, next: stripe, end: stripe + 1, waiting: None, had }
    }

    /// Locks all keys, present or not, from `from` up to and without `to`; to the end of the
    /// keyspace if that is `None`. A range that ends before it begins holds nothing.
    pub fn lock_range(
        &mut self,
        keyspace: KeyspaceId,
        from: &[u8],
        to: Option<&[u8]>,
        mode: Mode,
    ) -> Acquire<'_> {
        let to = match to {
            Some(to) => with_keyspace(keyspace, to),
            None => with_keyspace(keyspace.next(), &[]),
        };
        let from = with_keyspace(keyspace, from);
        let end = if from < to { self.table.stripes.len() } else { 0 };
        let span = Span::Range(from, to);
        let had = self.held.len();
        Acquire { owner: self, span, mode, next: 0, end, waiting: None, had }
    }

    /// Releases everything.
    pub fn release(&mut self) {
        self.release_from(0);
    }

    /// Releases what it got last, from the `first` on.
    fn release_from(&mut self, first: usize) {
        let table = Arc::clone(&self.table);
        let mut held = self.held.split_off(first);
        held.sort_unstable_by_key(|(stripe, _)| *stripe);
        let mut woken = Vec::new();
        for group in held.chunk_by(|a, b| a.0 == b.0) {
            let mut stripe = table.stripes[group[0].0].lock();
            for (_, span) in group {
                stripe.release(span, self.id, &table.waits, &mut woken);
            }
        }
        woken.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.release();
    }
}

/// Whom a transaction waits for, for whoever polls its request.
pub struct Waiting {
    table: Arc<LockTable>,
    id: OwnerId,
}

impl Waiting {
    /// How many others hold what it waits for now, or stand before it.
    #[must_use]
    pub fn others(&self) -> usize {
        self.table.waits.blockers(self.id)
    }
}

/// A pending request; the lock belongs to the owner once it is ready.
#[must_use = "a lock is not taken before its future is ready"]
pub struct Acquire<'o> {
    owner: &'o mut Owner,
    span: Span,
    mode: Mode,
    /// The stripe that is asked next, and the end.
    next: usize,
    end: usize,
    /// The place in the queue of that stripe.
    waiting: Option<Ticket>,
    /// How many locks the owner had before.
    had: usize,
}

impl Acquire<'_> {
    /// Asks one stripe, or looks whether its answer has come. Ready with whether there is a lock to release.
    fn ask(&mut self, waker: &Waker, woken: &mut Vec<Waker>) -> Poll<Result<bool, LockError>> {
        let table = &*self.owner.table;
        let mut stripe = table.stripes[self.next].lock();
        let asked = Asked { span: &self.span, mode: self.mode, owner: self.owner.id };
        if let Some(ticket) = self.waiting {
            if !stripe.is_waiting(&asked, ticket) || stripe.claim(&asked, ticket, &table.waits) {
                self.waiting = None;
                return Poll::Ready(Ok(true));
            }
            let Some(deadlock) = table.waits.poll(asked.owner, waker) else { return Poll::Pending };
            self.waiting = None;
            stripe.give_up(&asked, ticket, &table.waits, woken);
            return Poll::Ready(Err(LockError::Deadlock(deadlock)));
        }
        let is_full = stripe.locks >= table.share();
        if !is_full && let Some(is_new) = stripe.lock_free(&asked) {
            stripe.locks += u64::from(is_new);
            return Poll::Ready(Ok(is_new));
        }
        if stripe.holds(&asked) {
            return Poll::Ready(Ok(false));
        }
        if is_full {
            return Poll::Ready(Err(LockError::Full { locks_max: table.locks_max }));
        }
        // Counted while it waits too: a queue is part of what is bounded.
        stripe.locks += 1;
        let ticket = table.ticket(stripe.is_upgrade(&asked));
        // Who was refused before would only be so again, before whom he met then.
        let overtakes = self.owner.age == self.owner.id.0;
        if stripe.try_grant(&asked, ticket, overtakes, &table.waits) {
            return Poll::Ready(Ok(true));
        }
        match stripe.wait(&asked, ticket, self.owner.age, waker, &table.waits, woken) {
            Ok(()) => {
                self.waiting = Some(ticket);
                Poll::Pending
            }
            Err(deadlock) => Poll::Ready(Err(LockError::Deadlock(deadlock))),
        }
    }
}

impl Acquire<'_> {
    fn stop_waiting(&mut self, ticket: Ticket) {
        let table = &*self.owner.table;
        let mut woken = Vec::new();
        let mut stripe = table.stripes[self.next].lock();
        let asked = Asked { span: &self.span, mode: self.mode, owner: self.owner.id };
        if stripe.is_waiting(&asked, ticket) {
            stripe.give_up(&asked, ticket, &table.waits, &mut woken);
        } else {
            // It was granted meanwhile: the owner has it.
            self.owner.held.push((self.next, self.span.clone()));
        }
        drop(stripe);
        woken.into_iter().for_each(Waker::wake);
    }
}

impl Future for Acquire<'_> {
    type Output = Result<(), LockError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut woken = Vec::new();
        let answer = loop {
            if this.next == this.end {
                break Poll::Ready(Ok(()));
            }
            match this.ask(cx.waker(), &mut woken) {
                Poll::Ready(Ok(is_new)) => {
                    if is_new {
                        this.owner.held.push((this.next, this.span.clone()));
                    }
                    this.next += 1;
                }
                Poll::Ready(Err(refused)) => break Poll::Ready(Err(refused)),
                Poll::Pending => break Poll::Pending,
            }
        };
        woken.into_iter().for_each(Waker::wake);
        answer
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.waiting.take() {
            self.stop_waiting(ticket);
        }
        // Of a range that it has in some stripes only, it has nothing: a transaction that goes on, and is prepared,
        // must not say that it holds the whole.
        if self.next < self.end && matches!(self.span, Span::Range(..)) {
            self.owner.release_from(self.had);
        }
    }
}

pub(super) fn with_keyspace(keyspace: KeyspaceId, key: &[u8]) -> Key {
    let (keyspace, len) = (keyspace.0.to_be_bytes(), 4 + key.len());
    // Put together on the stack, so that one allocation is enough for most.
    let mut short = [0; 128];
    match short.get_mut(..len) {
        Some(bytes) => {
            bytes[..4].copy_from_slice(&keyspace);
            bytes[4..].copy_from_slice(key);
            Key::from(&*bytes)
        }
        None => [&keyspace, key].concat().into(),
    }
}

/// The keyspace of a key of this table.
fn keyspace_of(span: &Span) -> KeyspaceId {
    let (Span::Key(key) | Span::Range(key, _)) = span;
    let bytes = key.first_chunk().copied().unwrap_or_default();
    KeyspaceId(u32::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests;
