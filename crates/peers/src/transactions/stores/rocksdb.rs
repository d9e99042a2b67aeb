//! RocksDB's TransactionDB (locks) and OptimisticTransactionDB (a check at the commit), set up as
//! [`crate::engines::rocksdb`] sets up the store below them.
//!
//! - **Reads are tracked** by `GetForUpdate`: shared, or exclusive for what is going to be written. Every entry of a
//!   scan is read again that way, since an iterator tracks nothing. So a transaction is serializable as far as
//!   single keys go; what others insert between them it does not see (phantoms).
//! - **Those that only read** take a snapshot and no locks, which is serializable and the cheapest that there is.
//! - **Nothing is committed that wrote nothing**: an empty batch would be synced too.
//! - Locks are waited for, deadlocks are looked for at once, and transactions do not expire. The optimistic kind takes no
//!   snapshot: each key is then checked from when it was read on, which refuses fewer. Its memtables
//!   stay long enough for the check to find what it needs in them.

use super::{By, Kind, Opening, Reads, Store, retried};
use crate::Result;
use crate::engines::{self, rocksdb as engine};
use ringfort_base::Level;
use ringfort_bench::engine::synced;
use ringfort_bench::transactional::{self, End, MustRetry, Transactional, Visit, Work};
use rocksdb::{
    DBAccess, DBPinnableSlice, DBRawIteratorWithThreadMode, Error, ErrorKind, OptimisticTransactionDB,
    OptimisticTransactionOptions, ReadOptions, SnapshotWithThreadMode, Transaction, TransactionDB,
    TransactionDBOptions, TransactionOptions, WriteBatchWithTransaction, WriteOptions,
};
use std::path::Path;

/// As serializable as it can be.
pub const TRACKED: Kind = Kind {
    name: "rocksdb",
    about: || {
        format!(
            "{}; TransactionDB or OptimisticTransactionDB, every read tracked by GetForUpdate",
            engine::about()
        )
    },
    open,
    // The optimistic one can be told to flush by its interface for C, the other cannot.
    open_to_load: optimistic,
    files: "rocksdb",
    reads: Reads::Tracked,
    by: &[By::Pessimistic, By::Optimistic],
};

/// Read committed.
pub const PLAIN_READS: Kind = Kind {
    name: "rocksdb-plain-reads",
    about: || {
        format!(
            "{}; the same with plain Gets, not serializable: what only is read is not protected",
            engine::about()
        )
    },
    open,
    // The optimistic one can be told to flush by its interface for C, the other cannot.
    open_to_load: optimistic,
    files: "rocksdb",
    reads: Reads::Plain,
    by: &[By::Pessimistic, By::Optimistic],
};

/// How long a lock is waited for, ms: RocksDB's own default. A deadlock is found at once.
const LOCK_TIMEOUT_MS: i64 = 1000;
/// Memtables whose history the optimistic check finds.
const MEMTABLES_KEPT: i64 = 8;

fn open(dir: &Path, opening: &Opening<'_>) -> Result<Box<dyn Store>> {
    match opening.by {
        By::Pessimistic => {
            let mut how = TransactionDBOptions::default();
            how.set_txn_lock_timeout(LOCK_TIMEOUT_MS);
            how.set_default_lock_timeout(LOCK_TIMEOUT_MS);
            let db = TransactionDB::open(&engine::options(opening.settings)?, &how, dir)?;
            let mut options = TransactionOptions::default();
            options.set_deadlock_detect(true);
            Ok(Box::new(RocksDb::new(Locking { db, options })))
        }
        By::Optimistic => optimistic(dir, opening),
    }
}

fn optimistic(dir: &Path, opening: &Opening<'_>) -> Result<Box<dyn Store>> {
    let mut settings = engine::options(opening.settings)?;
    let memtable = i64::try_from(opening.settings.write_buffer_size)?;
    settings.set_max_write_buffer_size_to_maintain(MEMTABLES_KEPT * memtable);
    let db = OptimisticTransactionDB::open(&settings, dir)?;
    Ok(Box::new(RocksDb::new(Checking { db, options: OptimisticTransactionOptions::default() })))
}

