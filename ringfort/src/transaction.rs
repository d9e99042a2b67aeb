//! [`Transaction`]: many reads and writes as one step.
//!
//! ```
//! use ringfort::{Db, TxnOptions};
//!
//! # fn main() -> ringfort::Result<()> {
//! let db = Db::open_temporary()?;
//! let accounts = db.default_keyspace().id();
//! db.put("alice", "100")?;
//! // Runs again from the start if somebody else came between.
//! db.transact(TxnOptions::default(), |txn| {
//!     let balance: u64 = match txn.get_for_update(accounts, "alice")? {
//!         Some(value) => String::from_utf8_lossy(&value).parse().unwrap_or(0),
//!         None => 0,
//!     };
//!     txn.put(accounts, "alice", (balance - 30).to_string())?;
//!     txn.put(accounts, "bob", "30")
//! })?;
//! assert_eq!(db.get("alice")?.as_deref(), Some(&b"70"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! A thread that has to wait for another transaction sleeps until that one ends.

use crate::db::Shared;
use crate::pump::block_on;
use crate::{Commit, Error, ErrorKind, KeyspaceId, Level, Result, Value};
use ringfort_store::txn::transaction as core;
pub use ringfort_store::txn::transaction::{Concurrency, Entries, TxnOptions};
use std::sync::Arc;
use std::time::Duration;

/// A transaction that fails so often in a row is given up: somebody holds what it needs.
const TRIES_MAX: u32 = 1000;
/// The pause before the second try is drawn from so long, and twice as long before each further one.
const PAUSE: Duration = Duration::from_micros(20);
/// At the longest.
const PAUSE_MAX: Duration = Duration::from_millis(10);

/// A transaction under way. Dropping it rolls it back.
pub struct Transaction {
    shared: Arc<Shared>,
    inner: core::Transaction,
}

impl Transaction {
    pub(crate) fn begin(shared: &Arc<Shared>, options: TxnOptions) -> Self {
        Self { shared: Arc::clone(shared), inner: shared.pump.store.begin(options) }
    }

    /// Reads a key.
    ///
    /// # Errors
    /// `Deadlock`: drop the transaction and begin it again. As [`crate::Db::get`].
    pub fn get(&mut self, keyspace: KeyspaceId, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        block_on(self.inner.get(keyspace, key.as_ref()))
    }

