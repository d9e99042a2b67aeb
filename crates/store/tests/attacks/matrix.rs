//! The table's shape, and the one way in which every row is run and judged.
//!
//! Each round of a row: a fresh copy of the killed machine; the attack; `Store::open`; if it opens,
//! everything is read in three ways; the outcome is compared with what the row expects of the mode.
//! A refusal must have left all three disks byte for byte as they were (R12).

use crate::anatomy::Anatomy;
use crate::common::{MODES, Machine, commit};
use crate::scene::{NAMES, Scene, View, note, options, read_all, scene};
use ringfort_base::{Error, ErrorKind, EvidenceKind, Level};
use ringfort_fault::memory::MemDisk;
use ringfort_fault::rng::SplitMix64;
use ringfort_store::{Store, WriteBatch};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What must come of an attack.
#[derive(Clone, Copy, Debug)]
pub enum Expect {
    /// `open` refuses, with one of these kinds of evidence, on a file whose path begins so.
    Refused(&'static [EvidenceKind], &'static str),
    /// `open` or the first read of what was touched refuses so; until then only true data is
    /// served, and from then on the store is stopped.
    OnRead(&'static [EvidenceKind], &'static str),
    /// As an honest crash: everything anchored is there, and of what was not, an unbroken front.
    Crash,
    /// Everything is there.
    Harmless,
    /// Everything is there, or a refusal: what was touched carries no data, noticing it is allowed.
    Noticed,
    /// Outside the threat model, and said so in docs/threat-model.md. Not run.
    Outside(&'static str),
}

/// An attack.
pub struct Row {
    /// Its name here and in docs/threat-model.md.
    pub id: &'static str,
    /// What is changed.
    pub what: &'static str,
    /// The rules and the countermeasure that meet it.
    pub by: &'static str,
    /// In `software`, `hardware`, `twin`.
    pub expect: [Expect; 3],
    /// How often, each time elsewhere.
    pub rounds: usize,
    /// Carries out one round; says what it did. `None`: there is no such target (any more).
    pub attack: fn(&mut Aim<'_>) -> Option<String>,
}

/// What an attack has to work with.
pub struct Aim<'a> {
    pub scene: &'a Scene,
    pub anatomy: &'a Anatomy,
    /// The copy to be attacked.
    pub machine: &'a Machine,
    pub rng: SplitMix64,
    pub round: usize,
}

impl Aim<'_> {
    /// One of `all`, by the dice.
    pub fn pick<'t, T>(&mut self, all: &'t [T]) -> Option<&'t T> {
        if all.is_empty() { None } else { all.get(self.rng.below(all.len() as u64) as usize) }
    }

    /// A number in `range`, by the dice.
    pub fn within(&mut self, range: std::ops::Range<usize>) -> usize {
        range.start + self.rng.below((range.end - range.start) as u64) as usize
    }

    pub fn bit(&mut self) -> u8 {
        1 << self.rng.below(8)
    }

    /// Flips one bit of a file in place.
    pub fn flip(&mut self, disk: &MemDisk, path: &str, at: usize) -> String {
        let bit = self.bit();
        ringfort_fault::attack::flip(disk, path, at as u64, bit).unwrap();
        format!("bit {bit:#04x} of byte {at} of {path}")
    }
}

/// How an attacked store behaved.
pub enum Outcome {
    Refused(Error),
    /// Opened, served only what is true, then met the evidence.
    Stopped(Error),
    Served(Box<View>, Store),
}

type Files = BTreeMap<String, Vec<u8>>;

fn disks(machine: &Machine) -> [Files; 3] {
    [machine.data.files(), machine.trusted.files(), machine.platform_disk.files()]
}

