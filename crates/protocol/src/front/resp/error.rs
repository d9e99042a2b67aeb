//! The words of errors, worded like Redis's so that clients recognise them.
//!
//! The first word is the code that clients dispatch on. Ringfort adds some of its own:
//! - `OUTCOMEUNKNOWN`: the write may or may not have happened (R11); read to find out.
//! - `CONFLICT`, `DEADLOCK`: the transaction wrote nothing; begin it again. `LOCKTIMEOUT`: the command did nothing.
//!   `ABORTED`: the transaction ended before. `TIMEOUT`: it was idle for too long.
//! - `STOPPED`: the store refuses to go on, with the evidence or the reason.

use std::borrow::Cow;
use std::fmt;

use ringfort_base::{Error, ErrorKind, Level};

use super::parser::ProtocolError;

/// The text of an error reply, with its code and without the leading `-`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplyError(Cow<'static, str>);

impl ReplyError {
    /// A fixed text.
    #[must_use]
    pub const fn fixed(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// A composed text. Line ends in it become spaces when it is written.
    #[must_use]
    pub const fn composed(text: String) -> Self {
        Self(Cow::Owned(text))
    }

    /// Code and message.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The first word.
    #[must_use]
    pub fn code(&self) -> &str {
        self.0.split(' ').next().unwrap_or_default()
    }
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ReplyError {}

impl From<ProtocolError> for ReplyError {
    fn from(error: ProtocolError) -> Self {
        Self::composed(format!("ERR {error}"))
    }
}

impl From<&Error> for ReplyError {
    /// The reply for a failure of the store. What it says is log-safe: `Error` holds no keys or
    /// values.
    fn from(error: &Error) -> Self {
        let message = error.message();
        match error.kind() {
            ErrorKind::OutcomeUnknown => outcome_unknown(message),
            ErrorKind::Tampered => stopped("TAMPERED", message),
            ErrorKind::Rollback => stopped("ROLLBACK", message),
            ErrorKind::SecondCopy => stopped("SECONDCOPY", message),
            ErrorKind::Stopped => Self::composed(format!("STOPPED {message}")),
            ErrorKind::Exhausted => Self::composed(format!("OOM {message}")),
            ErrorKind::Busy | ErrorKind::Timeout => Self::composed(format!("TRYAGAIN {message}")),
            ErrorKind::Conflict => Self::composed(format!("CONFLICT {message}")),
            ErrorKind::Deadlock => Self::composed(format!("DEADLOCK {message}")),
            ErrorKind::LockTimeout => Self::composed(format!("LOCKTIMEOUT {message}")),
            ErrorKind::Refused => Self::composed(format!("NOPERM {message}")),
            _ => Self::composed(format!("ERR {message}")),
        }
    }
}

impl From<Error> for ReplyError {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: ReplyError = ReplyError::fixed($text);)*
    };
}

