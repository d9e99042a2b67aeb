//! [`Session`]: what a connection remembers between its commands.

use crate::server::Server;
use crate::server::watches::Watching;
use crate::txn::{Interactive, Multi, Open};
use ringfort_base::{Level, Seq};
use ringfort_protocol::front::resp::{ReplyError, Version};
use std::time::Duration;

/// Which replies the client wants (`CLIENT REPLY`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replies {
    /// All.
    On,
    /// None.
    Off,
    /// Not the next one.
    SkipNext,
}

impl Replies {
    /// Whether the command that begins now is not answered; skipping is for one command.
    pub fn take_silence(&mut self) -> bool {
        match self {
            Self::On => false,
            Self::Off => true,
            Self::SkipNext => {
                *self = Self::On;
                true
            }
        }
    }
}

/// A session.
pub struct Session {
    /// RESP2 until `HELLO 3`.
    pub version: Version,
    /// The selected database.
    pub db: usize,
    /// Whether it may command.
    pub authenticated: bool,
    /// The level that its replies wait for.
    pub level: Level,
    /// Which replies it wants.
    pub replies: Replies,
    /// The position of its last write: what `WAITAOF` waits for.
    pub last_write: Seq,
    /// Commands that are queued since MULTI.
    pub(crate) multi: Option<Multi>,
    /// What it watches.
    pub(crate) watching: Watching,
    /// What commands read and write through; if there is none, the store.
    pub(crate) open: Option<Box<Open>>,
    /// Its interactive transaction, which is `open` unless it is over.
    pub(crate) txn: Option<Interactive>,
}

impl Session {
    /// A new session.
    #[must_use]
    pub(crate) fn new(server: &Server) -> Self {
        let config = server.config();
        Self {
            version: Version::V2,
            db: 0,
            authenticated: config.requirepass.is_none(),
            level: config.default_level.max(config.minimum_level),
            replies: Replies::On,
            last_write: Seq::ZERO,
            multi: None,
            watching: Watching::new(server.watches()),
            open: None,
            txn: None,
        }
    }

    /// `RESET`: as a new one; what it wrote stays written.
    pub(crate) fn reset(&mut self, server: &Server) {
        *self = Self { last_write: self.last_write, ..Self::new(server) };
    }

    /// The level that its replies wait for now.
    pub(crate) fn level(&self) -> Level {
        self.txn.as_ref().map_or(self.level, |txn| txn.level)
    }

    /// A command could not be queued.
    pub(crate) fn abort_multi(&mut self) {
        if let Some(multi) = &mut self.multi {
            multi.aborted = true;
        }
    }

    /// A command of the interactive transaction has ended.
    pub(crate) fn txn_used(&mut self, now: Duration) {
        if let Some(txn) = &mut self.txn {
            txn.last_used = now;
        }
    }

    /// Rolls the interactive transaction back, before its client ends it.
    pub(crate) fn end_txn(&mut self, why: ReplyError) {
        self.open = None;
        if let Some(txn) = &mut self.txn {
            txn.ended_by = Some(why);
        }
    }

    /// Memory that it holds for transactions, bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        let queued = self.multi.as_ref().map_or(0, |multi| multi.bytes);
        let open = self.open.as_ref().map_or(0, |open| open.bytes());
        queued + open + self.watching.bytes()
    }
}
