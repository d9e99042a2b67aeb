//! Concurrency control: transactions over the [lock table](locks), and what writes outside of them do
//! to keep out of their way.

mod batch_locks;
pub mod covered;
pub(crate) mod gate;
pub mod locks;
mod overlay;
pub mod prepared;
mod reads;
pub mod scan;
pub mod transaction;
mod validate;

pub use batch_locks::Hold;

/// The keyspace of a key of the lock table.
pub(crate) fn keyspace_of(key: &[u8]) -> ringfort_base::KeyspaceId {
    overlay::split(key).0
}
