//! Who waits for whom. A cycle is found by whoever closes it.
//!
//! An edge says "is not granted before that one is done". Edges are made when a request is queued, from
//! what it conflicts with there; later they only vanish, except that one who turns a
//! shared lock into an exclusive one gets before those who wait already.
//!
//! The graph has one mutex. It is taken only by who has to wait, under the mutex of his stripe.

use super::{Deadlock, OwnerId, Span, keyspace_of};
use crate::sync::Mutex;
use ringfort_base::KeyspaceId;
use std::collections::{HashMap, HashSet};
use std::task::Waker;

struct Wait {
    age: u64,
    blockers: Vec<OwnerId>,
    keyspace: KeyspaceId,
    waker: Waker,
    /// Chosen to be refused, for this cycle.
    refused: Option<Deadlock>,
}

#[derive(Default)]
pub(super) struct Waits {
    waiting: Mutex<HashMap<OwnerId, Wait>>,
}

impl Waits {
    /// Notes that `owner` waits, and breaks the cycles that this closes.
    ///
    /// # Errors
    /// `owner` is the youngest of such a cycle.
    pub(super) fn block(
        &self,
        owner: OwnerId,
        age: u64,
        blockers: Vec<OwnerId>,
        span: &Span,
        waker: &Waker,
        woken: &mut Vec<Waker>,
    ) -> Result<(), Deadlock> {
        let mut waiting = self.waiting.lock();
        let wait = Wait { age, blockers, keyspace: keyspace_of(span), waker: waker.clone(), refused: None };
        waiting.insert(owner, wait);
        refuse_youngest(&mut waiting, owner, woken);
        match waiting.get_mut(&owner).and_then(|wait| wait.refused.take()) {
            Some(deadlock) => Err(deadlock),
            None => Ok(()),
        }
    }

    /// What has become of who waits: refused, or nothing yet; then `waker` is the one to wake.
    pub(super) fn poll(&self, owner: OwnerId, waker: &Waker) -> Option<Deadlock> {
        let mut waiting = self.waiting.lock();
        let wait = waiting.get_mut(&owner)?;
        if wait.refused.is_none() && !wait.waker.will_wake(waker) {
            wait.waker = waker.clone();
        }
        wait.refused.take()
    }

    /// How many others `owner` waits for.
    pub(super) fn blockers(&self, owner: OwnerId) -> usize {
        let waiting = self.waiting.lock();
        waiting.get(&owner).map_or(0, |wait| wait.blockers.iter().collect::<HashSet<_>>().len())
    }

    /// `owner` waits no more; his waker.
    pub(super) fn unblock(&self, owner: OwnerId) -> Option<Waker> {
        self.waiting.lock().remove(&owner).map(|wait| wait.waker)
    }

    /// Whom to wake, who goes on waiting until he comes.
    pub(super) fn waker(&self, owner: OwnerId) -> Option<Waker> {
        self.waiting.lock().get(&owner).map(|wait| wait.waker.clone())
    }

    pub(super) fn also_blocked_by(&self, owner: OwnerId, blocker: OwnerId) {
        if let Some(wait) = self.waiting.lock().get_mut(&owner) {
            wait.blockers.push(blocker);
        }
    }

    /// Someone before `owner` gave up: these are the ones that he waits for now. They may close a cycle that
    /// was hidden behind who gave up.
    pub(super) fn set_blockers(&self, owner: OwnerId, blockers: Vec<OwnerId>, woken: &mut Vec<Waker>) {
        let mut waiting = self.waiting.lock();
        if let Some(wait) = waiting.get_mut(&owner) {
            wait.blockers = blockers;
            refuse_youngest(&mut waiting, owner, woken);
        }
    }
}

/// Breaks all cycles through `owner`.
fn refuse_youngest(waiting: &mut HashMap<OwnerId, Wait>, owner: OwnerId, woken: &mut Vec<Waker>) {
    while let Some(cycle) = cycle(waiting, owner) {
        let deadlock =
            Deadlock { cycle: cycle.iter().map(|&member| (member, waiting[&member].keyspace)).collect() };
        let youngest = cycle.iter().copied().max_by_key(|member| waiting[member].age).unwrap_or(owner);
        if let Some(victim) = waiting.get_mut(&youngest) {
            victim.refused = Some(deadlock);
            woken.push(victim.waker.clone());
        }
    }
}

/// A way from `start` back to itself, over those who wait and are not refused already.
fn cycle(waiting: &HashMap<OwnerId, Wait>, start: OwnerId) -> Option<Vec<OwnerId>> {
    let edges = |owner: OwnerId| -> &[OwnerId] {
        match waiting.get(&owner) {
            Some(wait) if wait.refused.is_none() => &wait.blockers,
            _ => &[],
        }
    };
    let mut seen = HashSet::from([start]);
    // The way so far: each with the number of its next edge.
    let mut path = vec![(start, 0)];
    while let Some((owner, next)) = path.last_mut() {
        let Some(&to) = edges(*owner).get(*next) else {
            path.pop();
            continue;
        };
        *next += 1;
        if to == start {
            return Some(path.iter().map(|(owner, _)| *owner).collect());
        }
        if seen.insert(to) {
            path.push((to, 0));
        }
    }
    None
}
