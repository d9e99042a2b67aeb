//! The lock table alone, then under random transactions that a model of what is held watches.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const KS: KeyspaceId = KeyspaceId(1);
use Mode::{Exclusive, Shared};

fn poll(acquire: &mut Acquire<'_>) -> Poll<Result<(), LockError>> {
    Pin::new(acquire).poll(&mut Context::from_waker(Waker::noop()))
}

fn granted(mut acquire: Acquire<'_>) -> bool {
    poll(&mut acquire) == Poll::Ready(Ok(()))
}

fn table() -> Arc<LockTable> {
    LockTable::new(4, 1000)
}

#[test]
fn shared_locks_share_and_exclusive_ones_exclude() {
    crate::sync::check(|| {
        let table = table();
        let (mut a, mut b) = (table.owner(None), table.owner(None));
        assert!(granted(a.lock(KS, b"k", Shared)) && granted(b.lock(KS, b"k", Shared)));
        assert!(!granted(a.lock(KS, b"k", Exclusive)));
        assert!(granted(a.lock(KS, b"other", Exclusive)));
        assert!(!granted(b.lock(KS, b"other", Shared)));
        assert!(granted(b.lock(KeyspaceId(2), b"other", Exclusive)), "another keyspace");
        drop(a);
        assert!(granted(b.lock(KS, b"other", Shared)));
        assert!(granted(b.lock(KS, b"k", Exclusive)), "the last sharer may change to exclusive");
        drop(b);
        assert_eq!(table.held(), 0);
    });
}

#[test]
fn a_range_covers_keys_that_do_not_exist() {
    crate::sync::check(|| {
        let table = table();
        let (mut a, mut b) = (table.owner(None), table.owner(None));
        assert!(granted(a.lock_range(KS, b"b", Some(b"d"), Shared)));
        assert!(granted(b.lock(KS, b"c", Shared)), "a reader disturbs no scan");
        assert!(!granted(b.lock(KS, b"b", Exclusive)) && !granted(b.lock(KS, b"cz", Exclusive)), "a phantom");
        assert!(granted(b.lock(KS, b"d", Exclusive)) && granted(b.lock(KS, b"a", Exclusive)));
        assert!(!granted(b.lock_range(KS, b"c", None, Exclusive)));
        assert!(granted(b.lock_range(KS, b"d", None, Exclusive)));
        assert!(!granted(a.lock_range(KS, b"x", None, Shared)));
        assert!(granted(a.lock_range(KeyspaceId(2), b"", None, Exclusive)));
        drop((a, b));
        assert_eq!(table.held(), 0);
    });
}

/// A transaction may go on without it, and be prepared with what it says that it holds.
#[test]
fn a_range_is_had_whole_or_not_at_all() {
    crate::sync::check(|| {
        let table = table();
        let (mut a, mut b) = (table.owner(None), table.owner(None));
        let keys = [b"a", b"b", b"c", b"d", b"e", b"f"];
        assert!(keys.iter().all(|key| granted(a.lock(KS, *key, Exclusive))));
        assert!(granted(b.lock(KS, b"z", Shared)));
        // In some stripes nothing stands against it, wherever the keys are.
        assert!(!granted(b.lock_range(KS, b"a", Some(b"b"), Shared)));
        assert!(!granted(b.lock_range(KS, b"", None, Shared)));
        assert_eq!(b.spans().count(), 1);
        assert!(granted(a.lock(KS, b"y", Exclusive)));
        drop((a, b));
        assert_eq!(table.held(), 0);
    });
}

