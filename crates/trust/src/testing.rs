//! What the unit tests of several modules share.

use crate::keys::{EpochKey, KeyRing, Secret};
use ringfort_base::Epoch;
use ringfort_base::world::Entropy;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// Predictable "random" bytes that a test can rewind, as a restored snapshot of a machine does.
#[derive(Default)]
pub(crate) struct TestEntropy {
    pub(crate) next: AtomicU64,
    /// Fails once this many draws were made (0: never).
    pub(crate) fails_after: u64,
}

impl TestEntropy {
    pub(crate) fn rewind(&self) {
        self.next.store(0, Ordering::SeqCst);
    }
}

impl Entropy for TestEntropy {
    fn fill(&self, buf: &mut [u8]) -> io::Result<()> {
        let draw = self.next.fetch_add(1, Ordering::SeqCst);
        if self.fails_after != 0 && draw >= self.fails_after {
            return Err(io::Error::other("no entropy"));
        }
        let stream = crate::anchor::sha256(&[b"test entropy", &draw.to_le_bytes()]);
        buf.iter_mut().zip(stream.iter().cycle()).for_each(|(to, from)| *to = *from);
        Ok(())
    }
}

/// A ring with one epoch, 1.
pub(crate) fn ring() -> KeyRing {
    KeyRing::new(vec![EpochKey { epoch: Epoch(1), key: Secret([42; 32]) }]).unwrap()
}
