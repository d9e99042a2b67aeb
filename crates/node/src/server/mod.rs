//! # The server: a store, its sessions and what they share
//!
//! [`Server::serve_connection`] runs one client's connection over any stream; [`crate::admin`] runs
//! the admin endpoint the same way. Listeners, sockets, runtimes and threads belong to the binary.
//!
//! A server ends in one of two ways, and both go through [`Server::shut_down`]: the binary is told
//! to stop, or the store (or a worker that it needs) has failed ([`Server::store_failed`]); from then on every command that touches data
//! is answered with the evidence and never with data.
mod connection;
mod lane;
pub(crate) mod locking;
pub(crate) mod pending;
pub(crate) mod turn;
pub(crate) mod views;
pub(crate) mod watches;

use crate::budget::Budget;
use crate::clients::{Clients, Peer};
use crate::config::{DATABASES, ServerConfig};
use crate::cursors::Cursors;
use crate::door;
use crate::jobs::{Signal, is_fatal};
use crate::model::is_orphan_field;
use crate::reaper::Alarm;
use crate::slowlog::SlowLog;
use crate::stats::Stats;
pub use lane::Lane;
use parking_lot::Mutex;
use ringfort_base::limits::{BATCH_VALUE_BYTES_MAX, VALUE_BYTES_MAX};
use ringfort_base::world::{Clock, Entropy};
use ringfort_base::{Error, ErrorKind, KeyspaceId, Result};
use ringfort_protocol::front::resp::command::COMMANDS;
use ringfort_store::{Filter, KeyspaceOptions, Store};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use views::Views;
use watches::Watches;

/// Tells compaction which fields are orphans.
struct OrphanFields(Weak<Server>);

impl Filter for OrphanFields {
    fn is_garbage(&self, keyspace: KeyspaceId, key: &[u8], _value: &[u8]) -> bool {
        self.0.upgrade().is_some_and(|server| {
            server.databases.contains(&keyspace)
                && is_orphan_field(&server.store, keyspace, key, server.views.oldest())
        })
    }

    fn needs_value(&self) -> bool {
        false
    }
}

/// The settings that `CONFIG SET` can change.
pub struct Settings {
    /// See [`ServerConfig::slowlog_log_slower_than_us`].
    pub slowlog_log_slower_than_us: AtomicI64,
    /// See [`ServerConfig::slowlog_max_len`].
    pub slowlog_max_len: AtomicUsize,
    /// See [`ServerConfig::idle_timeout`], seconds.
    pub timeout_s: AtomicU64,
    /// See [`ServerConfig::maxclients`].
    pub maxclients: AtomicUsize,
}

/// A running server.
pub struct Server {
    store: Store,
    databases: Vec<KeyspaceId>,
    config: ServerConfig,
    settings: Settings,
    clients: Arc<Clients>,
    budget: Arc<Budget>,
    cursors: Mutex<Cursors>,
    views: Views,
    watches: Arc<Watches>,
    slowlog: Mutex<SlowLog>,
    stats: Stats,
    alarm: Alarm,
    reaper_signal: Arc<Signal>,
    anchor_signal: Arc<Signal>,
    anchor_armed: AtomicBool,
    clock: Arc<dyn Clock>,
    random: Mutex<u64>,
    run_id: String,
    started: Duration,
    failure: OnceLock<Error>,
    shutting_down: AtomicBool,
    shutdown_requested: Notify,
}

impl Server {
    /// A server over an open store; creates the databases' keyspaces if they do not exist.
    pub fn new(
        store: Store,
        config: ServerConfig,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
    ) -> Result<Arc<Self>> {
        let mut databases = Vec::with_capacity(DATABASES);
        for n in 0..DATABASES {
            let name = format!("db{n}");
            databases.push(match store.keyspace(&name) {
                Some(id) => id,
                None => store.create_keyspace(&name, KeyspaceOptions::default())?,
            });
        }
        let mut random = [0u8; 36];
        entropy.fill(&mut random).map_err(|e| Error::io("draw", "random bytes", &e))?;
        let (run_id, seeds) = random.split_at(20);
        let seed =
            |at: usize| seeds.get(at..at + 8).and_then(|s| s.try_into().ok()).map_or(0, u64::from_le_bytes);
        let started = clock.monotonic();
        let server = Arc::new(Self {
            settings: Settings {
                slowlog_log_slower_than_us: AtomicI64::new(config.slowlog_log_slower_than_us),
                slowlog_max_len: AtomicUsize::new(config.slowlog_max_len),
                timeout_s: AtomicU64::new(config.idle_timeout.as_secs()),
                maxclients: AtomicUsize::new(config.maxclients),
            },
            clients: Arc::default(),
            budget: Budget::new(config.connection_memory_bytes),
            cursors: Mutex::new(Cursors::new(seed(0))),
            views: Views::default(),
            watches: Arc::default(),
            slowlog: Mutex::default(),
            stats: Stats::new(COMMANDS.len()),
            alarm: Alarm::default(),
            reaper_signal: Signal::new(),
            anchor_signal: Signal::new(),
            anchor_armed: AtomicBool::new(false),
            random: Mutex::new(seed(8) | 1),
            run_id: run_id.iter().map(|b| format!("{b:02x}")).collect(),
            failure: OnceLock::new(),
            shutting_down: AtomicBool::new(false),
            shutdown_requested: Notify::new(),
            store,
            databases,
            config,
            clock,
            started,
        });
        // Commands lock for themselves, and nobody else may write past them.
        door::block_on(server.store.lock_always())?;
        // Weak: the store outlives no server, and no circle keeps either alive.
        let filter = OrphanFields(Arc::downgrade(&server));
        server.store.set_compaction_filter(Arc::new(filter));
        Ok(server)
    }

