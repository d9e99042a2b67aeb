//! Many connections at once: read-modify-write is atomic, scans keep their guarantee, pipelines
//! keep their order.
mod common;

use common::{Client, Rig, all_at_once, on_runtime, text, texts};
use ringfort_base::Level;
use ringfort_node::door;
use ringfort_protocol::front::resp::Value;
use ringfort_protocol::front::resp::client::append_command;
use std::collections::HashSet;

const CONNECTIONS: usize = 16;
const ROUNDS: usize = 50;

#[test]
fn incr_from_many_connections_is_exact() {
    on_runtime(async {
        let rig = Rig::new();
        all_at_once(&rig, CONNECTIONS, |n, mut client| async move {
            for _ in 0..ROUNDS {
                client.run("INCR counter").await;
                client.run("HINCRBY hash field 2").await;
                client.run(&format!("HSET wide f{n} 1")).await;
                client.run("APPEND text x").await;
            }
        })
        .await;
        let total = CONNECTIONS * ROUNDS;
        let mut client = rig.connect();
        assert_eq!(text(&client.run("GET counter").await), total.to_string());
        assert_eq!(text(&client.run("HGET hash field").await), (2 * total).to_string());
        assert_eq!(text(&client.run("HLEN wide").await), CONNECTIONS.to_string());
        assert_eq!(text(&client.run("STRLEN text").await), total.to_string());
        assert_eq!(text(&client.run("DBSIZE").await), "4");
        rig.jobs.stop();
    });
}

/// A lane applies what its connections left at the end of their turns. A connection that goes on without
/// a reply to wait for sees its own writes all the same, and `WAITAOF` waits for no one else to write them.
#[test]
fn a_connection_sees_its_own_writes_at_once() {
    on_runtime(async {
        let rig = Rig::at(Level::Buffered);
        let _other = rig.connect();
        let mut client = rig.connect();
        client.send(b"CLIENT REPLY OFF\r\n").await;
        for round in 0..ROUNDS {
            client.send(format!("SET key {round}\r\n").as_bytes()).await;
            door::sleep(std::time::Duration::from_micros(200)).await;
            client.send(b"INCR key\r\n").await;
        }
        client.send(b"CLIENT REPLY ON\r\nGET key\r\nSET key last\r\nWAITAOF 1 0 0\r\n").await;
        assert_eq!(text(&client.reply().await.expect("ON is answered")), "OK");
        assert_eq!(text(&client.reply().await.expect("GET")), ROUNDS.to_string());
        assert_eq!(text(&client.reply().await.expect("SET")), "OK");
        let synced = client.reply().await.expect("WAITAOF");
        assert_eq!(synced.as_array().map(|of| text(&of[0])).as_deref(), Some("1"), "{synced:?}");
        rig.jobs.stop();
    });
}

/// Two keys that every MSET sets alike are never seen apart, and the key count stays exact while
/// keys come and go.
#[test]
fn batches_are_seen_whole() {
    on_runtime(async {
        let rig = Rig::at(Level::Buffered);
        rig.connect().run("MSET left 0 right 0").await;
        all_at_once(&rig, CONNECTIONS, |n, mut client| async move {
            for round in 0..ROUNDS {
                if n % 2 == 0 {
                    client.run(&format!("MSET left {n}.{round} right {n}.{round}")).await;
                    client.run(&format!("SET extra{} 1", round % 5)).await;
                } else {
                    let both = texts(&client.run("MGET left right").await);
                    assert_eq!(both[0], both[1]);
                    client.run(&format!("DEL extra{}", round % 5)).await;
                }
            }
        })
        .await;
        let mut client = rig.connect();
        let keys = texts(&client.run("KEYS *").await).len();
        assert_eq!(text(&client.run("DBSIZE").await), keys.to_string());
        rig.jobs.stop();
    });
}

