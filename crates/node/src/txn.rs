//! # What a session has of transactions
//!
//! ```text
//!  MULTI … EXEC   a queue of commands; EXEC takes all locks, in order, and carries them out in one Open
//!  TXN BEGIN …    an Open that lives until COMMIT or ROLLBACK, or until it is ended for the client
//! ```
//!
//! An [`Open`] is what commands read and write through in the place of the store: a transaction of the store, with
//! what the server needs beside it. It covers a user key by the name of its meta record, as all writers do
//! ([`crate::server::locking`]), so the fields of a hash need no locks of their own.
//!
//! Dropping it, with its session, gives back its locks at once.

use crate::model::{Finished, Touched, all_fields};
use crate::server::views::OpenView;
use ringfort_base::{KeyspaceId, Level, Result};
use ringfort_protocol::front::resp::command::Command;
use ringfort_protocol::front::resp::options::TxnKind;
use ringfort_protocol::front::resp::{ReplyError, Request};
use ringfort_store::txn::transaction::Transaction;
use std::sync::Arc;
use std::time::Duration;

/// What a queued command takes beyond its request, bytes.
const QUEUED_BYTES: usize = 64;

/// Commands between MULTI and EXEC.
#[derive(Default)]
pub(crate) struct Multi {
    pub(crate) queue: Vec<(Request, &'static Command)>,
    pub(crate) bytes: usize,
    /// One of them could not be queued: EXEC will refuse.
    pub(crate) aborted: bool,
}

impl Multi {
    /// What it would take with `request` in it.
    pub(crate) fn bytes_with(&self, request: &Request) -> usize {
        self.bytes + request.held_bytes() + QUEUED_BYTES
    }

    /// Queues a command.
    pub(crate) fn push(&mut self, request: &Request, command: &'static Command) {
        // A copy of its own size: the parser's buffers are larger than what lies in them.
        let args: Vec<&[u8]> = request.args().collect();
        let request = Request::from_args(&args);
        self.bytes = self.bytes_with(&request);
        self.queue.push((request, command));
    }
}

/// A transaction that commands go through.
pub(crate) struct Open {
    pub(crate) inner: Transaction,
    pub(crate) kind: TxnKind,
    /// All that is used is locked already.
    pub(crate) is_covered: bool,
    /// What reads see, if not the newest.
    pub(crate) view: Option<Arc<OpenView>>,
    /// The time at which keys expire for it: all of it happens at once.
    pub(crate) now_ms: u64,
    /// How long a command waits for locks.
    pub(crate) lock_timeout: Option<Duration>,
    pub(crate) earliest_expiry_ms: Option<u64>,
    /// What it changes, and what that takes.
    pub(crate) touched: Vec<Touched>,
    touched_bytes: usize,
    /// How much of `touched` there was.
    savepoints: Vec<usize>,
}

impl Open {
    /// What a savepoint takes here.
    pub(crate) const SAVEPOINT_BYTES: usize = size_of::<usize>();

    pub(crate) fn new(inner: Transaction, kind: TxnKind, now_ms: u64) -> Self {
        Self {
            inner,
            kind,
            is_covered: false,
            view: None,
            now_ms,
            lock_timeout: None,
            earliest_expiry_ms: None,
            touched: Vec::new(),
            touched_bytes: 0,
            savepoints: Vec::new(),
        }
    }

    /// What it holds in memory, bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.inner.bytes() + self.touched_bytes + self.savepoints.len() * Self::SAVEPOINT_BYTES
    }

    /// Takes the changes of a command over.
    pub(crate) fn write(&mut self, finished: Finished) -> Result<()> {
        if finished.batch.is_empty() {
            return Ok(());
        }
        self.inner.write_covered(&finished.batch)?;
        self.earliest_expiry_ms =
            self.earliest_expiry_ms.into_iter().chain(finished.earliest_expiry_ms).min();
        self.touched_bytes += finished.touched.iter().map(Touched::bytes).sum::<usize>();
        self.touched.extend(finished.touched);
        Ok(())
    }

    /// How many keys a database has, if it has `stored` without what this transaction did.
    pub(crate) fn count(&self, keyspace: KeyspaceId, stored: i64) -> i64 {
        stored + self.inner.own_count(keyspace)
    }

    /// A generation for a hash that it creates, where the store's visible position is `visible`. Each creation leaves a
    /// field of its own, so no two of one key are the same, and the log's positions pass all of them with the commit.
    pub(crate) fn new_generation(&self, keyspace: KeyspaceId, key: &[u8], visible: u64) -> u64 {
        let (from, to) = all_fields(key);
        visible + self.inner.own_len(keyspace, &from, &to) as u64
    }

    pub(crate) fn set_savepoint(&mut self) {
        self.inner.set_savepoint();
        self.savepoints.push(self.touched.len());
    }

    /// Back to the newest savepoint; `false` without one.
    pub(crate) fn rollback_to_savepoint(&mut self) -> bool {
        let Some(touched) = self.savepoints.pop() else { return false };
        if self.inner.rollback_to_savepoint().is_err() {
            return false;
        }
        for gone in self.touched.drain(touched..) {
            self.touched_bytes -= gone.bytes();
        }
        true
    }
}

/// `TXN BEGIN`, until the client ends it.
pub(crate) struct Interactive {
    /// What its replies wait for.
    pub(crate) level: Level,
    /// Why it is over, though the client has not ended it yet.
    pub(crate) ended_by: Option<ReplyError>,
    /// When its last command ended.
    pub(crate) last_used: Duration,
}
