//! Iterators: one order over memtables and tables.
//!
//! ```text
//! Memtable  Table  Level (disjoint tables, one open at a time)
//!     └───────┼──────┘                    Source: one enum, no dyn per entry (R26)
//!        MergingIter                      every internal entry, in order: what a compaction reads
//!        VisibleIter                      what a snapshot sees: newest version, deletions applied
//!          Entries                        with the values that lie in value files
//! ```
//!
//! Cursors own what they read (memtables, tables), so an iterator lives as long as its user wants.
//! After an error an iterator stands on no entry, and every further move returns the error again.

mod level;
mod merging;
mod source;
mod tombstones;
mod values;
mod visible;

pub use level::LevelCursor;
pub use merging::MergingIter;
pub use source::Source;
pub(crate) use values::{Entries, Shown};
pub use visible::VisibleIter;

#[cfg(test)]
mod tests;
