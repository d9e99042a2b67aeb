//! Folding the operands of merges while tables are rewritten.
//!
//! ```text
//! one stripe of a key, newest first:   M9 M8 M7 P5 …    →  P9          a base was met: a value
//!                                      M9 M8 M7 D5 …    →  P9          so is a deletion, and
//!                                      M9 M8 M7 | range tombstone → P9
//!                                      M9 M8 M7 (end)   →  P9          nothing older anywhere
//!                                      M9 M8 M7 | older →  M9          else: one operand, if there is one
//! ```
//! Only entries that are anchored and that no snapshot tells apart are folded, and what comes out has
//! the newest one's sequence number: a reply that shows it waits for what it always waited for (R6).
//! If the operator fails, or is not registered, every entry stays as it is; readers hear of it.

use super::merge::{Rules, Sink};
use crate::engine::lsm::iter::MergingIter;
use crate::engine::lsm::key::{Kind, Trailer};
use crate::engine::lsm::tombstone::FragmentedTombstones;
use ringfort_base::{Result, Seq};

/// The stripe of a version that was kept and hides nothing: an operand.
pub(super) const HIDES_NOTHING: usize = usize::MAX;

/// What a run of operands became.
pub(super) struct Folded {
    /// The stripe whose older versions are hidden from now on.
    pub(super) hidden_stripe: usize,
    /// Bytes of the operands that were read.
    pub(super) bytes_read: usize,
}

/// What lies under a run of operands.
enum Base {
    /// Something older that is not here, or cannot be read here.
    Elsewhere,
    /// Nothing: no reader of this stripe sees anything older.
    Nothing,
    /// A deletion.
    Deleted(Trailer),
    /// A value, or the pointer to one.
    Value(Trailer, Vec<u8>),
}

/// From an operand of `out`'s key, which stays: writes what becomes of the run that it begins, and leaves
/// `iter` behind the run.
pub(super) fn fold(
    iter: &mut MergingIter,
    rules: &Rules,
    tombstones: &FragmentedTombstones,
    out: &mut Sink<'_>,
) -> Result<Folded> {
    let key = out.key;
    let stripe = rules.stripe(iter.trailer().seq());
    let mut run: Vec<(Trailer, Vec<u8>)> = Vec::new();
    let base = read_run(iter, key, (rules, stripe), tombstones, &mut run)?;
    let bytes_read = run.iter().map(|(_, operand)| key.len() + operand.len() + Trailer::BYTES).sum();
    let hidden_stripe = write_run((rules, stripe), &run, &base, out)?;
    Ok(Folded { hidden_stripe, bytes_read })
}

/// Writes what becomes of a run; the stripe whose older versions it hides.
fn write_run(
    (rules, stripe): (&Rules, usize),
    run: &[(Trailer, Vec<u8>)],
    base: &Base,
    out: &mut Sink<'_>,
) -> Result<usize> {
    let keep = |out: &mut Sink<'_>| keep(run, base, (rules, stripe), out);
    let Some((newest, _)) = run.first() else { return keep(out) };
    let operands: Vec<&[u8]> = run.iter().rev().map(|(_, operand)| operand.as_slice()).collect();
    let Some(merger) = &rules.merger else { return keep(out) };
    let existing = match base {
        Base::Elsewhere => {
            return match merger.partial(out.key, &operands) {
                Some(operand) => out.write(*newest, &operand).map(|()| HIDES_NOTHING),
                None => keep(out),
            };
        }
        Base::Nothing | Base::Deleted(_) => None,
        Base::Value(trailer, value) if trailer.is_pointer() && merger.check_base(value).is_err() => {
            return keep(out);
        }
        Base::Value(trailer, value) => Some(out.value(*trailer, value)?),
    };
    match merger.full(out.key, existing.as_deref(), &operands) {
        Ok(value) => out.write(Trailer::new(newest.seq(), Kind::Put), &value).map(|()| stripe),
        Err(_) => keep(out),
    }
}

/// Collects the operands of one stripe, newest first, down to their base.
fn read_run(
    iter: &mut MergingIter,
    key: &[u8],
    (rules, stripe): (&Rules, usize),
    tombstones: &FragmentedTombstones,
    run: &mut Vec<(Trailer, Vec<u8>)>,
) -> Result<Base> {
    while iter.valid() && iter.key() == key {
        let trailer = iter.trailer();
        if rules.stripe(trailer.seq()) != stripe {
            return Ok(Base::Elsewhere);
        }
        if rules.covers(tombstones, key, trailer.seq()) {
            return Ok(Base::Nothing); // it and all older ones of the stripe are dropped by the caller
        }
        let base = match trailer.kind() {
            Ok(Kind::Merge) => {
                run.push((trailer, iter.value().to_vec()));
                iter.next()?;
                continue;
            }
            Ok(Kind::Put | Kind::ValuePointer) => Base::Value(trailer, iter.value().to_vec()),
            Ok(Kind::Delete) => Base::Deleted(trailer),
            _ => return Ok(Base::Elsewhere),
        };
        iter.next()?;
        return Ok(base);
    }
    // No older version is in the inputs. A tombstone of the stripe hides whatever lies below them.
    let hidden = rules.covers(tombstones, key, Seq::ZERO) && rules.stripe(Seq::ZERO) == stripe;
    Ok(if rules.bottom || hidden { Base::Nothing } else { Base::Elsewhere })
}

/// Writes everything as it was.
fn keep(
    run: &[(Trailer, Vec<u8>)],
    base: &Base,
    (rules, stripe): (&Rules, usize),
    out: &mut Sink<'_>,
) -> Result<usize> {
    for (trailer, operand) in run {
        out.write(*trailer, operand)?;
    }
    match base {
        Base::Elsewhere => return Ok(HIDES_NOTHING),
        Base::Nothing => {}
        Base::Deleted(trailer) if rules.bottom && rules.is_settled(trailer.seq()) => {}
        Base::Deleted(trailer) => out.write(*trailer, &[])?,
        Base::Value(trailer, value) => out.write(*trailer, value)?,
    }
    Ok(stripe)
}
