//! Executing a flush or a compaction: one pass over the inputs, in order, in slices.

use super::Filter;
use super::fold::{HIDES_NOTHING, fold};
use crate::engine::lsm::blob::{BlobMeta, BlobPointer, BlobWriter, Separator};
use crate::engine::lsm::iter::{MergingIter, Source};
use crate::engine::lsm::key::{Kind, Trailer};
use crate::engine::lsm::table::meta::TableMeta;
use crate::engine::lsm::table::writer::TableWriter;
use crate::engine::lsm::tombstone::{Fragment, FragmentedTombstones};
use crate::merge::Merger;
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
    /// How operands are merged.
    pub(crate) merger: Option<Arc<Merger>>,
}

impl Rules {
    /// The stripe of a sequence number: how many snapshots are below it. Entries of one stripe
    /// are indistinguishable for every reader but by their newest.
    pub(super) fn stripe(&self, seq: Seq) -> usize {
        self.snapshots.partition_point(|snapshot| *snapshot < seq)
    }

    /// No snapshot is below it, and it is anchored: it may be forgotten if nothing needs it.
    pub(super) fn is_settled(&self, seq: Seq) -> bool {
        seq <= self.anchored && self.stripe(seq) == 0
    }

    /// Whether a range tombstone hides what `key` had at `seq` from everybody who sees that stripe.
    pub(super) fn covers(&self, tombstones: &FragmentedTombstones, key: &[u8], seq: Seq) -> bool {
        let stripe = self.stripe(seq);
        tombstones
            .covering(key)
            .is_some_and(|fragment| fragment.seqs.iter().any(|t| *t > seq && self.stripe(*t) == stripe))
    }
}

/// Starts the files that a merge writes.
pub(crate) trait OpenFiles {
    fn table(&mut self) -> Result<TableWriter>;
    fn values(&mut self) -> Result<BlobWriter>;
}

type Open<'o> = &'o mut dyn OpenFiles;

/// What a merge wrote.
pub(crate) struct Merged {
    pub(crate) tables: Vec<TableMeta>,
    pub(crate) values: Vec<BlobMeta>,
    /// Value files that were there, and that only the log named.
    pub(crate) adopted: Vec<Arc<BlobMeta>>,
    /// Bytes of values that were moved out of files that are being emptied.
    pub(crate) moved_bytes: u64,
}

/// A merge of sources and range tombstones into new tables and value files, a slice at a time. It owns all that it
/// needs, so that between two slices other work goes first.
pub(crate) struct Merge {
    rules: Rules,
    tombstones: FragmentedTombstones,
    iter: MergingIter,
    separator: Separator,
    output: Output,
    /// The key that was read last, and the stripe whose older versions of it are hidden by a newer one
    /// (none: the newest was not met yet).
    key: Vec<u8>,
    kept_stripe: Option<usize>,
    started: bool,
}

impl Merge {
    pub(crate) fn new(
        sources: Vec<Source>,
        tombstones: FragmentedTombstones,
        rules: Rules,
        separator: Separator,
    ) -> Self {
        let (iter, output) = (MergingIter::new(sources), Output::default());
        let key = Vec::new();
        Self { rules, tombstones, iter, separator, output, key, kept_stripe: None, started: false }
    }

    /// Whether nothing older than the inputs lies below the output.
    pub(crate) fn is_bottom(&self) -> bool {
        self.rules.bottom
    }

    /// Reads on for about `slice_bytes`; whether that was all. After an error: give it up.
    pub(crate) fn step(&mut self, slice_bytes: usize, open: Open<'_>) -> Result<bool> {
        let mut first = !self.started;
        if first {
            self.iter.seek_to_first()?;
            self.started = true;
        }
        let mut bytes = 0;
        let moved = self.separator.moved_bytes();
        while self.iter.valid() {
            let trailer = self.iter.trailer();
            if first || self.iter.key() != self.key.as_slice() {
                if bytes + (self.separator.moved_bytes() - moved) as usize >= slice_bytes {
                    return Ok(false);
                }
                first = false;
                self.key.clear();
                self.key.extend_from_slice(self.iter.key());
                self.kept_stripe = None;
                self.output.cut_if_full(&self.key, &self.rules, &self.tombstones, open)?;
            }
            let value = self.iter.value();
            bytes += self.key.len() + value.len() + Trailer::BYTES;
            let entry = (self.key.as_slice(), trailer, value);
            let verdict = judge(&self.rules, &self.tombstones, entry, self.kept_stripe, &mut self.separator)?;
            match verdict {
                Verdict::Keep if trailer.is_merge() && trailer.seq() <= self.rules.anchored => {
                    bytes += self.fold(open)?;
                    continue;
                }
                Verdict::Keep => {
                    let (trailer, value) = self.separator.place(trailer, value, &mut || open.values())?;
                    self.output.add(&self.key, trailer, value, open)?;
                }
                Verdict::Bury => {
                    let deletion = Trailer::new(trailer.seq(), Kind::Delete);
                    self.output.add(&self.key, deletion, &[], open)?;
                }
                Verdict::Drop => {}
            }
            let hides = !(trailer.is_merge() && matches!(verdict, Verdict::Keep));
            self.kept_stripe = Some(if hides { self.rules.stripe(trailer.seq()) } else { HIDES_NOTHING });
            self.iter.next()?;
        }
        self.output.close(None, &self.rules, &self.tombstones, open)?;
        self.separator.finish().map(|()| true)
    }

