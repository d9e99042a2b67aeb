//! # trust: all that is secret, and all that decides whether bytes are believed
//!
//! Keys and their hierarchy ([`keys`], [`keyfile`]), sealing ([`aead`], [`seal`]), the sealed
//! chained log ([`chain`]), the trusted counter and its anchor ([`counter`]), the platform that
//! holds the sealing root ([`platform`]) and volumes ([`volume`]).
//!
//! Only this crate turns [`ringfort_base::Untrusted`] into [`Verified`] (R25).
#![forbid(unsafe_code)]

pub mod aead;
pub mod anchor;
pub mod chain;
pub mod counter;
pub mod defence;
mod files;
pub mod keyfile;
pub mod keys;
pub mod platform;
pub mod seal;
#[cfg(test)]
mod testing;
pub mod verified;
pub mod volume;
#[cfg(ringfort_weaken)]
pub mod weaken;

pub use aead::{Suite, Tag};
pub use anchor::{Anchor, Head};
pub use seal::{Protection, Sealer};
pub use verified::Verified;

/// The host's claim about the time, Unix milliseconds. It stays a claim: the store bounds it by
/// what its log knows (R20).
#[must_use]
pub fn claimed_time_ms(wall: ringfort_base::Untrusted<std::time::Duration>) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "trust is where unverified values are looked at (R25)")]
    let wall = wall.expose_to_verifier();
    u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)
}
