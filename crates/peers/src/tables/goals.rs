//! The goals for speed, each beside what the results say: nothing here is typed in but the goals.
//!
//! A row is met if every one of its points is, by the median. Points that the results do not have are
//! counted and never taken for met.

use super::fresh::Fresh;
use super::points::{Compare, Place, Points, faster};
use super::transactions::{self, Transactions};
use crate::report::Spread;
use crate::results::Series;
use crate::{Result, server, twinstore};
use ringfort_bench::recovery::Recovered;
use ringfort_bench::{Benchmark, Measured};
use std::fmt::Write as _;

const OURS: &str = "ringfort";
const THREADS: [usize; 3] = [1, 2, 8];
const VALUE_SIZES: [usize; 2] = [100, 1024];
const FILLS: [Benchmark; 3] = [Benchmark::FillSeq, Benchmark::FillRandom, Benchmark::Overwrite];
const SCANS: [Benchmark; 2] = [Benchmark::SeekRandom, Benchmark::ReadSeq];
/// What points name at the most; more are summed up.
const NAMED_MAX: usize = 4;

/// What all goals are read from.
pub struct Evidence {
    pub points: Points,
    pub all: Vec<Series>,
    pub servers: Vec<server::Row>,
    pub recovered: Vec<Recovered>,
    pub fresh: Fresh,
    pub transactions: Transactions,
    pub machines: Vec<String>,
}

/// What a number has to be.
#[derive(Clone, Copy)]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn met_by(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

/// One number of a goal.
pub struct Checked {
    pub what: String,
    pub value: Spread,
    pub bound: Bound,
}

/// One row.
pub struct Goal {
    pub workload: &'static str,
    pub reference: &'static str,
    pub goal: &'static str,
    /// How many points there have to be.
    pub expected: usize,
    pub found: Vec<Checked>,
}

impl Goal {
    fn line(&self) -> String {
        let Self { workload, reference, goal, .. } = self;
        format!("| {workload} | {reference} | {goal} | {} | {} |\n", self.measured(), self.verdict())
    }

    fn measured(&self) -> String {
        let number = |value: f64| if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") };
        let one = |checked: &Checked| format!("{} {}", checked.what, number(checked.value.median));
        if self.found.len() <= NAMED_MAX {
            return self.found.iter().map(one).collect::<Vec<_>>().join("; ");
        }
        let medians: Vec<f64> = self.found.iter().map(|checked| checked.value.median).collect();
        let all = Spread::of(&medians);
        format!(
            "{} to {}, median of {} points {}",
            number(all.min),
            number(all.max),
            medians.len(),
            number(all.median)
        )
    }

    fn verdict(&self) -> String {
        let missed: Vec<&Checked> =
            self.found.iter().filter(|checked| !checked.bound.met_by(checked.value.median)).collect();
        let (found, expected) = (self.found.len(), self.expected);
        if found == 0 {
            return "not measured".to_owned();
        }
        let mut out = match missed.len() {
            0 if found >= expected => "met".to_owned(),
            0 => format!("met at {found} points"),
            _ => format!("**missed** at {} of {found}", missed.len()),
        };
        if found < expected {
            let _ = write!(out, " ({} of {expected} not measured)", expected - found);
        }
        if found > NAMED_MAX && !missed.is_empty() {
            let names: Vec<String> = missed
                .iter()
                .map(|checked| format!("{} {:.2}", checked.what, checked.value.median))
                .collect();
            let _ = write!(out, ": {}", names.join("; "));
        }
        out
    }
}

/// All goals, as a table.
pub fn table(evidence: &Evidence) -> Result<String> {
    let mut out =
        "| workload | reference | goal | measured (medians) | |\n|---|---|---|---|---|\n".to_owned();
    for goal in all(evidence)? {
        out += &goal.line();
    }
    Ok(out)
}

