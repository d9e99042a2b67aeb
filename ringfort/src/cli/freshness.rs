//! `ringfort bench fresh`: what it costs to have every commit anchored, with a counter as slow as asked.
//!
//! Three comparisons, all runs interleaved and repeated, medians reported:
//!
//! | runs | question |
//! |---|---|
//! | `durable` and `fresh`, writers x handles | does the counter cost throughput when enough is under way? |
//! | `fresh`, one commit per writer at a time | does a commit wait for more than a sync and an advance and a half? |
//! | `durable`, one writer | how long a sync takes here, for the bound |
//!
//! A commit that comes at any moment waits for its sync, for half an advance on average until the one
//! that is under way ends, and for one advance. By Little's law N writers that wait for each commit
//! make N / (sync + 1.5 advances) a second; less would be time lost between the steps.

mod load;

use super::report::Failure;
use super::value::{Span, Value};
use crate::serve::say;
use clap::Args;
use load::{Figures, Load};
use ringfort::Level;
use ringfort_bench::machine;
use ringfort_fault::tempdir::TempDir;
use serde_json::json;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// How it is measured.
#[derive(Args)]
#[command(after_help = "Example: ringfort bench fresh --writers 32 --handles 64 --counter-latency 1ms")]
pub(crate) struct FreshArgs {
    /// Threads that write.
    #[arg(long, value_name = "N", default_value_t = 32)]
    writers: usize,
    /// Commits that each of them keeps under way.
    #[arg(long, value_name = "N", default_value_t = 64)]
    handles: usize,
    /// How long an operation of the simulated counter takes.
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = Span::parse)]
    counter_latency: Span,
    /// Bytes of a value; keys have 16.
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    value_size: usize,
    /// How long each run takes.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = Span::parse)]
    time: Span,
    /// How often each run is repeated.
    #[arg(long, value_name = "N", default_value_t = 5)]
    repeats: usize,
    /// Make the stores below this directory, which is empty or missing.
    #[arg(long, value_name = "DIR")]
    db: Option<PathBuf>,
    /// Append the results to this file, one JSON object a line; without FILE, print them in place of
    /// the table.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
}

/// One kind of run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    level: Level,
    writers: usize,
    handles: usize,
}

/// A kind of run with what its repeats gave.
struct Measured {
    run: Run,
    figures: Vec<Figures>,
}

