//! Attacks on tables: every kind of block at every level, whole files, and what hides or brings
//! back entries (matrix rows 1, 4, 5, 14, 15).

use crate::anatomy::TableAt;
use crate::matrix::{Aim, Expect, Row, run};
use crate::scene::{Moment, is_table, is_values};
use ringfort_base::EvidenceKind::{self, BadSeal, Inconsistent, Missing, Truncated};
use ringfort_fault::attack;
use ringfort_store::engine::lsm::table::format::{BlockHandle, BlockKind};

const ALTERED: &[EvidenceKind] = &[BadSeal, Inconsistent, Truncated];
pub const FOUND: [Expect; 3] = [Expect::OnRead(ALTERED, "tables/"); 3];
pub const GONE: [Expect; 3] = [Expect::OnRead(&[Missing], "tables/"); 3];
pub const HARMLESS: [Expect; 3] = [Expect::Harmless; 3];

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "flip-data-level0",
        what: "a bit of a data block at level 0",
        by: "R16: each block sealed (or checksummed) under the key that the MANIFEST holds",
        expect: FOUND,
        rounds: 40,
        attack: |aim| flip_data(aim, |l| l == 0),
    },
    Row {
        id: "flip-data-level1",
        what: "a bit of a data block at level 1",
        by: "R16: each block sealed (or checksummed) under the key that the MANIFEST holds",
        expect: FOUND,
        rounds: 40,
        attack: |aim| flip_data(aim, |l| l == 1),
    },
    Row {
        id: "flip-data-deeper",
        what: "a bit of a data block at level 2 or deeper",
        by: "R16: each block sealed (or checksummed) under the key that the MANIFEST holds",
        expect: FOUND,
        rounds: 40,
        attack: |aim| flip_data(aim, |l| l > 1),
    },
    Row {
        id: "flip-index",
        what: "a bit of an index or index partition",
        by: "R16: each block sealed (or checksummed) under the key that the MANIFEST holds",
        expect: FOUND,
        rounds: 40,
        attack: |aim| flip_kind(aim, BlockKind::Index),
    },
    Row {
        id: "flip-top-index",
        what: "a bit of a top index",
        by: "R16: each block sealed (or checksummed) under the key that the MANIFEST holds",
        expect: FOUND,
        rounds: 20,
        attack: |aim| flip_kind(aim, BlockKind::TopIndex),
    },
    Row {
        id: "flip-filter",
        what: "a bit of a filter",
        by: "R16: each block sealed (or checksummed) under the key that the MANIFEST holds",
        expect: FOUND,
        rounds: 40,
        attack: |aim| flip_kind(aim, BlockKind::Filter),
    },
    Row {
        id: "flip-tombstones",
        what: "a bit of a block of range tombstones",
        by: "R16: each block sealed (or checksummed) under the key that the MANIFEST holds",
        expect: FOUND,
        rounds: 20,
        attack: |aim| flip_kind(aim, BlockKind::Tombstones),
    },
    Row {
        id: "flip-properties",
        what: "a bit of the properties",
        by: "R16: each block sealed (or checksummed) under the key that the MANIFEST holds",
        expect: FOUND,
        rounds: 20,
        attack: |aim| flip_kind(aim, BlockKind::Properties),
    },
    Row {
        id: "flip-footer",
        what: "a bit of a footer",
        by: "R16: each block sealed (or checksummed) under the key that the MANIFEST holds",
        expect: FOUND,
        rounds: 20,
        attack: |aim| flip_kind(aim, BlockKind::Footer),
    },
    Row {
        id: "cut-table",
        what: "a table cut at and inside a block",
        by: "R16: places and lengths come from verified handles",
        expect: FOUND,
        rounds: 60,
        attack: cut,
    },
    Row {
        id: "extend-table",
        what: "noise behind a table",
        by: "R16: the footer lies where the MANIFEST says",
        expect: HARMLESS,
        rounds: 5,
        attack: extend,
    },
    Row {
        id: "delete-table",
        what: "each table deleted: the top one hides its tombstones",
        by: "R16: the MANIFEST names it",
        expect: GONE,
        rounds: usize::MAX,
        attack: delete,
    },
    Row {
        id: "delete-all-tables",
        what: "all tables deleted",
        by: "R16: the MANIFEST names it",
        expect: GONE,
        rounds: 1,
        attack: delete_all,
    },
    Row {
        id: "hide-tombstones",
        what: "the block of range tombstones zeroed, or another's put over it",
        by: "R16: the number of tombstones stands in the MANIFEST",
        expect: FOUND,
        rounds: 6,
        attack: hide_tombstones,
    },
    Row {
        id: "splice-block",
        what: "a data block over another of its length in the same table",
        by: "R13, R16: the offset is the nonce, kind and file are associated data, each table has its key",
        expect: FOUND,
        rounds: 20,
        attack: |aim| splice(aim, true, false),
    },
    Row {
        id: "splice-block-table",
        what: "a data block over one of its length in another table of its keyspace",
        by: "R13, R16: the offset is the nonce, kind and file are associated data, each table has its key",
        expect: FOUND,
        rounds: 20,
        attack: |aim| splice(aim, false, true),
    },
    Row {
        id: "splice-block-keyspace",
        what: "a data block over one of another keyspace",
        by: "R13, R16: the offset is the nonce, kind and file are associated data, each table has its key",
        expect: FOUND,
        rounds: 20,
        attack: |aim| splice(aim, false, false),
    },
    Row {
        id: "swap-blocks",
        what: "two data blocks of one length exchanged",
        by: "R13, R16: the offset is the nonce, each table has its key",
        expect: FOUND,
        rounds: 20,
        attack: swap_blocks,
    },
    Row {
        id: "swap-tables",
        what: "two tables exchanged",
        by: "R13, R16: the offset is the nonce, each table has its key",
        expect: FOUND,
        rounds: 20,
        attack: swap_tables,
    },
    Row {
        id: "older-table",
        what: "a table that a compaction replaced, under the name of a present one",
        by: "R13, R16: each table has its key",
        expect: FOUND,
        rounds: 20,
        attack: older_table,
    },
    Row {
        id: "compaction-input-again",
        what: "all tables that compactions removed put back beside the present ones",
        by: "R8: what the state does not name is garbage",
        expect: HARMLESS,
        rounds: 1,
        attack: inputs_again,
    },
];

