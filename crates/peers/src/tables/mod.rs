//! `tables`: Markdown from files of results, for `docs/benchmarks.md`. Nothing is run.
//!
//! ```text
//! results.json ──► series (runs of one setup) ──► points ──► a table per settings, the figures' tables
//!              ──► fresh, recovery, server lines            ──► goals: each beside what was measured
//!              ──► transactions lines ──► cells             ──► TREATY's tables, one client and eight
//! ```
//! Every number comes from the files; what they do not have is "not measured" or a dash.

mod fresh;
mod goals;
mod points;
mod transactions;

use crate::engines::{self, REFERENCE};
use crate::report::{Row, Spread};
use crate::results::Series;
use crate::server;
use crate::transactions::ledger;
use crate::{Result, figures, results, twinstore};
use clap::ValueEnum;
use fresh::Fresh;
use goals::Evidence;
use points::{Place, Points, faster, rate};
use ringfort_bench::Measured;
use ringfort_bench::recovery::{self, Recovered};
use std::fmt::Write as _;
use std::path::PathBuf;
use transactions::Transactions;

/// The engine that is looked at.
const OURS: &str = "ringfort";

/// The command line.
#[derive(Clone, Debug, clap::Args)]
#[command(rename_all = "snake_case")]
pub struct Args {
    /// A file that --json wrote; may be given several times.
    #[arg(long, value_name = "FILE", required = true)]
    pub json: Vec<PathBuf>,
    /// What to print.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "goals,results,others,figures,transactions"
    )]
    pub parts: Vec<Part>,
    /// Write into this document instead: each part between the lines `<!-- tables: PART -->` and
    /// `<!-- end of tables -->`, in place of what stands there. May be given several times.
    #[arg(long, value_name = "FILE")]
    pub into: Vec<PathBuf>,
}

/// A part of the document.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Part {
    /// The goals beside what was measured.
    Goals,
    /// A row for each benchmark and number of threads, a table for each of the other settings.
    Results,
    /// Freshness, recovery and the server.
    Others,
    /// The points of figures.
    Figures,
    /// Transactions: the goals, TREATY's figures, one client and eight that meet.
    Transactions,
}

/// Prints the tables.
pub fn run(args: &Args) -> Result<()> {
    if let Some(missing) = args.json.iter().find(|path| !path.exists()) {
        return Err(format!("{}: there is no such file", missing.display()).into());
    }
    let all = results::series(&args.json)?;
    let evidence = Evidence {
        points: Points::of(&all, |series| !series.setup.engine.starts_with(twinstore::PREFIX))?,
        servers: results::of_servers(&args.json)?,
        recovered: results::of_kind(&args.json, recovery::KIND)?,
        fresh: Fresh::read(&args.json)?,
        transactions: Transactions::of(&ledger::read(&args.json)?),
        machines: machines(&args.json)?,
        all,
    };
    for path in &args.into {
        let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let document = std::fs::read_to_string(path).map_err(|e| named(&e))?;
        let document = filled(&document, |part| text(part, &evidence)).map_err(|e| named(&e))?;
        std::fs::write(path, document).map_err(|e| named(&e))?;
    }
    if args.into.is_empty() {
        for part in &args.parts {
            println!("{}", text(*part, &evidence)?);
        }
    }
    Ok(())
}

const BEGIN: &str = "<!-- tables: ";
const END: &str = "<!-- end of tables -->";

/// A document with its parts between the marks made anew.
fn filled(document: &str, text: impl Fn(Part) -> Result<String>) -> Result<String> {
    let (mut out, mut within) = (String::new(), false);
    for line in document.lines() {
        let part = line.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(" -->"));
        match (part, line == END) {
            (Some(name), _) if !within => {
                let part = Part::from_str(name, false).map_err(|_| format!("there is no part '{name}'"))?;
                let _ = writeln!(out, "{line}\n{}\n", text(part)?.trim_end());
                within = true;
            }
            (_, true) if within => {
                let _ = writeln!(out, "{line}");
                within = false;
            }
            (Some(_), _) | (_, true) => return Err("the marks of the tables do not come in pairs".into()),
            _ if within => {}
            _ => {
                let _ = writeln!(out, "{line}");
            }
        }
    }
    match (within, document.contains(BEGIN)) {
        (false, true) => Ok(out),
        (true, _) => Err("the marks of the tables do not come in pairs".into()),
        _ => Err(format!("there is no line '{BEGIN}PART -->'").into()),
    }
}

/// What the results say that they were measured on.
fn machines(paths: &[PathBuf]) -> Result<Vec<String>> {
    let mut found: Vec<String> =
        results::of_kind::<Row>(paths, "result")?.into_iter().map(|row| row.machine).collect();
    found.extend(ledger::read(paths)?.into_iter().map(|line| line.machine));
    found.sort();
    found.dedup();
    Ok(found)
}

