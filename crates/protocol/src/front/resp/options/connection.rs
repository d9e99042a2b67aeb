//! Options of commands about the connection.

use ringfort_base::Level;

use super::is;
use crate::front::resp::error::{self, ReplyError};
use crate::front::resp::number::{integer, parse_i64};
use crate::front::resp::reply::Version;

/// `HELLO [version [AUTH user password] [SETNAME name]]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hello<'a> {
    /// The version asked for; `None` leaves it as it is.
    pub version: Option<Version>,
    /// User and password.
    pub auth: Option<(&'a [u8], &'a [u8])>,
    /// The name of the connection (checked).
    pub name: Option<&'a [u8]>,
}

/// A subcommand of `CLIENT` with its arguments understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClientCommand<'a> {
    /// `HELP`
    Help,
    /// `ID`
    Id,
    /// `INFO`
    Info,
    /// `GETNAME`
    GetName,
    /// `SETNAME name` (checked; empty takes the name away)
    SetName(&'a [u8]),
    /// `SETINFO LIB-NAME|LIB-VER text` (checked)
    SetInfo(SetInfo, &'a [u8]),
    /// `LIST [TYPE type] [ID id ...]`
    List {
        /// Only connections of this type.
        kind: Option<ClientType>,
        /// Only these connections; empty for all.
        ids: Vec<u64>,
    },
    /// `KILL addr`: answers OK, or an error if there is none.
    KillAddress(&'a [u8]),
    /// `KILL filter ...`: answers how many were closed.
    Kill(KillFilter<'a>),
    /// `NO-EVICT ON|OFF`
    NoEvict(bool),
    /// `NO-TOUCH ON|OFF`
    NoTouch(bool),
    /// `REPLY ON|OFF|SKIP`
    Reply(ReplyMode),
}

/// What `CLIENT SETINFO` records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetInfo {
    /// The client library's name.
    LibName,
    /// The client library's version.
    LibVer,
}

/// A type of connections; all of ours are normal, so every other selects none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientType {
    /// Ordinary clients.
    Normal,
    /// Masters, replicas, subscribers.
    Other,
}

/// Which connections `CLIENT KILL` closes: those that fit all that is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KillFilter<'a> {
    /// By id.
    pub id: Option<u64>,
    /// By the client's address and port.
    pub addr: Option<&'a [u8]>,
    /// By the server's address and port.
    pub laddr: Option<&'a [u8]>,
    /// By type.
    pub kind: Option<ClientType>,
    /// By user.
    pub user: Option<&'a [u8]>,
    /// Older than so many seconds.
    pub age_s_min: Option<u64>,
    /// Whether the connection that asks is spared.
    pub skip_me: bool,
}

/// Whether replies are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplyMode {
    /// All.
    On,
    /// None.
    Off,
    /// Not for the next command.
    Skip,
}

/// The arguments behind `HELLO`.
pub fn hello<'a>(args: impl IntoIterator<Item = &'a [u8]>) -> Result<Hello<'a>, ReplyError> {
    let mut hello = Hello::default();
    let mut args = args.into_iter();
    let Some(version) = args.next() else { return Ok(hello) };
    hello.version = Some(match parse_i64(version) {
        None => return Err(error::PROTO_NOT_AN_INTEGER),
        Some(2) => Version::V2,
        Some(3) => Version::V3,
        Some(_) => return Err(error::NO_PROTO),
    });
    while let Some(arg) = args.next() {
        if is(arg, "auth") {
            let (user, password) = (args.next(), args.next());
            hello.auth = Some(user.zip(password).ok_or_else(|| error::hello_option(arg))?);
        } else if is(arg, "setname") {
            let name = args.next().ok_or_else(|| error::hello_option(arg))?;
            check_client_name(name)?;
            hello.name = Some(name);
        } else {
            return Err(error::hello_option(arg));
        }
    }
    Ok(hello)
}

/// The arguments behind `AUTH`: user (the default one if none is named) and password.
pub fn auth<'a>(
    args: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(Option<&'a [u8]>, &'a [u8]), ReplyError> {
    let mut args = args.into_iter();
    match (args.next(), args.next(), args.next()) {
        (Some(password), None, _) => Ok((None, password)),
        (Some(user), Some(password), None) => Ok((Some(user), password)),
        _ => Err(error::SYNTAX),
    }
}

