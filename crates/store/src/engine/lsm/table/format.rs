//! What a table's blocks look like on disk: handles, seals, compression, the footer.
//!
//! ```text
//! block on disk := sealed( payload ) | tag 16
//! payload       := plaintext                                          codec 0
//!                | length of the plaintext u32 | compressed plaintext codec 1 (LZ4), 2 (Zstandard)
//! nonce         := offset u64 | 0 u32          the one counter over all kinds: offsets only rise
//! AAD           := store id 16 | file no u64 | kind u8 | offset u64 | sealed length u32 | codec u8
//! handle        := offset varint | sealed length varint | codec u8
//! partition     := handle of an index partition | 0 or (1 | handle of its filter)
//! footer        := version u8 (1) | flags u8 | properties handle | index handle
//!                | [filter handle] | [tombstones handle]
//!                | entries varint | deletes varint | range tombstones varint
//! ```
//!
//! Codec and length stand in the handle, which lies in a block verified before; so what a block's
//! bytes are taken for is never decided by the block itself.

use crate::engine::lsm::buffers::Buffers;
use crate::options::Compression;
use ringfort_base::codec::{DecodeError, Reader, Write};
use ringfort_base::limits::{BLOCK_ON_DISK_BYTES_MAX, TAG_BYTES};
use ringfort_base::world::DiskFile;
use ringfort_base::{Error, EvidenceKind, FileNo, Result, StoreId, Untrusted};
use ringfort_trust::{Sealer, Tag, Verified};
use std::cell::RefCell;

/// Compression that saves less than this share of a block is not worth its opening.
const WORTH_SAVING_PERCENT: usize = 12;
const ZSTD_LEVEL: i32 = 3;
const LENGTH_BYTES: usize = 4;
const FOOTER_VERSION: u8 = 1;
const AAD_BYTES: usize = 38;

/// The kinds of blocks. The numbers are part of every block's associated data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum BlockKind {
    /// Point entries.
    Data = 1,
    /// Range tombstones.
    Tombstones = 2,
    /// A filter, or one partition of it.
    Filter = 3,
    /// An index of data blocks, or one partition of it.
    Index = 4,
    /// The index of index partitions.
    TopIndex = 5,
    /// Properties.
    Properties = 6,
    /// The footer.
    Footer = 7,
    /// A value, or a piece of one, in a value file.
    Value = 8,
    /// The lengths of a value file's values.
    ValueIndex = 9,
    /// A value file's footer.
    ValueFooter = 10,
}

impl BlockKind {
    /// The word for messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Data => "data block",
            Self::Tombstones => "tombstone block",
            Self::Filter => "filter",
            Self::Index => "index",
            Self::TopIndex => "top index",
            Self::Properties => "properties",
            Self::Footer => "footer",
            Self::Value => "value",
            Self::ValueIndex => "value index",
            Self::ValueFooter => "value file's footer",
        }
    }
}

/// Which file of which store a block belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The store.
    pub store: StoreId,
    /// The file.
    pub file: FileNo,
}

/// Where a block lies and how it is encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockHandle {
    /// Its first byte.
    pub offset: u64,
    /// Its length on disk, tag included.
    pub sealed_len: u32,
    /// How its payload is encoded.
    pub codec: Compression,
}

