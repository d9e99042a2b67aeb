//! What a store must offer to be measured: [`Engine`].
//!
//! An adapter opens a directory with the [`Settings`](crate::Settings) that all engines get, and
//! does each operation by the store's cheapest call. Everything else (threads, keys, clocks,
//! percentiles, bytes on disk) is the driver's, so that no engine measures itself.
//!
//! Only reading, writing, settling and closing are required. What a store has no call for it leaves
//! to the default, which answers [`Unsupported`] by name; the driver reports the benchmark as
//! skipped. An adapter does not imitate what its store cannot do.

use crate::Result;
use ringfort_base::Level;
use std::fmt;
use std::ops::ControlFlow;

/// One write of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op<'a> {
    /// Sets a key.
    Put {
        /// The key.
        key: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
    /// Removes a key.
    Delete {
        /// The key.
        key: &'a [u8],
    },
}

/// Which way a scan goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Ascending.
    Forward,
    /// Descending.
    Reverse,
}

/// What a scan hands each entry to; breaking ends the scan.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// An open store, used by many threads at once.
///
/// The `level` of a write is what it must have on return: at [`Level::Buffered`] it is readable and
/// handed to the operating system (it survives the end of the process), at [`Level::Durable`] it is
/// synced. A store whose only protection against loss is a sync has no [`Level::Fresh`].
pub trait Engine: Send + Sync {
    /// Sets a key.
    fn put(&self, key: &[u8], value: &[u8], level: Level) -> Result<()>;

    /// Reads a key by the cheapest call, without a copy if there is a way; how long the value is,
    /// `None` if there is none.
    fn get(&self, key: &[u8]) -> Result<Option<usize>>;

    /// Writes out what is in memory and waits until no background work is due: the debt is paid.
    fn settle(&self) -> Result<()>;

    /// Closes cleanly. No other thread uses the engine any more.
    fn close(&self) -> Result<()>;

    /// Removes a key, whether or not it is there.
    fn delete(&self, _key: &[u8], _level: Level) -> Result<()> {
        Err(Unsupported("delete").into())
    }

    /// Carries out a batch: all of it or nothing.
    fn write(&self, _batch: &[Op<'_>], _level: Level) -> Result<()> {
        Err(Unsupported("batch write").into())
    }

    /// Begins to carry out a batch, and returns before it has its level. A thread may have many under
    /// way.
    fn begin(&self, _batch: &[Op<'_>], _level: Level) -> Result<Box<dyn Begun>> {
        Err(Unsupported("writes in flight").into())
    }

    /// Merges an operand into a key's value, by whatever operator the store has.
    fn merge(&self, _key: &[u8], _operand: &[u8], _level: Level) -> Result<()> {
        Err(Unsupported("merge").into())
    }

    /// Reads a key into a buffer of the caller's, which is overwritten; whether it was there.
    fn read(&self, _key: &[u8], _value: &mut Vec<u8>) -> Result<bool> {
        Err(Unsupported("copying read").into())
    }

    /// Reads many keys in one call; for each, as [`Engine::get`] would answer, into `lens`, which is
    /// empty.
    fn multi_get(&self, _keys: &[&[u8]], _lens: &mut Vec<Option<usize>>) -> Result<()> {
        Err(Unsupported("multi-get").into())
    }

    /// Hands entries to `visit` in order, all as of one moment, until it breaks or there are no
    /// more. Forward it begins at the first entry at or above `from`, in reverse at the last entry
    /// at or below it; without `from` at the end that it comes from.
    fn scan(&self, _from: Option<&[u8]>, _direction: Direction, _visit: &mut Visit<'_>) -> Result<()> {
        Err(Unsupported("scan").into())
    }

    /// Writes out what is in memory, and no more.
    fn flush(&self) -> Result<()> {
        Err(Unsupported("flush").into())
    }

    /// What the store counts about itself, for people.
    fn statistics(&self) -> Result<String> {
        Err(Unsupported("statistics").into())
    }

    /// Memory that the store knows it uses (caches, memtables, indexes), bytes.
    fn memory_used(&self) -> Result<u64> {
        Err(Unsupported("memory used").into())
    }
}

/// A write that is under way.
pub trait Begun {
    /// Waits until it has its level.
    fn wait(self: Box<Self>) -> Result<()>;
}

/// The store has no such call; by the name of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsupported(pub &'static str);

impl Unsupported {
    /// If that is what an error says.
    pub fn of(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<Self> {
        error.downcast_ref().copied()
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unsupported: {}", self.0)
    }
}

impl std::error::Error for Unsupported {}

/// For an adapter whose store knows only whether a write is synced: whether to sync it.
pub fn synced(level: Level) -> Result<bool> {
    match level {
        Level::Buffered => Ok(false),
        Level::Durable => Ok(true),
        Level::Fresh => Err(Unsupported("writes at level fresh").into()),
    }
}
