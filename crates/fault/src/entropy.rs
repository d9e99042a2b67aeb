//! Randomness that repeats: from a seed, so that a test can be run again, and rewound, which is
//! what happens inside a virtual machine whose snapshot is resumed twice (R13).

use crate::rng::SplitMix64;
use parking_lot::Mutex;
use ringfort_base::world::Entropy;
use std::io;

/// The bytes that a seed gives, one after the other.
#[derive(Debug)]
pub struct SeededEntropy {
    state: Mutex<SplitMix64>,
}

impl SeededEntropy {
    /// Starts at `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: Mutex::new(SplitMix64::new(seed)) }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buf: &mut [u8]) -> io::Result<()> {
        self.state.lock().fill(buf);
        Ok(())
    }
}

/// Entropy of a machine that can be snapshotted: [`SnapshotEntropy::rewind`] makes it give the
/// same bytes again.
#[derive(Debug)]
pub struct SnapshotEntropy {
    inner: SeededEntropy,
}

/// A moment of a [`SnapshotEntropy`].
#[derive(Clone, Debug)]
pub struct Moment(SplitMix64);

impl SnapshotEntropy {
    /// Starts at `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { inner: SeededEntropy::new(seed) }
    }

    /// Takes the snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Moment {
        Moment(self.inner.state.lock().clone())
    }

    /// Resumes it.
    pub fn rewind(&self, to: &Moment) {
        *self.inner.state.lock() = to.0.clone();
    }

    /// A second machine resumed from the same snapshot: it gives the same bytes as this one would.
    #[must_use]
    pub fn resume_elsewhere(from: &Moment) -> Self {
        Self { inner: SeededEntropy { state: Mutex::new(from.0.clone()) } }
    }
}

impl Entropy for SnapshotEntropy {
    fn fill(&self, buf: &mut [u8]) -> io::Result<()> {
        self.inner.fill(buf)
    }
}

/// A source that has nothing to give.
#[derive(Clone, Copy, Debug, Default)]
pub struct BrokenEntropy;

impl Entropy for BrokenEntropy {
    fn fill(&self, _buf: &mut [u8]) -> io::Result<()> {
        Err(io::Error::other("the source of randomness is broken"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(entropy: &dyn Entropy) -> [u8; 20] {
        let mut buf = [0; 20];
        entropy.fill(&mut buf).unwrap();
        buf
    }

    #[test]
    fn a_seed_repeats_and_another_differs() {
        let (one, two, other) = (SeededEntropy::new(1), SeededEntropy::new(1), SeededEntropy::new(2));
        let first = draw(&one);
        assert_eq!(first, draw(&two));
        assert_ne!(first, draw(&one));
        assert_ne!(first, draw(&other));
    }

    #[test]
    fn a_resumed_snapshot_gives_the_same_bytes_again() {
        let entropy = SnapshotEntropy::new(1);
        draw(&entropy);
        let moment = entropy.snapshot();
        let first = draw(&entropy);
        assert_eq!(draw(&SnapshotEntropy::resume_elsewhere(&moment)), first);
        entropy.rewind(&moment);
        assert_eq!(draw(&entropy), first);
    }

    #[test]
    fn a_broken_source_says_so() {
        assert!(BrokenEntropy.fill(&mut [0]).is_err());
    }
}
