//! [`Transaction`]: many reads and writes as one step.
//!
//! ```
//! use ringfort::{Db, TxnOptions};
//!
//! # fn main() -> ringfort::Result<()> {
//! let db = Db::open_temporary()?;
//! let accounts = db.default_keyspace();
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
//! A thread that has to wait for another transaction sleeps until that one ends, or until its own
//! [`TxnOptions::lock_timeout`].

use crate::db::Shared;
use crate::pump::{block_on, block_on_for};
use crate::range::of_prefix;
use crate::{
    Commit, Error, ErrorKind, KeyRange, Keyspace, KeyspaceId, Level, Result, StoredValue, Value, ValueWriter,
    WriteBatch,
};
use ringfort_base::limits::STORED_VALUE_BYTES_MIN;
use ringfort_store::txn::locks::Waiting;
pub use ringfort_store::txn::transaction::Concurrency;
use ringfort_store::txn::{scan, transaction as core};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// A transaction that fails so often in a row is given up: somebody holds what it needs.
const TRIES_MAX: u32 = 1000;
/// Tries that follow each other at once, in turn with others that were refused (see [`crate::contention`]).
const PROMPT_TRIES: u32 = 3;
/// The pause before the next try is drawn from so long, and twice as long before each further one.
const PAUSE: Duration = Duration::from_micros(20);
/// At the longest.
const PAUSE_MAX: Duration = Duration::from_millis(10);

/// How to begin a transaction.
///
/// ```
/// use ringfort::{Level, TxnOptions};
/// use std::time::Duration;
///
/// let patient = TxnOptions::default(); // pessimistic, at the store's level, waits as long as it takes
/// let checked = TxnOptions::optimistic().level(Level::Fresh);
/// let hasty = TxnOptions::pessimistic().lock_timeout(Duration::from_millis(50));
/// let report = TxnOptions::read_only();
/// # let _ = (patient, checked, hasty, report);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TxnOptions {
    /// How it keeps others away.
    pub concurrency: Concurrency,
    /// What a commit has on return; the store's write level if none is named.
    pub level: Option<Level>,
    /// How long one call may wait for others' locks, before it fails with
    /// [`LockTimeout`](ErrorKind::LockTimeout); without one, as long as it takes. Nobody waits in a circle either
    /// way: deadlocks are found when they arise.
    pub lock_timeout: Option<Duration>,
}

impl TxnOptions {
    /// Kept apart by locks: the default.
    #[must_use]
    pub const fn pessimistic() -> Self {
        Self { concurrency: Concurrency::Pessimistic, level: None, lock_timeout: None }
    }

    /// Kept apart by a check at the end.
    #[must_use]
    pub const fn optimistic() -> Self {
        Self { concurrency: Concurrency::Optimistic, ..Self::pessimistic() }
    }

    /// One that only reads: everything as of its begin. It takes no locks, waits for nobody, and nobody waits for it;
    /// writes are refused. It is serializable all the same, and at level `fresh` strictly.
    #[must_use]
    pub const fn read_only() -> Self {
        Self { concurrency: Concurrency::Snapshot, ..Self::pessimistic() }
    }

    /// With a commit level of its own.
    #[must_use]
    pub const fn level(mut self, level: Level) -> Self {
        self.level = Some(level);
        self
    }

    /// With an end to its patience.
    #[must_use]
    pub const fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = Some(timeout);
        self
    }
}

/// Transactions name a keyspace by its handle or by its id.
impl From<&Keyspace> for KeyspaceId {
    fn from(keyspace: &Keyspace) -> Self {
        keyspace.id()
    }
}

/// A transaction under way. Dropping it rolls it back.
///
/// Its reads answer at once, whatever is durable by then: what they said is certain, at a level, when the commit
/// with that level has returned, and that is so for one that wrote nothing too (R6).
///
/// A thread that has one open writes through it: a plain write of the same thread to what the transaction has locked
/// would wait for ever.
pub struct Transaction {
    pub(crate) shared: Arc<Shared>,
    pub(crate) inner: core::Transaction,
    pub(crate) level: Level,
    pub(crate) patience: Option<Patience>,
}

