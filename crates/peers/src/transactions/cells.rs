//! [`Cells`]: points with their runs, and the numbers that tables show of them.

use super::ledger::Line;
use super::point::{Load, Measured, Point};
use super::stores::{By, ROCKSDB};
use crate::report::Spread;
use std::fmt::Write as _;

/// One point with its runs, by repeat.
#[derive(Clone, Debug)]
pub struct Cell {
    pub point: Point,
    pub runs: Vec<Measured>,
}

impl Cell {
    /// Of all repeats.
    pub fn spread(&self, of: impl Fn(&Measured) -> f64) -> Spread {
        Spread::of(&self.runs.iter().map(of).collect::<Vec<_>>())
    }

    /// Transactions a second.
    pub fn rate(&self) -> Spread {
        self.spread(|run| run.transactions_per_sec)
    }

    /// This one's rate by another's, repeat by repeat.
    pub fn by(&self, other: &Self) -> Option<Spread> {
        self.ratio(other, |run| run.transactions_per_sec)
    }

    /// One of this one's numbers by the other's, repeat by repeat.
    pub fn ratio(&self, other: &Self, of: fn(&Measured) -> f64) -> Option<Spread> {
        let values = |cell: &Self| cell.runs.iter().map(of).collect::<Vec<_>>();
        Spread::of_ratios(&values(self), &values(other))
    }
}

/// Points with their runs.
#[derive(Clone, Debug, Default)]
pub struct Cells(pub Vec<Cell>);

impl Cells {
    /// Those of points and of what was measured at them, in the same order.
    pub fn of(points: &[Point], runs: Vec<Vec<Measured>>) -> Self {
        let cell = |(point, runs): (&Point, Vec<Measured>)| Cell { point: point.clone(), runs };
        Self(points.iter().zip(runs).map(cell).collect())
    }

    /// Those of one part of files of results, in the order in which they first ran.
    pub fn of_part(lines: &[Line], part: &str) -> Self {
        let mut cells: Vec<Cell> = Vec::new();
        for line in lines.iter().filter(|line| line.part == part) {
            match cells.iter_mut().find(|cell| cell.point == line.point) {
                Some(cell) => {
                    let at = (line.repeat - 1).min(cell.runs.len());
                    cell.runs.insert(at, line.measured.clone());
                }
                None => cells.push(Cell { point: line.point.clone(), runs: vec![line.measured.clone()] }),
            }
        }
        Self(cells)
    }

    /// What was run, each once, in the order of the runs.
    pub fn loads(&self) -> Vec<Load> {
        let mut loads: Vec<Load> = Vec::new();
        for cell in &self.0 {
            if !loads.contains(&cell.point.load) {
                loads.push(cell.point.load);
            }
        }
        loads
    }

    /// Those of one load.
    pub fn on(&self, load: &Load) -> Self {
        Self(self.0.iter().filter(|cell| cell.point.load == *load).cloned().collect())
    }

    /// The first of a store and a kind of transactions.
    pub fn find(&self, store: &str, by: By) -> Option<&Cell> {
        self.0.iter().find(|cell| cell.point.store == store && cell.point.by == by)
    }

    /// The faster of RocksDB's two kinds, every read tracked.
    pub fn better_rocksdb(&self) -> Option<&Cell> {
        let both = self.0.iter().filter(|cell| cell.point.store == ROCKSDB.name);
        both.max_by(|one, other| one.rate().median.total_cmp(&other.rate().median))
    }

