//! The seeds of the fuzz targets over stores, in `fuzz/corpus-seed`: true blocks, edits and
//! records, from which a fuzzer sets out. Every seed, also one that a crash left there, runs here.
//! `RINGFORT_BLESS=1` writes those that are made from a store.

use crate::anatomy::{self, BlockAt};
use crate::common::{MODES, Machine, commit};
use crate::{body, logs};
use ringfort_base::Level;
use ringfort_store::engine::lsm::fuzzing;
use ringfort_store::engine::lsm::table::format::BlockKind;
use ringfort_store::{KeyspaceOptions, WriteBatch};
use std::path::PathBuf;

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 7] = [
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
    store.flush(None).unwrap();
    store.close().unwrap();
    drop(store);
    let anatomy = anatomy::dissect(&machine);
    let table = &anatomy.tables[0];
    let bytes = machine.data.bytes_of(&table.path).unwrap();
    let mut seeds = Vec::new();
    for &BlockAt { kind, handle } in &table.blocks {
        let plain = anatomy::open_block(&bytes, anatomy.anchor.store, &table.meta, BlockAt { kind, handle });
        let (target, which): (_, &[u8]) = match kind {
            BlockKind::Data => ("sst_block", &[0]),
            BlockKind::Tombstones => ("sst_block", &[1]),
            BlockKind::Index => ("sst_index", &[0]),
            BlockKind::TopIndex => ("sst_index", &[1]),
            BlockKind::Filter => ("sst_filter", &[]),
            BlockKind::Footer => ("sst_footer", &[0]),
            BlockKind::Properties => ("sst_footer", &[1]),
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
    for (name, edit) in [
        ("drop", &[2, 1, 0, 0, 0, 5][..]),
        ("flushed", &[5, 1, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("log-start", &[6, 3]),
        ("counters", &[8, 9, 3, 0, 0, 0, 12, 9]),
        ("snapshot", &[255, 9, 6, 2]),
        ("forget", &[10, 1, 0, 0, 0]),
        ("checkpoint", &[12, 7]),
    ] {
        seeds.push(("manifest", name.to_owned(), edit.to_vec()));
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
