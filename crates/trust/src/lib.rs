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
