//! # Frontiers: which log positions have which level, and who waits for them
//!
//! Progress is data: one atomic position per level, each never above the one below it, and each
//! only ever rising.
//!
//! ```text
//!   submitted ≥ buffered ≥ durable ≥ anchored          (positions are sequence numbers)
//! ```
//!
//! A waiter for `buffered` or `durable` is released by position alone. A waiter for `fresh` needs
//! two things (R5): its position must be anchored, and a *round* (one counter read or advance that
//! confirmed this incarnation) must have begun after the waiter came. One round serves everyone
//! who was waiting when it began. The writer of a commit needs no round of his own: an advance that
//! covers his position began after he came, however much later he asks.
//!
//! When the store stops on a failure, every waiter above its frontier gets the error, as "outcome
//! unknown" (R11).

use crate::sync::{AtomicBool, AtomicU64, Mutex};
use ringfort_base::{Error, ErrorKind, Level, Result, Seq};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

/// A waiter's place: ordered by position, then by arrival.
type Place = (u64, u64);

#[derive(Default)]
struct Waiters {
    next_id: u64,
    /// For `buffered` and `durable`, by level.
    by_position: [BTreeMap<Place, Waker>; 2],
    /// For `fresh`: the round needed, and the waker.
    fresh: BTreeMap<Place, (u64, Waker)>,
}

/// Those whom a counter operation released, to be woken: by [`Released::wake`], or when this is dropped.
///
/// Handed to whoever ran it, because waking many takes time in which the first of them write again:
/// when the operation ended, and what was under way by then, must be noted before.
pub struct Released(Vec<Waker>);

impl Released {
    /// Wakes them all.
    pub fn wake(self) {}
}

impl Drop for Released {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Waker::wake);
    }
}

/// The frontiers of one store.
#[derive(Default)]
pub(crate) struct Frontiers {
    buffered: AtomicU64,
    durable: AtomicU64,
    anchored: AtomicU64,
    /// Highest position that somebody wants durable / anchored.
    want_durable: AtomicU64,
    want_anchored: AtomicU64,
    rounds_begun: AtomicU64,
    rounds_done: AtomicU64,
    /// Highest round that somebody needs.
    want_round: AtomicU64,
    stopped: OnceLock<Error>,
    /// Stopped by closing, everything anchored and confirmed: no later round can come.
    closed: AtomicBool,
    waiters: Mutex<Waiters>,
}

impl Frontiers {
    /// Frontiers of a store that was recovered up to `position`, all of it claimed.
    pub(crate) fn recovered(position: Seq) -> Self {
        let new = Self::default();
        for frontier in [&new.buffered, &new.durable, &new.anchored] {
            frontier.store(position.0, Ordering::Relaxed);
        }
        new
    }

    pub(crate) fn get(&self, level: Level) -> Seq {
        let frontier = match level {
            Level::Buffered => &self.buffered,
            Level::Durable => &self.durable,
            Level::Fresh => &self.anchored,
        };
        Seq(frontier.load(Ordering::Acquire))
    }

    /// Raises the frontier of `level` and wakes whom that releases.
    pub(crate) fn raise(&self, level: Level, position: Seq) {
        let frontier = match level {
            Level::Buffered => &self.buffered,
            Level::Durable => &self.durable,
            Level::Fresh => &self.anchored,
        };
        let before = frontier.fetch_max(position.0, Ordering::AcqRel);
        if before >= position.0 {
            return;
        }
        let released = match level {
            Level::Fresh => return, // released by the end of the round
            Level::Buffered => take_through(&mut self.waiters.lock().by_position[0], position.0),
            Level::Durable => take_through(&mut self.waiters.lock().by_position[1], position.0),
        };
        released.into_iter().for_each(Waker::wake);
    }

