//! Single states that deserve a name: faults that were found once, and disks that lie, which the
//! explorer must notice (if it did not, its silence about honest disks would mean nothing).

use crate::common::{MODES, Machine, put};
use crate::driver::{Run, Step, options};
use crate::explore::{Album, Effort, Explorer, examine};
use crate::model::End;
use crate::power::Power;
use ringfort_base::Level;
use ringfort_fault::memory::CrashChoice;
use ringfort_fault::script::{Fault, Op};
use ringfort_store::Store;
use ringfort_trust::keyfile::Mode;

/// The steps, all syncs for which `lies` holds being lies; then the power goes.
fn with_lies(
    mode: Mode,
    steps: &[Step],
    lies: impl Fn(Op, &str) -> bool + Send + 'static,
) -> Result<(), String> {
    let mut run = Run::new(Machine::new(mode, 9));
    run.open().unwrap();
    run.power.plan(move |call| lies(call.op, &call.path).then_some(Fault::LyingSync));
    run.steps(steps).unwrap();
    let machine = run.machine.map(|disk| disk.crash(CrashChoice::LoseAll));
    let history = run.history.lock().clone();
    examine(&machine, &history, End::PowerCut, false)
}

/// A log whose syncs are lies loses what was acknowledged `durable`, and the checker says so.
#[test]
fn control_a_lying_sync_of_the_log_is_noticed() {
    for mode in MODES {
        let steps = [Step::Put(Level::Durable), Step::Put(Level::Durable)];
        with_lies(mode, &steps, |_, _| false).unwrap();
        let why = with_lies(mode, &steps, |op, path| op == Op::Sync && path.starts_with("wal/")).unwrap_err();
        assert!(why.contains("0 commits are left") && why.contains("2 were acknowledged"), "{mode}: {why}");
    }
}

/// The same at level `fresh`: here the store itself notices, by the counter.
#[test]
fn control_a_lying_sync_behind_the_anchor_is_refused_as_a_rollback() {
    for mode in MODES {
        let mut run = Run::new(Machine::new(mode, 9));
        run.open().unwrap();
        run.power
            .plan(|call| (call.op == Op::Sync && call.path.starts_with("wal/")).then_some(Fault::LyingSync));
        run.steps(&[Step::Put(Level::Fresh)]).unwrap();
        // The counter's own memory is not the host's to lose.
        let machine = Machine {
            platform_disk: run.machine.platform_disk.crash(CrashChoice::KeepAll),
            data: run.machine.data.crash(CrashChoice::LoseAll),
            trusted: run.machine.trusted.crash_by(|step| {
                use ringfort_fault::memory::{Fate, Unsynced};
                let claim = matches!(step, Unsynced::Write { file, .. } if file == "CLAIM");
                if claim { Fate::Kept } else { Fate::Lost }
            }),
            ..run.machine.map(Clone::clone)
        };
        let error = Store::open(machine.world(), options(mode)).err().unwrap();
        assert_eq!(error.kind(), ringfort_base::ErrorKind::Rollback, "{mode}: {error}");
    }
}

/// The file of a value by the piece, or its name, that was not synced before the log names it: refused, as
/// it would be if the host had taken it.
#[test]
fn control_a_lying_sync_of_a_value_by_the_piece_is_noticed() {
    for mode in MODES {
        let steps = [Step::Stored(Level::Durable)];
        let (file, dir) = ((Op::Sync, ".blob"), (Op::SyncDir, "tables"));
        for (op, name) in [file, dir] {
            let why = with_lies(mode, &steps, move |called, path| called == op && path.ends_with(name));
            let why = why.expect_err("a value that was acknowledged is gone");
            assert!(why.contains("an honest crash is refused") && why.contains("tables/"), "{mode}: {why}");
        }
    }
}

