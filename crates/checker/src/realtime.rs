//! Edges of order: within a session, and in real time.
//!
//! "Ended before the other began" is n² edges; a chain of moments makes it n. Transactions lead into the
//! moment at which they end; a moment leads to the next one and to what begins after it:
//!
//! ```text
//!   T1 ──▶ m1 ──▶ m2 ◀── T2          T1 ends, T3 begins, T2 ends, T4 begins
//!          │       │
//!          ▼       ▼
//!          T3      T4
//! ```

use crate::graph::{Builder, LINK, NO_KEY, TIME};
use crate::history::Outcome;
use crate::index::Index;
use std::collections::HashMap;

/// Each session's transactions in its order; one of unknown outcome is followed by nothing, for
/// what is unknown may also happen later.
pub(crate) fn add_sessions(index: &Index<'_>, graph: &mut Builder) {
    let mut order: Vec<u32> = counted(index).collect();
    order.sort_by_key(|&txn| index.history[txn as usize].start);
    let mut newest: HashMap<u32, u32> = HashMap::new();
    for txn in order {
        let of = &index.history[txn as usize];
        if let Some(&before) = newest.get(&of.session) {
            graph.edge(before, txn, TIME, NO_KEY);
        }
        if of.outcome == Outcome::Committed {
            newest.insert(of.session, txn);
        }
    }
}

/// What ended before another began, over all sessions.
pub(crate) fn add(index: &Index<'_>, graph: &mut Builder) {
    // At the same moment a start comes first: the two were concurrent.
    let mut events: Vec<(u64, bool, u32)> = Vec::new();
    for txn in counted(index) {
        let of = &index.history[txn as usize];
        events.push((of.start, false, txn));
        if of.outcome == Outcome::Committed {
            events.push((of.end, true, txn));
        }
    }
    events.sort_unstable();
    let mut moment = None;
    let mut is_open = false;
    for (_, ends, txn) in events {
        if ends {
            if !is_open {
                let next = graph.helper();
                if let Some(before) = moment.replace(next) {
                    graph.edge(before, next, LINK, NO_KEY);
                }
                is_open = true;
            }
            if let Some(moment) = moment {
                graph.edge(txn, moment, TIME, NO_KEY);
            }
        } else {
            is_open = false;
            if let Some(moment) = moment {
                graph.edge(moment, txn, LINK, NO_KEY);
            }
        }
    }
}

fn counted(index: &Index<'_>) -> impl Iterator<Item = u32> {
    (0..index.history.len() as u32).filter(|&txn| index.counts[txn as usize])
}
