//! Concurrency control: transactions over the [lock table](locks), and for now the striped per-key
//! [latches](latch) that make read-modify-write commands atomic.

mod batch_locks;
pub(crate) mod gate;
pub mod latch;
pub mod locks;
mod overlay;
mod reads;
pub mod scan;
pub mod transaction;
mod validate;

pub use batch_locks::Hold;
