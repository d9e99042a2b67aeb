//! Transactions over the wire, many at once: nothing is lost, nothing is seen in halves, nobody waits for ever,
//! and what a client leaves behind is given back at once.
mod common;

use common::{
    Client, Rig, all_at_once, at_buffered, blocked, is_null, ok, on_runtime, queue, reply, text, texts, word,
};
use ringfort_base::Level;
use ringfort_fault::script::{Fault, Op, When};
use ringfort_node::door;
use ringfort_protocol::front::resp::Value;
use std::time::Duration;

const CONNECTIONS: usize = 8;
const ROUNDS: usize = 40;

// --- MULTI, EXEC, WATCH -------------------------------------------------------------------------------

#[test]
fn increments_by_watch_and_exec_lose_none() {
    on_runtime(async {
        let rig = Rig::at(Level::Buffered);
        all_at_once(&rig, CONNECTIONS, |n, mut client| async move {
            for round in 0..ROUNDS {
                // Half of them change a field, which leaves the hash's record as it is.
                let (get, set) = match n % 2 {
                    0 => ("GET count".to_owned(), "SET count"),
                    _ => ("HGET hash count".to_owned(), "HSET hash count"),
                };
                let watch = if n % 2 == 0 { "WATCH count" } else { "WATCH other hash" };
                loop {
                    ok(&mut client, watch).await;
                    let before = client.run(&get).await;
                    let before: usize = text(&before).parse().unwrap_or(0);
                    ok(&mut client, "MULTI").await;
                    queue(&mut client, &format!("{set} {}", before + 1)).await;
                    if !is_null(&client.run("EXEC").await) {
                        break;
                    }
                }
                if round % 10 == 0 {
                    client.run("HSET hash pad x").await;
                    client.run("HDEL hash pad").await;
                }
            }
        })
        .await;
        let mut client = rig.connect();
        let total = (CONNECTIONS / 2 * ROUNDS).to_string();
        assert_eq!(text(&client.run("GET count").await), total);
        assert_eq!(text(&client.run("HGET hash count").await), total);
        rig.jobs.stop();
    });
}

/// Transfers in opposite orders, over strings and fields, by EXEC, by both kinds of TXN and against plain commands that change
/// nothing of the sum; whoever reads everything in EXEC or in a snapshot sees the sum.
#[test]
fn transfers_keep_the_sum_for_every_reader() {
    const ACCOUNTS: usize = 4;
    on_runtime(async {
        let rig = Rig::at(Level::Buffered);
        let mut client = rig.connect();
        for account in 0..ACCOUNTS {
            client.run(&format!("SET a{account} 100")).await;
            client.run(&format!("HSET h a{account} 100")).await;
        }
        all_at_once(&rig, CONNECTIONS, |n, mut client| async move {
            for round in 0..ROUNDS {
                let (from, to) = ((n + round) % ACCOUNTS, (n * round + 1) % ACCOUNTS);
                let moves = [format!("DECRBY a{from} 7"), format!("HINCRBY h a{to} 7"), "GET a0".to_owned()];
                match n {
                    0..3 => {
                        ok(&mut client, "MULTI").await;
                        for line in &moves {
                            queue(&mut client, line).await;
                        }
                        let done = client.run("EXEC").await;
                        assert_eq!(
                            done.as_array().map(|all| all.len()),
                            Some(3),
                            "EXEC never fails: {done:?}"
                        );
                    }
                    3..5 => {
                        let kind = if n == 3 { "PESSIMISTIC" } else { "OPTIMISTIC" };
                        while !transfer(&mut client, kind, &moves, round % 2 == 0).await {}
                    }
                    5 => {
                        ok(&mut client, "MULTI").await;
                        queue(&mut client, "HVALS h").await;
                        queue(&mut client, "MGET a0 a1 a2 a3").await;
                        queue(&mut client, "DBSIZE").await;
                        let all = client.run("EXEC").await;
                        let all = all.as_array().expect("EXEC never fails");
                        sums_up(&all[0], &all[1], ACCOUNTS);
                    }
                    6 => {
                        ok(&mut client, "TXN BEGIN SNAPSHOT").await;
                        let fields = client.run("HVALS h").await;
                        door::sleep(Duration::from_micros(300)).await;
                        let strings = client.run("MGET a3 a2 a1 a0").await;
                        ok(&mut client, "TXN COMMIT").await;
                        sums_up(&fields, &strings, ACCOUNTS);
                    }
                    _ => {
                        client.run(&format!("EXPIRE a{from} 1000")).await;
                        client.run(&format!("HSET h pad{} 0", round % 3)).await;
                        client.run(&format!("HDEL h pad{}", round % 3)).await;
                    }
                }
            }
        })
        .await;
        rig.jobs.stop();
    });
}

