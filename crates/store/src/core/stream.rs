//! Values by the piece: [`ValueWriter`] writes one of any length up to the limit, [`ValueReader`] reads one,
//! and neither holds more of it than a piece.
//!
//! ```text
//! writer   piece ─seal─▶ value file … piece ─seal─▶ value file │ sync file, sync directory │ StoredValue
//! commit   batch with the StoredValue ─▶ log record: key, length, the file's record (key, footer's tag)
//! flush    table: key, pointer ─┬─ one edit of the MANIFEST
//!          the file's record ───┘
//! ```
//! Crash points: before the log's record is written nothing names the file, and the next open removes it;
//! behind it the file is whole, and open verifies that. There is no state in between.

use super::Inner;
use crate::engine::lsm::blob::format::PIECE_BYTES_MAX;
use crate::engine::lsm::blob::stored::{Place, Stored, Unnamed};
use crate::engine::lsm::blob::{ApartValue, BlobFile, BlobMeta, BlobPointer, BlobWriter, StoredValue};
use crate::engine::lsm::key::Kind;
use crate::engine::lsm::sealed_output::Sealing;
use crate::engine::lsm::table::TABLE_DIR;
use crate::engine::lsm::tree::{Met, View};
use crate::options::Compression;
use crate::store::Answer;
use crate::value::Value;
use ringfort_base::limits::{BATCH_VALUE_BYTES_MAX, VALUE_BYTES_MAX};
use ringfort_base::{Error, ErrorKind, KeyspaceId, Result, Seq};
use std::sync::Arc;

/// Writes a value that is longer than anybody wants to hold. Of a short one all of it is held
/// ([`StoreOptions::stored_values_from_bytes`](crate::StoreOptions::stored_values_from_bytes)), of a longer
/// one about a piece; dropped unfinished, it leaves nothing behind. It keeps the store open.
pub struct ValueWriter {
    /// What was written so far, while that is little.
    held: Vec<u8>,
    /// Then all of it goes here. Dropped before `inner`, with which the disk's lock goes.
    file: Option<Begun>,
    len: usize,
    failed: bool,
    inner: Arc<Inner>,
}

/// A value file under way.
struct Begun {
    writer: BlobWriter,
    value: BlobPointer,
    unnamed: Unnamed,
}

impl ValueWriter {
    pub(crate) const fn new(inner: Arc<Inner>) -> Self {
        Self { held: Vec::new(), file: None, len: 0, failed: false, inner }
    }

    /// Bytes so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written so far.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes the next bytes of the value.
    ///
    /// # Errors
    /// `Invalid` beyond the longest value; `Exhausted` if the disk is full. The writer is to be dropped
    /// then, which frees what it wrote. Any other failure of the disk stops the store.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.guarded(|w| w.put(bytes))
    }

    /// Ends the value and makes it durable: what a batch needs to put it.
    ///
    /// # Errors
    /// As [`ValueWriter::write`].
    pub fn finish(mut self) -> Result<StoredValue> {
        self.guarded(Self::end)
    }

    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.failed {
            return Err(Error::invalid("this value was given up after an error"));
        }
        self.inner.check()?;
        let done = work(self);
        self.failed = done.is_err();
        done.map_err(|error| match error.kind() {
            ErrorKind::Invalid | ErrorKind::Exhausted => error,
            // As for tables: what is on the disk is not known any more.
            _ => self.inner.stop(error),
        })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.len() > VALUE_BYTES_MAX - self.len {
            return Err(Error::invalid(format!("a value is longer than {VALUE_BYTES_MAX} bytes")));
        }
        self.len += bytes.len();
        let from_bytes = self.inner.options.stored_values_from_bytes.clamp(1, BATCH_VALUE_BYTES_MAX);
        if self.file.is_none() && self.len < from_bytes {
            self.held.extend_from_slice(bytes);
            return Ok(());
        }
        let begun = match &mut self.file {
            Some(begun) => begun,
            none => {
                let begun = none.insert(Begun::new(&self.inner)?);
                begun.append(&std::mem::take(&mut self.held))?;
                begun
            }
        };
        begun.append(bytes)
    }

    fn end(&mut self) -> Result<StoredValue> {
        let Some(Begun { mut writer, value, unnamed }) = self.file.take() else {
            return Ok(StoredValue(Place::Memory(std::mem::take(&mut self.held))));
        };
        writer.guarded(|writer| writer.end_value(&value))?;
        let meta = writer.finish()?;
        let synced = self.inner.tables.disk.sync_dir(TABLE_DIR);
        synced.map_err(|e| Error::io("sync", TABLE_DIR, &e).with_kind(ErrorKind::Io))?;
        let stored = Stored::new(unnamed, meta, value.payload_len);
        Ok(StoredValue(Place::File(Arc::new(stored))))
    }
}

