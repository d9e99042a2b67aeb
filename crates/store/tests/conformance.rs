//! What every engine in every mode must do: one suite as a function over a [`Setup`], and a state
//! machine that mirrors random operations in ordered maps.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;
#[path = "conformance/machine.rs"]
mod machine;
#[path = "common/model.rs"]
mod model;
#[path = "conformance/suite.rs"]
mod suite;

use common::{MODES, small};
use ringfort_store::{Compression, KeyspaceOptions};
use ringfort_trust::keyfile::Mode;
use suite::{Setup, conformance};

/// The engines and their settings. `btree`, `memory` and `cache` join here when they exist.
fn engines() -> Vec<(&'static str, KeyspaceOptions)> {
    let with = |compression| KeyspaceOptions { compression, ..small() };
    vec![
        ("lsm", with(Compression::None)),
        ("lsm, lz4", with(Compression::Lz4)),
        ("lsm, zstd", with(Compression::Zstd)),
        // One entry per restart, tiny blocks in large tables: the index has partitions.
        (
            "lsm, partitioned index",
            KeyspaceOptions {
                restart_interval: 1,
                table_bytes: 64 << 20,
                write_buffer_bytes: 1 << 20,
                ..small()
            },
        ),
        ("lsm, no filter", KeyspaceOptions { bloom_bits_per_key: 0, ..small() }),
        ("lsm, values apart", KeyspaceOptions { separate_values_from_bytes: 1, ..small() }),
        (
            "lsm, values apart, lz4",
            KeyspaceOptions { separate_values_from_bytes: 64, compression: Compression::Lz4, ..small() },
        ),
        ("lsm, defaults", KeyspaceOptions::default()),
    ]
}

fn all_engines(mode: Mode) {
    for (engine, options) in engines() {
        conformance(&Setup { engine, mode, options });
    }
}

#[test]
fn software_conforms() {
    all_engines(Mode::Software);
}

#[test]
fn hardware_conforms() {
    all_engines(Mode::Hardware);
}

#[test]
fn twin_conforms() {
    all_engines(Mode::Twin);
}

#[test]
fn the_largest_key_and_value() {
    suite::the_largest_key_and_value(&Setup {
        engine: "lsm",
        mode: Mode::Software,
        options: KeyspaceOptions::default(),
    });
}

#[test]
fn a_mirror_of_maps_under_random_operations() {
    let cases = if std::env::var_os("RINGFORT_LONG").is_some_and(|v| v == "1") { 5000 } else { 200 };
    for mode in MODES {
        machine::mirror(mode, cases);
    }
}
