//! `SET`, `GETEX`, `SETEX` and the `EXPIRE` family: conditions and times.
//!
//! Times of day come in as an argument (`now_ms`): nothing here has a clock.

use super::is;
use crate::front::resp::error::{self, ReplyError};
use crate::front::resp::number::integer;

/// The unit in which a time is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeUnit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// A positive time at which a key shall expire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deadline {
    /// So many milliseconds from now.
    InMs(i64),
    /// At this Unix time in milliseconds.
    AtMs(i64),
}

impl Deadline {
    /// The Unix time in milliseconds. `command` is the name that an overflow is blamed on.
    pub fn unix_ms(self, now_ms: i64, command: &str) -> Result<i64, ReplyError> {
        match self {
            Self::AtMs(at) => Ok(at),
            Self::InMs(after) => after.checked_add(now_ms).ok_or_else(|| error::invalid_expire(command)),
        }
    }

    fn new(value: &[u8], kind: Kind, command: &str) -> Result<Self, ReplyError> {
        let value = integer(value)?;
        if value <= 0 {
            return Err(error::invalid_expire(command));
        }
        let scaled = |value: i64| value.checked_mul(1000).ok_or_else(|| error::invalid_expire(command));
        Ok(match kind {
            Kind::Ex => Self::InMs(scaled(value)?),
            Kind::Px => Self::InMs(value),
            Kind::ExAt => Self::AtMs(scaled(value)?),
            Kind::PxAt => Self::AtMs(value),
        })
    }
}

/// What `SET` does to the expiry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SetExpiry {
    /// Takes it away.
    #[default]
    Clear,
    /// Leaves it (`KEEPTTL`).
    Keep,
    /// Sets it.
    Set(Deadline),
}

/// The options of `SET`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SetOptions {
    /// Only if the key does not exist.
    pub nx: bool,
    /// Only if the key exists.
    pub xx: bool,
    /// Answer the old value.
    pub get: bool,
    /// What happens to the expiry.
    pub expiry: SetExpiry,
}

/// What `GETEX` does to the expiry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum GetExExpiry {
    /// Leaves it.
    #[default]
    Keep,
    /// Takes it away (`PERSIST`).
    Persist,
    /// Sets it.
    Set(Deadline),
}

/// The conditions of the `EXPIRE` family.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ExpireConditions {
    /// Only if the key has no expiry.
    pub nx: bool,
    /// Only if the key has an expiry.
    pub xx: bool,
    /// Only if the new expiry is later; none counts as infinitely late.
    pub gt: bool,
    /// Only if the new expiry is earlier.
    pub lt: bool,
}

impl ExpireConditions {
    /// Whether `new_ms` may take the place of `current_ms`.
    #[must_use]
    pub const fn allow(self, current_ms: Option<i64>, new_ms: i64) -> bool {
        match current_ms {
            None => !self.xx && !self.gt,
            Some(current) => {
                let refused = self.nx || (self.gt && new_ms <= current) || (self.lt && new_ms >= current);
                !refused
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ex,
    Px,
    ExAt,
    PxAt,
}

fn kind(word: &[u8]) -> Option<Kind> {
    let table = [("ex", Kind::Ex), ("px", Kind::Px), ("exat", Kind::ExAt), ("pxat", Kind::PxAt)];
    table.into_iter().find(|(name, _)| is(word, name)).map(|(_, kind)| kind)
}

/// A time option seen so far: repeating one is fine (the last counts), mixing two is not.
fn take_time<'a>(
    seen: &mut Option<(Kind, &'a [u8])>,
    kind: Kind,
    value: Option<&'a [u8]>,
) -> Result<(), ReplyError> {
    match (*seen, value) {
        (Some((other, _)), _) if other != kind => Err(error::SYNTAX),
        (_, None) => Err(error::SYNTAX),
        (_, Some(value)) => {
            *seen = Some((kind, value));
            Ok(())
        }
    }
}

/// The options behind `SET key value`.
pub fn set<'a>(args: impl IntoIterator<Item = &'a [u8]>) -> Result<SetOptions, ReplyError> {
    let mut options = SetOptions::default();
    let mut keep = false;
    let mut time = None;
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        if is(arg, "nx") && !options.xx {
            options.nx = true;
        } else if is(arg, "xx") && !options.nx {
            options.xx = true;
        } else if is(arg, "get") {
            options.get = true;
        } else if is(arg, "keepttl") && time.is_none() {
            keep = true;
        } else if let Some(kind) = kind(arg)
            && !keep
        {
            take_time(&mut time, kind, args.next())?;
        } else {
            return Err(error::SYNTAX);
        }
    }
    if let Some((kind, value)) = time {
        options.expiry = SetExpiry::Set(Deadline::new(value, kind, "set")?);
    } else if keep {
        options.expiry = SetExpiry::Keep;
    }
    Ok(options)
}

/// The options behind `GETEX key`.
pub fn getex<'a>(args: impl IntoIterator<Item = &'a [u8]>) -> Result<GetExExpiry, ReplyError> {
    let mut persist = false;
    let mut time = None;
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        if is(arg, "persist") && time.is_none() {
            persist = true;
        } else if let Some(kind) = kind(arg)
            && !persist
        {
            take_time(&mut time, kind, args.next())?;
        } else {
            return Err(error::SYNTAX);
        }
    }
    match time {
        Some((kind, value)) => Ok(GetExExpiry::Set(Deadline::new(value, kind, "getex")?)),
        None if persist => Ok(GetExExpiry::Persist),
        None => Ok(GetExExpiry::Keep),
    }
}