fn sums_up(fields: &Value, strings: &Value, accounts: usize) {
    let numbers = texts(fields).into_iter().chain(texts(strings));
    let sum: i64 = numbers.map(|n| n.parse::<i64>().expect("a number")).sum();
    assert_eq!(sum, 200 * accounts as i64);
}

/// Whether it committed; else it is rolled back.
async fn transfer(client: &mut Client, kind: &str, moves: &[String], turned: bool) -> bool {
    ok(client, &format!("TXN BEGIN {kind} TIMEOUT 5000")).await;
    let mut moves: Vec<&String> = moves.iter().collect();
    if turned {
        moves.reverse();
    }
    for line in moves {
        let reply = client.run(line).await;
        if reply.as_error().is_some() {
            assert_eq!(word(&reply), "DEADLOCK", "{line}: {reply:?}");
            ok(client, "TXN ROLLBACK").await;
            return false;
        }
    }
    let reply = client.run("TXN COMMIT").await;
    match reply.as_error() {
        None => true,
        Some(error) => {
            assert!(error.starts_with("CONFLICT ") || error.starts_with("DEADLOCK "), "{error}");
            assert_eq!(word(&client.run("TXN COMMIT").await), "ERR", "it is over");
            false
        }
    }
}

#[test]
fn a_key_that_expires_is_changed_and_one_that_had_expired_is_not() {
    on_runtime(async {
        let rig = Rig::at(Level::Buffered);
        let mut client = rig.connect();
        client.run("SET soon 1 PX 50").await;
        client.run("HSET gone f v").await;
        client.run("PEXPIRE gone 10").await;
        rig.clock.advance(Duration::from_millis(20));
        ok(&mut client, "WATCH gone").await;
        rig.clock.advance(Duration::from_millis(1));
        // The reaper may remove it meanwhile: that is no change.
        rig.connect().run("DEL gone").await;
        ok(&mut client, "MULTI").await;
        queue(&mut client, "PING").await;
        assert_eq!(texts(&client.run("EXEC").await), ["PONG"]);
        ok(&mut client, "WATCH soon").await;
        rig.clock.advance(Duration::from_millis(50));
        ok(&mut client, "MULTI").await;
        queue(&mut client, "PING").await;
        assert!(is_null(&client.run("EXEC").await));
        rig.jobs.stop();
    });
}

#[test]
fn what_is_held_for_a_transaction_is_bounded() {
    on_runtime(async {
        let rig = at_buffered(|config| config.txn_memory_bytes = 10_000);
        let mut client = rig.connect();
        let long = "x".repeat(3000);
        ok(&mut client, "MULTI").await;
        for _ in 0..3 {
            queue(&mut client, &format!("SET k {long}")).await;
        }
        assert_eq!(word(&client.run(&format!("SET k {long}")).await), "OOM");
        queue(&mut client, "PING").await;
        assert_eq!(word(&client.run("EXEC").await), "EXECABORT");
        assert!(is_null(&client.run("GET k").await));
        assert_eq!(word(&client.run(&format!("WATCH {long} {long}y")).await), "OOM");
        ok(&mut client, "TXN BEGIN").await;
        for n in 0..3 {
            ok(&mut client, &format!("SET k{n} {long}")).await;
        }
        assert_eq!(word(&client.run(&format!("SET k3 {long}")).await), "OOM");
        ok(&mut client, "TXN COMMIT").await;
        assert_eq!(text(&client.run("EXISTS k0 k1 k2 k3").await), "3", "what was refused is not there");
        rig.jobs.stop();
    });
}

