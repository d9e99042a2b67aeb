//! `ringfort bench ycsb`: YCSB's mixes and TREATY's, in transactions of one or several operations.

use super::report::Failure;
use super::transactional::{Report, StoreArgs, extend};
use clap::Args;
use ringfort_base::world::Clock as _;
use ringfort_bench::ycsb::{self, Distribution, Mix, Outcome, Plan};
use ringfort_host::door::OsClock;
use serde_json::json;

/// How YCSB runs.
#[derive(Args)]
#[command(
    after_help = "Latencies are of whole transactions, with the time in which they waited or were begun again.\n\n\
    Example: ringfort bench ycsb --workload treaty-80 --operations 10 --clients 64 --duration 10"
)]
pub(crate) struct YcsbArgs {
    /// The operations: a to f are YCSB's, treaty-20 and treaty-80 have so many reads and else updates.
    #[arg(long, value_enum, default_value = "a")]
    workload: Mix,
    /// How records are chosen; if not said, as the workload has it.
    #[arg(long, value_enum)]
    distribution: Option<Distribution>,
    /// Records that are loaded.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    records: u64,
    /// The length of a record's fields, bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    field_size: usize,
    /// Fields of a record.
    #[arg(long, value_name = "N", default_value_t = 10)]
    fields: usize,
    /// Operations of each transaction.
    #[arg(long, value_name = "N", default_value_t = 1)]
    operations: usize,
    /// Threads, each with one transaction at a time.
    #[arg(long, value_name = "N", default_value_t = 8)]
    clients: usize,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs it.
pub(crate) fn ycsb(args: &YcsbArgs) -> Result<(), Failure> {
    let duration = args.store.duration()?;
    args.store.check_plot()?;
    if [args.field_size, args.fields, args.operations, args.clients, args.records as usize].contains(&0) {
        return Err(Failure::Usage("counts and sizes must be above 0".to_owned()));
    }
    let plan = Plan {
        mix: args.workload,
        distribution: args.distribution.unwrap_or(args.workload.distribution()),
        records: args.records,
        value_bytes: args.field_size * args.fields,
        operations: args.operations,
        clients: args.clients,
        warm_up: args.store.warm_up()?,
        duration,
        seed: args.store.seed,
    };
    let opened = args.store.open()?;
    let clock = OsClock::new();
    ycsb::load(&opened.engine, &plan)?;
    let load_seconds = clock.monotonic().as_secs_f64();
    let (outcome, counted) = opened.counted(|engine| ycsb::run(engine, &plan))?;
    opened.engine.db.close()?;
    report(args, &plan, load_seconds, &outcome, counted)
}

fn report(
    args: &YcsbArgs,
    plan: &Plan,
    load_seconds: f64,
    outcome: &Outcome,
    counted: serde_json::Value,
) -> Result<(), Failure> {
    let mut settings = json!({
        "kind": "ycsb", "workload": plan.mix, "distribution": plan.distribution, "records": plan.records,
        "value_bytes": plan.value_bytes, "operations": plan.operations, "clients": plan.clients,
        "store": counted,
    });
    extend(&mut settings, args.store.settings());
    let workload = settings["workload"].as_str().unwrap_or_default().to_owned();
    args.store.report(&Report {
        title: &format!("YCSB {workload}"),
        subtitle: format!(
            "clients: {}, operations of a transaction: {}, {}",
            plan.clients,
            plan.operations,
            args.store.about()
        ),
        loaded: format!("{} records", plan.records),
        load_seconds,
        settings,
        outcome: serde_json::to_value(outcome).map_err(|e| Failure::Other(e.to_string()))?,
        run: &outcome.run,
        sum: format!(
            "{:.0} transactions/s, {:.0} operations/s; {:.2} % of all tries were begun again",
            outcome.run.transactions_per_sec,
            outcome.operations_per_sec,
            100.0 * outcome.run.abort_rate
        ),
    })
}
