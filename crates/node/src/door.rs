//! # The door of the runtime
//!
//! Tasks, timers and the pool for blocking work are reached through this module and nowhere else
//! (R24), so that "what runs when?" is answered by one short file and the simulator has one place
//! to take over. The runtime itself is built by the binary (or by a test).

use ringfort_base::{Error, ErrorKind, Result};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// Runs `task` beside the caller, on the caller's runtime.
#[expect(clippy::disallowed_methods, reason = "this is the door (R24)")]
pub fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(task));
}

/// Runs `work`, which may wait for the disk, on the small pool (R23) and waits for its result.
#[expect(clippy::disallowed_methods, reason = "this is the door (R24)")]
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(Error::new(ErrorKind::Internal, "a task of the blocking pool did not finish")),
    }
}

/// Resolves after `time`.
#[expect(clippy::disallowed_methods, reason = "this is the door (R24)")]
pub async fn sleep(time: Duration) {
    tokio::time::sleep(time).await;
}

/// The result of `task`, or `None` if it takes longer than `time` (and is dropped). No `time`: no
/// limit.
#[expect(clippy::disallowed_methods, reason = "this is the door (R24)")]
pub async fn within<T>(time: Option<Duration>, task: impl Future<Output = T>) -> Option<T> {
    match time {
        None => Some(task.await),
        Some(time) => tokio::time::timeout(time, task).await.ok(),
    }
}

/// Waits for `task` on a thread that belongs to no runtime (the background workers' threads).
pub fn block_on<T>(task: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut task = pin!(task);
    loop {
        match task.as_mut().poll(&mut cx) {
            Poll::Ready(value) => return value,
            // A wake-up between the poll and here has left a token: park returns at once.
            Poll::Pending => std::thread::park(),
        }
    }
}