texts! {
    /// Options that do not fit together or are unknown.
    SYNTAX = "ERR syntax error";
    /// The key holds another type.
    WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value";
    /// An argument or a stored value is no 64-bit integer.
    NOT_AN_INTEGER = "ERR value is not an integer or out of range";
    /// A hash field's value is no 64-bit integer.
    HASH_NOT_AN_INTEGER = "ERR hash value is not an integer";
    /// An argument or a stored value is no float.
    NOT_A_FLOAT = "ERR value is not a valid float";
    /// A hash field's value is no float.
    HASH_NOT_A_FLOAT = "ERR hash value is not a float";
    /// An increment leaves 64 bits.
    OVERFLOW = "ERR increment or decrement would overflow";
    /// `DECRBY` of the smallest integer.
    DECREMENT_OVERFLOW = "ERR decrement would overflow";
    /// A float increment has no finite result.
    NAN_OR_INFINITY = "ERR increment would produce NaN or Infinity";
    /// `HINCRBYFLOAT` by an infinity.
    INFINITE = "ERR value is NaN or Infinity";
    /// A count below zero.
    NOT_POSITIVE = "ERR value is out of range, must be positive";
    /// `SETRANGE` before the beginning.
    OFFSET_OUT_OF_RANGE = "ERR offset is out of range";
    /// A value would exceed the largest size.
    STRING_TOO_LONG = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    /// A value of a hash exceeds the largest size.
    FIELD_VALUE_TOO_LONG = "ERR field value exceeds maximum allowed size (64 MiB)";
    /// A key exceeds the largest size.
    KEY_TOO_LONG = "ERR key exceeds maximum allowed size (64 KiB)";
    /// `RENAME`, `OBJECT`, ... of an absent key.
    NO_SUCH_KEY = "ERR no such key";
    /// `COPY` onto itself.
    SAME_OBJECT = "ERR source and destination objects are the same";
    /// `SELECT`, `COPY ... DB`.
    DB_OUT_OF_RANGE = "ERR DB index is out of range";
    /// A cursor that nobody handed out.
    INVALID_CURSOR = "ERR invalid cursor";
    /// `EXPIRE ... NX` with others.
    EXPIRE_NX_CONFLICT = "ERR NX and XX, GT or LT options at the same time are not compatible";
    /// `EXPIRE ... GT LT`.
    EXPIRE_GT_LT_CONFLICT = "ERR GT and LT options at the same time are not compatible";
    /// Before `AUTH`.
    NO_AUTH = "NOAUTH Authentication required.";
    /// `HELLO` before `AUTH`.
    NO_AUTH_HELLO = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time";
    /// Wrong user or password.
    WRONG_PASS = "WRONGPASS invalid username-password pair or user is disabled.";
    /// `AUTH` where no password is set.
    AUTH_WITHOUT_PASSWORD = "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?";
    /// `HELLO 4`.
    NO_PROTO = "NOPROTO unsupported protocol version";
    /// `HELLO x`.
    PROTO_NOT_AN_INTEGER = "ERR Protocol version is not an integer or out of range";
    /// `CLIENT SETNAME "a b"`.
    BAD_CLIENT_NAME = "ERR Client names cannot contain spaces, newlines or special characters.";
    /// `CLIENT KILL` of a client that is gone.
    NO_SUCH_CLIENT = "ERR No such client";
    /// `CLIENT KILL ID x`.
    CLIENT_ID_NOT_POSITIVE = "ERR client-id should be greater than 0";
    /// `CLIENT LIST ID x`.
    BAD_CLIENT_ID = "ERR Invalid client ID";
    /// The server's byte budget is spent.
    OUT_OF_MEMORY = "OOM command not allowed when used memory > 'maxmemory'.";
    /// One connection's request or reply would exceed what is left of the byte budget.
    OVER_BUDGET = "OOM request or reply exceeds the server's byte budget.";
    /// `OBJECT FREQ` without frequencies.
    NO_FREQUENCY = "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.";
    /// A timeout below zero.
    NEGATIVE_TIMEOUT = "ERR timeout is negative";
    /// `MULTI` between MULTI and EXEC.
    NESTED_MULTI = "ERR MULTI calls can not be nested";
    /// `EXEC` without MULTI.
    EXEC_WITHOUT_MULTI = "ERR EXEC without MULTI";
    /// `DISCARD` without MULTI.
    DISCARD_WITHOUT_MULTI = "ERR DISCARD without MULTI";
    /// `WATCH` between MULTI and EXEC.
    WATCH_IN_MULTI = "ERR WATCH inside MULTI is not allowed";
    /// A command that cannot be queued.
    NOT_IN_MULTI = "ERR Command not allowed inside a transaction";
    /// `EXEC` after a command that could not be queued.
    EXEC_ABORT = "EXECABORT Transaction discarded because of previous errors.";
    /// The queue of a MULTI, or the writes of a transaction, exceed their limit or what is left of the byte budget.
    TXN_TOO_LARGE = "OOM the transaction exceeds its memory (txn-memory, or what is left of connection-memory).";
    /// `TXN COMMIT`, `ROLLBACK`, `SAVEPOINT` without a transaction.
    NO_TXN = "ERR there is no transaction: TXN BEGIN begins one";
    /// `TXN BEGIN` in a transaction.
    NESTED_TXN = "ERR a transaction is open: TXN COMMIT or TXN ROLLBACK ends it";
    /// A command that a transaction cannot isolate, or that waits.
    NOT_IN_TXN = "ERR not possible in an interactive transaction";
    /// A command that only locks can isolate.
    NEEDS_LOCKS = "ERR possible in a PESSIMISTIC transaction only";
    /// `TXN ROLLBACK TO SAVEPOINT` without one.
    NO_SAVEPOINT = "ERR the transaction has no savepoint";
    /// A transaction that was idle for too long.
    TXN_IDLE = "TIMEOUT the transaction was idle for longer than txn-idle-timeout and is rolled back";
    /// Too many connections.
    TOO_MANY_CLIENTS = "ERR max number of clients reached";
}

