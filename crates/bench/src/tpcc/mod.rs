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
//! # What differs from the specification
//!
//! On purpose, as in every measurement of a store rather than of a system:
//!
//! - Terminals neither type nor think (5.2.5), so a few of them saturate the store, and what they wait for (5.2.5.3)
//!   is reported and not required. The result is called tpmC for its unit, New-Orders committed
//!   a minute; without the ratio of warehouses to throughput (at most 12.86 tpmC each, 4.2.1) it is no TPC result, and not to be
//!   compared with one.
//! - A terminal has its warehouse, and its district for Stock-Level (2.8.1.1). More than ten terminals of one warehouse share
//!   its districts.
//! - The mix is drawn (5.2.4.2: 45, 43, 4, 4 and 4 of a hundred), not dealt from a deck; what was measured stands in
//!   the result.
//! - Delivery is carried out at once, for all ten districts in one transaction, and not queued (2.7.2). A district
//!   without an order to deliver is skipped (2.7.4.2).
//! - With one warehouse nothing is remote: items are the home's (2.4.1.5), and of a hundred payments 15 are of customers of any
//!   district of the same warehouse (2.5.1.2).
//! - The database is as large as it was loaded and grows: there is no space for 60 days (4.2.3), no checkpoint, no ramp beyond
//!   `warm_up`, no audit. Dates are ms since the load.
//! - What a terminal would show is computed (totals, taxes, the brand of 2.4.2.2) and not shown.
//! - All five are serializable, which is more than Stock-Level needs (3.4).
//! - History has no primary key in the specification; here a row is found by warehouse, district, run, terminal and number.

mod check;
mod load;
mod random;
mod schema;
mod work;

use crate::Result;
use crate::progress::Progress;
use crate::transactional::driver::{self, Client, Course, Done};
use crate::transactional::{End, Run, Transactional};
use random::{Constants, Random};
use serde::Serialize;
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
    /// Before it is measured, for so long.
    pub warm_up: Duration,
    /// For how long.
    pub duration: Duration,
    /// Of all random numbers.
    pub seed: u64,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// New-Orders committed a minute.
    pub tpmc: f64,
    /// Of all New-Orders, how many were rolled back for the item that nobody has: one of a hundred is meant to be.
    pub rollback_rate: f64,
    /// Whether the consistency conditions hold afterwards.
    pub consistent: bool,
    /// Which ones do not, and for what.
    pub violations: Vec<String>,
    /// The rest, of all transactions and by kind.
    #[serde(flatten)]
    pub run: Run,
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
    let progress = Progress::start("tpcc check".into(), Some(u64::from(warehouses * DISTRICTS)), None);
    check::check(engine, warehouses, &mut || progress.advance(1))
}

/// An order: its warehouse, its district, and its number there.
pub type Placed = [u32; 3];

/// Called with each order that was acknowledged.
pub type Note<'n> = dyn Fn(&Placed) -> Result<()> + Sync + 'n;

/// Which of these orders are not there, or not with all their lines.
///
/// # Errors
/// Those of the store, and rows that cannot be read.
pub fn missing(engine: &dyn Transactional, orders: &[Placed]) -> Result<Vec<Placed>> {
    let mut missing = Vec::new();
    for orders in orders.chunks(1000) {
        let mut of_these = Vec::new();
        engine.transact(true, &mut |txn| {
            of_these.clear();
            for order in orders {
                if !work::is_there(txn, order)? {
                    of_these.push(*order);
                }
            }
            Ok(End::Commit)
        })?;
        missing.extend(of_these);
    }
    Ok(missing)
}

/// Runs the mix on a loaded database, and checks it afterwards.
///
/// # Errors
/// Those of the store; a conflict is none.
pub fn run(engine: &dyn Transactional, plan: &Plan) -> Result<Outcome> {
    run_and_note(engine, plan, &|_| Ok(()))
}

/// As [`run`], and tells `note` which orders were placed and acknowledged.
///
/// # Errors
/// As [`run`], and those of `note`.
pub fn run_and_note(engine: &dyn Transactional, plan: &Plan, note: &Note<'_>) -> Result<Outcome> {
    let run = drive(engine, plan, note)?;
    let violations = check(engine, plan.warehouses)?;
    let (committed, rolled_back) =
        run.kind(Kind::NewOrder.name()).map_or((0, 0), |kind| (kind.committed, kind.rolled_back));
    Ok(Outcome {
        tpmc: committed as f64 * 60.0 / run.seconds,
        rollback_rate: rolled_back as f64 / (committed + rolled_back).max(1) as f64,
        consistent: violations.is_empty(),
        violations,
        run,
    })
}

/// As [`run`], without the check at the end: for who runs several times and checks once.
///
/// # Errors
/// As [`run`].
pub fn run_unchecked(engine: &dyn Transactional, plan: &Plan) -> Result<Run> {
    drive(engine, plan, &|_| Ok(()))
}

fn drive(engine: &dyn Transactional, plan: &Plan, note: &Note<'_>) -> Result<Run> {
    const KINDS: [&str; 5] = [
        Kind::NewOrder.name(),
        Kind::Payment.name(),
        Kind::OrderStatus.name(),
        Kind::Delivery.name(),
        Kind::StockLevel.name(),
    ];
    let nth_run = work::begin_run(engine)?;
    let terminals =
        (1..=plan.terminals).map(|number| Terminal::new((engine, note), plan, nth_run, number)).collect();
    let course = Course { label: "tpcc", kinds: &KINDS, warm_up: plan.warm_up, duration: plan.duration };
    driver::drive(&course, terminals)
}

/// One terminal: it belongs to a warehouse and a district, and waits for each answer.
struct Terminal<'t> {
    engine: &'t dyn Transactional,
    note: &'t Note<'t>,
    random: Random,
    /// Its warehouse, its district, and how many warehouses there are.
    home: (u32, u32, u32),
    /// The run, the terminal, and its last transaction: what a payment leaves in the history is found by.
    name: [u32; 3],
}

impl<'t> Terminal<'t> {
    fn new(
        (engine, note): (&'t dyn Transactional, &'t Note<'t>),
        plan: &Plan,
        nth_run: u32,
        number: u32,
    ) -> Self {
        let seed = plan.seed
            ^ (u64::from(number) << 32)
            ^ 0x7063_6374
            ^ u64::from(nth_run).wrapping_mul(0x9e37_79b9);
        let warehouses = plan.warehouses;
        Self {
            engine,
            note,
            random: Random::new(seed, Constants::of_load(plan.seed).of_run()),
            home: ((number - 1) % warehouses + 1, (number - 1) / warehouses % DISTRICTS + 1, warehouses),
            name: [nth_run, number, 0],
        }
    }
}

impl Client for Terminal<'_> {
    fn next(&mut self, time: Duration) -> Result<Done> {
        self.name[2] += 1;
        let kind = Kind::draw(&mut self.random);
        let now = load::LOADED_AT + time.as_millis() as u64;
        let input = Input::draw(kind, &mut self.random, self.home, now, self.name);
        let (mut end, mut placed) = (End::Commit, None);
        let retries = self.engine.transact(kind.is_read_only(), &mut |txn| {
            end = input.run(txn, &mut placed)?;
            Ok(end)
        })?;
        if let Some(order) = &placed {
            (self.note)(order)?;
        }
        Ok(Done { kind: kind as usize, end, retries })
    }
}

#[cfg(test)]
mod tests;
