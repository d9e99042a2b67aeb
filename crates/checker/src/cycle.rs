//! Cycles, and their names.
//!
//! First the groups of transactions that reach each other are found in the whole graph: without one
//! the history is clean. Each group is then searched for the gravest kind of cycle, from cycles of writes
//! alone to those that need time, and one short cycle is told.

use crate::anomaly::{Kind, Report};
use crate::graph::{Graph, LINK, NO_KEY, RW, RW_PREDICATE, TIME, WR, WW};
use crate::index::Index;
use std::collections::VecDeque;

/// From how many nodes a short cycle is looked for.
const STARTS_MAX: usize = 64;

/// What is looked for, the gravest first: the edges that a cycle may have, and how many reads of
/// replaced versions at most.
const CLASSES: &[(Kind, u8, usize)] = &[
    (Kind::G0, WW, 0),
    (Kind::G1c, WW | WR, 0),
    (Kind::GSingle, WW | WR | RW, 1),
    (Kind::G2Item, WW | WR | RW, usize::MAX),
    (Kind::G2Predicate, WW | WR | RW | RW_PREDICATE, usize::MAX),
];

/// Reports one cycle of each group.
pub(crate) fn find(graph: &Graph, index: &Index<'_>, report: &mut Report) {
    for group in graph.components(u8::MAX) {
        let part = graph.part(&group);
        let found = [0, TIME].into_iter().find_map(|time| {
            CLASSES
                .iter()
                .find_map(|&(kind, mask, anti)| Some((kind, time != 0, shortest(&part, mask | time, anti)?)))
        });
        if let Some((kind, timed, cycle)) = found {
            tell(index, report, kind, timed, &cycle);
        }
    }
}

/// One step of a cycle, by the name of where it begins.
#[derive(Clone, Copy)]
struct Hop {
    from: u32,
    kind: u8,
    key: u32,
}

/// A short cycle of edges in `mask` with at most `anti` reads of replaced versions.
fn shortest(graph: &Graph, mask: u8, anti: usize) -> Option<Vec<Hop>> {
    graph.components(mask).iter().find_map(|group| {
        let part = graph.part(group);
        let starts = (0..part.nodes()).filter(|&node| part.is_txn(node)).take(STARTS_MAX);
        starts.filter_map(|start| around(&part, start, mask, anti)).min_by_key(Vec::len)
    })
}

/// The shortest way from a node back to itself, by breadth.
fn around(graph: &Graph, start: u32, mask: u8, anti: usize) -> Option<Vec<Hop>> {
    // With at most one read of a replaced version there are two layers: before it and after it.
    let layers = if anti == 1 { 2 } else { 1 };
    let at = |node: u32, layer: u32| node as usize * layers + layer as usize;
    let mut came: Vec<Option<(u32, u32, u8, u32)>> = vec![None; graph.nodes() as usize * layers];
    let mut queue = VecDeque::from([(start, 0u32)]);
    while let Some((node, layer)) = queue.pop_front() {
        for edge in graph.of(node).iter().filter(|edge| edge.kind & (mask | LINK) != 0) {
            let next = if layers == 2 && edge.kind & (RW | RW_PREDICATE) != 0 { layer + 1 } else { layer };
            if next as usize >= layers || came[at(edge.to, next)].is_some() {
                continue;
            }
            came[at(edge.to, next)] = Some((node, layer, edge.kind, edge.key));
            if edge.to == start {
                return Some(unwind(graph, &came, at, start, next));
            }
            queue.push_back((edge.to, next));
        }
    }
    None
}

fn unwind(
    graph: &Graph,
    came: &[Option<(u32, u32, u8, u32)>],
    at: impl Fn(u32, u32) -> usize,
    start: u32,
    layer: u32,
) -> Vec<Hop> {
    let mut hops = Vec::new();
    let (mut node, mut layer) = (start, layer);
    while let Some((from, before, kind, key)) = came[at(node, layer)] {
        hops.push(Hop { from: graph.name(from), kind, key });
        (node, layer) = (from, before);
        if from == start && before == 0 {
            break;
        }
    }
    hops.reverse();
    hops
}

fn tell(index: &Index<'_>, report: &mut Report, kind: Kind, timed: bool, cycle: &[Hop]) {
    let hops: Vec<&Hop> = cycle.iter().filter(|hop| hop.kind != LINK).collect();
    let txns: Vec<u32> = hops.iter().map(|hop| hop.from).collect();
    report.add(kind, timed, txns.clone(), || {
        let mut text = String::new();
        for (hop, txn) in hops.iter().zip(&txns) {
            let why = match hop.kind {
                WW => "its write was replaced by",
                WR => "its write was read by",
                RW => "what it read was replaced by",
                RW_PREDICATE => "its scan missed a key of",
                _ => "it ended before the start of",
            };
            let on = match hop.key {
                NO_KEY => String::new(),
                key => format!(" (key {})", index.keys[key as usize]),
            };
            text.push_str(&format!("T{txn}: {why}{on} "));
        }
        text.push_str(&format!("T{}", txns[0]));
        text
    });
}
