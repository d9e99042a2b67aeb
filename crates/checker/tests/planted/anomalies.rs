//! The anomalies, as small as they get. Times: a transaction is (start, end); most overlap all others.

use ringfort_checker::{Kind, Op, Order, Outcome, Txn};

/// An anomaly to plant.
pub struct Plant {
    pub name: &'static str,
    pub order: Order,
    pub txns: Vec<Txn>,
    pub expected: Vec<(Kind, bool)>,
}

const A: u64 = 9_000_000;
const B: u64 = 9_000_001;
const C: u64 = 9_000_002;
/// Registers.
const X: u64 = 9_100_000;
const Y: u64 = 9_100_001;

pub fn append(key: u64, value: u64) -> Op {
    Op::Append { key, value }
}

pub fn list(key: u64, values: &[u64]) -> Op {
    Op::List { key, values: values.to_vec() }
}

pub fn write(key: u64, value: u64) -> Op {
    Op::Write { key, value }
}

fn read(key: u64, value: Option<u64>) -> Op {
    Op::Read { key, value }
}

fn scan(found: &[(u64, &[u64])]) -> Op {
    Op::ScanLists { from: A, to: X, found: found.iter().map(|(k, v)| (*k, v.to_vec())).collect() }
}

fn scan_values(found: &[(u64, u64)]) -> Op {
    Op::ScanValues { from: X, to: X + 100, found: found.to_vec() }
}

pub fn committed(start: u64, end: u64, ops: Vec<Op>) -> Txn {
    Txn { session: 0, start, end, outcome: Outcome::Committed, ops }
}

fn outcome(outcome: Outcome, ops: Vec<Op>) -> Txn {
    Txn { outcome, ..committed(0, 50, ops) }
}

/// Transactions that all overlap, each in a session of its own.
fn at_once(ops: Vec<Vec<Op>>) -> Vec<Txn> {
    let sessions = 0u32..;
    ops.into_iter().zip(sessions).map(|(ops, session)| Txn { session, ..committed(0, 50, ops) }).collect()
}

/// Transactions of which each ends before the next begins, in sessions of their own.
fn in_turn(ops: Vec<Vec<Op>>) -> Vec<Txn> {
    let mut txns = at_once(ops);
    for (at, txn) in txns.iter_mut().enumerate() {
        (txn.start, txn.end) = (at as u64 * 10, at as u64 * 10 + 5);
    }
    txns
}

fn one(name: &'static str, txns: Vec<Txn>, kind: Kind) -> Plant {
    Plant { name, order: Order::None, txns, expected: vec![(kind, false)] }
}

fn timed(name: &'static str, order: Order, txns: Vec<Txn>, kind: Kind) -> Plant {
    Plant { name, order, txns, expected: vec![(kind, true)] }
}

fn clean(name: &'static str, order: Order, txns: Vec<Txn>) -> Plant {
    Plant { name, order, txns, expected: vec![] }
}

/// All plants, honest look-alikes among them.
pub fn all() -> Vec<Plant> {
    let mut all = without_a_cycle();
    all.extend(cycles());
    all.extend(with_time());
    all.extend(look_alikes());
    all
}

