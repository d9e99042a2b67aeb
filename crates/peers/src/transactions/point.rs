//! [`Point`]: everything that one number depends on; [`Measured`]: what came out.

use super::stores::{self, By};
use crate::setup::{build, number};
use crate::{Result, machine};
use ringfort_base::Level;
use ringfort_bench::level_by_name;
use ringfort_bench::transactional::{Run, Transactional};
use ringfort_bench::ycsb::{Distribution, Mix};
use ringfort_bench::{Settings, tpcc, ycsb};
use ringfort_host::door;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Of all random numbers.
const SEED: u64 = 1;

/// What is loaded, and what is done to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Load {
    /// TPC-C's full mix.
    Tpcc {
        /// About 100 MB each.
        warehouses: u32,
    },
    /// YCSB with transactions of several operations.
    Ycsb {
        mix: Mix,
        distribution: Distribution,
        records: u64,
        value_bytes: usize,
        /// Of each transaction.
        operations: usize,
    },
}

impl Load {
    /// What is loaded: the same for loads that can use each other's.
    pub fn data(&self) -> String {
        match self {
            Self::Tpcc { warehouses } => format!("tpcc-{warehouses}"),
            Self::Ycsb { records, value_bytes, .. } => format!("ycsb-{records}x{value_bytes}"),
        }
    }

    /// For a line of a table.
    pub fn name(&self) -> String {
        match self {
            Self::Tpcc { .. } => "tpcc".to_owned(),
            Self::Ycsb { mix, distribution, .. } => {
                let name = |value| serde_json::to_value(value).ok()?.as_str().map(str::to_owned);
                let mix = serde_json::to_value(mix).ok().and_then(name).unwrap_or_default();
                let skew = if *distribution == Distribution::Zipfian { ", zipfian" } else { "" };
                format!("ycsb {mix}{skew}")
            }
        }
    }

    /// What a reader must know of it.
    pub fn about(&self) -> String {
        match self {
            Self::Tpcc { warehouses } => format!("TPC-C's full mix on {warehouses} warehouses"),
            Self::Ycsb { mix, distribution, records, value_bytes, operations } => {
                let mix = match mix {
                    Mix::A => "50 % reads, 50 % blind writes",
                    Mix::F => "50 % reads, 50 % reads for update with a write",
                    Mix::Treaty20 => "20 % reads, 80 % blind writes",
                    Mix::Treaty80 => "80 % reads, 20 % blind writes",
                    Mix::B | Mix::D => "95 % reads",
                    Mix::C => "reads",
                    Mix::E => "95 % scans",
                };
                let skew = match distribution {
                    Distribution::Uniform => "uniform",
                    Distribution::Zipfian => "zipfian 0.99",
                    Distribution::Latest => "the latest most",
                };
                format!("{operations} operations, {mix}, {skew}; {records} records of {value_bytes} B")
            }
        }
    }

    /// Loads it.
    pub fn load(&self, store: &dyn Transactional) -> Result<()> {
        let tpcc = self.tpcc(1, Duration::ZERO).map_or(Ok(()), |plan| tpcc::load(store, &plan));
        tpcc.and_then(|()| self.ycsb(1, Duration::ZERO).map_or(Ok(()), |plan| ycsb::load(store, &plan)))
    }

    /// Runs it, TPC-C without the check of its conditions.
    fn run(&self, store: &dyn Transactional, clients: usize, seconds: f64) -> Result<Run> {
        let duration = Duration::try_from_secs_f64(seconds)?;
        match (self.tpcc(clients, duration), self.ycsb(clients, duration)) {
            (Some(plan), _) => tpcc::run_unchecked(store, &plan),
            (None, Some(plan)) => Ok(ycsb::run(store, &plan)?.run),
            (None, None) => Ok(Run::default()),
        }
    }

    fn tpcc(&self, clients: usize, duration: Duration) -> Option<tpcc::Plan> {
        let Self::Tpcc { warehouses } = *self else { return None };
        Some(tpcc::Plan {
            warehouses,
            terminals: clients as u32,
            warm_up: Duration::ZERO,
            duration,
            seed: SEED,
        })
    }

    fn ycsb(&self, clients: usize, duration: Duration) -> Option<ycsb::Plan> {
        let Self::Ycsb { mix, distribution, records, value_bytes, operations } = *self else { return None };
        let (warm_up, seed) = (Duration::ZERO, SEED);
        Some(ycsb::Plan {
            mix,
            distribution,
            records,
            value_bytes,
            operations,
            clients,
            warm_up,
            duration,
            seed,
        })
    }
}

/// One number and what it depends on.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Point {
    /// The store, by the name of its kind.
    pub store: String,
    pub by: By,
    #[serde(with = "level_by_name")]
    pub level: Level,
    /// How long an operation of the simulated trusted counter takes.
    pub counter_latency_us: u64,
    pub load: Load,
    pub clients: usize,
    /// So long it runs before it is measured.
    pub warm_up_seconds: f64,
    pub seconds: f64,
    pub settings: Settings,
}

impl Point {
    /// A number that two runs share only if they may stand for each other.
    pub fn hash(&self) -> Result<String> {
        let about = (stores::by_name(&self.store)?.about)();
        Ok(number(&serde_json::to_string(&(self, about, build(), machine::describe()))?))
    }

    /// Runs it on a store that is open and loaded.
    pub fn run(&self, store: &dyn Transactional) -> Result<Measured> {
        if self.warm_up_seconds > 0.0 {
            // A run of its own, so that its processor time is not counted.
            self.load.run(store, self.clients, self.warm_up_seconds)?;
        }
        let cpu = door::cpu_time_us();
        let run = self.load.run(store, self.clients, self.seconds)?;
        let cpu_us = (door::cpu_time_us() - cpu) as f64;
        Ok(Measured {
            transactions_per_sec: run.transactions_per_sec,
            abort_rate: run.abort_rate,
            mean_us: run.latency.mean_us,
            p50_us: run.latency.p50_us,
            p99_us: run.latency.p99_us,
            max_us: run.latency.max_us,
            cpu_us_per_transaction: cpu_us / run.committed.max(1) as f64,
            seconds: run.seconds,
        })
    }
}

/// What came out of one run of a point.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    /// Committed a second.
    pub transactions_per_sec: f64,
    /// Of all tries, how many had to be begun again.
    pub abort_rate: f64,
    /// Tries and waits included.
    pub mean_us: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
    /// Of the whole process, its background work included.
    pub cpu_us_per_transaction: f64,
    /// The measured time.
    pub seconds: f64,
}
