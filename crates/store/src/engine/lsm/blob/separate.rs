//! [`Separator`]: decides, entry by entry, what a flush or compaction puts into its tables and what
//! into value files.
//!
//! ```text
//! value, long enough            → a new value file, and its pointer into the table
//! pointer into a victim         → the payload moved to a new value file, a new pointer
//! pointer into a file that only the log names → as it is; the file is adopted
//! anything else                 → as it is
//! ```
//! Key and sequence number stay as they are in every case, so what a reader sees, and what it has to
//! wait for, does not change. Only what the merge keeps is asked about: a hidden version is not moved.

use super::format::{BlobMeta, BlobPointer};
use super::reader::{BlobFiles, Cursors, checked};
use super::set::BlobSet;
use super::writer::BlobWriter;
use crate::engine::lsm::key::{Kind, Trailer};
use ringfort_base::{FileNo, Result};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How values are placed. A separator owns it: the value files of its version stay meanwhile.
pub(crate) struct Placing {
    /// Values of this length or longer go to a value file, bytes; 0: none does.
    pub(crate) from_bytes: usize,
    /// A value file is ended at this size, bytes.
    pub(crate) file_bytes: u64,
    /// Files that are being emptied.
    pub(crate) victims: BTreeSet<FileNo>,
    /// Where pointers lead.
    pub(crate) files: Arc<BlobFiles>,
    pub(crate) set: Arc<BlobSet>,
    /// Files that only the log names: of these what is kept points into becomes the MANIFEST's.
    pub(crate) unnamed: BTreeMap<FileNo, Arc<BlobMeta>>,
}

/// Starts a new value file.
pub(crate) type OpenValues<'o> = &'o mut dyn FnMut() -> Result<BlobWriter>;

/// See the module.
pub(crate) struct Separator {
    placing: Placing,
    writer: Option<BlobWriter>,
    done: Vec<BlobMeta>,
    adopted: Vec<Arc<BlobMeta>>,
    cursors: Cursors,
    pointer: Vec<u8>,
    moved_bytes: u64,
}

impl Separator {
    pub(crate) fn new(placing: Placing) -> Self {
        let (done, pointer) = (Vec::new(), Vec::new());
        let (adopted, cursors) = (Vec::new(), Cursors::default());
        Self { placing, writer: None, done, adopted, cursors, pointer, moved_bytes: 0 }
    }

    /// What the table gets for an entry that is kept.
    pub(crate) fn place<'e>(
        &'e mut self,
        trailer: Trailer,
        value: &'e [u8],
        open: OpenValues<'_>,
    ) -> Result<(Trailer, &'e [u8])> {
        let from_bytes = self.placing.from_bytes;
        let placed = match trailer.kind() {
            Ok(Kind::Put) if from_bytes != 0 && value.len() >= from_bytes => self.writer(open)?.add(value)?,
            Ok(Kind::ValuePointer)
                if !self.placing.victims.is_empty() || !self.placing.unnamed.is_empty() =>
            {
                let old = BlobPointer::decode(value).map_err(checked)?;
                // It has this one pointer: whoever finds the file here takes it.
                self.adopted.extend(self.placing.unnamed.remove(&old.file));
                if !self.placing.victims.contains(&old.file) {
                    return Ok((trailer, value));
                }
                let payload = self.cursors.payload((&self.placing.files, &self.placing.set), &old)?;
                self.moved_bytes += old.sealed_len();
                self.writer(open)?.add_payload(&payload, old.codec)?
            }
            _ => return Ok((trailer, value)),
        };
        self.pointer.clear();
        placed.encode(&mut self.pointer);
        Ok((Trailer::new(trailer.seq(), Kind::ValuePointer), &self.pointer))
    }

    /// The value of an entry, wherever it lies: for a filter that wants to see it.
    pub(crate) fn value<'e>(&mut self, trailer: Trailer, value: &'e [u8]) -> Result<Cow<'e, [u8]>> {
        if !trailer.is_pointer() {
            return Ok(Cow::Borrowed(value));
        }
        let pointer = BlobPointer::decode(value).map_err(checked)?;
        self.cursors.value((&self.placing.files, &self.placing.set), &pointer).map(Cow::Owned)
    }

    fn writer(&mut self, open: OpenValues<'_>) -> Result<&mut BlobWriter> {
        if self.writer.as_ref().is_some_and(|writer| writer.data_bytes() >= self.placing.file_bytes) {
            self.end_file()?;
        }
        Ok(match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(open()?),
        })
    }

    fn end_file(&mut self) -> Result<()> {
        self.done.extend(self.writer.take().map(BlobWriter::finish).transpose()?);
        Ok(())
    }

    /// Ends the last file.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.end_file()
    }

    /// The finished files.
    pub(crate) fn take_files(&mut self) -> Vec<BlobMeta> {
        std::mem::take(&mut self.done)
    }

    /// The files that were adopted.
    pub(crate) fn take_adopted(&mut self) -> Vec<Arc<BlobMeta>> {
        std::mem::take(&mut self.adopted)
    }

    /// Bytes that were moved out of victims so far.
    pub(crate) const fn moved_bytes(&self) -> u64 {
        self.moved_bytes
    }
}
