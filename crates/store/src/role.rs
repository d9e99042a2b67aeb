//! [`Role`]: who runs a kind of step at present.
//!
//! The store's core never waits (R22), so somebody has to sync, and somebody to advance the counter.
//! A thread that needs such a step and finds the role free takes it and runs the step itself: alone,
//! it pays no change of threads. A thread that finds it taken goes to sleep on its frontier. When the
//! one who holds the role gives it up and more is wanted by then, a worker is called, which keeps the
//! role for as long as there is work.
//!
//! ```text
//!   asker:   want raised ──► take: taken ──► sleep            holder:  give up ──► wanted? ──► call
//! ```
//!
//! Invariant: of an asker who finds the role taken and a holder who gives it up, at least one sees
//! the other. Either the asker's `take` comes before the release, and then the holder's question,
//! which comes after, sees what was wanted before the `take`; or the asker gets the role.

use crate::sync::AtomicU64;
use std::sync::atomic::{Ordering, fence};

/// Who holds a role.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Holder {
    /// A thread that runs one step for itself and whoever is covered by it.
    Caller = 1,
    /// The worker that stays for as long as there is work.
    Worker = 2,
}

/// One kind of step, run by one thread at a time.
#[derive(Default)]
pub struct Role(AtomicU64);

impl Role {
    /// Takes the role, unless somebody has it. What the taker wants must have been asked for before.
    #[must_use]
    pub fn take(&self, by: Holder) -> bool {
        fence(Ordering::SeqCst);
        self.0.compare_exchange(0, by as u64, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Gives the role up. The holder must look afterwards whether anything is wanted, and call a
    /// worker if so.
    pub fn give_up(&self) {
        self.0.store(0, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Whether new work needs a call: not while a caller has the role, who looks for it at the end.
    #[must_use]
    pub fn needs_call(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::SeqCst) != Holder::Caller as u64
    }
}
