//! # ringfort-checker: what serializable transactions cannot have produced
//!
//! A black-box isolation checker after Elle (Kingsbury and Alvaro, VLDB 2020). It takes a recorded
//! history (what each transaction did, saw and was told, and when) and looks for a
//! contradiction with (strict) serializability, in time linear in the history:
//!
//! ```text
//!  history    transactions as a client saw them; committed, aborted or unknown
//!    │
//!  index      who wrote what; what each transaction read from others; unknown ones that were seen
//!    │
//!  versions   the order of each key's versions: lists show it, registers let some of it be inferred
//!    │
//!  graph      ww, wr, rw (of an item or a predicate), session and real-time edges
//!    │
//!  cycle      a cycle is an anomaly; its edges give it its name
//! ```
//!
//! It is sound: what it reports no serial execution explains. For lists it is complete up to what
//! was read; for registers it knows only the orders that reads before writes, the initial value
//! and (with [`Order::RealTime`]) time imply.
//!
//! Indeterminate transactions ([`Outcome::Unknown`]) count as committed once something they wrote was
//! seen by who counts, and not at all before.
#![forbid(unsafe_code)]

mod anomaly;
mod chain;
mod cycle;
mod graph;
mod history;
mod index;
mod realtime;
mod versions;

pub use anomaly::{Anomaly, Kind, Report};
pub use history::{Malformed, Op, Outcome, Txn, read_json_lines, write_json_lines};

/// Which order beyond that of the data must be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// Serializability alone.
    None,
    /// And each session sees its transactions in its order.
    Session,
    /// Strict serializability: what ended before another began comes first. Holds the order of sessions.
    RealTime,
}

/// Checks a history.
///
/// # Errors
/// [`Malformed`] for a history that no checker could read: a value written twice to one key, a key that
/// is a list here and a register there, a transaction that ends before it begins, more than 2^31 transactions.
pub fn check(history: &[Txn], order: Order) -> Result<Report, Malformed> {
    let index = index::Index::new(history)?;
    let mut report = Report::new(&index);
    let mut graph = graph::Builder::new(history.len());
    versions::add(&index, order, &mut graph, &mut report);
    if order >= Order::Session {
        realtime::add_sessions(&index, &mut graph);
    }
    if order == Order::RealTime {
        realtime::add(&index, &mut graph);
    }
    let graph = graph.finish();
    report.edges = graph.edges();
    cycle::find(&graph, &index, &mut report);
    Ok(report)
}
