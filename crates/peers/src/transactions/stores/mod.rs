//! The stores with transactions, a file each, and how one is opened: [`Kind`].
//!
//! | name | isolation | scans |
//! |---|---|---|
//! | `ringfort`, `ringfort:plain` | serializable | what was looked at is protected, gaps too |
//! | `rocksdb` | serializable, key by key: every read is tracked (`GetForUpdate`) | each entry found is tracked; gaps are not (phantoms) |
//! | `rocksdb-plain-reads` | read committed: reads are plain `Get`s, as TREATY's artifact does them | nothing is protected |
//! | `lmdb` | serializable: one writer after the other | as reads |
//!
//! RocksDB has no locks of ranges that its interface for C would offer, so phantoms are possible there and the
//! comparison is in its favour. Every store begins again what it refused after a pause of random length ([`pause`]).

mod lmdb;
mod ringfort;
mod rocksdb;

use crate::Result;
use ringfort_base::Level;
use ringfort_bench::Settings;
use ringfort_bench::transactional::Transactional;
use ringfort_host::door;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What keeps transactions apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Locks, held to the end.
    Pessimistic,
    /// A check when they commit.
    Optimistic,
}

impl By {
    /// As the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pessimistic => "pessimistic",
            Self::Optimistic => "optimistic",
        }
    }
}

/// What becomes of a read that is not for update.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reads {
    /// It is protected until the commit: what the store offers.
    Tracked,
    /// It is forgotten; only RocksDB can.
    Plain,
}

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Opening<'o> {
    pub settings: &'o Settings,
    pub by: By,
    /// How long an operation of the simulated trusted counter takes (Ringfort).
    pub counter_latency: Duration,
}

/// An open store.
pub trait Store: Send + Sync {
    /// Its transactions, whose commits have `level` on return.
    fn at(&self, level: Level, reads: Reads) -> Result<Box<dyn Transactional + '_>>;

    /// Closes it properly; what was committed is there when it is opened again.
    fn close(self: Box<Self>) -> Result<()>;
}

/// How to open a store.
pub struct Kind {
    /// What the command line calls it.
    pub name: &'static str,
    /// Name and version, with what a reader must know.
    pub about: fn() -> String,
    /// Opens what is in the directory, or makes a new store there.
    pub open: fn(&Path, &Opening<'_>) -> Result<Box<dyn Store>>,
    /// Opens it to be loaded, if there is a better way than by transactions.
    pub open_to_load: fn(&Path, &Opening<'_>) -> Result<Box<dyn Store>>,
    /// Kinds with the same name here are transactions of one store.
    pub files: &'static str,
    /// What becomes of its reads.
    pub reads: Reads,
    /// How it can keep transactions apart.
    pub by: &'static [By],
}

/// Ringfort, as a user gets it.
pub const RINGFORT: &Kind = &ringfort::SEALED;
/// Ringfort with sealing off.
pub const PLAIN: &Kind = &ringfort::PLAIN;
/// RocksDB, as serializable as it can be.
pub const ROCKSDB: &Kind = &rocksdb::TRACKED;
/// RocksDB, read committed.
pub const PLAIN_READS: &Kind = &rocksdb::PLAIN_READS;
/// LMDB.
pub const LMDB: &Kind = &lmdb::KIND;

/// All of them.
pub const ALL: [&Kind; 5] = [RINGFORT, PLAIN, ROCKSDB, PLAIN_READS, LMDB];

/// Finds one by name.
pub fn by_name(name: &str) -> Result<&'static Kind> {
    ALL.into_iter().find(|kind| kind.name == name).ok_or_else(|| {
        let names: Vec<&str> = ALL.iter().map(|kind| kind.name).collect();
        format!("no store with transactions is called '{name}'; there are: {}", names.join(", ")).into()
    })
}

/// The pause before the second try is drawn from so long, and twice as long before each further one: the
/// same as Ringfort's own.
const PAUSE: Duration = Duration::from_micros(20);
/// At the longest.
const PAUSE_MAX: Duration = Duration::from_millis(10);
/// Tries of one transaction, after which something else must be wrong.
const TRIES_MAX: u64 = 1_000_000;

/// Begins again what met others, and says how often it did.
fn retried(mut attempt: impl FnMut() -> Result<()>) -> Result<u64> {
    use ringfort_bench::transactional::MustRetry;
    for tries in 0..TRIES_MAX {
        match attempt() {
            Ok(()) => return Ok(tries),
            Err(error) if error.is::<MustRetry>() => pause(tries),
            Err(error) => return Err(error),
        }
    }
    Err(format!("a transaction met others {TRIES_MAX} times in a row").into())
}

/// A pause of random length, so that two do not meet again and again.
fn pause(tries: u64) {
    static DRAWN: AtomicU64 = AtomicU64::new(0);
    let longest = PAUSE.saturating_mul(1 << tries.min(10)).min(PAUSE_MAX);
    let mut random = DRAWN.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    random = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    random = (random ^ (random >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    random ^= random >> 31;
    let nanos = (u128::from(random) * longest.as_nanos()) >> 64;
    door::sleep(Duration::from_nanos(nanos as u64));
}

#[cfg(test)]
mod tests;
