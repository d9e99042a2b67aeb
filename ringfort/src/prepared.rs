//! [`Prepared`]: a transaction that is certain to be possible, and waits for a decision from outside.
//!
//! ```
//! use ringfort::{Db, TxnOptions};
//!
//! # fn main() -> ringfort::Result<()> {
//! let db = Db::open_temporary()?;
//! let accounts = db.default_keyspace().id();
//! let mut txn = db.begin(TxnOptions::default());
//! txn.put(accounts, "alice", "70")?;
//! let vote = txn.prepare("transfer 17")?; // durable: yes, it can be committed, whatever happens here
//! drop(vote); // decides nothing
//! assert_eq!(db.get("alice")?, None);
//!
//! // In this life or in another: whoever coordinates has decided.
//! for txn in db.prepared() {
//!     db.resume(&txn.name)?.commit()?;
//! }
//! assert_eq!(db.get("alice")?.as_deref(), Some(&b"70"[..]));
//! # Ok(())
//! # }
//! ```

use crate::db::Shared;
use crate::transaction::wait;
use crate::{Commit, Db, Error, Level, Result, Transaction};
use ringfort_store::store::Ticket;
pub use ringfort_store::txn::prepared::InDoubt;
use ringfort_store::txn::prepared::Prepared as Core;
use std::sync::Arc;

/// A prepared transaction. Dropping it decides nothing: [`Db::resume`] gives it again, after a crash too.
pub struct Prepared {
    shared: Arc<Shared>,
    inner: Core,
}

impl Transaction {
    /// Prepares at the transaction's level, `durable` at the least: whatever happens from here on, it can be committed
    /// and it keeps its locks, until [`Prepared::commit`] or [`Prepared::abort`]. The name is the coordinator's.
    ///
    /// # Errors
    /// `Conflict`, `Deadlock` or `LockTimeout`: begin it again. `AlreadyExists`: one of this name is not decided. `Exhausted`: too
    /// much is in doubt, see [`Db::prepared`]. Nothing was prepared then. `OutcomeUnknown`: it may have been.
    pub fn prepare(self, name: impl AsRef<[u8]>) -> Result<Prepared> {
        let level = self.level.max(Level::Durable);
        self.prepare_with(name, level)
    }

    /// As [`Transaction::prepare`], at a level of choice.
    ///
    /// # Errors
    /// As [`Transaction::prepare`]; `Invalid` for `buffered`: a crash could take the vote back.
    pub fn prepare_with(self, name: impl AsRef<[u8]>, level: Level) -> Result<Prepared> {
        if level < Level::Durable {
            return Err(Error::invalid("a vote is durable at the least"));
        }
        let Self { shared, inner, patience, .. } = self;
        let inner = shared.pump.led(|| wait(patience.as_ref(), inner.prepare(name.as_ref())))?;
        shared.pump.settle(inner.ticket(), level)?;
        Ok(Prepared { shared, inner })
    }
}

impl Prepared {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.inner.name()
    }

    /// Commits at the store's write level: its writes are visible, and its locks free, before it has it.
    ///
    /// # Errors
    /// `NotFound`: it was decided already. `Exhausted`: the store is too busy now, and it stays in doubt: resume it
    /// and try again. `OutcomeUnknown`: find out by [`Db::prepared`] when the store is open again.
    pub fn commit(self) -> Result<Commit> {
        let level = self.shared.write_level();
        self.commit_with(level)
    }

    /// As [`Prepared::commit`], at a level of choice. A coordinator that keeps its own decision may take `buffered`:
    /// if a crash takes this one back, the transaction is in doubt again.
    ///
    /// # Errors
    /// As [`Prepared::commit`].
    pub fn commit_with(self, level: Level) -> Result<Commit> {
        self.decided(level, Core::commit)
    }

    /// Aborts at the store's write level: as if it had never been.
    ///
    /// # Errors
    /// As [`Prepared::commit`].
    pub fn abort(self) -> Result<Commit> {
        let level = self.shared.write_level();
        self.abort_with(level)
    }

    /// As [`Prepared::abort`], at a level of choice, as [`Prepared::commit_with`].
    ///
    /// # Errors
    /// As [`Prepared::commit`].
    pub fn abort_with(self, level: Level) -> Result<Commit> {
        self.decided(level, Core::abort)
    }

    fn decided(self, level: Level, decide: impl FnOnce(Core) -> Result<Ticket>) -> Result<Commit> {
        let Self { shared, inner } = self;
        let ticket = shared.pump.led(|| decide(inner))?;
        if level > Level::Buffered {
            shared.pump.settle(ticket, level)?;
        }
        Ok(Commit::new(shared, ticket, level))
    }
}

impl Db {
    /// The prepared transactions that are not decided, by name; those of earlier lives of the store too. They keep
    /// their locks, and take memory and log, until somebody decides them.
    #[must_use]
    pub fn prepared(&self) -> Vec<InDoubt> {
        self.shared().pump.store.prepared()
    }

    /// A prepared transaction by its name, once the vote has the level that it was to have.
    ///
    /// # Errors
    /// `NotFound` if none of this name is in doubt.
    pub fn resume(&self, name: impl AsRef<[u8]>) -> Result<Prepared> {
        let inner = self.shared().pump.store.resume(name.as_ref())?;
        self.shared().pump.gate(inner.ticket().position, self.shared().vote_level())?;
        Ok(Prepared { shared: Arc::clone(self.shared()), inner })
    }
}
