//! `server`: the server path. `ringfort serve` and `redis-server` in turn, each in a new directory,
//! driven by `redis-benchmark` on the same machine.
//!
//! | level | Ringfort | Redis |
//! |---|---|---|
//! | `buffered` | `--level buffered`: replies wait for the write call; synced and anchored within 100 ms | `appendonly yes`, `appendfsync everysec` |
//! | `durable` | `--level durable`: replies wait for the sync | `appendonly yes`, `appendfsync always` |
//!
//! Both keep a log only (`save ""` for Redis). Redis without TLS keeps and sends everything in the clear;
//! Ringfort seals what it writes, and its connections are plain as well. A server that is not installed is
//! said and left out, never made up.

mod process;

use crate::plot::{Axis, Chart, Point, Scale, Series, Unit};
use crate::report::Spread;
use crate::results::Book;
use crate::{Result, figures, machine};
use process::{Kind, Running, Test};
use ringfort_bench::scratch::Scratch;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What lines of this command are called in a file of results.
pub const KIND: &str = "server";

/// The command line.
#[derive(Clone, Debug, clap::Args)]
#[command(rename_all = "snake_case")]
pub struct Args {
    /// What replies to writes wait for; a comparison each.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "buffered,durable")]
    pub levels: Vec<Level>,
    /// Commands that a client sends before it reads; a comparison each.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,16")]
    pub pipelines: Vec<u32>,
    /// Connections.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub clients: u32,
    /// Requests of each test.
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    pub requests: u64,
    /// Keys are drawn from so many.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub keys: u64,
    /// Bytes of a value.
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    pub value_size: usize,
    /// Runs of each server.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub repeats: usize,
    /// Append the results to this file, one JSON object a line; without FILE, to standard output in
    /// place of the table.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,
    /// Write a figure per level into this directory.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Where the servers keep their data; in a new directory below it, which is removed.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    pub dir: PathBuf,
    /// The program `ringfort`; beside this one if not said.
    #[arg(long, value_name = "FILE")]
    pub ringfort: Option<PathBuf>,
    /// The program `redis-server`.
    #[arg(long, value_name = "FILE", default_value = "redis-server")]
    pub redis_server: PathBuf,
    /// The program `redis-benchmark`.
    #[arg(long, value_name = "FILE", default_value = "redis-benchmark")]
    pub redis_benchmark: PathBuf,
}

/// What a reply to a write waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Level {
    /// The system has it.
    Buffered,
    /// It is synced.
    Durable,
}

impl Level {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Buffered => "buffered",
            Self::Durable => "durable",
        }
    }
}

/// One server at one test: medians over the repeats.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Row {
    kind: String,
    pub engine: String,
    about: String,
    pub benchmark: String,
    pub level: String,
    pub pipeline: u32,
    clients: u32,
    value_size: usize,
    requests: u64,
    repeats: usize,
    pub ops_per_sec: f64,
    ops_per_sec_min: f64,
    ops_per_sec_max: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// Processor time of the server alone.
    pub cpu_us_per_op: f64,
    peak_rss_bytes: f64,
    /// By Redis's rate of the same repeat.
    pub ratio: Option<Spread>,
    machine: String,
}

/// The tests of one server at one level, by repeat.
struct Served {
    kind: Kind,
    level: Level,
    repeats: Vec<Vec<Test>>,
}

/// Runs everything and prints the table.
pub fn run(args: &Args) -> Result<()> {
    if args.repeats == 0 || args.clients == 0 || args.requests == 0 || args.keys == 0 {
        return Err("--repeats, --clients, --requests and --keys must be above 0".into());
    }
    process::need(&args.redis_benchmark, "redis-benchmark", "--redis_benchmark FILE")?;
    let kinds = kinds(args)?;
    let load = machine::load();
    let mut rows = Vec::new();
    for &level in &args.levels {
        let series = at_level(args, &kinds, level)?;
        rows.extend(summed_up(args, &series)?);
    }
    let load = format!("load {load} before, {} after", machine::load());
    if args.json.as_ref().is_some_and(|path| path.as_os_str() == "-") {
        for row in &rows {
            println!("{}", serde_json::to_string(row)?);
        }
        return Ok(());
    }
    let lines = rows.iter().map(serde_json::to_string).collect::<std::result::Result<Vec<_>, _>>()?;
    Book::open(args.json.as_deref())?.append(&lines)?;
    if let Some(out) = &args.out {
        draw(&rows, out)?;
    }
    println!("{}", table(args, &rows, &load));
    Ok(())
}

