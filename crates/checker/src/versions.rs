//! The order of each key's versions, and the edges that follow from it.

mod list;
mod register;

use crate::Order;
use crate::anomaly::{Kind, Report};
use crate::graph::{Builder, RW, RW_PREDICATE};
use crate::history::Outcome;
use crate::index::{Index, Read, Write};

/// Adds the edges of all keys, and reports what is wrong without any cycle.
pub(crate) fn add(index: &Index<'_>, order: Order, graph: &mut Builder, report: &mut Report) {
    for &(kind, txn, key) in &index.contradictions {
        let name = index.keys[key as usize];
        report.add(kind, false, vec![txn], || {
            format!("T{txn} contradicts itself at key {name}: {:?}", index.history[txn as usize].ops)
        });
    }
    let mut first = 0;
    for key in 0..index.keys.len() as u32 {
        let count = index.reads[first..].partition_point(|read| read.key == key);
        let reads = &index.reads[first..first + count];
        first += count;
        let mut of = OfKey { index, key, reads, graph, report };
        if index.is_list(key) { list::add(&mut of) } else { register::add(&mut of, order) }
    }
}

/// One key at work.
struct OfKey<'a, 'h> {
    index: &'a Index<'h>,
    key: u32,
    reads: &'a [Read<'h>],
    graph: &'a mut Builder,
    report: &'a mut Report,
}

impl OfKey<'_, '_> {
    fn name(&self) -> u64 {
        self.index.keys[self.key as usize]
    }

    /// The write of a value that `reader` saw, if it may be seen; what may not is reported.
    fn seen(&mut self, reader: u32, value: u64, is_newest: bool) -> Option<Write> {
        let name = self.name();
        let Some(at) = self.index.find(self.key, value) else {
            self.report.add(Kind::Garbage, false, vec![reader], || {
                format!("T{reader} read {value} from key {name}, which nobody wrote")
            });
            return None;
        };
        let write = self.index.writes[at];
        let writer = write.txn;
        if self.index.history[writer as usize].outcome == Outcome::Aborted {
            self.report.add(Kind::G1a, false, vec![writer, reader], || {
                format!("T{reader} read {value} from key {name}, written by T{writer}, which aborted")
            });
            return None;
        }
        if is_newest && !write.last && writer != reader {
            self.report.add(Kind::G1b, false, vec![writer, reader], || {
                format!("T{reader} read {value} from key {name}, which T{writer} changed again")
            });
        }
        Some(write)
    }
}

/// The kind of a read of what was replaced.
fn anti(read: &Read<'_>) -> u8 {
    if read.predicate { RW_PREDICATE } else { RW }
}