fn all(evidence: &Evidence) -> Result<Vec<Goal>> {
    let points = &evidence.points;
    let mut goals = fills(points);
    goals.extend(fresh(&evidence.fresh));
    goals.extend(reads(points));
    goals.extend(mixed(points));
    goals.extend(encrypted_peer(points));
    goals.extend(sealing(points));
    goals.extend(twin(&evidence.all));
    goals.push(recovery(&evidence.recovered));
    goals.extend(tails(points));
    goals.extend(space(points));
    goals.extend(servers(&evidence.servers));
    goals.extend(transactions::goals(&evidence.transactions));
    Ok(goals)
}

/// The points of a goal: which places, whom by whom, by what.
struct Look<'a> {
    points: &'a Points,
    reference: &'a str,
    by: Compare,
}

impl Look<'_> {
    /// Of places that differ only in what a goal does not ask for (the number of keys), the one with the
    /// most repeats.
    fn at(
        &self,
        wanted: impl Fn(&Place) -> bool,
        name: impl Fn(&Place) -> String,
        bound: Bound,
    ) -> Vec<Checked> {
        let mut found: Vec<(usize, Checked)> = Vec::new();
        for place in self.points.places().iter().filter(|place| wanted(place)) {
            let Some((value, repeats)) = self.points.compared(place, OURS, self.reference, self.by) else {
                continue;
            };
            let checked = Checked { what: name(place), value, bound };
            match found.iter_mut().find(|(_, other)| other.what == checked.what) {
                Some(other) if other.0 > repeats => {}
                Some(other) => *other = (repeats, checked),
                None => found.push((repeats, checked)),
            }
        }
        found.into_iter().map(|(_, checked)| checked).collect()
    }
}

fn look<'a>(points: &'a Points, reference: &'a str) -> Look<'a> {
    Look { points, reference, by: faster }
}

/// The settings of the goals' table: 4 KiB blocks, a budget and no limit, nothing synced.
fn usual(place: &Place) -> bool {
    let sizes = THREADS.contains(&place.threads) && VALUE_SIZES.contains(&place.value_size);
    sizes && place.limit.is_none() && place.block_size == 4096 && place.level == "buffered" && !place.apart
}

fn full(place: &Place) -> String {
    format!("{}, {} B", place.name(), place.value_size)
}

const SIZES: usize = THREADS.len() * VALUE_SIZES.len();

fn fills(points: &Points) -> Vec<Goal> {
    let is_fill = |place: &Place| usual(place) && FILLS.contains(&place.benchmark());
    let row = |reference, goal, bound| Goal {
        workload: "fillseq, fillrandom, overwrite, `buffered`, sustained",
        reference,
        goal,
        expected: FILLS.len() * SIZES,
        found: look(points, if reference == "fjall" { "fjall" } else { "rocksdb" }).at(is_fill, full, bound),
    };
    let synced = |threads: usize, bound| {
        let wanted = move |place: &Place| {
            place.benchmark() == Benchmark::FillSync && place.threads == threads && place.limit.is_none()
        };
        look(points, "rocksdb").at(wanted, |place| format!("x{}", place.threads), bound)
    };
    let bounds = [(1, 1.0), (8, 1.5), (48, 3.0)];
    vec![
        row("RocksDB plain, no sync", "≥ 1.5", Bound::AtLeast(1.5)),
        row("fjall", "≥ 1.05", Bound::AtLeast(1.05)),
        Goal {
            workload: "fillsync, `durable`",
            reference: "RocksDB plain, sync",
            goal: "≥ 1.0 at 1 thread, ≥ 1.5 at 8, ≥ 3 at 48",
            expected: bounds.len(),
            found: bounds
                .into_iter()
                .flat_map(|(threads, least)| synced(threads, Bound::AtLeast(least)))
                .collect(),
        },
    ]
}

