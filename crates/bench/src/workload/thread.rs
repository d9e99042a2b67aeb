//! [`Thread`]: what a thread of a benchmark works with.

use super::settings::{Range, Workload};
use crate::Result;
use crate::engine::{Begun, Engine};
use crate::keys::Key;
use crate::rng::Mt64;
use crate::tally::Tally;
use crate::values::Values;
use std::collections::VecDeque;
use std::time::Duration;

/// db_bench's factor that scatters the preferred keys of a skewed read.
const SCATTER: u64 = 0x5bd1_e995;

/// A thread's engine, generators and tally.
pub(crate) struct Thread<'a> {
    pub(super) engine: &'a dyn Engine,
    pub(super) workload: &'a Workload,
    pub(super) range: Range,
    pub(super) rng: Mt64,
    pub(super) key: Key,
    pub(super) values: Values,
    pub(crate) tally: Tally<'a>,
    /// Writes that were begun and not waited for, each with its time; the oldest first.
    pub(super) under_way: VecDeque<(Duration, Box<dyn Begun>)>,
    /// Values have the length that is written here; not so where something merged them.
    pub(super) lengths_known: bool,
}

impl<'a> Thread<'a> {
    /// `nth` counts over all threads of all benchmarks of the process, from 1.
    pub(crate) fn new(
        engine: &'a dyn Engine,
        workload: &'a Workload,
        range: Range,
        nth: u64,
        tally: Tally<'a>,
        lengths_known: bool,
    ) -> Self {
        Self {
            engine,
            workload,
            range,
            rng: Mt64::new(workload.seed.wrapping_add(nth)),
            key: Key::new(range.key_size),
            values: Values::new(workload.compression_ratio, workload.value_size),
            tally,
            under_way: VecDeque::new(),
            lengths_known,
        }
    }

    /// Draws the number by which db_bench chooses among databases; there is one.
    pub(super) fn choose_database(&mut self) {
        self.rng.next_u64();
    }

    /// A key of the whole range.
    pub(super) fn random_key(&mut self) -> u64 {
        self.rng.next_u64() % self.workload.num
    }

    /// A key to read, some more often than others if so asked.
    pub(super) fn random_key_to_read(&mut self) -> u64 {
        let exp_range = self.workload.read_random_exp_range;
        if exp_range == 0.0 {
            return self.random_key();
        }
        const BIG: u64 = 1 << 62;
        let order = -((self.rng.next_u64() % BIG) as f64) / BIG as f64 * exp_range;
        let preferred = (order.exp() * self.workload.num as f64) as u64;
        preferred.wrapping_mul(SCATTER) % self.workload.num
    }

    /// Counts a value that was looked for, and checks what can be checked of it.
    pub(super) fn looked(&mut self, number: u64, len: Option<usize>) -> Result<()> {
        if let Some(len) = len {
            self.check_length(number, len)?;
        }
        self.tally.looked(len.map(|len| len + self.range.key_size));
        Ok(())
    }

    pub(super) fn check_length(&self, number: u64, len: usize) -> Result<()> {
        if self.lengths_known && len != self.workload.value_size {
            let expected = self.workload.value_size;
            return Err(format!(
                "key {number} has a value of {len} bytes, and --value_size is {expected}: it was written by another \
                 run, or it is wrong"
            )
            .into());
        }
        Ok(())
    }
}
