//! # One byte budget for all connections
//!
//! Requests that are being received and replies that wait to be taken are charged to one
//! server-wide [`Budget`], so that ten thousand clients with a large value each cannot take the
//! memory that the store needs. A connection whose charge cannot grow stops reading: back-pressure.
//!
//! ```text
//! total ┌────────────────────────────┐
//!       │ charges of connections     │  first come, first served beyond it
//!       └────────────────────────────┘
//!       + one overdraft: the waiter at the front of the queue, one at a time
//! ```
//!
//! Invariants:
//! - Charges without the overdraft never sum above `total`.
//! - **No deadlock**: all connections could wait for room with half a request each. So the first of
//!   the queue may overdraw, alone, until it has given back enough; requests and replies are
//!   bounded themselves, so this bounds memory too.
//! - The first [`FREE_BYTES`] of each connection are not charged: a connection with small requests
//!   never touches the budget. `maxclients` bounds that part.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// What each connection has for nothing, bytes. It covers what a connection keeps between small
/// requests, grown by the doubling of vectors: 32 KiB of buffer, 16 KiB of replies, 24 KiB of recycled
/// arguments, and a small reply; with less, small requests would queue behind large ones.
pub const FREE_BYTES: usize = 80 * 1024;

/// The budget.
pub struct Budget {
    total: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used: usize,
    next_id: u64,
    overdraft: Option<u64>,
    queue: VecDeque<(u64, Waker)>,
}

impl State {
    fn wake_first(&self) {
        if let Some((_, waker)) = self.queue.front() {
            waker.wake_by_ref();
        }
    }

    fn leave_queue(&mut self, id: u64) {
        if let Some(at) = self.queue.iter().position(|(waiting, _)| *waiting == id) {
            self.queue.remove(at);
            if at == 0 {
                self.wake_first();
            }
        }
    }
}

impl Budget {
    /// A budget of `total` bytes.
    #[must_use]
    pub fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { total, state: Mutex::default() })
    }

    /// Bytes charged now.
    #[must_use]
    pub fn used(&self) -> usize {
        self.state.lock().used
    }

    /// All there is.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }

    /// How many connections wait for room.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.state.lock().queue.len()
    }

    /// An empty charge.
    #[must_use]
    pub fn charge(self: &Arc<Self>) -> Charge {
        let mut state = self.state.lock();
        state.next_id += 1;
        Charge { budget: Arc::clone(self), id: state.next_id, held: 0 }
    }
}

/// What one connection holds of the budget; given back when it drops.
pub struct Charge {
    budget: Arc<Budget>,
    id: u64,
    held: usize,
}

impl Charge {
    /// Bytes beyond the free ones.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Whether this connection has the overdraft, and so should hurry.
    #[must_use]
    pub fn is_overdrawn(&self) -> bool {
        self.held > 0 && self.budget.state.lock().overdraft == Some(self.id)
    }

    /// Makes the charge cover `bytes` in use, waiting for room if it must grow. Cancel-safe.
    pub fn cover(&mut self, bytes: usize) -> Cover<'_> {
        Cover { want: bytes.saturating_sub(FREE_BYTES), charge: self, queued: false }
    }

    /// As [`Charge::cover`] without waiting: whether the charge covers it now.
    pub fn try_cover(&mut self, bytes: usize) -> bool {
        let cover = std::pin::pin!(self.cover(bytes));
        cover.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Gives back what is beyond `bytes` in use.
    pub fn shrink(&mut self, bytes: usize) {
        let keep = bytes.saturating_sub(FREE_BYTES);
        if keep < self.held {
            let mut state = self.budget.state.lock();
            state.used -= self.held - keep;
            self.held = keep;
            if state.overdraft == Some(self.id) && (state.used <= self.budget.total || keep == 0) {
                state.overdraft = None;
            }
            state.wake_first();
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

/// Waits until the charge covers what was asked; see [`Charge::cover`].
pub struct Cover<'c> {
    charge: &'c mut Charge,
    want: usize,
    queued: bool,
}

impl Future for Cover<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let charge = &mut *this.charge;
        let Some(more) = this.want.checked_sub(charge.held).filter(|more| *more > 0) else {
            return Poll::Ready(());
        };
        let mut state = charge.budget.state.lock();
        let place = state.queue.iter().position(|(id, _)| *id == charge.id);
        let first = place.map_or(state.queue.is_empty(), |at| at == 0);
        let overdrawn = state.overdraft == Some(charge.id);
        let fits = state.used.checked_add(more).is_some_and(|sum| sum <= charge.budget.total);
        if overdrawn || (first && (fits || state.overdraft.is_none())) {
            if !fits {
                state.overdraft = Some(charge.id);
            }
            state.used += more;
            charge.held += more;
            if place.is_some() {
                state.leave_queue(charge.id);
            }
            this.queued = false;
            return Poll::Ready(());
        }
        match place.and_then(|at| state.queue.get_mut(at)) {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => state.queue.push_back((charge.id, cx.waker().clone())),
        }
        this.queued = true;
        Poll::Pending
    }
}

impl Drop for Cover<'_> {
    fn drop(&mut self) {
        if self.queued {
            self.charge.budget.state.lock().leave_queue(self.charge.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    fn poll(cover: &mut Pin<&mut Cover<'_>>) -> bool {
        cover.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    fn take(charge: &mut Charge, bytes: usize) -> bool {
        charge.try_cover(FREE_BYTES + bytes)
    }

    #[test]
    fn small_requests_cost_nothing() {
        let budget = Budget::new(0);
        let mut charge = budget.charge();
        assert!(poll(&mut pin!(charge.cover(FREE_BYTES))));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn beyond_the_total_one_overdraws_and_the_others_wait_in_order() {
        let budget = Budget::new(100);
        let (mut a, mut b, mut c) = (budget.charge(), budget.charge(), budget.charge());
        assert!(take(&mut a, 60));
        assert!(take(&mut b, 60), "the first that does not fit overdraws");
        assert!(b.is_overdrawn());
        assert!(take(&mut b, 80), "and goes on");
        {
            let mut waits = pin!(c.cover(FREE_BYTES + 30));
            assert!(!poll(&mut waits));
            assert_eq!(budget.waiting(), 1);
            assert!(!take(&mut a, 61), "nobody overtakes");
            a.shrink(0);
            assert!(!poll(&mut waits), "80 of the overdrawn one and 30 are above 100");
            b.shrink(FREE_BYTES + 70);
            assert!(poll(&mut waits));
        }
        assert_eq!((budget.used(), budget.waiting()), (100, 0));
        drop((b, c));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn giving_up_leaves_the_queue() {
        let budget = Budget::new(10);
        let (mut a, mut b) = (budget.charge(), budget.charge());
        assert!(take(&mut a, 50));
        assert!(!take(&mut b, 5));
        assert_eq!(budget.waiting(), 0, "the dropped wait holds no place");
    }
}
