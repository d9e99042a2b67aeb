//! The demonstration, as a program that other programs run.

use crate::child::{Dir, stderr, stdout};

#[test]
#[ignore = "half a minute in a debug build; the check before a merge runs the demo itself"]
fn the_short_demo_ends_well_and_leaves_what_it_was_told_to_keep() {
    let dir = Dir::new();
    let kept = dir.path("kept");
    let output =
        dir.command(&["demo", "--short", "--json", "--keep", kept.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stdout(&output);
    assert!(said.trim_end().ends_with("\"ok\":true}"), "{said}");
    assert!(said.matches("\"attack\":").count() >= 10 && !said.contains("\"ok\":false"), "{said}");
    assert!(kept.join("data/wal").is_dir());
}

#[test]
fn the_demo_overwrites_nothing() {
    let dir = Dir::new();
    std::fs::write(dir.path("mine"), "mine").unwrap();
    let output = dir.command(&["demo", "--short", "--keep", "mine"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(std::fs::read(dir.path("mine")).unwrap(), b"mine");
}
