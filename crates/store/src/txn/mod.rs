//! Concurrency control: transactions over the [lock table](locks), and what writes outside of them do
//! to keep out of their way.

mod batch_locks;
pub(crate) mod gate;
pub mod locks;
mod overlay;
pub mod transaction;

pub use batch_locks::Hold;