    /// Reads a key that is going to be written.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn get_for_update(&mut self, keyspace: KeyspaceId, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        block_on(self.inner.get_for_update(keyspace, key.as_ref()))
    }

    /// The entries of `from..to`, or to the end of the keyspace; at most `limit`, in order or in reverse. Nobody
    /// changes what was looked at, or puts anything between, before this transaction ends.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn scan(
        &mut self,
        keyspace: KeyspaceId,
        from: impl AsRef<[u8]>,
        to: Option<&[u8]>,
        reverse: bool,
        limit: usize,
    ) -> Result<Entries> {
        block_on(self.inner.scan(keyspace, from.as_ref(), to, reverse, limit))
    }

    /// Sets a key.
    ///
    /// # Errors
    /// As [`Transaction::get`]; `Exhausted` for more than a batch may hold.
    pub fn put(
        &mut self,
        keyspace: KeyspaceId,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<()> {
        block_on(self.inner.put(keyspace, key.as_ref(), value.as_ref()))
    }

    /// Removes a key.
    ///
    /// # Errors
    /// As [`Transaction::put`].
    pub fn delete(&mut self, keyspace: KeyspaceId, key: impl AsRef<[u8]>) -> Result<()> {
        block_on(self.inner.delete(keyspace, key.as_ref()))
    }

    /// Changes a key by the keyspace's merge operator.
    ///
    /// # Errors
    /// As [`Transaction::put`], and those of the operator.
    pub fn merge(
        &mut self,
        keyspace: KeyspaceId,
        key: impl AsRef<[u8]>,
        operand: impl AsRef<[u8]>,
    ) -> Result<()> {
        block_on(self.inner.merge(keyspace, key.as_ref(), operand.as_ref()))
    }

    /// Removes all keys of `from..to`.
    ///
    /// # Errors
    /// As [`Transaction::put`].
    pub fn delete_range(
        &mut self,
        keyspace: KeyspaceId,
        from: impl AsRef<[u8]>,
        to: impl AsRef<[u8]>,
    ) -> Result<()> {
        block_on(self.inner.delete_range(keyspace, from.as_ref(), to.as_ref()))
    }

    /// Marks where [`Transaction::rollback_to_savepoint`] goes back to.
    pub fn set_savepoint(&mut self) {
        self.inner.set_savepoint();
    }

    /// Takes back what was written since the newest savepoint.
    ///
    /// # Errors
    /// `NotFound` without a savepoint.
    pub fn rollback_to_savepoint(&mut self) -> Result<()> {
        self.inner.rollback_to_savepoint()
    }

    /// Commits at the store's write level.
    ///
    /// # Errors
    /// `Conflict` or `Deadlock`: nothing was written, begin it again. `OutcomeUnknown`: it may have happened (R11).
    pub fn commit(self) -> Result<Commit> {
        let level = self.shared.write_level();
        self.commit_with(level)
    }

    /// Commits at a level of choice. One that wrote nothing waits for what it has read (R6).
    ///
    /// # Errors
    /// As [`Transaction::commit`].
    pub fn commit_with(self, level: Level) -> Result<Commit> {
        let ready = block_on(self.inner.ready())?;
        let ticket = self.shared.pump.commit(ready, level)?;
        Ok(Commit::new(self.shared, ticket, level))
    }

    /// Gives it up, as dropping it does. What it has read has no level: who tells others of that commits instead.
    pub fn rollback(self) {}

    /// Gives it up and waits for what it has read: that it was given up may be the answer to it (R6).
    fn give_up(self, level: Level) -> Result<()> {
        let Self { shared, inner } = self;
        let depends = inner.depends();
        drop(inner);
        shared.pump.gate(depends, level)
    }
}

/// Runs `work` in transactions until one commits, and returns what it returned, and how often it was begun
/// again.
pub(crate) fn transact<T>(
    shared: &Arc<Shared>,
    mut options: TxnOptions,
    level: Level,
    mut work: impl FnMut(&mut Transaction) -> Result<Option<T>>,
) -> Result<(Option<T>, u64)> {
    for tries in 0..TRIES_MAX {
        let mut txn = Transaction::begin(shared, options);
        options.age = Some(txn.inner.age());
        let ended = match work(&mut txn) {
            Ok(None) => {
                txn.give_up(level)?;
                return Ok((None, u64::from(tries)));
            }
            Ok(Some(result)) => txn.commit_with(level).map(|_| result),
            Err(error) if may_try_again(&error) => {
                drop(txn);
                Err(error)
            }
            Err(error) => {
                txn.give_up(level)?;
                Err(error)
            }
        };
        match ended {
            Ok(result) => return Ok((Some(result), u64::from(tries))),
            Err(error) if may_try_again(&error) => {
                pause(tries, options.age.unwrap_or_default());
            }
            Err(error) => return Err(error),
        }
    }
    let message = format!("a transaction met others {TRIES_MAX} times in a row and was given up");
    Err(Error::new(ErrorKind::Busy, message))
}

fn may_try_again(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Deadlock)
}

/// A pause of random length, so that two do not meet again and again.
fn pause(tries: u32, age: u64) {
    let longest = PAUSE.saturating_mul(1 << tries.min(10)).min(PAUSE_MAX);
    let mut random = (age << 10) ^ u64::from(tries);
    random = random.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    random ^= random >> 29;
    random = random.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let nanos = (u128::from(random) * longest.as_nanos()) >> 64;
    ringfort_host::door::sleep(Duration::from_nanos(nanos as u64));
}
