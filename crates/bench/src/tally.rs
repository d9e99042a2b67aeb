//! What one thread of a benchmark did, and whether it goes on.
//!
//! There is one reading of the clock per operation: the end of one is the start of the next. So
//! every operation is timed, and the time between operations (drawing a key) counts as theirs.

use crate::histogram::Histogram;
use crate::progress::{Progress, REPORT_EVERY};
use crate::workload::Range;
use ringfort_base::world::Clock;
use ringfort_host::door::OsClock;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Kinds of operation, as db_bench's histograms tell them apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A read, or a batch of them.
    Read,
    /// A write, or a batch of them.
    Write,
    /// A delete, or a batch of them.
    Delete,
    /// A seek with the entries read after it.
    Seek,
    /// A merge.
    Merge,
    /// A read and a write.
    Update,
}

impl Kind {
    /// All kinds, in the order of [`Outcome::latencies`].
    pub const ALL: [Self; 6] = [Self::Read, Self::Write, Self::Delete, Self::Seek, Self::Merge, Self::Update];

    /// db_bench's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Seek => "seek",
            Self::Merge => "merge",
            Self::Update => "update",
        }
    }
}

/// What threads did.
#[derive(Clone, Default)]
pub(crate) struct Outcome {
    /// Operations, keys of a batch counted each.
    pub(crate) operations: u64,
    /// Keys that were looked for.
    pub(crate) reads: u64,
    /// Those of them that were there.
    pub(crate) found: u64,
    /// Bytes of keys and values that were read or written.
    pub(crate) bytes: u64,
    /// Bytes of keys and values that were handed in to be written.
    pub(crate) put_bytes: u64,
    /// The times of the threads, added up.
    pub(crate) thread_seconds: f64,
    /// From the start of the first thread to the end of the last, by the clock that they share.
    pub(crate) during: Option<(Duration, Duration)>,
    /// By [`Kind::ALL`]; calls, a batch being one. Made when the first is seen.
    pub(crate) latencies: [Option<Histogram>; Kind::ALL.len()],
}

impl Outcome {
    /// Adds what another thread did.
    pub(crate) fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.reads += other.reads;
        self.found += other.found;
        self.bytes += other.bytes;
        self.put_bytes += other.put_bytes;
        self.thread_seconds += other.thread_seconds;
        self.during = match (self.during, other.during) {
            (Some(mine), Some(theirs)) => Some((mine.0.min(theirs.0), mine.1.max(theirs.1))),
            (mine, theirs) => mine.or(theirs),
        };
        for (mine, theirs) in self.latencies.iter_mut().zip(&other.latencies) {
            if let Some(theirs) = theirs {
                mine.get_or_insert_default().add(theirs);
            }
        }
    }

    /// From the start of the first thread to the end of the last.
    pub(crate) fn seconds(&self) -> f64 {
        self.during.map_or(0.0, |(start, end)| (end - start).as_secs_f64())
    }

    /// Of a thread whose operations do not count: the bytes that it had the store write still do.
    pub(crate) fn uncounted(self) -> Self {
        Self { put_bytes: self.put_bytes, ..Self::default() }
    }

    /// Of all kinds together.
    pub(crate) fn all_latencies(&self) -> Histogram {
        let mut all = Histogram::default();
        self.latencies.iter().flatten().for_each(|histogram| all.add(histogram));
        all
    }
}

/// Counts and times a thread's operations.
pub(crate) struct Tally<'a> {
    outcome: Outcome,
    clock: OsClock,
    start: Duration,
    /// When the last operation ended.
    before: Duration,
    /// Operations that were allowed so far.
    allowed: u64,
    operations_max: u64,
    duration: Option<Duration>,
    unreported: u64,
    progress: &'a Progress,
    /// Another thread failed: there is nothing left to measure.
    abort: &'a AtomicBool,
}

impl<'a> Tally<'a> {
    /// `clock` is the one that all threads share.
    pub(crate) fn new(range: &Range, clock: OsClock, progress: &'a Progress, abort: &'a AtomicBool) -> Self {
        Self {
            outcome: Outcome::default(),
            clock,
            start: Duration::ZERO,
            before: Duration::ZERO,
            allowed: 0,
            operations_max: range.operations,
            duration: range.duration,
            unreported: 0,
            progress,
            abort,
        }
    }

    /// The thread begins.
    pub(crate) fn start(&mut self) {
        self.start = self.clock.monotonic();
        self.before = self.start;
    }

    /// Whether the next `n` operations are to be done.
    pub(crate) fn more(&mut self, n: u64) -> bool {
        self.allowed += n;
        if self.abort.load(Ordering::Relaxed) {
            return false;
        }
        match self.duration {
            None => self.allowed <= self.operations_max,
            Some(duration) => self.before - self.start < duration,
        }
    }

    /// A call that did `n` operations is over.
    pub(crate) fn finished(&mut self, kind: Kind, n: u64) {
        self.finished_since(self.before, kind, n);
    }

    /// When the last operation ended, and the next one began.
    pub(crate) fn begun(&self) -> Duration {
        self.before
    }

    /// As [`Tally::finished`], of a call that began before others did.
    pub(crate) fn finished_since(&mut self, begun: Duration, kind: Kind, n: u64) {
        let now = self.clock.monotonic();
        let nanos = (now - begun).as_nanos() as u64;
        self.outcome.latencies[kind as usize].get_or_insert_default().record(nanos);
        self.before = now;
        self.outcome.operations += n;
        self.unreported += n;
        if self.unreported >= REPORT_EVERY {
            self.progress.advance(std::mem::take(&mut self.unreported));
        }
    }

    /// How many were done so far.
    pub(crate) fn operations(&self) -> u64 {
        self.outcome.operations
    }

    /// A key was looked for; how many bytes came of it.
    pub(crate) fn looked(&mut self, found_bytes: Option<usize>) {
        self.outcome.reads += 1;
        if let Some(bytes) = found_bytes {
            self.outcome.found += 1;
            self.outcome.bytes += bytes as u64;
        }
    }

    /// Bytes were read that nobody looked for by key.
    pub(crate) fn passed(&mut self, bytes: usize) {
        self.outcome.bytes += bytes as u64;
    }

    /// Bytes were written.
    pub(crate) fn put(&mut self, bytes: usize) {
        self.outcome.bytes += bytes as u64;
        self.outcome.put_bytes += bytes as u64;
    }

    /// The thread ends.
    pub(crate) fn stop(mut self) -> Outcome {
        self.progress.advance(self.unreported);
        let end = self.clock.monotonic();
        self.outcome.thread_seconds = (end - self.start).as_secs_f64();
        self.outcome.during = Some((self.start, end));
        self.outcome
    }
}
