//! The tables over results that are made up.

use super::*;
use crate::report::tests::{measured, setup};
use crate::results::Outcome;
use crate::setup::Setup;
use ringfort_bench::Benchmark;
use std::collections::BTreeMap;

/// Made up: one benchmark, a rate for each repeat.
fn series(engine: &str, benchmark: Benchmark, threads: usize, value_size: usize, rates: &[f64]) -> Series {
    let mut setup = Setup { engine: engine.into(), benchmarks: vec![benchmark], threads, ..setup(engine) };
    setup.workload.value_size = value_size;
    let run = |rate: f64| {
        let mut one = measured(benchmark, rate);
        (one.engine, one.threads, one.value_size) = (engine.to_owned(), threads, value_size);
        one.num = setup.workload.num;
        BTreeMap::from([(0, Outcome::Measured(Box::new(one)))])
    };
    let repeats = rates.iter().enumerate().map(|(nth, rate)| (nth + 1, run(*rate))).collect();
    Series { setup: setup.clone(), build: 0, figures: Vec::new(), compared: true, repeats }
}

fn evidence(all: Vec<Series>) -> Evidence {
    let points = Points::of(&all, |_| true).unwrap();
    Evidence {
        points,
        all,
        servers: Vec::new(),
        recovered: Vec::new(),
        fresh: Fresh::default(),
        transactions: Transactions::default(),
        machines: Vec::new(),
    }
}

fn row<'a>(table: &'a str, begin: &str, reference: &str) -> &'a str {
    let wanted =
        |line: &&str| line.starts_with(&format!("| {begin}")) && line.contains(&format!("| {reference}"));
    table.lines().find(wanted).unwrap_or_else(|| panic!("{begin}, {reference}: {table}"))
}

#[test]
fn without_results_nothing_is_met() {
    let table = goals::table(&evidence(Vec::new())).unwrap();
    let rows: Vec<&str> = table.lines().skip(2).collect();
    assert!(rows.len() > 20);
    assert!(rows.iter().all(|row| row.ends_with("|  | not measured |")), "{table}");
}

#[test]
fn a_goal_is_met_by_medians_of_the_same_repeats_at_every_point() {
    let of = |engine, threads, rates: &[f64]| series(engine, Benchmark::ReadSeq, threads, 1024, rates);
    let met = |ours: &[f64]| {
        let all = vec![
            of("ringfort", 1, ours),
            of("rocksdb", 1, &[10.0, 20.0, 10.0]),
            of("ringfort", 8, &[30.0]),
            of("rocksdb", 8, &[10.0]),
        ];
        let table = goals::table(&evidence(all)).unwrap();
        row(&table, "seekrandom + 10, readseq", "RocksDB plain").to_owned()
    };
    let line = met(&[14.0, 20.0, 14.0]);
    assert!(line.contains("readseq x1, 1024 B 1.40; readseq x8, 1024 B 3.00"), "{line}");
    assert!(line.ends_with("| met at 2 points (10 of 12 not measured) |"), "{line}");
    // Each repeat by its own: 1.0, 2.0, 1.0, although the medians of the rates are 20 and 10.
    let line = met(&[10.0, 40.0, 10.0]);
    assert!(line.contains("**missed** at 1 of 2"), "{line}");
}

#[test]
fn a_ratio_is_never_taken_across_comparisons() {
    let mut theirs = series("rocksdb", Benchmark::ReadSeq, 1, 1024, &[10.0]);
    // The same point for a reader, but not run side by side.
    theirs.setup.benchmarks.push(Benchmark::ReadRandom);
    let ours = series("ringfort", Benchmark::ReadSeq, 1, 1024, &[100.0]);
    let points = Points::of(&[ours, theirs], |_| true).unwrap();
    let places = points.places();
    assert_eq!(places.len(), 1);
    assert!(points.compared(&places[0], "ringfort", "rocksdb", faster).is_none());
    assert_eq!(points.median(&places[0], "rocksdb", rate), Some(10.0));
}

