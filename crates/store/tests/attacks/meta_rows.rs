//! Attacks on what names everything else: MANIFEST, CURRENT, key file, and whole directories
//! deleted (matrix rows 1-7, 32).

use crate::anatomy::{FRAME_BYTES, TAG_BYTES};
use crate::matrix::{Aim, Expect, Outcome, Row, observe, run};
use crate::scene::scene;
use ringfort_base::EvidenceKind::{self, BadSeal, Foreign, Inconsistent, Missing, Rollback, Truncated};
use ringfort_fault::attack;
use ringfort_trust::keyfile::Mode;

const ALTERED: &[EvidenceKind] = &[BadSeal, Inconsistent, Missing, Rollback, Foreign];
const MANIFEST: [Expect; 3] = [Expect::Refused(ALTERED, "MANIFEST"); 3];
const KEYS: [Expect; 3] = [Expect::Refused(&[BadSeal, Foreign, Truncated, Missing], "KEYS"); 3];
const HARMLESS: [Expect; 3] = [Expect::Harmless; 3];
const GONE: Expect = Expect::Refused(&[Missing], "");

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "flip-manifest",
        what: "a bit of the MANIFEST up to its anchored edit",
        by: "R1, R13: seals and chain, the anchor holds the head",
        expect: MANIFEST,
        rounds: 100,
        attack: flip_manifest,
    },
    Row {
        id: "cut-manifest",
        what: "the MANIFEST cut at and inside every record",
        by: "R1, R3: the anchor holds the head of the MANIFEST",
        expect: MANIFEST,
        rounds: usize::MAX,
        attack: cut_manifest,
    },
    Row {
        id: "reorder-manifest",
        what: "two edits exchanged",
        by: "R13: the chain of tags",
        expect: MANIFEST,
        rounds: 10,
        attack: reorder_manifest,
    },
    Row {
        id: "repeat-manifest",
        what: "an edit twice",
        by: "R13: the chain of tags",
        expect: MANIFEST,
        rounds: 10,
        attack: repeat_manifest,
    },
    Row {
        id: "extend-manifest",
        what: "noise behind the last edit",
        by: "R3: recovery stops at the anchored edit",
        expect: HARMLESS,
        rounds: 5,
        attack: extend_manifest,
    },
    Row {
        id: "rename-manifest",
        what: "the MANIFEST under another number",
        by: "R13: the number is part of the header",
        expect: MANIFEST,
        rounds: 1,
        attack: rename_manifest,
    },
    Row {
        id: "delete-manifest",
        what: "the MANIFEST deleted",
        by: "R1, R8: the anchor names it",
        expect: MANIFEST,
        rounds: 1,
        attack: delete_manifest,
    },
    Row {
        id: "current-anything",
        what: "CURRENT altered, emptied, deleted: it is a hint",
        by: "R8: recovery looks for the MANIFEST that the anchor names",
        expect: HARMLESS,
        rounds: 6,
        attack: current,
    },
    Row {
        id: "flip-keys",
        what: "a bit of the key file",
        by: "R1, R14: authenticated, its digest is anchored",
        expect: KEYS,
        rounds: 150,
        attack: flip_keys,
    },
    Row {
        id: "cut-keys",
        what: "the key file cut",
        by: "R1, R14",
        expect: KEYS,
        rounds: 30,
        attack: cut_keys,
    },
    Row {
        id: "extend-keys",
        what: "noise behind the key file",
        by: "R1, R14",
        expect: KEYS,
        rounds: 5,
        attack: extend_keys,
    },
    Row {
        id: "delete-keys",
        what: "the key file deleted",
        by: "R1, R18",
        expect: KEYS_OR_ALL,
        rounds: 1,
        attack: delete_keys,
    },
    Row {
        id: "empty-directory",
        what: "everything in the data directory deleted",
        by: "R18: the platform knows the name",
        expect: [GONE; 3],
        rounds: 1,
        attack: empty,
    },
    Row {
        id: "empty-trusted",
        what: "everything on the trusted volume deleted (damage)",
        by: "R2, R17: the volume id is sealed in the store",
        expect: [Expect::Outside("this mode has none"), GONE, GONE],
        rounds: 1,
        attack: empty_trusted,
    },
    Row {
        id: "noise-files",
        what: "files of noise beside the store's own",
        by: "R2: what the state does not name is garbage",
        expect: HARMLESS,
        rounds: 5,
        attack: noise_files,
    },
];

