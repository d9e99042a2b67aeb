//! How long a store takes to come back with its log: the same entries in each engine's write-ahead
//! log, left without a clean close, and the time of the open that replays them.
//!
//! ```text
//! fill    a child puts the entries, waits until the log holds all that it will hold, and is killed
//! open    a new child opens the store, measures that, reads entries back, and is killed
//! ```
//! Nothing is flushed before or at the end, so all entries come from the log. Ringfort verifies each
//! record against the trusted counter and claims the store anew; RocksDB checks CRC-32C. `rocksdb`
//! as it is writes the replayed entries to a table before it serves (`open`); opened for reading only
//! it replays and writes nothing (`replay`), which is the bar. Files are in the page cache: what is
//! measured is processor work, and the syncs that each engine thinks it owes.

use crate::engine::Settings;
use crate::keys::Key;
use crate::values::Values;
use crate::{Result, engines, process};
use ringfort_base::world::Clock;
use ringfort_host::door::{self, OsClock};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The command line.
#[derive(Clone, Debug, clap::Args)]
#[command(rename_all = "snake_case")]
pub struct Args {
    /// The engines, in the order in which they take turns.
    #[arg(long, value_delimiter = ',', default_value = "ringfort,rocksdb")]
    pub engines: Vec<String>,
    /// Runs of each engine.
    #[arg(long, default_value_t = 3)]
    pub repeats: usize,
    /// Append the results to this file, one JSON object a line.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Where the stores are made; a new directory below it, which is removed.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    pub dir: PathBuf,
    #[command(flatten)]
    pub log: Log,
}

/// What is in the log.
#[derive(Clone, Debug, clap::Args, Serialize)]
#[command(rename_all = "snake_case")]
pub struct Log {
    /// Entries, each a commit of its own.
    #[arg(long, default_value_t = 800_000)]
    pub entries: u64,
    /// Bytes of a key.
    #[arg(long, default_value_t = 16)]
    pub key_size: usize,
    /// Bytes of a value.
    #[arg(long, default_value_t = 100)]
    pub value_size: usize,
}

/// One child.
#[derive(Clone, Debug, clap::Args)]
#[command(rename_all = "snake_case")]
pub struct StepArgs {
    /// The engine.
    #[arg(long)]
    pub engine: String,
    /// What to do.
    #[arg(long, value_enum)]
    pub step: StepKind,
    /// The store's directory.
    #[arg(long)]
    pub dir: PathBuf,
    #[command(flatten)]
    pub log: Log,
}

/// What a child does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum StepKind {
    Fill,
    Replay,
    Open,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Opened {
    seconds: f64,
    cpu_seconds: f64,
    peak_rss_bytes: u64,
}

/// Large enough that no engine flushes by itself.
fn settings() -> Settings {
    Settings {
        memory_budget_mib: 4096,
        write_buffer_mib: 1024,
        block_size: 4096,
        bloom_bits: 10,
        background_jobs: 2,
    }
}

/// One child's work.
pub fn step(args: &StepArgs) -> Result<()> {
    let kind = engines::by_name(&args.engine)?;
    let dir = args.dir.join(kind.name);
    let mut key = Key::new(args.log.key_size);
    if args.step == StepKind::Fill {
        std::fs::create_dir_all(&dir)?;
        let engine = (kind.open)(&dir, &settings())?;
        let mut values = Values::new(0.5, args.log.value_size);
        for number in 0..args.log.entries {
            engine.put(key.of(spread(number, args.log.entries)), values.next(args.log.value_size))?;
        }
        door::sleep(Duration::from_secs(1));
        die()
    }
    process::reset_peak_rss()?;
    let clock = OsClock::new();
    let (start, cpu) = (clock.monotonic(), door::cpu_time_us());
    let engine = match args.step {
        StepKind::Replay if args.engine == "rocksdb" => engines::rocksdb::replay(&dir, &settings())?,
        _ => (kind.open)(&dir, &settings())?,
    };
    let opened = Opened {
        seconds: (clock.monotonic() - start).as_secs_f64(),
        cpu_seconds: (door::cpu_time_us() - cpu) as f64 / 1e6,
        peak_rss_bytes: process::peak_rss()?,
    };
    for number in (0..args.log.entries).step_by(997) {
        if engine.get(key.of(number))? != Some(args.log.value_size) {
            return Err(format!("entry {number} did not come back").into());
        }
    }
    println!("{}", serde_json::to_string(&opened)?);
    die()
}

/// Every number below `n` once, out of order.
fn spread(i: u64, n: u64) -> u64 {
    (i.wrapping_mul(7_368_787)) % n
}

fn die() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort()
}

fn child(args: &Args, engine: &str, step: &str, dir: &Path) -> Result<Option<Opened>> {
    let log = &args.log;
    let out = Command::new(std::env::current_exe()?)
        .args(["recovery-step", "--engine", engine, "--step", step, "--dir"])
        .arg(dir)
        .args(["--entries", &log.entries.to_string(), "--key_size", &log.key_size.to_string()])
        .args(["--value_size", &log.value_size.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8(out.stdout)?;
    Ok(text.lines().next().map(serde_json::from_str).transpose()?)
}

/// Runs everything.
pub fn run(args: &Args) -> Result<()> {
    for repeat in 0..args.repeats {
        for engine in &args.engines {
            let dir = args.dir.join(format!("ringfort-recovery-{}", std::process::id()));
            std::fs::create_dir_all(&dir)?;
            child(args, engine, "fill", &dir)?;
            let steps: &[&str] = if engine == "rocksdb" { &["replay", "open"] } else { &["open"] };
            for step in steps {
                let o = child(args, engine, step, &dir)?.ok_or("the open failed")?;
                println!(
                    "{repeat} {engine:10} {step:7} {:.3} s, {:.0} entries/s, {:.3} us CPU/entry, peak {} MiB",
                    o.seconds,
                    args.log.entries as f64 / o.seconds,
                    o.cpu_seconds * 1e6 / args.log.entries as f64,
                    o.peak_rss_bytes >> 20
                );
            }
            if std::env::var_os("KEEP").is_none() {
                std::fs::remove_dir_all(&dir)?;
            }
        }
    }
    Ok(())
}
