//! Refusals as embedders see them: a kind, evidence, and nothing written.

use crate::dir::{Dir, contents};
use ringfort::{Db, Error, ErrorKind, Level, Mode};
use std::path::PathBuf;

/// A store with tables and a log, closed; with a copy of an earlier state as `older`.
fn store(dir: &Dir, mode: Mode) {
    let db = Db::open(dir.options(mode).level(Level::Fresh)).unwrap();
    for n in 0..300u32 {
        db.put(format!("k{n}"), vec![(n % 100) as u8; 300]).unwrap();
    }
    db.compact_range(..).unwrap();
    db.close().unwrap();
    drop(db);
    dir.copy("data", "older");
    let db = Db::open(dir.options(mode).level(Level::Fresh)).unwrap();
    for n in 0..300u32 {
        db.put(format!("k{n}"), vec![(n % 100) as u8 + 1; 300]).unwrap();
    }
    db.close().unwrap();
}

fn refused(dir: &Dir, mode: Mode) -> Error {
    let before = contents(&dir.path("data"));
    let error = Db::open(dir.options(mode)).err().expect("it must be refused");
    assert_eq!(contents(&dir.path("data")), before, "R12: refusing writes nothing");
    let proof = error.proof().expect("a refusal names its evidence");
    assert!(!proof.file.is_empty() && !proof.detail.is_empty());
    error
}

#[test]
fn a_rolled_back_directory_is_refused() {
    let dir = Dir::new();
    store(&dir, Mode::Software);
    dir.copy("data", "current");
    dir.copy("older", "data");
    let error = refused(&dir, Mode::Software);
    assert_eq!(error.kind(), ErrorKind::Rollback, "{error}");
    // The current state is still good.
    dir.copy("current", "data");
    let db = Db::open(dir.software()).unwrap();
    assert_eq!(db.get("k7").unwrap(), Some(vec![8; 300].into()));
}

#[test]
fn altered_files_are_refused_at_the_opening_or_the_read() {
    let dir = Dir::new();
    store(&dir, Mode::Software);
    dir.copy("data", "good");
    dir.copy("platform", "platform-good");
    let found = contents(&dir.path("data")).into_iter();
    let files: Vec<PathBuf> = found.filter(|(_, bytes)| bytes.is_some()).map(|(path, _)| path).collect();
    let mut refusals = 0;
    for path in files.iter().filter(|path| !path.ends_with("LOCK") && !path.ends_with("CURRENT")) {
        dir.copy("good", "data");
        dir.copy("platform-good", "platform");
        let mut bytes = std::fs::read(path).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        bytes[used / 2] ^= 0x10;
        std::fs::write(path, bytes).unwrap();
        let opened = Db::open(dir.software());
        let outcome = opened.and_then(|db| {
            for n in 0..300u32 {
                assert_eq!(
                    db.get(format!("k{n}"))?,
                    Some(vec![(n % 100) as u8 + 1; 300].into()),
                    "{}",
                    path.display()
                );
            }
            db.verify_checksums()
        });
        if let Err(error) = outcome {
            assert!(error.proof().is_some(), "{}: {error}", path.display());
            refusals += 1;
        }
    }
    // The key file, the MANIFEST, the log and the table; older segments and slots may be ignored.
    assert!(refusals >= 4, "{refusals} of {files:?}");
}

#[test]
fn in_twin_mode_tables_are_sealed_and_the_rest_is_checked() {
    let dir = Dir::new();
    store(&dir, Mode::Twin);
    let table = std::fs::read_dir(dir.path("data/tables")).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&table).unwrap();
    std::fs::write(&table, &bytes[..bytes.len() / 2]).unwrap();
    let outcome = Db::open(dir.options(Mode::Twin)).and_then(|db| db.get("k1").map(drop));
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Tampered);
}
