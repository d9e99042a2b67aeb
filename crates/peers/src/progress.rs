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
pub const REPORT_EVERY: u64 = 1024;
const REDRAW: Duration = Duration::from_millis(200);

/// The line; gone when it is dropped.
pub struct Progress {
    shared: Arc<Shared>,
    drawer: Option<JoinHandle<()>>,
}

struct Shared {
    done: AtomicU64,
    stop: AtomicBool,
}

impl Progress {
    /// Begins to draw, if standard error is a terminal.
    pub fn start(label: String, total: u64) -> Self {
        let shared = Arc::new(Shared { done: AtomicU64::new(0), stop: AtomicBool::new(false) });
        let drawer = stderr().is_terminal().then(|| {
            let shared = Arc::clone(&shared);
            door::spawn("progress", move || draw(&label, total, &shared)).ok()
        });
        Self { shared, drawer: drawer.flatten() }
    }

    /// So many operations more.
    pub fn advance(&self, operations: u64) {
        self.shared.done.fetch_add(operations, Ordering::Relaxed);
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

fn draw(label: &str, total: u64, shared: &Shared) {
    let clock = OsClock::new();
    while !shared.stop.load(Ordering::Acquire) {
        let done = shared.done.load(Ordering::Relaxed);
        let seconds = clock.monotonic().as_secs_f64();
        let (percent, rate) = (done * 100 / total.max(1), done as f64 / seconds.max(0.001));
        let state = if done >= total { "settling".to_owned() } else { format!("{rate:.0} ops/s") };
        eprint!("\r\x1b[K{label}: {percent:3} %  {state}");
        let _ = stderr().flush();
        door::sleep(REDRAW);
    }
    eprint!("\r\x1b[K");
}
