//! redb: a copy-on-write B+tree in one file, one writer at a time.
//!
//! Unprotected. A write is one transaction, a read one too, as its API has it. A commit of
//! `Durability::None` stays in the process's memory until a later one is `Immediate`: it survives less
//! than `buffered` promises (not the end of the process), and is the cheapest commit that redb has.

use super::{Kind, Open};
use crate::Result;
use redb::{Builder, Database, Durability, ReadableDatabase, TableDefinition, WriteTransaction};
use ringfort_base::Level;
use ringfort_bench::engine::synced;
use ringfort_bench::{Direction, Engine, Op, Settings, Visit};
use std::path::Path;
use std::sync::Arc;

/// How it is opened.
pub const KIND: Kind = Kind { name: "redb", about, open: Open::Plain(open), cache_share: 0.6 };

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("bench");

struct Redb {
    database: Database,
}

fn about() -> String {
    "redb 4.4, unprotected; buffered = Durability::None, which stays in the process".to_owned()
}

fn open(dir: &Path, settings: &Settings) -> Result<Arc<dyn Engine>> {
    super::plain_files(settings)?;
    let database = Builder::new().set_cache_size(settings.memory_budget).create(dir.join("redb"))?;
    let engine = Redb { database };
    engine.transact(Level::Durable, |transaction| {
        transaction.open_table(TABLE)?;
        Ok(())
    })?;
    Ok(Arc::new(engine))
}

impl Redb {
    fn transact(&self, level: Level, work: impl FnOnce(&WriteTransaction) -> Result<()>) -> Result<()> {
        let durability = if synced(level)? { Durability::Immediate } else { Durability::None };
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(durability)?;
        work(&transaction)?;
        Ok(transaction.commit()?)
    }
}

impl Engine for Redb {
    fn put(&self, key: &[u8], value: &[u8], level: Level) -> Result<()> {
        self.write(&[Op::Put { key, value }], level)
    }

    fn delete(&self, key: &[u8], level: Level) -> Result<()> {
        self.write(&[Op::Delete { key }], level)
    }

    fn write(&self, batch: &[Op<'_>], level: Level) -> Result<()> {
        self.transact(level, |transaction| {
            let mut table = transaction.open_table(TABLE)?;
            for op in batch {
                match *op {
                    Op::Put { key, value } => drop(table.insert(key, value)?),
                    Op::Delete { key } => drop(table.remove(key)?),
                }
            }
            Ok(())
        })
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        Ok(table.get(key)?.map(|value| value.value().len()))
    }

    fn read(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let table = self.database.begin_read()?.open_table(TABLE)?;
        let found = table.get(key)?;
        Ok(found.inspect(|found| value.extend_from_slice(found.value())).is_some())
    }

    fn multi_get(&self, keys: &[&[u8]], lens: &mut Vec<Option<usize>>) -> Result<()> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        for key in keys {
            lens.push(table.get(*key)?.map(|value| value.value().len()));
        }
        Ok(())
    }

    fn scan(&self, from: Option<&[u8]>, direction: Direction, visit: &mut Visit<'_>) -> Result<()> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        let range = match (from, direction) {
            (None, _) => table.range::<&[u8]>(..)?,
            (Some(from), Direction::Forward) => table.range::<&[u8]>(from..)?,
            (Some(from), Direction::Reverse) => table.range::<&[u8]>(..=from)?,
        };
        let visited =
            |entry: std::result::Result<_, redb::StorageError>, visit: &mut Visit<'_>| -> Result<bool> {
                let (key, value): (redb::AccessGuard<'_, &[u8]>, redb::AccessGuard<'_, &[u8]>) = entry?;
                Ok(visit(key.value(), value.value()).is_continue())
            };
        match direction {
            Direction::Forward => {
                for entry in range {
                    if !visited(entry, visit)? {
                        break;
                    }
                }
            }
            Direction::Reverse => {
                for entry in range.rev() {
                    if !visited(entry, visit)? {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        // What earlier commits left in memory goes with this one.
        self.transact(Level::Durable, |_| Ok(()))
    }

    fn settle(&self) -> Result<()> {
        self.flush()
    }

    fn close(&self) -> Result<()> {
        self.flush()
    }
}
