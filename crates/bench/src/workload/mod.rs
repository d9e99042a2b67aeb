//! The benchmarks, by db_bench's names and definitions.
//!
//! Each thread does its own full count. Its keys come from a generator of its own, whose seed counts
//! up over the threads *and* over the benchmarks of a list: `readrandom` after `fillrandom` does not
//! draw the keys again that were written, so 63.2 % of its reads find something. (A new process with
//! the same seed would draw exactly the written keys.) Where db_bench draws one number per operation
//! to choose a database, it is drawn here too, so the streams of keys are the same.
//!
//! | file | benchmarks |
//! |---|---|
//! | `write` | `fillseq`, `fillrandom`, `filluniquerandom`, `fillbatch`, `fillsync`, `overwrite`, `deleteseq`, `deleterandom`, `mergerandom` |
//! | `read` | `readrandom`, `readmissing`, `multireadrandom`, `readseq`, `readreverse`, `seekrandom` |
//! | `mixed` | `readrandomwriterandom`, `updaterandom`, and the writer behind `readwhilewriting` and `seekrandomwhilewriting` |
//!
//! Where this differs from db_bench: values that are read are checked for their length;
//! `readrandomwriterandom` and `updaterandom` report bytes; the permutation of `filluniquerandom` is a
//! shuffle of our own; `fillsync` does a thousandth of the writes as db_bench documents it, where
//! its code shrinks only the range of the keys; `seekrandom` in reverse begins at or below the key.

mod mixed;
mod read;
mod settings;
mod thread;
mod write;

pub use settings::{Range, Workload, level_by_name};
pub(crate) use thread::Thread;

use crate::Result;
use serde::{Deserialize, Serialize};

/// What to run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lower")]
pub enum Benchmark {
    /// Writes the keys in order into a fresh store.
    FillSeq,
    /// Writes random keys into a fresh store, with replacement.
    FillRandom,
    /// Writes every key once, in random order, into a fresh store; one thread.
    FillUniqueRandom,
    /// Writes the keys in order into a fresh store, in batches of 1000.
    FillBatch,
    /// Writes num/1000 random keys into a fresh store, each synced.
    FillSync,
    /// Writes random keys into the store as it is.
    Overwrite,
    /// Reads random keys.
    ReadRandom,
    /// Reads random keys that are not there: one byte longer than any.
    ReadMissing,
    /// Reads random keys, --batch_size in one call.
    MultiReadRandom,
    /// Reads entries in order, from the first.
    ReadSeq,
    /// Reads entries in reverse order, from the last.
    ReadReverse,
    /// Seeks random keys with a new iterator each, then reads --seek_nexts entries.
    SeekRandom,
    /// Reads and writes random keys, --readwritepercent of 100 operations reads.
    ReadRandomWriteRandom,
    /// Reads random keys while one more thread writes random keys, uncounted.
    ReadWhileWriting,
    /// Seeks random keys while one more thread writes random keys, uncounted.
    SeekRandomWhileWriting,
    /// Reads a random key and writes it.
    UpdateRandom,
    /// Merges into random keys.
    MergeRandom,
    /// Deletes the keys in order.
    DeleteSeq,
    /// Deletes random keys.
    DeleteRandom,
}