/// The time of `SETEX key time value` (`Seconds`) and `PSETEX` (`Milliseconds`).
pub fn set_ex(time: &[u8], unit: TimeUnit) -> Result<Deadline, ReplyError> {
    match unit {
        TimeUnit::Seconds => Deadline::new(time, Kind::Ex, "setex"),
        TimeUnit::Milliseconds => Deadline::new(time, Kind::Px, "psetex"),
    }
}

/// The options behind `EXPIRE key time` and its kin.
pub fn expire_conditions<'a>(
    args: impl IntoIterator<Item = &'a [u8]>,
) -> Result<ExpireConditions, ReplyError> {
    let mut conditions = ExpireConditions::default();
    for arg in args {
        let slot = [
            ("nx", &mut conditions.nx),
            ("xx", &mut conditions.xx),
            ("gt", &mut conditions.gt),
            ("lt", &mut conditions.lt),
        ]
        .into_iter()
        .find(|(name, _)| is(arg, name));
        match slot {
            Some((_, flag)) => *flag = true,
            None => return Err(error::unsupported_option(arg)),
        }
    }
    let ExpireConditions { nx, xx, gt, lt } = conditions;
    if nx && (xx || gt || lt) {
        return Err(error::EXPIRE_NX_CONFLICT);
    }
    if gt && lt {
        return Err(error::EXPIRE_GT_LT_CONFLICT);
    }
    Ok(conditions)
}

/// The Unix time in milliseconds that `EXPIRE` and its kin name. May lie in the past, or before
/// 1970: the key then expires at once. `base_ms` is now for `EXPIRE` and `PEXPIRE`, and 0 for
/// the `…AT` forms.
pub fn expire_deadline_ms(
    time: &[u8],
    unit: TimeUnit,
    base_ms: i64,
    command: &str,
) -> Result<i64, ReplyError> {
    let time = integer(time)?;
    let time_ms = match unit {
        TimeUnit::Seconds => time.checked_mul(1000),
        TimeUnit::Milliseconds => Some(time),
    };
    time_ms.and_then(|time_ms| time_ms.checked_add(base_ms)).ok_or_else(|| error::invalid_expire(command))
}

#[cfg(test)]
mod tests {
    use super::super::split;
    use super::*;

    fn set_text(line: &str) -> Result<SetOptions, String> {
        set(split(line)).map_err(|error| error.text().to_owned())
    }

