//! [`Ctx`]: what a command has at hand. How it [reads](super::reading) and [writes](super::writing) is told apart.
//!
//! - Reading commands use [`Ctx::load`] and [`Ctx::scan`]; whatever is read is noted for the gate.
//! - Writing commands take [`Ctx::lock`] first, read, collect [`Changes`](crate::model::Changes) and [`Ctx::commit`]
//!   them with the locks; they are applied, and their level is waited for, at the end of the turn.
//! - Nothing waits for the byte budget while it holds a lock.
//!
//! A command does not know whether it stands alone, or in a transaction: each exists once.

use crate::budget::Charge;
use crate::clients::Client;
use crate::model::{HashMeta, Kind, Record, Slot, USER_KEY_BYTES_MAX, field_prefix, next_prefix};
use crate::server::Server;
use crate::server::pending::Pending;
use crate::server::turn::{Shows, Turn};
use crate::server::views::OpenView;
use crate::session::Session;
use ringfort_base::limits::BATCH_VALUE_BYTES_MAX;
use ringfort_base::{Error, KeyspaceId};
use ringfort_protocol::front::resp::error::{FIELD_VALUE_TOO_LONG, KEY_TOO_LONG, OVER_BUDGET, WRONG_TYPE};
use ringfort_protocol::front::resp::{ReplyError, ReplyWriter};
use std::sync::Arc;
use std::time::Duration;

/// Longest value of a field, bytes: with its key a batch holds it. Strings may be longer
/// ([`Server::string_bytes_max`]), since long ones are written by the piece.
pub const HELD_BYTES_MAX: usize = BATCH_VALUE_BYTES_MAX - 16;
/// Longest reply, bytes: a reply is held whole until it may be shown, so it is bounded.
pub const REPLY_BYTES_MAX: usize = 512 << 20;
/// Hashes of up to this many fields are scanned inline; everything else that is scanned, in the pool.
pub const INLINE_FIELDS_MAX: u64 = 256;
/// Entries per visit to the pool.
pub(crate) const SLICE_ENTRIES: usize = 4096;
/// A visit ends when it has collected this much, so that it can be charged.
pub(crate) const SLICE_BYTES: usize = 1 << 20;
/// What a command holds is charged to the budget from this size on, replies before it included: less
/// is within what each connection has for nothing.
const CHARGED_BYTES_MIN: usize = 16 * 1024;
/// What an entry that is kept costs beyond its bytes: its place in a vector that grows by doubling,
/// and two allocations.
const KEPT_ENTRY_BYTES: usize = 2 * size_of::<(Vec<u8>, Vec<u8>)>() + 2 * 16;

/// Whoever waited for memory was asked to leave.
pub(crate) const CLOSING: ReplyError = ReplyError::fixed("ERR the connection is being closed");

/// R20: physical removal waits as well; see the reaper.
pub(crate) const CLOCK_SUSPECT: ReplyError = ReplyError::fixed(
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

/// A consistent view of the store.
#[derive(Clone)]
pub(crate) enum View {
    /// Of one position; the pool can share it.
    At(Arc<OpenView>),
    /// What the transaction sees, which has covered what is read.
    Newest,
}

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

    /// Whether `bytes` more of reply are bearable.
    pub(crate) fn check_reply(&self, bytes: usize) -> Done {
        if self.out.len().saturating_add(bytes) > REPLY_BYTES_MAX { Err(OVER_BUDGET.into()) } else { Ok(()) }
    }

    /// Whether the charge covers `bytes` more than the request and the replies so far, now.
    pub(crate) fn try_charge(&mut self, bytes: usize) -> bool {
        self.out.len().saturating_add(bytes) < CHARGED_BYTES_MIN
            || self.charge.try_cover(self.bytes_with(bytes))
    }

    /// Waits until it does. Not for holders of locks (a transaction fails); those of this turn's
    /// writes are given back.
    pub(crate) async fn wait_for_room(&mut self, bytes: usize) -> Done {
        if self.session.open.is_some() {
            return Err(OVER_BUDGET.into());
        }
        self.pending.flush();
        let total = self.bytes_with(bytes);
        let (charge, client) = (&mut *self.charge, self.client);
        let waited = async {
            tokio::select! {
                () = charge.cover(total) => Ok(()),
                () = client.closed() => Err(CLOSING.into()),
            }
        };
        Box::pin(waited).await
    }

    pub(crate) fn bytes_with(&self, bytes: usize) -> usize {
        (self.base_bytes + self.out.capacity() + self.session.held_bytes()).saturating_add(bytes)
    }

    /// The store's time for a new expiry, Unix milliseconds. Refused while the host's clock is not
    /// believed (R20): the key would live too long or not at all.
    pub(crate) fn now_for_expiry_ms(&self) -> Done<u64> {
        let time = self.server.store().time();
        if time.suspect { Err(CLOCK_SUSPECT.into()) } else { Ok(time.now_ms) }
    }

    /// The time by which keys have expired, Unix milliseconds (R20): the store's, or that of a transaction's begin, all of
    /// which happens at once.
    pub(crate) fn now_ms(&self) -> u64 {
        self.session.open.as_ref().map_or_else(|| self.server.store().now_ms(), |open| open.now_ms)
    }
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