/// Opens and reads everything; checks what holds whatever was attacked.
pub fn observe(scene: &Scene, machine: &Machine) -> Outcome {
    let before = disks(machine);
    let store = match Store::open(machine.world(), options(machine)) {
        Ok(store) => store,
        Err(error) => {
            note(&error);
            assert!(disks(machine) == before, "R12: the refusal changed a file ({error})");
            return Outcome::Refused(error);
        }
    };
    let found = NAMES.map(|name| store.keyspace(name));
    assert_eq!(found, scene.keyspaces.map(Some), "the keyspaces are there under their ids");
    match read_all(&store, &scene.keyspaces, scene.full()) {
        Ok(view) => Outcome::Served(Box::new(view), store),
        Err(error) => {
            note(&error);
            serves_only_truth(scene, machine);
            stays_stopped(scene, &store, &error);
            Outcome::Stopped(error)
        }
    }
}

/// Evidence stops a store for good: reads and writes answer with it.
fn stays_stopped(scene: &Scene, store: &Store, error: &Error) {
    assert!(error.proof().is_some(), "a failed read of altered bytes carries evidence: {error:?}");
    assert!(store.stopped().is_some(), "evidence stops the store: {error}");
    let later = store.get(scene.keyspaces[0], b"any", None).expect_err("a stopped store reads nothing");
    assert!(matches!(later.kind(), ErrorKind::Stopped | ErrorKind::Tampered), "{later:?}");
    let mut batch = WriteBatch::new();
    batch.put(scene.keyspaces[0], "any", "thing");
    note(&store.apply(batch).expect_err("a stopped store writes nothing"));
}

/// Up to the first refusal, what scans and point reads show is the truth, in a life of its own on
/// the same attacked disks.
fn serves_only_truth(scene: &Scene, attacked: &Machine) {
    let machine = attacked.map(MemDisk::fork);
    let Ok(store) = Store::open(machine.world(), options(&machine)) else { return };
    let full = scene.full();
    for (k, &keyspace) in scene.keyspaces.iter().enumerate() {
        let snapshot = store.snapshot();
        let Ok(iter) = store.iter(keyspace, b"", None, false, &snapshot) else { return };
        let mut truth = full[k].iter();
        for entry in iter {
            let Ok((key, value)) = entry else { return };
            assert_eq!(truth.next(), Some((&key, &value)), "a scan shows the truth until it stops");
        }
        for (key, value) in full[k].iter().step_by(11) {
            let Ok(answer) = store.get(keyspace, key, None) else { return };
            assert_eq!(
                answer.value.as_deref(),
                Some(value.as_slice()),
                "a point read shows the truth until it stops"
            );
        }
    }
}

/// Judges one outcome.
fn judge(scene: &Scene, expect: Expect, outcome: &Outcome) -> Result<(), String> {
    let evidence = |error: &Error, kinds: &[EvidenceKind], file: &str| match error.proof() {
        Some(proof) if kinds.contains(&proof.kind) && proof.file.starts_with(file) => Ok(()),
        _ => Err(format!("another refusal than expected: {error:?} with {:?}", error.proof())),
    };
    match (expect, outcome) {
        (Expect::Refused(kinds, file), Outcome::Refused(error)) => evidence(error, kinds, file),
        (Expect::OnRead(kinds, file), Outcome::Refused(error) | Outcome::Stopped(error)) => {
            evidence(error, kinds, file)
        }
        (Expect::Noticed, Outcome::Refused(error) | Outcome::Stopped(error)) if error.proof().is_some() => {
            Ok(())
        }
        (Expect::Harmless | Expect::Noticed, Outcome::Served(view, _)) => {
            if **view == *scene.full() {
                Ok(())
            } else {
                Err("data were lost or changed".to_owned())
            }
        }
        (Expect::Crash, Outcome::Served(view, _)) => {
            if scene.views.contains(view) {
                Ok(())
            } else {
                Err("not a state that an honest crash leaves".to_owned())
            }
        }
        (_, Outcome::Refused(error)) => Err(format!("refused: {error:?}")),
        (_, Outcome::Stopped(error)) => Err(format!("stopped by a read: {error:?}")),
        (_, Outcome::Served(view, _)) if **view == *scene.full() => {
            Err("went unnoticed, with true data".to_owned())
        }
        (_, Outcome::Served(..)) => Err("FALSE DATA were served".to_owned()),
    }
}

