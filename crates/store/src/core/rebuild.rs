//! Rebuilding the memtables from the log, before the claim and, if they do not fit the memory
//! budget, behind it.
//!
//! ```text
//! before the claim   every record is verified and decoded; entries go into memtables until
//!                    they take the memory budget; nothing is written (R12)
//! behind the claim   (only if they did not fit) the log is read once more, as the new life's,
//!                    from the first entry that was left out; full memtables are flushed
//! ```
//! Entries are collected and inserted sorted, a batch at a time: neighbours share their way through
//! the skiplist, which costs a fraction of inserting them as they come. Nobody reads meanwhile, so
//! their order does not show; a memtable is frozen only between two groups, with nothing pending.

use super::Inner;
use super::commit::Segment;
use super::in_doubt::InDoubts;
use super::open::{Recovery, compares_lives};
use crate::batch::Op;
use crate::engine::lsm::blob::LoneValue;
use crate::engine::lsm::key::{Kind, Trailer, key_prefix};
use crate::engine::lsm::tree::{Tables, Tree};
use crate::manifest::state::State;
use crate::options::StoreOptions;
use crate::wal;
use crate::wal::record::{Run, RunReader};
use crate::wal::replay::{Group, Runs, Sink, replay};
use crate::wal::writer::LogContext;
use ringfort_base::codec::DecodeError;
use ringfort_base::{Error, ErrorKind, EvidenceKind, FileNo, KeyspaceId, Result, Seq};
use ringfort_trust::{Anchor, Head};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Pending entries are inserted when they take this much, bytes, or this share of the memory budget.
const BATCH_BYTES: usize = 32 << 20;
const BATCH_SHARE: usize = 8;
/// What a pending entry, and one in a memtable, take beside key and value, bytes; about.
const ENTRY_BYTES: usize = 64;
/// A memtable is frozen at this size at the latest: it and the largest group have room in its 4 GiB.
const MEMTABLE_BYTES_MAX: usize = 2 << 30;

/// What a life starts with.
pub(super) struct Start {
    pub(super) state: State,
    pub(super) trees: BTreeMap<KeyspaceId, Arc<Tree>>,
    /// Groups behind the anchored head, to be copied (R2).
    pub(super) tail: Vec<(Vec<Run>, Head)>,
    pub(super) end: Head,
    /// Old segments that are still needed.
    pub(super) segments: VecDeque<Segment>,
    pub(super) time_ms: u64,
    pub(super) recovery: Recovery,
    /// The memtables hold the log up to here only: the rest did not fit.
    pub(super) built: Option<Seq>,
    /// Value files that only the log names.
    pub(super) unnamed: BTreeSet<FileNo>,
    /// Transactions that are prepared and not decided.
    pub(super) in_doubt: InDoubts,
}

/// Verifies the log and replays it into fresh memtables, as far as the memory budget reaches.
pub(super) fn rebuild(
    context: &LogContext,
    anchor: &Anchor,
    state: State,
    tables: &Arc<Tables>,
    options: &StoreOptions,
) -> Result<Start> {
    let memory_budget = options.memory_budget;
    let mut trees = BTreeMap::new();
    for (&id, keyspace) in state.keyspaces.iter().filter(|(_, keyspace)| keyspace.dropped.is_none()) {
        trees.insert(id, Arc::new(Tree::open(id, keyspace, tables, &options.merge_operators)?));
    }
    let mut rebuild = Rebuild {
        inserts: Inserts::new(trees.values().cloned().collect(), Arc::clone(tables), memory_budget),
        in_doubt: InDoubts::default(),
        anchor,
        memory_budget,
        built: None,
        last: Seq::ZERO,
        tail: Vec::new(),
        segments: VecDeque::new(),
        segment_bytes: options.segment_bytes,
        time_ms: state.time_ms,
    };
    let replayed = replay(context, state.log_start, &state.lives, anchor, &mut rebuild)?;
    rebuild.inserts.drain()?;
    let Rebuild { tail, segments, time_ms, built, inserts, in_doubt, .. } = rebuild;
    let unnamed = inserts.unnamed;
    let recovery = Recovery { tail_groups: tail.len(), torn: replayed.torn };
    Ok(Start { state, trees, tail, end: replayed.end, segments, time_ms, recovery, built, unnamed, in_doubt })
}

