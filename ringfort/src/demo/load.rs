//! Loading the data set over several pipelined connections, and reading all of it back.

use super::data::{DataSet, Database};
use super::show::Progress;
use ringfort_base::world::Clock;
use ringfort_bench::resp::Client;
use ringfort_host::door::{self, OsClock};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const CONNECTIONS: u64 = 4;
/// Commands that are under way at once, per connection.
const PIPELINE: u64 = 512;
/// Bytes at which a pipeline is full all the same.
const PIPELINE_BYTES: usize = 512 << 10;

/// How fast something went.
pub(crate) struct Throughput {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) time: Duration,
}

impl std::fmt::Display for Throughput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.time.as_secs_f64().max(1e-9);
        let (mb, rate) = (self.bytes as f64 / 1e6, self.entries as f64 / seconds);
        write!(
            f,
            "{} records, {mb:.0} MB in {seconds:.1} s: {rate:.0}/s, {:.1} MB/s",
            self.entries,
            mb / seconds
        )
    }
}

/// Writes what some databases hold, at the server's level.
pub(crate) fn load(
    address: &str,
    (data, databases): (&DataSet, &'static [Database]),
    progress: &Progress,
) -> Result<Throughput, String> {
    spread(address, (data, databases), 1, progress, "loading", |client, data, part| {
        for batch in batches(data, part) {
            for (_, key, value) in &batch {
                client.queue(&[b"SET", key.as_bytes(), value]);
            }
            client.send().map_err(|e| e.to_string())?;
            for (_, key, _) in &batch {
                let reply = client.reply().map_err(|e| e.to_string())?;
                if !reply.is_ok() {
                    return Err(format!("SET {key} was answered by {reply:?}"));
                }
            }
            part.count(&batch);
        }
        Ok(())
    })
}

/// Reads the whole data set, or one entry of `every` so many, and compares the values.
pub(crate) fn verify(
    address: &str,
    data: &DataSet,
    every: u64,
    progress: &Progress,
) -> Result<Throughput, String> {
    spread(address, (data, &Database::ALL), every, progress, "verifying", |client, data, part| {
        for batch in batches(data, part) {
            for (_, key, _) in &batch {
                client.queue(&[b"GET", key.as_bytes()]);
            }
            client.send().map_err(|e| e.to_string())?;
            for (_, key, value) in &batch {
                let reply = client.reply().map_err(|e| e.to_string())?;
                match reply.as_bytes() {
                    Some(found) if found == value => {}
                    // Absence of what was written is as false as another value.
                    _ if reply.as_error().is_none() => return Err(format!("{WRONG} {key}")),
                    _ => return Err(format!("GET {key} was answered by {reply:?}")),
                }
            }
            part.count(&batch);
        }
        Ok(())
    })
}

/// How the report of a wrong value begins: the one thing that must never happen.
pub(crate) const WRONG: &str = "FALSE DATA under the key";

/// What one connection has to do.
struct Part {
    database: Database,
    first: u64,
    step: u64,
    entries: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

impl Part {
    fn count(&self, batch: &[(Database, String, Vec<u8>)]) {
        let bytes: usize = batch.iter().map(|(_, key, value)| key.len() + value.len()).sum();
        self.entries.fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// The entries of one part, a pipeline at a time.
fn batches<'a>(
    data: &'a DataSet,
    part: &'a Part,
) -> impl Iterator<Item = Vec<(Database, String, Vec<u8>)>> + 'a {
    let range = data.range(part.database);
    let mut mine =
        (range.start + part.first..range.end).step_by(part.step as usize).map(|nth| data.entry(nth));
    std::iter::from_fn(move || {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while (batch.len() as u64) < PIPELINE && bytes < PIPELINE_BYTES {
            let Some(entry) = mine.next() else { break };
            bytes += entry.1.len() + entry.2.len();
            batch.push(entry);
        }
        (!batch.is_empty()).then_some(batch)
    })
}

/// Runs `work` on several connections, each with its share.
fn spread(
    address: &str,
    (data, databases): (&DataSet, &'static [Database]),
    every: u64,
    progress: &Progress,
    doing: &str,
    work: fn(&mut Client, &DataSet, &Part) -> Result<(), String>,
) -> Result<Throughput, String> {
    let clock = OsClock::new();
    let (entries, bytes) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let mut threads = Vec::new();
    for nth in 0..CONNECTIONS {
        let (data, address) = (data.clone(), address.to_owned());
        let (entries, bytes) = (Arc::clone(&entries), Arc::clone(&bytes));
        let run = move || -> Result<(), String> {
            let mut client = Client::connect(&address).map_err(|e| e.to_string())?;
            for &database in databases {
                client.ok(&[b"SELECT", database.number().as_bytes()]).map_err(|e| e.to_string())?;
                let (first, step) = (nth * every, CONNECTIONS * every);
                let part =
                    Part { database, first, step, entries: Arc::clone(&entries), bytes: Arc::clone(&bytes) };
                work(&mut client, &data, &part)?;
            }
            Ok(())
        };
        threads.push(door::spawn("demo-client", run).map_err(|e| e.to_string())?);
    }
    while threads.iter().any(|thread| !thread.is_finished()) {
        progress.at(doing, bytes.load(Ordering::Relaxed), data.bytes / every);
        door::sleep(Duration::from_millis(20));
    }
    let ended: Vec<Result<(), String>> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap_or_else(|_| Err("a client ended early".to_owned())))
        .collect();
    let mut errors: Vec<String> = ended.into_iter().filter_map(Result::err).collect();
    // What weighs most is told first.
    errors.sort_by_key(|error| !error.starts_with(WRONG));
    if let Some(error) = errors.into_iter().next() {
        return Err(error);
    }
    Ok(Throughput {
        entries: entries.load(Ordering::Relaxed),
        bytes: bytes.load(Ordering::Relaxed),
        time: clock.monotonic(),
    })
}
