//! Checks a million transactions: `time cargo run --release -p ringfort-checker --example million`.
//!
//! What is checked is a serial execution with overlapping times, so it must come out clean.

use ringfort_checker::{Op, Order, Outcome, Txn, check};

fn main() {
    let history = history(1_000_000);
    match check(&history, Order::RealTime) {
        Ok(report) => println!("{report}"),
        Err(e) => println!("{e}"),
    }
}

/// Two appends and two reads a transaction, a pool of keys that moves on so that lists stay short.
fn history(txns: u64) -> Vec<Txn> {
    let mut lists: Vec<Vec<u64>> = vec![Vec::new(); txns as usize / 10 + 16];
    let mut state = 1u64;
    let mut next = move |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    (0..txns)
        .map(|number| {
            let base = number / 10;
            let mut ops = Vec::with_capacity(4);
            for step in 0..4 {
                let key = base + next(16);
                let list = &mut lists[key as usize];
                if step % 2 == 0 {
                    ops.push(Op::List { key, values: list.clone() });
                } else {
                    let value = number * 4 + step;
                    list.push(value);
                    ops.push(Op::Append { key, value });
                }
            }
            let (start, end) = (1000 + number * 10 - next(100), 1000 + number * 10 + next(100));
            Txn { session: number as u32 % 32, start, end, outcome: Outcome::Committed, ops }
        })
        .collect()
}
