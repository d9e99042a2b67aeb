//! # The attack matrix: what a hostile host does to a store, and what must come of it
//!
//! One table of rows ([`matrix::Row`]), cut into modules by what they aim at. A row says what is
//! changed and what each mode must make of it; [`matrix::run`] attacks, opens, reads and judges.
//! Beside every table run honest controls. Attacks on a *running* store are in [`live`].
//!
//! ```text
//! scene ──▶ a killed machine with a rich history        anatomy ──▶ where every record and block lies
//!    └──────────────▶ fork ─▶ attack ─▶ open, read everything ─▶ judge ◀──────┘
//! ```
//! `docs/threat-model.md` lists every row by its id; a test here holds the two together.
//! `RINGFORT_LONG=1` multiplies the rounds.
#![allow(clippy::unwrap_used, clippy::ok_expect, reason = "helpers of tests fail the test")]

#[path = "../common/mod.rs"]
mod common;

mod anatomy;
mod canary;
mod document;
mod exhaustive;
mod honest;
mod live;
mod loaded_rows;
mod log_rows;
mod matrix;
mod meta_rows;
mod nonces;
mod rollback_rows;
mod scene;
mod table_rows;
mod value_rows;

#[test]
fn the_scene_has_everything_that_the_rows_aim_at() {
    use ringfort_store::engine::lsm::table::format::BlockKind;
    for mode in common::MODES {
        let anatomy = scene::scene(mode).anatomy();
        for level in 0..3 {
            assert!(
                anatomy.tables.iter().any(|table| table.level == level),
                "{mode}: a table at level {level}"
            );
        }
        let kinds = [
            BlockKind::Data,
            BlockKind::Tombstones,
            BlockKind::Filter,
            BlockKind::Index,
            BlockKind::TopIndex,
            BlockKind::Properties,
            BlockKind::Footer,
        ];
        for kind in kinds {
            assert!(
                anatomy.tables.iter().any(|table| table.of_kind(kind).count() > 0),
                "{mode}: a {}",
                kind.name()
            );
        }
        let named_by = |unnamed| anatomy.values.iter().any(move |file| file.unnamed == unnamed);
        assert!(named_by(true) && named_by(false), "{mode}: value files of the log and of the MANIFEST");
        assert!(anatomy.head.0 >= 3, "{mode}: anchored segments: {:?}", anatomy.head);
        assert!(
            anatomy.wal.len() > anatomy.head.0 + 1
                || anatomy.wal[anatomy.head.0].records.len() > anatomy.head.1 + 1
        );
        println!(
            "{mode}: {:?} {:?}",
            anatomy.tables,
            anatomy.wal.iter().map(|f| f.records.len()).collect::<Vec<_>>()
        );
        matrix::run(&[]);
    }
}
