//! Bytes from outside the TEE, until somebody has verified them (R25).

/// A value that came from the host and that nothing has verified yet.
///
/// It can be moved, split and measured, but not looked at: the one accessor,
/// [`Untrusted::expose_to_verifier`], is banned by lint outside `ringfort-trust`. Ownership moves
/// through verification, so the buffer that was read is the buffer that is opened in place.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Untrusted<T>(T);

impl<T> Untrusted<T> {
    /// Marks `value` as coming from outside.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for the code that verifies it. Banned by lint everywhere but in `trust`.
    pub fn expose_to_verifier(self) -> T {
        self.0
    }

    /// Borrows without exposing.
    pub const fn as_ref(&self) -> Untrusted<&T> {
        Untrusted(&self.0)
    }
}

impl Untrusted<Vec<u8>> {
    /// How many bytes there are. The length of a buffer that we allocated is ours, not the host's.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes the first `n` bytes (or all, if there are fewer).
    pub fn drop_front(&mut self, n: usize) {
        let n = n.min(self.0.len());
        self.0.drain(..n);
    }

    /// A copy of `len` bytes from `from` on, in an empty buffer from `buffer`; `None` if there are fewer.
    #[must_use]
    pub fn piece(&self, from: usize, len: usize, buffer: impl FnOnce(usize) -> Vec<u8>) -> Option<Self> {
        let piece = self.0.get(from..from.checked_add(len)?)?;
        let mut copy = buffer(len);
        copy.extend_from_slice(piece);
        Some(Self(copy))
    }

    /// The buffer, emptied, to read into again.
    #[must_use]
    pub fn recycle(self) -> Vec<u8> {
        let mut buf = self.0;
        buf.clear();
        buf
    }

    /// Appends bytes that are as untrusted.
    pub fn append(&mut self, mut more: Self) {
        self.0.append(&mut more.0);
    }
}

impl<T> std::fmt::Debug for Untrusted<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Untrusted(..)")
    }
}
