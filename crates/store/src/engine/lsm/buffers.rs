//! Buffers of blocks, handed on from the block that was evicted to the one that is read.
//!
//! An allocator gives each thread memory of its own; a block that one thread read and another evicts
//! goes back to the first thread's, where the second cannot use it, and a cache under churn comes to
//! take nearly twice its budget. So buffers stay here, in classes by size, and serve all threads; a
//! miss in a full cache allocates nothing.

use parking_lot::Mutex;
use std::collections::BTreeMap;

/// Classes are so many to a doubling: at most a sixteenth of a buffer is unused.
const CLASSES_LOG2: u32 = 4;
/// Not worth keeping.
const BYTES_MIN: usize = 512;

/// Buffers that wait for a block.
pub(crate) struct Buffers {
    bytes_max: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// By capacity.
    classes: BTreeMap<usize, Vec<Vec<u8>>>,
    bytes: usize,
}

impl Buffers {
    /// Keeps at most `bytes_max`.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, waiting: Mutex::default() }
    }

    /// An empty buffer for `len` bytes.
    pub(crate) fn take(&self, len: usize) -> Vec<u8> {
        let class = class_of(len);
        {
            let mut waiting = self.waiting.lock();
            if let Some(buffer) = waiting.classes.get_mut(&class).and_then(Vec::pop) {
                waiting.bytes -= class;
                return buffer;
            }
        }
        Vec::with_capacity(class)
    }

    /// Takes back a buffer that nobody uses any more.
    pub(crate) fn give(&self, mut buffer: Vec<u8>) {
        let class = buffer.capacity();
        if class < BYTES_MIN || class != class_of(class) {
            return; // From elsewhere, and of no class.
        }
        buffer.clear();
        let mut waiting = self.waiting.lock();
        if waiting.bytes + class <= self.bytes_max {
            waiting.bytes += class;
            waiting.classes.entry(class).or_default().push(buffer);
        }
    }
}

/// The capacity of a buffer for `len` bytes.
fn class_of(len: usize) -> usize {
    let step = 1 << len.max(BYTES_MIN).ilog2().saturating_sub(CLASSES_LOG2);
    len.next_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_fits_and_wastes_little() {
        for len in (1..70_000).chain([1 << 20, (1 << 20) + 1]) {
            let class = class_of(len);
            assert!(class >= len && (class - len) * 16 <= len.max(BYTES_MIN), "{len} in {class}");
            assert_eq!(class_of(class), class, "a class is its own");
        }
    }

    #[test]
    fn a_buffer_comes_back_empty_for_its_class_alone() {
        let buffers = Buffers::new(10_000);
        let mut buffer = buffers.take(4000);
        buffer.extend_from_slice(&[7; 4000]);
        let address = buffer.as_ptr();
        buffers.give(buffer);
        let larger = buffers.take(5000);
        assert_ne!(larger.as_ptr(), address);
        let again = buffers.take(3990);
        assert!(again.is_empty() && again.as_ptr() == address);
    }

    #[test]
    fn no_more_is_kept_than_allowed() {
        let buffers = Buffers::new(10_000);
        (0..5).for_each(|_| buffers.give(buffers.take(4096)));
        let five: Vec<_> = (0..5).map(|_| buffers.take(4096)).collect();
        five.into_iter().for_each(|buffer| buffers.give(buffer));
        assert_eq!(buffers.waiting.lock().bytes, 8192);
        buffers.give(Vec::with_capacity(100));
        buffers.give(Vec::new());
        assert_eq!(buffers.waiting.lock().bytes, 8192);
    }
}
