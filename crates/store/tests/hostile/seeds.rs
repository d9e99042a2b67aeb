//! The seeds of the fuzz targets over stores, in `fuzz/corpus-seed`: true blocks, edits and
//! records, from which a fuzzer sets out. Every seed, also one that a crash left there, runs here.
//! `RINGFORT_BLESS=1` writes those that are made from a store.

use crate::anatomy::{self, BlockAt, Opener};
use crate::common::{MODES, Machine, commit};
use crate::{body, logs};
use ringfort_base::Level;
use ringfort_store::engine::lsm::fuzzing;
use ringfort_store::engine::lsm::table::format::BlockKind;
use ringfort_store::{KeyspaceOptions, WriteBatch};
use std::path::PathBuf;

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 9] = [
    ("hostile_directory", |data| {
        let _ = body::hostile(data);
    }),
    ("wal_segment", |data| {
        let _ = logs::wal_segment(data);
    }),
    ("manifest", |data| {
        let _ = logs::manifest(data);
    }),
    ("sst_block", fuzzing::block),
    ("sst_index", fuzzing::index),
    ("sst_filter", fuzzing::filter),
    ("sst_footer", fuzzing::footer),
    ("value_file", fuzzing::value_file),
    ("merge", fuzzing::merge),
];

fn dir(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus-seed").join(target)
}

