//! # Compaction: leveled, decided apart from done
//!
//! [`pick`] looks at a version and chooses, purely; [`merge`] executes: it reads the inputs in
//! order and writes tables that hold what somebody may still see; [`fold`] merges operands on the way.
//!
//! What may go (snapshots, oldest first: s1 < s2 < …):
//!
//! ```text
//! versions of one key, newest first:   9   7 | s2=6 |  5   4 | s1=3 |  2   1
//! kept                                 9     |      |  5     |      |  2
//! ```
//! of each stripe between two snapshots the newest version only. A deletion goes at the bottom,
//! where nothing older can lie below it. Nothing whose sequence number is above the anchored
//! frontier goes or changes (R6): a reply that shows it, or its absence, still has to wait for it.

mod fold;
pub(crate) mod merge;
pub(crate) mod pick;

use ringfort_base::KeyspaceId;

/// Decides which entries mean nothing any more (for instance fields of a hash that was deleted).
/// Asked for the newest version of a key only, and only when it is anchored and below every
/// snapshot.
pub trait Filter: Send + Sync {
    /// Whether the entry may go.
    fn is_garbage(&self, keyspace: KeyspaceId, key: &[u8], value: &[u8]) -> bool;

    /// Whether the answer depends on the value. Values longer than a batch may hold are then kept unasked. If not, values that lie in value files are not read
    /// for it: it is asked with an empty one.
    fn needs_value(&self) -> bool {
        true
    }
}
