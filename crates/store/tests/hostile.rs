//! Short replays of the fuzz targets over whole stores: `hostile_directory`, `wal_segment`,
//! `manifest`. The same bodies run under libFuzzer in `fuzz/`.
#![allow(clippy::unwrap_used, clippy::ok_expect, reason = "helpers of tests fail the test")]

#[path = "attacks/anatomy.rs"]
mod anatomy;
#[path = "hostile/body.rs"]
mod body;
mod common;
#[path = "hostile/logs.rs"]
mod logs;
#[path = "hostile/seeds.rs"]
mod seeds;

use body::Verdict;
use ringfort_fault::rng::SplitMix64;

/// How many inputs: thousands, more with `RINGFORT_LONG=1`.
fn rounds(ordinary: u64) -> u64 {
    if std::env::var_os("RINGFORT_LONG").is_some_and(|value| value == "1") { ordinary * 50 } else { ordinary }
}

#[test]
fn arbitrary_changes_to_a_directory_give_the_same_data_or_a_typed_error() {
    let mut seen = [0u32; 3];
    for seed in 0..rounds(4000) {
        let mut rng = SplitMix64::new(seed);
        // One change mostly, so that each is seen alone.
        let len = 1 + 8 * if rng.chance(60) { 1 } else { 1 + rng.below(6) };
        let mut input = vec![0; len as usize];
        rng.fill(&mut input);
        let verdict = std::panic::catch_unwind(|| body::hostile(&input))
            .unwrap_or_else(|_| panic!("seed {seed}, input {input:02x?}"));
        seen[verdict as usize] += 1;
    }
    println!("same, tail lost, refused: {seen:?}");
    let [same, tail_lost, refused] = seen;
    assert!(same > 60 && tail_lost > 5 && refused > 1000, "the inputs reach every outcome: {seen:?}");
    assert_eq!(body::hostile(&[]), body::hostile(&[0; 8]), "an empty input is one of zeros");
    let _ = [Verdict::Same, Verdict::TailLost, Verdict::Refused];
}

#[test]
fn whatever_verified_log_records_say_the_store_opens_or_refuses() {
    let mut opened = 0;
    for seed in 0..rounds(800) {
        let mut rng = SplitMix64::new(seed);
        let mut input = Vec::new();
        for _ in 0..1 + rng.below(4) {
            let mut payload = vec![0; rng.below(40) as usize];
            rng.fill(&mut payload);
            if rng.chance(80) {
                shape_ops(&mut payload, &mut rng);
            }
            input.extend([rng.below(16) as u8 & !1, 1 + rng.below(20) as u8, payload.len() as u8]);
            input.extend(payload);
        }
        if seed % 10 == 0 {
            rng.fill(&mut input);
        }
        opened += u32::from(logs::wal_segment(&input));
    }
    println!("{opened} opened");
    assert!(opened > 15, "some are accepted: {opened}");
}

/// Something like a run: kind, time, first position, then operations.
fn shape_ops(payload: &mut Vec<u8>, rng: &mut SplitMix64) {
    payload.truncate(rng.below(6) as usize);
    let mut run = vec![1 + rng.below(3) as u8, rng.below(128) as u8, 12 + rng.below(4) as u8];
    for _ in 0..rng.below(4) {
        let kind = [0, 1, 2, 3, 16, rng.below(256) as u8][rng.below(6) as usize];
        run.extend([kind, 1, b'k']);
        if kind != 0 {
            run.extend([1, rng.below(256) as u8]);
        }
    }
    run.append(payload);
    *payload = run;
}

#[test]
fn whatever_a_verified_manifest_says_the_store_opens_or_refuses() {
    assert!(logs::manifest(&[]), "the valid edits alone open");
    let mut opened = 0;
    for seed in 0..rounds(800) {
        let mut rng = SplitMix64::new(seed);
        let mut input = vec![0; rng.below(60) as usize];
        rng.fill(&mut input);
        if let Some(kind) = input.first_mut() {
            *kind = if rng.chance(90) { 1 + rng.below(15) as u8 } else { 255 };
        }
        // Ids that exist, small numbers: edits that mean something.
        if rng.chance(70) {
            input.iter_mut().skip(1).for_each(|byte| *byte %= 6);
            input.truncate(rng.below(24) as usize + 1);
        }
        opened += u32::from(logs::manifest(&input));
    }
    println!("{opened} opened");
    assert!(opened > 5, "some are accepted: {opened}");
}
