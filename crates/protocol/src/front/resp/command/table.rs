//! The rows, and the table by which they are found.

use super::flags::{
    ADMIN, ALLOW_BUSY, BLOCKING, CONNECTION, CONTAINER, CONTROL, DANGEROUS, DENYOOM, FAST, KEYSPACE, LOADING,
    NO_AUTH, NO_MULTI, NOSCRIPT, READONLY, SECRET, SKIP_SLOWLOG, STALE, WRITE,
};
use super::{Command, Group};

macro_rules! commands {
    ($($id:ident $name:literal $arity:literal [$($flag:ident)*] $keys:tt $group:ident $since:literal
       $complexity:literal $summary:literal;)*) => {
        /// What a server dispatches on: one for each command and subcommand.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum CommandId {
            $(#[doc = $summary] $id,)*
        }

        /// All rows, subcommands included, in the order of [`CommandId`].
        pub const COMMANDS: &[Command] = &[$(Command {
            id: CommandId::$id,
            name: $name,
            arity: $arity,
            flags: 0 $(| $flag)*,
            keys: $keys,
            group: Group::$group,
            since: $since,
            complexity: $complexity,
            summary: $summary,
        },)*];
    };
}

impl CommandId {
    /// The row of this command.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "the macro makes one row for each id, in the same order")]
    pub const fn command(self) -> &'static Command {
        &COMMANDS[self as usize]
    }
}

