//! Counters: conditional advances, lost replies (R4), slots under crashes.

use super::slot::VolumeCounter;
use super::*;
use crate::anchor::tests::sample;
use ringfort_base::StoreId;
use ringfort_fault::memory::{CrashChoice, MemDisk};
use ringfort_fault::script::{Fault, FaultDisk, When};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

const STORE: StoreId = StoreId([1; 16]);

fn counter(disk: &MemDisk) -> VolumeCounter {
    VolumeCounter::new(Arc::new(disk.clone()), STORE)
}

fn advance(counter: &dyn Counter, from: Option<u64>, to: u64, claim: bool) -> Advance {
    let expected = from.map(|position| sample(1, position).digest());
    counter.advance(expected, &sample(1, to), claim).unwrap()
}

fn position(counter: &dyn Counter) -> Option<u64> {
    counter.read().unwrap().map(|reading| reading.anchor.wal.position)
}

#[test]
fn a_counter_advances_only_for_whoever_knows_its_anchor() {
    let disk = MemDisk::new();
    let counter = counter(&disk);
    assert_eq!(counter.read(), Ok(None));
    assert!(disk.files().is_empty(), "reading makes no file (R12)");
    assert_eq!(advance(&counter, Some(9), 10, false), Advance::Conflict(None));
    assert_eq!(advance(&counter, None, 10, true), Advance::Done(1));
    assert_eq!(advance(&counter, Some(10), 20, false), Advance::Done(2));
    let held = Reading { value: 2, anchor: sample(1, 20) };
    assert_eq!(advance(&counter, Some(10), 30, false), Advance::Conflict(Some(held.clone())));
    assert_eq!(advance(&counter, None, 30, false), Advance::Conflict(Some(held.clone())));
    assert_eq!(counter.read(), Ok(Some(held)));
}

#[test]
fn processes_that_share_a_counter_see_each_other() {
    let disk = MemDisk::new();
    let (ours, theirs) = (counter(&disk), counter(&disk.second_process()));
    assert_eq!(advance(&ours, None, 1, true), Advance::Done(1));
    for round in 0..6u64 {
        let at = 3 * round + 1;
        assert_eq!(advance(&ours, Some(at), at + 1, false), Advance::Done(at + 1));
        assert_eq!(advance(&theirs, Some(at + 1), at + 2, round % 2 == 0), Advance::Done(at + 2));
        assert_eq!(advance(&theirs, Some(at + 2), at + 3, false), Advance::Done(at + 3));
        assert!(matches!(advance(&ours, Some(at), at + 9, true), Advance::Conflict(Some(_))));
        assert_eq!(position(&ours), Some(at + 3));
    }
}

/// Whatever a power cut leaves, the counter is whole, not before the last claim, not ahead of the last advance.
#[test]
fn a_power_cut_loses_at_most_what_was_not_claimed() {
    for seed in 0..200 {
        let disk = MemDisk::new();
        let ours = counter(&disk);
        let mut claimed = None;
        for at in 0..9u64 {
            let claim = at % 4 == seed % 4;
            assert_eq!(advance(&ours, at.checked_sub(1), at, claim), Advance::Done(at + 1));
            claimed = if claim || at == 0 { Some(at) } else { claimed };
            for choice in [CrashChoice::LoseAll, CrashChoice::KeepAll, CrashChoice::Seeded(seed)] {
                let after = position(&counter(&disk.crash(choice)));
                assert!(
                    after >= claimed && after <= Some(at),
                    "{after:?} after claim {claimed:?}, advance {at}"
                );
            }
        }
    }
}

/// Every disk call of an advance fails, or the process dies there, or power is cut: old or new, never damage.
#[test]
fn an_advance_that_fails_anywhere_leaves_the_old_anchor_or_the_new() {
    for claim in [false, true] {
        for nth in 1..20 {
            let memory = MemDisk::new();
            assert_eq!(advance(&counter(&memory), None, 1, true), Advance::Done(1));
            let faulty = FaultDisk::new(Arc::new(memory.clone()));
            let ours = VolumeCounter::new(Arc::new(faulty.clone()), STORE);
            faulty.inject(When::Mutating(nth), Fault::ShortWrite(50));
            let mut confirmed = 1;
            for at in 1..4 {
                match ours.advance(Some(sample(1, at).digest()), &sample(1, at + 1), claim) {
                    Ok(done) => assert_eq!(done, Advance::Done(at + 1)),
                    Err(_) => break,
                }
                confirmed = at + 1;
            }
            // The same process goes on, or another one does, or power is cut.
            let seen = position(&ours).unwrap();
            assert!(seen == confirmed || seen == confirmed + 1, "call {nth}: {seen}");
            assert_eq!(position(&counter(&memory.process_kill())), Some(seen));
            for seed in 0..20 {
                let after = position(&counter(&memory.crash(CrashChoice::Seeded(seed)))).unwrap();
                let least = if claim { confirmed } else { 1 };
                assert!((least..=seen).contains(&after), "call {nth}, seed {seed}: {after}");
            }
            assert_eq!(
                advance(&counter(&memory.process_kill()), Some(seen), 99, claim),
                Advance::Done(seen + 1)
            );
        }
    }
}

