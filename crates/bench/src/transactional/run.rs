//! [`Run`]: what a run of transactions gave, as numbers, as a table and as a figure.

use super::End;
use super::driver::{Course, Done, SLOT};
use crate::Result;
use crate::histogram::Histogram;
use crate::plot::{self, Axis, Chart, Point, Scale, Series, Unit};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// The pieces of a figure's throughput, at the most.
const PIECES_MAX: usize = 60;
/// The quantiles of a figure's latencies.
const QUANTILES: [(f64, &str); 8] = [
    (0.01, "1"),
    (0.1, "10"),
    (0.5, "50"),
    (0.9, "90"),
    (0.99, "99"),
    (0.999, "99.9"),
    (0.9999, "99.99"),
    (1.0, "100"),
];

/// What came out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Run {
    /// Transactions of all kinds committed a second.
    pub transactions_per_sec: f64,
    /// Transactions that were committed.
    pub committed: u64,
    /// Transactions that were rolled back, as the work intends.
    pub rolled_back: u64,
    /// How often one was begun again, for a conflict or a deadlock.
    pub retries: u64,
    /// Of all tries, how many had to be begun again. A rollback that is intended is none of them.
    pub abort_rate: f64,
    /// Latencies of all kinds.
    #[serde(flatten)]
    pub latency: Latencies,
    /// The measured time, seconds.
    pub seconds: f64,
    /// By kind; those that did not occur are left out.
    pub kinds: Vec<KindResult>,
    /// How wide the pieces of the kinds' `ended` are, seconds.
    #[serde(skip)]
    slot_seconds: f64,
}

/// Of one kind of transaction.
#[derive(Clone, Debug, Serialize)]
pub struct KindResult {
    /// Its name.
    pub transaction: &'static str,
    /// How many were committed.
    pub committed: u64,
    /// How many were rolled back as intended.
    pub rolled_back: u64,
    /// How often one was begun again, for a conflict or a deadlock.
    pub retries: u64,
    /// Its latencies.
    #[serde(flatten)]
    pub latency: Latencies,
    /// All of them.
    #[serde(skip)]
    histogram: Histogram,
    /// How many ended, in pieces of the measured time.
    #[serde(skip)]
    ended: Vec<u64>,
}

/// How long transactions took, µs; tries and waits included.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latencies {
    /// The mean.
    pub mean_us: f64,
    /// Half of them were faster.
    pub p50_us: f64,
    /// Nine of ten were faster.
    pub p90_us: f64,
    /// 99 of a hundred were faster.
    pub p99_us: f64,
    /// 999 of a thousand were faster.
    pub p999_us: f64,
    /// The slowest.
    pub max_us: f64,
}

impl Latencies {
    fn of(histogram: &Histogram) -> Self {
        Self {
            mean_us: histogram.average_us(),
            p50_us: histogram.quantile_us(0.5),
            p90_us: histogram.quantile_us(0.9),
            p99_us: histogram.quantile_us(0.99),
            p999_us: histogram.quantile_us(0.999),
            max_us: histogram.max_us(),
        }
    }
}

/// What clients count.
pub(super) struct Tally {
    kinds: Vec<OfKind>,
    /// Until when the last was counted.
    time: Duration,
}

#[derive(Clone, Default)]
struct OfKind {
    committed: u64,
    rolled_back: u64,
    retries: u64,
    latency: Histogram,
    /// How many ended, by [`SLOT`].
    ended: Vec<u64>,
}

impl Tally {
    pub(super) fn new(kinds: usize) -> Self {
        Self { kinds: vec![OfKind::default(); kinds], time: Duration::ZERO }
    }

    /// Counts a transaction that took `latency` and ended at `at` of the measured time.
    pub(super) fn record(&mut self, done: &Done, latency: Duration, at: Duration) {
        self.time = self.time.max(at);
        let Some(kind) = self.kinds.get_mut(done.kind) else { return };
        match done.end {
            End::Commit => kind.committed += 1,
            End::Rollback => kind.rolled_back += 1,
        }
        kind.retries += done.retries;
        kind.latency.record(latency.as_nanos() as u64);
        let slot = (at.as_nanos() / SLOT.as_nanos()) as usize;
        if kind.ended.len() <= slot {
            kind.ended.resize(slot + 1, 0);
        }
        kind.ended[slot] += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.time = self.time.max(other.time);
        for (kind, other) in self.kinds.iter_mut().zip(&other.kinds) {
            kind.committed += other.committed;
            kind.rolled_back += other.rolled_back;
            kind.retries += other.retries;
            kind.latency.add(&other.latency);
            if kind.ended.len() < other.ended.len() {
                kind.ended.resize(other.ended.len(), 0);
            }
            kind.ended.iter_mut().zip(&other.ended).for_each(|(ended, more)| *ended += more);
        }
    }
}