fn without_a_cycle() -> Vec<Plant> {
    use Outcome::{Aborted, Committed};
    vec![
        one("own append not seen", at_once(vec![vec![append(A, 1), list(A, &[])]]), Kind::Internal),
        one("own write not seen", at_once(vec![vec![write(X, 1), read(X, None)]]), Kind::Internal),
        one(
            "a key changes under a reader",
            at_once(vec![vec![append(A, 1)], vec![list(A, &[]), list(A, &[1])]]),
            Kind::Internal,
        ),
        one("element out of nothing", at_once(vec![vec![list(A, &[77])]]), Kind::Garbage),
        one("value out of nothing", at_once(vec![vec![read(X, Some(77))]]), Kind::Garbage),
        one(
            "element twice",
            at_once(vec![vec![append(A, 1)], vec![append(A, 2)], vec![list(A, &[1, 2, 1])]]),
            Kind::Duplicate,
        ),
        one(
            "aborted append read",
            vec![outcome(Aborted, vec![append(A, 1)]), outcome(Committed, vec![list(A, &[1])])],
            Kind::G1a,
        ),
        one(
            "aborted write read",
            vec![outcome(Aborted, vec![write(X, 1)]), outcome(Committed, vec![read(X, Some(1))])],
            Kind::G1a,
        ),
        one(
            "intermediate list",
            at_once(vec![vec![append(A, 1), append(A, 2)], vec![list(A, &[1])], vec![list(A, &[1, 2])]]),
            Kind::G1b,
        )
        .and(Kind::GSingle),
        one(
            "intermediate value",
            at_once(vec![vec![write(X, 1), write(X, 2)], vec![read(X, Some(1))]]),
            Kind::G1b,
        ),
        one(
            "fork",
            at_once(vec![
                vec![append(A, 1)],
                vec![append(A, 2)],
                vec![append(A, 3)],
                vec![list(A, &[1, 2])],
                vec![list(A, &[1, 3])],
            ]),
            Kind::IncompatibleOrder,
        ),
        one(
            "first of two appends lost",
            at_once(vec![vec![append(A, 1), append(A, 2)], vec![list(A, &[2])]]),
            Kind::TornWrites,
        ),
        one(
            "lost update of a register",
            at_once(vec![vec![read(X, None), write(X, 1)], vec![read(X, None), write(X, 2)]]),
            Kind::LostUpdate,
        )
        .and(Kind::G2Item),
    ]
}

impl Plant {
    /// With a cycle on top.
    fn and(mut self, kind: Kind) -> Plant {
        self.expected.push((kind, false));
        self
    }
}

fn cycles() -> Vec<Plant> {
    vec![
        one(
            "dirty writes",
            at_once(vec![
                vec![append(A, 1), append(B, 1)],
                vec![append(A, 2), append(B, 2)],
                vec![list(A, &[1, 2])],
                vec![list(B, &[2, 1])],
            ]),
            Kind::G0,
        ),
        one(
            "two transactions read each other's writes",
            at_once(vec![vec![append(A, 1), list(B, &[2])], vec![append(B, 2), list(A, &[1])]]),
            Kind::G1c,
        ),
        one(
            "registers read around a circle of three",
            at_once(vec![
                vec![write(X, 1), read(Y, Some(3))],
                vec![write(X + 2, 2), read(X, Some(1))],
                vec![write(Y, 3), read(X + 2, Some(2))],
            ]),
            Kind::G1c,
        ),
        one(
            "read skew",
            at_once(vec![vec![append(A, 1), append(B, 1)], vec![list(A, &[]), list(B, &[1])]]),
            Kind::GSingle,
        ),
        one(
            "lost update of a list",
            at_once(vec![
                vec![list(A, &[]), append(A, 1)],
                vec![list(A, &[]), append(A, 2)],
                vec![list(A, &[1, 2])],
            ]),
            Kind::GSingle,
        ),
        one(
            "read skew of registers",
            at_once(vec![
                vec![write(X, 1), write(Y, 1)],
                vec![read(X, Some(1)), write(X, 2), read(Y, Some(1)), write(Y, 2)],
                vec![read(X, Some(1)), read(Y, Some(2))],
            ]),
            Kind::GSingle,
        ),
        one(
            "write skew",
            at_once(vec![
                vec![list(A, &[]), list(B, &[]), append(A, 1)],
                vec![list(A, &[]), list(B, &[]), append(B, 1)],
            ]),
            Kind::G2Item,
        ),
        one(
            "write skew of registers",
            at_once(vec![vec![read(X, None), write(Y, 1)], vec![read(Y, None), write(X, 1)]]),
            Kind::G2Item,
        ),
        one(
            "long fork",
            at_once(vec![
                vec![append(A, 1)],
                vec![append(B, 1)],
                vec![list(A, &[1]), list(B, &[])],
                vec![list(A, &[]), list(B, &[1])],
            ]),
            Kind::G2Item,
        ),
        one(
            "write skew of three",
            at_once(vec![
                vec![list(A, &[]), append(B, 1)],
                vec![list(B, &[]), append(C, 1)],
                vec![list(C, &[]), append(A, 1)],
            ]),
            Kind::G2Item,
        ),
        one(
            "phantom: two scans that miss each other's new key",
            at_once(vec![vec![scan(&[]), append(A, 1)], vec![scan(&[]), append(B, 1)]]),
            Kind::G2Predicate,
        ),
        one(
            "phantom: a scan misses one of two keys of a transaction",
            at_once(vec![vec![append(A, 1), append(B, 1)], vec![scan(&[(A, &[1])])]]),
            Kind::G2Predicate,
        ),
        one(
            "phantom among registers",
            at_once(vec![vec![scan_values(&[]), write(X, 1)], vec![scan_values(&[]), write(Y, 1)]]),
            Kind::G2Predicate,
        ),
        one(
            "an unknown transaction is seen in part",
            vec![
                outcome(Outcome::Unknown, vec![append(A, 1), append(B, 1)]),
                outcome(Outcome::Committed, vec![list(A, &[1]), list(B, &[])]),
            ],
            Kind::GSingle,
        ),
    ]
}

