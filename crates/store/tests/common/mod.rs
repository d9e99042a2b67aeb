//! A world for tests: disks in memory, a clock that is set by hand, entropy from a seed, and the
//! simulated platform over a disk of its own.
#![allow(dead_code, reason = "each test binary uses its part")]

use ringfort_base::world::{Clock, Disk, Entropy};
use ringfort_base::{KeyspaceId, Level, Result, Seq};
use ringfort_fault::clock::ManualClock;
use ringfort_fault::entropy::SeededEntropy;
use ringfort_fault::memory::{CrashChoice, MemDisk};
use ringfort_store::{KeyspaceOptions, Step, Store, StoreOptions, World, WriteBatch};
use ringfort_trust::keyfile::Mode;
use ringfort_trust::platform::Platform;
use ringfort_trust::platform::sim::{SimDevice, SimPlatform};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub const MODES: [Mode; 3] = [Mode::Software, Mode::Hardware, Mode::Twin];

/// The disks of a machine, and what drives them.
pub struct Machine {
    pub data: MemDisk,
    pub trusted: MemDisk,
    pub platform_disk: MemDisk,
    pub clock: Arc<ManualClock>,
    pub entropy: Arc<SeededEntropy>,
    pub mode: Mode,
}

impl Machine {
    pub fn new(mode: Mode, seed: u64) -> Self {
        Self {
            data: MemDisk::new(),
            trusted: MemDisk::new(),
            platform_disk: MemDisk::new(),
            clock: Arc::new(ManualClock::new(Duration::from_secs(1_700_000_000))),
            entropy: Arc::new(SeededEntropy::new(seed)),
            mode,
        }
    }

    pub fn platform(&self) -> Arc<dyn Platform> {
        platform(&self.platform_disk, &self.entropy)
    }

    /// The world over given disks instead of our own.
    pub fn world_over(&self, data: Arc<dyn Disk>, trusted: Arc<dyn Disk>) -> World {
        World {
            data,
            trusted: (self.mode != Mode::Software).then_some(trusted),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            entropy: Arc::clone(&self.entropy) as Arc<dyn Entropy>,
            platform: self.platform(),
        }
    }

    pub fn world(&self) -> World {
        self.world_over(Arc::new(self.data.clone()), Arc::new(self.trusted.clone()))
    }

    pub fn open(&self) -> Result<Store> {
        Store::open(self.world(), self.options())
    }

    pub fn options(&self) -> StoreOptions {
        StoreOptions {
            mode: Some(self.mode),
            segment_bytes: 64 << 10,
            memory_budget: 8 << 20,
            stored_values_from_bytes: 50,
            ..StoreOptions::default()
        }
    }

    /// The machine after its process died: everything written is there, locks are free.
    pub fn after_kill(&self) -> Self {
        self.map(|disk| disk.crash(CrashChoice::KeepAll))
    }

    /// The machine after a power cut.
    pub fn after_power_cut(&self, choice: CrashChoice) -> Self {
        self.map(|disk| disk.crash(choice))
    }

    /// A copy of the machine, its process dead, its platform the same one.
    pub fn with_disks(&self, data: MemDisk, trusted: MemDisk) -> Self {
        Self { data, trusted, ..self.map(Clone::clone) }
    }

    pub fn map(&self, f: impl Fn(&MemDisk) -> MemDisk) -> Self {
        Self {
            data: f(&self.data),
            trusted: f(&self.trusted),
            platform_disk: f(&self.platform_disk),
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            mode: self.mode,
        }
    }

    /// Where a class of file lives: the log's and the MANIFEST's volume.
    pub fn log_disk(&self) -> &MemDisk {
        if self.mode == Mode::Software { &self.data } else { &self.trusted }
    }

    pub fn table_disk(&self) -> &MemDisk {
        if self.mode == Mode::Hardware { &self.trusted } else { &self.data }
    }
}

pub fn platform(disk: &MemDisk, entropy: &Arc<SeededEntropy>) -> Arc<dyn Platform> {
    let device = SimDevice::new(Arc::new(disk.clone()), Arc::clone(entropy) as Arc<dyn Entropy>);
    Arc::new(SimPlatform::new(Arc::new(device)))
}

/// Small enough that a few hundred writes make several levels.
pub fn small() -> KeyspaceOptions {
    KeyspaceOptions {
        write_buffer_bytes: 16 << 10,
        block_bytes: 1024,
        table_bytes: 8 << 10,
        level0_tables: 2,
        level1_bytes: 32 << 10,
        ..KeyspaceOptions::default()
    }
}

/// Polls once.
pub fn poll<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// What waits for nobody.
pub fn now<F: Future>(future: F) -> F::Output {
    match poll(future) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

/// Runs the log's steps until `position` has `level`.
pub fn wait(store: &Store, position: Seq, level: Level) -> Result<()> {
    let mut wait = pin!(store.wait(position, level));
    for _ in 0..1000 {
        if let Poll::Ready(outcome) = wait.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return outcome;
        }
        store.log_step()?;
        store.sync_step()?;
        store.anchor_step()?;
    }
    panic!("position {position} never became {level}");
}

/// Applies a batch and waits for `level`.
pub fn commit(store: &Store, batch: WriteBatch, level: Level) -> Result<Seq> {
    let ticket = store.apply(batch)?;
    wait(store, ticket.position, level)?;
    Ok(ticket.position)
}

pub fn put(store: &Store, ks: KeyspaceId, key: &[u8], value: &[u8], level: Level) -> Result<Seq> {
    let mut batch = WriteBatch::new();
    batch.put(ks, key, value);
    commit(store, batch, level)
}

pub fn get(store: &Store, ks: KeyspaceId, key: &[u8]) -> Result<Option<Vec<u8>>> {
    Ok(store.get(ks, key, None)?.value.map(Vec::from))
}

/// Runs background work until there is none.
pub fn settle(store: &Store) -> Result<()> {
    for _ in 0..10_000 {
        if store.maintenance_step()? == Step::Idle {
            return Ok(());
        }
    }
    panic!("background work never ends");
}

/// All entries of a keyspace.
pub fn dump(store: &Store, ks: KeyspaceId) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let snapshot = store.snapshot();
    store.iter(ks, b"", None, false, &snapshot)?.collect()
}