/// FLUSHALL against writers: whatever is left afterwards is counted.
#[test]
fn flushing_under_writers_keeps_the_count() {
    on_runtime(async {
        let rig = Rig::at(Level::Buffered);
        all_at_once(&rig, CONNECTIONS, |n, mut client| async move {
            for round in 0..ROUNDS {
                match n {
                    0 => client.run("FLUSHALL").await,
                    1 => client.run("FLUSHDB").await,
                    _ if round % 3 == 0 => client.run(&format!("HSET h{n} f{round} v")).await,
                    _ => client.run(&format!("SET k{n}.{round} v")).await,
                };
            }
        })
        .await;
        let mut client = rig.connect();
        let keys = texts(&client.run("KEYS *").await);
        assert_eq!(text(&client.run("DBSIZE").await), keys.len().to_string());
        for key in keys.iter().filter(|key| key.starts_with('h')) {
            let fields = texts(&client.run(&format!("HKEYS {key}")).await).len();
            assert_eq!(text(&client.run(&format!("HLEN {key}")).await), fields.to_string());
        }
        rig.jobs.stop();
    });
}

/// A whole iteration; the names that it returned.
async fn iterate(client: &mut Client, command: &str, between: &mut impl AsyncFnMut(usize)) -> Vec<String> {
    let mut names = Vec::new();
    let mut cursor = "0".to_owned();
    for page in 0.. {
        let reply = client.run(&command.replace("CURSOR", &cursor)).await;
        let Some([next, page_names]) = reply.as_array() else { panic!("a cursor and names: {reply:?}") };
        names.extend(texts(page_names));
        cursor = text(next);
        if cursor == "0" {
            break;
        }
        between(page).await;
    }
    names
}

/// Pipelines of writes hold several locks at once, in whatever order the client chose; on several
/// runtimes, against commands that take several keys or all: no deadlock, and nothing lost.
#[test]
fn pipelines_on_several_threads_do_not_deadlock() {
    const THREADS: usize = 3;
    const KEYS: usize = 5;
    let rig = Rig::at(Level::Buffered);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let rig = &rig;
            scope.spawn(move || {
                on_runtime(async move {
                    let mut clients = [rig.connect(), rig.connect()];
                    for round in 0..40 {
                        for (n, client) in clients.iter_mut().enumerate() {
                            let mut bytes = Vec::new();
                            for step in 0..KEYS {
                                // Each connection goes through the keys in another order.
                                let at = (step * (1 + (thread + n) % (KEYS - 1)) + round) % KEYS;
                                append_command(&mut bytes, &[b"INCR", format!("sum{at}").as_bytes()]);
                            }
                            append_command(&mut bytes, &[b"MSET", b"sum-a", b"1", b"sum-b", b"2"]);
                            append_command(&mut bytes, &[b"COPY", b"sum-b", b"sum-c", b"REPLACE"]);
                            if round % 10 == 0 {
                                append_command(&mut bytes, &[b"HSET", b"hash", b"f", b"v"]);
                                append_command(&mut bytes, &[b"RENAME", b"hash", b"hash2"]);
                            }
                            client.send(&bytes).await;
                        }
                        for client in &mut clients {
                            for _ in 0..KEYS + 2 + 2 * usize::from(round % 10 == 0) {
                                client.reply().await.expect("a reply");
                            }
                        }
                    }
                });
            });
        }
    });
    on_runtime(async {
        let mut client = rig.connect();
        for at in 0..KEYS {
            let expected = (0..THREADS * 2)
                .flat_map(|who| (0..40).map(move |round| (who, round)))
                .flat_map(|(who, round)| {
                    let factor = 1 + (who / 2 + who % 2) % (KEYS - 1);
                    (0..KEYS).map(move |step| (step * factor + round) % KEYS)
                })
                .filter(|key| *key == at)
                .count();
            assert_eq!(text(&client.run(&format!("GET sum{at}")).await), expected.to_string());
        }
        let keys = texts(&client.run("KEYS *").await).len();
        assert_eq!(text(&client.run("DBSIZE").await), keys.to_string());
    });
    rig.jobs.stop();
}

