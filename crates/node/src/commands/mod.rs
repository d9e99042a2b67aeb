//! # Commands: from a request to its reply
//!
//! One table look-up ([`resolve`]), one match, one function per command. Syntax and the words of
//! refusals come from `ringfort-protocol`; here is what the commands mean.
//!
//! Each command notes what its reply shows ([`Shows`](crate::server::turn::Shows)), errors that depend on what is stored
//! (WRONGTYPE, "not an integer") included: they go through the gate as well (R6).
mod client;
mod config;
mod connection;
mod ctx;
mod hash;
mod info;
mod key;
mod merged;
mod reading;
mod scan;
mod server;
mod string;
mod transact;
mod writing;

pub(crate) use ctx::{CLOSING, Ctx, Fail};
pub use ctx::{HELD_BYTES_MAX, REPLY_BYTES_MAX};

use crate::server::turn::{Shows, store_error};
use crate::session::Replies;
use crate::stats::add;
use ctx::Done;
use ringfort_protocol::front::resp::command::{Command, CommandId, flags, help_reply, resolve};
use ringfort_protocol::front::resp::error::wrong_arity;
use ringfort_protocol::front::resp::options::TimeUnit;
use ringfort_protocol::front::resp::{ReplyError, Request};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

/// What becomes of the connection after a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flow {
    /// It goes on.
    Continue,
    /// It closes after the reply.
    Close,
}

/// Carries out one request: its reply is in the buffer and its mark in the turn.
pub(crate) async fn execute(ctx: &mut Ctx<'_>, req: &Request) -> Flow {
    let start = ctx.out.len();
    let mut silent = ctx.session.replies.take_silence();
    // That of a transaction which this command ends, too.
    let level = ctx.session.level();
    let (command, result) = match resolve(req) {
        Ok(command) => (Some(command), transact::carry_out(ctx, req, command).await),
        Err(error) => (None, Err(transact::not_queued(ctx, req, error).into())),
    };
    let failed = ctx.settle(start, result);
    if command.is_some_and(|c| c.id == CommandId::ClientReply) && !failed {
        // CLIENT REPLY ON is answered even if replies were off, the others never are.
        silent = ctx.session.replies != Replies::On;
    }
    if silent {
        ctx.out.truncate(start);
    } else {
        ctx.turn.reply(ctx.out.len(), ctx.shows, level);
    }
    account(ctx, req, command, failed);
    if ctx.close { Flow::Close } else { Flow::Continue }
}

impl Ctx<'_> {
    /// Puts the error of a command that failed in the place of its reply; whether it did.
    fn settle(&mut self, start: usize, result: Done) -> bool {
        let Err(fail) = result else { return false };
        // An aggregate may have been begun: an error stands alone.
        self.out.truncate(start);
        let error = self.refusal(fail);
        self.reply().error(&error);
        true
    }

    /// The words for a failure. An error that ended the store's life is kept as evidence.
    fn refusal(&mut self, fail: Fail) -> ReplyError {
        match fail {
            Fail::Reply(error) => error,
            Fail::Read(error) => {
                let stopped = self.server.store_failed(&error);
                store_error(&error, stopped, matches!(self.shows, Shows::Write(_)))
            }
            Fail::Write(error) => {
                let stopped = self.server.store_failed(&error);
                store_error(&error, stopped, true)
            }
        }
    }
}

/// Counters, and the slow log.
fn account(ctx: &mut Ctx<'_>, req: &Request, command: Option<&'static Command>, failed: bool) {
    let began = ctx.now;
    ctx.now = ctx.server.monotonic();
    let took_us = u64::try_from(ctx.now.saturating_sub(began).as_micros()).unwrap_or(u64::MAX);
    let stats = ctx.server.stats();
    add(&stats.commands, 1);
    if failed {
        add(&stats.errors, 1);
    }
    let Some(command) = command else { return };
    ctx.name = Some(command.name);
    if let Some(by) = stats.by_command.get(command.id as usize) {
        add(&by.calls, 1);
        add(&by.took_us, took_us);
        if failed {
            add(&by.failed, 1);
        }
    }
    let settings = ctx.server.settings();
    let slower_than = settings.slowlog_log_slower_than_us.load(Ordering::Relaxed);
    if u64::try_from(slower_than).is_ok_and(|limit| took_us >= limit)
        && command.flags & (flags::SECRET | flags::SKIP_SLOWLOG) == 0
    {
        let client = (ctx.client.peer.remote.clone(), ctx.client.names.lock().name.clone());
        let max_len = settings.slowlog_max_len.load(Ordering::Relaxed);
        let at_s = ctx.now_ms() / 1000;
        ctx.server.slowlog().lock().note(at_s, took_us, req.args(), client, max_len);
    }
}

