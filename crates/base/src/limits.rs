//! Every limit of Ringfort in one place, with the relations between them checked at compile time.

/// Sequence numbers share a 64-bit word with the 8-bit entry kind.
pub const SEQ_MAX: u64 = (1 << 56) - 1;

/// Longest user key of a keyspace, bytes. Redis allows 512 MiB; a key is kept whole in indexes,
/// so it is bounded here so that an index block stays small.
pub const KEY_BYTES_MAX: usize = 64 * 1024;

/// Longest value, bytes (what Redis allows). Beyond [`BATCH_VALUE_BYTES_MAX`] it is stored by the
/// piece, before its batch is submitted.
pub const VALUE_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Longest value that a batch, the log, a memtable and a block hold themselves, bytes.
pub const BATCH_VALUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// From this length on a value goes better to a file of its own than through the log and a flush, bytes: it
/// is written once, for one sync more. Measured at 4 MiB: as fast at `buffered`, 1.8 times at `durable`; at
/// 16 MiB four times, at 1 MiB half as fast.
pub const STORED_VALUE_BYTES_MIN: usize = 4 * 1024 * 1024;

/// Largest write batch, bytes of keys and of the values that it holds itself: one of the largest size
/// with its company.
pub const BATCH_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Most operations in one batch.
pub const BATCH_OPS_MAX: usize = 1 << 22;

/// Largest plaintext of one record of a sealed log. A larger commit group is a chain of records.
pub const RECORD_BYTES_MAX: usize = 1 << 20;

/// Most records in one segment: the log's nonce carries a 32-bit record index (R13).
pub const SEGMENT_RECORDS_MAX: u32 = u32::MAX - 1;

/// A commit group stops growing at this size, so that one large group does not delay the others.
pub const GROUP_BYTES_MAX: usize = 4 << 20;

/// Bytes of an AEAD tag, and of the checksum that stands in its place on a trusted volume.
pub const TAG_BYTES: usize = 16;

/// Smallest and largest plaintext of a data block that a keyspace may ask for.
pub const BLOCK_BYTES_MIN: usize = 1024;
/// See [`BLOCK_BYTES_MIN`].
pub const BLOCK_BYTES_MAX: usize = 1 << 20;

/// Largest plaintext of any sealed block of a table: one entry that does not fit a block gets a
/// block of its own, so the largest value that a batch holds must fit with its key.
pub const SEALED_BLOCK_BYTES_MAX: usize = BATCH_VALUE_BYTES_MAX + KEY_BYTES_MAX + (1 << 16);

/// Largest sealed block that is written or read, bytes: a table's tombstones are one block, and may
/// be more than one entry. What is above is refused when it is written, never found unreadable later.
pub const BLOCK_ON_DISK_BYTES_MAX: usize = 1 << 30;

/// Most levels of a tree.
pub const LEVELS: usize = 7;

/// Most keyspaces of a store.
pub const KEYSPACES_MAX: usize = 4096;

/// Longest name of a store or keyspace, bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// Longest name of a prepared transaction, bytes: room for a coordinator's id and its number.
pub const PREPARED_NAME_BYTES_MAX: usize = 128;

/// Most prepared transactions that are not decided.
pub const PREPARED_MAX: usize = 1 << 16;

/// Largest key file, bytes.
pub const KEY_FILE_BYTES_MAX: usize = 64 * 1024;

/// Most arguments of one RESP command, and the deepest request.
pub const RESP_ARGS_MAX: usize = 1 << 20;

/// Longest inline command, bytes (Redis: 64 KiB).
pub const RESP_INLINE_BYTES_MAX: usize = 64 * 1024;

/// Memory that a connection may use before it has authenticated, bytes.
pub const UNAUTHENTICATED_BYTES_MAX: usize = 64 * 1024;

/// Un-anchored commits are anchored in the background within this time (R7).
pub const ANCHOR_WINDOW_MS: u64 = 100;

const _: () =
    assert!(STORED_VALUE_BYTES_MIN < BATCH_VALUE_BYTES_MAX && BATCH_VALUE_BYTES_MAX < VALUE_BYTES_MAX);
// A payload's length is a u32 in pointers.
const _: () = assert!(VALUE_BYTES_MAX < u32::MAX as usize);
const _: () = assert!(BATCH_VALUE_BYTES_MAX + KEY_BYTES_MAX < BATCH_BYTES_MAX);
const _: () = assert!(RECORD_BYTES_MAX <= GROUP_BYTES_MAX);
const _: () = assert!(BLOCK_BYTES_MAX < SEALED_BLOCK_BYTES_MAX);
// A sealed block's length is a u32 in block handles.
const _: () = assert!(BLOCK_ON_DISK_BYTES_MAX + TAG_BYTES < u32::MAX as usize);
const _: () = assert!(SEALED_BLOCK_BYTES_MAX < BLOCK_ON_DISK_BYTES_MAX);
