//! Ringfort: sealed, mode `software`, a simulated platform.
//!
//! The adapter is the product's own ([`ringfort::bench`]): the embedded library with its two
//! background workers. A commit is sealed, chained, written, and anchored within 100 ms, and
//! everything that is read back is verified: what is measured is the product's protection, not a
//! part of it.

use super::Kind;
use crate::Result;
use ringfort::bench::Ringfort;
use ringfort_bench::{Engine, Settings};
use std::path::Path;
use std::sync::Arc;

/// How it is opened.
pub const KIND: Kind = Kind { name: "ringfort", about, open };

fn about() -> String {
    Ringfort::default().about()
}

fn open(dir: &Path, settings: &Settings) -> Result<Arc<dyn Engine>> {
    Ringfort::default().open(dir, settings)
}
