//! Each anomaly stands in an honest history, on keys of its own, and is the only thing that is found.

use crate::anomalies::{Plant, all};
use crate::honest::{self, Rng};
use ringfort_checker::{Kind, Order, Report, Txn, check};

/// The history with the plant somewhere in it: its times are moved there, so that it overlaps others.
fn with(plant: &Plant, seed: u64) -> Vec<Txn> {
    let mut history = honest::history(seed, 120);
    let mut rng = Rng(seed);
    let (at, when) = (rng.below(100) as usize, 100 + rng.below(1000));
    for txn in plant.txns.iter().rev() {
        let mut txn = txn.clone();
        txn.session += 10_000;
        txn.start += when;
        txn.end += when;
        history.insert(at, txn);
    }
    history
}

fn found(report: &Report) -> Vec<(Kind, bool)> {
    report.anomalies.iter().map(|anomaly| (anomaly.kind, anomaly.timed)).collect()
}

#[test]
fn every_planted_anomaly_is_found_under_its_name_in_every_history() {
    for plant in all() {
        for seed in 0..200 {
            let report = check(&with(&plant, seed), plant.order).unwrap();
            assert_eq!(found(&report), plant.expected, "{}, seed {seed}: {report}", plant.name);
        }
    }
}

#[test]
fn there_are_enough_of_them_and_every_kind() {
    let plants = all();
    let wrong = plants.iter().filter(|plant| !plant.expected.is_empty()).count();
    assert!(wrong >= 25, "{wrong}");
    for kind in [
        Kind::Internal,
        Kind::Garbage,
        Kind::Duplicate,
        Kind::G1a,
        Kind::G1b,
        Kind::IncompatibleOrder,
        Kind::TornWrites,
        Kind::LostUpdate,
        Kind::G0,
        Kind::G1c,
        Kind::GSingle,
        Kind::G2Item,
        Kind::G2Predicate,
    ] {
        let has = plants.iter().any(|plant| plant.expected.iter().any(|found| found.0 == kind));
        assert!(has, "{kind:?}");
    }
}

#[test]
fn what_needs_time_is_no_anomaly_without_it() {
    for plant in all().iter().filter(|plant| plant.expected.iter().any(|found| found.1)) {
        let report = check(&with(plant, 3), Order::None).unwrap();
        assert!(report.is_clean(), "{}: {report}", plant.name);
    }
}

#[test]
fn the_report_names_the_transactions_of_a_cycle() {
    let plant = all().into_iter().find(|plant| plant.name == "write skew").unwrap();
    let report = check(&plant.txns, Order::None).unwrap();
    assert_eq!(report.anomalies[0].txns.len(), 2);
    let text = report.to_string();
    assert!(
        text.contains("1 x G2-item") && text.contains("what it read was replaced by (key 9000000)"),
        "{text}"
    );
}

#[test]
fn a_history_that_cannot_be_checked_says_why() {
    use crate::anomalies::{append, committed, list, write};
    let refused = |txns: &[Txn]| check(txns, Order::None).unwrap_err().to_string();
    assert!(
        refused(&[committed(0, 1, vec![append(1, 1)]), committed(0, 1, vec![append(1, 1)])])
            .contains("twice")
    );
    assert!(refused(&[committed(0, 1, vec![write(1, 1), list(1, &[])])]).contains("a list and a register"));
    assert!(refused(&[committed(5, 1, vec![])]).contains("ends before it begins"));
    let lines = "{\"session\":0,\"start\":1,\"end\":2,\"outcome\":\"committed\",\"ops\":[{\"append\":{\"key\":1,\"value\":2}}]}\n\nnonsense";
    let error = ringfort_checker::read_json_lines(lines.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("line 3"), "{error}");
    let first = lines.lines().next().unwrap();
    assert_eq!(
        ringfort_checker::read_json_lines(first.as_bytes()).unwrap(),
        [committed(1, 2, vec![append(1, 2)])]
    );
}
