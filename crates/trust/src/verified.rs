//! Values that verification let through (R25).
//!
//! Bytes of the host enter this crate as [`Untrusted`] and leave it as [`Verified`]. Both own their
//! buffer, so a piece is opened in the memory that it was read into.

use ringfort_base::Untrusted;
use std::ops::Deref;

/// A value whose origin and integrity were proven. Only this crate can make one.
#[derive(Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(value)
    }

    /// Takes the value out. What was verified stays true of it.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// The door through which this crate looks at what it is about to verify: the one call of the
/// accessor that the lint bans everywhere else.
#[expect(clippy::disallowed_methods, reason = "this crate is the verifier (R25)")]
pub(crate) fn look<T>(unverified: Untrusted<T>) -> T {
    unverified.expose_to_verifier()
}
