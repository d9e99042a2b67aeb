//! What the benchmarks of transactions have in common: the store that they make, and how it is opened.

use super::bench::directory;
use super::report::Failure;
use super::value::{Span, Value as _};
use crate::serve::say;
use clap::{Args, ValueEnum};
use ringfort::bench::{Ringfort, TransactionalDb};
use ringfort::{Concurrency, Db, Level, Mode};
use ringfort_bench::transactional::Run;
use ringfort_bench::{Settings, machine};
use ringfort_fault::tempdir::TempDir;
use ringfort_host::door;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The store and its transactions.
#[derive(Args)]
pub(super) struct StoreArgs {
    /// How transactions keep each other away: by locks, or by a check when they commit.
    #[arg(long, value_enum, default_value = "pessimistic")]
    pub(super) concurrency: By,
    /// What each commit waits for: buffered, durable (if not said) or fresh.
    #[arg(long, value_name = "LEVEL")]
    pub(super) level: Option<Level>,
    /// The mode of the store: software, hardware or twin.
    #[arg(long, value_name = "MODE", default_value_t = Mode::Software)]
    pub(super) mode: Mode,
    /// How long an operation of the simulated counter takes.
    #[arg(long, value_name = "TIME", value_parser = Span::parse, default_value = "0ms")]
    counter_latency: Span,
    /// Seconds that are measured.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    duration: f64,
    /// Seconds that are run before, and not measured.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    warm_up: f64,
    /// Of all random numbers.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// Make the store in this directory, and leave it there.
    #[arg(long, value_name = "DIR")]
    db: Option<PathBuf>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub(super) json: bool,
    /// Draw latencies by kind of transaction, and throughput over time, into this file.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// What keeps transactions apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum By {
    /// Locks.
    Pessimistic,
    /// A check at the end.
    Optimistic,
}

impl By {
    pub(super) fn name(self) -> &'static str {
        match self {
            By::Pessimistic => "pessimistic",
            By::Optimistic => "optimistic",
        }
    }
}

/// What a benchmark gave, and how it is told.
pub(super) struct Report<'r> {
    /// What the figure is called, and what stands below.
    pub(super) title: &'r str,
    pub(super) subtitle: String,
    /// What was loaded, and how long it took.
    pub(super) loaded: String,
    pub(super) load_seconds: f64,
    /// What was asked for, and what came out, as one object.
    pub(super) settings: serde_json::Value,
    pub(super) outcome: serde_json::Value,
    /// The table, and the line behind it.
    pub(super) run: &'r Run,
    pub(super) sum: String,
}

/// An open store, and what removes it.
pub(super) struct Opened {
    pub(super) engine: TransactionalDb,
    _temporary: Option<TempDir>,
}

impl Opened {
    /// Runs `work`, and says what the store did meanwhile: how much of it one commit needed is what the levels cost.
    pub(super) fn counted<T, E>(
        &self,
        work: impl FnOnce(&TransactionalDb) -> Result<T, E>,
    ) -> Result<(T, serde_json::Value), E> {
        let (before, cpu_us) = (self.engine.db.statistics(), door::cpu_time_us());
        let outcome = work(&self.engine)?;
        let (after, cpu_us) = (self.engine.db.statistics(), door::cpu_time_us() - cpu_us);
        let counted = json!({
            "cpu_us": cpu_us,
            "groups": after.groups - before.groups,
            "syncs": after.syncs - before.syncs,
            "counter_operations": after.advances - before.advances + after.counter_reads - before.counter_reads,
        });
        Ok((outcome, counted))
    }
}

impl StoreArgs {
    /// For how long.
    pub(super) fn duration(&self) -> Result<Duration, Failure> {
        match Duration::try_from_secs_f64(self.duration) {
            Ok(duration) if !duration.is_zero() => Ok(duration),
            _ => Err(Failure::Usage("--duration is a number of seconds above 0".to_owned())),
        }
    }

    fn level(&self) -> Level {
        self.level.unwrap_or(Level::Durable)
    }

    /// For how long before.
    pub(super) fn warm_up(&self) -> Result<Duration, Failure> {
        Duration::try_from_secs_f64(self.warm_up)
            .map_err(|_| Failure::Usage("--warm-up is a number of seconds, 0 or above".to_owned()))
    }

    /// Prints what came out: one object that begins with `settings`, or `text` and the table; and draws the figure.
    pub(super) fn report(&self, report: &Report<'_>) -> Result<(), Failure> {
        if self.json {
            let mut line = report.settings.clone();
            extend(&mut line, json!({ "load_seconds": report.load_seconds }));
            extend(&mut line, report.outcome.clone());
            say(&line.to_string());
        } else {
            let load = report.load_seconds;
            say(&format!("loaded {} in {load:.1} s\n\n{}\n{}", report.loaded, report.run, report.sum));
        }
        let Some(path) = &self.plot else { return Ok(()) };
        let figure = report.run.figure(report.title, &report.subtitle)?;
        std::fs::write(path, figure).map_err(|e| Failure::Other(format!("{}: {e}", path.display())))
    }

    /// What was run on, for the settings of the object.
    pub(super) fn settings(&self) -> serde_json::Value {
        json!({
            "level": self.level().name(), "mode": self.mode.to_string(), "concurrency": self.concurrency.name(),
        })
    }

    /// The same for the figure.
    pub(super) fn about(&self) -> String {
        format!("{}, {}, mode {}", self.concurrency.name(), self.level().name(), self.mode)
    }

    /// A figure that cannot be written is said before a minute of work.
    pub(super) fn check_plot(&self) -> Result<(), Failure> {
        let Some(path) = &self.plot else { return Ok(()) };
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        match parent.unwrap_or(Path::new(".")).is_dir() && !path.is_dir() {
            true => Ok(()),
            false => Err(Failure::Usage(format!(
                "--plot {}: name a file in a directory that exists",
                path.display()
            ))),
        }
    }

    /// Makes the store.
    pub(super) fn open(&self) -> Result<Opened, Failure> {
        let (dir, temporary) = directory(self.db.as_deref())?;
        let store = Ringfort { mode: self.mode, counter_latency: self.counter_latency.0 };
        eprintln!("{}\n{}", store.about(), machine::describe());
        let options = store.options(&dir, &Settings::default())?;
        let concurrency = match self.concurrency {
            By::Pessimistic => Concurrency::Pessimistic,
            By::Optimistic => Concurrency::Optimistic,
        };
        let db = Db::open(options)?;
        Ok(Opened { engine: TransactionalDb { db, concurrency, level: self.level() }, _temporary: temporary })
    }
}

/// Adds the fields of one object to another.
pub(super) fn extend(object: &mut serde_json::Value, more: serde_json::Value) {
    if let (Some(object), serde_json::Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
}
