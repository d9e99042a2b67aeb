//! [`StoredValue`]: a value on its way into a batch. A long one lies in a value file of its own, whole and
//! synced, that nothing names yet.
//!
//! ```text
//! writer ──▶ StoredValue ──▶ batch ──▶ position in the log
//!    └──────────┴──────────────┴── dropped here: the file is removed
//! ```
//! From the moment on at which its batch has a position the file may be named by the log, whatever the
//! caller hears: then only a flush, or the next open, may find that nobody needs it.

use super::format::{BlobMeta, LoneValue};
use super::reader::BlobFiles;
use ringfort_base::{FileNo, Result};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A value file that nothing names: it is removed when this is dropped, unless it was [kept](Self::keep).
pub(crate) struct Unnamed {
    files: Arc<BlobFiles>,
    file: FileNo,
    kept: AtomicBool,
}

impl Unnamed {
    pub(crate) const fn new(files: Arc<BlobFiles>, file: FileNo) -> Self {
        Self { files, file, kept: AtomicBool::new(false) }
    }

    /// The file may be named from now on; `false` if it was kept before.
    fn keep(&self) -> bool {
        !self.kept.swap(true, Ordering::AcqRel)
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if !*self.kept.get_mut() {
            self.files.discard(self.file);
        }
    }
}

/// A stored value that has a file.
pub(crate) struct Stored {
    unnamed: Unnamed,
    value: LoneValue,
}

impl Stored {
    pub(crate) const fn new(unnamed: Unnamed, meta: BlobMeta, payload_len: u32) -> Self {
        Self { unnamed, value: LoneValue { meta, payload_len } }
    }

    /// Whether it is of the life of the store whose files these are.
    pub(crate) fn is_of(&self, files: &Arc<BlobFiles>) -> bool {
        Arc::ptr_eq(&self.unnamed.files, files)
    }

    /// What the log says of it.
    pub(crate) const fn value(&self) -> &LoneValue {
        &self.value
    }

    /// Commits all of `values`, or none: each may be committed once, since each value has one pointer.
    ///
    /// # Errors
    /// `Invalid` if one was committed before, or is among them twice.
    pub(crate) fn keep_all(values: &[Arc<Self>]) -> Result<()> {
        for (at, value) in values.iter().enumerate() {
            if !value.unnamed.keep() {
                values[..at].iter().for_each(|kept| kept.unnamed.kept.store(false, Ordering::Release));
                let message =
                    "a stored value can be committed once: a copy of its batch was submitted before";
                return Err(ringfort_base::Error::invalid(message));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value of {} bytes in value file {}", self.value.payload_len, self.value.meta.file)
    }
}

/// A value that was written by the piece, for [`WriteBatch::put_stored`](crate::WriteBatch::put_stored).
/// Dropped without being committed, it leaves nothing behind.
#[derive(Debug)]
pub struct StoredValue(pub(crate) Place);

/// Where it is.
#[derive(Debug)]
pub(crate) enum Place {
    /// A short one: in memory.
    Memory(Vec<u8>),
    File(Arc<Stored>),
}

impl StoredValue {
    /// Its length, bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Place::Memory(bytes) => bytes.len(),
            Place::File(stored) => stored.value.payload_len as usize,
        }
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