/// How long it waits for others, and whom it waits for.
pub(crate) struct Patience {
    timeout: Duration,
    waiting: Waiting,
}

/// Waits for other transactions.
pub(crate) fn wait<T>(patience: Option<&Patience>, future: impl Future<Output = Result<T>>) -> Result<T> {
    let Some(Patience { timeout, waiting }) = patience else { return block_on(future) };
    let mut others = 0;
    let done = block_on_for(future, *timeout, || others = waiting.others());
    done.unwrap_or_else(|| {
        let message = format!(
            "a lock was not granted within {timeout:?}: {others} other transactions have it or asked for it \
             before; roll back, and try again later"
        );
        Err(Error::new(ErrorKind::LockTimeout, message))
    })
}

impl Transaction {
    pub(crate) fn begin(shared: &Arc<Shared>, options: TxnOptions) -> Self {
        Self::begin_again(shared, options, None)
    }

    /// With the age of an earlier try.
    fn begin_again(shared: &Arc<Shared>, options: TxnOptions, age: Option<u64>) -> Self {
        let TxnOptions { concurrency, level, lock_timeout } = options;
        let inner = shared.pump.store.begin(core::TxnOptions { concurrency, age });
        let patience = lock_timeout.map(|timeout| Patience { timeout, waiting: inner.waiting() });
        let level = level.unwrap_or_else(|| shared.write_level());
        Self { shared: Arc::clone(shared), inner, level, patience }
    }

    // --- reads -----------------------------------------------------------------------------------

    /// Reads a key.
    ///
    /// # Errors
    /// `Deadlock`, `LockTimeout`: drop the transaction and begin it again. As [`crate::Db::get`].
    pub fn get(&mut self, keyspace: impl Into<KeyspaceId>, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        wait(self.patience.as_ref(), self.inner.get(keyspace.into(), key.as_ref()))
    }

    /// Reads a key that is going to be written.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn get_for_update(
        &mut self,
        keyspace: impl Into<KeyspaceId>,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<Value>> {
        wait(self.patience.as_ref(), self.inner.get_for_update(keyspace.into(), key.as_ref()))
    }

