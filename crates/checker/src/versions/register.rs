//! Registers do not show the order of their versions. Known is: the initial value comes before all; a
//! version that a transaction read comes before the one that it wrote; and, if time counts, what
//! was written before another write began comes before that.

use super::{OfKey, anti};
use crate::Order;
use crate::anomaly::Kind;
use crate::chain::Chain;
use crate::graph::{RW, WR, WW};
use crate::history::Outcome;
use crate::index::{Read, Seen, Write};
use std::collections::HashMap;

pub(super) fn add(of: &mut OfKey<'_, '_>, order: Order) {
    let mut writers: Vec<Write> = of
        .index
        .of_key(of.key)
        .iter()
        .filter(|write| write.last && of.index.counts[write.txn as usize])
        .copied()
        .collect();
    writers.sort_by_key(|write| of.index.history[write.txn as usize].start);
    let all = Chain::new(of.graph, writers.iter().map(|write| write.txn).collect());
    let replaced = replacements(of, &writers);
    lost_updates(of, &replaced);
    let later = (order == Order::RealTime).then(|| Later::new(of, &writers));
    for read in of.reads {
        let Seen::Register(value) = read.seen else { continue };
        let Some(value) = value else {
            all.join(of.graph, read.txn, anti(read), of.key);
            continue;
        };
        let Some(write) = of.seen(read.txn, value, true) else { continue };
        of.graph.edge(write.txn, read.txn, WR, of.key);
        for &by in replaced.get(&Some(value)).map_or(&[][..], Vec::as_slice) {
            of.graph.edge(read.txn, by, RW, of.key);
            of.graph.edge(write.txn, by, WW, of.key);
        }
        if let Some(later) = &later {
            later.join(of, read.txn, &write, &all);
        }
    }
}

/// For each version: who read it and wrote the key.
fn replacements(of: &OfKey<'_, '_>, writers: &[Write]) -> HashMap<Option<u64>, Vec<u32>> {
    let mut by_txn: Vec<u32> = writers.iter().map(|write| write.txn).collect();
    by_txn.sort_unstable();
    let mut replaced: HashMap<Option<u64>, Vec<u32>> = HashMap::new();
    for Read { txn, seen, .. } in of.reads {
        if let Seen::Register(value) = seen
            && by_txn.binary_search(txn).is_ok()
        {
            replaced.entry(*value).or_default().push(*txn);
        }
    }
    replaced
}

fn lost_updates(of: &mut OfKey<'_, '_>, replaced: &HashMap<Option<u64>, Vec<u32>>) {
    let name = of.name();
    let mut lost: Vec<_> = replaced.iter().filter(|(_, by)| by.len() > 1).collect();
    lost.sort_unstable();
    for (value, by) in lost {
        of.report.add(Kind::LostUpdate, false, by.clone(), || {
            format!("{} transactions read {value:?} from key {name} and each replaced it", by.len())
        });
    }
}

/// Writers by the time at which they began.
struct Later {
    writers: Vec<u32>,
    starts: Vec<u64>,
    /// Of this and all later ones: who ended first. Only who is known to have ended.
    first_end: Vec<Option<(u64, u32)>>,
}

impl Later {
    fn new(of: &OfKey<'_, '_>, writers: &[Write]) -> Self {
        let history = of.index.history;
        let mut first_end = vec![None; writers.len()];
        let mut least: Option<(u64, u32)> = None;
        for (at, write) in writers.iter().enumerate().rev() {
            let txn = &history[write.txn as usize];
            if txn.outcome == Outcome::Committed && least.is_none_or(|(end, _)| txn.end < end) {
                least = Some((txn.end, write.txn));
            }
            first_end[at] = least;
        }
        Self {
            writers: writers.iter().map(|write| write.txn).collect(),
            starts: writers.iter().map(|write| history[write.txn as usize].start).collect(),
            first_end,
        }
    }

    /// What a reader of `write` did not see of the writes that began after that one had ended.
    fn join(&self, of: &mut OfKey<'_, '_>, reader: u32, write: &Write, all: &Chain) {
        let writer = &of.index.history[write.txn as usize];
        if writer.outcome != Outcome::Committed {
            return;
        }
        let first = self.starts.partition_point(|&start| start <= writer.end);
        match self.writers.iter().skip(first).position(|&txn| txn == reader) {
            None => all.join_from(of.graph, reader, first, RW, of.key),
            // Who writes the key himself is joined to all later ones, and of the earlier ones to the one that
            // ended first: if any had ended before he began, then that one had.
            Some(own) => {
                all.join_from(of.graph, reader, first + own + 1, RW, of.key);
                if let Some((_, ended)) = self.first_end[first] {
                    of.graph.edge(reader, ended, RW, of.key);
                }
            }
        }
    }
}