#[test]
fn requests_are_granted_in_order_and_an_upgrade_goes_first() {
    crate::sync::check(|| {
        let table = table();
        let mut owners: Vec<Owner> = (0..4).map(|_| table.owner(None)).collect();
        let [a, b, c, d] = &mut owners[..] else { panic!() };
        assert!(granted(a.lock(KS, b"k", Shared)) && granted(b.lock(KS, b"k", Shared)));
        let mut third = c.lock(KS, b"k", Exclusive);
        assert!(poll(&mut third).is_pending());
        let mut fourth = d.lock(KS, b"k", Shared);
        assert!(poll(&mut fourth).is_pending(), "overtook a writer");
        let mut upgrade = a.lock(KS, b"k", Exclusive);
        assert!(poll(&mut upgrade).is_pending());
        b.release();
        assert!(poll(&mut upgrade).is_ready(), "the upgrade waits for the other sharer only");
        drop(upgrade);
        assert!(poll(&mut third).is_pending());
        a.release();
        assert!(poll(&mut third).is_ready() && poll(&mut fourth).is_pending());
        drop(third);
        c.release();
        assert!(poll(&mut fourth).is_ready());
    });
}

#[test]
fn who_sleeps_is_overtaken_so_often_and_not_more() {
    crate::sync::check(|| {
        let table = table();
        let (mut a, mut b) = (table.owner(None), table.owner(None));
        assert!(granted(a.lock(KS, b"k", Exclusive)));
        let mut sleeper = b.lock(KS, b"k", Exclusive);
        assert!(poll(&mut sleeper).is_pending());
        for _ in 0..stripe::OVERTAKEN_MAX {
            a.release();
            assert!(granted(a.lock(KS, b"k", Exclusive)), "a lock that is held by who sleeps");
        }
        a.release();
        assert!(!granted(a.lock(KS, b"k", Exclusive)), "who sleeps gets it some time");
        assert!(poll(&mut sleeper).is_ready());
    });
}

#[test]
fn who_is_overtaken_waits_for_who_overtook_him() {
    crate::sync::check(|| {
        let table = table();
        let (mut a, mut b, mut c) = (table.owner(None), table.owner(None), table.owner(None));
        assert!(granted(a.lock(KS, b"k", Exclusive)) && granted(b.lock(KS, b"l", Exclusive)));
        let mut sleeper = b.lock(KS, b"k", Shared);
        assert!(poll(&mut sleeper).is_pending());
        a.release();
        assert!(granted(c.lock(KS, b"k", Exclusive)));
        let circle = poll(&mut c.lock(KS, b"l", Shared));
        assert!(matches!(circle, Poll::Ready(Err(LockError::Deadlock(_)))), "a circle that nobody sees");
        assert!(poll(&mut sleeper).is_pending());
        drop(c);
        assert!(poll(&mut sleeper).is_ready());
    });
}

#[test]
fn a_waiting_range_is_not_overtaken() {
    crate::sync::check(|| {
        let table = table();
        let (mut a, mut b, mut c) = (table.owner(None), table.owner(None), table.owner(None));
        assert!(granted(a.lock(KS, b"m", Exclusive)));
        let mut scan = b.lock_range(KS, b"a", Some(b"z"), Shared);
        assert!(poll(&mut scan).is_pending());
        let mut write = c.lock(KS, b"m", Exclusive);
        assert!(poll(&mut write).is_pending());
        assert!(granted(a.lock(KS, b"m", Shared)), "what one has one need not wait for");
        a.release();
        assert!(poll(&mut scan).is_ready() && poll(&mut write).is_pending());
        drop(scan);
        b.release();
        assert!(poll(&mut write).is_ready());
    });
}

#[test]
fn who_is_waited_for_does_not_wait_for_the_waiter() {
    crate::sync::check(|| {
        let table = table();
        let (mut a, mut b) = (table.owner(None), table.owner(None));
        assert!(granted(a.lock(KS, b"k", Shared)));
        let mut write = b.lock(KS, b"k", Exclusive);
        assert!(poll(&mut write).is_pending());
        assert!(granted(a.lock_range(KS, b"a", Some(b"z"), Shared)), "a deadlock made out of nothing");
    });
}

