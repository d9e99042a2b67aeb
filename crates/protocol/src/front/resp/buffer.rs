//! The bytes that have arrived and that nobody has understood yet.
//!
//! ```text
//!   bytes: | consumed        | unread               | space (zeroed once, then reused) |
//!          0               start                   end                            len
//! ```
//!
//! Invariant: `start <= end <= bytes.len()`. Consumed bytes are reclaimed only when they are at
//! least as many as the unread ones, so that each byte is moved O(1) times however it arrives.

/// A growing byte buffer with a read position.
#[derive(Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// An empty buffer that has allocated nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), start: 0, end: 0 }
    }

    /// What has arrived and is not consumed.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Number of unread bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether everything that arrived is consumed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Bytes of memory that the buffer holds, for budgets.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Room to read into, at least `bytes_min` long. What is written there counts after
    /// [`Buffer::commit`].
    pub fn space(&mut self, bytes_min: usize) -> &mut [u8] {
        self.make_room(bytes_min);
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// The first `count` bytes of the room that [`Buffer::space`] returned have been filled.
    pub fn commit(&mut self, count: usize) {
        debug_assert!(count <= self.bytes.len() - self.end, "more committed than there was room");
        self.end = self.bytes.len().min(self.end.saturating_add(count));
    }

    /// Appends bytes that lie elsewhere.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let space = self.space(bytes.len());
        if let Some(target) = space.get_mut(..bytes.len()) {
            target.copy_from_slice(bytes);
        }
        self.commit(bytes.len());
    }

    /// The first `count` unread bytes are done with.
    pub fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.len(), "more consumed than had arrived");
        self.start = self.end.min(self.start.saturating_add(count));
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Gives memory back if the buffer is empty and holds more than `keep_bytes`.
    pub fn release(&mut self, keep_bytes: usize) {
        if self.is_empty() && self.bytes.capacity() > keep_bytes {
            *self = Self::new();
        }
    }

    fn make_room(&mut self, bytes_min: usize) {
        if self.bytes.len() - self.end >= bytes_min {
            return;
        }
        if self.start > 0 && self.start >= self.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let need = self.end.saturating_add(bytes_min);
        if need > self.bytes.len() {
            // `resize` grows the capacity by doubling, which keeps the cost of growth linear.
            self.bytes.resize(need, 0);
        }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the bytes: they may be secrets of users.
        write!(f, "Buffer({} unread, {} held)", self.len(), self.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_across_growth_and_reclaiming() {
        let mut buffer = Buffer::new();
        let mut expected = Vec::new();
        let mut got = Vec::new();
        for round in 0..1000_usize {
            let piece: Vec<u8> = (0..round % 97).map(|at| (round + at) as u8).collect();
            buffer.extend_from_slice(&piece);
            expected.extend_from_slice(&piece);
            let take = buffer.len().min(round % 61);
            got.extend_from_slice(&buffer.unread()[..take]);
            buffer.consume(take);
        }
        got.extend_from_slice(buffer.unread());
        assert_eq!(got, expected);
    }

    #[test]
    fn a_drained_stream_does_not_grow() {
        let mut buffer = Buffer::new();
        for _ in 0..10_000 {
            buffer.space(1024)[..100].fill(7);
            buffer.commit(100);
            buffer.consume(99);
            buffer.consume(buffer.len());
        }
        assert!(buffer.capacity() <= 4096, "{buffer:?}");
        buffer.release(0);
        assert_eq!(buffer.capacity(), 0);
    }

    #[test]
    fn a_lagging_reader_costs_linear_memory() {
        let mut buffer = Buffer::new();
        for _ in 0..10_000 {
            buffer.extend_from_slice(&[1; 100]);
            buffer.consume(if buffer.len() > 500 { 100 } else { 0 });
        }
        assert!(buffer.capacity() <= 8192, "{buffer:?}");
    }
}