#[rustfmt::skip]
commands! {
    // This connection.
    Hello "hello" -1 [NOSCRIPT LOADING STALE FAST NO_AUTH ALLOW_BUSY SECRET] (0, 0, 0) Connection "6.0.0" "O(1)"
        "Agrees on the protocol version, optionally authenticating and naming the connection.";
    Auth "auth" -2 [NOSCRIPT LOADING STALE FAST NO_AUTH ALLOW_BUSY SECRET] (0, 0, 0) Connection "1.0.0" "O(1)"
        "Authenticates the connection.";
    Ping "ping" -1 [FAST] (0, 0, 0) Connection "1.0.0" "O(1)"
        "Answers PONG, or the given message.";
    Echo "echo" 2 [LOADING STALE FAST] (0, 0, 0) Connection "1.0.0" "O(1)"
        "Answers the given message.";
    Select "select" 2 [LOADING STALE FAST] (0, 0, 0) Connection "1.0.0" "O(1)"
        "Chooses the keyspace (0-15) that later commands use.";
    Quit "quit" -1 [ALLOW_BUSY NOSCRIPT LOADING STALE FAST NO_AUTH CONTROL] (0, 0, 0) Connection "1.0.0" "O(1)"
        "Closes the connection.";
    Reset "reset" 1 [NOSCRIPT LOADING STALE FAST NO_AUTH ALLOW_BUSY CONTROL] (0, 0, 0) Connection "6.2.0" "O(1)"
        "Puts the connection back to its initial state.";
    Level "level" -1 [NOSCRIPT LOADING STALE FAST NO_MULTI] (0, 0, 0) Connection "0.1.0" "O(1)"
        "Ringfort: shows or sets how safe writes of this session must be before they are answered.";
    Client "client" -2 [CONTAINER] (0, 0, 0) Connection "2.4.0" "Depends on subcommand."
        "Commands about client connections.";
    ClientHelp "client|help" 2 [LOADING STALE] (0, 0, 0) Connection "5.0.0" "O(1)"
        "Lists the subcommands.";
    ClientId "client|id" 2 [NOSCRIPT LOADING STALE] (0, 0, 0) Connection "5.0.0" "O(1)"
        "Shows the id of this connection.";
    ClientInfo "client|info" 2 [NOSCRIPT LOADING STALE] (0, 0, 0) Connection "6.2.0" "O(1)"
        "Describes this connection.";
    ClientList "client|list" -2 [ADMIN NOSCRIPT LOADING STALE] (0, 0, 0) Connection "2.4.0"
        "O(N) where N is the number of connections" "Describes all connections.";
    ClientKill "client|kill" -3 [ADMIN NOSCRIPT LOADING STALE] (0, 0, 0) Connection "2.4.0"
        "O(N) where N is the number of connections" "Closes connections.";
    ClientSetName "client|setname" 3 [NOSCRIPT LOADING STALE] (0, 0, 0) Connection "2.6.9" "O(1)"
        "Names this connection.";
    ClientGetName "client|getname" 2 [NOSCRIPT LOADING STALE] (0, 0, 0) Connection "2.6.9" "O(1)"
        "Shows the name of this connection.";
    ClientSetInfo "client|setinfo" 4 [NOSCRIPT LOADING STALE] (0, 0, 0) Connection "7.2.0" "O(1)"
        "Records the name or version of the client library.";
    ClientNoEvict "client|no-evict" 3 [ADMIN NOSCRIPT LOADING STALE] (0, 0, 0) Connection "7.0.0" "O(1)"
        "Accepted for compatibility: connections are not evicted.";
    ClientNoTouch "client|no-touch" 3 [NOSCRIPT LOADING STALE] (0, 0, 0) Connection "7.2.0" "O(1)"
        "Sets whether reads of this connection count as accesses.";
    ClientReply "client|reply" 3 [NOSCRIPT LOADING STALE NO_MULTI] (0, 0, 0) Connection "3.2.0" "O(1)"
        "Turns replies on, off, or off for one command.";

    // Transactions.
    Multi "multi" 1 [NOSCRIPT LOADING STALE FAST ALLOW_BUSY CONTROL] (0, 0, 0) Transactions "1.2.0" "O(1)"
        "Queues the commands that follow, to be carried out as one step by EXEC.";
    Exec "exec" 1 [NOSCRIPT LOADING STALE SKIP_SLOWLOG CONTROL] (0, 0, 0) Transactions "1.2.0"
        "Depends on the commands in the transaction" "Carries out all queued commands as one step.";
    Discard "discard" 1 [NOSCRIPT LOADING STALE FAST ALLOW_BUSY CONTROL] (0, 0, 0) Transactions "2.0.0"
        "O(N) where N is the number of queued commands" "Forgets the queued commands.";
    Watch "watch" -2 [NOSCRIPT LOADING STALE FAST ALLOW_BUSY CONTROL] (1, -1, 1) Transactions "2.2.0"
        "O(1) for every key" "Lets EXEC do nothing if one of the keys is changed before.";
    Unwatch "unwatch" 1 [NOSCRIPT LOADING STALE FAST ALLOW_BUSY] (0, 0, 0) Transactions "2.2.0" "O(1)"
        "Forgets the watched keys.";
    Txn "txn" -2 [CONTAINER] (0, 0, 0) Transactions "0.1.0" "Depends on subcommand."
        "Ringfort: interactive transactions.";
    TxnBegin "txn|begin" -2 [NOSCRIPT CONTROL] (0, 0, 0) Transactions "0.1.0" "O(1)"
        "Begins a transaction: [PESSIMISTIC|OPTIMISTIC|SNAPSHOT] [LEVEL level] [TIMEOUT milliseconds].";
    TxnCommit "txn|commit" 2 [NOSCRIPT CONTROL] (0, 0, 0) Transactions "0.1.0"
        "O(N) where N is the number of writes" "Makes all that the transaction wrote visible, as one step.";
    TxnRollback "txn|rollback" -2 [NOSCRIPT CONTROL] (0, 0, 0) Transactions "0.1.0"
        "O(N) where N is the number of writes" "Ends the transaction without a trace; TO SAVEPOINT: back to the newest savepoint.";
    TxnSavepoint "txn|savepoint" 2 [NOSCRIPT CONTROL] (0, 0, 0) Transactions "0.1.0" "O(1)"
        "Marks where TXN ROLLBACK TO SAVEPOINT goes back to.";
    TxnStatus "txn|status" 2 [NOSCRIPT CONTROL] (0, 0, 0) Transactions "0.1.0" "O(1)"
        "Shows the transaction of this connection.";
    TxnHelp "txn|help" 2 [LOADING STALE CONTROL] (0, 0, 0) Transactions "0.1.0" "O(1)"
        "Lists the subcommands.";

    // The server.
    Command "command" -1 [LOADING STALE CONTAINER CONNECTION] (0, 0, 0) Server "2.8.13"
        "O(N) where N is the number of commands" "Describes all commands.";
    CommandCount "command|count" 2 [LOADING STALE CONNECTION] (0, 0, 0) Server "2.8.13" "O(1)"
        "Counts the commands.";
    CommandDocs "command|docs" -2 [LOADING STALE CONNECTION] (0, 0, 0) Server "7.0.0"
        "O(N) where N is the number of commands" "Documents one, several or all commands.";
    CommandHelp "command|help" 2 [LOADING STALE CONNECTION] (0, 0, 0) Server "5.0.0" "O(1)"
        "Lists the subcommands.";
    CommandInfo "command|info" -2 [LOADING STALE CONNECTION] (0, 0, 0) Server "2.8.13"
        "O(N) where N is the number of commands" "Describes one, several or all commands.";
    Info "info" -1 [LOADING STALE DANGEROUS] (0, 0, 0) Server "1.0.0" "O(1)"
        "Shows facts and statistics of the server.";
    Config "config" -2 [CONTAINER] (0, 0, 0) Server "2.0.0" "Depends on subcommand."
        "Commands about settings.";
    ConfigGet "config|get" -3 [ADMIN NOSCRIPT LOADING STALE] (0, 0, 0) Server "2.0.0"
        "O(N) where N is the number of patterns" "Shows the settings that match patterns.";
    ConfigHelp "config|help" 2 [LOADING STALE] (0, 0, 0) Server "5.0.0" "O(1)"
        "Lists the subcommands.";
    ConfigResetStat "config|resetstat" 2 [ADMIN NOSCRIPT LOADING STALE] (0, 0, 0) Server "2.0.0" "O(1)"
        "Sets statistics to zero.";
    ConfigSet "config|set" -4 [ADMIN NOSCRIPT LOADING STALE SECRET] (0, 0, 0) Server "2.0.0"
        "O(N) where N is the number of settings" "Changes settings that may change at run time.";
    Time "time" 1 [LOADING STALE FAST] (0, 0, 0) Server "2.6.0" "O(1)"
        "Shows the server's time.";
    DbSize "dbsize" 1 [READONLY FAST KEYSPACE] (0, 0, 0) Server "1.0.0" "O(1)"
        "Counts the keys of the keyspace.";
    FlushDb "flushdb" -1 [WRITE KEYSPACE DANGEROUS] (0, 0, 0) Server "1.0.0" "O(1)"
        "Deletes all keys of the keyspace.";
    FlushAll "flushall" -1 [WRITE KEYSPACE DANGEROUS] (0, 0, 0) Server "1.0.0"
        "O(N) where N is the number of keyspaces" "Deletes all keys of all keyspaces.";
    Memory "memory" -2 [CONTAINER] (0, 0, 0) Server "4.0.0" "Depends on subcommand."
        "Commands about memory.";
    MemoryHelp "memory|help" 2 [LOADING STALE] (0, 0, 0) Server "4.0.0" "O(1)"
        "Lists the subcommands.";
    MemoryUsage "memory|usage" -3 [READONLY] (2, 2, 1) Server "4.0.0"
        "O(N) where N is the number of samples" "Estimates the bytes that a key takes.";
    SlowLog "slowlog" -2 [CONTAINER] (0, 0, 0) Server "2.2.12" "Depends on subcommand."
        "Commands about the log of slow commands.";
    SlowLogGet "slowlog|get" -2 [ADMIN LOADING STALE] (0, 0, 0) Server "2.2.12"
        "O(N) where N is the number of entries" "Shows entries of the slow log.";
    SlowLogHelp "slowlog|help" 2 [LOADING STALE] (0, 0, 0) Server "6.2.0" "O(1)"
        "Lists the subcommands.";
    SlowLogLen "slowlog|len" 2 [ADMIN LOADING STALE] (0, 0, 0) Server "2.2.12" "O(1)"
        "Counts the entries of the slow log.";
    SlowLogReset "slowlog|reset" 2 [ADMIN LOADING STALE] (0, 0, 0) Server "2.2.12"
        "O(N) where N is the number of entries" "Empties the slow log.";

    // Keys of any type.
    Copy "copy" -3 [WRITE DENYOOM] (1, 2, 1) Generic "6.2.0"
        "O(N) where N is the number of fields, O(1) for strings" "Copies a value to another key.";
    Del "del" -2 [WRITE] (1, -1, 1) Generic "1.0.0" "O(N) where N is the number of keys"
        "Deletes keys.";
    Exists "exists" -2 [READONLY FAST] (1, -1, 1) Generic "1.0.0" "O(N) where N is the number of keys"
        "Counts which of the keys exist.";
    Expire "expire" -3 [WRITE FAST] (1, 1, 1) Generic "1.0.0" "O(1)"
        "Sets the time to live of a key in seconds.";
    ExpireAt "expireat" -3 [WRITE FAST] (1, 1, 1) Generic "1.2.0" "O(1)"
        "Sets the expiry of a key as a Unix time in seconds.";
    ExpireTime "expiretime" 2 [READONLY FAST] (1, 1, 1) Generic "7.0.0" "O(1)"
        "Shows the expiry of a key as a Unix time in seconds.";
    Keys "keys" 2 [READONLY DANGEROUS] (0, 0, 0) Generic "1.0.0" "O(N) where N is the number of keys"
        "Lists the keys that match a pattern.";
    Object "object" -2 [CONTAINER] (0, 0, 0) Generic "2.2.3" "Depends on subcommand."
        "Commands about how values are held.";
    ObjectEncoding "object|encoding" 3 [READONLY] (2, 2, 1) Generic "2.2.3" "O(1)"
        "Shows the encoding of a value.";
    ObjectFreq "object|freq" 3 [READONLY] (2, 2, 1) Generic "4.0.0" "O(1)"
        "Shows how often a key is used.";
    ObjectHelp "object|help" 2 [LOADING STALE] (0, 0, 0) Generic "6.2.0" "O(1)"
        "Lists the subcommands.";
    ObjectIdleTime "object|idletime" 3 [READONLY] (2, 2, 1) Generic "2.2.3" "O(1)"
        "Shows the seconds since a key was last used.";
    ObjectRefCount "object|refcount" 3 [READONLY] (2, 2, 1) Generic "2.2.3" "O(1)"
        "Shows the number of references to a value.";
    Persist "persist" 2 [WRITE FAST] (1, 1, 1) Generic "2.2.0" "O(1)"
        "Takes the expiry of a key away.";
    PExpire "pexpire" -3 [WRITE FAST] (1, 1, 1) Generic "2.6.0" "O(1)"
        "Sets the time to live of a key in milliseconds.";
    PExpireAt "pexpireat" -3 [WRITE FAST] (1, 1, 1) Generic "2.6.0" "O(1)"
        "Sets the expiry of a key as a Unix time in milliseconds.";
    PExpireTime "pexpiretime" 2 [READONLY FAST] (1, 1, 1) Generic "7.0.0" "O(1)"
        "Shows the expiry of a key as a Unix time in milliseconds.";
    Pttl "pttl" 2 [READONLY FAST] (1, 1, 1) Generic "2.6.0" "O(1)"
        "Shows the time to live of a key in milliseconds.";
    RandomKey "randomkey" 1 [READONLY] (0, 0, 0) Generic "1.0.0" "O(log N) where N is the number of keys"
        "Picks a key.";
    Range "range" -3 [READONLY] (0, 0, 0) Generic "0.1.0" "O(N) where N is the number of keys returned"
        "Ringfort: lists keys and string values between two keys, in order.";
    Rename "rename" 3 [WRITE] (1, 2, 1) Generic "1.0.0"
        "O(N) where N is the number of fields, O(1) for strings" "Renames a key, replacing the target.";
    RenameNx "renamenx" 3 [WRITE FAST] (1, 2, 1) Generic "1.0.0"
        "O(N) where N is the number of fields, O(1) for strings" "Renames a key unless the target exists.";
    Scan "scan" -2 [READONLY] (0, 0, 0) Generic "2.8.0"
        "O(1) for every call, O(N) for a complete iteration" "Walks over the keys of the keyspace.";
    Touch "touch" -2 [READONLY FAST] (1, -1, 1) Generic "3.2.1" "O(N) where N is the number of keys"
        "Counts which of the keys exist, as an access.";
    Ttl "ttl" 2 [READONLY FAST] (1, 1, 1) Generic "1.0.0" "O(1)"
        "Shows the time to live of a key in seconds.";
    Type "type" 2 [READONLY FAST] (1, 1, 1) Generic "1.0.0" "O(1)"
        "Shows the type of a value.";
    Unlink "unlink" -2 [WRITE FAST] (1, -1, 1) Generic "4.0.0" "O(N) where N is the number of keys"
        "Deletes keys.";
    WaitAof "waitaof" 4 [BLOCKING CONNECTION] (0, 0, 0) Generic "7.2.0" "O(1)"
        "Waits until the writes of this connection are durable.";

    // Strings.
    Append "append" 3 [WRITE DENYOOM FAST] (1, 1, 1) String "2.0.0" "O(N) where N is the length of the result"
        "Appends to a string.";
    Decr "decr" 2 [WRITE DENYOOM FAST] (1, 1, 1) String "1.0.0" "O(1)"
        "Takes one from an integer.";
    DecrBy "decrby" 3 [WRITE DENYOOM FAST] (1, 1, 1) String "1.0.0" "O(1)"
        "Takes a number from an integer.";
    Get "get" 2 [READONLY FAST] (1, 1, 1) String "1.0.0" "O(1)"
        "Shows a string.";
    GetDel "getdel" 2 [WRITE FAST] (1, 1, 1) String "6.2.0" "O(1)"
        "Shows a string and deletes it.";
    GetEx "getex" -2 [WRITE FAST] (1, 1, 1) String "6.2.0" "O(1)"
        "Shows a string and sets its expiry.";
    GetRange "getrange" 4 [READONLY] (1, 1, 1) String "2.4.0" "O(N) where N is the length of the result"
        "Shows a part of a string.";
    GetSet "getset" 3 [WRITE DENYOOM FAST] (1, 1, 1) String "1.0.0" "O(1)"
        "Shows a string and sets another.";
    Incr "incr" 2 [WRITE DENYOOM FAST] (1, 1, 1) String "1.0.0" "O(1)"
        "Adds one to an integer.";
    IncrBy "incrby" 3 [WRITE DENYOOM FAST] (1, 1, 1) String "1.0.0" "O(1)"
        "Adds a number to an integer.";
    IncrByFloat "incrbyfloat" 3 [WRITE DENYOOM FAST] (1, 1, 1) String "2.6.0" "O(1)"
        "Adds a number to a float.";
    Mget "mget" -2 [READONLY FAST] (1, -1, 1) String "1.0.0" "O(N) where N is the number of keys"
        "Shows several strings.";
    Mset "mset" -3 [WRITE DENYOOM] (1, -1, 2) String "1.0.1" "O(N) where N is the number of keys"
        "Sets several strings at once.";
    MsetNx "msetnx" -3 [WRITE DENYOOM] (1, -1, 2) String "1.0.1" "O(N) where N is the number of keys"
        "Sets several strings at once unless one of the keys exists.";
    PsetEx "psetex" 4 [WRITE DENYOOM] (1, 1, 1) String "2.6.0" "O(1)"
        "Sets a string and its time to live in milliseconds.";
    Set "set" -3 [WRITE DENYOOM] (1, 1, 1) String "1.0.0" "O(1)"
        "Sets a string, with conditions and expiry.";
    SetEx "setex" 4 [WRITE DENYOOM] (1, 1, 1) String "2.0.0" "O(1)"
        "Sets a string and its time to live in seconds.";
    SetNx "setnx" 3 [WRITE DENYOOM FAST] (1, 1, 1) String "1.0.0" "O(1)"
        "Sets a string unless the key exists.";
    SetRange "setrange" 4 [WRITE DENYOOM] (1, 1, 1) String "2.2.0" "O(N) where N is the length of the result"
        "Overwrites a part of a string.";
    SubStr "substr" 4 [READONLY] (1, 1, 1) String "1.0.0" "O(N) where N is the length of the result"
        "Shows a part of a string; the old name of GETRANGE.";
    StrLen "strlen" 2 [READONLY FAST] (1, 1, 1) String "2.2.0" "O(1)"
        "Shows the length of a string.";

    // Hashes.
    Hdel "hdel" -3 [WRITE FAST] (1, 1, 1) Hash "2.0.0" "O(N) where N is the number of fields named"
        "Deletes fields of a hash.";
    Hexists "hexists" 3 [READONLY FAST] (1, 1, 1) Hash "2.0.0" "O(1)"
        "Shows whether a field exists.";
    Hget "hget" 3 [READONLY FAST] (1, 1, 1) Hash "2.0.0" "O(1)"
        "Shows a field.";
    HgetAll "hgetall" 2 [READONLY] (1, 1, 1) Hash "2.0.0" "O(N) where N is the number of fields"
        "Shows all fields and values.";
    HincrBy "hincrby" 4 [WRITE DENYOOM FAST] (1, 1, 1) Hash "2.0.0" "O(1)"
        "Adds a number to a field's integer.";
    HincrByFloat "hincrbyfloat" 4 [WRITE DENYOOM FAST] (1, 1, 1) Hash "2.6.0" "O(1)"
        "Adds a number to a field's float.";
    Hkeys "hkeys" 2 [READONLY] (1, 1, 1) Hash "2.0.0" "O(N) where N is the number of fields"
        "Lists the fields.";
    Hlen "hlen" 2 [READONLY FAST] (1, 1, 1) Hash "2.0.0" "O(1)"
        "Counts the fields.";
    Hmget "hmget" -3 [READONLY FAST] (1, 1, 1) Hash "2.0.0" "O(N) where N is the number of fields named"
        "Shows several fields.";
    Hmset "hmset" -4 [WRITE DENYOOM FAST] (1, 1, 1) Hash "2.0.0" "O(N) where N is the number of fields named"
        "Sets several fields.";
    Hscan "hscan" -3 [READONLY] (1, 1, 1) Hash "2.8.0" "O(1) for every call, O(N) for a complete iteration"
        "Walks over the fields of a hash.";
    Hset "hset" -4 [WRITE DENYOOM FAST] (1, 1, 1) Hash "2.0.0" "O(N) where N is the number of fields named"
        "Sets fields and counts the new ones.";
    HsetNx "hsetnx" 4 [WRITE DENYOOM FAST] (1, 1, 1) Hash "2.0.0" "O(1)"
        "Sets a field unless it exists.";
    HstrLen "hstrlen" 3 [READONLY FAST] (1, 1, 1) Hash "3.2.0" "O(1)"
        "Shows the length of a field's value.";
    Hvals "hvals" 2 [READONLY] (1, 1, 1) Hash "2.0.0" "O(N) where N is the number of fields"
        "Lists the values.";
}

