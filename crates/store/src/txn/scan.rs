//! [`Scan`]: the entries of a range, as a transaction sees them, a piece at a time.
//!
//! ```text
//!  what the store shows ┐
//!                       ├─ merged ──▶ piece: entries one behind the other, and the range that they are all of
//!  the own writes       ┘               │
//!                                       ├ pessimistic: the range is locked; read again if somebody was faster
//!                                       ├ optimistic:  the range is remembered
//!                                       └▶ handed out, borrowed
//! ```
//!
//! A scan borrows neither the store nor the transaction: between two entries the transaction may do
//! whatever it likes. What it writes ahead of the scan shows from the next piece on.

use super::locks::{Key, Mode, with_keyspace};
use super::overlay::{Own, split};
use super::reads::{behind, end_of, keys_of};
use super::transaction::{Concurrency, Transaction};
use crate::core::Inner;
use crate::engine::lsm::iter::Shown;
use crate::store::Snapshot;
use ringfort_base::{KeyspaceId, Result, Seq};
use std::cmp::Ordering;

/// A piece ends with so many entries, or bytes.
const PIECE_ENTRIES: usize = 64;
const PIECE_BYTES: usize = 256 << 10;

/// What a scan found, in its order: keys with values.
pub type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// A key with its value.
pub type Entry<'s> = (&'s [u8], &'s [u8]);

/// Where a scan is; see [`Transaction::next`].
pub struct Scan {
    keyspace: KeyspaceId,
    /// What it has not looked at.
    rest: (Key, Key),
    reverse: bool,
    /// How many entries it may still hand out.
    left: usize,
    piece: Piece,
    /// The entry of the piece that comes next.
    next: usize,
}

impl Scan {
    /// Of `from..to` in order, or in reverse, at most `limit` entries; `to` is `None` for the end of the keyspace.
    #[must_use]
    pub fn new(keyspace: KeyspaceId, from: &[u8], to: Option<&[u8]>, reverse: bool, limit: usize) -> Self {
        let rest = (with_keyspace(keyspace, from), end_of(keyspace, to));
        Self { keyspace, rest, reverse, left: limit, piece: Piece::default(), next: 0 }
    }

    /// Not more entries than these.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.left = self.left.min(limit);
        self
    }
}

/// Entries one behind the other.
#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    /// Where the key and the value of each entry end.
    ends: Vec<(usize, usize)>,
}

impl Piece {
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((key_end, self.bytes.len()));
    }

    fn is_full(&self, entries: usize) -> bool {
        self.ends.len() >= entries || self.bytes.len() >= PIECE_BYTES
    }

    fn get(&self, nth: usize) -> Option<Entry<'_>> {
        let &(key_end, end) = self.ends.get(nth)?;
        let begin = if nth == 0 { 0 } else { self.ends[nth - 1].1 };
        Some((&self.bytes[begin..key_end], &self.bytes[key_end..end]))
    }
}