/// The command does not exist. Shows the beginning of its arguments, as Redis does.
pub fn unknown_command<'a>(name: &[u8], args: impl Iterator<Item = &'a [u8]>) -> ReplyError {
    let mut shown = String::new();
    for arg in args {
        if shown.len() >= PREVIEW_BYTES_MAX {
            break;
        }
        shown.push('\'');
        shown.push_str(&preview(arg, PREVIEW_BYTES_MAX.saturating_sub(shown.len() - 1)));
        shown.push_str("' ");
    }
    let name = preview(name, PREVIEW_BYTES_MAX);
    ReplyError::composed(format!("ERR unknown command '{name}', with args beginning with: {shown}"))
}

/// The command has subcommands, but not this one.
pub fn unknown_subcommand(command: &str, subcommand: &[u8]) -> ReplyError {
    let shown = preview(subcommand, PREVIEW_BYTES_MAX);
    let upper = command.to_ascii_uppercase();
    ReplyError::composed(format!("ERR unknown subcommand '{shown}'. Try {upper} HELP."))
}

/// The subcommand exists, but not with these arguments.
pub fn subcommand_syntax(command: &str, subcommand: &[u8]) -> ReplyError {
    let shown = preview(subcommand, PREVIEW_BYTES_MAX);
    let upper = command.to_ascii_uppercase();
    ReplyError::composed(format!(
        "ERR unknown subcommand or wrong number of arguments for '{shown}'. Try {upper} HELP."
    ))
}

/// Too few or too many arguments, or an odd end of `MSET` and `HSET`. `name` is the full one: `get`, `client|id`.
#[must_use]
pub fn wrong_arity(name: &str) -> ReplyError {
    ReplyError::composed(format!("ERR wrong number of arguments for '{name}' command"))
}

/// An expiry that is zero, negative or overflows.
#[must_use]
pub fn invalid_expire(command: &str) -> ReplyError {
    ReplyError::composed(format!("ERR invalid expire time in '{command}' command"))
}

/// An option that `EXPIRE` does not know.
#[must_use]
pub fn unsupported_option(option: &[u8]) -> ReplyError {
    ReplyError::composed(format!("ERR Unsupported option {}", preview(option, PREVIEW_BYTES_MAX)))
}

/// An option that `HELLO` does not know.
#[must_use]
pub fn hello_option(option: &[u8]) -> ReplyError {
    let shown = preview(option, PREVIEW_BYTES_MAX);
    ReplyError::composed(format!("ERR Syntax error in HELLO option '{shown}'"))
}

/// A setting that `CONFIG SET` does not know or cannot change.
#[must_use]
pub fn config_set(parameter: &[u8], why: &str) -> ReplyError {
    let shown = preview(parameter, PREVIEW_BYTES_MAX);
    ReplyError::composed(format!("ERR CONFIG SET failed (possibly related to argument '{shown}') - {why}"))
}

/// `EXEC` with arguments.
#[must_use]
pub fn exec_abort(because: &ReplyError) -> ReplyError {
    let because = because.text().strip_prefix("ERR ").unwrap_or_else(|| because.text());
    ReplyError::composed(format!("EXECABORT Transaction discarded because of: {because}"))
}

/// A command in a transaction that is over: `why` is what ended it.
#[must_use]
pub fn txn_is_over(why: &ReplyError) -> ReplyError {
    ReplyError::composed(format!(
        "ABORTED the transaction is rolled back; TXN ROLLBACK ends it. It ended by: {why}"
    ))
}

