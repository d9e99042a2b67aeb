//! [`Db`]: an open store with its workers.
//!
//! Everything that is shared by the handles to one store stands in one place: dropping the last
//! handle stops the workers, anchors what was written and closes the store.

use crate::contention::Contention;
use crate::pump::{Pump, block_on};
use crate::temporary::TempDir;
use crate::transaction::{self, Transaction, TxnOptions};
use crate::workers::Workers;
use crate::{
    Commit, Error, ErrorKind, Incarnation, KeyRange, Keyspace, KeyspaceOptions, Level, Mode, Options, Result,
    Scan, Seq, Statistics, StoreId, Value, ValueReader, ValueWriter, WriteBatch,
};
use ringfort_store::store::Step;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The keyspace of calls that name none.
const DEFAULT_KEYSPACE: &str = "default";
/// While the upkeep worker is at something that others wait for.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// What the handles to one open store share. Fields are dropped in their order: the workers end
/// before the store goes, the temporary directory after it.
pub(crate) struct Shared {
    workers: Option<Workers>,
    pub(crate) pump: Arc<Pump>,
    pub(crate) contention: Contention,
    closed: AtomicBool,
    pub(crate) read_level: Level,
    write_level: Level,
    keyspace: KeyspaceOptions,
    warnings: Vec<String>,
    platform: String,
    _temporary: Option<TempDir>,
}

impl Shared {
    pub(crate) fn write(&self, batch: WriteBatch) -> Result<()> {
        self.pump.write(batch, self.write_level).map(drop)
    }

    pub(crate) fn write_with(self: &Arc<Self>, batch: WriteBatch, level: Level) -> Result<Commit> {
        let ticket = self.pump.write(batch, level)?;
        Ok(Commit::new(Arc::clone(self), ticket, level))
    }

    pub(crate) fn write_level(&self) -> Level {
        self.write_level
    }

    /// What a vote of a prepared transaction waits for: a crash must not take it back.
    pub(crate) fn vote_level(&self) -> Level {
        self.write_level.max(Level::Durable)
    }

    pub(crate) fn snapshot(self: &Arc<Self>) -> Result<Snapshot> {
        let inner = self.pump.store.snapshot();
        Ok(Snapshot { shared: Arc::clone(self), inner, level: self.read_level })
    }

    fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        if let Some(workers) = &self.workers {
            workers.stop();
        }
        self.pump.store.close()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // What close could not anchor is durable at the most, as after a crash; use `Db::close` to know.
        let _ = self.close();
    }
}

/// An open store. Cheap to clone; many threads may use it at once.
///
/// Calls that name no keyspace mean the one called `default`.
#[derive(Clone)]
pub struct Db {
    shared: Arc<Shared>,
    default: Keyspace,
}

impl Db {
    /// Opens the store, or creates it. Everything is verified first: a store that was altered,
    /// rolled back or is alive elsewhere is refused, nothing having been written (R12). The error's
    /// [`proof`](crate::Error::proof) names the evidence.
    pub fn open(options: Options) -> Result<Self> {
        Self::open_in(options, None)
    }

    /// Opens a new store in a directory of its own, platform included, which is removed when the
    /// last handle is dropped. For tests and examples.
    pub fn open_temporary() -> Result<Self> {
        Self::open_temporary_with(Options::new(""))
    }

    /// As [`Db::open_temporary`]; the places in `options` are replaced.
    pub fn open_temporary_with(options: Options) -> Result<Self> {
        let dir = TempDir::new()?;
        let mut options = options.platform_state(dir.path().join("platform"));
        options.path = dir.path().join("data");
        if options.store.mode.is_some_and(Mode::needs_trusted_volume) {
            options = options.trusted(dir.path().join("trusted"));
        }
        Self::open_in(options, Some(dir))
    }

