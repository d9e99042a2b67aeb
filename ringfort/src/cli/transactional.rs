//! What the benchmarks of transactions have in common: the store that they make, and how it is opened.

use super::bench::directory;
use super::report::Failure;
use super::value::{Span, Value as _};
use clap::{Args, ValueEnum};
use ringfort::bench::{Ringfort, TransactionalDb};
use ringfort::{Concurrency, Db, Level, Mode};
use ringfort_bench::{Settings, machine};
use ringfort_fault::tempdir::TempDir;
use ringfort_host::door;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// The store and its transactions.
#[derive(Args)]
pub(super) struct StoreArgs {
    /// How transactions keep each other away: by locks, or by a check when they commit.
    #[arg(long, value_enum, default_value = "pessimistic")]
    pub(super) concurrency: By,
    /// What each commit waits for: buffered, durable or fresh.
    #[arg(long, value_name = "LEVEL", default_value_t = Level::Durable)]
    pub(super) level: Level,
    /// The mode of the store: software, hardware or twin.
    #[arg(long, value_name = "MODE", default_value_t = Mode::Software)]
    pub(super) mode: Mode,
    /// How long an operation of the simulated counter takes.
    #[arg(long, value_name = "TIME", value_parser = Span::parse, default_value = "0ms")]
    counter_latency: Span,
    /// Seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    duration: f64,
    /// Of all random numbers.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// Make the store in this directory, and leave it there.
    #[arg(long, value_name = "DIR")]
    db: Option<PathBuf>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub(super) json: bool,
}

/// What keeps transactions apart.
#[derive(Clone, Copy, Debug, ValueEnum)]
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
        Ok(Opened { engine: TransactionalDb { db, concurrency, level: self.level }, _temporary: temporary })
    }
}
