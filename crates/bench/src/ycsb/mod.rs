//! # YCSB: reads, updates, inserts and scans, alone or several in a transaction
//!
//! The core workloads of YCSB (Cooper et al., SoCC 2010) and the two of TREATY's evaluation, on any store
//! with serializable transactions. Records are `user` and a scattered number, with one value of all
//! their fields.
//!
//! | workload | operations | records are chosen |
//! |---|---|---|
//! | a | 50 % reads, 50 % updates | zipfian |
//! | b | 95 % reads, 5 % updates | zipfian |
//! | c | reads | zipfian |
//! | d | 95 % reads, 5 % inserts | latest |
//! | e | 95 % scans of 1 to 100, 5 % inserts | zipfian |
//! | f | 50 % reads, 50 % read-modify-write | zipfian |
//! | treaty-20, treaty-80 | 20 %, 80 % reads, the rest updates | uniform |

mod choose;

use crate::Result;
use crate::histogram::Histogram;
use crate::progress::Progress;
use crate::rng::Mt64;
use crate::transactional::{End, Transaction, Transactional};
use crate::values::Values;
pub use choose::Distribution;
use choose::{Choice, fnv};
use ringfort_base::world::Clock;
use ringfort_host::door::{self, OsClock};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Which operations, in which shares.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Mix {
    /// Update heavy.
    A,
    /// Read mostly.
    B,
    /// Read only.
    C,
    /// Read latest.
    D,
    /// Short ranges.
    E,
    /// Read-modify-write.
    F,
    /// TREATY's write-heavy mix.
    #[value(name = "treaty-20")]
    #[serde(rename = "treaty-20")]
    Treaty20,
    /// TREATY's read-heavy mix.
    #[value(name = "treaty-80")]
    #[serde(rename = "treaty-80")]
    Treaty80,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operation {
    Read,
    Update,
    Insert,
    Scan,
    ReadModifyWrite,
}

impl Mix {
    /// Percent of the first operation; the second is the rest.
    fn shares(self) -> (u64, Operation, Operation) {
        use Operation::{Insert, Read, ReadModifyWrite, Scan, Update};
        match self {
            Mix::A => (50, Read, Update),
            Mix::B => (95, Read, Update),
            Mix::C => (100, Read, Update),
            Mix::D => (95, Read, Insert),
            Mix::E => (95, Scan, Insert),
            Mix::F => (50, Read, ReadModifyWrite),
            Mix::Treaty20 => (20, Read, Update),
            Mix::Treaty80 => (80, Read, Update),
        }
    }

    /// How it chooses records if nothing else is said.
    #[must_use]
    pub fn distribution(self) -> Distribution {
        match self {
            Mix::D => Distribution::Latest,
            Mix::Treaty20 | Mix::Treaty80 => Distribution::Uniform,
            _ => Distribution::Zipfian,
        }
    }
}

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The operations.
    pub mix: Mix,
    /// How records are chosen.
    pub distribution: Distribution,
    /// Records that are loaded.
    pub records: u64,
    /// A value's length, bytes: all fields together.
    pub value_bytes: usize,
    /// Operations of each transaction.
    pub operations: usize,
    /// Threads, each with one transaction at a time.
    pub clients: usize,
    /// For how long.
    pub duration: Duration,
    /// Of all random numbers.
    pub seed: u64,
}

/// What came out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// Transactions committed a second.
    pub transactions_per_sec: f64,
    /// Their operations a second.
    pub operations_per_sec: f64,
    /// Of all tries, how many had to be begun again.
    pub abort_rate: f64,
    /// Half of the transactions were faster, µs; tries and waits included.
    pub p50_us: f64,
    /// 99 of a hundred were faster.
    pub p99_us: f64,
    /// The slowest.
    pub max_us: f64,
    /// The measured time, seconds.
    pub seconds: f64,
}

/// A record's key: scattered, so that the order of insertion is not that of the keys.
fn key(record: u64, key: &mut String) {
    use std::fmt::Write as _;
    key.clear();
    // Writing to a string cannot fail.
    let _ = write!(key, "user{:019}", fnv(record) >> 1);
}

/// Loads the records.
///
/// # Errors
/// Those of the store.
pub fn load(engine: &dyn Transactional, plan: &Plan) -> Result<()> {
    const PIECE: u64 = 500;
    let progress = Progress::start("ycsb load".into(), Some(plan.records), None);
    let mut values = Values::new(0.5, plan.value_bytes);
    let mut name = String::new();
    let mut first = 0;
    while first < plan.records {
        let end = plan.records.min(first + PIECE);
        let entries: Vec<(Vec<u8>, Vec<u8>)> = (first..end)
            .map(|record| {
                key(record, &mut name);
                (name.clone().into_bytes(), values.next(plan.value_bytes).to_vec())
            })
            .collect();
        engine.load(&entries)?;
        progress.advance(end - first);
        first = end;
    }
    progress.settling();
    engine.settle()
}

