//! The numbers of the goals, each from two cells of one round: what the goals' table of `tables` is made of.

use super::tables::Panel;
use super::{Configuration, SEALED, SEALED_FRESH, Workload};
use crate::report::Spread;
use crate::transactions::cells::Cells;
use crate::transactions::stores::By;

/// The goals are for so many clients.
const CLIENTS: [usize; 2] = [64, 128];

/// One number.
pub struct Claim {
    pub by: By,
    pub workload: Workload,
    /// Whether it is of `sealed, fresh` or of `sealed`.
    pub fresh: bool,
    /// What it is called in a row.
    pub what: String,
    pub value: Spread,
}

/// What a claim is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Number {
    /// The rate by RocksDB's.
    AgainstRocksDb,
    /// `durable`'s rate by `fresh`'s.
    CostOfFresh,
    /// The p50 at `fresh` by that at `durable` and 1.5 advances.
    LatencyOfFresh,
}

/// Every number of this kind that there are points for.
pub fn claims(cells: &Cells, number: Number) -> Vec<Claim> {
    let mut found = Vec::new();
    for panel in Panel::all(cells) {
        for clients in CLIENTS {
            for (configuration, fresh) in [(SEALED, false), (SEALED_FRESH, true)] {
                let Some(value) = value(&panel, number, configuration, clients) else { continue };
                let suffix = if fresh && number == Number::AgainstRocksDb { ", fresh" } else { "" };
                let what = format!("{} x{clients}{suffix}", panel.workload.name());
                found.push(Claim { by: panel.by, workload: panel.workload, fresh, what, value });
            }
        }
    }
    found
}

fn value(panel: &Panel, number: Number, of: &Configuration, clients: usize) -> Option<Spread> {
    if number == Number::AgainstRocksDb {
        return panel.at(of, clients)?.by(panel.at(super::ROCKSDB, clients)?);
    }
    if of.name != SEALED_FRESH.name {
        return None;
    }
    let (fresh, durable) = (panel.at(SEALED_FRESH, clients)?, panel.at(SEALED, clients)?);
    if number == Number::CostOfFresh {
        return durable.by(fresh);
    }
    let advances_us = 1.5 * fresh.point.counter_latency_us as f64;
    let p50s = |cell: &crate::transactions::cells::Cell, more: f64| -> Vec<f64> {
        cell.runs.iter().map(|run| run.p50_us + more).collect()
    };
    Spread::of_ratios(&p50s(fresh, 0.0), &p50s(durable, advances_us))
}
