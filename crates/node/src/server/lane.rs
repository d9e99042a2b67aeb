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
//! - What was left is applied, and its locks released, whatever becomes of the connection that left it:
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::pending::tests::{lock, server};
    use ringfort_base::Level;
    use ringfort_store::WriteBatch;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
    }

    fn write(server: &Arc<Server>, key: &'static [u8]) -> Pending {
        let (store, keyspace) = (server.store(), server.databases()[0]);
        let lock = lock(server, key);
        let mut batch = WriteBatch::new();
        batch.put(keyspace, key, b"v".as_slice());
        let ticket = store.submit_locked(batch, lock).expect("submits");
        let mut writes = Pending::new(server);
        writes.add(ticket.position, 2, None);
        writes
    }

    fn is_seen(server: &Arc<Server>, key: &[u8]) -> bool {
        server.store().get(server.databases()[0], key, None).expect("reads").value.is_some()
    }

    /// R23: what several connections wrote in one turn of the loop is one group.
    #[test]
    fn what_was_left_becomes_one_group() {
        let server = server();
        let groups = server.store().statistics().groups;
        runtime().block_on(async {
            let lane = server.lane();
            let _present = [lane.enter(), lane.enter()];
            let mut first = write(&server, b"a");
            lane.leave(&mut first);
            let mut second = write(&server, b"b");
            let position = second.position();
            lane.leave(&mut second);
            assert!(first.is_empty() && second.is_empty() && !is_seen(&server, b"a"));
            let bell = Bell::new(&lane);
            bell.wait(server.store().wait(position, Level::Buffered)).await.expect("applied");
            assert!(is_seen(&server, b"a") && is_seen(&server, b"b"));
            drop(lock(&server, b"a"));
        });
        assert_eq!(server.store().statistics().groups, groups + 1);
    }

    #[test]
    fn who_is_alone_does_not_wait_for_the_clerk() {
        let server = server();
        runtime().block_on(async {
            let lane = server.lane();
            let _present = lane.enter();
            lane.leave(&mut write(&server, b"a"));
            assert!(is_seen(&server, b"a"));
        });
    }

    /// Whoever is left over when the runtime has ended is neither forgotten nor kept waiting.
    #[test]
    fn nothing_is_left_behind_by_a_runtime_that_ends() {
        let server = server();
        let runtime = runtime();
        let lane = runtime.block_on(async { server.lane() });
        let _present = [lane.enter(), lane.enter()];
        lane.leave(&mut write(&server, b"a"));
        assert!(!is_seen(&server, b"a"));
        drop(runtime);
        assert!(is_seen(&server, b"a"));
        lane.leave(&mut write(&server, b"b"));
        assert!(is_seen(&server, b"b"));
        let wait = server.store().wait(server.store().frontier(Level::Buffered), Level::Buffered);
        door::block_on(Bell::new(&lane).wait(wait)).expect("is ready");
    }
}
