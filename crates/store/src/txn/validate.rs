//! The check of an optimistic transaction: that what it read is still the newest when it gets its place.
//!
//! It locks what it wrote and what it read, in order, looks whether any of that was written since its snapshot, and
//! has its position before it lets go: so nothing can come between. Only what took writes since is looked into
//! (`engine::lsm::tree::changed`): a young transaction looks into memory alone.

use super::locks::Mode;
use super::overlay::split;
use super::reads::keys_of;
use super::transaction::Transaction;
use crate::core::Inner;
use ringfort_base::{Error, ErrorKind, KeyspaceId, Result, Seq};
use ringfort_trust::defence::{self, Defence};

impl Transaction {
    /// Locks what was written and read, in order, so that optimistic ones do not become deadlocks among themselves.
    pub(super) async fn lock_all(&mut self) -> Result<()> {
        let mut wanted: Vec<(Vec<u8>, Option<Vec<u8>>, Mode)> = Vec::new();
        let (keys, ranges) = self.overlay.written();
        wanted.extend(keys.map(|name| (name.to_vec(), None, Mode::Exclusive)));
        wanted.extend(ranges.iter().map(|(from, to)| (from.to_vec(), Some(to.to_vec()), Mode::Exclusive)));
        wanted.extend(self.covered.iter().map(|name| (name.to_vec(), None, Mode::Exclusive)));
        wanted.extend(self.reads.keys().into_iter().map(|name| (name.to_vec(), None, Mode::Shared)));
        let scans = self.reads.ranges().iter();
        wanted.extend(scans.map(|(from, to)| (from.to_vec(), Some(to.to_vec()), Mode::Shared)));
        // Of one key the exclusive request first: then the shared one is had already.
        wanted.sort_by(|a, b| (&a.0, a.2 == Mode::Shared, &a.1).cmp(&(&b.0, b.2 == Mode::Shared, &b.1)));
        for (from, to, mode) in wanted {
            let (keyspace, key) = split(&from);
            match to {
                None => self.lock(keyspace, key, mode).await?,
                Some(to) => {
                    let (end_in, to) = split(&to);
                    let to = (end_in == keyspace).then_some(to);
                    self.lock_range(keyspace, key, to, mode).await?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn validate(&self) -> Result<()> {
        let Some(snapshot) = &self.snapshot else { return Ok(()) };
        let seen = snapshot.position();
        if self.inner.visible() == seen {
            return Ok(());
        }
        for names in self.reads.keys().chunk_by(|a, b| split(a).0 == split(b).0) {
            let (keyspace, _) = split(names[0]);
            let view = self.inner.view(keyspace, |_| {})?;
            for name in names {
                let changed = view.key_changed_since(split(name).1, seen, &self.inner.tables);
                if changed.map_err(|error| self.inner.refuse(error))? && defence::on(Defence::KeyValidation) {
                    return Err(conflict(keyspace));
                }
            }
        }
        for range in self.reads.ranges() {
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