impl BlockHandle {
    /// The first byte behind the block.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.offset.saturating_add(self.sealed_len as u64)
    }

    /// Appends the handle.
    pub fn encode(&self, out: &mut impl Write) {
        out.put_varint(self.offset);
        out.put_varint(u64::from(self.sealed_len));
        out.put_u8(self.codec as u8);
    }

    /// Reads a handle.
    ///
    /// # Errors
    /// [`DecodeError`] if it is none, or its length is one that no block has.
    #[inline]
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let offset = reader.varint()?;
        let sealed_len = reader.varint32()?;
        if (sealed_len as usize) < TAG_BYTES || sealed_len as usize > BLOCK_ON_DISK_BYTES_MAX + TAG_BYTES {
            return Err(DecodeError::Limit);
        }
        let codec = match reader.u8()? {
            0 => Compression::None,
            1 => Compression::Lz4,
            2 => Compression::Zstd,
            other => return Err(DecodeError::Variant(other)),
        };
        Ok(Self { offset, sealed_len, codec })
    }

    pub(crate) fn nonce(&self) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&self.offset.to_le_bytes());
        nonce
    }

    pub(crate) fn aad(&self, place: Place, kind: BlockKind) -> [u8; AAD_BYTES] {
        let mut aad = [0; AAD_BYTES];
        aad[..16].copy_from_slice(&place.store.0);
        aad[16..24].copy_from_slice(&place.file.0.to_le_bytes());
        aad[24] = kind as u8;
        aad[25..33].copy_from_slice(&self.offset.to_le_bytes());
        aad[33..37].copy_from_slice(&self.sealed_len.to_le_bytes());
        aad[37] = self.codec as u8;
        aad
    }
}

/// What a top index entry points to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartitionHandles {
    /// The index partition.
    pub index: BlockHandle,
    /// The filter over the same keys, if the table has filters.
    pub filter: Option<BlockHandle>,
}

impl PartitionHandles {
    /// Appends both.
    pub fn encode(&self, out: &mut impl Write) {
        self.index.encode(out);
        out.put_bool(self.filter.is_some());
        if let Some(filter) = &self.filter {
            filter.encode(out);
        }
    }

    /// Reads both; nothing may follow.
    ///
    /// # Errors
    /// [`DecodeError`] if they are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let index = BlockHandle::decode(&mut reader)?;
        let filter = if reader.bool()? { Some(BlockHandle::decode(&mut reader)?) } else { None };
        reader.finish()?;
        Ok(Self { index, filter })
    }
}

/// The plaintext of a block: verified, decompressed. Only this module makes one.
pub struct Plain(Vec<u8>);

impl Plain {
    /// Decodes a verified payload.
    fn decode(
        payload: Verified<Vec<u8>>,
        codec: Compression,
        buffers: &Buffers,
    ) -> Result<Self, DecodeError> {
        decompress(payload.into_inner(), codec, buffers).map(Self)
    }

    /// Takes the bytes out.
    pub(in crate::engine::lsm) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// For tests and fuzzing, which start behind the seal.
    #[doc(hidden)]
    #[must_use]
    pub const fn pretend(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

/// A table's open file with what verifies it.
pub(crate) struct SealedFile {
    pub(crate) file: std::sync::Arc<dyn DiskFile>,
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) sealer: Sealer,
    pub(crate) buffers: std::sync::Arc<Buffers>,
}

impl SealedFile {
    /// Reads, verifies and decodes a block.
    pub(crate) fn open_block(&self, kind: BlockKind, handle: &BlockHandle) -> Result<Plain> {
        let len = handle.sealed_len as usize;
        let sealed = self.read(self.buffers.take(len), handle.offset, len)?;
        self.open_read(kind, handle, sealed)
    }

    /// Up to `len` bytes at `offset`, in `buf`; fewer only at the end of the file.
    pub(crate) fn read(&self, buf: Vec<u8>, offset: u64, len: usize) -> Result<Untrusted<Vec<u8>>> {
        self.file.read_at(buf, offset, len).map_err(|e| Error::io("read", &self.name, &e))
    }

    /// Verifies and decodes a block that was read.
    pub(crate) fn open_read(
        &self,
        kind: BlockKind,
        handle: &BlockHandle,
        sealed: Untrusted<Vec<u8>>,
    ) -> Result<Plain> {
        let payload = self.open_sealed(kind, handle, sealed)?;
        Plain::decode(payload, handle.codec, &self.buffers).map_err(|e| self.inconsistent(kind, handle, e))
    }

