//! # The commands, as data
//!
//! One table row per command and subcommand ([`table`]): name, arity, flags, where its keys
//! stand, and what `COMMAND DOCS` tells of it. A server dispatches on [`CommandId`]; nothing else
//! about a command is written down twice.
//!
//! [`resolve`] goes from a request to its row, or to the words of Redis's refusal. It allocates
//! only for refusals: names are looked up in an open-addressing table that the compiler builds.
//!
//! Arity counts the name: 2 is exactly one argument, -2 at least one.

pub mod reply;
pub mod table;

pub use reply::{docs_reply, help_reply, info_reply};
pub use table::{COMMANDS, CommandId};

use super::error::{self, ReplyError};
use super::request::Request;

/// What a command does and may do, as bits.
pub mod flags {
    /// Changes data.
    pub const WRITE: u32 = 1 << 0;
    /// Reads data and changes none.
    pub const READONLY: u32 = 1 << 1;
    /// May add data: refused when the byte budget is spent.
    pub const DENYOOM: u32 = 1 << 2;
    /// For operators.
    pub const ADMIN: u32 = 1 << 3;
    /// Not for scripts.
    pub const NOSCRIPT: u32 = 1 << 4;
    /// May wait.
    pub const BLOCKING: u32 = 1 << 5;
    /// Works while the store is being opened.
    pub const LOADING: u32 = 1 << 6;
    /// Works on a stale replica.
    pub const STALE: u32 = 1 << 7;
    /// Constant or logarithmic time.
    pub const FAST: u32 = 1 << 8;
    /// Allowed before authentication.
    pub const NO_AUTH: u32 = 1 << 9;
    /// Works while the server is busy.
    pub const ALLOW_BUSY: u32 = 1 << 10;
    /// Never goes to the slow log: what it carries out does.
    pub const SKIP_SLOWLOG: u32 = 1 << 11;
    /// Has subcommands. Not shown.
    pub const CONTAINER: u32 = 1 << 16;
    /// Category `@dangerous` without `admin`. Not shown.
    pub const DANGEROUS: u32 = 1 << 17;
    /// Category `@keyspace` outside the group `generic`. Not shown.
    pub const KEYSPACE: u32 = 1 << 18;
    /// Category `@connection` outside the group `connection`. Not shown.
    pub const CONNECTION: u32 = 1 << 19;
    /// Carries a secret: its arguments never go to the slow log. Not shown.
    pub const SECRET: u32 = 1 << 20;
    /// Not between MULTI and EXEC. Not shown.
    pub const NO_MULTI: u32 = 1 << 21;
    /// Not between MULTI and EXEC, nor in an interactive transaction: it is carried out at once, or refused.
    /// Not shown.
    pub const CONTROL: u32 = 1 << 22;
}

/// The group that `COMMAND DOCS` sorts a command into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// About this connection.
    Connection,
    /// About the server.
    Server,
    /// About keys of any type.
    Generic,
    /// About strings.
    String,
    /// About hashes.
    Hash,
    /// About transactions.
    Transactions,
}

impl Group {
    /// Redis's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Server => "server",
            Self::Generic => "generic",
            Self::String => "string",
            Self::Hash => "hash",
            Self::Transactions => "transactions",
        }
    }
}

/// One row of the table.
#[derive(Debug)]
pub struct Command {
    /// What a server dispatches on.
    pub id: CommandId,
    /// Lower case; of a subcommand with its container: `client|id`.
    pub name: &'static str,
    /// Number of arguments with the name; negative: at least.
    pub arity: i8,
    /// See [`flags`].
    pub flags: u32,
    /// Positions of the first and last key (negative: from the end) and the step between keys;
    /// all zero if there is none.
    pub keys: (i8, i8, i8),
    /// For `COMMAND DOCS`.
    pub group: Group,
    /// The version of Redis that brought it; of Ringfort for its own commands.
    pub since: &'static str,
    /// For `COMMAND DOCS`.
    pub complexity: &'static str,
    /// For `COMMAND DOCS` and `HELP`.
    pub summary: &'static str,
}

impl Command {
    /// Whether all bits of `mask` are set.
    #[must_use]
    pub const fn has(&self, mask: u32) -> bool {
        self.flags & mask == mask
    }

