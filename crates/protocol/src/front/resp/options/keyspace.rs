//! Options of commands about many keys, keyspaces and the server's records.

use super::is;
use crate::front::resp::error::{self, ReplyError};
use crate::front::resp::number::{integer, parse_u64};

/// `SELECT` knows the keyspaces 0 to 15.
pub const DATABASES: i64 = 16;

/// The options of `SCAN` and `HSCAN`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scan<'a> {
    /// Only what matches; `None` also for `*`.
    pub pattern: Option<&'a [u8]>,
    /// How much work one call should do, at least 1.
    pub count: u64,
    /// Only keys of this type (`SCAN`).
    pub type_name: Option<&'a [u8]>,
    /// Fields without their values (`HSCAN`).
    pub no_values: bool,
}

/// The options of `COPY`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Copy {
    /// The target's keyspace, if it is another.
    pub db: Option<u8>,
    /// Whether an existing target is replaced.
    pub replace: bool,
}

/// The options of `RANGE start end`. Both are keys as they are, in byte order: the start is
/// included, the end is not, and an empty one is no bound. `REV` changes the order of the answer,
/// not the meaning of the bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Range {
    /// At most so many keys.
    pub limit: Option<u64>,
    /// From the last key to the first.
    pub reverse: bool,
}

/// The option of `FLUSHDB` and `FLUSHALL`. Both do the same here: a flush is a generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Flush {
    /// No word, or `SYNC`.
    #[default]
    Sync,
    /// `ASYNC`.
    Async,
}

/// A cursor: an unsigned 64-bit number.
pub fn cursor(arg: &[u8]) -> Result<u64, ReplyError> {
    parse_u64(arg).ok_or(error::INVALID_CURSOR)
}

/// The options behind `SCAN cursor`.
pub fn scan<'a>(args: impl IntoIterator<Item = &'a [u8]>) -> Result<Scan<'a>, ReplyError> {
    scan_options(args.into_iter(), false)
}

/// The options behind `HSCAN key cursor`.
pub fn hscan<'a>(args: impl IntoIterator<Item = &'a [u8]>) -> Result<Scan<'a>, ReplyError> {
    scan_options(args.into_iter(), true)
}

fn scan_options<'a>(mut args: impl Iterator<Item = &'a [u8]>, of_hash: bool) -> Result<Scan<'a>, ReplyError> {
    let mut options = Scan { pattern: None, count: SCAN_COUNT, type_name: None, no_values: false };
    while let Some(arg) = args.next() {
        if is(arg, "novalues") && of_hash {
            options.no_values = true;
            continue;
        }
        let value = args.next().ok_or(error::SYNTAX)?;
        if is(arg, "count") {
            let count = integer(value)?;
            options.count = u64::try_from(count).ok().filter(|count| *count > 0).ok_or(error::SYNTAX)?;
        } else if is(arg, "match") {
            options.pattern = Some(value).filter(|pattern| *pattern != b"*");
        } else if is(arg, "type") && !of_hash {
            options.type_name = Some(value);
        } else {
            return Err(error::SYNTAX);
        }
    }
    Ok(options)
}

/// The number of a keyspace.
pub fn db_index(arg: &[u8]) -> Result<u8, ReplyError> {
    let index = integer(arg)?;
    u8::try_from(index).ok().filter(|_| index < DATABASES).ok_or(error::DB_OUT_OF_RANGE)
}

/// The options behind `COPY source target`.
pub fn copy<'a>(args: impl IntoIterator<Item = &'a [u8]>) -> Result<Copy, ReplyError> {
    let mut options = Copy::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        if is(arg, "replace") {
            options.replace = true;
        } else if is(arg, "db") {
            options.db = Some(db_index(args.next().ok_or(error::SYNTAX)?)?);
        } else {
            return Err(error::SYNTAX);
        }
    }
    Ok(options)
}

/// The options behind `RANGE start end`.
pub fn range<'a>(args: impl IntoIterator<Item = &'a [u8]>) -> Result<Range, ReplyError> {
    let mut options = Range::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        if is(arg, "rev") {
            options.reverse = true;
        } else if is(arg, "limit") {
            options.limit = Some(count(args.next().ok_or(error::SYNTAX)?)?);
        } else {
            return Err(error::SYNTAX);
        }
    }
    Ok(options)
}

/// The options behind `FLUSHDB` and `FLUSHALL`.
pub fn flush<'a>(args: impl IntoIterator<Item = &'a [u8]>) -> Result<Flush, ReplyError> {
    let mut args = args.into_iter();
    let flush = match args.next() {
        None => Flush::Sync,
        Some(arg) if is(arg, "sync") => Flush::Sync,
        Some(arg) if is(arg, "async") => Flush::Async,
        Some(_) => return Err(error::SYNTAX),
    };
    if args.next().is_some() { Err(error::SYNTAX) } else { Ok(flush) }
}