fn with_time() -> Vec<Plant> {
    use Order::{RealTime, Session};
    let mut same_session = at_once(vec![vec![append(A, 1)], vec![list(A, &[])]]);
    same_session[1].session = 0;
    (same_session[0].end, same_session[1].start) = (10, 20);
    vec![
        timed("stale read", RealTime, in_turn(vec![vec![append(A, 1)], vec![list(A, &[])]]), Kind::GSingle),
        timed(
            "lost suffix",
            RealTime,
            in_turn(vec![vec![append(A, 1)], vec![append(A, 2)], vec![list(A, &[1])]]),
            Kind::GSingle,
        ),
        timed(
            "stale read of a register",
            RealTime,
            in_turn(vec![vec![write(X, 1)], vec![write(X, 2)], vec![read(X, Some(1))]]),
            Kind::GSingle,
        ),
        timed(
            "update over a write that it did not see",
            RealTime,
            in_turn(vec![vec![write(X, 1)], vec![write(X, 2)], vec![read(X, Some(1)), write(X, 3)]]),
            Kind::GSingle,
        ),
        timed("stale scan", RealTime, in_turn(vec![vec![append(A, 1)], vec![scan(&[])]]), Kind::G2Predicate),
        timed(
            "read of the future",
            RealTime,
            in_turn(vec![vec![list(A, &[1])], vec![append(A, 1)]]),
            Kind::G1c,
        ),
        timed(
            "writes against time",
            RealTime,
            {
                let mut txns = in_turn(vec![vec![append(A, 1)], vec![append(A, 2)], vec![list(A, &[2, 1])]]);
                txns[2].start = 0;
                txns
            },
            Kind::G0,
        ),
        timed("a session forgets its write", Session, same_session, Kind::GSingle),
    ]
}

fn look_alikes() -> Vec<Plant> {
    use Order::{None, RealTime};
    use Outcome::{Aborted, Committed, Unknown};
    vec![
        clean("stale read, without time", None, in_turn(vec![vec![append(A, 1)], vec![list(A, &[])]])),
        clean(
            "an unknown transaction happens late",
            RealTime,
            vec![
                outcome(Unknown, vec![append(A, 1)]),
                committed(60, 70, vec![list(A, &[])]),
                committed(80, 90, vec![list(A, &[1])]),
            ],
        ),
        clean(
            "an unknown transaction never happens",
            RealTime,
            vec![
                outcome(Unknown, vec![append(A, 1), write(X, 1)]),
                committed(60, 70, vec![list(A, &[]), read(X, Option::None)]),
            ],
        ),
        clean(
            "what an aborted transaction saw",
            RealTime,
            vec![outcome(Aborted, vec![list(A, &[77])]), outcome(Committed, vec![list(A, &[])])],
        ),
        clean(
            "own appends behind a list",
            RealTime,
            in_turn(vec![
                vec![append(A, 1)],
                vec![list(A, &[1]), append(A, 2), list(A, &[1, 2]), append(A, 3)],
                vec![list(A, &[1, 2, 3])],
            ]),
        ),
        clean(
            "a chain of updates",
            RealTime,
            in_turn(vec![
                vec![read(X, Option::None), write(X, 1)],
                vec![read(X, Some(1)), write(X, 2), read(X, Some(2))],
                vec![read(X, Some(2))],
            ]),
        ),
    ]
}
