//! Appending in small pieces without a call of the system for each: a file's newest bytes are kept in
//! a small mapped file beside it, its *tail*, and written in large pieces.
//!
//! ```text
//! 7.log       │ written │ 0 0 0 0 reserved …        7.log.tail  │ base u64 │ len u64 │ bytes …
//!                       ▲ base                                             (one page, then 32 KiB)
//! ```
//!
//! A call of the system for each record of a log costs several times what sealing it does. Storing into
//! a shared map costs a copy, and the page cache has the bytes then exactly as after a `write`: they
//! survive the end of the process, however it ends. Why not map the log itself: each of its pages would
//! be touched for the first time once, which costs more than the call does. What is written ends on a
//! boundary of the tail's size: the page cache can take large pages for it then, and it takes half of the
//! time that a piece from anywhere to anywhere does.
//!
//! Whoever opens the file later finds the tail and sees the file with it, without changing anything
//! ([`Overlay`]). A sync writes the tail's bytes into the file first. So a tail matters only after a
//! process was killed, and then only for what was not synced.
//!
//! - The map is only ever *written*; what goes into the file comes from a copy of our own. What a tail
//!   says is as untrusted as the file: the log's own seals and chain decide what it is worth.
//! - After a power cut the tail may hold anything. It never covers bytes of the file: it counts only if
//!   where it wants to lie there is a piece of itself (a write that was cut short), then zeros. What was
//!   synced is in the file and not zero, so it stands.
//! - Storing to a page that the file system cannot provide ends the process (SIGBUS). A full disk is
//!   ruled out by a reservation, on file systems that keep one ([`keeps_reservations`]); what is left is
//!   somebody who cuts the tail under us, and can as well kill us.
//!
//! # Invariants
//! 1. `len` bytes of the tail belong at `base` of the file, at any moment at which the process may end:
//!    bytes are stored before the `len` that counts them; `len` is 0 while `base` changes; and it becomes
//!    0 only after the bytes were written to the file.
//! 2. The map is `MAP_BYTES` long and its file is not cut by us.
//! 3. `base + len` is no multiple of `TAIL_BYTES`, and there is none between the two, unless `len` is 0.

#![expect(unsafe_code, reason = "maps a file and copies into the map; every block states why it is sound")]

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags};
use rustix::io::retry_on_intr;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};
use std::ffi::c_void;
use std::io::Result;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A tail is written into the file where that reaches a multiple of this. Larger pieces cost a little less
/// per byte, and the write that has to do it, one of thirty at 1 KiB, is late by more.
const TAIL_BYTES: usize = 32 << 10;
/// `base` and `len` have a page of their own.
const BYTES_AT: usize = 4096;
const MAP_BYTES: usize = BYTES_AT + TAIL_BYTES;
/// Bytes of `base` and `len`.
const HEADER_BYTES: usize = 16;

/// File systems on which reserved space is there when a page is written: ext4, XFS, tmpfs. Those that
/// copy on write, and those behind a network, cannot promise it.
const KEEPERS: [u64; 3] = [0xef53, 0x5846_5342, 0x0102_1994];

fn keeps_reservations(fd: &OwnedFd) -> bool {
    // The number is 32 bits in a field whose width and sign differ between systems.
    rustix::fs::fstatfs(fd).is_ok_and(|fs| KEEPERS.contains(&(fs.f_type as u64 & 0xffff_ffff)))
}

/// The name of a file's tail.
pub(crate) fn name(path: &str) -> String {
    format!("{path}.tail")
}

/// Removes the tail of a file, if there is one.
pub(crate) fn remove(root: &OwnedFd, path: &str) {
    // Without its file it means nothing, and a file that does not have one is the rule.
    let _ = rustix::fs::unlinkat(root, name(path), AtFlags::empty());
}

/// The tail of a file that is being written.
pub(crate) struct Tail(Mutex<State>);

struct State {
    map: Map,
    /// What the map says: where in the file `bytes` belong.
    base: u64,
    /// Our own copy of what the map holds.
    bytes: Vec<u8>,
    /// Up to where the file's space is reserved: the tail lies below.
    reserved: u64,
}

