//! The slowdowns against RocksDB, beside the paper's.

use super::{CONFIGURATIONS, Configuration, PLAIN, ROCKSDB, SEALED, SEALED_FRESH, Workload, paper};
use crate::report::Spread;
use crate::transactions::cells::{Cell, Cells};
use crate::transactions::stores::By;
use std::fmt::Write as _;

/// The figure of the paper that a kind of transactions is in.
pub fn figure(by: By) -> u32 {
    match by {
        By::Pessimistic => 6,
        By::Optimistic => 7,
    }
}

/// The points of one figure's workload.
pub struct Panel {
    pub by: By,
    pub workload: Workload,
    cells: Cells,
}

impl Panel {
    /// Every panel that there are points of.
    pub fn all(cells: &Cells) -> Vec<Self> {
        let mut all = Vec::new();
        for by in [By::Pessimistic, By::Optimistic] {
            for workload in Workload::ALL {
                let of =
                    |cell: &&Cell| cell.point.by == by && Workload::of(&cell.point.load) == Some(workload);
                let mut cells: Vec<Cell> = cells.0.iter().filter(of).cloned().collect();
                // Of several sizes, those of the last run.
                if let Some(load) = cells.last().map(|cell| cell.point.load) {
                    cells.retain(|cell| cell.point.load == load);
                    all.push(Self { by, workload, cells: Cells(cells) });
                }
            }
        }
        all
    }

    /// Numbers of clients, ascending.
    pub fn clients(&self) -> Vec<usize> {
        let mut clients: Vec<usize> = self.cells.0.iter().map(|cell| cell.point.clients).collect();
        clients.sort_unstable();
        clients.dedup();
        clients
    }

    /// One configuration at one number of clients; of several runs of the command the last.
    pub fn at(&self, configuration: &Configuration, clients: usize) -> Option<&Cell> {
        let is = |cell: &&Cell| configuration.is_of(&cell.point) && cell.point.clients == clients;
        self.cells.0.iter().rev().find(is)
    }

    /// What was run.
    pub fn about(&self) -> String {
        self.cells.0.first().map_or_else(String::new, |cell| cell.point.load.about())
    }

    /// Of so many runs each number is the median.
    pub fn repeats(&self) -> usize {
        self.cells.0.iter().map(|cell| cell.runs.len()).max().unwrap_or(0)
    }

    /// How many times slower than RocksDB, repeat by repeat.
    pub fn slowdown(&self, configuration: &Configuration, clients: usize) -> Option<Spread> {
        self.at(ROCKSDB, clients)?.by(self.at(configuration, clients)?)
    }

    fn table(&self) -> String {
        let others = CONFIGURATIONS.iter().filter(|configuration| configuration.name != ROCKSDB.name);
        let mut out = format!(
            "#### Figure {}, {}: {}\n\nSlowdown against RocksDB (above 1 is slower), medians of {} runs; latencies p50 : p99 in ms.\n\n\
             | clients | rocksdb tx/s |",
            figure(self.by),
            self.by.name(),
            self.about(),
            self.repeats()
        );
        others.clone().for_each(|one| out += &format!(" {} |", one.name));
        out += " rocksdb ms | sealed ms | sealed, fresh ms | sealed begun again |\n|--:|--:|";
        out += &"--:|".repeat(CONFIGURATIONS.len() - 1 + 4);
        out.push('\n');
        for clients in self.clients() {
            let rate =
                self.at(ROCKSDB, clients).map_or_else(dash, |cell| format!("{:.0}", cell.rate().median));
            let _ = write!(out, "| {clients} | {rate} |");
            for one in others.clone() {
                let _ = write!(out, " {} |", self.slowdown(one, clients).map_or_else(dash, Spread::shown));
            }
            for one in [ROCKSDB, SEALED, SEALED_FRESH] {
                let _ = write!(out, " {} |", self.at(one, clients).map_or_else(dash, latency));
            }
            let again = |cell: &Cell| format!("{:.1} %", cell.spread(|run| run.abort_rate * 100.0).median);
            let _ = writeln!(out, " {} |", self.at(SEALED, clients).map_or_else(dash, again));
        }
        let said = paper::said(self.by, self.workload);
        out += "| the paper | |";
        for one in others {
            let text = match one.name {
                name if name == PLAIN.name => said.plain,
                name if name == SEALED.name => said.sealed,
                name if name == SEALED_FRESH.name => said.fresh,
                _ => "–",
            };
            let _ = write!(out, " {text} |");
        }
        out += " | | | |\n\n";
        out
    }
}

fn dash() -> String {
    "–".to_owned()
}

fn latency(cell: &Cell) -> String {
    let ms = |us: f64| format!("{:.2}", us / 1000.0);
    format!("{} : {}", ms(cell.spread(|run| run.p50_us).median), ms(cell.spread(|run| run.p99_us).median))
}

/// A table for each workload and kind.
pub fn tables(cells: &Cells) -> String {
    Panel::all(cells).iter().map(Panel::table).collect()
}
