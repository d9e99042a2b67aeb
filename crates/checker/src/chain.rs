//! "This one before all of those": edges to many targets by way of helper nodes.
//!
//! ```text
//!   S0 ──▶ S1 ──▶ S2        S_i leads to target i and all later ones
//!   │      │      │
//!   ▼      ▼      ▼
//!   t0     t1     t2        P_i leads to target i and all earlier ones
//!   ▲      ▲      ▲
//!   │      │      │
//!   P0 ◀── P1 ◀── P2
//! ```
//!
//! Two chains, so that one that is a target itself can be joined to all others and not to itself.

use crate::graph::{Builder, LINK, NO_KEY};

/// Targets in some order, with both chains over them.
pub(crate) struct Chain {
    targets: Vec<u32>,
    suffix: Vec<u32>,
    prefix: Vec<u32>,
}

impl Chain {
    /// A transaction may stand among the targets once only.
    pub(crate) fn new(graph: &mut Builder, targets: Vec<u32>) -> Self {
        let suffix: Vec<u32> = targets.iter().map(|_| graph.helper()).collect();
        let prefix: Vec<u32> = targets.iter().map(|_| graph.helper()).collect();
        for (at, &target) in targets.iter().enumerate() {
            graph.edge(suffix[at], target, LINK, NO_KEY);
            graph.edge(prefix[at], target, LINK, NO_KEY);
            if at > 0 {
                graph.edge(suffix[at - 1], suffix[at], LINK, NO_KEY);
                graph.edge(prefix[at], prefix[at - 1], LINK, NO_KEY);
            }
        }
        Self { targets, suffix, prefix }
    }

    /// Joins `from` to all targets but itself.
    pub(crate) fn join(&self, graph: &mut Builder, from: u32, kind: u8, key: u32) {
        match self.targets.iter().position(|&target| target == from) {
            Some(own) => {
                self.join_from(graph, from, own + 1, kind, key);
                if own > 0 {
                    graph.edge(from, self.prefix[own - 1], kind, key);
                }
            }
            None => self.join_from(graph, from, 0, kind, key),
        }
    }

    /// Joins `from`, which is not among them, to the target at `first` and all later ones.
    pub(crate) fn join_from(&self, graph: &mut Builder, from: u32, first: usize, kind: u8, key: u32) {
        if let Some(&helper) = self.suffix.get(first) {
            graph.edge(from, helper, kind, key);
        }
    }
}
