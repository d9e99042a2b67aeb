//! LMDB: a memory-mapped copy-on-write B+tree in one file, one writer at a time, readers that wait for nobody.
//!
//! Unprotected. A write is one transaction and one commit, a read a transaction of its own. `durable` is
//! LMDB as it comes (two syncs per commit: data, then the page that names it); `buffered` is
//! `MDB_NOSYNC`. Its cache is the system's page cache, whatever the budget says.
#![expect(unsafe_code, reason = "LMDB maps its file: opening it and choosing its flags is unsafe by nature")]

use super::{Kind, Open};
use crate::Result;
use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions, FlagSetMode, RwTxn};
use parking_lot::Mutex;
use ringfort_base::Level;
use ringfort_bench::engine::synced;
use ringfort_bench::{Direction, Engine, Op, Settings, Visit};
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How it is opened.
pub const KIND: Kind = Kind { name: "lmdb", about, open: Open::Plain(open), cache_share: 0.0 };

/// Room in the address space, not on the disk: the file grows as it is written.
const MAP_BYTES: usize = 256 << 30;
/// Threads that read at once, at the most.
const READERS_MAX: u32 = 1024;

/// An open store.
pub struct Lmdb {
    /// Its file.
    pub env: Env,
    /// What is in it.
    pub database: Database<Bytes, Bytes>,
    /// Whether a commit syncs at present.
    syncs: AtomicBool,
    /// Held by who changes that.
    changing: Mutex<()>,
}

/// Name and version, with what a reader must know.
pub fn about() -> String {
    let version = heed::lmdb_version();
    format!(
        "LMDB {}.{}.{} (crate heed 0.22), unprotected; buffered = MDB_NOSYNC; caches in the page cache alone",
        version.major, version.minor, version.patch
    )
}

fn open(dir: &Path, settings: &Settings) -> Result<Arc<dyn Engine>> {
    Ok(Arc::new(open_env(dir, settings)?))
}

/// Opens a store, or makes one.
pub fn open_env(dir: &Path, settings: &Settings) -> Result<Lmdb> {
    super::plain_files(settings)?;
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES).max_readers(READERS_MAX);
    // SAFETY: the directory is this run's own and new, so no other process maps or changes the file; the
    // environment is opened once, and its lock file stays where it is.
    let env = unsafe { options.open(dir) }?;
    let mut transaction = env.write_txn()?;
    let database = env.create_database(&mut transaction, None)?;
    transaction.commit()?;
    Ok(Lmdb { env, database, syncs: AtomicBool::new(true), changing: Mutex::new(()) })
}

impl Lmdb {
    /// Has commits sync, or not.
    pub fn sync_commits(&self, sync: bool) -> Result<()> {
        if self.syncs.load(Ordering::Acquire) == sync {
            return Ok(());
        }
        let _changing = self.changing.lock();
        let mode = if sync { FlagSetMode::Disable } else { FlagSetMode::Enable };
        // SAFETY: LMDB wants one thread at a time here, which the lock sees to. Without syncs a crash of
        // the machine may leave the file unusable, which a benchmark's store may be.
        unsafe { self.env.set_flags(EnvFlags::NO_SYNC, mode) }?;
        self.syncs.store(sync, Ordering::Release);
        Ok(())
    }

    fn transact(&self, level: Level, work: impl FnOnce(&mut RwTxn<'_>) -> Result<()>) -> Result<()> {
        self.sync_commits(synced(level)?)?;
        let mut transaction = self.env.write_txn()?;
        work(&mut transaction)?;
        Ok(transaction.commit()?)
    }
}

impl Engine for Lmdb {
    fn put(&self, key: &[u8], value: &[u8], level: Level) -> Result<()> {
        self.transact(level, |transaction| Ok(self.database.put(transaction, key, value)?))
    }

    fn delete(&self, key: &[u8], level: Level) -> Result<()> {
        self.write(&[Op::Delete { key }], level)
    }

    fn write(&self, batch: &[Op<'_>], level: Level) -> Result<()> {
        self.transact(level, |transaction| {
            for op in batch {
                match *op {
                    Op::Put { key, value } => self.database.put(transaction, key, value)?,
                    Op::Delete { key } => {
                        self.database.delete(transaction, key)?;
                    }
                }
            }
            Ok(())
        })
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        let transaction = self.env.read_txn()?;
        Ok(self.database.get(&transaction, key)?.map(<[u8]>::len))
    }

    fn read(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let transaction = self.env.read_txn()?;
        let found = self.database.get(&transaction, key)?;
        Ok(found.inspect(|found| value.extend_from_slice(found)).is_some())
    }

    fn multi_get(&self, keys: &[&[u8]], lens: &mut Vec<Option<usize>>) -> Result<()> {
        let transaction = self.env.read_txn()?;
        for key in keys {
            lens.push(self.database.get(&transaction, key)?.map(<[u8]>::len));
        }
        Ok(())
    }

    fn scan(&self, from: Option<&[u8]>, direction: Direction, visit: &mut Visit<'_>) -> Result<()> {
        let transaction = self.env.read_txn()?;
        let from = from.map_or(Bound::Unbounded, Bound::Included);
        match direction {
            Direction::Forward => {
                for entry in self.database.range(&transaction, &(from, Bound::Unbounded))? {
                    let (key, value) = entry?;
                    if visit(key, value).is_break() {
                        break;
                    }
                }
            }
            Direction::Reverse => {
                for entry in self.database.rev_range(&transaction, &(Bound::Unbounded, from))? {
                    let (key, value) = entry?;
                    if visit(key, value).is_break() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(self.env.force_sync()?)
    }

    fn settle(&self) -> Result<()> {
        // Every commit has handed its pages to the system; nothing runs in the background.
        Ok(())
    }

    fn close(&self) -> Result<()> {
        Ok(())
    }
}