impl Tail {
    /// A tail for the file `path`, which has `reserved` bytes. `None` where the system or the file
    /// system does not provide for it: then the file is written as any other.
    pub(crate) fn create(root: &OwnedFd, path: &str, reserved: u64) -> Option<Self> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let fd = retry_on_intr(|| rustix::fs::openat(root, name(path), flags, mode)).ok()?;
        let map = keeps_reservations(&fd).then(|| Map::new(&fd)).flatten();
        if map.is_none() {
            remove(root, path);
        }
        let bytes = Vec::with_capacity(2 * TAIL_BYTES);
        map.map(|map| Self(Mutex::new(State { map, base: 0, bytes, reserved })))
    }

    /// Appends to the file by way of the tail. `write` writes into the file. After an error any part
    /// may have been written, and the tail still holds what it held.
    pub(crate) fn append(
        &self,
        data: &[u8],
        offset: u64,
        write: impl Fn(&[u8], u64) -> Result<()>,
    ) -> Result<()> {
        let mut state = self.state();
        let fits = data.len() <= TAIL_BYTES
            && offset.checked_add(data.len() as u64).is_some_and(|end| end <= state.reserved);
        if !fits || offset != state.base + state.bytes.len() as u64 {
            state.flush(&write)?;
            if !fits {
                return write(data, offset); // the tail is empty now, or this does not touch it
            }
            state.base = offset;
            state.map.set_base(offset);
        }
        // What lies behind the last boundary. The tail holds nothing from before one (invariant 3).
        let kept = ((offset + data.len() as u64) % TAIL_BYTES as u64) as usize;
        if kept >= data.len() {
            state.push(data);
            return Ok(());
        }
        // Up to it in one piece; the rest is the tail then.
        let (now, later) = data.split_at(data.len() - kept);
        let held = state.bytes.len();
        state.bytes.extend_from_slice(now);
        state.flush(&write).inspect_err(|_| state.bytes.truncate(held))?;
        state.push(later);
        Ok(())
    }

    /// Writes the tail into the file.
    pub(crate) fn flush(&self, write: impl Fn(&[u8], u64) -> Result<()>) -> Result<()> {
        self.state().flush(&write)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Adds to the tail.
    fn push(&mut self, data: &[u8]) {
        self.map.store(data, self.bytes.len());
        self.bytes.extend_from_slice(data);
        self.map.set_len(self.bytes.len());
    }

    fn flush(&mut self, write: &impl Fn(&[u8], u64) -> Result<()>) -> Result<()> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        write(&self.bytes, self.base)?;
        self.map.set_len(0);
        self.base += self.bytes.len() as u64;
        self.map.set_base(self.base);
        self.bytes.clear();
        Ok(())
    }
}

/// The mapped file.
struct Map(*mut c_void);

// SAFETY: the map belongs to this value alone and is not tied to the thread that made it.
unsafe impl Send for Map {}

impl Map {
    /// `None` if the system does not want to.
    fn new(fd: &OwnedFd) -> Option<Self> {
        retry_on_intr(|| rustix::fs::fallocate(fd, FallocateFlags::empty(), 0, MAP_BYTES as u64)).ok()?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new map at an address that the system chooses touches no memory of ours.
        let base = unsafe { mmap(null_mut(), MAP_BYTES, protection, MapFlags::SHARED, fd, 0) }.ok()?;
        let map = Self(base);
        // Page by page: without this a store to one would dirty its neighbours, to be written for nothing.
        // SAFETY: a hint about the map that was just made.
        let _ = unsafe { madvise(base, MAP_BYTES, Advice::Random) };
        Some(map)
    }

    /// Release: what it stands for was stored before.
    fn set_base(&mut self, base: u64) {
        self.word(0).store(base.to_le(), Ordering::Release);
    }

    /// Release: with the bytes that it counts.
    fn set_len(&mut self, len: usize) {
        self.word(1).store((len as u64).to_le(), Ordering::Release);
    }

    fn word(&self, nth: usize) -> &AtomicU64 {
        assert!(nth < HEADER_BYTES / 8, "the header has two words");
        // SAFETY: within the map (invariant 2), aligned since maps begin on a page, and only touched as an
        // atomic by this process; it lives as long as `self`.
        unsafe { AtomicU64::from_ptr(self.0.cast::<u64>().add(nth)) }
    }

    fn store(&mut self, data: &[u8], at: usize) {
        assert!(at <= TAIL_BYTES && data.len() <= TAIL_BYTES - at, "a tail ends at a boundary");
        // SAFETY: as just checked, all of it lies in the map behind the header (invariant 2); no reference
        // to those bytes exists, and `data` is the caller's memory, not the map.
        unsafe {
            let to = self.0.cast::<u8>().add(BYTES_AT + at);
            to.copy_from_nonoverlapping(data.as_ptr(), data.len());
        }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length, unmapped here only; nothing refers to it.
        // It cannot fail for a map as it was made, and there is nobody to tell.
        let _ = unsafe { munmap(self.0, MAP_BYTES) };
    }
}

