//! The inside of an open store, by job: [`commit`] (submit, log, sync), [`anchoring`] (counter),
//! [`maintain`] (flush), [`segments`] (which of the log are needed), [`compact`], [`purge`], [`load`] (bulk load),
//! [`read`], [`stream`] (values by the piece), [`prepared`] (transactions in doubt), [`keyspaces`], [`open`] (create,
//! recover, claim), [`rebuild`] (memtables from the log), [`in_doubt`] (prepared transactions from the log).
//!
//! Locks, outermost first:
//!
//! ```text
//! changing_keyspaces → flushing | compacting → sync | anchor → manifest → log → trees → prepared → queue | tree.current
//! ```
//! `purge`, `snapshots`, `filter`, `durable_head`, `manifest_head` and `domain_keys` are leaves. The
//! counter is asked with `anchor` held, the disk with `sync`, `manifest` or `log` held; readers take
//! `trees` and `tree.current` for a moment only.

pub(crate) mod anchoring;
mod claim;
pub(crate) mod commit;
mod compact;
mod in_doubt;
pub(crate) mod keyspaces;
pub(crate) mod load;
pub(crate) mod maintain;
mod marker;
pub(crate) mod open;
pub(crate) mod prepared;
pub(crate) mod purge;
pub(crate) mod read;
mod rebuild;
mod segments;
pub(crate) mod stream;
pub(crate) mod values;

use crate::clock::StoreClock;
use crate::engine::lsm::tree::{Tables, Tree};
use crate::frontier::Frontiers;
use crate::manifest::writer::ManifestWriter;
use crate::options::{StoreOptions, World};
use crate::stats::Counters;
use crate::txn::gate::Gate;
use crate::txn::locks::LockTable;
use crate::wal::writer::LogContext;
use parking_lot::{Mutex, RwLock};
use ringfort_base::world::DiskLock;
use ringfort_base::{Error, FileNo, KeyspaceId, Level, Result};
use ringfort_trust::volume::Volumes;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};

/// A callback that tells a worker that there is something to do.
pub(crate) type Hook = Box<dyn Fn() + Send + Sync>;

pub(crate) struct Inner {
    pub(crate) options: StoreOptions,
    pub(crate) world: World,
    pub(crate) volumes: Volumes,
    pub(crate) minimum_level: Level,
    pub(crate) context: Arc<LogContext>,
    pub(crate) frontiers: Arc<Frontiers>,
    pub(crate) queue: Mutex<commit::Queue>,
    pub(crate) log: Mutex<commit::Log>,
    /// One sync at a time.
    pub(crate) sync: Mutex<()>,
    pub(crate) durable_head: Mutex<ringfort_trust::Head>,
    pub(crate) anchor: Mutex<anchoring::AnchorState>,
    pub(crate) manifest: Mutex<ManifestWriter>,
    /// The manifest head that an anchor may name: appended, synced, and its file's name as well.
    pub(crate) manifest_head: Mutex<ringfort_trust::Head>,
    pub(crate) trees: RwLock<BTreeMap<KeyspaceId, Arc<Tree>>>,
    pub(crate) tables: Arc<Tables>,
    pub(crate) next_file: AtomicU64,
    pub(crate) clock: StoreClock,
    pub(crate) locks: Arc<LockTable>,
    pub(crate) gate: Arc<Gate>,
    /// Transactions that are prepared and not decided.
    pub(crate) prepared: Mutex<prepared::Book>,
    pub(crate) snapshots: Mutex<BTreeMap<u64, usize>>,
    pub(crate) purge: Mutex<purge::PurgeList>,
    /// One change of the set of keyspaces at a time, from the question whether a name is taken to
    /// the moment when the change shows. Outermost.
    pub(crate) changing_keyspaces: Mutex<()>,
    /// One flush at a time, and one compaction, which may be between two slices.
    pub(crate) flushing: Mutex<()>,
    pub(crate) compacting: Mutex<Option<compact::Job>>,
    /// Memtables take more than the whole memory budget: writes are refused until flushes catch up.
    pub(crate) memtables_full: AtomicBool,
    /// Whether maintenance worked since it had nothing to do.
    pub(crate) maintained: AtomicBool,
    /// How long writers should pause for each write, nanoseconds.
    pub(crate) delay_ns: AtomicU64,
    /// The pauses that nobody made yet, nanoseconds.
    pub(crate) owed_ns: AtomicU64,
    pub(crate) filter: RwLock<Option<Arc<dyn crate::engine::lsm::compaction::Filter>>>,
    pub(crate) hooks: OnceLock<(Hook, Hook)>,
    pub(crate) recovery: open::Recovery,
    /// The first position of the log that is not replayed yet, which pins it; `u64::MAX`: all is.
    pub(crate) unreplayed: AtomicU64,
    pub(crate) stats: Counters,
    /// How closing went, once somebody closed.
    pub(crate) closed: Mutex<Option<Result<()>>>,
    pub(crate) _locks: Vec<Box<dyn DiskLock>>,
}

impl Inner {
    /// A file number that was never used.
    pub(crate) fn new_file(&self) -> FileNo {
        FileNo(self.next_file.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    }

    /// Fails once the store has stopped or was closed.
    pub(crate) fn check(&self) -> Result<()> {
        self.frontiers.check()
    }

    /// Stops the store for good and says why.
    pub(crate) fn stop(&self, error: Error) -> Error {
        self.frontiers.stop(error.clone());
        self.empty_queue();
        // Whoever prepares one now has entered it in the book, or will find the store stopped.
        self.prepared.lock().release();
        self.wake_log();
        self.wake_maintenance();
        error
    }

    /// Runs `work`; a failure stops the store.
    pub(crate) fn or_stop<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        work().map_err(|error| self.stop(error))
    }

    /// Called when a sync or a counter operation ends: a worker that found it taken went to sleep over
    /// work that may be left.
    pub(crate) fn wake_if_wanted(&self) {
        if self.frontiers.sync_wanted() || self.frontiers.round_wanted() {
            self.wake_log();
        }
    }

    pub(crate) fn wake_log(&self) {
        if let Some((log, _)) = self.hooks.get() {
            log();
        }
    }

    pub(crate) fn wake_maintenance(&self) {
        if let Some((_, maintenance)) = self.hooks.get() {
            maintenance();
        }
    }

    pub(crate) fn tree(&self, keyspace: KeyspaceId) -> Result<Arc<Tree>> {
        self.trees.read().get(&keyspace).cloned().ok_or_else(|| {
            Error::new(ringfort_base::ErrorKind::NotFound, format!("keyspace {keyspace} does not exist"))
        })
    }
}