    fn open_in(options: Options, temporary: Option<TempDir>) -> Result<Self> {
        let opened = options.open_store()?;
        let id = match opened.store.keyspace(DEFAULT_KEYSPACE) {
            Some(id) => id,
            None => opened.store.create_keyspace(DEFAULT_KEYSPACE, options.keyspace.clone())?,
        };
        let pump = Arc::new(Pump::new(opened.store, options.background));
        let workers = match options.background {
            true => Some(Workers::start(&pump, options.store.anchor_window)?),
            false => None,
        };
        let upkeep = workers.as_ref().map(Workers::upkeep);
        let called = Arc::downgrade(&pump);
        pump.store.on_work(
            Box::new(move || {
                if let Some(pump) = called.upgrade() {
                    pump.call();
                }
            }),
            Box::new(move || {
                if let Some(upkeep) = &upkeep {
                    upkeep.raise();
                }
            }),
        );
        let shared = Arc::new(Shared {
            workers,
            pump,
            contention: Contention::default(),
            closed: AtomicBool::new(false),
            read_level: options.read_level,
            write_level: options.store.default_level,
            keyspace: options.keyspace,
            warnings: opened.warnings,
            platform: opened.platform.describe(),
            _temporary: temporary,
        });
        let default = Keyspace { shared: Arc::clone(&shared), id, name: DEFAULT_KEYSPACE.into() };
        Ok(Self { shared, default })
    }

    /// Gives a store up; see [`destroy`](crate::destroy).
    pub fn destroy(options: &Options, phrase: &str) -> Result<StoreId> {
        crate::destroy::destroy(options, phrase)
    }

    // --- keyspaces -------------------------------------------------------------------------------

    /// The keyspace of calls that name none.
    #[must_use]
    pub fn default_keyspace(&self) -> &Keyspace {
        &self.default
    }

