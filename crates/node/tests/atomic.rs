//! Transactions over the wire when something comes between: all of it or nothing, and nothing is kept from others.
mod common;

use common::{Rig, at_buffered, blocked, is_null, ok, on_runtime, queue, reply, text, texts, word};
use ringfort_base::Level;
use ringfort_fault::script::{Fault, Op, When};
use std::time::Duration;

/// The commands behind the one that waited, COMMIT among them, are in the server's hands already.
#[test]
fn a_pipelined_transaction_that_is_killed_leaves_nothing() {
    on_runtime(async {
        let rig = at_buffered(|_| {});
        let (mut owner, mut killed) = (rig.connect(), rig.connect());
        ok(&mut owner, "SET a 100").await;
        let id = text(&killed.run("CLIENT ID").await);
        ok(&mut owner, "TXN BEGIN").await;
        assert_eq!(text(&owner.run("INCR a").await), "101");
        blocked(&mut killed, "TXN BEGIN\r\nINCRBY a -7\r\nINCRBY b 7\r\nTXN COMMIT\r\nSET behind 1").await;
        assert_eq!(text(&rig.connect().run(&format!("CLIENT KILL ID {id}")).await), "1");
        killed.rest().await;
        ok(&mut owner, "TXN COMMIT").await;
        assert_eq!(texts(&owner.run("MGET a b behind").await), ["101", "Null", "Null"]);
        rig.jobs.stop();
    });
}

/// A refusal of the command's own is a reply among others; what the server cannot do is none.
#[test]
fn exec_does_nothing_if_the_server_fails_a_part_of_it() {
    on_runtime(async {
        let rig = at_buffered(|config| config.txn_memory_bytes = 10_000);
        let mut client = rig.connect();
        let long = "x".repeat(3000);
        ok(&mut client, "SELECT 1").await;
        for key in ["a", "b", "c", "d"] {
            ok(&mut client, &format!("SET {key} {long}")).await;
        }
        ok(&mut client, "SELECT 0").await;
        ok(&mut client, "MULTI").await;
        queue(&mut client, "SET first 1").await;
        queue(&mut client, "SELECT 1").await;
        queue(&mut client, "HSET a field value").await;
        for key in ["a", "b", "c", "d"] {
            queue(&mut client, &format!("APPEND {key} x")).await;
        }
        assert_eq!(word(&client.run("EXEC").await), "OOM");
        assert_eq!(text(&client.run("DBSIZE").await), "0", "nothing is written, and nothing selected");
        ok(&mut client, "SELECT 1").await;
        assert_eq!(text(&client.run("STRLEN a").await), "3000");
        ok(&mut client, "MULTI").await;
        queue(&mut client, "SET first 1").await;
        queue(&mut client, "HSET a field value").await;
        let replies = texts(&client.run("EXEC").await);
        assert!(replies[0] == "OK" && replies[1].starts_with("WRONGTYPE "), "{replies:?}");
        rig.jobs.stop();
    });
}

#[test]
fn what_expires_while_exec_waits_has_expired() {
    on_runtime(async {
        let rig = Rig::at(Level::Buffered);
        let (mut owner, mut exec, mut watcher) = (rig.connect(), rig.connect(), rig.connect());
        ok(&mut owner, "SET a 1 PX 50").await;
        ok(&mut owner, "TXN BEGIN").await;
        ok(&mut owner, "SET b 1").await;
        ok(&mut watcher, "WATCH a").await;
        for client in [&mut exec, &mut watcher] {
            ok(client, "MULTI").await;
            queue(client, "GET a").await;
            queue(client, "INCR b").await;
            // It has locked `a` then, so nobody removes it.
            blocked(client, "EXEC").await;
        }
        rig.clock.advance(Duration::from_millis(60));
        ok(&mut owner, "TXN COMMIT").await;
        assert_eq!(texts(&exec.reply().await.expect("a reply")), ["Null", "2"]);
        assert!(is_null(&watcher.reply().await.expect("a reply")));
        rig.jobs.stop();
    });
}

