//! [`SealedOutput`]: a file of sealed pieces, written front to back, once. Tables and value files
//! are written through it.
//!
//! ```text
//!  on disk                      buffer
//!  ├───────────────┬────────────┤
//!  │ sealed pieces │ sealed … ┊ open plaintext │
//!  0            written        end             └─▶ seal() makes it a piece
//! ```
//!
//! - *A piece is laid out where it is sealed and written from*: [`SealedOutput::open`] gives the end of
//!   the buffer, in as many goes as the caller likes, and [`SealedOutput::seal`] closes it. What is
//!   open never reaches the disk.
//! - *The key is used for this file only, and each offset is sealed once* (R13): offsets only rise, and
//!   after any error the file is given up: [`Sealing::guarded`] refuses everything from then on, so
//!   that file and key are abandoned, never written again.
//! - *The disk works along*: pieces go out in large writes, into space that was reserved ahead, and
//!   their write-back is begun at once, so that the sync at the end finds little left to do.

use crate::engine::lsm::table::format::{BlockHandle, BlockKind, Place, compress_into};
use crate::options::Compression;
use ringfort_base::limits::{BLOCK_ON_DISK_BYTES_MAX, TAG_BYTES};
use ringfort_base::world::DiskFile;
use ringfort_base::{Epoch, Error, ErrorKind, Result};
use ringfort_trust::keys::Secret;
use ringfort_trust::{Protection, Sealer, Tag};
use std::sync::Arc;

/// Sealed pieces are handed to the disk in writes of about this size, bytes.
const WRITE_BYTES: usize = 512 << 10;
/// Space is reserved this far ahead of what is written, bytes: writing into reserved space costs a
/// file system half as much as growing the file page by page. A file of one write reserves nothing.
const RESERVE_BYTES: u64 = 8 << 20;

/// Who a new file is, besides its content.
pub struct FileIdentity {
    /// Store and file number.
    pub place: Place,
    /// How its volume wants it protected.
    pub protection: Protection,
    /// A fresh random key, for this file alone.
    pub key: Secret<32>,
    /// The current key epoch.
    pub epoch: Epoch,
}

/// See the module.
pub(crate) struct SealedOutput {
    file: Arc<dyn DiskFile>,
    name: String,
    identity: FileIdentity,
    sealer: Sealer,
    /// What is not written yet; its first byte lies at `written` in the file.
    buffer: Vec<u8>,
    /// So much of the buffer is sealed; the rest is the open piece.
    sealed: usize,
    written: u64,
    /// The file has this much space, of which the rest is given back at the end.
    reserved: u64,
    failed: bool,
}

impl SealedOutput {
    /// Into a new, empty file.
    pub(crate) fn new(file: Arc<dyn DiskFile>, name: String, identity: FileIdentity) -> Self {
        Self {
            file,
            name,
            sealer: Sealer::new(identity.protection, &identity.key),
            identity,
            buffer: Vec::with_capacity(WRITE_BYTES + WRITE_BYTES / 8),
            sealed: 0,
            written: 0,
            reserved: 0,
            failed: false,
        }
    }

    pub(crate) const fn identity(&self) -> &FileIdentity {
        &self.identity
    }

    /// Where the open piece begins: behind all sealed ones.
    pub(crate) const fn end(&self) -> u64 {
        self.written + self.sealed as u64
    }

    /// Plaintext of the open piece so far, bytes.
    pub(crate) fn open_bytes(&self) -> usize {
        self.buffer.len() - self.sealed
    }

    /// The buffer that the open piece ends. It is for appending.
    pub(crate) const fn open(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Seals the open piece. The codec is what whoever reads its handle has to undo.
    pub(crate) fn seal(&mut self, kind: BlockKind, codec: Compression) -> Result<(BlockHandle, Tag)> {
        self.check_bytes(kind, self.open_bytes())?;
        let sealed_len = (self.open_bytes() + TAG_BYTES) as u32;
        let handle = BlockHandle { offset: self.end(), sealed_len, codec };
        let aad = handle.aad(self.identity.place, kind);
        let tag = self.sealer.seal(handle.nonce(), &aad, &mut self.buffer, self.sealed);
        self.sealed = self.buffer.len();
        if self.sealed >= WRITE_BYTES {
            self.write_ahead()?;
        }
        Ok((handle, tag))
    }

    /// A whole block at once, compressed if that is worth it.
    pub(crate) fn put_block(
        &mut self,
        kind: BlockKind,
        codec: Compression,
        plain: &[u8],
    ) -> Result<(BlockHandle, Tag)> {
        debug_assert_eq!(self.open_bytes(), 0, "a block is a piece of its own");
        self.check_bytes(kind, plain.len())?;
        let packed = compress_into(plain, codec, &mut self.buffer);
        self.seal(kind, if packed { codec } else { Compression::None })
    }

    /// Writes what remains and syncs the file, whose length it says. The directory is the caller's
    /// to sync.
    pub(crate) fn finish(&mut self) -> Result<u64> {
        debug_assert_eq!(self.open_bytes(), 0, "the last piece is sealed");
        self.write()?;
        if self.reserved > self.written {
            self.file.truncate(self.written).map_err(|e| Error::io("cut", &self.name, &e))?;
        }
        // Never "disk full, try again": what a failed sync lost, nobody knows (R11).
        let synced = self.file.sync();
        synced.map_err(|e| Error::io("sync", &self.name, &e).with_kind(ErrorKind::Io))?;
        Ok(self.written)
    }

    /// The caller of the writer, or this crate, broke a rule.
    pub(crate) fn internal(&self, why: impl std::fmt::Display) -> Error {
        Error::new(ErrorKind::Internal, format!("writing {}: {why}", self.name))
    }

    /// What is longer could be written and not be read.
    fn check_bytes(&self, kind: BlockKind, bytes: usize) -> Result<()> {
        if bytes <= BLOCK_ON_DISK_BYTES_MAX {
            return Ok(());
        }
        let (kind, name) = (kind.name(), &self.name);
        let what = format!("a {kind} of {bytes} bytes in {name}: at most {BLOCK_ON_DISK_BYTES_MAX}");
        Err(Error::new(ErrorKind::Exhausted, what))
    }

    fn write_ahead(&mut self) -> Result<()> {
        let (from, end) = (self.written, self.end());
        if end > self.reserved {
            let reserve = end + RESERVE_BYTES;
            self.file.allocate(reserve).map_err(|e| Error::io("reserve space for", &self.name, &e))?;
            self.reserved = reserve;
        }
        self.write()?;
        self.file.write_back(from, end - from);
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        debug_assert_eq!(self.open_bytes(), 0, "plaintext never reaches the disk");
        self.file.write_at(&self.buffer, self.written).map_err(|e| Error::io("write", &self.name, &e))?;
        self.written = self.end();
        self.buffer.clear();
        self.sealed = 0;
        Ok(())
    }
}

/// A writer that is given up after any error, of the disk or of its caller.
pub(crate) trait Sealing {
    fn output(&mut self) -> &mut SealedOutput;

    /// Does a piece of work unless one failed before.
    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let output = self.output();
        if output.failed {
            let what = format!("{} was given up after an error", output.name);
            return Err(Error::new(ErrorKind::Stopped, what));
        }
        let result = work(self);
        self.output().failed = result.is_err();
        result
    }
}