    /// A keyspace that exists.
    pub fn keyspace(&self, name: &str) -> Result<Keyspace> {
        let id = self.shared.pump.store.keyspace(name).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no keyspace '{name}'; create it first"))
        })?;
        Ok(Keyspace { shared: Arc::clone(&self.shared), id, name: name.into() })
    }

    /// Creates a keyspace, at level fresh (R19), or returns the one that exists, whose options stay
    /// as they are.
    pub fn create_keyspace(&self, name: &str, options: KeyspaceOptions) -> Result<Keyspace> {
        let id = self.shared.pump.store.create_keyspace(name, options)?;
        Ok(Keyspace { shared: Arc::clone(&self.shared), id, name: name.into() })
    }

    /// [`Db::create_keyspace`] with [`Options::keyspace_defaults`].
    pub fn open_keyspace(&self, name: &str) -> Result<Keyspace> {
        self.create_keyspace(name, self.shared.keyspace.clone())
    }

    /// Drops a keyspace with all that it holds: logically deleted (R15), the bytes go when
    /// compaction and the log no longer need them. Waits for transactions that are at work in it; refused (`Busy`)
    /// while a prepared one that wrote to it or read in it is in doubt.
    pub fn drop_keyspace(&self, name: &str) -> Result<()> {
        block_on(self.shared.pump.store.drop_keyspace(name))
    }

    /// The names of all keyspaces, sorted.
    #[must_use]
    pub fn keyspaces(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.shared.pump.store.keyspaces().into_iter().map(|(name, _)| name).collect();
        names.sort();
        names
    }

    // --- reading and writing ---------------------------------------------------------------------

    /// Reads a key; see [`Keyspace::get`].
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        self.default.get(key)
    }

    /// Reads many keys; see [`Keyspace::multi_get`].
    pub fn multi_get<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Value>>> {
        self.default.multi_get(keys)
    }

    /// Sets a key; see [`Keyspace::put`].
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        self.default.put(key, value)
    }

    /// Sets a key to all that `source` has; see [`Keyspace::put_from`].
    pub fn put_from(&self, key: impl AsRef<[u8]>, source: impl std::io::Read) -> Result<u64> {
        self.default.put_from(key, source)
    }

    /// Reads a key's value by the piece; see [`Keyspace::reader`].
    pub fn reader(&self, key: impl AsRef<[u8]>) -> Result<Option<ValueReader>> {
        self.default.reader(key)
    }

    /// A writer of a value of any keyspace, by the piece, for a batch; see [`crate::stream`].
    #[must_use]
    pub fn value_writer(&self) -> ValueWriter {
        ValueWriter::new(&self.shared)
    }

    /// Changes a key's value by the default keyspace's merge operator; see [`Keyspace::merge`].
    pub fn merge(&self, key: impl AsRef<[u8]>, operand: impl AsRef<[u8]>) -> Result<()> {
        self.default.merge(key, operand)
    }

    /// Removes a key; see [`Keyspace::delete`].
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<()> {
        self.default.delete(key)
    }

    /// Removes a range of keys; see [`Keyspace::delete_range`].
    pub fn delete_range(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<()> {
        self.default.delete_range(from, to)
    }

    /// Carries out a batch: all of it or nothing, across keyspaces, at the store's write level.
    pub fn write(&self, batch: WriteBatch) -> Result<()> {
        self.shared.write(batch)
    }

    /// Carries out a batch at a level of choice; the handle can be awaited for a higher one.
    pub fn write_with(&self, batch: WriteBatch, level: Level) -> Result<Commit> {
        self.shared.write_with(batch, level)
    }

    /// Queues a batch and returns at once, with a handle for when it has `level`: see [`Commit`]. The
    /// batch has its place in the log, and shows when it has level `buffered`.
    ///
    /// Thousands may be under way; the workers write, sync and anchor them in groups. A caller who
    /// brings more than the log or the compactions can take is slowed down like any writer.
    pub fn submit(&self, batch: WriteBatch, level: Level) -> Result<Commit> {
        let ticket = self.shared.pump.submit(batch, level)?;
        Ok(Commit::new(Arc::clone(&self.shared), ticket, level))
    }

    /// The entries of a range; see [`Keyspace::scan`].
    pub fn scan(&self, range: impl KeyRange) -> Result<Scan> {
        self.default.scan(range)
    }

    /// The entries of a range from its end; see [`Keyspace::scan_rev`].
    pub fn scan_rev(&self, range: impl KeyRange) -> Result<Scan> {
        self.default.scan_rev(range)
    }

    /// The entries of a prefix; see [`Keyspace::prefix`].
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Result<Scan> {
        self.default.prefix(prefix)
    }

    /// A consistent view of all keyspaces, as of now.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.shared.snapshot()
    }

    // --- transactions ----------------------------------------------------------------------------

    /// Begins a transaction.
    #[must_use]
    pub fn begin(&self, options: TxnOptions) -> Transaction {
        Transaction::begin(&self.shared, options)
    }

    /// Runs `work` in a transaction and commits it; where others came between, again from the start, with random
    /// pauses that grow, and with the age of the first try, so that it gets through. A panic of `work` rolls back, and
    /// so does an error, which is returned when what `work` read has the commit's level.
    ///
    /// # Errors
    /// Those of `work` and of [`Transaction::commit`], of which `Conflict` and `Deadlock` begin it again; `Busy` if it
    /// met others again and again.
    pub fn transact<T>(
        &self,
        options: TxnOptions,
        mut work: impl FnMut(&mut Transaction) -> Result<T>,
    ) -> Result<T> {
        let (done, _) = transaction::transact(&self.shared, options, |txn| work(txn).map(Some))?;
        done.ok_or_else(|| Error::new(ErrorKind::Internal, "a transaction ended without a result"))
    }

    // --- upkeep ----------------------------------------------------------------------------------

    /// Writes the memory of all keyspaces to tables, and waits until it is there.
    pub fn flush(&self) -> Result<()> {
        self.shared.pump.store.flush(None)
    }

    /// Waits until no flush, deletion of files or compaction is due, and helps with them.
    pub fn wait_for_upkeep(&self) -> Result<()> {
        let idle = || self.shared.workers.as_ref().is_none_or(Workers::upkeep_is_idle);
        loop {
            let worked = self.shared.pump.store.maintenance_step()? == Step::Worked;
            // What the worker is at is not due for others, and may leave more to do.
            match idle() {
                true if !worked => return Ok(()),
                true => {}
                false => ringfort_host::door::sleep(LOOK_AGAIN),
            }
        }
    }

    /// Flushes and compacts a range of the default keyspace down to one level.
    pub fn compact_range(&self, range: impl KeyRange) -> Result<()> {
        self.default.compact_range(range)
    }

    /// Reads and verifies every block of every table; how many bytes that were.
    pub fn verify_checksums(&self) -> Result<u64> {
        self.shared.pump.store.verify_checksums()
    }

    /// About how many bytes a range of the default keyspace takes.
    pub fn approximate_size(&self, range: impl KeyRange) -> Result<u64> {
        self.default.approximate_size(range)
    }

    /// What the store counts about itself.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.shared.pump.store.statistics()
    }

    /// Runs one round of what waits to be done; whether there was anything. For a store without
    /// background workers.
    pub fn run_pending(&self) -> Result<bool> {
        let log = self.shared.pump.run_pending()?;
        let upkeep = self.shared.pump.store.maintenance_step()?;
        Ok(log == Step::Worked || upkeep == Step::Worked)
    }

    #[cfg(feature = "bench")]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn store(&self) -> &ringfort_store::Store {
        &self.shared.pump.store
    }

    // --- what it is ------------------------------------------------------------------------------

    /// The store's random identity.
    #[must_use]
    pub fn id(&self) -> StoreId {
        self.shared.pump.store.id()
    }

    /// The mode that is sealed in the store.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.shared.pump.store.mode()
    }

    /// Which life this is: every open begins the next one.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.shared.pump.store.incarnation()
    }

    /// The log position up to which everything has `level`.
    #[must_use]
    pub fn frontier(&self, level: Level) -> Seq {
        self.shared.pump.store.frontier(level)
    }

    /// One line on the platform: what it is and what it does not protect against.
    #[must_use]
    pub fn platform(&self) -> &str {
        &self.shared.platform
    }

    /// What is allowed and still unwise about this store, one sentence each.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.shared.warnings
    }

    /// Why the store stopped, if it did: nothing more is read or written (R11).
    #[must_use]
    pub fn stopped(&self) -> Option<Error> {
        self.shared.pump.store.stopped()
    }

    /// What a background worker last failed at without stopping the store (a full disk, say).
    #[must_use]
    pub fn background_error(&self) -> Option<Error> {
        self.shared.workers.as_ref().and_then(|workers| workers.failure.lock().clone())
    }

    /// Stops the workers, anchors everything and closes the store for all handles. Later calls
    /// answer [`Stopped`](crate::ErrorKind::Stopped). The directory can be opened again when the
    /// last handle, snapshot and scan is dropped.
    pub fn close(&self) -> Result<()> {
        self.shared.close()
    }
}

