//! Reading values: an open value file, and all of a store's, through the block cache.

use super::cache::{ApartValue, ValueCache};
use super::format::{BlobFooter, BlobMeta, BlobPointer, PIECE_BYTES_MAX, decode_index};
use super::{BlobSet, BlobWriter, blob_path};
use crate::engine::lsm::cache::BlockCache;
use crate::engine::lsm::sealed_output::Sealing;
use crate::engine::lsm::table::format::{BlockHandle, BlockKind, Place, Plain, SealedFile, decompress};
use crate::engine::lsm::table_cache::FixedHash;
use crate::options::Compression;
use crate::value::Value;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, UnitWeighter};
use ringfort_base::codec::DecodeError;
use ringfort_base::world::Disk;
use ringfort_base::{Error, ErrorKind, EvidenceKind, FileNo, Result, StoreId, Untrusted};
use ringfort_trust::Sealer;
use std::collections::HashMap;
use std::sync::Arc;

/// Value files that are kept open.
const OPEN_FILES_MAX: usize = 512;
/// A longer value is not kept in the block cache, bytes: it would push out too much.
const CACHED_VALUE_BYTES_MAX: usize = 256 << 10;
/// What is read ahead of a reader that goes through a file in order, bytes.
const WINDOW_BYTES: usize = 128 << 10;
/// Files that one [`Cursors`] reads ahead in at the same time.
const WINDOWS_MAX: usize = 64;

/// An open value file. Opening proves the footer; every value is verified when it is read.
pub struct BlobFile {
    file: SealedFile,
    meta: Arc<BlobMeta>,
    index: BlockHandle,
}

