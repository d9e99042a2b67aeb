//! The variants of TWINSTORE's evaluation as engines: Ringfort's three modes, on trusted disks that cost
//! what they cost in the paper.

use crate::Result;
use crate::emulated_disk::{EmulatedDisk, Layout};
use crate::engines::{Kind, Open};
use crate::setup::Emulation;
use ringfort::bench::Ringfort;
use ringfort::{Db, Mode};
use ringfort_base::Level;
use ringfort_bench::{Direction, Engine, Op, Settings, Visit};
use ringfort_host::door;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Ringfort's share of a memory limit, as in `ringfort`.
const CACHE_SHARE: f64 = 0.7;

/// Software alone, as the paper charged it.
pub const SOFTWARE_PAPER: Kind = Kind {
    name: "twinstore:software-paper",
    about: || {
        "Ringfort, mode software; every put waits one counter operation of its own after it is written, as the paper \
         charges each log entry (waits of different threads overlap)"
            .to_owned()
    },
    open: Open::Emulated(software_paper),
    cache_share: CACHE_SHARE,
};

/// Software alone, as Ringfort does it.
pub const SOFTWARE: Kind = Kind {
    name: "twinstore:software",
    about: || {
        "Ringfort, mode software; the same counter, advanced once for everything within 100 ms".to_owned()
    },
    open: Open::Emulated(|dir, settings, emulation| {
        let counter_latency = Duration::from_micros(emulation.counter_latency);
        Ringfort { mode: Mode::Software, counter_latency }.open(dir, settings)
    }),
    cache_share: CACHE_SHARE,
};

/// Everything on a trusted disk that keeps tags beside its sectors.
pub const HARDWARE_SECTOR: Kind = Kind {
    name: "twinstore:hardware-sector",
    about: || {
        "Ringfort, mode hardware, everything on an emulated disk: AES-256-GCM per 4 KiB sector".to_owned()
    },
    open: Open::Emulated(|dir, settings, emulation| {
        on(Mode::Hardware, Layout::Beside, dir, settings, emulation)
    }),
    cache_share: CACHE_SHARE,
};

/// Everything on a trusted disk with dm-integrity's journal.
pub const HARDWARE_INTEGRITY: Kind = Kind {
    name: "twinstore:hardware-integrity",
    about: || {
        "Ringfort, mode hardware, everything on an emulated disk: AES-256-GCM per 4 KiB sector, journal and tag area"
            .to_owned()
    },
    open: Open::Emulated(|dir, settings, emulation| {
        on(Mode::Hardware, Layout::Journaled, dir, settings, emulation)
    }),
    cache_share: CACHE_SHARE,
};

/// Log and MANIFEST on a trusted disk that keeps tags beside its sectors.
pub const TWIN_SECTOR: Kind = Kind {
    name: "twinstore:twin-sector",
    about: || {
        "Ringfort, mode twin, log and MANIFEST on the disk of hardware-sector, tables sealed".to_owned()
    },
    open: Open::Emulated(|dir, settings, emulation| on(Mode::Twin, Layout::Beside, dir, settings, emulation)),
    cache_share: CACHE_SHARE,
};

/// Log and MANIFEST on a trusted disk with dm-integrity's journal.
pub const TWIN_INTEGRITY: Kind = Kind {
    name: "twinstore:twin-integrity",
    about: || {
        "Ringfort, mode twin, log and MANIFEST on the disk of hardware-integrity, tables sealed".to_owned()
    },
    open: Open::Emulated(|dir, settings, emulation| {
        on(Mode::Twin, Layout::Journaled, dir, settings, emulation)
    }),
    cache_share: CACHE_SHARE,
};

fn on(
    mode: Mode,
    layout: Layout,
    dir: &Path,
    settings: &Settings,
    emulation: &Emulation,
) -> Result<Arc<dyn Engine>> {
    let disk = EmulatedDisk::create(&dir.join("trusted"), layout, emulation.page_cache)?;
    let ringfort = Ringfort { mode, ..Ringfort::default() };
    let options = ringfort.options(dir, settings)?.trusted_disk(Arc::new(disk));
    Ok(Arc::new(Db::open(options)?))
}

fn software_paper(dir: &Path, settings: &Settings, emulation: &Emulation) -> Result<Arc<dyn Engine>> {
    let inner = Ringfort { mode: Mode::Software, ..Ringfort::default() }.open(dir, settings)?;
    Ok(Arc::new(PerEntry { inner, latency: Duration::from_micros(emulation.counter_latency) }))
}

/// A store in which every log entry waits for a counter operation of its own.
struct PerEntry {
    inner: Arc<dyn Engine>,
    latency: Duration,
}

impl PerEntry {
    fn wait(&self) {
        door::sleep(self.latency);
    }
}

impl Engine for PerEntry {
    fn put(&self, key: &[u8], value: &[u8], level: Level) -> Result<()> {
        self.inner.put(key, value, level)?;
        self.wait();
        Ok(())
    }

    fn delete(&self, key: &[u8], level: Level) -> Result<()> {
        self.inner.delete(key, level)?;
        self.wait();
        Ok(())
    }

    fn write(&self, batch: &[Op<'_>], level: Level) -> Result<()> {
        // One entry of the log, however much is in it.
        self.inner.write(batch, level)?;
        self.wait();
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        self.inner.get(key)
    }

    fn read(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        self.inner.read(key, value)
    }

    fn scan(&self, from: Option<&[u8]>, direction: Direction, visit: &mut Visit<'_>) -> Result<()> {
        self.inner.scan(from, direction, visit)
    }

    fn flush(&self) -> Result<()> {
        self.inner.flush()
    }

    fn settle(&self) -> Result<()> {
        self.inner.settle()
    }

    fn close(&self) -> Result<()> {
        self.inner.close()
    }
}
