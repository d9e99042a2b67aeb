//! # `ringfort demo`: see it hold
//!
//! ```text
//! load a data set through Redis's protocol ─► kill under load, restart, verify (rounds)
//!   ─► write a part again, compact, so that tables lie at deeper levels ─► write on, stop
//!   ─► for each attack: fresh copy, strike, start: what comes of it? ─► table, exit status
//! ```
//!
//! Everything happens in a temporary directory, to servers of its own on free ports.

mod attacks;
mod data;
mod kill;
mod load;
mod server;
mod show;
mod tree;
mod trial;

use crate::cli::DemoArgs;
use crate::cli::report::Failure;
use crate::serve::say;
use attacks::{Row, Spoils};
use data::{DataSet, Database};
use kill::Ledger;
use load::Throughput;
use ringfort::Options;
use ringfort_base::world::{Clock, Entropy};
use ringfort_bench::resp::Client;
use ringfort_fault::tempdir::TempDir;
use ringfort_host::door::{OsClock, OsEntropy};
use ringfort_store::{Step, Store};
use server::Place;
use show::{Progress, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use trial::Lab;

const MB: u64 = 1_000_000;
/// Writes of the last life before the attacks, to its middle and from there to its end.
const LAST_WRITES: u64 = 1_000;

/// How much of everything.
struct Scale {
    bytes: u64,
    rounds: usize,
    round_time: Duration,
    settings: Vec<String>,
}

impl Scale {
    fn of(args: &DemoArgs) -> Self {
        let (bytes, rounds, round_ms, write_buffer) =
            if args.short { (20 * MB, 2, 500, "2MiB") } else { (200 * MB, 3, 1_500, "16MiB") };
        let settings = vec!["--write-buffer".to_owned(), write_buffer.to_owned()];
        Self { bytes, rounds, round_time: Duration::from_millis(round_ms), settings }
    }
}

/// What was seen.
struct Report {
    origin: String,
    loaded: Throughput,
    read: Throughput,
    kills: Vec<u64>,
    rows: Vec<Row>,
    seed: u64,
    took: Duration,
}

/// Runs it. An error unless everything was as expected.
pub(crate) fn run(args: &DemoArgs) -> Result<(), Failure> {
    let (root, _temporary) = working_dir(args)?;
    let progress = Progress::new();
    let report = demonstrate(&root, &Scale::of(args), progress).map_err(Failure::Other)?;
    if args.json {
        say(&report.json());
    } else {
        say(&report.text());
    }
    let wrong = report.rows.iter().filter(|row| !row.ok).count();
    if wrong > 0 {
        return Err(Failure::Other(format!(
            "{wrong} of {} trials did not end as expected",
            report.rows.len()
        )));
    }
    Ok(())
}

fn working_dir(args: &DemoArgs) -> Result<(PathBuf, Option<TempDir>), Failure> {
    let failed = |e: std::io::Error| Failure::Other(format!("cannot make the demo's directory: {e}"));
    match &args.keep {
        Some(dir) => {
            std::fs::create_dir(dir).map_err(failed)?;
            Ok((dir.canonicalize().map_err(failed)?, None))
        }
        None => {
            let dir = TempDir::new("demo").map_err(failed)?;
            Ok((dir.path().to_owned(), Some(dir)))
        }
    }
}

fn demonstrate(root: &Path, scale: &Scale, progress: Progress) -> Result<Report, String> {
    let clock = OsClock::new();
    let place = Place::below(root, &scale.settings);
    std::fs::create_dir_all(root).map_err(|e| e.to_string())?;
    progress.line(&format!("working in {}", root.display()));
    let data = DataSet::new(scale.bytes);
    let origin = format!("{} and {} generated records", data.origin, data.generated);

    let server = place.must_start()?;
    progress.line(&format!("server ready after {} ms at {}", server.age().as_millis(), server.address));
    let loaded = load::load(&server.address, (&data, &Database::ALL), &progress)?;
    progress.line(&format!("loaded at level fresh: {loaded}"));
    let read = load::verify(&server.address, &data, 1, &progress)?;
    progress.line(&format!("read back at level fresh, every value compared: {read}"));
    server.stop()?;

    let mut ledgers = Vec::new();
    let mut kills = Vec::new();
    for nth in 1..=scale.rounds {
        let of_round = kill::round(&place, nth, scale.round_time, &progress)?;
        let kept = of_round.iter().map(Ledger::acknowledged).sum();
        ledgers.extend(of_round);
        progress.line(&format!(
            "killed under load, round {nth}: {kept} acknowledged writes, all there after the restart"
        ));
        kills.push(kept);
    }
    let spoils = prepare(root, &place, &data, &progress)?;
    progress.line("stopped cleanly, compacted; now the disk is attacked");
    let seed = random_seed()?;
    let lab = Lab { root: root.to_owned(), place, data, ledgers, spoils, progress };
    let rows = lab.run(seed)?;
    Ok(Report { origin, loaded, read, kills, rows, seed, took: clock.monotonic() })
}

fn random_seed() -> Result<u64, String> {
    let mut seed = [0; 8];
    OsEntropy.fill(&mut seed).map_err(|e| e.to_string())?;
    Ok(u64::from_le_bytes(seed))
}

/// Gives the attacker something to work with: an older copy of everything, tables at deeper levels and
/// value files in the place of those of the copy, a log with a life's writes in it and an older copy
/// of that.
fn prepare(root: &Path, place: &Place, data: &DataSet, progress: &Progress) -> Result<Spoils, String> {
    let io = |e: std::io::Error| e.to_string();
    let (older, older_log) = (root.join("older"), root.join("older-log"));
    embedded(place, |store| store.flush(None)).map_err(|e| e.to_string())?;
    tree::copy(&place.data, &older).map_err(io)?;
    let server = place.must_start()?;
    load::load(&server.address, (data, &[Database::Real]), progress)?;
    server.stop()?;
    embedded(place, compact).map_err(|e| e.to_string())?;
    let server = place.must_start()?;
    let mut client = Client::connect(&server.address).map_err(io)?;
    let mut since = Ledger::new("last");
    since.write(&mut client, LAST_WRITES)?;
    tree::copy_live(&place.data.join("wal"), &older_log).map_err(io)?;
    since.write(&mut client, LAST_WRITES)?;
    drop(client);
    server.stop()?;
    Ok(Spoils { older, older_log, since })
}

/// Works on the store with nobody serving it.
fn embedded(place: &Place, work: fn(&Store) -> ringfort::Result<()>) -> ringfort::Result<()> {
    let options = Options::new(&place.data).platform_state(&place.platform).store_name("demo");
    let store = options.create_if_missing(false).open_store()?.store;
    work(&store)?;
    store.close()
}

/// All of it, and whatever is to be done then.
fn compact(store: &Store) -> ringfort::Result<()> {
    for (_, keyspace) in store.keyspaces() {
        store.compact_range(keyspace, None, None)?;
    }
    while store.maintenance_step()? == Step::Worked {}
    Ok(())
}

impl Report {
    fn text(&self) -> String {
        let Self { origin, loaded, read, took, seed, .. } = self;
        let kills = self.kills.iter().map(u64::to_string).collect::<Vec<_>>().join(" + ");
        let wrong = self.rows.iter().filter(|row| !row.ok).count();
        let verdict = match wrong {
            0 => format!("all {} trials as expected", self.rows.len()),
            n => format!("{n} of {} trials NOT as expected", self.rows.len()),
        };
        format!(
            "data      {origin}\nloaded    {loaded}\nread      {read}\nkilled    {} times under load; acknowledged writes \
             lost: 0 of {kills}\n\n{}\n{verdict}, in {:.1} s (seed {seed})",
            self.kills.len(),
            show::table(&self.rows),
            took.as_secs_f64(),
        )
    }

    fn json(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            format!(
                "{{\"attack\":{},\"changed\":{},\"expected\":{},\"got\":{},\"ms\":{},\"ok\":{}}}",
                json(row.name),
                json(&row.changed),
                json(row.expected),
                json(&row.got),
                row.took.as_millis(),
                row.ok
            )
        });
        let speed = |of: &Throughput| {
            format!("{{\"records\":{},\"bytes\":{},\"ms\":{}}}", of.entries, of.bytes, of.time.as_millis())
        };
        let kills = self.kills.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        format!(
            "{{\"data\":{},\"loaded\":{},\"read\":{},\"acknowledged_before_kill\":[{kills}],\"attacks\":[{}],\
             \"seed\":{},\"ms\":{},\"ok\":{}}}",
            json(&self.origin),
            speed(&self.loaded),
            speed(&self.read),
            rows.collect::<Vec<_>>().join(","),
            self.seed,
            self.took.as_millis(),
            self.rows.iter().all(|row| row.ok)
        )
    }
}
