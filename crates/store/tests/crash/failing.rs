//! Calls that fail while the process lives (R11): a typed error, nothing above what was confirmed is
//! released, nothing more is written, and what is on the disk opens.

use crate::common::{MODES, Machine};
use crate::driver::{Run, Step, options};
use crate::explore::examine;
use crate::model::End;
use crate::power::{Call, Which};
use ringfort_base::{Error, ErrorKind, Level};
use ringfort_fault::memory::CrashChoice;
use ringfort_fault::script::{Fault, Op};
use ringfort_store::Store;
use ringfort_trust::keyfile::Mode;

const WORKLOAD: [Step; 19] = [
    Step::Prepare(Level::Durable),
    Step::Put(Level::Buffered),
    Step::Both,
    Step::Put(Level::Durable),
    Step::Rotate(Level::Buffered),
    Step::Put(Level::Fresh),
    Step::FlushA,
    Step::Both,
    Step::Rotate(Level::Durable),
    Step::Background,
    Step::Create,
    Step::Commit(Level::Durable),
    Step::Load,
    Step::Prepare(Level::Buffered),
    Step::Settle,
    Step::Abort(Level::Buffered),
    Step::Put(Level::Fresh),
    Step::Reopen,
    Step::Put(Level::Fresh),
];

/// Runs the workload with the n-th mutating call failing. `None`: there is no n-th call.
fn run_with(mode: Mode, n: u64, fault: Fault) -> Option<(Run, Option<Error>)> {
    let mut run = Run::new(Machine::new(mode, n));
    run.power.start_journal();
    run.power.at_mutating(n, fault);
    let outcome = run.open().and_then(|()| run.steps(&WORKLOAD));
    (run.power.mutating() >= n).then_some((run, outcome.err()))
}

/// The platform's calls and those for the claim are the counter's, which asks again (R4).
fn is_counters(journal: &[Call], at: usize) -> bool {
    let call = &journal[at];
    let claims_name = call.op == Op::SyncDir && at > 0 && journal[at - 1].path.ends_with("-> CLAIM");
    call.disk == Which::Platform || call.path.contains("CLAIM") || claims_name
}

/// Calls that change something, the counter's left out.
fn writes(journal: &[Call], range: std::ops::Range<usize>) -> Vec<&Call> {
    range
        .filter(|at| journal[*at].is_mutating() && !is_counters(journal, *at))
        .map(|at| &journal[at])
        .collect()
}

/// A table that does not fit changes nothing: it is written anew under another number and key. A
/// failed sync, of whatever kind, is not of this sort.
fn is_full_disk_under_a_table(call: &Call) -> bool {
    matches!(call.fault, Some(Fault::Error(std::io::ErrorKind::StorageFull)))
        && call.path.starts_with("tables/")
        && matches!(call.op, Op::Create | Op::Write | Op::Allocate)
}

/// Space that a segment does not get beforehand it gets as it is written; one that a flush cannot begin is
/// given up, and removed.
fn is_full_disk_under_a_new_segment(journal: &[Call], at: usize) -> bool {
    let failed = &journal[at];
    let removed = |then: &Call| {
        then.op == Op::Remove && then.disk as u8 == failed.disk as u8 && then.path == failed.path
    };
    matches!(failed.fault, Some(Fault::Error(std::io::ErrorKind::StorageFull)))
        && failed.path.starts_with("wal/")
        && (failed.op == Op::Allocate || journal.get(at + 1).is_some_and(removed))
}

fn check_error(error: &Error, what: &str) {
    assert!(error.proof().is_none(), "{what}: a failing disk is reported as an attack: {error}");
    let kinds = [ErrorKind::Io, ErrorKind::Exhausted, ErrorKind::OutcomeUnknown, ErrorKind::Stopped];
    assert!(kinds.contains(&error.kind()), "{what}: {error:?}");
}

/// Of a store that met a failing call: what it says, what it still writes, what it leaves.
fn check_run(mut run: Run, error: Option<Error>, what: &str) {
    let journal = run.power.journal();
    let at = journal.iter().position(|call| call.fault.is_some()).unwrap();
    let failed = &journal[at];
    let what = format!("{what}: {:?} {} of the {:?} disk", failed.op, failed.path, failed.disk);
    let survived = is_full_disk_under_a_table(failed);
    // What only gives space back may fail: the space stays taken.
    let log_cut = failed.op == Op::Truncate && failed.path.starts_with("wal/");
    let gives_back = failed.op == Op::Remove || log_cut;
    let goes_without = is_full_disk_under_a_new_segment(&journal, at);
    let matters = !is_counters(&journal, at) && !gives_back && !survived && !goes_without;
    match &error {
        Some(error) => check_error(error, &what),
        None => assert!(!matters && !survived, "{what}: nobody was told"),
    }
    if let (Some(store), true) = (&run.store, survived) {
        // Told as what it is, and when there is room again the work is done.
        assert_eq!(error.as_ref().map(Error::kind), Some(ErrorKind::Exhausted), "{what}");
        assert!(store.stopped().is_none(), "{what}: a full disk under a table stopped the store");
        while store.maintenance_step().unwrap_or_else(|e| panic!("{what}: {e}"))
            == ringfort_store::Step::Worked
        {}
        store.close().unwrap_or_else(|e| panic!("{what}: {e}"));
    }
    if goes_without {
        assert!(
            error.is_none() && run.store.as_ref().is_none_or(|s| s.stopped().is_none()),
            "{what}: {error:?}"
        );
    }
    if matters {
        let later = writes(&journal, at + 1..journal.len());
        assert!(later.is_empty(), "{what}: written after the failure: {later:?}");
    }
    if let (Some(store), true) = (&run.store, matters) {
        let why = store.stopped().unwrap_or_else(|| panic!("{what}: the store goes on"));
        check_error(&why, &what);
        for refused in [store.maintenance_step().err(), store.close().err()] {
            assert_eq!(refused.map(|e| e.kind()), Some(ErrorKind::Stopped), "{what}");
        }
        // Refused before it has a position: not "outcome unknown".
        let again = store.apply(ringfort_store::WriteBatch::new()).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::Stopped, "{what}: {again}");
    }
    run.power.unplan();
    run.store = None;
    let history = run.history.lock().clone();
    let killed = run.machine.map(ringfort_fault::memory::MemDisk::fork);
    let lost = run.machine.map(|disk| disk.crash(CrashChoice::LoseAll));
    let some = run.machine.map(|disk| disk.crash(CrashChoice::Seeded(at as u64)));
    for (machine, end) in [(killed, End::Kill), (lost, End::PowerCut), (some, End::PowerCut)] {
        examine(&machine, &history, end, false).unwrap_or_else(|why| panic!("{what}: then a {end:?}: {why}"));
    }
}