/// Target, name and bytes of each seed that a store gives.
fn made() -> Vec<(&'static str, String, Vec<u8>)> {
    let machine = Machine::new(MODES[0], 81);
    let store = machine.open().unwrap();
    let ks = store.create_keyspace("ks", KeyspaceOptions::default()).unwrap();
    for n in 0..40u32 {
        let mut batch = WriteBatch::new();
        batch.put(ks, format!("key {n:04}"), format!("value {n}"));
        if n % 9 == 8 {
            batch.delete(ks, format!("key {:04}", n - 3));
            batch.delete_range(ks, format!("key {:04}", n - 7), format!("key {:04}", n - 5));
        }
        commit(&store, batch, Level::Durable).unwrap();
    }
    let apart = KeyspaceOptions { separate_values_from_bytes: 1, ..KeyspaceOptions::default() };
    let apart = store.create_keyspace("apart", apart).unwrap();
    for n in 0..5u8 {
        let mut batch = WriteBatch::new();
        batch.put(apart, [n], vec![n; 10]);
        commit(&store, batch, Level::Durable).unwrap();
    }
    store.flush(Some(ks)).unwrap();
    store.flush(Some(apart)).unwrap();
    store.close().unwrap();
    drop(store);
    let anatomy = anatomy::dissect(&machine);
    let table = &anatomy.tables[0];
    let bytes = machine.data.bytes_of(&table.path).unwrap();
    let mut seeds = Vec::new();
    for &BlockAt { kind, handle } in &table.blocks {
        let opener = Opener::table(anatomy.anchor.store, &table.meta);
        let plain = anatomy::open_block(&bytes, &opener, BlockAt { kind, handle });
        let (target, which): (_, &[u8]) = match kind {
            BlockKind::Data => ("sst_block", &[0]),
            BlockKind::Tombstones => ("sst_block", &[1]),
            BlockKind::Index => ("sst_index", &[0]),
            BlockKind::TopIndex => ("sst_index", &[1]),
            BlockKind::Filter => ("sst_filter", &[]),
            BlockKind::Footer => ("sst_footer", &[0]),
            BlockKind::Properties => ("sst_footer", &[1]),
            BlockKind::Value | BlockKind::ValueIndex | BlockKind::ValueFooter => {
                panic!("a table with blocks of a value file")
            }
        };
        seeds.push((
            target,
            format!("{}-{}", kind.name().replace(' ', "-"), handle.offset),
            [which, &plain].concat(),
        ));
    }
    // Its random key is of no store that exists.
    let mut record = vec![2];
    table.meta.encode(&mut record);
    seeds.push(("sst_footer", "record".to_owned(), record));
    let values = &anatomy.values[0];
    let bytes = machine.data.bytes_of(&values.path).unwrap();
    for block in values.blocks.iter().filter(|block| block.kind != BlockKind::Value) {
        let opener = Opener::values(anatomy.anchor.store, &values.meta);
        let which = if block.kind == BlockKind::ValueIndex { 1 } else { 2 };
        let plain = anatomy::open_block(&bytes, &opener, *block);
        let name = block.kind.name().replace([' ', '\''], "-");
        seeds.push(("value_file", name, [&[which], plain.as_slice()].concat()));
    }
    let mut record = vec![3];
    values.meta.encode(&mut record);
    seeds.push(("value_file", "record".to_owned(), record));
    seeds.push(("value_file", "pointer".to_owned(), vec![0, 9, 200, 1, 30, 0]));
    let mut record = vec![2];
    anatomy.tables[1].meta.encode(&mut record);
    seeds.push(("sst_footer", "record-with-values".to_owned(), record));
    let ops: [&[u8]; 5] = [
        &[1, 1, b'k', 1, b'v'],
        &[0, 1, b'k'],
        &[2, 1, b'a', 1, b'z'],
        &[0x83, 1, 1, b'k', 1, b'x'],
        &[16, 4],
    ];
    let run = [&[1, 9, 12][..], &ops.concat()].concat();
    seeds.push(("wal_segment", "run".to_owned(), [&[0, 20, run.len() as u8][..], &run].concat()));
    seeds.push((
        "wal_segment",
        "two-pieces".to_owned(),
        [&[2, 20, 9][..], &run[..9], &[0, 20, 4, 2], &run[9..12]].concat(),
    ));
    let vote = logs::group(
        2,
        &[(true, 1, &[33, 1, b't', 9, 1]), (false, 2, &[32, 5, 1, 1, b'k', 1, b'v', 3, 0, 1, b'r'])],
    );
    let decision = logs::group(4, &[(false, 3, &[1, 1, b'k', 1, b'v']), (true, 4, &[34, 1, b't', 1])]);
    seeds.push(("wal_segment", "prepared".to_owned(), vote.clone()));
    seeds.push(("wal_segment", "prepared-and-decided".to_owned(), [vote, decision].concat()));
    for (name, edit) in [
        ("drop", &[2, 1, 0, 0, 0, 5][..]),
        ("flushed", &[5, 1, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("log-start", &[6, 3]),
        ("counters", &[8, 9, 3, 0, 0, 0, 12, 9]),
        ("snapshot", &[255, 9, 6, 2]),
        ("forget", &[10, 1, 0, 0, 0]),
        ("checkpoint", &[12, 7]),
        ("remove-values", &[14, 1, 0, 0, 0, 9]),
    ] {
        seeds.push(("manifest", name.to_owned(), edit.to_vec()));
    }
    for name in ["add_u64", "max", "min", "append", "append:2c"] {
        let mut merge = vec![name.len() as u8];
        merge.extend(name.as_bytes());
        merge.extend([&[1][..], &[8, 1, 0, 0, 0, 0, 0, 0, 0].repeat(3), &[0]].concat());
        seeds.push(("merge", name.replace(':', "-"), merge));
    }
    for what in 0..14u8 {
        seeds.push((
            "hostile_directory",
            format!("change-{what:02}"),
            vec![what, 3 + what, what, 0, 99, 0, 40, what + 2, 0, 7],
        ));
    }
    seeds
}

#[test]
fn every_seed_runs() {
    if std::env::var_os("RINGFORT_BLESS").is_some_and(|value| value == "1") {
        for (target, name, bytes) in made() {
            std::fs::create_dir_all(dir(target)).unwrap();
            std::fs::write(dir(target).join(name), bytes).unwrap();
        }
    }
    for (target, run) in TARGETS {
        let mut seeds = 0;
        for entry in std::fs::read_dir(dir(target)).unwrap_or_else(|e| panic!("{target}: {e}")) {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            std::panic::catch_unwind(|| run(&bytes)).unwrap_or_else(|_| panic!("{}", path.display()));
            seeds += 1;
        }
        assert!(seeds > 0, "{target} has seeds");
    }
}

/// What a store gives today is what its decoders take.
#[test]
fn true_parts_of_a_store_pass_their_targets() {
    for (target, name, bytes) in made() {
        let (_, run) = TARGETS.iter().find(|(known, _)| *known == target).unwrap();
        std::panic::catch_unwind(|| run(&bytes)).unwrap_or_else(|_| panic!("{target} {name}"));
    }
}