fn text(part: Part, evidence: &Evidence) -> Result<String> {
    Ok(match part {
        Part::Goals => format!("{}### Goals\n\n{}", preface(evidence)?, goals::table(evidence)?),
        Part::Results => comparisons(&evidence.all)?,
        Part::Others => others(evidence),
        Part::Figures => of_figures(&evidence.all)?,
        Part::Transactions => evidence.transactions.text(),
    })
}

/// Where and with what; and how to read the tables.
fn preface(evidence: &Evidence) -> Result<String> {
    let mut out = String::new();
    for machine in &evidence.machines {
        let _ = writeln!(out, "Machine: {machine}.\n");
    }
    let mut names: Vec<&str> = evidence.all.iter().map(|series| &*series.setup.engine).collect();
    names.sort_by_key(|name| engines::all().position(|kind| kind.name == *name));
    names.dedup();
    for name in names {
        let _ = writeln!(out, "- `{name}`: {}", (engines::by_name(name)?.about)());
    }
    out += "\n`x8` is 8 threads, `90 %` the share of reads. Rates of fills and overwrites at `buffered` are sustained: with \
            the debt paid. A ratio is the median over the repeats, with the least and the greatest, each of two runs \
            of one repeat. `a : b` is Ringfort's number and RocksDB's.\n\n";
    Ok(out)
}

fn shown(spread: Option<(Spread, usize)>) -> String {
    spread.map_or_else(|| "–".to_owned(), |(spread, _)| spread.shown())
}

/// A table for each of the settings that are neither benchmark nor threads.
fn comparisons(all: &[Series]) -> Result<String> {
    let compared = |series: &Series| series.compared && !series.setup.engine.starts_with(twinstore::PREFIX);
    let points = Points::of(all, compared)?;
    let mut out = String::new();
    let mut left = points.places();
    while let Some(heading) = left.first().map(Place::heading) {
        let (these, rest): (Vec<Place>, Vec<Place>) =
            left.into_iter().partition(|place| place.heading() == heading);
        left = rest;
        let _ = writeln!(out, "#### {heading}\n");
        let engines = points.engines(&these);
        if engines.iter().any(|name| name == REFERENCE) {
            out += &by_reference(&points, &these, &engines);
        }
        let own: Vec<&String> = engines.iter().filter(|name| name.starts_with("ringfort:")).collect();
        for name in own {
            out += &by_own(&points, &these, name);
        }
    }
    Ok(out)
}

/// Rates by the reference's, with the spread; costs of Ringfort and of the reference.
fn by_reference(points: &Points, places: &[Place], engines: &[String]) -> String {
    let ratios: Vec<&String> =
        engines.iter().filter(|name| *name != REFERENCE && !name.starts_with("ringfort:")).collect();
    let mut out = format!("| benchmark, threads | repeats | {REFERENCE} ops/s |");
    ratios.iter().for_each(|name| out += &format!(" {name} |"));
    out += " CPU µs/op | p99 µs | p99.9 µs | disk MiB |\n|---|--:|--:|";
    out += &"--:|".repeat(ratios.len() + 4);
    out.push('\n');
    for place in places {
        let Some(reference) = points.median(place, REFERENCE, rate) else { continue };
        let at = |name: &str| points.compared(place, name, REFERENCE, faster);
        let repeats = at(OURS).or_else(|| at(REFERENCE)).map_or(0, |(_, repeats)| repeats);
        let _ = write!(out, "| {} | {repeats} | {reference:.0} |", place.name());
        ratios.iter().for_each(|name| out += &format!(" {} |", shown(at(name))));
        let both = |value: goals::Number, digits: usize| {
            let of = |name| {
                points.median(place, name, value).map_or_else(|| "–".to_owned(), |v| format!("{v:.digits$}"))
            };
            format!("{} : {}", of(OURS), of(REFERENCE))
        };
        let disk: goals::Number = |one: &Measured| (one.disk_bytes >> 20) as f64;
        let _ = writeln!(
            out,
            " {} | {} | {} | {} |",
            both(|one| one.cpu_us_per_op, 2),
            both(|one| one.p99_us, 1),
            both(|one| one.p999_us, 0),
            if place.benchmark().writes() { both(disk, 0) } else { "–".to_owned() }
        );
    }
    out.push('\n');
    out
}

/// Ringfort by another mode of itself.
fn by_own(points: &Points, places: &[Place], other: &str) -> String {
    let mut out = String::new();
    for place in places {
        let Some((ratio, repeats)) = points.compared(place, OURS, other, faster) else { continue };
        let cpu = points.compared(place, OURS, other, |one, other| one.cpu_us_per_op / other.cpu_us_per_op);
        let rate = points.median(place, other, rate).unwrap_or_default();
        let _ = writeln!(
            out,
            "| {} | {repeats} | {rate:.0} | {} | {} |",
            place.name(),
            ratio.shown(),
            shown(cpu)
        );
    }
    if out.is_empty() {
        return out;
    }
    format!(
        "| benchmark, threads | repeats | {other} ops/s | {OURS} by {other} | CPU by {other}'s |\n|---|--:|--:|--:|--:|\n\
         {out}\n"
    )
}