    #[test]
    fn set_options() {
        let expiry = |expiry| SetOptions { expiry, ..SetOptions::default() };
        let table = [
            ("", SetOptions::default()),
            ("ex 5", expiry(SetExpiry::Set(Deadline::InMs(5000)))),
            ("PX 5", expiry(SetExpiry::Set(Deadline::InMs(5)))),
            ("EXAT 5", expiry(SetExpiry::Set(Deadline::AtMs(5000)))),
            ("pxat 5", expiry(SetExpiry::Set(Deadline::AtMs(5)))),
            ("EX 5 EX 6", expiry(SetExpiry::Set(Deadline::InMs(6000)))),
            ("KEEPTTL", expiry(SetExpiry::Keep)),
            ("NX GET", SetOptions { nx: true, get: true, ..SetOptions::default() }),
            ("xx px 1", SetOptions { xx: true, ..expiry(SetExpiry::Set(Deadline::InMs(1))) }),
        ];
        for (line, expected) in table {
            assert_eq!(set_text(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn set_conflicts_are_syntax_errors() {
        let lines = [
            "NX XX",
            "XX NX",
            "EX 1 PX 1",
            "KEEPTTL EX 1",
            "EX 1 KEEPTTL",
            "EX",
            "foo",
            "PERSIST",
            "EXAT 1 EX 1",
            "EX x PX 1",
            "PXAT",
        ];
        for line in lines {
            assert_eq!(set_text(line), Err("ERR syntax error".to_owned()), "{line}");
        }
    }

    #[test]
    fn set_times_are_checked() {
        let invalid = "ERR invalid expire time in 'set' command";
        for line in ["EX 0", "PX -1", "EX 9223372036854775807", "EXAT 0", "PXAT -5"] {
            assert_eq!(set_text(line), Err(invalid.to_owned()), "{line}");
        }
        for line in ["EX a", "EX 1.5", "PX 99999999999999999999"] {
            assert_eq!(
                set_text(line),
                Err("ERR value is not an integer or out of range".to_owned()),
                "{line}"
            );
        }
        let late = Deadline::InMs(i64::MAX).unix_ms(1, "set").unwrap_err();
        assert_eq!(late.text(), invalid);
        assert_eq!(Deadline::InMs(5).unix_ms(10, "set"), Ok(15));
        assert_eq!(Deadline::AtMs(5).unix_ms(10, "set"), Ok(5));
        assert_eq!(
            set_ex(b"0", TimeUnit::Seconds).unwrap_err().text(),
            "ERR invalid expire time in 'setex' command"
        );
        assert_eq!(
            set_ex(b"-1", TimeUnit::Milliseconds).unwrap_err().text(),
            "ERR invalid expire time in 'psetex' command"
        );
    }

    #[test]
    fn getex_options() {
        assert_eq!(getex(split("")), Ok(GetExExpiry::Keep));
        assert_eq!(getex(split("persist")), Ok(GetExExpiry::Persist));
        assert_eq!(getex(split("EX 2")), Ok(GetExExpiry::Set(Deadline::InMs(2000))));
        for line in ["EX 1 PERSIST", "PERSIST EX 1", "NX", "KEEPTTL", "EX"] {
            assert_eq!(getex(split(line)), Err(error::SYNTAX), "{line}");
        }
        assert_eq!(getex(split("PX 0")).unwrap_err().text(), "ERR invalid expire time in 'getex' command");
    }

    #[test]
    fn expire_conditions_and_their_conflicts() {
        for line in ["NX XX", "nx gt", "LT NX", "NX XX GT LT"] {
            assert_eq!(expire_conditions(split(line)), Err(error::EXPIRE_NX_CONFLICT), "{line}");
        }
        assert_eq!(expire_conditions(split("GT LT")), Err(error::EXPIRE_GT_LT_CONFLICT));
        assert_eq!(expire_conditions(split("AB")).unwrap_err().text(), "ERR Unsupported option AB");
        let parse = |line| expire_conditions(split(line)).unwrap();
        let table = [
            ("", None, true),
            ("", Some(10), true),
            ("NX", None, true),
            ("NX", Some(10), false),
            ("XX", None, false),
            ("XX", Some(10), true),
            ("GT", None, false),
            ("GT", Some(4), true),
            ("GT", Some(5), false),
            ("LT", None, true),
            ("LT", Some(6), true),
            ("LT", Some(5), false),
            ("XX LT", None, false),
            ("XX GT", Some(4), true),
        ];
        for (line, current, expected) in table {
            assert_eq!(parse(line).allow(current, 5), expected, "{line} over {current:?}");
        }
    }

    #[test]
    fn expire_times() {
        let seconds = |time: &[u8]| expire_deadline_ms(time, TimeUnit::Seconds, 1000, "expire");
        assert_eq!(seconds(b"5"), Ok(6000));
        assert_eq!(seconds(b"-5"), Ok(-4000));
        assert_eq!(seconds(b"x"), Err(error::NOT_AN_INTEGER));
        let invalid = "ERR invalid expire time in 'expire' command";
        assert_eq!(seconds(b"9223372036854776").unwrap_err().text(), invalid);
        assert_eq!(seconds(b"-9223372036854776").unwrap_err().text(), invalid);
        let at_max = expire_deadline_ms(b"9223372036854775807", TimeUnit::Milliseconds, 1, "pexpire");
        assert_eq!(at_max.unwrap_err().text(), "ERR invalid expire time in 'pexpire' command");
    }
}