fn fresh(fresh: &Fresh) -> Vec<Goal> {
    let one = |what: &str, value: Option<Spread>, bound| {
        value.map(|value| Checked { what: what.to_owned(), value, bound })
    };
    let (ratio, rounds) = (fresh.against_durable(), fresh.rounds_per_million());
    let loops = fresh.closed_loops();
    let both = |(writers, share, p50): &(usize, Spread, Spread)| {
        let what = |of: &str| format!("{writers} writers, {of}");
        let share = Checked { what: what("rate"), value: *share, bound: Bound::AtLeast(0.9) };
        let p50 = Checked { what: what("p50"), value: *p50, bound: Bound::AtMost(1.1) };
        [share, p50]
    };
    vec![
        Goal {
            workload: "`fresh`, 1 ms counter, ≥ 2,048 commits in flight",
            reference: "`durable` with the same",
            goal: "≥ 0.9, ≤ 10⁴ counter operations per 10⁶ commits",
            expected: 2,
            found: [
                one("rate", ratio, Bound::AtLeast(0.9)),
                one("counter operations", rounds, Bound::AtMost(1e4)),
            ]
            .into_iter()
            .flatten()
            .collect(),
        },
        Goal {
            workload: "`fresh`, 1 ms counter, closed loop, N writers",
            reference: "N / (sync + 1.5 advances)",
            goal: "rate ≥ 0.9, p50 ≤ 1.1",
            expected: 6,
            found: loops.iter().flat_map(both).collect(),
        },
    ]
}

fn reads(points: &Points) -> Vec<Goal> {
    let cached =
        |place: &Place| usual(place) && place.benchmark() == Benchmark::ReadRandom && place.is_cached();
    let larger = |place: &Place| {
        let data = place.num * (place.value_size as u64 + 16);
        // Rounded to whole keys.
        place.benchmark() == Benchmark::ReadRandom
            && place.limit.is_some_and(|limit| data * 100 >= limit * 399)
    };
    let scans = |place: &Place| usual(place) && SCANS.contains(&place.benchmark());
    let row =
        |workload, reference, goal, expected, found| Goal { workload, reference, goal, expected, found };
    let cache = "readrandom, data in the cache";
    let rocksdb = look(points, "rocksdb");
    vec![
        row(cache, "RocksDB plain, same budget", "≥ 2", SIZES, rocksdb.at(cached, full, Bound::AtLeast(2.0))),
        row(cache, "LMDB", "≥ 0.4", SIZES, look(points, "lmdb").at(cached, full, Bound::AtLeast(0.4))),
        row(
            "readrandom, data 4 times the memory limit",
            "RocksDB plain, same control group limit",
            "≥ 1.2",
            1,
            rocksdb.at(larger, full, Bound::AtLeast(1.2)),
        ),
        row(
            "seekrandom + 10, readseq",
            "RocksDB plain",
            "≥ 1.3",
            SCANS.len() * SIZES,
            rocksdb.at(scans, full, Bound::AtLeast(1.3)),
        ),
    ]
}

fn mixed(points: &Points) -> Vec<Goal> {
    let blocks = |sizes: &'static [usize]| {
        move |place: &Place| {
            let share = matches!(place.reads, Some(90 | 50)) && place.value_size == 1024;
            let threads = THREADS.contains(&place.threads) && place.level == "buffered";
            share && threads && place.limit.is_none() && sizes.contains(&place.block_size)
        }
    };
    let name = |place: &Place| format!("{}, {} KiB", place.name(), place.block_size >> 10);
    let row = |goal, expected, sizes, least| Goal {
        workload: "readrandomwriterandom 9:1 and 1:1, 1 KiB",
        reference: "RocksDB plain",
        goal,
        expected,
        found: look(points, "rocksdb").at(blocks(sizes), name, Bound::AtLeast(least)),
    };
    vec![
        row("≥ 1.4 at blocks of 4 to 32 KiB", 6, &[4 << 10, 8 << 10, 16 << 10, 32 << 10], 1.4),
        row("≥ 1.2 at blocks of 64 KiB", 2, &[64 << 10], 1.2),
    ]
}

