//! Large pages for large structures that are read at random: an address then costs one look into the
//! processor's page tables instead of several.
//!
//! A hint and no more: whether memory has it makes no difference but in time. So it is no part of the
//! boundary ([`crate::world`]) but a switch of the process, as its allocator is; where nobody turns it
//! on (in tests, in the simulator), nothing happens.

use std::mem::MaybeUninit;
use std::sync::OnceLock;

/// How a large page's memory is aligned, and how much it is, on the systems that matter.
pub const LARGE_PAGE_BYTES: usize = 2 << 20;

/// Asks the system for large pages under a piece of memory, whose contents stay as they are.
pub type Advise = fn(&mut [MaybeUninit<u8>]);

static ADVISE: OnceLock<Advise> = OnceLock::new();

/// From now on `advise` is asked for large pages. The first one stays.
pub fn advise_by(advise: Advise) {
    let _ = ADVISE.set(advise);
}

/// Asks for large pages under `memory`, if anybody was named to ask.
pub fn prefer_large_pages(memory: &mut [MaybeUninit<u8>]) {
    if let Some(advise) = ADVISE.get() {
        advise(memory);
    }
}
