//! What `COMMAND`, `COMMAND INFO`, `COMMAND DOCS` and `… HELP` answer, from the table.

use super::flags::{
    ADMIN, ALLOW_BUSY, BLOCKING, CONNECTION, CONTAINER, DANGEROUS, DENYOOM, FAST, KEYSPACE, LOADING, NO_AUTH,
    NOSCRIPT, READONLY, SKIP_SLOWLOG, STALE, WRITE,
};
use super::{Command, CommandId, Group};
use crate::front::resp::reply::ReplyWriter;

/// One element of `COMMAND` and `COMMAND INFO`: ten fields, as Redis 7 has them.
pub fn info_reply(command: &Command, writer: &mut ReplyWriter<'_>) {
    let (first, last, step) = command.keys;
    writer.array(10);
    writer.bulk_text(command.name);
    writer.integer(i64::from(command.arity));
    words(writer, &shown_flags(command));
    writer.integer(i64::from(first));
    writer.integer(i64::from(last));
    writer.integer(i64::from(step));
    words(writer, &categories(command));
    let tips = tips(command.id);
    writer.set(tips.len());
    for tip in tips {
        writer.bulk_text(tip);
    }
    key_specs(command, writer);
    if command.has(CONTAINER) {
        writer.array(command.subcommands().count());
        for subcommand in command.subcommands() {
            info_reply(subcommand, writer);
        }
    } else {
        writer.set(0);
    }
}

/// One pair of `COMMAND DOCS`: the name, and the map of what there is to know.
pub fn docs_reply(command: &Command, writer: &mut ReplyWriter<'_>) {
    writer.bulk_text(command.name);
    writer.map(if command.has(CONTAINER) { 5 } else { 4 });
    let pairs = [
        ("summary", command.summary),
        ("since", command.since),
        ("group", command.group.name()),
        ("complexity", command.complexity),
    ];
    for (key, value) in pairs {
        writer.bulk_text(key);
        writer.bulk_text(value);
    }
    if command.has(CONTAINER) {
        writer.bulk_text("subcommands");
        writer.map(command.subcommands().count());
        for subcommand in command.subcommands() {
            docs_reply(subcommand, writer);
        }
    }
}

/// The answer to `CLIENT HELP` and its like. `command` is the container or its `help`.
pub fn help_reply(command: &Command, writer: &mut ReplyWriter<'_>) {
    let container = command.name.split('|').next().unwrap_or_default();
    let container = super::lookup(container.as_bytes()).unwrap_or(command);
    writer.array(1 + 2 * container.subcommands().count());
    let upper = container.name.to_ascii_uppercase();
    writer.simple(&format!("{upper} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for subcommand in container.subcommands() {
        let name = subcommand.name.split('|').next_back().unwrap_or_default();
        writer.simple(&name.to_ascii_uppercase());
        writer.simple(&format!("    {}", subcommand.summary));
    }
}

fn words(writer: &mut ReplyWriter<'_>, words: &[&str]) {
    writer.set(words.len());
    for word in words {
        writer.simple(word);
    }
}

fn shown_flags(command: &Command) -> Vec<&'static str> {
    let names = [
        (WRITE, "write"),
        (READONLY, "readonly"),
        (DENYOOM, "denyoom"),
        (ADMIN, "admin"),
        (NOSCRIPT, "noscript"),
        (BLOCKING, "blocking"),
        (LOADING, "loading"),
        (STALE, "stale"),
        (SKIP_SLOWLOG, "skip_slowlog"),
        (FAST, "fast"),
        (NO_AUTH, "no_auth"),
        (ALLOW_BUSY, "allow_busy"),
    ];
    names.into_iter().filter(|(flag, _)| command.has(*flag)).map(|(_, name)| name).collect()
}

/// The access categories, in Redis's order.
fn categories(command: &Command) -> Vec<&'static str> {
    let container = command.has(CONTAINER) && command.id != CommandId::Command;
    let in_group = |group| command.group == group && !container;
    let connection = command.has(CONNECTION) || in_group(Group::Connection);
    let table = [
        (command.has(KEYSPACE) || (in_group(Group::Generic) && !connection), "@keyspace"),
        (command.has(READONLY), "@read"),
        (command.has(WRITE), "@write"),
        (in_group(Group::Hash), "@hash"),
        (in_group(Group::String), "@string"),
        (command.has(ADMIN), "@admin"),
        (command.has(FAST), "@fast"),
        (!command.has(FAST), "@slow"),
        (command.has(BLOCKING), "@blocking"),
        (command.has(ADMIN) || command.has(DANGEROUS), "@dangerous"),
        (connection, "@connection"),
        (in_group(Group::Transactions), "@transaction"),
    ];
    table.into_iter().filter(|(holds, _)| *holds).map(|(_, name)| name).collect()
}

