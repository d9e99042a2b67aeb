//! Checkpoints (R21): a consistent copy of a store in a directory of its own, to keep or to carry
//! away. Always sealed, opens read-only, and never stands for the store: put in its place, it is
//! refused like any older state. It says nothing about freshness.
//!
//! ```
//! use ringfort::{Checkpoint, Db, Options};
//!
//! # fn main() -> ringfort::Result<()> {
//! # let dir = std::env::temp_dir().join(format!("ringfort-doc-checkpoint-{}", std::process::id()));
//! let options = Options::new(dir.join("data")).platform_state(dir.join("platform"));
//! let db = Db::open(options)?;
//! db.put("k", "then")?;
//! db.checkpoint(dir.join("monday"))?;
//! db.put("k", "now")?;
//!
//! let monday = Options::new(dir.join("monday")).platform_state(dir.join("platform"));
//! let checkpoint = Checkpoint::open(&monday)?;
//! assert_eq!(checkpoint.get("default", "k")?.as_deref(), Some(&b"then"[..]));
//! # drop(db);
//! # std::fs::remove_dir_all(dir).unwrap();
//! # Ok(())
//! # }
//! ```

use crate::{Db, Error, ErrorKind, KeyRange, KeyspaceId, Options, Result, Seq, Value};
use ringfort_base::world::Disk;
use ringfort_host::disk::OsDisk;
use ringfort_host::door::{OsClock, OsEntropy};
use ringfort_store::{CheckpointIter, World};
use std::path::Path;
use std::sync::Arc;

impl Db {
    /// Writes a checkpoint of everything applied so far into the directory `path`, which must be
    /// empty or not exist; the log position that it shows.
    pub fn checkpoint(&self, path: impl AsRef<Path>) -> Result<Seq> {
        let path = path.as_ref();
        let disk = OsDisk::create(path).map_err(|e| Error::io("create", &path.display().to_string(), &e))?;
        let disk: Arc<dyn Disk> = Arc::new(disk);
        self.store().checkpoint(&disk)
    }
}

/// An opened checkpoint: read-only, as of one log position.
pub struct Checkpoint {
    inner: ringfort_store::Checkpoint,
}

impl Checkpoint {
    /// Opens the checkpoint in the options' directory, on their platform. Whatever it reads is
    /// verified; that it is the newest checkpoint, nobody can know.
    pub fn open(options: &Options) -> Result<Self> {
        let path = &options.path;
        let disk = OsDisk::open(path).map_err(|e| Error::io("open", &path.display().to_string(), &e))?;
        let world = World {
            data: Arc::new(disk),
            trusted: None,
            clock: Arc::new(OsClock::new()),
            entropy: Arc::new(OsEntropy),
            platform: options.platform_if_known()?.ok_or_else(|| options.no_platform())?,
        };
        let inner = ringfort_store::Checkpoint::open(
            &world,
            options.store.memory_budget,
            &options.store.merge_operators,
        )?;
        Ok(Self { inner })
    }

    /// The log position that it shows.
    #[must_use]
    pub fn position(&self) -> Seq {
        self.inner.position()
    }

    /// The names of its keyspaces, sorted.
    #[must_use]
    pub fn keyspaces(&self) -> Vec<String> {
        let mut names: Vec<String> = self.inner.keyspaces().into_iter().map(|(name, _)| name).collect();
        names.sort();
        names
    }

    /// Reads a key.
    pub fn get(&self, keyspace: &str, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        self.inner.get(self.keyspace(keyspace)?, key.as_ref())
    }

    /// The entries of a range in ascending order.
    pub fn scan(&self, keyspace: &str, range: impl KeyRange) -> Result<CheckpointIter> {
        let (from, to) = range.bounds();
        let id = self.keyspace(keyspace)?;
        self.inner.iter(id, &from, to.as_deref())
    }

    fn keyspace(&self, name: &str) -> Result<KeyspaceId> {
        let found = self.inner.keyspaces().into_iter().find(|(known, _)| known == name);
        found.map(|(_, id)| id).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("the checkpoint has no keyspace '{name}'"))
        })
    }
}