    /// A counter operation begins. Everyone who waits now is served by it.
    pub(crate) fn begin_round(&self) -> u64 {
        self.rounds_begun.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The counter operation of `round` confirmed this incarnation; whom that releases.
    pub(crate) fn end_round(&self, round: u64) -> Released {
        self.rounds_done.fetch_max(round, Ordering::AcqRel);
        let anchored = self.anchored.load(Ordering::Acquire);
        let mut released = Vec::new();
        {
            let mut waiters = self.waiters.lock();
            let later = waiters.fresh.split_off(&(anchored + 1, 0));
            let now = std::mem::replace(&mut waiters.fresh, later);
            for (place, (need, waker)) in now {
                if need <= round {
                    released.push(waker);
                } else {
                    waiters.fresh.insert(place, (need, waker));
                }
            }
        }
        Released(released)
    }

    /// Stops for good: nothing above the frontiers is released any more (R11).
    pub(crate) fn stop(&self, error: Error) {
        let _ = self.stopped.set(error);
        let mut waiters = self.waiters.lock();
        let mut released: Vec<Waker> =
            std::mem::take(&mut waiters.fresh).into_values().map(|w| w.1).collect();
        for map in &mut waiters.by_position {
            released.extend(std::mem::take(map).into_values());
        }
        drop(waiters);
        released.into_iter().for_each(Waker::wake);
    }

    /// Stops after everything was anchored: whoever waits for that has it.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.stop(Error::new(ErrorKind::Stopped, "the store was closed"));
    }

    /// Why the store stopped, if it did.
    pub(crate) fn stopped(&self) -> Option<&Error> {
        self.stopped.get()
    }

    /// `Err(Stopped)` once the store has stopped.
    pub(crate) fn check(&self) -> Result<()> {
        match self.stopped.get() {
            None => Ok(()),
            Some(cause) => Err(stopped_error(cause)),
        }
    }

    /// Whether somebody waits for more than is durable.
    pub(crate) fn sync_wanted(&self) -> bool {
        let durable = self.durable.load(Ordering::Acquire);
        self.want_durable.load(Ordering::Acquire).max(self.want_anchored.load(Ordering::Acquire)) > durable
    }

    /// Whether a counter operation now would serve somebody: there is more to anchor, or somebody
    /// waits for a round whose position is durable (or has not said yet which).
    pub(crate) fn round_wanted(&self) -> bool {
        let durable = self.durable.load(Ordering::Acquire);
        let anchored = self.anchored.load(Ordering::Acquire);
        if self.want_anchored.load(Ordering::Acquire) > anchored && durable > anchored {
            return true;
        }
        self.want_round.load(Ordering::Acquire) > self.rounds_done.load(Ordering::Acquire)
            && self.waiters.lock().fresh.keys().next().is_none_or(|(position, _)| *position <= durable)
    }

    /// Asks for `position` to get `level` without waiting for it.
    pub(crate) fn want(&self, position: Seq, level: Level) {
        match level {
            Level::Buffered => {}
            Level::Durable => {
                self.want_durable.fetch_max(position.0, Ordering::AcqRel);
            }
            Level::Fresh => {
                self.want_anchored.fetch_max(position.0, Ordering::AcqRel);
            }
        }
    }

    /// Waits for a commit to have `level`, on behalf of its writer: at `fresh` the advance that covers
    /// it confirmed this life after the request came (R5), so its position alone decides.
    pub(crate) fn wait_commit(self: &Arc<Self>, position: Seq, level: Level) -> Wait {
        self.want(position, level);
        Wait { frontiers: Arc::clone(self), position: position.0, level, round: 0, place: None }
    }

    /// Waits for `position` to have `level`; see [`Wait`].
    pub(crate) fn wait(self: &Arc<Self>, position: Seq, level: Level) -> Wait {
        let round = match level {
            Level::Fresh => {
                let round = self.rounds_begun.load(Ordering::Acquire) + 1;
                self.want_round.fetch_max(round, Ordering::AcqRel);
                round
            }
            _ => 0,
        };
        self.want(position, level);
        Wait { frontiers: Arc::clone(self), position: position.0, level, round, place: None }
    }

    fn released(&self, position: u64, level: Level, round: u64) -> bool {
        match level {
            Level::Buffered => self.buffered.load(Ordering::Acquire) >= position,
            Level::Durable => self.durable.load(Ordering::Acquire) >= position,
            Level::Fresh => {
                (self.rounds_done.load(Ordering::Acquire) >= round || self.closed.load(Ordering::Acquire))
                    && self.anchored.load(Ordering::Acquire) >= position
            }
        }
    }
}