    /// Reads many keys, all as of one moment; the values in the order of the keys.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn multi_get<K: AsRef<[u8]>>(
        &mut self,
        keyspace: impl Into<KeyspaceId>,
        keys: &[K],
    ) -> Result<Vec<Option<Value>>> {
        wait(self.patience.as_ref(), self.inner.multi_get(keyspace.into(), keys))
    }

    /// The entries of a range in ascending order. Nobody changes what was looked at, or puts anything between,
    /// before this transaction ends; a scan with a [limit](TxnScan::limit) looks no further than that.
    ///
    /// ```
    /// # fn main() -> ringfort::Result<()> {
    /// let db = ringfort::Db::open_temporary()?;
    /// let ks = db.default_keyspace();
    /// for key in ["a", "b", "c"] {
    ///     db.put(key, "1")?;
    /// }
    /// let mut txn = db.begin(Default::default());
    /// txn.delete(ks, "a")?;
    /// txn.put(ks, "bb", "2")?;
    /// let mut scan = txn.scan(ks, "a"..).limit(2);
    /// while let Some((key, value)) = scan.next_entry()? {
    ///     println!("{key:?} = {value:?}"); // b = 1, bb = 2
    /// }
    /// let last = txn.scan_rev(ks, ..).next().transpose()?;
    /// assert_eq!(last, Some((b"c".to_vec(), b"1".to_vec())));
    /// # Ok(())
    /// # }
    /// ```
    pub fn scan(&mut self, keyspace: impl Into<KeyspaceId>, range: impl KeyRange) -> TxnScan<'_> {
        TxnScan::of(self, keyspace.into(), range.bounds(), false)
    }

    /// The entries of a range in descending order; see [`Transaction::scan`].
    pub fn scan_rev(&mut self, keyspace: impl Into<KeyspaceId>, range: impl KeyRange) -> TxnScan<'_> {
        TxnScan::of(self, keyspace.into(), range.bounds(), true)
    }

    /// The entries whose keys begin with `prefix`, in ascending order; see [`Transaction::scan`].
    pub fn prefix(&mut self, keyspace: impl Into<KeyspaceId>, prefix: impl AsRef<[u8]>) -> TxnScan<'_> {
        TxnScan::of(self, keyspace.into(), of_prefix(prefix.as_ref()), false)
    }

    // --- writes ----------------------------------------------------------------------------------

    /// Sets a key. Long values go to files of their own, as with [`crate::Db::put`].
    ///
    /// # Errors
    /// As [`Transaction::get`]; `Invalid` if it is read-only, `Exhausted` for more than a batch may hold.
    pub fn put(
        &mut self,
        keyspace: impl Into<KeyspaceId>,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<()> {
        let value = value.as_ref();
        if value.len() < STORED_VALUE_BYTES_MIN {
            return wait(self.patience.as_ref(), self.inner.put(keyspace.into(), key.as_ref(), value));
        }
        let mut writer = ValueWriter::new(&self.shared);
        writer.write(value)?;
        self.put_stored(keyspace, key, writer.finish()?)
    }

    /// Sets a key to a value that was written by the piece ([`crate::Db::value_writer`]).
    ///
    /// # Errors
    /// As [`Transaction::put`].
    pub fn put_stored(
        &mut self,
        keyspace: impl Into<KeyspaceId>,
        key: impl AsRef<[u8]>,
        value: StoredValue,
    ) -> Result<()> {
        wait(self.patience.as_ref(), self.inner.put_stored(keyspace.into(), key.as_ref(), value))
    }

    /// Removes a key.
    ///
    /// # Errors
    /// As [`Transaction::put`].
    pub fn delete(&mut self, keyspace: impl Into<KeyspaceId>, key: impl AsRef<[u8]>) -> Result<()> {
        wait(self.patience.as_ref(), self.inner.delete(keyspace.into(), key.as_ref()))
    }

    /// Changes a key by the keyspace's merge operator, without reading it.
    ///
    /// # Errors
    /// As [`Transaction::put`], and those of the operator.
    pub fn merge(
        &mut self,
        keyspace: impl Into<KeyspaceId>,
        key: impl AsRef<[u8]>,
        operand: impl AsRef<[u8]>,
    ) -> Result<()> {
        wait(self.patience.as_ref(), self.inner.merge(keyspace.into(), key.as_ref(), operand.as_ref()))
    }

    /// Removes all keys of `from..to`.
    ///
    /// # Errors
    /// As [`Transaction::put`].
    pub fn delete_range(
        &mut self,
        keyspace: impl Into<KeyspaceId>,
        from: impl AsRef<[u8]>,
        to: impl AsRef<[u8]>,
    ) -> Result<()> {
        wait(self.patience.as_ref(), self.inner.delete_range(keyspace.into(), from.as_ref(), to.as_ref()))
    }

    /// Does all that a batch does, or nothing of it, as a part of this transaction.
    ///
    /// # Errors
    /// As [`Transaction::put`] and [`Transaction::merge`].
    pub fn write(&mut self, batch: &WriteBatch) -> Result<()> {
        wait(self.patience.as_ref(), self.inner.write(batch))
    }

    // --- savepoints and the end ------------------------------------------------------------------

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

    /// Forgets the newest savepoint and keeps what was written since.
    ///
    /// # Errors
    /// `NotFound` without a savepoint.
    pub fn pop_savepoint(&mut self) -> Result<()> {
        self.inner.pop_savepoint()
    }

    /// Commits at the level that it was begun with.
    ///
    /// # Errors
    /// `Conflict`, `Deadlock` or `LockTimeout`: nothing was written, begin it again. `NotFound`: a keyspace was
    /// dropped, and nothing was written. `OutcomeUnknown`: it may have happened (R11).
    pub fn commit(self) -> Result<Commit> {
        let level = self.level;
        self.commit_with(level)
    }

    /// Commits at a level of choice. One that wrote nothing waits for what it has read (R6), and one that met a
    /// conflict for what it met.
    ///
    /// # Errors
    /// As [`Transaction::commit`].
    pub fn commit_with(self, level: Level) -> Result<Commit> {
        let shared = Arc::clone(&self.shared);
        self.try_commit(level, ()).map_err(|error| match error.kind() {
            ErrorKind::Conflict => {
                let seen = shared.pump.store.frontier(Level::Buffered);
                shared.pump.gate(seen, level).err().unwrap_or(error)
            }
            _ => error,
        })
    }

    /// `held` is dropped as soon as others may go on.
    fn try_commit<T>(self, level: Level, held: T) -> Result<Commit> {
        let ready = wait(self.patience.as_ref(), self.inner.ready())?;
        let ticket = self.shared.pump.commit(ready, level, held)?;
        Ok(Commit::new(self.shared, ticket, level))
    }

    /// Gives it up, as dropping it does. What it has read has no level: who tells others of that commits instead.
    pub fn rollback(self) {}

    /// Gives it up and waits for what it has read: that it was given up may be the answer to it (R6).
    fn give_up(self, level: Level) -> Result<()> {
        let Self { shared, inner, .. } = self;
        let depends = inner.depends();
        drop(inner);
        shared.pump.gate(depends, level)
    }
}

