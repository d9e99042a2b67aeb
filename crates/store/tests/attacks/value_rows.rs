//! Attacks on value files: values, their index, the footer, whole files, and old ones.

use crate::anatomy::ValuesAt;
use crate::matrix::{Aim, Expect, Row, run};
use crate::scene::is_values;
use crate::table_rows::{FOUND, GONE, HARMLESS, removed};
use ringfort_fault::attack;
use ringfort_store::engine::lsm::table::format::{BlockHandle, BlockKind};

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "flip-value",
        what: "a bit of a value in a value file",
        by: "R16: each value sealed (or checksummed) under the key that the MANIFEST holds for its file",
        expect: FOUND,
        rounds: 40,
        attack: |aim| flip(aim, BlockKind::Value),
    },
    Row {
        id: "flip-value-index",
        what: "a bit of a value file's index: a scrub reads it",
        by: "R16: each value sealed (or checksummed) under the key that the MANIFEST holds for its file",
        expect: FOUND,
        rounds: 10,
        attack: |aim| flip(aim, BlockKind::ValueIndex),
    },
    Row {
        id: "flip-value-footer",
        what: "a bit of a value file's footer",
        by: "R16: the footer's tag stands in the MANIFEST",
        expect: REFUSED,
        rounds: 10,
        attack: |aim| flip(aim, BlockKind::ValueFooter),
    },
    Row {
        id: "cut-values",
        what: "a value file cut at and inside a value",
        by: "R16: the footer lies where the MANIFEST says",
        expect: REFUSED,
        rounds: 40,
        attack: cut,
    },
    Row {
        id: "extend-values",
        what: "noise behind a value file",
        by: "R16: the footer lies where the MANIFEST says",
        expect: HARMLESS,
        rounds: 3,
        attack: extend,
    },
    Row {
        id: "delete-values",
        what: "each value file deleted",
        by: "R16: the MANIFEST names it",
        expect: GONE,
        rounds: usize::MAX,
        attack: delete,
    },
    Row {
        id: "swap-values",
        what: "two values of one length exchanged in a file, so that pointers lead to other values",
        by: "R13, R16: the offset is the nonce; the pointer stands in a sealed block",
        expect: FOUND,
        rounds: 20,
        attack: |aim| exchange(aim, true),
    },
    Row {
        id: "swap-values-files",
        what: "two values at one offset of two files exchanged",
        by: "R13, R16: each file has its key, its number is associated data",
        expect: FOUND,
        rounds: 20,
        attack: |aim| exchange(aim, false),
    },
    Row {
        id: "swap-value-files",
        what: "two value files exchanged",
        by: "R13, R16: each file has its key",
        expect: REFUSED,
        rounds: 20,
        attack: swap_files,
    },
    Row {
        id: "older-values",
        what: "a value file that a collection emptied, under the name of a present one",
        by: "R13, R16: each file has its key",
        expect: REFUSED,
        rounds: 20,
        attack: older,
    },
    Row {
        id: "values-for-table",
        what: "a value file under the name of a table",
        by: "R13, R16: each file has its key, kinds are associated data",
        expect: REFUSED,
        rounds: 10,
        attack: as_table,
    },
    Row {
        id: "emptied-values-again",
        what: "all value files that collections removed put back beside the present ones",
        by: "R8: what the state does not name is garbage",
        expect: HARMLESS,
        rounds: 1,
        attack: emptied_again,
    },
];

/// Opening a store proves every file's footer.
const REFUSED: [Expect; 3] = [Expect::Refused(
    &[
        ringfort_base::EvidenceKind::BadSeal,
        ringfort_base::EvidenceKind::Inconsistent,
        ringfort_base::EvidenceKind::Truncated,
    ],
    "tables/",
); 3];

#[test]
fn attacks_on_values() {
    run(ROWS);
}

fn file<'a>(aim: &mut Aim<'a>) -> Option<&'a ValuesAt> {
    let all: Vec<_> = aim.anatomy.values.iter().collect();
    aim.pick(&all).copied()
}

