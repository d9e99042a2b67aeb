//! Refusals: exit code 3, evidence on standard error, the directory as it was, all within a second.

use crate::child::{Dir, contents, stderr};
use ringfort_base::world::Clock;
use ringfort_host::door::OsClock;
use std::process::Output;
use std::time::Duration;

/// A store with two states: the directory as it is, and an older copy of it in `older`.
fn two_states(dir: &Dir) {
    let server = dir.serve(&[]);
    assert!(server.client().call("SET balance 100").is_ok());
    assert_eq!(server.stop().0, Some(0));
    dir.copy("data", "older");
    let server = dir.serve(&[]);
    assert!(server.client().call("SET balance 0").is_ok());
    assert_eq!(server.stop().0, Some(0));
}

/// Starts a server that must refuse, quickly and without a trace.
fn refused(dir: &Dir) -> Output {
    let before = contents(&dir.path("data"));
    let clock = OsClock::new();
    let output = dir.run(&["serve", "--resp", "127.0.0.1:0", "--admin", "off"]);
    let took = clock.monotonic();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(took < Duration::from_secs(1), "it took {took:?}");
    assert_eq!(contents(&dir.path("data")), before, "R12: refusing writes nothing");
    assert!(output.stdout.is_empty(), "it never got as far as to announce itself");
    output
}

#[test]
fn an_older_copy_in_place_of_the_store_is_refused() {
    let dir = Dir::new();
    two_states(&dir);
    dir.copy("data", "current");
    dir.copy("older", "data");
    let said = stderr(&refused(&dir));
    assert!(said.starts_with("ringfort: REFUSED (rollback)"), "{said}");
    for part in ["anchor", "log position", "file", "position"] {
        assert!(said.contains(part), "'{part}' in {said}");
    }
    // With the present state back in its place all is well: refusing did no harm.
    dir.copy("current", "data");
    let server = dir.serve(&[]);
    assert_eq!(server.client().call("GET balance").as_bytes(), Some(&b"0"[..]));
}

#[test]
fn an_emptied_directory_is_refused_and_names_the_way_out() {
    let dir = Dir::new();
    two_states(&dir);
    std::fs::remove_dir_all(dir.path("data")).unwrap();
    let output = dir.run(&["serve", "--resp", "127.0.0.1:0", "--admin", "off"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("ringfort destroy"), "{}", stderr(&output));
    assert!(!dir.path("data").exists());
    std::fs::create_dir(dir.path("data")).unwrap();
    assert!(stderr(&refused(&dir)).contains("ringfort destroy"));
}

#[test]
fn a_log_cut_below_the_anchor_is_refused() {
    let dir = Dir::new();
    two_states(&dir);
    let mut logs: Vec<_> = contents(&dir.path("data/wal"));
    let (path, bytes) = logs.pop().unwrap();
    let bytes = bytes.unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    std::fs::write(path, &bytes[..used - 20]).unwrap();
    let said = stderr(&refused(&dir));
    assert!(said.contains("REFUSED (") && said.contains(".log"), "{said}");
}

#[test]
fn a_store_that_meets_its_double_stops_with_the_evidence() {
    let dir = Dir::new();
    two_states(&dir);
    let mut first = dir.serve(&[]);
    let mut client = first.client();
    assert_eq!(client.call("GET balance").as_bytes(), Some(&b"0"[..]));
    dir.copy_live("data", "clone");
    let mut command = dir.command(&["serve", "--resp", "127.0.0.1:0", "--admin", "off", "--data"]);
    command.arg(dir.path("clone")).arg("--platform-state").arg(dir.path("platform"));
    let second = crate::child::Server::start(command);
    assert!(second.client().call("SET balance 7").is_ok());
    let answer = client.try_call(&[b"GET", b"balance"]);
    assert!(answer.is_err() || answer.as_ref().is_ok_and(|value| value.as_error().is_some()), "{answer:?}");
    let (code, said) = first.end();
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("REFUSED (second copy)"), "{said}");
    assert_eq!(second.client().call("GET balance").as_bytes(), Some(&b"7"[..]));
}
