//! Writes a value file, front to back, once.
//!
//! As for tables: the key is used for this file only, each offset is sealed at once and once (R13),
//! and after any error the writer refuses everything.

use super::blob_path;
use super::format::{BlobFooter, BlobMeta, BlobPointer, PIECE_BYTES_MAX, encode_extent};
use crate::engine::lsm::table::format::{BlockHandle, BlockKind, compress_into, seal_block};
use crate::engine::lsm::table::writer::TableIdentity;
use crate::options::Compression;
use ringfort_base::limits::{BATCH_VALUE_BYTES_MAX, BLOCK_ON_DISK_BYTES_MAX, TAG_BYTES, VALUE_BYTES_MAX};
use ringfort_base::world::DiskFile;
use ringfort_base::{Error, ErrorKind, Result};
use ringfort_trust::{Sealer, Tag};
use std::sync::Arc;

/// Sealed values are handed to the disk in pieces of about this size, bytes.
const WRITE_PIECE_BYTES: usize = 512 << 10;

/// See the module.
pub struct BlobWriter {
    file: Arc<dyn DiskFile>,
    name: String,
    identity: TableIdentity,
    sealer: Sealer,
    codec: Compression,
    /// Sealed pieces that are not written yet; the first byte lies at `written` in the file.
    out: Vec<u8>,
    written: u64,
    index: Vec<u8>,
    values: u64,
    /// The value whose pieces are being added: where it began, its bytes so far, its codec.
    open: Option<(u64, u64, Compression)>,
    scratch: Vec<u8>,
    failed: bool,
}

impl BlobWriter {
    /// A writer into a new, empty file.
    #[must_use]
    pub fn new(file: Arc<dyn DiskFile>, identity: TableIdentity, codec: Compression) -> Self {
        Self {
            file,
            name: blob_path(identity.place.file),
            sealer: Sealer::new(identity.protection, &identity.key),
            identity,
            codec,
            out: Vec::with_capacity(WRITE_PIECE_BYTES + WRITE_PIECE_BYTES / 8),
            written: 0,
            index: Vec::new(),
            values: 0,
            open: None,
            scratch: Vec::new(),
            failed: false,
        }
    }

    /// Adds a value: where it will lie.
    ///
    /// # Errors
    /// `Internal` for an empty value or one above the limit; a disk error. The file is then lost.
    pub fn add(&mut self, value: &[u8]) -> Result<BlobPointer> {
        self.guarded(|w| {
            if value.is_empty() || value.len() > BATCH_VALUE_BYTES_MAX {
                return Err(w.internal("a value is empty or above its limit"));
            }
            let mut payload = std::mem::take(&mut w.scratch);
            payload.clear();
            let packed = w.codec != Compression::None && compress_into(value, w.codec, &mut payload);
            let codec = if packed { w.codec } else { Compression::None };
            let added = w.put_value(if packed { &payload } else { value }, codec);
            w.scratch = payload;
            added
        })
    }

    /// Adds a value whose payload is encoded already: what a collector moves, without unpacking it.
    ///
    /// # Errors
    /// As [`BlobWriter::add`].
    pub fn add_payload(&mut self, payload: &[u8], codec: Compression) -> Result<BlobPointer> {
        self.guarded(|w| w.put_value(payload, codec))
    }

    /// Adds the next piece of a value's payload: [`PIECE_BYTES_MAX`] long unless it is the last.
    ///
    /// # Errors
    /// As [`BlobWriter::add`].
    pub fn add_piece(&mut self, piece: &[u8], codec: Compression) -> Result<()> {
        self.guarded(|w| w.put_piece(piece, codec))
    }

    /// Ends the value whose pieces were added: where it lies.
    ///
    /// # Errors
    /// As [`BlobWriter::add`].
    pub fn end_value(&mut self) -> Result<BlobPointer> {
        self.guarded(Self::close_value)
    }