/// Runs the mix on loaded records.
///
/// # Errors
/// Those of the store; a conflict is none.
pub fn run(engine: &dyn Transactional, plan: &Plan) -> Result<Outcome> {
    let clock = OsClock::new();
    let (stop, records) = (AtomicBool::new(false), AtomicU64::new(plan.records));
    let choice = Choice::new(plan.distribution, plan.records);
    let progress = Progress::start("ycsb".into(), None, Some(plan.duration));
    let start = clock.monotonic();
    let tallies: Vec<Result<Tally>> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..plan.clients)
            .map(|number| {
                let client = Client {
                    plan,
                    engine,
                    choice: choice.clone(),
                    rng: Mt64::new(plan.seed ^ (number as u64 + 1) << 32),
                    values: Values::new(0.5, plan.value_bytes),
                    records: &records,
                };
                let (stop, progress) = (&stop, &progress);
                scope.spawn(move || client.run(stop, progress))
            })
            .collect();
        while clock.monotonic() - start < plan.duration && !clients.iter().any(|client| client.is_finished())
        {
            door::sleep(Duration::from_millis(5).min(plan.duration));
        }
        stop.store(true, Ordering::Release);
        let ended = clients.into_iter().map(|client| client.join());
        ended.map(|ended| ended.unwrap_or_else(|_| Err("a client panicked".into()))).collect()
    });
    let seconds = (clock.monotonic() - start).as_secs_f64();
    drop(progress);
    let mut all = Tally::default();
    for tally in tallies {
        let tally = tally?;
        all.committed += tally.committed;
        all.retries += tally.retries;
        all.latency.add(&tally.latency);
    }
    Ok(Outcome {
        transactions_per_sec: all.committed as f64 / seconds,
        operations_per_sec: (all.committed * plan.operations as u64) as f64 / seconds,
        abort_rate: all.retries as f64 / (all.committed + all.retries).max(1) as f64,
        p50_us: all.latency.quantile_us(0.5),
        p99_us: all.latency.quantile_us(0.99),
        max_us: all.latency.max_us(),
        seconds,
    })
}

#[derive(Default)]
struct Tally {
    committed: u64,
    retries: u64,
    latency: Histogram,
}

/// One client.
struct Client<'c> {
    plan: &'c Plan,
    engine: &'c dyn Transactional,
    choice: Choice,
    rng: Mt64,
    values: Values,
    /// Loaded or inserted by now.
    records: &'c AtomicU64,
}

/// An operation with its key; it is the same for each try.
struct Step {
    operation: Operation,
    key: Vec<u8>,
    value: std::ops::Range<usize>,
    limit: usize,
}

impl Client<'_> {
    fn run(mut self, stop: &AtomicBool, progress: &Progress) -> Result<Tally> {
        let clock = OsClock::new();
        let mut tally = Tally::default();
        let (mut steps, mut found, mut name) = (Vec::new(), Vec::new(), String::new());
        while !stop.load(Ordering::Acquire) {
            steps.clear();
            (0..self.plan.operations).for_each(|_| steps.push(self.draw(&mut name)));
            let is_read_only =
                steps.iter().all(|step| matches!(step.operation, Operation::Read | Operation::Scan));
            let begin = clock.monotonic();
            let values = &self.values;
            let retries = self.engine.transact(is_read_only, &mut |txn| {
                steps.iter().try_for_each(|step| carry_out(txn, step, values, &mut found))?;
                Ok(End::Commit)
            })?;
            tally.latency.record((clock.monotonic() - begin).as_nanos() as u64);
            tally.committed += 1;
            tally.retries += retries;
            progress.advance(1);
        }
        Ok(tally)
    }

    fn draw(&mut self, name: &mut String) -> Step {
        let (share, first, rest) = self.plan.mix.shares();
        let operation = if self.rng.next_u64() % 100 < share { first } else { rest };
        let record = match operation {
            Operation::Insert => self.records.fetch_add(1, Ordering::Relaxed),
            _ => self.choice.record(&mut self.rng, self.records.load(Ordering::Relaxed)),
        };
        key(record, name);
        let limit = 1 + (self.rng.next_u64() % 100) as usize;
        Step {
            operation,
            key: name.clone().into_bytes(),
            value: self.values.window(self.plan.value_bytes),
            limit,
        }
    }
}

fn carry_out(txn: &mut dyn Transaction, step: &Step, values: &Values, found: &mut Vec<u8>) -> Result<()> {
    let value = values.bytes(step.value.clone());
    match step.operation {
        // One that is being inserted may not be there yet.
        Operation::Read => txn.get(&step.key, false, found).map(drop),
        Operation::Update | Operation::Insert => txn.put(&step.key, value),
        Operation::ReadModifyWrite => {
            txn.get(&step.key, true, found)?;
            txn.put(&step.key, value)
        }
        Operation::Scan => txn.scan(&step.key, b"user:", false, step.limit, &mut |_, value| {
            std::hint::black_box(value.len());
            Ok(())
        }),
    }
}
