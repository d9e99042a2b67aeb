//! A clock that moves only when told to, in any direction (R20: the host owns the clock).

use parking_lot::Mutex;
use ringfort_base::Untrusted;
use ringfort_base::world::Clock;
use std::time::Duration;

/// A clock set by hand. Shared by reference or in an `Arc`.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    wall: Duration,
    monotonic: Duration,
}

impl ManualClock {
    /// Shows `wall` since the Unix epoch; the monotonic clock starts at zero.
    #[must_use]
    pub const fn new(wall: Duration) -> Self {
        Self { now: Mutex::new(Now { wall, monotonic: Duration::ZERO }) }
    }

    /// Lets time pass on both clocks.
    pub fn advance(&self, by: Duration) {
        let mut now = self.now.lock();
        now.wall = now.wall.saturating_add(by);
        now.monotonic = now.monotonic.saturating_add(by);
    }

    /// Sets the wall clock to anything; the monotonic clock does not notice.
    pub fn set_wall(&self, wall: Duration) {
        self.now.lock().wall = wall;
    }

    /// Sets the wall clock forward.
    pub fn jump_forward(&self, by: Duration) {
        let mut now = self.now.lock();
        now.wall = now.wall.saturating_add(by);
    }

    /// Sets the wall clock back, to the epoch at the most.
    pub fn jump_back(&self, by: Duration) {
        let mut now = self.now.lock();
        now.wall = now.wall.saturating_sub(by);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Untrusted<Duration> {
        Untrusted::new(self.now.lock().wall)
    }

    fn monotonic(&self) -> Duration {
        self.now.lock().monotonic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    #[test]
    fn jumps_move_the_wall_clock_only() {
        let clock = ManualClock::new(10 * SEC);
        clock.advance(5 * SEC);
        clock.jump_back(7 * SEC);
        assert_eq!((clock.wall(), clock.monotonic()), (Untrusted::new(8 * SEC), 5 * SEC));
        clock.jump_forward(2 * SEC);
        assert_eq!((clock.wall(), clock.monotonic()), (Untrusted::new(10 * SEC), 5 * SEC));
        clock.set_wall(SEC);
        clock.jump_back(3 * SEC);
        assert_eq!(clock.wall(), Untrusted::new(Duration::ZERO));
    }
}
