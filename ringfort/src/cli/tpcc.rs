//! `ringfort bench tpcc`: TPC-C's mix on a store of its own, loaded first and checked afterwards.

use super::report::Failure;
use super::transactional::{Report, StoreArgs, extend};
use clap::Args;
use ringfort_base::world::Clock as _;
use ringfort_bench::tpcc::{self, Outcome, Plan};
use ringfort_host::door::OsClock;
use serde_json::json;

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
    #[command(flatten)]
    store: StoreArgs,
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
    let opened = args.store.open()?;
    let clock = OsClock::new();
    tpcc::load(&opened.engine, &plan)?;
    let load_seconds = clock.monotonic().as_secs_f64();
    let (outcome, counted) = opened.counted(|engine| tpcc::run(engine, &plan))?;
    opened.engine.db.close()?;
    report(args, load_seconds, &outcome, counted)?;
    match outcome.consistent {
        true => Ok(()),
        false => {
            Err(Failure::Other(format!("the database is not consistent: {}", outcome.violations.join("; "))))
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