    /// What the connections of the present runtime have in common.
    #[must_use]
    pub fn lane(self: &Arc<Self>) -> Arc<Lane> {
        Lane::new(self)
    }

    /// Serves one client in a lane until it leaves, is closed, or the server shuts down.
    pub async fn serve_connection<S>(self: &Arc<Self>, lane: &Arc<Lane>, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        connection::serve(self, lane, stream, peer).await;
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The keyspaces of the databases, in order.
    #[must_use]
    pub fn databases(&self) -> &[KeyspaceId] {
        &self.databases
    }

    /// Longest string, bytes: with the head of its record a value of the store. A reply or a change holds
    /// it twice, so that half of the connections' memory bounds it as well, down to what was always
    /// taken.
    #[must_use]
    pub fn string_bytes_max(&self) -> usize {
        let half = self.config.connection_memory_bytes / 2;
        half.clamp(BATCH_VALUE_BYTES_MAX, VALUE_BYTES_MAX) - 16
    }

    /// The settings that it started with.
    #[must_use]
    pub fn config(&self) -> &ServerConfig {
        &self.config
    }

    /// The settings that can change.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Who is connected.
    #[must_use]
    pub fn clients(&self) -> &Arc<Clients> {
        &self.clients
    }

    /// The byte budget of connections.
    #[must_use]
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Its counters.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    pub(crate) fn cursors(&self) -> &Mutex<Cursors> {
        &self.cursors
    }

    pub(crate) fn views(&self) -> &Views {
        &self.views
    }

    pub(crate) fn watches(&self) -> &Arc<Watches> {
        &self.watches
    }

    pub(crate) fn slowlog(&self) -> &Mutex<SlowLog> {
        &self.slowlog
    }

    pub(crate) fn alarm(&self) -> &Alarm {
        &self.alarm
    }

    /// What the reaper sleeps on.
    #[must_use]
    pub fn reaper_signal(&self) -> &Arc<Signal> {
        &self.reaper_signal
    }

    /// What the anchor worker sleeps on.
    pub(crate) fn anchor_signal(&self) -> &Arc<Signal> {
        &self.anchor_signal
    }

    /// Whether the anchor worker knows of writes since it last looked.
    pub(crate) fn anchor_armed(&self) -> &AtomicBool {
        &self.anchor_armed
    }

    /// Tells the anchor worker of a write, so that its window begins (R7) even if nobody waits for
    /// the write at `fresh`. One atomic load if it knows already.
    pub(crate) fn note_unanchored(&self) {
        // Pairs with the worker's: either it sees the write, or we see that it disarmed.
        fence(Ordering::SeqCst);
        if !self.anchor_armed.load(Ordering::SeqCst) && !self.anchor_armed.swap(true, Ordering::SeqCst) {
            self.anchor_signal.raise();
        }
    }

    /// A clock for measuring, since an arbitrary point.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    /// How long the server runs.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.monotonic().saturating_sub(self.started)
    }

    /// A random name for this life of the server.
    #[must_use]
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// A number for choices that no safety hangs on (xorshift).
    pub(crate) fn roll(&self) -> u64 {
        let mut state = self.random.lock();
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    /// Whether the server can answer: for `/healthz`.
    pub fn health(&self) -> Result<()> {
        if let Some(error) = self.failure.get() {
            return Err(error.clone());
        }
        if self.is_shutting_down() {
            return Err(Error::new(ErrorKind::Stopped, "the server is shutting down"));
        }
        Ok(())
    }

    /// Why the store stopped, if it has.
    #[must_use]
    pub fn failure(&self) -> Option<&Error> {
        self.failure.get()
    }

    /// Tells the server of an error of the store. One that stopped the store is kept as evidence and
    /// begins the shutdown; others are the business of whoever asked. Returns whether it did.
    pub fn store_failed(&self, error: &Error) -> bool {
        let cause = self.store.stopped();
        if cause.is_none() && !is_fatal(error) {
            return false;
        }
        self.fail(cause.unwrap_or_else(|| error.clone()));
        true
    }

    /// A background worker panicked or was never run. The store cannot do without: nobody would sync,
    /// anchor, flush or reap.
    pub(crate) fn worker_lost(&self, name: &str) {
        let why = format!("the background worker '{name}' ended before its time");
        self.fail(Error::new(ErrorKind::Internal, why));
    }

    fn fail(&self, error: Error) {
        // Not after a clean shutdown: whoever closed the store knows.
        if !self.is_shutting_down() && self.failure.set(error.clone()).is_ok() {
            tracing::error!(%error, "the store has stopped; the server answers no more data and shuts down");
            self.request_shutdown();
        }
    }

    /// Asks whoever runs the server to shut it down.
    pub fn request_shutdown(&self) {
        self.shutdown_requested.notify_one();
    }

    /// Resolves when a shutdown was asked for. One waiter: whoever runs the server.
    pub async fn shutdown_requested(&self) {
        self.shutdown_requested.notified().await;
    }

    /// Whether the server is shutting down.
    #[must_use]
    pub fn is_shutting_down(&self) -> bool {
        self.shutting_down.load(Ordering::Acquire)
    }

    /// Refuses new connections, lets the present ones finish their turn, and returns when they are
    /// gone or the configured time is over. The caller then stops the jobs and closes the store.
    pub async fn shut_down(&self) {
        self.shutting_down.store(true, Ordering::Release);
        self.clients.shut_down();
        let waited = door::within(Some(self.config.shutdown_timeout), self.clients.all_gone()).await;
        if waited.is_none() {
            tracing::warn!(connections = self.clients.len(), "connections did not finish in time");
        }
    }
}
