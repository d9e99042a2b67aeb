//! Points of comparisons, and ratios between any two engines at one: [`Points`].
//!
//! A point may have been measured by several comparisons (of other engines, with more repeats). A ratio
//! is always taken within one comparison, repeat by repeat, since only those runs stood side by side in
//! time: of the latest program the one with the most repeats.

use crate::Result;
use crate::report::{Spread, sustained};
use crate::results::{Outcome, Series};
use crate::setup::Setup;
use ringfort_bench::{Benchmark, Measured};
use std::collections::BTreeMap;

/// Ringfort separates values from here on unless told otherwise, bytes.
const SEPARATED_FROM: usize = 8 << 10;

/// What was measured, whoever did it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    pub limit: Option<u64>,
    pub value_size: usize,
    pub num: u64,
    pub block_size: usize,
    pub level: String,
    pub apart: bool,
    pub budget: usize,
    /// The number of the benchmark in the list of all.
    nth: usize,
    /// The share of reads, where there is one.
    pub reads: Option<u32>,
    pub threads: usize,
}

impl Place {
    fn of(setup: &Setup, one: &Measured) -> Self {
        let mixed = one.benchmark == Benchmark::ReadRandomWriteRandom;
        let from = setup.settings.min_blob_size.unwrap_or(SEPARATED_FROM);
        Self {
            limit: setup.memory_limit,
            value_size: one.value_size,
            num: one.num,
            block_size: setup.settings.block_size,
            level: if one.benchmark.writes() { one.level.clone() } else { "buffered".to_owned() },
            apart: from > 0 && one.value_size >= from,
            budget: if setup.memory_limit.is_some() { 0 } else { setup.settings.memory_budget },
            nth: Benchmark::ALL.iter().position(|other| *other == one.benchmark).unwrap_or_default(),
            reads: mixed.then_some(setup.workload.readwritepercent),
            threads: one.threads,
        }
    }

    pub fn benchmark(&self) -> Benchmark {
        Benchmark::ALL[self.nth]
    }

    /// Whether all keys with their values fit the cache, with room for what else it holds.
    pub fn is_cached(&self) -> bool {
        self.limit.is_none() && self.num * (self.value_size as u64 + 16) <= self.budget as u64 / 3 * 2
    }

    /// Everything but benchmark, threads and share of reads: the heading of a table.
    pub fn heading(&self) -> String {
        let memory = self.limit.map_or_else(
            || format!("{} MiB of memory", self.budget >> 20),
            |limit| format!("process and page cache limited to {} MiB", limit >> 20),
        );
        let apart = if self.apart { ", values apart" } else { "" };
        format!(
            "{} keys, values of {} B{apart}, blocks of {} KiB, {memory}, `{}`",
            self.num,
            self.value_size,
            self.block_size >> 10,
            self.level
        )
    }

    /// Benchmark, share of reads, threads: `readrandom x8`.
    pub fn name(&self) -> String {
        let reads = self.reads.map(|reads| format!(" {reads} %")).unwrap_or_default();
        format!("{}{reads} x{}", self.benchmark().name(), self.threads)
    }
}

/// What two runs of one repeat are compared by: the first by the second.
pub type Compare = fn(&Measured, &Measured) -> f64;

/// Operations by wall time: of what only writes without waiting, with the debt paid.
pub fn rate(one: &Measured) -> f64 {
    let fills = one.benchmark.is_fresh() || one.benchmark == Benchmark::Overwrite;
    if fills && one.level == "buffered" { sustained(one) } else { one.ops_per_sec }
}

/// How many times as fast.
pub fn faster(one: &Measured, other: &Measured) -> f64 {
    rate(one) / rate(other)
}

/// A comparison at one point: engines, then repeats.
struct Side {
    place: Place,
    build: usize,
    engines: BTreeMap<String, BTreeMap<usize, Measured>>,
}

/// All points of some series.
pub struct Points {
    sides: Vec<Side>,
}