/// Finds `name`, or `name|subcommand`, in any case. One hash and, nearly always, one comparison.
pub(super) fn find(name: &[u8], subcommand: Option<&[u8]>) -> Option<&'static Command> {
    if name.len() > NAME_BYTES_MAX || subcommand.is_some_and(|sub| sub.len() > NAME_BYTES_MAX) {
        return None;
    }
    let mut hash = name.iter().fold(HASH_SEED, |hash, byte| mix(hash, *byte));
    if let Some(subcommand) = subcommand {
        hash = subcommand.iter().fold(mix(hash, b'|'), |hash, byte| mix(hash, *byte));
    }
    let mut slot = hash as usize % SLOTS;
    loop {
        let row = *SLOT_ROWS.get(slot)?;
        // The table has free slots, so every search ends.
        let command = COMMANDS.get(usize::from(row))?;
        if is_named(command, name, subcommand) {
            return Some(command);
        }
        slot = (slot + 1) % SLOTS;
    }
}

fn is_named(command: &Command, name: &[u8], subcommand: Option<&[u8]>) -> bool {
    let full = command.name.as_bytes();
    match subcommand {
        None => full.eq_ignore_ascii_case(name),
        Some(subcommand) => {
            full.len() == name.len() + 1 + subcommand.len()
                && full.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name))
                && full.get(name.len()) == Some(&b'|')
                && full.get(name.len() + 1..).is_some_and(|tail| tail.eq_ignore_ascii_case(subcommand))
        }
    }
}

/// FNV-1a over letters without their case.
const fn mix(hash: u32, byte: u8) -> u32 {
    (hash ^ (byte | 0x20) as u32).wrapping_mul(0x0100_0193)
}

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn build_slots() -> [u8; SLOTS] {
    let mut slots = [FREE; SLOTS];
    let mut row = 0;
    while row < COMMANDS.len() {
        let name = COMMANDS[row].name.as_bytes();
        let mut hash = HASH_SEED;
        let mut at = 0;
        while at < name.len() {
            hash = mix(hash, name[at]);
            at += 1;
        }
        let mut slot = hash as usize % SLOTS;
        while slots[slot] != FREE {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = row as u8;
        row += 1;
    }
    slots
}

static SLOT_ROWS: [u8; SLOTS] = build_slots();
const SLOTS: usize = 1024;
const FREE: u8 = u8::MAX;
const HASH_SEED: u32 = 0x811c_9dc5;
/// No name is longer.
const NAME_BYTES_MAX: usize = 32;

const _: () = assert!(COMMANDS.len() < FREE as usize && COMMANDS.len() * 4 < SLOTS);
