//! [`Setup`]: everything that the numbers of one run depend on, and the flags that hand it to a child.

use crate::engines::{self, Kind};
use crate::{Result, machine};
use ringfort_bench::settings::bytes;
use ringfort_bench::{Benchmark, Settings, Workload};
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// Under a memory limit a write buffer has no more than this share of it.
const WRITE_BUFFER_SHARE: usize = 16;

/// One run: one engine in a process of its own.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// The engine.
    pub engine: String,
    /// What it does, in order; the first fills it.
    pub benchmarks: Vec<Benchmark>,
    /// Threads that count.
    pub threads: usize,
    /// How much.
    pub workload: Workload,
    /// How the store is opened.
    pub settings: Settings,
    /// What stands in for hardware.
    pub emulation: Emulation,
    /// What the kernel lets the process and its files' pages take, bytes.
    pub memory_limit: Option<u64>,
}

/// What stands in for hardware that is not there.
#[derive(Clone, PartialEq, Debug, clap::Args, Serialize, Deserialize)]
#[command(rename_all = "snake_case")]
pub struct Emulation {
    /// How long an operation of the simulated trusted counter takes, microseconds (Ringfort).
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0)]
    pub counter_latency: u64,
    /// Plain pages that the emulated trusted disk keeps in memory, as the page cache would (the
    /// engines of `twinstore`): bytes, or 512MiB.
    #[arg(long, value_name = "SIZE", default_value = "512MiB", value_parser = bytes)]
    pub page_cache: usize,
}

impl Default for Emulation {
    fn default() -> Self {
        Self { counter_latency: 0, page_cache: 512 << 20 }
    }
}

impl Setup {
    /// How the engine is opened.
    pub fn kind(&self) -> Result<&'static Kind> {
        engines::by_name(&self.engine)
    }

    /// Puts the run under a limit: the engine's own cache gets the share that suits it, the rest is
    /// left to the system's page cache.
    pub fn limit_memory(&mut self, limit: u64) -> Result<()> {
        let share = self.kind()?.cache_share;
        self.memory_limit = Some(limit);
        let limit = usize::try_from(limit)?;
        self.settings.memory_budget = (limit as f64 * share) as usize;
        self.settings.write_buffer_size = self.settings.write_buffer_size.min(limit / WRITE_BUFFER_SHARE);
        Ok(())
    }

    /// A number that two runs share only if they may stand for each other: same settings, same
    /// build of this program and of the engine, same machine.
    pub fn hash(&self) -> Result<String> {
        let text = serde_json::to_string(&(self, (self.kind()?.about)(), build(), machine::describe()))?;
        Ok(number(&text))
    }

    /// The command line of a child: flags have the names of the fields.
    pub fn flags(&self) -> Result<Vec<String>> {
        let benchmarks: Vec<&str> = self.benchmarks.iter().map(|one| one.name()).collect();
        let mut flags = vec![
            format!("--engine={}", self.engine),
            format!("--benchmarks={}", benchmarks.join(",")),
            format!("--threads={}", self.threads),
        ];
        for part in [
            serde_json::to_value(&self.workload)?,
            serde_json::to_value(&self.settings)?,
            serde_json::to_value(&self.emulation)?,
        ] {
            let serde_json::Value::Object(fields) = part else { return Err("settings are no object".into()) };
            flags.extend(fields.into_iter().filter_map(|(name, value)| match value {
                serde_json::Value::String(text) => Some(format!("--{name}={text}")),
                // What was not said is not said to the child.
                serde_json::Value::Null => None,
                value => Some(format!("--{name}={value}")),
            }));
        }
        Ok(flags)
    }
}

/// A number for this very program file.
pub fn build() -> &'static str {
    static BUILD: OnceLock<String> = OnceLock::new();
    BUILD.get_or_init(|| {
        let program = std::env::current_exe().and_then(std::fs::read).unwrap_or_default();
        format!("{:016x}", fnv(&program))
    })
}

/// A short number for a text.
pub fn number(text: &str) -> String {
    format!("{:016x}", fnv(text.as_bytes()))
}

/// FNV-1a, 64 bits: short, and the same everywhere and always.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cli;
    use clap::Parser;

    fn setup() -> Setup {
        let given = [
            "x",
            "compare",
            "--num=7",
            "--reads=5",
            "--value_size=9",
            "--bloom_bits=3",
            "--sync",
            "--level=fresh",
        ];
        let more = [
            "--compression_type=lz4",
            "--memory_budget=8MiB",
            "--counter_latency=40",
            "--min_blob_size=1KiB",
        ];
        let crate::Command::Compare(args) = Cli::parse_from(given.iter().chain(&more)).command else {
            panic!("not compare")
        };
        Setup {
            engine: "ringfort".into(),
            benchmarks: vec![Benchmark::FillRandom, Benchmark::ReadRandom],
            threads: 3,
            workload: args.workload,
            settings: args.settings,
            emulation: args.emulation,
            memory_limit: None,
        }
    }

    #[test]
    fn a_child_gets_what_its_parent_was_told() {
        let setup = setup();
        let mut line = vec!["x".to_owned(), "run".to_owned(), "--dir=d".to_owned()];
        line.extend(setup.flags().unwrap());
        let crate::Command::Run(child) = Cli::parse_from(line).command else { panic!("not run") };
        assert_eq!((&child.workload, &child.settings), (&setup.workload, &setup.settings));
        assert_eq!(child.emulation, setup.emulation);
        assert_eq!(
            (child.engine, child.threads, child.benchmarks),
            ("ringfort".to_owned(), 3, setup.benchmarks)
        );
        assert_eq!((setup.workload.num, setup.workload.reads, setup.settings.bloom_bits), (7, 5, 3));
        assert!(setup.workload.sync && setup.settings.memory_budget == 8 << 20);
        assert_eq!(setup.emulation.counter_latency, 40);
    }

    #[test]
    fn only_equal_setups_have_an_equal_number() {
        let base = setup();
        assert_eq!(base.hash().unwrap(), base.clone().hash().unwrap());
        let mut others = vec![base.clone(), base.clone(), base.clone(), base.clone(), base.clone()];
        others[0].threads = 4;
        others[1].workload.value_size = 10;
        others[2].settings.block_size = 8192;
        others[3].engine = "rocksdb".into();
        others[4].memory_limit = Some(1 << 30);
        for other in others {
            assert_ne!(other.hash().unwrap(), base.hash().unwrap(), "{other:?}");
        }
    }

    #[test]
    fn fnv_is_what_its_authors_publish() {
        assert_eq!(fnv(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_limit_is_split_by_the_engines_own_share() {
        let mut rocksdb = Setup { engine: "rocksdb".into(), ..setup() };
        rocksdb.limit_memory(300 << 20).unwrap();
        let share = rocksdb.kind().unwrap().cache_share;
        assert!(share > 0.0 && share < 1.0);
        assert_eq!(rocksdb.settings.memory_budget, (f64::from(300 << 20) * share) as usize);
        assert_eq!(rocksdb.settings.write_buffer_size, (300 << 20) / 16);
        assert_eq!(rocksdb.memory_limit, Some(300 << 20));
    }
}
