//! Frontiers: the highest log position that has each level, and who waits for it (R5, R6).

use ringfort_base::Result;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Resolves when the awaited position has the awaited level, or with the error that stopped the
/// store ([`ringfort_base::ErrorKind::OutcomeUnknown`] for a commit whose sealing had begun, R11).
/// No timer, no thread: polling only; [`crate::Store`] wakes it.
pub struct Wait {
    _inner: (),
}

impl Future for Wait {
    type Output = Result<()>;
    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        todo!()
    }
}
