//! [`Ctx`]: what a command has at hand, and the few ways in which commands touch the store.
//!
//! - Reading commands use [`Ctx::load`] and [`Ctx::scan`]; whatever is read is noted for the gate.
//! - Writing commands take [`Ctx::lock`] first, read, collect [`Changes`] and [`Ctx::commit`]
//!   them with the locks; they are applied, and their level is waited for, at the end of the turn.
//! - Nothing waits for the byte budget while it holds a lock.

use crate::budget::Charge;
use crate::clients::Client;
use crate::door;
use crate::model::{
    Changes, HashMeta, Kind, Record, Slot, USER_KEY_BYTES_MAX, field_prefix, meta_key_into, next_prefix,
};
use crate::server::Server;
use crate::server::locking::{self, Wanted};
use crate::server::pending::Pending;
use crate::server::turn::{Shows, Turn};
use crate::server::views::OpenView;
use crate::session::Session;
use crate::stats::add;
use ringfort_base::limits::{BATCH_VALUE_BYTES_MAX, STORED_VALUE_BYTES_MIN};
use ringfort_base::{Error, KeyspaceId, Result as StoreResult, Seq};
use ringfort_protocol::front::resp::error::{
    FIELD_VALUE_TOO_LONG, KEY_TOO_LONG, OVER_BUDGET, STRING_TOO_LONG, WRONG_TYPE,
};
use ringfort_protocol::front::resp::{ReplyError, ReplyWriter};
use ringfort_store::txn::locks::{Mode, Owner};
use ringfort_store::{Value, WriteBatch};
use std::future::{Future, poll_fn};
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Longest value of a field, bytes: with its key a batch holds it. Strings may be longer
/// ([`Server::string_bytes_max`]), since long ones are written by the piece.
pub const HELD_BYTES_MAX: usize = BATCH_VALUE_BYTES_MAX - 16;
/// A long string is written in goes of this size, so that other connections have their turns, bytes.
const STORED_AT_ONCE_BYTES: usize = 1 << 20;
/// Longest reply, bytes: a reply is held whole until it may be shown, so it is bounded.
pub const REPLY_BYTES_MAX: usize = 512 << 20;
/// Hashes of up to this many fields are scanned inline; everything else that is scanned, in the pool.
pub const INLINE_FIELDS_MAX: u64 = 256;
/// Entries per visit to the pool.
const SLICE_ENTRIES: usize = 4096;
/// The shortest pause that the runtime's timer keeps about.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// A visit ends when it has collected this much, so that it can be charged.
const SLICE_BYTES: usize = 1 << 20;
/// What a command holds is charged to the budget from this size on, replies before it included: less
/// is within what each connection has for nothing.
const CHARGED_BYTES_MIN: usize = 16 * 1024;
/// What an entry that is kept costs beyond its bytes: its place in a vector that grows by doubling,
/// and two allocations.
const KEPT_ENTRY_BYTES: usize = 2 * size_of::<(Vec<u8>, Vec<u8>)>() + 2 * 16;

/// Whoever waited for memory was asked to leave.
const CLOSING: ReplyError = ReplyError::fixed("ERR the connection is being closed");

/// R20: physical removal waits as well; see the reaper.
const CLOCK_SUSPECT: ReplyError = ReplyError::fixed(
    "ERR the host's clock is further ahead than can be believed: new expiries are refused until it is set right",
);

/// Why a command has no answer.
#[derive(Debug)]
pub enum Fail {
    /// It answers with this error.
    Reply(ReplyError),
    /// The store could not read.
    Read(Error),
    /// The store could not write: the outcome may be unknown.
    Write(Error),
}

impl From<ReplyError> for Fail {
    fn from(error: ReplyError) -> Self {
        Self::Reply(error)
    }
}

impl From<Error> for Fail {
    fn from(error: Error) -> Self {
        Self::Read(error)
    }
}

