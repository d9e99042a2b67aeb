//! Histories of a store that really is serializable: transactions run one by one, each at a moment between
//! its start and its end, with aborted ones and ones of unknown outcome among them.

use ringfort_checker::{Op, Order, Outcome, Txn, check};
use std::collections::BTreeMap;

/// SplitMix64: a seed is a history.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// Registers have names from here on, lists below.
const REGISTERS: u64 = 1_000_000;

#[derive(Clone, Default)]
struct State {
    lists: BTreeMap<u64, Vec<u64>>,
    registers: BTreeMap<u64, u64>,
}

struct World {
    rng: Rng,
    state: State,
    next_value: u64,
    /// When each session is free again.
    sessions: Vec<u64>,
}

/// `txns` transactions over a pool of keys that moves on.
pub fn history(seed: u64, txns: u64) -> Vec<Txn> {
    let mut world = World { rng: Rng(seed), state: State::default(), next_value: 1, sessions: Vec::new() };
    (0..txns).map(|number| world.txn(number)).collect()
}

impl World {
    fn txn(&mut self, number: u64) -> Txn {
        let point = 100 + number * 10;
        let (mut start, mut end) = (point - self.rng.below(60), point + self.rng.below(60));
        let outcome = match self.rng.below(20) {
            0 => Outcome::Aborted,
            1 => Outcome::Unknown,
            _ => Outcome::Committed,
        };
        let happens = match outcome {
            Outcome::Committed => true,
            Outcome::Aborted => false,
            Outcome::Unknown => self.rng.below(2) == 0,
        };
        if outcome == Outcome::Unknown && self.rng.below(2) == 0 {
            // It happens after its client has given up.
            (start, end) = (start.saturating_sub(60), point - 5);
            start = start.min(end);
        }
        let mut state = self.state.clone_few(number);
        let base = number / 50 * 4;
        let ops = (0..1 + self.rng.below(6)).map(|_| self.op(&mut state, base)).collect();
        if happens {
            self.state.lists.append(&mut state.lists);
            self.state.registers.append(&mut state.registers);
        }
        Txn { session: self.session(start, end), start, end, outcome, ops }
    }

    fn session(&mut self, start: u64, end: u64) -> u32 {
        let free = self.sessions.iter().position(|&free| free < start).unwrap_or_else(|| {
            self.sessions.push(0);
            self.sessions.len() - 1
        });
        self.sessions[free] = end;
        free as u32
    }

    fn op(&mut self, state: &mut State, base: u64) -> Op {
        let key = base + self.rng.below(6);
        match self.rng.below(8) {
            0..3 => {
                let value = self.value();
                state.lists.entry(key).or_default().push(value);
                Op::Append { key, value }
            }
            3..5 => Op::List { key, values: state.lists.get(&key).cloned().unwrap_or_default() },
            5 if self.rng.below(2) == 0 => {
                let found = state.lists.range(base..base + 6).map(|(k, v)| (*k, v.clone())).collect();
                Op::ScanLists { from: base, to: base + 6, found }
            }
            5 => {
                let (from, to) = (REGISTERS + base, REGISTERS + base + 6);
                let found = state.registers.range(from..to).map(|(k, v)| (*k, *v)).collect();
                Op::ScanValues { from, to, found }
            }
            6 => {
                let (key, value) = (REGISTERS + key, self.value());
                state.registers.insert(key, value);
                Op::Write { key, value }
            }
            _ => {
                let key = REGISTERS + key;
                Op::Read { key, value: state.registers.get(&key).copied() }
            }
        }
    }

    fn value(&mut self) -> u64 {
        self.next_value += 1;
        self.next_value
    }
}

impl State {
    /// What a transaction of this number may touch.
    fn clone_few(&self, number: u64) -> State {
        let base = number / 50 * 4;
        State {
            lists: self.lists.range(base..base + 6).map(|(k, v)| (*k, v.clone())).collect(),
            registers: self
                .registers
                .range(REGISTERS + base..REGISTERS + base + 6)
                .map(|(k, v)| (*k, *v))
                .collect(),
        }
    }
}

#[test]
fn no_alarm_over_a_thousand_honest_histories() {
    for seed in 0..1000 {
        for order in [Order::None, Order::Session, Order::RealTime] {
            let report = check(&history(seed, 150), order).unwrap();
            assert!(report.is_clean(), "seed {seed}, {order:?}: {report}");
            assert!(report.edges > 100, "seed {seed}: nothing was looked at");
        }
    }
}

#[test]
fn a_long_history_is_checked_whole() {
    let history = history(7, 100_000);
    let report = check(&history, Order::RealTime).unwrap();
    assert!(report.is_clean(), "{report}");
    assert!(report.unknown_seen > 1000, "{report}");
    assert!(report.edges > 400_000, "{report}");
}

#[test]
fn a_store_that_forgets_one_key_is_caught() {
    // What a rolled-back host does: one transaction reads a list as it was before an append that had ended.
    let mut caught = 0;
    for seed in 0..200 {
        let mut history = history(seed, 300);
        let ends: BTreeMap<u64, u64> =
            history.iter().filter(|txn| txn.outcome == Outcome::Committed).flat_map(appends).collect();
        let is_stale = |txn: &&mut Txn| match &txn.ops[..] {
            [Op::List { values, .. }] => {
                txn.outcome == Outcome::Committed
                    && values
                        .last()
                        .is_some_and(|newest| ends.get(newest).is_some_and(|&end| end < txn.start))
            }
            _ => false,
        };
        let Some(txn) = history.iter_mut().skip(100).find(is_stale) else { continue };
        if let Op::List { values, .. } = &mut txn.ops[0] {
            values.pop();
        }
        let report = check(&history, Order::RealTime).unwrap();
        assert!(!report.is_clean(), "seed {seed}");
        caught += 1;
    }
    assert!(caught > 50, "{caught}");
}

/// What a transaction appended, with its end.
fn appends(txn: &Txn) -> impl Iterator<Item = (u64, u64)> {
    txn.ops.iter().filter_map(|op| match op {
        Op::Append { value, .. } => Some((*value, txn.end)),
        _ => None,
    })
}
