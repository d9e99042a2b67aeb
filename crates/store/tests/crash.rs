//! The crash explorer: a store dies at every disk call, in every way that a disk can be cut, and
//! opens again with a prefix of its history that holds everything it had acknowledged.
//!
//! The jobs of the store run in one thread, one step at a time (R22), so a workload and a seed name a
//! state. `RINGFORT_LONG=1` looks at many more.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;
#[path = "crash/driver.rs"]
mod driver;
#[path = "crash/explore.rs"]
mod explore;
#[path = "crash/failing.rs"]
mod failing;
#[path = "common/model.rs"]
mod model;
#[path = "common/power.rs"]
mod power;
#[path = "crash/stories.rs"]
mod stories;

use common::{MODES, Machine};
use driver::{ALPHABET, Run, Step, any_step};
use explore::{Album, Effort, Explorer, examine};
use model::End;
use ringfort_base::Level;
use ringfort_fault::memory::CrashChoice;
use ringfort_fault::rng::SplitMix64;
use ringfort_fault::script::Fault;
use ringfort_store::StoreOptions;

/// Whether there is time.
pub fn long() -> bool {
    std::env::var_os("RINGFORT_LONG").is_some_and(|value| value == "1")
}

/// All sequences over `alphabet` of exactly `len` steps.
fn sequences(alphabet: &[Step], len: usize) -> Vec<Vec<Step>> {
    (0..len).fold(vec![Vec::new()], |shorter, _| {
        let longer = |head: &Vec<Step>| {
            let head = head.clone();
            alphabet.iter().map(move |step| head.iter().copied().chain([*step]).collect()).collect::<Vec<_>>()
        };
        shorter.iter().flat_map(longer).collect()
    })
}

/// Runs `steps` and takes pictures of the last one: shorter sequences show the others.
fn pictures(mode: ringfort_trust::keyfile::Mode, steps: &[Step]) -> Vec<explore::Cut> {
    let album = Album::default();
    let mut run = Run::new(Machine::new(mode, 7));
    match steps.split_last() {
        None => {
            album.watch(&run);
            run.open().unwrap();
        }
        Some((last, before)) => {
            run.open().unwrap();
            run.steps(before).unwrap();
            album.watch(&run);
            run.step(*last).unwrap();
        }
    }
    album.take(&run, "anything more");
    album.cuts()
}

fn explore_sequences(mode: ringfort_trust::keyfile::Mode, len: usize, every: usize, effort: Effort) {
    let mut explorer = Explorer::new(effort);
    let all = sequences(&ALPHABET, len);
    for steps in all.iter().step_by(every) {
        let cuts = pictures(mode, steps);
        explorer.explore(&cuts, &format!("{mode}, {steps:?}")).unwrap();
    }
    println!(
        "{mode}: {} of {} sequences of {len} steps, {} states ({} more were the same)",
        all.len().div_ceil(every),
        all.len(),
        explorer.states,
        explorer.known
    );
}

#[test]
fn every_cut_of_a_creation_and_of_every_single_step() {
    for mode in MODES {
        explore_sequences(mode, 0, 1, Effort { masks: 64, seeds: 12, depth: 0 });
        explore_sequences(mode, 1, 1, Effort { masks: 64, seeds: 8, depth: 0 });
    }
}

#[test]
fn every_cut_of_every_two_steps() {
    let masks = if long() { 64 } else { 16 };
    for mode in MODES {
        explore_sequences(mode, 2, 1, Effort { masks, seeds: 3, depth: 0 });
    }
}

/// All sequences in the long run; a sample that hits every pair of last steps in the short one.
#[test]
fn every_cut_of_every_three_steps() {
    for (mode, every) in MODES.into_iter().zip([1, 2, 2]) {
        let every = if long() { 1 } else { every };
        explore_sequences(mode, 3, every, Effort { masks: 16, seeds: 3, depth: 0 });
    }
}