    /// Bytes of the values so far.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        self.written + self.out.len() as u64
    }

    /// Writes what remains and syncs the file. The directory is the caller's to sync.
    ///
    /// # Errors
    /// `Internal` if the file is empty; a disk error. The file is then to be removed.
    pub fn finish(mut self) -> Result<BlobMeta> {
        self.guarded(Self::finish_file)
    }

    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.failed {
            return Err(Error::new(ErrorKind::Stopped, format!("{} was given up after an error", self.name)));
        }
        let result = work(self);
        self.failed = result.is_err();
        result
    }

    fn put_value(&mut self, payload: &[u8], codec: Compression) -> Result<BlobPointer> {
        payload.chunks(PIECE_BYTES_MAX).try_for_each(|piece| self.put_piece(piece, codec))?;
        self.close_value()
    }

    fn close_value(&mut self) -> Result<BlobPointer> {
        let Some((offset, len, codec)) = self.open.take() else {
            return Err(self.internal("a value without pieces"));
        };
        // Below the index's own limit, so that a file that can be written can be read.
        if self.index.len() + 8 > BLOCK_ON_DISK_BYTES_MAX {
            return Err(self.internal("a value file has too many values"));
        }
        let pointer = BlobPointer { file: self.identity.place.file, offset, payload_len: len as u32, codec };
        debug_assert_eq!(pointer.end(), self.data_bytes());
        encode_extent(&mut self.index, pointer.payload_len, codec);
        self.values += 1;
        Ok(pointer)
    }

    /// The codec is the whole payload's, which a piece says without being decodable alone.
    fn put_piece(&mut self, bytes: &[u8], codec: Compression) -> Result<()> {
        let offset = self.data_bytes();
        let (begin, before, opened) = self.open.unwrap_or((offset, 0, codec));
        let len = before + bytes.len() as u64;
        let follows = before.is_multiple_of(PIECE_BYTES_MAX as u64) && opened == codec;
        if !follows || bytes.is_empty() || bytes.len() > PIECE_BYTES_MAX || len > VALUE_BYTES_MAX as u64 {
            return Err(self.internal("a piece of a value is out of place"));
        }
        self.open = Some((begin, len, codec));
        let piece = BlockHandle { offset, sealed_len: (bytes.len() + TAG_BYTES) as u32, codec };
        let from = self.out.len();
        self.out.extend_from_slice(bytes);
        let aad = piece.aad(self.identity.place, BlockKind::Value);
        self.sealer.seal(piece.nonce(), &aad, &mut self.out, from);
        self.write_if_full()
    }

    fn put_block(&mut self, kind: BlockKind, plain: &[u8]) -> Result<(BlockHandle, Tag)> {
        let at = (&mut self.out, self.written);
        let sealed = seal_block(&self.sealer, (self.identity.place, kind), plain, Compression::None, at);
        self.write_if_full().map(|()| sealed)
    }

    fn write_if_full(&mut self) -> Result<()> {
        if self.out.len() >= WRITE_PIECE_BYTES { self.write_out() } else { Ok(()) }
    }

    fn write_out(&mut self) -> Result<()> {
        self.file.write_at(&self.out, self.written).map_err(|e| Error::io("write", &self.name, &e))?;
        self.written += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }

    fn finish_file(&mut self) -> Result<BlobMeta> {
        if self.values == 0 || self.open.is_some() {
            return Err(self.internal("a value file without values, or with an unfinished one"));
        }
        let data_bytes = self.data_bytes();
        let index = std::mem::take(&mut self.index);
        let index = self.put_block(BlockKind::ValueIndex, &index)?.0;
        let footer = BlobFooter { index, values: self.values }.encode();
        let (footer, footer_tag) = self.put_block(BlockKind::ValueFooter, &footer)?;
        self.write_out()?;
        // Never "disk full, try again": what a failed sync lost, nobody knows (R11).
        let synced = self.file.sync();
        synced.map_err(|e| Error::io("sync", &self.name, &e).with_kind(ErrorKind::Io))?;
        Ok(BlobMeta {
            file: self.identity.place.file,
            file_bytes: self.written,
            protection: self.identity.protection,
            key: self.identity.key.clone(),
            footer,
            footer_tag,
            values: self.values,
            data_bytes,
            epoch: self.identity.epoch,
        })
    }

    fn internal(&self, why: &str) -> Error {
        Error::new(ErrorKind::Internal, format!("writing {}: {why}", self.name))
    }
}
