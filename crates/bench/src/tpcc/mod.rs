//! # TPC-C: five transactions of a wholesaler
//!
//! The full mix of TPC-C (standard specification 5.11) on any store with serializable transactions:
//!
//! ```text
//!  random   NURand, names (2.1.6, 4.3.2)        load    the initial database (4.3.3)
//!  schema   nine tables as keys and rows        work    the five transactions (2.4 to 2.8)
//!  check    consistency conditions 1 to 12 (3.3.2)
//! ```
//!
//! What differs from the specification, as in every measurement of a store rather than of a system:
//! terminals neither type nor think, Delivery is not deferred, there is no ramp and no audit. So the
//! result is called tpmC for its unit, New-Orders committed a minute, and is no TPC result.

mod check;
mod load;
mod random;
mod schema;
mod work;

use crate::Result;
use crate::histogram::Histogram;
use crate::progress::Progress;
use crate::transactional::Transactional;
use random::{Constants, Random};
use ringfort_base::world::Clock;
use ringfort_host::door::{self, OsClock};
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use work::Input;
pub use work::Kind;

const DISTRICTS: u32 = 10;
/// Of a district's orders so many are delivered when the database is loaded.
const ORDERS_DELIVERED: u32 = 2100;
/// Entries of a loaded warehouse, about, and of the items.
const WAREHOUSE_ENTRIES: u64 = 629_000;
const ITEM_ENTRIES: u64 = 100_000;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How large the database is; 100 MB each, about.
    pub warehouses: u32,
    /// How many terminals enter transactions, each as fast as it gets answers.
    pub terminals: u32,
    /// For how long.
    pub duration: Duration,
    /// Of all random numbers.
    pub seed: u64,
}

/// Of one of the five transactions.
#[derive(Clone, Debug, Serialize)]
pub struct KindResult {
    /// Its name.
    pub transaction: &'static str,
    /// How many were committed.
    pub committed: u64,
    /// How many were rolled back as intended.
    pub rolled_back: u64,
    /// How often one was begun again, for a conflict.
    pub retries: u64,
    /// Half of them were faster, µs; tries and waits included.
    pub p50_us: f64,
    /// 99 of a hundred were faster.
    pub p99_us: f64,
    /// The slowest.
    pub max_us: f64,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// New-Orders committed a minute.
    pub tpmc: f64,
    /// Transactions of all kinds committed a second.
    pub transactions_per_sec: f64,
    /// Of all tries, how many had to be begun again.
    pub abort_rate: f64,
    /// Whether the consistency conditions hold afterwards.
    pub consistent: bool,
    /// Which ones do not, and for what.
    pub violations: Vec<String>,
    /// The load, seconds.
    pub load_seconds: f64,
    /// The measured time, seconds.
    pub seconds: f64,
    /// By kind.
    pub kinds: Vec<KindResult>,
}

/// Loads the database.
///
/// # Errors
/// Those of the store.
pub fn load(engine: &dyn Transactional, plan: &Plan) -> Result<()> {
    let total = ITEM_ENTRIES + u64::from(plan.warehouses) * WAREHOUSE_ENTRIES;
    let progress = Progress::start("tpcc load".into(), Some(total), None);
    let constants = Constants::of_load(plan.seed);
    let mut loaded = |entries| progress.advance(entries);
    load::items(engine, plan.seed, constants, &mut loaded)?;
    for w in 1..=plan.warehouses {
        load::warehouse(engine, w, plan.seed, constants, &mut loaded)?;
    }
    progress.settling();
    engine.settle()
}

/// Which of the consistency conditions do not hold, and for what; empty if all do.
///
/// # Errors
/// Those of the store, and rows that cannot be read.
pub fn check(engine: &dyn Transactional, warehouses: u32) -> Result<Vec<String>> {
    check::check(engine, warehouses)
}

