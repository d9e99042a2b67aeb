//! # The loop that all benchmarks of transactions run
//!
//! ```text
//!              │ warm-up: carried out, not counted │ measured                    │ what has begun is ended
//!  client 1  ──┼── t ── t ── t ────────────────────┼── t ── t ── t ── t ──────── ┼─ t
//!  client 2  ──┼─── t ─── t ─── t ─────────────────┼─── t ─── t ─── t ─── t ───  ┼── t
//! ```
//!
//! - **A closed loop**: a client is a thread that begins its next transaction when the last was answered. Nobody
//!   types, thinks, or is late, so a latency is that of a store with so many clients, not that of a queue before it.
//! - **Counted** is what began between the warm-up and the end, whenever it ended; the measured time runs until
//!   the last of it has. The start is one for all: no client begins before every thread is there.
//! - **One transaction** is all its tries. Its latency has them in it, and the pauses between; how often it
//!   was begun again is counted apart, and so is a rollback that the work intends.
//! - One client's failure ends the others' run, and is that of all.

use super::End;
use super::run::{Run, Tally};
use crate::Result;
use crate::progress::Progress;
use ringfort_base::world::Clock;
use ringfort_host::door::OsClock;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How wide the pieces are in which throughput is counted, and how often a client reports its progress.
pub(super) const SLOT: Duration = Duration::from_millis(100);

/// What is run, and for how long.
pub(crate) struct Course {
    /// What the progress is called.
    pub(crate) label: &'static str,
    /// The kinds of transactions, by number.
    pub(crate) kinds: &'static [&'static str],
    /// Transactions that begin in this time are not counted.
    pub(crate) warm_up: Duration,
    /// For so long transactions are begun and counted.
    pub(crate) duration: Duration,
}

/// One client: it knows which transaction comes next, and carries it out.
pub(crate) trait Client: Send {
    /// Carries out one transaction, to its end; `time` is how long the run goes on.
    fn next(&mut self, time: Duration) -> Result<Done>;
}

/// One transaction that was carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Done {
    /// Its number among the kinds.
    pub(crate) kind: usize,
    /// How it ended.
    pub(crate) end: End,
    /// How often it was begun again.
    pub(crate) retries: u64,
}

/// Runs the clients, a thread each.
///
/// # Errors
/// Those of the clients.
pub(crate) fn drive<C: Client>(course: &Course, clients: Vec<C>) -> Result<Run> {
    let progress = Progress::start(course.label.into(), None, Some(course.warm_up + course.duration));
    let failed = AtomicBool::new(false);
    let gate = Mutex::new(());
    let ended: Vec<Result<Tally>> = std::thread::scope(|scope| {
        // Should a thread not start, the guard goes and the others run to their end.
        let closed = gate.lock();
        let threads: Vec<_> = clients
            .into_iter()
            .map(|client| {
                let (gate, failed, progress) = (&gate, &failed, &progress);
                scope.spawn(move || {
                    drop(gate.lock());
                    let ended = run(course, client, failed, progress);
                    failed.fetch_or(ended.is_err(), Ordering::Relaxed);
                    ended
                })
            })
            .collect();
        drop(closed);
        let ended = threads.into_iter().map(|thread| thread.join());
        ended.map(|ended| ended.unwrap_or_else(|_| Err("a client panicked".into()))).collect()
    });
    drop(progress);
    let mut all = Tally::new(course.kinds.len());
    for tally in ended {
        all.add(&tally?);
    }
    Ok(Run::new(course, &all))
}

fn run(course: &Course, mut client: impl Client, failed: &AtomicBool, progress: &Progress) -> Result<Tally> {
    let clock = OsClock::new();
    let mut tally = Tally::new(course.kinds.len());
    let end = course.warm_up + course.duration;
    let (mut unreported, mut report_at) = (0, SLOT);
    let mut begin = clock.monotonic();
    while begin < end && !failed.load(Ordering::Relaxed) {
        let done = client.next(begin)?;
        let now = clock.monotonic();
        unreported += 1;
        if now >= report_at {
            progress.advance(unreported);
            (unreported, report_at) = (0, now + SLOT);
        }
        if let Some(into_run) = begin.checked_sub(course.warm_up) {
            tally.record(&done, now - begin, into_run + (now - begin));
        }
        begin = now;
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfort_host::door;

    const MS: Duration = Duration::from_millis(1);

    fn course(warm_up: Duration, duration: Duration) -> Course {
        Course { label: "test", kinds: &["even", "odd", "never"], warm_up, duration }
    }

    /// Sleeps 2 ms for each; every third is begun again twice, every fourth rolled back.
    struct Sleeper(usize);

    impl Client for Sleeper {
        fn next(&mut self, _time: Duration) -> Result<Done> {
            door::sleep(2 * MS);
            self.0 += 1;
            let end = if self.0.is_multiple_of(4) { End::Rollback } else { End::Commit };
            let retries = if self.0.is_multiple_of(3) { 2 } else { 0 };
            Ok(Done { kind: self.0 % 2, end, retries })
        }
    }

    #[test]
    fn what_began_in_time_is_counted() {
        let run = drive(&course(50 * MS, 100 * MS), vec![Sleeper(0), Sleeper(0)]).unwrap();
        let ended = run.committed + run.rolled_back;
        // At the most 25 of each client are in the warm-up, and 50 behind it.
        assert!((4..=100).contains(&ended), "{run:?}");
        assert!(run.seconds >= 0.1 && run.retries > 0 && run.rolled_back > 0, "{run:?}");
        assert!((run.transactions_per_sec * run.seconds - run.committed as f64).abs() < 1e-6);
        let names: Vec<_> = run.kinds.iter().map(|kind| kind.transaction).collect();
        assert_eq!(names, ["even", "odd"], "what never ran is left out");
        assert!(run.latency.p50_us >= 2000.0 && run.latency.p50_us <= run.latency.max_us);
        assert_eq!(run.kinds.iter().map(|kind| kind.committed).sum::<u64>(), run.committed);
        assert_eq!(run.kinds[1].rolled_back, 0, "every fourth is even");
    }

    struct Fails(u32);

    impl Client for Fails {
        fn next(&mut self, _time: Duration) -> Result<Done> {
            door::sleep(MS);
            self.0 = self.0.checked_sub(1).ok_or("the store is gone")?;
            Ok(Done { kind: 0, end: End::Commit, retries: 0 })
        }
    }

    #[test]
    fn one_failure_ends_all() {
        let clock = OsClock::new();
        let error = drive(&course(Duration::ZERO, 60_000 * MS), vec![Fails(u32::MAX), Fails(3)]).unwrap_err();
        assert_eq!(error.to_string(), "the store is gone");
        assert!(clock.monotonic() < 30_000 * MS);
    }
}
