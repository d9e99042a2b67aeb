//! The driver: fresh stores, skips, failures, durations, seeds.

use crate::model::{Call, Dir, plan, run, run_with, small};
use ringfort_base::Level;
use ringfort_bench::{Benchmark, Engine, Measured, Plan, Report, Result, Settings, Target, Workload};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

#[test]
fn every_fresh_benchmark_gets_an_empty_store_and_every_store_is_closed() {
    let list = [Benchmark::FillSeq, Benchmark::ReadRandom, Benchmark::FillRandom, Benchmark::FillSync];
    let ran = run(&list, 1, &small(1000));
    assert_eq!(ran.measured().len(), 4);
    assert_eq!(ran.models.len(), 3, "the first is opened at the start and still empty at the fill");
    for model in &ran.models {
        let calls = model.take();
        assert_eq!(calls.iter().filter(|call| **call == Call::Close).count(), 1);
        assert_eq!(calls.last(), Some(&Call::Close));
    }
    // Reads leave no debt.
    let ran = run(&[Benchmark::ReadRandom], 1, &small(10));
    assert!(!ran.last().take().contains(&Call::Settle));
}

#[test]
fn files_of_the_last_store_are_removed_before_the_next() {
    let dir = Dir::new();
    let open = |dir: &Path, _: &Settings| -> Result<Arc<dyn Engine>> {
        assert_eq!(std::fs::read_dir(dir)?.count(), 0, "it is empty");
        std::fs::create_dir(dir.join("data"))?;
        std::fs::write(dir.join("data/file"), "x")?;
        std::fs::write(dir.join("LOCK"), "")?;
        Ok(Arc::new(crate::model::Model::default()))
    };
    let place = dir.0.join("made/if/missing");
    let target = Target { name: "model", dir: &place, open: &open };
    let plan = plan(&[Benchmark::FillSeq, Benchmark::FillSeq], 1, &small(10));
    ringfort_bench::run(&target, &plan, &mut |_| Ok(())).unwrap();
    // And nothing that somebody else has there ever is.
    let error = ringfort_bench::run(&target, &plan, &mut |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("is not empty") && error.contains("--use_existing_db"), "{error}");
    assert!(place.join("data/file").exists());
}

#[test]
fn an_existing_store_is_used_and_never_emptied() {
    let dir = Dir::new();
    let list = [Benchmark::FillRandom, Benchmark::Overwrite, Benchmark::ReadRandom];
    let plan = Plan { use_existing_db: true, ..plan(&list, 1, &small(100)) };
    let error = run_with(&plan, &dir, |_| {}).outcome.unwrap_err().to_string();
    assert!(error.contains("there is no store to use"), "{error}");
    std::fs::write(dir.0.join("store"), "").unwrap();
    let ran = run_with(&plan, &dir, |_| {});
    ran.outcome.unwrap();
    assert!(dir.0.join("store").exists());
    assert_eq!(ran.models.len(), 1);
    let why = "--use_existing_db is true".to_owned();
    assert_eq!(ran.reports[0], Report::Skipped { benchmark: Benchmark::FillRandom, why });
    assert!(matches!(&ran.reports[1..], [Report::Measured(_), Report::Measured(_)]));
}

/// Only what the trait requires.
struct Least;

