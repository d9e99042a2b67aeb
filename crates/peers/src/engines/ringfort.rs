//! Ringfort, on a simulated platform: sealed in each of its modes, and with sealing off.
//!
//! The adapter is the product's own ([`ringfort::bench`]): the embedded library with its two
//! background workers. A commit is sealed, chained, written, and anchored within 100 ms, and
//! everything that is read back is verified: what is measured is the product's protection, not a
//! part of it.
//!
//! | name | log, MANIFEST | tables | freshness from |
//! |---|---|---|---|
//! | `ringfort` | sealed | sealed | the counter |
//! | `ringfort:twin` | checksummed, trusted volume | sealed | the volume |
//! | `ringfort:hardware` | checksummed, trusted volume | checksummed, trusted volume | the volume |
//! | `ringfort:plain` | as `ringfort:hardware` | as `ringfort:hardware` | nothing |
//!
//! The trusted volume is a directory here, which costs nothing and protects nothing. So `hardware` on it
//! is Ringfort with sealing off: the same engine and the same file layouts, every tag 16 bytes of XXH3 in
//! place of AES-GCM's, no key per file in use, no counter. (RocksDB checksums its blocks and log as
//! well.) `ringfort:plain` names it by what it measures; `twinstore` has trusted disks that cost something.

use super::{Kind, Open};
use crate::Result;
use crate::setup::Emulation;
use ringfort::Mode;
use ringfort::bench::Ringfort;
use ringfort_bench::{Engine, Settings};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Its budget covers all its memory; the rest is the process and pages on their way to the disk. At such a
/// share tables are read past the page cache.
const CACHE_SHARE: f64 = 0.85;

/// As a user gets it.
pub const SOFTWARE: Kind = Kind {
    name: "ringfort",
    about: || about("mode software: AES-256-GCM, anchored within 100 ms (simulated counter)"),
    open: Open::Emulated(|dir, settings, emulation| open(Mode::Software, dir, settings, emulation)),
    cache_share: CACHE_SHARE,
};

/// Everything on the trusted volume.
pub const HARDWARE: Kind = Kind {
    name: "ringfort:hardware",
    about: || about("mode hardware: XXH3 checksums, everything on a trusted volume, here a directory"),
    open: Open::Emulated(|dir, settings, emulation| open(Mode::Hardware, dir, settings, emulation)),
    cache_share: CACHE_SHARE,
};

/// Log and MANIFEST on the trusted volume.
pub const TWIN: Kind = Kind {
    name: "ringfort:twin",
    about: || about("mode twin: tables AES-256-GCM, log and MANIFEST on a trusted volume, here a directory"),
    open: Open::Emulated(|dir, settings, emulation| open(Mode::Twin, dir, settings, emulation)),
    cache_share: CACHE_SHARE,
};

/// Sealing off.
pub const PLAIN: Kind = Kind {
    name: "ringfort:plain",
    about: || {
        about(
            "sealing off (mode hardware on a directory): XXH3 checksums, no AES-GCM, no counter; unprotected",
        )
    },
    open: Open::Emulated(|dir, settings, emulation| open(Mode::Hardware, dir, settings, emulation)),
    cache_share: CACHE_SHARE,
};

fn about(what: &str) -> String {
    format!("Ringfort {}, {what}", env!("CARGO_PKG_VERSION"))
}

fn open(mode: Mode, dir: &Path, settings: &Settings, emulation: &Emulation) -> Result<Arc<dyn Engine>> {
    let counter_latency = Duration::from_micros(emulation.counter_latency);
    Ringfort { mode, counter_latency }.open(dir, settings)
}

/// Mode software, as a user gets it.
pub fn open_software(dir: &Path, settings: &Settings) -> Result<Arc<dyn Engine>> {
    Ringfort::default().open(dir, settings)
}
