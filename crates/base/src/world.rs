//! # The boundary: everything outside the TEE
//!
//! The disk, the clock, the platform's devices and the source of random bytes are reached through
//! these traits only. So "what can the attacker do?" is answered by this file: whatever an
//! implementation of these traits may return. Three families implement them: `host` (Linux),
//! `fault` (in memory with crash semantics, failing, lying, attacking) and, later, the simulator.
//!
//! What comes back has the type [`Untrusted`]. An `Ok` is a claim as well: a sync that reports
//! success may have lied (the trusted counter finds that out at the next recovery), a listing may
//! be incomplete, a length wrong.

use crate::Untrusted;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// A directory tree of the host: the root of one volume.
///
/// Paths are relative, `/`-separated and made of plain names (no `..`, not absolute).
/// Implementations need no lock of their own: the store serialises what must be serialised.
pub trait Disk: Send + Sync {
    /// Creates a file that does not exist yet, for writing and reading. Fails with
    /// `AlreadyExists` if it does. The new name survives a power cut only after
    /// [`Disk::sync_dir`] of its directory.
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens an existing file for reading.
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// As [`Disk::open`], for a file that was written for good and whose reader keeps what it reads:
    /// the system need not keep a copy. Promises nothing else.
    fn open_uncached(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path)
    }

    /// The names in `dir` (`""` is the root), files and directories, unordered. The host chooses
    /// what to show.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// Creates a directory and its parents; fine if it exists.
    fn create_dir(&self, dir: &str) -> io::Result<()>;

    /// Replaces `to` by `from`, atomically. Durable after [`Disk::sync_dir`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Durable after [`Disk::sync_dir`].
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Makes creations, renames and removals in `dir` survive a power cut.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;

    /// Takes the advisory lock named `path` (a file that is created if needed), or fails with
    /// `WouldBlock` if another process holds it. Released when the guard drops or the process
    /// dies. A courtesy against mistakes, never a defence.
    fn lock(&self, path: &str) -> io::Result<Box<dyn DiskLock>>;

    /// As [`Disk::lock`], but waits. Only for critical sections of microseconds.
    fn lock_wait(&self, path: &str) -> io::Result<Box<dyn DiskLock>>;

    /// Where this is, for messages to people.
    fn describe(&self) -> String;
}

/// Held while an advisory lock is; see [`Disk::lock`].
pub trait DiskLock: Send + Sync {}

/// An open file.
#[expect(clippy::len_without_is_empty, reason = "a claim of the host is not something to branch on")]
pub trait DiskFile: Send + Sync {
    /// Reads up to `len` bytes at `offset` into `buf` (cleared first; its capacity is reused) and
    /// hands it back. Shorter only at the end of the file.
    fn read_at(&self, buf: Vec<u8>, offset: u64, len: usize) -> io::Result<Untrusted<Vec<u8>>>;

    /// Writes all of `data` at `offset`. On an error any part of it may have been written.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()>;

    /// Reserves space up to `len` bytes so that later writes change no metadata; the reserved part
    /// reads as zeros. A file system that cannot may do nothing.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// As [`DiskFile::allocate`], for a file that was just created and is now written in many small
    /// pieces, one behind the other: an implementation may prepare for that. What is written then is
    /// seen by who opens the file, also after the process was killed, but may be kept elsewhere until a
    /// sync. Such a file is not renamed.
    fn allocate_for_appends(&self, len: u64) -> io::Result<()> {
        self.allocate(len)
    }

    /// Hints that these bytes were written for good: the system may begin to write them to the medium,
    /// so that the next sync waits for less. Promises nothing.
    fn write_back(&self, _offset: u64, _len: u64) {}

    /// Cuts the file to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Makes all data written so far, and the length, survive a power cut.
    fn sync(&self) -> io::Result<()>;

    /// The length that the host claims.
    fn len(&self) -> io::Result<Untrusted<u64>>;
}

/// The host's clock.
pub trait Clock: Send + Sync {
    /// Time since the Unix epoch, as the host claims it (R20).
    fn wall(&self) -> Untrusted<Duration>;

    /// A clock for measuring and for timeouts; no safety may hang on it.
    fn monotonic(&self) -> Duration;
}

/// A source of random bytes. In production: the CPU's and the operating system's, mixed.
pub trait Entropy: Send + Sync {
    /// Fills `buf`. Failing to is fatal to the operation that asked.
    fn fill(&self, buf: &mut [u8]) -> io::Result<()>;

    /// Bits for a nonce, which need not be secret: drawn now, so that two machines that were resumed
    /// from one snapshot do not draw the same (R13). Kept nowhere before.
    fn fresh(&self) -> io::Result<[u8; 8]> {
        let mut bits = [0; 8];
        self.fill(&mut bits)?;
        Ok(bits)
    }
}

/// A piece of platform hardware that answers requests: a TPM, a security processor, or the
/// simulated platform's counter. The host sits on the bus: it may swallow or delay a request or
/// its reply.
pub trait Device: Send + Sync {
    /// Sends `request` and waits for the reply. After an error the outcome is unknown (R4).
    fn transact(&self, request: &[u8]) -> io::Result<Untrusted<Vec<u8>>>;
}

/// Checks a path as [`Disk`] demands it.
#[must_use]
pub fn is_plain_path(path: &str) -> bool {
    !path.is_empty()
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && !part.contains('\0'))
}
