//! Transactions: what `transactions` and `treaty` wrote, as goals and as tables.

use super::goals::{Bound, Checked, Goal};
use crate::report::Spread;
use crate::transactions::cells::{Cell, Cells};
use crate::transactions::ledger::Line;
use crate::transactions::point::Load;
use crate::transactions::stores::{By, RINGFORT};
use crate::transactions::{self, Part};
use crate::treaty::{self, Number, Workload};
use ringfort_bench::ycsb::Distribution;

/// What the commands have measured.
#[derive(Default)]
pub struct Transactions {
    one_thread: Cells,
    contended: Cells,
    treaty: Cells,
    /// The stores with their versions, in the order in which they first came.
    about: Vec<(String, String)>,
}

impl Transactions {
    /// The lines of files, by command.
    pub fn of(lines: &[Line]) -> Self {
        let mut about: Vec<(String, String)> = Vec::new();
        for line in lines {
            if !about.iter().any(|(store, _)| *store == line.point.store) {
                about.push((line.point.store.clone(), line.about.clone()));
            }
        }
        Self {
            about,
            one_thread: Cells::of_part(lines, Part::OneThread.name()),
            contended: Cells::of_part(lines, Part::Contended.name()),
            treaty: Cells::of_part(lines, treaty::PART),
        }
    }

    /// All tables.
    pub fn text(&self) -> String {
        let parts = [(Part::OneThread, &self.one_thread), (Part::Contended, &self.contended)];
        let mut out: String =
            self.about.iter().map(|(store, about)| format!("- `{store}`: {about}\n")).collect();
        out.push('\n');
        parts.iter().for_each(|(part, cells)| out += &transactions::table(*part, cells));
        out.push('\n');
        out + &treaty::tables(&self.treaty)
    }
}

/// The goals of transactions: the table, row by row.
pub fn goals(all: &Transactions) -> Vec<Goal> {
    let mut goals = against_rocksdb(&all.treaty);
    goals.extend(cost_of_fresh(&all.treaty));
    goals.push(one_thread(&all.one_thread));
    goals.extend(contended(&all.contended));
    goals
}

/// Rates of TREATY's figures, at 64 and 128 clients.
fn against_rocksdb(cells: &Cells) -> Vec<Goal> {
    let claims = treaty::claims(cells, Number::AgainstRocksDb);
    let found = |by: By, workloads: &[Workload], sealed: Option<f64>, fresh: f64| -> Vec<Checked> {
        let of = claims.iter().filter(|claim| claim.by == by && workloads.contains(&claim.workload));
        let checked = of.filter_map(|claim| {
            let least = if claim.fresh { fresh } else { sealed? };
            Some(Checked { what: claim.what.clone(), value: claim.value, bound: Bound::AtLeast(least) })
        });
        checked.collect()
    };
    let row =
        |workload, reference, goal, expected, found| Goal { workload, reference, goal, expected, found };
    let locks = "RocksDB's TransactionDB, synced (TREATY: 0.5 / 0.48)";
    let reads = "RocksDB's TransactionDB, synced (TREATY: 0.37 / 0.29)";
    let writes = "RocksDB's TransactionDB, synced (TREATY: 0.36 / 0.31)";
    let checks = "RocksDB's OptimisticTransactionDB, synced (TREATY: 0.2, YCSB 0.25)";
    let (tpcc, ycsb) = ([Workload::Tpcc], [Workload::Ycsb80, Workload::Ycsb20]);
    vec![
        row(
            "TPC-C by locks, 64 and 128 clients, sealed / and `fresh`",
            locks,
            "≥ 1.2 / ≥ 1.0",
            4,
            found(By::Pessimistic, &tpcc, Some(1.2), 1.0),
        ),
        row(
            "YCSB 80 % reads by locks, sealed / and `fresh`",
            reads,
            "≥ 1.3 / ≥ 1.0",
            4,
            found(By::Pessimistic, &ycsb[..1], Some(1.3), 1.0),
        ),
        row(
            "YCSB 20 % reads by locks, sealed / and `fresh`",
            writes,
            "≥ 1.3 / ≥ 1.0",
            4,
            found(By::Pessimistic, &ycsb[1..], Some(1.3), 1.0),
        ),
        row("TPC-C by checks, `fresh`", checks, "≥ 1.0", 2, found(By::Optimistic, &tpcc, None, 1.0)),
        row("YCSB by checks, `fresh`", checks, "≥ 1.0", 4, found(By::Optimistic, &ycsb, None, 1.0)),
    ]
}

