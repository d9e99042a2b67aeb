//! Attacks on tables that a bulk load wrote. They never were in the log, and what says as of which
//! position their entries are is the MANIFEST's record alone; so a table of another load, of an older
//! one or of none, with the same keys, is what a host would put in their place.

use crate::anatomy::TableAt;
use crate::matrix::{Aim, Expect, Row, run};
use crate::scene::{Loads, Tables};
use crate::table_rows::{GONE, HARMLESS, cut_table, flip_block, table};
use ringfort_base::EvidenceKind::{BadSeal, Truncated};
use ringfort_fault::attack;
use ringfort_store::engine::lsm::table::format::BlockKind;

const ALTERED: [Expect; 3] = [Expect::OnRead(&[BadSeal], "tables/"); 3];
const CUT: [Expect; 3] = [Expect::OnRead(&[Truncated], "tables/"); 3];

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "flip-loaded",
        what: "a bit of each kind of block of a loaded table",
        by: "R16: each block sealed (or checksummed) under the key that the MANIFEST holds",
        expect: ALTERED,
        rounds: 60,
        attack: flip,
    },
    Row {
        id: "cut-loaded",
        what: "a loaded table cut at and inside a block",
        by: "R16: places and lengths come from verified handles",
        expect: CUT,
        rounds: 30,
        attack: cut,
    },
    Row {
        id: "delete-loaded",
        what: "each loaded table deleted",
        by: "R16: the MANIFEST names it",
        expect: GONE,
        rounds: usize::MAX,
        attack: delete,
    },
    Row {
        id: "other-load",
        what: "a loaded table replaced by one of another load",
        by: "R13, R16: each table has its key, its number is associated data",
        expect: ALTERED,
        rounds: 20,
        attack: by_another,
    },
    Row {
        id: "older-load",
        what: "a loaded table replaced by one of an older load of the same keys, whose entries were deleted since",
        by: "R13, R16: each table has its key, its number is associated data",
        expect: ALTERED,
        rounds: usize::MAX,
        attack: |aim| by(aim, |loads| &loads.older),
    },
    Row {
        id: "abandoned-load",
        what: "a loaded table replaced by one of a load of the same keys that was refused",
        by: "R13, R16: each table has its key, its number is associated data",
        expect: ALTERED,
        rounds: usize::MAX,
        attack: |aim| by(aim, |loads| &loads.abandoned),
    },
    Row {
        id: "other-store-load",
        what: "a loaded table replaced by one of another store's load of the same keys",
        by: "R13, R16: each table has its key, the store is associated data",
        expect: ALTERED,
        rounds: usize::MAX,
        attack: |aim| by(aim, |loads| &loads.other),
    },
    Row {
        id: "flushed-as-loaded",
        what: "a loaded table replaced by one that a flush or compaction wrote, cut or extended to its length",
        by: "R13, R16: each table has its key; that it was loaded stands in the MANIFEST",
        expect: ALTERED,
        rounds: 20,
        attack: by_flushed,
    },
    Row {
        id: "loads-again",
        what: "the tables of an older load and of one that was refused put back beside the present ones",
        by: "R8: what the state does not name is garbage",
        expect: HARMLESS,
        rounds: 1,
        attack: again,
    },
];

#[test]
fn attacks_on_loaded_tables() {
    run(ROWS);
}

#[test]
fn the_loads_are_there_and_fit_each_other() {
    for mode in crate::common::MODES {
        let scene = crate::scene::scene(mode);
        let (anatomy, loads) = (scene.anatomy(), &scene.loads);
        let present: Vec<_> = anatomy.tables.iter().filter(|table| table.meta.loaded).collect();
        let mut positions: Vec<_> = present.iter().map(|table| table.meta.largest_seq).collect();
        positions.dedup();
        assert!(positions.len() == 2 && present.len() >= 4, "{mode}: two loads are left: {present:?}");
        let lens = |tables: &Tables| tables.values().map(Vec::len).collect::<Vec<_>>();
        let of_today: Vec<_> = present.iter().map(|table| table.meta.file_bytes as usize).collect();
        let of_a_load = &of_today[..of_today.len() / 2];
        assert_eq!(lens(&loads.older), of_a_load, "{mode}");
        assert_eq!(lens(&loads.other), of_a_load, "{mode}");
        assert!(!loads.abandoned.is_empty() && of_a_load.starts_with(&lens(&loads.abandoned)), "{mode}");
    }
}

fn loaded<'a>(aim: &mut Aim<'a>) -> Option<&'a TableAt> {
    table(aim, |table| table.meta.loaded)
}

fn flip(aim: &mut Aim<'_>) -> Option<String> {
    let kinds =
        [BlockKind::Data, BlockKind::Index, BlockKind::Filter, BlockKind::Properties, BlockKind::Footer];
    let table = loaded(aim)?;
    flip_block(aim, table, kinds[aim.round % kinds.len()])
}

fn cut(aim: &mut Aim<'_>) -> Option<String> {
    let table = loaded(aim)?;
    cut_table(aim, table)
}

fn delete(aim: &mut Aim<'_>) -> Option<String> {
    let table = aim.anatomy.tables.iter().filter(|table| table.meta.loaded).nth(aim.round)?;
    attack::delete(aim.machine.table_disk(), &table.path).unwrap();
    Some(format!("{} deleted", table.path))
}

fn by_another(aim: &mut Aim<'_>) -> Option<String> {
    let to = loaded(aim)?;
    let from = table(aim, |table| table.meta.loaded && table.meta.largest_seq != to.meta.largest_seq)?;
    let bytes = aim.machine.table_disk().bytes_of(&from.path).unwrap();
    replace(aim, to, (&from.path, bytes))
}

/// Each table of a load in the place of the present one with the same keys.
fn by(aim: &mut Aim<'_>, of: fn(&Loads) -> &Tables) -> Option<String> {
    let (from, bytes) = of(&aim.scene.loads).iter().nth(aim.round)?;
    let to = aim.anatomy.tables.iter().filter(|table| table.meta.loaded).nth(aim.round)?;
    replace(aim, to, (from, bytes.clone()))
}

fn by_flushed(aim: &mut Aim<'_>) -> Option<String> {
    let to = loaded(aim)?;
    let from = table(aim, |table| !table.meta.loaded)?;
    let bytes = aim.machine.table_disk().bytes_of(&from.path).unwrap();
    replace(aim, to, (&from.path, bytes))
}

/// Of the same length, so that only its seals can tell.
fn replace(aim: &Aim<'_>, to: &TableAt, (from, mut bytes): (&str, Vec<u8>)) -> Option<String> {
    bytes.resize(to.meta.file_bytes as usize, 0);
    attack::write_file(aim.machine.table_disk(), &to.path, &bytes).unwrap();
    Some(format!("{from} as {}", to.path))
}

fn again(aim: &mut Aim<'_>) -> Option<String> {
    let loads = &aim.scene.loads;
    let now = aim.machine.table_disk().files();
    let all = loads.older.iter().chain(&loads.abandoned).filter(|(path, _)| !now.contains_key(*path));
    let back = all.map(|(path, bytes)| attack::write_file(aim.machine.table_disk(), path, bytes).unwrap());
    let count = back.count();
    (count > 0).then(|| format!("{count} tables are back"))
}