#[test]
fn a_deadlock_names_its_cycle_and_refuses_the_youngest() {
    crate::sync::check(|| {
        let table = table();
        let (mut a, mut b) = (table.owner(None), table.owner(None));
        let (older, younger) = (a.id(), b.id());
        assert!(granted(a.lock(KS, b"x", Exclusive)) && granted(b.lock(KS, b"y", Exclusive)));
        let mut second = b.lock(KS, b"x", Shared);
        assert!(poll(&mut second).is_pending());
        let mut first = a.lock(KS, b"y", Shared);
        assert!(poll(&mut first).is_pending(), "the older one is not refused");
        let Poll::Ready(Err(LockError::Deadlock(found))) = poll(&mut second) else { panic!() };
        assert_eq!(found.cycle, [(older, KS), (younger, KS)]);
        let text = found.to_string();
        assert!(text.starts_with("deadlock: transaction 1 waits in keyspace 1 for transaction 2"), "{text}");
        drop(second);
        assert!(poll(&mut first).is_pending(), "the victim keeps its locks until it ends");
        drop(b);
        assert!(poll(&mut first).is_ready());
    });
}

#[test]
fn two_upgrades_are_a_deadlock() {
    crate::sync::check(|| {
        let table = table();
        let (mut a, mut b) = (table.owner(None), table.owner(None));
        assert!(granted(a.lock(KS, b"k", Shared)) && granted(b.lock(KS, b"k", Shared)));
        let mut first = a.lock(KS, b"k", Exclusive);
        assert!(poll(&mut first).is_pending());
        let mut second = b.lock(KS, b"k", Exclusive);
        assert!(matches!(poll(&mut second), Poll::Ready(Err(LockError::Deadlock(_)))));
        drop(second);
        drop(b);
        assert!(poll(&mut first).is_ready());
    });
}

#[test]
fn who_gives_up_holds_up_nobody() {
    crate::sync::check(|| {
        let table = table();
        let (mut a, mut b, mut c) = (table.owner(None), table.owner(None), table.owner(None));
        assert!(granted(a.lock(KS, b"k", Shared)));
        let mut write = b.lock(KS, b"k", Exclusive);
        assert!(poll(&mut write).is_pending());
        let mut read = c.lock(KS, b"k", Shared);
        assert!(poll(&mut read).is_pending());
        drop(write);
        assert!(poll(&mut read).is_ready());
        drop(read);
        // Nobody waits for b any more: it may wait for c without a cycle.
        assert!(granted(c.lock(KS, b"l", Exclusive)));
        let mut elsewhere = b.lock(KS, b"l", Exclusive);
        assert!(poll(&mut elsewhere).is_pending());
        drop(elsewhere);
        drop((a, b, c));
        assert_eq!(table.held(), 0);
    });
}

#[test]
fn the_table_has_an_end() {
    crate::sync::check(|| {
        let table = LockTable::new(1, 2);
        let mut a = table.owner(None);
        assert!(granted(a.lock(KS, b"1", Shared)) && granted(a.lock(KS, b"2", Shared)));
        assert!(granted(a.lock(KS, b"2", Shared)), "once more is not one more");
        let refused = poll(&mut a.lock(KS, b"3", Shared));
        assert_eq!(refused, Poll::Ready(Err(LockError::Full { locks_max: 2 })));
    });
}

/// What the model knows of a lock: a half-open range of small keys.
type Held = (u8, u8, Mode);

