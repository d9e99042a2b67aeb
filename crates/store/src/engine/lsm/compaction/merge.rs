//! Executing a flush or a compaction: one pass over the inputs, in order.

use super::Filter;
use crate::engine::lsm::blob::{BlobMeta, Separator};
use crate::engine::lsm::iter::{MergingIter, Source};
use crate::engine::lsm::key::{Kind, Trailer};
use crate::engine::lsm::table::meta::TableMeta;
use crate::engine::lsm::table::writer::TableWriter;
use crate::engine::lsm::tombstone::{Fragment, FragmentedTombstones};
use ringfort_base::{KeyspaceId, Result, Seq};
use std::borrow::Cow;
use std::sync::Arc;

/// A table is cut as well when the values that it points to take this many times its size: rewriting
/// it may mean moving them.
const VALUES_PER_TABLE: u64 = 8;

/// What decides over entries.
pub(crate) struct Rules {
    pub(crate) keyspace: KeyspaceId,
    /// Positions of live snapshots, ascending.
    pub(crate) snapshots: Vec<Seq>,
    /// Entries above it stay (R6).
    pub(crate) anchored: Seq,
    /// Nothing older than the inputs lies below the output.
    pub(crate) bottom: bool,
    pub(crate) filter: Option<Arc<dyn Filter>>,
    /// Output tables are cut at this size, bytes.
    pub(crate) table_bytes: u64,
}

impl Rules {
    /// The stripe of a sequence number: how many snapshots are below it. Entries of one stripe
    /// are indistinguishable for every reader but by their newest.
    fn stripe(&self, seq: Seq) -> usize {
        self.snapshots.partition_point(|snapshot| *snapshot < seq)
    }

    /// No snapshot is below it, and it is anchored: it may be forgotten if nothing needs it.
    fn is_settled(&self, seq: Seq) -> bool {
        seq <= self.anchored && self.stripe(seq) == 0
    }
}

/// What a merge wrote.
pub(crate) struct Merged {
    pub(crate) tables: Vec<TableMeta>,
    pub(crate) values: Vec<BlobMeta>,
    /// Bytes of values that were moved out of files that are being emptied.
    pub(crate) moved_bytes: u64,
}

/// Merges `sources` and `tombstones` into new tables, which `open` starts, and new value files.
pub(crate) fn merge<'a>(
    sources: Vec<Source>,
    tombstones: &'a FragmentedTombstones,
    rules: &'a Rules,
    separator: Separator<'a>,
    open: &'a mut dyn FnMut() -> Result<TableWriter>,
) -> Result<Merged> {
    let mut output =
        Output { rules, open, separator, writer: None, done: Vec::new(), tombstones, from: None };
    let mut iter = MergingIter::new(sources);
    iter.seek_to_first()?;
    // Of the key that is being read: itself, and the stripe of the version that was kept last.
    let mut key: Vec<u8> = Vec::new();
    let mut kept_stripe: Option<usize> = None;
    let mut first = true;
    while iter.valid() {
        let trailer = iter.trailer();
        let new_key = first || iter.key() != key.as_slice();
        if new_key {
            first = false;
            key.clear();
            key.extend_from_slice(iter.key());
            kept_stripe = None;
            output.cut_if_full(&key)?;
        }
        let entry = (key.as_slice(), trailer, iter.value());
        match judge(rules, tombstones, entry, kept_stripe, &mut output.separator)? {
            Verdict::Keep => output.add(&key, trailer, iter.value())?,
            Verdict::Bury => output.add(&key, Trailer::new(trailer.seq(), Kind::Delete), &[])?,
            Verdict::Drop => {}
        }
        kept_stripe = Some(rules.stripe(trailer.seq()));
        iter.next()?;
    }
    output.finish()
}

enum Verdict {
    Keep,
    /// Keep as a deletion.
    Bury,
    Drop,
}

