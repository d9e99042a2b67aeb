//! Contention: transactions that meet again and again go one after another.
//!
//! When most transactions want the same few keys, running many at once gains nothing: each waits for others, is woken,
//! and becomes a deadlock's victim or fails its check. So a thread whose last transactions met others takes the *turn*
//! for a stretch of its next ones: those that do are alone with each other, and each has the locks it wants at once. Then it
//! tries without; if it meets others again, the next stretch is twice as long. (Adaptive transaction scheduling: Yoo and Lee,
//! SPAA 2008; here with stretches, so that probing costs next to nothing.)
//!
//! ```text
//!   free ──── more than half of the last ones met others ───▶ in turn, 16 … 1024 transactions ──▶ free
//! ```
//!
//! It is advice, not a lock: what is isolated from what is the lock table's business. The turn is given back when
//! a commit is visible, before it has its level. A thread that waits too long for it goes without: who has it may be
//! waiting for this very thread.

use parking_lot::{Mutex, MutexGuard};
use std::cell::Cell;
use std::time::Duration;

/// What one transaction weighs among the last ones.
const WEIGHT: f32 = 0.25;
/// A thread takes the turn when so many of its last transactions met others.
const BUSY: f32 = 0.5;
/// Where it begins to count again behind a stretch: two that meet others lead to the next one.
const PROBING: f32 = 0.4;
/// As good as none.
const CALM: f32 = 0.05;
const STRETCH_MIN: u32 = 16;
const STRETCH_MAX: u32 = 1024;
/// The longest wait for the turn.
const PATIENCE: Duration = Duration::from_millis(20);

/// The turn of a store.
#[derive(Default)]
pub(crate) struct Contention {
    /// Lets who is awake go first, and who waits every half a millisecond.
    turn: Mutex<()>,
}

/// This thread's transactions have the turn.
pub(crate) type Turn<'c> = MutexGuard<'c, ()>;

/// How it went for a thread's transactions.
#[derive(Clone, Copy)]
struct Course {
    /// How many of the last ones met others, of one.
    met: f32,
    /// Transactions that still go in turn.
    left: u32,
    /// How many the next stretch has.
    stretch: u32,
    /// Whether the present one met another.
    meets: bool,
    /// Transactions of this thread that have not ended, one in another's work.
    depth: u32,
}

thread_local! {
    static COURSE: Cell<Course> =
        const { Cell::new(Course { met: 0.0, left: 0, stretch: STRETCH_MIN, meets: false, depth: 0 }) };
}

/// This thread's transaction has to wait for another one.
pub(crate) fn note() {
    update(|course| course.meets = true);
}

fn update<T>(change: impl FnOnce(&mut Course) -> T) -> T {
    COURSE.with(|cell| {
        let mut course = cell.get();
        let result = change(&mut course);
        cell.set(course);
        result
    })
}

/// A transaction of this thread, with all its tries.
pub(crate) struct Running<'c>(&'c Contention);

impl Contention {
    /// A transaction begins.
    pub(crate) fn run(&self) -> Running<'_> {
        update(|course| course.depth += 1);
        Running(self)
    }
}

impl<'c> Running<'c> {
    /// Before a try: the turn, if it is better to have it. Who was refused once takes it in any case.
    pub(crate) fn enter(&self, is_first: bool) -> Option<Turn<'c>> {
        let wants = update(|course| {
            course.meets = false;
            course.depth == 1 && (course.left > 0 || !is_first)
        });
        let turn = wants.then(|| self.0.turn.try_lock_for(PATIENCE)).flatten();
        if wants && turn.is_none() {
            // Those who have it take longer than it is worth to wait for.
            update(|course| course.left = 0);
        }
        turn
    }

    /// Behind a try.
    pub(crate) fn leave(&self, was_in_turn: bool, was_refused: bool) {
        update(|course| {
            if was_in_turn {
                course.left = course.left.saturating_sub(1);
                return;
            }
            let meets = course.meets || was_refused;
            course.met += WEIGHT * (f32::from(u8::from(meets)) - course.met);
            if course.met > BUSY {
                *course = Course { met: PROBING, left: course.stretch, ..*course };
                course.stretch = (course.stretch * 2).min(STRETCH_MAX);
            } else if course.met < CALM {
                course.stretch = STRETCH_MIN;
            }
        });
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        update(|course| course.depth -= 1);
    }
}