/// Runs the mix on a loaded database, and checks it afterwards.
///
/// # Errors
/// Those of the store; a conflict is none.
pub fn run(engine: &dyn Transactional, plan: &Plan) -> Result<Outcome> {
    let clock = OsClock::new();
    let stop = AtomicBool::new(false);
    let progress = Progress::start("tpcc".into(), None, Some(plan.duration));
    let start = clock.monotonic();
    let tallies: Vec<Result<[Tally; 5]>> = std::thread::scope(|scope| {
        let terminals: Vec<_> = (1..=plan.terminals)
            .map(|number| {
                let terminal = Terminal { number, plan, engine, stop: &stop, progress: &progress };
                scope.spawn(move || terminal.run())
            })
            .collect();
        while clock.monotonic() - start < plan.duration
            && !terminals.iter().any(|terminal| terminal.is_finished())
        {
            door::sleep(Duration::from_millis(10).min(plan.duration));
        }
        stop.store(true, Ordering::Release);
        terminals
            .into_iter()
            .map(|terminal| terminal.join().unwrap_or_else(|_| Err("a terminal panicked".into())))
            .collect()
    });
    let seconds = (clock.monotonic() - start).as_secs_f64();
    drop(progress);
    let mut all: [Tally; 5] = Default::default();
    for tallies in tallies {
        all.iter_mut().zip(tallies?).for_each(|(all, tally)| all.add(&tally));
    }
    let violations = check::check(engine, plan.warehouses)?;
    Ok(outcome(&all, seconds, violations))
}

fn outcome(all: &[Tally; 5], seconds: f64, violations: Vec<String>) -> Outcome {
    let committed: u64 = all.iter().map(|tally| tally.committed).sum();
    let ended: u64 = all.iter().map(|tally| tally.committed + tally.rolled_back).sum();
    let retries: u64 = all.iter().map(|tally| tally.retries).sum();
    Outcome {
        tpmc: all[0].committed as f64 * 60.0 / seconds,
        transactions_per_sec: committed as f64 / seconds,
        abort_rate: retries as f64 / (ended + retries).max(1) as f64,
        consistent: violations.is_empty(),
        violations,
        load_seconds: 0.0,
        seconds,
        kinds: Kind::ALL.iter().zip(all).map(|(kind, tally)| tally.result(*kind)).collect(),
    }
}

/// What a terminal counts, of one kind.
#[derive(Default)]
struct Tally {
    committed: u64,
    rolled_back: u64,
    retries: u64,
    latency: Histogram,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.committed += other.committed;
        self.rolled_back += other.rolled_back;
        self.retries += other.retries;
        self.latency.add(&other.latency);
    }

    fn result(&self, kind: Kind) -> KindResult {
        KindResult {
            transaction: kind.name(),
            committed: self.committed,
            rolled_back: self.rolled_back,
            retries: self.retries,
            p50_us: self.latency.quantile_us(0.5),
            p99_us: self.latency.quantile_us(0.99),
            max_us: self.latency.max_us(),
        }
    }
}

/// One terminal: it belongs to a warehouse and a district, and waits for each answer.
struct Terminal<'t> {
    number: u32,
    plan: &'t Plan,
    engine: &'t dyn Transactional,
    stop: &'t AtomicBool,
    progress: &'t Progress,
}

impl Terminal<'_> {
    fn run(&self) -> Result<[Tally; 5]> {
        let constants = Constants::of_load(self.plan.seed).of_run();
        let seed = self.plan.seed ^ (u64::from(self.number) << 32) ^ 0x7063_6374;
        let mut random = Random::new(seed, constants);
        let warehouses = self.plan.warehouses;
        let home =
            ((self.number - 1) % warehouses + 1, (self.number - 1) / warehouses % DISTRICTS + 1, warehouses);
        let clock = OsClock::new();
        let mut tallies: [Tally; 5] = Default::default();
        let mut number = 0;
        while !self.stop.load(Ordering::Acquire) {
            number += 1;
            let begin = clock.monotonic();
            let kind = Kind::draw(&mut random);
            let now = load::LOADED_AT + begin.as_millis() as u64;
            let input = Input::draw(kind, &mut random, home, now, (self.number, number));
            let mut end = None;
            let retries = self.engine.transact(kind.is_read_only(), &mut |txn| {
                let ended = input.run(txn)?;
                end = Some(ended);
                Ok(ended)
            })?;
            let tally = &mut tallies[kind as usize];
            tally.latency.record((clock.monotonic() - begin).as_nanos() as u64);
            tally.retries += retries;
            match end {
                Some(crate::transactional::End::Rollback) => tally.rolled_back += 1,
                _ => tally.committed += 1,
            }
            self.progress.advance(1);
        }
        Ok(tallies)
    }
}
