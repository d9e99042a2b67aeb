//! Which functions are banned everywhere, and the few files that may call them (R24, R25), and
//! where `unsafe` may stand.

use crate::source::{Code, files, is_test_file, read, root};
use crate::{is_unfinished, manifest};
use std::collections::BTreeSet;

/// The doors, and the one way to look at unverified bytes. `clippy.toml` bans exactly these.
const BANNED: &[&str] = &[
    "std::time::SystemTime::now",
    "std::time::Instant::now",
    "std::thread::spawn",
    "std::thread::Builder::spawn",
    "std::thread::sleep",
    "tokio::spawn",
    "tokio::task::spawn",
    "tokio::task::spawn_local",
    "tokio::task::spawn_blocking",
    "tokio::time::sleep",
    "tokio::time::timeout",
    "getrandom::fill",
    "ringfort_base::untrusted::Untrusted::expose_to_verifier",
];

/// Who may opt out outside of tests: the doors, the verifier, and the attacker, who does not keep to
/// rules. A path that ends in `/` stands for all files below it.
const MAY_OPT_OUT: &[&str] = &[
    "crates/host/src/door.rs",
    "crates/node/src/door.rs",
    "crates/trust/src/",
    "crates/fault/src/attack.rs",
    "crates/fault/src/device.rs",
];

/// Crates whose root says `deny` instead of `forbid`, because a listed file makes an exception.
const DENY_UNSAFE: &[&str] =
    &["crates/host/src/lib.rs", "crates/store/src/lib.rs", "crates/peers/src/main.rs"];

/// The files with `unsafe` blocks. LMDB maps its file, and its crate marks that unsafe.
const MAY_BE_UNSAFE: &[&str] = &[
    "crates/host/src/cpu_random.rs",
    "crates/host/src/page_advice.rs",
    "crates/host/src/tail.rs",
    "crates/host/src/turns.rs",
    "crates/store/src/engine/lsm/memtable/",
    "crates/peers/src/engines/lmdb.rs",
];

fn listed(path: &str, list: &[&str]) -> bool {
    list.iter().any(|entry| path == *entry || (entry.ends_with('/') && path.starts_with(entry)))
}

#[test]
fn clippy_bans_the_doors_and_nothing_is_missing() {
    let text = read("clippy.toml");
    let banned: BTreeSet<&str> =
        text.lines().filter_map(|line| line.split_once("path = \"")?.1.split('"').next()).collect();
    assert_eq!(banned, BTreeSet::from_iter(BANNED.iter().copied()));
    for line in text.lines().filter(|line| line.contains("path = \"")) {
        assert!(line.contains("reason = \""), "a ban names what to use instead: {line}");
    }
    let workspace = read("Cargo.toml");
    assert!(workspace.contains("disallowed_methods = \"deny\""), "the bans are errors");
    assert!(manifest::dependencies(&workspace).is_empty(), "the workspace manifest has no crate of its own");
}

#[test]
fn only_the_doors_opt_out_of_the_bans() {
    let mut found = Vec::new();
    for path in files("rs").iter().filter(|path| !is_test_file(path) && !listed(path, MAY_OPT_OUT)) {
        let code = Code::new(&read(path));
        for at in code.find_all("clippy::disallowed_methods") {
            if !code.in_test(at) {
                found.push(format!("{path}:{}", code.line(at)));
            }
        }
    }
    assert!(found.is_empty(), "opted out of the doors without a place in the list: {found:#?}");
}

#[test]
fn opting_out_is_an_expectation_with_a_reason() {
    for path in files("rs") {
        let text = read(&path);
        let code = Code::new(&text);
        for at in code.find_all("clippy::disallowed_methods") {
            let before = text[..at].rfind('#').expect("a lint is named in an attribute");
            let attribute = text[before..].split(']').next().unwrap_or_default();
            let ok = attribute.contains("expect(") && attribute.contains("reason =");
            assert!(ok, "{path}:{}: use #[expect(…, reason = \"…\")]", code.line(at));
        }
    }
}

#[test]
fn every_crate_root_forbids_unsafe() {
    let mut found = Vec::new();
    let roots = files("rs").into_iter().filter(|path| {
        ["src/lib.rs", "src/main.rs"].iter().any(|root| path.ends_with(root)) || path.contains("/src/bin/")
    });
    for path in roots.filter(|path| !is_unfinished(path)) {
        let code = Code::new(&read(&path));
        let forbids = !code.find_all("#![forbid(unsafe_code)]").is_empty();
        let may_deny = DENY_UNSAFE.contains(&path.as_str());
        let denies = may_deny && !code.find_all("#![deny(unsafe_code)]").is_empty();
        if !(forbids || denies) {
            found.push(path);
        }
    }
    assert!(found.is_empty(), "crate roots without #![forbid(unsafe_code)]: {found:#?}");
}

#[test]
fn unsafe_stands_in_listed_files_with_its_argument() {
    let mut found = Vec::new();
    for path in files("rs") {
        let text = read(&path);
        let code = Code::new(&text);
        let lines: Vec<&str> = text.lines().collect();
        for at in ["unsafe {", "unsafe impl", "unsafe fn"].iter().flat_map(|word| code.find_all(word)) {
            let line = code.line(at);
            let before = &lines[line.saturating_sub(ARGUMENT_LINES_MAX)..line];
            let argued = before.iter().any(|line| line.contains("SAFETY:") || line.contains("# Safety"));
            if !listed(&path, MAY_BE_UNSAFE) || !argued {
                found.push(format!("{path}:{line}"));
            }
        }
    }
    assert!(found.is_empty(), "unsafe in a file that is not listed, or without SAFETY: {found:#?}");
}

/// How far above an `unsafe` its argument may begin.
const ARGUMENT_LINES_MAX: usize = 8;

#[test]
fn listed_files_exist_once_their_crate_does() {
    for path in MAY_OPT_OUT.iter().chain(DENY_UNSAFE).chain(MAY_BE_UNSAFE) {
        assert!(root().join(path).exists() || is_unfinished(path), "{path} is listed and does not exist");
    }
}