/// A directory sync that is left out loses the name of a rotated segment, or of a table.
#[test]
fn control_a_missing_directory_sync_is_noticed() {
    for mode in MODES {
        for (dir, steps) in [
            ("wal", [Step::Rotate(Level::Buffered), Step::Rotate(Level::Durable)]),
            ("tables", [Step::Put(Level::Durable), Step::FlushA]),
        ] {
            with_lies(mode, &steps, |_, _| false).unwrap();
            // The counter moved on with the MANIFEST, so that the flushed table is needed.
            let steps = [steps[0], steps[1], Step::Anchor];
            let found = with_lies_anchored(mode, &steps, dir);
            assert!(found.is_err(), "{mode}: a missing sync of the directory {dir} goes unnoticed");
        }
    }
}

fn with_lies_anchored(mode: Mode, steps: &[Step], dir: &'static str) -> Result<(), String> {
    let mut run = Run::new(Machine::new(mode, 9));
    run.open().unwrap();
    run.power.plan(move |call| (call.op == Op::SyncDir && call.path == dir).then_some(Fault::LyingSync));
    run.steps(steps).unwrap();
    let album = Album::default();
    album.take(&run, "anything more");
    let mut explorer = Explorer::new(Effort { masks: 64, seeds: 16, depth: 0 });
    explorer.explore(&album.cuts(), "a missing directory sync")
}

/// Found by reading: a flush whose memtable ends before a rotation freed the segment before it and
/// named the new one as the log's start, whose name no sync had covered yet. After a power cut the
/// store refused to open: "the log segment where replay must start is not there".
#[test]
fn a_segment_is_not_freed_before_its_successor_is_durable() {
    for mode in MODES {
        let mut run = Run::new(Machine::new(mode, 11));
        run.open().unwrap();
        // Fills and freezes a memtable, durable; then a new segment, not durable; then the flush.
        let steps =
            [Step::Rotate(Level::Durable), Step::Rotate(Level::Buffered), Step::Background, Step::Anchor];
        run.steps(&steps).unwrap();
        let album = Album::default();
        album.take(&run, "the sync of the new segment");
        let mut explorer = Explorer::new(Effort { masks: 64, seeds: 30, depth: 0 });
        explorer.explore(&album.cuts(), &format!("{mode}, {steps:?}")).unwrap();
        assert!(explorer.states > 3);
    }
}

/// A bulk load dies at every call, over a memtable, over tables and between other writes: all of it is
/// there or nothing, and what came before it is there if it is.
#[test]
fn a_bulk_load_is_all_or_nothing() {
    let (buffered, fresh) = (Step::Put(Level::Buffered), Step::Put(Level::Fresh));
    for mode in MODES {
        for before in
            [&[][..], &[buffered], &[fresh, Step::FlushA], &[Step::Both, Step::Settle], &[Step::Load]]
        {
            let mut run = Run::new(Machine::new(mode, 13));
            run.open().unwrap();
            run.steps(before).unwrap();
            let album = Album::default();
            album.watch(&run);
            run.steps(&[Step::Load, buffered]).unwrap();
            album.take(&run, "anything more");
            let mut explorer = Explorer::new(Effort { masks: 16, seeds: 8, depth: 0 });
            explorer.explore(&album.cuts(), &format!("{mode}, {before:?}, a load")).unwrap();
            assert!(explorer.states > 8, "{} states", explorer.states);
        }
    }
}

/// Two creations that were cut in a row: what the first left on the trusted volume, and removals
/// that no sync covered, are no evidence against the second.
#[test]
fn a_creation_can_be_cut_again_and_again() {
    for mode in MODES {
        for first in (1..60).step_by(2) {
            let mut machine = Machine::new(mode, first);
            for (round, nth) in [first, 60 - first, 7].into_iter().enumerate() {
                let power = Power::default();
                power.at_mutating(nth, Fault::Freeze);
                let opened = Store::open(power.world(&machine), options(mode));
                drop(opened);
                let choice = [CrashChoice::LoseAll, CrashChoice::KeepAll, CrashChoice::Seeded(first)][round];
                machine = machine.map(|disk| disk.crash(choice));
            }
            let store = Store::open(machine.world(), options(mode))
                .unwrap_or_else(|e| panic!("{mode}, {first}: {e}"));
            let ks = store.create_keyspace("ks", crate::driver::tiny()).unwrap();
            put(&store, ks, b"k", b"v", Level::Fresh).unwrap();
        }
    }
}