impl BlobFile {
    /// Opens the file that `meta` describes.
    ///
    /// # Errors
    /// Evidence: a missing or truncated file, a bad seal, a footer that contradicts the MANIFEST. Or
    /// the disk's error.
    pub fn open(disk: &dyn Disk, store: StoreId, meta: &Arc<BlobMeta>, cache: &BlockCache) -> Result<Self> {
        let name = blob_path(meta.file);
        let file = cache.open_file(disk, &name).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::evidence(
                EvidenceKind::Missing,
                &name,
                0,
                "the MANIFEST names this value file; it is not there",
            ),
            _ => Error::io("open", &name, &e),
        })?;
        let sealer = Sealer::new(meta.protection, &meta.key);
        let place = Place { store, file: meta.file };
        let file = SealedFile { file, name, place, sealer, buffers: Arc::clone(cache.buffers()) };
        let root = (&meta.footer, meta.footer_tag);
        let footer = file.open_footer(BlockKind::ValueFooter, root, BlobFooter::decode)?;
        if footer.values != meta.values || footer.index.offset != meta.data_bytes {
            return Err(file.inconsistent(BlockKind::ValueFooter, &meta.footer, "contradicts the MANIFEST"));
        }
        Ok(Self { file, meta: Arc::clone(meta), index: footer.index })
    }

    /// The MANIFEST's record.
    #[must_use]
    pub fn meta(&self) -> &Arc<BlobMeta> {
        &self.meta
    }

    /// A value: read, verified, unpacked.
    ///
    /// # Errors
    /// As [`BlobFile::open`].
    pub fn read(&self, pointer: &BlobPointer) -> Result<Vec<u8>> {
        let payload = self.payload(pointer, None)?;
        self.unpack(pointer, payload)
    }

    /// The payload of a value, verified.
    pub(crate) fn payload(&self, pointer: &BlobPointer, mut window: Option<&mut Window>) -> Result<Vec<u8>> {
        self.check_extent(pointer)?;
        let mut open = |piece: &BlockHandle| self.open_piece(piece, window.as_deref_mut());
        let mut pieces = pointer.pieces();
        let mut payload = pieces.next().map_or_else(|| Ok(Vec::new()), |first| open(&first))?;
        for piece in pieces {
            payload.reserve_exact(pointer.payload_len as usize - payload.len());
            payload.extend_from_slice(&open(&piece)?);
        }
        Ok(payload)
    }

    fn check_extent(&self, pointer: &BlobPointer) -> Result<()> {
        if pointer.end() > self.meta.data_bytes {
            return Err(self.inconsistent(pointer, "a pointer reaches behind the values"));
        }
        Ok(())
    }

    fn open_piece(&self, piece: &BlockHandle, window: Option<&mut Window>) -> Result<Vec<u8>> {
        let sealed = match window {
            Some(window) => window.read(&self.file, piece)?,
            None => {
                let len = piece.sealed_len as usize;
                self.file.read(self.file.buffers.take(len), piece.offset, len)?
            }
        };
        Ok(self.file.open_sealed(BlockKind::Value, piece, sealed)?.into_inner())
    }

    fn unpack(&self, pointer: &BlobPointer, payload: Vec<u8>) -> Result<Vec<u8>> {
        decompress(payload, pointer.codec, &self.file.buffers).map_err(|e| self.inconsistent(pointer, e))
    }

    /// Pointers to all values, live or not, in the order of the file.
    ///
    /// # Errors
    /// As [`BlobFile::open`].
    pub fn pointers(&self) -> Result<Vec<BlobPointer>> {
        let plain: Plain = self.file.open_block(BlockKind::ValueIndex, &self.index)?;
        let broken =
            |why: &dyn std::fmt::Display| self.file.inconsistent(BlockKind::ValueIndex, &self.index, why);
        let pointers = decode_index(&plain.into_bytes(), self.meta.file).map_err(|e| broken(&e))?;
        let end = pointers.last().map_or(0, BlobPointer::end);
        if pointers.len() as u64 != self.meta.values || end != self.meta.data_bytes {
            return Err(broken(&"contradicts the footer"));
        }
        Ok(pointers)
    }

    /// Writes every value of the file to another one, payloads as they are, by the piece: each lies there
    /// where it lies here.
    ///
    /// # Errors
    /// As [`BlobFile::open`], for the first value that fails; those of the writer.
    pub(crate) fn copy_to(&self, writer: &mut BlobWriter) -> Result<()> {
        let mut window = Window::default();
        for pointer in self.pointers()? {
            self.check_extent(&pointer)?;
            writer.guarded(|writer| {
                let mut copy = writer.begin_value(pointer.codec)?;
                for piece in pointer.pieces() {
                    writer.append(&mut copy, &self.open_piece(&piece, Some(&mut window))?)?;
                }
                writer.end_value(&copy)
            })?;
        }
        Ok(())
    }

    /// One piece of a value that is not compressed: bytes of the value from `nth` times
    /// [`PIECE_BYTES_MAX`] on. Empty behind the last.
    pub(crate) fn piece(&self, pointer: &BlobPointer, nth: u32) -> Result<Vec<u8>> {
        let Some(piece) = pointer.pieces().nth(nth as usize) else { return Ok(Vec::new()) };
        self.check_extent(pointer)?;
        self.open_piece(&piece, None)
    }

    /// Reads and verifies every value, past the cache. A scrub opens the file anew
    /// ([`BlobFile::open`]) and then calls this: every byte of the file was then verified.
    ///
    /// # Errors
    /// As [`BlobFile::open`], for the first value that fails.
    pub fn verify(&self) -> Result<()> {
        let mut window = Window::default();
        for pointer in self.pointers()? {
            self.check_extent(&pointer)?;
            if pointer.codec == Compression::None {
                // By the piece, however long it is.
                pointer
                    .pieces()
                    .try_for_each(|piece| self.open_piece(&piece, Some(&mut window)).map(drop))?;
            } else {
                let payload = self.payload(&pointer, Some(&mut window))?;
                self.unpack(&pointer, payload)?;
            }
        }
        Ok(())
    }

    fn inconsistent(&self, pointer: &BlobPointer, why: impl std::fmt::Display) -> Error {
        let handle = BlockHandle { offset: pointer.offset, sealed_len: 0, codec: pointer.codec };
        self.file.inconsistent(BlockKind::Value, &handle, why)
    }
}

/// Bytes read ahead in one file. They are verified when they are used, not when they are read.
#[derive(Default)]
pub(crate) struct Window {
    start: u64,
    bytes: Untrusted<Vec<u8>>,
}

