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
use std::sync::atomic::{AtomicBool, Ordering};

/// What offset, length and memory are multiples of: all devices and file systems that matter take it.
const ALIGN: usize = 4096;
/// A longer read goes through the page cache, bytes.
const READ_BYTES_MAX: usize = 80 << 10;

/// A file that was opened to be read past the page cache.
pub(crate) struct Direct {
    fd: OwnedFd,
    refused: AtomicBool,
}

impl Direct {
    pub(crate) const fn new(fd: OwnedFd) -> Self {
        Self { fd, refused: AtomicBool::new(false) }
    }

    /// `len` bytes at `offset`, in `buf`; `None` if they are to be read through the page cache.
    pub(crate) fn read(&self, buf: &mut Vec<u8>, offset: u64, len: usize) -> Option<Result<()>> {
        if len > READ_BYTES_MAX || self.refused.load(Ordering::Relaxed) {
            return None;
        }
        let skip = (offset % ALIGN as u64) as usize;
        let whole = (skip + len).next_multiple_of(ALIGN);
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(READ_BYTES_MAX + 3 * ALIGN, 0);
            let aligned = scratch.as_ptr().align_offset(ALIGN);
            let memory = scratch.get_mut(aligned..aligned.checked_add(whole)?)?;
            let read = match retry_on_intr(|| rustix::io::pread(&self.fd, &mut *memory, offset - skip as u64))
            {
                Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                    self.refused.store(true, Ordering::Relaxed);
                    return None;
                }
                Err(e) => return Some(Err(e.into())),
                Ok(read) => read,
            };
            let found = memory.get(..read)?.get(skip..skip + len)?;
            buf.clear();
            buf.extend_from_slice(found);
            Some(Ok(()))
        })
    }
}

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}
