//! Striped per-key latches: what makes a read-modify-write command atomic.
//!
//! Keys hash to stripes; a command acquires its stripes in ascending order, so there is no
//! deadlock. Each stripe is a fair queue. Waiting is *pending + waker*, never a blocked thread
//! (R22). A latch is held from the read to the moment when the write is applied and visible; the
//! wait for its level happens after the release (R26).

use crate::sync::Mutex;
use ringfort_base::KeyspaceId;
use std::collections::VecDeque;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

#[derive(Default)]
struct Stripe {
    held: bool,
    next_id: u64,
    queue: VecDeque<(u64, Option<Waker>)>,
}

/// The latches of a store.
pub struct Latches {
    stripes: Box<[Mutex<Stripe>]>,
    /// Keyed, so that a client cannot aim all its keys at one stripe.
    hasher: RandomState,
}

impl Latches {
    /// With `stripes` stripes, rounded up to a power of two.
    #[must_use]
    pub fn new(stripes: usize) -> Arc<Self> {
        let n = stripes.next_power_of_two();
        Arc::new(Self { stripes: (0..n).map(|_| Mutex::default()).collect(), hasher: RandomState::new() })
    }

    /// Acquires the latches of all `keys`, exclusively. Fair per stripe. Dropping the future gives
    /// up its places in the queues and what it held.
    pub fn acquire<'k>(self: &Arc<Self>, keys: impl IntoIterator<Item = (KeyspaceId, &'k [u8])>) -> Acquire {
        let mask = self.stripes.len() - 1;
        let mut wanted: Vec<usize> =
            keys.into_iter().map(|key| self.hasher.hash_one(key) as usize & mask).collect();
        wanted.sort_unstable();
        wanted.dedup();
        Acquire {
            guard: Some(LatchGuard { latches: Arc::clone(self), held: Vec::with_capacity(wanted.len()) }),
            wanted,
            waiting: None,
        }
    }

    /// Acquires all stripes: for commands that touch a whole keyspace.
    pub fn acquire_all(self: &Arc<Self>) -> Acquire {
        let wanted = (0..self.stripes.len()).collect();
        Acquire {
            guard: Some(LatchGuard { latches: Arc::clone(self), held: Vec::new() }),
            wanted,
            waiting: None,
        }
    }

    /// Passes a stripe on to the first in its queue, or frees it.
    fn release(&self, index: usize) {
        let mut stripe = self.stripes[index].lock();
        stripe.held = false;
        let waker = stripe.queue.front_mut().and_then(|(_, waker)| waker.take());
        drop(stripe);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A pending acquisition.
pub struct Acquire {
    guard: Option<LatchGuard>,
    wanted: Vec<usize>,
    /// The place in the queue of the next stripe.
    waiting: Option<u64>,
}

impl Future for Acquire {
    type Output = LatchGuard;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<LatchGuard> {
        let this = &mut *self;
        let Some(mut guard) = this.guard.take() else { return Poll::Pending };
        while let Some(&index) = this.wanted.get(guard.held.len()) {
            let mut stripe = guard.latches.stripes[index].lock();
            let first = stripe.queue.front().map(|place| place.0);
            if !stripe.held && (first.is_none() || first == this.waiting) {
                stripe.held = true;
                if this.waiting.take().is_some() {
                    stripe.queue.pop_front();
                }
                drop(stripe);
                guard.held.push(index);
                continue;
            }
            match this.waiting {
                Some(id) => {
                    if let Some(place) = stripe.queue.iter_mut().find(|place| place.0 == id) {
                        place.1 = Some(cx.waker().clone());
                    }
                }
                None => {
                    let id = stripe.next_id;
                    stripe.next_id += 1;
                    stripe.queue.push_back((id, Some(cx.waker().clone())));
                    this.waiting = Some(id);
                }
            }
            drop(stripe);
            this.guard = Some(guard);
            return Poll::Pending;
        }
        Poll::Ready(guard)
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let (Some(guard), Some(id)) = (&self.guard, self.waiting) else { return };
        let Some(&index) = self.wanted.get(guard.held.len()) else { return };
        let mut stripe = guard.latches.stripes[index].lock();
        stripe.queue.retain(|place| place.0 != id);
        // Our wake-up may have been spent already: pass it on.
        let waker =
            if stripe.held { None } else { stripe.queue.front_mut().and_then(|place| place.1.take()) };
        drop(stripe);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Holds latches until dropped.
pub struct LatchGuard {
    latches: Arc<Latches>,
    held: Vec<usize>,
}

impl Drop for LatchGuard {
    fn drop(&mut self) {
        for &index in &self.held {
            self.latches.release(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(acquire: &mut Acquire) -> Poll<LatchGuard> {
        Pin::new(acquire).poll(&mut Context::from_waker(Waker::noop()))
    }

    const KS: KeyspaceId = KeyspaceId(1);

    #[test]
    fn the_same_key_excludes_in_order_of_arrival() {
        crate::sync::check(|| {
            let latches = Latches::new(64);
            let Poll::Ready(first) = poll(&mut latches.acquire([(KS, b"k".as_slice())])) else { panic!() };
            let mut second = latches.acquire([(KS, b"k".as_slice())]);
            let mut third = latches.acquire([(KS, b"k".as_slice())]);
            assert!(poll(&mut second).is_pending() && poll(&mut third).is_pending());
            drop(first);
            assert!(poll(&mut third).is_pending(), "overtook the queue");
            let Poll::Ready(second) = poll(&mut second) else { panic!("not passed on") };
            assert!(poll(&mut third).is_pending());
            drop(second);
            assert!(poll(&mut third).is_ready());
        });
    }

    #[test]
    fn a_dropped_waiter_does_not_block_the_queue() {
        crate::sync::check(|| {
            let latches = Latches::new(1);
            let Poll::Ready(first) = poll(&mut latches.acquire([(KS, b"a".as_slice())])) else { panic!() };
            let mut second = latches.acquire([(KS, b"b".as_slice())]);
            let mut third = latches.acquire([(KS, b"c".as_slice())]);
            assert!(poll(&mut second).is_pending() && poll(&mut third).is_pending());
            drop(first);
            drop(second);
            assert!(poll(&mut third).is_ready());
        });
    }

    #[test]
    fn all_excludes_each() {
        crate::sync::check(|| {
            let latches = Latches::new(8);
            let Poll::Ready(all) = poll(&mut latches.acquire_all()) else { panic!() };
            let mut one = latches.acquire([(KS, b"x".as_slice()), (KS, b"y".as_slice())]);
            assert!(poll(&mut one).is_pending());
            drop(all);
            assert!(poll(&mut one).is_ready());
        });
    }
}
