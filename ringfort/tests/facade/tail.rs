//! The newest bytes of the log, in the file beside its segment, after the process was killed: what they
//! say is believed as little as any other file.

use crate::dir::Dir;
use ringfort::{Db, Level, Mode};
use std::path::PathBuf;

const ANCHORED: usize = 40;
const WRITTEN: usize = 90;

/// A store that was killed after `WRITTEN` puts, the first `ANCHORED` of them fresh.
fn killed(mode: Mode) -> Dir {
    let dir = Dir::new();
    let db = Db::open(dir.options(mode).background(false)).unwrap();
    for n in 0..WRITTEN {
        let level = if n + 1 == ANCHORED { Level::Fresh } else { Level::Buffered };
        db.default_keyspace().put_with(n.to_string(), [n as u8; 300], level).unwrap();
    }
    // Nothing is written, synced or closed from here on; its lock stays taken, so copies are opened.
    std::mem::forget(db);
    dir
}

fn copied(dir: &Dir) -> Dir {
    let new = Dir::new();
    for part in ["data", "platform", "trusted"].into_iter().filter(|part| dir.path(part).exists()) {
        new.copy(dir.path(part).to_str().unwrap(), part);
    }
    new
}

/// How many of the puts are there; the first ones, with their values.
fn count(dir: &Dir, mode: Mode) -> usize {
    let db = Db::open(dir.options(mode).background(false)).unwrap();
    let there = |n: usize| db.get(n.to_string()).unwrap();
    let count = (0..WRITTEN).take_while(|n| there(*n).is_some()).count();
    for n in 0..WRITTEN {
        let expected = (n < count).then_some([n as u8; 300]);
        assert_eq!(there(n).as_deref(), expected.as_ref().map(|value| &value[..]), "put {n} of {count}");
    }
    count
}

/// The tail of the log; `None` on a file system that has none.
fn tail_of(dir: &Dir, mode: Mode) -> Option<PathBuf> {
    let volume = if mode == Mode::Software { "data" } else { "trusted" };
    let files = std::fs::read_dir(dir.path(volume).join("wal")).unwrap();
    files.map(|file| file.unwrap().path()).find(|path| path.extension().is_some_and(|e| e == "tail"))
}

#[test]
fn what_a_killed_process_acknowledged_is_there() {
    for mode in [Mode::Software, Mode::Twin] {
        let dir = killed(mode);
        assert_eq!(count(&copied(&dir), mode), WRITTEN, "{mode}");
        let without = copied(&dir);
        if let Some(tail) = tail_of(&without, mode) {
            std::fs::remove_file(tail).unwrap();
            assert_eq!(
                count(&without, mode),
                ANCHORED,
                "{mode}: a tail that is gone takes what was not synced"
            );
        }
    }
}

/// R3: what the counter anchors was synced, so no tail can touch it; behind it any end is honest.
#[test]
fn no_tail_makes_more_or_less_of_what_is_anchored() {
    let dir = killed(Mode::Software);
    for round in 0..30_u64 {
        // Anything below `end`, another in each round.
        let below = |end: u64| round.wrapping_mul(0x9e37_79b9_7f4a_7c15) % end;
        let copy = copied(&dir);
        let Some(tail) = tail_of(&copy, Mode::Software) else { return };
        let mut bytes = std::fs::read(&tail).unwrap();
        match round % 5 {
            0 => bytes.truncate(below(bytes.len() as u64) as usize),
            1 => bytes[below(16) as usize] ^= 1 << below(8),
            2 => bytes[4096 + below(15_000) as usize] ^= 1 << below(8),
            3 => bytes[..8].copy_from_slice(&below(40_000).to_le_bytes()),
            _ => bytes[8..16].copy_from_slice(&below(70_000).to_le_bytes()),
        }
        std::fs::write(&tail, bytes).unwrap();
        let count = count(&copy, Mode::Software);
        assert!((ANCHORED..=WRITTEN).contains(&count), "round {round}: {count} puts are there");
    }
}
