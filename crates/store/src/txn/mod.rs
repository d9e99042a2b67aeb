//! Concurrency control: transactions over the [lock table](locks), and for now the striped per-key
//! [latches](latch) that make read-modify-write commands atomic.

mod batch_locks;
pub(crate) mod gate;
pub mod latch;
pub mod locks;
mod overlay;
pub mod prepared;
pub mod transaction;

pub use batch_locks::Hold;

/// The keyspace of a key of the lock table.
pub(crate) fn keyspace_of(key: &[u8]) -> ringfort_base::KeyspaceId {
    overlay::split(key).0
}
