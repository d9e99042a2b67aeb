//! One run: writers that keep so many commits under way each, on a store of their own.

use super::Run;
use ringfort::{Commit, Db, Options, WriteBatch};
use ringfort_base::world::Clock;
use ringfort_bench::Result;
use ringfort_bench::histogram::Histogram;
use ringfort_bench::keys::Key;
use ringfort_bench::rng::Mt64;
use ringfort_bench::values::Values;
use ringfort_host::door::{self, OsClock};
use serde_json::json;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::Duration;

const KEY_BYTES: usize = 16;
const COMPRESSION_RATIO: f64 = 0.5;

/// What all runs have in common.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) value_bytes: usize,
    pub(super) time: Duration,
    pub(super) counter_latency: Duration,
}

/// What one run gave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    pub(super) ops_per_sec: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) cpu_us_per_op: f64,
    /// Commits that one sync made durable.
    pub(super) ops_per_sync: f64,
    /// Advances of the counter, and reads of it, for a million commits.
    pub(super) rounds_per_million: f64,
}

impl Figures {
    pub(super) fn json(&self) -> serde_json::Value {
        json!({
            "ops_per_sec": self.ops_per_sec, "p50_us": self.p50_us, "p99_us": self.p99_us,
            "cpu_us_per_op": self.cpu_us_per_op, "ops_per_sync": self.ops_per_sync,
            "rounds_per_million": self.rounds_per_million,
        })
    }
}

/// Opens a store in `dir`, which is empty, and loads it.
pub(super) fn measure(dir: &Path, run: Run, load: Load) -> Result<Figures> {
    let options = Options::new(dir.join("data"))
        .platform_state(dir.join("platform"))
        .level(run.level)
        .counter_latency(load.counter_latency);
    let db = Db::open(options)?;
    let start = Arc::new(Barrier::new(run.writers + 1));
    let mut writers = Vec::new();
    for nth in 0..run.writers {
        let (db, start) = (db.clone(), Arc::clone(&start));
        writers.push(door::spawn("bench-writer", move || {
            let mut writer = Writer::new(db, run, load.value_bytes, nth as u64);
            start.wait();
            writer.write_for(load.time).map(|()| writer.latencies)
        })?);
    }
    let before = db.statistics();
    start.wait();
    let (clock, cpu_us) = (OsClock::new(), door::cpu_time_us());
    let mut latencies = Histogram::default();
    for writer in writers {
        latencies.add(&writer.join().map_err(|_| "a writer panicked")??);
    }
    let (seconds, cpu_us) = (clock.monotonic().as_secs_f64(), door::cpu_time_us() - cpu_us);
    let after = db.statistics();
    db.close()?;
    let ops = latencies.count().max(1) as f64;
    let rounds = after.advances - before.advances + after.counter_reads - before.counter_reads;
    Ok(Figures {
        ops_per_sec: ops / seconds,
        p50_us: latencies.quantile_us(0.5),
        p99_us: latencies.quantile_us(0.99),
        cpu_us_per_op: cpu_us as f64 / ops,
        ops_per_sync: ops / (after.syncs - before.syncs).max(1) as f64,
        rounds_per_million: rounds as f64 * 1e6 / ops,
    })
}

/// One thread's commits.
struct Writer {
    db: Db,
    run: Run,
    value_bytes: usize,
    keys: Mt64,
    key: Key,
    values: Values,
    clock: OsClock,
    /// Oldest first, with the time when each was submitted.
    under_way: VecDeque<(Duration, Commit)>,
    latencies: Histogram,
}

impl Writer {
    fn new(db: Db, run: Run, value_bytes: usize, nth: u64) -> Self {
        Self {
            db,
            run,
            value_bytes,
            keys: Mt64::new(nth + 1),
            key: Key::new(KEY_BYTES),
            values: Values::new(COMPRESSION_RATIO, value_bytes),
            clock: OsClock::new(),
            under_way: VecDeque::new(),
            latencies: Histogram::default(),
        }
    }

    fn write_for(&mut self, time: Duration) -> Result<()> {
        let end = self.clock.monotonic() + time;
        loop {
            let now = self.clock.monotonic();
            if now >= end {
                break;
            }
            self.write(now)?;
        }
        while !self.under_way.is_empty() {
            self.wait_for_oldest()?;
        }
        Ok(())
    }

    /// One more commit, and the oldest awaited if they are as many as there may be.
    fn write(&mut self, now: Duration) -> Result<()> {
        let mut batch = WriteBatch::new();
        let (key, value) = (self.key.of(self.keys.next_u64()), self.values.next(self.value_bytes));
        batch.put(self.db.default_keyspace().id(), key, value);
        if self.run.handles == 1 {
            self.db.write_with(batch, self.run.level)?;
            self.record(now);
            return Ok(());
        }
        self.under_way.push_back((now, self.db.submit(batch, self.run.level)?));
        if self.under_way.len() >= self.run.handles { self.wait_for_oldest() } else { Ok(()) }
    }

    fn wait_for_oldest(&mut self) -> Result<()> {
        if let Some((submitted, commit)) = self.under_way.pop_front() {
            commit.wait(self.run.level)?;
            self.record(submitted);
        }
        Ok(())
    }

    fn record(&mut self, since: Duration) {
        let took = self.clock.monotonic().saturating_sub(since);
        self.latencies.record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }
}