/// A transaction waited for a lock for so long.
#[must_use]
pub fn lock_timeout(waited_ms: u128) -> ReplyError {
    ReplyError::composed(format!(
        "LOCKTIMEOUT others held what this command needs for longer than {waited_ms} ms; it did nothing"
    ))
}

/// R11: the write may or may not have happened.
#[must_use]
pub fn outcome_unknown(why: &str) -> ReplyError {
    ReplyError::composed(format!("OUTCOMEUNKNOWN the write may or may not have happened: {why}"))
}

/// The store has stopped on evidence: `ROLLBACK`, `TAMPERED` or `SECONDCOPY`.
#[must_use]
pub fn stopped(evidence: &str, detail: &str) -> ReplyError {
    ReplyError::composed(format!("STOPPED {evidence} {detail}"))
}

/// A session asks for a level below what the store allows.
#[must_use]
pub fn level_below_minimum(asked: Level, minimum: Level) -> ReplyError {
    ReplyError::composed(format!("ERR level '{asked}' is below the store's minimum '{minimum}'"))
}

/// A word that names no level.
#[must_use]
pub fn unknown_level(word: &[u8]) -> ReplyError {
    let shown = preview(word, PREVIEW_BYTES_MAX);
    ReplyError::composed(format!("ERR '{shown}' is not a level; use buffered, durable or fresh"))
}

/// Bytes of a client as they may stand in a line of text: valid text, no line ends, cut.
pub(crate) fn preview(bytes: &[u8], bytes_max: usize) -> String {
    let cut = bytes.get(..bytes.len().min(bytes_max)).unwrap_or_default();
    String::from_utf8_lossy(cut).replace(['\r', '\n', '\0'], " ")
}

/// As in Redis.
const PREVIEW_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use ringfort_base::EvidenceKind;

    #[test]
    fn failures_of_the_store_have_their_codes() {
        let table = [
            (ErrorKind::OutcomeUnknown, "OUTCOMEUNKNOWN the write may or may not have happened: why"),
            (ErrorKind::Stopped, "STOPPED why"),
            (ErrorKind::Exhausted, "OOM why"),
            (ErrorKind::Busy, "TRYAGAIN why"),
            (ErrorKind::Timeout, "TRYAGAIN why"),
            (ErrorKind::Conflict, "CONFLICT why"),
            (ErrorKind::Deadlock, "DEADLOCK why"),
            (ErrorKind::LockTimeout, "LOCKTIMEOUT why"),
            (ErrorKind::Refused, "NOPERM why"),
            (ErrorKind::Invalid, "ERR why"),
            (ErrorKind::Io, "ERR why"),
            (ErrorKind::Internal, "ERR why"),
        ];
        for (kind, expected) in table {
            assert_eq!(ReplyError::from(Error::new(kind, "why")).text(), expected);
        }
    }

    #[test]
    fn evidence_stops_and_names_itself() {
        let table = [
            (EvidenceKind::Rollback, "STOPPED ROLLBACK rollback: wal/1 at 7: older"),
            (EvidenceKind::Fork, "STOPPED ROLLBACK fork: wal/1 at 7: older"),
            (EvidenceKind::BadSeal, "STOPPED TAMPERED bad seal: wal/1 at 7: older"),
            (EvidenceKind::SecondCopy, "STOPPED SECONDCOPY second copy: wal/1 at 7: older"),
        ];
        for (kind, expected) in table {
            let error = ReplyError::from(Error::evidence(kind, "wal/1", 7, "older"));
            assert_eq!((error.text(), error.code()), (expected, "STOPPED"));
        }
    }

    #[test]
    fn words_of_clients_are_cut_and_tamed() {
        assert_eq!(unsupported_option(b"a\r\nb\0").text(), "ERR Unsupported option a  b ");
        assert_eq!(unknown_level(&[b'x'; 500]).text().matches('x').count(), 128);
        assert_eq!(wrong_arity("mset").text(), "ERR wrong number of arguments for 'mset' command");
        assert_eq!(
            level_below_minimum(Level::Buffered, Level::Fresh).text(),
            "ERR level 'buffered' is below the store's minimum 'fresh'"
        );
    }
}
