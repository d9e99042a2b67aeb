//! # Ringfort, embedded
//!
//! A confidential key-value store for machines that its owner does not trust: what it writes is
//! sealed, what it reads is verified, and a state older than one that it acknowledged at level
//! [`Level::Fresh`] is refused with evidence.
//!
//! ```
//! use ringfort::{Db, Level, WriteBatch};
//!
//! # fn main() -> ringfort::Result<()> {
//! let db = Db::open_temporary()?;
//! db.put("name", "Ringfort")?;
//! assert_eq!(db.get("name")?.as_deref(), Some(&b"Ringfort"[..]));
//!
//! let mut batch = WriteBatch::new();
//! batch.put(db.default_keyspace().id(), "a", "1");
//! batch.delete(db.default_keyspace().id(), "name");
//! let commit = db.write_with(batch, Level::Buffered)?;
//! commit.wait(Level::Fresh)?; // synced, and losing it can be detected
//!
//! for entry in db.scan("a".."n")? {
//!     let (key, value) = entry?;
//!     assert_eq!((&key[..], &value[..]), (&b"a"[..], &b"1"[..]));
//! }
//! db.close()
//! # }
//! ```
//!
//! A store lives in a directory ([`Options::new`]) and is known to its *platform* by a name. The
//! platform stands for the hardware of a trusted execution environment. In this version it is
//! simulated by a directory of its own ([`Options::platform_state`]): whoever can write there can
//! undo every protection, so it is for development and tests.
//!
//! The core never waits and has no thread; this crate is the blocking shell around it. A calling
//! thread runs the steps that its own call needs (leading the commit group, syncing, advancing the
//! counter) and serves everybody who waits for the same. Two background workers do the rest, unless
//! [`Options::background`] says otherwise.
//!
//! | module | holds |
//! |---|---|
//! | [`options`] | where a store lives and how it is tuned; opening the bare store |
//! | [`db`] | [`Db`]: opening, closing, keyspaces, batches, upkeep |
//! | [`keyspace`] | [`Keyspace`]: reading and writing one map |
//! | [`stream`] | values by the piece: longer than anybody wants to hold |
//! | [`commit`] | [`Commit`]: a written batch that can be awaited for a later level |
//! | [`transaction`] | [`Transaction`]: reads and writes as one step |
//! | [`prepared`] | [`Prepared`]: a transaction that waits for a decision from outside |
//! | [`range`] | [`KeyRange`]: what scans take |
//! | [`checkpoint`] | [`Checkpoint`]: a consistent copy, read-only |
//! | [`destroy`] | giving a store up |
//! | `bench` | what the benchmarks drive (feature `bench`) |
#![forbid(unsafe_code)]

#[cfg(feature = "bench")]
pub mod bench;
pub mod checkpoint;
pub mod commit;
mod contention;
pub mod db;
pub mod destroy;
pub mod keyspace;
pub mod options;
pub mod prepared;
mod pump;
pub mod range;
pub mod stream;
mod temporary;
pub mod transaction;
mod workers;

pub use checkpoint::Checkpoint;
pub use commit::{Commit, CommitFuture};
pub use db::{Db, Snapshot};
pub use keyspace::{Keyspace, Scan};
pub use options::{Opened, Options};
pub use prepared::{InDoubt, Prepared};
pub use range::KeyRange;
pub use ringfort_base::error::{Error, ErrorKind, Evidence, EvidenceKind, Result};
pub use ringfort_base::{Incarnation, KeyspaceId, Level, Seq, StoreId};
pub use ringfort_store::merge::{self, CannotMerge, MergeOperator};
pub use ringfort_store::{Compression, KeyspaceOptions, Statistics, StoredValue, Value, WriteBatch};
pub use ringfort_trust::keyfile::Mode;
pub use stream::{ValueReader, ValueWriter};
pub use transaction::{Concurrency, Transaction, TxnOptions, TxnScan};

/// The examples of the README are compiled and run as well.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
