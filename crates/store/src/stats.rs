//! What the store counts about itself.

use std::sync::atomic::AtomicU64;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Live counters.
        #[derive(Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
        }

        /// A reading of all counters.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct Statistics {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            pub(crate) fn read(&self) -> Statistics {
                Statistics { $($name: self.$name.load(std::sync::atomic::Ordering::Relaxed),)* }
            }
        }

        impl Statistics {
            /// Names and values, for exporters.
            #[must_use]
            pub fn entries(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

counters! {
    /// Commit groups written to the log.
    groups,
    /// Bytes of batches written.
    bytes_written,
    /// Syncs of the log.
    syncs,
    /// Advances of the trusted counter.
    advances,
    /// Reads of the trusted counter that confirmed a reply (R5).
    counter_reads,
    /// Memtables flushed.
    flushes,
    /// Bytes of tables written by flushes.
    flush_bytes,
    /// Compactions that merged.
    compactions,
    /// Compactions that moved a table without reading it.
    trivial_moves,
    /// Bytes read by compactions.
    compaction_bytes_read,
    /// Bytes written by compactions.
    compaction_bytes_written,
    /// Tables rewritten in place to empty value files.
    value_collections,
    /// Bytes of values moved out of value files that were mostly garbage.
    value_bytes_moved,
    /// Transactions prepared.
    prepared,
    /// Records of prepared transactions written again, because nothing else held the oldest segment.
    prepared_carried,
    /// Prepared transactions that are not decided now. (Taken from their book, not counted here.)
    in_doubt,
    /// Files deleted.
    files_deleted,
    /// Point reads. (Counted with the handles of readers, not here.)
    gets,
    /// Iterators opened. (As point reads.)
    iterators,
}