/// On several runtimes: EXEC in opposite orders never fails, and increments by WATCH are exact.
#[test]
fn exec_on_several_threads_neither_fails_nor_loses() {
    const THREADS: usize = 3;
    let rig = Rig::at(Level::Buffered);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let rig = &rig;
            scope.spawn(move || {
                on_runtime(async move {
                    let mut client = rig.connect();
                    for round in 0..ROUNDS {
                        let mut keys = ["x", "y", "z"];
                        keys.rotate_left((thread + round) % 3);
                        let mut sent = String::from("MULTI\r\n");
                        for key in keys {
                            sent.push_str(&format!("INCR {key}\r\nHINCRBY h {key} 1\r\n"));
                        }
                        sent.push_str(if round % 8 == thread {
                            "KEYS *\r\nEXEC\r\n"
                        } else {
                            "PING\r\nEXEC\r\n"
                        });
                        client.send(sent.as_bytes()).await;
                        for _ in 0..8 {
                            assert_ne!(word(&client.reply().await.expect("a reply")), "ERR");
                        }
                        let done = client.reply().await.expect("a reply");
                        assert_eq!(done.as_array().map(|all| all.len()), Some(7), "{done:?}");
                        loop {
                            client.send(b"WATCH w\r\nGET w\r\n").await;
                            assert_eq!(reply(&mut client).await, "OK");
                            let before: usize = reply(&mut client).await.parse().unwrap_or(0);
                            client
                                .send(format!("MULTI\r\nSET w {}\r\nEXEC\r\n", before + 1).as_bytes())
                                .await;
                            assert_eq!(reply(&mut client).await, "OK");
                            assert_eq!(reply(&mut client).await, "QUEUED");
                            if !is_null(&client.reply().await.expect("a reply")) {
                                break;
                            }
                        }
                    }
                });
            });
        }
    });
    on_runtime(async {
        let mut client = rig.connect();
        let total = (THREADS * ROUNDS).to_string();
        assert_eq!(texts(&client.run("MGET x y z w").await), [total.as_str(); 4]);
        assert_eq!(texts(&client.run("HMGET h x y z").await), [total.as_str(); 3]);
        assert_eq!(text(&client.run("DBSIZE").await), "5");
        rig.jobs.stop();
    });
}

/// R6, R11: what EXEC and TXN show has the level that it waits for, or is not shown.
#[test]
fn what_has_not_its_level_is_not_shown() {
    on_runtime(async {
        let rig = Rig::at(Level::Durable);
        let (mut client, mut txn, mut nil) = (rig.connect(), rig.connect(), rig.connect());
        ok(&mut client, "SET k safe").await;
        ok(&mut nil, "WATCH k").await;
        ok(&mut txn, "TXN BEGIN SNAPSHOT LEVEL buffered").await;
        rig.faults.inject(
            When::From(Op::Sync, rig.faults.count(Op::Sync) + 1),
            Fault::Error(std::io::ErrorKind::Other),
        );
        // Visible, and never durable.
        ok(&mut client, "TXN BEGIN LEVEL buffered").await;
        ok(&mut client, "SET k unsafe").await;
        ok(&mut client, "TXN COMMIT").await;
        assert_eq!(text(&txn.run("GET k").await), "safe");
        ok(&mut nil, "MULTI").await;
        queue(&mut nil, "PING").await;
        assert_eq!(word(&nil.run("EXEC").await), "STOPPED", "the nil tells of the write");
        let mut reader = rig.connect();
        ok(&mut reader, "MULTI").await;
        queue(&mut reader, "GET k").await;
        let shown = reader.run("EXEC").await;
        assert!(!format!("{shown:?}").contains("unsafe"), "{shown:?}");
        assert_eq!(word(&txn.run("TXN COMMIT").await), "STOPPED");
        rig.jobs.stop();
    });
}

#[test]
fn a_commit_whose_sync_fails_has_an_unknown_outcome() {
    for exec in [true, false] {
        on_runtime(async {
            let rig = Rig::new();
            let mut client = rig.connect();
            ok(&mut client, if exec { "MULTI" } else { "TXN BEGIN" }).await;
            client.run("SET k v").await;
            rig.faults.inject(
                When::From(Op::Sync, rig.faults.count(Op::Sync) + 1),
                Fault::Error(std::io::ErrorKind::Other),
            );
            let done = client.run(if exec { "EXEC" } else { "TXN COMMIT" }).await;
            assert_eq!(word(&done), "OUTCOMEUNKNOWN");
            assert_eq!(text(&client.run("PING").await), "PONG");
            rig.jobs.stop();
        });
    }
}

// --- TXN ----------------------------------------------------------------------------------------------

