//! # TREATY's figures 6 and 7: transactions on one node
//!
//! The paper (DSN 2022) compares RocksDB with its store in five builds: throughput and latency of TPC-C and of YCSB with
//! 20 % and 80 % reads, over the number of clients, for locks (figure 6) and for checks at the commit (figure 7). Here:
//!
//! | configuration | store | a commit returns when it is |
//! |---|---|---|
//! | `rocksdb` | RocksDB, every read tracked | synced |
//! | `rocksdb-plain-reads` | RocksDB with plain reads, as the paper's artifact reads: not serializable | synced |
//! | `plain` | Ringfort with sealing off | synced |
//! | `plain, fresh` | the same | synced, and the trusted volume's claim read again: there is no counter |
//! | `sealed` | Ringfort as a user gets it | synced |
//! | `sealed, fresh` | the same | synced and anchored in a counter of 2 ms, as the artifact's |
//!
//! `rocksdb` is the reference. `rocksdb-plain-reads` stands there because it is what the paper's baseline was, as far as its
//! artifact shows; the paper's variants inside SCONE need SGX and are not imitated: an enclave's
//! costs are not among ours.
//!
//! TPC-C has 10 warehouses. YCSB has a million records of 1000 B, uniform, 10 operations to a transaction: larger than
//! the cache of 512 MiB, and the "little conflict" that the paper speaks of at 128 clients. Its own sizes are in no part of it that is public.
//!
//! Each store is loaded once for a workload, and all clients' counts, levels and kinds of transactions run on it. After TPC-C
//! has run, the specification's consistency conditions are checked on every store of ours.

mod figures;
mod goals;
mod paper;
mod tables;

pub use figures::draw;
pub use goals::{Claim, Number, claims};
pub use tables::tables;

use crate::Result;
use crate::compare::Turns;
use crate::transactions::cells::Cells;
use crate::transactions::point::{Load, Point};
use crate::transactions::refuse_limit;
use crate::transactions::stage::Stage;
use crate::transactions::stores::{self, By, Kind};
use ringfort_base::Level;
use ringfort_bench::ycsb::{Distribution, Mix};
use ringfort_bench::{Settings, machine};
use std::path::PathBuf;

/// What its runs are called in the file of results.
pub const PART: &str = "treaty";

/// One of the six.
pub struct Configuration {
    pub name: &'static str,
    store: &'static Kind,
    level: Level,
}

/// The reference.
pub const ROCKSDB: &Configuration =
    &Configuration { name: "rocksdb", store: stores::ROCKSDB, level: Level::Durable };
/// As the artifact reads.
pub const PLAIN_READS: &Configuration =
    &Configuration { name: "rocksdb-plain-reads", store: stores::PLAIN_READS, level: Level::Durable };
/// Sealing off.
pub const PLAIN: &Configuration =
    &Configuration { name: "plain", store: stores::PLAIN, level: Level::Durable };
/// Sealing off, at `fresh`.
pub const PLAIN_FRESH: &Configuration =
    &Configuration { name: "plain, fresh", store: stores::PLAIN, level: Level::Fresh };
/// As a user gets it.
pub const SEALED: &Configuration =
    &Configuration { name: "sealed", store: stores::RINGFORT, level: Level::Durable };
/// The same at `fresh`.
pub const SEALED_FRESH: &Configuration =
    &Configuration { name: "sealed, fresh", store: stores::RINGFORT, level: Level::Fresh };

/// All of them, in the order in which they take turns.
pub const CONFIGURATIONS: [&Configuration; 6] =
    [ROCKSDB, PLAIN_READS, PLAIN, PLAIN_FRESH, SEALED, SEALED_FRESH];

impl Configuration {
    /// Whether a point is of this one.
    pub fn is_of(&self, point: &Point) -> bool {
        point.store == self.store.name && point.level == self.level
    }
}

/// The workloads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Workload {
    /// TPC-C.
    Tpcc,
    /// YCSB with 80 % reads.
    #[value(name = "ycsb-80")]
    Ycsb80,
    /// YCSB with 20 % reads.
    #[value(name = "ycsb-20")]
    Ycsb20,
}

impl Workload {
    /// All of them, in the paper's order.
    pub const ALL: [Self; 3] = [Self::Tpcc, Self::Ycsb80, Self::Ycsb20];

    /// Which one a load is, if it is one.
    pub fn of(load: &Load) -> Option<Self> {
        match load {
            Load::Tpcc { .. } => Some(Self::Tpcc),
            Load::Ycsb { mix: Mix::Treaty80, .. } => Some(Self::Ycsb80),
            Load::Ycsb { mix: Mix::Treaty20, .. } => Some(Self::Ycsb20),
            Load::Ycsb { .. } => None,
        }
    }

    /// For file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tpcc => "tpcc",
            Self::Ycsb80 => "ycsb-80",
            Self::Ycsb20 => "ycsb-20",
        }
    }

    /// For titles.
    pub fn title(self) -> &'static str {
        match self {
            Self::Tpcc => "TPC-C",
            Self::Ycsb80 => "YCSB, 80 % reads",
            Self::Ycsb20 => "YCSB, 20 % reads",
        }
    }
}

