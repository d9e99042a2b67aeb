//! What a value file looks like on disk, and what points into it.
//!
//! ```text
//! value   := piece*                     its payload, cut every 1 MiB; at least one piece
//! piece   := sealed as a table's block, kind 8, codec of the value; nonce = its offset
//! payload := as a table's block: plaintext, or its length u32 and it compressed
//! index   := (payload length varint | codec u8) × values, in the order of the file    kind 9
//! footer  := version u8 (1) | index handle | values varint                            kind 10
//! pointer := file varint | offset varint | payload length varint | codec u8           in a table
//! use     := file varint | values varint | bytes on disk varint            in a table's record
//! lone    := payload length varint | meta                                   in the log: kind 5
//! meta    := version u8 (1) | file varint | file bytes varint | protection u8 | key 32
//!          | footer handle | footer tag 16 | values varint | data bytes varint | epoch u32
//! ```
//!
//! The value of a file that holds nothing else, written before anything named it, is named by the log
//! alone until a flush: the log's entry has the file's record in it, and so all that reading takes.
//!
//! Values fill the file from its beginning without gaps, so the lengths in the index say where each
//! one lies. A pointer needs neither index nor footer: it says all that reading its value takes.

use crate::engine::lsm::table::format::BlockHandle;
use crate::options::Compression;
use ringfort_base::codec::{DecodeError, Reader, Write};
use ringfort_base::limits::{BATCH_VALUE_BYTES_MAX, RECORD_BYTES_MAX, TAG_BYTES, VALUE_BYTES_MAX};
use ringfort_base::{Epoch, FileNo};
use ringfort_trust::keys::Secret;
use ringfort_trust::{Protection, Tag};

/// Longest payload of one sealed piece, bytes: what is held twice while a large value is sealed or
/// opened.
pub const PIECE_BYTES_MAX: usize = RECORD_BYTES_MAX;
/// No encoded pointer is longer, bytes.
pub const POINTER_BYTES_MAX: usize = 10 + 10 + 5 + 1;

const META_VERSION: u8 = 1;
const FOOTER_VERSION: u8 = 1;

/// Where a value lies: what a table holds in its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlobPointer {
    /// The value file.
    pub file: FileNo,
    /// Where its first piece begins.
    pub offset: u64,
    /// Bytes of its payload.
    pub payload_len: u32,
    /// How its payload is encoded.
    pub codec: Compression,
}

impl BlobPointer {
    /// Appends the pointer.
    pub fn encode(&self, out: &mut impl Write) {
        out.put_varint(self.file.0);
        out.put_varint(self.offset);
        out.put_varint(u64::from(self.payload_len));
        out.put_u8(self.codec as u8);
    }

    /// Reads a pointer; nothing may follow.
    ///
    /// # Errors
    /// [`DecodeError`] if it is none, or a length that no value has.
    #[inline]
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let (file, offset) = (FileNo(r.varint()?), r.varint()?);
        let (payload_len, codec) = decode_extent(&mut r)?;
        r.finish()?;
        let pointer = Self { file, offset, payload_len, codec };
        if offset.checked_add(pointer.sealed_len()).is_none() {
            return Err(DecodeError::Limit);
        }
        Ok(pointer)
    }

    /// Bytes of the value on disk, tags included.
    #[must_use]
    pub const fn sealed_len(&self) -> u64 {
        let pieces = (self.payload_len as u64).div_ceil(PIECE_BYTES_MAX as u64);
        self.payload_len as u64 + pieces * TAG_BYTES as u64
    }

    /// Whether the value is longer than a batch may hold: nothing but a reader by the piece, and who
    /// asks for it whole, holds it.
    #[must_use]
    pub const fn is_long(&self) -> bool {
        self.payload_len as usize > BATCH_VALUE_BYTES_MAX
    }

    /// The first byte behind the value.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.offset + self.sealed_len()
    }

    /// Its pieces, in order.
    pub fn pieces(&self) -> impl Iterator<Item = BlockHandle> + use<> {
        let Self { offset, payload_len, codec, .. } = *self;
        let step = PIECE_BYTES_MAX as u32;
        (0..payload_len.div_ceil(step)).map(move |piece| {
            let len = step.min(payload_len - piece * step) + TAG_BYTES as u32;
            let at = u64::from(piece) * (PIECE_BYTES_MAX + TAG_BYTES) as u64;
            BlockHandle { offset: offset + at, sealed_len: len, codec }
        })
    }
}

fn decode_extent(r: &mut Reader<'_>) -> Result<(u32, Compression), DecodeError> {
    let payload_len = r.varint32()?;
    if payload_len == 0 || payload_len as usize > VALUE_BYTES_MAX {
        return Err(DecodeError::Limit);
    }
    let codec = match r.u8()? {
        0 => Compression::None,
        1 => Compression::Lz4,
        2 => Compression::Zstd,
        other => return Err(DecodeError::Variant(other)),
    };
    Ok((payload_len, codec))
}

/// Appends one value to the plaintext of a value index.
pub(crate) fn encode_extent(out: &mut Vec<u8>, payload_len: u32, codec: Compression) {
    out.put_varint(u64::from(payload_len));
    out.put_u8(codec as u8);
}

/// Reads a value index back: a pointer to every value of `file`, without gaps.
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode_index(bytes: &[u8], file: FileNo) -> Result<Vec<BlobPointer>, DecodeError> {
    let mut r = Reader::new(bytes);
    let (mut pointers, mut offset) = (Vec::new(), 0u64);
    while !r.is_empty() {
        let (payload_len, codec) = decode_extent(&mut r)?;
        let pointer = BlobPointer { file, offset, payload_len, codec };
        offset = offset.checked_add(pointer.sealed_len()).ok_or(DecodeError::Limit)?;
        pointers.push(pointer);
    }
    Ok(pointers)
}

