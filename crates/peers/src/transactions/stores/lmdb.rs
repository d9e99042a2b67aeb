//! LMDB: one writing transaction after the other, readers beside it. Set up as [`crate::engines`] does.

use super::{By, Kind, Opening, Reads, Store};
use crate::Result;
use crate::engines::lmdb::{self as engine, Lmdb};
use heed::types::Bytes;
use heed::{Database, RoTxn, RwTxn};
use ringfort_base::Level;
use ringfort_bench::engine::synced;
use ringfort_bench::transactional::{self, End, Transactional, Visit, Work};
use std::ops::Bound;
use std::path::Path;

/// How it is opened.
pub const KIND: Kind = Kind {
    name: "lmdb",
    about: || format!("{}; its transactions write one after the other", engine::about()),
    open,
    open_to_load: open,
    files: "lmdb",
    reads: Reads::Tracked,
    by: &[By::Pessimistic],
};

fn open(dir: &Path, opening: &Opening<'_>) -> Result<Box<dyn Store>> {
    std::fs::create_dir_all(dir)?;
    Ok(Box::new(engine::open_env(dir, opening.settings)?))
}

impl Store for Lmdb {
    fn at(&self, level: Level, _reads: Reads) -> Result<Box<dyn Transactional + '_>> {
        Ok(Box::new(AtLevel { store: self, syncs: synced(level)? }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.env.force_sync()?)
    }
}

struct AtLevel<'s> {
    store: &'s Lmdb,
    syncs: bool,
}

impl Transactional for AtLevel<'_> {
    fn transact(&self, read_only: bool, work: &mut Work<'_>) -> Result<u64> {
        let Lmdb { env, database, .. } = self.store;
        if read_only {
            let transaction = env.read_txn()?;
            work(&mut Reading { transaction: &transaction, database: *database })?;
            return Ok(0);
        }
        self.store.sync_commits(self.syncs)?;
        let mut running = Running { transaction: env.write_txn()?, database: *database };
        match work(&mut running)? {
            End::Commit => running.transaction.commit()?,
            End::Rollback => running.transaction.abort(),
        }
        Ok(0)
    }

    fn load(&self, entries: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        self.store.sync_commits(false)?;
        let mut transaction = self.store.env.write_txn()?;
        for (key, value) in entries {
            self.store.database.put(&mut transaction, key, value)?;
        }
        Ok(transaction.commit()?)
    }

    fn settle(&self) -> Result<()> {
        Ok(self.store.env.force_sync()?)
    }
}

type Pairs = Database<Bytes, Bytes>;

fn get(database: Pairs, txn: &RoTxn<'_>, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
    value.clear();
    let found = database.get(txn, key)?;
    Ok(found.inspect(|found| value.extend_from_slice(found)).is_some())
}

fn scan(
    database: Pairs,
    txn: &RoTxn<'_>,
    bounds: (&[u8], &[u8]),
    reverse: bool,
    limit: usize,
    visit: &mut Visit<'_>,
) -> Result<()> {
    let range = (Bound::Included(bounds.0), Bound::Excluded(bounds.1));
    if reverse {
        for entry in database.rev_range(txn, &range)?.take(limit) {
            let (key, value) = entry?;
            visit(key, value)?;
        }
        return Ok(());
    }
    for entry in database.range(txn, &range)?.take(limit) {
        let (key, value) = entry?;
        visit(key, value)?;
    }
    Ok(())
}

struct Running<'t> {
    transaction: RwTxn<'t>,
    database: Pairs,
}

impl transactional::Transaction for Running<'_> {
    fn get(&mut self, key: &[u8], _for_update: bool, value: &mut Vec<u8>) -> Result<bool> {
        get(self.database, &self.transaction, key, value)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.database.put(&mut self.transaction, key, value)?)
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.database.delete(&mut self.transaction, key)?;
        Ok(())
    }

    fn scan(
        &mut self,
        from: &[u8],
        to: &[u8],
        reverse: bool,
        limit: usize,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        scan(self.database, &self.transaction, (from, to), reverse, limit, visit)
    }
}

struct Reading<'t, 'e> {
    transaction: &'t RoTxn<'e>,
    database: Pairs,
}

impl transactional::Transaction for Reading<'_, '_> {
    fn get(&mut self, key: &[u8], _for_update: bool, value: &mut Vec<u8>) -> Result<bool> {
        get(self.database, self.transaction, key, value)
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
        scan(self.database, self.transaction, (from, to), reverse, limit, visit)
    }
}

const READS_ONLY: &str = "a transaction that was to read only wrote";
