//! What a person sees while a benchmark runs: one line on a terminal, nothing elsewhere.

use ringfort_base::world::Clock;
use ringfort_host::door::{self, OsClock};
use std::io::{IsTerminal, Write, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often a worker says how far it is, operations. Rarely, so that workers do not share a line
/// of cache at every step.
pub(crate) const REPORT_EVERY: u64 = 1024;
const REDRAW: Duration = Duration::from_millis(200);

/// The line; gone when it is dropped.
pub(crate) struct Progress {
    shared: Arc<Shared>,
    drawer: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    done: AtomicU64,
    settling: AtomicBool,
    stop: AtomicBool,
}

impl Progress {
    /// Begins to draw, if standard error is a terminal. What ends the benchmark is a number of
    /// operations, or a time.
    pub(crate) fn start(label: String, total: Option<u64>, duration: Option<Duration>) -> Self {
        let shared = Arc::<Shared>::default();
        let drawer = stderr().is_terminal().then(|| {
            let shared = Arc::clone(&shared);
            door::spawn("progress", move || draw(&label, total, duration, &shared)).ok()
        });
        Self { shared, drawer: drawer.flatten() }
    }

    /// So many operations more.
    pub(crate) fn advance(&self, operations: u64) {
        self.shared.done.fetch_add(operations, Ordering::Relaxed);
    }

    /// All operations are done; the store pays its debt.
    pub(crate) fn settling(&self) {
        self.shared.settling.store(true, Ordering::Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(drawer) = self.drawer.take() {
            let _ = drawer.join();
        }
    }
}

fn draw(label: &str, total: Option<u64>, duration: Option<Duration>, shared: &Shared) {
    let clock = OsClock::new();
    while !shared.stop.load(Ordering::Acquire) {
        let settling = shared.settling.load(Ordering::Relaxed);
        let done = shared.done.load(Ordering::Relaxed);
        eprint!("\r\x1b[K{label}: {}", line(done, total, clock.monotonic(), duration, settling));
        let _ = stderr().flush();
        door::sleep(REDRAW);
    }
    eprint!("\r\x1b[K");
}

fn line(done: u64, total: Option<u64>, time: Duration, duration: Option<Duration>, settling: bool) -> String {
    if settling {
        return format!("{done} operations, settling");
    }
    let seconds = time.as_secs_f64().max(0.001);
    let share = match (total, duration) {
        (Some(total), _) => done as f64 / total.max(1) as f64,
        (None, duration) => seconds / duration.unwrap_or_default().as_secs_f64().max(0.001),
    };
    format!("{:3.0} %  {:.0} ops/s", share.min(1.0) * 100.0, done as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_goes_by_count_or_by_time() {
        let two = Duration::from_secs(2);
        assert_eq!(line(500, Some(1000), two, None, false), " 50 %  250 ops/s");
        assert_eq!(line(500, None, two, Some(Duration::from_secs(8)), false), " 25 %  250 ops/s");
        assert_eq!(line(1000, Some(1000), two, None, true), "1000 operations, settling");
    }
}
