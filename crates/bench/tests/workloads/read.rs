//! Benchmarks that only read.

use crate::model::{Call, Dir, key, number, plan, run, run_on_full, run_with, small};
use ringfort_bench::{Benchmark, Direction, Workload};
use std::collections::HashMap;

#[test]
fn random_fills_and_reads_meet_in_63_percent() {
    let ran = run(&[Benchmark::FillRandom, Benchmark::ReadRandom], 1, &small(10_000));
    let read = ran.measured()[1];
    assert_eq!((read.operations, read.reads), (10_000, 10_000));
    assert!((6_150..6_490).contains(&read.found), "{}", read.found);
    assert_eq!(read.bytes, read.found * 26);
    assert_eq!(read.user_bytes, 0);
}

/// The trap of db_bench: a process of its own with the same seed reads exactly what was written.
#[test]
fn the_same_seed_in_another_process_draws_the_same_keys() {
    let fill = run(&[Benchmark::FillRandom], 1, &small(1000));
    let written = fill.last().map.lock().clone();
    let plan = plan(&[Benchmark::ReadRandom], 1, &small(1000));
    let ran = run_with(&plan, &Dir::new(), |model| *model.map.lock() = written.clone());
    assert_eq!(ran.only().found, 1000);
}

#[test]
fn missing_keys_are_one_byte_longer() {
    let ran = run_on_full(Benchmark::ReadMissing, 1, &small(500));
    let calls = ran.last().take();
    let gets = calls.iter().filter(|call| matches!(call, Call::Get(key) if key.len() == 17)).count();
    assert_eq!((gets, ran.only().found, ran.only().reads), (500, 0, 500));
}

#[test]
fn a_multi_get_has_the_size_of_a_batch() {
    let workload = Workload { batch_size: 8, reads: 100, ..small(1000) };
    let ran = run_on_full(Benchmark::MultiReadRandom, 1, &workload);
    let calls = ran.last().take();
    let sizes: Vec<usize> = calls
        .iter()
        .filter_map(|call| if let Call::MultiGet(keys) = call { Some(keys.len()) } else { None })
        .collect();
    assert_eq!(sizes, [8; 12]);
    let only = ran.only();
    assert_eq!((only.operations, only.reads, only.found, only.latencies[0].calls), (96, 96, 96, 12));
}

#[test]
fn sequential_reads_go_from_an_end_in_one_scan() {
    let ascending: Vec<Vec<u8>> = (0..300).map(|n| key(n, 16)).collect();
    for (benchmark, direction) in
        [(Benchmark::ReadSeq, Direction::Forward), (Benchmark::ReadReverse, Direction::Reverse)]
    {
        let mut expected = ascending.clone();
        if direction == Direction::Reverse {
            expected.reverse();
        }
        let ran = run_on_full(benchmark, 1, &small(300));
        let calls = ran.last().take();
        assert_eq!(calls[0], Call::Scan(None, direction, expected.clone()));
        assert_eq!((ran.only().operations, ran.only().bytes), (300, 300 * 26));
        // Fewer if so asked, and as many as there are if more are asked for.
        let few = run_on_full(benchmark, 1, &Workload { reads: 10, ..small(300) });
        assert_eq!(few.last().take()[0], Call::Scan(None, direction, expected[..10].to_vec()));
        let many = run_on_full(benchmark, 1, &Workload { reads: 1000, ..small(300) });
        assert_eq!(many.only().operations, 300);
    }
    let none = run(&[Benchmark::ReadSeq], 1, &small(300));
    assert_eq!(none.only().operations, 0, "an empty store is read at once");
}

#[test]
fn a_seek_reads_so_many_entries_and_arrives_at_the_next() {
    let workload = Workload { seek_nexts: 5, reads: 200, ..small(1000) };
    let ran = run_on_full(Benchmark::SeekRandom, 1, &workload);
    for call in ran.last().take() {
        let Call::Scan(Some(from), Direction::Forward, visited) = call else { continue };
        let first = number(&from);
        let expected: Vec<_> = (first..(first + 6).min(1000)).map(|n| key(n, 16)).collect();
        assert_eq!(visited, expected);
    }
    assert_eq!((ran.only().operations, ran.only().found), (200, 200));
    assert!(ran.only().bytes <= 200 * 5 * 26 && ran.only().bytes > 190 * 5 * 26);
    // Without nexts it only looks whether the key is there.
    let ran = run(&[Benchmark::FillRandom, Benchmark::SeekRandom], 1, &small(1000));
    let seek = ran.measured()[1];
    assert!((580..680).contains(&seek.found), "{}", seek.found);
    assert_eq!((seek.reads, seek.bytes), (1000, 0));
}

#[test]
fn a_reverse_seek_reads_towards_smaller_keys() {
    let workload = Workload { seek_nexts: 3, reverse_iterator: true, reads: 50, ..small(100) };
    let ran = run_on_full(Benchmark::SeekRandom, 1, &workload);
    let calls = ran.last().take();
    for call in &calls {
        let Call::Scan(Some(from), Direction::Reverse, visited) = call else { continue };
        let first = number(from);
        let expected: Vec<_> = (first.saturating_sub(3)..=first).rev().map(|n| key(n, 16)).collect();
        assert_eq!(visited, &expected);
    }
    assert!(calls.iter().any(|call| matches!(call, Call::Scan(_, Direction::Reverse, _))));
    assert_eq!(ran.only().found, 50);
}

#[test]
fn a_skew_prefers_some_keys_and_scatters_them() {
    let often = |range: f64| {
        let workload = Workload { read_random_exp_range: range, reads: 20_000, ..small(1000) };
        let ran = run_on_full(Benchmark::ReadRandom, 1, &workload);
        let mut counts = HashMap::new();
        for call in ran.last().take() {
            if let Call::Get(key) = call {
                *counts.entry(number(&key)).or_insert(0u32) += 1;
            }
        }
        let mut counts: Vec<(u64, u32)> = counts.into_iter().collect();
        counts.sort_unstable_by_key(|(_, count)| std::cmp::Reverse(*count));
        let top: u32 = counts.iter().take(100).map(|(_, count)| count).sum();
        let low = counts.iter().take(100).filter(|(number, _)| *number < 500).count();
        (f64::from(top) / 20_000.0, low)
    };
    let (even, _) = often(0.0);
    assert!(even < 0.16, "a tenth of the keys gets about a tenth: {even}");
    // With range r the preferred number is num * exp(-r u): below a tenth of num in 1 - ln(10)/r.
    let (skewed, low) = often(10.0);
    assert!((0.74..0.80).contains(&skewed), "{skewed}");
    assert!((30..70).contains(&low), "they lie all over: {low}");
}

#[test]
fn a_value_of_another_size_is_an_error() {
    for benchmark in
        [Benchmark::ReadRandom, Benchmark::ReadSeq, Benchmark::SeekRandom, Benchmark::MultiReadRandom]
    {
        let plan = plan(&[benchmark], 2, &small(100));
        let wrong = |model: &crate::model::Model| {
            for number in 0..100 {
                model.map.lock().insert(key(number, 16), vec![0; if number == 50 { 11 } else { 10 }]);
            }
        };
        let ran = run_with(&plan, &Dir::new(), wrong);
        let error = ran.outcome.unwrap_err().to_string();
        assert!(error.contains("a value of 11 bytes"), "{benchmark:?}: {error}");
    }
}
