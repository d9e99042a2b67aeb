//! One run: `ringfort bench db`'s driver fills a store of its own, and the store's counters say how
//! often it synced and asked the counter meanwhile.

use super::Run;
use ringfort::bench::Ringfort;
use ringfort::{Db, Statistics};
use ringfort_base::Level;
use ringfort_bench::{Begun, Benchmark, Engine, Op, Plan, Report, Result, Settings, Target, Workload};
use serde_json::json;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

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

/// Opens a store in `dir`, which is empty or missing, and loads it.
pub(super) fn measure(dir: &Path, run: Run, load: Load) -> Result<Figures> {
    let workload = Workload {
        // Any key.
        num: u64::MAX,
        value_size: load.value_bytes,
        level: run.level,
        in_flight: run.handles,
        duration: load.time.as_secs_f64(),
        ..Workload::default()
    };
    let plan = Plan {
        benchmarks: vec![Benchmark::FillRandom],
        threads: run.writers,
        use_existing_db: false,
        statistics: false,
        label: format!("{}, {} under way each: ", run.level, run.handles),
        workload,
        settings: Settings::default(),
    };
    let watch = Arc::new(Watch::default());
    let open = |dir: &Path, settings: &Settings| -> Result<Arc<dyn Engine>> {
        let store = Ringfort { counter_latency: load.counter_latency, ..Ringfort::default() };
        let db = Db::open(store.options(dir, settings)?)?;
        watch.before.get_or_init(|| db.statistics());
        Ok(Arc::new(Watched { db, watch: Arc::clone(&watch) }))
    };
    let mut measured = None;
    ringfort_bench::run(&Target { name: "ringfort", dir, open: &open }, &plan, &mut |report| {
        if let Report::Measured(figures) = report {
            measured = Some(figures);
        }
        Ok(())
    })?;
    let measured = measured.ok_or("nothing was measured")?;
    let (before, after) =
        watch.before.get().zip(watch.after.get()).ok_or("the store's counters were not read")?;
    let ops = measured.operations.max(1) as f64;
    let rounds = after.advances - before.advances + after.counter_reads - before.counter_reads;
    Ok(Figures {
        ops_per_sec: measured.ops_per_sec,
        p50_us: measured.p50_us,
        p99_us: measured.p99_us,
        cpu_us_per_op: measured.cpu_us_per_op,
        ops_per_sync: ops / (after.syncs - before.syncs).max(1) as f64,
        rounds_per_million: rounds as f64 * 1e6 / ops,
    })
}

/// The store's counters around the load.
#[derive(Default)]
struct Watch {
    before: OnceLock<Statistics>,
    after: OnceLock<Statistics>,
}

/// A store that notes its counters when the load ends, and is not settled: what is asked is what a
/// commit costs until it is anchored, not what its table does.
struct Watched {
    db: Db,
    watch: Arc<Watch>,
}

impl Engine for Watched {
    fn put(&self, key: &[u8], value: &[u8], level: Level) -> Result<()> {
        Engine::put(&self.db, key, value, level)
    }

    fn begin(&self, batch: &[Op<'_>], level: Level) -> Result<Box<dyn Begun>> {
        Engine::begin(&self.db, batch, level)
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        Engine::get(&self.db, key)
    }

    fn settle(&self) -> Result<()> {
        self.watch.after.get_or_init(|| self.db.statistics());
        Ok(())
    }

    fn close(&self) -> Result<()> {
        Engine::close(&self.db)
    }
}
