//! Choosing a compaction: a pure function of version and options.

use crate::engine::lsm::table::TableMeta;
use crate::engine::lsm::tree::Version;
use crate::options::KeyspaceOptions;
use ringfort_base::limits::LEVELS;
use std::sync::Arc;

/// Level 0 is worth merging into level 1 if this many times its size is at least level 1's.
const LEVEL0_WORTH: u64 = 2;

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
///
/// Level 0 is due at its number of tables, if merging it is worth rewriting level 1, which overlaps
/// all of it; at twice that number it is due in any case, for the readers' sake.
pub(crate) fn score(version: &Version, options: &KeyspaceOptions, level: usize) -> f64 {
    if level == 0 {
        let tables = version.levels[0].len() as f64 / options.level0_tables as f64;
        let worth = version.level_bytes(0) * LEVEL0_WORTH >= version.level_bytes(1);
        return if worth { tables } else { tables / 2.0 };
    }
    if level + 1 >= LEVELS {
        return 0.0;
    }
    version.level_bytes(level) as f64 / level_target_bytes(options, level) as f64
}

/// The most urgent compaction.
pub(crate) fn choose(version: &Version, options: &KeyspaceOptions) -> Choice {
    let due = (0..LEVELS - 1).map(|level| (level, score(version, options, level)));
    let due = due.filter(|(_, score)| *score >= 1.0).max_by(|a, b| a.1.total_cmp(&b.1));
    let Some((level, _)) = due else { return Choice::Nothing };
    let inputs = if level == 0 {
        version.levels[0].clone()
    } else {
        let tables = version.levels[level].iter();
        let cheapest = tables.min_by(|a, b| cost(version, level, a).total_cmp(&cost(version, level, b)));
        cheapest.cloned().into_iter().collect()
    };
    plan(version, level, inputs)
}

/// Bytes below that have to be rewritten for each byte of a table that goes down.
fn cost(version: &Version, level: usize, table: &TableMeta) -> f64 {
    let below = version.overlapping(level + 1, Some(&table.smallest), Some(&table.largest));
    below.iter().map(|table| table.file_bytes).sum::<u64>() as f64 / table.file_bytes.max(1) as f64
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
    if below.is_empty() && (level > 0 || are_disjoint(&inputs)) {
        return Choice::Move { level, tables: inputs };
    }
    Choice::Merge { level, inputs, below }
}

/// Whether no two tables have a key between them that is in the range of both: what is written in the
/// order of its keys comes to level 0 like that.
fn are_disjoint(tables: &[Arc<TableMeta>]) -> bool {
    let mut ranges: Vec<_> = tables.iter().map(|table| (&table.smallest, &table.largest)).collect();
    ranges.sort_unstable();
    ranges.windows(2).all(|pair| pair[0].1 < pair[1].0)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::lsm::table::format::BlockHandle;
    use crate::engine::lsm::tree::Change;
    use crate::options::Compression;
    use ringfort_base::{Epoch, FileNo, Seq};
    use ringfort_trust::keys::Secret;
    use ringfort_trust::{Protection, Tag};

    fn table(file: u64, (smallest, largest): (&str, &str), file_bytes: u64) -> Arc<TableMeta> {
        Arc::new(TableMeta {
            file: FileNo(file),
            file_bytes,
            protection: Protection::Checksummed,
            key: Secret::from_verified([0; 32]),
            footer: BlockHandle { offset: 0, sealed_len: 100, codec: Compression::None },
            footer_tag: Tag::default(),
            smallest: smallest.into(),
            largest: largest.into(),
            largest_excluded: false,
            smallest_seq: Seq(file),
            largest_seq: Seq(file),
            entries: 1,
            deletes: 0,
            range_tombstones: 0,
            partitioned: false,
            epoch: Epoch(0),
            loaded: false,
            values: Vec::new(),
        })
    }

    fn version(tables: &[(usize, Arc<TableMeta>)]) -> Version {
        let change = Change { added: tables.to_vec(), ..Change::default() };
        Version::new(Default::default(), Arc::default(), 0).with(&change).expect("no values").0
    }

    const OPTIONS: fn() -> KeyspaceOptions =
        || KeyspaceOptions { level0_tables: 4, level1_bytes: 1000, ..KeyspaceOptions::default() };

    fn level0(tables: u64, level1_bytes: u64) -> Choice {
        let mut all: Vec<_> = (1..=tables).map(|n| (0, table(n, ("a", "z"), 100))).collect();
        all.push((1, table(99, ("a", "z"), level1_bytes)));
        choose(&version(&all), &OPTIONS())
    }

    #[test]
    fn level_0_waits_until_it_is_worth_rewriting_level_1_but_not_for_ever() {
        assert!(matches!(level0(3, 10), Choice::Nothing), "below its trigger");
        for (tables, level1_bytes, due) in [(4, 800, true), (4, 900, false), (7, 1000, true), (8, 1000, true)]
        {
            let merges = matches!(level0(tables, level1_bytes), Choice::Merge { level: 0, .. });
            assert_eq!(merges, due, "{tables} tables over {level1_bytes} bytes");
        }
    }

    #[test]
    fn tables_written_in_the_order_of_their_keys_go_down_as_they_are() {
        let ranges = [("c", "d"), ("a", "b"), ("g", "h"), ("e", "f")];
        let mut all: Vec<_> = (1..).zip(ranges).map(|(n, range)| (0, table(n, range, 100))).collect();
        all.push((1, table(99, ("i", "z"), 100)));
        let moves = |all: &[_]| matches!(choose(&version(all), &OPTIONS()), Choice::Move { level: 0, .. });
        assert!(moves(&all));
        all[2] = (0, table(3, ("f", "h"), 100));
        assert!(!moves(&all), "two share a key");
        all[2] = (0, table(3, ("g", "i"), 100));
        assert!(!moves(&all), "one shares a key with level 1");
    }

    #[test]
    fn the_table_that_costs_least_goes_down_first() {
        let tables = [
            (1, table(1, ("a", "c"), 600)),
            (1, table(2, ("d", "f"), 600)),
            (1, table(3, ("g", "i"), 600)),
            (2, table(4, ("a", "e"), 5000)),
            (2, table(5, ("h", "z"), 500)),
        ];
        let Choice::Merge { level: 1, inputs, below } = choose(&version(&tables), &OPTIONS()) else {
            panic!("level 1 is due")
        };
        assert_eq!((inputs[0].file, below[0].file), (FileNo(3), FileNo(5)));
        let Choice::Move { level: 1, tables } = choose(&version(&tables[..4]), &OPTIONS()) else {
            panic!("one overlaps nothing")
        };
        assert_eq!(tables[0].file, FileNo(3));
    }
}
