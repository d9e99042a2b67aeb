//! `ringfort bench tpcc`: TPC-C's mix on a store of its own, loaded first and checked afterwards.

use super::bench::remove_when_interrupted;
use super::report::Failure;
use super::value::{Span, Value as _};
use crate::serve::say;
use clap::{Args, ValueEnum};
use ringfort::bench::{Ringfort, TransactionalDb};
use ringfort::{Concurrency, Db, Level, Mode};
use ringfort_bench::tpcc::{self, Outcome, Plan};
use ringfort_bench::{Settings, machine};
use ringfort_fault::tempdir::TempDir;
use ringfort_host::door;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    /// Seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    duration: f64,
    /// How transactions keep each other away: by locks, or by a check when they commit.
    #[arg(long, value_enum, default_value = "pessimistic")]
    concurrency: By,
    /// What each commit waits for: buffered, durable or fresh.
    #[arg(long, value_name = "LEVEL", default_value_t = Level::Durable)]
    level: Level,
    /// The mode of the store: software, hardware or twin.
    #[arg(long, value_name = "MODE", default_value_t = Mode::Software)]
    mode: Mode,
    /// How long an operation of the simulated counter takes.
    #[arg(long, value_name = "TIME", value_parser = Span::parse, default_value = "0ms")]
    counter_latency: Span,
    /// Of all random numbers.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Make the store in this directory, and leave it there.
    #[arg(long, value_name = "DIR")]
    db: Option<PathBuf>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    /// Locks.
    Pessimistic,
    /// A check at the end.
    Optimistic,
}

/// Runs it.
pub(crate) fn tpcc(args: &TpccArgs) -> Result<(), Failure> {
    let duration = Duration::try_from_secs_f64(args.duration)
        .map_err(|_| Failure::Usage("--duration is a number of seconds".to_owned()))?;
    if args.warehouses == 0 || args.terminals == 0 || duration.is_zero() {
        return Err(Failure::Usage("--warehouses, --terminals and --duration must be above 0".to_owned()));
    }
    let plan = Plan { warehouses: args.warehouses, terminals: args.terminals, duration, seed: args.seed };
    let temporary = match &args.db {
        Some(_) => None,
        None => {
            Some(TempDir::new("bench").map_err(|e| Failure::Other(format!("cannot make a directory: {e}")))?)
        }
    };
    if let Some(temporary) = &temporary {
        remove_when_interrupted(temporary.path())
            .map_err(|e| Failure::Other(format!("cannot wait for signals: {e}")))?;
    }
    let dir = match (&args.db, &temporary) {
        (Some(dir), _) => dir.as_path(),
        (None, Some(temporary)) => temporary.path(),
        (None, None) => Path::new("."),
    };
    let store = Ringfort { mode: args.mode, counter_latency: args.counter_latency.0 };
    eprintln!("{}\n{}", store.about(), machine::describe());
    let outcome =
        measure(args, &store, dir, &plan).map_err(|error| match error.downcast::<ringfort::Error>() {
            Ok(error) => Failure::Store(*error),
            Err(error) => Failure::Other(error.to_string()),
        })?;
    show(args, &outcome);
    match outcome.consistent {
        true => Ok(()),
        false => {
            Err(Failure::Other(format!("the database is not consistent: {}", outcome.violations.join("; "))))
        }
    }
}

fn measure(args: &TpccArgs, store: &Ringfort, dir: &Path, plan: &Plan) -> ringfort_bench::Result<Outcome> {
    let db = Db::open(store.options(dir, &Settings::default())?)?;
    let concurrency = match args.concurrency {
        By::Pessimistic => Concurrency::Pessimistic,
        By::Optimistic => Concurrency::Optimistic,
    };
    let engine = TransactionalDb { db, concurrency, level: args.level };
    let clock = door::OsClock::new();
    tpcc::load(&engine, plan)?;
    let load_seconds = ringfort_base::world::Clock::monotonic(&clock).as_secs_f64();
    let outcome = Outcome { load_seconds, ..tpcc::run(&engine, plan)? };
    engine.db.close()?;
    Ok(outcome)
}

fn show(args: &TpccArgs, outcome: &Outcome) {
    if args.json {
        let mut line = json!({
            "kind": "tpcc", "warehouses": args.warehouses, "terminals": args.terminals,
            "level": args.level.name(), "mode": args.mode.to_string(),
            "concurrency": format!("{:?}", args.concurrency).to_lowercase(),
        });
        if let (Some(line), Ok(serde_json::Value::Object(more))) =
            (line.as_object_mut(), serde_json::to_value(outcome))
        {
            line.extend(more);
        }
        say(&format!("{line}\n"));
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
        "\n{:.0} tpmC, {:.0} transactions/s of all kinds, {:.2} % begun again; consistency conditions 1 to 12: {}\n",
        outcome.tpmc,
        outcome.transactions_per_sec,
        100.0 * outcome.abort_rate,
        if outcome.consistent { "hold" } else { "VIOLATED" }
    );
    say(&text);
}