/// The servers that are there. Ringfort has to be.
fn kinds(args: &Args) -> Result<Vec<(Kind, PathBuf)>> {
    let ringfort = match &args.ringfort {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("ringfort"),
    };
    if !ringfort.is_file() {
        return Err(format!(
            "{} does not exist: build it with the same profile (cargo build --release -p ringfort), or name it with \
             --ringfort FILE",
            ringfort.display()
        )
        .into());
    }
    let mut kinds = vec![(Kind::Ringfort, ringfort)];
    match process::need(&args.redis_server, "redis-server", "--redis_server FILE") {
        Ok(()) => kinds.push((Kind::Redis, args.redis_server.clone())),
        Err(error) => eprintln!("ringfort-peers: without Redis: {error}"),
    }
    Ok(kinds)
}

fn at_level(args: &Args, kinds: &[(Kind, PathBuf)], level: Level) -> Result<Vec<Served>> {
    let mut all: Vec<Served> =
        kinds.iter().map(|(kind, _)| Served { kind: *kind, level, repeats: Vec::new() }).collect();
    for repeat in 1..=args.repeats {
        for ((kind, program), series) in kinds.iter().zip(&mut all) {
            let dir = Scratch::new(&args.dir, "ringfort-peers")?;
            let server = Running::start(*kind, program, &dir.0, level)?;
            let mut tests = Vec::new();
            for &pipeline in &args.pipelines {
                tests.extend(server.drive(args, pipeline)?);
            }
            server.stop()?;
            let said: Vec<String> = tests
                .iter()
                .map(|test| format!("{} P{} {:.0}/s", test.command, test.pipeline, test.ops_per_sec))
                .collect();
            let (name, level) = (kind.name(), level.name());
            eprintln!("[{repeat}/{}] {name} {level}: {}", args.repeats, said.join("; "));
            series.repeats.push(tests);
        }
    }
    Ok(all)
}

fn summed_up(args: &Args, all: &[Served]) -> Result<Vec<Row>> {
    let redis = all.iter().find(|series| series.kind == Kind::Redis);
    let tests = all.first().and_then(|series| series.repeats.first()).map_or(0, Vec::len);
    let mut rows = Vec::new();
    for nth in 0..tests {
        for series in all {
            let of = |series: &Served, value: fn(&Test) -> f64| -> Vec<f64> {
                series.repeats.iter().filter_map(|tests| tests.get(nth)).map(value).collect()
            };
            let first = series.repeats.first().and_then(|tests| tests.get(nth)).ok_or("no test")?;
            let rates = of(series, |test| test.ops_per_sec);
            let rate = Spread::of(&rates);
            let median = |value| Spread::of(&of(series, value)).median;
            rows.push(Row {
                kind: KIND.to_owned(),
                engine: series.kind.name().to_owned(),
                about: series.kind.about(series.level),
                benchmark: first.command.to_lowercase(),
                level: series.level.name().to_owned(),
                pipeline: first.pipeline,
                clients: args.clients,
                value_size: args.value_size,
                requests: args.requests,
                repeats: series.repeats.len(),
                ops_per_sec: rate.median,
                ops_per_sec_min: rate.min,
                ops_per_sec_max: rate.max,
                p50_us: median(|test| test.p50_us),
                p99_us: median(|test| test.p99_us),
                cpu_us_per_op: median(|test| test.cpu_us_per_op),
                peak_rss_bytes: median(|test| test.peak_rss_bytes),
                ratio: redis.and_then(|redis| Spread::of_ratios(&rates, &of(redis, |test| test.ops_per_sec))),
                machine: machine::describe(),
            });
        }
    }
    Ok(rows)
}

fn table(args: &Args, rows: &[Row], load: &str) -> String {
    format!(
        "{}; {load}.\nredis-benchmark, {} clients on the same processors, values of {} B, {} keys, {} requests a test; \
         medians of {} interleaved runs.\n\n{}",
        machine::describe(),
        args.clients,
        args.value_size,
        args.keys,
        args.requests,
        args.repeats,
        rows_table(rows)
    )
}

/// The rows alone.
pub fn rows_table(rows: &[Row]) -> String {
    let mut out =
        "| level | command, pipeline | server | requests/s | ratio to Redis (min–max) | p50 µs | p99 µs \
                   | server CPU µs/op | peak RSS MiB |\n|---|---|---|--:|--:|--:|--:|--:|--:|\n"
            .to_owned();
    for row in rows {
        let _ = writeln!(
            out,
            "| {} | {}, {} | {} | {:.0} | {} | {:.0} | {:.0} | {:.2} | {:.0} |",
            row.level,
            row.benchmark,
            row.pipeline,
            row.engine,
            row.ops_per_sec,
            row.ratio.map_or_else(|| "–".to_owned(), Spread::shown),
            row.p50_us,
            row.p99_us,
            row.cpu_us_per_op,
            row.peak_rss_bytes / f64::from(1 << 20),
        );
    }
    out
}

impl Row {
    /// Whether another row is the same point, measured again.
    pub fn is_same_point(&self, other: &Self) -> bool {
        let point = |row: &Self| {
            let what = (row.engine.clone(), row.benchmark.clone(), row.level.clone(), row.machine.clone());
            (what, row.pipeline, row.clients, row.value_size, row.requests)
        };
        point(self) == point(other)
    }
}