/// A crash, then a crash in the recovery from it, then one in the recovery from that.
#[test]
fn every_cut_of_recovery_itself() {
    let workloads: [&[Step]; 3] = [
        &[Step::Both, Step::Put(Level::Durable), Step::Rotate(Level::Buffered), Step::Put(Level::Buffered)],
        &[Step::Both, Step::FlushA, Step::Put(Level::Durable), Step::Create],
        &[Step::Rotate(Level::Durable), Step::Settle, Step::Put(Level::Durable), Step::Reopen],
    ];
    for mode in MODES {
        let mut explorer = Explorer::new(Effort { masks: 4, seeds: 1, depth: 2 });
        // The creation as well: a creation that is cut is begun anew, and that is cut.
        let mut bases = vec![Vec::new()];
        bases.extend(workloads.iter().map(|steps| steps.to_vec()));
        for steps in bases {
            let cuts = pictures(mode, &steps);
            let every = if long() { 1 } else { cuts.len().div_ceil(2) };
            let some: Vec<_> = cuts.into_iter().step_by(every).collect();
            explorer.explore(&some, &format!("{mode}, {steps:?}")).unwrap();
        }
        println!(
            "{mode}: crashes in recovery, {} states ({} more were the same)",
            explorer.states, explorer.known
        );
    }
}

/// Values are moved, tables rewritten in place, and emptied value files deleted.
#[test]
fn every_cut_of_a_collection() {
    let steps = [Step::Many, Step::Settle, Step::Both, Step::Both, Step::Put(Level::Fresh)];
    for mode in MODES {
        let album = Album::default();
        let mut run = Run::new(Machine::new(mode, 7));
        run.open().unwrap();
        run.steps(&steps).unwrap();
        let before = run.store().statistics();
        album.watch(&run);
        run.step(Step::Settle).unwrap();
        album.take(&run, "anything more");
        let after = run.store().statistics();
        assert!(
            after.value_bytes_moved > before.value_bytes_moved,
            "{mode}: nothing was collected: {after:?}"
        );
        let masks = if long() { 64 } else { 8 };
        let mut explorer = Explorer::new(Effort { masks, seeds: 3, depth: 0 });
        explorer.explore(&album.cuts(), &format!("{mode}, {steps:?}")).unwrap();
        println!("{mode}: a collection, {} states ({} more were the same)", explorer.states, explorer.known);
    }
}

/// A value that was written by the piece is whole or not there, and its file goes if nothing names it:
/// cut while pieces are written, between the file's sync and its directory's, before and behind the log's
/// record, in the flush that adopts it; and again in the recovery from that.
#[test]
fn every_cut_of_a_value_by_the_piece() {
    let stored = Step::Stored;
    let workloads: [&[Step]; 10] = [
        &[stored(Level::Buffered)],
        &[stored(Level::Durable)],
        &[stored(Level::Fresh), stored(Level::Durable)],
        &[Step::Put(Level::Durable), Step::GiveUp],
        &[stored(Level::Durable), Step::FlushA],
        &[stored(Level::Durable), stored(Level::Buffered), Step::Settle],
        &[stored(Level::Fresh), Step::FlushA, Step::Rotate(Level::Durable), Step::Settle],
        &[stored(Level::Durable), Step::DeleteRange, Step::Settle],
        &[stored(Level::Durable), Step::GiveUp, Step::Reopen],
        // The anchored MANIFEST is from before the flush that adopts: the log names the file again.
        &[stored(Level::Fresh), stored(Level::Durable), Step::FlushA, Step::Put(Level::Durable)],
    ];
    explore_all("values by the piece", &workloads, (&[workloads[1], workloads[4]], 3));
}

/// Every cut of each workload, in every mode; of `again`, every so-many-th with the cuts of the recovery from it, too.
fn explore_all(name: &str, workloads: &[&[Step]], (again, every): (&[&[Step]], usize)) {
    for mode in MODES {
        let (masks, depth) = if long() { (64, 1) } else { (16, 0) };
        let mut explorer = Explorer::new(Effort { masks, seeds: 3, depth });
        for steps in workloads {
            explorer.explore(&pictures(mode, steps), &format!("{mode}, {steps:?}")).unwrap();
        }
        let states = explorer.states;
        explorer.effort = Effort { masks: 4, seeds: 1, depth: 1 };
        for steps in again {
            let cuts = pictures(mode, steps);
            let every = if long() { 1 } else { every };
            let some: Vec<_> = cuts.into_iter().step_by(every).collect();
            explorer.explore(&some, &format!("{mode}, {steps:?}")).unwrap();
        }
        println!("{mode}: {name}, {states} states, {} with recovery", explorer.states);
    }
}

