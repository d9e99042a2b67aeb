//! # Transactions beside other stores: `transactions`, and what `treaty` stands on
//!
//! ```text
//!  transactions, treaty    which points, in which order; tables, figures
//!        │
//!      stage     directories, what is loaded, workers ── ledger   runs in the file of results
//!        │
//!      worker    a process per store, open and warm, told by lines ── point   what one number depends on
//!        │
//!      stores/   RocksDB's two kinds, LMDB, Ringfort, behind ringfort_bench::transactional
//! ```
//! Stores take turns at every point (A B C, A B C, …): what else the machine does hits all alike, and a ratio is of two
//! runs of one repeat.
//!
//! This command is about two goals. Transactions are of ten operations on a million records of 1000 B, nothing synced:
//!
//! - `one-thread`: one client, uniform: what a transaction costs.
//! - `contended`: eight clients, zipfian 0.99: what happens when they meet. Ours also uniform, to compare with.
//!
//! Each with two mixes. `a`, half reads and half blind writes, is the plain case that stores are compared by. `f`, half reads and
//! half read-modify-write (the read is `for update`), is what applications do, and costs RocksDB's locks fewer
//! deadlocks. Reads of a zipfian `a` that become writes of the same key have to have their locks upgraded; nobody is spared that.

pub mod cells;
pub mod ledger;
pub mod point;
pub mod stage;
pub mod stores;
pub mod worker;

use crate::compare::Turns;
use crate::report::Spread;
use crate::{Result, machine};
use cells::{Cell, Cells};
use clap::ValueEnum;
use point::{Load, Point};
use ringfort_base::Level;
use ringfort_bench::Settings;
use ringfort_bench::ycsb::{Distribution, Mix};
use stage::Stage;
use std::fmt::Write as _;
use stores::{By, Kind, RINGFORT};

/// Clients of the contended part.
const CLIENTS: usize = 8;

/// The command line.
#[derive(Clone, Debug, clap::Args)]
#[command(rename_all = "snake_case")]
pub struct Args {
    /// What to run.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "one-thread,contended")]
    pub benchmarks: Vec<Part>,
    /// The stores, in the order in which they take turns.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "ringfort,ringfort:plain,rocksdb,rocksdb-plain-reads,lmdb"
    )]
    pub stores: Vec<String>,
    /// Kinds of transactions.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "pessimistic,optimistic")]
    pub by: Vec<By>,
    /// Mixes of operations.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "a,f")]
    pub mixes: Vec<Mix>,
    /// Records.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub num: u64,
    /// Bytes of a value.
    #[arg(long, value_name = "BYTES", default_value_t = 1000)]
    pub value_size: usize,
    /// Operations of a transaction.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub operations: usize,
    /// Each run is measured for so long.
    #[arg(long, value_name = "SECONDS", default_value_t = 4.0)]
    pub seconds: f64,
    /// And begins so long before that.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub warm_up: f64,
    #[command(flatten)]
    pub turns: Turns,
    #[command(flatten)]
    pub settings: Settings,
}

/// A part of the command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Part {
    /// One client, uniform.
    OneThread,
    /// Eight clients, zipfian.
    Contended,
}

