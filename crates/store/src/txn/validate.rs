//! The check of an optimistic transaction: that what it read is still the newest when it gets its place.
//!
//! It locks what it wrote and what it read, in order, looks whether any of that was written since its snapshot, and
//! has its position before it lets go: so nothing can come between. Only what took writes since is looked into
//! (`engine::lsm::tree::changed`): a young transaction looks into memory alone.

use super::locks::{Key, Mode};
use super::overlay::split;
use super::reads::keys_of;
use super::transaction::Transaction;
use crate::core::Inner;
use ringfort_base::{Error, ErrorKind, KeyspaceId, Result, Seq};
use ringfort_trust::defence::{self, Defence};

/// A key, or a range with its end, and how it is to be locked.
type Wanted<'t> = (&'t [u8], Option<&'t [u8]>, Mode);

impl Transaction {
    /// Locks what an optimistic transaction wrote, covers and read, and looks whether what it read is still the newest.
    ///
    /// # Errors
    /// `Conflict` if it is not; those of locks.
    pub(super) async fn check(&mut self) -> Result<()> {
        // Names are borrowed from both while this takes locks.
        let (overlay, reads) = (std::mem::take(&mut self.overlay), std::mem::take(&mut self.reads));
        let covered = std::mem::take(&mut self.covered);
        let keys = reads.keys();
        let written = overlay.written().0.chain(covered.names());
        let checked = match self.lock_all((written, overlay.written().1), &keys, reads.ranges()).await {
            Ok(()) => self.validate(&keys, reads.ranges()),
            refused => refused,
        };
        drop(keys);
        (self.overlay, self.reads, self.covered) = (overlay, reads, covered);
        checked
    }

    /// In order, so that optimistic ones do not become deadlocks among themselves.
    async fn lock_all(
        &mut self,
        (written, deleted): (impl Iterator<Item = &[u8]>, &[(Key, Key)]),
        keys: &[&[u8]],
        ranges: &[(Key, Key)],
    ) -> Result<()> {
        let mut wanted: Vec<Wanted<'_>> = Vec::with_capacity(keys.len() + ranges.len());
        wanted.extend(written.map(|name| (name, None, Mode::Exclusive)));
        wanted.extend(deleted.iter().map(|(from, to)| (&**from, Some(&**to), Mode::Exclusive)));
        wanted.extend(keys.iter().map(|name| (*name, None, Mode::Shared)));
        wanted.extend(ranges.iter().map(|(from, to)| (&**from, Some(&**to), Mode::Shared)));
        // Of one key the exclusive request first: then the shared one is had already.
        wanted.sort_unstable_by_key(|(from, to, mode)| (*from, *mode == Mode::Shared, *to));
        for (from, to, mode) in wanted {
            let (keyspace, key) = split(from);
            match to.map(split) {
                None => self.lock(keyspace, key, mode).await?,
                Some((end_in, to)) => {
                    let to = (end_in == keyspace).then_some(to);
                    self.lock_range(keyspace, key, to, mode).await?;
                }
            }
        }
        Ok(())
    }

    /// Whether nothing of it was written since the snapshot.
    fn validate(&self, keys: &[&[u8]], ranges: &[(Key, Key)]) -> Result<()> {
        let Some(snapshot) = &self.snapshot else { return Ok(()) };
        let seen = snapshot.position();
        if self.inner.visible() == seen {
            return Ok(());
        }
        for names in keys.chunk_by(|a, b| split(a).0 == split(b).0) {
            let (keyspace, _) = split(names[0]);
            let view = self.inner.view(keyspace, |_| {})?;
            for name in names {
                let changed = view.key_changed_since(split(name).1, seen, &self.inner.tables);
                if changed.map_err(|error| self.inner.refuse(error))? && defence::on(Defence::KeyValidation) {
                    return Err(conflict(keyspace));
                }
            }
        }
        for range in ranges {
            let (keyspace, _) = split(&range.0);
            if self.inner.range_changed_since(keyspace, keys_of(range), seen)?
                && defence::on(Defence::RangeValidation)
            {
                return Err(conflict(keyspace));
            }
        }
        Ok(())
    }
}

impl Inner {
    /// Whether any key of a range was written after `seen`.
    pub(super) fn range_changed_since(
        &self,
        keyspace: KeyspaceId,
        range: (&[u8], Option<&[u8]>),
        seen: Seq,
    ) -> Result<bool> {
        if self.visible() == seen {
            return Ok(false);
        }
        let view = self.view(keyspace, |_| {})?;
        view.range_changed_since(range, seen, &self.tables).map_err(|error| self.refuse(error))
    }
}

/// Keys are the owner's data and not told.
fn conflict(keyspace: KeyspaceId) -> Error {
    let message = format!(
        "what the transaction read in keyspace {keyspace} has been changed since: roll back and try again"
    );
    Error::new(ErrorKind::Conflict, message)
}