/// In `hardware` and `twin` the key file may be all that shows the store in its data directory.
const KEYS_OR_ALL: [Expect; 3] = [KEYS[0], GONE, Expect::Refused(&[Missing], "")];

#[test]
fn attacks_on_manifest_and_keys() {
    run(ROWS);
}

#[test]
fn an_emptied_directory_is_refused_with_the_way_out() {
    for mode in crate::common::MODES {
        let scene = scene(mode);
        let machine = scene.fork();
        attack::empty(&machine.data).unwrap();
        let Outcome::Refused(error) = observe(scene, &machine) else {
            panic!("{mode}: an empty store was served")
        };
        assert!(error.to_string().contains("ringfort destroy --store default"), "{error}");
        assert!(machine.data.files().is_empty(), "{mode}: the refusal left the directory empty");
    }
}

fn manifest_end(aim: &Aim<'_>) -> usize {
    aim.anatomy.manifest.records[aim.anatomy.manifest_head].end
}

fn flip_manifest(aim: &mut Aim<'_>) -> Option<String> {
    let at = aim.within(0..manifest_end(aim));
    Some(aim.flip(aim.machine.log_disk(), &aim.anatomy.manifest.path, at))
}

fn cut_manifest(aim: &mut Aim<'_>) -> Option<String> {
    let file = &aim.anatomy.manifest;
    let records = file.records[..=aim.anatomy.manifest_head].iter();
    let inside = records
        .flat_map(|r| [r.offset, r.offset + 3, r.offset + FRAME_BYTES + 1, r.end - TAG_BYTES, r.end - 1]);
    let len = [0, 20].into_iter().chain(inside).nth(aim.round)?;
    attack::truncate(aim.machine.log_disk(), &file.path, len as u64).unwrap();
    Some(format!("{} cut to {len} bytes", file.path))
}

fn reorder_manifest(aim: &mut Aim<'_>) -> Option<String> {
    let file = &aim.anatomy.manifest;
    let nth = aim.within(1..aim.anatomy.manifest_head + 1);
    let (one, two) = (&file.records[nth - 1], &file.records[nth]);
    let mut bytes = file.bytes[two.offset..two.end].to_vec();
    let second = bytes.len() + 4;
    bytes.extend_from_slice(&file.bytes[one.offset..one.end]);
    bytes[4..8].copy_from_slice(&(nth as u32 - 1).to_le_bytes());
    bytes[second..second + 4].copy_from_slice(&(nth as u32).to_le_bytes());
    aim.machine.log_disk().poke(&file.path, one.offset as u64, &bytes).unwrap();
    Some(format!("edits {} and {nth} exchanged", nth - 1))
}

fn repeat_manifest(aim: &mut Aim<'_>) -> Option<String> {
    let file = &aim.anatomy.manifest;
    let nth = aim.within(0..aim.anatomy.manifest_head);
    let record = &file.records[nth];
    let disk = aim.machine.log_disk();
    attack::duplicate(disk, &file.path, record.offset as u64, (record.end - record.offset) as u64).unwrap();
    disk.poke(&file.path, record.end as u64 + 4, &(nth as u32 + 1).to_le_bytes()).unwrap();
    Some(format!("edit {nth} twice"))
}

fn extend_manifest(aim: &mut Aim<'_>) -> Option<String> {
    let mut noise = [0; 300];
    aim.rng.fill(&mut noise);
    attack::append(aim.machine.log_disk(), &aim.anatomy.manifest.path, &noise).unwrap();
    Some("the MANIFEST is longer".to_owned())
}