/// A consistent view of the store, which the pool can share.
pub(crate) type View = Arc<OpenView>;

/// What a command returns: its reply is written, or it failed.
pub type Done<T = ()> = Result<T, Fail>;

/// A range of stored keys.
#[derive(Clone, Debug)]
pub struct Span {
    /// The first key.
    pub from: Vec<u8>,
    /// The first key beyond.
    pub to: Vec<u8>,
    /// From the end to the beginning.
    pub reverse: bool,
    /// It is a hash of few fields ([`INLINE_FIELDS_MAX`]): some neighbouring blocks at most. How many
    /// entries a scan is to *visit* says nothing of that: it may pass over any number of tombstones, and
    /// each seek may read the disk.
    pub is_small: bool,
    /// The visitor wants the beginning of values only, which holds the head of a record.
    pub heads: bool,
}

impl Span {
    /// All fields of a hash.
    pub(crate) fn of_fields(key: &[u8], meta: HashMeta) -> Self {
        let from = field_prefix(key, meta.generation);
        let to = next_prefix(from.clone());
        Self { from, to, reverse: false, is_small: meta.count <= INLINE_FIELDS_MAX, heads: false }
    }
}

/// What a scan collects.
#[derive(Default)]
pub struct Found {
    /// Keys and values, as the visitor made them.
    pub items: Vec<(Vec<u8>, Vec<u8>)>,
    /// Their size in a reply or a batch.
    pub bytes: usize,
    /// The memory that they take.
    pub held_bytes: usize,
    /// Expiry of a key that was passed over because it has expired.
    pub hidden_ms: Option<u64>,
    /// The last stored key that was visited.
    pub last: Option<Vec<u8>>,
    /// Whether the visitor stopped the scan before its end.
    pub stopped: bool,
}

impl Found {
    /// Keeps an entry.
    pub fn keep(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.bytes += key.len() + value.len() + 16;
        self.held_bytes += key.capacity() + value.capacity() + KEPT_ENTRY_BYTES;
        self.items.push((key, value));
    }
}

/// What a command has at hand.
pub struct Ctx<'a> {
    pub(crate) server: &'a Arc<Server>,
    pub(crate) client: &'a Arc<Client>,
    pub(crate) session: &'a mut Session,
    pub(crate) out: &'a mut Vec<u8>,
    pub(crate) turn: &'a mut Turn,
    /// Writes of this turn that are not visible yet.
    pub(crate) pending: &'a mut Pending,
    pub(crate) charge: &'a mut Charge,
    /// A buffer for keys.
    pub(crate) scratch: &'a mut Vec<u8>,
    /// Bytes of the request and its buffer.
    pub(crate) base_bytes: usize,
    /// What the reply depends on so far.
    pub(crate) shows: Shows,
    /// When the command began.
    pub(crate) now: Duration,
    /// Whether the connection is to close after the reply.
    pub(crate) close: bool,
    /// The name of the last command, from the table.
    pub(crate) name: Option<&'static str>,
}

