//! Expiry, the reaper, orphans, and lives after this one.
mod common;

use common::{Rig, on_runtime, text, texts};
use ringfort_base::Level;
use ringfort_node::reaper::reap;
use ringfort_node::{door, model};
use std::sync::atomic::Ordering;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// R20: what has expired stays expired, whatever the host does to its clock, across a restart too.
#[test]
fn r20_a_clock_set_back_revives_nothing() {
    on_runtime(async {
        let rig = Rig::new();
        let mut client = rig.connect();
        client.run("SET gone v PX 1000").await;
        client.run("SET stays v EX 1000").await;
        rig.clock.advance(Duration::from_secs(2));
        // A later commit tells the log how late it is.
        client.run("SET other v").await;
        assert_eq!(text(&client.run("EXISTS gone").await), "0");
        rig.clock.jump_back(Duration::from_secs(3600));
        for command in ["EXISTS gone", "HLEN gone", "STRLEN gone", "PERSIST gone", "DEL gone"] {
            assert_eq!(text(&client.run(command).await), "0", "{command}");
        }
        let ttl: i64 = text(&client.run("PTTL stays").await).parse().expect("a number");
        assert!(ttl <= 998_000, "{ttl}");
        client.run("SET late v PX 1000").await;
        rig.clock.advance(Duration::from_secs(4000));
        client.run("SET other w").await;
        rig.clock.jump_back(Duration::from_secs(4000));
        let next = rig.after_kill();
        let mut client = next.connect();
        assert_eq!(text(&client.run("EXISTS late").await), "0");
        assert_eq!(text(&client.run("GET other").await), "w");
        next.jobs.stop();
    });
}

/// R20: a clock set far forward removes nothing physically, and no new expiry is taken by it.
#[test]
fn r20_a_clock_set_far_forward_destroys_nothing() {
    on_runtime(async {
        let rig = Rig::at(Level::Buffered);
        let mut client = rig.connect();
        client.run("SET k v EX 604800").await;
        rig.clock.jump_forward(30 * DAY);
        assert!(rig.server.store().time().suspect, "the clock is not believed");
        assert_eq!(reap(&rig.server, rig.server.databases()[0]).expect("reaps"), 0);
        for command in ["SET k w EX 5", "EXPIRE k 5", "SETEX k 5 w", "GETEX k PX 5", "PEXPIREAT k 1"] {
            let refusal = text(&client.run(command).await);
            assert!(refusal.starts_with("ERR the host's clock is further ahead"), "{command}: {refusal}");
        }
        assert!(client.run("SET plain v").await.is_ok(), "what does not expire goes on");
        rig.clock.jump_back(30 * DAY);
        assert_eq!(text(&client.run("GET k").await), "v");
        assert!(client.run("SET k w EX 5").await.is_ok());
        rig.jobs.stop();
    });
}

/// While the clock is not believed the reaper leaves what is due, and sleeps meanwhile.
#[test]
fn the_reaper_does_not_spin_while_the_clock_is_suspect() {
    on_runtime(async {
        let (rig, looked) = Rig::with_counted_clock();
        let mut client = rig.connect();
        client.run("SET k v EX 60").await;
        rig.clock.jump_forward(30 * DAY);
        assert!(rig.server.store().time().suspect);
        rig.server.reaper_signal().raise();
        door::sleep(Duration::from_millis(50)).await;
        let before = looked.load(Ordering::Relaxed);
        door::sleep(Duration::from_millis(500)).await;
        let times = looked.load(Ordering::Relaxed) - before;
        assert!(times < 100, "the clock was read {times} times");
        rig.jobs.stop();
    });
}

