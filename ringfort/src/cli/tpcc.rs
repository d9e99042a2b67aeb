//! `ringfort bench tpcc`: TPC-C's mix on a store of its own, loaded first and checked afterwards.

use super::report::Failure;
use super::transactional::StoreArgs;
use crate::serve::say;
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
    if args.warehouses == 0 || args.terminals == 0 {
        return Err(Failure::Usage("--warehouses and --terminals must be above 0".to_owned()));
    }
    let plan =
        Plan { warehouses: args.warehouses, terminals: args.terminals, duration, seed: args.store.seed };
    let opened = args.store.open()?;
    let clock = OsClock::new();
    tpcc::load(&opened.engine, &plan)?;
    let load_seconds = clock.monotonic().as_secs_f64();
    let (outcome, counted) = opened.counted(|engine| tpcc::run(engine, &plan))?;
    let outcome = Outcome { load_seconds, ..outcome };
    opened.engine.db.close()?;
    show(args, &outcome, &counted);
    match outcome.consistent {
        true => Ok(()),
        false => {
            Err(Failure::Other(format!("the database is not consistent: {}", outcome.violations.join("; "))))
        }
    }
}

fn show(args: &TpccArgs, outcome: &Outcome, counted: &serde_json::Value) {
    if args.store.json {
        let mut line = json!({
            "kind": "tpcc", "warehouses": args.warehouses, "terminals": args.terminals,
            "level": args.store.level.name(), "mode": args.store.mode.to_string(),
            "concurrency": args.store.concurrency.name(), "store": counted,
        });
        if let (Some(line), Ok(serde_json::Value::Object(more))) =
            (line.as_object_mut(), serde_json::to_value(outcome))
        {
            line.extend(more);
        }
        say(&line.to_string());
        return;
    }
    let mut text = format!(
        "loaded {} warehouses in {:.1} s\n\n{:<14} {:>10} {:>11} {:>8} {:>10} {:>10} {:>10}\n",
        args.warehouses,
        outcome.load_seconds,
        "transaction",
        "committed",
        "rolled back",
        "retries",
        "p50 us",
        "p99 us",
        "max us"
    );
    for kind in &outcome.kinds {
        text += &format!(
            "{:<14} {:>10} {:>11} {:>8} {:>10.0} {:>10.0} {:>10.0}\n",
            kind.transaction,
            kind.committed,
            kind.rolled_back,
            kind.retries,
            kind.p50_us,
            kind.p99_us,
            kind.max_us
        );
    }
    text += &format!(
        "\n{:.0} tpmC, {:.0} transactions/s of all kinds, {:.2} % begun again; consistency conditions 1 to 12: {}",
        outcome.tpmc,
        outcome.transactions_per_sec,
        100.0 * outcome.abort_rate,
        if outcome.consistent { "hold" } else { "VIOLATED" }
    );
    say(&text);
}
