//! What the system is told about large pieces of memory: that large pages would do them good (an
//! address then costs one look into the processor's page tables instead of several), and that they
//! are not needed any more (an allocator keeps what it is given back).
//!
//! Hints and no more: whether memory gets them makes no difference but in time and in what the
//! process takes. So they are no part of the boundary ([`crate::world`]) but a switch of the process,
//! as its allocator is; where nobody turns it on (in tests, in the simulator), nothing happens.

use std::mem::MaybeUninit;
use std::sync::OnceLock;

/// How a large page's memory is aligned, and how much it is, on the systems that matter.
pub const LARGE_PAGE_BYTES: usize = 2 << 20;

/// Who advises the system.
#[derive(Clone, Copy, Debug)]
pub struct Advisor {
    /// Asks for large pages under a piece of memory, whose contents stay as they are.
    pub large_pages: fn(&mut [MaybeUninit<u8>]),
    /// Gives back the pages under a piece of memory, whose contents are lost.
    pub release: fn(&mut [MaybeUninit<u8>]),
    /// Has the allocator give back what it holds and nobody uses.
    pub trim: fn(),
}

static ADVISOR: OnceLock<Advisor> = OnceLock::new();

/// From now on `advisor` is asked. The first one stays.
pub fn advise_by(advisor: Advisor) {
    let _ = ADVISOR.set(advisor);
}

/// Asks for large pages under `memory`, if anybody was named to ask.
pub fn prefer_large_pages(memory: &mut [MaybeUninit<u8>]) {
    if let Some(advisor) = ADVISOR.get() {
        (advisor.large_pages)(memory);
    }
}

/// Gives back the pages under `memory`, if anybody was named to ask; it can be used on, and holds
/// anything then.
pub fn release(memory: &mut [MaybeUninit<u8>]) {
    if let Some(advisor) = ADVISOR.get() {
        (advisor.release)(memory);
    }
}

/// Has the allocator give back what it holds and nobody uses, if anybody was named to ask: for after
/// work that took much memory for a while. It keeps memory for each thread that ever asked for some.
pub fn trim() {
    if let Some(advisor) = ADVISOR.get() {
        (advisor.trim)();
    }
}
