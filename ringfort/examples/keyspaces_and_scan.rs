//! Keyspaces with settings of their own, ranges in both directions, snapshots, removal of ranges.
//!
//!     cargo run --example keyspaces_and_scan

use ringfort::{Compression, Db, KeyspaceOptions, Result};

fn main() -> Result<()> {
    let db = Db::open_temporary()?;
    let logs = KeyspaceOptions { compression: Compression::Lz4, block_bytes: 16 << 10, ..Default::default() };
    let logs = db.create_keyspace("logs", logs)?;
    for day in 1..=5 {
        for hour in 0..24 {
            logs.put(format!("2026-03-{day:02}T{hour:02}"), format!("event of hour {hour}"))?;
        }
    }

    let morning = logs.scan("2026-03-02T06".."2026-03-02T12")?.count();
    println!("{morning} events on the morning of the 2nd");
    for entry in logs.scan_rev(..)?.take(2) {
        println!("latest: {}", String::from_utf8_lossy(&entry?.0));
    }

    // A snapshot keeps seeing what was there when it was taken.
    let before = db.snapshot()?;
    logs.delete_range("2026-03-01", "2026-03-04")?;
    println!("{} events kept, {} in the snapshot", logs.scan(..)?.count(), before.scan(&logs, ..)?.count());
    drop(before);

    logs.compact_range(..)?;
    for (level, (tables, bytes)) in logs.levels()?.into_iter().enumerate().filter(|(_, level)| level.0 > 0) {
        println!("level {level}: {tables} table(s), {bytes} bytes");
    }
    println!("verified {} bytes", db.verify_checksums()?);
    println!("keyspaces: {}", db.keyspaces().join(", "));
    db.close()
}
