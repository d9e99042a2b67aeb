//! Who of the clients goes on: threads as the machine has it, or one thread in an order that a seed chooses.
//!
//! A seed's order changes hands at every [`turn`] and wherever somebody waits. All clients being asleep with
//! nothing left to do for the store is a lost wake-up, and a failure.

use ringfort_fault::rng::SplitMix64;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

/// A client's whole life.
pub type Client<'c> = Pin<Box<dyn Future<Output = ()> + Send + 'c>>;

/// Lets the others go on.
pub async fn turn() {
    let mut was_here = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut was_here, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Wakes a thread.
struct Parked(thread::Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits as an embedded caller does.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Parked(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// What has become of the store, for the one who runs its jobs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Job {
    Worked,
    Idle,
    /// The process is dead: nobody runs any more.
    Dead,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs the clients by turns, and the store's jobs between; `job` is told whether everybody waits for it.
pub fn run_seeded(clients: Vec<Client<'_>>, rng: &mut SplitMix64, mut job: impl FnMut(bool, u64) -> Job) {
    let mut live: Vec<(Arc<Flag>, Client<'_>)> =
        clients.into_iter().map(|client| (Arc::new(Flag(AtomicBool::new(true))), client)).collect();
    while !live.is_empty() {
        let awake: Vec<usize> = (0..live.len()).filter(|&at| live[at].0.0.load(Ordering::SeqCst)).collect();
        if awake.is_empty() || rng.below(16) == 0 {
            match job(awake.is_empty(), rng.next_u64()) {
                Job::Dead => return,
                Job::Idle => {
                    let all_sleep = live.iter().all(|(flag, _)| !flag.0.load(Ordering::SeqCst));
                    assert!(!all_sleep, "{} clients sleep, and there is nothing left to do", live.len());
                }
                Job::Worked => {}
            }
            continue;
        }
        let at = awake[rng.below(awake.len() as u64) as usize];
        let (flag, client) = &mut live[at];
        flag.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(flag));
        if client.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            drop(live.swap_remove(at));
        }
    }
}