/// The plaintext of a value file's footer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlobFooter {
    /// The value index.
    pub index: BlockHandle,
    /// Values in the file.
    pub values: u64,
}

impl BlobFooter {
    /// The footer's plaintext.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![FOOTER_VERSION];
        self.index.encode(&mut out);
        out.put_varint(self.values);
        out
    }

    /// Reads it back.
    ///
    /// # Errors
    /// [`DecodeError`] if it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let version = r.u8()?;
        if version != FOOTER_VERSION {
            return Err(DecodeError::Variant(version));
        }
        let footer = Self { index: BlockHandle::decode(&mut r)?, values: r.varint()? };
        r.finish().map(|()| footer)
    }
}

/// A value that has a file to itself, as the log names it before the MANIFEST does.
pub struct LoneValue {
    /// The file.
    pub meta: BlobMeta,
    /// Bytes of the value, which is not compressed.
    pub payload_len: u32,
}

impl LoneValue {
    /// No encoded one is longer, bytes.
    pub(crate) const ENCODED_BYTES_MAX: usize = 1 << 8;

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_varint(u64::from(self.payload_len));
        self.meta.encode(out);
    }

    /// Reads it; nothing may follow.
    ///
    /// # Errors
    /// [`DecodeError`] if it is none, or the file is not of this one value.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let lone = Self { payload_len: r.varint32()?, meta: BlobMeta::decode(&mut r)? };
        r.finish()?;
        let length_is_right = (1..=VALUE_BYTES_MAX).contains(&(lone.payload_len as usize))
            && lone.pointer().end() == lone.meta.data_bytes;
        if lone.meta.values != 1 || !length_is_right {
            return Err(DecodeError::Meaning("a value is not the only one of its file"));
        }
        Ok(lone)
    }

    /// Where the value lies.
    #[must_use]
    pub const fn pointer(&self) -> BlobPointer {
        let Self { meta, payload_len } = self;
        BlobPointer { file: meta.file, offset: 0, payload_len: *payload_len, codec: Compression::None }
    }
}

/// How much of a value file a table points to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlobUse {
    /// The value file.
    pub file: FileNo,
    /// Values.
    pub values: u64,
    /// Their bytes on disk.
    pub bytes: u64,
}

/// Appends what a table points to.
pub(crate) fn encode_uses(out: &mut Vec<u8>, uses: &[BlobUse]) {
    out.put_varint(uses.len() as u64);
    for BlobUse { file, values, bytes } in uses {
        out.put_varint(file.0);
        out.put_varint(*values);
        out.put_varint(*bytes);
    }
}

/// Reads it back: at least one file, in ascending order, each with at least one value.
pub(crate) fn decode_uses(r: &mut Reader<'_>) -> Result<Vec<BlobUse>, DecodeError> {
    let count = r.varint()?;
    let mut uses: Vec<BlobUse> = Vec::new();
    for _ in 0..count {
        let next = BlobUse { file: FileNo(r.varint()?), values: r.varint()?, bytes: r.varint()? };
        let ascends = uses.last().is_none_or(|last| last.file < next.file);
        if !ascends || next.values == 0 || next.bytes <= next.values.saturating_mul(TAG_BYTES as u64) {
            return Err(DecodeError::Meaning("a table's value files contradict each other"));
        }
        uses.push(next);
    }
    if uses.is_empty() {
        Err(DecodeError::Meaning("a table's list of value files is empty"))
    } else {
        Ok(uses)
    }
}

/// A value file's record in the MANIFEST. It holds the file's key: it is written sealed, never shown.
#[derive(Clone, PartialEq)]
pub struct BlobMeta {
    /// The file.
    pub file: FileNo,
    /// Its length.
    pub file_bytes: u64,
    /// How its pieces are protected (R16).
    pub protection: Protection,
    /// The file's own random key.
    pub key: Secret<32>,
    /// Where the footer lies: the end of the file.
    pub footer: BlockHandle,
    /// The footer's tag.
    pub footer_tag: Tag,
    /// Values in the file.
    pub values: u64,
    /// Bytes of all values on disk: where the index begins.
    pub data_bytes: u64,
    /// The key epoch in which the file was written (R14).
    pub epoch: Epoch,
}

impl BlobMeta {
    /// Appends the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(META_VERSION);
        out.put_varint(self.file.0);
        out.put_varint(self.file_bytes);
        out.put_u8(self.protection.code());
        out.put(self.key.expose_for_sealing());
        self.footer.encode(out);
        out.put(&self.footer_tag.0);
        out.put_varint(self.values);
        out.put_varint(self.data_bytes);
        out.put_u32(self.epoch.0);
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`DecodeError`] if it is none or contradicts itself.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = r.u8()?;
        if version != META_VERSION {
            return Err(DecodeError::Variant(version));
        }
        let (file, file_bytes, code) = (FileNo(r.varint()?), r.varint()?, r.u8()?);
        let meta = Self {
            file,
            file_bytes,
            protection: Protection::from_code(code).ok_or(DecodeError::Variant(code))?,
            key: Secret::from_verified(r.array()?),
            footer: BlockHandle::decode(r)?,
            footer_tag: Tag(r.array()?),
            values: r.varint()?,
            data_bytes: r.varint()?,
            epoch: Epoch(r.u32()?),
        };
        if meta.footer.end() != meta.file_bytes || meta.data_bytes >= meta.footer.offset {
            return Err(DecodeError::Meaning("a value file's footer is not at its end"));
        }
        if meta.values == 0 || meta.data_bytes <= meta.values.saturating_mul(TAG_BYTES as u64) {
            return Err(DecodeError::Meaning("a value file's counts contradict each other"));
        }
        Ok(meta)
    }
}