fn rename_manifest(aim: &mut Aim<'_>) -> Option<String> {
    let disk = aim.machine.log_disk();
    attack::write_file(disk, "MANIFEST-99000000", &aim.anatomy.manifest.bytes).unwrap();
    attack::delete(disk, &aim.anatomy.manifest.path).unwrap();
    Some("the MANIFEST renamed".to_owned())
}

fn delete_manifest(aim: &mut Aim<'_>) -> Option<String> {
    attack::delete(aim.machine.log_disk(), &aim.anatomy.manifest.path).unwrap();
    Some("the MANIFEST deleted".to_owned())
}

fn current(aim: &mut Aim<'_>) -> Option<String> {
    let disk = aim.machine.log_disk();
    match aim.round {
        0 => attack::delete(disk, "CURRENT").unwrap(),
        1 => attack::truncate(disk, "CURRENT", 0).unwrap(),
        2 => attack::write_file(disk, "CURRENT", b"MANIFEST-00000001\n").unwrap(),
        3 => attack::write_file(disk, "CURRENT", b"../../etc/passwd\n").unwrap(),
        4 => attack::write_file(disk, "CURRENT", &[0xff; 100_000]).unwrap(),
        _ => drop(aim.flip(disk, "CURRENT", 10)),
    }
    Some(format!("CURRENT, way {}", aim.round))
}

fn keys_path(aim: &Aim<'_>) -> &'static str {
    if aim.anatomy.anchor.key_file_version.is_multiple_of(2) { "KEYS.0" } else { "KEYS.1" }
}

fn flip_keys(aim: &mut Aim<'_>) -> Option<String> {
    let path = keys_path(aim);
    let len = aim.machine.data.bytes_of(path).unwrap().len();
    let at = aim.within(0..len);
    Some(aim.flip(&aim.machine.data, path, at))
}

fn cut_keys(aim: &mut Aim<'_>) -> Option<String> {
    let path = keys_path(aim);
    let len = aim.machine.data.bytes_of(path).unwrap().len();
    let len = aim.within(0..len);
    attack::truncate(&aim.machine.data, path, len as u64).unwrap();
    Some(format!("{path} cut to {len}"))
}

fn extend_keys(aim: &mut Aim<'_>) -> Option<String> {
    let path = keys_path(aim);
    attack::append(&aim.machine.data, path, &vec![7; aim.round * 30_000 + 1]).unwrap();
    Some(format!("{path} is longer"))
}

fn delete_keys(aim: &mut Aim<'_>) -> Option<String> {
    let path = keys_path(aim);
    attack::delete(&aim.machine.data, path).unwrap();
    Some(format!("{path} deleted"))
}

fn empty(aim: &mut Aim<'_>) -> Option<String> {
    attack::empty(&aim.machine.data).unwrap();
    Some("the data directory is empty".to_owned())
}

fn empty_trusted(aim: &mut Aim<'_>) -> Option<String> {
    // Its lock stays, so that the refusal has nothing to create.
    for path in aim.machine.trusted.files().keys().filter(|path| *path != "LOCK") {
        attack::delete(&aim.machine.trusted, path).unwrap();
    }
    Some("the trusted volume is empty".to_owned())
}

fn noise_files(aim: &mut Aim<'_>) -> Option<String> {
    let mut noise = vec![0; 3000];
    aim.rng.fill(&mut noise);
    let (log, tables) = (aim.machine.log_disk(), aim.machine.table_disk());
    for path in
        ["MANIFEST-99999999", "MANIFEST-00000000", "wal/00000000.log", "wal/x.log", "notes.txt", "KEYS.9"]
    {
        attack::write_file(log, path, &noise).unwrap();
    }
    for path in ["tables/00000000.sst", "tables/99999990.sst", "tables/core"] {
        attack::write_file(tables, path, &noise).unwrap();
    }
    let other = if aim.anatomy.anchor.key_file_version.is_multiple_of(2) { "KEYS.1" } else { "KEYS.0" };
    attack::write_file(&aim.machine.data, other, &noise[..200 * (aim.round % 16)]).unwrap();
    assert!(aim.scene.mode == Mode::Software || !aim.machine.data.files().contains_key("wal/x.log"));
    Some("noise in every directory".to_owned())
}
