//! Arrows go down only: which crate may name which.
//!
//! ```text
//! L6  peers
//! L5  ringfort
//! L4            sim        bench
//! L3       node       client
//! L2  store     protocol
//! L1  host      trust      fault
//! L0  base      checker
//! ```

use crate::manifest::{Kind, dependencies};
use crate::source::{read, root};
use std::collections::BTreeSet;
use std::process::Command;

/// One row of the house: what the crate may name, and what its tests may name besides.
struct Row {
    krate: &'static str,
    may_use: &'static [&'static str],
    tests_may_use: &'static [&'static str],
}

const fn row(
    krate: &'static str,
    may_use: &'static [&'static str],
    tests_may_use: &'static [&'static str],
) -> Row {
    Row { krate, may_use, tests_may_use }
}

const BELOW_L4: &[&str] = &["base", "host", "trust", "fault", "store", "protocol", "node", "client"];

const HOUSE: &[Row] = &[
    row("base", &[], &[]),
    row("host", &["base"], &["fault"]),
    row("trust", &["base"], &["fault"]),
    row("fault", &["base"], &[]),
    row("checker", &[], &[]),
    row("store", &["base", "trust"], &["checker", "fault"]),
    row("protocol", &["base", "trust"], &["fault"]),
    row("node", &["base", "trust", "store", "protocol"], &["fault", "host"]),
    row("client", &["base", "trust", "protocol"], &["fault", "host"]),
    row("sim", BELOW_L4, &[]),
    row("bench", BELOW_L4, &[]),
    row(
        "ringfort",
        &["base", "host", "trust", "fault", "store", "protocol", "node", "client", "sim", "bench"],
        &["checker"],
    ),
    row(
        "peers",
        &["base", "host", "trust", "fault", "store", "protocol", "node", "client", "bench", "ringfort"],
        &[],
    ),
];

/// No runtime here (R24): neither named nor pulled in by somebody else.
const WITHOUT_TOKIO: &[&str] = &["base", "host", "trust", "fault", "store", "protocol"];

/// What the embedded library must not pull in (R24).
const NOT_IN_THE_FACADE: &[&str] =
    &["tokio", "clap", "rustls", "ringfort-node", "ringfort-fault", "ringfort-bench"];

/// What the binary must not ship: the code that attacks is in it (`ringfort attack`), its test
/// tools are not.
const TEST_TOOLS: &[&str] = &["proptest", "shuttle", "loom", "turmoil"];

/// The workspace's crates that exist: short name and manifest.
fn manifests() -> Vec<(String, String)> {
    let mut found = vec![("ringfort".to_owned(), read("ringfort/Cargo.toml"))];
    for entry in std::fs::read_dir(root().join("crates")).expect("crates/ is there") {
        let name = entry.expect("crates/ can be listed").file_name().into_string().expect("a plain name");
        let manifest = format!("crates/{name}/Cargo.toml");
        if root().join(&manifest).is_file() {
            found.push((name, read(&manifest)));
        }
    }
    found
}

#[test]
fn arrows_go_down_only() {
    let mut broken = Vec::new();
    for (name, manifest) in manifests() {
        let Some(row) = HOUSE.iter().find(|row| row.krate == name) else {
            broken.push(format!("{name}: no row in the table of the house"));
            continue;
        };
        for (kind, names) in dependencies(&manifest) {
            for on in names.iter().filter_map(|on| short(on)) {
                let in_tests = kind == Kind::Dev && row.tests_may_use.contains(&on);
                if !row.may_use.contains(&on) && !in_tests {
                    broken.push(format!("{name} -> {on} ({kind:?})"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "edges that the house does not have: {broken:#?}");
}

#[test]
fn the_table_itself_has_no_cycle() {
    // A crate may use only crates of earlier rows; rows stand in the order of the levels.
    for (nth, row) in HOUSE.iter().enumerate() {
        let earlier: Vec<&str> = HOUSE[..nth].iter().map(|row| row.krate).collect();
        for on in row.may_use {
            assert!(earlier.contains(on), "{} -> {on} does not go down", row.krate);
        }
    }
}

#[test]
fn the_parser_sees_the_edges_that_there_are() {
    // A parser that found nothing would let everything pass.
    let all = manifests();
    let store = &all.iter().find(|(name, _)| name == "store").expect("the store exists").1;
    let found: BTreeSet<String> =
        dependencies(store)[&Kind::Normal].iter().filter_map(|name| short(name)).map(str::to_owned).collect();
    assert_eq!(found, BTreeSet::from(["base".to_owned(), "trust".to_owned()]));
}

#[test]
fn every_crate_obeys_the_lints_of_the_workspace() {
    for (name, manifest) in manifests() {
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{name} does not inherit the workspace's lints"
        );
    }
}

#[test]
fn the_core_has_no_runtime() {
    for (name, manifest) in manifests().iter().filter(|(name, _)| WITHOUT_TOKIO.contains(&name.as_str())) {
        let named: Vec<String> = dependencies(manifest).into_values().flatten().collect();
        assert!(!named.contains(&"tokio".to_owned()), "{name} names tokio");
        let pulled = tree(&["-p", &format!("ringfort-{name}"), "-e", "normal,build"]);
        assert!(pulled.contains("ringfort-base"), "{pulled:?}");
        assert!(!pulled.contains("tokio"), "{name} pulls tokio in");
    }
}

#[test]
fn the_facade_without_the_server_is_a_plain_library() {
    let pulled = tree(&["-p", "ringfort", "--no-default-features", "-e", "normal"]);
    assert!(pulled.contains("ringfort-store"), "{pulled:?}");
    for name in NOT_IN_THE_FACADE {
        assert!(!pulled.contains(*name), "the embedded library pulls {name} in");
    }
    let with_server = tree(&["-p", "ringfort", "-e", "normal"]);
    assert!(with_server.contains("tokio"), "the check looks at the right thing");
    for name in TEST_TOOLS {
        assert!(!with_server.contains(*name), "the binary pulls {name} in");
    }
}

/// `ringfort-x` is `x`, `ringfort` itself; others are third parties.
fn short(name: &str) -> Option<&str> {
    name.strip_prefix("ringfort-").or((name == "ringfort").then_some(name))
}

/// The names in what `cargo tree` prints.
fn tree(args: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["tree", "--offline", "--prefix", "none"])
        .args(args)
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo tree {args:?}: {errors}");
    let lines = String::from_utf8(output.stdout).expect("names are text");
    lines.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}