impl Run {
    pub(super) fn new(course: &Course, tally: &Tally) -> Self {
        let sum = |of: fn(&OfKind) -> u64| tally.kinds.iter().map(of).sum::<u64>();
        let (committed, rolled_back) = (sum(|kind| kind.committed), sum(|kind| kind.rolled_back));
        let retries = sum(|kind| kind.retries);
        let mut latency = Histogram::default();
        tally.kinds.iter().for_each(|kind| latency.add(&kind.latency));
        let seconds = tally.time.max(course.duration).as_secs_f64();
        // What ended after the last transaction was begun is not throughput: there were fewer and fewer clients.
        let slots = (course.duration.as_nanos() / SLOT.as_nanos()) as usize;
        let width = slots.div_ceil(PIECES_MAX).max(1);
        let kinds = course.kinds.iter().zip(&tally.kinds).filter(|(_, kind)| kind.latency.count() > 0);
        Self {
            transactions_per_sec: committed as f64 / seconds,
            committed,
            rolled_back,
            retries,
            abort_rate: retries as f64 / (committed + rolled_back + retries).max(1) as f64,
            latency: Latencies::of(&latency),
            seconds,
            kinds: kinds.map(|(name, kind)| kind.result(name, slots, width)).collect(),
            slot_seconds: SLOT.as_secs_f64() * width as f64,
        }
    }

    /// How often one kind was begun again, rolled back and committed.
    #[must_use]
    pub fn kind(&self, transaction: &str) -> Option<&KindResult> {
        self.kinds.iter().find(|kind| kind.transaction == transaction)
    }

    /// A figure: the latencies of each kind, and how many of each ended a second over the time.
    ///
    /// # Errors
    /// If nothing was measured.
    pub fn figure(&self, title: &str, subtitle: &str) -> Result<String> {
        plot::stacked(&[self.latencies(title, subtitle), self.throughput(title, subtitle)])
    }

    fn latencies(&self, title: &str, subtitle: &str) -> Chart {
        let series = |(style, kind): (usize, &KindResult)| {
            let point = |(nth, (share, _)): (usize, &(f64, &str))| {
                let (count, needed) = (kind.histogram.count() as f64, 1.0 / (1.0 - share).max(1e-9));
                // A thousandth of a hundred transactions says nothing.
                let known = *share >= 1.0 || count >= needed;
                let latency =
                    if *share >= 1.0 { kind.latency.max_us } else { kind.histogram.quantile_us(*share) };
                known.then(|| single(nth as f64, latency))
            };
            let points = QUANTILES.iter().enumerate().filter_map(point).collect();
            Series { name: kind.transaction.to_owned(), style, points }
        };
        let names = QUANTILES.iter().map(|(_, name)| (*name).to_owned()).collect();
        Chart {
            title: format!("{title}: latencies"),
            subtitle: subtitle.to_owned(),
            x: Axis {
                label: "percent of transactions that were not slower".into(),
                scale: Scale::Category(names),
                unit: Unit::Count,
            },
            y: Axis { label: "µs, tries and waits included".into(), scale: Scale::Log10, unit: Unit::Count },
            series: self.kinds.iter().enumerate().map(series).collect(),
        }
    }

    fn throughput(&self, title: &str, subtitle: &str) -> Chart {
        let series = |(style, kind): (usize, &KindResult)| {
            let point = |(nth, ended): (usize, &u64)| {
                single((nth as f64 + 0.5) * self.slot_seconds, *ended as f64 / self.slot_seconds)
            };
            let points = kind.ended.iter().enumerate().map(point).collect();
            Series { name: kind.transaction.to_owned(), style, points }
        };
        let axis = |label: &str| Axis { label: label.into(), scale: Scale::Linear, unit: Unit::Count };
        Chart {
            title: format!("{title}: throughput"),
            subtitle: subtitle.to_owned(),
            x: axis("seconds"),
            y: axis("transactions a second"),
            series: self.kinds.iter().enumerate().map(series).collect(),
        }
    }
}

/// A point that was measured once.
fn single(x: f64, y: f64) -> Point {
    Point { x, median: y, min: y, max: y }
}

impl OfKind {
    /// With the throughput of `slots`, of which `width` make a piece; a last piece that is short is left out.
    fn result(&self, transaction: &'static str, slots: usize, width: usize) -> KindResult {
        let mut ended = self.ended.clone();
        ended.resize(slots / width * width, 0);
        KindResult {
            transaction,
            committed: self.committed,
            rolled_back: self.rolled_back,
            retries: self.retries,
            latency: Latencies::of(&self.latency),
            histogram: self.latency.clone(),
            ended: ended.chunks(width).map(|piece| piece.iter().sum()).collect(),
        }
    }
}