impl Engine for Least {
    fn put(&self, _key: &[u8], _value: &[u8], level: Level) -> Result<()> {
        ringfort_bench::engine::synced(level).map(drop)
    }
    fn get(&self, _key: &[u8]) -> Result<Option<usize>> {
        Ok(None)
    }
    fn settle(&self) -> Result<()> {
        Ok(())
    }
    fn close(&self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn what_an_engine_cannot_do_is_skipped_by_name() {
    let dir = Dir::new();
    let target = Target { name: "least", dir: &dir.0, open: &|_, _| Ok(Arc::new(Least)) };
    let mut reports = Vec::new();
    let plan = plan(&Benchmark::ALL, 2, &small(2000));
    ringfort_bench::run(&target, &plan, &mut |report| {
        reports.push(report);
        Ok(())
    })
    .unwrap();
    let why = |benchmark: Benchmark| {
        let why = reports.iter().find_map(|report| match report {
            Report::Skipped { benchmark: one, why } if *one == benchmark => Some(why.as_str()),
            _ => None,
        });
        why.unwrap_or("run").to_owned()
    };
    for (benchmark, expected) in [
        (Benchmark::FillRandom, "run"),
        (Benchmark::FillSync, "run"),
        (Benchmark::ReadWhileWriting, "run"),
        (Benchmark::FillBatch, "unsupported: batch write"),
        (Benchmark::ReadSeq, "unsupported: scan"),
        (Benchmark::SeekRandomWhileWriting, "unsupported: scan"),
        (Benchmark::MultiReadRandom, "unsupported: multi-get"),
        (Benchmark::UpdateRandom, "unsupported: copying read"),
        (Benchmark::DeleteSeq, "unsupported: delete"),
        (Benchmark::MergeRandom, "unsupported: merge"),
    ] {
        assert_eq!(why(benchmark), expected, "{benchmark:?}");
    }
    let fresh = Plan { workload: Workload { level: Level::Fresh, ..small(10) }, ..plan };
    let fresh = Plan { benchmarks: vec![Benchmark::FillSeq], ..fresh };
    let mut skipped = String::new();
    let elsewhere = Dir::new();
    let target = Target { dir: &elsewhere.0, ..target };
    ringfort_bench::run(&target, &fresh, &mut |report| {
        if let Report::Skipped { why, .. } = report {
            skipped = why;
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(skipped, "unsupported: writes at level fresh");
}

#[test]
fn a_failure_of_one_thread_ends_all_of_them() {
    let plan = plan(&[Benchmark::ReadWhileWriting], 3, &Workload { reads: i64::MAX, ..small(100) });
    let ran = run_with(&plan, &Dir::new(), |model| model.fail_from.store(500, Ordering::Relaxed));
    assert_eq!(ran.outcome.unwrap_err().to_string(), "put 500 fails");
    assert!(ran.reports.is_empty());
}

#[test]
fn a_duration_replaces_the_count_of_random_benchmarks() {
    let workload = Workload { duration: 0.2, ..small(10) };
    let ran = run(&[Benchmark::FillSeq, Benchmark::ReadRandom], 1, &workload);
    let measured = ran.measured();
    assert_eq!(measured[0].operations, 10, "in order: by count");
    assert!(measured[1].operations > 1000, "{}", measured[1].operations);
    assert!((0.2..5.0).contains(&measured[1].seconds), "{}", measured[1].seconds);
}

#[test]
fn seed_zero_is_another_one_each_time() {
    let keys = |seed| run(&[Benchmark::FillRandom], 1, &Workload { seed, ..small(1000) }).last().keys();
    assert_eq!(keys(5), keys(5));
    assert_ne!(keys(5), keys(6));
    assert_ne!(keys(0), keys(0));
}

#[test]
fn what_cannot_be_run_is_refused_before_anything_is() {
    for (threads, workload, expected) in [
        (0, small(10), "--threads"),
        (1, Workload { num: 0, ..small(10) }, "--num"),
        (1, Workload { reads: 0, ..small(10) }, "readrandom would do nothing"),
    ] {
        let ran = run(&[Benchmark::FillSeq, Benchmark::ReadRandom], threads, &workload);
        assert!(ran.models.is_empty());
        let error = ran.outcome.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn results_are_lines_of_json_and_come_back() {
    let ran = run(&[Benchmark::FillSeq, Benchmark::ReadRandomWriteRandom], 2, &small(1000));
    for measured in ran.measured() {
        assert!(measured.p50_us <= measured.p99_us && measured.p99_us <= measured.p999_us);
        assert!(measured.p999_us <= measured.p9999_us && measured.p9999_us <= measured.max_us);
        assert!(measured.ops_per_sec > 0.0 && measured.peak_rss_bytes > 0);
        let line = serde_json::to_string(measured).unwrap();
        assert!(!line.contains('\n'));
        let mut back: Measured = serde_json::from_str(&line).unwrap();
        back.histograms.clone_from(&measured.histograms);
        assert_eq!(&back, measured);
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        for name in ["engine", "benchmark", "threads", "value_size", "ops_per_sec", "cpu_us_per_op", "p99_us"]
        {
            assert!(object.get(name).is_some(), "{name} in {line}");
        }
    }
    let one = serde_json::to_string(&Settings::default()).unwrap();
    assert_eq!(serde_json::from_str::<Settings>(&one).unwrap(), Settings::default());
    let one = serde_json::to_string(&small(5)).unwrap();
    assert_eq!(serde_json::from_str::<Workload>(&one).unwrap(), small(5));
}