/// A figure per level, with the tests side by side.
pub fn draw(rows: &[Row], out: &Path) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for level in [Level::Buffered, Level::Durable] {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.level == level.name()).collect();
        if !rows.is_empty() {
            let path = out.join(format!("server-{}.svg", level.name()));
            figures::write(&chart(level, &rows), &path)?;
            written.push(path);
        }
    }
    Ok(written)
}

fn chart(level: Level, rows: &[&Row]) -> Chart {
    let test = |row: &Row| format!("{} P{}", row.benchmark.to_uppercase(), row.pipeline);
    let mut tests: Vec<String> = Vec::new();
    rows.iter().map(|row| test(row)).for_each(|name| {
        if !tests.contains(&name) {
            tests.push(name);
        }
    });
    let mut series = Vec::new();
    for (style, kind) in [Kind::Ringfort, Kind::Redis].into_iter().enumerate() {
        let points: Vec<Point> = rows
            .iter()
            .filter(|row| row.engine == kind.name())
            .filter_map(|row| {
                let x = tests.iter().position(|name| *name == test(row))? as f64;
                Some(Point { x, median: row.ops_per_sec, min: row.ops_per_sec_min, max: row.ops_per_sec_max })
            })
            .collect();
        if !points.is_empty() {
            series.push(Series { name: kind.name().to_owned(), style, points });
        }
    }
    let subtitle = rows.first().map_or_else(String::new, |row| {
        format!("{} clients, values of {} B, repeats: {}", row.clients, row.value_size, row.repeats)
    });
    Chart {
        title: format!("redis-benchmark, level {}", level.name()),
        subtitle,
        x: Axis { label: "command, pipeline".to_owned(), scale: Scale::Category(tests), unit: Unit::Count },
        y: Axis { label: "requests/s".to_owned(), scale: Scale::Linear, unit: Unit::Count },
        series,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cli;
    use clap::Parser;

    fn args() -> Args {
        match Cli::parse_from(["x", "server", "--requests=10"]).command {
            crate::Command::Server(args) => args,
            _ => panic!("not server"),
        }
    }

    fn test(rate: f64) -> Test {
        Test {
            command: "SET".into(),
            pipeline: 1,
            ops_per_sec: rate,
            p50_us: 100.0,
            p99_us: 300.0,
            cpu_us_per_op: 4.0,
            peak_rss_bytes: 1e6,
        }
    }

    #[test]
    fn ratios_are_to_redis_in_the_same_repeat() {
        let series = |kind, rates: &[f64]| Served {
            kind,
            level: Level::Durable,
            repeats: rates.iter().map(|rate| vec![test(*rate)]).collect(),
        };
        let all = [series(Kind::Ringfort, &[30.0, 20.0, 10.0]), series(Kind::Redis, &[10.0, 10.0, 10.0])];
        let rows = summed_up(&args(), &all).unwrap();
        assert_eq!(rows[0].ratio, Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!((rows[0].ops_per_sec, &*rows[0].level, &*rows[0].benchmark), (20.0, "durable", "set"));
        let drawn = crate::plot::to_svg(&chart(Level::Durable, &rows.iter().collect::<Vec<_>>())).unwrap();
        assert!(drawn.contains(">SET P1<"), "{drawn}");
        assert!(drawn.contains("ringfort, command, pipeline SET P1: 20 (10 to 30)"), "{drawn}");
        let table = table(&args(), &rows, "load 1");
        assert!(table.contains("| durable | set, 1 | ringfort | 20 | **2.00** (1.00–3.00) |"), "{table}");
        let drawn = crate::plot::to_svg(&chart(Level::Durable, &rows.iter().collect::<Vec<_>>())).unwrap();
        assert!(
            drawn.contains(">SET P1<") && drawn.contains("ringfort, command, pipeline SET P1: 20 (10 to 30)")
        );
        let alone = summed_up(&args(), &all[..1]).unwrap();
        assert_eq!(alone[0].ratio, None, "without Redis there is nothing to compare with");
    }

    #[test]
    fn a_program_that_is_missing_is_an_error_that_says_what_to_do() {
        let missing = Args { ringfort: Some("/nowhere/ringfort".into()), ..args() };
        assert!(kinds(&missing).err().unwrap().to_string().contains("cargo build"));
        let missing = Args { redis_benchmark: "/nowhere/redis-benchmark".into(), ..args() };
        assert!(run(&missing).unwrap_err().to_string().contains("setup.sh"));
        assert!(run(&Args { repeats: 0, ..args() }).is_err());
    }

    #[test]
    fn the_defaults_are_the_goals() {
        let args = args();
        assert_eq!((args.clients, args.value_size, args.pipelines), (50, 100, vec![1, 16]));
        assert_eq!(args.levels, [Level::Buffered, Level::Durable]);
    }
}
