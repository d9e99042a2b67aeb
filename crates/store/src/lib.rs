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
pub mod engine;
pub mod frontier;
pub mod options;
pub mod store;
pub mod txn;

pub use batch::WriteBatch;
pub use options::{Compression, KeyspaceOptions, StoreOptions, World};
pub use store::{Answer, Snapshot, Store, Ticket};
