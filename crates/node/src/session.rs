//! [`Session`]: what a connection remembers between its commands.

use crate::config::ServerConfig;
use ringfort_base::{Level, Seq};
use ringfort_protocol::front::resp::Version;

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
    /// Its MULTI was refused, and no EXEC or DISCARD came since.
    pub in_refused_multi: bool,
}

impl Session {
    /// A new session.
    #[must_use]
    pub fn new(config: &ServerConfig) -> Self {
        Self {
            version: Version::V2,
            db: 0,
            authenticated: config.requirepass.is_none(),
            level: config.default_level.max(config.minimum_level),
            replies: Replies::On,
            last_write: Seq::ZERO,
            in_refused_multi: false,
        }
    }

    /// `RESET`: as a new one; what it wrote stays written.
    pub fn reset(&mut self, config: &ServerConfig) {
        *self = Self { last_write: self.last_write, ..Self::new(config) };
    }
}