/// A consistent view. What it sees is kept until it is dropped, so do not keep it long.
///
/// ```
/// # fn main() -> ringfort::Result<()> {
/// let db = ringfort::Db::open_temporary()?;
/// db.put("k", "old")?;
/// let before = db.snapshot()?;
/// db.put("k", "new")?;
/// assert_eq!(before.get(db.default_keyspace(), "k")?.as_deref(), Some(&b"old"[..]));
/// # Ok(())
/// # }
/// ```
pub struct Snapshot {
    pub(crate) shared: Arc<Shared>,
    pub(crate) inner: ringfort_store::Snapshot,
    level: Level,
}

impl Snapshot {
    /// The log position that it shows.
    #[must_use]
    pub fn position(&self) -> Seq {
        self.inner.position()
    }

    /// The same view with another read level than the store's.
    #[must_use]
    pub fn with_level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// Reads a key as of the snapshot.
    pub fn get(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        let answer = self.shared.pump.store.get(keyspace.id, key.as_ref(), Some(&self.inner))?;
        self.shared.pump.gate(answer.depends, self.level)?;
        Ok(answer.value)
    }

    /// Reads many keys as of the snapshot; the values in the order of the keys.
    pub fn multi_get<K: AsRef<[u8]>>(&self, keyspace: &Keyspace, keys: &[K]) -> Result<Vec<Option<Value>>> {
        let answer = self.shared.pump.store.multi_get(keyspace.id, keys, Some(&self.inner))?;
        self.shared.pump.gate(answer.depends, self.level)?;
        Ok(answer.value)
    }

    /// The entries of a range in ascending order.
    pub fn scan(&self, keyspace: &Keyspace, range: impl KeyRange) -> Result<Scan> {
        self.scan_bounds(keyspace.id, range.bounds(), false)
    }

    /// The entries of a range in descending order.
    pub fn scan_rev(&self, keyspace: &Keyspace, range: impl KeyRange) -> Result<Scan> {
        self.scan_bounds(keyspace.id, range.bounds(), true)
    }

    pub(crate) fn scan_bounds(
        &self,
        keyspace: crate::KeyspaceId,
        bounds: (Vec<u8>, Option<Vec<u8>>),
        reverse: bool,
    ) -> Result<Scan> {
        // A scan depends on all that the snapshot shows, gaps included (R6).
        self.shared.pump.gate(self.position(), self.level)?;
        Scan::of(self, keyspace, bounds, reverse)
    }
}
