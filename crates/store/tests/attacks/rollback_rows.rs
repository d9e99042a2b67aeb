//! Old states and foreign ones in the place of the present one: whole directories, single parts,
//! other stores, checkpoints (matrix rows 8, 13, 15).

use crate::common::Machine;
use crate::matrix::{Aim, Expect, OUTSIDE, Outcome, Row, observe, run};
use crate::scene::{Moment, is_table, note, options, scene};
use ringfort_base::ErrorKind;
use ringfort_base::EvidenceKind::{self, BadSeal, Foreign, Fork, Missing, Rollback};
use ringfort_fault::attack::{self, Image};
use ringfort_fault::memory::MemDisk;
use ringfort_store::Store;
use ringfort_trust::keyfile::{KeyFile, Mode};

const OLD: &[EvidenceKind] = &[Rollback, Missing, BadSeal, Fork];
const OLD_SEALED: Expect = Expect::Refused(OLD, "");
const NOT_OURS: &[EvidenceKind] = &[Foreign, BadSeal, Missing];
const NONE: Expect = Expect::Outside("this mode has no trusted volume");

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "rollback-directory",
        what: "the whole data directory as it was: in the life before, between flush and purge, after a compaction, a few commits ago",
        by: "R1, R3: one anchor over log, MANIFEST and key file",
        expect: [OLD_SEALED, Expect::Harmless, Expect::OnRead(&[Missing], "tables/")],
        rounds: usize::MAX,
        attack: roll_back_data,
    },
    Row {
        id: "rollback-trusted",
        what: "the whole trusted volume as it was",
        by: "R1, R3: one anchor over log, MANIFEST and key file",
        expect: [NONE, OUTSIDE, OUTSIDE],
        rounds: 0,
        attack: |_| None,
    },
    Row {
        id: "rollback-log",
        what: "the log alone as it was",
        by: "R1, R3: one anchor over log, MANIFEST and key file",
        expect: [OLD_SEALED, OUTSIDE, OUTSIDE],
        rounds: usize::MAX,
        attack: roll_back_log,
    },
    Row {
        id: "rollback-manifest",
        what: "the MANIFEST alone as it was",
        by: "R1, R3: one anchor over log, MANIFEST and key file",
        expect: [OLD_SEALED, OUTSIDE, OUTSIDE],
        rounds: usize::MAX,
        attack: roll_back_manifest,
    },
    Row {
        id: "rollback-tables",
        what: "all tables as they were, log and MANIFEST left alone",
        by: "R1, R16: the anchored MANIFEST names tables and keys",
        expect: [Expect::OnRead(&[Missing], "tables/"), OUTSIDE, Expect::OnRead(&[Missing], "tables/")],
        rounds: usize::MAX,
        attack: roll_back_tables,
    },
    Row {
        id: "rollback-log-and-manifest",
        what: "log and MANIFEST as they were, tables left alone",
        by: "R1, R3: one anchor over log, MANIFEST and key file",
        expect: [OLD_SEALED, OUTSIDE, OUTSIDE],
        rounds: usize::MAX,
        attack: roll_back_both,
    },
    Row {
        id: "old-files-again",
        what: "every file of every earlier moment put back beside the present ones",
        by: "R2, R8: what the state does not name is garbage",
        expect: [Expect::Harmless; 3],
        rounds: 1,
        attack: old_files_again,
    },
    Row {
        id: "unanchored-keys",
        what: "a later version of the key file that nothing anchors",
        by: "R1, R14: the anchor names version and digest",
        expect: [Expect::Harmless; 3],
        rounds: 1,
        attack: |aim| keys(aim, false),
    },
    Row {
        id: "replaced-keys",
        what: "that version in the place of the anchored one",
        by: "R1, R14: the anchor names version and digest",
        expect: [Expect::Refused(&[Fork, Rollback], "KEYS"); 3],
        rounds: 1,
        attack: |aim| keys(aim, true),
    },
    Row {
        id: "other-store",
        what: "all volumes of another store on the same platform",
        by: "R18: the platform knows name and id",
        expect: [Expect::Refused(&[Foreign], "KEYS"); 3],
        rounds: 1,
        attack: other_store,
    },
    Row {
        id: "other-trusted",
        what: "the trusted volume of another store",
        by: "R17: the volume id is sealed in the store",
        expect: [NONE, Expect::Refused(&[Foreign], ""), Expect::Refused(&[Foreign], "")],
        rounds: 1,
        attack: other_trusted,
    },
    Row {
        id: "other-keys",
        what: "another store's key file",
        by: "R14, R18: bound to the store id",
        expect: [Expect::Refused(&[Foreign], "KEYS"); 3],
        rounds: 1,
        attack: other_keys,
    },
    Row {
        id: "other-manifest",
        what: "another store's MANIFEST under the name of the present one",
        by: "R13: keys differ, store and lineage are bound",
        expect: [Expect::Refused(NOT_OURS, "MANIFEST"), OUTSIDE, OUTSIDE],
        rounds: 1,
        attack: other_manifest,
    },
    Row {
        id: "other-segment",
        what: "another store's segment under the name of an anchored one",
        by: "R13: keys differ, store and lineage are bound",
        expect: [Expect::Refused(NOT_OURS, "wal"), OUTSIDE, OUTSIDE],
        rounds: usize::MAX,
        attack: other_segment,
    },
    Row {
        id: "other-record",
        what: "another store's record over one of its length",
        by: "R13: keys differ, store and lineage are bound",
        expect: [Expect::Refused(OLD, "wal"), OUTSIDE, OUTSIDE],
        rounds: 10,
        attack: other_record,
    },
    Row {
        id: "other-table",
        what: "another store's table under the name of a present one",
        by: "R13: keys differ, store and lineage are bound",
        expect: [Expect::OnRead(&[BadSeal], "tables/"); 3],
        rounds: usize::MAX,
        attack: other_table,
    },
    Row {
        id: "checkpoint-in-place",
        what: "a checkpoint of this store in the place of its data directory",
        by: "R21: no counter anchors it",
        expect: [Expect::Refused(OLD, ""), Expect::Harmless, Expect::Noticed],
        rounds: 1,
        attack: checkpoint,
    },
];

