//! The same keys as db_bench: what RocksDB 7.8.3's db_bench found, this finds.
//!
//! The numbers are db_bench's, from `db_bench --seed=1000 --num=10000 --value_size=10
//! --benchmarks=…` with the list below and the flags of each test. Any difference in a generator, in what
//! is drawn for what, or in how the seeds of threads count up would change them.

use crate::model::{run, small};
use ringfort_bench::{Benchmark, Workload};

const LIST: [Benchmark; 13] = [
    Benchmark::FillRandom,
    Benchmark::ReadRandom,
    Benchmark::ReadMissing,
    Benchmark::SeekRandom,
    Benchmark::ReadRandomWriteRandom,
    Benchmark::UpdateRandom,
    Benchmark::Overwrite,
    Benchmark::DeleteRandom,
    Benchmark::ReadRandom,
    Benchmark::MultiReadRandom,
    Benchmark::ReadSeq,
    Benchmark::FillRandom,
    Benchmark::ReadRandom,
];

/// Of each benchmark that looks for keys how many it found; of the walk how many entries there were.
fn found(workload: &Workload) -> Vec<u64> {
    let ran = run(&LIST, 1, workload);
    let measured = ran.measured();
    let looked = measured.iter().filter(|one| one.reads > 0 || one.benchmark == Benchmark::ReadSeq);
    looked.map(|one| if one.reads > 0 { one.found } else { one.operations }).collect()
}

#[test]
fn by_default() {
    let expected = [6340, 0, 6333, 5940, 7897, 3475, 3514, 3504, 6404];
    assert_eq!(found(&small(10_000)), expected);
}

/// `--batch_size=4 --writes=8000 --reads=12000 --deletes=5000 --readwritepercent=50`
#[test]
fn with_batches_and_counts() {
    let workload = Workload {
        batch_size: 4,
        writes: 8000,
        reads: 12_000,
        deletes: 5000,
        readwritepercent: 50,
        ..small(10_000)
    };
    assert_eq!(found(&workload), [6564, 0, 6439, 3937, 10_321, 7007, 6921, 5847, 6620]);
}

/// `--read_random_exp_range=8`
#[test]
fn with_a_skew() {
    let workload = Workload { read_random_exp_range: 8.0, ..small(10_000) };
    assert_eq!(found(&workload), [6837, 0, 6333, 5940, 7897, 3183, 3172, 3504, 6731]);
}
