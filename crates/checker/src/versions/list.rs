//! Lists show the order of their versions: the longest read is the order of all appends in it, and
//! an append that counts and is in no read comes behind it.

use super::{OfKey, anti};
use crate::anomaly::Kind;
use crate::chain::Chain;
use crate::graph::{WR, WW};
use crate::index::{Read, Seen, Write};

pub(super) fn add(of: &mut OfKey<'_, '_>) {
    let longest: &[u64] = of.reads.iter().map(values).max_by_key(|values| values.len()).unwrap_or(&[]);
    let reader = of.reads.iter().find(|read| values(read).len() == longest.len()).map_or(0, |read| read.txn);
    let Some(order) = resolve(of, reader, longest) else { return };
    for pair in order.windows(2) {
        of.graph.edge(pair[0].txn, pair[1].txn, WW, of.key);
    }
    let unseen = unseen(of, &order);
    let behind = Chain::new(of.graph, unseen);
    if let Some(newest) = order.last() {
        behind.join(of.graph, newest.txn, WW, of.key);
    }
    for read in of.reads {
        let values = values(read);
        if !longest.starts_with(values) {
            incompatible(of, read, reader);
            continue;
        }
        edges_of(of, read, &order, values.len(), &behind);
    }
}

fn values<'h>(read: &Read<'h>) -> &'h [u64] {
    match read.seen {
        Seen::List(values) => values,
        Seen::Register(_) => &[],
    }
}

/// The writes of the longest read; nothing if it holds what must not be there, or holds it twice.
fn resolve(of: &mut OfKey<'_, '_>, reader: u32, longest: &[u64]) -> Option<Vec<Write>> {
    let mut order = Vec::with_capacity(longest.len());
    let mut sound = true;
    for &value in longest {
        match of.seen(reader, value, false) {
            Some(write) => order.push(write),
            None => sound = false,
        }
    }
    let mut sorted = longest.to_vec();
    sorted.sort_unstable();
    if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        let (value, name) = (twice[0], of.name());
        of.report.add(Kind::Duplicate, false, vec![reader], || {
            format!("T{reader} read {value} from key {name} twice in one list")
        });
        sound = false;
    }
    sound.then_some(order)
}

/// Goes through each transaction's appends, which stand together, in its order, and all of them, and
/// returns who appended and was not seen: he comes behind everything that was, in no known order.
fn unseen(of: &mut OfKey<'_, '_>, order: &[Write]) -> Vec<u32> {
    let mut places: Vec<(u64, usize)> =
        order.iter().enumerate().map(|(at, write)| (write.value, at)).collect();
    places.sort_unstable();
    let place = |write: &Write| {
        places.binary_search_by_key(&write.value, |place| place.0).ok().map(|at| places[at].1)
    };
    let mut by_txn: Vec<Write> = of.index.of_key(of.key).to_vec();
    by_txn.retain(|write| of.index.counts[write.txn as usize]);
    by_txn.sort_unstable_by_key(|write| (write.txn, write.op));
    let mut unseen = Vec::new();
    for own in by_txn.chunk_by(|a, b| a.txn == b.txn) {
        let places: Vec<Option<usize>> = own.iter().map(place).collect();
        if places.iter().all(Option::is_none) {
            unseen.push(own[0].txn);
        } else if !whole(&places, order.len()) {
            let (txn, name) = (own[0].txn, of.name());
            of.report.add(Kind::TornWrites, false, vec![txn], || {
                format!("what T{txn} appended to key {name} does not stand together in its order")
            });
        }
    }
    unseen
}

/// Whether the places are a run; it may be cut off by the end of the list, which is an intermediate
/// read and reported as one.
fn whole(places: &[Option<usize>], end: usize) -> bool {
    let Some(first) = places[0] else { return false };
    places.iter().enumerate().all(|(at, place)| match place {
        Some(place) => *place == first + at,
        None => first + at >= end,
    })
}

/// The edges of a read that saw the first `seen` elements of `order`.
fn edges_of(of: &mut OfKey<'_, '_>, read: &Read<'_>, order: &[Write], seen: usize, behind: &Chain) {
    if let Some(newest) = seen.checked_sub(1).map(|at| order[at])
        && of.seen(read.txn, newest.value, true).is_some()
    {
        of.graph.edge(newest.txn, read.txn, WR, of.key);
    }
    match order.get(seen) {
        Some(next) => of.graph.edge(read.txn, next.txn, anti(read), of.key),
        None => behind.join(of.graph, read.txn, anti(read), of.key),
    }
}

fn incompatible(of: &mut OfKey<'_, '_>, read: &Read<'_>, longest: u32) {
    let (txn, name) = (read.txn, of.name());
    for &value in values(read) {
        if of.seen(txn, value, false).is_none() {
            return;
        }
    }
    of.report.add(Kind::IncompatibleOrder, false, vec![txn, longest], || {
        format!("T{txn} and T{longest} read lists of key {name} of which neither begins the other")
    });
}
