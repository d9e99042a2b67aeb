//! A test per rule of `docs` (R1 to R23) that no other file names. Others: R11 and R12 under failing
//! disks in `crash/failing.rs`, R13's nonces and R14 in `trust`, R15 and R21 in `recovery.rs`.
#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "rules/anchoring.rs"]
mod anchoring;
mod common;
#[path = "rules/engine.rs"]
mod engine;
#[path = "rules/files.rs"]
mod files;
#[path = "rules/load.rs"]
mod load;
#[path = "common/power.rs"]
mod power;

use common::Machine;
use ringfort_base::StoreId;
use ringfort_trust::Anchor;
use ringfort_trust::counter::Counter;
use ringfort_trust::counter::slot::VolumeCounter;
use ringfort_trust::keyfile::Mode;
use std::sync::Arc;

/// The counter that anchors the machine's store.
pub fn counter(machine: &Machine, id: StoreId) -> Arc<dyn Counter> {
    match machine.mode {
        Mode::Software => machine.platform().counter("default", id).unwrap(),
        Mode::Hardware | Mode::Twin => Arc::new(VolumeCounter::new(Arc::new(machine.trusted.clone()), id)),
    }
}

/// What it holds.
pub fn anchor(machine: &Machine, id: StoreId) -> Anchor {
    counter(machine, id).read().unwrap().expect("there is an anchor").anchor
}
