//! [`Pace`]: when the next counter operation begins.
//!
//! One advance of the counter is under way at a time, and all that becomes durable meanwhile waits
//! for the next. If that one began at the very end of the one before, writers who write again as
//! soon as they are answered would fall into two halves that take turns: one half waits while the
//! other is served, and each commit takes two advances.
//!
//! ```text
//!   at once     ──[ A ]──[ B ]──[ A ]──[ B ]──      N commits in two advances
//!   gathered    ──[ A+B ]─·─[ A+B ]─·─[ A+B ]──     N commits in one advance and a sync
//! ```
//!
//! So after an operation the next one is held back until all is durable that was submitted when it
//! ended, and as much again as it released, but for half of an operation's duration at the most: with that, a commit takes no
//! longer than a sync and one and a half operations, what a random arrival takes on average. Where
//! the released do not come back (commits that arrive whatever was answered), holding back only
//! costs: it is given up, and tried again a while later.
//!
//! The end of the operation is the moment before those whom it releases are woken. Waking 32 threads takes
//! as long as two syncs, and by the end of it the first of them have written again: counted from there,
//! they would be waited for twice, and each rest would last its full time.
//!
//! Pure: times and positions are handed in.

use crate::store::Round;
use ringfort_base::Seq;
use std::time::Duration;

/// A shorter rest is not worth a timer.
const REST_MIN: Duration = Duration::from_micros(100);
/// Nobody is held back for longer, however slow the counter (or however its clock may jump).
const REST_MAX: Duration = Duration::from_millis(50);
/// After so many rests in vain ...
const MISSES_MAX: u32 = 2;
/// ... so many operations begin at once.
const AT_ONCE: u32 = 16;

/// What a counter operation did, as its worker saw it.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// When it began (a monotonic clock).
    pub began: Duration,
    /// When it ended, before anybody was woken.
    pub ended: Duration,
    /// How much it released.
    pub released: u64,
    /// What was submitted when it ended, before anybody was released.
    pub submitted: Seq,
}

impl Operation {
    /// What a round was, that began and ended then.
    #[must_use]
    pub fn of(round: &Round, began: Duration, ended: Duration) -> Self {
        let released = round.after.0.saturating_sub(round.before.0);
        Self { began, ended, released, submitted: round.submitted }
    }
}

/// See the module.
#[derive(Default, Debug)]
pub struct Pace {
    gathering: Option<Gathering>,
    misses: u32,
    at_once: u32,
}

#[derive(Clone, Copy, Debug)]
struct Gathering {
    /// With half of the released back, the rest was not in vain.
    half: Seq,
    /// All that the last operation released is back.
    all: Seq,
    until: Duration,
}

impl Pace {
    /// An operation ended.
    pub fn ended(&mut self, operation: Operation) {
        let (released, submitted) = (operation.released, operation.submitted.0);
        let rest = operation.ended.saturating_sub(operation.began) / 2;
        self.gathering = None;
        if released == 0 || rest < REST_MIN {
            return;
        }
        if self.at_once > 0 {
            self.at_once -= 1;
            return;
        }
        self.gathering = Some(Gathering {
            half: Seq(submitted + released.div_ceil(2)),
            all: Seq(submitted + released),
            until: operation.ended + rest.min(REST_MAX),
        });
    }

    /// How long the next operation is to be held back at the most, now that the frontier `durable`
    /// is where it is; `None`: it may begin.
    pub fn rest(&mut self, durable: Seq, now: Duration) -> Option<Duration> {
        let gathering = self.gathering?;
        let left = gathering.until.saturating_sub(now);
        if durable < gathering.all && !left.is_zero() {
            return Some(left);
        }
        self.over(durable);
        None
    }

    /// The rest has ended, whatever the clock says: its timer did.
    pub fn over(&mut self, durable: Seq) {
        let Some(gathering) = self.gathering.take() else { return };
        self.misses = if durable >= gathering.half { 0 } else { self.misses + 1 };
        if self.misses >= MISSES_MAX {
            // The next try is one miss from being given up again.
            self.misses = MISSES_MAX - 1;
            self.at_once = AT_ONCE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn operation(ended: u32, before: u64, after: u64, submitted: u64) -> Operation {
        Operation {
            began: MS * (ended - 1),
            ended: MS * ended,
            released: after - before,
            submitted: Seq(submitted),
        }
    }

    #[test]
    fn it_rests_until_the_released_are_back_or_half_an_operation() {
        let mut pace = Pace::default();
        assert_eq!(pace.rest(Seq(0), MS), None, "nothing went before");
        pace.ended(operation(10, 0, 8, 12));
        assert_eq!(pace.rest(Seq(12), MS * 10), Some(MS / 2));
        assert_eq!(pace.rest(Seq(19), MS * 10 + MS / 4), Some(MS / 4), "one is missing");
        assert_eq!(pace.rest(Seq(20), MS * 10 + MS / 4), None);
        assert_eq!(pace.rest(Seq(20), MS * 10 + MS / 4), None);
        pace.ended(operation(12, 8, 20, 20));
        assert!(pace.rest(Seq(31), MS * 12).is_some());
        assert_eq!(pace.rest(Seq(31), MS * 12 + MS / 2), None, "it does not wait for the last for ever");
    }

    #[test]
    fn it_does_not_rest_for_readers_nor_for_a_fast_counter() {
        let mut pace = Pace::default();
        pace.ended(operation(10, 8, 8, 12));
        assert_eq!(pace.rest(Seq(12), MS * 10), None);
        let fast = Operation { began: MS * 10 - MS / 10, ..operation(10, 0, 8, 8) };
        pace.ended(fast);
        assert_eq!(pace.rest(Seq(8), MS * 10), None);
    }

    #[test]
    fn no_clock_makes_it_rest_for_long() {
        let mut pace = Pace::default();
        pace.ended(Operation { began: Duration::ZERO, ..operation(3_600_000, 0, 8, 8) });
        assert_eq!(pace.rest(Seq(8), MS * 3_600_000), Some(REST_MAX));
        // The clock stands still, and the timer ran out.
        pace.over(Seq(8));
        assert_eq!(pace.rest(Seq(8), MS * 3_600_000), None);
    }

    #[test]
    fn it_gives_up_where_the_released_do_not_come_back_and_tries_again() {
        let mut pace = Pace::default();
        let (mut rests, mut at) = (0, 0);
        for n in 1..=100 {
            pace.ended(operation(2 * n, at, at + 8, at + 8));
            at += 8;
            if pace.rest(Seq(at), MS * (2 * n)).is_some() {
                rests += 1;
                assert_eq!(pace.rest(Seq(at + 3), MS * (2 * n) + MS / 2), None);
            }
        }
        assert!((5..=8).contains(&rests), "{rests}");
        // And keeps at it once they do.
        let (mut kept, last) = (0, 200);
        for n in 1..=100 {
            pace.ended(operation(last + 2 * n, at, at + 8, at + 8));
            at += 8;
            if pace.rest(Seq(at), MS * (last + 2 * n)).is_some() {
                kept += 1;
                assert_eq!(pace.rest(Seq(at + 5), MS * (last + 2 * n) + MS / 2), None);
            }
        }
        assert!(kept >= 80, "{kept}");
    }
}
