//! Opening, closing, destroying, checkpoints.

use crate::dir::Dir;
use ringfort::{Checkpoint, Db, ErrorKind, EvidenceKind, Level, Mode, Options, destroy};
use ringfort_host::door;
use std::collections::BTreeSet;
use std::time::Duration;

/// That the lock is free again shows that no worker holds the store any more.
#[test]
fn closing_and_dropping_end_the_workers() {
    let dir = Dir::new();
    for life in 1..=5u64 {
        let db = Db::open(dir.software()).unwrap();
        assert_eq!(db.incarnation().0, life);
        assert_eq!(Db::open(dir.software()).err().map(|e| e.kind()), Some(ErrorKind::Busy), "in use");
        db.put("life", life.to_string()).unwrap();
        if life % 2 == 0 {
            db.close().unwrap();
            db.close().unwrap();
            assert_eq!(db.put("k", "v").unwrap_err().kind(), ErrorKind::Stopped);
            assert_eq!(db.get("life").unwrap_err().kind(), ErrorKind::Stopped);
        }
    }
    let db = Db::open(dir.software()).unwrap();
    assert_eq!(db.get("life").unwrap().as_deref(), Some(&b"5"[..]));
}

#[test]
fn a_temporary_store_leaves_nothing_behind() {
    let place = std::env::temp_dir();
    let all = || -> BTreeSet<String> {
        let names = std::fs::read_dir(&place).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("ringfort-") && name.len() == "ringfort-".len() + 24).collect()
    };
    // What a killed process has left is not this one's.
    let before = all();
    let count = || all().difference(&before).count();
    let db = Db::open_temporary().unwrap();
    db.put("k", "v").unwrap();
    assert!(db.platform().contains("simulated"));
    assert_eq!(db.warnings(), [""; 0]);
    assert!(count() > 0, "its directory is there while it is open");
    drop(db);
    // Other tests have temporary stores at the same time; in the end there must be none.
    let gone = (0..500).any(|_| {
        door::sleep(Duration::from_millis(20));
        count() == 0
    });
    assert!(gone || count() <= 4, "directories of temporary stores pile up");
}

#[test]
fn settings_that_disagree_with_the_store_are_refused() {
    let dir = Dir::new();
    assert_eq!(
        Db::open(dir.software().create_if_missing(false)).err().map(|e| e.kind()),
        Some(ErrorKind::NotFound)
    );
    assert!(!dir.path("data").exists(), "refusing makes no directory");
    assert_eq!(Db::open(dir.software().mode(Mode::Twin)).err().map(|e| e.kind()), Some(ErrorKind::Invalid));
    drop(Db::open(dir.software()).unwrap());
    let error = Db::open(dir.options(Mode::Twin)).err().unwrap();
    assert!(error.kind() == ErrorKind::NotFound && error.message().contains("mounted"), "{error}");
    std::fs::create_dir(dir.path("trusted")).unwrap();
    let error = Db::open(dir.options(Mode::Twin)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    drop(Db::open(dir.software().create_if_missing(false)).unwrap());
}

#[test]
fn a_platform_state_below_the_data_is_warned_of() {
    let dir = Dir::new();
    let db = Db::open(dir.software().platform_state(dir.path("data/platform"))).unwrap();
    assert!(
        matches!(db.warnings(), [one] if one.contains("no rollback can be detected")),
        "{:?}",
        db.warnings()
    );
}

#[test]
fn destroying_takes_the_phrase_and_frees_the_name() {
    let dir = Dir::new();
    let id = {
        let db = Db::open(dir.software()).unwrap();
        db.put("k", "v").unwrap();
        db.flush().unwrap();
        let busy = Db::destroy(&dir.software(), &destroy::phrase("default")).unwrap_err();
        assert_eq!(busy.kind(), ErrorKind::Busy, "{busy}");
        db.id()
    };
    for said in ["", "yes", "destroy", "destroy other"] {
        assert_eq!(Db::destroy(&dir.software(), said).unwrap_err().kind(), ErrorKind::Refused);
    }
    assert_eq!(Db::destroy(&dir.software(), &destroy::phrase("default")).unwrap(), id);
    let again = Db::destroy(&dir.software(), &destroy::phrase("default")).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::NotFound);
    let db = Db::open(dir.software()).unwrap();
    assert_eq!(db.get("k").unwrap(), None);
    assert_ne!(db.id(), id);
}

#[test]
fn another_stores_directory_is_not_destroyed() {
    let dir = Dir::new();
    drop(Db::open(dir.software()).unwrap());
    let other = Options::new(dir.path("other")).platform_state(dir.path("platform")).store_name("other");
    drop(Db::open(other).unwrap());
    let wrong = dir.software().store_name("other");
    assert!(Db::destroy(&wrong, &destroy::phrase("other")).is_err());
    drop(Db::open(dir.software()).unwrap());
}

#[test]
fn a_store_whose_data_is_lost_can_be_given_up() {
    let dir = Dir::new();
    drop(Db::open(dir.software()).unwrap());
    std::fs::remove_dir_all(dir.path("data")).unwrap();
    let error = Db::open(dir.software()).err().unwrap();
    assert_eq!(error.proof().map(|proof| proof.kind), Some(EvidenceKind::Missing), "{error}");
    assert!(error.message().contains("ringfort destroy"), "{error}");
    assert!(!dir.path("data").exists());
    Db::destroy(&dir.software(), &destroy::phrase("default")).unwrap();
    drop(Db::open(dir.software()).unwrap());
}

#[test]
fn a_checkpoint_shows_its_moment_and_is_no_store() {
    for mode in Mode::ALL {
        let dir = Dir::new();
        let db = Db::open(dir.options(mode)).unwrap();
        let users = db.open_keyspace("users").unwrap();
        users.put("1", "Ada").unwrap();
        db.checkpoint(dir.path("backup")).unwrap();
        users.put("1", "changed").unwrap();
        users.put("2", "Grace").unwrap();
        assert_eq!(db.checkpoint(dir.path("backup")).unwrap_err().kind(), ErrorKind::AlreadyExists);

        let options = Options::new(dir.path("backup")).platform_state(dir.path("platform"));
        let checkpoint = Checkpoint::open(&options).unwrap();
        assert_eq!(checkpoint.keyspaces(), ["default", "users"]);
        assert_eq!(checkpoint.get("users", "1").unwrap().as_deref(), Some(&b"Ada"[..]), "{mode}");
        let all: Vec<_> = checkpoint.scan("users", ..).unwrap().map(Result::unwrap).collect();
        assert_eq!(all, [(b"1".to_vec(), b"Ada".to_vec())]);
        db.close().unwrap();
        drop((db, users));
        assert!(Db::open(options).is_err(), "{mode}: a checkpoint does not pass for the store");
    }
}

#[test]
fn a_store_that_was_not_closed_keeps_what_it_acknowledged() {
    let dir = Dir::new();
    let db = Db::open(dir.software().anchor_window(Duration::from_secs(3600))).unwrap();
    db.default_keyspace().put_with("fresh", "1", Level::Fresh).unwrap();
    db.default_keyspace().put_with("durable", "1", Level::Durable).unwrap();
    // As a crash would leave it: the directory of a store that is open.
    dir.copy_live("data", "crashed");
    dir.copy_live("platform", "platform-then");
    let crashed = Options::new(dir.path("crashed")).platform_state(dir.path("platform-then"));
    let crashed = Db::open(crashed).unwrap();
    for key in ["fresh", "durable"] {
        assert_eq!(crashed.get(key).unwrap().as_deref(), Some(&b"1"[..]), "{key}");
    }
}
