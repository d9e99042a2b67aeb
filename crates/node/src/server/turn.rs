//! # One turn of a connection: replies in order, released together
//!
//! ```text
//! requests that have arrived → execute each → replies (held) → wait once per level → one write
//! ```
//!
//! Every reply that shows something of the store, or shows that something is absent, notes the
//! highest position that it depends on (R6). The turn waits once, for the highest at each level
//! that its replies ask for, and only then are the bytes released. At `fresh` the store confirms by
//! a counter operation that begins after that call, hence after every request of the turn (R5).
//!
//! If the wait fails, nothing that was held is shown: each held reply is replaced by an error, one
//! for one, so that the client's count of replies stays right. Replies that depend on nothing (PING) stay.

use crate::server::Server;
use crate::server::lane::Bell;
use crate::stats::add;
use ringfort_base::{Error, ErrorKind, Level, Seq};
use ringfort_protocol::front::resp::error::outcome_unknown;
use ringfort_protocol::front::resp::{ReplyError, ReplyWriter, Version};
use std::sync::Arc;

/// What a reply depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Shows {
    /// Nothing of the store.
    #[default]
    Nothing,
    /// What is stored up to a position.
    State(Seq),
    /// The outcome of a write at a position (and what it read).
    Write(Seq),
}

impl Shows {
    /// Adds a dependency on what was read.
    pub(crate) fn read(&mut self, at: Seq) {
        *self = match *self {
            Self::Nothing => Self::State(at),
            Self::State(before) => Self::State(before.max(at)),
            Self::Write(before) => Self::Write(before.max(at)),
        };
    }

    /// Adds a write.
    pub(crate) fn wrote(&mut self, at: Seq) {
        self.read(at);
        if let Self::State(at) = *self {
            *self = Self::Write(at);
        }
    }

    fn position(self) -> Option<Seq> {
        match self {
            Self::Nothing => None,
            Self::State(at) | Self::Write(at) => Some(at),
        }
    }
}

struct Mark {
    /// Where the reply ends.
    end: usize,
    shows: Shows,
    level: Level,
}

/// The replies of a turn and what they wait for.
#[derive(Default)]
pub(crate) struct Turn {
    marks: Vec<Mark>,
    need: [Option<Seq>; 3],
}

impl Turn {
    /// Notes a reply that ends at `end`.
    pub(crate) fn reply(&mut self, end: usize, shows: Shows, level: Level) {
        if let (Some(at), Some(need)) = (shows.position(), self.need.get_mut(level as usize)) {
            *need = Some(need.map_or(at, |before| before.max(at)));
        }
        self.marks.push(Mark { end, shows, level });
    }

    /// Nothing follows this turn before the log has what it wrote, up to `at`.
    pub(crate) fn need_visible(&mut self, at: Seq) {
        let [buffered, ..] = &mut self.need;
        *buffered = (*buffered).max(Some(at));
    }

    /// How many replies there are.
    pub(crate) fn len(&self) -> usize {
        self.marks.len()
    }

    /// Waits until all replies may be shown; replaces those that must not be. Ready for the next
    /// turn afterwards.
    pub(crate) async fn gate(&mut self, server: &Server, bell: &Arc<Bell>, out: &mut Vec<u8>) {
        let need = std::mem::take(&mut self.need);
        let mut failures: [Option<Error>; 3] = [None, None, None];
        let mut failed = false;
        for level in [Level::Fresh, Level::Durable, Level::Buffered] {
            let slot = level as usize;
            let Some(at) = need.get(slot).copied().flatten() else { continue };
            // R5: at `fresh` even what is anchored already is confirmed anew.
            if level != Level::Fresh && server.store().frontier(level) >= at && server.failure().is_none() {
                continue;
            }
            let began = server.monotonic();
            if let Err(error) = bell.wait(server.store().wait(at, level)).await {
                server.store_failed(&error);
                failed = true;
                if let Some(failure) = failures.get_mut(slot) {
                    *failure = Some(error);
                }
            }
            let waited = server.monotonic().saturating_sub(began);
            add(&server.stats().gated_turns, 1);
            add(&server.stats().gate_wait_us, u64::try_from(waited.as_micros()).unwrap_or(u64::MAX));
        }
        if failed {
            self.replace(out, &failures);
        }
        self.marks.clear();
    }

    /// Puts an error in the place of every reply whose level was not reached.
    fn replace(&self, out: &mut Vec<u8>, failures: &[Option<Error>; 3]) {
        let held = std::mem::take(out);
        let mut start = 0;
        for mark in &self.marks {
            let failure = failures.get(mark.level as usize).and_then(Option::as_ref);
            match (mark.shows, failure) {
                (Shows::Nothing, _) | (_, None) => {
                    out.extend_from_slice(held.get(start..mark.end).unwrap_or_default());
                }
                (shows, Some(error)) => {
                    let error = store_error(error, true, matches!(shows, Shows::Write(_)));
                    ReplyWriter::new(out, Version::V2).error(&error);
                }
            }
            start = mark.end;
        }
    }
}

/// The reply for an error of the store. If the store has stopped, a write is "outcome unknown" (R11),
/// never "not done", and a read says why the store stopped.
pub(crate) fn store_error(error: &Error, stopped: bool, wrote: bool) -> ReplyError {
    let is_evidence =
        matches!(error.kind(), ErrorKind::Tampered | ErrorKind::Rollback | ErrorKind::SecondCopy);
    match (stopped, wrote) {
        (true, true) => outcome_unknown(error.message()),
        (true, false) if !is_evidence => ReplyError::from(&error.clone().with_kind(ErrorKind::Stopped)),
        _ => ReplyError::from(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_add_up() {
        let mut shows = Shows::default();
        shows.read(Seq(3));
        shows.read(Seq(2));
        assert_eq!(shows, Shows::State(Seq(3)));
        shows.wrote(Seq(5));
        shows.read(Seq(9));
        assert_eq!(shows, Shows::Write(Seq(9)));
        let mut shows = Shows::Nothing;
        shows.wrote(Seq(1));
        assert_eq!(shows, Shows::Write(Seq(1)));
    }

    #[test]
    fn a_failed_gate_replaces_each_held_reply_and_no_other() {
        let mut turn = Turn::default();
        let mut out = Vec::new();
        let replies = [
            ("+PONG\r\n", Shows::Nothing, Level::Fresh),
            ("$1\r\nv\r\n", Shows::State(Seq(4)), Level::Fresh),
            ("+OK\r\n", Shows::Write(Seq(5)), Level::Fresh),
            ("$1\r\nb\r\n", Shows::State(Seq(4)), Level::Buffered),
        ];
        for (reply, shows, level) in replies {
            out.extend_from_slice(reply.as_bytes());
            turn.reply(out.len(), shows, level);
        }
        let error = Error::new(ErrorKind::Stopped, "the disk\r\nfailed");
        turn.replace(&mut out, &[None, None, Some(error)]);
        let expected = "+PONG\r\n-STOPPED the disk  failed\r\n-OUTCOMEUNKNOWN the write may or may not have \
                        happened: the disk  failed\r\n$1\r\nb\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}