/// The entries of a range, as a transaction sees them. What it looked at is protected, a little ahead: up to 64
/// entries, and not beyond its limit. Errors end it; a deadlock or a timeout is for the transaction to be dropped.
pub struct TxnScan<'t> {
    txn: &'t mut Transaction,
    scan: scan::Scan,
    ended: bool,
}

impl<'t> TxnScan<'t> {
    fn of(
        txn: &'t mut Transaction,
        keyspace: KeyspaceId,
        (from, to): (Vec<u8>, Option<Vec<u8>>),
        reverse: bool,
    ) -> Self {
        let scan = scan::Scan::new(keyspace, &from, to.as_deref(), reverse, usize::MAX);
        Self { txn, scan, ended: false }
    }

    /// Not more entries than these, and no look behind the last of them.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.scan = self.scan.limit(limit);
        self
    }

    /// The next entry, borrowed: what a caller who needs no copy reads. `None` behind the last one.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn next_entry(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        if self.ended {
            return Ok(None);
        }
        let next = wait(self.txn.patience.as_ref(), self.txn.inner.next(&mut self.scan));
        self.ended = !matches!(next, Ok(Some(_)));
        next
    }
}

impl Iterator for TxnScan<'_> {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.next_entry().transpose()?;
        Some(entry.map(|(key, value)| (key.to_vec(), value.to_vec())))
    }
}

/// Runs `work` in transactions until one commits, and returns what it returned, and how often it was begun
/// again.
pub(crate) fn transact<T>(
    shared: &Arc<Shared>,
    options: TxnOptions,
    mut work: impl FnMut(&mut Transaction) -> Result<Option<T>>,
) -> Result<(Option<T>, u64)> {
    let running = shared.contention.run();
    let mut age = None;
    for tries in 0..TRIES_MAX {
        let turn = running.enter(tries == 0);
        let is_in_turn = turn.is_some();
        let mut txn = Transaction::begin_again(shared, options, age);
        age = Some(txn.inner.age());
        let level = txn.level;
        let ended = match work(&mut txn) {
            Ok(Some(result)) => txn.try_commit(level, turn).map(|_| result),
            Err(error) if may_try_again(&error) => {
                drop((txn, turn));
                Err(error)
            }
            // Others may go on while this one waits for the level of what it has read.
            given_up => {
                drop(turn);
                running.leave(is_in_turn, false);
                txn.give_up(level)?;
                return given_up.map(|_| (None, u64::from(tries)));
            }
        };
        running.leave(is_in_turn, ended.is_err());
        match ended {
            Ok(result) => return Ok((Some(result), u64::from(tries))),
            Err(error) if may_try_again(&error) => {
                if tries >= PROMPT_TRIES {
                    pause(tries - PROMPT_TRIES, age.unwrap_or_default());
                }
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