    /// Whether it changes data.
    #[must_use]
    pub const fn is_write(&self) -> bool {
        self.has(flags::WRITE)
    }

    /// Whether it stands behind a container's name.
    #[must_use]
    pub fn is_subcommand(&self) -> bool {
        self.name.contains('|')
    }

    /// Whether a request of `len` arguments, the name included, fits.
    #[must_use]
    pub fn check_arity(&self, len: usize) -> bool {
        let arity = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { len >= arity } else { len == arity }
    }

    /// The subcommands of a container.
    pub fn subcommands(&self) -> impl Iterator<Item = &'static Command> + Clone {
        let name = self.name;
        COMMANDS
            .iter()
            .filter(move |command| command.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('|')))
    }

    /// Positions of the keys in a request of `len` arguments.
    pub fn key_positions(&self, len: usize) -> impl Iterator<Item = usize> + use<> {
        let (first, last, step) = self.keys;
        let last = if last < 0 {
            len.saturating_sub(usize::from(last.unsigned_abs()))
        } else {
            usize::from(last.unsigned_abs()).min(len.saturating_sub(1))
        };
        let first = usize::from(first.unsigned_abs());
        let end = if first == 0 { 0 } else { last + 1 };
        (first..end).step_by(usize::from(step.unsigned_abs()).max(1))
    }
}

/// All commands that are not subcommands: what `COMMAND` lists and `COMMAND COUNT` counts.
pub fn top_level() -> impl Iterator<Item = &'static Command> + Clone {
    COMMANDS.iter().filter(|command| !command.is_subcommand())
}

/// The command of this name, in any case.
#[must_use]
pub fn lookup(name: &[u8]) -> Option<&'static Command> {
    // A bar separates containers from subcommands; nobody may send one.
    if name.contains(&b'|') { None } else { table::find(name, None) }
}

/// The subcommand of a container, in any case.
#[must_use]
pub fn lookup_subcommand(container: &Command, subcommand: &[u8]) -> Option<&'static Command> {
    if subcommand.contains(&b'|') { None } else { table::find(container.name.as_bytes(), Some(subcommand)) }
}

/// The command named as `COMMAND INFO` and `COMMAND DOCS` allow: `get`, `config|get`.
#[must_use]
pub fn lookup_full(name: &[u8]) -> Option<&'static Command> {
    table::find(name, None)
}