impl Measured {
    fn median(&self, of: impl Fn(&Figures) -> f64) -> f64 {
        median(self.figures.iter().map(of).collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// Runs it.
pub(crate) fn fresh(args: &FreshArgs) -> Result<(), Failure> {
    if args.writers == 0 || args.handles == 0 || args.repeats == 0 || args.time.0.is_zero() {
        return Err(Failure::Usage("--writers, --handles, --repeats and --time must be above 0".to_owned()));
    }
    let load =
        Load { value_bytes: args.value_size, time: args.time.0, counter_latency: args.counter_latency.0 };
    let (dir, _temporary) = directory(args)?;
    introduce(args, &dir);
    let mut all: Vec<Measured> =
        runs(args).into_iter().map(|run| Measured { run, figures: Vec::new() }).collect();
    for repeat in 0..args.repeats {
        for (nth, measured) in all.iter_mut().enumerate() {
            let store = dir.join(format!("store-{repeat}-{nth}"));
            measured.figures.push(one(&store, measured.run, load)?);
        }
    }
    show(args, &all)
}

fn one(store: &Path, run: Run, load: Load) -> Result<Figures, Failure> {
    let outcome = load::measure(store, run, load);
    // A store that failed is left for whoever wants to know why, unless the directory is temporary.
    let figures = outcome?;
    std::fs::remove_dir_all(store)
        .map_err(|error| Failure::Other(format!("cannot remove {}: {error}", store.display())))?;
    Ok(figures)
}

fn runs(args: &FreshArgs) -> Vec<Run> {
    let (durable, fresh) = (Level::Durable, Level::Fresh);
    let mut runs = vec![Run { level: durable, writers: 1, handles: 1 }];
    for level in [durable, fresh] {
        runs.push(Run { level, writers: args.writers, handles: args.handles });
    }
    for writers in [1, 8, args.writers] {
        let run = Run { level: fresh, writers, handles: 1 };
        if !runs.contains(&run) {
            runs.push(run);
        }
    }
    runs
}

fn directory(args: &FreshArgs) -> Result<(PathBuf, Option<TempDir>), Failure> {
    let failed = |error: std::io::Error| Failure::Other(format!("cannot make a directory: {error}"));
    if let Some(dir) = &args.db {
        std::fs::create_dir_all(dir).map_err(failed)?;
        if std::fs::read_dir(dir).map_err(failed)?.next().is_some() {
            return Err(Failure::Usage(format!("{} is not empty: name another directory", dir.display())));
        }
    }
    super::bench::directory(args.db.as_deref())
}

fn introduce(args: &FreshArgs, dir: &Path) {
    let mut about = format!("{}\n", machine::describe());
    if cfg!(debug_assertions) {
        about += "WARNING: a debug build; benchmarks are unnecessarily slow (cargo run --release)\n";
    }
    if machine::is_in_memory(dir.parent().unwrap_or(dir)) {
        about += &format!("WARNING: {} is in memory: a sync costs nothing here (--db DIR)\n", dir.display());
    }
    about += &format!(
        "mode software; simulated counter, {} us an operation; values of {} bytes; medians of {} runs of {:?}\n",
        args.counter_latency.0.as_micros(),
        args.value_size,
        args.repeats,
        args.time.0
    );
    // If nobody listens there is nobody to tell.
    let _ = std::io::stderr().lock().write_all(about.as_bytes());
}

/// The table, and the lines of JSON to where they go.
fn show(args: &FreshArgs, all: &[Measured]) -> Result<(), Failure> {
    let to_screen = args.json.as_ref().is_some_and(|path| path.as_os_str() == "-");
    let mut text = vec![
        "level    writers handles      ops/s    p50 us    p99 us  cpu us/op  commits/sync  rounds/10^6"
            .to_owned(),
    ];
    let mut lines = Vec::new();
    for measured in all {
        let (row, line) = shown(args, measured);
        text.push(row);
        lines.push(line.to_string());
    }
    for verdict in verdicts(args, all) {
        text.push(verdict.text);
        lines.push(verdict.json.to_string());
    }
    if to_screen {
        lines.iter().for_each(|line| say(line));
        return Ok(());
    }
    text.iter().for_each(|line| say(line));
    let append = |path| ringfort_bench::lines::append(path, &lines);
    args.json.as_deref().map_or(Ok(()), append).map_err(|error| Failure::Other(error.to_string()))
}

/// One kind of run as a row, and as a line of results.
fn shown(args: &FreshArgs, measured: &Measured) -> (String, serde_json::Value) {
    let Run { level, writers, handles } = measured.run;
    let median = Figures {
        ops_per_sec: measured.median(|f| f.ops_per_sec),
        p50_us: measured.median(|f| f.p50_us),
        p99_us: measured.median(|f| f.p99_us),
        cpu_us_per_op: measured.median(|f| f.cpu_us_per_op),
        ops_per_sync: measured.median(|f| f.ops_per_sync),
        rounds_per_million: measured.median(|f| f.rounds_per_million),
    };
    let row = format!(
        "{:<8} {writers:>7} {handles:>7} {:>10.0} {:>9.0} {:>9.0} {:>10.2} {:>13.1} {:>12.0}",
        level.name(),
        median.ops_per_sec,
        median.p50_us,
        median.p99_us,
        median.cpu_us_per_op,
        median.ops_per_sync,
        median.rounds_per_million
    );
    let latency_us = args.counter_latency.0.as_micros();
    let line = json!({
        "kind": "fresh", "level": level.name(), "writers": writers, "handles": handles,
        "value_size": args.value_size, "counter_latency_us": latency_us, "repeats": args.repeats,
        "median": median.json(), "runs": measured.figures.iter().map(Figures::json).collect::<Vec<_>>(),
        "machine": machine::describe(),
    });
    (row, line)
}

/// What the runs say about a goal.
struct Verdict {
    text: String,
    json: serde_json::Value,
}

fn verdicts(args: &FreshArgs, all: &[Measured]) -> Vec<Verdict> {
    let of =
        |level, writers, handles| all.iter().find(|measured| measured.run == Run { level, writers, handles });
    let mut verdicts = Vec::new();
    let pair = (of(Level::Durable, args.writers, args.handles), of(Level::Fresh, args.writers, args.handles));
    if let (Some(durable), Some(fresh)) = pair {
        // Run by run: what else the machine did meanwhile was about the same for both.
        let ratios = durable.figures.iter().zip(&fresh.figures).map(|(d, f)| f.ops_per_sec / d.ops_per_sec);
        let (ratio, rounds) = (median(ratios.collect()), fresh.median(|f| f.rounds_per_million));
        let under_way = args.writers * args.handles;
        verdicts.push(Verdict {
            text: format!(
                "{under_way} commits under way: fresh/durable {ratio:.2} (goal 0.9), {rounds:.0} counter operations \
                 per 10^6 commits (goal 10000 at the most)"
            ),
            json: json!({ "goal": "fresh_against_durable", "under_way": under_way, "ratio": ratio,
                "rounds_per_million": rounds }),
        });
    }
    let sync_us = of(Level::Durable, 1, 1).map_or(0.0, |measured| measured.median(|f| f.p50_us));
    let bound_us = sync_us + 1.5 * args.counter_latency.0.as_secs_f64() * 1e6;
    for measured in
        all.iter().filter(|measured| measured.run.level == Level::Fresh && measured.run.handles == 1)
    {
        let writers = measured.run.writers;
        let share = measured.median(|f| f.ops_per_sec) * bound_us / (writers as f64 * 1e6);
        let p50 = measured.median(|f| f.p50_us) / bound_us;
        verdicts.push(Verdict {
            text: format!(
                "closed loop, {writers} writers: {share:.2} of N/(sync + 1.5 advances) (goal 0.9), p50 {p50:.2} of \
                 sync + 1.5 advances = {bound_us:.0} us (goal 1.1 at the most)"
            ),
            json: json!({ "goal": "closed_loop", "writers": writers, "bound_us": bound_us,
                "throughput_share": share, "p50_share": p50 }),
        });
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_between_the_middle_two() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(Vec::new()), 0.0);
    }
}