impl fmt::Display for Run {
    /// A table, a row for each kind.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = |f: &mut fmt::Formatter<'_>, name: &str, counts: [u64; 3], latency: &Latencies| {
            let [committed, rolled_back, retries] = counts;
            let Latencies { mean_us, p50_us, p90_us, p99_us, p999_us, max_us } = latency;
            writeln!(
                f,
                "{name:<18} {committed:>10} {rolled_back:>11} {retries:>8} {mean_us:>9.0} {p50_us:>9.0} {p90_us:>9.0} \
                 {p99_us:>9.0} {p999_us:>9.0} {max_us:>9.0}"
            )
        };
        writeln!(
            f,
            "{:<18} {:>10} {:>11} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "transaction",
            "committed",
            "rolled back",
            "retries",
            "mean us",
            "p50 us",
            "p90 us",
            "p99 us",
            "p99.9 us",
            "max us"
        )?;
        for kind in &self.kinds {
            let counts = [kind.committed, kind.rolled_back, kind.retries];
            rows(f, kind.transaction, counts, &kind.latency)?;
        }
        if self.kinds.len() > 1 {
            rows(f, "all", [self.committed, self.rolled_back, self.retries], &self.latency)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Run {
        let course = Course {
            label: "test",
            kinds: &["read", "never", "write"],
            warm_up: Duration::ZERO,
            duration: Duration::from_secs(12),
        };
        let mut tally = Tally::new(3);
        for nth in 1..=2400u32 {
            let done = Done {
                kind: if nth.is_multiple_of(4) { 2 } else { 0 },
                end: if nth.is_multiple_of(100) { End::Rollback } else { End::Commit },
                retries: u64::from(nth.is_multiple_of(24)),
            };
            let latency = Duration::from_micros(u64::from(nth));
            let mut other = Tally::new(3);
            other.record(&done, latency, Duration::from_millis(5) * nth);
            tally.add(&other);
        }
        Run::new(&course, &tally)
    }

    #[test]
    fn rollbacks_are_not_retries_and_what_never_ran_is_left_out() {
        let run = run();
        assert_eq!((run.committed, run.rolled_back, run.retries), (2376, 24, 100));
        assert_eq!((run.abort_rate, run.seconds), (100.0 / 2500.0, 12.0));
        assert_eq!(run.kinds.iter().map(|kind| kind.transaction).collect::<Vec<_>>(), ["read", "write"]);
        let write = run.kind("write").unwrap();
        assert_eq!((write.committed, write.rolled_back, write.retries), (576, 24, 100));
        assert!((run.latency.p90_us / 2160.0 - 1.0).abs() < 0.03 && run.latency.max_us == 2400.0);
        assert!(run.kind("never").is_none());
        let table = run.to_string();
        assert_eq!(table.lines().count(), 4, "{table}");
        assert!(
            table.lines().nth(2).unwrap().starts_with("write                     576          24      100")
        );
    }

    #[test]
    fn the_figure_has_both_halves() {
        let run = run();
        // Twelve seconds are sixty pieces of 0.2: 40 ended in each, but the last of all ended with the time.
        let all: Vec<u64> = (0..60).map(|n| run.kinds.iter().map(|kind| kind.ended[n]).sum()).collect();
        assert_eq!((all[1], run.kinds[0].ended.len(), run.slot_seconds), (40, 60, 0.2));
        let drawn = run.figure("TPC-C", "one warehouse").unwrap();
        assert!(drawn.contains(">TPC-C: latencies<") && drawn.contains(">TPC-C: throughput<"), "{drawn}");
        assert!(drawn.contains("<title>write, seconds 0.3: 50</title>"), "{drawn}");
        assert!(drawn.contains("not slower 100: 2400</title>"), "{drawn}");
        // 600 writes have no ten-thousandth, and 1800 reads neither.
        assert!(!drawn.contains("not slower 99.99:"));
        assert!(Run::default().figure("TPC-C", "").is_err(), "nothing was measured");
    }

    #[test]
    fn the_object_has_the_latencies_where_they_are_looked_for() {
        let line = serde_json::to_value(run()).unwrap();
        assert_eq!(line["max_us"], 2400.0);
        assert_eq!(line["kinds"][1]["transaction"], "write");
        assert!(line["kinds"][1]["p99_us"].as_f64().unwrap() > 0.0);
        assert!(line["kinds"][1].get("ended").is_none() && line.get("slot_seconds").is_none());
    }
}
