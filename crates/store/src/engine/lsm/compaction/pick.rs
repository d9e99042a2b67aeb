//! Choosing a compaction: a pure function of version, options and cursors.

use crate::engine::lsm::table::TableMeta;
use crate::engine::lsm::tree::Version;
use crate::options::KeyspaceOptions;
use ringfort_base::limits::LEVELS;
use std::sync::Arc;

/// What to do next.
pub(crate) enum Choice {
    /// Nothing is due.
    Nothing,
    /// Tables go one level down as they are: an edit of the MANIFEST, no byte is read.
    Move { level: usize, tables: Vec<Arc<TableMeta>> },
    /// `inputs` of `level` and `below` of `level + 1` become new tables of `level + 1`.
    Merge { level: usize, inputs: Vec<Arc<TableMeta>>, below: Vec<Arc<TableMeta>> },
    /// `tables` of `level` become new tables of the same level: values are moved out of value files
    /// that are mostly garbage.
    Rewrite { level: usize, tables: Vec<Arc<TableMeta>> },
}

/// The target size of a level, bytes.
pub(crate) fn level_target_bytes(options: &KeyspaceOptions, level: usize) -> u64 {
    options.level1_bytes.saturating_mul(10u64.saturating_pow(level.saturating_sub(1) as u32))
}

/// How urgent a level is: at 1.0 its compaction is due. The last level is never due.
pub(crate) fn score(version: &Version, options: &KeyspaceOptions, level: usize) -> f64 {
    if level == 0 {
        return version.levels[0].len() as f64 / options.level0_tables as f64;
    }
    if level + 1 >= LEVELS {
        return 0.0;
    }
    version.level_bytes(level) as f64 / level_target_bytes(options, level) as f64
}

/// The most urgent compaction. `cursors[l]` is the key behind which level `l` was compacted last.
pub(crate) fn choose(version: &Version, options: &KeyspaceOptions, cursors: &[Vec<u8>; LEVELS]) -> Choice {
    let due = (0..LEVELS - 1).map(|level| (level, score(version, options, level)));
    let due = due.filter(|(_, score)| *score >= 1.0).max_by(|a, b| a.1.total_cmp(&b.1));
    let Some((level, _)) = due else { return Choice::Nothing };
    let inputs = if level == 0 {
        version.levels[0].clone()
    } else {
        let tables = &version.levels[level];
        let at = tables.partition_point(|table| table.smallest.as_slice() <= cursors[level].as_slice());
        tables.get(at).or_else(|| tables.first()).cloned().into_iter().collect()
    };
    plan(version, level, inputs)
}

/// A compaction of `inputs` into the level below.
pub(crate) fn plan(version: &Version, level: usize, mut inputs: Vec<Arc<TableMeta>>) -> Choice {
    if inputs.is_empty() {
        return Choice::Nothing;
    }
    if level > 0 {
        widen_over_touching(version, level, &mut inputs);
    }
    let smallest = inputs.iter().map(|table| table.smallest.as_slice()).min();
    let largest = inputs.iter().map(|table| table.largest.as_slice()).max();
    let below = version.overlapping(level + 1, smallest, largest);
    let disjoint = level > 0 || inputs.len() == 1;
    if below.is_empty() && disjoint {
        return Choice::Move { level, tables: inputs };
    }
    Choice::Merge { level, inputs, below }
}

/// Neighbours that share a boundary key go together, so that no older version of a key is left
/// above a newer one.
fn widen_over_touching(version: &Version, level: usize, inputs: &mut Vec<Arc<TableMeta>>) {
    loop {
        let smallest = inputs.iter().map(|table| table.smallest.clone()).min();
        let largest = inputs.iter().map(|table| table.largest.clone()).max();
        let all = version.overlapping(level, smallest.as_deref(), largest.as_deref());
        if all.len() == inputs.len() {
            return;
        }
        *inputs = all;
    }
}
