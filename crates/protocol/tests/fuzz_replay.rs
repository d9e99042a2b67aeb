//! A short replay of the fuzz targets: the committed seeds, and mutations of them from a fixed
//! seed, so that every run does the same.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;

use ringfort_protocol::fuzzing;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus-seed").join(target);
    let mut paths: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 5, "the seeds of {target} are committed");
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Bytes that the grammars care about.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\r",
    b"\n",
    b"*1\r\n",
    b"$0\r\n\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"$32768\r\n",
    b"\"",
    b"'",
    b"\\x4",
    b"9223372036854775807",
    b"-",
    b"0",
    b"%1\r\n",
    b"|1\r\n",
    b"_\r\n",
    b">2\r\n",
    b",nan\r\n",
    b"EX",
    b"*9\r\n",
];

fn mutate(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut data = seeds[random.below(seeds.len())].clone();
    for _ in 0..1 + random.below(6) {
        let at = random.below(data.len() + 1);
        match random.below(6) {
            0 if at < data.len() => data[at] = random.below(256) as u8,
            1 if at < data.len() => data[at] ^= 1 << random.below(8),
            2 => data.truncate(at),
            3 => {
                let end = (at + random.below(16)).min(data.len());
                data.drain(at..end);
            }
            4 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                let piece = other[from..(from + random.below(64)).min(other.len())].to_vec();
                data.splice(at..at, piece);
            }
            _ => {
                data.splice(at..at, TOKENS[random.below(TOKENS.len())].iter().copied());
            }
        }
    }
    data
}

fn replay(target: &str, body: fn(&[u8]), rounds: usize) {
    let seeds = seeds(target);
    for seed in &seeds {
        body(seed);
    }
    // Large seeds are replayed as they are; mutating them would only be slow.
    let small: Vec<Vec<u8>> = seeds.into_iter().filter(|seed| seed.len() < 1024).collect();
    let mut random = Random(0x5eed_0001);
    for round in 0..rounds {
        let data = mutate(&mut random, &small);
        let result = std::panic::catch_unwind(|| body(&data));
        assert!(result.is_ok(), "{target}, round {round}: {}", data.escape_ascii());
    }
}

#[test]
fn resp_request() {
    replay("resp_request", fuzzing::request, 60_000);
}

#[test]
fn resp_reply() {
    replay("resp_reply", fuzzing::reply, 60_000);
}
