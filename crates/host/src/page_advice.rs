//! Advice to the system about large pieces of memory ([`ringfort_base::memory`]).

#![expect(unsafe_code, reason = "no safe wrapper of the call; the block states why it is sound")]

use ringfort_base::memory::Advisor;
use std::mem::MaybeUninit;

pub(crate) const ADVISOR: Advisor = Advisor { large_pages, release, trim };

#[cfg(target_os = "linux")]
fn large_pages(memory: &mut [MaybeUninit<u8>]) {
    advise(memory, rustix::mm::Advice::LinuxHugepage);
}

#[cfg(target_os = "linux")]
fn release(memory: &mut [MaybeUninit<u8>]) {
    advise(memory, rustix::mm::Advice::LinuxDontNeed);
}

#[cfg(target_os = "linux")]
fn advise(memory: &mut [MaybeUninit<u8>], advice: rustix::mm::Advice) {
    // SAFETY: the memory is the caller's alone for the time of the call. It may hold anything, so that
    // becoming zeros is no harm, and neither advice changes whether it may be used. It begins on a page
    // or is refused.
    let _ = unsafe { rustix::mm::madvise(memory.as_mut_ptr().cast(), memory.len(), advice) };
}

#[cfg(not(target_os = "linux"))]
fn large_pages(_: &mut [MaybeUninit<u8>]) {}

#[cfg(not(target_os = "linux"))]
fn release(_: &mut [MaybeUninit<u8>]) {}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() {
    unsafe extern "C" {
        fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    // SAFETY: glibc's own, callable at any time from any thread; it touches memory only that is free.
    let _ = unsafe { malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