fn encrypted_peer(points: &Points) -> Vec<Goal> {
    let is_fill = |place: &Place| usual(place) && FILLS.contains(&place.benchmark());
    let is_read = |place: &Place| {
        let mixed = place.benchmark() == Benchmark::ReadRandomWriteRandom;
        usual(place)
            && (mixed
                || matches!(place.benchmark(), Benchmark::ReadRandom)
                || SCANS.contains(&place.benchmark()))
    };
    let row = |workload, goal, expected, found| Goal {
        workload,
        reference: "SurrealKV with its encryption",
        goal,
        expected,
        found,
    };
    let peer = look(points, "surrealkv:tde");
    vec![
        row("writes: fillrandom, overwrite", "≥ 2", 4, peer.at(is_fill, full, Bound::AtLeast(2.0))),
        row(
            "reads: readrandom, seekrandom, readseq, 9:1",
            "≥ 1",
            4,
            peer.at(is_read, full, Bound::AtLeast(1.0)),
        ),
    ]
}

fn sealing(points: &Points) -> Vec<Goal> {
    let of = |size: usize| move |place: &Place| usual(place) && place.value_size == size;
    let row = |workload, goal, size, least| Goal {
        workload,
        reference: "Ringfort with sealing off",
        goal,
        expected: 12,
        found: look(points, "ringfort:plain").at(of(size), Place::name, Bound::AtLeast(least)),
    };
    vec![row("`software`, 100 B", "≥ 0.92", 100, 0.92), row("`software`, 1 KiB", "≥ 0.95", 1024, 0.95)]
}

fn twin(all: &[Series]) -> Vec<Goal> {
    let figures = twinstore::in_series(all);
    let at = |pair: &twinstore::Pair, bound| -> Vec<Checked> {
        let (mut found, mut seen) = (Vec::new(), Vec::new());
        for (figure, points) in &figures {
            for point in points.iter().filter(|point| twinstore::is_first(&mut seen, point)) {
                let Some(value) = pair.at(&point.runs) else { continue };
                found.push(Checked {
                    what: format!("{} {}", figure.varied.short(), point.value),
                    value,
                    bound,
                });
            }
        }
        found
    };
    let mean = |checked: &[Checked], least| -> Vec<Checked> {
        let medians: Vec<f64> = checked.iter().map(|checked| checked.value.median).collect();
        let Spread { min, max, .. } = Spread::of(&medians);
        let median = medians.iter().sum::<f64>() / medians.len() as f64;
        let what = format!("mean of {} points", medians.len());
        let mean = Checked { what, value: Spread { median, min, max }, bound: Bound::AtLeast(least) };
        if medians.is_empty() { Vec::new() } else { vec![mean] }
    };
    let sector = at(&twinstore::BY_SECTOR, Bound::AtLeast(1.0));
    let integrity = at(&twinstore::BY_INTEGRITY, Bound::AtLeast(1.25));
    let row = |workload, reference, goal, found| Goal { workload, reference, goal, expected: 1, found };
    let by_sector = "hardware-only, AEAD per sector (TWINSTORE: -10 % to +19 %)";
    vec![
        row("`twin`, average", by_sector, "≥ 1.05", mean(&sector, 1.05)),
        row("`twin`, everywhere", by_sector, "≥ 1.0", sector),
        row(
            "`twin`, average",
            "hardware-only with integrity area and journal (TWINSTORE: 1.1)",
            "≥ 1.25",
            mean(&integrity, 1.25),
        ),
        row(
            "`software`, pipelined counter",
            "`twin` (TWINSTORE: 1/3.4)",
            "≥ 0.95",
            at(&twinstore::SOFTWARE_BY_TWIN, Bound::AtLeast(0.95)),
        ),
    ]
}

fn recovery(recovered: &[Recovered]) -> Goal {
    let of = |engine: &str, way: &str| -> Vec<f64> {
        let is = |one: &&Recovered| one.engine == engine && one.way == way && one.store_gib.is_none();
        super::latest(recovered).into_iter().filter(is).map(|one| one.seconds).collect()
    };
    let ratio = Spread::of_ratios(&of("rocksdb", "replay"), &of(OURS, "open"));
    let checked = |value| Checked { what: "rate".to_owned(), value, bound: Bound::AtLeast(1.0) };
    Goal {
        workload: "log replay, sealed and verified, 800,000 entries of 100 B",
        reference: "RocksDB's replay of the same (TREATY: 0.5)",
        goal: "≥ 1.0",
        expected: 1,
        found: ratio.map(checked).into_iter().collect(),
    }
}

