//! The store's time (R20): max(what the log knows, the host's clock bounded by a step setting).
//!
//! The host owns its clock. One that is set back is overruled by the time that the last commits
//! were logged with, so nothing expired comes back. One that is set far forward is not believed:
//! from what the log knew when the store opened, time may run as fast as the monotonic clock and
//! jump once by the step setting. Beyond that the clock is *suspect*: time stands still at what is
//! known (so that restarts cannot carry it forward step by step), physical removal waits and new
//! expiries are refused until the operator decides.

use ringfort_base::world::Clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The store's clock.
pub(crate) struct StoreClock {
    clock: Arc<dyn Clock>,
    /// The latest time that a commit was logged with, Unix ms.
    known_ms: AtomicU64,
    /// What the log knew at the opening (a new store: the host's word).
    base_ms: u64,
    opened: Duration,
    step_ms_max: u64,
}

/// One reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Time {
    /// Unix milliseconds.
    pub now_ms: u64,
    /// The host's clock is further ahead than can be believed.
    pub suspect: bool,
}

impl StoreClock {
    /// `known_ms`: what the log knows; 0 for a new store, which has to believe its first reading.
    pub(crate) fn new(clock: Arc<dyn Clock>, known_ms: u64, step_max: Duration) -> Self {
        let opened = clock.monotonic();
        let host = host_ms(&*clock);
        let base_ms = if known_ms == 0 { host } else { known_ms };
        let step_ms_max = u64::try_from(step_max.as_millis()).unwrap_or(u64::MAX);
        Self { clock, known_ms: AtomicU64::new(base_ms), base_ms, opened, step_ms_max }
    }

    /// The time now.
    pub(crate) fn now(&self) -> Time {
        let elapsed = self.clock.monotonic().saturating_sub(self.opened).as_millis();
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
        let bound = self.base_ms.saturating_add(self.step_ms_max).saturating_add(elapsed);
        let host = host_ms(&*self.clock);
        let suspect = host > bound;
        if !suspect {
            // What was shown once is not taken back within this life.
            self.known_ms.fetch_max(host, Ordering::AcqRel);
        }
        Time { now_ms: self.known_ms.load(Ordering::Acquire), suspect }
    }

    /// A commit is logged with `ms`: time never falls below it again.
    pub(crate) fn logged(&self, ms: u64) {
        self.known_ms.fetch_max(ms, Ordering::AcqRel);
    }
}

/// The host's claim, Unix ms. A number by itself needs no verification: it is bounded above.
fn host_ms(clock: &dyn Clock) -> u64 {
    ringfort_trust::claimed_time_ms(clock.wall())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfort_fault::clock::ManualClock;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn r20_a_clock_set_back_revives_nothing() {
        let host = Arc::new(ManualClock::new(Duration::from_secs(1_000_000)));
        let clock = StoreClock::new(Arc::clone(&host) as Arc<dyn Clock>, 0, DAY);
        clock.logged(clock.now().now_ms);
        host.set_wall(Duration::from_secs(10));
        assert_eq!(clock.now(), Time { now_ms: 1_000_000_000, suspect: false });
    }

    #[test]
    fn r20_a_clock_set_far_forward_is_suspect_and_bounded() {
        let host = Arc::new(ManualClock::new(Duration::from_secs(1_000_000)));
        let clock = StoreClock::new(Arc::clone(&host) as Arc<dyn Clock>, 1_000_000_000, DAY);
        host.set_wall(Duration::from_secs(1_000_000) + DAY);
        assert!(!clock.now().suspect);
        host.set_wall(Duration::from_secs(1_000_000) + 3 * DAY);
        let time = clock.now();
        assert!(time.suspect);
        assert_eq!(time.now_ms, 1_000_000_000 + 86_400_000);
        clock.logged(time.now_ms);
        assert_eq!(clock.now().now_ms, time.now_ms, "committing does not creep forward");
    }
}
