//! Commands about the server: COMMAND, TIME, SLOWLOG, CONFIG RESETSTAT.

use super::arg;
use super::ctx::{Ctx, Done};
use super::key::as_i64;
use ringfort_protocol::front::resp::command::{docs_reply, info_reply, lookup_full, top_level};
use ringfort_protocol::front::resp::error::subcommand_syntax;
use ringfort_protocol::front::resp::{Request, options};

/// `COMMAND`.
pub(super) fn command_all(ctx: &mut Ctx<'_>) -> Done {
    let mut reply = ctx.reply();
    reply.array(top_level().count());
    top_level().for_each(|command| info_reply(command, &mut reply));
    Ok(())
}

/// `COMMAND COUNT`.
pub(super) fn command_count(ctx: &mut Ctx<'_>) -> Done {
    ctx.reply().count(top_level().count());
    Ok(())
}

/// `COMMAND INFO [name...]`.
pub(super) fn command_info(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let names = req.args_from(2);
    if names.len() == 0 {
        return command_all(ctx);
    }
    let mut reply = ctx.reply();
    reply.array(names.len());
    for name in names {
        match lookup_full(name) {
            Some(command) => info_reply(command, &mut reply),
            None => reply.null(),
        }
    }
    Ok(())
}

/// `COMMAND DOCS [name...]`; names that are none are left out.
pub(super) fn command_docs(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let names = req.args_from(2);
    let mut reply = ctx.reply();
    if names.len() == 0 {
        reply.map(top_level().count());
        top_level().for_each(|command| docs_reply(command, &mut reply));
        return Ok(());
    }
    reply.map(names.clone().filter_map(lookup_full).count());
    names.filter_map(lookup_full).for_each(|command| docs_reply(command, &mut reply));
    Ok(())
}

/// `TIME`: the store's time (R20), to the millisecond.
pub(super) fn time(ctx: &mut Ctx<'_>) -> Done {
    let now_ms = ctx.now_ms();
    let mut reply = ctx.reply();
    reply.array(2);
    reply.bulk_integer(now_ms / 1000);
    reply.bulk_integer(now_ms % 1000 * 1000);
    Ok(())
}

/// `CONFIG RESETSTAT`.
pub(super) fn resetstat(ctx: &mut Ctx<'_>) -> Done {
    ctx.server.stats().reset();
    ctx.reply().ok();
    Ok(())
}

/// `SLOWLOG GET [count]`.
pub(super) fn slowlog_get(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    if req.len() > 3 {
        return Err(subcommand_syntax("slowlog", arg(req, 1)).into());
    }
    let count = options::slowlog_get(req.args_from(2))?;
    let count = count.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let server = ctx.server;
    let log = server.slowlog().lock();
    let entries = log.newest(count);
    let mut reply = ctx.reply();
    reply.array(entries.len());
    for entry in entries {
        reply.array(6);
        reply.integer(as_i64(entry.id));
        reply.integer(as_i64(entry.at_s));
        reply.integer(as_i64(entry.took_us));
        reply.array(entry.args.len());
        entry.args.iter().for_each(|arg| reply.bulk(arg));
        reply.bulk_text(&entry.peer);
        reply.bulk(&entry.name);
    }
    Ok(())
}

/// `SLOWLOG LEN`.
pub(super) fn slowlog_len(ctx: &mut Ctx<'_>) -> Done {
    let len = ctx.server.slowlog().lock().len();
    ctx.reply().count(len);
    Ok(())
}

/// `SLOWLOG RESET`.
pub(super) fn slowlog_reset(ctx: &mut Ctx<'_>) -> Done {
    ctx.server.slowlog().lock().reset();
    ctx.reply().ok();
    Ok(())
}