/// The error of a call on a stopped store.
fn stopped_error(cause: &Error) -> Error {
    let kind = match cause.kind() {
        kind @ (ErrorKind::Tampered | ErrorKind::Rollback | ErrorKind::SecondCopy) => kind,
        _ => ErrorKind::Stopped,
    };
    cause.clone().with_kind(kind).context("the store has stopped and must be restarted")
}

fn take_through(map: &mut BTreeMap<Place, Waker>, position: u64) -> Vec<Waker> {
    let later = map.split_off(&(position + 1, 0));
    std::mem::replace(map, later).into_values().collect()
}

/// Resolves when the awaited position has the awaited level, or with the error that stopped the
/// store ([`ErrorKind::OutcomeUnknown`] for a commit whose sealing had begun, R11). Pure polling:
/// whoever runs the store's steps wakes it.
pub struct Wait {
    frontiers: Arc<Frontiers>,
    position: u64,
    level: Level,
    round: u64,
    place: Option<Place>,
}

impl Wait {
    /// Whether it would resolve now, without registering.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.frontiers.released(self.position, self.level, self.round) || self.frontiers.stopped().is_some()
    }

    fn outcome(&self) -> Option<Result<()>> {
        if self.frontiers.released(self.position, self.level, self.round) {
            return Some(Ok(()));
        }
        self.frontiers.stopped().map(|cause| {
            Err(cause.clone().with_kind(ErrorKind::OutcomeUnknown).context(&format!(
                "outcome unknown: the store stopped before position {} was {}",
                self.position, self.level
            )))
        })
    }

    fn forget(&mut self) {
        if let Some(place) = self.place.take() {
            let mut waiters = self.frontiers.waiters.lock();
            match self.level {
                Level::Buffered => drop(waiters.by_position[0].remove(&place)),
                Level::Durable => drop(waiters.by_position[1].remove(&place)),
                Level::Fresh => drop(waiters.fresh.remove(&place)),
            }
        }
    }
}

