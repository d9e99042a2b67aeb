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
//!
//! ```text
//!  choose   which record               client     draws transactions of n operations, and counts them
//!                                        │  each goes to a session
//!                                        ├─ embedded   a store in this process
//!                                        └─ remote     a server that speaks RESP
//! ```

mod choose;
mod client;
mod embedded;
pub mod remote;

use crate::Result;
use crate::progress::Progress;
use crate::transactional::driver::{self, Course};
use crate::transactional::{Entry, Run, Transactional};
use crate::values::Values;
pub use choose::Distribution;
use choose::{Choice, fnv};
use client::{Client, KINDS, Operation, Session};
use serde::{Deserialize, Serialize};
use std::sync::atomic::AtomicU64;
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
    /// Before it is measured, for so long.
    pub warm_up: Duration,
    /// For how long.
    pub duration: Duration,
    /// Of all random numbers.
    pub seed: u64,
}

/// What came out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// Operations of committed transactions, a second.
    pub operations_per_sec: f64,
    /// The rest, of all transactions and by kind: those of one kind of operation by its name, others are `mixed`.
    #[serde(flatten)]
    pub run: Run,
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
    let progress = load_by(plan, &mut |entries| engine.load(entries))?;
    progress.settling();
    engine.settle()
}

/// Hands all records to `put`, in pieces.
fn load_by(plan: &Plan, put: &mut dyn FnMut(&[Entry]) -> Result<()>) -> Result<Progress> {
    const PIECE: u64 = 500;
    let progress = Progress::start("ycsb load".into(), Some(plan.records), None);
    let mut values = Values::new(0.5, plan.value_bytes);
    let mut name = String::new();
    let mut first = 0;
    while first < plan.records {
        let end = plan.records.min(first + PIECE);
        let entries: Vec<Entry> = (first..end)
            .map(|record| {
                key(record, &mut name);
                (name.clone().into_bytes(), values.next(plan.value_bytes).to_vec())
            })
            .collect();
        put(&entries)?;
        progress.advance(end - first);
        first = end;
    }
    Ok(progress)
}

/// Runs the mix on loaded records.
///
/// # Errors
/// Those of the store; a conflict is none.
pub fn run(engine: &dyn Transactional, plan: &Plan) -> Result<Outcome> {
    run_on(plan, (0..plan.clients).map(|_| embedded::Embedded::new(engine)).collect())
}

/// Runs the mix, with a client for each session.
fn run_on<S: Session>(plan: &Plan, sessions: Vec<S>) -> Result<Outcome> {
    let records = AtomicU64::new(plan.records);
    let choice = (Choice::new(plan.distribution, plan.records), Values::new(0.5, plan.value_bytes));
    let clients = sessions
        .into_iter()
        .enumerate()
        .map(|(number, session)| Client::new(plan, session, number, choice.clone(), &records))
        .collect();
    let course = Course { label: "ycsb", kinds: &KINDS, warm_up: plan.warm_up, duration: plan.duration };
    let run = driver::drive(&course, clients)?;
    let operations_per_sec = run.transactions_per_sec * plan.operations as f64;
    Ok(Outcome { operations_per_sec, run })
}
