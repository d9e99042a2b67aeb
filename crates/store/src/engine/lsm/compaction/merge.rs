//! Executing a flush or a compaction: one pass over the inputs, in order.

use super::Filter;
use super::fold::{HIDES_NOTHING, fold};
use crate::engine::lsm::iter::{MergingIter, Source};
use crate::engine::lsm::key::{Kind, Trailer};
use crate::engine::lsm::table::meta::TableMeta;
use crate::engine::lsm::table::writer::TableWriter;
use crate::engine::lsm::tombstone::{Fragment, FragmentedTombstones};
use crate::merge::Merger;
use ringfort_base::{KeyspaceId, Result, Seq};
use std::sync::Arc;

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

/// Merges `sources` and `tombstones` into new tables, which `open` starts.
pub(crate) fn merge(
    sources: Vec<Source>,
    tombstones: &FragmentedTombstones,
    rules: &Rules,
    open: &mut dyn FnMut() -> Result<TableWriter>,
) -> Result<Vec<TableMeta>> {
    let mut output = Output { rules, open, writer: None, done: Vec::new(), tombstones, from: None };
    let mut iter = MergingIter::new(sources);
    iter.seek_to_first()?;
    // Of the key that is being read: itself, and the stripe whose older versions are hidden by a
    // newer one (none: it is the newest).
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
        let verdict = judge(rules, tombstones, &key, trailer, iter.value(), kept_stripe);
        match verdict {
            Verdict::Keep if trailer.is_merge() && trailer.seq() <= rules.anchored => {
                let mut out = |trailer, value: &[u8]| output.add(&key, trailer, value);
                kept_stripe = Some(fold(&mut iter, &key, rules, tombstones, &mut out)?);
                continue;
            }
            Verdict::Keep => output.add(&key, trailer, iter.value())?,
            Verdict::Bury => output.add(&key, Trailer::new(trailer.seq(), Kind::Delete), &[])?,
            Verdict::Drop => {}
        }
        let hides = !(trailer.is_merge() && matches!(verdict, Verdict::Keep));
        kept_stripe = Some(if hides { rules.stripe(trailer.seq()) } else { HIDES_NOTHING });
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
    key: &[u8],
    trailer: Trailer,
    value: &[u8],
    kept_stripe: Option<usize>,
) -> Verdict {
    let seq = trailer.seq();
    if seq > rules.anchored {
        return Verdict::Keep;
    }
    let stripe = rules.stripe(seq);
    if kept_stripe == Some(stripe) {
        return Verdict::Drop; // a newer version hides it from everybody
    }
    if rules.covers(tombstones, key, seq) {
        return Verdict::Drop;
    }
    if !rules.is_settled(seq) {
        return Verdict::Keep;
    }
    match trailer.kind() {
        Ok(Kind::Delete) if rules.bottom => Verdict::Drop,
        Ok(Kind::Put) if kept_stripe.is_none() && is_garbage(rules, key, value) => {
            if rules.bottom {
                Verdict::Drop
            } else {
                Verdict::Bury
            }
        }
        _ => Verdict::Keep,
    }
}

fn is_garbage(rules: &Rules, key: &[u8], value: &[u8]) -> bool {
    rules.filter.as_ref().is_some_and(|filter| filter.is_garbage(rules.keyspace, key, value))
}

/// The tables being written.
struct Output<'a> {
    rules: &'a Rules,
    open: &'a mut dyn FnMut() -> Result<TableWriter>,
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
        writer.add(key, trailer, value)
    }

    /// Versions of one key stay in one table: a table is cut only before a new key.
    fn cut_if_full(&mut self, next: &[u8]) -> Result<()> {
        if self.writer.as_ref().is_some_and(|writer| writer.approximate_bytes() >= self.rules.table_bytes) {
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

    fn finish(mut self) -> Result<Vec<TableMeta>> {
        self.close(None)?;
        Ok(self.done)
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