/// Hints for clients that route or cache.
const fn tips(id: CommandId) -> &'static [&'static str] {
    match id {
        CommandId::Command | CommandId::CommandInfo | CommandId::CommandDocs => {
            &["nondeterministic_output_order"]
        }
        CommandId::HgetAll | CommandId::Hkeys | CommandId::Hvals => &["nondeterministic_output_order"],
        CommandId::Keys => &["request_policy:all_shards", "nondeterministic_output_order"],
        CommandId::Scan => &["nondeterministic_output", "request_policy:special", "response_policy:special"],
        CommandId::RandomKey => {
            &["request_policy:all_shards", "response_policy:special", "nondeterministic_output"]
        }
        CommandId::Hscan
        | CommandId::Ttl
        | CommandId::Pttl
        | CommandId::Time
        | CommandId::Info
        | CommandId::ObjectEncoding
        | CommandId::ObjectFreq
        | CommandId::ObjectIdleTime
        | CommandId::ObjectRefCount => &["nondeterministic_output"],
        CommandId::Del | CommandId::Unlink | CommandId::Exists | CommandId::Touch => {
            &["request_policy:multi_shard", "response_policy:agg_sum"]
        }
        CommandId::Mget => &["request_policy:multi_shard"],
        CommandId::Mset => &["request_policy:multi_shard", "response_policy:all_succeeded"],
        CommandId::DbSize => &["request_policy:all_shards", "response_policy:agg_sum"],
        CommandId::FlushDb | CommandId::FlushAll | CommandId::Ping => {
            &["request_policy:all_shards", "response_policy:all_succeeded"]
        }
        CommandId::WaitAof => &["request_policy:all_shards", "response_policy:agg_min"],
        _ => &[],
    }
}

/// The keys once more, in the form that Redis 7 added: where to begin, how to go on.
fn key_specs(command: &Command, writer: &mut ReplyWriter<'_>) {
    let (first, last, step) = command.keys;
    if first == 0 {
        writer.set(0);
        return;
    }
    writer.set(1);
    writer.map(3);
    writer.bulk_text("flags");
    let flags: &[&str] = if command.is_write() { &["RW", "access", "update"] } else { &["RO", "access"] };
    words(writer, flags);
    writer.bulk_text("begin_search");
    writer.map(2);
    writer.bulk_text("type");
    writer.bulk_text("index");
    writer.bulk_text("spec");
    writer.map(1);
    writer.bulk_text("index");
    writer.integer(i64::from(first));
    writer.bulk_text("find_keys");
    writer.map(2);
    writer.bulk_text("type");
    writer.bulk_text("range");
    writer.bulk_text("spec");
    writer.map(3);
    writer.bulk_text("lastkey");
    // Relative to the first key, or from the end.
    writer.integer(i64::from(if last < 0 { last } else { last - first }));
    writer.bulk_text("keystep");
    writer.integer(i64::from(step));
    writer.bulk_text("limit");
    writer.integer(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::resp::{Buffer, Decoder, Value, Version, command};

    fn decode(version: Version, write: impl Fn(&mut ReplyWriter<'_>)) -> Value {
        let mut out = Vec::new();
        write(&mut ReplyWriter::new(&mut out, version));
        let mut buf = Buffer::new();
        buf.extend_from_slice(&out);
        let value = Decoder::new(1 << 24).next(&mut buf).unwrap().unwrap();
        assert!(buf.is_empty(), "a reply is one value");
        value
    }

    fn texts(value: &Value) -> Vec<String> {
        let text = |item: &Value| String::from_utf8(item.as_bytes().unwrap().to_vec()).unwrap();
        value.as_array().unwrap().iter().map(text).collect()
    }

    #[test]
    fn info_of_get_is_redis_s() {
        let get = command::lookup(b"get").unwrap();
        let value = decode(Version::V3, |writer| info_reply(get, writer));
        let fields = value.as_array().unwrap();
        assert_eq!(fields.len(), 10);
        assert_eq!(fields[0].as_bytes().unwrap(), b"get");
        assert_eq!(fields[1], Value::Integer(2));
        assert_eq!(texts(&fields[2]), ["readonly", "fast"]);
        assert_eq!([&fields[3], &fields[4], &fields[5]], [&Value::Integer(1); 3]);
        assert_eq!(texts(&fields[6]), ["@read", "@string", "@fast"]);
        assert_eq!(texts(&fields[7]), Vec::<String>::new());
        assert_eq!(fields[8].as_array().unwrap().len(), 1);
        assert_eq!(fields[9].as_array().unwrap().len(), 0);
    }

    #[test]
    fn info_of_a_container_lists_its_subcommands() {
        let config = command::lookup(b"config").unwrap();
        let value = decode(Version::V2, |writer| info_reply(config, writer));
        let subcommands = value.as_array().unwrap()[9].as_array().unwrap();
        assert_eq!(subcommands.len(), config.subcommands().count());
        assert_eq!(subcommands[0].as_array().unwrap()[0].as_bytes().unwrap(), b"config|get");
    }

    #[test]
    fn every_row_encodes_in_both_versions() {
        for version in [Version::V2, Version::V3] {
            for row in command::COMMANDS {
                decode(version, |writer| info_reply(row, writer));
                decode(version, |writer| {
                    writer.map(1);
                    docs_reply(row, writer);
                });
            }
        }
    }

    #[test]
    fn docs_and_help() {
        let object = command::lookup(b"object").unwrap();
        let docs = decode(Version::V3, |writer| {
            writer.map(1);
            docs_reply(object, writer);
        });
        let Value::Map(pairs) = docs else { panic!("docs are a map") };
        assert_eq!(pairs[0].0, Value::Bulk(b"object".to_vec()));
        let Value::Map(fields) = &pairs[0].1 else { panic!("of maps") };
        let keys: Vec<_> = fields.iter().map(|(key, _)| key.as_bytes().unwrap().to_vec()).collect();
        assert_eq!(keys, [&b"summary"[..], b"since", b"group", b"complexity", b"subcommands"]);
        let help = command::lookup_full(b"object|help").unwrap();
        let lines = texts(&decode(Version::V2, |writer| help_reply(help, writer)));
        assert_eq!(lines[0], "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
        assert!(lines.contains(&"IDLETIME".to_owned()));
    }
}
