//! Concurrency control. Today: striped per-key latches that make read-modify-write commands
//! atomic; transactions (locks, optimistic validation) will stand in the same place.

pub mod latch;
pub mod locks;
