//! # The LSM engine: memtables, tables, their cache, and iterators over all of them
//!
//! ```text
//! writes ─▶ memtable (arena + skiplist) ── flush ──▶ tables of level 0 ── compaction ──▶ level 1..6
//!                │                                          │
//! reads ◀────────┴── MergingIter / Table::get ◀── block cache (plaintext, inside the TEE)
//! ```
//!
//! Everything is ordered by the *internal key* ([`key`]): user key ascending, then newest first.
//! This module decides nothing: which memtable is flushed, which tables are compacted and what
//! the MANIFEST says is the store's business. It keeps the structures, their formats and their
//! verification: no byte of a table is parsed before its seal verified, and no verified block is
//! read before its structure was checked once.

#![expect(
    clippy::should_implement_trait,
    reason = "cursors move by `next`, as the field calls it, and yield nothing"
)]

pub mod blob;
pub(crate) mod buffers;
pub mod cache;
pub mod compaction;
pub mod filter;
#[doc(hidden)]
pub mod fuzzing;
pub mod iter;
pub mod key;
pub mod level;
pub mod memtable;
pub mod sealed_output;
pub mod table;
pub mod table_cache;
pub mod tombstone;
pub(crate) mod tree;

#[cfg(test)]
mod cache_test;
