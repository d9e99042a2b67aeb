//! Reads past the system's page cache.
//!
//! ```text
//! file     … | sector | sector | sector | …
//! asked for        [ block        )
//! read          [ aligned          )  ─▶ scratch of the thread ─▶ the caller's buffer
//! ```
//! Whoever keeps blocks in memory of his own gains nothing from a second copy in the page cache: it
//! takes memory that would hold other blocks, two whole pages for a block that touches them, and
//! processor time for the pages' coming and going. A system or file system that cannot do this says so
//! once; the file is then read as any other.
//!
//! Long reads are not for here: they are walks, which the page cache reads ahead of. Neither is the
//! word on where a file ends: what comes short is read again through the page cache.

use rustix::fd::OwnedFd;
use rustix::io::{Errno, retry_on_intr};
use std::cell::RefCell;
use std::io::Result;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What offset and length are multiples of, tried in this order: a sector of most devices, then what all
/// take. The less is read, the more reads a device does in a second.
const ALIGN: [usize; 2] = [512, 4096];
/// Where memory begins that is read into.
const ALIGN_MEMORY: usize = 4096;
/// A longer read goes through the page cache, bytes.
const READ_BYTES_MAX: usize = 80 << 10;
/// Room for the longest read, its alignment in the file and that in memory.
const SCRATCH_BYTES: usize = READ_BYTES_MAX + 2 * ALIGN[1] + ALIGN_MEMORY;

/// A file that was opened to be read past the page cache.
pub(crate) struct Direct {
    fd: OwnedFd,
    /// The place in [`ALIGN`] of what the file takes; behind its end: it takes nothing.
    align: AtomicUsize,
}

impl Direct {
    pub(crate) const fn new(fd: OwnedFd) -> Self {
        Self { fd, align: AtomicUsize::new(0) }
    }

    /// `len` bytes at `offset`, in `buf`; `None` if they are to be read through the page cache.
    pub(crate) fn read(&self, buf: &mut Vec<u8>, offset: u64, len: usize) -> Option<Result<()>> {
        if len > READ_BYTES_MAX {
            return None;
        }
        loop {
            let tried = self.align.load(Ordering::Relaxed);
            match self.read_aligned(buf, offset, len, *ALIGN.get(tried)?) {
                Ok(whole) => return whole.then_some(Ok(())),
                // Another thread may have found out as well.
                Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                    self.align.fetch_max(tried + 1, Ordering::Relaxed);
                }
                Err(e) => return Some(Err(e.into())),
            }
        }
    }

    /// Whether `buf` has all that was asked for.
    fn read_aligned(
        &self,
        buf: &mut Vec<u8>,
        offset: u64,
        len: usize,
        align: usize,
    ) -> std::result::Result<bool, Errno> {
        let skip = (offset % align as u64) as usize;
        let all = (skip + len).next_multiple_of(align);
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(SCRATCH_BYTES, 0);
            let from = scratch.as_ptr().align_offset(ALIGN_MEMORY);
            let Some(memory) = scratch.get_mut(from..).and_then(|rest| rest.get_mut(..all)) else {
                return Ok(false);
            };
            let read = retry_on_intr(|| rustix::io::pread(&self.fd, &mut *memory, offset - skip as u64))?;
            let Some(found) = memory.get(..read).and_then(|read| read.get(skip..skip + len)) else {
                return Ok(false);
            };
            buf.clear();
            buf.extend_from_slice(found);
            Ok(true)
        })
    }
}

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}