fn flip(aim: &mut Aim<'_>, kind: BlockKind) -> Option<String> {
    let file = file(aim)?;
    let blocks: Vec<BlockHandle> = file.of_kind(kind).copied().collect();
    let block = *aim.pick(&blocks)?;
    let at = aim.within(block.offset as usize..block.end() as usize);
    Some(aim.flip(aim.machine.table_disk(), &file.path, at))
}

fn cut(aim: &mut Aim<'_>) -> Option<String> {
    let file = file(aim)?;
    let block = *aim.pick(&file.blocks)?;
    let inside = aim.within(0..block.handle.sealed_len as usize) as u64;
    let len = block.handle.offset + if aim.round.is_multiple_of(3) { 0 } else { inside };
    attack::truncate(aim.machine.table_disk(), &file.path, len).unwrap();
    Some(format!("{} cut to {len}", file.path))
}

fn extend(aim: &mut Aim<'_>) -> Option<String> {
    let file = file(aim)?;
    attack::append(aim.machine.table_disk(), &file.path, &[0x5a; 4096]).unwrap();
    Some(format!("{} is longer", file.path))
}

fn delete(aim: &mut Aim<'_>) -> Option<String> {
    let file = aim.anatomy.values.get(aim.round)?;
    attack::delete(aim.machine.table_disk(), &file.path).unwrap();
    Some(format!("{} deleted", file.path))
}

fn exchange(aim: &mut Aim<'_>, same_file: bool) -> Option<String> {
    for _ in 0..1000 {
        let (one, two) = (file(aim)?, file(aim)?);
        let two = if same_file { one } else { two };
        let of = |file: &ValuesAt| file.of_kind(BlockKind::Value).copied().collect::<Vec<_>>();
        let (Some(&a), Some(&b)) = (aim.pick(&of(one)), aim.pick(&of(two))) else { continue };
        let fits =
            if same_file { a.offset != b.offset } else { one.path != two.path && a.offset == b.offset };
        if !fits || a.sealed_len != b.sealed_len {
            continue;
        }
        let disk = aim.machine.table_disk();
        let (first, second) = (disk.bytes_of(&one.path).unwrap(), disk.bytes_of(&two.path).unwrap());
        disk.poke(&one.path, a.offset, &second[b.offset as usize..b.end() as usize]).unwrap();
        disk.poke(&two.path, b.offset, &first[a.offset as usize..a.end() as usize]).unwrap();
        return Some(format!("{}+{} and {}+{} exchanged", one.path, a.offset, two.path, b.offset));
    }
    None
}

fn swap_files(aim: &mut Aim<'_>) -> Option<String> {
    let one = file(aim)?;
    let others: Vec<_> = aim.anatomy.values.iter().filter(|other| other.path != one.path).collect();
    let two = *aim.pick(&others)?;
    attack::swap(aim.machine.table_disk(), &one.path, &two.path).unwrap();
    Some(format!("{} and {} exchanged", one.path, two.path))
}

fn older(aim: &mut Aim<'_>) -> Option<String> {
    let old = removed(aim, is_values);
    let (from, bytes) = aim.pick(&old)?;
    let to = file(aim)?;
    attack::write_file(aim.machine.table_disk(), &to.path, bytes).unwrap();
    Some(format!("{from} as {}", to.path))
}

fn as_table(aim: &mut Aim<'_>) -> Option<String> {
    let from = file(aim)?;
    let to = aim.pick(&aim.anatomy.tables)?;
    let disk = aim.machine.table_disk();
    attack::write_file(disk, &to.path, &disk.bytes_of(&from.path).unwrap()).unwrap();
    Some(format!("{} as {}", from.path, to.path))
}

fn emptied_again(aim: &mut Aim<'_>) -> Option<String> {
    let old = removed(aim, is_values);
    old.iter().for_each(|(path, bytes)| attack::write_file(aim.machine.table_disk(), path, bytes).unwrap());
    (!old.is_empty()).then(|| format!("{} emptied value files are back", old.len()))
}
