//! Blocks: sorted entries with shared key prefixes, searched and read where they lie.
//!
//! ```text
//! block   := entry* | value* | (entry offset u32 | value offset u32) × n | keys end u32 | n u32
//! entry   := shared varint | unshared varint | value length varint
//!          | unshared bytes of the user key | trailer u64
//! ```
//!
//! Entries and values lie apart, in the same order: a search runs over dense keys and touches one
//! value, the one that it returns. An entry's user key is the first `shared` bytes of the key before it and
//! its own `unshared` bytes. At a *restart point* `shared` is 0; the array at the end holds the
//! offsets of all restart points (and of their values, from where values begin), so that a search
//! is a binary search over them and a short scan. Elsewhere `shared` is the *longest* common
//! prefix: the point lookup needs that ([`Block::seek_entry`]).
//!
//! One layout serves all blocks of entries; what the entries mean is the block's [`Content`].

mod builder;
mod cursor;
mod reader;

pub use builder::BlockBuilder;
pub use cursor::BlockCursor;
pub use reader::Block;
pub(crate) use reader::Found;

/// Bytes of a restart point in the array.
const RESTART_BYTES: usize = 8;
/// Bytes behind the array: where the entries end, and how many restart points there are.
const ENDING_BYTES: usize = 8;

/// What the entries of a block mean, and so what is checked when it is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// Point entries: puts, deletions, and pointers to values.
    Data,
    /// Separators with handles of data blocks.
    Index,
    /// Separators with handles of index partitions and, perhaps, their filters.
    TopIndex,
    /// Range deletions; the value is the end of the range.
    Tombstones,
}

#[cfg(test)]
mod tests;