/// What a process that was killed left in the tail of a file: seen by who reads the file, as if it had
/// been written.
pub(crate) struct Overlay {
    base: u64,
    bytes: Vec<u8>,
}

impl Overlay {
    /// The tail of the file `path`, if it has one that counts. `read` reads from the file.
    pub(crate) fn load(
        root: &OwnedFd,
        path: &str,
        read: impl Fn(u64, usize) -> Result<Vec<u8>>,
    ) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let fd = retry_on_intr(|| rustix::fs::openat(root, name(path), flags, Mode::empty())).ok()?;
        let mut tail = vec![0; MAP_BYTES];
        let mut filled = 0;
        while filled < MAP_BYTES {
            let rest = &mut tail[filled..];
            match retry_on_intr(|| rustix::io::pread(&fd, &mut *rest, filled as u64)).ok()? {
                0 => break,
                n => filled += n,
            }
        }
        let (base, bytes) = parse(&tail[..filled])?;
        let present = read(base, bytes.len()).ok()?;
        if !fits(bytes, &present) {
            return None;
        }
        Some(Self { base, bytes: bytes.to_vec() })
    }

    /// Puts its bytes where they belong in what was read from the file at `offset`.
    pub(crate) fn cover(&self, read: &mut [u8], offset: u64) {
        let (from, to) = (self.base.max(offset), (self.base + self.bytes.len() as u64));
        let to = to.min(offset.saturating_add(read.len() as u64));
        if from < to {
            let len = (to - from) as usize;
            let (at, of) = ((from - offset) as usize, (from - self.base) as usize);
            read[at..at + len].copy_from_slice(&self.bytes[of..of + len]);
        }
    }
}

/// Where a tail's bytes belong, and they; `None` if it has none or is none.
fn parse(tail: &[u8]) -> Option<(u64, &[u8])> {
    let (base, rest) = tail.split_first_chunk::<8>()?;
    let (base, len) = (u64::from_le_bytes(*base), u64::from_le_bytes(*rest.first_chunk::<8>()?));
    let bytes = tail.get(BYTES_AT..)?.get(..usize::try_from(len).ok()?)?;
    base.checked_add(len).filter(|_| len > 0).map(|_| (base, bytes))
}

/// Whether the file has, where the tail belongs, a beginning of it and then zeros.
fn fits(tail: &[u8], present: &[u8]) -> bool {
    let same = tail.iter().zip(present).take_while(|(ours, theirs)| ours == theirs).count();
    present.len() == tail.len() && present[same..].iter().all(|b| *b == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(base: u64, len: u64, bytes: &[u8]) -> Vec<u8> {
        let mut tail = vec![0; BYTES_AT];
        tail[..8].copy_from_slice(&base.to_le_bytes());
        tail[8..16].copy_from_slice(&len.to_le_bytes());
        tail.extend_from_slice(bytes);
        tail
    }

    #[test]
    fn a_tail_that_is_none_is_nothing() {
        assert_eq!(parse(&tail(7, 3, b"abcd")), Some((7, &b"abc"[..])));
        for bad in
            [tail(7, 0, b"abcd"), tail(7, 5, b"abcd"), tail(7, u64::MAX, b"abcd"), tail(u64::MAX, 2, b"ab")]
        {
            assert_eq!(parse(&bad), None);
        }
        let whole = tail(7, 3, b"abc");
        (0..whole.len()).for_each(|cut| assert_eq!(parse(&whole[..cut]), None));
    }

    #[test]
    fn a_tail_lies_only_over_its_own_beginning_and_zeros() {
        for (present, expected) in [
            (&b"\0\0\0\0"[..], true),
            (b"ab\0\0", true),
            (b"abcd", true),
            (b"abc", false), // the file ends before
            (b"ax\0\0", false),
            (b"\0\0\0d", false),
            (b"ab\0d", false),
        ] {
            assert_eq!(fits(b"abcd", present), expected, "{present:?}");
        }
    }

    #[test]
    fn covering_is_cut_to_what_was_read() {
        let overlay = Overlay { base: 10, bytes: b"abcd".to_vec() };
        for offset in 0..20_u64 {
            for len in 0..20_usize {
                let mut read = vec![b'.'; len];
                overlay.cover(&mut read, offset);
                let expected: Vec<u8> = (offset..offset + len as u64)
                    .map(|at| if (10..14).contains(&at) { b"abcd"[at as usize - 10] } else { b'.' })
                    .collect();
                assert_eq!(read, expected, "{len} bytes at {offset}");
            }
        }
        overlay.cover(&mut [1], u64::MAX);
    }
}