#[test]
fn attacks_on_tables() {
    run(ROWS);
}

pub fn table<'a>(aim: &mut Aim<'a>, fits: impl Fn(&TableAt) -> bool) -> Option<&'a TableAt> {
    let fitting: Vec<_> = aim.anatomy.tables.iter().filter(|table| fits(table)).collect();
    aim.pick(&fitting).copied()
}

pub fn flip_block(aim: &mut Aim<'_>, table: &TableAt, kind: BlockKind) -> Option<String> {
    let blocks: Vec<BlockHandle> = table.of_kind(kind).copied().collect();
    let block = *aim.pick(&blocks)?;
    let at = aim.within(block.offset as usize..block.end() as usize);
    Some(format!(
        "{} ({}, level {})",
        aim.flip(aim.machine.table_disk(), &table.path, at),
        kind.name(),
        table.level
    ))
}

fn flip_data(aim: &mut Aim<'_>, level: fn(u8) -> bool) -> Option<String> {
    let table = table(aim, |table| level(table.level) && table.of_kind(BlockKind::Data).count() > 0)?;
    flip_block(aim, table, BlockKind::Data)
}

fn flip_kind(aim: &mut Aim<'_>, kind: BlockKind) -> Option<String> {
    let table = table(aim, |table| table.of_kind(kind).count() > 0)?;
    flip_block(aim, table, kind)
}

fn cut(aim: &mut Aim<'_>) -> Option<String> {
    let table = table(aim, |_| true)?;
    cut_table(aim, table)
}

/// At and inside a block.
pub fn cut_table(aim: &mut Aim<'_>, table: &TableAt) -> Option<String> {
    let block = *aim.pick(&table.blocks)?;
    let inside = aim.within(0..block.handle.sealed_len as usize) as u64;
    let len = block.handle.offset + if aim.round.is_multiple_of(3) { 0 } else { inside };
    attack::truncate(aim.machine.table_disk(), &table.path, len).unwrap();
    Some(format!("{} cut to {len}", table.path))
}

fn extend(aim: &mut Aim<'_>) -> Option<String> {
    let table = table(aim, |_| true)?;
    attack::append(aim.machine.table_disk(), &table.path, &[0x5a; 4096]).unwrap();
    Some(format!("{} is longer", table.path))
}

fn delete(aim: &mut Aim<'_>) -> Option<String> {
    let table = aim.anatomy.tables.get(aim.round)?;
    attack::delete(aim.machine.table_disk(), &table.path).unwrap();
    Some(format!("{} of level {} deleted", table.path, table.level))
}

fn delete_all(aim: &mut Aim<'_>) -> Option<String> {
    aim.anatomy
        .tables
        .iter()
        .for_each(|table| attack::delete(aim.machine.table_disk(), &table.path).unwrap());
    Some("all tables deleted".to_owned())
}