impl Begun {
    fn new(inner: &Inner) -> Result<Self> {
        let (tables, file) = (&inner.tables, inner.new_file());
        // Before the file: whatever fails, nothing stays.
        let unnamed = Unnamed::new(Arc::clone(&tables.values), file);
        let writer = inner.blob_writer(&*tables.disk, tables.protection, file, Compression::None)?;
        let value = writer.begin_value(Compression::None)?;
        Ok(Self { writer, value, unnamed })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let Self { writer, value, .. } = self;
        writer.guarded(|writer| writer.append(value, bytes))
    }
}

/// Reads a value by the piece. It shows the value as it was when it was opened, whatever is written
/// since, and keeps the value's file for that.
pub struct ValueReader {
    source: Source,
    inner: Arc<Inner>,
}

enum Source {
    Whole(Value),
    Pieces {
        file: Arc<BlobFile>,
        /// Held so that the file is not deleted.
        _named: Arc<BlobMeta>,
        pointer: BlobPointer,
        /// The piece that was read last: its number and its bytes.
        piece: Option<(u32, Vec<u8>)>,
    },
}

impl ValueReader {
    /// The value's length, bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.source {
            Source::Whole(value) => value.len(),
            Source::Pieces { pointer, .. } => pointer.payload_len as usize,
        }
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the value from `offset` on, verified: at least one unless it is behind the end, and
    /// mostly as many as the piece has there.
    ///
    /// # Errors
    /// Evidence, which stops the store: the file was altered or cut. Or the disk's error.
    pub fn read_at(&mut self, offset: usize) -> Result<&[u8]> {
        if let Err(error) = self.load(offset) {
            return Err(self.inner.refuse(error));
        }
        Ok(match &self.source {
            Source::Whole(value) => value.get(offset..),
            Source::Pieces { piece: Some((_, bytes)), .. } => bytes.get(offset % PIECE_BYTES_MAX..),
            Source::Pieces { piece: None, .. } => None,
        }
        .unwrap_or_default())
    }

    /// Sees to it that the piece at `offset` is at hand, and none behind the end.
    fn load(&mut self, offset: usize) -> Result<()> {
        let Source::Pieces { file, pointer, piece, .. } = &mut self.source else { return Ok(()) };
        if offset >= pointer.payload_len as usize {
            *piece = None;
            return Ok(());
        }
        let nth = (offset / PIECE_BYTES_MAX) as u32;
        if piece.as_ref().is_none_or(|(held, _)| *held != nth) {
            self.inner.check()?;
            *piece = None; // its bytes go before others come
            *piece = Some((nth, file.piece(pointer, nth)?));
        }
        Ok(())
    }

    /// The whole value.
    ///
    /// # Errors
    /// As [`ValueReader::read_at`].
    pub fn into_value(mut self) -> Result<Value> {
        if let Source::Whole(value) = self.source {
            return Ok(value);
        }
        let mut all = Vec::with_capacity(self.len());
        while all.len() < self.len() {
            let bytes = self.read_at(all.len())?;
            all.extend_from_slice(bytes);
        }
        Ok(Value::from(Arc::new(ApartValue::new(all))))
    }
}

impl Inner {
    /// A reader of the value of `key`; see [`Inner::get`].
    pub(crate) fn value_reader(
        self: &Arc<Self>,
        keyspace: KeyspaceId,
        key: &[u8],
        at: Option<Seq>,
    ) -> Result<Answer<Option<ValueReader>>> {
        self.check()?;
        // The view first, as in `get`.
        let view = self.tree(keyspace)?.view();
        let at = at.unwrap_or_else(|| self.visible());
        if let Some((source, depends)) = self.pieces(&view, key, at).map_err(|error| self.refuse(error))? {
            let reader = ValueReader { source, inner: Arc::clone(self) };
            return Ok(Answer { value: Some(reader), depends });
        }
        let answer = self.get_from(&view, key, at)?;
        let reader =
            answer.value.map(|value| ValueReader { source: Source::Whole(value), inner: Arc::clone(self) });
        Ok(Answer { value: reader, depends: answer.depends })
    }

    /// The value, if it lies in a value file as it is: then it can be read by the piece.
    fn pieces(&self, view: &View, key: &[u8], at: Seq) -> Result<Option<(Source, Seq)>> {
        let Met::Entry(entry) = view.find(key, at, &self.tables, false)? else { return Ok(None) };
        if entry.kind != Kind::ValuePointer || entry.seq <= entry.covered {
            return Ok(None);
        }
        let (pointer, named) = view.pointer_of(&entry, &self.tables)?;
        if pointer.codec != Compression::None {
            return Ok(None);
        }
        let file = self.tables.values.get(&named)?;
        Ok(Some((Source::Pieces { file, _named: named, pointer, piece: None }, entry.seq)))
    }
}