struct Rebuild<'a> {
    inserts: Inserts,
    in_doubt: InDoubts,
    anchor: &'a Anchor,
    memory_budget: usize,
    /// See [`Start::built`].
    built: Option<Seq>,
    /// The position of the last group.
    last: Seq,
    tail: Vec<(Vec<Run>, Head)>,
    segments: VecDeque<Segment>,
    segment_bytes: u64,
    time_ms: u64,
}

impl Sink for Rebuild<'_> {
    fn group(&mut self, group: &Group<'_>, anchored: bool) -> Result<()> {
        match group {
            Group::Ops { runs, head } => {
                let keep = self.built.is_none();
                let time_ms = self.inserts.group(runs, *head, keep, Some(&mut self.in_doubt))?;
                self.in_doubt.end_group().map_err(|e| inconsistent(head.position, &e))?;
                self.time_ms = self.time_ms.max(time_ms);
                self.last = Seq(head.position);
                if keep && self.inserts.settle(self.last)? && self.inserts.bytes() > self.memory_budget {
                    self.built = Some(self.last);
                }
                if !anchored {
                    let copy = |(keyspace, bytes): (_, &[u8])| Run { keyspace, bytes: bytes.to_vec() };
                    self.tail.push((runs.iter().map(copy).collect(), *head));
                }
                Ok(())
            }
            Group::Claim { claim, head } => {
                self.time_ms = self.time_ms.max(claim.time_ms);
                let own = claim.incarnation == self.anchor.incarnation;
                if own && claim.id != self.anchor.claim && compares_lives() {
                    let detail = format!("incarnation {} was claimed by another attempt", claim.incarnation);
                    return Err(Error::evidence(EvidenceKind::Fork, wal::DIR, head.position, detail));
                }
                if anchored {
                    return Ok(());
                }
                let detail = "a claim behind the anchored head";
                Err(Error::evidence(EvidenceKind::Inconsistent, wal::DIR, head.position, detail))
            }
        }
    }

    fn segment(&mut self, number: FileNo, start: Head, end: Head, bytes: u64) {
        // What begins at the anchored head or behind it is copied into the new life.
        if start.position < self.anchor.wal.position {
            let end = end.position.min(self.anchor.wal.position);
            // A life that was killed left it with all that was reserved for it.
            let bytes = bytes.max(self.segment_bytes);
            self.segments.push_back(Segment { number, end: Seq(end), bytes });
        }
    }
}

/// Operations of the log on their way into memtables.
struct Inserts {
    /// By id.
    trees: Vec<Arc<Tree>>,
    tables: Arc<Tables>,
    /// The runs that `entries` point into.
    bytes: Vec<u8>,
    entries: Vec<Pending>,
    /// The trees that the last group touched, by index.
    touched: Vec<u32>,
    batch_bytes: usize,
    /// The value files that entries which are in no table yet point into.
    unnamed: BTreeSet<FileNo>,
}

/// An entry that waits for its batch: where its key and value are.
#[derive(Clone, Copy)]
struct Pending {
    prefix: u64,
    trailer: Trailer,
    tree: u32,
    key: (u32, u32),
    value: (u32, u32),
}

impl Inserts {
    fn new(trees: Vec<Arc<Tree>>, tables: Arc<Tables>, memory_budget: usize) -> Self {
        let batch_bytes = BATCH_BYTES.min(memory_budget / BATCH_SHARE);
        let (bytes, entries, touched) = (Vec::new(), Vec::new(), Vec::new());
        Self { trees, tables, bytes, entries, touched, batch_bytes, unnamed: BTreeSet::new() }
    }