#[derive(Clone, Debug)]
struct Step {
    from: u8,
    to: u8,
    mode: Mode,
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let mode = prop_oneof![Just(Shared), Just(Exclusive)];
    let step = (0u8..6, prop_oneof![4 => Just(1u8), 1 => 2u8..4], mode).prop_map(|(from, long, mode)| Step {
        from,
        to: from + long,
        mode,
    });
    prop::collection::vec(prop::collection::vec(step, 1..5), 2..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever the order of steps: no two conflicting locks at once, nobody waits forever, everybody gets
    /// through in the end if the youngest are tried again, and nothing remains.
    #[test]
    fn random_transactions_exclude_each_other_and_end(work in steps(), seed in any::<u64>()) {
        crate::sync::check(move || exclude_each_other_and_end(&work, seed));
    }
}

fn exclude_each_other_and_end(work: &[Vec<Step>], mut seed: u64) {
    let table = LockTable::new(2, 10_000);
    let mut world = Run::new(&table, work);
    for _ in 0..4000 {
        if world.done() {
            break;
        }
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        world.turn((seed >> 33) as usize % work.len());
    }
    assert!(world.done(), "somebody waits forever: {:?}", world.waiting());
    drop(world);
    assert_eq!(table.held(), 0);
}

/// One transaction of the model; its request is kept with its owner behind one box each.
struct Actor {
    owner: Option<Owner>,
    age: Option<u64>,
    next: usize,
    held: Vec<Held>,
}

/// A request that gives its owner back.
type Request = Pin<Box<dyn Future<Output = (Owner, Result<(), LockError>)>>>;

struct Run<'w> {
    table: &'w Arc<LockTable>,
    work: &'w [Vec<Step>],
    actors: Vec<Actor>,
    /// Requests that wait: their owner is inside.
    pending: BTreeMap<usize, Request>,
}

impl<'w> Run<'w> {
    fn new(table: &'w Arc<LockTable>, work: &'w [Vec<Step>]) -> Self {
        let actors = work
            .iter()
            .map(|_| Actor { owner: Some(table.owner(None)), age: None, next: 0, held: Vec::new() })
            .collect();
        Self { table, work, actors, pending: BTreeMap::new() }
    }

    fn done(&self) -> bool {
        self.actors.iter().zip(self.work).all(|(actor, steps)| actor.next > steps.len())
    }

    fn waiting(&self) -> Vec<usize> {
        self.pending.keys().copied().collect()
    }

    /// Lets one actor go on: ask for its next lock, look after its request, or commit.
    fn turn(&mut self, who: usize) {
        let steps = &self.work[who];
        let actor = &mut self.actors[who];
        if actor.next > steps.len() {
            return;
        }
        if actor.next == steps.len() {
            actor.held.clear();
            actor.owner = None;
            actor.next += 1;
            return;
        }
        let step = steps[actor.next].clone();
        if let Some(mut owner) = actor.owner.take() {
            self.pending.insert(
                who,
                Box::pin(async move {
                    let (from, to) = ([step.from], [step.to]);
                    let result = if step.to == step.from + 1 {
                        owner.lock(KS, &from, step.mode).await
                    } else {
                        owner.lock_range(KS, &from, Some(&to), step.mode).await
                    };
                    (owner, result)
                }),
            );
        }
        self.look(who);
    }

    fn look(&mut self, who: usize) {
        let Some(request) = self.pending.get_mut(&who) else { return };
        let Poll::Ready((owner, result)) = request.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        else {
            return;
        };
        self.pending.remove(&who);
        let step = self.work[who][self.actors[who].next].clone();
        if result.is_ok() {
            self.check(who, &step);
            let actor = &mut self.actors[who];
            actor.held.push((step.from, step.to, step.mode));
            actor.owner = Some(owner);
            actor.next += 1;
        } else {
            // Refused: all is given back, and it is tried again with its age.
            let actor = &mut self.actors[who];
            actor.age = Some(owner.age());
            drop(owner);
            actor.held.clear();
            actor.next = 0;
            actor.owner = Some(self.table.owner(actor.age));
        }
    }

    fn check(&self, who: usize, step: &Step) {
        for (other, actor) in self.actors.iter().enumerate().filter(|(other, _)| *other != who) {
            for &(from, to, mode) in &actor.held {
                let apart = step.to <= from || to <= step.from || !step.mode.conflicts(mode);
                assert!(apart, "{who} got {step:?} while {other} holds {from}..{to} {mode:?}");
            }
        }
    }
}
