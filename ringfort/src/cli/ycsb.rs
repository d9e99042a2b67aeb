//! `ringfort bench ycsb`: YCSB's mixes and TREATY's, in transactions of one or several operations.

use super::report::Failure;
use super::transactional::{By, Report, StoreArgs, extend};
use clap::Args;
use ringfort_base::world::Clock as _;
use ringfort_bench::machine;
use ringfort_bench::ycsb::remote::{Remote, Style};
use ringfort_bench::ycsb::{self, Distribution, Mix, Outcome, Plan};
use ringfort_host::door::OsClock;
use serde_json::json;

/// How YCSB runs.
#[derive(Args)]
#[command(
    after_help = "Latencies are of whole transactions, with the time in which they waited or were begun again.\n\n\
    With --target a transaction of several operations is MULTI … EXEC, one that reads and then writes (workload f) is WATCH, GET, \
    MULTI … EXEC, and one of one operation is its command. Keys (user…) go to the server's database 0 and stay there; \
    there is no workload e, since RESP has no ordered scan of keys, and no TLS yet.\n\n\
    Examples:\n\
    ringfort bench ycsb --workload treaty-80 --operations 10 --clients 64 --duration 10\n\
    ringfort bench ycsb --workload f --target resp://127.0.0.1:6379 --clients 16 --duration 10"
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
    /// Run on a server that speaks RESP (Ringfort, Redis, …) instead of a store in this process. Replies wait for
    /// --level, if that is said and the server knows levels.
    #[arg(long, value_name = "resp://HOST:PORT", conflicts_with_all = ["mode", "db", "counter_latency"])]
    target: Option<String>,
    /// Use Ringfort's interactive transactions: TXN BEGIN, a command at a time, TXN COMMIT.
    #[arg(long, requires = "target")]
    interactive: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// What came out, and of what.
struct Ran {
    load_seconds: f64,
    outcome: Outcome,
    settings: serde_json::Value,
    about: String,
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
    let ran = match &args.target {
        Some(target) => on_server(args, &plan, target)?,
        None => embedded(args, &plan)?,
    };
    report(args, &plan, &ran)
}

fn embedded(args: &YcsbArgs, plan: &Plan) -> Result<Ran, Failure> {
    let opened = args.store.open()?;
    let clock = OsClock::new();
    ycsb::load(&opened.engine, plan)?;
    let load_seconds = clock.monotonic().as_secs_f64();
    let (outcome, counted) = opened.counted(|engine| ycsb::run(engine, plan))?;
    opened.engine.db.close()?;
    let mut settings = args.store.settings();
    extend(&mut settings, json!({ "store": counted }));
    Ok(Ran { load_seconds, outcome, settings, about: args.store.about() })
}

fn on_server(args: &YcsbArgs, plan: &Plan, target: &str) -> Result<Ran, Failure> {
    let wrong = |error: Box<dyn std::error::Error + Send + Sync>| Failure::Usage(format!("--target {error}"));
    let mut remote = Remote::parse(target).map_err(wrong)?;
    if plan.mix == Mix::E {
        return Err(Failure::Usage(
            "--target: RESP has no ordered scan of keys, so there is no workload e".into(),
        ));
    }
    let concurrency = args.store.concurrency;
    let (style, transactions) = match args.interactive {
        true => (Style::Interactive { is_optimistic: concurrency == By::Optimistic }, concurrency.name()),
        false => (Style::Multi, "multi"),
    };
    (remote.style, remote.level) = (style, args.store.level);
    let server = remote.about()?;
    eprintln!("{server}\n{}", machine::describe());
    let clock = OsClock::new();
    ycsb::remote::load(&remote, plan)?;
    let load_seconds = clock.monotonic().as_secs_f64();
    let outcome = ycsb::remote::run(&remote, plan)?;
    let level = args.store.level.map(|level| level.name());
    let settings =
        json!({ "target": target, "server": server, "transactions": transactions, "level": level });
    Ok(Ran { load_seconds, outcome, settings, about: format!("{transactions}, {server}") })
}

fn report(args: &YcsbArgs, plan: &Plan, ran: &Ran) -> Result<(), Failure> {
    let mut settings = json!({
        "kind": "ycsb", "workload": plan.mix, "distribution": plan.distribution, "records": plan.records,
        "value_bytes": plan.value_bytes, "operations": plan.operations, "clients": plan.clients,
    });
    extend(&mut settings, ran.settings.clone());
    let workload = settings["workload"].as_str().unwrap_or_default().to_owned();
    let run = &ran.outcome.run;
    args.store.report(&Report {
        title: &format!("YCSB {workload}"),
        subtitle: format!(
            "clients: {}, operations of a transaction: {}, {}",
            plan.clients, plan.operations, ran.about
        ),
        loaded: format!("{} records", plan.records),
        load_seconds: ran.load_seconds,
        settings,
        outcome: serde_json::to_value(&ran.outcome).map_err(|e| Failure::Other(e.to_string()))?,
        run,
        sum: format!(
            "{:.0} transactions/s, {:.0} operations/s; {:.2} % of all tries were begun again",
            run.transactions_per_sec,
            ran.outcome.operations_per_sec,
            100.0 * run.abort_rate
        ),
    })
}