fn hide_tombstones(aim: &mut Aim<'_>) -> Option<String> {
    let table = table(aim, |table| table.of_kind(BlockKind::Tombstones).count() > 0)?;
    let block = *table.of_kind(BlockKind::Tombstones).next()?;
    let data = *table.of_kind(BlockKind::Data).chain(table.of_kind(BlockKind::Properties)).next()?;
    let disk = aim.machine.table_disk();
    let bytes = disk.bytes_of(&table.path).unwrap();
    let mut instead = vec![0; block.sealed_len as usize];
    if aim.round.is_multiple_of(2) {
        let from = &bytes[data.offset as usize..data.end() as usize];
        let len = from.len().min(instead.len());
        instead[..len].copy_from_slice(&from[..len]);
    }
    disk.poke(&table.path, block.offset, &instead).unwrap();
    Some(format!("the tombstones of {} covered", table.path))
}

/// Two data blocks of one length: in one table, or in two.
fn pair<'a>(
    aim: &mut Aim<'a>,
    same_table: bool,
    same_keyspace: bool,
) -> Option<[(&'a TableAt, BlockHandle); 2]> {
    for _ in 0..5000 {
        let (one, two) = (table(aim, |_| true)?, table(aim, |_| true)?);
        let two = if same_table { one } else { two };
        let fits = same_table || (one.path != two.path && (one.keyspace == two.keyspace) == same_keyspace);
        let of = |table: &TableAt| table.of_kind(BlockKind::Data).copied().collect::<Vec<_>>();
        let (Some(&a), Some(&b)) = (aim.pick(&of(one)), aim.pick(&of(two))) else { continue };
        let same = one.path == two.path && a.offset == b.offset;
        // Between keyspaces lengths differ by a little: the front of the longer one will do.
        let lengths = a.sealed_len == b.sealed_len || (!same_table && !same_keyspace);
        if fits && !same && lengths {
            return Some([(one, a), (two, b)]);
        }
    }
    None
}

fn splice(aim: &mut Aim<'_>, same_table: bool, same_keyspace: bool) -> Option<String> {
    let [(to, target), (from, source)] = pair(aim, same_table, same_keyspace)?;
    let len = u64::from(source.sealed_len.min(target.sealed_len));
    let disk = aim.machine.table_disk();
    attack::splice(disk, &from.path, source.offset, len, &to.path, target.offset).unwrap();
    Some(format!("{}+{} over {}+{}", from.path, source.offset, to.path, target.offset))
}

fn swap_blocks(aim: &mut Aim<'_>) -> Option<String> {
    let same_table = aim.round.is_multiple_of(2);
    let [(one, a), (two, b)] = pair(aim, same_table, true)?;
    let disk = aim.machine.table_disk();
    let (first, second) = (disk.bytes_of(&one.path).unwrap(), disk.bytes_of(&two.path).unwrap());
    disk.poke(&one.path, a.offset, &second[b.offset as usize..b.end() as usize]).unwrap();
    disk.poke(&two.path, b.offset, &first[a.offset as usize..a.end() as usize]).unwrap();
    Some(format!("{}+{} and {}+{} exchanged", one.path, a.offset, two.path, b.offset))
}

fn swap_tables(aim: &mut Aim<'_>) -> Option<String> {
    let (one, two) = (table(aim, |_| true)?, table(aim, |_| true)?);
    let two =
        if one.path == two.path { aim.anatomy.tables.iter().find(|t| t.path != one.path)? } else { two };
    attack::swap(aim.machine.table_disk(), &one.path, &two.path).unwrap();
    Some(format!("{} and {} exchanged", one.path, two.path))
}

/// Tables or value files of earlier moments that are not there any more, by path.
pub fn removed(aim: &Aim<'_>, fits: fn(&str) -> bool) -> Vec<(String, Vec<u8>)> {
    let now = aim.machine.table_disk().files();
    let moments = aim.scene.same_life.iter().map(|(_, moment)| moment).chain([&aim.scene.earlier_life]);
    let images = moments.map(|moment: &Moment| moment.tables(aim.scene.mode));
    let mut all: Vec<_> =
        images.flat_map(|image| image.files.clone()).filter(|(path, _)| fits(path)).collect();
    all.retain(|(path, _)| !now.contains_key(path));
    all.sort();
    all.dedup_by(|a, b| a.0 == b.0);
    all
}

fn older_table(aim: &mut Aim<'_>) -> Option<String> {
    let old = removed(aim, |path| is_table(path) && !is_values(path));
    let (from, bytes) = aim.pick(&old)?;
    let to = table(aim, |_| true)?;
    attack::write_file(aim.machine.table_disk(), &to.path, bytes).unwrap();
    Some(format!("{from} as {}", to.path))
}

fn inputs_again(aim: &mut Aim<'_>) -> Option<String> {
    let old = removed(aim, is_table);
    old.iter().for_each(|(path, bytes)| attack::write_file(aim.machine.table_disk(), path, bytes).unwrap());
    (!old.is_empty()).then(|| format!("{} old tables are back", old.len()))
}
