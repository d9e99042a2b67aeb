//! `ringfort serve`: what it says, what it answers, how it ends, how it is set.

use crate::child::{Dir, contents, http_get, stderr};
use ringfort_host::door;
use std::fs;
use std::time::Duration;

#[test]
fn it_serves_redis_clients_within_a_second_of_its_start() {
    let dir = Dir::new();
    let server = dir.serve(&[]);
    assert!(server.ready_after < Duration::from_secs(1), "{:?}", server.ready_after);
    let mut client = server.client();
    assert_eq!(client.call("PING").as_bytes(), Some(&b"PONG"[..]));
    assert!(client.call("SET greeting hello").is_ok());
    assert_eq!(client.call("GET greeting").as_bytes(), Some(&b"hello"[..]));
    assert_eq!(client.call("INCR n").as_integer(), Some(1));
    assert_eq!(client.call("DBSIZE").as_integer(), Some(2));
    assert!(client.call("NONSENSE").as_error().is_some());
    for part in ["mode software, life 1", "simulated", "level     fresh"] {
        assert!(server.said.contains(part), "{part} in {}", server.said);
    }
    let (code, errors) = server.stop();
    assert_eq!(code, Some(0), "{errors}");

    let server = dir.serve(&["--threads", "3"]);
    assert!(server.said.contains("life 2"), "{}", server.said);
    // Each connection goes to the next runtime; all see the same store.
    for _ in 0..6 {
        assert_eq!(server.client().call("GET greeting").as_bytes(), Some(&b"hello"[..]));
    }
}

#[test]
fn the_admin_endpoint_tells_health_and_metrics() {
    let dir = Dir::new();
    let server = dir.serve(&[]);
    server.client().call("SET k v");
    let (status, body) = http_get(&server.admin, "/healthz");
    assert!(status.contains("200") && body.ends_with("ok\n"), "{status} {body}");
    let (status, body) = http_get(&server.admin, "/metrics");
    assert!(status.contains("200") && body.contains("ringfort_"), "{status} {body}");
    assert!(http_get(&server.admin, "/else").0.contains("404"));
}

#[test]
fn a_password_is_asked_for() {
    let dir = Dir::new();
    fs::write(dir.path("x.toml"), "requirepass = \"open sesame\"\n").unwrap();
    let config = dir.path("x.toml");
    let server = dir.serve(&["--config", config.to_str().unwrap()]);
    let mut client = server.client();
    assert!(client.call("GET k").as_error().unwrap().starts_with("NOAUTH"));
    assert!(client.try_call(&[b"AUTH", b"wrong"]).unwrap().as_error().is_some());
    assert!(client.try_call(&[b"AUTH", b"open sesame"]).unwrap().is_ok());
    assert!(client.call("SET k v").is_ok());
}

