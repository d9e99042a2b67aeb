//! The operator's other commands.

use crate::child::{Dir, contents, stderr, stdout};

#[test]
fn help_names_every_command() {
    let dir = Dir::new();
    for words in [&["help"][..], &["--help"]] {
        let output = dir.command(words).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        for command in ["serve", "demo", "bench", "destroy", "keyspace", "counter", "scrub", "help"] {
            assert!(stdout(&output).lines().any(|line| line.trim_start().starts_with(command)), "{command}");
        }
    }
    for words in [&["serve", "--help"][..], &["demo", "--help"], &["destroy", "--help"], &["scrub", "--help"]]
    {
        let output = dir.command(words).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}");
    }
    let output = dir.command(&["serve", "--nonsense"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(dir.command(&[]).output().unwrap().status.code(), Some(2));
}

#[test]
fn the_counter_is_shown_without_changing_anything() {
    let dir = Dir::new();
    let unknown = dir.run(&["counter", "status"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).contains("no store named 'default'"));
    let nothing = dir.run(&["destroy", "--confirm", "destroy default"]);
    assert_eq!(nothing.status.code(), Some(1), "{}", stderr(&nothing));
    assert!(contents(&dir.path("")).is_empty(), "neither makes a platform that knows nothing");
    let server = dir.serve(&[]);
    assert!(server.client().call("SET k v").is_ok());
    let running = dir.run(&["counter", "status"]);
    assert_eq!(server.stop().0, Some(0));
    let before = (contents(&dir.path("data")), contents(&dir.path("platform")));
    let output = dir.run(&["counter", "status"]);
    assert_eq!((contents(&dir.path("data")), contents(&dir.path("platform"))), before);
    for shown in [running, output] {
        assert_eq!(shown.status.code(), Some(0), "{}", stderr(&shown));
        for part in ["kind         sim", "incarnation  1", "mode         software", "log          position"] {
            assert!(stdout(&shown).contains(part), "{part} in {}", stdout(&shown));
        }
    }
}

#[test]
fn keyspaces_scrub_and_destroy() {
    let dir = Dir::new();
    for words in [&["keyspace", "list"][..], &["scrub"]] {
        let output = dir.run(words);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert!(!dir.path("data").exists(), "{words:?} creates no store");
    }
    let mut server = dir.serve(&["--write-buffer", "64KiB"]);
    let mut client = server.client();
    for n in 0..200 {
        let reply = client.try_call(&[b"SET", format!("k{n}").as_bytes(), &[b'v'; 1000]]);
        if !reply.as_ref().is_ok_and(|reply| reply.is_ok()) {
            panic!("write {n}: {reply:?}; the server: {:?}", server.end());
        }
    }
    assert_eq!(server.stop().0, Some(0));

    let listed = dir.run(&["keyspace", "list"]);
    assert!(stdout(&listed).contains("db0") && stdout(&listed).contains("db15"), "{}", stdout(&listed));
    let scrubbed = dir.run(&["scrub"]);
    assert_eq!(scrubbed.status.code(), Some(0), "{}", stderr(&scrubbed));
    assert!(stdout(&scrubbed).contains("all as written"), "{}", stdout(&scrubbed));

    // A table that was altered is found by the scrub, if not by the opening.
    for (table, bytes) in contents(&dir.path("data/tables")) {
        let mut bytes = bytes.unwrap();
        bytes[100] ^= 1;
        std::fs::write(&table, bytes).unwrap();
    }
    let scrubbed = dir.run(&["scrub"]);
    assert_eq!(scrubbed.status.code(), Some(3), "{}", stderr(&scrubbed));
    let said = stderr(&scrubbed);
    assert!(said.contains("REFUSED (tampered)") && said.contains("tables/"), "{said}");

    let refused = dir.run(&["destroy"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("--confirm \"destroy default\""), "{}", stderr(&refused));
    let destroyed = dir.run(&["destroy", "--confirm", "destroy default"]);
    assert_eq!(destroyed.status.code(), Some(0), "{}", stderr(&destroyed));
    let server = dir.serve(&[]);
    assert_eq!(server.client().call("DBSIZE").as_integer(), Some(0));
}