impl Benchmark {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::FillSeq,
        Self::FillRandom,
        Self::FillUniqueRandom,
        Self::FillBatch,
        Self::FillSync,
        Self::Overwrite,
        Self::ReadRandom,
        Self::ReadMissing,
        Self::MultiReadRandom,
        Self::ReadSeq,
        Self::ReadReverse,
        Self::SeekRandom,
        Self::ReadRandomWriteRandom,
        Self::ReadWhileWriting,
        Self::SeekRandomWhileWriting,
        Self::UpdateRandom,
        Self::MergeRandom,
        Self::DeleteSeq,
        Self::DeleteRandom,
    ];

    /// db_bench's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FillSeq => "fillseq",
            Self::FillRandom => "fillrandom",
            Self::FillUniqueRandom => "filluniquerandom",
            Self::FillBatch => "fillbatch",
            Self::FillSync => "fillsync",
            Self::Overwrite => "overwrite",
            Self::ReadRandom => "readrandom",
            Self::ReadMissing => "readmissing",
            Self::MultiReadRandom => "multireadrandom",
            Self::ReadSeq => "readseq",
            Self::ReadReverse => "readreverse",
            Self::SeekRandom => "seekrandom",
            Self::ReadRandomWriteRandom => "readrandomwriterandom",
            Self::ReadWhileWriting => "readwhilewriting",
            Self::SeekRandomWhileWriting => "seekrandomwhilewriting",
            Self::UpdateRandom => "updaterandom",
            Self::MergeRandom => "mergerandom",
            Self::DeleteSeq => "deleteseq",
            Self::DeleteRandom => "deleterandom",
        }
    }

    /// Whether it begins with an empty store.
    pub const fn is_fresh(self) -> bool {
        matches!(
            self,
            Self::FillSeq | Self::FillRandom | Self::FillUniqueRandom | Self::FillBatch | Self::FillSync
        )
    }

    /// Whether it leaves work behind that the engine has to pay for.
    pub const fn writes(self) -> bool {
        !matches!(
            self,
            Self::ReadRandom
                | Self::ReadMissing
                | Self::MultiReadRandom
                | Self::ReadSeq
                | Self::ReadReverse
                | Self::SeekRandom
        )
    }

    /// Whether its count is given by what it reads.
    const fn counts_reads(self) -> bool {
        !self.writes() || matches!(self, Self::ReadWhileWriting | Self::SeekRandomWhileWriting)
    }

    /// Whether it looks for keys, and says how many it found.
    pub const fn looks_for_keys(self) -> bool {
        match self {
            Self::ReadSeq | Self::ReadReverse => false,
            Self::ReadRandomWriteRandom | Self::UpdateRandom => true,
            _ => self.counts_reads(),
        }
    }

    /// How many threads count, when so many are asked for.
    pub const fn threads(self, asked: usize) -> usize {
        if matches!(self, Self::FillUniqueRandom) { 1 } else { asked }
    }

    /// Whether one more thread writes meanwhile.
    pub const fn has_writer_behind(self) -> bool {
        matches!(self, Self::ReadWhileWriting | Self::SeekRandomWhileWriting)
    }

    /// Whether `--duration` ends it; the sequential ones and the permutation end by count.
    pub const fn heeds_duration(self) -> bool {
        !matches!(
            self,
            Self::FillSeq
                | Self::FillBatch
                | Self::FillUniqueRandom
                | Self::ReadSeq
                | Self::ReadReverse
                | Self::DeleteSeq
        )
    }
}

impl Thread<'_> {
    /// One counted thread's part of a benchmark.
    pub(crate) fn run(&mut self, benchmark: Benchmark) -> Result<()> {
        self.run_to_the_last_call(benchmark)?;
        self.wait_for_all_but(0)
    }

    fn run_to_the_last_call(&mut self, benchmark: Benchmark) -> Result<()> {
        match benchmark {
            Benchmark::FillSeq | Benchmark::FillBatch => self.fill_sequential(),
            Benchmark::FillRandom | Benchmark::FillSync | Benchmark::Overwrite => self.fill_random(),
            Benchmark::FillUniqueRandom => self.fill_unique_random(),
            Benchmark::DeleteSeq => self.delete_sequential(),
            Benchmark::DeleteRandom => self.delete_random(),
            Benchmark::MergeRandom => self.merge_random(),
            Benchmark::ReadRandom | Benchmark::ReadMissing | Benchmark::ReadWhileWriting => {
                self.read_random()
            }
            Benchmark::MultiReadRandom => self.multi_read_random(),
            Benchmark::ReadSeq => self.read_all(crate::Direction::Forward),
            Benchmark::ReadReverse => self.read_all(crate::Direction::Reverse),
            Benchmark::SeekRandom | Benchmark::SeekRandomWhileWriting => self.seek_random(),
            Benchmark::ReadRandomWriteRandom => self.read_random_write_random(),
            Benchmark::UpdateRandom => self.update_random(),
        }
    }
}