#[test]
fn a_deadlock_is_found_and_its_victim_is_told_until_it_rolls_back() {
    on_runtime(async {
        let rig = at_buffered(|_| {});
        let (mut old, mut young) = (rig.connect(), rig.connect());
        ok(&mut old, "TXN BEGIN").await;
        ok(&mut old, "SET a old").await;
        ok(&mut young, "TXN BEGIN").await;
        ok(&mut young, "SET b young").await;
        blocked(&mut old, "SET b old").await;
        let refused = text(&young.run("SET a young").await);
        assert!(refused.starts_with("DEADLOCK "), "{refused}");
        assert!(!refused.contains(" a "), "keys are not told");
        assert_eq!(reply(&mut old).await, "OK", "its locks were given back at once");
        for line in ["GET a", "SET c 1", "PING", "TXN COMMIT", "TXN SAVEPOINT"] {
            let reply = text(&young.run(line).await);
            assert!(reply.starts_with("ABORTED ") && reply.contains("DEADLOCK "), "{line}: {reply}");
        }
        assert_eq!(texts(&young.run("TXN STATUS").await)[..2], ["state", "over"]);
        ok(&mut young, "TXN ROLLBACK").await;
        ok(&mut old, "TXN COMMIT").await;
        assert_eq!(texts(&young.run("MGET a b c").await), ["old", "old", "Null"]);
        rig.jobs.stop();
    });
}

/// EXEC, a plain command and another TXN wait for what a TXN has locked; and ranges are locked too.
#[test]
fn others_wait_for_a_transaction_and_see_all_of_it() {
    on_runtime(async {
        let rig = at_buffered(|_| {});
        let mut owner = rig.connect();
        let mut waiting = [rig.connect(), rig.connect(), rig.connect(), rig.connect()];
        ok(&mut owner, "SET a 0").await;
        ok(&mut owner, "TXN BEGIN").await;
        ok(&mut owner, "SET a 1").await;
        assert_eq!(texts(&owner.run("RANGE b d").await), [""; 0]);
        let [plain, exec, txn, phantom] = &mut waiting;
        assert_eq!(text(&plain.run("GET a").await), "0", "nothing of it is seen before");
        blocked(plain, "INCR a").await;
        ok(exec, "MULTI").await;
        queue(exec, "INCR a").await;
        queue(exec, "SET x 1").await;
        blocked(exec, "EXEC").await;
        ok(txn, "TXN BEGIN").await;
        blocked(txn, "GET a").await;
        blocked(phantom, "SET c phantom").await;
        ok(&mut rig.connect(), "SET e behind-the-range").await;
        assert_eq!(texts(&owner.run("RANGE b d").await), [""; 0]);
        ok(&mut owner, "TXN COMMIT").await;
        assert_eq!(reply(plain).await, "2");
        assert_eq!(texts(&exec.reply().await.expect("a reply")), ["3", "OK"]);
        assert_eq!(reply(txn).await, "3");
        assert_eq!(reply(phantom).await, "OK");
        ok(txn, "TXN ROLLBACK").await;
        rig.jobs.stop();
    });
}

#[test]
fn an_optimistic_one_is_refused_what_has_changed_and_a_snapshot_stands_still() {
    on_runtime(async {
        let rig = at_buffered(|_| {});
        let (mut one, mut other) = (rig.connect(), rig.connect());
        other.run("HSET h f 1").await;
        other.run("SET a 1").await;
        // A field changed, a key that was absent, a range that got a key.
        for (read, write) in [("HGET h f", "HSET h f 2"), ("GET none", "SET none 1"), ("KEYS z*", "SET z 1")]
        {
            ok(&mut one, "TXN BEGIN OPTIMISTIC").await;
            one.run(read).await;
            ok(&mut one, "SET mine 1").await;
            other.run(write).await;
            let refused = one.run("TXN COMMIT").await;
            assert_eq!(word(&refused), "CONFLICT", "{read}: {refused:?}");
            assert!(is_null(&other.run("GET mine").await));
        }
        ok(&mut one, "TXN BEGIN OPTIMISTIC").await;
        one.run("GET a").await;
        one.run("HSET h g 1").await;
        other.run("SET unrelated 1").await;
        ok(&mut one, "TXN COMMIT").await;
        ok(&mut one, "TXN BEGIN SNAPSHOT").await;
        assert_eq!(text(&one.run("HLEN h").await), "2");
        other.run("DEL h a").await;
        other.run("HSET h new 1").await;
        assert_eq!(texts(&one.run("HKEYS h").await), ["f", "g"]);
        assert_eq!(text(&one.run("GET a").await), "1");
        ok(&mut one, "TXN ROLLBACK").await;
        assert_eq!(texts(&one.run("HKEYS h").await), ["new"]);
        rig.jobs.stop();
    });
}

