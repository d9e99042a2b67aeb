//! What was found, by the names of Adya (1999) and Elle.

use crate::index::Index;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// The kinds of anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Kind {
    /// A transaction contradicts itself: it does not see its own writes, or sees a key change.
    Internal,
    /// A value was read that nobody wrote.
    Garbage,
    /// A value stands in a list twice.
    Duplicate,
    /// What an aborted transaction wrote was read.
    G1a,
    /// What a transaction wrote and changed again was read.
    G1b,
    /// Two reads of a list of which neither is the beginning of the other.
    IncompatibleOrder,
    /// A part of a transaction's writes of a key is missing behind or before the rest.
    TornWrites,
    /// Two transactions read the same version and each replaced it.
    LostUpdate,
    /// A cycle of writes over writes.
    G0,
    /// A cycle of writes and reads of what was written.
    G1c,
    /// A cycle with one read of what was replaced.
    GSingle,
    /// A cycle with several reads of what was replaced (write skew).
    G2Item,
    /// A cycle with a scan that missed a key (a phantom).
    G2Predicate,
}

impl Kind {
    /// The name in the literature.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Internal => "internal",
            Kind::Garbage => "garbage-read",
            Kind::Duplicate => "duplicate-element",
            Kind::G1a => "G1a",
            Kind::G1b => "G1b",
            Kind::IncompatibleOrder => "incompatible-order",
            Kind::TornWrites => "torn-writes",
            Kind::LostUpdate => "lost-update",
            Kind::G0 => "G0",
            Kind::G1c => "G1c",
            Kind::GSingle => "G-single",
            Kind::G2Item => "G2-item",
            Kind::G2Predicate => "G2-predicate",
        }
    }
}

/// One anomaly.
#[derive(Clone, Debug, Serialize)]
pub struct Anomaly {
    /// Its kind.
    pub kind: Kind,
    /// A cycle that closes only with the order of sessions or of time.
    pub timed: bool,
    /// The transactions that take part, by their place in the history; of a cycle in its order.
    pub txns: Vec<u32>,
    /// What happened, for people.
    pub text: String,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timed = if self.timed { "-timed" } else { "" };
        write!(f, "{}{timed}: {}", self.kind.name(), self.text)
    }
}

/// Most anomalies that a report spells out; all are counted.
const ANOMALIES_TOLD_MAX: usize = 100;

/// What a check found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Transactions in the history.
    pub txns: usize,
    /// Those that count: committed, or unknown and seen by one that counts.
    pub counted: usize,
    /// Unknown ones among these.
    pub unknown_seen: usize,
    /// Reads of others' writes that were explained.
    pub reads: usize,
    /// Edges of the dependency graph.
    pub edges: usize,
    /// How many anomalies of each kind; a group of transactions on common cycles counts once.
    pub counts: BTreeMap<Kind, usize>,
    /// The first hundred.
    pub anomalies: Vec<Anomaly>,
}

impl Report {
    pub(crate) fn new(index: &Index<'_>) -> Self {
        let counted = index.counts.iter().filter(|counts| **counts).count();
        let committed = index.history.iter().filter(|txn| txn.outcome == crate::Outcome::Committed).count();
        Self {
            txns: index.history.len(),
            counted,
            unknown_seen: counted - committed,
            reads: index.reads.len(),
            edges: 0,
            counts: BTreeMap::new(),
            anomalies: Vec::new(),
        }
    }

    /// Whether a serial execution explains the history.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }

    pub(crate) fn add(&mut self, kind: Kind, timed: bool, txns: Vec<u32>, text: impl FnOnce() -> String) {
        *self.counts.entry(kind).or_insert(0) += 1;
        if self.anomalies.len() < ANOMALIES_TOLD_MAX {
            self.anomalies.push(Anomaly { kind, timed, txns, text: text() });
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} transactions, {} of them counted ({} of unknown outcome), {} reads, {} edges",
            self.txns, self.counted, self.unknown_seen, self.reads, self.edges
        )?;
        for (kind, count) in &self.counts {
            writeln!(f, "{count} x {}", kind.name())?;
        }
        for anomaly in &self.anomalies {
            writeln!(f, "{anomaly}")?;
        }
        if self.is_clean() { write!(f, "no anomaly") } else { Ok(()) }
    }
}