#[test]
fn who_does_not_read_keeps_no_locks() {
    on_runtime(async {
        let rig = at_buffered(|config| config.txn_idle_timeout = Duration::from_millis(80));
        let (mut idle, mut other) = (rig.connect(), rig.connect());
        // More than the stream holds.
        ok(&mut other, &format!("SET long {}", "x".repeat(200_000))).await;
        ok(&mut idle, "TXN BEGIN").await;
        ok(&mut idle, "SET a 1").await;
        idle.send(b"GET long\r\n").await;
        blocked(&mut other, "SETNX a 2").await;
        assert_eq!(reply(&mut other).await, "1");
        assert_eq!(reply(&mut idle).await.len(), 200_000);
        let told = text(&idle.run("TXN COMMIT").await);
        assert!(told.starts_with("ABORTED ") && told.contains("TIMEOUT "), "{told}");
        rig.jobs.stop();
    });
}

/// R6: what was read for a reply that nobody sees is seen in the next one.
#[test]
fn a_value_made_of_what_may_be_lost_is_not_shown() {
    on_runtime(async {
        let rig = Rig::at(Level::Durable);
        let (mut client, mut txn) = (rig.connect(), rig.connect());
        ok(&mut client, "SET x 100").await;
        rig.faults.inject(
            When::From(Op::Sync, rig.faults.count(Op::Sync) + 1),
            Fault::Error(std::io::ErrorKind::Other),
        );
        ok(&mut client, "TXN BEGIN LEVEL buffered").await;
        ok(&mut client, "SET x 200").await;
        ok(&mut client, "TXN COMMIT").await;
        txn.send(b"TXN BEGIN LEVEL durable\r\nCLIENT REPLY SKIP\r\nINCR x\r\nGET x\r\n").await;
        assert_eq!(reply(&mut txn).await, "OK");
        let shown = reply(&mut txn).await;
        assert!(shown.starts_with("STOPPED ") || shown.starts_with("ABORTED "), "{shown}");
        rig.jobs.stop();
    });
}

#[test]
fn info_in_exec_counts_what_was_written_before_it() {
    on_runtime(async {
        let rig = at_buffered(|_| {});
        let mut client = rig.connect();
        client.send(b"SET a 1\r\nMULTI\r\nSET b 1\r\nINFO keyspace\r\nEXEC\r\n").await;
        for expected in ["OK", "OK", "QUEUED", "QUEUED"] {
            assert_eq!(reply(&mut client).await, expected);
        }
        let replies = texts(&client.reply().await.expect("a reply"));
        assert!(replies[1].contains("db0:keys=2,"), "{replies:?}");
        rig.jobs.stop();
    });
}

#[test]
fn savepoints_are_bounded() {
    on_runtime(async {
        let rig = at_buffered(|config| config.txn_memory_bytes = 4000);
        let mut client = rig.connect();
        ok(&mut client, "TXN BEGIN").await;
        let mut set = 0;
        while text(&client.run("TXN SAVEPOINT").await) == "OK" {
            set += 1;
            assert!(set < 1000, "no end");
        }
        assert_eq!(word(&client.run("TXN SAVEPOINT").await), "OOM");
        ok(&mut client, "TXN ROLLBACK TO SAVEPOINT").await;
        ok(&mut client, "TXN COMMIT").await;
        rig.jobs.stop();
    });
}

/// However little room there is for it.
#[test]
fn a_flush_of_all_databases_is_all_or_nothing() {
    on_runtime(async {
        let rig = at_buffered(|config| config.txn_memory_bytes = 4000);
        let mut client = rig.connect();
        let mut refused = 0;
        for pad in (3000..3990).step_by(10) {
            for db in ["0", "15"] {
                ok(&mut client, &format!("SELECT {db}")).await;
                ok(&mut client, "SET k v").await;
            }
            // What is large lies in the last database: only its flush makes room.
            ok(&mut client, "TXN BEGIN").await;
            if word(&client.run(&format!("SET pad {}", "x".repeat(pad))).await) == "OOM" {
                ok(&mut client, "TXN ROLLBACK").await;
                continue;
            }
            let is_flushed = match word(&client.run("FLUSHALL").await).as_str() {
                "OK" => true,
                word => {
                    assert_eq!(word, "OOM");
                    refused += 1;
                    false
                }
            };
            ok(&mut client, "TXN COMMIT").await;
            let expected = if is_flushed { "0" } else { "1" };
            for db in ["0", "15"] {
                ok(&mut client, &format!("SELECT {db}")).await;
                assert_eq!(text(&client.run("EXISTS k").await), expected, "{pad} {db}");
            }
        }
        assert!(refused > 0, "it always had room");
        rig.jobs.stop();
    });
}
