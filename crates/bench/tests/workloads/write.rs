//! Benchmarks that only write.

use crate::model::{Call, Ran, key, number, run, run_on_full, small};
use ringfort_base::Level;
use ringfort_bench::rng::Mt64;
use ringfort_bench::{Benchmark, Workload};

fn puts(ran: &Ran) -> Vec<(u64, Level)> {
    let calls = ran.last().take();
    calls
        .iter()
        .filter_map(|call| if let Call::Put(key, level) = call { Some((number(key), *level)) } else { None })
        .collect()
}

#[test]
fn a_sequential_fill_writes_the_keys_in_order() {
    let ran = run(&[Benchmark::FillSeq], 1, &small(1000));
    assert_eq!(puts(&ran), (0..1000).map(|n| (n, Level::Buffered)).collect::<Vec<_>>());
    let only = ran.only();
    assert_eq!((only.operations, only.threads, only.found), (1000, 1, 0));
    assert_eq!((only.bytes, only.user_bytes), (26_000, 26_000));
    assert_eq!(ran.last().map.lock()[&key(7, 16)].len(), 10);
}

#[test]
fn each_thread_does_its_own_full_count() {
    let ran = run(&[Benchmark::FillSeq], 3, &small(500));
    assert_eq!(puts(&ran).len(), 1500);
    assert_eq!((ran.only().operations, ran.only().threads), (1500, 3));
    assert_eq!(ran.last().keys().len(), 500);
}

/// Drawn as db_bench draws: one number for the database, one for the key.
#[test]
fn a_random_fill_has_db_benchs_stream_of_keys() {
    let ran = run(&[Benchmark::FillRandom], 1, &small(10_000));
    let mut rng = Mt64::new(1001);
    let expected = (0..10_000).map(|_| {
        rng.next_u64();
        (rng.next_u64() % 10_000, Level::Buffered)
    });
    assert_eq!(puts(&ran), expected.collect::<Vec<_>>());
    let distinct = ran.last().keys().len();
    assert!((6_200..6_440).contains(&distinct), "1 - 1/e of the keys: {distinct}");
}

#[test]
fn a_unique_random_fill_is_a_permutation_by_one_thread() {
    let ran = run(&[Benchmark::FillUniqueRandom], 4, &small(2000));
    let mut numbers: Vec<u64> = puts(&ran).into_iter().map(|(number, _)| number).collect();
    let in_place = numbers.iter().zip(0..).filter(|(number, nth)| *number == nth).count();
    assert!(in_place < 20, "it is shuffled: {in_place}");
    numbers.sort_unstable();
    assert_eq!(numbers, (0..2000).collect::<Vec<_>>());
    assert_eq!((ran.only().operations, ran.only().threads), (2000, 1));
}

#[test]
fn batches_are_one_call_and_one_latency() {
    let ran = run(&[Benchmark::FillBatch], 1, &small(3500));
    let calls = ran.last().take();
    let batches: Vec<&Vec<Vec<u8>>> = calls
        .iter()
        .filter_map(|call| if let Call::Batch(keys, _) = call { Some(keys) } else { None })
        .collect();
    assert_eq!(batches.iter().map(|keys| keys.len()).collect::<Vec<_>>(), [1000, 1000, 1000]);
    let written = batches.into_iter().flatten().map(|key| number(key));
    assert!(written.eq(0..3000));
    let only = ran.only();
    assert_eq!((only.operations, only.latencies[0].calls, only.user_bytes), (3000, 3, 78_000));
    // Values of a batch differ from each other.
    let map = ran.last().map.lock();
    assert_ne!(map[&key(0, 16)], map[&key(1, 16)]);
}

#[test]
fn the_batch_size_holds_for_other_writes_too() {
    let workload = Workload { batch_size: 10, ..small(100) };
    for benchmark in [Benchmark::FillRandom, Benchmark::DeleteRandom, Benchmark::DeleteSeq] {
        let ran = run_on_full(benchmark, 1, &workload);
        let calls = ran.models.iter().flat_map(|model| model.take());
        let batches = calls.filter(|call| matches!(call, Call::Batch(keys, _) if keys.len() == 10)).count();
        assert_eq!((batches, ran.only().operations), (10, 100), "{benchmark:?}");
    }
}

#[test]
fn a_synced_fill_writes_a_thousandth_durably() {
    let ran = run(&[Benchmark::FillSync], 1, &small(20_000));
    let puts = puts(&ran);
    assert_eq!(puts.len(), 20);
    assert!(puts.iter().all(|(number, level)| *number < 20 && *level == Level::Durable), "{puts:?}");
    assert_eq!(ran.only().level, "durable");
    let fresh = run(&[Benchmark::FillSync], 1, &Workload { level: Level::Fresh, ..small(20_000) });
    assert!(self::puts(&fresh).iter().all(|(_, level)| *level == Level::Fresh));
}

#[test]
fn overwriting_needs_no_empty_store() {
    let ran = run_on_full(Benchmark::Overwrite, 2, &Workload { writes: 300, ..small(1000) });
    assert_eq!((ran.models.len(), puts(&ran).len()), (1, 600));
    assert_eq!(ran.last().keys().len(), 1000, "nothing was removed");
}

#[test]
fn deletes_go_in_order_or_at_random() {
    let ran = run_on_full(Benchmark::DeleteSeq, 1, &Workload { deletes: 400, ..small(1000) });
    assert_eq!(ran.last().keys(), (400..1000).map(|n| key(n, 16)).collect::<Vec<_>>());
    assert_eq!(ran.only().operations, 400);
    let ran = run_on_full(Benchmark::DeleteRandom, 1, &small(1000));
    let left = ran.last().keys().len();
    assert!((330..410).contains(&left), "1/e of the keys are left: {left}");
    assert_eq!((ran.only().operations, ran.only().bytes), (1000, 0));
}

#[test]
fn merges_make_values_whose_length_nobody_knows() {
    let ran = run(&[Benchmark::MergeRandom, Benchmark::ReadRandom], 1, &small(100));
    let measured = ran.measured();
    assert_eq!(measured[0].operations, 100);
    assert!(measured[1].found > 0, "and reading them is fine");
    assert!(ran.last().map.lock().values().any(|value| value.len() > 10));
}

#[test]
fn writes_in_flight_are_waited_for_oldest_first_and_all_of_them() {
    let workload = Workload { in_flight: 4, level: Level::Fresh, ..small(10) };
    let ran = run(&[Benchmark::FillSeq], 1, &workload);
    let (mut under_way, mut begun, mut waited) = (0, 0, 0);
    for call in ran.last().take() {
        match call {
            Call::Begin(nth, key, Level::Fresh) => {
                assert_eq!((nth, number(&key)), (begun, begun));
                (begun, under_way) = (begun + 1, under_way + 1);
            }
            Call::Wait(nth) => {
                assert_eq!(nth, waited);
                (waited, under_way) = (waited + 1, under_way - 1);
            }
            Call::Settle | Call::Close => assert_eq!(waited, 10, "before the end"),
            other => panic!("{other:?}"),
        }
        assert!(under_way <= 4);
    }
    let only = ran.only();
    assert_eq!((begun, only.operations, only.in_flight, only.user_bytes), (10, 10, 4, 260));
    assert_eq!(only.latencies[0].calls, 10);
}
