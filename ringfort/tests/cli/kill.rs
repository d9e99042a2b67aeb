//! SIGKILL again and again: nothing that was acknowledged is lost, at no level.
//!
//! 20 rounds; 200 with `RINGFORT_LONG=1`.

use crate::child::{Client, Dir};
use ringfort_host::door;
use std::time::Duration;

const LEVELS: [&str; 3] = ["buffered", "durable", "fresh"];

/// What one writer wrote in one round, and how much of it was acknowledged.
struct Ledger {
    key: String,
    acknowledged: u64,
    sent: u64,
}

fn write_until_cut_off(mut client: Client, key: String) -> Ledger {
    let mut ledger = Ledger { key, acknowledged: 0, sent: 0 };
    loop {
        ledger.sent += 1;
        // The newest of a row of versions, and one key per version.
        let (version, own) = (ledger.sent.to_string(), format!("{}:{}", ledger.key, ledger.sent));
        let both =
            [&b"MSET"[..], ledger.key.as_bytes(), version.as_bytes(), own.as_bytes(), version.as_bytes()];
        match client.try_call(&both) {
            Ok(reply) => assert!(reply.is_ok(), "{reply:?}"),
            Err(_) => return ledger,
        }
        ledger.acknowledged = ledger.sent;
    }
}

fn verify(client: &mut Client, ledger: &Ledger) {
    let newest = client.call(&format!("GET {}", ledger.key));
    let newest: u64 = newest.as_bytes().map_or(0, |text| std::str::from_utf8(text).unwrap().parse().unwrap());
    let range = ledger.acknowledged..=ledger.sent;
    assert!(range.contains(&newest), "{}: {newest} is not in {range:?}", ledger.key);
    // Both keys of a write or neither: a batch is not torn.
    for nth in 1..=newest {
        let own = client.call(&format!("GET {}:{nth}", ledger.key));
        assert_eq!(own.as_bytes(), Some(nth.to_string().as_bytes()), "{}:{nth}", ledger.key);
    }
    let beyond = client.call(&format!("EXISTS {}:{}", ledger.key, newest + 1));
    assert_eq!(beyond.as_integer(), Some(0), "{}:{} was half written", ledger.key, newest + 1);
}

#[test]
fn nothing_acknowledged_is_lost_when_the_server_is_killed() {
    let long = std::env::var_os("RINGFORT_LONG").is_some();
    let rounds: u64 = if long { 200 } else { 20 };
    let dir = Dir::new();
    let mut before: Vec<Ledger> = Vec::new();
    for round in 0..rounds {
        // Small memtables: flushes and compactions are under way at the kill.
        let mut server = dir.serve(&["--write-buffer", "64KiB"]);
        let mut client = server.client();
        before.iter().for_each(|ledger| verify(&mut client, ledger));
        let writers: Vec<_> = LEVELS
            .into_iter()
            .map(|level| {
                let (mut client, key) = (server.client(), format!("{level}:{round}"));
                // Here, where the kill cannot come first.
                assert!(client.call(&format!("LEVEL {level}")).is_ok());
                door::spawn("writer", move || write_until_cut_off(client, key)).unwrap()
            })
            .collect();
        // Now early, now late in a server's life.
        door::sleep(Duration::from_millis(20 + round * 37 % 130));
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        before = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    }
    let server = dir.serve(&[]);
    let mut client = server.client();
    before.iter().for_each(|ledger| verify(&mut client, ledger));
    assert_eq!(server.stop().0, Some(0));
    let scrubbed = dir.run(&["scrub"]);
    assert_eq!(scrubbed.status.code(), Some(0), "{}", crate::child::stderr(&scrubbed));
}
