//! Values as db_bench makes them: windows that move through a ring of random bytes.
//!
//! The ring is at least 1 MiB of 100-byte pieces; a piece is `100 * ratio` random bytes, repeated.
//! Every generator starts from the same seed, so every thread writes the same sequence.

use crate::rng::Lehmer;
use std::ops::Range;
use std::sync::Arc;

/// A source of values. A clone has the same ring and a place of its own in it: making one takes milliseconds, and
/// each thread's own would push what is measured out of the processor's caches.
#[derive(Clone)]
pub struct Values {
    ring: Arc<[u8]>,
    at: usize,
}

const SEED: u32 = 301;
const RING_BYTES_MIN: usize = 1 << 20;
const PIECE_BYTES: usize = 100;
/// RocksDB draws bytes below `CHAR_MAX`.
const BYTES: u64 = 127;

impl Values {
    /// Values of up to `size_max` bytes that compress to about `compression_ratio` of it.
    pub fn new(compression_ratio: f64, size_max: usize) -> Self {
        let mut random = Lehmer::new(SEED);
        let raw = ((PIECE_BYTES as f64 * compression_ratio) as usize).clamp(1, PIECE_BYTES);
        let target = size_max.max(RING_BYTES_MIN);
        let mut ring = Vec::with_capacity(target + PIECE_BYTES);
        while ring.len() < target {
            let piece: Vec<u8> = (0..raw).map(|_| random.uniform(BYTES) as u8).collect();
            ring.extend(piece.iter().cycle().take(PIECE_BYTES));
        }
        Self { ring: ring.into(), at: 0 }
    }

    /// The next value.
    pub fn next(&mut self, size: usize) -> &[u8] {
        let window = self.window(size);
        self.bytes(window)
    }

    /// Where the next value stands, for a caller that needs several at once.
    pub fn window(&mut self, size: usize) -> Range<usize> {
        if self.at + size > self.ring.len() {
            self.at = 0;
        }
        self.at += size;
        self.at - size..self.at
    }

    /// The value that stands there.
    pub fn bytes(&self, window: Range<usize>) -> &[u8] {
        &self.ring[window]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_follow_each_other_and_wrap() {
        let mut values = Values::new(0.5, 100);
        let ring = Arc::clone(&values.ring);
        assert_eq!(ring.len(), RING_BYTES_MIN.next_multiple_of(PIECE_BYTES));
        for nth in 0..10 {
            assert_eq!(values.next(100), &ring[nth * 100..(nth + 1) * 100]);
        }
        values.at = ring.len() - 50;
        assert_eq!(values.next(100), &ring[..100]);
    }

    #[test]
    fn a_piece_repeats_by_the_ratio() {
        let ring = Values::new(0.5, 1).ring;
        assert_eq!(ring[..50], ring[50..100]);
        assert_ne!(ring[..50], ring[100..150]);
        let ring = Values::new(1.0, 1).ring;
        assert_ne!(ring[..50], ring[50..100]);
    }
}
