//! What the small kernels that many threads meet in (frontiers, locks) synchronise with.
//!
//! They name it by this module, so that `tests/interleaving.rs` can compile the same source over
//! shuttle's primitives, which run threads one at a time in orders that it chooses.

pub(crate) use parking_lot::Mutex;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64};
pub(crate) use std::thread_local;

/// Runs a unit test's body; in `tests/interleaving.rs` under the scheduler.
#[cfg(test)]
pub(crate) fn check(body: impl Fn() + Send + Sync + 'static) {
    body();
}