/// What the two have in common.
trait Database: Send + Sync {
    type Db: DBAccess;

    fn begin(&self, write: &WriteOptions) -> Transaction<'_, Self::Db>;
    fn snapshot(&self) -> SnapshotWithThreadMode<'_, Self::Db>;
    fn write(&self, batch: WriteBatchWithTransaction<true>) -> Result<()>;
    fn settle(&self) -> Result<()>;
}

struct Locking {
    db: TransactionDB,
    options: TransactionOptions,
}

impl Database for Locking {
    type Db = TransactionDB;

    fn begin(&self, write: &WriteOptions) -> Transaction<'_, TransactionDB> {
        self.db.transaction_opt(write, &self.options)
    }

    fn snapshot(&self) -> SnapshotWithThreadMode<'_, TransactionDB> {
        self.db.snapshot()
    }

    fn write(&self, batch: WriteBatchWithTransaction<true>) -> Result<()> {
        Ok(self.db.write(batch)?)
    }

    /// Its interface for C can neither flush nor say what is due.
    fn settle(&self) -> Result<()> {
        engines::wait_until_idle();
        Ok(())
    }
}

struct Checking {
    db: OptimisticTransactionDB,
    options: OptimisticTransactionOptions,
}

impl Database for Checking {
    type Db = OptimisticTransactionDB;

    fn begin(&self, write: &WriteOptions) -> Transaction<'_, OptimisticTransactionDB> {
        self.db.transaction_opt(write, &self.options)
    }

    fn snapshot(&self) -> SnapshotWithThreadMode<'_, OptimisticTransactionDB> {
        self.db.snapshot()
    }

    fn write(&self, batch: WriteBatchWithTransaction<true>) -> Result<()> {
        Ok(self.db.write(batch)?)
    }

    fn settle(&self) -> Result<()> {
        self.db.flush()?;
        engines::wait_until_idle();
        Ok(())
    }
}

struct RocksDb<D> {
    database: D,
    read: ReadOptions,
}

impl<D: Database> RocksDb<D> {
    fn new(database: D) -> Self {
        Self { database, read: ReadOptions::default() }
    }
}

impl<D: Database> Store for RocksDb<D> {
    fn at(&self, level: Level, reads: Reads) -> Result<Box<dyn Transactional + '_>> {
        let mut write = WriteOptions::default();
        write.set_sync(synced(level)?);
        Ok(Box::new(AtLevel { store: self, tracks: reads == Reads::Tracked, write }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.database.settle()
    }
}

struct AtLevel<'s, D> {
    store: &'s RocksDb<D>,
    tracks: bool,
    write: WriteOptions,
}

impl<D: Database> Transactional for AtLevel<'_, D> {
    fn transact(&self, read_only: bool, work: &mut Work<'_>) -> Result<u64> {
        let RocksDb { database, read } = self.store;
        if read_only {
            work(&mut Reading(database.snapshot()))?;
            return Ok(0);
        }
        retried(|| {
            let transaction = database.begin(&self.write);
            let mut running = Running { transaction, tracks: self.tracks, read, has_written: false };
            match work(&mut running)? {
                End::Commit if running.has_written => running.transaction.commit().map_err(retry),
                // Dropped: rolled back, its locks given back.
                _ => Ok(()),
            }
        })
    }

    fn load(&self, entries: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        let mut batch = WriteBatchWithTransaction::<true>::default();
        entries.iter().for_each(|(key, value)| batch.put(key, value));
        self.store.database.write(batch)
    }

    fn settle(&self) -> Result<()> {
        self.store.database.settle()
    }
}

