//! # fault: the outside world as tests and attacks need it
//!
//! Everything that Ringfort trusts nobody with is reached through the traits of
//! [`ringfort_base::world`]. This crate implements them three more times:
//!
//! ```text
//!  what an honest, unlucky host does          what a hostile host does
//!  ---------------------------------          ------------------------
//!  memory   power cut: writes lost, torn,     attack   flip, cut, swap, splice, delete,
//!           reordered, names lost                      put an older copy back
//!  script   error, short write, full disk,    script   a sync that lies, a tap on all bytes
//!           death at the n-th call            device   a request or a reply that gets lost
//!  clock, entropy: set by hand, from a seed   clock, entropy: set back, repeated
//! ```
//!
//! Everything here is deterministic: the same calls and the same seed give the same world. Nothing
//! here is needed to run a store; `ringfort attack`, the crash explorer and the tests use it.
#![forbid(unsafe_code)]

pub mod attack;
pub mod clock;
pub mod contract;
pub mod device;
pub mod entropy;
pub mod memory;
pub mod rng;
pub mod script;
pub mod tempdir;
