//! `ringfort bench tpcc`: TPC-C's mix on a store of its own, loaded first and checked afterwards.

use super::report::Failure;
use super::transactional::{Report, StoreArgs, extend};
use clap::Args;
use parking_lot::Mutex;
use ringfort::bench::TransactionalDb;
use ringfort_base::world::Clock as _;
use ringfort_bench::tpcc::{self, Outcome, Placed, Plan};
use ringfort_host::door::OsClock;
use serde_json::json;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// How TPC-C runs.
#[derive(Args)]
#[command(
    after_help = "Terminals neither type nor think, so tpmC is the unit and not a TPC result. The consistency \
    conditions 1 to 12 of the specification are checked at the end; exit status 1 if one does not hold.\n\n\
    Example: ringfort bench tpcc --warehouses 1 --terminals 4 --duration 15"
)]
pub(crate) struct TpccArgs {
    /// How large the database is: about 100 MB each.
    #[arg(long, value_name = "N", default_value_t = 1)]
    warehouses: u32,
    /// Terminals, each of which enters transactions as fast as it gets answers.
    #[arg(long, value_name = "N", default_value_t = 4)]
    terminals: u32,
    /// Go on with the database that is in --db. It is checked first: whatever ended the run before, the consistency
    /// conditions hold, and nothing of the ledger is missing.
    #[arg(long, requires = "db")]
    resume: bool,
    /// Write into this file, behind what it holds, the number of each New-Order that was acknowledged.
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
}

/// The orders that were acknowledged, a line each. A line is written before its terminal goes on, so that the death of
/// the process loses none.
struct Ledger(Mutex<File>);

impl Ledger {
    /// Opens the file, with what it holds.
    fn open(path: &Path) -> std::io::Result<(Self, Vec<Placed>)> {
        let mut file = File::options().read(true).append(true).create(true).open(path)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let orders = text.lines().filter_map(Self::parse).collect();
        Ok((Self(Mutex::new(file)), orders))
    }

    fn parse(line: &str) -> Option<Placed> {
        let numbers: Vec<u32> = line.split(' ').map(|number| number.parse().ok()).collect::<Option<_>>()?;
        numbers.try_into().ok()
    }

    fn note(&self, [w, d, o]: &Placed) -> ringfort_bench::Result<()> {
        Ok(self.0.lock().write_all(format!("{w} {d} {o}\n").as_bytes())?)
    }
}

/// Runs it.
pub(crate) fn tpcc(args: &TpccArgs) -> Result<(), Failure> {
    let duration = args.store.duration()?;
    args.store.check_plot()?;
    if args.warehouses == 0 || args.terminals == 0 {
        return Err(Failure::Usage("--warehouses and --terminals must be above 0".to_owned()));
    }
    let plan = Plan {
        warehouses: args.warehouses,
        terminals: args.terminals,
        warm_up: args.store.warm_up()?,
        duration,
        seed: args.store.seed,
    };
    let ledger = args.ledger.as_deref().map(Ledger::open).transpose();
    let ledger = ledger.map_err(|e| Failure::Other(format!("the ledger cannot be opened: {e}")))?;
    let opened = args.store.open()?;
    let clock = OsClock::new();
    match args.resume {
        true => check(&opened.engine, &plan, ledger.as_ref().map_or(&[], |(_, orders)| orders))?,
        false => tpcc::load(&opened.engine, &plan)?,
    }
    let load_seconds = clock.monotonic().as_secs_f64();
    let note = |order: &Placed| ledger.as_ref().map_or(Ok(()), |(ledger, _)| ledger.note(order));
    let (outcome, counted) = opened.counted(|engine| tpcc::run_and_note(engine, &plan, &note))?;
    opened.engine.db.close()?;
    report(args, load_seconds, &outcome, counted)?;
    match outcome.consistent {
        true => Ok(()),
        false => {
            Err(Failure::Other(format!("the database is not consistent: {}", outcome.violations.join("; "))))
        }
    }
}

/// What a run before has left: consistent, and with all that it acknowledged.
fn check(engine: &TransactionalDb, plan: &Plan, orders: &[Placed]) -> Result<(), Failure> {
    if let Some([w, d, o]) = tpcc::missing(engine, orders)?.first() {
        return Err(Failure::Other(format!("order {w}/{d}/{o} was acknowledged and is not there")));
    }
    let violations = tpcc::check(engine, plan.warehouses)?;
    match violations.is_empty() {
        true => Ok(()),
        false => {
            let all = violations.join("; ");
            Err(Failure::Other(format!("the database that was left is not consistent: {all}")))
        }
    }
}

fn report(
    args: &TpccArgs,
    load_seconds: f64,
    outcome: &Outcome,
    counted: serde_json::Value,
) -> Result<(), Failure> {
    let mut settings = json!({
        "kind": "tpcc", "warehouses": args.warehouses, "terminals": args.terminals, "store": counted,
    });
    extend(&mut settings, args.store.settings());
    let sum = format!(
        "{:.0} tpmC, {:.0} transactions/s of all kinds\n\
         {:.2} % of all tries were begun again; {:.2} % of the New-Orders rolled back, as intended\n\
         consistency conditions 1 to 12: {}",
        outcome.tpmc,
        outcome.run.transactions_per_sec,
        100.0 * outcome.run.abort_rate,
        100.0 * outcome.rollback_rate,
        if outcome.consistent { "hold" } else { "VIOLATED" }
    );
    args.store.report(&Report {
        title: "TPC-C",
        subtitle: format!(
            "warehouses: {}, terminals: {}, {}: {:.0} tpmC",
            args.warehouses,
            args.terminals,
            args.store.about(),
            outcome.tpmc
        ),
        loaded: format!("{} warehouses", args.warehouses),
        load_seconds,
        settings,
        outcome: serde_json::to_value(outcome).map_err(|e| Failure::Other(e.to_string()))?,
        run: &outcome.run,
        sum,
    })
}