impl Part {
    /// As the command line and the file of results have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::OneThread => "one-thread",
            Self::Contended => "contended",
        }
    }

    /// What is run, in this order: stores take turns at each.
    fn rounds(self, args: &Args) -> Result<Vec<Vec<Point>>> {
        let kinds = args.stores.iter().map(|name| stores::by_name(name)).collect::<Result<Vec<_>>>()?;
        let mut rounds = Vec::new();
        for by in &args.by {
            for mix in &args.mixes {
                let of = |kind: &&'static Kind, distribution| self.point(args, kind, *by, *mix, distribution);
                let skew =
                    if self == Self::OneThread { Distribution::Uniform } else { Distribution::Zipfian };
                let able = kinds.iter().filter(|kind| kind.by.contains(by));
                let mut round: Vec<Point> = able.map(|kind| of(kind, skew)).collect();
                if self == Self::Contended {
                    let ours = kinds.iter().filter(|kind| kind.name == RINGFORT.name);
                    round.extend(ours.map(|kind| of(kind, Distribution::Uniform)));
                }
                rounds.push(round);
            }
        }
        Ok(rounds)
    }

    fn point(self, args: &Args, kind: &Kind, by: By, mix: Mix, distribution: Distribution) -> Point {
        Point {
            store: kind.name.to_owned(),
            by,
            level: Level::Buffered,
            counter_latency_us: 0,
            load: Load::Ycsb {
                mix,
                distribution,
                records: args.num,
                value_bytes: args.value_size,
                operations: args.operations,
            },
            clients: if self == Self::OneThread { 1 } else { CLIENTS },
            warm_up_seconds: args.warm_up,
            seconds: args.seconds,
            settings: args.settings.clone(),
        }
    }
}

/// Runs the parts and prints their tables.
pub fn run(args: &Args) -> Result<()> {
    args.turns.check()?;
    refuse_limit(&args.turns)?;
    let mut parts = Vec::new();
    for part in &args.benchmarks {
        parts.push((*part, part.rounds(args)?));
    }
    let runs: usize = parts.iter().flat_map(|(_, rounds)| rounds).map(Vec::len).sum();
    let mut stage = Stage::new(&args.turns, runs * args.turns.repeats)?;
    println!("{}; load {}", machine::describe(), machine::load());
    for name in &args.stores {
        println!("- `{name}`: {}", (stores::by_name(name)?.about)());
    }
    println!();
    for (part, rounds) in parts {
        let mut cells = Cells::default();
        for points in &rounds {
            let runs = stage.turns(part.name(), points)?;
            cells.0.extend(Cells::of(points, runs).0);
        }
        println!("{}", table(part, &cells));
    }
    Ok(())
}

/// Workers are not put into control groups.
pub fn refuse_limit(turns: &Turns) -> Result<()> {
    match turns.memory_limit {
        Some(_) => Err("--memory_limit is not for transactions; --memory_budget is".into()),
        None => Ok(()),
    }
}

/// A table for each load of a part.
pub fn table(part: Part, cells: &Cells) -> String {
    let mut out = String::new();
    for load in cells.loads() {
        let of = cells.on(&load);
        let clients = of.0.first().map_or(0, |cell| cell.point.clients);
        let _ = writeln!(out, "#### {}, {clients} clients: {}\n\n{}", part.name(), load.about(), of.table());
    }
    for (by, ratio) in against_uncontended(cells) {
        let _ = writeln!(out, "- zipfian by uniform, `ringfort`, {by}: {}", ratio.shown());
    }
    out
}

/// For each mix and kind of transactions: our contended rate by our uncontended one.
pub fn against_uncontended(cells: &Cells) -> Vec<(String, Spread)> {
    let uniform = |cell: &&Cell| match &cell.point.load {
        Load::Ycsb { distribution: Distribution::Zipfian, .. } => None,
        load => Some((cell.point.by, *load)),
    };
    let mut found = Vec::new();
    for (cell, (by, load)) in cells.0.iter().filter_map(|cell| Some((cell, uniform(&cell)?))) {
        let Load::Ycsb { mix, records, value_bytes, operations, .. } = load else { continue };
        let skewed =
            Load::Ycsb { mix, distribution: Distribution::Zipfian, records, value_bytes, operations };
        let contended = cells.on(&skewed);
        let Some(ratio) = contended.find(&cell.point.store, by).and_then(|other| other.by(cell)) else {
            continue;
        };
        found.push((format!("{}, {}", mix_name(mix), by.name()), ratio));
    }
    found
}

fn mix_name(mix: Mix) -> String {
    mix.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}