fn cost_of_fresh(cells: &Cells) -> Vec<Goal> {
    let found = |number, most| -> Vec<Checked> {
        let kind = |by: By| if by == By::Pessimistic { "locks" } else { "checks" };
        let checked = |claim: treaty::Claim| Checked {
            what: format!("{} by {}", claim.what, kind(claim.by)),
            value: claim.value,
            bound: Bound::AtMost(most),
        };
        treaty::claims(cells, number).into_iter().map(checked).collect()
    };
    let row = |workload, reference, goal, found| Goal { workload, reference, goal, expected: 12, found };
    vec![
        row(
            "throughput lost to `fresh`, 2 ms counter, 64 and 128 clients",
            "`durable` (TREATY: 1.05 to 1.30)",
            "≤ 1.05",
            found(Number::CostOfFresh, 1.05),
        ),
        row(
            "p50 of the same",
            "`durable` and 1.5 advances (TREATY: +10 %)",
            "≤ 1.10",
            found(Number::LatencyOfFresh, 1.10),
        ),
    ]
}

/// Ours, each mix and kind.
fn ours(cells: &Cells) -> impl Iterator<Item = (String, &Cell)> {
    let ours = cells.0.iter().filter(|cell| cell.point.store == RINGFORT.name);
    ours.map(|cell| (format!("{}, {}", cell.point.load.name(), cell.point.by.name()), cell))
}

/// Ours by RocksDB's better kind, each mix and kind of ours.
fn by_better(cells: &Cells, least: f64) -> Vec<Checked> {
    let checked = |(what, cell): (String, &Cell)| {
        let value = cell.by(cells.on(&cell.point.load).better_rocksdb()?)?;
        Some(Checked { what, value, bound: Bound::AtLeast(least) })
    };
    ours(cells).filter_map(checked).collect()
}

fn one_thread(cells: &Cells) -> Goal {
    Goal {
        workload: "one client, 10 operations, uniform, no sync, embedded",
        reference: "RocksDB's better kind",
        goal: "≥ 2",
        expected: 4,
        found: by_better(cells, 2.0),
    }
}