/// A reply that hides a key has it removed, though the reaper sleeps by another clock.
#[test]
fn a_hidden_key_is_removed_soon() {
    on_runtime(async {
        let rig = Rig::at(Level::Buffered);
        let mut client = rig.connect();
        client.run("SET k v EX 1000").await;
        client.run("SET other v").await;
        rig.clock.advance(Duration::from_secs(1001));
        assert_eq!(text(&client.run("DBSIZE").await), "2");
        assert_eq!(text(&client.run("GET k").await), "Null");
        let reaped = async {
            while text(&client.run("DBSIZE").await) != "1" {
                door::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(door::within(Some(common::PATIENCE), reaped).await.is_some(), "the reaper was woken");
        rig.jobs.stop();
    });
}

#[test]
fn the_reaper_removes_what_is_due_and_nothing_else() {
    on_runtime(async {
        let rig = Rig::at(Level::Buffered);
        let mut client = rig.connect();
        for n in 0..200 {
            client.run(&format!("SET short{n} v PX 100")).await;
            client.run(&format!("HSET hash{n} f v")).await;
            client.run(&format!("PEXPIRE hash{n} 100")).await;
            client.run(&format!("SET long{n} v PX 100000")).await;
            client.run(&format!("SET rescued{n} v PX 100")).await;
            client.run(&format!("PERSIST rescued{n}")).await;
            client.run(&format!("SET again{n} v PX 100")).await;
            client.run(&format!("SET again{n} v PX 100000")).await;
        }
        assert_eq!(text(&client.run("DBSIZE").await), "1000");
        rig.clock.advance(Duration::from_millis(100));
        // The reaper sleeps by the real clock and this one was moved by hand.
        rig.server.reaper_signal().raise();
        let reaped = async {
            while text(&client.run("DBSIZE").await) != "600" {
                door::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(door::within(Some(common::PATIENCE), reaped).await.is_some(), "the reaper was woken");
        assert_eq!(texts(&client.run("KEYS short*").await).len(), 0);
        assert_eq!(texts(&client.run("KEYS long*").await).len(), 200);
        assert_eq!(texts(&client.run("KEYS rescued*").await).len(), 200);
        assert_eq!(texts(&client.run("KEYS again*").await).len(), 200);
        // The index holds one entry for each key that expires, and no other.
        let store = rig.server.store();
        let (from, to) = model::expiry_until(u64::MAX);
        let at = store.snapshot();
        let index =
            store.iter(rig.server.databases()[0], &from, Some(&to), false, &at).expect("iterates").count();
        assert_eq!(index, 400);
        rig.jobs.stop();
    });
}

/// The fields of a deleted hash go with a compaction, those of living ones stay.
#[test]
fn compaction_reclaims_orphaned_fields() {
    on_runtime(async {
        let rig = Rig::new();
        let mut client = rig.connect();
        let value = "x".repeat(100);
        for hash in ["dead", "alive", "reborn"] {
            for field in 0..300 {
                client.run(&format!("HSET {hash} f{field} {value}")).await;
            }
        }
        let store = rig.server.store();
        let keyspace = rig.server.databases()[0];
        let fields = || {
            let at = store.snapshot();
            store.iter(keyspace, &[2], Some(&[3]), false, &at).expect("iterates").count()
        };
        store.flush(None).expect("flushes");
        client.run("DEL dead reborn").await;
        client.run("HSET reborn f1 new").await;
        assert_eq!(fields(), 901, "DEL is O(1): the fields are still there");
        store.compact_range(keyspace, None, None).expect("compacts");
        assert_eq!(fields(), 301);
        assert_eq!(text(&client.run("HLEN alive").await), "300");
        assert_eq!(texts(&client.run("HGETALL reborn").await), ["f1", "new"]);
        assert_eq!(text(&client.run("HGET dead f1").await), "Null");
        rig.jobs.stop();
    });
}

/// As long as the deletion is not anchored, its fields are kept: the deletion may be lost.
#[test]
fn orphans_of_an_unanchored_deletion_are_kept() {
    on_runtime(async {
        let rig = Rig::new();
        let mut client = rig.connect();
        client.run("HSET h f v").await;
        let store = rig.server.store().clone();
        let keyspace = rig.server.databases()[0];
        let stored = {
            let at = store.snapshot();
            let mut fields = store.iter(keyspace, &[2], Some(&[3]), false, &at).expect("iterates");
            fields.next().expect("a field").expect("reads").0
        };
        let before = store.snapshot().position();
        rig.jobs.stop();
        client.run("LEVEL buffered").await;
        client.run("DEL h").await;
        assert!(!model::is_orphan_field(&store, keyspace, &stored, None), "not anchored");
        store.request_anchor();
        while store.sync_step().expect("syncs") == ringfort_store::Step::Worked {}
        store.anchor_step().expect("anchors");
        assert!(
            !model::is_orphan_field(&store, keyspace, &stored, Some(before)),
            "an old view still reads it"
        );
        assert!(model::is_orphan_field(&store, keyspace, &stored, None));
        assert!(!model::is_orphan_field(&store, keyspace, b"\x01h", None), "a record is no field");
    });
}

/// What was acknowledged is there after a kill: values, hashes, expiries, the count.
#[test]
fn everything_acknowledged_survives_a_kill() {
    on_runtime(async {
        let mut rig = Rig::new();
        for life in 0..4 {
            let mut client = rig.connect();
            for n in 0..50 {
                client.run(&format!("SET s{n} {life}.{n}")).await;
                client.run(&format!("HSET h{n} life {life} f{life} v")).await;
                client.run(&format!("INCR lives{n}")).await;
            }
            client.run("SET volatile v EX 1000").await;
            if life == 1 {
                rig.server.store().flush(None).expect("flushes");
            }
            rig = rig.after_kill();
            let mut client = rig.connect();
            assert_eq!(text(&client.run("DBSIZE").await), "151");
            for n in 0..50 {
                assert_eq!(text(&client.run(&format!("GET s{n}")).await), format!("{life}.{n}"));
                assert_eq!(text(&client.run(&format!("HLEN h{n}")).await), (life + 2).to_string());
                assert_eq!(text(&client.run(&format!("GET lives{n}")).await), (life + 1).to_string());
            }
            assert_eq!(text(&client.run("TTL volatile").await), "1000");
        }
        rig.jobs.stop();
    });
}
