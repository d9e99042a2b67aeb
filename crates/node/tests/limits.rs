//! What a client cannot do to the others, and how a server ends.
mod common;

use common::{Rig, on_runtime, text};
use ringfort_base::{ErrorKind, Level};
use ringfort_fault::device::DeviceFault;
use ringfort_fault::script::{Fault, Op, When};
use ringfort_node::admin::serve_admin;
use ringfort_node::jobs::{Jobs, Spawner};
use ringfort_node::{ServerConfig, door};
use ringfort_protocol::front::resp::client::{Value, append_command};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

/// Waits until `done`, or fails.
async fn eventually(what: &str, done: impl Fn() -> bool) {
    let waiting = async {
        while !done() {
            door::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(door::within(Some(common::PATIENCE), waiting).await.is_some(), "{what} in time");
}

#[test]
fn maxclients_is_a_limit() {
    on_runtime(async {
        let rig = Rig::with(ServerConfig { maxclients: 2, ..ServerConfig::default() });
        let (mut a, mut b) = (rig.connect(), rig.connect());
        a.run("PING").await;
        b.run("PING").await;
        let mut c = rig.connect();
        assert_eq!(String::from_utf8_lossy(&c.rest().await), "-ERR max number of clients reached\r\n");
        drop(a);
        eventually("the place is free", || rig.server.clients().len() == 1).await;
        assert_eq!(text(&rig.connect().run("PING").await), "PONG");
        rig.jobs.stop();
    });
}

#[test]
fn idle_connections_are_closed() {
    on_runtime(async {
        let rig = Rig::with(ServerConfig { idle_timeout: Duration::from_secs(1), ..ServerConfig::default() });
        let mut client = rig.connect();
        client.run("PING").await;
        assert!(client.rest().await.is_empty());
        rig.jobs.stop();
    });
}

#[test]
fn clients_see_and_kill_each_other() {
    on_runtime(async {
        let rig = Rig::new();
        let (mut a, mut b) = (rig.connect(), rig.connect());
        b.run("CLIENT SETNAME victim").await;
        let list = text(&a.run("CLIENT LIST").await);
        assert_eq!(list.lines().count(), 2, "{list}");
        assert!(list.contains(
            "id=2 addr=10.0.0.1:2 laddr=10.0.0.2:6379 fd=-1 name=victim age=0 idle=0 flags=N db=0"
        ));
        let info = text(&b.run("CLIENT INFO").await);
        assert!(
            info.starts_with("id=2 ") && info.contains(" cmd=client|setname ") && info.ends_with('\n'),
            "{info}"
        );
        assert_eq!(text(&a.run("CLIENT LIST ID 1").await).lines().count(), 1);
        assert_eq!(text(&a.run("CLIENT LIST TYPE replica").await), "");
        assert_eq!(text(&a.run("CLIENT KILL ID 2").await), "1");
        assert!(b.rest().await.is_empty());
        assert_eq!(text(&a.run("CLIENT KILL ID 1 SKIPME yes").await), "0");
        assert_eq!(text(&a.run("CLIENT KILL ID 1 SKIPME no").await), "1", "answered before it closes");
        assert!(a.rest().await.is_empty());
        rig.jobs.stop();
    });
}

#[test]
fn strangers_get_little_memory() {
    on_runtime(async {
        let rig = Rig::with(ServerConfig { requirepass: Some(b"pw".to_vec()), ..ServerConfig::default() });
        let mut client = rig.connect();
        client.send(b"*2\r\n$4\r\nAUTH\r\n$1000000\r\n").await;
        let reply = client.rest().await;
        assert_eq!(String::from_utf8_lossy(&reply), "-ERR Protocol error: unauthenticated bulk length\r\n");
        let mut client = rig.connect();
        client.send(b"*100\r\n").await;
        let reply = client.rest().await;
        assert_eq!(
            String::from_utf8_lossy(&reply),
            "-ERR Protocol error: unauthenticated multibulk length\r\n"
        );
        let mut client = rig.connect();
        client.run("AUTH pw").await;
        let big = vec![b'x'; 1_000_000];
        assert!(client.call(&[b"SET", b"k", &big]).await.is_ok(), "afterwards it is welcome");
        rig.jobs.stop();
    });
}

#[test]
fn nonsense_and_browsers_are_shown_the_door() {
    on_runtime(async {
        let rig = Rig::new();
        let mut client = rig.connect();
        client.send(b"*1\r\n+PING\r\n").await;
        assert_eq!(
            String::from_utf8_lossy(&client.rest().await),
            "-ERR Protocol error: expected '$', got '+'\r\n"
        );
        let mut client = rig.connect();
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\n\r\nSET pwned 1\r\n").await;
        assert!(client.rest().await.is_empty());
        assert_eq!(text(&rig.connect().run("EXISTS pwned").await), "0");
        rig.jobs.stop();
    });
}

/// With a budget of one value, many connections with a value each all get through, one after the
/// other, and at the end nothing is charged.
#[test]
fn the_byte_budget_makes_large_requests_take_turns() {
    on_runtime(async {
        let total = 600_000;
        let config = ServerConfig {
            connection_memory_bytes: total,
            default_level: Level::Buffered,
            ..ServerConfig::default()
        };
        let rig = Rig::with(config);
        let budget = Arc::clone(rig.server.budget());
        let done = Arc::new(tokio::sync::Barrier::new(9));
        for n in 0..8 {
            let (mut client, done) = (rig.connect(), Arc::clone(&done));
            door::spawn(async move {
                let value = vec![b'a' + n; 500_000];
                for _ in 0..3 {
                    let key = [b'k', n];
                    assert!(client.call(&[b"SET", &key, &value]).await.is_ok());
                    assert_eq!(client.call(&[b"GET", &key]).await.as_bytes(), Some(&value[..]));
                }
                done.wait().await;
                client.run("PING").await;
            });
        }
        let finished = door::within(Some(common::PATIENCE * 2), done.wait()).await;
        assert!(finished.is_some(), "no deadlock; {} charged, {} wait", budget.used(), budget.waiting());
        eventually("everything is given back", || budget.used() == 0).await;
        rig.jobs.stop();
    });
}

/// Large replies that nobody reads take the whole budget and a queue waits for room: clients with
/// small requests do not stand in that queue, whatever they asked before.
#[test]
fn small_requests_do_not_wait_for_the_budget() {
    on_runtime(async {
        let rig = Rig::with(ServerConfig { connection_memory_bytes: 1_000_000, ..ServerConfig::default() });
        let mut small = rig.connect();
        small.call(&[b"SET", b"large", &vec![b'x'; 600_000]]).await;
        let mut slow = Vec::new();
        for _ in 0..4 {
            let mut client = rig.connect();
            client.send(b"GET large\r\nGET large\r\n").await;
            slow.push(client);
        }
        let budget = Arc::clone(rig.server.budget());
        eventually("a queue for the budget", || budget.waiting() >= 2).await;
        for n in 0..50 {
            assert!(small.call(&[b"SET", b"k", &vec![b'v'; n * 160]]).await.is_ok());
            small.run("GET k").await;
            small.run("INFO").await;
            assert_eq!(text(&small.run("HSET h f v g w").await), if n == 0 { "2" } else { "0" });
            small.run("HGETALL h").await;
        }
        let mut pipeline = Vec::new();
        (0..100).for_each(|_| append_command(&mut pipeline, &[b"ECHO", &[b'e'; 100]]));
        small.send(&pipeline).await;
        small.take(100 * (100 + 8)).await;
        assert_eq!(text(&small.run("PING").await), "PONG");
        assert!(budget.waiting() >= 2, "the others still wait");
        rig.jobs.stop();
    });
}

/// Large replies made of many small values, by any command, are charged while they are collected:
/// clients that do not read them cannot make the server hold them all.
#[test]
fn the_byte_budget_bounds_replies_of_many_values() {
    on_runtime(async {
        let (total, reply_bytes) = (4_000_000, 100 * 15_000);
        let value = vec![b'x'; 15_000];
        let names: Vec<String> = (0..100).map(|n| format!("name{n}")).collect();
        let many = |first: &str| {
            let mut args = vec![first.as_bytes().to_vec()];
            args.extend(names.iter().map(|name| name.clone().into_bytes()));
            args
        };
        let hmget = [vec![b"HMGET".to_vec()], many("hash")].concat();
        let words = |line: &str| line.split(' ').map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>();
        let gets = |name: &str| words(&format!("GET {name}"));
        let commands = [
            vec![many("MGET")],
            vec![hmget],
            vec![words("HGETALL hash")],
            vec![words("HVALS hash")],
            vec![words("HSCAN hash 0")],
            vec![words("RANGE name nameX LIMIT 1000")],
            names.iter().map(|name| gets(name)).collect(),
        ];
        for pipeline in commands {
            let config = ServerConfig {
                connection_memory_bytes: total,
                default_level: Level::Buffered,
                ..ServerConfig::default()
            };
            let rig = Rig::with(config);
            let mut writer = rig.connect();
            for name in &names {
                writer.call(&[b"SET", name.as_bytes(), &value]).await;
                writer.call(&[b"HSET", b"hash", name.as_bytes(), &value]).await;
            }
            let mut bytes = Vec::new();
            for args in &pipeline {
                append_command(&mut bytes, &args.iter().map(Vec::as_slice).collect::<Vec<_>>());
            }
            let mut clients = Vec::new();
            for _ in 0..30 {
                let mut client = rig.connect();
                client.send(&bytes).await;
                clients.push(client);
            }
            let what = String::from_utf8_lossy(&pipeline[0][0]).into_owned();
            let budget = Arc::clone(rig.server.budget());
            // A pipeline is answered in turns of some 256 KiB, which is less than its share for most.
            if pipeline.len() == 1 {
                eventually(&format!("{what}: a queue"), || budget.waiting() >= 20).await;
            } else {
                eventually(&format!("{what}: a queue"), || budget.waiting() >= 1).await;
            }
            door::sleep(Duration::from_millis(50)).await;
            let held: usize = rig
                .server
                .clients()
                .list()
                .iter()
                .map(|client| client.reply_bytes.load(Ordering::Relaxed))
                .sum();
            assert!(held <= total + 2 * reply_bytes, "{what}: {held} bytes of replies are held");
            let answered = Arc::new(AtomicUsize::new(0));
            for mut client in clients {
                let (answered, replies) = (Arc::clone(&answered), pipeline.len());
                door::spawn(async move {
                    for _ in 0..replies {
                        let reply = client.reply().await.expect("a reply");
                        assert!(reply.as_error().is_none(), "{reply:?}");
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                    client.run("PING").await;
                });
            }
            eventually(&format!("{what}: all replies"), || answered.load(Ordering::Relaxed) == 30).await;
            eventually("everything is given back", || budget.used() == 0).await;
            rig.jobs.stop();
        }
    });
}

/// Commands that read under a lock give it back before they wait for room, and COPY is refused.
#[test]
fn the_byte_budget_holds_under_locks() {
    on_runtime(async {
        let config = ServerConfig {
            connection_memory_bytes: 1_000_000,
            default_level: Level::Buffered,
            ..ServerConfig::default()
        };
        let rig = Rig::with(config);
        let mut small = rig.connect();
        let large = vec![b'x'; 600_000];
        for key in [&b"large"[..], b"other"] {
            small.call(&[b"SET", key, &large]).await;
        }
        let mut slow = Vec::new();
        for _ in 0..3 {
            let mut client = rig.connect();
            client.send(b"GET large\r\n").await;
            slow.push(client);
        }
        let budget = Arc::clone(rig.server.budget());
        eventually("a queue for the budget", || budget.waiting() >= 1).await;
        let refused = small.run("COPY other copy").await;
        assert_eq!(text(&refused), "OOM request or reply exceeds the server's byte budget.");
        let before = budget.waiting();
        let mut waits = rig.connect();
        waits.send(b"GETDEL other\r\n").await;
        eventually("it waits for room", || budget.waiting() > before).await;
        assert_eq!(text(&small.run("EXPIRE none 5").await), "0");
        assert_eq!(text(&small.run("DEL other").await), "1", "the lock is free");
        for mut client in slow {
            assert_eq!(client.reply().await.expect("a reply").as_bytes(), Some(&large[..]));
        }
        assert_eq!(text(&waits.reply().await.expect("a reply")), "Null");
        rig.jobs.stop();
    });
}

/// A client that sends a large request and does not read the replies holds up itself, not others.
#[test]
fn a_client_that_does_not_read_is_left() {
    on_runtime(async {
        let config = ServerConfig { write_timeout: Duration::from_millis(300), ..ServerConfig::default() };
        let rig = Rig::with(config);
        let mut client = rig.connect();
        client.call(&[b"SET", b"k", &vec![b'x'; 60_000]]).await;
        let mut bytes = Vec::new();
        (0..2).for_each(|_| append_command(&mut bytes, &[b"GET", b"k"]));
        client.send(&bytes).await;
        assert_eq!(text(&rig.connect().run("PING").await), "PONG");
        eventually("the connection is dropped", || rig.server.clients().is_empty()).await;
        assert_eq!(rig.server.budget().used(), 0);
        rig.jobs.stop();
    });
}

/// Taking a byte now and then does not keep a connection, and what is charged for it.
#[test]
fn a_client_that_reads_too_slowly_is_left() {
    on_runtime(async {
        let config = ServerConfig { write_timeout: Duration::from_millis(300), ..ServerConfig::default() };
        let rig = Rig::with(config);
        let mut client = rig.connect();
        client.call(&[b"SET", b"k", &vec![b'x'; 130_000]]).await;
        client.send(b"GET k\r\n").await;
        let trickle = async {
            // The stream between the two holds 64 KiB: of the rest some bytes at a time.
            while !rig.server.clients().is_empty() {
                client.take(100).await;
                door::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(
            door::within(Some(Duration::from_secs(6)), trickle).await.is_some(),
            "the connection is dropped"
        );
        assert_eq!(rig.server.budget().used(), 0);
        rig.jobs.stop();
    });
}

/// `CLIENT KILL` and a shutdown end connections that wait: for their client, for the gate, for memory.
#[test]
fn connections_that_wait_can_be_killed() {
    on_runtime(async {
        for shut_down in [false, true] {
            let config = ServerConfig { connection_memory_bytes: 1_500_000, ..ServerConfig::default() };
            let rig = Rig::with(config);
            let mut client = rig.connect();
            client.call(&[b"SET", b"k", &vec![b'x'; 1_000_000]]).await;
            client.run("LEVEL buffered").await;
            let mut waiting = Vec::new();
            for _ in 0..3 {
                let mut client = rig.connect();
                client.run("LEVEL buffered").await;
                client.send(b"GET k\r\n").await;
                waiting.push(client);
            }
            let budget = Arc::clone(rig.server.budget());
            eventually("a queue for the budget", || budget.waiting() >= 1).await;
            rig.jobs.stop();
            let mut gated = rig.connect();
            gated.send(b"EXISTS none\r\n").await;
            eventually("all are there", || rig.server.clients().len() == 5).await;
            door::sleep(Duration::from_millis(20)).await;
            if shut_down {
                let down = door::within(Some(Duration::from_secs(4)), rig.server.shut_down()).await;
                assert!(down.is_some(), "in time");
                assert!(rig.server.clients().is_empty());
            } else {
                for id in 2..=5 {
                    assert_eq!(text(&client.run(&format!("CLIENT KILL ID {id}")).await), "1");
                }
                eventually("they are gone", || rig.server.clients().len() == 1).await;
            }
            assert!(gated.rest().await.is_empty(), "nothing is shown that was not confirmed");
            eventually("everything is given back", || budget.used() == 0).await;
        }
    });
}

#[test]
fn long_keys_and_values_are_refused_in_words() {
    on_runtime(async {
        let rig = Rig::at(Level::Buffered);
        let mut client = rig.connect();
        let key = vec![b'k'; 64 * 1024];
        for args in
            [&[&b"GET"[..], &key][..], &[b"SET", &key, b"v"], &[b"HSET", b"h", &key, b"v"], &[b"DEL", &key]]
        {
            let reply = client.call(args).await;
            assert_eq!(text(&reply), "ERR key exceeds maximum allowed size (64 KiB)");
        }
        let value = vec![b'v'; ringfort_base::limits::BATCH_VALUE_BYTES_MAX + 1];
        let reply = client.call(&[b"HSET", b"h", b"f", &value]).await;
        assert_eq!(text(&reply), "ERR field value exceeds maximum allowed size (64 MiB)");
        let reply = client.run("SETRANGE k 536870912 v").await;
        assert_eq!(text(&reply), "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
        assert_eq!(text(&client.run("DBSIZE").await), "0");
        rig.jobs.stop();
    });
}

/// Strings that no batch holds: written by the piece, and whole in every other way.
#[test]
fn long_strings_are_strings() {
    on_runtime(async {
        let rig = Rig::at(Level::Durable);
        let mut client = rig.connect();
        let len = ringfort_base::limits::BATCH_VALUE_BYTES_MAX + 1000;
        let value: Vec<u8> = (0..len).map(|i| (i ^ i >> 11) as u8).collect();
        let is = |reply: &Value, expected: &[u8]| reply.as_bytes().is_some_and(|bytes| *bytes == *expected);
        assert_eq!(text(&client.call(&[b"SET", b"k", &value]).await), "OK");
        assert!(is(&client.call(&[b"GET", b"k"]).await, &value));
        assert_eq!(text(&client.run("STRLEN k").await), len.to_string());
        assert!(is(&client.run("GETRANGE k 67108800 67108900").await, &value[67_108_800..=67_108_900]));
        assert_eq!(text(&client.run("APPEND k tail").await), (len + 4).to_string());
        assert_eq!(text(&client.run("EXPIRE k 1000").await), "1");
        assert_eq!(text(&client.run("RENAME k l").await), "OK");
        assert_eq!(text(&client.run("TTL l").await), "1000");
        assert_eq!(common::texts(&client.run("KEYS *").await), ["l"]);
        assert_eq!(text(&client.run("RANDOMKEY").await), "l");
        assert_eq!(text(&client.run("PERSIST l").await), "1");
        assert_eq!(text(&client.run("SETRANGE l 3 new").await), (len + 4).to_string());
        let mut expected = value.clone();
        expected[3..6].copy_from_slice(b"new");
        expected.extend(b"tail");
        assert!(is(&client.call(&[b"GETDEL", b"l"]).await, &expected));
        assert_eq!(text(&client.run("DBSIZE").await), "0");
        let small = ServerConfig { connection_memory_bytes: 64 << 20, ..ServerConfig::default() };
        let rig = Rig::with(small);
        let mut client = rig.connect();
        let most = ringfort_base::limits::BATCH_VALUE_BYTES_MAX - 16;
        let reply = client.run("CONFIG GET proto-max-bulk-len").await;
        assert_eq!(common::texts(&reply)[1], most.to_string(), "little memory, shorter strings");
        let reply = client.call(&[b"SET", b"k", &value]).await;
        assert_eq!(text(&reply), "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
        rig.jobs.stop();
    });
}

#[test]
fn the_minimum_level_holds() {
    on_runtime(async {
        let config = ServerConfig {
            default_level: Level::Buffered,
            minimum_level: Level::Durable,
            ..ServerConfig::default()
        };
        let rig = Rig::with(config);
        let mut client = rig.connect();
        assert_eq!(text(&client.run("LEVEL").await), "durable");
        let refusal = client.run("LEVEL buffered").await;
        assert_eq!(text(&refusal), "ERR level 'buffered' is below the store's minimum 'durable'");
        assert!(client.run("LEVEL fresh").await.is_ok());
        rig.jobs.stop();
    });
}

/// R7: what nobody waits for is anchored within the window; and an idle server does not advance.
#[test]
fn r7_unanchored_writes_are_anchored_in_the_background() {
    on_runtime(async {
        let rig = Rig::at(Level::Buffered);
        let mut client = rig.connect();
        let store = rig.server.store().clone();
        for n in 0..5 {
            client.run(&format!("SET k{n} v")).await;
            let written = store.frontier(Level::Buffered);
            eventually("the write is anchored", || store.frontier(Level::Fresh) >= written).await;
        }
        rig.jobs.stop();
    });
}

/// R7 holds under writers that never pause, at levels that wake the workers all the time.
#[test]
fn r7_the_window_is_not_extended_by_writers() {
    on_runtime(async {
        for level in [Level::Buffered, Level::Durable] {
            let config = ServerConfig { default_level: level, ..ServerConfig::default() };
            // Longer than a loaded machine holds up a thread: a pause of the writer would hide the bug.
            let rig = Rig::in_real_time(config, Duration::from_millis(250));
            let mut client = rig.connect();
            let store = rig.server.store().clone();
            client.run("SET k v").await;
            let first = store.frontier(Level::Buffered);
            let writing = async {
                while store.frontier(Level::Fresh) < first {
                    client.run("SET k v").await;
                }
            };
            assert!(
                door::within(Some(Duration::from_secs(5)), writing).await.is_some(),
                "{level}: never anchored"
            );
            rig.jobs.stop();
        }
    });
}

/// Each fresh write, alone, costs one operation of the counter, however long the sync takes.
#[test]
fn a_fresh_write_costs_one_round() {
    on_runtime(async {
        let rig = Rig::new();
        let mut client = rig.connect();
        client.run("SET k v").await;
        let operations = || {
            let statistics = rig.server.store().statistics();
            statistics.advances + statistics.counter_reads
        };
        let before = operations();
        for _ in 0..100 {
            client.run("SET k v").await;
        }
        let cost = operations() - before;
        assert!((100..=110).contains(&cost), "100 writes cost {cost} operations of the counter");
        rig.jobs.stop();
    });
}

/// R23: what a scan reads is not known before: all but scans of small hashes run in the pool.
#[test]
fn r23_scans_run_in_the_pool() {
    on_runtime(async {
        let rig = Rig::at(Level::Buffered);
        let mut client = rig.connect();
        for n in 0..300 {
            client.run(&format!("HSET large f{n} v")).await;
        }
        client.run("HSET small f v").await;
        let in_pool = || rig.server.stats().pool_reads.load(Ordering::Relaxed);
        for command in
            ["SCAN 0 COUNT 1", "RANDOMKEY", "KEYS small", "RANGE a b LIMIT 1", "HSCAN large 0 COUNT 1"]
        {
            let before = in_pool();
            assert!(client.run(command).await.as_error().is_none());
            assert!(in_pool() > before, "{command}");
        }
        let before = in_pool();
        client.run("HGETALL small").await;
        client.run("HSCAN small 0").await;
        assert_eq!(in_pool(), before);
        rig.jobs.stop();
    });
}

/// The counter does not answer some reads: whoever waits for one is answered when it does again.
#[test]
fn the_workers_survive_a_counter_that_does_not_answer() {
    on_runtime(async {
        let rig = Rig::new();
        let mut client = rig.connect();
        client.run("SET k v").await;
        let at = rig.bus.transactions();
        (1..=4).for_each(|n| rig.bus.at(at + n, DeviceFault::DropRequest));
        assert_eq!(text(&client.run("GET k").await), "v");
        assert!(rig.bus.transactions() > at + 4, "the faults were met");
        assert!(rig.server.health().is_ok());
        assert!(client.run("SET k w").await.is_ok());
        rig.jobs.stop();
    });
}

/// A worker that cannot be started is not waited for, and the server does not go on without.
#[test]
fn jobs_that_never_ran_can_be_stopped() {
    let rig = Rig::new();
    let refuses: Spawner = Arc::new(|_, work| drop(work));
    let jobs = Jobs::start(&rig.server, Duration::from_millis(20), &refuses);
    jobs.stop();
    assert!(rig.server.health().is_err());
    rig.jobs.stop();
}

/// R5: a fresh reply needs the counter, for reads and refusals as well; without the workers there is
/// none.
#[test]
fn r5_r6_nothing_is_shown_before_it_has_its_level() {
    on_runtime(async {
        let rig = Rig::new();
        let mut client = rig.connect();
        client.run("SET k v").await;
        rig.jobs.stop();
        for command in [
            "GET k\r\n",
            "GET none\r\n",
            "INCR k\r\n",
            "DBSIZE\r\n",
            "KEYS *\r\n",
            "HGET k f\r\n",
            "SET k w\r\n",
        ] {
            let mut client = rig.connect();
            client.send(command.as_bytes()).await;
            let shown = door::within(Some(Duration::from_millis(50)), client.reply()).await;
            assert!(shown.is_none(), "{command} was answered: {shown:?}");
        }
        let mut client = rig.connect();
        assert_eq!(text(&client.run("PING").await), "PONG", "what shows nothing waits for nothing");
        client.send(b"PING\r\nGET k\r\nPING\r\n").await;
        let shown = door::within(Some(Duration::from_millis(50)), client.reply()).await;
        assert!(shown.is_none(), "replies keep their order");
    });
}

#[test]
fn a_clean_shutdown_finishes_turns_and_refuses_newcomers() {
    on_runtime(async {
        let rig = Rig::new();
        let mut client = rig.connect();
        client.send(b"SET k v\r\n").await;
        assert!(client.reply().await.expect("a reply").is_ok());
        let idle = rig.connect();
        door::sleep(Duration::from_millis(20)).await;
        door::within(Some(common::PATIENCE), rig.server.shut_down()).await.expect("in time");
        assert!(rig.server.clients().is_empty());
        assert!(client.rest().await.is_empty());
        drop(idle);
        assert!(rig.server.health().is_err());
        let mut late = rig.connect();
        assert!(!late.rest().await.is_empty(), "told why");
        rig.jobs.stop();
        rig.server.store().close().expect("closes");
        assert!(rig.server.failure().is_none(), "an end that was wanted is no failure");
    });
}

/// R11: after a failed sync a write is "outcome unknown", then nothing is answered but evidence,
/// and the server asks to be shut down.
#[test]
fn r11_a_failed_sync_stops_the_server() {
    on_runtime(async {
        let rig = Rig::new();
        let mut client = rig.connect();
        assert!(client.run("SET k v").await.is_ok());
        rig.faults.inject(
            When::From(Op::Sync, rig.faults.count(Op::Sync) + 1),
            Fault::Error(std::io::ErrorKind::Other),
        );
        let replies = [client.run("SET k w").await, client.run("GET k").await, client.run("SET k x").await];
        let [write, read, again] = replies.map(|reply| text(&reply));
        assert!(write.starts_with("OUTCOMEUNKNOWN "), "{write}");
        assert!(read.starts_with("STOPPED ") && again.starts_with("STOPPED "), "{read} / {again}");
        assert_eq!(text(&client.run("PING").await), "PONG");
        door::within(Some(common::PATIENCE), rig.server.shutdown_requested())
            .await
            .expect("asks to be shut down");
        assert!(rig.server.failure().is_some_and(|e| e.kind() != ErrorKind::Invalid));
        let (mut ours, theirs) = duplex(4096);
        ours.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").await.expect("sends");
        serve_admin(&rig.server, theirs).await.expect("answers");
        let mut page = String::new();
        ours.read_to_string(&mut page).await.expect("reads");
        assert!(page.starts_with("HTTP/1.1 503 "), "{page}");
        rig.jobs.stop();
    });
}

#[test]
fn the_admin_endpoint_answers_and_is_bounded() {
    on_runtime(async {
        let rig = Rig::new();
        rig.connect().run("SET secret-key secret-value").await;
        let ask = async |request: &[u8]| {
            let (mut ours, theirs) = duplex(64 * 1024);
            ours.write_all(request).await.expect("sends");
            serve_admin(&rig.server, theirs).await.expect("answers");
            let mut page = String::new();
            ours.read_to_string(&mut page).await.expect("reads");
            page
        };
        assert!(ask(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.ends_with("\r\n\r\nok\n"));
        let metrics = ask(b"GET /metrics HTTP/1.0\r\n\r\n").await;
        assert!(metrics.contains("\nringfort_up 1\n"), "{metrics}");
        assert!(metrics.contains("\nringfort_commands_total{command=\"set\"} 1\n"));
        assert!(metrics.contains("\nringfort_position{level=\"fresh\"} "));
        assert!(!metrics.contains("secret"), "no keys, no values");
        let body = metrics.split_once("\r\n\r\n").expect("a body").1;
        assert!(metrics.contains(&format!("Content-Length: {}\r\n", body.len())));
        for line in body.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.split_once(' ').expect("name and value");
            assert!(name.starts_with("ringfort_") && value.parse::<f64>().is_ok(), "{line}");
        }
        assert!(ask(b"POST /metrics HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 405 "));
        assert!(ask(b"GET /etc/passwd HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404 "));
        assert!(ask(b"nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
        assert!(ask(&[b'x'; 10_000]).await.starts_with("HTTP/1.1 431 "));
        rig.jobs.stop();
    });
}
