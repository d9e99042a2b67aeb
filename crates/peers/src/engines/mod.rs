//! The engines, a file each, and how one is opened: [`Kind`].

mod fjall;
pub mod lmdb;
mod redb;
pub mod ringfort;
pub mod rocksdb;
mod surrealkv;

use crate::setup::Emulation;
use crate::{Result, twinstore};
use ringfort_bench::{Compression, Engine, Settings, Unsupported};
use ringfort_host::door;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How to open an engine.
pub struct Kind {
    /// What the command line calls it.
    pub name: &'static str,
    /// Name and version, with what a reader must know about the build.
    pub about: fn() -> String,
    /// Opens a store in an existing, empty directory.
    pub open: Open,
    /// Under a memory limit, the share of it that the engine's own budget gets; the rest is left to
    /// the page cache, to memtables that are not in the budget, and to the process.
    pub cache_share: f64,
}

/// How a store is opened.
#[derive(Clone, Copy)]
pub enum Open {
    /// With nothing but what all engines are told.
    Plain(fn(&Path, &Settings) -> Result<Arc<dyn Engine>>),
    /// With hardware that is emulated.
    Emulated(fn(&Path, &Settings, &Emulation) -> Result<Arc<dyn Engine>>),
}

impl Kind {
    /// Opens a store in an existing, empty directory.
    pub fn open(&self, dir: &Path, settings: &Settings, emulation: &Emulation) -> Result<Arc<dyn Engine>> {
        match self.open {
            Open::Plain(open) => open(dir, settings),
            Open::Emulated(open) => open(dir, settings, emulation),
        }
    }
}

/// The engines that a comparison is made of; the first is the one that is looked at, the second the reference.
pub const ALL: &[Kind] = &[
    ringfort::SOFTWARE,
    rocksdb::KIND,
    fjall::KIND,
    lmdb::KIND,
    redb::KIND,
    surrealkv::KIND,
    surrealkv::TDE,
    ringfort::PLAIN,
    ringfort::HARDWARE,
    ringfort::TWIN,
];

/// The engine that ratios refer to.
pub const REFERENCE: &str = "rocksdb";

/// All engines, those of `twinstore` too.
pub fn all() -> impl Iterator<Item = &'static Kind> {
    ALL.iter().chain(twinstore::ENGINES)
}

/// Finds an engine by name.
pub fn by_name(name: &str) -> Result<&'static Kind> {
    all().find(|kind| kind.name == name).ok_or_else(|| {
        let names: Vec<&str> = all().map(|kind| kind.name).collect();
        format!("no engine is called '{name}'; there are: {}", names.join(", ")).into()
    })
}

/// It has settled when so many looks in a row saw next to no processor time used.
const QUIET_LOOKS: usize = 10;
const LOOK: Duration = Duration::from_millis(20);
/// What looking itself and the line of progress take.
const QUIET_CPU_US: u64 = 1_000;

/// For a store that does not say what it has to do: waits until this process uses no processor any more.
pub fn wait_until_idle() {
    let mut quiet = 0;
    while quiet < QUIET_LOOKS {
        let before = door::cpu_time_us();
        door::sleep(LOOK);
        quiet = if door::cpu_time_us() - before < QUIET_CPU_US { quiet + 1 } else { 0 };
    }
}

/// For an engine that has neither compression nor direct reads here.
fn plain_files(settings: &Settings) -> Result<()> {
    if settings.compression_type != Compression::None {
        return Err(Unsupported("compression").into());
    }
    if settings.use_direct_reads == Some(true) {
        return Err(Unsupported("direct reads").into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