    /// Takes a group's operations that are in no table yet; `keep`: else they are only checked.
    /// What it says of prepared transactions goes to `in_doubt`. The newest time that it was logged with.
    fn group(
        &mut self,
        runs: &Runs,
        head: Head,
        keep: bool,
        mut in_doubt: Option<&mut InDoubts>,
    ) -> Result<u64> {
        self.touched.clear();
        let mut time_ms = 0;
        for (keyspace, run) in runs.iter() {
            let tree = self.trees.binary_search_by_key(&keyspace, |tree| tree.id).ok();
            if let Some(tree) = tree.filter(|_| keep) {
                self.touched.push(tree as u32);
            }
            let logged_ms = self.run(run, head, (tree, keep), |seq, op| match &mut in_doubt {
                Some(in_doubt) => in_doubt.op(keyspace, seq, op),
                None => Ok(()),
            })?;
            time_ms = time_ms.max(logged_ms);
        }
        Ok(time_ms)
    }

    /// `keep`: else its operations are only checked.
    fn run(
        &mut self,
        run: &[u8],
        head: Head,
        (tree, keep): (Option<usize>, bool),
        mut prepared: impl FnMut(Seq, Op<'_>) -> Result<(), DecodeError>,
    ) -> Result<u64> {
        let mut reader = RunReader::new(run).map_err(|e| inconsistent(head.position, &e))?;
        // What is pending stays below the limits of `u32`: a batch, and a group.
        let base = self.bytes.len();
        let place = |part: &[u8]| {
            let at = part.as_ptr().addr() - run.as_ptr().addr();
            ((base + at) as u32, part.len() as u32)
        };
        let flushed = tree.map_or(Seq::ZERO, |tree| self.trees[tree].flushed());
        let mut wanted = false;
        while let Some((seq, op)) = reader.next().map_err(|e| inconsistent(head.position, &e))? {
            if seq.0 > head.position {
                return Err(inconsistent(head.position, &"an operation lies behind its group's end"));
            }
            if let Op::Part { .. } | Op::Prepare { .. } | Op::Decide { .. } = op {
                prepared(seq, op).map_err(|e| inconsistent(head.position, &e))?;
                continue;
            }
            let Some(at) = tree.filter(|_| seq > flushed) else { continue };
            if let Op::PutStored { lone, .. } = op {
                self.open_value(lone).map_err(|e| e.context("the log commits a value of this file"))?;
            }
            if !keep {
                continue;
            }
            let (kind, key, value) = match op {
                Op::Put { key, value } => (Kind::Put, key, value),
                Op::Merge { key, operand } => (Kind::Merge, key, operand),
                Op::Delete { key } => (Kind::Delete, key, &key[..0]),
                _ => {
                    self.trees[at].apply(seq, op)?;
                    continue;
                }
            };
            wanted = true;
            self.entries.push(Pending {
                prefix: key_prefix(key),
                trailer: Trailer::new(seq, kind),
                tree: at as u32,
                key: place(key),
                value: place(value),
            });
        }
        if wanted {
            self.bytes.extend_from_slice(run);
        }
        Ok(reader.time_ms)
    }

    /// The file of a value that the log commits was whole and synced before the record was written: one
    /// that is missing, cut or another is as bad as a table that is.
    fn open_value(&mut self, lone: &[u8]) -> Result<()> {
        let lone = LoneValue::decode(lone).map_err(|e| inconsistent(0, &e))?;
        self.unnamed.insert(lone.meta.file);
        self.tables.values.get(&Arc::new(lone.meta)).map(drop)
    }

    /// Between two groups, the last of which ended at `position`: inserts what is pending, if that is
    /// enough or a memtable is full, and freezes those that are. Whether anything was inserted.
    fn settle(&mut self, position: Seq) -> Result<bool> {
        let pending = self.bytes.len() + self.entries.len() * ENTRY_BYTES;
        let limit = |tree: &Tree| tree.options().write_buffer_bytes.min(MEMTABLE_BYTES_MAX);
        let full = |at: &u32| {
            let tree = &self.trees[*at as usize];
            tree.active_bytes() + pending >= limit(tree)
        };
        if pending < self.batch_bytes && !self.touched.iter().any(full) {
            return Ok(false);
        }
        self.drain()?;
        for tree in &self.trees {
            if tree.active_bytes() >= limit(tree) {
                tree.freeze(position)?;
            }
        }
        Ok(true)
    }

    /// Inserts what is pending, in the order of internal keys.
    fn drain(&mut self) -> Result<()> {
        let bytes = self.bytes.as_slice();
        let part = |(at, len): (u32, u32)| &bytes[at as usize..at as usize + len as usize];
        self.entries.sort_unstable_by(|a, b| {
            let place = (a.tree, a.prefix).cmp(&(b.tree, b.prefix));
            place.then_with(|| part(a.key).cmp(part(b.key))).then_with(|| b.trailer.cmp(&a.trailer))
        });
        for batch in self.entries.chunk_by(|a, b| a.tree == b.tree) {
            let tree = &self.trees[batch[0].tree as usize];
            tree.insert_all(batch.iter().map(|entry| (entry.trailer, part(entry.key), part(entry.value))))
                // What the memtable takes for a bug of its caller, the log says here.
                .map_err(|e| if e.kind() == ErrorKind::Internal { inconsistent(0, &e) } else { e })?;
        }
        self.entries.clear();
        self.bytes.clear();
        Ok(())
    }

    /// Bytes of all memtables.
    fn bytes(&self) -> usize {
        self.trees.iter().map(|tree| tree.memtable_bytes()).sum()
    }
}

fn inconsistent(position: u64, why: &dyn std::fmt::Display) -> Error {
    Error::evidence(EvidenceKind::Inconsistent, wal::DIR, position, format!("a verified log record: {why}"))
}

impl Inner {
    /// Replays what is behind `built`, with the claim standing: it was verified before, and is again.
    pub(super) fn catch_up(&self, built: Seq) -> Result<()> {
        let (start, lives) = {
            let manifest = self.manifest.lock();
            (manifest.state.log_start, manifest.state.lives.clone())
        };
        let anchor = self.anchor.lock().current.clone();
        let trees = self.trees.read().values().cloned().collect();
        let inserts = Inserts::new(trees, Arc::clone(&self.tables), self.options.memory_budget);
        let mut sink = CatchUp { inner: self, inserts, built };
        replay(&self.context, start, &lives, &anchor, &mut sink)?;
        sink.inserts.drain()?;
        self.unreplayed.store(u64::MAX, Ordering::Release);
        Ok(())
    }
}

struct CatchUp<'a> {
    inner: &'a Inner,
    inserts: Inserts,
    /// Everything up to here is in memtables or tables.
    built: Seq,
}

impl Sink for CatchUp<'_> {
    fn group(&mut self, group: &Group<'_>, _: bool) -> Result<()> {
        let Group::Ops { runs, head } = group else { return Ok(()) };
        if head.position <= self.built.0 {
            return Ok(());
        }
        // What was prepared is known from the first time.
        self.inserts.group(runs, *head, true, None)?;
        if self.inserts.settle(Seq(head.position))? {
            self.built = Seq(head.position);
            self.inner.unreplayed.store(head.position + 1, Ordering::Release);
            if self.inserts.bytes() > self.inner.options.memory_budget {
                self.flush_all()?;
            }
        }
        Ok(())
    }

    fn segment(&mut self, _: FileNo, _: Head, _: Head, _: u64) {}
}

impl CatchUp<'_> {
    /// Flushes every memtable: they hold everything up to `built`.
    fn flush_all(&self) -> Result<()> {
        for tree in &self.inserts.trees {
            tree.freeze(self.built)?;
            while let Some(mem) = tree.oldest_frozen() {
                self.inner.flush_mem(tree, &mem)?;
            }
        }
        Ok(())
    }
}
