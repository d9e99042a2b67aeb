//! Ringfort: sealed, mode `software`, writes at level `buffered`, a simulated platform.
//!
//! The store's core has no thread of its own (R22), so this file gives it what the embedded API
//! gives it: one worker for the log, which syncs and anchors on demand and at least once per anchor
//! window (R7), and one for flushes, compactions and the deletion of files. A commit is therefore
//! sealed, chained, written, and anchored within 100 ms, and everything that is read back is verified:
//! what is measured is the product's protection, not a part of it.

use crate::Result;
use crate::engine::{Engine, Kind, Settings};
use parking_lot::{Condvar, Mutex};
use ringfort_base::world::{Disk, Entropy};
use ringfort_base::{KeyspaceId, Level};
use ringfort_host::disk::OsDisk;
use ringfort_host::door::{self, OsClock, OsEntropy};
use ringfort_store::{KeyspaceOptions, Step, Store, StoreOptions, World, WriteBatch};
use ringfort_trust::keyfile::Mode;
use ringfort_trust::platform::sim::{SimDevice, SimPlatform};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How it is opened.
pub const KIND: Kind = Kind { name: "ringfort", about, open };

/// How often what was written is anchored (R7).
const ANCHOR_WINDOW: Duration = Duration::from_millis(100);
/// As the embedded API has it: the shortest pause that a thread's timer keeps about.
const SHORTEST_PAUSE: Duration = Duration::from_micros(100);

struct Ringfort {
    store: Store,
    keyspace: KeyspaceId,
    shared: Arc<Shared>,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

/// What the workers and their callers share.
#[derive(Default)]
struct Shared {
    log: Bell,
    maintenance: Bell,
    stop: AtomicBool,
}

fn about() -> String {
    format!(
        "Ringfort {}, AES-256-GCM, mode software, level buffered, anchored every {} ms (simulated counter)",
        env!("CARGO_PKG_VERSION"),
        ANCHOR_WINDOW.as_millis()
    )
}

fn open(dir: &Path, settings: &Settings) -> Result<Arc<dyn Engine>> {
    let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
    let platform: Arc<dyn Disk> = Arc::new(OsDisk::create(&dir.join("platform"))?);
    let device = SimDevice::new(platform, Arc::clone(&entropy));
    let world = World {
        data: Arc::new(OsDisk::create(&dir.join("data"))?),
        trusted: None,
        clock: Arc::new(OsClock::new()),
        entropy,
        platform: Arc::new(SimPlatform::new(Arc::new(device))),
    };
    let store = Store::open(
        world,
        StoreOptions {
            mode: Some(Mode::Software),
            default_level: Level::Buffered,
            memory_budget: settings.memory_budget(),
            ..StoreOptions::default()
        },
    )?;
    let options = KeyspaceOptions {
        write_buffer_bytes: settings.write_buffer(),
        block_bytes: settings.block_size,
        bloom_bits_per_key: settings.bloom_bits,
        ..KeyspaceOptions::default()
    };
    let keyspace = store.create_keyspace("bench", options)?;
    let shared = Arc::new(Shared::default());
    let hook = Arc::clone(&shared);
    // Nobody waits for more than `buffered` here, so the log's worker goes by its window alone.
    store.on_work(Box::new(|| {}), Box::new(move || hook.maintenance.ring()));
    let workers = start(&store, &shared)?;
    Ok(Arc::new(Ringfort { store, keyspace, shared, workers: Mutex::new(workers) }))
}

impl Engine for Ringfort {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let mut batch = WriteBatch::new();
        batch.put(self.keyspace, key, value);
        self.store.apply(batch)?;
        if let Some(pause) = self.store.take_pause(SHORTEST_PAUSE) {
            door::sleep(pause);
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        Ok(self.store.get(self.keyspace, key, None)?.value.map(|value| value.len()))
    }

    fn settle(&self) -> Result<()> {
        self.store.flush(None)?;
        // Between two jobs nothing may seem due for a moment: it has to stay so.
        let mut quiet = 0;
        while quiet < 5 {
            door::sleep(Duration::from_millis(10));
            let worked = self.store.maintenance_step()? == Step::Worked;
            quiet = if worked || self.shared.maintenance.busy() { 0 } else { quiet + 1 };
        }
        Ok(())
    }

    fn close(&self) -> Result<()> {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.log.ring();
        self.shared.maintenance.ring();
        for worker in self.workers.lock().drain(..) {
            worker.join().map_err(|_| "a worker of the store panicked")?;
        }
        Ok(self.store.close()?)
    }
}

/// As the embedded API has it: one worker for the log, one for everything else.
fn start(store: &Store, shared: &Arc<Shared>) -> Result<Vec<JoinHandle<()>>> {
    let worker = |name: &str, bell: fn(&Shared) -> &Bell, work: fn(&Store) -> ringfort_base::Result<()>| {
        let (store, shared) = (store.clone(), Arc::clone(shared));
        door::spawn(name, move || {
            let bell = bell(&shared);
            let mut seen = 0;
            while !shared.stop.load(Ordering::Acquire) {
                seen = bell.wait(seen, ANCHOR_WINDOW);
                // An error that matters stopped the store: the benchmark's next call reports it.
                let _ = work(&store);
                bell.done();
            }
        })
    };
    Ok(vec![
        worker("ringfort-log", |shared| &shared.log, log_work)?,
        worker("ringfort-upkeep", |shared| &shared.maintenance, upkeep_work)?,
    ])
}

/// Once per window.
fn log_work(store: &Store) -> ringfort_base::Result<()> {
    if store.frontier(Level::Fresh) < store.frontier(Level::Buffered) {
        store.request_anchor();
    }
    loop {
        let (sync, anchor) = (store.sync_step()?, store.anchor_step()?);
        if sync == Step::Idle && anchor == Step::Idle {
            return Ok(());
        }
    }
}

fn upkeep_work(store: &Store) -> ringfort_base::Result<()> {
    while store.maintenance_step()? == Step::Worked {}
    Ok(())
}

/// Wakes the workers that wait for it.
#[derive(Default)]
struct Bell {
    state: Mutex<BellState>,
    rung: Condvar,
}

#[derive(Default)]
struct BellState {
    /// Counts up, so that no worker misses a ring that came while it worked.
    rings: u64,
    working: usize,
}

impl Bell {
    fn ring(&self) {
        self.state.lock().rings += 1;
        self.rung.notify_all();
    }

    /// Waits for a ring after the `seen`th, or for `rest`; the worker is busy from here on. Returns
    /// how often it rang so far.
    fn wait(&self, seen: u64, rest: Duration) -> u64 {
        let mut state = self.state.lock();
        if state.rings == seen {
            self.rung.wait_for(&mut state, rest);
        }
        state.working += 1;
        state.rings
    }

    fn done(&self) {
        self.state.lock().working -= 1;
    }

    fn busy(&self) -> bool {
        self.state.lock().working > 0
    }
}