/// The arguments behind `CLIENT`, the subcommand first.
pub fn client<'a>(args: impl IntoIterator<Item = &'a [u8]>) -> Result<ClientCommand<'a>, ReplyError> {
    let mut args = args.into_iter();
    let Some(subcommand) = args.next() else { return Err(error::wrong_arity("client")) };
    let wrong = || error::subcommand_syntax("client", subcommand);
    if is(subcommand, "list") {
        return client_list(args);
    }
    if is(subcommand, "kill") {
        return client_kill(args.collect(), wrong);
    }
    let (first, second, more) = (args.next(), args.next(), args.next().is_some());
    let command = match (first, second, more) {
        (None, ..) => match () {
            () if is(subcommand, "help") => Some(ClientCommand::Help),
            () if is(subcommand, "id") => Some(ClientCommand::Id),
            () if is(subcommand, "info") => Some(ClientCommand::Info),
            () if is(subcommand, "getname") => Some(ClientCommand::GetName),
            () => None,
        },
        (Some(arg), None, _) => match () {
            () if is(subcommand, "setname") => {
                check_client_name(arg)?;
                Some(ClientCommand::SetName(arg))
            }
            () if is(subcommand, "no-evict") => Some(ClientCommand::NoEvict(on_off(arg)?)),
            () if is(subcommand, "no-touch") => Some(ClientCommand::NoTouch(on_off(arg)?)),
            () if is(subcommand, "reply") => Some(ClientCommand::Reply(reply_mode(arg)?)),
            () => None,
        },
        (Some(attribute), Some(text), false) if is(subcommand, "setinfo") => Some(set_info(attribute, text)?),
        _ => None,
    };
    command.ok_or_else(wrong)
}

fn client_list<'a>(mut args: impl Iterator<Item = &'a [u8]>) -> Result<ClientCommand<'a>, ReplyError> {
    let (mut kind, mut ids) = (None, Vec::new());
    while let Some(arg) = args.next() {
        let value = args.next().ok_or(error::SYNTAX)?;
        if is(arg, "type") {
            kind = Some(client_type(value)?);
        } else if is(arg, "id") {
            ids.push(client_id(value)?);
            for value in args.by_ref() {
                ids.push(client_id(value)?);
            }
        } else {
            return Err(error::SYNTAX);
        }
    }
    Ok(ClientCommand::List { kind, ids })
}

fn client_kill<'a>(
    args: Vec<&'a [u8]>,
    wrong: impl Fn() -> ReplyError,
) -> Result<ClientCommand<'a>, ReplyError> {
    if let [address] = args.as_slice() {
        return Ok(ClientCommand::KillAddress(address));
    }
    if args.is_empty() {
        return Err(wrong());
    }
    let mut filter = KillFilter {
        id: None,
        addr: None,
        laddr: None,
        kind: None,
        user: None,
        age_s_min: None,
        skip_me: true,
    };
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let value = args.next().ok_or(error::SYNTAX)?;
        if is(arg, "id") {
            filter.id = Some(client_id(value).map_err(|_| error::CLIENT_ID_NOT_POSITIVE)?);
        } else if is(arg, "addr") {
            filter.addr = Some(value);
        } else if is(arg, "laddr") {
            filter.laddr = Some(value);
        } else if is(arg, "type") {
            filter.kind = Some(client_type(value)?);
        } else if is(arg, "user") {
            filter.user = Some(value);
        } else if is(arg, "maxage") {
            filter.age_s_min = Some(u64::try_from(integer(value)?).map_err(|_| error::NOT_POSITIVE)?);
        } else if is(arg, "skipme") {
            filter.skip_me = yes_no(value)?;
        } else {
            return Err(error::SYNTAX);
        }
    }
    Ok(ClientCommand::Kill(filter))
}

fn client_id(arg: &[u8]) -> Result<u64, ReplyError> {
    let id = parse_i64(arg).and_then(|id| u64::try_from(id).ok());
    id.filter(|id| *id > 0).ok_or(error::BAD_CLIENT_ID)
}

fn client_type(arg: &[u8]) -> Result<ClientType, ReplyError> {
    if is(arg, "normal") {
        return Ok(ClientType::Normal);
    }
    if ["master", "replica", "slave", "pubsub"].into_iter().any(|name| is(arg, name)) {
        return Ok(ClientType::Other);
    }
    let shown = error::preview(arg, 128);
    Err(ReplyError::composed(format!("ERR Unknown client type '{shown}'")))
}

