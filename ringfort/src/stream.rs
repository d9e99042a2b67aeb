//! Values by the piece: up to 512 MiB, written and read without ever being held whole.
//!
//! A batch holds its values, up to 64 MiB each. What is longer, or comes from a file or a socket, goes
//! through a [`ValueWriter`] to a file of its own, sealed as it comes, and then into a batch like any
//! value: the batch shows all of it or nothing. A value that is given up on the way leaves nothing.
//!
//! ```
//! use std::io::{Read, Write};
//!
//! # fn main() -> ringfort::Result<()> {
//! let db = ringfort::Db::open_temporary()?;
//! // From anything that can be read, in one call ...
//! db.put_from("disk image", std::io::repeat(7).take(3 << 20))?;
//! // ... or by hand, into a batch with other writes.
//! let mut writer = db.value_writer();
//! for n in 0..200_000u32 {
//!     writer.write(&n.to_le_bytes())?;
//! }
//! let mut batch = ringfort::WriteBatch::new();
//! batch.put_stored(db.default_keyspace().id(), "numbers", writer.finish()?);
//! batch.put(db.default_keyspace().id(), "numbers/count", "200000");
//! db.write(batch)?;
//!
//! let mut numbers = db.reader("numbers")?.expect("it was just written");
//! assert_eq!(numbers.len(), 800_000);
//! assert_eq!(numbers.read_at(4 * 1000)?[..4], 1000u32.to_le_bytes());
//! # Ok(())
//! # }
//! ```

use crate::db::Shared;
use crate::{Error, Result};
use ringfort_store::StoredValue;
use std::io;
use std::sync::Arc;

/// What [`ValueWriter::write_from`] reads at a time, bytes.
const BUFFER_BYTES: usize = 256 << 10;

/// Writes one value by the piece; see the [module](self). It keeps the store open.
pub struct ValueWriter {
    inner: ringfort_store::ValueWriter,
    _shared: Arc<Shared>,
}

impl ValueWriter {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self { inner: shared.pump.store.value_writer(), _shared: Arc::clone(shared) }
    }

    /// Bytes so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.inner.len()
    }

    /// Whether nothing was written so far.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// Writes the next bytes of the value. After an error the value is to be given up: drop the writer.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.inner.write(bytes.as_ref())
    }

    /// Writes all that `source` has; how many bytes that were.
    pub fn write_from(&mut self, mut source: impl io::Read) -> Result<u64> {
        let (mut buffer, mut bytes) = (vec![0; BUFFER_BYTES], 0);
        loop {
            let read = match source.read(&mut buffer) {
                Ok(0) => return Ok(bytes),
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::io("read", "the source of a value", &e)),
            };
            self.inner.write(buffer.get(..read).unwrap_or_default())?;
            bytes += read as u64;
        }
    }

    /// Ends the value, and syncs what a long one wrote: what [`WriteBatch::put_stored`] takes.
    ///
    /// [`WriteBatch::put_stored`]: crate::WriteBatch::put_stored
    pub fn finish(self) -> Result<StoredValue> {
        self.inner.finish()
    }
}

impl io::Write for ValueWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads one value by the piece; every piece is verified before a byte of it is shown. It shows the value
/// as it was when the reader was opened, and keeps its file for that: do not keep it long.
pub struct ValueReader {
    inner: ringfort_store::ValueReader,
    /// Where [`io::Read`] goes on.
    at: usize,
    _shared: Arc<Shared>,
}

impl ValueReader {
    pub(crate) fn new(inner: ringfort_store::ValueReader, shared: &Arc<Shared>) -> Self {
        Self { inner, at: 0, _shared: Arc::clone(shared) }
    }

    /// The value's length, bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.len()
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// Bytes of the value from `offset` on: as many as are at hand there, and none only behind the end.
    pub fn read_at(&mut self, offset: usize) -> Result<&[u8]> {
        self.inner.read_at(offset)
    }
}

impl io::Read for ValueReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read_at(self.at).map_err(io::Error::other)?;
        let len = bytes.len().min(buf.len());
        buf[..len].copy_from_slice(&bytes[..len]);
        self.at += len;
        Ok(len)
    }
}

impl io::Seek for ValueReader {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let (base, by) = match to {
            io::SeekFrom::Start(at) => (0, i64::try_from(at).ok()),
            io::SeekFrom::End(by) => (self.len(), Some(by)),
            io::SeekFrom::Current(by) => (self.at, Some(by)),
        };
        let at = by.and_then(|by| (base as i64).checked_add(by)).and_then(|at| usize::try_from(at).ok());
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at as u64)
    }
}
