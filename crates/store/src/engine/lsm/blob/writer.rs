//! Writes a value file, front to back, once, through a [`SealedOutput`].

use super::blob_path;
use super::format::{BlobFooter, BlobMeta, BlobPointer, PIECE_BYTES_MAX, encode_extent};
use crate::engine::lsm::sealed_output::{FileIdentity, SealedOutput, Sealing};
use crate::engine::lsm::table::format::{BlockKind, compress_into};
use crate::options::Compression;
use ringfort_base::Result;
use ringfort_base::limits::{BATCH_VALUE_BYTES_MAX, BLOCK_ON_DISK_BYTES_MAX, VALUE_BYTES_MAX};
use ringfort_base::world::DiskFile;
use std::sync::Arc;

/// See the module.
pub struct BlobWriter {
    output: SealedOutput,
    codec: Compression,
    index: Vec<u8>,
    values: u64,
    scratch: Vec<u8>,
}

impl Sealing for BlobWriter {
    fn output(&mut self) -> &mut SealedOutput {
        &mut self.output
    }
}

impl BlobWriter {
    /// A writer into a new, empty file.
    #[must_use]
    pub fn new(file: Arc<dyn DiskFile>, identity: FileIdentity, codec: Compression) -> Self {
        let name = blob_path(identity.place.file);
        let output = SealedOutput::new(file, name, identity);
        Self { output, codec, index: Vec::new(), values: 0, scratch: Vec::new() }
    }

    /// Adds a value: where it will lie.
    ///
    /// # Errors
    /// `Internal` for an empty value or one above the limit; a disk error. The file is then lost.
    pub fn add(&mut self, value: &[u8]) -> Result<BlobPointer> {
        self.guarded(|w| {
            if value.len() > BATCH_VALUE_BYTES_MAX {
                return Err(w.output.internal("a value is above its limit"));
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

    /// Bytes of the values so far.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        self.output.end()
    }

    /// Writes what remains and syncs the file. The directory is the caller's to sync.
    ///
    /// # Errors
    /// `Internal` if the file is empty; a disk error. The file is then to be removed.
    pub fn finish(mut self) -> Result<BlobMeta> {
        self.guarded(Self::finish_file)
    }

    fn put_value(&mut self, payload: &[u8], codec: Compression) -> Result<BlobPointer> {
        let mut value = self.begin_value(codec)?;
        self.append(&mut value, payload)?;
        self.end_value(&value)?;
        Ok(value)
    }

    /// Where the next value will lie; nothing of it yet. This and the two calls that follow it are to be
    /// [guarded](Sealing::guarded).
    pub(crate) fn begin_value(&self, codec: Compression) -> Result<BlobPointer> {
        // Below the index's own limit, so that a file that can be written can be read.
        if self.index.len() + 8 > BLOCK_ON_DISK_BYTES_MAX {
            return Err(self.output.internal("a value file has too many values"));
        }
        let file = self.output.identity().place.file;
        Ok(BlobPointer { file, offset: self.output.end(), payload_len: 0, codec })
    }

    /// Adds to the payload of the value that was begun, in as many goes as is convenient: it is cut
    /// into the same pieces. Each says the codec of the whole without being decodable alone.
    pub(crate) fn append(&mut self, value: &mut BlobPointer, mut bytes: &[u8]) -> Result<()> {
        let payload_len = value.payload_len as usize + bytes.len();
        if payload_len > VALUE_BYTES_MAX {
            return Err(self.output.internal("a value is above its limit"));
        }
        value.payload_len = payload_len as u32;
        while !bytes.is_empty() {
            let room = PIECE_BYTES_MAX - self.output.open_bytes();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.output.open().extend_from_slice(now);
            if self.output.open_bytes() == PIECE_BYTES_MAX {
                self.output.seal(BlockKind::Value, value.codec)?;
            }
            bytes = later;
        }
        Ok(())
    }

    /// The value is complete.
    pub(crate) fn end_value(&mut self, value: &BlobPointer) -> Result<()> {
        if value.payload_len == 0 {
            return Err(self.output.internal("a value is empty"));
        }
        if self.output.open_bytes() > 0 {
            self.output.seal(BlockKind::Value, value.codec)?;
        }
        debug_assert_eq!(self.output.end(), value.end());
        encode_extent(&mut self.index, value.payload_len, value.codec);
        self.values += 1;
        Ok(())
    }

    fn finish_file(&mut self) -> Result<BlobMeta> {
        if self.values == 0 {
            return Err(self.output.internal("a value file without values"));
        }
        let data_bytes = self.data_bytes();
        let (index, _) = self.output.put_block(BlockKind::ValueIndex, Compression::None, &self.index)?;
        let footer = BlobFooter { index, values: self.values }.encode();
        let (footer, footer_tag) =
            self.output.put_block(BlockKind::ValueFooter, Compression::None, &footer)?;
        let file_bytes = self.output.finish()?;
        let FileIdentity { place, protection, key, epoch } = self.output.identity();
        Ok(BlobMeta {
            file: place.file,
            file_bytes,
            protection: *protection,
            key: key.clone(),
            footer,
            footer_tag,
            values: self.values,
            data_bytes,
            epoch: *epoch,
        })
    }
}