    /// From an operand of the present key: what it and the operands below it become. How many bytes
    /// were read.
    fn fold(&mut self, open: Open<'_>) -> Result<usize> {
        let (separator, output) = (&mut self.separator, &mut self.output);
        let mut out = Sink { key: &self.key, separator, output, open };
        let folded = fold(&mut self.iter, &self.rules, &self.tombstones, &mut out)?;
        self.kept_stripe = Some(folded.hidden_stripe);
        Ok(folded.bytes_read)
    }

    /// The finished files, once [`Merge::step`] said that this was all.
    pub(crate) fn take_files(&mut self) -> Merged {
        Merged {
            tables: std::mem::take(&mut self.output.done),
            values: self.separator.take_files(),
            adopted: self.separator.take_adopted(),
            moved_bytes: self.separator.moved_bytes(),
        }
    }
}

/// Where the entries of one key go.
pub(super) struct Sink<'m> {
    pub(super) key: &'m [u8],
    separator: &'m mut Separator,
    output: &'m mut Output,
    open: Open<'m>,
}

impl Sink<'_> {
    pub(super) fn write(&mut self, trailer: Trailer, value: &[u8]) -> Result<()> {
        let Self { key, separator, output, open } = self;
        let (trailer, value) = separator.place(trailer, value, &mut || open.values())?;
        output.add(key, trailer, value, *open)
    }

    /// The value of an entry, wherever it lies.
    pub(super) fn value<'e>(&mut self, trailer: Trailer, value: &'e [u8]) -> Result<Cow<'e, [u8]>> {
        self.separator.value(trailer, value)
    }
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
    separator: &mut Separator,
) -> Result<Verdict> {
    let seq = trailer.seq();
    if seq > rules.anchored {
        return Ok(Verdict::Keep);
    }
    let stripe = rules.stripe(seq);
    if kept_stripe == Some(stripe) {
        return Ok(Verdict::Drop); // a newer version hides it from everybody
    }
    if rules.covers(tombstones, key, seq) {
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
    separator: &mut Separator,
) -> Result<bool> {
    let Some(filter) = &rules.filter else { return Ok(false) };
    if filter.needs_value() && trailer.is_pointer() && BlobPointer::decode(value).is_ok_and(|p| p.is_long()) {
        return Ok(false);
    }
    let value = if filter.needs_value() { separator.value(trailer, value)? } else { Cow::Borrowed(&[][..]) };
    Ok(filter.is_garbage(rules.keyspace, key, &value))
}

/// The tables being written.
#[derive(Default)]
struct Output {
    writer: Option<TableWriter>,
    done: Vec<TableMeta>,
    /// Where the present table begins: tombstones are cut there, so that tables stay disjoint.
    from: Vec<u8>,
}

impl Output {
    fn add(&mut self, key: &[u8], trailer: Trailer, value: &[u8], open: Open<'_>) -> Result<()> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(open.table()?),
        };
        writer.add(key, trailer, value)
    }

    /// Versions of one key stay in one table: a table is cut only before a new key.
    fn cut_if_full(
        &mut self,
        next: &[u8],
        rules: &Rules,
        tombstones: &FragmentedTombstones,
        open: Open<'_>,
    ) -> Result<()> {
        let full = |writer: &TableWriter| {
            writer.approximate_bytes() >= rules.table_bytes
                || writer.value_bytes() >= rules.table_bytes.saturating_mul(VALUES_PER_TABLE)
        };
        if self.writer.as_ref().is_some_and(full) {
            self.close(Some(next), rules, tombstones, open)?;
            self.from = next.to_vec();
        }
        Ok(())
    }

    fn close(
        &mut self,
        to: Option<&[u8]>,
        rules: &Rules,
        tombstones: &FragmentedTombstones,
        open: Open<'_>,
    ) -> Result<()> {
        let clipped = clipped(&self.from, to, rules, tombstones);
        if clipped.is_empty() && self.writer.is_none() {
            return Ok(());
        }
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => open.table()?,
        };
        for fragment in &clipped {
            writer.add_tombstone(fragment)?;
        }
        self.done.push(writer.finish()?);
        Ok(())
    }
}

/// The range tombstones that are still needed, cut to `low..to`.
fn clipped(low: &[u8], to: Option<&[u8]>, rules: &Rules, tombstones: &FragmentedTombstones) -> Vec<Fragment> {
    let mut clipped = Vec::new();
    for fragment in tombstones.overlapping(low, to) {
        let from = fragment.from.as_slice().max(low).to_vec();
        let end = to.map_or(fragment.to.as_slice(), |to| to.min(fragment.to.as_slice())).to_vec();
        let seqs = needed_seqs(rules, &fragment.seqs);
        if from < end && !seqs.is_empty() {
            clipped.push(Fragment { from, to: end, seqs });
        }
    }
    clipped
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
