//! # base: what every other crate of Ringfort speaks
//!
//! Ids as newtypes, the bounded codec, every limit in one file, the public error, the boundary
//! traits behind which the attacker sits ([`world`]), and the type of bytes that nobody has
//! verified yet ([`untrusted`]).
//!
//! This crate knows no cryptography, no file, no thread and no clock.
#![forbid(unsafe_code)]

pub mod codec;
pub mod error;
pub mod ids;
pub mod level;
pub mod limits;
pub mod memory;
pub mod untrusted;
pub mod world;

pub use error::{Error, ErrorKind, Evidence, EvidenceKind, Result};
pub use ids::{Epoch, FileNo, Incarnation, KeyspaceId, Lineage, Seq, StoreId};
pub use level::Level;
pub use untrusted::Untrusted;