#[test]
fn r11_every_mutating_call_that_fails() {
    let faults = [
        Fault::Error(std::io::ErrorKind::Other),
        Fault::Error(std::io::ErrorKind::StorageFull),
        Fault::ShortWrite(40),
    ];
    let mut runs = 0;
    for mode in MODES {
        for fault in faults {
            for n in 1.. {
                let Some((run, error)) = run_with(mode, n, fault) else { break };
                check_run(run, error, &format!("{mode}, {fault:?} at call {n}"));
                runs += 1;
            }
        }
    }
    println!("{runs} failing calls");
    assert!(runs > 500, "the sweep ended after {runs} calls");
}

/// Reads, listings and openings that fail: recovery says so, writes nothing (R12), and works the next time.
#[test]
fn r12_every_read_of_recovery_that_fails() {
    for mode in MODES {
        let mut run = Run::new(Machine::new(mode, 3));
        run.open().unwrap();
        run.steps(&WORKLOAD).unwrap();
        run.store = None;
        let history = run.history.lock().clone();
        let mut reads = 0;
        for n in 1.. {
            let machine = run.machine.map(ringfort_fault::memory::MemDisk::fork);
            let again = Run::continuing(machine, history.clone());
            again.power.start_journal();
            let mut seen = 0;
            again.power.plan(move |call| {
                seen += u64::from(matches!(call.op, Op::Read | Op::Open | Op::List | Op::Len));
                let hit = seen == n && !call.is_mutating() && call.op != Op::Lock;
                hit.then_some(Fault::Error(std::io::ErrorKind::Other))
            });
            let outcome = Store::open(again.power.world(&again.machine), options(mode));
            let journal = again.power.journal();
            let Some(at) = journal.iter().position(|call| call.fault.is_some()) else { break };
            let what = format!(
                "{mode}: {:?} {} of the {:?} disk",
                journal[at].op, journal[at].path, journal[at].disk
            );
            reads += 1;
            if let Err(error) = &outcome {
                check_error(error, &what);
                // Behind the claim's first file everything has been verified.
                let began = !writes(&journal, 0..at).is_empty();
                let later = writes(&journal, at..journal.len());
                assert!(began || later.is_empty(), "{what}: written although it refused: {later:?}");
            }
            drop(outcome);
            let machine = again.machine.map(ringfort_fault::memory::MemDisk::fork);
            examine(&machine, &history, End::Kill, false).unwrap_or_else(|why| panic!("{what}: {why}"));
        }
        assert!(reads > 10, "{mode}: the sweep ended after {reads} reads");
    }
}

/// A sync fails, its pages are dropped, the next sync reports success: what Linux does. A store that
/// tried again would believe it.
#[test]
fn r11_a_failed_sync_is_never_repeated() {
    for mode in MODES {
        let mut run = Run::new(Machine::new(mode, 5));
        run.open().unwrap();
        run.steps(&[Step::Put(Level::Durable), Step::Put(Level::Buffered), Step::Both]).unwrap();
        let disk = run.machine.log_disk().clone();
        let mut failed = false;
        run.power.start_journal();
        run.power.plan(move |call| {
            let hit = !failed && call.op == Op::Sync && call.path.starts_with("wal/");
            if hit {
                failed = true;
                disk.fail_sync(&call.path).unwrap();
            }
            hit.then_some(Fault::Error(std::io::ErrorKind::Other))
        });
        let error = run.step(Step::Put(Level::Durable)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
        let store = run.store();
        assert!(store.wait(store.frontier(Level::Buffered), Level::Durable).is_ready(), "the waiter hangs");
        let outcome = run.wait(store.frontier(Level::Buffered), Level::Durable);
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
        assert!(store.sync_step().is_err() && store.anchor_step().is_err() && store.close().is_err());
        assert!(store.get(run.ids[0], b"key 1", None).is_err(), "readers too");
        let writes = run.power.journal().iter().filter(|call| call.is_mutating()).count();
        assert_eq!(writes, 2, "the write of the group and its sync, nothing else");
        run.store = None;
        let lost = run.machine.map(|disk| disk.crash(CrashChoice::LoseAll));
        let history = run.history.lock().clone();
        examine(&lost, &history, End::PowerCut, true).unwrap();
    }
}