#[test]
fn old_and_foreign_states() {
    run(ROWS);
}

fn moments<'a>(aim: &Aim<'a>, differs: impl Fn(&Moment) -> bool) -> Vec<(&'a str, &'a Moment)> {
    let scene = aim.scene;
    let all = [("the life before", &scene.earlier_life)];
    let same = scene.same_life.iter().map(|(name, moment)| (name.as_str(), moment));
    all.into_iter().chain(same).filter(|(_, moment)| differs(moment)).collect()
}

/// The moments that lack a table of today.
fn with_other_tables<'a>(aim: &Aim<'a>) -> Vec<(&'a str, &'a Moment)> {
    let (mode, tables) = (aim.scene.mode, &aim.anatomy.tables);
    moments(aim, |moment| tables.iter().any(|table| !moment.tables(mode).files.contains_key(&table.path)))
}

/// Puts back the files of an image whose names fit, and removes the present ones that were not there.
fn put_back(disk: &MemDisk, image: &Image, fits: impl Fn(&str) -> bool) {
    for path in disk.files().keys().filter(|path| fits(path) && !image.files.contains_key(*path)) {
        attack::delete(disk, path).unwrap();
    }
    for path in image.files.keys().filter(|path| fits(path)) {
        attack::restore_file(disk, image, path).unwrap();
    }
}

fn roll_back_data(aim: &mut Aim<'_>) -> Option<String> {
    let all = if aim.scene.mode == Mode::Twin { with_other_tables(aim) } else { moments(aim, |_| true) };
    let (name, moment) = all.get(aim.round)?;
    attack::restore(&aim.machine.data, &moment.data).unwrap();
    Some((*name).to_owned())
}

