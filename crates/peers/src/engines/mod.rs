//! The engines, a file each.

mod fjall;
mod ringfort;
mod rocksdb;

use crate::Result;
use crate::engine::Kind;

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