fn judge(
    rules: &Rules,
    tombstones: &FragmentedTombstones,
    (key, trailer, value): (&[u8], Trailer, &[u8]),
    kept_stripe: Option<usize>,
    separator: &mut Separator<'_>,
) -> Result<Verdict> {
    let seq = trailer.seq();
    if seq > rules.anchored {
        return Ok(Verdict::Keep);
    }
    let stripe = rules.stripe(seq);
    if kept_stripe == Some(stripe) {
        return Ok(Verdict::Drop); // a newer version hides it from everybody
    }
    let covered = tombstones
        .covering(key)
        .is_some_and(|fragment| fragment.seqs.iter().any(|t| *t > seq && rules.stripe(*t) == stripe));
    if covered {
        return Ok(Verdict::Drop);
    }
    if !rules.is_settled(seq) {
        return Ok(Verdict::Keep);
    }
    Ok(match trailer.kind() {
        Ok(Kind::Delete) if rules.bottom => Verdict::Drop,
        Ok(Kind::Put | Kind::ValuePointer)
            if kept_stripe.is_none() && is_garbage(rules, (key, trailer, value), separator)? =>
        {
            if rules.bottom { Verdict::Drop } else { Verdict::Bury }
        }
        _ => Verdict::Keep,
    })
}

fn is_garbage(
    rules: &Rules,
    (key, trailer, value): (&[u8], Trailer, &[u8]),
    separator: &mut Separator<'_>,
) -> Result<bool> {
    let Some(filter) = &rules.filter else { return Ok(false) };
    let value = if filter.needs_value() { separator.value(trailer, value)? } else { Cow::Borrowed(&[][..]) };
    Ok(filter.is_garbage(rules.keyspace, key, &value))
}

/// The tables being written.
struct Output<'a> {
    rules: &'a Rules,
    open: &'a mut dyn FnMut() -> Result<TableWriter>,
    separator: Separator<'a>,
    writer: Option<TableWriter>,
    done: Vec<TableMeta>,
    tombstones: &'a FragmentedTombstones,
    /// Where the present table begins: tombstones are cut there, so that tables stay disjoint.
    from: Option<Vec<u8>>,
}

impl Output<'_> {
    fn add(&mut self, key: &[u8], trailer: Trailer, value: &[u8]) -> Result<()> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert((self.open)()?),
        };
        let (trailer, value) = self.separator.place(trailer, value)?;
        writer.add(key, trailer, value)
    }

    /// Versions of one key stay in one table: a table is cut only before a new key.
    fn cut_if_full(&mut self, next: &[u8]) -> Result<()> {
        let full = |writer: &TableWriter| {
            writer.approximate_bytes() >= self.rules.table_bytes
                || writer.value_bytes() >= self.rules.table_bytes.saturating_mul(VALUES_PER_TABLE)
        };
        if self.writer.as_ref().is_some_and(full) {
            self.close(Some(next))?;
            self.from = Some(next.to_vec());
        }
        Ok(())
    }

    fn close(&mut self, to: Option<&[u8]>) -> Result<()> {
        let clipped = self.clipped(to);
        if clipped.is_empty() && self.writer.is_none() {
            return Ok(());
        }
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => (self.open)()?,
        };
        for fragment in &clipped {
            writer.add_tombstone(fragment)?;
        }
        self.done.push(writer.finish()?);
        Ok(())
    }

    /// The range tombstones of the present table that are still needed, cut to its range.
    fn clipped(&self, to: Option<&[u8]>) -> Vec<Fragment> {
        let low = self.from.as_deref().unwrap_or_default();
        let mut clipped = Vec::new();
        for fragment in self.tombstones.overlapping(low, to) {
            let from = fragment.from.as_slice().max(low).to_vec();
            let end = to.map_or(fragment.to.as_slice(), |to| to.min(fragment.to.as_slice())).to_vec();
            let seqs = needed_seqs(self.rules, &fragment.seqs);
            if from < end && !seqs.is_empty() {
                clipped.push(Fragment { from, to: end, seqs });
            }
        }
        clipped
    }

    fn finish(mut self) -> Result<Merged> {
        self.close(None)?;
        let (values, moved_bytes) = self.separator.finish()?;
        Ok(Merged { tables: self.done, values, moved_bytes })
    }
}

/// Of each stripe the newest tombstone; none that is settled at the bottom; all above the anchor.
fn needed_seqs(rules: &Rules, seqs: &[Seq]) -> Vec<Seq> {
    let mut needed: Vec<Seq> = Vec::new();
    let mut last_stripe = None;
    for &seq in seqs {
        let stripe = rules.stripe(seq);
        let hidden = last_stripe == Some(stripe) && seq <= rules.anchored;
        last_stripe = Some(stripe);
        if hidden || (rules.bottom && rules.is_settled(seq)) {
            continue;
        }
        needed.push(seq);
    }
    needed
}