/// What must be begun again, and what is an error.
fn retry(error: Error) -> Box<dyn std::error::Error + Send + Sync> {
    match error.kind() {
        // A conflict or a deadlock; a lock was not given in time; a memtable is gone that the check needs.
        ErrorKind::Busy | ErrorKind::TimedOut | ErrorKind::TryAgain => {
            Box::new(MustRetry(error.into_string()))
        }
        _ => Box::new(error),
    }
}

fn taken(found: Option<DBPinnableSlice<'_>>, value: &mut Vec<u8>) -> bool {
    value.clear();
    found.inspect(|found| value.extend_from_slice(found)).is_some()
}

/// Hands the entries of `from..to` to `visit`. The iterator's own bounds are not enough: they hold for what is
/// in the store, and what the transaction itself has written lies beyond them too.
fn walk<D: DBAccess>(
    mut iter: DBRawIteratorWithThreadMode<'_, D>,
    (from, to): (&[u8], &[u8]),
    reverse: bool,
    limit: usize,
    visit: &mut Visit<'_>,
) -> Result<()> {
    if reverse {
        iter.seek_for_prev(to);
        if iter.key() == Some(to) {
            iter.prev();
        }
    } else {
        iter.seek(from);
    }
    for _ in 0..limit {
        let Some((key, value)) = iter.item().filter(|(key, _)| from <= *key && *key < to) else { break };
        visit(key, value)?;
        if reverse { iter.prev() } else { iter.next() }
    }
    Ok(iter.status()?)
}

fn bounds(from: &[u8], to: &[u8]) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(from);
    options.set_iterate_upper_bound(to);
    options
}

/// One that may write.
struct Running<'t, D> {
    transaction: Transaction<'t, D>,
    tracks: bool,
    read: &'t ReadOptions,
    has_written: bool,
}

impl<D: DBAccess> Running<'_, D> {
    fn tracked(&self, key: &[u8], exclusive: bool) -> Result<Option<DBPinnableSlice<'_>>> {
        self.transaction.get_pinned_for_update_opt(key, exclusive, self.read).map_err(retry)
    }
}

impl<D: DBAccess> transactional::Transaction for Running<'_, D> {
    fn get(&mut self, key: &[u8], for_update: bool, value: &mut Vec<u8>) -> Result<bool> {
        let found = match self.tracks || for_update {
            true => self.tracked(key, for_update)?,
            false => self.transaction.get_pinned_opt(key, self.read)?,
        };
        Ok(taken(found, value))
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.has_written = true;
        self.transaction.put(key, value).map_err(retry)
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.has_written = true;
        self.transaction.delete(key).map_err(retry)
    }

    fn scan(
        &mut self,
        from: &[u8],
        to: &[u8],
        reverse: bool,
        limit: usize,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let iter = self.transaction.raw_iterator_opt(bounds(from, to));
        if !self.tracks {
            return walk(iter, (from, to), reverse, limit, visit);
        }
        walk(iter, (from, to), reverse, limit, &mut |key, _| match self.tracked(key, false)? {
            Some(value) => visit(key, &value),
            None => Err(Box::new(MustRetry("an entry of a scan was deleted meanwhile".to_owned()))),
        })
    }
}

/// One that only reads.
struct Reading<'t, D: DBAccess>(SnapshotWithThreadMode<'t, D>);

impl<D: DBAccess> transactional::Transaction for Reading<'_, D> {
    fn get(&mut self, key: &[u8], _for_update: bool, value: &mut Vec<u8>) -> Result<bool> {
        Ok(taken(self.0.get_pinned(key)?, value))
    }

    fn put(&mut self, _key: &[u8], _value: &[u8]) -> Result<()> {
        Err(READS_ONLY.into())
    }

    fn delete(&mut self, _key: &[u8]) -> Result<()> {
        Err(READS_ONLY.into())
    }

    fn scan(
        &mut self,
        from: &[u8],
        to: &[u8],
        reverse: bool,
        limit: usize,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        walk(self.0.raw_iterator_opt(bounds(from, to)), (from, to), reverse, limit, visit)
    }
}

const READS_ONLY: &str = "a transaction that was to read only wrote";