impl Window {
    /// The bytes of a piece; fewer at the end of the file.
    fn read(&mut self, file: &SealedFile, piece: &BlockHandle) -> Result<Untrusted<Vec<u8>>> {
        let len = piece.sealed_len as usize;
        if len >= WINDOW_BYTES {
            return file.read(Vec::with_capacity(len), piece.offset, len);
        }
        if let Some(sealed) = self.cut(file, piece) {
            return Ok(sealed);
        }
        let buf = std::mem::take(&mut self.bytes).recycle();
        (self.start, self.bytes) = (piece.offset, file.read(buf, piece.offset, WINDOW_BYTES)?);
        match self.cut(file, piece) {
            Some(sealed) => Ok(sealed),
            // The host's file is shorter: read alone, the piece says so.
            None => file.read(Vec::with_capacity(len), piece.offset, len),
        }
    }

    fn cut(&self, file: &SealedFile, piece: &BlockHandle) -> Option<Untrusted<Vec<u8>>> {
        let at = usize::try_from(piece.offset.checked_sub(self.start)?).ok()?;
        self.bytes.piece(at, piece.sealed_len as usize, |len| file.buffers.take(len))
    }
}

/// Reads values of many files, each about in its order: what a collection does, and a long scan.
#[derive(Default)]
pub(crate) struct Cursors {
    files: HashMap<FileNo, (Arc<BlobFile>, Window)>,
}

impl Cursors {
    /// The payload of a value.
    pub(crate) fn payload(
        &mut self,
        (files, set): (&BlobFiles, &BlobSet),
        pointer: &BlobPointer,
    ) -> Result<Vec<u8>> {
        let (file, window) = self.enter(files, set, pointer)?;
        file.payload(pointer, Some(window))
    }

    /// A value.
    pub(crate) fn value(
        &mut self,
        (files, set): (&BlobFiles, &BlobSet),
        pointer: &BlobPointer,
    ) -> Result<Vec<u8>> {
        let (file, window) = self.enter(files, set, pointer)?;
        let payload = file.payload(pointer, Some(window))?;
        file.unpack(pointer, payload)
    }

    fn enter(
        &mut self,
        files: &BlobFiles,
        set: &BlobSet,
        pointer: &BlobPointer,
    ) -> Result<(&BlobFile, &mut Window)> {
        if self.files.len() >= WINDOWS_MAX && !self.files.contains_key(&pointer.file) {
            self.files.clear();
        }
        let (file, window) = match self.files.entry(pointer.file) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                new.insert((files.file(set, pointer)?, Window::default()))
            }
        };
        Ok((file, window))
    }
}

/// The value files of a store: those that are open, and the values in the block cache.
pub struct BlobFiles {
    store: StoreId,
    disk: Arc<dyn Disk>,
    values: ValueCache,
    open: Cache<FileNo, Arc<BlobFile>, UnitWeighter, FixedHash, DefaultLifecycle<FileNo, Arc<BlobFile>>>,
}

impl BlobFiles {
    /// Opens files of `disk`; values are kept in `blocks`.
    #[must_use]
    pub fn new(store: StoreId, disk: Arc<dyn Disk>, blocks: Arc<BlockCache>) -> Self {
        let settings = OptionsBuilder::new()
            .shards(1)
            .estimated_items_capacity(OPEN_FILES_MAX)
            .weight_capacity(OPEN_FILES_MAX as u64)
            .build()
            .expect("all required options are given");
        let hash = FixedHash::default();
        let open = Cache::with_options(settings, UnitWeighter, hash, DefaultLifecycle::default());
        Self { store, disk, values: ValueCache::new(blocks), open }
    }

    /// The file; opened if it is not.
    ///
    /// # Errors
    /// See [`BlobFile::open`].
    pub fn get(&self, meta: &Arc<BlobMeta>) -> Result<Arc<BlobFile>> {
        self.open.get_or_insert_with(&meta.file, || self.reopen(meta))
    }

    /// The file read anew from the disk.
    ///
    /// # Errors
    /// See [`BlobFile::open`].
    pub fn reopen(&self, meta: &Arc<BlobMeta>) -> Result<Arc<BlobFile>> {
        BlobFile::open(&*self.disk, self.store, meta, self.values.blocks()).map(Arc::new)
    }

