//! How much of a benchmark is run, and with what: [`Workload`]. Flags have db_bench's names and
//! defaults; -1 stands for "as many as --num".

use super::Benchmark;
use crate::Result;
use ringfort_base::Level;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What `fillbatch` writes at once.
const FILL_BATCH: u64 = 1000;
/// What `fillsync` divides `num` by.
const FILL_SYNC_SHARE: u64 = 1000;

/// How much of it.
#[derive(Clone, PartialEq, Debug, clap::Args, Serialize, Deserialize)]
#[command(rename_all = "snake_case", allow_negative_numbers = true)]
pub struct Workload {
    /// Keys are drawn from 0..num; operations per thread where nothing else says.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub num: u64,
    /// Reads per thread; -1 for as many as --num.
    #[arg(long, value_name = "N", default_value_t = -1)]
    pub reads: i64,
    /// Writes per thread; -1 for as many as --num.
    #[arg(long, value_name = "N", default_value_t = -1)]
    pub writes: i64,
    /// Deletes per thread; -1 for as many as --num.
    #[arg(long, value_name = "N", default_value_t = -1)]
    pub deletes: i64,
    /// Bytes of a key.
    #[arg(long, value_name = "BYTES", default_value_t = 16)]
    pub key_size: usize,
    /// Bytes of a value.
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    pub value_size: usize,
    /// What values compress to, as a share of their size.
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    pub compression_ratio: f64,
    /// Keys in one write, delete or multi-get.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub batch_size: u64,
    /// Of 100 operations of readrandomwriterandom, so many are reads.
    #[arg(long, value_name = "PERCENT", default_value_t = 90)]
    pub readwritepercent: u32,
    /// Seeks per thread of the benchmarks that seek; -1 for as many as --reads.
    #[arg(long, value_name = "N", default_value_t = -1)]
    #[serde(default = "as_many")]
    pub seeks: i64,
    /// Entries that seekrandom reads after each seek.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seek_nexts: u64,
    /// After a seek, read towards smaller keys.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false,
        default_missing_value = "true", action = clap::ArgAction::Set, value_parser = clap::builder::BoolishValueParser::new())]
    pub reverse_iterator: bool,
    /// Above 0, random reads prefer some keys: num * exp(-r), r uniform below this.
    #[arg(long, value_name = "R", default_value_t = 0.0)]
    pub read_random_exp_range: f64,
    /// Every write waits until it is synced.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false,
        default_missing_value = "true", action = clap::ArgAction::Set, value_parser = clap::builder::BoolishValueParser::new())]
    pub sync: bool,
    /// What every write waits for: buffered, durable (synced) or fresh.
    #[arg(long, value_name = "LEVEL", default_value_t = Level::Buffered)]
    #[serde(with = "level_by_name")]
    pub level: Level,
    /// Fills and overwrites: so many writes of each thread are under way at once; it waits for the oldest.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub in_flight: usize,
    /// Above 0, benchmarks with random keys run for so many seconds instead of by count.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    pub duration: f64,
    /// Base of the generators' seeds; 0 for one that differs each time.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub seed: u64,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            num: 1_000_000,
            reads: -1,
            writes: -1,
            deletes: -1,
            key_size: 16,
            value_size: 100,
            compression_ratio: 0.5,
            batch_size: 1,
            readwritepercent: 90,
            seeks: -1,
            seek_nexts: 0,
            reverse_iterator: false,
            read_random_exp_range: 0.0,
            sync: false,
            level: Level::Buffered,
            in_flight: 1,
            duration: 0.0,
            seed: 1000,
        }
    }
}

/// What is left to a thread of one benchmark after its definition is applied to the [`Workload`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// Operations, keys of a batch counted each.
    pub operations: u64,
    /// Written keys are drawn from 0..keys.
    pub keys: u64,
    /// Bytes of a key.
    pub key_size: usize,
    /// Keys in one call.
    pub batch: u64,
    /// What writes wait for.
    pub level: Level,
    /// Until when, in place of `operations`.
    pub duration: Option<Duration>,
}

impl Workload {
    /// Refuses what cannot be run.
    pub fn check(&self) -> Result<()> {
        if self.num == 0 || self.key_size == 0 || self.batch_size == 0 || self.in_flight == 0 {
            return Err("--num, --key_size, --batch_size and --in_flight must be above 0".into());
        }
        if !(0.0..=1.0).contains(&self.compression_ratio) {
            return Err("--compression_ratio is a share: between 0 and 1".into());
        }
        if self.readwritepercent > 100 {
            return Err("--readwritepercent is at most 100".into());
        }
        if !(self.read_random_exp_range >= 0.0 && self.read_random_exp_range.is_finite()) {
            return Err("--read_random_exp_range is at least 0".into());
        }
        Duration::try_from_secs_f64(self.duration).map_err(|error| format!("--duration: {error}"))?;
        Ok(())
    }

