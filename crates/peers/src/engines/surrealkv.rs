//! SurrealKV: an LSM store in Rust with an asynchronous commit pipeline, as it comes and with its encryption.
//!
//! `surrealkv` is unprotected, `surrealkv:tde` has its transparent encryption on (AES-256-GCM, keys per
//! file; no freshness). A write is one transaction whose commit is awaited on a tokio runtime that has
//! as many workers as there may be background jobs; a read is a transaction and synchronous.
//!
//! Two things that cannot be set as for the others: its write buffer counts keys and not values, so it
//! is flushed late and takes more memory; and it has no call that waits for its background work. A
//! checkpoint (hard links, removed again) flushes it, and it has settled when the process, which has
//! nothing else to do then, uses no processor any more.

use super::{Kind, Open};
use crate::Result;
use ringfort_base::Level;
use ringfort_base::world::Entropy;
use ringfort_bench::engine::synced;
use ringfort_bench::{Direction, Engine, Op, Settings, Visit};
use ringfort_host::door::OsEntropy;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use surrealkv::{
    CipherSuite, Durability, Error, LSMIterator, Mode, Options, SoftwareKeyManager, Transaction, Tree,
    TreeBuilder,
};
use tokio::runtime::{Builder, Runtime};

/// How it is opened.
pub const KIND: Kind = Kind { name: "surrealkv", about, open: Open::Plain(open), cache_share: 0.3 };
/// With its encryption.
pub const TDE: Kind =
    Kind { name: "surrealkv:tde", about: about_tde, open: Open::Plain(open_tde), cache_share: 0.3 };

struct SurrealKv {
    tree: Tree,
    runtime: Runtime,
    checkpoint: PathBuf,
}

fn about() -> String {
    "SurrealKV 1.2, unprotected; its write buffer counts keys only".to_owned()
}

fn about_tde() -> String {
    "SurrealKV 1.2 with its encryption, AES-256-GCM, no freshness; its write buffer counts keys only"
        .to_owned()
}

fn open(dir: &Path, settings: &Settings) -> Result<Arc<dyn Engine>> {
    open_with(dir, settings, None)
}

fn open_tde(dir: &Path, settings: &Settings) -> Result<Arc<dyn Engine>> {
    let mut key = [0; 32];
    OsEntropy.fill(&mut key)?;
    open_with(dir, settings, Some(SoftwareKeyManager::new(key)))
}

fn open_with(dir: &Path, settings: &Settings, keys: Option<SoftwareKeyManager>) -> Result<Arc<dyn Engine>> {
    super::plain_files(settings)?;
    let runtime =
        Builder::new_multi_thread().worker_threads(settings.background_jobs.max(1)).enable_all().build()?;
    let mut options = Options::new()
        .with_path(dir.join("db"))
        .without_compression()
        .with_block_size(settings.block_size)
        .with_max_memtable_size(settings.write_buffer_size)
        .with_block_cache_capacity(settings.memory_budget as u64);
    if settings.bloom_bits == 0 {
        options = options.with_filter_policy(None);
    }
    if let Some(keys) = keys {
        options = options.with_encryption(Arc::new(keys), CipherSuite::Aes256Gcm);
    }
    let tree = {
        // Its background tasks live on the runtime that it is built in.
        let _within = runtime.enter();
        TreeBuilder::with_options(options).build()?
    };
    Ok(Arc::new(SurrealKv { tree, runtime, checkpoint: dir.join("checkpoint") }))
}

impl SurrealKv {
    fn transact(&self, level: Level, work: impl Fn(&mut Transaction) -> Result<()>) -> Result<()> {
        let durability = if synced(level)? { Durability::Immediate } else { Durability::Eventual };
        loop {
            let mut transaction = self.tree.begin_with_mode(Mode::WriteOnly)?.with_durability(durability);
            work(&mut transaction)?;
            match self.runtime.block_on(transaction.commit()) {
                // Somebody else wrote one of the keys meanwhile.
                Err(Error::TransactionWriteConflict | Error::TransactionRetry) => {}
                done => return Ok(done?),
            }
        }
    }

    fn read_only(&self) -> Result<Transaction> {
        Ok(self.tree.begin_with_mode(Mode::ReadOnly)?)
    }
}

impl Engine for SurrealKv {
    fn put(&self, key: &[u8], value: &[u8], level: Level) -> Result<()> {
        self.transact(level, |transaction| Ok(transaction.set(key, value)?))
    }

    fn delete(&self, key: &[u8], level: Level) -> Result<()> {
        self.transact(level, |transaction| Ok(transaction.delete(key)?))
    }

    fn write(&self, batch: &[Op<'_>], level: Level) -> Result<()> {
        self.transact(level, |transaction| {
            for op in batch {
                match *op {
                    Op::Put { key, value } => transaction.set(key, value)?,
                    Op::Delete { key } => transaction.delete(key)?,
                }
            }
            Ok(())
        })
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        Ok(self.read_only()?.get(key)?.map(|value| value.len()))
    }

    fn read(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        let found = self.read_only()?.get(key)?;
        let was_there = found.is_some();
        *value = found.unwrap_or_default();
        Ok(was_there)
    }

    fn multi_get(&self, keys: &[&[u8]], lens: &mut Vec<Option<usize>>) -> Result<()> {
        let transaction = self.read_only()?;
        for key in keys {
            lens.push(transaction.get(*key)?.map(|value| value.len()));
        }
        Ok(())
    }

    fn scan(&self, from: Option<&[u8]>, direction: Direction, visit: &mut Visit<'_>) -> Result<()> {
        let transaction = self.read_only()?;
        // Its bounds: the lower one included, the upper one not, so the key itself has a zero behind it.
        let upper = from.map(|from| [from, &[0]].concat());
        let mut options = surrealkv::ReadOptions::new();
        match direction {
            Direction::Forward => options.set_iterate_lower_bound(from.map(<[u8]>::to_vec)),
            Direction::Reverse => options.set_iterate_upper_bound(upper),
        }
        let mut iter = transaction.range_with_options(&options)?;
        let mut valid = match direction {
            Direction::Forward => iter.seek_first()?,
            Direction::Reverse => iter.seek_last()?,
        };
        while valid {
            if visit(iter.key().user_key(), &iter.value_ref()?).is_break() {
                break;
            }
            valid = match direction {
                Direction::Forward => iter.next()?,
                Direction::Reverse => iter.prev()?,
            };
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        let _within = self.runtime.enter();
        self.tree.create_checkpoint(&self.checkpoint)?;
        Ok(std::fs::remove_dir_all(&self.checkpoint)?)
    }

    fn settle(&self) -> Result<()> {
        self.flush()?;
        super::wait_until_idle();
        match self.tree.background_error() {
            None => Ok(()),
            Some(error) => Err(format!("a background task of SurrealKV failed: {error:?}").into()),
        }
    }

    fn close(&self) -> Result<()> {
        Ok(self.runtime.block_on(self.tree.close())?)
    }
}