impl Ctx<'_> {
    /// The writer of the reply.
    pub(crate) fn reply(&mut self) -> ReplyWriter<'_> {
        ReplyWriter::new(self.out, self.session.version)
    }

    /// The keyspace of the selected database.
    pub(crate) fn keyspace(&self) -> KeyspaceId {
        self.keyspace_of(self.session.db)
    }

    /// The keyspace of database `db`.
    pub(crate) fn keyspace_of(&self, db: usize) -> KeyspaceId {
        // The session's database is checked by SELECT; 0 is the one that always exists.
        self.server.databases().get(db).copied().unwrap_or(KeyspaceId::SYSTEM)
    }

    // --- reading -----------------------------------------------------------------------------------

    /// Reads a stored key: from memory inline, else in the pool (R23).
    pub(crate) async fn fetch(
        &mut self,
        keyspace: KeyspaceId,
        stored: &[u8],
        at: Option<&View>,
    ) -> Done<Option<Value>> {
        let store = self.server.store();
        let answer = match store.get_resident(keyspace, stored, at.map(|at| &***at))? {
            Some(answer) => answer,
            None => {
                add(&self.server.stats().pool_reads, 1);
                let (store, stored, at) = (store.clone(), stored.to_vec(), at.cloned());
                door::blocking(move || store.get(keyspace, &stored, at.as_deref().map(|at| &**at))).await?
            }
        };
        self.shows.read(answer.depends);
        Ok(answer.value)
    }

    /// What stands under a user key of the selected database, for a writer that holds its lock.
    pub(crate) async fn load_locked(&mut self, key: &[u8]) -> Done<Slot> {
        self.load_in(self.keyspace(), key, None).await
    }

    /// [`Ctx::load_locked`] in another database, or at a snapshot.
    pub(crate) async fn load_in(
        &mut self,
        keyspace: KeyspaceId,
        key: &[u8],
        at: Option<&View>,
    ) -> Done<Slot> {
        check_key(key)?;
        let mut stored = std::mem::take(self.scratch);
        meta_key_into(&mut stored, key);
        let value = self.fetch(keyspace, &stored, at).await;
        *self.scratch = stored;
        Ok(Slot::decode(value?, || self.server.store().now_ms())?)
    }

    /// What commands see under a user key of the selected database. Its size is charged to the
    /// budget, so this may wait: not for holders of locks.
    pub(crate) async fn load(&mut self, key: &[u8], at: Option<&View>) -> Done<Option<Record>> {
        self.pending.flush();
        loop {
            let slot = self.load_in(self.keyspace(), key, at).await?;
            if let Slot::Expired(record) = &slot {
                self.overdue(record.expiry_ms());
            }
            let Some(record) = slot.into_live() else {
                add(&self.server.stats().misses, 1);
                return Ok(None);
            };
            let bytes = record.stored_len();
            if self.try_charge(2 * bytes) {
                add(&self.server.stats().hits, 1);
                return Ok(Some(record));
            }
            drop(record);
            self.wait_for_room(2 * bytes).await?;
        }
    }

    /// [`Ctx::fetch`] of what will be shown, charged as [`Ctx::load`] does: not for holders of locks.
    pub(crate) async fn fetch_charged(
        &mut self,
        keyspace: KeyspaceId,
        stored: &[u8],
        at: Option<&View>,
    ) -> Done<Option<Value>> {
        loop {
            let value = self.fetch(keyspace, stored, at).await?;
            let bytes = value.as_ref().map_or(0, |value| value.len());
            self.check_reply(bytes)?;
            if self.try_charge(2 * bytes) {
                return Ok(value);
            }
            drop(value);
            self.wait_for_room(2 * bytes).await?;
        }
    }

    /// Locks a key of the selected database and reads it. What is stored is charged: it is held
    /// twice, as it was read and in the reply or the new record. If there is no room, the lock is given
    /// back before waiting for it.
    pub(crate) async fn lock_and_load(&mut self, key: &[u8]) -> Done<(Owner, Slot)> {
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

    /// Tells the reaper of a key that is hidden because it has expired.
    fn overdue(&self, expiry_ms: u64) {
        self.server.alarm().overdue(expiry_ms, self.server.reaper_signal());
    }

    /// [`Ctx::load`] for a command on strings.
    pub(crate) async fn load_string(&mut self, key: &[u8]) -> Done<Option<Record>> {
        of_kind(self.load(key, None).await?, Kind::String)
    }

    /// [`Ctx::load`] for a command on hashes, which reads record and fields at one snapshot.
    pub(crate) async fn load_hash(&mut self, key: &[u8], at: &View) -> Done<Option<Record>> {
        of_kind(self.load(key, Some(at)).await?, Kind::Hash)
    }

    /// The newest visible state, this turn's writes included.
    pub(crate) fn snapshot(&mut self) -> View {
        self.pending.flush();
        Arc::new(OpenView::new(self.server))
    }

    /// Scans `span` at a snapshot, in slices in the pool unless it is small (R23). The visitor keeps what it wants and says when to stop. What it keeps is
    /// charged slice by slice, twice (as it was found, and in the reply or the batch), so this may wait:
    /// not for holders of locks.
    pub(crate) async fn scan(
        &mut self,
        at: &View,
        keyspace: KeyspaceId,
        span: Span,
        entries_max: usize,
        visit: impl Fn(Vec<u8>, Vec<u8>, &mut Found) -> ControlFlow<()> + Send + Sync + 'static,
    ) -> Done<Found> {
        self.scan_as(Room::Waits, at, keyspace, span, entries_max, visit).await
    }

    /// [`Ctx::scan`] for the holder of a lock: without room it fails instead of waiting.
    pub(crate) async fn scan_locked(
        &mut self,
        at: &View,
        keyspace: KeyspaceId,
        span: Span,
        entries_max: usize,
        visit: impl Fn(Vec<u8>, Vec<u8>, &mut Found) -> ControlFlow<()> + Send + Sync + 'static,
    ) -> Done<Found> {
        self.scan_as(Room::Fails, at, keyspace, span, entries_max, visit).await
    }

    async fn scan_as(
        &mut self,
        room: Room,
        at: &View,
        keyspace: KeyspaceId,
        mut span: Span,
        entries_max: usize,
        visit: impl Fn(Vec<u8>, Vec<u8>, &mut Found) -> ControlFlow<()> + Send + Sync + 'static,
    ) -> Done<Found> {
        self.shows.read(at.position());
        let mut found = Found::default();
        let visit = Arc::new(visit);
        let inline = span.is_small;
        let mut left = entries_max;
        while left > 0 {
            let take = left.min(SLICE_ENTRIES);
            let visited = if inline {
                slice(self.server.store(), at, keyspace, &span, take, &mut found, &*visit)?
            } else {
                add(&self.server.stats().pool_reads, 1);
                let (store, at, visit, this) =
                    (self.server.store().clone(), at.clone(), Arc::clone(&visit), span.clone());
                let (state, visited) = door::blocking(move || {
                    let visited = slice(&store, &at, keyspace, &this, take, &mut found, &*visit)?;
                    Ok((found, visited))
                })
                .await?;
                found = state;
                visited
            };
            self.check_reply(found.bytes)?;
            let held = found.held_bytes.saturating_add(found.bytes);
            match room {
                _ if self.try_charge(held) => {}
                Room::Waits => self.wait_for_room(held).await?,
                Room::Fails => return Err(OVER_BUDGET.into()),
            }
            left = left.saturating_sub(visited.entries);
            if visited.ended || found.stopped {
                break;
            }
            if self.client.is_closing() {
                return Err(CLOSING.into());
            }
            // The next slice continues behind (or, in reverse, below) the last visited key.
            match found.last.clone() {
                Some(last) if span.reverse => span.to = last,
                Some(mut last) => {
                    last.push(0);
                    span.from = last;
                }
                None => break,
            }
        }
        if let Some(expiry_ms) = found.hidden_ms {
            self.overdue(expiry_ms);
        }
        Ok(found)
    }

    /// Whether `bytes` more of reply are bearable.
    pub(crate) fn check_reply(&self, bytes: usize) -> Done {
        if self.out.len().saturating_add(bytes) > REPLY_BYTES_MAX { Err(OVER_BUDGET.into()) } else { Ok(()) }
    }

    /// Whether the charge covers `bytes` more than the request and the replies so far, now.
    pub(crate) fn try_charge(&mut self, bytes: usize) -> bool {
        self.out.len().saturating_add(bytes) < CHARGED_BYTES_MIN
            || self.charge.try_cover(self.bytes_with(bytes))
    }

    /// Waits until it does. Not for holders of locks; those of this turn's writes are given back.
    pub(crate) async fn wait_for_room(&mut self, bytes: usize) -> Done {
        self.pending.flush();
        let total = self.bytes_with(bytes);
        tokio::select! {
            () = self.charge.cover(total) => Ok(()),
            () = self.client.closed() => Err(CLOSING.into()),
        }
    }

    fn bytes_with(&self, bytes: usize) -> usize {
        (self.base_bytes + self.out.capacity()).saturating_add(bytes)
    }

    // --- writing -------------------------------------------------------------------------------------

    /// Locks a user key of the selected database, to write it.
    pub(crate) async fn lock(&mut self, key: &[u8]) -> Done<Owner> {
        let server = self.server;
        let keyspace = self.keyspace();
        let mut stored = std::mem::take(self.scratch);
        meta_key_into(&mut stored, key);
        let owner = self.wait_for_locks(locking::take_one(server.store(), keyspace, &stored)).await;
        *self.scratch = stored;
        owner
    }

    /// Locks several user keys of the selected database, to write them.
    pub(crate) async fn lock_keys(&mut self, keys: impl IntoIterator<Item = &[u8]>) -> Done<Owner> {
        let keyspace = self.keyspace();
        self.lock_all(keys.into_iter().map(|key| Wanted::key(keyspace, key, Mode::Exclusive)).collect()).await
    }

    /// Locks all of `wanted`.
    pub(crate) async fn lock_all(&mut self, mut wanted: Vec<Wanted>) -> Done<Owner> {
        let server = self.server;
        locking::in_order(&mut wanted);
        self.wait_for_locks(locking::take(server.store(), &wanted)).await
    }

    /// Waits for locks, after the pause that a write stall asks for; see [`crate::server::pending`]
    /// for why it never waits with others in hand. Who is asked to close waits no longer.
    async fn wait_for_locks<T>(&mut self, locks: impl Future<Output = StoreResult<T>>) -> Done<T> {
        if let Some(pause) = self.server.store().take_pause(SHORTEST_PAUSE) {
            self.pending.flush();
            door::sleep(pause).await;
        }
        let mut locks = pin!(locks);
        let at_once = poll_fn(|cx| Poll::Ready(locks.as_mut().poll(cx))).await;
        if let Poll::Ready(taken) = at_once {
            return Ok(taken?);
        }
        self.pending.flush();
        tokio::select! {
            biased;
            taken = locks => Ok(taken?),
            () = self.client.closed() => Err(CLOSING.into()),
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
        let stored = door::blocking(move || writer.finish()).await.map_err(Fail::Write)?;
        changes.put_stored_string(key, old, expiry_ms, stored);
        Ok(())
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

    /// An empty set of changes to the selected database.
    pub(crate) fn changes(&self) -> Changes {
        Changes::new(self.keyspace())
    }

    /// Submits changes that were prepared under `locks`. They are visible to nobody before the turn's
    /// group is applied, and the locks are held until then.
    pub(crate) fn commit(&mut self, changes: Changes, locks: Owner) -> Done {
        let (batch, earliest) = changes.finish();
        self.submit(batch, earliest, locks)
    }

    /// [`Ctx::commit`] for changes to several databases as one.
    pub(crate) fn commit_all(&mut self, all: impl IntoIterator<Item = Changes>, locks: Owner) -> Done {
        let mut batch = WriteBatch::new();
        let mut earliest: Option<u64> = None;
        for changes in all {
            let (more, expiry) = changes.finish();
            batch.append(more);
            earliest = earliest.into_iter().chain(expiry).min();
        }
        self.submit(batch, earliest, locks)
    }

    fn submit(&mut self, batch: WriteBatch, earliest_expiry_ms: Option<u64>, locks: Owner) -> Done {
        if batch.is_empty() {
            return Ok(());
        }
        let bytes = batch.bytes();
        let ticket = self.server.store().submit_locked(batch, locks).map_err(Fail::Write)?;
        self.shows.wrote(ticket.position);
        self.session.last_write = self.session.last_write.max(ticket.position);
        self.pending.add(ticket.position, bytes, earliest_expiry_ms);
        Ok(())
    }

    /// A generation for a hash that is being created under its lock; see [`crate::model`].
    pub(crate) fn new_generation(&self) -> u64 {
        let Seq(visible) = self.server.store().snapshot().position();
        visible
    }

    /// The store's time for a new expiry, Unix milliseconds. Refused while the host's clock is not
    /// believed (R20): the key would live too long or not at all.
    pub(crate) fn now_for_expiry_ms(&self) -> Done<u64> {
        let time = self.server.store().time();
        if time.suspect { Err(CLOCK_SUSPECT.into()) } else { Ok(time.now_ms) }
    }

    /// The store's time, Unix milliseconds (R20).
    pub(crate) fn now_ms(&self) -> u64 {
        self.server.store().now_ms()
    }
}

/// What a scan does when the budget has no room for what it has found.
#[derive(Clone, Copy)]
enum Room {
    Waits,
    Fails,
}

/// What a slice has seen.
struct Visited {
    entries: usize,
    /// The span has no more.
    ended: bool,
}

/// Visits up to `entries_max` entries, or [`SLICE_BYTES`] of what is kept.
fn slice(
    store: &ringfort_store::Store,
    at: &View,
    keyspace: KeyspaceId,
    span: &Span,
    entries_max: usize,
    found: &mut Found,
    visit: &(impl Fn(Vec<u8>, Vec<u8>, &mut Found) -> ControlFlow<()> + ?Sized),
) -> StoreResult<Visited> {
    let mut entries = 0;
    if span.from >= span.to {
        return Ok(Visited { entries, ended: true });
    }
    let enough = found.held_bytes.saturating_add(SLICE_BYTES);
    let (from, to) = (span.from.as_slice(), Some(span.to.as_slice()));
    let entries_of_span = match span.heads {
        true => store.iter_heads(keyspace, from, to, span.reverse, at)?,
        false => store.iter(keyspace, from, to, span.reverse, at)?,
    };
    for entry in entries_of_span {
        let (key, value) = entry?;
        entries += 1;
        match &mut found.last {
            Some(last) => last.clone_from(&key),
            last => *last = Some(key.clone()),
        }
        if visit(key, value, found).is_break() {
            found.stopped = true;
            return Ok(Visited { entries, ended: false });
        }
        if entries >= entries_max || found.held_bytes >= enough {
            return Ok(Visited { entries, ended: false });
        }
    }
    Ok(Visited { entries, ended: true })
}

/// Refuses keys that are too long.
pub(crate) fn check_key(key: &[u8]) -> Done {
    if key.len() > USER_KEY_BYTES_MAX { Err(KEY_TOO_LONG.into()) } else { Ok(()) }
}

/// Refuses fields that are too long with their key.
pub(crate) fn check_field(key: &[u8], field: &[u8]) -> Done {
    if key.len() + field.len() > USER_KEY_BYTES_MAX { Err(KEY_TOO_LONG.into()) } else { Ok(()) }
}

/// Refuses strings that are too long.
pub(crate) fn check_field_value(bytes: usize) -> Done {
    if bytes > HELD_BYTES_MAX { Err(FIELD_VALUE_TOO_LONG.into()) } else { Ok(()) }
}

/// Refuses a record of another type.
pub(crate) fn of_kind(record: Option<Record>, kind: Kind) -> Done<Option<Record>> {
    match record {
        Some(record) if record.kind() != kind => Err(WRONG_TYPE.into()),
        record => Ok(record),
    }
}

/// The visible record under its lock, which must be of `kind`.
pub(crate) fn live_of_kind(slot: &Slot, kind: Kind) -> Done<Option<&Record>> {
    match slot.live() {
        Some(record) if record.kind() != kind => Err(WRONG_TYPE.into()),
        record => Ok(record),
    }
}
