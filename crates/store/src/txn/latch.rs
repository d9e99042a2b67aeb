//! Striped per-key latches: sorted acquisition (no deadlock), *pending + waker* instead of a
//! blocked thread (R22).

use ringfort_base::KeyspaceId;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The latches of a store.
pub struct Latches {
    _inner: (),
}

impl Latches {
    /// With `stripes` stripes (a power of two).
    #[must_use]
    pub fn new(_stripes: usize) -> Arc<Self> {
        todo!()
    }

    /// Acquires the latches of all `keys`, exclusively. Fair per stripe. Dropping the future gives
    /// up the place in the queue.
    pub fn acquire<'k>(self: &Arc<Self>, _keys: impl IntoIterator<Item = (KeyspaceId, &'k [u8])>) -> Acquire {
        todo!()
    }

    /// Acquires all stripes: for commands that touch a whole keyspace (FLUSHDB).
    pub fn acquire_all(self: &Arc<Self>) -> Acquire {
        todo!()
    }
}

/// A pending acquisition.
pub struct Acquire {
    _inner: (),
}

impl Future for Acquire {
    type Output = LatchGuard;
    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<LatchGuard> {
        todo!()
    }
}

/// Holds latches until dropped.
pub struct LatchGuard {
    _inner: (),
}