    /// What one thread of a benchmark does.
    pub fn range(&self, benchmark: Benchmark) -> Result<Range> {
        let or_num = |count: i64| u64::try_from(count).unwrap_or(self.num);
        let (mut keys, mut batch, mut level) = (self.num, 1, self.level);
        if self.sync {
            level = level.max(Level::Durable);
        }
        let operations = match benchmark {
            Benchmark::ReadRandomWriteRandom | Benchmark::UpdateRandom | Benchmark::MergeRandom => {
                // The larger of the two; if neither is said, `num`.
                u64::try_from(self.reads.max(self.writes)).unwrap_or(self.num)
            }
            Benchmark::FillUniqueRandom => or_num(self.writes).min(self.num),
            Benchmark::FillSync => {
                level = level.max(Level::Durable);
                keys = self.num.div_ceil(FILL_SYNC_SHARE);
                u64::try_from(self.writes).unwrap_or(keys)
            }
            Benchmark::DeleteSeq | Benchmark::DeleteRandom => or_num(self.deletes),
            Benchmark::SeekRandom | Benchmark::SeekRandomWhileWriting if self.seeks >= 0 => {
                or_num(self.seeks)
            }
            _ if benchmark.counts_reads() => or_num(self.reads),
            _ => or_num(self.writes),
        };
        match benchmark {
            Benchmark::FillBatch => batch = FILL_BATCH,
            Benchmark::ReadRandomWriteRandom | Benchmark::UpdateRandom | Benchmark::MergeRandom => {}
            Benchmark::MultiReadRandom => batch = self.batch_size,
            _ if benchmark.counts_reads() => {}
            _ => batch = self.batch_size,
        }
        // Half a batch is not done.
        let operations = operations - operations % batch;
        let duration = Duration::try_from_secs_f64(self.duration).ok();
        let duration = duration.filter(|duration| !duration.is_zero() && benchmark.heeds_duration());
        if operations == 0 && duration.is_none() {
            let name = benchmark.name();
            return Err(format!(
                "{name} would do nothing: its count is below 1 or below its batch of {batch}"
            )
            .into());
        }
        let key_size = self.key_size + usize::from(benchmark == Benchmark::ReadMissing);
        Ok(Range { operations, keys, key_size, batch, level, duration })
    }
}

/// What results from before there was the flag were run with.
fn as_many() -> i64 {
    -1
}

/// A level by the name that users type.
/// A level in a file, by its name.
pub mod level_by_name {
    use super::{Deserialize, Level};
    use serde::{Deserializer, Serializer, de::Error};

    /// Writes the name.
    pub fn serialize<S: Serializer>(level: &Level, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(level.name())
    }

    /// Reads the name.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Level, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_follow_the_definitions() {
        let base = Workload { num: 5000, ..Workload::default() };
        let operations = |workload: &Workload, benchmark| workload.range(benchmark).unwrap().operations;
        for benchmark in Benchmark::ALL {
            let expected = if benchmark == Benchmark::FillSync { 5 } else { 5000 };
            assert_eq!(operations(&base, benchmark), expected, "{benchmark:?}");
        }
        let given = Workload { reads: 70, writes: 60, deletes: 50, ..base.clone() };
        for (benchmark, expected) in [
            (Benchmark::FillSeq, 60),
            (Benchmark::FillSync, 60),
            (Benchmark::ReadRandom, 70),
            (Benchmark::ReadSeq, 70),
            (Benchmark::ReadWhileWriting, 70),
            (Benchmark::DeleteRandom, 50),
            (Benchmark::ReadRandomWriteRandom, 70),
            (Benchmark::UpdateRandom, 70),
        ] {
            assert_eq!(operations(&given, benchmark), expected, "{benchmark:?}");
        }
        let seeks = Workload { seeks: 9, ..given };
        assert_eq!(operations(&seeks, Benchmark::SeekRandom), 9);
        assert_eq!(operations(&seeks, Benchmark::ReadRandom), 70);
        let batched = Workload { num: 2500, batch_size: 7, ..Workload::default() };
        let batch = |benchmark| {
            let range = batched.range(benchmark).unwrap();
            (range.batch, range.operations)
        };
        assert_eq!(batch(Benchmark::FillBatch), (1000, 2000));
        assert_eq!(batch(Benchmark::FillRandom), (7, 2499));
        assert_eq!(batch(Benchmark::ReadRandom), (1, 2500));
        assert_eq!(batch(Benchmark::MultiReadRandom), (7, 2499));
    }

    #[test]
    fn only_some_benchmarks_raise_the_level() {
        let level = |workload: &Workload, benchmark| workload.range(benchmark).unwrap().level;
        let base = Workload::default();
        assert_eq!(level(&base, Benchmark::FillRandom), Level::Buffered);
        assert_eq!(level(&base, Benchmark::FillSync), Level::Durable);
        let sync = Workload { sync: true, ..base.clone() };
        assert_eq!(level(&sync, Benchmark::FillRandom), Level::Durable);
        let fresh = Workload { level: Level::Fresh, sync: true, ..base };
        assert_eq!(level(&fresh, Benchmark::FillSync), Level::Fresh);
    }

    #[test]
    fn a_duration_ends_the_random_ones_only() {
        let workload = Workload { duration: 3.0, reads: 0, ..Workload::default() };
        assert_eq!(workload.range(Benchmark::ReadRandom).unwrap().duration, Some(Duration::from_secs(3)));
        assert_eq!(workload.range(Benchmark::FillSeq).unwrap().duration, None);
        let error = workload.range(Benchmark::ReadSeq).unwrap_err().to_string();
        assert!(error.contains("readseq would do nothing"), "{error}");
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        let base = Workload::default();
        base.check().unwrap();
        for wrong in [
            Workload { num: 0, ..base.clone() },
            Workload { batch_size: 0, ..base.clone() },
            Workload { in_flight: 0, ..base.clone() },
            Workload { compression_ratio: 1.5, ..base.clone() },
            Workload { readwritepercent: 101, ..base.clone() },
            Workload { duration: -1.0, ..base.clone() },
            Workload { duration: f64::NAN, ..base.clone() },
            Workload { read_random_exp_range: f64::NAN, ..base },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
