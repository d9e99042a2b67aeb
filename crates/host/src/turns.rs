//! How long a thread's turns on the processor are.
//!
//! A thread that everybody waits for works for a few microseconds, sleeps until the disk or the counter has
//! answered, and then stands behind all those runnable meanwhile: on a busy machine a sync of a quarter of a
//! millisecond takes a whole one. Linux 6.12 and later lets a thread ask for short turns
//! (`sched_setattr`, the runtime of a thread that is not real-time). It gets no larger share of the processor for
//! that, only smaller pieces of it, each sooner. Needs no privilege; a system that does not know it ignores it.

#![expect(unsafe_code, reason = "no safe wrapper of the calls; the block states why it is sound")]

/// The shortest that Linux grants.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
const SHORTEST_NANOS: u64 = 100_000;

/// What the calling thread is scheduled by, as Linux has it (`struct sched_attr`, its first version).
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#[repr(C)]
#[derive(Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Asks for short turns for the calling thread; whether that was taken.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn ask_for_short() -> bool {
    use std::ffi::{c_int, c_long, c_uint};
    #[cfg(target_arch = "x86_64")]
    const SET_GET: [c_long; 2] = [314, 315];
    #[cfg(target_arch = "aarch64")]
    const SET_GET: [c_long; 2] = [274, 275];
    /// Ordinary threads; what others ask for is not ours to change.
    const ORDINARY: u32 = 0;
    unsafe extern "C" {
        fn syscall(number: c_long, ...) -> c_long;
    }
    let size = size_of::<Attributes>() as c_uint;
    let this_thread: c_int = 0;
    let mut attributes = Attributes::default();
    // SAFETY: `syscall` is libc's own. The call writes at most `size` bytes to the attributes, which live for longer than
    // it and may hold any bits.
    let read = unsafe { syscall(SET_GET[1], this_thread, &raw mut attributes, size, 0 as c_uint) };
    if read != 0 || attributes.policy != ORDINARY {
        return false;
    }
    (attributes.size, attributes.runtime) = (size, SHORTEST_NANOS);
    // SAFETY: as above; the call reads `size` bytes of the attributes, which were all written.
    unsafe { syscall(SET_GET[0], this_thread, &raw const attributes, 0 as c_uint) == 0 }
}

/// Not known here.
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub(crate) fn ask_for_short() -> bool {
    false
}

#[cfg(all(test, target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_thread_may_ask_whatever_its_nice_is() {
        let nice = || {
            std::fs::read_to_string("/proc/thread-self/stat").map(|stat| {
                let behind_name = stat.rsplit(')').next().map(str::to_owned);
                behind_name.and_then(|rest| rest.split_whitespace().nth(16).map(str::to_owned))
            })
        };
        let asked = crate::door::spawn("asks", move || (nice().unwrap(), ask_for_short(), nice().unwrap()));
        let (before, granted, after) = asked.unwrap().join().unwrap();
        assert!(granted);
        assert_eq!(before, after, "its share is what it was");
    }
}