impl Transaction {
    /// The entries of `from..to` in order, or in reverse, at most `limit`; `to` is `None` for the end of
    /// the keyspace. What was looked at, and not more, is protected from others' changes.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub async fn scan(
        &mut self,
        keyspace: KeyspaceId,
        from: &[u8],
        to: Option<&[u8]>,
        reverse: bool,
        limit: usize,
    ) -> Result<Entries> {
        let mut scan = Scan::new(keyspace, from, to, reverse, limit);
        let mut found = Entries::new();
        while let Some((key, value)) = self.next(&mut scan).await? {
            found.push((key.to_vec(), value.to_vec()));
        }
        Ok(found)
    }

    /// The next entry of a scan, borrowed from it; `None` at its end. It looks ahead by up to 64 entries, not beyond
    /// its limit; those are protected too.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub async fn next<'s>(&mut self, scan: &'s mut Scan) -> Result<Option<Entry<'s>>> {
        while scan.left > 0 && scan.next == scan.piece.ends.len() && scan.rest.0 < scan.rest.1 {
            self.read_piece(scan).await?;
        }
        if scan.left == 0 {
            return Ok(None);
        }
        let entry = scan.piece.get(scan.next);
        if entry.is_some() {
            scan.next += 1;
            scan.left -= 1;
        }
        Ok(entry)
    }

    async fn read_piece(&mut self, scan: &mut Scan) -> Result<()> {
        // Until its range is protected the piece is nobody's, whatever becomes of this call.
        scan.next = 0;
        let mut piece = std::mem::take(&mut scan.piece);
        let wanted = scan.left.min(PIECE_ENTRIES);
        let mut view = self.view();
        let (mut range, mut depends) = self.fill(scan, &mut piece, &scan.rest, wanted, view.position())?;
        match self.concurrency {
            Concurrency::Pessimistic => {
                let (from, to) = keys_of(&range);
                self.lock_range(scan.keyspace, from, to, Mode::Shared).await?;
                if self.inner.range_changed_since(scan.keyspace, (from, to), view.position())? {
                    view = self.view();
                    // Perhaps a part of it: the rest is locked already, and comes with the next piece.
                    (range, depends) = self.fill(scan, &mut piece, &range, wanted, view.position())?;
                }
            }
            Concurrency::Optimistic => self.reads.note_range(range.0.clone(), range.1.clone()),
            Concurrency::Snapshot => {}
        }
        scan.piece = piece;
        self.depends = self.depends.max(depends);
        if scan.reverse {
            scan.rest.1 = range.0;
        } else {
            scan.rest.0 = range.1;
        }
        Ok(())
    }

    /// What a scan sees now: the transaction's snapshot, or the newest.
    fn view(&self) -> Snapshot {
        match &self.snapshot {
            Some(snapshot) => self.inner.pin_snapshot(snapshot.position()),
            None => self.inner.snapshot(),
        }
    }

    /// Makes the piece the first `wanted` entries of `range`, or the last: which part of it that is, and what it
    /// depends on.
    fn fill(
        &self,
        scan: &Scan,
        piece: &mut Piece,
        range: &(Key, Key),
        wanted: usize,
        at: Seq,
    ) -> Result<((Key, Key), Seq)> {
        let (keyspace, reverse) = (scan.keyspace, scan.reverse);
        piece.clear();
        let (from, to) = keys_of(range);
        let mut stored = self.inner.iter(keyspace, from, to, (reverse, Shown::Values), at)?;
        let mut writes = self.overlay.range(&range.0, &range.1);
        let mut next_own = || if reverse { writes.next_back() } else { writes.next() };
        let mut own = next_own();
        let mut name = Vec::new();
        while !piece.is_full(wanted) {
            let order = match (stored.entry(), &own) {
                (None, None) => return Ok((range.clone(), stored.depends())),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((key, _)), Some((name, _))) if reverse => split(name).1.cmp(key),
                (Some((key, _)), Some((name, _))) => key.cmp(split(name).1),
            };
            let under = stored.entry().filter(|_| order != Ordering::Greater);
            match own.as_ref().filter(|_| order != Ordering::Less) {
                Some((name, own)) => {
                    self.inner.show(keyspace, split(name).1, under.map(|(_, value)| value), own, piece)?;
                }
                None => {
                    if let Some((key, value)) = under
                        && !self.is_deleted(&mut name, keyspace, key)
                    {
                        piece.push(key, value);
                    }
                }
            }
            if order != Ordering::Less {
                own = next_own();
            }
            if order != Ordering::Greater {
                stored.advance()?;
            }
        }
        let last = piece.get(piece.ends.len().wrapping_sub(1)).map_or(&[][..], |(key, _)| key);
        let last = with_keyspace(keyspace, last);
        let part = if reverse { (last, range.1.clone()) } else { (range.0.clone(), behind(&last)) };
        Ok((part, stored.depends()))
    }

    /// Whether a key that the transaction did not write since lies in a range that it deleted.
    fn is_deleted(&self, name: &mut Vec<u8>, keyspace: KeyspaceId, key: &[u8]) -> bool {
        if !self.overlay.has_ranges() {
            return false;
        }
        name.clear();
        name.extend_from_slice(&keyspace.0.to_be_bytes());
        name.extend_from_slice(key);
        self.overlay.hides(name)
    }
}

impl Inner {
    /// Adds what a scan shows of a key that the transaction wrote.
    fn show(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        under: Option<&[u8]>,
        own: &Own<'_>,
        piece: &mut Piece,
    ) -> Result<()> {
        match own {
            Own::Delete => {}
            Own::Put(value) => piece.push(key, value),
            Own::Stored(stored) => piece.push(key, &self.stored_value(stored)?),
            Own::Merge(operands) => piece.push(key, &self.merge_onto(keyspace, key, under, operands)?),
        }
        Ok(())
    }
}