    /// Verifies a block that was read: its payload.
    pub(crate) fn open_sealed(
        &self,
        kind: BlockKind,
        handle: &BlockHandle,
        sealed: Untrusted<Vec<u8>>,
    ) -> Result<Verified<Vec<u8>>> {
        let len = handle.sealed_len as usize;
        if sealed.len() < len {
            let detail = format!("the {} ends after {} of {len} bytes", kind.name(), sealed.len());
            return Err(Error::evidence(EvidenceKind::Truncated, &self.name, handle.offset, detail));
        }
        self.sealer
            .open(handle.nonce(), &handle.aad(self.place, kind), sealed)
            .map_err(|_| self.bad_seal(kind, handle, "does not verify"))
    }

    /// Opens a footer and proves that it is the one whose tag the MANIFEST holds.
    pub(crate) fn open_footer<F>(
        &self,
        kind: BlockKind,
        (handle, tag): (&BlockHandle, Tag),
        decode: impl FnOnce(&[u8]) -> Result<F, DecodeError>,
    ) -> Result<F> {
        let mut plain = self.open_block(kind, handle)?.into_bytes();
        let footer = decode(&plain);
        // Sealing is a function of key, nonce and plaintext: the same footer has the same tag. The
        // result is compared and forgotten; the nonce meets no second plaintext.
        if self.sealer.seal(handle.nonce(), &handle.aad(self.place, kind), &mut plain, 0) != tag {
            return Err(self.bad_seal(kind, handle, "is not the one that the MANIFEST names"));
        }
        footer.map_err(|e| self.inconsistent(kind, handle, e))
    }

    fn bad_seal(&self, kind: BlockKind, handle: &BlockHandle, what: &str) -> Error {
        let detail = format!("the seal of the {} {what}", kind.name());
        Error::evidence(EvidenceKind::BadSeal, &self.name, handle.offset, detail)
    }

    /// Verified bytes that contradict themselves or the MANIFEST.
    pub(crate) fn inconsistent(
        &self,
        kind: BlockKind,
        handle: &BlockHandle,
        why: impl std::fmt::Display,
    ) -> Error {
        let detail = format!("{}: {why}", kind.name());
        Error::evidence(EvidenceKind::Inconsistent, &self.name, handle.offset, detail)
    }
}

/// Appends the payload to `out`; `true` if it is compressed.
pub(in crate::engine::lsm) fn compress_into(plain: &[u8], codec: Compression, out: &mut Vec<u8>) -> bool {
    let worth = plain.len() - plain.len() * WORTH_SAVING_PERCENT / 100;
    let compressed = match codec {
        Compression::None => None,
        Compression::Lz4 => Some(lz4_flex::block::compress(plain)),
        Compression::Zstd => ZSTD.with_borrow_mut(|zstd| zstd.compress(plain)),
    };
    match compressed {
        Some(smaller) if smaller.len() + LENGTH_BYTES <= worth => {
            out.put_u32(plain.len() as u32);
            out.put(&smaller);
            true
        }
        _ => {
            out.put(plain);
            false
        }
    }
}

pub(in crate::engine::lsm) fn decompress(
    payload: Vec<u8>,
    codec: Compression,
    buffers: &Buffers,
) -> Result<Vec<u8>, DecodeError> {
    const BROKEN: DecodeError = DecodeError::Meaning("the payload does not decompress to its length");
    if codec == Compression::None {
        return Ok(payload);
    }
    let (len, packed) = payload.split_first_chunk::<LENGTH_BYTES>().ok_or(DecodeError::Short)?;
    let len = u32::from_le_bytes(*len) as usize;
    if len > BLOCK_ON_DISK_BYTES_MAX {
        return Err(DecodeError::Limit);
    }
    let mut plain = buffers.take(len);
    let sound = match codec {
        Compression::Zstd => ZSTD.with_borrow_mut(|zstd| zstd.decompress_into(packed, &mut plain)),
        _ => {
            plain.resize(len, 0);
            lz4_flex::block::decompress_into(packed, &mut plain).is_ok_and(|got| got == len)
        }
    };
    buffers.give(payload);
    if sound && plain.len() == len { Ok(plain) } else { Err(BROKEN) }
}

thread_local! {
    /// Zstandard's contexts are large: one pair per thread, made when first needed.
    static ZSTD: RefCell<Zstd> = const { RefCell::new(Zstd { compressor: None, decompressor: None }) };
}

struct Zstd {
    compressor: Option<zstd::bulk::Compressor<'static>>,
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
}

impl Zstd {
    /// `None`: not compressed, which is always allowed.
    fn compress(&mut self, plain: &[u8]) -> Option<Vec<u8>> {
        if self.compressor.is_none() {
            self.compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL).ok();
        }
        self.compressor.as_mut()?.compress(plain).ok()
    }

