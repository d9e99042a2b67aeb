//! Batches, and what a commit waits for: `buffered`, `durable`, `fresh`.
//!
//!     cargo run --example batch_and_levels

use ringfort::{Db, Level, Options, Result, WriteBatch};
use std::time::Duration;

fn main() -> Result<()> {
    // A counter that takes 5 ms, as a hardware one may: what `fresh` costs becomes visible.
    let db = Db::open_temporary_with(Options::new("").counter_latency(Duration::from_millis(5)))?;
    let accounts = db.open_keyspace("accounts")?;

    // All of a batch or nothing, also across keyspaces.
    let mut transfer = WriteBatch::new();
    transfer.put(accounts.id(), "ada", "90");
    transfer.put(accounts.id(), "grace", "110");
    transfer.put(db.default_keyspace().id(), "last-transfer", "ada -> grace: 10");
    let commit = db.write_with(transfer, Level::Buffered)?;
    println!("buffered: it would survive a crash of this process (position {})", commit.position());

    commit.wait(Level::Durable)?;
    println!("durable:  it would survive a power cut");

    commit.wait(Level::Fresh)?;
    println!("fresh:    losing it would be noticed");

    // Many commits share one sync and one advance of the counter: write at `buffered`, wait once.
    let before = db.statistics();
    let mut last = None;
    for n in 0..1_000u32 {
        last = Some(accounts.put_with(format!("account/{n}"), "0", Level::Buffered)?);
    }
    if let Some(last) = last {
        last.wait(Level::Fresh)?;
    }
    let after = db.statistics();
    println!(
        "1000 commits: {} syncs, {} advances of the counter",
        after.syncs - before.syncs,
        after.advances - before.advances
    );

    // A reader can demand a level too: the answer is held back until all that it shows has it.
    let balance = accounts.get_with("ada", Level::Fresh)?;
    println!("ada has {}", String::from_utf8_lossy(&balance.unwrap_or_default()));
    db.close()
}
