//! Tables: immutable sorted files, sealed block by block.
//!
//! ```text
//! file := data block* | [tombstone block] | filter* and index* | [top index] | properties | footer
//!
//! MANIFEST: TableMeta (key, footer's place and tag, key range …)
//!     └──▶ footer ──▶ properties
//!                ├──▶ tombstones
//!                └──▶ index (+ filter) ──────────────▶ data blocks            small tables
//!                 or  top index ──▶ index partition (+ filter partition) ──▶ data blocks
//! ```
//!
//! Trust flows along the arrows, from the MANIFEST outwards: a table is read only through the
//! [`TableMeta`] that the MANIFEST holds, with its key, its protection (R16) and its place. Each
//! block is sealed under the table's own random key, bound to store, file, kind, offset, length and
//! codec, so a block that was moved, swapped, altered or taken from another file does not open.
//! The file's own bytes decide nothing before they are verified.

pub mod block;
pub(crate) mod collector;
pub mod cursor;
pub mod format;
pub(crate) mod index;
pub mod meta;
pub(crate) mod part;
pub mod properties;
mod readahead;
pub mod reader;
pub mod writer;

pub use cursor::TableCursor;
pub use meta::TableMeta;
pub use reader::{Ask, Lookup, Table};
pub use writer::{TableOptions, TableWriter};

use ringfort_base::FileNo;

/// The directory of tables, on their volume.
pub const TABLE_DIR: &str = "tables";

/// The path of a table on its volume.
#[must_use]
pub fn table_path(file: FileNo) -> String {
    format!("{TABLE_DIR}/{:08}.sst", file.0)
}

#[cfg(test)]
mod tests;