#[test]
fn damage_and_a_foreign_claim_are_evidence() {
    let disk = MemDisk::new();
    advance(&counter(&disk), None, 1, true);
    let foreign = VolumeCounter::new(Arc::new(disk.clone()), StoreId([9; 16]));
    let proof = |result: Result<Option<Reading>>| result.unwrap_err().proof().unwrap().clone();
    assert_eq!(proof(foreign.read()).kind, EvidenceKind::Foreign);
    assert_eq!(foreign.advance(None, &sample(1, 1), true).unwrap_err().kind(), ErrorKind::Internal);

    disk.poke("CLAIM", 20, &[0xff]).unwrap();
    let damaged = proof(counter(&disk).read());
    assert_eq!((damaged.kind, &*damaged.file), (EvidenceKind::BadSeal, "CLAIM"));
    assert!(counter(&disk).advance(None, &sample(1, 1), true).is_err(), "never re-created silently");
}

/// What a host does to one exchange.
#[derive(Clone, Copy, PartialEq)]
enum Bus {
    Honest,
    LoseRequest,
    LoseReply,
    /// The request is lost, and somebody else advances meanwhile.
    Intruder,
    LoseRead,
}

/// A counter behind a bus with a script; honest when the script ends.
struct Scripted {
    inner: VolumeCounter,
    script: Mutex<VecDeque<Bus>>,
}

impl Scripted {
    fn new(script: &[Bus]) -> Self {
        let inner = counter(&MemDisk::new());
        advance(&inner, None, 1, true);
        Self { inner, script: Mutex::new(script.iter().copied().collect()) }
    }

    fn next(&self) -> Bus {
        self.script.lock().unwrap().pop_front().unwrap_or(Bus::Honest)
    }
}

impl Counter for Scripted {
    fn kind(&self) -> &'static str {
        "scripted"
    }
    fn read(&self) -> Result<Option<Reading>> {
        match self.next() {
            Bus::LoseRead => Err(Error::new(ErrorKind::Timeout, "the read was lost")),
            _ => self.inner.read(),
        }
    }
    fn advance(&self, expected: Option<[u8; 32]>, to: &Anchor, claim: bool) -> Result<Advance> {
        let lost = Err(Error::new(ErrorKind::Timeout, "the reply was lost"));
        match self.next() {
            Bus::LoseRequest => lost,
            Bus::LoseReply => {
                self.inner.advance(expected, to, claim)?;
                lost
            }
            Bus::Intruder => {
                self.inner.advance(expected, &sample(2, 7), true)?;
                lost
            }
            Bus::Honest | Bus::LoseRead => self.inner.advance(expected, to, claim),
        }
    }
}

#[test]
fn r4_an_advance_without_an_answer_is_decided_by_reading() {
    use Bus::*;
    let run = |script: &[Bus], claim| {
        let counter = Scripted::new(script);
        let outcome = advance_confirmed(&counter, Some(&sample(1, 1)), &sample(1, 2), claim, 3);
        (outcome.map_err(|error| error.kind()), position(&counter.inner).unwrap())
    };
    assert_eq!(run(&[], false), (Ok(2), 2));
    assert_eq!(run(&[LoseRequest], false), (Ok(2), 2), "old value: retried");
    assert_eq!(run(&[LoseReply], false), (Ok(2), 2), "own proposal: success");
    assert_eq!(run(&[LoseReply, LoseRead], false), (Ok(2), 2), "found by the next attempt's conflict");
    assert_eq!(run(&[LoseReply], true), (Ok(3), 2), "a claim is advanced again, so that a reply says synced");
    assert_eq!(run(&[Intruder], false), (Err(ErrorKind::SecondCopy), 7));
    assert_eq!(run(&[LoseRequest, Honest, Intruder], true), (Err(ErrorKind::SecondCopy), 7));
    let lost = [LoseRequest, Honest, LoseRequest, Honest, LoseRequest, Honest];
    assert_eq!(run(&lost, false), (Err(ErrorKind::OutcomeUnknown), 1), "three attempts, no more");
    let lost = [LoseReply, LoseRead, LoseRequest, LoseRead, LoseRequest, LoseRead];
    assert_eq!(run(&lost, false), (Err(ErrorKind::OutcomeUnknown), 2));
}

#[test]
fn a_second_copy_is_named_with_both_lives_and_positions() {
    let counter = Scripted::new(&[]);
    advance_confirmed(&counter, Some(&sample(1, 1)), &sample(2, 50), true, 3).unwrap();
    let error = advance_confirmed(&counter, Some(&sample(1, 1)), &sample(1, 2), false, 3).unwrap_err();
    let proof = error.proof().unwrap();
    assert_eq!(
        (proof.kind, proof.position, &*proof.file),
        (EvidenceKind::SecondCopy, 50, "scripted counter")
    );
    for part in
        ["incarnation 1 at position 2", "incarnation 2 at position 50", "incarnation 1 at position 1 "]
    {
        assert!(error.message().contains(part), "{part:?} in {error}");
    }
    let empty = super::tests::counter(&MemDisk::new());
    let error = advance_confirmed(&empty, Some(&sample(1, 1)), &sample(1, 2), false, 3).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SecondCopy);
}

#[test]
fn a_refusal_of_the_counter_is_passed_on_and_not_retried() {
    let disk = MemDisk::new();
    advance(&counter(&disk), None, 1, true);
    disk.poke("CLAIM", 20, &[0xff]).unwrap();
    let error = advance_confirmed(&counter(&disk), Some(&sample(1, 1)), &sample(1, 2), false, 3).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tampered);
}