/// A transaction is there from the vote to the decision, whatever is cut between: its record, a flush, segments,
/// the decision, and the next life; and again in the recovery from that.
#[test]
fn every_cut_around_a_prepared_transaction() {
    let (prepare, commit, abort) = (Step::Prepare, Step::Commit, Step::Abort);
    let (rotate, durable) = (Step::Rotate(Level::Durable), Level::Durable);
    let workloads: [&[Step]; 16] = [
        &[prepare(Level::Buffered)],
        &[prepare(Level::Durable)],
        &[prepare(Level::Fresh), commit(Level::Buffered)],
        &[prepare(Level::Durable), commit(Level::Durable)],
        &[prepare(Level::Durable), abort(Level::Durable)],
        &[prepare(Level::Fresh), commit(Level::Fresh), Step::FlushA],
        // What the vote is in must stay, what the decision is in as well.
        &[prepare(durable), rotate, rotate, Step::Settle],
        &[prepare(durable), rotate, commit(Level::Buffered), rotate, Step::Settle],
        &[prepare(durable), rotate, commit(durable), Step::Settle, Step::Both, Step::FlushA],
        &[prepare(durable), rotate, abort(Level::Buffered), Step::Settle],
        // A flush that needs no sync, and an anchor over it, beside a decision that is not durable.
        &[prepare(durable), rotate, abort(Level::Buffered), Step::Background],
        &[prepare(durable), rotate, commit(Level::Buffered), Step::Background, Step::Create],
        &[prepare(Level::Fresh), Step::Reopen, commit(durable)],
        &[prepare(Level::Buffered), Step::Reopen, rotate, Step::Reopen, Step::Settle],
        &[prepare(durable), commit(Level::Buffered), prepare(durable), Step::Reopen],
        &[
            Step::Both,
            prepare(durable),
            Step::Anchor,
            Step::DeleteRange,
            commit(Level::Buffered),
            Step::Anchor,
        ],
    ];
    explore_all("prepared transactions", &workloads, (&[workloads[3], workloads[7]], 2));
}

/// The log has reached its limit, and a record of a transaction in doubt goes to its head: cut while it is
/// written, synced, and the segments before it are given up.
#[test]
fn every_cut_of_a_record_that_is_carried() {
    let short = |mode| StoreOptions { max_total_wal_size: 12 << 10, ..driver::options(mode) };
    for mode in MODES {
        let mut run = Run::new(Machine::new(mode, 7));
        run.options = short;
        run.open().unwrap();
        run.step(Step::Prepare(Level::Durable)).unwrap();
        let album = Album::default();
        let rotate = Step::Rotate(Level::Buffered);
        for _ in 0..3 {
            run.steps(&[rotate, rotate, rotate, Step::Prepare(Level::Buffered)]).unwrap();
            album.watch(&run);
            run.step(Step::Settle).unwrap();
            album.take(&run, "anything more");
            run.power.unplan();
        }
        album.watch(&run);
        run.steps(&[Step::Commit(Level::Buffered), rotate, Step::Settle]).unwrap();
        album.take(&run, "the end");
        let carried = run.store().statistics().prepared_carried;
        assert!(carried >= 2, "{mode}: {carried} records were carried");
        let mut explorer = Explorer::new(Effort { masks: if long() { 64 } else { 8 }, seeds: 3, depth: 0 });
        explorer.options = short;
        let cuts = album.cuts();
        explorer.explore(&cuts, &format!("{mode}, carried")).unwrap();
        explorer.effort = Effort { masks: 4, seeds: 1, depth: 1 };
        let every = if long() { 1 } else { cuts.len().div_ceil(4) };
        let some: Vec<_> = cuts.into_iter().step_by(every).collect();
        explorer.explore(&some, &format!("{mode}, carried")).unwrap();
        println!("{mode}: carried, {} states ({} more were the same)", explorer.states, explorer.known);
    }
}