fn tails(points: &Points) -> Vec<Goal> {
    let wanted =
        |place: &Place| usual(place) && place.benchmark() == Benchmark::FillRandom && place.threads == 8;
    let row = |goal, by: Compare, least, workload| Goal {
        workload,
        reference: "RocksDB plain",
        goal,
        expected: VALUE_SIZES.len(),
        found: Look { points, reference: "rocksdb", by }.at(wanted, full, Bound::AtLeast(least)),
    };
    vec![
        row(
            "5 times better",
            |one, other| other.p99_us / one.p99_us,
            5.0,
            "p99 of writes, fillrandom, 8 threads",
        ),
        row("no worse", |one, other| other.p999_us / one.p999_us, 1.0, "p99.9 of the same"),
    ]
}

fn space(points: &Points) -> Vec<Goal> {
    let filled = |place: &Place| {
        let fills = place.benchmark().is_fresh() || place.benchmark() == Benchmark::Overwrite;
        fills && place.level == "buffered" && place.limit.is_none()
    };
    let by: Compare = |one, other| one.disk_bytes as f64 / other.disk_bytes as f64;
    let disk = Look { points, reference: "rocksdb", by };
    let mut used: Option<(f64, String)> = None;
    for (place, one) in points.runs(OURS).filter(|(place, _)| place.limit.is_none()) {
        let share = one.peak_rss_bytes as f64 / place.budget as f64;
        if used.as_ref().is_none_or(|(most, _)| share > *most) {
            used = Some((share, full(place)));
        }
    }
    let used = used.map(|(share, what)| {
        let value = Spread { median: share, min: share, max: share };
        Checked { what: format!("most of all runs, {what}:"), value, bound: Bound::AtMost(1.1) }
    });
    vec![
        Goal {
            workload: "bytes on disk after settling",
            reference: "RocksDB",
            goal: "≤ 1.1",
            expected: FILLS.len() * SIZES,
            found: disk.at(|place| filled(place) && usual(place), full, Bound::AtMost(1.1)),
        },
        Goal {
            workload: "bytes on disk after settling, values apart",
            reference: "RocksDB",
            goal: "≤ 1.3",
            expected: 1,
            found: disk.at(|place| filled(place) && place.apart, full, Bound::AtMost(1.3)),
        },
        Goal {
            workload: "memory, the whole process",
            reference: "`memory_budget`",
            goal: "≤ 1.1",
            expected: 1,
            found: used.into_iter().collect(),
        },
    ]
}

fn servers(rows: &[server::Row]) -> Vec<Goal> {
    let at = |level: &str, benchmark: &str, pipeline: u32, least: f64| {
        let is = |row: &&server::Row| {
            row.engine == OURS && row.level == level && row.benchmark == benchmark && row.pipeline == pipeline
        };
        let ratio = rows.iter().rev().find(is).and_then(|row| row.ratio);
        let what = format!("{benchmark}{}", if pipeline > 1 { format!(" {level}") } else { String::new() });
        ratio.map(|value| Checked { what, value, bound: Bound::AtLeast(least) })
    };
    let row = |workload, reference, goal, found: Vec<Option<Checked>>| Goal {
        workload,
        reference,
        goal,
        expected: found.len(),
        found: found.into_iter().flatten().collect(),
    };
    let levels = ["buffered", "durable"];
    let piped = levels.map(|level| [at(level, "set", 16, 0.4), at(level, "get", 16, 0.7)]);
    vec![
        row(
            "redis-benchmark SET/GET 100 B, 50 clients, `buffered`",
            "Redis 7, `everysec`",
            "≥ 0.9",
            vec![at("buffered", "set", 1, 0.9), at("buffered", "get", 1, 0.9)],
        ),
        row("SET, `durable`", "Redis 7, `always`", "≥ 1.5", vec![at("durable", "set", 1, 1.5)]),
        row("pipeline 16", "Redis 7", "SET ≥ 0.4, GET ≥ 0.7", piped.into_iter().flatten().collect()),
    ]
}

/// For the tables: what of a run a cell shows.
pub type Number = fn(&Measured) -> f64;
