//! [`TransactionalDb`]: a store as the benchmarks of transactions see it, over the public calls of
//! [`Db`].

use crate::transaction::{self, Transaction};
use crate::{Concurrency, Db, ErrorKind, KeyspaceId, Level, TxnOptions, WriteBatch};
use ringfort_bench::Result;
use ringfort_bench::transactional::{End, MustRetry, Transactional, Visit, Work};

/// A store with what its transactions are to be.
pub struct TransactionalDb {
    /// The store.
    pub db: Db,
    /// How writing transactions keep others away; reading ones have a snapshot.
    pub concurrency: Concurrency,
    /// What a commit has on return.
    pub level: Level,
}

struct Txn<'t> {
    inner: &'t mut Transaction,
    keyspace: KeyspaceId,
}

impl Transactional for TransactionalDb {
    fn transact(&self, read_only: bool, work: &mut Work<'_>) -> Result<u64> {
        let keyspace = self.db.default_keyspace().id();
        // Who only reads needs neither locks nor a check to be serializable.
        let concurrency = if read_only { Concurrency::Snapshot } else { self.concurrency };
        let options = TxnOptions { concurrency, level: Some(self.level), lock_timeout: None };
        let mut failed = None;
        let ran = transaction::transact(self.db.shared(), options, |txn| {
            match work(&mut Txn { inner: txn, keyspace }) {
                Ok(End::Commit) => Ok(Some(())),
                Ok(End::Rollback) => Ok(None),
                Err(error) => match error.downcast::<MustRetry>() {
                    Ok(retry) => Err(crate::Error::new(ErrorKind::Conflict, retry.0)),
                    Err(other) => {
                        let message = other.to_string();
                        failed = Some(other);
                        Err(crate::Error::new(ErrorKind::Invalid, message))
                    }
                },
            }
        });
        match (ran, failed) {
            (Ok((_, retries)), _) => Ok(retries),
            (Err(_), Some(failed)) => Err(failed),
            (Err(error), None) => Err(error.into()),
        }
    }

    fn load(&self, entries: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        let keyspace = self.db.default_keyspace().id();
        let mut batch = WriteBatch::new();
        entries.iter().for_each(|(key, value)| batch.put(keyspace, key, value));
        self.db.write_with(batch, Level::Buffered)?;
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        self.db.flush()?;
        Ok(self.db.wait_for_upkeep()?)
    }
}

fn retry(error: crate::Error) -> Box<dyn std::error::Error + Send + Sync> {
    match error.kind() {
        ErrorKind::Conflict | ErrorKind::Deadlock => Box::new(MustRetry(error.message().to_owned())),
        _ => Box::new(error),
    }
}

impl ringfort_bench::transactional::Transaction for Txn<'_> {
    fn get(&mut self, key: &[u8], for_update: bool, value: &mut Vec<u8>) -> Result<bool> {
        let found = match for_update {
            true => self.inner.get_for_update(self.keyspace, key),
            false => self.inner.get(self.keyspace, key),
        };
        let found = found.map_err(retry)?;
        value.clear();
        value.extend_from_slice(found.as_deref().unwrap_or_default());
        Ok(found.is_some())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.inner.put(self.keyspace, key, value).map_err(retry)
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.inner.delete(self.keyspace, key).map_err(retry)
    }

    fn scan(
        &mut self,
        from: &[u8],
        to: &[u8],
        reverse: bool,
        limit: usize,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let mut scan = match reverse {
            false => self.inner.scan(self.keyspace, from..to),
            true => self.inner.scan_rev(self.keyspace, from..to),
        }
        .limit(limit);
        while let Some((key, value)) = scan.next_entry().map_err(retry)? {
            visit(key, value)?;
        }
        Ok(())
    }
}