impl Future for Wait {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(outcome) = self.outcome() {
            self.forget();
            return Poll::Ready(outcome);
        }
        {
            let frontiers = Arc::clone(&self.frontiers);
            let mut waiters = frontiers.waiters.lock();
            let place = self.place.unwrap_or_else(|| {
                waiters.next_id += 1;
                (self.position, waiters.next_id)
            });
            match self.level {
                Level::Buffered => drop(waiters.by_position[0].insert(place, cx.waker().clone())),
                Level::Durable => drop(waiters.by_position[1].insert(place, cx.waker().clone())),
                Level::Fresh => drop(waiters.fresh.insert(place, (self.round, cx.waker().clone()))),
            }
            self.place = Some(place);
        }
        // A frontier that moved between the check and the registration woke nobody: look again.
        match self.outcome() {
            Some(outcome) => {
                self.forget();
                Poll::Ready(outcome)
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn poll(wait: &mut Wait) -> (Poll<Result<()>>, Arc<Count>) {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        (Pin::new(wait).poll(&mut Context::from_waker(&waker)), count)
    }

    #[test]
    fn a_position_is_released_by_its_level_and_not_before() {
        crate::sync::check(|| {
            let f = Arc::new(Frontiers::default());
            let mut wait = f.wait(Seq(5), Level::Durable);
            let (state, woken) = poll(&mut wait);
            assert!(state.is_pending());
            assert!(f.sync_wanted());
            f.raise(Level::Buffered, Seq(9));
            f.raise(Level::Durable, Seq(4));
            assert_eq!(woken.0.load(Ordering::SeqCst), 0);
            f.raise(Level::Durable, Seq(5));
            assert_eq!(woken.0.load(Ordering::SeqCst), 1);
            assert!(poll(&mut wait).0.is_ready());
            assert!(!f.sync_wanted());
        });
    }

    /// R5: a round that began before the request does not serve it, even if the position is anchored.
    #[test]
    fn r5_fresh_needs_a_round_that_began_after_the_request() {
        crate::sync::check(|| {
            let f = Arc::new(Frontiers::recovered(Seq(10)));
            let early = f.begin_round();
            let mut wait = f.wait(Seq(3), Level::Fresh);
            let (state, woken) = poll(&mut wait);
            assert!(state.is_pending(), "position 3 is anchored, but nothing confirmed it since");
            f.end_round(early);
            assert_eq!(woken.0.load(Ordering::SeqCst), 0);
            assert!(poll(&mut wait).0.is_pending());
            assert!(f.round_wanted());
            let late = f.begin_round();
            f.end_round(late);
            assert!(poll(&mut wait).0.is_ready());
            assert!(!f.round_wanted());
        });
    }

    /// R5: a commit is covered by an advance that began after it was written, and needs no other.
    #[test]
    fn r5_a_writer_needs_the_advance_that_covers_him_and_no_more() {
        crate::sync::check(|| {
            let f = Arc::new(Frontiers::recovered(Seq(10)));
            let mut first = f.wait_commit(Seq(11), Level::Fresh);
            let mut second = f.wait_commit(Seq(12), Level::Fresh);
            let states = [poll(&mut first), poll(&mut second)];
            assert!(states.iter().all(|(state, _)| state.is_pending()));
            f.raise(Level::Buffered, Seq(12));
            f.raise(Level::Durable, Seq(11));
            let round = f.begin_round();
            f.raise(Level::Fresh, Seq(11));
            f.end_round(round);
            assert_eq!(states.map(|(_, woken)| woken.0.load(Ordering::SeqCst)), [1, 0]);
            assert!(poll(&mut first).0.is_ready() && poll(&mut second).0.is_pending());
            // Whoever asks later finds it done, and starts nothing.
            assert!(f.wait_commit(Seq(11), Level::Fresh).is_ready());
            f.raise(Level::Durable, Seq(12));
            let round = f.begin_round();
            f.raise(Level::Fresh, Seq(12));
            f.end_round(round);
            assert!(poll(&mut second).0.is_ready() && !f.round_wanted());
        });
    }

    /// Whoever ran the operation wakes those whom it released when he likes; nobody is forgotten by that.
    #[test]
    fn the_released_are_awake_when_they_were_let_go_at_the_latest() {
        crate::sync::check(|| {
            for by_name in [true, false] {
                let f = Arc::new(Frontiers::default());
                let mut wait = f.wait_commit(Seq(1), Level::Fresh);
                let (state, woken) = poll(&mut wait);
                assert!(state.is_pending());
                let round = f.begin_round();
                for level in Level::ALL {
                    f.raise(level, Seq(1));
                }
                let released = f.end_round(round);
                assert_eq!(woken.0.load(Ordering::SeqCst), 0);
                if by_name {
                    released.wake()
                } else {
                    drop(released)
                }
                assert_eq!(woken.0.load(Ordering::SeqCst), 1);
                assert!(poll(&mut wait).0.is_ready());
            }
        });
    }

    /// R11: what was not confirmed is "outcome unknown"; what was confirmed stays so.
    #[test]
    fn r11_stopping_answers_outcome_unknown() {
        crate::sync::check(|| {
            let f = Arc::new(Frontiers::default());
            f.raise(Level::Buffered, Seq(5));
            let mut above = f.wait(Seq(6), Level::Buffered);
            let (state, woken) = poll(&mut above);
            assert!(state.is_pending());
            f.stop(Error::new(ErrorKind::Io, "sync failed"));
            assert_eq!(woken.0.load(Ordering::SeqCst), 1);
            let Poll::Ready(Err(error)) = poll(&mut above).0 else { panic!("not resolved") };
            assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
            let mut below = f.wait(Seq(5), Level::Buffered);
            assert_eq!(poll(&mut below).0, Poll::Ready(Ok(())));
            assert_eq!(f.check().unwrap_err().kind(), ErrorKind::Stopped);
        });
    }

    #[test]
    fn a_dropped_wait_leaves_no_waker_behind() {
        crate::sync::check(|| {
            let f = Arc::new(Frontiers::default());
            for level in Level::ALL {
                let mut wait = f.wait(Seq(1), level);
                assert!(poll(&mut wait).0.is_pending());
            }
            let waiters = f.waiters.lock();
            assert!(waiters.fresh.is_empty() && waiters.by_position.iter().all(BTreeMap::is_empty));
        });
    }
}
