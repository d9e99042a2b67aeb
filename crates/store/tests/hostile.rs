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
            // Some in the store's own keyspace, where votes and decisions stand.
            let system = u8::from(rng.chance(15));
            input.extend([rng.below(16) as u8 & !1 | system, 1 + rng.below(20) as u8, payload.len() as u8]);
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
        let kinds = [0, 1, 2, 3, 16, 32 + rng.below(3) as u8, rng.below(256) as u8];
        let kind = kinds[rng.below(7) as usize];
        run.extend([kind, 1, b'k']);
        if kind != 0 {
            run.extend([1, rng.below(256) as u8]);
        }
    }
    run.append(payload);
    *payload = run;
}

/// True records of prepared transactions open; what contradicts itself is refused, and never a panic.
#[test]
fn verified_records_of_prepared_transactions_that_lie_are_refused() {
    const PREPARE: &[u8] = &[33, 1, b't', 9, 1];
    const PART: &[u8] = &[32, 5, 1, 1, b'k', 1, b'v', 3, 0, 1, b'r'];
    const COMMIT: &[u8] = &[34, 1, b't', 1];
    let vote = |prepare: &[u8], part: &[u8]| logs::group(2, &[(true, 1, prepare), (false, 2, part)]);
    let true_vote = vote(PREPARE, PART);
    let later = |first: u8, prepare: &[u8]| {
        logs::group(first + 1, &[(true, first, prepare), (false, first + 1, PART)])
    };
    let alone = |ops: &[u8]| logs::group(1, &[(true, 1, ops)]);
    let opens: [(&str, Vec<u8>); 7] = [
        ("a vote", true_vote.clone()),
        ("a vote and its copy", [true_vote.clone(), later(3, PREPARE)].concat()),
        ("an abort", [true_vote.clone(), logs::group(3, &[(true, 3, &[34, 1, b't', 0])])].concat()),
        (
            "a commit",
            [true_vote.clone(), logs::group(4, &[(false, 3, &[1, 1, b'k', 1, b'v']), (true, 4, COMMIT)])]
                .concat(),
        ),
        ("a decision whose vote is gone", alone(COMMIT)),
        ("a vote of who wrote nothing", alone(&[33, 1, b't', 9, 0])),
        ("ranges that were read", vote(PREPARE, &[32, 0, 11, 1, 1, b'a', 1, b'c', 2, 1, b'x', 0, 1, b'b'])),
    ];
    for (what, input) in opens {
        assert!(logs::wal_segment(&input), "{what}");
    }
    let refused: [(&str, Vec<u8>); 17] = [
        ("a vote without its part", alone(PREPARE)),
        ("a part without a vote", logs::group(1, &[(false, 1, PART)])),
        ("a part too many", vote(&[33, 1, b't', 9, 0], PART)),
        ("a part elsewhere", logs::group(3, &[(true, 1, PREPARE), (false, 3, PART)])),
        ("a part of the store's own keyspace", logs::group(2, &[(true, 1, &[PREPARE, PART].concat())])),
        ("a vote in another keyspace", logs::group(2, &[(false, 1, &[PREPARE, PART].concat())])),
        ("a decision in another keyspace", logs::group(1, &[(false, 1, COMMIT)])),
        ("a name of no length", alone(&[33, 0, 9, 0])),
        ("parts beyond all keyspaces", alone(&[33, 1, b't', 9, 0x81, 0x20])),
        ("a decision of a third kind", alone(&[34, 1, b't', 2])),
        ("a decision that is cut", alone(&[34, 1, b't'])),
        ("a part within a part", vote(PREPARE, &[32, 3, 32, 0, 0, 0])),
        ("a vote within a part", vote(PREPARE, &[32, 5, 33, 1, b'u', 9, 0, 0])),
        ("an operation that is cut", vote(PREPARE, &[32, 3, 1, 1, b'k', 0])),
        ("a read of an unknown kind", vote(PREPARE, &[32, 0, 3, 3, 1, b'r'])),
        ("a range that is cut", vote(PREPARE, &[32, 0, 3, 1, 1, b'r'])),
        ("two that hold one key", [true_vote, later(3, &[33, 1, b'u', 9, 1])].concat()),
    ];
    for (what, input) in refused {
        assert!(!logs::wal_segment(&input), "{what}");
    }
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