    /// Fills `plain` up to its capacity at most; `false`: it does not decompress.
    fn decompress_into(&mut self, packed: &[u8], plain: &mut Vec<u8>) -> bool {
        if self.decompressor.is_none() {
            self.decompressor = zstd::bulk::Decompressor::new().ok();
        }
        self.decompressor.as_mut().is_some_and(|zstd| zstd.decompress_to_buffer(packed, plain).is_ok())
    }
}

/// The plaintext of the footer: the root of the table's blocks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Footer {
    /// Whether `index` is a top index over partitions.
    pub partitioned: bool,
    /// The properties.
    pub properties: BlockHandle,
    /// The index or top index.
    pub index: BlockHandle,
    /// The filter of a table that is not partitioned.
    pub filter: Option<BlockHandle>,
    /// The range tombstones.
    pub tombstones: Option<BlockHandle>,
    /// Point entries.
    pub entries: u64,
    /// Deletions among them.
    pub deletes: u64,
    /// Range tombstones (one per fragment and sequence number).
    pub range_tombstones: u64,
}

const PARTITIONED: u8 = 1;
const HAS_FILTER: u8 = 2;
const HAS_TOMBSTONES: u8 = 4;

impl Footer {
    /// The footer's plaintext.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![FOOTER_VERSION];
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        out.put_u8(
            flag(self.partitioned, PARTITIONED)
                | flag(self.filter.is_some(), HAS_FILTER)
                | flag(self.tombstones.is_some(), HAS_TOMBSTONES),
        );
        self.properties.encode(&mut out);
        self.index.encode(&mut out);
        self.filter.iter().chain(&self.tombstones).for_each(|handle| handle.encode(&mut out));
        out.put_varint(self.entries);
        out.put_varint(self.deletes);
        out.put_varint(self.range_tombstones);
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
        let flags = r.u8()?;
        if flags & !(PARTITIONED | HAS_FILTER | HAS_TOMBSTONES) != 0 {
            return Err(DecodeError::Variant(flags));
        }
        let optional = |r: &mut Reader<'_>, bit| {
            if flags & bit == 0 { Ok(None) } else { BlockHandle::decode(r).map(Some) }
        };
        let footer = Self {
            partitioned: flags & PARTITIONED != 0,
            properties: BlockHandle::decode(&mut r)?,
            index: BlockHandle::decode(&mut r)?,
            filter: optional(&mut r, HAS_FILTER)?,
            tombstones: optional(&mut r, HAS_TOMBSTONES)?,
            entries: r.varint()?,
            deletes: r.varint()?,
            range_tombstones: r.varint()?,
        };
        r.finish()?;
        if footer.partitioned && footer.filter.is_some() {
            return Err(DecodeError::Meaning("a partitioned table has its filters in its partitions"));
        }
        if footer.deletes > footer.entries || (footer.range_tombstones > 0) != footer.tombstones.is_some() {
            return Err(DecodeError::Meaning("the counts contradict each other"));
        }
        Ok(footer)
    }
}
