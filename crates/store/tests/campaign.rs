//! Many concurrent transactions of every kind on a store that dies again and again; what their clients saw goes to
//! the isolation checker, which knows nothing of how the store works.
//!
//! A campaign is a seed: half of them run in one thread, in an order that the seed chooses, and half in threads.
//! `RINGFORT_LONG=1` runs 10,000 transactions of each; how many there are in all, and from which seed on:
//!
//! ```sh
//! RINGFORT_CAMPAIGN_TXNS=1000000 RINGFORT_CAMPAIGN_SEED=1 \
//!     cargo test --release -p ringfort-store --test campaign -- --nocapture
//! ```
//!
//! A failure names its seed, and leaves the history in a file for `ringfort-checker`.
#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "campaign/clients.rs"]
mod clients;
mod common;
#[path = "campaign/lives.rs"]
mod lives;
#[path = "common/power.rs"]
mod power;
#[path = "campaign/schedule.rs"]
mod schedule;

use common::MODES;
use lives::{Plan, Totals, run};
use ringfort_checker::{Txn, write_json_lines};
use std::path::PathBuf;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

/// Where a history is left.
fn keep(history: &[Txn], seed: u64) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("campaign-{seed}.jsonl"));
    let file = std::fs::File::create(&path).unwrap();
    write_json_lines(std::io::BufWriter::new(file), history).unwrap();
    path
}

#[test]
fn a_store_that_dies_again_and_again_is_strictly_serializable() {
    let long = std::env::var_os("RINGFORT_LONG").is_some_and(|value| value == "1");
    let all = setting("RINGFORT_CAMPAIGN_TXNS");
    let first = setting("RINGFORT_CAMPAIGN_SEED").unwrap_or(1);
    // A campaign's history is checked as a whole after each life.
    let txns = if long || all.is_some() { 10_000 } else { 3_000 };
    let all = all.unwrap_or(6 * txns);
    let mut totals = Totals::default();
    for seed in first.. {
        let plan = Plan { mode: MODES[(seed % 3) as usize], seed, txns, threads: seed % 2 == 0 };
        match run(plan) {
            Ok(campaign) => totals.add(&campaign),
            Err((why, history)) => panic!("{why}\nthe history is in {}", keep(&history, seed).display()),
        }
        println!("seeds {first} to {seed}: no anomaly in {totals:?}");
        if totals.txns >= all {
            break;
        }
    }
    assert!(totals.again > 0 && totals.cuts > 0 && totals.kills > 0, "{totals:?}");
    assert!(totals.locked > 0 && totals.passed > 0, "plain writes came one way only: {totals:?}");
    assert!(totals.lost > 0 && totals.unknown > 0 && totals.unknown_seen > 0, "{totals:?}");
    assert!(totals.decided > totals.resumed && totals.resumed > 0, "{totals:?}");
    assert!(totals.reads > totals.txns, "{totals:?}");
}