/// Carries out a command, through the transaction if one is open, and dispatches.
async fn run(ctx: &mut Ctx<'_>, req: &Request, command: &'static Command) -> Done {
    // What a transaction reads it has locked, which no write of this turn that is not visible lets it.
    if !command.is_write() && ctx.session.open.is_none() {
        ctx.pending.flush();
    }
    if command.flags & (flags::READONLY | flags::WRITE) != 0 {
        if let Some(error) = ctx.server.failure() {
            // The store has stopped: evidence, never data.
            return Err(store_error(error, true, false).into());
        }
        return run_data(ctx, req, command).await;
    }
    use CommandId as C;
    match command.id {
        C::Hello => connection::hello(ctx, req),
        C::Auth => connection::auth(ctx, req),
        C::Ping => connection::ping(ctx, req),
        C::Echo => connection::echo(ctx, req),
        C::Select => connection::select(ctx, req),
        C::Quit => connection::quit(ctx),
        C::Reset => connection::reset(ctx),
        C::Level => connection::level(ctx, req),
        C::WaitAof => connection::waitaof(ctx, req).await,
        C::Client
        | C::ClientId
        | C::ClientInfo
        | C::ClientList
        | C::ClientKill
        | C::ClientSetName
        | C::ClientGetName
        | C::ClientSetInfo
        | C::ClientNoEvict
        | C::ClientNoTouch
        | C::ClientReply => client::client(ctx, req),
        C::Command => server::command_all(ctx),
        C::CommandCount => server::command_count(ctx),
        C::CommandInfo => server::command_info(ctx, req),
        C::CommandDocs => server::command_docs(ctx, req),
        C::Info => info::info(ctx, req),
        C::ConfigGet => config::get(ctx, req),
        C::ConfigSet => config::set(ctx, req),
        C::ConfigResetStat => server::resetstat(ctx),
        C::Time => server::time(ctx),
        C::SlowLogGet => server::slowlog_get(ctx, req),
        C::SlowLogLen => server::slowlog_len(ctx),
        C::SlowLogReset => server::slowlog_reset(ctx),
        C::Unwatch => transact::unwatch(ctx),
        C::TxnHelp
        | C::ClientHelp
        | C::CommandHelp
        | C::ConfigHelp
        | C::MemoryHelp
        | C::ObjectHelp
        | C::SlowLogHelp => {
            help_reply(command, &mut ctx.reply());
            Ok(())
        }
        // Containers without a subcommand are refused by their arity.
        _ => Err(wrong_arity(command.name).into()),
    }
}

/// The commands that read or write data. Those whose state is large have it in a place of their own, so that the others,
/// which are many, are not moved about with it.
async fn run_data(ctx: &mut Ctx<'_>, req: &Request, command: &'static Command) -> Done {
    use CommandId as C;
    match command.id {
        C::Get => string::get(ctx, req).await,
        C::Set => string::set(ctx, req).await,
        C::SetEx => string::setex(ctx, req, TimeUnit::Seconds).await,
        C::PsetEx => string::setex(ctx, req, TimeUnit::Milliseconds).await,
        C::GetEx => string::getex(ctx, req).await,
        C::GetDel => string::getdel(ctx, req).await,
        C::GetSet => string::getset(ctx, req).await,
        C::SetNx => string::setnx(ctx, req).await,
        C::Mget => string::mget(ctx, req).await,
        C::Mset => string::mset(ctx, req).await,
        C::MsetNx => string::msetnx(ctx, req).await,
        C::Append => string::append(ctx, req).await,
        C::StrLen => string::strlen(ctx, req).await,
        C::GetRange | C::SubStr => string::getrange(ctx, req).await,
        C::SetRange => string::setrange(ctx, req).await,
        C::Incr => string::incr(ctx, req).await,
        C::IncrBy => string::incrby(ctx, req).await,
        C::IncrByFloat => string::incrbyfloat(ctx, req).await,
        C::Decr => string::decr(ctx, req).await,
        C::DecrBy => string::decrby(ctx, req).await,
        C::Hset => hash::hset(ctx, req).await,
        C::Hmset => hash::hmset(ctx, req).await,
        C::HsetNx => hash::hsetnx(ctx, req).await,
        C::Hget => hash::hget(ctx, req).await,
        C::Hmget => hash::hmget(ctx, req).await,
        C::HgetAll => Box::pin(hash::hgetall(ctx, req)).await,
        C::Hdel => hash::hdel(ctx, req).await,
        C::Hexists => hash::hexists(ctx, req).await,
        C::Hlen => hash::hlen(ctx, req).await,
        C::Hkeys => Box::pin(hash::hkeys(ctx, req)).await,
        C::Hvals => Box::pin(hash::hvals(ctx, req)).await,
        C::HincrBy => hash::hincrby(ctx, req).await,
        C::HincrByFloat => hash::hincrbyfloat(ctx, req).await,
        C::HstrLen => hash::hstrlen(ctx, req).await,
        C::Hscan => Box::pin(scan::hscan(ctx, req)).await,
        _ => run_keys(ctx, req, command).await,
    }
}