/// An accepted store goes on as any other: writes, anchors, and opens again without an alarm.
fn goes_on(scene: &Scene, machine: &Machine, store: Store, mut view: View) {
    let mut batch = WriteBatch::new();
    batch.put(scene.keyspaces[0], "afterwards", "written");
    view[0].insert(b"afterwards".to_vec(), b"written".to_vec());
    commit(&store, batch, Level::Fresh).unwrap();
    crate::common::settle(&store).unwrap();
    store.close().unwrap();
    drop(store);
    let store = Store::open(machine.world(), options(machine)).unwrap();
    assert!(read_all(&store, &scene.keyspaces, &view).unwrap() == view, "nothing is lost in the next life");
}

/// More rounds with `RINGFORT_LONG=1`.
pub fn effort() -> usize {
    if std::env::var_os("RINGFORT_LONG").is_some_and(|v| v == "1") { 20 } else { 1 }
}

/// Runs a table in all modes.
pub fn run(rows: &[Row]) {
    let mut failures = Vec::new();
    for mode in MODES {
        let scene = scene(mode);
        let anatomy = scene.anatomy();
        control(scene);
        for row in rows {
            let expect = row.expect[MODES.iter().position(|m| *m == mode).unwrap()];
            match expect {
                Expect::Outside(why) => println!("{mode:9} {:40} OUTSIDE: {why}", row.id),
                _ => run_row(scene, &anatomy, row, expect, &mut failures),
            }
        }
        control(scene);
    }
    assert!(
        failures.is_empty(),
        "{} attacks did not end as expected:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// The honest control beside the attacks: the untouched copy opens, with everything.
fn control(scene: &Scene) {
    let machine = scene.fork();
    match observe(scene, &machine) {
        Outcome::Served(view, store) => {
            assert!(*view == *scene.full(), "{}: the untouched copy shows everything", scene.mode);
            goes_on(scene, &machine, store, *view);
        }
        Outcome::Refused(error) | Outcome::Stopped(error) => {
            panic!("{}: FALSE ALARM on an untouched copy: {error:?}", scene.mode)
        }
    }
}

fn run_row(scene: &Scene, anatomy: &Anatomy, row: &Row, expect: Expect, failures: &mut Vec<String>) {
    let mut done = 0;
    for round in 0..row.rounds.saturating_mul(effort()) {
        let machine = scene.fork();
        let seed =
            row.id.bytes().fold(round as u64 + 1, |s, b| s.wrapping_mul(31).wrapping_add(u64::from(b)));
        let mut aim = Aim { scene, anatomy, machine: &machine, rng: SplitMix64::new(seed), round };
        let mut did = String::new();
        let judged = catch_unwind(AssertUnwindSafe(|| {
            let Some(what) = (row.attack)(&mut aim) else { return Ok(false) };
            did = what;
            let outcome = observe(scene, &machine);
            judge(scene, expect, &outcome)?;
            if let (Outcome::Served(view, store), true) = (outcome, done == 0) {
                goes_on(scene, &machine, store, *view);
            }
            Ok(true)
        }));
        let verdict = judged.unwrap_or_else(|panic| {
            let words = panic.downcast_ref::<String>().cloned();
            Err(format!(
                "PANIC: {}",
                words.or(panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default()
            ))
        });
        match verdict {
            Ok(true) => done += 1,
            Ok(false) => break,
            Err(why) => {
                done += 1;
                failures.push(format!("{} {} round {round} ({did}): {why}", scene.mode, row.id));
                if failures.len() > 60 {
                    break;
                }
            }
        }
    }
    if done == 0 {
        failures.push(format!("{} {}: nothing was attacked", scene.mode, row.id));
    }
    println!("{:9} {:40} {done:4} rounds  {expect:?}", scene.mode.to_string(), row.id);
}

/// Where a mode's log and MANIFEST are out of the attacker's reach.
pub const OUTSIDE: Expect = Expect::Outside("the trusted volume is the operator's word");