impl Points {
    /// Those of the series that `wanted` picks.
    pub fn of(all: &[Series], wanted: impl Fn(&Series) -> bool) -> Result<Self> {
        let mut by_key: BTreeMap<(usize, String, usize), usize> = BTreeMap::new();
        let mut sides: Vec<Side> = Vec::new();
        for series in all.iter().filter(|series| wanted(series)) {
            let comparison = comparison(&series.setup)?;
            for (repeat, run) in &series.repeats {
                for (step, outcome) in run {
                    let Outcome::Measured(one) = outcome else { continue };
                    let nth = *by_key.entry((series.build, comparison.clone(), *step)).or_insert_with(|| {
                        let (place, build) = (Place::of(&series.setup, one), series.build);
                        sides.push(Side { place, build, engines: BTreeMap::new() });
                        sides.len() - 1
                    });
                    let runs = sides[nth].engines.entry(series.setup.engine.clone()).or_default();
                    runs.insert(*repeat, (**one).clone());
                }
            }
        }
        Ok(Self { sides })
    }

    /// Every place, in the order of tables.
    pub fn places(&self) -> Vec<Place> {
        let mut places: Vec<Place> = self.sides.iter().map(|side| side.place.clone()).collect();
        places.sort();
        places.dedup();
        places
    }

    /// The engines that were measured at some place of these.
    pub fn engines(&self, places: &[Place]) -> Vec<String> {
        let sides = self.sides.iter().filter(|side| places.contains(&side.place));
        let mut names: Vec<String> = sides.flat_map(|side| side.engines.keys().cloned()).collect();
        names.sort_by_key(|name| crate::engines::all().position(|kind| kind.name == name));
        names.dedup();
        names
    }

    /// One engine's runs beside another's, by repeat.
    fn pairs(&self, place: &Place, one: &str, other: &str) -> Option<Vec<(&Measured, &Measured)>> {
        let sides = self.sides.iter().enumerate().filter(|(_, side)| side.place == *place);
        let pairs = sides.filter_map(|(nth, side)| {
            let (one, other) = (side.engines.get(one)?, side.engines.get(other)?);
            let pairs: Vec<_> =
                one.iter().filter_map(|(repeat, one)| Some((one, other.get(repeat)?))).collect();
            (!pairs.is_empty()).then_some((side.build, pairs.len(), nth, pairs))
        });
        pairs.max_by_key(|(build, repeats, nth, _)| (*build, *repeats, *nth)).map(|(.., pairs)| pairs)
    }

    /// The spread of a comparison of two engines over the repeats, and how many there were.
    pub fn compared(&self, place: &Place, one: &str, other: &str, by: Compare) -> Option<(Spread, usize)> {
        let pairs = self.pairs(place, one, other)?;
        let values: Vec<f64> = pairs.iter().map(|(one, other)| by(one, other)).collect();
        values.iter().all(|value| value.is_finite()).then(|| (Spread::of(&values), values.len()))
    }

    /// The median of one engine's numbers.
    pub fn median(&self, place: &Place, engine: &str, value: fn(&Measured) -> f64) -> Option<f64> {
        let pairs = self.pairs(place, engine, engine)?;
        Some(Spread::of(&pairs.iter().map(|(one, _)| value(one)).collect::<Vec<_>>()).median)
    }

    /// Every run of one engine.
    pub fn runs<'a>(&'a self, engine: &'a str) -> impl Iterator<Item = (&'a Place, &'a Measured)> {
        let sides = self.sides.iter();
        sides.flat_map(move |side| {
            side.engines.get(engine).into_iter().flat_map(BTreeMap::values).map(|one| (&side.place, one))
        })
    }
}

/// What all engines of one comparison have in common.
fn comparison(setup: &Setup) -> Result<String> {
    let mut common = Setup { engine: String::new(), ..setup.clone() };
    if common.memory_limit.is_some() {
        // How an engine splits the limit is its own choice.
        (common.settings.memory_budget, common.settings.write_buffer_size) = (0, 0);
    }
    Ok(serde_json::to_string(&common)?)
}
