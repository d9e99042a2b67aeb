//! Benchmarks that read and write.

use crate::model::{Call, Ran, number, run, run_on_full, small};
use ringfort_base::Level;
use ringfort_bench::{Benchmark, Kind, Workload};

/// `r` for a read, `w` for a write, in order.
fn pattern(ran: &Ran) -> String {
    let letter = |call: &Call| match call {
        Call::Read(_) => Some('r'),
        Call::Put(..) => Some('w'),
        _ => None,
    };
    ran.last().take().iter().filter_map(letter).collect()
}

#[test]
fn reads_come_before_writes_in_every_hundred() {
    for percent in [0, 50, 90, 100] {
        let workload = Workload { readwritepercent: percent, ..small(1000) };
        let ran = run_on_full(Benchmark::ReadRandomWriteRandom, 1, &workload);
        let hundred = "r".repeat(percent as usize) + &"w".repeat(100 - percent as usize);
        assert_eq!(pattern(&ran), hundred.repeat(10), "{percent}");
        let only = ran.only();
        assert_eq!(
            (only.operations, only.reads, only.found),
            (1000, u64::from(percent) * 10, u64::from(percent) * 10)
        );
        assert_eq!(only.user_bytes, (100 - u64::from(percent)) * 10 * 26);
    }
}

#[test]
fn a_mixed_count_is_the_larger_of_reads_and_writes() {
    let workload = Workload { reads: 250, writes: 120, ..small(1000) };
    let ran = run_on_full(Benchmark::ReadRandomWriteRandom, 2, &workload);
    let only = ran.only();
    assert_eq!((only.operations, only.reads), (500, 2 * (90 + 90 + 50)));
    let kinds: Vec<Kind> = only.latencies.iter().map(|latency| latency.kind).collect();
    assert_eq!(kinds, [Kind::Read, Kind::Write], "timed apart");
}

#[test]
fn an_update_reads_and_writes_the_same_key() {
    let ran =
        run(&[Benchmark::FillRandom, Benchmark::UpdateRandom], 1, &Workload { sync: true, ..small(1000) });
    let update = ran.measured()[1];
    assert_eq!((update.operations, update.reads, update.user_bytes), (1000, 1000, 26_000));
    // 63 % at the beginning, 86 % at the end: it fills the store meanwhile.
    assert!((700..820).contains(&update.found), "{}", update.found);
    let calls = ran.last().take();
    let after_fill = calls.iter().position(|call| matches!(call, Call::Read(_))).unwrap();
    for pair in calls[after_fill..].chunks_exact(2).take(1000) {
        let [Call::Read(read), Call::Put(put, Level::Durable)] = pair else { panic!("{pair:?}") };
        assert_eq!(read, put);
    }
}

#[test]
fn a_writer_behind_readers_does_not_count() {
    for (benchmark, kind) in
        [(Benchmark::ReadWhileWriting, Kind::Read), (Benchmark::SeekRandomWhileWriting, Kind::Seek)]
    {
        let ran = run_on_full(benchmark, 2, &Workload { reads: 2000, ..small(100) });
        let only = ran.only();
        assert_eq!((only.operations, only.reads, only.found, only.threads), (4000, 4000, 4000, 2));
        assert_eq!(only.latencies.iter().map(|latency| latency.kind).collect::<Vec<_>>(), [kind]);
        let calls = ran.last().take();
        let puts: Vec<u64> = calls
            .iter()
            .filter_map(|call| if let Call::Put(key, _) = call { Some(number(key)) } else { None })
            .collect();
        assert!(!puts.is_empty(), "it wrote");
        assert_eq!(only.user_bytes, puts.len() as u64 * 26, "and what it wrote has been written");
        assert!(puts.iter().all(|number| *number < 100));
        assert!(calls.contains(&Call::Settle), "which is a debt to pay");
    }
}
