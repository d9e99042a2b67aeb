//! [`WriteBatch`]: operations that become visible, durable and fresh together, across keyspaces.

use ringfort_base::KeyspaceId;

/// One operation. Each consumes one sequence number, in the order of the batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Sets a key.
    Put {
        /// Where.
        keyspace: KeyspaceId,
        /// The key.
        key: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// Removes a key.
    Delete {
        /// Where.
        keyspace: KeyspaceId,
        /// The key.
        key: Vec<u8>,
    },
    /// Removes all keys in `from..to`.
    DeleteRange {
        /// Where.
        keyspace: KeyspaceId,
        /// First key removed.
        from: Vec<u8>,
        /// First key not removed.
        to: Vec<u8>,
    },
    /// Adds to the keyspace's maintained count (what DBSIZE answers). Not an entry: it is kept in
    /// the log and, at a flush, in the MANIFEST.
    Count {
        /// Where.
        keyspace: KeyspaceId,
        /// By how much.
        delta: i64,
    },
}

impl Op {
    /// The keyspace that it touches.
    #[must_use]
    pub fn keyspace(&self) -> KeyspaceId {
        match self {
            Self::Put { keyspace, .. }
            | Self::Delete { keyspace, .. }
            | Self::DeleteRange { keyspace, .. }
            | Self::Count { keyspace, .. } => *keyspace,
        }
    }
}

/// An atomic batch of operations.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct WriteBatch {
    pub(crate) ops: Vec<Op>,
    pub(crate) bytes: usize,
}

impl WriteBatch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key.
    pub fn put(&mut self, keyspace: KeyspaceId, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        let (key, value) = (key.into(), value.into());
        self.bytes += key.len() + value.len();
        self.ops.push(Op::Put { keyspace, key, value });
    }

    /// Removes a key.
    pub fn delete(&mut self, keyspace: KeyspaceId, key: impl Into<Vec<u8>>) {
        let key = key.into();
        self.bytes += key.len();
        self.ops.push(Op::Delete { keyspace, key });
    }

    /// Removes all keys in `from..to`.
    pub fn delete_range(&mut self, keyspace: KeyspaceId, from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) {
        let (from, to) = (from.into(), to.into());
        self.bytes += from.len() + to.len();
        self.ops.push(Op::DeleteRange { keyspace, from, to });
    }

    /// Adds to the keyspace's maintained count.
    pub fn count(&mut self, keyspace: KeyspaceId, delta: i64) {
        if delta != 0 {
            self.ops.push(Op::Count { keyspace, delta });
        }
    }

    /// Appends the operations of `other`.
    pub fn append(&mut self, mut other: Self) {
        self.bytes += other.bytes;
        self.ops.append(&mut other.ops);
    }

    /// How many operations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Bytes of keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
