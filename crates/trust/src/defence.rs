//! The defences that a weakened test build can switch off, to prove that an attack bites (R27).
//!
//! In an ordinary build [`on`] is the constant `true`: the compiler removes the question, and the
//! module `weaken` with its switches does not exist.

/// A defence whose absence an attack test shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Defence {
    /// A piece is believed only if its tag verifies.
    TagCheck,
    /// A record's associated data carries the tag of the record before it.
    ChainPrevious,
    /// A piece's seal binds it to its place (store, file, offset, …).
    PlaceBinding,
    /// Recovery compares the log with the counter's anchor (asked by the store).
    AnchorCompare,
    /// A counter advances only for whoever knows its present anchor.
    CounterCondition,
    /// Every open claims a new incarnation (asked by the store).
    Claim,
    /// A transaction locks the keys that it reads (asked by the store, as all below).
    ReadLocks,
    /// A transaction locks the ranges that it scans or deletes.
    RangeLocks,
    /// An optimistic transaction looks whether the keys that it read have changed.
    KeyValidation,
    /// And whether anything has changed in the ranges that it scanned.
    RangeValidation,
    /// A write outside of transactions takes locks while a transaction lives.
    Gate,
    /// A commit keeps its locks until it is visible.
    LocksUntilVisible,
}

/// Whether `defence` stands. Always, in an ordinary build.
#[cfg(not(ringfort_weaken))]
#[inline(always)]
#[must_use]
pub const fn on(_defence: Defence) -> bool {
    true
}

#[cfg(ringfort_weaken)]
pub use crate::weaken::on;
