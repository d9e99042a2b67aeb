//! Large pages under memory that asks for them ([`ringfort_base::memory`]).

#![expect(unsafe_code, reason = "no safe wrapper of the call; the block states why it is sound")]

use std::mem::MaybeUninit;

/// Asks for large pages under the part of `memory` that can have them.
pub(crate) fn advise(memory: &mut [MaybeUninit<u8>]) {
    #[cfg(target_os = "linux")]
    {
        use rustix::mm::{Advice, madvise};
        // SAFETY: the memory is the caller's alone for the time of the call, and this advice changes
        // neither what is in it nor whether it may be used. It begins on a page or is refused.
        let _ = unsafe { madvise(memory.as_mut_ptr().cast(), memory.len(), Advice::LinuxHugepage) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}
