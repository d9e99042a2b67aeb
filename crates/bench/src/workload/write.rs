//! Benchmarks that only write.

use super::Thread;
use crate::Result;
use crate::engine::Op;
use crate::rng::Mt64;
use crate::tally::Kind;

impl Thread<'_> {
    pub(super) fn fill_sequential(&mut self) -> Result<()> {
        let mut next = 0;
        while self.tally.more(self.range.batch) {
            self.put_batch(|_| {
                next += 1;
                next - 1
            })?;
        }
        Ok(())
    }

    pub(super) fn fill_random(&mut self) -> Result<()> {
        let keys = self.range.keys;
        while self.tally.more(self.range.batch) {
            self.choose_database();
            self.put_batch(|rng| rng.next_u64() % keys)?;
        }
        Ok(())
    }

    pub(super) fn fill_unique_random(&mut self) -> Result<()> {
        let mut permutation: Vec<u64> = (0..self.range.keys).collect();
        shuffle(&mut permutation, &mut Mt64::new(self.workload.seed));
        let mut rest = permutation.into_iter();
        while self.tally.more(self.range.batch) {
            // There are at least as many keys as operations.
            self.put_batch(|_| rest.next().unwrap_or_default())?;
        }
        Ok(())
    }

    pub(super) fn delete_sequential(&mut self) -> Result<()> {
        let mut next = 0;
        while self.tally.more(self.range.batch) {
            self.choose_database();
            self.delete_batch(|_| {
                next += 1;
                next - 1
            })?;
        }
        Ok(())
    }

    pub(super) fn delete_random(&mut self) -> Result<()> {
        let keys = self.workload.num;
        while self.tally.more(self.range.batch) {
            self.choose_database();
            self.delete_batch(|rng| rng.next_u64() % keys)?;
        }
        Ok(())
    }

    pub(super) fn merge_random(&mut self) -> Result<()> {
        while self.tally.more(1) {
            self.choose_database();
            let key = self.rng.next_u64() % self.workload.num;
            let (key, operand) = (self.key.of(key), self.values.next(self.workload.value_size));
            self.engine.merge(key, operand, self.range.level)?;
            self.tally.put(key.len() + operand.len());
            self.tally.finished(Kind::Merge, 1);
        }
        Ok(())
    }

    /// Puts as many keys as a batch has, in one call.
    fn put_batch(&mut self, mut draw: impl FnMut(&mut Mt64) -> u64) -> Result<()> {
        let (value_size, level) = (self.workload.value_size, self.range.level);
        if self.range.batch == 1 && self.workload.in_flight == 1 {
            let key = self.key.of(draw(&mut self.rng));
            self.engine.put(key, self.values.next(value_size), level)?;
            return self.has_put();
        }
        let keys = self.keys_of_batch(draw);
        let windows: Vec<_> = (0..self.range.batch).map(|_| self.values.window(value_size)).collect();
        let puts = keys.chunks_exact(self.range.key_size).zip(windows);
        let batch: Vec<Op<'_>> =
            puts.map(|(key, window)| Op::Put { key, value: self.values.bytes(window) }).collect();
        if self.workload.in_flight == 1 {
            self.engine.write(&batch, level)?;
            return self.has_put();
        }
        let begun = self.engine.begin(&batch, level)?;
        self.under_way.push_back((self.tally.begun(), begun));
        self.wait_for_all_but(self.workload.in_flight - 1)
    }

    /// Waits for the oldest writes that are under way, until only so many are.
    pub(super) fn wait_for_all_but(&mut self, rest: usize) -> Result<()> {
        while self.under_way.len() > rest {
            let Some((begun, write)) = self.under_way.pop_front() else { break };
            write.wait()?;
            self.tally.put(self.batch_bytes());
            self.tally.finished_since(begun, Kind::Write, self.range.batch);
        }
        Ok(())
    }

    /// As many keys as a batch has, one behind the other.
    fn keys_of_batch(&mut self, mut draw: impl FnMut(&mut Mt64) -> u64) -> Vec<u8> {
        let mut keys = Vec::with_capacity(self.range.batch as usize * self.range.key_size);
        for _ in 0..self.range.batch {
            keys.extend_from_slice(self.key.of(draw(&mut self.rng)));
        }
        keys
    }

    fn has_put(&mut self) -> Result<()> {
        self.tally.put(self.batch_bytes());
        self.tally.finished(Kind::Write, self.range.batch);
        Ok(())
    }

    fn batch_bytes(&self) -> usize {
        self.range.batch as usize * (self.range.key_size + self.workload.value_size)
    }

    /// Deletes as many keys as a batch has, in one call.
    fn delete_batch(&mut self, mut draw: impl FnMut(&mut Mt64) -> u64) -> Result<()> {
        if self.range.batch == 1 {
            self.engine.delete(self.key.of(draw(&mut self.rng)), self.range.level)?;
        } else {
            let keys = self.keys_of_batch(draw);
            let keys = keys.chunks_exact(self.range.key_size);
            let batch: Vec<Op<'_>> = keys.map(|key| Op::Delete { key }).collect();
            self.engine.write(&batch, self.range.level)?;
        }
        self.tally.finished(Kind::Delete, self.range.batch);
        Ok(())
    }
}

/// Fisher and Yates.
fn shuffle(items: &mut [u64], rng: &mut Mt64) {
    for left in (1..items.len()).rev() {
        items.swap(left, (rng.next_u64() % (left as u64 + 1)) as usize);
    }
}
