//! Identifiers as newtypes: a file number cannot be passed where a sequence number is meant.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl $name {
            /// The smallest value: "nothing yet".
            pub const ZERO: Self = Self(0);

            /// The next value. Ids never wrap: at one per nanosecond a `u64` lasts 584 years, and a
            /// `u32` id space is checked by its allocator.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

number!(
    /// A sequence number, which is also *the log position*: every operation of a commit and every
    /// control record of the log consumes one. Positions are global to a store and never restart
    /// at a new segment or file. At most [`crate::limits::SEQ_MAX`].
    Seq,
    u64
);
number!(
    /// The number of a file of a store (log segment, MANIFEST, table). Never reused.
    FileNo,
    u64
);
number!(
    /// A key epoch: the generation of the random keys under which new files are sealed (R14).
    Epoch,
    u32
);
number!(
    /// One life of an open store. Every open claims the next one (R2).
    Incarnation,
    u64
);
number!(
    /// A keyspace. Ids are never reused (R10); 0 is the store itself (control records).
    KeyspaceId,
    u32
);

impl KeyspaceId {
    /// The key domain of the store's own control records.
    pub const SYSTEM: Self = Self(0);
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

random_id!(
    /// The random identity of a store, drawn at its creation (R18).
    StoreId
);
random_id!(
    /// The random identity of one history of a store. A restore or an accepted rollback draws a
    /// new one, which clients see (R21).
    Lineage
);
