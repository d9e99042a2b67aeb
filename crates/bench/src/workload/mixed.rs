//! Benchmarks that read and write.

use super::Thread;
use crate::Result;
use crate::tally::Kind;

impl Thread<'_> {
    /// In a fixed pattern: of every hundred operations first the reads, then the writes.
    pub(super) fn read_random_write_random(&mut self) -> Result<()> {
        let (mut gets, mut puts) = (0, 0);
        let mut value = Vec::new();
        while self.tally.more(1) {
            self.choose_database();
            let number = self.random_key();
            if gets == 0 && puts == 0 {
                gets = self.workload.readwritepercent;
                puts = 100 - gets;
            }
            if gets > 0 {
                gets -= 1;
                self.read_copy(number, &mut value)?;
                self.tally.finished(Kind::Read, 1);
            } else {
                puts -= 1;
                self.put(number)?;
                self.tally.finished(Kind::Write, 1);
            }
        }
        Ok(())
    }

    pub(super) fn update_random(&mut self) -> Result<()> {
        let mut value = Vec::new();
        while self.tally.more(1) {
            self.choose_database();
            let number = self.random_key();
            self.read_copy(number, &mut value)?;
            self.put(number)?;
            self.tally.finished(Kind::Update, 1);
        }
        Ok(())
    }

    /// The uncounted writer behind readers: overwrites random keys for as long as they read, one at
    /// the least.
    pub(crate) fn write_behind(&mut self, readers_left: impl Fn() -> bool) -> Result<()> {
        loop {
            self.choose_database();
            let number = self.random_key();
            self.put(number)?;
            if !readers_left() {
                return Ok(());
            }
        }
    }

    fn read_copy(&mut self, number: u64, value: &mut Vec<u8>) -> Result<()> {
        let found = self.engine.read(self.key.of(number), value)?;
        self.looked(number, found.then_some(value.len()))
    }

    fn put(&mut self, number: u64) -> Result<()> {
        let (key, value) = (self.key.of(number), self.values.next(self.workload.value_size));
        self.engine.put(key, value, self.range.level)?;
        self.tally.put(key.len() + value.len());
        Ok(())
    }
}
