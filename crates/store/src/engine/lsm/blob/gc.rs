//! Choosing what to collect: pure functions of a version.
//!
//! A keyspace tolerates [`GARBAGE_PERCENT_MAX`] of garbage among the bytes of its value files. Beyond
//! that the files with the largest share of it become *victims*, until what the others hold is well
//! below. Whoever rewrites a table that points into a victim moves those values ([`super::separate`]):
//! a compaction that happens anyway, or, when none is due, a rewriting of one table in place, the one
//! that points to most of what must move. Tables of level 0 are not rewritten in place, since their
//! order is their age: they are compacted.
//!
//! It ends: each step leaves fewer pointers into victims, new files are without garbage, and a victim
//! without pointers is gone.

use super::set::BlobSet;
use crate::engine::lsm::compaction::pick::{self, Choice};
use crate::engine::lsm::tree::Version;
use ringfort_base::FileNo;
use ringfort_base::limits::LEVELS;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Share of garbage that is left alone.
pub(crate) const GARBAGE_PERCENT_MAX: u64 = 20;
/// When it is too much, files are emptied until no more than this remains.
const GARBAGE_PERCENT_GOAL: u64 = 10;

/// The files that are to be emptied; none while there is little garbage.
pub(crate) fn victims(set: &BlobSet) -> BTreeSet<FileNo> {
    let (all, garbage) = set.bytes();
    if !exceeds(garbage, all, GARBAGE_PERCENT_MAX) {
        return BTreeSet::new();
    }
    let mut files: Vec<_> = set.files().filter(|live| live.garbage_bytes() > 0).collect();
    // By share of garbage, the largest first; the oldest of equals.
    let share = |garbage: u64, data: u64| u128::from(garbage) * (1 << 32) / u128::from(data.max(1));
    files.sort_by_key(|live| std::cmp::Reverse(share(live.garbage_bytes(), live.meta.data_bytes)));
    let (mut all, mut garbage) = (all, garbage);
    let mut victims = BTreeSet::new();
    for live in files {
        if !exceeds(garbage, all, GARBAGE_PERCENT_GOAL) {
            break;
        }
        garbage -= live.garbage_bytes();
        all -= live.garbage_bytes(); // what lives in it stays, elsewhere
        victims.insert(live.meta.file);
    }
    victims
}

fn exceeds(garbage: u64, all: u64, percent: u64) -> bool {
    u128::from(garbage) * 100 > u128::from(all) * u128::from(percent)
}

/// The next step of a collection, if one is due.
pub(crate) fn choose(version: &Version) -> Choice {
    let victims = victims(&version.blobs);
    if victims.is_empty() {
        return uncover(version);
    }
    let mut best: Option<(u64, usize, &Arc<_>)> = None;
    for level in 1..LEVELS {
        for table in &version.levels[level] {
            let uses = table.values.iter().filter(|used| victims.contains(&used.file));
            let bytes: u64 = uses.map(|used| used.bytes).sum();
            if bytes > 0 && best.is_none_or(|(most, ..)| bytes > most) {
                best = Some((bytes, level, table));
            }
        }
    }
    match best {
        Some((_, level, table)) => Choice::Rewrite { level, tables: vec![Arc::clone(table)] },
        // What remains is pointed to from level 0 only.
        None => pick::plan(version, 0, version.levels[0].clone()),
    }
}

/// Level 0 may hide garbage, since what its tables overwrite was not merged yet: if it might be too
/// much, they are compacted before their number asks for it. They are small: they hold pointers.
fn uncover(version: &Version) -> Choice {
    let (all, garbage) = version.blobs.bytes();
    let hidden: u64 = version.levels[0].iter().map(|table| table.value_bytes()).sum();
    if hidden > 0 && exceeds(garbage + hidden, all, GARBAGE_PERCENT_MAX) {
        return pick::plan(version, 0, version.levels[0].clone());
    }
    Choice::Nothing
}