#[test]
fn a_flag_wins_over_the_environment_the_file_and_the_default() {
    let dir = Dir::new();
    fs::write(
        dir.path("x.toml"),
        "level = \"durable\"\nstore = \"of-the-file\"\nmax_total_wal_size = \"64MiB\"\n",
    )
    .unwrap();
    let started = |flags: &[&str], variables: &[(&str, &str)]| {
        let mut command =
            dir.on_store(&["serve", "--resp", "127.0.0.1:0", "--admin", "off", "--config", "x.toml"]);
        command.args(flags).envs(variables.iter().copied());
        stderr(&command.output().unwrap())
    };
    // Nothing but the name of the setting that is at fault is needed to see who won.
    let said = started(&["--level", "x"], &[("RINGFORT_LEVEL", "y")]);
    assert!(said.contains("--level: 'x'"), "{said}");
    let said = started(&[], &[("RINGFORT_LEVEL", "y")]);
    assert!(said.contains("RINGFORT_LEVEL: 'y'"), "{said}");
    fs::write(dir.path("x.toml"), "level = \"z\"").unwrap();
    let said = started(&[], &[]);
    assert!(said.contains("level in ") && said.contains("'z'"), "{said}");
    fs::write(dir.path("x.toml"), "leval = \"fresh\"").unwrap();
    let output = dir.on_store(&["serve", "--config", "x.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("there is no setting 'leval'"), "{}", stderr(&output));

    fs::write(dir.path("x.toml"), "level = \"durable\"\nstore = \"of-the-file\"").unwrap();
    let server = dir.serve(&["--config", "x.toml", "--store", "of-the-flag"]);
    assert!(
        server.said.contains("'of-the-flag'") && server.said.contains("level     durable"),
        "{}",
        server.said
    );
    let level = server.client().call("LEVEL");
    assert_eq!(level.as_bytes(), Some(&b"durable"[..]));
}

#[test]
fn an_address_in_use_and_a_store_in_use_are_said() {
    let dir = Dir::new();
    let server = dir.serve(&[]);
    let output = dir.run(&["serve", "--resp", "127.0.0.1:0", "--admin", "off"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("in use by another process"), "{}", stderr(&output));

    let other = Dir::new();
    for (flags, at_fault) in [
        (["--resp", &server.resp, "--admin", "off"], "--resp"),
        (["--resp", "127.0.0.1:0", "--admin", &server.admin], "--admin"),
    ] {
        let output = other.run(&[&["serve"][..], &flags].concat());
        assert_eq!(output.status.code(), Some(1));
        let said = stderr(&output);
        assert!(said.contains("cannot listen on") && said.contains(at_fault), "{said}");
    }
    // What is wrong with the settings is said before anything is made.
    for (flags, at_fault) in [
        (["--resp", "off"], "--resp"),
        (["--block-size", "7"], "--block-size"),
        (["--bloom-bits", "65"], "--bloom-bits"),
        (["--write-buffer", "1KiB"], "--write-buffer"),
        (["--mode", "twin"], "--trusted"),
    ] {
        let resp: &[&str] = if flags[0] == "--resp" { &[] } else { &["--resp", "127.0.0.1:0"] };
        let output = other.run(&[&["serve", "--admin", "off"][..], resp, &flags].concat());
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        assert!(stderr(&output).contains(at_fault), "{flags:?}: {}", stderr(&output));
    }
    assert!(contents(&other.path("")).is_empty(), "no store was made, none was claimed");
}

#[test]
fn the_modes_say_what_they_do_not_protect() {
    let dir = Dir::new();
    for mode in ["hardware", "twin"] {
        let trusted = dir.path(&format!("trusted-{mode}"));
        let data = dir.path(&format!("data-{mode}"));
        let flags = [
            "--mode",
            mode,
            "--store",
            mode,
            "--trusted",
            trusted.to_str().unwrap(),
            "--resp",
            "127.0.0.1:0",
        ];
        let mut command = dir.command(&["serve", "--admin", "off", "--platform-state"]);
        command.arg(dir.path("platform")).arg("--data").arg(&data).args(flags);
        let server = crate::child::Server::start(command);
        assert!(server.said.contains("outside the model"), "{}", server.said);
        assert!(server.client().call("SET k v").is_ok());
        assert_eq!(server.stop().0, Some(0));
    }
    let output =
        dir.run(&["serve", "--resp", "127.0.0.1:0", "--admin", "off", "--mode", "twin", "--store", "third"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--trusted"), "{}", stderr(&output));
    assert!(!dir.path("data").exists(), "what cannot be made leaves no directory");
}

#[test]
fn a_platform_state_below_the_data_is_warned_of() {
    let dir = Dir::new();
    let mut command = dir.command(&["serve", "--resp", "127.0.0.1:0", "--admin", "off", "--data", "d"]);
    command.args(["--platform-state", "d/platform"]);
    let server = crate::child::Server::start(command);
    assert!(server.said.contains("WARNING   the platform state"), "{}", server.said);
}

#[test]
fn connections_are_as_many_as_files_may_be_open() {
    let dir = Dir::new();
    let limited = |limits: &str, maxclients: &str| {
        let binary = dir.command(&[]).get_program().to_owned();
        let mut command = dir.sh(&format!("ulimit {limits} && exec \"$0\" \"$@\""));
        command.arg(binary).args(["serve", "--resp", "127.0.0.1:0", "--admin", "off"]);
        command.args(["--maxclients", maxclients, "--data", "data", "--platform-state", "platform"]);
        crate::child::Server::start(command)
    };
    let server = limited("-n 1024", "10000");
    assert!(server.said.contains("WARNING   at most 768 connections"), "{}", server.said);
    let allowed = server.client().call("CONFIG GET maxclients");
    assert_eq!(allowed.as_array().unwrap()[1].as_bytes(), Some(&b"768"[..]));
    assert_eq!(server.stop().0, Some(0));
    // The soft limit alone is no obstacle: it is raised.
    let server = limited("-S -n 300", "500");
    assert!(!server.said.contains("connections, not"), "{}", server.said);
    assert_eq!(server.stop().0, Some(0));
}

#[test]
fn a_second_signal_ends_at_once_what_hangs_while_it_closes() {
    let dir = Dir::new();
    for second in ["TERM", "INT"] {
        let mut server = dir.serve(&["--level", "buffered", "--anchor-window", "1h"]);
        assert!(server.client().call("SET k v").is_ok());
        // The counter does not answer, and closing needs it.
        let platform = fs::File::open(dir.path("platform/LOCK")).unwrap();
        platform.lock().unwrap();
        server.signal("TERM");
        door::sleep(Duration::from_millis(500));
        assert!(server.child.try_wait().unwrap().is_none(), "it waits for the counter");
        server.signal(second);
        assert_eq!(server.end().0, Some(130));
    }
    let server = dir.serve(&[]);
    assert_eq!(server.client().call("GET k").as_bytes(), Some(&b"v"[..]), "as after a crash");
}

#[cfg(unix)]
#[test]
fn the_environment_is_not_passed_over_in_silence() {
    use std::os::unix::ffi::OsStrExt;
    let dir = Dir::new();
    let mut command = dir.on_store(&["serve", "--resp", "127.0.0.1:0", "--admin", "off"]);
    command.env("RINGFORT_REQUIREPASS", std::ffi::OsStr::from_bytes(b"p\xffss"));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("RINGFORT_REQUIREPASS: its value is not UTF-8"), "{}", stderr(&output));

    let mut command = dir.on_store(&["counter", "status"]);
    command.env("RINGFORT_MAXCLIENT", "7").env("RINGFORT_LONG", "1");
    let said = stderr(&command.output().unwrap());
    assert!(said.contains("warning: RINGFORT_MAXCLIENT is set") && !said.contains("RINGFORT_LONG"), "{said}");

    let server = dir.serve(&[
        "--connection-memory",
        "64MiB",
        "--slowlog-slower-than",
        "25ms",
        "--txn-idle-timeout",
        "5s",
        "--txn-lock-timeout",
        "250ms",
        "--txn-memory",
        "1MiB",
    ]);
    let mut client = server.client();
    for (key, value) in [
        ("ringfort-connection-memory", "67108864"),
        ("slowlog-log-slower-than", "25000"),
        ("ringfort-txn-idle-timeout-ms", "5000"),
        ("ringfort-txn-lock-timeout-ms", "250"),
        ("ringfort-txn-memory", "1048576"),
    ] {
        let reply = client.call(&format!("CONFIG GET {key}"));
        assert_eq!(reply.as_array().unwrap()[1].as_bytes(), Some(value.as_bytes()), "{key}");
    }
}