    /// A row for each, by the better RocksDB.
    pub fn table(&self) -> String {
        let mut out = "| store | kind | tx/s (min–max) | by the better RocksDB | p50 µs | p99 µs | begun again | CPU µs/tx |\n\
                       |---|---|--:|--:|--:|--:|--:|--:|\n"
            .to_owned();
        let reference = self.better_rocksdb();
        for cell in &self.0 {
            let rate = cell.rate();
            let ratio = reference.and_then(|reference| cell.by(reference));
            let _ = writeln!(
                out,
                "| {} | {} | {:.0} ({:.0}–{:.0}) | {} | {:.0} | {:.0} | {:.1} % | {:.1} |",
                cell.point.store,
                cell.point.by.name(),
                rate.median,
                rate.min,
                rate.max,
                ratio.map_or_else(|| "–".to_owned(), Spread::shown),
                cell.spread(|run| run.p50_us).median,
                cell.spread(|run| run.p99_us).median,
                cell.spread(|run| run.abort_rate * 100.0).median,
                cell.spread(|run| run.cpu_us_per_transaction).median,
            );
        }
        out
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::transactions::ledger::Ledger;
    use ringfort_base::Level;
    use ringfort_bench::Settings;
    use ringfort_bench::ycsb::{Distribution, Mix};

    pub fn ycsb(mix: Mix, distribution: Distribution) -> Load {
        Load::Ycsb { mix, distribution, records: 1000, value_bytes: 100, operations: 10 }
    }

    /// Made up: a rate for each repeat.
    pub fn cell(store: &str, by: By, load: Load, clients: usize, rates: &[f64]) -> Cell {
        let point = Point {
            store: store.to_owned(),
            by,
            level: Level::Durable,
            counter_latency_us: 2000,
            load,
            clients,
            warm_up_seconds: 0.0,
            seconds: 1.0,
            settings: Settings::default(),
        };
        let run = |rate: &f64| Measured {
            transactions_per_sec: *rate,
            mean_us: clients as f64 * 1e6 / rate,
            p50_us: 1000.0,
            p99_us: 9000.0,
            abort_rate: 0.25,
            seconds: 1.0,
            ..Measured::default()
        };
        Cell { point, runs: rates.iter().map(run).collect() }
    }

    #[test]
    fn ratios_are_of_one_repeat_and_shown_beside_the_costs() {
        let load = ycsb(Mix::A, Distribution::Zipfian);
        let cells = Cells(vec![
            cell("ringfort", By::Pessimistic, load, 8, &[30.0, 60.0, 40.0]),
            cell("rocksdb", By::Pessimistic, load, 8, &[10.0, 20.0, 40.0]),
        ]);
        let table = cells.table();
        let row = table.lines().find(|line| line.starts_with("| ringfort")).unwrap();
        assert!(row.contains("| 40 (30–60) | **3.00** (1.00–3.00) | 1000 | 9000 | 25.0 % |"), "{row}");
        assert_eq!(cells.loads(), [load]);
        assert!(load.name().contains("zipfian") && load.about().contains("zipfian 0.99"));
    }

    #[test]
    fn runs_come_back_from_the_file_in_the_order_of_their_repeats() {
        let path = std::env::temp_dir().join(format!("ringfort-ledger-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let load = ycsb(Mix::F, Distribution::Uniform);
        let Cell { point, runs } = cell("rocksdb", By::Optimistic, load, 1, &[1.0, 2.0]);
        let mut ledger = Ledger::open(Some(&path)).unwrap();
        for nth in [1, 0] {
            ledger.add("part", &point, nth + 1, &runs[nth]).unwrap();
        }
        ledger.add("another", &point, 1, &runs[0]).unwrap();
        let again = Ledger::open(Some(&path)).unwrap();
        let lines = crate::transactions::ledger::read(std::slice::from_ref(&path)).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(again.find("part", &point, 2).unwrap(), Some(runs[1].clone()));
        assert_eq!(again.find("part", &point, 3).unwrap(), None, "another repeat");
        let other = Point { clients: 2, ..point };
        assert_eq!(again.find("part", &other, 1).unwrap(), None, "another point");
        let cells = Cells::of_part(&lines, "part");
        let rates: Vec<f64> = cells.0[0].runs.iter().map(|run| run.transactions_per_sec).collect();
        assert_eq!((cells.0.len(), rates), (1, vec![1.0, 2.0]));
    }
}