fn contended(cells: &Cells) -> Vec<Goal> {
    let is_skewed =
        |cell: &Cell| matches!(cell.point.load, Load::Ycsb { distribution: Distribution::Zipfian, .. });
    let skewed = Cells(cells.0.iter().filter(|cell| is_skewed(cell)).cloned().collect());
    let uncontended = transactions::against_uncontended(cells).into_iter();
    let p99 = |(what, cell): (String, &Cell)| {
        let value: Spread = cell.spread(|run| run.p99_us / 1000.0);
        Checked { what, value, bound: Bound::AtMost(50.0) }
    };
    let row = |reference, goal, found| Goal {
        workload: "zipfian 0.99, 10 operations, 8 clients, no sync",
        reference,
        goal,
        expected: 4,
        found,
    };
    vec![
        row("RocksDB's better kind, pauses of random length", "≥ 3", by_better(&skewed, 3.0)),
        row(
            "ours, uniform",
            "≥ 0.5",
            uncontended.map(|(what, value)| Checked { what, value, bound: Bound::AtLeast(0.5) }).collect(),
        ),
        row("p99, ms", "< 50", ours(&skewed).map(p99).collect()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transactions::cells::tests::{cell, ycsb};
    use ringfort_bench::ycsb::Mix;

    fn row<'a>(goals: &'a [Goal], begin: &str, reference: &str) -> &'a Goal {
        let is = |goal: &&Goal| goal.workload.starts_with(begin) && goal.reference.starts_with(reference);
        goals.iter().find(is).unwrap_or_else(|| panic!("{begin}, {reference}"))
    }

    fn medians(goal: &Goal) -> Vec<(&str, f64)> {
        goal.found.iter().map(|checked| (&*checked.what, checked.value.median)).collect()
    }

    #[test]
    fn without_runs_there_is_nothing() {
        assert!(goals(&Transactions::default()).iter().all(|goal| goal.found.is_empty()));
        assert!(Transactions::default().text().trim().is_empty());
    }

    #[test]
    fn the_reference_is_the_better_of_rocksdbs_kinds() {
        let load = ycsb(Mix::A, Distribution::Uniform);
        let all = Transactions {
            one_thread: Cells(vec![
                cell("ringfort", By::Pessimistic, load, 1, &[30.0, 50.0]),
                cell("rocksdb", By::Pessimistic, load, 1, &[10.0, 10.0]),
                cell("rocksdb", By::Optimistic, load, 1, &[20.0, 20.0]),
                // Faster, but not serializable.
                cell("rocksdb-plain-reads", By::Optimistic, load, 1, &[90.0, 90.0]),
            ]),
            ..Transactions::default()
        };
        let all = goals(&all);
        assert_eq!(medians(row(&all, "one client", "RocksDB")), [("ycsb a, pessimistic", 2.0)]);
    }

    #[test]
    fn the_contended_rate_is_held_against_rocksdb_and_against_the_uncontended_one() {
        let (skewed, even) = (ycsb(Mix::F, Distribution::Zipfian), ycsb(Mix::F, Distribution::Uniform));
        let all = Transactions {
            contended: Cells(vec![
                cell("ringfort", By::Optimistic, skewed, 8, &[60.0]),
                cell("rocksdb", By::Optimistic, skewed, 8, &[10.0]),
                cell("ringfort", By::Optimistic, even, 8, &[80.0]),
            ]),
            ..Transactions::default()
        };
        let all = goals(&all);
        assert_eq!(medians(row(&all, "zipfian", "RocksDB")), [("ycsb f, zipfian, optimistic", 6.0)]);
        assert_eq!(medians(row(&all, "zipfian", "ours")), [("f, optimistic", 0.75)]);
        // The uncontended run has no tail to answer for.
        assert_eq!(medians(row(&all, "zipfian", "p99")).len(), 1);
    }

    #[test]
    fn fresh_has_its_own_bound_and_its_cost() {
        use crate::treaty::tests::{at_fresh, cells_of};
        let load = Load::Tpcc { warehouses: 10 };
        let cells = cells_of(vec![
            cell("rocksdb", By::Pessimistic, load, 64, &[100.0]),
            cell("ringfort", By::Pessimistic, load, 64, &[130.0]),
            at_fresh(cell("ringfort", By::Pessimistic, load, 64, &[104.0])),
        ]);
        let all = goals(&Transactions { treaty: cells, ..Transactions::default() });
        let rates = row(&all, "TPC-C by locks", "RocksDB");
        assert_eq!(medians(rates), [("tpcc x64", 1.3), ("tpcc x64, fresh", 1.04)]);
        assert_eq!(medians(row(&all, "throughput lost", "`durable`")), [("tpcc x64 by locks", 1.25)]);
        // Half of all took 1 ms at both levels: 1 by 1 and three.
        assert_eq!(medians(row(&all, "p50", "`durable`")), [("tpcc x64 by locks", 0.25)]);
        assert!(row(&all, "TPC-C by checks", "RocksDB").found.is_empty());
    }
}