/// The row of a request, its number of arguments checked.
pub fn resolve(request: &Request) -> Result<&'static Command, ReplyError> {
    let name = request.name();
    let Some(command) = lookup(name) else {
        return Err(error::unknown_command(name, request.args_from(1)));
    };
    let command = match request.arg(1) {
        Some(subcommand) if command.has(flags::CONTAINER) => lookup_subcommand(command, subcommand)
            .ok_or_else(|| error::unknown_subcommand(command.name, subcommand))?,
        _ => command,
    };
    if command.check_arity(request.len()) { Ok(command) } else { Err(error::wrong_arity(command.name)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn refusal(args: &[&[u8]]) -> String {
        resolve(&Request::from_args(args)).unwrap_err().text().to_owned()
    }

    #[test]
    fn every_row_is_found_in_any_case_and_is_sound() {
        let mut names = HashSet::new();
        let mut ids = HashSet::new();
        for command in COMMANDS {
            assert!(names.insert(command.name), "{} twice", command.name);
            assert!(ids.insert(command.id), "{:?} twice", command.id);
            assert_eq!(lookup_full(command.name.as_bytes()).unwrap().id, command.id);
            let upper = command.name.to_ascii_uppercase();
            assert_eq!(lookup_full(upper.as_bytes()).unwrap().id, command.id);
            assert_eq!(command.id.command().name, command.name);
            assert_eq!(command.name, command.name.to_ascii_lowercase());
            assert_ne!(command.arity, 0);
            assert!(!(command.is_write() && command.has(flags::READONLY)), "{}", command.name);
            assert!(!command.has(flags::DENYOOM) || command.is_write(), "{}", command.name);
            assert!(command.summary.ends_with('.') && !command.complexity.is_empty());
            let (first, last, step) = command.keys;
            assert_eq!(first == 0, last == 0 && step == 0, "{}", command.name);
            if let Some((container, _)) = command.name.split_once('|') {
                assert!(lookup(container.as_bytes()).unwrap().has(flags::CONTAINER));
                assert!(lookup(command.name.as_bytes()).is_none(), "a bar cannot be sent");
            }
        }
        for container in top_level().filter(|command| command.has(flags::CONTAINER)) {
            assert!(container.subcommands().count() > 1, "{}", container.name);
        }
        assert_eq!(
            top_level().count() + COMMANDS.iter().filter(|c| c.is_subcommand()).count(),
            COMMANDS.len()
        );
    }

    /// The list that was asked for, and `SUBSTR`, the old name of `GETRANGE`.
    #[test]
    fn the_issue_list_is_complete() {
        let all = "hello auth client command info config ping echo select quit reset time level waitaof \
            get set getex getdel getset setnx setex psetex mget mset msetnx append strlen getrange setrange \
            incr incrby incrbyfloat decr decrby del unlink exists type ttl pttl expire pexpire expireat \
            pexpireat expiretime pexpiretime persist rename renamenx copy randomkey keys scan dbsize flushdb \
            flushall touch object memory slowlog hset hmset hget hmget hgetall hdel hexists hlen hkeys hvals \
            hincrby hincrbyfloat hsetnx hscan hstrlen range substr multi exec discard watch unwatch txn";
        let expected: HashSet<&str> = all.split_whitespace().collect();
        let have: HashSet<&str> = top_level().map(|command| command.name).collect();
        assert_eq!(expected, have);
    }

    #[test]
    fn refusals_are_redis_s() {
        let table: &[(&[&[u8]], &str)] = &[
            (&[b"foo"], "ERR unknown command 'foo', with args beginning with: "),
            (&[b"FOO", b"a", b"b"], "ERR unknown command 'FOO', with args beginning with: 'a' 'b' "),
            (&[b"foo", b"a\r\nb"], "ERR unknown command 'foo', with args beginning with: 'a  b' "),
            (&[b"get"], "ERR wrong number of arguments for 'get' command"),
            (&[b"GET", b"a", b"b"], "ERR wrong number of arguments for 'get' command"),
            (&[b"set", b"a"], "ERR wrong number of arguments for 'set' command"),
            (&[b"client"], "ERR wrong number of arguments for 'client' command"),
            (&[b"client", b"nope"], "ERR unknown subcommand 'nope'. Try CLIENT HELP."),
            (&[b"client", b"ID", b"x"], "ERR wrong number of arguments for 'client|id' command"),
            (&[b"client|id"], "ERR unknown command 'client|id', with args beginning with: "),
            (&[b""], "ERR unknown command '', with args beginning with: "),
        ];
        for (args, expected) in table {
            assert_eq!(refusal(args), *expected);
        }
        let long = vec![b'x'; 1000];
        let text = refusal(&[&long, &long, &long]);
        assert_eq!(text.len(), "ERR unknown command '', with args beginning with: ".len() + 128 + 131);
    }

    #[test]
    fn requests_resolve() {
        let table: &[(&[&[u8]], CommandId)] = &[
            (&[b"GeT", b"a"], CommandId::Get),
            (&[b"command"], CommandId::Command),
            (&[b"COMMAND", b"count"], CommandId::CommandCount),
            (&[b"client", b"no-evict", b"on"], CommandId::ClientNoEvict),
            (&[b"MSET", b"a", b"1", b"b", b"2"], CommandId::Mset),
        ];
        for (args, id) in table {
            assert_eq!(resolve(&Request::from_args(args)).unwrap().id, *id);
        }
    }

    #[test]
    fn keys_are_found() {
        let keys =
            |name: &str, len| lookup_full(name.as_bytes()).unwrap().key_positions(len).collect::<Vec<_>>();
        assert_eq!(keys("get", 2), [1]);
        assert_eq!(keys("set", 5), [1]);
        assert_eq!(keys("mget", 4), [1, 2, 3]);
        assert_eq!(keys("mset", 5), [1, 3]);
        assert_eq!(keys("rename", 3), [1, 2]);
        assert_eq!(keys("object|encoding", 3), [2]);
        assert_eq!(keys("ping", 2), [0_usize; 0]);
        assert_eq!(keys("mget", 1), [0_usize; 0]);
    }
}
