//! # A lane: what the connections of one runtime have in common
//!
//! A connection that wrote in its turn does not write the log itself: it leaves its writes with the lane
//! and waits. The lane's *clerk*, a task that was called behind all connections that are ready, makes one
//! group of what all of them left (R23: one turn of the loop, one submit): one seal and one step of the
//! log's chain for all.
//!
//! ```text
//!   poll ─► conn 1: SET a ─┐ left        clerk: apply a, b, c as one group
//!           conn 2: SET b ─┤      ─►            wake 1, 2, 3 (or: the sync will)  ─► replies ─► poll
//!           conn 3: SET c ─┘
//! ```
//!
//! It is the same with waking: whoever releases many connections of a lane from another thread (a sync
//! that ended) wakes the clerk once, who wakes them from within, where that costs no call of the system.
//!
//! Invariants:
//! - What was left is applied, and its latches released, whatever becomes of the connection that left it:
//!   by the clerk, also as he ends with his runtime. So nobody has to be there for it.
//! - A call is not lost: the clerk says that it may be called again in the same critical section in
//!   which it finds that nothing is left.

use super::Server;
use super::pending::Pending;
use crate::door;
use parking_lot::Mutex;
use ringfort_base::Result;
use ringfort_store::Wait;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use tokio::sync::Notify;

/// See the module. Made on the runtime whose connections it is for; it ends with its last owner.
pub struct Lane {
    desk: Arc<Desk>,
    connections: AtomicUsize,
}

/// What lies before the clerk.
struct Desk {
    state: Mutex<State>,
    call: Notify,
}

struct State {
    /// Writes that are submitted and not applied.
    left: Pending,
    /// Connections that may go on.
    released: Vec<Waker>,
    /// The clerk was called and has not yet found the desk empty.
    is_called: bool,
    is_closed: bool,
}

impl Lane {
    /// A lane on the present runtime.
    pub(super) fn new(server: &Arc<Server>) -> Arc<Self> {
        let state =
            State { left: Pending::new(server), released: Vec::new(), is_called: false, is_closed: false };
        let desk = Arc::new(Desk { state: Mutex::new(state), call: Notify::new() });
        door::spawn(clerk(AtDesk(Arc::clone(&desk))));
        Arc::new(Self { desk, connections: AtomicUsize::new(0) })
    }

    /// Takes a turn's writes over: they will be applied soon. Who is alone has nobody to wait for.
    pub(super) fn leave(&self, writes: &mut Pending) {
        if self.connections.load(Ordering::Relaxed) <= 1 {
            writes.flush();
            return;
        }
        let mut state = self.desk.state.lock();
        if !state.is_closed && state.left.absorb(writes) {
            self.desk.call(state);
            return;
        }
        drop(state);
        writes.flush();
    }

    /// Counts a connection in, until the guard is dropped.
    pub(super) fn enter(self: &Arc<Self>) -> Present {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Present(Arc::clone(self))
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut state = self.desk.state.lock();
        state.is_closed = true;
        self.desk.call(state);
    }
}

/// A connection is in the lane.
pub(super) struct Present(Arc<Lane>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Desk {
    fn call(&self, mut state: parking_lot::MutexGuard<'_, State>) {
        let was_called = std::mem::replace(&mut state.is_called, true);
        drop(state);
        if !was_called {
            self.call.notify_one();
        }
    }
}

/// However the clerk ends: what lies on the desk is done, and what comes later does not wait for him.
struct AtDesk(Arc<Desk>);

impl Drop for AtDesk {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.is_closed = true;
        let mut left = state.left.take();
        let released = std::mem::take(&mut state.released);
        drop(state);
        left.flush();
        released.into_iter().for_each(Waker::wake);
    }
}

async fn clerk(at: AtDesk) {
    let desk = &at.0;
    loop {
        desk.call.notified().await;
        loop {
            let mut state = desk.state.lock();
            if state.left.is_empty() && state.released.is_empty() {
                state.is_called = false;
                if state.is_closed {
                    return;
                }
                break;
            }
            let mut left = state.left.take();
            let released = std::mem::take(&mut state.released);
            drop(state);
            released.into_iter().for_each(Waker::wake);
            left.flush();
        }
    }
}

/// Wakes one connection by way of its lane.
pub(crate) struct Bell {
    lane: Arc<Lane>,
    connection: Mutex<Option<Waker>>,
}

impl Bell {
    pub(super) fn new(lane: &Arc<Lane>) -> Arc<Self> {
        Arc::new(Self { lane: Arc::clone(lane), connection: Mutex::default() })
    }

    /// Waits for `wait`.
    pub(crate) async fn wait(self: &Arc<Self>, wait: Wait) -> Result<()> {
        let waker = Waker::from(Arc::clone(self));
        let mut wait = pin!(wait);
        poll_fn(|cx| {
            let mut connection = self.connection.lock();
            if !connection.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                *connection = Some(cx.waker().clone());
            }
            drop(connection);
            wait.as_mut().poll(&mut Context::from_waker(&waker))
        })
        .await
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let Some(connection) = self.connection.lock().clone() else { return };
        let mut state = self.lane.desk.state.lock();
        if state.is_closed {
            drop(state);
            connection.wake();
            return;
        }
        state.released.push(connection);
        self.lane.desk.call(state);
    }
}