/// The options behind `MEMORY USAGE key`: the number of samples (0: all), if given.
pub fn memory_usage<'a>(args: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<u64>, ReplyError> {
    let mut samples = None;
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        if !is(arg, "samples") {
            return Err(error::SYNTAX);
        }
        let value = integer(args.next().ok_or(error::SYNTAX)?)?;
        samples = Some(u64::try_from(value).map_err(|_| error::SYNTAX)?);
    }
    Ok(samples)
}

/// The option behind `SLOWLOG GET`: how many entries, newest first; `None` for all (-1).
pub fn slowlog_get<'a>(args: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<u64>, ReplyError> {
    let mut args = args.into_iter();
    let Some(arg) = args.next() else { return Ok(Some(SLOWLOG_COUNT)) };
    if args.next().is_some() {
        return Err(error::subcommand_syntax("slowlog", b"get"));
    }
    match integer(arg) {
        Ok(-1) => Ok(None),
        Ok(value) if value >= 0 => Ok(u64::try_from(value).ok()),
        _ => Err(SLOWLOG_RANGE),
    }
}

fn count(arg: &[u8]) -> Result<u64, ReplyError> {
    u64::try_from(integer(arg)?).map_err(|_| error::NOT_POSITIVE)
}

const SLOWLOG_RANGE: ReplyError = ReplyError::fixed("ERR count should be greater than or equal to -1");
/// As in Redis.
const SCAN_COUNT: u64 = 10;
/// As in Redis.
const SLOWLOG_COUNT: u64 = 10;

#[cfg(test)]
mod tests {
    use super::super::split;
    use super::*;

    #[test]
    fn scan_and_hscan() {
        let none = Scan { pattern: None, count: 10, type_name: None, no_values: false };
        assert_eq!(scan(split("")), Ok(none));
        assert_eq!(
            scan(split("match a* COUNT 5 type string")),
            Ok(Scan { pattern: Some(b"a*"), count: 5, type_name: Some(b"string"), ..none })
        );
        assert_eq!(scan(split("MATCH *")), Ok(none));
        assert_eq!(hscan(split("novalues count 1")), Ok(Scan { count: 1, no_values: true, ..none }));
        for line in ["MATCH", "COUNT 0", "COUNT -1", "foo 1", "NOVALUES", "count 1 match"] {
            assert_eq!(scan(split(line)), Err(error::SYNTAX), "{line}");
        }
        assert_eq!(hscan(split("type string")), Err(error::SYNTAX));
        assert_eq!(scan(split("COUNT x")), Err(error::NOT_AN_INTEGER));
        assert_eq!(cursor(b"18446744073709551615"), Ok(u64::MAX));
        for bad in [&b""[..], b"-1", b" 1", b"1x", b"18446744073709551616"] {
            assert_eq!(cursor(bad), Err(error::INVALID_CURSOR));
        }
    }

    #[test]
    fn copy_and_databases() {
        assert_eq!(copy(split("DB 3 REPLACE")), Ok(Copy { db: Some(3), replace: true }));
        assert_eq!(copy(split("")), Ok(Copy::default()));
        assert_eq!(copy(split("DB")), Err(error::SYNTAX));
        assert_eq!(copy(split("DB 16")), Err(error::DB_OUT_OF_RANGE));
        assert_eq!(copy(split("DB x")), Err(error::NOT_AN_INTEGER));
        assert_eq!(copy(split("foo")), Err(error::SYNTAX));
        assert_eq!(db_index(b"15"), Ok(15));
        for bad in [&b"-1"[..], b"16", b"256", b"9999999999"] {
            assert_eq!(db_index(bad), Err(error::DB_OUT_OF_RANGE));
        }
    }

    #[test]
    fn range_flush_memory_slowlog() {
        assert_eq!(range(split("REV limit 0")), Ok(Range { limit: Some(0), reverse: true }));
        assert_eq!(range(split("LIMIT -1")), Err(error::NOT_POSITIVE));
        assert_eq!(range(split("LIMIT")), Err(error::SYNTAX));
        assert_eq!(range(split("WITHVALUES")), Err(error::SYNTAX));
        assert_eq!(flush(split("")), Ok(Flush::Sync));
        assert_eq!(flush(split("async")), Ok(Flush::Async));
        assert_eq!(flush(split("now")), Err(error::SYNTAX));
        assert_eq!(flush(split("sync sync")), Err(error::SYNTAX));
        assert_eq!(memory_usage(split("SAMPLES 0")), Ok(Some(0)));
        assert_eq!(memory_usage(split("SAMPLES -1")), Err(error::SYNTAX));
        assert_eq!(memory_usage(split("SAMPLES")), Err(error::SYNTAX));
        assert_eq!(slowlog_get(split("")), Ok(Some(10)));
        assert_eq!(slowlog_get(split("-1")), Ok(None));
        assert_eq!(slowlog_get(split("0")), Ok(Some(0)));
        assert_eq!(slowlog_get(split("-2")), Err(SLOWLOG_RANGE));
    }
}
