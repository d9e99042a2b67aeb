//! # store: the embedded sealed LSM store
//!
//! The core never waits and has no thread (R22): [`Store::submit`] returns a ticket, and writing
//! the log, anchoring, flushing and compacting are steps that a caller runs. The blocking API is a
//! thin shell in the facade crate; the server awaits tickets.
//!
//! `put`: `submit` (position) → [`Store::log_step`] (seal the group, write, memtable, publish) →
//! [`Store::sync_step`] → [`Store::anchor_step`] → the frontier of each level releases the ticket.
#![deny(unsafe_code)]

pub mod batch;
mod checkpoint;
mod clock;
mod core;
pub mod engine;
mod files;
mod frontier;
mod manifest;
pub mod merge;
pub mod options;
pub mod pace;
pub mod role;
mod stats;
pub mod store;
mod sync;
pub mod txn;
mod value;
mod wal;

pub use batch::WriteBatch;
pub use checkpoint::{Checkpoint, CheckpointIter};
pub use clock::Time;
pub use core::open::{Recovery, data_is_gone};
pub use core::stream::{ValueReader, ValueWriter};
pub use engine::lsm::blob::StoredValue;
pub use engine::lsm::compaction::Filter;
pub use frontier::{Released, Wait};
pub use merge::{CannotMerge, MergeOperator, MergeOperators};
pub use options::{Compression, KeyspaceOptions, StoreOptions, World};
pub use stats::Statistics;
pub use store::{Answer, Iter, Round, Snapshot, Step, Store, Ticket};
pub use value::Value;