fn set_info<'a>(attribute: &[u8], text: &'a [u8]) -> Result<ClientCommand<'a>, ReplyError> {
    let shown = error::preview(attribute, 128);
    let which = match () {
        () if is(attribute, "lib-name") => SetInfo::LibName,
        () if is(attribute, "lib-ver") => SetInfo::LibVer,
        () => return Err(ReplyError::composed(format!("ERR Unrecognized option '{shown}'"))),
    };
    if !is_printable(text) {
        return Err(ReplyError::composed(format!(
            "ERR {shown} cannot contain spaces, newlines or special characters."
        )));
    }
    Ok(ClientCommand::SetInfo(which, text))
}

/// Names stand in `CLIENT LIST`, whose fields are separated by spaces.
pub fn check_client_name(name: &[u8]) -> Result<(), ReplyError> {
    if is_printable(name) { Ok(()) } else { Err(error::BAD_CLIENT_NAME) }
}

fn is_printable(text: &[u8]) -> bool {
    text.len() <= CLIENT_TEXT_BYTES_MAX && text.iter().all(u8::is_ascii_graphic)
}

fn on_off(arg: &[u8]) -> Result<bool, ReplyError> {
    if is(arg, "on") {
        Ok(true)
    } else if is(arg, "off") {
        Ok(false)
    } else {
        Err(error::SYNTAX)
    }
}

fn yes_no(arg: &[u8]) -> Result<bool, ReplyError> {
    if is(arg, "yes") {
        Ok(true)
    } else if is(arg, "no") {
        Ok(false)
    } else {
        Err(error::SYNTAX)
    }
}

fn reply_mode(arg: &[u8]) -> Result<ReplyMode, ReplyError> {
    if is(arg, "skip") {
        return Ok(ReplyMode::Skip);
    }
    Ok(if on_off(arg)? { ReplyMode::On } else { ReplyMode::Off })
}

/// The argument behind `LEVEL`: the level to set, or `None` to show it.
pub fn level<'a>(args: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<Level>, ReplyError> {
    let mut args = args.into_iter();
    let Some(word) = args.next() else { return Ok(None) };
    if args.next().is_some() {
        return Err(error::wrong_arity("level"));
    }
    let level = std::str::from_utf8(word).ok().and_then(|word| word.parse().ok());
    level.map(Some).ok_or_else(|| error::unknown_level(word))
}

/// `WAITAOF numlocal numreplicas timeout`: whether to wait for this server, and for how long in
/// milliseconds (0: for ever).
pub fn wait_aof(local: &[u8], replicas: &[u8], timeout: &[u8]) -> Result<(bool, u64), ReplyError> {
    let range = |arg: &[u8], max: i64, text: &'static str| {
        parse_i64(arg).filter(|value| (0..=max).contains(value)).ok_or(ReplyError::fixed(text))
    };
    let local = range(local, 1, "ERR value is out of range, must be 0 or 1")?;
    range(replicas, i64::MAX, "ERR value is out of range, must be positive")?;
    let timeout =
        parse_i64(timeout).ok_or(ReplyError::fixed("ERR timeout is not an integer or out of range"))?;
    let timeout_ms = u64::try_from(timeout).map_err(|_| error::NEGATIVE_TIMEOUT)?;
    Ok((local == 1, timeout_ms))
}

