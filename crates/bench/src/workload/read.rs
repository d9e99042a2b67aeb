//! Benchmarks that only read.

use super::Thread;
use crate::Result;
use crate::engine::Direction;
use crate::tally::Kind;
use std::ops::ControlFlow;

/// How much of a value `seekrandom` copies out, as db_bench does, bytes.
const COPIED_MAX: usize = 256;

impl Thread<'_> {
    pub(super) fn read_random(&mut self) -> Result<()> {
        while self.tally.more(1) {
            self.choose_database();
            let number = self.random_key_to_read();
            let len = self.engine.get(self.key.of(number))?;
            self.looked(number, len)?;
            self.tally.finished(Kind::Read, 1);
        }
        Ok(())
    }

    pub(super) fn multi_read_random(&mut self) -> Result<()> {
        let batch = self.range.batch as usize;
        let (mut numbers, mut lens) = (vec![0; batch], Vec::with_capacity(batch));
        let mut keys = vec![0; batch * self.range.key_size];
        while self.tally.more(self.range.batch) {
            self.choose_database();
            for (number, place) in numbers.iter_mut().zip(keys.chunks_exact_mut(self.range.key_size)) {
                *number = self.random_key_to_read();
                place.copy_from_slice(self.key.of(*number));
            }
            let slices: Vec<&[u8]> = keys.chunks_exact(self.range.key_size).collect();
            lens.clear();
            self.engine.multi_get(&slices, &mut lens)?;
            if lens.len() != batch {
                return Err(format!("a multi-get of {batch} keys gave {} answers", lens.len()).into());
            }
            for (number, len) in numbers.iter().zip(&lens) {
                self.looked(*number, *len)?;
            }
            self.tally.finished(Kind::Read, self.range.batch);
        }
        Ok(())
    }

    /// Entries from one end, all by one iterator; ends where there are no more.
    pub(super) fn read_all(&mut self, direction: Direction) -> Result<()> {
        let (engine, expected) = (self.engine, self.lengths_known.then_some(self.workload.value_size));
        let tally = &mut self.tally;
        let mut wrong = None;
        let mut more = tally.more(1);
        if !more {
            return Ok(());
        }
        engine.scan(None, direction, &mut |key, value| {
            if expected.is_some_and(|expected| expected != value.len()) {
                wrong = Some(value.len());
                return ControlFlow::Break(());
            }
            tally.passed(key.len() + value.len());
            tally.finished(Kind::Read, 1);
            more = tally.more(1);
            if more { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        wrong.map_or(Ok(()), |len| self.check_length(self.tally.operations(), len))
    }

    pub(super) fn seek_random(&mut self) -> Result<()> {
        let nexts = self.workload.seek_nexts;
        let direction = if self.workload.reverse_iterator { Direction::Reverse } else { Direction::Forward };
        let mut copied = [0; COPIED_MAX];
        while self.tally.more(1) {
            let number = self.random_key();
            let sought = self.key.of(number);
            let (mut nth, mut found, mut bytes) = (0, None, 0);
            self.engine.scan(Some(sought), direction, &mut |key, value| {
                if nth == 0 && key == sought {
                    found = Some(value.len());
                }
                // The last entry is only arrived at, not read.
                if nth == nexts {
                    return ControlFlow::Break(());
                }
                nth += 1;
                let part = value.len().min(COPIED_MAX);
                copied[..part].copy_from_slice(&value[..part]);
                std::hint::black_box(&copied);
                bytes += key.len() + value.len();
                ControlFlow::Continue(())
            })?;
            if let Some(len) = found {
                self.check_length(number, len)?;
            }
            self.tally.looked(found.map(|_| 0));
            self.tally.passed(bytes);
            self.tally.finished(Kind::Seek, 1);
        }
        Ok(())
    }
}
