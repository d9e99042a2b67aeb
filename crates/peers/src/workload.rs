//! The benchmarks, by db_bench's names and definitions.
//!
//! Each thread does its own full count. Its keys come from a generator of its own, whose seed counts
//! up over the threads *and* over the benchmarks of a list: `readrandom` after `fillrandom` does not
//! draw the keys again that were written, so 63.2 % of its reads find something. (A new process with
//! the same seed would draw exactly the written keys.)

use crate::Result;
use crate::engine::Engine;
use crate::keys::Key;
use crate::rng::Mt64;
use crate::values::Values;
use serde::{Deserialize, Serialize};

/// What to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lower")]
pub enum Benchmark {
    /// Writes the keys in order into a fresh store.
    FillSeq,
    /// Writes random keys into a fresh store, with replacement.
    FillRandom,
    /// [`Benchmark::FillRandom`] into the store as it is.
    Overwrite,
    /// Reads random keys.
    ReadRandom,
}

impl Benchmark {
    /// db_bench's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FillSeq => "fillseq",
            Self::FillRandom => "fillrandom",
            Self::Overwrite => "overwrite",
            Self::ReadRandom => "readrandom",
        }
    }

    /// Whether it begins with an empty store.
    pub const fn is_fresh(self) -> bool {
        matches!(self, Self::FillSeq | Self::FillRandom)
    }

    /// Whether it leaves work behind that the engine has to pay for.
    pub const fn writes(self) -> bool {
        matches!(self, Self::FillSeq | Self::FillRandom | Self::Overwrite)
    }
}

/// How much of it.
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[command(rename_all = "snake_case")]
pub struct Amount {
    /// Keys are drawn from 0..num; writes per thread.
    #[arg(long, default_value_t = 1_000_000)]
    pub num: u64,
    /// Reads per thread; as many as `num` if not given.
    #[arg(long)]
    pub reads: Option<u64>,
    /// Bytes of a key.
    #[arg(long, default_value_t = 16)]
    pub key_size: usize,
    /// Bytes of a value.
    #[arg(long, default_value_t = 1024)]
    pub value_size: usize,
    /// What values would compress to, as a share of their size (nothing compresses them here).
    #[arg(long, default_value_t = 0.5)]
    pub compression_ratio: f64,
    /// Base of the generators' seeds.
    #[arg(long, default_value_t = 1000)]
    pub seed: u64,
}

impl Amount {
    /// Operations per thread.
    pub fn operations(&self, benchmark: Benchmark) -> u64 {
        if benchmark.writes() { self.num } else { self.reads.unwrap_or(self.num) }
    }

    /// Refuses what cannot be run.
    pub fn check(&self) -> Result<()> {
        if self.num == 0 || self.reads == Some(0) || self.key_size == 0 {
            return Err("--num, --reads and --key_size must be above 0".into());
        }
        if !(0.0..=1.0).contains(&self.compression_ratio) {
            return Err("--compression_ratio is a share: between 0 and 1".into());
        }
        Ok(())
    }
}

/// One thread's part of a benchmark: operations one at a time, so that the driver can time each.
pub struct Worker<'a> {
    benchmark: Benchmark,
    amount: &'a Amount,
    rng: Mt64,
    key: Key,
    values: Values,
    nth: u64,
    /// Reads that found something.
    pub found: u64,
}

impl<'a> Worker<'a> {
    /// `nth_thread` counts over all threads of all benchmarks of the process, from 1.
    pub fn new(benchmark: Benchmark, amount: &'a Amount, nth_thread: u64) -> Self {
        Self {
            benchmark,
            amount,
            rng: Mt64::new(amount.seed.wrapping_add(nth_thread)),
            key: Key::new(amount.key_size),
            values: Values::new(amount.compression_ratio, amount.value_size),
            nth: 0,
            found: 0,
        }
    }

    /// The next operation.
    pub fn step(&mut self, engine: &dyn Engine) -> Result<()> {
        let number = match self.benchmark {
            Benchmark::FillSeq => self.nth % self.amount.num,
            Benchmark::FillRandom | Benchmark::Overwrite | Benchmark::ReadRandom => {
                // db_bench draws one number per operation that it does not use for the key.
                self.rng.next();
                self.rng.next() % self.amount.num
            }
        };
        self.nth += 1;
        let key = self.key.of(number);
        if self.benchmark.writes() {
            return engine.put(key, self.values.next(self.amount.value_size));
        }
        match engine.get(key)? {
            None => Ok(()),
            Some(len) if len == self.amount.value_size => {
                self.found += 1;
                Ok(())
            }
            Some(len) => Err(format!("key {number}: a value of {len} bytes was never written").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::collections::BTreeMap;

    #[derive(Default)]
    struct Model(Mutex<BTreeMap<Vec<u8>, Vec<u8>>>);

    impl Engine for Model {
        fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
            self.0.lock().insert(key.to_vec(), value.to_vec());
            Ok(())
        }
        fn get(&self, key: &[u8]) -> Result<Option<usize>> {
            Ok(self.0.lock().get(key).map(Vec::len))
        }
        fn settle(&self) -> Result<()> {
            Ok(())
        }
        fn close(&self) -> Result<()> {
            Ok(())
        }
    }

    fn amount() -> Amount {
        Amount { num: 10_000, reads: None, key_size: 16, value_size: 10, compression_ratio: 0.5, seed: 1000 }
    }

    fn run(benchmark: Benchmark, nth_thread: u64, model: &Model) -> u64 {
        let amount = amount();
        let mut worker = Worker::new(benchmark, &amount, nth_thread);
        for _ in 0..amount.operations(benchmark) {
            worker.step(model).unwrap();
        }
        worker.found
    }

    /// 1 - 1/e of the keys are written, and with another seed as many are found.
    #[test]
    fn random_fills_and_reads_meet_in_63_percent() {
        let model = Model::default();
        run(Benchmark::FillRandom, 1, &model);
        let written = model.0.lock().len();
        assert!((6_200..6_440).contains(&written), "{written}");
        let found = run(Benchmark::ReadRandom, 2, &model);
        assert!((6_150..6_490).contains(&found), "{found}");
        assert_eq!(run(Benchmark::ReadRandom, 1, &model), 10_000, "the same seed draws the same keys");
    }

    #[test]
    fn a_sequential_fill_writes_every_key_once() {
        let model = Model::default();
        run(Benchmark::FillSeq, 1, &model);
        assert_eq!(model.0.lock().len(), 10_000);
    }

    #[test]
    fn a_value_of_another_size_is_an_error() {
        let model = Model::default();
        run(Benchmark::FillSeq, 1, &model);
        let other = Amount { value_size: 11, ..amount() };
        assert!(Worker::new(Benchmark::ReadRandom, &other, 2).step(&model).is_err());
    }
}
