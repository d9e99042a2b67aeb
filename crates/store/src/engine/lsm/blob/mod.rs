//! Value files: large values, written once, apart from the tables that name them.
//!
//! ```text
//! file := value* | value index | footer
//!
//! MANIFEST: BlobMeta (key, footer's place and tag)       tables: entry of kind `value pointer`
//!     └──▶ footer ──▶ value index (all lengths)              └──▶ value
//! ```
//!
//! A keyspace may ask ([`separate_values_from_bytes`]) that values from some size on are not stored
//! in tables. A flush then writes each of them once, to a value file, and the table gets a
//! [`BlobPointer`] in its place: compactions move pointers, not values.
//!
//! - *Trust* comes as for tables: a value file has its own random key, which stands in the
//!   MANIFEST's record of it; each value is sealed on its own, bound to store, file, kind, offset
//!   and length; its pointer stands in a table's block that was verified. A value that was moved,
//!   swapped, altered or taken from another file does not open, and a file that is missing, cut or
//!   not the one that the MANIFEST names is found when the store opens.
//! - *A value file is immutable*, and belongs to one keyspace. Each of its values has exactly one
//!   pointer, or none any more. A pointer is never changed in place: whoever rewrites a table writes
//!   a new one with the same key and the same sequence number ([`separate`]).
//! - *What is garbage* is not counted but known: the record of each table in the MANIFEST says how
//!   many values of which files it points to ([`BlobUse`]); what no table points to is garbage
//!   ([`BlobSet`]). One edit replaces tables and adds and removes value files, so the sums are right
//!   at every edit that a recovery may rebuild.
//! - *Collection* ([`gc`]) rewrites, in place, tables that point into files with much garbage, and so
//!   moves what lives there to a new file. A file to which no table points any more leaves the
//!   version in the same edit; it is deleted by the rule of tables (R8), when nobody reads it.
//!
//! - *Values longer than a batch may hold* come by the piece ([`StoredValue`]). Such a value has a file to
//!   itself, synced with its directory before its batch is submitted. The record of the log that
//!   commits it carries the file's whole record ([`LoneValue`]): it is all that names the file until a
//!   flush *adopts* it, by an edit that names it in the MANIFEST with the table that points to it. So there is
//!   no moment at which something names a file that is not whole; and a file that nothing names, whose
//!   writer never committed, is removed by whoever gives it up, or by the next open.
//!
//! [`separate_values_from_bytes`]: crate::KeyspaceOptions::separate_values_from_bytes

mod cache;
pub mod format;
pub(crate) mod gc;
mod reader;
pub(crate) mod separate;
mod set;
pub(crate) mod stored;
mod writer;

pub use cache::ApartValue;
pub use format::{BlobMeta, BlobPointer, BlobUse, LoneValue};
pub(crate) use reader::Cursors;
pub use reader::{BlobFile, BlobFiles};
pub(crate) use separate::Separator;
pub(crate) use set::{BlobSet, Uses};
pub(crate) use stored::Stored;
pub use stored::StoredValue;
pub use writer::BlobWriter;

use super::table::TABLE_DIR;
use ringfort_base::FileNo;

/// The path of a value file on its volume: beside the tables.
#[must_use]
pub fn blob_path(file: FileNo) -> String {
    format!("{TABLE_DIR}/{:08}.blob", file.0)
}

#[cfg(test)]
mod tests;
