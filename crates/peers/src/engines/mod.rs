//! The engines, a file each, and how one is opened: [`Kind`].

mod fjall;
mod ringfort;
mod rocksdb;

use crate::Result;
use ringfort_bench::{Engine, Settings};
use std::path::Path;
use std::sync::Arc;

/// How to open an engine.
pub struct Kind {
    /// What the command line calls it.
    pub name: &'static str,
    /// Name and version, with what a reader must know about the build.
    pub about: fn() -> String,
    /// Opens a store in an existing, empty directory.
    pub open: fn(&Path, &Settings) -> Result<Arc<dyn Engine>>,
}

/// All of them; the first is the one that is looked at, the second the reference.
pub const ALL: &[Kind] = &[ringfort::KIND, rocksdb::KIND, fjall::KIND];

/// The engine that ratios refer to.
pub const REFERENCE: &str = "rocksdb";

/// Finds an engine by name.
pub fn by_name(name: &str) -> Result<&'static Kind> {
    ALL.iter().find(|kind| kind.name == name).ok_or_else(|| {
        let names: Vec<&str> = ALL.iter().map(|kind| kind.name).collect();
        format!("no engine is called '{name}'; there are: {}", names.join(", ")).into()
    })
}