/// The commands on keys of any type and on databases.
async fn run_keys(ctx: &mut Ctx<'_>, req: &Request, command: &'static Command) -> Done {
    use CommandId as C;
    match command.id {
        C::Del | C::Unlink => key::del(ctx, req).await,
        C::Exists | C::Touch => key::exists(ctx, req).await,
        C::Type => key::type_of(ctx, req).await,
        C::Ttl => key::ttl(ctx, req, TimeUnit::Seconds).await,
        C::Pttl => key::ttl(ctx, req, TimeUnit::Milliseconds).await,
        C::ExpireTime => key::expiretime(ctx, req, TimeUnit::Seconds).await,
        C::PExpireTime => key::expiretime(ctx, req, TimeUnit::Milliseconds).await,
        C::Expire => key::expire(ctx, req, TimeUnit::Seconds, true, command.name).await,
        C::PExpire => key::expire(ctx, req, TimeUnit::Milliseconds, true, command.name).await,
        C::ExpireAt => key::expire(ctx, req, TimeUnit::Seconds, false, command.name).await,
        C::PExpireAt => key::expire(ctx, req, TimeUnit::Milliseconds, false, command.name).await,
        C::Persist => key::persist(ctx, req).await,
        C::Rename => Box::pin(key::rename(ctx, req)).await,
        C::RenameNx => Box::pin(key::renamenx(ctx, req)).await,
        C::Copy => Box::pin(key::copy(ctx, req)).await,
        C::ObjectEncoding => key::object_encoding(ctx, req).await,
        C::ObjectRefCount => key::object_constant(ctx, req, 1).await,
        C::ObjectIdleTime => key::object_constant(ctx, req, 0).await,
        C::ObjectFreq => key::object_freq(ctx, req).await,
        C::MemoryUsage => Box::pin(key::memory_usage(ctx, req)).await,
        C::Keys => Box::pin(scan::keys(ctx, req)).await,
        C::Scan => Box::pin(scan::scan(ctx, req)).await,
        C::Range => Box::pin(scan::range(ctx, req)).await,
        C::RandomKey => Box::pin(scan::randomkey(ctx)).await,
        C::DbSize => scan::dbsize(ctx).await,
        C::FlushDb => Box::pin(scan::flush(ctx, req, false)).await,
        C::FlushAll => Box::pin(scan::flush(ctx, req, true)).await,
        _ => Err(wrong_arity(command.name).into()),
    }
}

/// An argument; the command's arity is checked, so it is there.
fn arg(req: &Request, index: usize) -> &[u8] {
    req.arg(index).unwrap_or_default()
}

/// The arguments from `from` on, each once, in order.
fn distinct(req: &Request, from: usize) -> Vec<&[u8]> {
    let mut seen = HashSet::new();
    let many = req.len() - from > 1;
    req.args_from(from).filter(|key| !many || seen.insert(*key)).collect()
}

/// The pairs from `from` on, each name once with its last value, in order of first mention.
fn last_of_each<'r>(req: &'r Request, from: usize, name: &str) -> Done<Vec<(&'r [u8], &'r [u8])>> {
    let count = req.len() - from;
    if !count.is_multiple_of(2) {
        return Err(wrong_arity(name).into());
    }
    let mut args = req.args_from(from);
    let mut pairs: Vec<(&[u8], &[u8])> = Vec::with_capacity(count / 2);
    let mut places: HashMap<&[u8], usize> = HashMap::new();
    while let (Some(name), Some(value)) = (args.next(), args.next()) {
        // A single pair needs no table.
        match (count > 2).then(|| places.insert(name, pairs.len())).flatten() {
            None => pairs.push((name, value)),
            Some(place) => {
                places.insert(name, place);
                if let Some(pair) = pairs.get_mut(place) {
                    pair.1 = value;
                }
            }
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The state of a command is moved from hand to hand before it begins: what is rarely needed has a place of its own.
    #[test]
    fn a_command_s_state_is_small() {
        fn size_of_state<'a, F: Future>(_: impl FnOnce(&'a mut Ctx<'a>, &'a Request) -> F) -> usize {
            size_of::<F>()
        }
        let bytes = size_of_state(|ctx, req| execute(ctx, req));
        assert!(bytes <= 1536, "{bytes}");
    }

    #[test]
    fn repeated_names_keep_their_last_value() {
        let req = Request::from_args(&[b"mset", b"a", b"1", b"b", b"2", b"a", b"3"]);
        let pairs = last_of_each(&req, 1, "mset").expect("even");
        assert_eq!(pairs, [(&b"a"[..], &b"3"[..]), (b"b", b"2")]);
        assert_eq!(distinct(&Request::from_args(&[b"del", b"x", b"y", b"x"]), 1), [b"x", b"y"]);
        let odd = Request::from_args(&[b"mset", b"a", b"1", b"b"]);
        assert!(last_of_each(&odd, 1, "mset").is_err());
    }
}