fn roll_back_log(aim: &mut Aim<'_>) -> Option<String> {
    let all = moments(aim, |_| true);
    let (name, moment) = all.get(aim.round)?;
    put_back(&aim.machine.data, &moment.data, |path| path.starts_with("wal/"));
    Some(format!("the log: {name}"))
}

fn is_manifest(path: &str) -> bool {
    path.starts_with("MANIFEST") || path == "CURRENT"
}

fn roll_back_manifest(aim: &mut Aim<'_>) -> Option<String> {
    let path = &aim.anatomy.manifest.path;
    let anchored = aim.anatomy.manifest.records[aim.anatomy.manifest_head].end;
    let all = moments(aim, |moment| moment.data.files.get(path).is_none_or(|bytes| bytes.len() < anchored));
    let (name, moment) = all.get(aim.round)?;
    put_back(&aim.machine.data, &moment.data, is_manifest);
    Some(format!("the MANIFEST: {name}"))
}

fn roll_back_tables(aim: &mut Aim<'_>) -> Option<String> {
    let all = with_other_tables(aim);
    let (name, moment) = all.get(aim.round)?;
    put_back(&aim.machine.data, &moment.data, is_table);
    Some(format!("the tables: {name}"))
}

fn roll_back_both(aim: &mut Aim<'_>) -> Option<String> {
    let all = moments(aim, |_| true);
    let (name, moment) = all.get(aim.round)?;
    put_back(&aim.machine.data, &moment.data, |path| !is_table(path));
    Some(format!("all but the tables: {name}"))
}

fn old_files_again(aim: &mut Aim<'_>) -> Option<String> {
    let mut back = 0;
    for (_, moment) in moments(aim, |_| true) {
        for (disk, image) in [(&aim.machine.data, &moment.data), (&aim.machine.trusted, &moment.trusted)] {
            let present = disk.files();
            for path in image.files.keys().filter(|path| !present.contains_key(*path)) {
                attack::restore_file(disk, image, path).unwrap();
                back += 1;
            }
        }
    }
    Some(format!("{back} files are back"))
}

fn keys(aim: &mut Aim<'_>, in_place: bool) -> Option<String> {
    let (data, platform) = (&aim.machine.data, aim.machine.platform());
    let keys = KeyFile::open_unanchored(data, &*platform).unwrap();
    let later = keys.reroot(data, &*platform, &*aim.machine.entropy).unwrap();
    if in_place {
        let bytes = data.bytes_of(&format!("KEYS.{}", later.version % 2)).unwrap();
        attack::write_file(data, &format!("KEYS.{}", keys.version % 2), &bytes).unwrap();
    }
    Some(format!("version {} of the key file", later.version))
}

fn other_store(aim: &mut Aim<'_>) -> Option<String> {
    attack::restore(&aim.machine.data, &aim.scene.other.data).unwrap();
    attack::restore(&aim.machine.trusted, &aim.scene.other.trusted).unwrap();
    Some("another store".to_owned())
}

fn other_trusted(aim: &mut Aim<'_>) -> Option<String> {
    attack::restore(&aim.machine.trusted, &aim.scene.other.trusted).unwrap();
    Some("another trusted volume".to_owned())
}

fn other_keys(aim: &mut Aim<'_>) -> Option<String> {
    put_back(&aim.machine.data, &aim.scene.other.data, |path| path.starts_with("KEYS"));
    Some("another key file".to_owned())
}

/// The files of the other store below a directory.
fn others<'a>(aim: &Aim<'a>, image: &'a Image, prefix: &str) -> Vec<&'a Vec<u8>> {
    assert!(aim.scene.other.data.files.len() > 1);
    image.files.iter().filter(|(path, _)| path.starts_with(prefix)).map(|(_, bytes)| bytes).collect()
}

