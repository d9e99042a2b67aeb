//! `CONFIG GET` and `CONFIG SET`: the settings that Redis clients and tools ask for. What is sealed
//! in the store (level, mode, listeners: R17) can be seen and not set.

use super::arg;
use super::ctx::{Ctx, Done};
use crate::config::DATABASES;
use crate::server::Server;
use ringfort_protocol::front::resp::error::{SYNTAX, config_set};
use ringfort_protocol::front::resp::number::parse_i64;
use ringfort_protocol::front::resp::{ReplyError, Request, glob};
use std::sync::atomic::Ordering::Relaxed;

/// What can be seen.
const NAMES: &[&str] = &[
    "appendfsync",
    "appendonly",
    "databases",
    "maxclients",
    "maxmemory",
    "maxmemory-policy",
    "port",
    "proto-max-bulk-len",
    "ringfort-connection-memory",
    "ringfort-default-level",
    "ringfort-minimum-level",
    "ringfort-txn-idle-timeout-ms",
    "ringfort-txn-lock-timeout-ms",
    "ringfort-txn-memory",
    "save",
    "slowlog-log-slower-than",
    "slowlog-max-len",
    "timeout",
];

/// `CONFIG GET pattern...`.
pub(super) fn get(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let wanted =
        |name: &&&str| req.args_from(2).any(|pattern| glob::matches_ignoring_case(pattern, name.as_bytes()));
    let server = ctx.server;
    let mut reply = ctx.reply();
    reply.map(NAMES.iter().filter(wanted).count());
    for name in NAMES.iter().filter(wanted) {
        reply.bulk_text(name);
        reply.bulk_text(&value_of(server, name));
    }
    Ok(())
}

fn value_of(server: &Server, name: &str) -> String {
    let (config, settings) = (server.config(), server.settings());
    match name {
        // What tools ask "is it persistent?" with: the log is always on, and never skipped.
        "appendonly" => "yes".to_owned(),
        "appendfsync" => "always".to_owned(),
        "databases" => DATABASES.to_string(),
        "maxclients" => settings.maxclients.load(Relaxed).to_string(),
        "maxmemory" => "0".to_owned(),
        "maxmemory-policy" => "noeviction".to_owned(),
        "port" => config.port.to_string(),
        "proto-max-bulk-len" => server.string_bytes_max().to_string(),
        "ringfort-connection-memory" => config.connection_memory_bytes.to_string(),
        "ringfort-default-level" => config.default_level.max(config.minimum_level).to_string(),
        "ringfort-minimum-level" => config.minimum_level.to_string(),
        "ringfort-txn-idle-timeout-ms" => config.txn_idle_timeout.as_millis().to_string(),
        "ringfort-txn-lock-timeout-ms" => config.txn_lock_timeout.as_millis().to_string(),
        "ringfort-txn-memory" => config.txn_memory_bytes.to_string(),
        "slowlog-log-slower-than" => settings.slowlog_log_slower_than_us.load(Relaxed).to_string(),
        "slowlog-max-len" => settings.slowlog_max_len.load(Relaxed).to_string(),
        "timeout" => settings.timeout_s.load(Relaxed).to_string(),
        _ => String::new(),
    }
}

/// One setting that was understood.
enum Change {
    MaxClients(usize),
    TimeoutS(u64),
    SlowerThanUs(i64),
    SlowLogMaxLen(usize),
    Nothing,
}

/// `CONFIG SET name value ...`: all or none.
pub(super) fn set(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    if !req.len().is_multiple_of(2) {
        return Err(SYNTAX.into());
    }
    let mut changes = Vec::new();
    for at in (2..req.len()).step_by(2) {
        let (name, value) = (arg(req, at), arg(req, at + 1));
        if req.args_from(2).step_by(2).filter(|other| other.eq_ignore_ascii_case(name)).count() > 1 {
            return Err(config_set(name, "duplicate parameter").into());
        }
        changes.push(understand(name, value)?);
    }
    let settings = ctx.server.settings();
    for change in changes {
        match change {
            Change::MaxClients(n) => settings.maxclients.store(n, Relaxed),
            Change::TimeoutS(s) => settings.timeout_s.store(s, Relaxed),
            Change::SlowerThanUs(us) => settings.slowlog_log_slower_than_us.store(us, Relaxed),
            Change::SlowLogMaxLen(n) => settings.slowlog_max_len.store(n, Relaxed),
            Change::Nothing => {}
        }
    }
    ctx.reply().ok();
    Ok(())
}

fn understand(name: &[u8], value: &[u8]) -> Result<Change, ReplyError> {
    let lower = name.to_ascii_lowercase();
    let number = |min: i64, max: i64| {
        let wrong = || config_set(name, &format!("argument must be between {min} and {max} inclusive"));
        let n = parse_i64(value)
            .ok_or_else(|| config_set(name, "argument couldn't be parsed into an integer"))?;
        if (min..=max).contains(&n) { Ok(n) } else { Err(wrong()) }
    };
    Ok(match lower.as_slice() {
        b"maxclients" => Change::MaxClients(number(1, 1_000_000)? as usize),
        b"timeout" => Change::TimeoutS(number(0, i64::from(i32::MAX))? as u64),
        b"slowlog-log-slower-than" => Change::SlowerThanUs(number(-1, i64::MAX)?),
        b"slowlog-max-len" => Change::SlowLogMaxLen(number(0, 1_000_000)? as usize),
        // Test suites and tools switch Redis's snapshots off: there are none.
        b"save" if value.is_empty() => Change::Nothing,
        b"save" => return Err(config_set(name, "there are no snapshots: every write is logged")),
        b"appendonly" if value.eq_ignore_ascii_case(b"yes") => Change::Nothing,
        b"appendonly" => return Err(config_set(name, "the log cannot be switched off; see LEVEL")),
        _ if NAMES.iter().any(|known| known.as_bytes() == lower) => {
            return Err(config_set(name, "can't set immutable config"));
        }
        _ => {
            let shown = String::from_utf8_lossy(name.get(..name.len().min(128)).unwrap_or_default());
            let text = format!("ERR Unknown option or number of arguments for CONFIG SET - '{shown}'");
            return Err(ReplyError::composed(text));
        }
    })
}