/// The command line.
#[derive(Clone, Debug, clap::Args)]
#[command(rename_all = "snake_case")]
pub struct Args {
    /// Kinds of transactions: figure 6 (pessimistic), figure 7 (optimistic).
    #[arg(long, value_enum, value_delimiter = ',', default_value = "pessimistic,optimistic")]
    pub by: Vec<By>,
    /// The workloads.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "tpcc,ycsb-80,ycsb-20")]
    pub workloads: Vec<Workload>,
    /// Numbers of clients.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,2,4,8,16,32,64,128")]
    pub clients: Vec<usize>,
    /// Warehouses of TPC-C.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub warehouses: u32,
    /// Records of YCSB.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub num: u64,
    /// Bytes of a value of YCSB.
    #[arg(long, value_name = "BYTES", default_value_t = 1000)]
    pub value_size: usize,
    /// Operations of a transaction of YCSB.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub operations: usize,
    /// Each run is measured for so long.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    pub seconds: f64,
    /// And begins so long before that.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.5)]
    pub warm_up: f64,
    /// How long an operation of the trusted counter takes, microseconds.
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 2000)]
    pub counter_latency: u64,
    /// A rehearsal of about six minutes: 1, 16 and 64 clients, one run each, 2 warehouses, a tenth of the records.
    #[arg(long)]
    pub quick: bool,
    /// The directory of the figures; created if needed.
    #[arg(long, value_name = "DIR", default_value = "docs/figures")]
    pub out: PathBuf,
    #[command(flatten)]
    pub turns: Turns,
    #[command(flatten)]
    pub settings: Settings,
}

impl Args {
    /// What is run: as the command line has it, or the rehearsal of it.
    fn effective(&self) -> Self {
        let mut args = self.clone();
        if args.quick {
            args.clients = vec![1, 16, 64];
            args.warehouses = args.warehouses.min(2);
            args.num = (args.num / 10).max(1);
            args.turns.repeats = 1;
        }
        args
    }

    fn load(&self, workload: Workload) -> Load {
        let mix = match workload {
            Workload::Tpcc => return Load::Tpcc { warehouses: self.warehouses },
            Workload::Ycsb80 => Mix::Treaty80,
            Workload::Ycsb20 => Mix::Treaty20,
        };
        Load::Ycsb {
            mix,
            distribution: Distribution::Uniform,
            records: self.num,
            value_bytes: self.value_size,
            operations: self.operations,
        }
    }

    /// All configurations of one workload, kind and number of clients.
    fn round(&self, workload: Workload, by: By, clients: usize) -> Vec<Point> {
        let point = |configuration: &&Configuration| Point {
            store: configuration.store.name.to_owned(),
            by,
            level: configuration.level,
            // What has no counter is the same store however long it would take.
            counter_latency_us: if configuration.store.name == SEALED.store.name {
                self.counter_latency
            } else {
                0
            },
            load: self.load(workload),
            clients,
            warm_up_seconds: self.warm_up,
            seconds: self.seconds,
            settings: self.settings.clone(),
        };
        CONFIGURATIONS.iter().map(point).collect()
    }
}

/// Runs everything, prints the slowdowns beside the paper's and draws the figures.
pub fn run(args: &Args) -> Result<()> {
    let args = args.effective();
    args.turns.check()?;
    refuse_limit(&args.turns)?;
    if args.clients.contains(&0) || args.warehouses == 0 || args.num == 0 {
        return Err("--clients, --warehouses and --num must be above 0".into());
    }
    let rounds = args.workloads.len() * args.by.len() * args.clients.len();
    let mut stage = Stage::new(&args.turns, rounds * CONFIGURATIONS.len() * args.turns.repeats)?;
    let load = machine::load();
    let (mut cells, mut violations) = (Cells::default(), Vec::new());
    for &workload in &args.workloads {
        for &by in &args.by {
            let mut last = Vec::new();
            for &clients in &args.clients {
                last = args.round(workload, by, clients);
                let runs = stage.turns(PART, &last)?;
                cells.0.extend(Cells::of(&last, runs).0);
            }
            let ours = [PLAIN, SEALED];
            last.retain(|point| ours.iter().any(|configuration| configuration.is_of(point)));
            violations.extend(stage.check(&last)?);
        }
    }
    println!("{}; load {load} before, {} after.\n", machine::describe(), machine::load());
    for kind in [stores::ROCKSDB, stores::PLAIN_READS, stores::PLAIN, stores::RINGFORT] {
        println!("- `{}`: {}", kind.name, (kind.about)());
    }
    println!("\n{}", tables(&cells));
    draw(&cells, &args.out)?;
    match violations.is_empty() {
        true => Ok(()),
        false => Err(format!("the database is not consistent: {}", violations.join("; ")).into()),
    }
}

#[cfg(test)]
pub mod tests;
