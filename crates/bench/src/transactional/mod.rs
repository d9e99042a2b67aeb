//! What a store must offer to be measured by transactions, [`Transactional`]; the loop that measures it (`driver`);
//! what comes out ([`Run`]).
//!
//! An adapter begins a transaction by its store's own call, hands it to the work, commits what the work
//! wants committed, and begins again where the store says that it must (a conflict, a deadlock): with its own
//! back-off, since that is part of what a user gets.

pub(crate) mod driver;
mod run;

use crate::Result;
pub use run::{KindResult, Latencies, Run};
use std::fmt;

/// A transaction that is under way.
///
/// Any of its calls may fail with [`MustRetry`]; then the work returns that error, and is begun again.
pub trait Transaction {
    /// Reads a key into `value`, which is overwritten; whether it was there. What is going to be written is
    /// read `for_update`.
    fn get(&mut self, key: &[u8], for_update: bool, value: &mut Vec<u8>) -> Result<bool>;

    /// Sets a key.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()>;

    /// Removes a key.
    fn delete(&mut self, key: &[u8]) -> Result<()>;

    /// Hands at most `limit` entries of `from..to` to `visit`, in order or in reverse.
    fn scan(
        &mut self,
        from: &[u8],
        to: &[u8],
        reverse: bool,
        limit: usize,
        visit: &mut Visit<'_>,
    ) -> Result<()>;
}

/// How a transaction is to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Committed, at the level that the engine was opened with.
    Commit,
    /// Rolled back, as the work intends.
    Rollback,
}

/// What a scan hands each entry to.
pub type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> Result<()> + 'v;

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// What a transaction does; called once for each try.
pub type Work<'w> = dyn FnMut(&mut dyn Transaction) -> Result<End> + 'w;

/// An open store with transactions, used by many threads at once.
pub trait Transactional: Send + Sync {
    /// Carries the work out, serializably, and returns how often it had to be begun again. A commit has its
    /// level on return.
    fn transact(&self, read_only: bool, work: &mut Work<'_>) -> Result<u64>;

    /// Sets keys that nobody uses yet, as fast as it goes.
    fn load(&self, entries: &[Entry]) -> Result<()>;

    /// Writes out what is in memory and waits until no background work is due.
    fn settle(&self) -> Result<()>;
}

/// A transaction cannot go on and is to be begun again.
#[derive(Debug)]
pub struct MustRetry(pub String);

impl fmt::Display for MustRetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for MustRetry {}
