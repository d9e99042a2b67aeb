//! Options of `TXN`.

use ringfort_base::Level;

use super::is;
use crate::front::resp::error::{self, ReplyError};
use crate::front::resp::number::parse_i64;

/// How a transaction keeps others away.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Kind {
    /// By locks.
    #[default]
    Pessimistic,
    /// By a check when it commits.
    Optimistic,
    /// It only reads.
    Snapshot,
}

impl Kind {
    /// As a client says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pessimistic => "pessimistic",
            Self::Optimistic => "optimistic",
            Self::Snapshot => "snapshot",
        }
    }
}

/// `[PESSIMISTIC|OPTIMISTIC|SNAPSHOT] [LEVEL level] [TIMEOUT milliseconds]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TxnBegin {
    /// How it keeps others away.
    pub kind: Kind,
    /// What its replies wait for; the session's level if not said.
    pub level: Option<Level>,
    /// How long a command waits for locks, milliseconds; the server's setting if not said.
    pub timeout_ms: Option<u64>,
}

/// The arguments behind `TXN BEGIN`.
pub fn txn_begin<'a>(args: impl IntoIterator<Item = &'a [u8]>) -> Result<TxnBegin, ReplyError> {
    let mut begin = TxnBegin::default();
    let mut kind = None;
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let known = [Kind::Pessimistic, Kind::Optimistic, Kind::Snapshot];
        if let Some(named) = known.into_iter().find(|kind| is(arg, kind.name())) {
            if kind.replace(named).is_some() {
                return Err(error::SYNTAX);
            }
        } else if is(arg, "level") && begin.level.is_none() {
            let word = args.next().ok_or(error::SYNTAX)?;
            let level = std::str::from_utf8(word).ok().and_then(|word| word.parse().ok());
            begin.level = Some(level.ok_or_else(|| error::unknown_level(word))?);
        } else if is(arg, "timeout") && begin.timeout_ms.is_none() {
            let ms = parse_i64(args.next().ok_or(error::SYNTAX)?).ok_or(error::NOT_AN_INTEGER)?;
            let ms = u64::try_from(ms).map_err(|_| error::NEGATIVE_TIMEOUT)?;
            begin.timeout_ms = Some(ms);
        } else {
            return Err(error::SYNTAX);
        }
    }
    begin.kind = kind.unwrap_or_default();
    Ok(begin)
}

/// The arguments behind `TXN ROLLBACK`: whether it goes `TO SAVEPOINT`.
pub fn txn_rollback<'a>(args: impl IntoIterator<Item = &'a [u8]>) -> Result<bool, ReplyError> {
    let mut args = args.into_iter();
    match (args.next(), args.next(), args.next()) {
        (None, ..) => Ok(false),
        (Some(to), Some(savepoint), None) if is(to, "to") && is(savepoint, "savepoint") => Ok(true),
        _ => Err(error::SYNTAX),
    }
}

#[cfg(test)]
mod tests {
    use super::super::split;
    use super::*;

    #[test]
    fn options_come_in_any_order_and_once() {
        assert_eq!(txn_begin(split("")), Ok(TxnBegin::default()));
        let all = TxnBegin { kind: Kind::Optimistic, level: Some(Level::Durable), timeout_ms: Some(5) };
        assert_eq!(txn_begin(split("timeout 5 OPTIMISTIC level durable")), Ok(all));
        for wrong in ["optimistic snapshot", "level fresh level fresh", "level", "timeout 1 timeout 1", "x"] {
            assert_eq!(txn_begin(split(wrong)), Err(error::SYNTAX), "{wrong}");
        }
        assert_eq!(txn_begin(split("timeout x")), Err(error::NOT_AN_INTEGER));
        assert_eq!(txn_begin(split("timeout -1")), Err(error::NEGATIVE_TIMEOUT));
        assert_eq!(txn_begin(split("level x")), Err(error::unknown_level(b"x")));
        assert_eq!(txn_rollback(split("")), Ok(false));
        assert_eq!(txn_rollback(split("to savepoint")), Ok(true));
        assert_eq!(txn_rollback(split("to")), Err(error::SYNTAX));
    }
}
