//! [`Entries`]: what a snapshot sees, with the values that lie in value files.

use super::VisibleIter;
use crate::engine::lsm::blob::{BlobFiles, BlobSet, Cursors};
use crate::value::Value;
use ringfort_base::{Error, Result, Seq};
use std::sync::Arc;

/// After this many values in one direction the reader is taken for a scan, which reads ahead.
const SCAN_AFTER: u32 = 16;

/// What an iteration shows of values that lie in value files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shown {
    /// All of them.
    Values,
    /// Of one that is sealed as it is, in several pieces, the first.
    Heads,
    /// Nothing, nor of any other value.
    Keys,
}

/// A [`VisibleIter`] that goes one way and fetches the values behind pointers: each when it is
/// reached, or, for keys alone, none. It holds the version's value files.
pub(crate) struct Entries {
    iter: VisibleIter,
    reverse: bool,
    shown: Shown,
    files: Arc<BlobFiles>,
    set: Arc<BlobSet>,
    value: Option<Value>,
    fetched: u32,
    cursors: Option<Box<Cursors>>,
    /// A value could not be read: nothing is shown any more.
    failed: Option<Error>,
}

impl Entries {
    /// On the first entry of `iter` in its direction.
    pub(crate) fn new(
        mut iter: VisibleIter,
        (reverse, shown): (bool, Shown),
        (files, set): (Arc<BlobFiles>, Arc<BlobSet>),
    ) -> Result<Self> {
        if reverse {
            iter.seek_to_last()?;
        } else {
            iter.seek_to_first()?;
        }
        let mut new =
            Self { iter, reverse, shown, files, set, value: None, fetched: 0, cursors: None, failed: None };
        new.fetch().map(|()| new)
    }

    /// The present entry, borrowed from where it lives; `None` behind the last one. For keys alone
    /// the value is empty.
    pub(crate) fn entry(&self) -> Option<(&[u8], &[u8])> {
        (self.iter.valid() && self.failed.is_none()).then(|| match &self.value {
            Some(value) => (self.iter.key(), &**value),
            None if self.shown == Shown::Keys => (self.iter.key(), &[][..]),
            None => (self.iter.key(), self.iter.value()),
        })
    }

    /// Moves on. After an error it stands on no entry, and every further move returns it again.
    pub(crate) fn advance(&mut self) -> Result<()> {
        self.failed.clone().map_or(Ok(()), Err)?;
        if self.reverse {
            self.iter.prev()?
        } else {
            self.iter.next()?
        }
        self.fetch().inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// The highest sequence number that what was shown so far depends on (R6).
    pub(crate) fn depends(&self) -> Seq {
        self.iter.depends()
    }

    fn fetch(&mut self) -> Result<()> {
        self.value = None;
        if self.shown == Shown::Keys || !self.iter.is_pointer() {
            return Ok(());
        }
        if self.shown == Shown::Heads
            && let Some(head) = self.files.head(&self.set, self.iter.value())?
        {
            self.value = Some(head);
            return Ok(());
        }
        self.fetched = self.fetched.saturating_add(1);
        self.value = if self.reverse || self.fetched <= SCAN_AFTER {
            self.files.value(&self.set, self.iter.value(), false)?
        } else {
            let cursors = self.cursors.get_or_insert_default();
            Some(self.files.value_in_order(&self.set, self.iter.value(), cursors)?)
        };
        Ok(())
    }
}
