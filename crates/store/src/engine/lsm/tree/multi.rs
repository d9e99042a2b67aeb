//! Point reads of many keys at once.
//!
//! The keys are taken in order, source by source: each table is found once per run of keys, all
//! filters of a run are asked before the first block is looked for, so that the processor waits for
//! many of them at a time, and a block that several keys lie in is found once.

use super::get::Entry;
use super::{GetOutcome, Tables, View};
use crate::engine::lsm::filter::hash_key;
use crate::engine::lsm::key::key_prefix;
use crate::engine::lsm::level::Level;
use crate::engine::lsm::table::{Ask, Lookup};
use ringfort_base::{Result, Seq};

/// One key's way down.
struct Question<'k> {
    ask: Ask<'k>,
    prefix: u64,
    /// The newest range tombstone over the key that was met.
    covered: Seq,
    /// Where the answer goes.
    nth: usize,
}

impl View {
    /// Reads `keys` as of `snapshot`; the outcomes in the order of the keys. None of them is
    /// [`GetOutcome::NeedsIo`].
    ///
    /// # Errors
    /// As [`View::get`].
    pub(crate) fn multi_get<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
        snapshot: Seq,
        tables: &Tables,
    ) -> Result<Vec<GetOutcome>> {
        let mut outcomes: Vec<GetOutcome> = keys.iter().map(|_| GetOutcome::Absent(Seq::ZERO)).collect();
        let mut open: Vec<Question<'_>> = keys
            .iter()
            .enumerate()
            .map(|(nth, key)| {
                let key = key.as_ref();
                let ask = Ask { key, hash: hash_key(key) };
                Question { ask, prefix: key_prefix(key), covered: Seq::ZERO, nth }
            })
            .collect();
        open.sort_unstable_by(|a, b| a.prefix.cmp(&b.prefix).then_with(|| a.ask.key.cmp(b.ask.key)));
        self.ask_memtables(&mut open, (snapshot, tables), &mut outcomes)?;
        let [level0, deeper @ ..] = self.version.levels_read();
        for at in (0..level0.slots().len()).rev() {
            let concerned = |q: &Question<'_>| level0.contains(at, q.ask.key, q.prefix);
            self.ask_table((level0, at), concerned, &mut open, (snapshot, tables), &mut outcomes)?;
        }
        for level in deeper {
            let mut from = 0;
            while from < open.len() {
                let q = &open[from];
                let at = level.first_not_before(q.ask.key, q.prefix);
                if at >= level.slots().len() {
                    break; // Nor are later keys in this level.
                }
                let meta = level.slots()[at].meta();
                let run = open[from..].partition_point(|q| !meta.is_before(q.ask.key)).max(1);
                let mut asked: Vec<Question<'_>> = open.drain(from..from + run).collect();
                let concerned = |q: &Question<'_>| level.contains(at, q.ask.key, q.prefix);
                self.ask_table((level, at), concerned, &mut asked, (snapshot, tables), &mut outcomes)?;
                let left = asked.len();
                open.splice(from..from, asked);
                from += left;
            }
        }
        for question in open {
            outcomes[question.nth] = GetOutcome::Absent(question.covered);
        }
        Ok(outcomes)
    }

    fn ask_memtables(
        &self,
        open: &mut Vec<Question<'_>>,
        (snapshot, tables): (Seq, &Tables),
        outcomes: &mut [GetOutcome],
    ) -> Result<()> {
        let mut failed = None;
        for mem in self.memtables() {
            open.retain_mut(|q| {
                if let Some(seq) = mem.table.max_covering_seq(q.ask.key, snapshot) {
                    q.covered = q.covered.max(seq);
                }
                let found = mem.table.get_pinned_hashed(q.ask.key, q.ask.hash, snapshot);
                let Some((seq, kind, value)) = found else { return true };
                let entry = Entry { seq, kind, value: value.into(), covered: q.covered, mem: Some(&**mem) };
                match self.decide(entry, tables, false) {
                    Ok(outcome) => outcomes[q.nth] = outcome,
                    Err(error) => failed = failed.take().or(Some(error)),
                }
                false
            });
        }
        failed.map_or(Ok(()), Err)
    }

    /// Asks one table for those of `open` that it concerns, and takes out what it answers.
    fn ask_table(
        &self,
        (level, at): (&Level, usize),
        concerned: impl Fn(&Question<'_>) -> bool,
        open: &mut Vec<Question<'_>>,
        (snapshot, tables): (Seq, &Tables),
        outcomes: &mut [GetOutcome],
    ) -> Result<()> {
        let slot = &level.slots()[at];
        let newest = slot.meta().largest_seq;
        let asked: Vec<usize> =
            (0..open.len()).filter(|i| open[*i].covered < newest && concerned(&open[*i])).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let table = tables.open.open(slot)?;
        for i in &asked {
            let q = &mut open[*i];
            q.covered = q.covered.max(table.max_covering_seq(q.ask.key, snapshot).unwrap_or_default());
        }
        let asks: Vec<Ask<'_>> = asked.iter().map(|i| open[*i].ask).collect();
        let answers = table.get_many(&asks, snapshot, &tables.blocks)?;
        let mut answered = Vec::new();
        for (i, answer) in asked.into_iter().zip(answers) {
            if let Lookup::Found(seq, kind, value) = answer {
                let q = &open[i];
                let entry = Entry { seq, kind, value, covered: q.covered, mem: None };
                outcomes[q.nth] = self.decide(entry, tables, false)?;
                answered.push(i);
            }
        }
        let (mut i, mut answered) = (0, answered.into_iter().peekable());
        open.retain(|_| {
            let mine = answered.next_if_eq(&i);
            i += 1;
            mine.is_none()
        });
        Ok(())
    }
}