/// Longest name or library text that a connection keeps; strangers pay nothing for it.
const CLIENT_TEXT_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::super::split;
    use super::*;

    fn text<T>(result: Result<T, ReplyError>) -> String {
        result.err().map_or_else(|| "no error".to_owned(), |error| error.text().to_owned())
    }

    #[test]
    fn hello_forms() {
        assert_eq!(hello(split("")), Ok(Hello::default()));
        assert_eq!(
            hello(split("3 AUTH default secret SETNAME me")),
            Ok(Hello { version: Some(Version::V3), auth: Some((b"default", b"secret")), name: Some(b"me") })
        );
        assert_eq!(hello(split("2")).unwrap().version, Some(Version::V2));
        let table = [
            ("4", "NOPROTO unsupported protocol version"),
            ("1", "NOPROTO unsupported protocol version"),
            ("x", "ERR Protocol version is not an integer or out of range"),
            ("3 AUTH a", "ERR Syntax error in HELLO option 'AUTH'"),
            ("3 SETNAME", "ERR Syntax error in HELLO option 'SETNAME'"),
            ("3 foo", "ERR Syntax error in HELLO option 'foo'"),
        ];
        for (line, expected) in table {
            assert_eq!(text(hello(split(line))), expected, "{line}");
        }
        let bad = hello([&b"3"[..], b"SETNAME", b"a b"]);
        assert_eq!(bad, Err(error::BAD_CLIENT_NAME));
    }

    #[test]
    fn auth_forms() {
        assert_eq!(auth(split("pw")), Ok((None, &b"pw"[..])));
        assert_eq!(auth(split("me pw")), Ok((Some(&b"me"[..]), &b"pw"[..])));
        assert_eq!(auth(split("a b c")), Err(error::SYNTAX));
    }

    #[test]
    fn client_subcommands() {
        let table = [
            ("help", ClientCommand::Help),
            ("ID", ClientCommand::Id),
            ("info", ClientCommand::Info),
            ("getname", ClientCommand::GetName),
            ("setname me", ClientCommand::SetName(b"me")),
            ("setinfo LIB-NAME redis-py", ClientCommand::SetInfo(SetInfo::LibName, b"redis-py")),
            ("setinfo lib-ver 8.1", ClientCommand::SetInfo(SetInfo::LibVer, b"8.1")),
            ("list", ClientCommand::List { kind: None, ids: vec![] }),
            ("list ID 1 2", ClientCommand::List { kind: None, ids: vec![1, 2] }),
            ("list TYPE pubsub", ClientCommand::List { kind: Some(ClientType::Other), ids: vec![] }),
            ("kill 1.2.3.4:5", ClientCommand::KillAddress(b"1.2.3.4:5")),
            ("no-evict on", ClientCommand::NoEvict(true)),
            ("NO-TOUCH off", ClientCommand::NoTouch(false)),
            ("reply skip", ClientCommand::Reply(ReplyMode::Skip)),
            ("reply ON", ClientCommand::Reply(ReplyMode::On)),
        ];
        for (line, expected) in table {
            assert_eq!(client(split(line)), Ok(expected), "{line}");
        }
        let Ok(ClientCommand::Kill(filter)) = client(split("KILL ID 7 SKIPME no USER u MAXAGE 3")) else {
            panic!("a filter")
        };
        assert_eq!(
            (filter.id, filter.skip_me, filter.user, filter.age_s_min),
            (Some(7), false, Some(&b"u"[..]), Some(3))
        );
    }

    #[test]
    fn client_refusals() {
        let table = [
            ("setinfo FOO x", "ERR Unrecognized option 'FOO'"),
            ("kill ID 0", "ERR client-id should be greater than 0"),
            ("list ID 0", "ERR Invalid client ID"),
            ("kill ID 1 ADDR", "ERR syntax error"),
            ("list TYPE foo", "ERR Unknown client type 'foo'"),
            ("list FOO x", "ERR syntax error"),
            ("no-evict maybe", "ERR syntax error"),
            ("reply", "ERR unknown subcommand or wrong number of arguments for 'reply'. Try CLIENT HELP."),
            ("id x", "ERR unknown subcommand or wrong number of arguments for 'id'. Try CLIENT HELP."),
            ("nope", "ERR unknown subcommand or wrong number of arguments for 'nope'. Try CLIENT HELP."),
        ];
        for (line, expected) in table {
            assert_eq!(text(client(split(line))), expected, "{line}");
        }
        assert_eq!(
            text(client([&b"setinfo"[..], b"lib-name", b"a b"])),
            "ERR lib-name cannot contain spaces, newlines or special characters."
        );
        assert_eq!(client([&b"setname"[..], b"a\nb"]), Err(error::BAD_CLIENT_NAME));
    }

    #[test]
    fn levels_and_waiting() {
        assert_eq!(level(split("")), Ok(None));
        assert_eq!(level(split("DURABLE")), Ok(Some(Level::Durable)));
        assert_eq!(text(level(split("safe"))), "ERR 'safe' is not a level; use buffered, durable or fresh");
        assert_eq!(
            text(level([&b"\xff"[..]])),
            "ERR '\u{fffd}' is not a level; use buffered, durable or fresh"
        );
        assert_eq!(wait_aof(b"1", b"0", b"100"), Ok((true, 100)));
        assert_eq!(text(wait_aof(b"2", b"0", b"0")), "ERR value is out of range, must be 0 or 1");
        assert_eq!(text(wait_aof(b"1", b"-1", b"0")), "ERR value is out of range, must be positive");
        assert_eq!(text(wait_aof(b"1", b"0", b"-1")), "ERR timeout is negative");
    }
}
