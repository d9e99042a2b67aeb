//! TPC-C, killed under load and recovered: the consistency conditions hold, and no New-Order that was acknowledged
//! is missing.
//!
//! Twice; 40 times, and for longer each, with `RINGFORT_LONG=1`.

use crate::child::{Dir, stderr, stdout};
use ringfort_host::door;
use serde_json::Value;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Orders that were acknowledged so far.
fn acknowledged(dir: &Dir) -> usize {
    std::fs::read_to_string(dir.path("ledger")).map_or(0, |text| text.lines().count())
}

fn command(dir: &Dir, words: &str) -> Command {
    let (db, ledger) = (dir.path("db"), dir.path("ledger"));
    let mut command = dir.command(&["bench", "tpcc", "--warehouses", "1", "--terminals", "4", "--json"]);
    command.args(words.split(' ')).arg("--db").arg(db).arg("--ledger").arg(ledger);
    command
}

/// Kills it when so many more orders have been acknowledged.
fn kill_behind(dir: &Dir, mut child: Child, orders: usize) {
    let enough = acknowledged(dir) + orders;
    while acknowledged(dir) < enough {
        if child.try_wait().unwrap().is_some() {
            let output = child.wait_with_output().unwrap();
            panic!("it ended by itself: {}", stderr(&output));
        }
        door::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn tpcc_that_is_killed_is_consistent_and_lost_no_order() {
    let long = std::env::var_os("RINGFORT_LONG").is_some();
    let (kills, orders) = if long { (40, 2_000) } else { (2, 200) };
    let dir = Dir::new();
    for nth in 0..kills {
        // Under each kind of transactions, and at each level that survives a kill: those are all.
        let concurrency = ["pessimistic", "optimistic"][nth % 2];
        let level = ["durable", "fresh", "buffered"][nth % 3];
        let resume = if nth == 0 { "" } else { " --resume" };
        let words = format!("--duration 600 --concurrency {concurrency} --level {level}{resume}");
        let mut running = command(&dir, &words);
        let running = running.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        kill_behind(&dir, running, orders + 37 * nth);
    }
    let output = command(&dir, "--resume --duration 0.5").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let line: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(line["consistent"], true, "{line}");

    // The ledger is read, and the database is not made anew.
    let order = "1 1 3000000\n";
    let ledger = dir.path("ledger");
    std::fs::write(&ledger, std::fs::read_to_string(&ledger).unwrap() + order).unwrap();
    let output = command(&dir, "--resume --duration 0.5").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("order 1/1/3000000 was acknowledged and is not there"),
        "{}",
        stderr(&output)
    );
}