#[test]
fn the_latest_program_wins_and_then_the_most_repeats() {
    let pair = |rate: f64, build, repeats, num| {
        ["ringfort", "rocksdb"].map(|engine| {
            let rate = if engine == "rocksdb" { 1.0 } else { rate };
            let mut one = series(engine, Benchmark::ReadRandom, 1, 1024, &vec![rate; repeats]);
            (one.build, one.setup.workload.reads) = (build, num);
            one
        })
    };
    let all: Vec<Series> =
        [pair(2.0, 0, 5, 1), pair(3.0, 1, 2, 1), pair(4.0, 1, 1, 2)].into_iter().flatten().collect();
    let points = Points::of(&all, |_| true).unwrap();
    let (ratio, repeats) = points.compared(&points.places()[0], "ringfort", "rocksdb", faster).unwrap();
    assert_eq!((ratio.median, repeats), (3.0, 2));
}

#[test]
fn comparisons_have_a_table_for_each_of_their_settings() {
    let of = |engine, size, rate| series(engine, Benchmark::FillRandom, 1, size, &[rate]);
    let all = [
        of("ringfort", 100, 4e6),
        of("rocksdb", 100, 1e6),
        of("lmdb", 100, 2e6),
        of("ringfort:plain", 100, 5e6),
        of("ringfort", 1024, 4e6),
        of("rocksdb", 1024, 1e6),
    ];
    let text = comparisons(&all).unwrap();
    assert_eq!(text.matches("#### ").count(), 2, "{text}");
    assert!(
        text.contains("| benchmark, threads | repeats | rocksdb ops/s | ringfort | lmdb | CPU"),
        "{text}"
    );
    // A fill pays its debt of half a second: 1.5 s against 0.75 and 1.0.
    assert!(
        text.contains("| fillrandom x1 | 1 | 666667 | **2.00** (2.00–2.00) | **1.50** (1.50–1.50) |"),
        "{text}"
    );
    assert!(text.contains("ringfort by ringfort:plain"), "{text}");
}

#[test]
fn a_recovery_that_was_measured_again_replaces_the_old_one() {
    let one = |engine: &str, way: &str, repeat, seconds: f64| -> Recovered {
        serde_json::from_value(serde_json::json!({
            "kind": "recovery", "repeat": repeat, "machine": "m", "engine": engine, "way": way, "entries": 800_000,
            "value_size": 100, "store_gib": null, "seconds": seconds, "entries_per_sec": 1.0, "cpu_us_per_entry": 1.0,
            "peak_rss_bytes": 1, "disk_bytes": 1,
        }))
        .unwrap()
    };
    let mut evidence = evidence(Vec::new());
    evidence.recovered = vec![
        one("ringfort", "open", 1, 9.0),
        one("ringfort", "open", 2, 9.0),
        one("ringfort", "open", 1, 1.0),
        one("rocksdb", "replay", 1, 5.0),
    ];
    let table = goals::table(&evidence).unwrap();
    assert!(row(&table, "log replay", "RocksDB").contains("| rate 5.00 | met |"), "{table}");
    assert!(others(&evidence).contains("| ringfort, open | 1 | 1.000 (1.000–1.000) |"));
}

#[test]
fn a_document_gets_its_parts_between_the_marks() {
    let fill = |document: &str| filled(document, |part| Ok(format!("{part:?}\n\n")));
    let document = "above\n<!-- tables: goals -->\nold\n<!-- end of tables -->\nbelow\n";
    let expected = "above\n<!-- tables: goals -->\nGoals\n\n<!-- end of tables -->\nbelow\n";
    assert_eq!(fill(document).unwrap(), expected);
    assert_eq!(fill(expected).unwrap(), expected, "once more changes nothing");
    for wrong in [
        "nothing to fill",
        "<!-- tables: goals -->\nno end",
        "<!-- end of tables -->\n<!-- tables: goals -->",
        "<!-- tables: goals -->\n<!-- tables: results -->\n<!-- end of tables -->",
        "<!-- tables: no such -->\n<!-- end of tables -->",
    ] {
        assert!(fill(wrong).is_err(), "{wrong}");
    }
}
