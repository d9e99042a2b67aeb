//! # The data model: Redis's databases on ordered keyspaces
//!
//! Database *n* is the keyspace `db`*n* (0 to 15), created with default options when a server first
//! opens the store. In it live three families of entries, told apart by the first byte of the key:
//!
//! ```text
//! key                                                     value
//! 01 user-key                                             meta record
//! 02 varint(len user-key) user-key generation:u64be field value of the field
//! 03 expiry-ms:u64be user-key                             empty
//! ```
//!
//! A **meta record** says what a user key is:
//!
//! ```text
//! type:u8  expiry-ms:varint  string (type 1):  the value's bytes, to the end
//!                            hash   (type 2):  generation:u64le  count:varint
//! ```
//!
//! `expiry-ms` is Unix milliseconds; 0 is "never". Numbers are little-endian and varints canonical
//! LEB128, as everywhere ([`ringfort_base::codec`]); the two numbers that stand in *keys* are
//! big-endian, so that bytewise order is numeric order.
//!
//! ## Invariants
//! - A user key exists physically if and only if its meta record does. Each batch that adds or
//!   removes a meta record carries the same change of the keyspace's maintained count, so `DBSIZE`
//!   is one look-up and exact.
//! - A meta record with an expiry has exactly one entry in family 03, written and removed in the
//!   same batch. The reaper scans that family in order of time and never looks at a live key.
//! - A key whose expiry is not after the store's time is absent for every command, whether or not it
//!   has been removed yet. Reads never write; a write that touches it, or the reaper, removes it.
//! - **Generations.** `DEL` of a hash removes its meta record only: O(1). Its fields stay behind
//!   under a generation that no meta record names, so nothing can reach them, and compaction drops
//!   them ([`is_orphan_field`]). A new hash under the same name must never meet them again, so its
//!   generation is the store's visible log position, read while the key's lock is held. That is unique per
//!   user key without randomness and without trust in a clock: creating the earlier hash consumed
//!   positions after its own generation was read, was applied before the lock was released, and positions are
//!   global and never restart (R9). A crash that loses the tail of the log loses the fields with it.
//!   A transaction, which may create a hash more than once before it commits, adds how many of its fields it has
//!   written so far.
//! - All writers of a user key hold the lock of its meta record's name from before they read it until
//!   their batch is applied; `FLUSHDB` locks the whole database.
mod keys;
mod orphan;
mod record;
mod write;

pub use keys::{
    DB_END, Family, META_END, META_START, USER_KEY_BYTES_MAX, all_fields, expiry_key, expiry_until,
    field_key, field_prefix, meta_key, meta_key_into, next_prefix, parse_expiry_key, parse_field_key,
    user_key,
};
pub use orphan::is_orphan_field;
pub use record::{HashMeta, Kind, Record, Slot};
pub use write::{Changes, Finished, Touched};

#[cfg(test)]
mod tests;