/// Redis's guarantee: what is there from the beginning to the end is returned, what never was is
/// not; here also: nothing twice.
#[test]
fn scan_keeps_its_guarantee_under_concurrent_deletes() {
    on_runtime(async {
        let rig = Rig::at(Level::Buffered);
        let (mut writer, mut reader) = (rig.connect(), rig.connect());
        for n in 0..400 {
            writer.run(&format!("SET stay{n:03} v")).await;
            writer.run(&format!("SET gone{n:03} v")).await;
            writer.run(&format!("HSET big s{n:03} v g{n:03} v")).await;
        }
        let mut between = async |page: usize| {
            for n in [page, 399 - page] {
                writer.run(&format!("DEL gone{:03} new{page}", n % 400)).await;
                writer.run(&format!("SET stay{:03} changed", n % 400)).await;
                writer.run(&format!("SET new{page} v")).await;
            }
            writer.run(&format!("HDEL big g{:03}", page % 400)).await;
            writer.run(&format!("HSET big n{page} v")).await;
        };
        let names = iterate(&mut reader, "SCAN CURSOR COUNT 7", &mut between).await;
        let distinct: HashSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "nothing twice");
        assert_eq!(names.iter().filter(|name| name.starts_with("stay")).count(), 400);
        assert!(names.iter().all(|name| ["stay", "gone", "new", "big"].iter().any(|p| name.starts_with(p))));
        let matching = iterate(&mut reader, "SCAN CURSOR MATCH stay?5* COUNT 3", &mut between).await;
        assert_eq!(matching.len(), 40);
        let fields = iterate(&mut reader, "HSCAN big CURSOR COUNT 9 NOVALUES", &mut between).await;
        let distinct: HashSet<&String> = fields.iter().collect();
        assert_eq!(distinct.len(), fields.len(), "nothing twice");
        assert_eq!(fields.iter().filter(|name| name.starts_with('s')).count(), 400);
        rig.jobs.stop();
    });
}

/// A large database goes through the pool in slices and comes out whole and in order.
#[test]
fn long_scans_come_in_slices() {
    on_runtime(async {
        let rig = Rig::at(Level::Buffered);
        let mut client = rig.connect();
        let mut bytes = Vec::new();
        for n in 0..10_000 {
            append_command(&mut bytes, &[b"SET", format!("k{n:05}").as_bytes(), b"v"]);
        }
        let (mut out, mut replies) = (bytes.as_slice(), 0);
        while !out.is_empty() {
            let (now, later) = out.split_at(out.len().min(30_000));
            client.send(now).await;
            out = later;
            while replies < 10_000 && !out.is_empty() && replies * 34 + 60_000 < bytes.len() - out.len() {
                assert!(client.reply().await.expect("a reply").is_ok());
                replies += 1;
            }
        }
        while replies < 10_000 {
            assert!(client.reply().await.expect("a reply").is_ok());
            replies += 1;
        }
        let keys = texts(&client.run("KEYS *").await);
        let expected: Vec<String> = (0..10_000).map(|n| format!("k{n:05}")).collect();
        assert_eq!(keys, expected);
        let mut backwards = texts(&client.run("RANGE k00100 k09000 REV LIMIT 5000").await);
        assert_eq!(backwards.len(), 10_000);
        backwards.retain(|word| word != "v");
        assert_eq!(backwards, expected[4000..9000].iter().rev().cloned().collect::<Vec<_>>());
        let random: HashSet<String> = {
            let mut seen = HashSet::new();
            for _ in 0..50 {
                seen.insert(text(&client.run("RANDOMKEY").await));
            }
            seen
        };
        assert!(random.len() > 10 && random.iter().all(|key| expected.contains(key)), "{random:?}");
        rig.jobs.stop();
    });
}

/// A pipeline that arrives in any pieces is answered in order, errors and silent ones included.
#[test]
fn pipelines_keep_their_order() {
    on_runtime(async {
        let rig = Rig::new();
        for piece in [1, 7, 100, 100_000] {
            let mut client = rig.connect();
            let mut bytes = Vec::new();
            append_command(&mut bytes, &[b"FLUSHALL"]);
            for n in 0..200 {
                append_command(&mut bytes, &[b"INCR", b"n"]);
                append_command(&mut bytes, &[b"ECHO", n.to_string().as_bytes()]);
                append_command(&mut bytes, &[b"GET", b"n", b"too many"]);
            }
            append_command(&mut bytes, &[b"QUIT"]);
            for piece in bytes.chunks(piece) {
                client.send(piece).await;
            }
            assert!(client.reply().await.expect("FLUSHALL").is_ok());
            for n in 0..200 {
                assert_eq!(client.reply().await.expect("INCR"), Value::Integer(n + 1));
                assert_eq!(text(&client.reply().await.expect("ECHO")), n.to_string());
                assert!(client.reply().await.expect("GET").as_error().is_some());
            }
            assert!(client.reply().await.expect("QUIT").is_ok());
            assert!(client.reply().await.is_none(), "closed");
        }
        rig.jobs.stop();
    });
}
