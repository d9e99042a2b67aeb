//! # The locks of commands
//!
//! Whoever reads a key, decides and writes it locks it in the store's lock table first, exclusively, and
//! keeps the lock until the write is visible. What stands for a user key, its fields and its entry in the
//! expiry index is the name of its meta record: one lock, whatever a command touches under it. Everything that writes
//! does so: commands, EXEC, interactive transactions and the reaper. A database as a whole is the range of its names.
//!
//! Several locks are taken in order, so commands do not wait for each other in a circle. A transaction takes
//! its locks as it goes, and may close one; then the youngest is refused. A command has done nothing before it has
//! all its locks: it begins again, as old as it was, and gets through in the end.

use crate::model::{DB_END, META_START, meta_key};
use ringfort_base::{Error, KeyspaceId, Result};
use ringfort_store::Store;
use ringfort_store::txn::locks::{LockError, Mode, Owner};
use ringfort_store::txn::transaction::refusal;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// What is to be locked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Wanted {
    /// Of which database.
    pub(crate) keyspace: KeyspaceId,
    /// The name of a key, or where a range of names begins.
    pub(crate) from: Vec<u8>,
    /// The end of the range; `None` for a key.
    pub(crate) to: Option<Vec<u8>>,
    /// What it excludes.
    pub(crate) mode: Mode,
}

impl Wanted {
    /// A user key.
    pub(crate) fn key(keyspace: KeyspaceId, key: &[u8], mode: Mode) -> Self {
        Self { keyspace, from: meta_key(key), to: None, mode }
    }

    /// All keys of a database.
    pub(crate) fn database(keyspace: KeyspaceId, mode: Mode) -> Self {
        Self { keyspace, from: META_START.to_vec(), to: Some(DB_END.to_vec()), mode }
    }
}

/// In the order in which everybody takes them, each key once, in its strongest mode; a database of which a key is written,
/// exclusively as a whole if at all.
pub(crate) fn in_order(wanted: &mut Vec<Wanted>) {
    // Ranges before the keys that they hold, and exclusive before shared: what follows is had already then.
    wanted.sort_by(|a, b| {
        let place = |w: &Wanted| (w.keyspace, w.to.is_none());
        place(a)
            .cmp(&place(b))
            .then_with(|| a.from.cmp(&b.from))
            .then_with(|| (a.mode == Mode::Shared).cmp(&(b.mode == Mode::Shared)))
    });
    wanted.dedup_by(|later, earlier| {
        later.keyspace == earlier.keyspace && later.from == earlier.from && later.to == earlier.to
    });
    // Two who had a database shared, and both want to write a key of it, would wait for each other.
    for database in wanted.chunk_by_mut(|a, b| a.keyspace == b.keyspace) {
        if database.iter().any(|wanted| wanted.mode == Mode::Exclusive) {
            let ranges = database.iter_mut().filter(|wanted| wanted.to.is_some());
            ranges.for_each(|range| range.mode = Mode::Exclusive);
        }
    }
}

/// Takes locks, which are [in order](in_order).
pub(crate) async fn take(store: &Store, wanted: &[Wanted]) -> Result<Owner> {
    let mut age = None;
    loop {
        let mut owner = store.locks().owner(age);
        age = Some(owner.age());
        match take_all(&mut owner, wanted).await {
            Ok(()) => return Ok(owner),
            Err(LockError::Deadlock(_)) => {}
            Err(full) => return Err(refusal(full)),
        }
    }
}

async fn take_all(owner: &mut Owner, wanted: &[Wanted]) -> std::result::Result<(), LockError> {
    for Wanted { keyspace, from, to, mode } in wanted {
        match to {
            None => owner.lock(*keyspace, from, *mode).await?,
            Some(to) => owner.lock_range(*keyspace, from, Some(to), *mode).await?,
        }
    }
    Ok(())
}

/// Takes the lock of one key, whose name is `stored`. Who holds nothing else is in no circle.
pub(crate) async fn take_one(store: &Store, keyspace: KeyspaceId, stored: &[u8]) -> Result<Owner> {
    let mut owner = store.locks().owner(None);
    owner.lock(keyspace, stored, Mode::Exclusive).await.map_err(|refused| -> Error { refusal(refused) })?;
    Ok(owner)
}

/// Adds the lock of a key to what `owner` has, if that needs no waiting.
pub(crate) fn try_one(owner: &mut Owner, keyspace: KeyspaceId, stored: &[u8]) -> Result<bool> {
    let lock = pin!(owner.lock(keyspace, stored, Mode::Exclusive));
    match lock.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(())) => Ok(true),
        Poll::Ready(Err(LockError::Deadlock(_))) | Poll::Pending => Ok(false),
        Poll::Ready(Err(full)) => Err(refusal(full)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::pending::tests::{lock, server};

    #[test]
    fn a_try_waits_for_nobody_and_leaves_nothing_behind() {
        let server = server();
        let db = server.databases()[0];
        let mut owner = server.store().locks().owner(None);
        let others = lock(&server, b"k");
        assert!(!try_one(&mut owner, db, &meta_key(b"k")).expect("asks"));
        drop(others);
        assert!(try_one(&mut owner, db, &meta_key(b"k")).expect("asks"));
        drop(owner);
        assert_eq!(server.store().locks().held(), 0);
    }

    #[test]
    fn each_is_taken_once_in_its_strongest_mode_and_ranges_first() {
        let (a, b) = (KeyspaceId(1), KeyspaceId(2));
        let mut wanted = vec![
            Wanted::key(b, b"x", Mode::Shared),
            Wanted::key(a, b"y", Mode::Shared),
            Wanted::key(a, b"x", Mode::Shared),
            Wanted::key(a, b"y", Mode::Exclusive),
            Wanted::database(b, Mode::Shared),
        ];
        in_order(&mut wanted);
        let expected = [
            Wanted::key(a, b"x", Mode::Shared),
            Wanted::key(a, b"y", Mode::Exclusive),
            Wanted::database(b, Mode::Shared),
            Wanted::key(b, b"x", Mode::Shared),
        ];
        assert_eq!(wanted, expected);
        wanted.push(Wanted::key(b, b"a", Mode::Exclusive));
        in_order(&mut wanted);
        assert_eq!(wanted[2], Wanted::database(b, Mode::Exclusive));
        assert_eq!(wanted[3..], [Wanted::key(b, b"a", Mode::Exclusive), Wanted::key(b, b"x", Mode::Shared)]);
    }
}