#[test]
fn a_wait_for_locks_has_its_time() {
    on_runtime(async {
        let rig = at_buffered(|config| config.txn_lock_timeout = Duration::from_millis(60));
        let (mut owner, mut other) = (rig.connect(), rig.connect());
        ok(&mut owner, "TXN BEGIN").await;
        ok(&mut owner, "SET a 1").await;
        for begin in ["TXN BEGIN TIMEOUT 10", "TXN BEGIN TIMEOUT 0", "TXN BEGIN TIMEOUT 100000000"] {
            ok(&mut other, begin).await;
            ok(&mut other, "SET b 1").await;
            assert_eq!(word(&other.run("GET a").await), "LOCKTIMEOUT", "{begin}");
            ok(&mut other, "SET c 1").await;
            ok(&mut other, "TXN COMMIT").await;
        }
        ok(&mut owner, "TXN ROLLBACK").await;
        rig.jobs.stop();
    });
}

/// By going away, by being killed, by doing nothing: a transaction that its client leaves is rolled back at once.
#[test]
fn an_abandoned_transaction_gives_its_locks_back_at_once() {
    on_runtime(async {
        let rig = at_buffered(|_| {});
        let mut other = rig.connect();
        let mut leaver = rig.connect();
        ok(&mut leaver, "TXN BEGIN").await;
        ok(&mut leaver, "SET a left").await;
        blocked(&mut other, "SETNX a mine").await;
        drop(leaver);
        assert_eq!(reply(&mut other).await, "1", "nothing of it is there");

        let mut killed = rig.connect();
        let id = text(&killed.run("CLIENT ID").await);
        ok(&mut killed, "TXN BEGIN").await;
        ok(&mut killed, "SET a killed").await;
        blocked(&mut other, "GETSET a 2").await;
        assert_eq!(text(&rig.connect().run(&format!("CLIENT KILL ID {id}")).await), "1");
        assert_eq!(reply(&mut other).await, "mine");
        rig.jobs.stop();
    });
}

/// Also while it waits for a lock itself: what it holds is given back, and its place in the queue.
#[test]
fn who_goes_away_while_he_waits_for_a_lock_is_noticed_at_once() {
    on_runtime(async {
        let rig = at_buffered(|_| {});
        let mut owner = rig.connect();
        ok(&mut owner, "TXN BEGIN").await;
        ok(&mut owner, "SET a 1").await;
        let mut other = rig.connect();
        for killed in [false, true] {
            let mut waiter = rig.connect();
            let id = text(&waiter.run("CLIENT ID").await);
            ok(&mut waiter, "TXN BEGIN").await;
            ok(&mut waiter, "SET b 1").await;
            blocked(&mut waiter, "SET a 2").await;
            blocked(&mut other, "SET b mine").await;
            if killed {
                assert_eq!(text(&rig.connect().run(&format!("CLIENT KILL ID {id}")).await), "1");
            } else {
                drop(waiter);
            }
            assert_eq!(reply(&mut other).await, "OK");
        }
        // EXEC and plain commands that wait are carried out though their client has gone, unless it is killed.
        let (mut gone, mut killed) = (rig.connect(), rig.connect());
        let id = text(&killed.run("CLIENT ID").await);
        blocked(&mut gone, "INCRBY a 10").await;
        blocked(&mut killed, "INCRBY a 100").await;
        drop(gone);
        assert_eq!(text(&rig.connect().run(&format!("CLIENT KILL ID {id}")).await), "1");
        assert!(killed.rest().await.starts_with(b"-ERR") || killed.reply().await.is_none());
        ok(&mut owner, "TXN COMMIT").await;
        assert_eq!(text(&other.run("INCR a").await), "12");
        rig.jobs.stop();
    });
}

#[test]
fn an_idle_transaction_is_rolled_back_and_its_client_told() {
    on_runtime(async {
        let rig = at_buffered(|config| config.txn_idle_timeout = Duration::from_millis(80));
        let (mut idle, mut other) = (rig.connect(), rig.connect());
        ok(&mut idle, "TXN BEGIN").await;
        ok(&mut idle, "SET a 1").await;
        blocked(&mut other, "SET a 2").await;
        assert_eq!(reply(&mut other).await, "OK");
        let told = text(&idle.run("GET a").await);
        assert!(told.starts_with("ABORTED ") && told.contains("TIMEOUT "), "{told}");
        assert!(text(&idle.run("TXN COMMIT").await).starts_with("ABORTED "));
        ok(&mut idle, "TXN ROLLBACK").await;
        assert_eq!(text(&idle.run("GET a").await), "2");
        rig.jobs.stop();
    });
}