/// A log that the memory budget does not hold: tables and value files are written while it is replayed.
/// Dying there, and dying again in the replay after that, leaves the same content.
#[test]
fn every_cut_of_a_replay_beyond_the_memory_budget() {
    let tight = |mode| StoreOptions { memory_budget: 12 << 10, ..driver::options(mode) };
    let (rotate, put) = (Step::Rotate(Level::Buffered), Step::Put(Level::Buffered));
    // Enough for several rounds of flushes, each with operations on both keyspaces behind it.
    let stored = Step::Stored(Level::Buffered);
    let round = [Step::Both, rotate, stored, Step::Many, rotate, Step::Both, Step::DeleteRange, Step::Both];
    let log = round.repeat(3);
    for (end, all_durable) in [(&[Step::Put(Level::Durable)][..], true), (&[Step::Anchor, put, put], false)] {
        for mode in MODES {
            let mut run = Run::new(Machine::new(mode, 7));
            // The budget fills before a write buffer does, and with both keyspaces.
            run.keyspace.write_buffer_bytes = 1 << 20;
            run.open().unwrap();
            run.steps(&log).unwrap();
            run.steps(end).unwrap();
            let history = run.history.lock().clone();
            assert_eq!(history.durable == history.commits.len(), all_durable, "else a prefix would do");
            let killed = run.machine.map(ringfort_fault::memory::MemDisk::fork);
            let cuts = explore::cuts_of_recovery(tight, killed, &history, End::Kill);
            let created = |end: &str| {
                let names = cuts.iter().filter_map(|cut| cut.before.strip_prefix("Create tables/"));
                names.filter(|name| name.contains(end)).count()
            };
            let (tables, values) = (created(".sst"), created(".blob"));
            assert!(tables > 6 && values > 3, "{mode}: {tables} tables, {values} value files");
            let masks = if long() { 64 } else { 8 };
            let what = format!("{mode}, 3 times {round:?}, {end:?}, replayed");
            let mut explorer = Explorer::new(Effort { masks, seeds: 3, depth: 0 });
            explorer.options = tight;
            explorer.explore(&cuts, &what).unwrap();
            // Again and again: one in so many, cut at each write of the replay that follows.
            explorer.effort = Effort { masks: 4, seeds: 1, depth: 1 };
            let every = if long() { 1 } else { cuts.len().div_ceil(2) };
            let some: Vec<_> = cuts.into_iter().step_by(every).collect();
            explorer.explore(&some, &what).unwrap();
            println!(
                "{mode}: a replay over budget, {} states ({} more were the same)",
                explorer.states, explorer.known
            );
        }
    }
}

/// Long lives: random steps, a random death, what is left goes on.
#[test]
fn long_random_lives() {
    let (runs, lives) = if long() { (400, 30) } else { (50, 12) };
    for mode in MODES {
        let mut deaths = 0;
        for seed in 0..runs {
            let mut rng = SplitMix64::new(seed * 31 + 5);
            let mut run = Run::new(Machine::new(mode, seed));
            for life in 0..lives {
                let what = format!("{mode}, seed {seed}, life {life}");
                let within = if rng.chance(20) { 12 } else { 150 };
                run.power.at_mutating(1 + rng.below(within), Fault::Freeze);
                let mut outcome = run.open();
                let mut steps = Vec::new();
                while outcome.is_ok() && steps.len() < 60 {
                    let step = any_step(&mut rng);
                    steps.push(step);
                    outcome = run.step(step);
                }
                deaths += u32::from(outcome.is_err());
                assert!(
                    outcome.is_ok() || run.power.is_dead(),
                    "{what}: {outcome:?} without a reason, {steps:?}"
                );
                let (end, choice) = if rng.chance(30) {
                    (End::Kill, None)
                } else {
                    (End::PowerCut, Some(CrashChoice::Seeded(rng.next_u64())))
                };
                let machine =
                    run.machine.map(|disk| choice.map_or_else(|| disk.fork(), |choice| disk.crash(choice)));
                // A look at a copy, then on with the machine itself.
                let copy = machine.map(ringfort_fault::memory::MemDisk::fork);
                let seen = examine(&copy, &run.history.lock(), end, life % 4 == 0);
                seen.unwrap_or_else(|why| panic!("{what}: {end:?}: {why}; {steps:?}"));
                run.restart(machine, end);
            }
        }
        println!("{mode}: {runs} long runs, {deaths} deaths");
    }
}
