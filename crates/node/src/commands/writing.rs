//! How commands write: locks, changes and their way into the log, or into a transaction.
//!
//! A command locks what it is going to write, reads it, collects [`Changes`] and commits them with the locks. In a
//! transaction the locks are the transaction's, and so are the changes until it commits.

use super::ctx::{CLOSING, Ctx, Done, Fail};
use crate::door;
use crate::model::{Changes, Finished, Kind, Record, Slot, Touched, meta_key_into};
use crate::server::locking::{self, Wanted};
use ringfort_base::limits::STORED_VALUE_BYTES_MIN;
use ringfort_base::{KeyspaceId, Result as StoreResult, Seq};
use ringfort_protocol::front::resp::error::{STRING_TOO_LONG, TXN_TOO_LARGE, lock_timeout};
use ringfort_store::txn::locks::{Mode, Owner};
use ringfort_store::txn::transaction::Transaction;
use ringfort_store::{StoredValue, WriteBatch};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

/// A long string is written in goes of this size, so that other connections have their turns, bytes.
const STORED_AT_ONCE_BYTES: usize = 1 << 20;
/// The shortest pause that the runtime's timer keeps about.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// The locks of a command; in a transaction they are that's.
pub(crate) struct Held(Option<Owner>);

impl Ctx<'_> {
    /// Locks a user key of the selected database, to write it.
    pub(crate) async fn lock(&mut self, key: &[u8]) -> Done<Held> {
        let (server, keyspace) = (self.server, self.keyspace());
        if self.session.open.is_some() {
            let wanted = vec![Wanted::key(keyspace, key, Mode::Exclusive)];
            return Box::pin(self.lock_all(wanted)).await;
        }
        self.pace().await;
        let mut stored = std::mem::take(self.scratch);
        meta_key_into(&mut stored, key);
        let owner = {
            let locks = pin!(locking::take_one(server.store(), keyspace, &stored));
            self.wait_for_locks(None, locks).await
        };
        *self.scratch = stored;
        Ok(Held(Some(owner?)))
    }

    /// Locks several user keys of the selected database, to write them.
    pub(crate) async fn lock_keys<'k>(&mut self, keys: impl IntoIterator<Item = &'k [u8]>) -> Done<Held> {
        let keyspace = self.keyspace();
        self.lock_all(keys.into_iter().map(|key| Wanted::key(keyspace, key, Mode::Exclusive)).collect()).await
    }

    /// Locks all of `wanted`.
    pub(crate) async fn lock_all(&mut self, mut wanted: Vec<Wanted>) -> Done<Held> {
        let server = self.server;
        locking::in_order(&mut wanted);
        if self.session.open.is_some() {
            Box::pin(self.cover(&wanted)).await?;
            return Ok(Held(None));
        }
        self.pace().await;
        let locks = pin!(locking::take(server.store(), &wanted));
        Ok(Held(Some(self.wait_for_locks(None, locks).await?)))
    }

    /// Lets the transaction cover what the command is about to use; outside of one there is nothing to do.
    pub(crate) async fn cover(&mut self, wanted: &[Wanted]) -> Done {
        // Out of the session, so that both can be borrowed. Whoever is cancelled here takes it with him.
        let Some(mut open) = self.session.open.take() else { return Ok(()) };
        let limit = open.lock_timeout;
        let covered = self.wait_for_locks(limit, pin!(cover_all(&mut open.inner, wanted))).await;
        self.session.open = Some(open);
        covered
    }

    /// The pause that a write stall asks for, before any lock is taken.
    pub(crate) async fn pace(&mut self) {
        if let Some(pause) = self.server.store().take_pause(SHORTEST_PAUSE) {
            self.pending.flush();
            Box::pin(door::sleep(pause)).await;
        }
    }

    /// Waits for locks; see [`crate::server::pending`] for why it never waits with those of other commands in hand. Who is asked to close waits no longer.
    pub(crate) async fn wait_for_locks<T>(
        &mut self,
        limit: Option<Duration>,
        mut locks: Pin<&mut impl Future<Output = StoreResult<T>>>,
    ) -> Done<T> {
        let at_once = poll_fn(|cx| Poll::Ready(locks.as_mut().poll(cx))).await;
        if let Poll::Ready(taken) = at_once {
            return Ok(taken?);
        }
        self.pending.flush();
        let client = self.client;
        // In a place of its own: who need not wait does not carry it about.
        let waited = async {
            tokio::select! {
                biased;
                taken = door::within(limit, locks) => match taken {
                    Some(taken) => Ok(taken?),
                    None => Err(lock_timeout(limit.unwrap_or_default().as_millis()).into()),
                },
                () = client.closed() => Err(CLOSING.into()),
            }
        };
        Box::pin(waited).await
    }

    /// Locks a key of the selected database and reads it. What is stored is charged: it is held
    /// twice, as it was read and in the reply or the new record. If there is no room, the lock is given
    /// back before waiting for it.
    pub(crate) async fn lock_and_load(&mut self, key: &[u8]) -> Done<(Held, Slot)> {
        loop {
            let lock = self.lock(key).await?;
            let slot = self.load_locked(key).await?;
            let bytes = slot.stored().map_or(0, Record::stored_len);
            if self.try_charge(2 * bytes) {
                return Ok((lock, slot));
            }
            drop((slot, lock));
            self.wait_for_room(2 * bytes).await?;
        }
    }

    /// Refuses a string that is longer than the server takes.
    pub(crate) fn check_string(&self, bytes: usize) -> Done {
        if bytes > self.server.string_bytes_max() { Err(STRING_TOO_LONG.into()) } else { Ok(()) }
    }

    /// Puts a string, which is `parts` one after the other, in the place of `old`.
    pub(crate) async fn put_string(
        &mut self,
        changes: &mut Changes,
        key: &[u8],
        old: Option<&Record>,
        expiry_ms: u64,
        parts: &[&[u8]],
    ) -> Done {
        if parts.iter().map(|part| part.len()).sum::<usize>() < STORED_VALUE_BYTES_MIN {
            changes.put_string(key, old, expiry_ms, parts);
            return Ok(());
        }
        let stored = Box::pin(self.write_by_the_piece(expiry_ms, parts)).await?;
        changes.put_stored_string(key, old, expiry_ms, stored);
        Ok(())
    }

    async fn write_by_the_piece(&mut self, expiry_ms: u64, parts: &[&[u8]]) -> Done<StoredValue> {
        let head = Record::encode_string(expiry_ms, &[]);
        let mut writer = self.server.store().value_writer();
        // Nobody waits for this turn's writes while this one goes to the disk.
        self.pending.flush();
        for part in std::iter::once(&&head[..]).chain(parts) {
            for piece in part.chunks(STORED_AT_ONCE_BYTES) {
                writer.write(piece).map_err(Fail::Write)?;
                tokio::task::yield_now().await;
            }
        }
        door::blocking(move || writer.finish()).await.map_err(Fail::Write)
    }

    /// Puts a record again, with another expiry.
    pub(crate) async fn put_expiry(
        &mut self,
        changes: &mut Changes,
        key: &[u8],
        record: &Record,
        expiry_ms: u64,
    ) -> Done {
        match record.kind() {
            Kind::String => {
                self.put_string(changes, key, Some(record), expiry_ms, &[record.value()]).await?;
            }
            Kind::Hash => changes.put_hash(key, Some(record), expiry_ms, record.hash()),
        }
        Ok(())
    }

    /// An empty set of changes to the selected database, for who has the locks.
    pub(crate) fn changes(&self) -> Changes {
        self.changes_to(self.keyspace())
    }

    /// [`Ctx::changes`] to another database.
    pub(crate) fn changes_to(&self, keyspace: KeyspaceId) -> Changes {
        let changes = Changes::new(keyspace);
        // Nobody can begin to watch a key whose lock is held; a transaction may get its locks later.
        match self.session.open.is_some() || self.server.watches().any() {
            true => changes.noting_keys(),
            false => changes,
        }
    }

    /// Submits changes that were prepared under `held`. They are visible to nobody before the turn's
    /// group is applied, and the locks are held until then. In a transaction they go into that.
    pub(crate) fn commit(&mut self, changes: Changes, held: Held) -> Done {
        self.commit_all([changes], held)
    }

    /// [`Ctx::commit`] for changes to several databases as one.
    pub(crate) fn commit_all(&mut self, all: impl IntoIterator<Item = Changes>, held: Held) -> Done {
        let finished = Finished::of_all(all);
        match held {
            Held(Some(locks)) => {
                self.submit(finished.batch, finished.earliest_expiry_ms, &finished.touched, locks)
            }
            Held(None) => self.commit_to_txn(finished),
        }
    }

    fn commit_to_txn(&mut self, finished: Finished) -> Done {
        self.check_txn_bytes(self.session.held_bytes() + finished.batch.bytes())?;
        if let Some(open) = &mut self.session.open {
            open.write(finished)?;
        }
        Ok(())
    }

    /// Refuses a session to hold so much for its transactions, in all.
    pub(crate) fn check_txn_bytes(&mut self, bytes: usize) -> Done {
        // What it holds already is part of what is charged to the connection.
        let total = self.bytes_with(bytes.saturating_sub(self.session.held_bytes()));
        let fits = bytes <= self.server.config().txn_memory_bytes && self.charge.try_cover(total);
        if fits { Ok(()) } else { Err(TXN_TOO_LARGE.into()) }
    }

    /// Gives a batch its place in the log, and tells who watches what it changes.
    pub(crate) fn submit(
        &mut self,
        batch: WriteBatch,
        earliest_expiry_ms: Option<u64>,
        touched: &[Touched],
        locks: Owner,
    ) -> Done {
        if batch.is_empty() {
            return Ok(());
        }
        // Before: whoever leads the group may give the locks back at once.
        touched.iter().for_each(|touched| self.server.watches().mark(touched));
        let bytes = batch.bytes();
        let ticket = self.server.store().submit_locked(batch, locks).map_err(Fail::Write)?;
        self.shows.wrote(ticket.position);
        self.session.last_write = self.session.last_write.max(ticket.position);
        self.pending.add(ticket.position, bytes, earliest_expiry_ms);
        Ok(())
    }

    /// A generation for a hash that is being created under its lock; see [`crate::model`].
    pub(crate) fn new_generation(&self, keyspace: KeyspaceId, key: &[u8]) -> u64 {
        let Seq(visible) = self.server.store().snapshot().position();
        match &self.session.open {
            Some(open) => open.new_generation(keyspace, key, visible),
            None => visible,
        }
    }
}

/// Covers all of it.
pub(crate) async fn cover_all(txn: &mut Transaction, wanted: &[Wanted]) -> StoreResult<()> {
    for Wanted { keyspace, from, to, mode } in wanted {
        match to {
            None => txn.cover(*keyspace, from, *mode).await?,
            Some(to) => txn.cover_range(*keyspace, from, to, *mode).await?,
        }
    }
    Ok(())
}