    /// Forgets a file that is about to be deleted.
    pub fn remove(&self, file: FileNo) {
        self.open.remove(&file);
    }

    /// Removes a file that nothing names. What cannot be removed now, the next open removes.
    pub(crate) fn discard(&self, file: FileNo) {
        self.remove(file);
        let _ = self.disk.remove(&blob_path(file));
    }

    /// The value behind an entry's pointer, from the version's files; `None` only if it is not
    /// resident and must be (R23).
    pub(crate) fn value(&self, set: &BlobSet, pointer: &[u8], resident_only: bool) -> Result<Option<Value>> {
        let pointer = BlobPointer::decode(pointer).map_err(checked)?;
        let key = (pointer.file, pointer.offset);
        if let Some(value) = self.values.get(key) {
            return Ok(Some(value.into()));
        }
        if resident_only {
            return Ok(None);
        }
        self.read(&*self.file(set, &pointer)?, &pointer).map(Some)
    }

    /// As [`BlobFiles::value`], from a file that is at hand.
    pub(crate) fn value_in(
        &self,
        meta: &Arc<BlobMeta>,
        pointer: &BlobPointer,
        resident_only: bool,
    ) -> Result<Option<Value>> {
        match self.values.get((pointer.file, pointer.offset)) {
            Some(value) => Ok(Some(value.into())),
            None if resident_only => Ok(None),
            None => self.read(&*self.get(meta)?, pointer).map(Some),
        }
    }

    fn read(&self, file: &BlobFile, pointer: &BlobPointer) -> Result<Value> {
        let value = Arc::new(ApartValue::new(file.read(pointer)?));
        if pointer.payload_len as usize <= CACHED_VALUE_BYTES_MAX {
            self.values.insert((pointer.file, pointer.offset), &value);
        }
        Ok(value.into())
    }

    /// The first piece of a value that has several and is not compressed.
    pub(crate) fn head(&self, set: &BlobSet, pointer: &[u8]) -> Result<Option<Value>> {
        let (pointer, meta) = self.locate(set, pointer)?;
        if pointer.codec != Compression::None || pointer.payload_len as usize <= PIECE_BYTES_MAX {
            return Ok(None);
        }
        let head = self.get(&meta)?.piece(&pointer, 0)?;
        Ok(Some(Arc::new(ApartValue::new(head)).into()))
    }

    /// Where the value behind a table's pointer lies, in which file.
    pub(crate) fn locate(&self, set: &BlobSet, pointer: &[u8]) -> Result<(BlobPointer, Arc<BlobMeta>)> {
        let pointer = BlobPointer::decode(pointer).map_err(checked)?;
        self.meta(set, &pointer).map(|meta| (pointer, Arc::clone(meta)))
    }

    /// As [`BlobFiles::value`] for a reader that goes on in order: reads ahead, and leaves the cache
    /// as it is.
    pub(crate) fn value_in_order(
        &self,
        set: &BlobSet,
        pointer: &[u8],
        cursors: &mut Cursors,
    ) -> Result<Value> {
        let pointer = BlobPointer::decode(pointer).map_err(checked)?;
        let value = match self.values.get((pointer.file, pointer.offset)) {
            Some(value) => value,
            None => Arc::new(ApartValue::new(cursors.value((self, set), &pointer)?)),
        };
        Ok(value.into())
    }

    fn file(&self, set: &BlobSet, pointer: &BlobPointer) -> Result<Arc<BlobFile>> {
        self.get(self.meta(set, pointer)?)
    }

    fn meta<'s>(&self, set: &'s BlobSet, pointer: &BlobPointer) -> Result<&'s Arc<BlobMeta>> {
        set.get(pointer.file).ok_or_else(|| {
            let detail = "a table points into this value file, which the MANIFEST does not name";
            Error::evidence(EvidenceKind::Inconsistent, blob_path(pointer.file), pointer.offset, detail)
        })
    }
}

/// What the check of a table's block has excluded before.
pub(crate) fn checked(error: DecodeError) -> Error {
    Error::new(ErrorKind::Internal, format!("a checked value pointer does not decode: {error}"))
}