/// The points of each figure.
fn of_figures(all: &[Series]) -> Result<String> {
    let mut out = String::new();
    for figure in figures::ALL.iter().filter(|figure| !figure.name.starts_with("twinstore")) {
        let points = Points::of(all, |series| series.figures.iter().any(|name| name == figure.name))?;
        let places = points.places();
        if places.is_empty() {
            continue;
        }
        let _ = writeln!(out, "#### {}\n", figure.title);
        let engines = points.engines(&places);
        let ratios: Vec<&String> = engines.iter().filter(|name| *name != REFERENCE).collect();
        let _ = write!(out, "| benchmark, threads | values of | blocks of | keys | {REFERENCE} ops/s |");
        ratios.iter().for_each(|name| out += &format!(" {name} |"));
        let _ = writeln!(out, "\n|---|--:|--:|--:|--:|{}", "--:|".repeat(ratios.len()));
        let mut places = places;
        places
            .sort_by_key(|place| (place.benchmark() as usize, place.reads, place.threads, place.value_size));
        for place in places {
            let rate = points.median(&place, REFERENCE, rate).unwrap_or_default();
            let (name, block) = (place.name(), place.block_size >> 10);
            let _ =
                write!(out, "| {name} | {} B | {block} KiB | {} | {rate:.0} |", place.value_size, place.num);
            for name in &ratios {
                let _ = write!(out, " {} |", shown(points.compared(&place, name, REFERENCE, faster)));
            }
            out.push('\n');
        }
        out.push('\n');
    }
    let figures = twinstore::in_series(all);
    figures.iter().for_each(|(figure, points)| out += &twinstore::table(figure, points));
    let points: Vec<_> = figures.into_iter().flat_map(|(_, points)| points).collect();
    if !points.is_empty() {
        out += &twinstore::averages(&points);
    }
    Ok(out)
}

fn others(evidence: &Evidence) -> String {
    let mut out = String::new();
    let fresh = evidence.fresh.table();
    if !fresh.is_empty() {
        let _ = writeln!(out, "#### Freshness\n\n{fresh}");
    }
    let recovered = latest(&evidence.recovered);
    if !recovered.is_empty() {
        let _ = writeln!(out, "#### Recovery\n\n{}", recovery_table(&recovered));
    }
    if !evidence.servers.is_empty() {
        let _ = writeln!(out, "#### The server\n\n{}", server::rows_table(&evidence.servers));
    }
    out
}

/// What was measured again takes the place of what was measured before.
fn latest(all: &[Recovered]) -> Vec<&Recovered> {
    let what = |one: &Recovered| {
        let gib = one.store_gib.map(f64::to_bits);
        (one.engine.clone(), one.way.clone(), one.entries, one.value_size, gib, one.machine.clone())
    };
    let mut kept: Vec<&Recovered> = Vec::new();
    for one in all {
        if one.repeat == 1 {
            kept.retain(|other| what(other) != what(one));
        }
        kept.push(one);
    }
    kept
}

fn recovery_table(all: &[&Recovered]) -> String {
    let mut out =
        "| what comes back | store, way | repeats | seconds (min–max) | CPU µs/entry | peak RSS MiB |\n\
                   |---|---|--:|--:|--:|--:|\n"
            .to_owned();
    let what = |one: &Recovered| {
        let entries = one.entries;
        let from = one.store_gib.map_or_else(|| "the log".to_owned(), |gib| format!("a store of {gib} GiB"));
        (
            format!("{entries} entries of {} B from {from}", one.value_size),
            format!("{}, {}", one.engine, one.way),
        )
    };
    let mut seen = Vec::new();
    for one in all {
        let name = what(one);
        if seen.contains(&name) {
            continue;
        }
        let runs: Vec<&&Recovered> = all.iter().filter(|other| what(other) == name).collect();
        let spread =
            |of: fn(&Recovered) -> f64| Spread::of(&runs.iter().map(|one| of(one)).collect::<Vec<_>>());
        let seconds = spread(|one| one.seconds);
        let _ = writeln!(
            out,
            "| {} | {} | {} | {:.3} ({:.3}–{:.3}) | {:.2} | {:.0} |",
            name.0,
            name.1,
            runs.len(),
            seconds.median,
            seconds.min,
            seconds.max,
            spread(|one| one.cpu_us_per_entry).median,
            spread(|one| one.peak_rss_bytes as f64).median / f64::from(1 << 20)
        );
        seen.push(name);
    }
    out
}

#[cfg(test)]
mod tests;
