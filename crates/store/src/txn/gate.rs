//! The gate of plain writes: while no transaction lives, a write outside of transactions goes past the lock
//! table.
//!
//! ```text
//!  write         inside[slot] += 1 ── live == 0? ── yes: takes its position ── inside[slot] -= 1
//!                                        └── no: inside[slot] -= 1, and takes locks like everybody
//!  transaction   live += 1 ── each slot was seen empty once ── what they queued is visible ── works
//! ```
//!
//! Either the write sees the transaction and takes locks, or the transaction sees the write and waits until it
//! has its position (all four steps are sequentially consistent). It waits once, before it reads; a write
//! is inside for the moment in which it is queued or applied.

use crate::sync::{AtomicBool, AtomicU64, Mutex};
use ringfort_base::Seq;
use ringfort_trust::defence::{self, Defence};
use std::cell::Cell;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};

const SLOTS: usize = 16;

/// Alone on its lines of the cache.
#[derive(Default)]
#[repr(align(128))]
struct Slot {
    inside: AtomicU64,
    /// The newest position that a write from here took and left in the queue.
    queued: AtomicU64,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Gate {
    slots: [Slot; SLOTS],
    live: AtomicU64,
    waiting: Mutex<Vec<Waker>>,
    /// For good: no write was inside when that was said, and none comes in any more.
    shut: AtomicBool,
}

impl Gate {
    /// Lets a write through, unless a transaction lives.
    #[inline]
    pub(crate) fn enter(&self) -> Option<Pass<'_>> {
        let slot = slot();
        self.slots[slot].inside.fetch_add(1, Ordering::SeqCst);
        if self.live.load(Ordering::SeqCst) == 0 || !defence::on(Defence::Gate) {
            return Some(Pass { gate: self, slot });
        }
        self.leave(slot);
        None
    }

    fn leave(&self, slot: usize) {
        self.slots[slot].inside.fetch_sub(1, Ordering::SeqCst);
        if self.live.load(Ordering::SeqCst) > 0 {
            let waiting = std::mem::take(&mut *self.waiting.lock());
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    /// A transaction lives until the guard is dropped.
    pub(crate) fn live(self: &Arc<Self>) -> Live {
        self.live.fetch_add(1, Ordering::SeqCst);
        Live(Arc::clone(self))
    }

    /// Lets nobody through any more. `live` must be [alone](Live::alone), and what was queued visible.
    pub(crate) fn shut(&self, live: &Live) {
        debug_assert!(std::ptr::eq(self, &*live.0), "of this gate");
        // Counted as one more who lives, and never given back.
        self.live.fetch_add(1, Ordering::SeqCst);
        self.shut.store(true, Ordering::Release);
    }

    /// Whether it is shut for good, so that a transaction need not look who is inside.
    pub(crate) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Acquire)
    }
}

/// A write that is inside. It borrows the gate: a count of references would be one line of cache that all writers share.
pub(crate) struct Pass<'g> {
    gate: &'g Gate,
    slot: usize,
}

impl Pass<'_> {
    /// The write has this position and is only queued.
    pub(crate) fn queued(&self, position: Seq) {
        self.gate.slots[self.slot].queued.fetch_max(position.0, Ordering::Relaxed);
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.gate.leave(self.slot);
    }
}

/// A transaction that lives.
pub(crate) struct Live(Arc<Gate>);

impl Live {
    /// Ready when every write that was inside has left. What they queued reaches up to the position that this
    /// returns.
    pub(crate) async fn alone(&self) -> Seq {
        let mut left = [false; SLOTS];
        let mut look = move |gate: &Gate| {
            for (left, slot) in left.iter_mut().zip(&gate.slots) {
                *left |= slot.inside.load(Ordering::SeqCst) == 0;
            }
            left.iter().all(|left| *left)
        };
        poll_fn(|cx| {
            if look(&self.0) {
                return Poll::Ready(());
            }
            self.0.waiting.lock().push(cx.waker().clone());
            // Who left before he could see the waker is seen now.
            if look(&self.0) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let queued = self.0.slots.iter().map(|slot| slot.queued.load(Ordering::Relaxed));
        Seq(queued.max().unwrap_or(0))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The slot of this thread.
fn slot() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    crate::sync::thread_local! {
        static OWN: Cell<Option<usize>> = const { Cell::new(None) };
    }
    // A thread that is ending has no storage any more; any slot does.
    OWN.try_with(|own| {
        own.get().unwrap_or_else(|| {
            let slot = NEXT.fetch_add(1, Ordering::Relaxed) % SLOTS;
            own.set(Some(slot));
            slot
        })
    })
    .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::Context;

    #[test]
    fn a_gate_that_is_shut_stays_shut() {
        crate::sync::check(|| {
            let gate = Arc::new(Gate::default());
            let live = gate.live();
            gate.shut(&live);
            drop(live);
            assert!(gate.is_shut() && gate.enter().is_none());
        });
    }

    #[test]
    fn a_write_passes_or_a_transaction_waits_for_it() {
        crate::sync::check(|| {
            let gate = Arc::new(Gate::default());
            let pass = gate.enter().expect("nobody lives");
            let live = gate.live();
            assert!(gate.enter().is_none(), "a write that sees the transaction takes locks");
            {
                let mut alone = pin!(live.alone());
                let mut cx = Context::from_waker(Waker::noop());
                assert!(alone.as_mut().poll(&mut cx).is_pending());
                drop(pass);
                assert!(alone.as_mut().poll(&mut cx).is_ready());
            }
            drop(live);
            assert!(gate.enter().is_some());
        });
    }
}
