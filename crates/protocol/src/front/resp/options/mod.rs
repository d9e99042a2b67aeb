//! # Options: the part of a command that is more than its arguments' positions
//!
//! Pure functions from the arguments **behind the fixed ones** to typed values, or to the words
//! of Redis's refusal. `SET key value EX 5` is `options::set(request.args_from(3))`.
//!
//! Order of refusals is Redis's: the options' grammar first, then the numbers in them.

mod connection;
mod expiry;
mod keyspace;
mod transaction;

pub use connection::{
    ClientCommand, ClientType, Hello, KillFilter, ReplyMode, SetInfo, auth, check_client_name, client, hello,
    level, wait_aof,
};
pub use expiry::{
    Deadline, ExpireConditions, GetExExpiry, SetExpiry, SetOptions, TimeUnit, expire_conditions,
    expire_deadline_ms, getex, set, set_ex,
};
pub use keyspace::{
    Copy, DATABASES, Flush, Range, Scan, copy, cursor, db_index, flush, hscan, memory_usage, range, scan,
    slowlog_get,
};

pub use transaction::{Kind as TxnKind, TxnBegin, txn_begin, txn_rollback};

/// Whether an argument is this word, in any case.
fn is(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}

#[cfg(test)]
fn split(line: &str) -> Vec<&[u8]> {
    line.split_ascii_whitespace().map(str::as_bytes).collect()
}