fn other_manifest(aim: &mut Aim<'_>) -> Option<String> {
    let bytes = *others(aim, &aim.scene.other.data, "MANIFEST").last()?;
    attack::write_file(&aim.machine.data, &aim.anatomy.manifest.path, bytes).unwrap();
    Some("another MANIFEST".to_owned())
}

fn other_segment(aim: &mut Aim<'_>) -> Option<String> {
    let bytes = *others(aim, &aim.scene.other.data, "wal/").first()?;
    let file = aim.anatomy.wal[..=aim.anatomy.head.0].get(aim.round)?;
    attack::write_file(&aim.machine.data, &file.path, bytes).unwrap();
    Some(format!("another's segment as {}", file.path))
}

fn other_record(aim: &mut Aim<'_>) -> Option<String> {
    let files = others(aim, &aim.scene.other.data, "wal/");
    let theirs: Vec<_> =
        files.iter().filter_map(|b| crate::anatomy::log_file("theirs", b.to_vec())).collect();
    for _ in 0..1000 {
        let (last, head) = aim.anatomy.head;
        let s = aim.within(0..last + 1);
        let ours = &aim.anatomy.wal[s];
        let count = if s == last { head + 1 } else { ours.records.len() };
        let nth = aim.within(0..count);
        let file = aim.pick(&theirs)?;
        let Some(source) = file.records.get(nth) else { continue };
        let target = &ours.records[nth];
        if source.end - source.offset == target.end - target.offset {
            let bytes = &file.bytes[source.offset..source.end];
            aim.machine.data.poke(&ours.path, target.offset as u64, bytes).unwrap();
            return Some(format!("another's record {nth} in {}", ours.path));
        }
    }
    None
}

fn other_table(aim: &mut Aim<'_>) -> Option<String> {
    let bytes = *others(aim, aim.scene.other.tables(aim.scene.mode), "tables/").first()?;
    let table = aim.anatomy.tables.get(aim.round)?;
    // Of the same length, so that only its seals can tell.
    let mut bytes = bytes.clone();
    bytes.resize(aim.machine.table_disk().bytes_of(&table.path).unwrap().len(), 0);
    attack::write_file(aim.machine.table_disk(), &table.path, &bytes).unwrap();
    Some(format!("another's table as {}", table.path))
}

fn checkpoint(aim: &mut Aim<'_>) -> Option<String> {
    let lock = aim.machine.data.bytes_of("LOCK").unwrap();
    attack::restore(&aim.machine.data, &aim.scene.checkpoint).unwrap();
    attack::write_file(&aim.machine.data, "LOCK", &lock).unwrap();
    Some("the checkpoint in place".to_owned())
}

#[test]
fn another_platform_does_not_know_the_store() {
    for mode in crate::common::MODES {
        let scene = scene(mode);
        let machine = Machine { platform_disk: MemDisk::new(), ..scene.fork() };
        let before = (machine.data.files(), machine.trusted.files());
        let error =
            Store::open(machine.world(), options(&machine)).err().expect("a foreign platform is refused");
        note(&error);
        assert_eq!(error.proof().map(|proof| proof.kind), Some(Foreign), "{error:?}");
        assert!((machine.data.files(), machine.trusted.files()) == before, "R12: {mode}");
    }
}

#[test]
fn an_older_directory_is_a_rollback_and_names_anchor_and_log_position() {
    let scene = scene(Mode::Software);
    for (name, moment) in &scene.same_life {
        let machine = scene.fork();
        attack::restore(&machine.data, &moment.data).unwrap();
        let Outcome::Refused(error) = observe(scene, &machine) else {
            panic!("{name}: an old state was served")
        };
        let anchored = scene.anatomy().anchor.wal.position;
        assert_eq!(error.kind(), ErrorKind::Rollback, "{name}: {error:?}");
        assert!(error.to_string().contains("rollback"), "{name}: {error}");
        assert!(
            error.to_string().contains(&format!("log position {anchored}"))
                || error.to_string().contains(&format!("position {anchored}")),
            "{name}: {error}"
        );
    }
}
