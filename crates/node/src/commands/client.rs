//! `CLIENT`: this connection and the others.

use super::ctx::{Ctx, Done};
use crate::clients::Client;
use crate::session::Replies;
use ringfort_protocol::front::resp::error::NO_SUCH_CLIENT;
use ringfort_protocol::front::resp::options::{ClientCommand, ClientType, KillFilter, ReplyMode, SetInfo};
use ringfort_protocol::front::resp::{Request, options};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// `CLIENT subcommand ...`.
pub(super) fn client(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    match options::client(req.args_from(1))? {
        ClientCommand::Id => {
            let id = super::key::as_i64(ctx.client.id);
            ctx.reply().integer(id);
        }
        ClientCommand::Info => {
            let list = lines(ctx, std::slice::from_ref(ctx.client));
            ctx.reply().verbatim(*b"txt", list.as_bytes());
        }
        ClientCommand::GetName => {
            let name = ctx.client.names.lock().name.clone();
            ctx.reply().bulk_or_null(Some(name.as_slice()).filter(|name| !name.is_empty()));
        }
        ClientCommand::SetName(name) => {
            ctx.client.names.lock().name = name.to_vec();
            ctx.reply().ok();
        }
        ClientCommand::SetInfo(which, text) => {
            let mut names = ctx.client.names.lock();
            match which {
                SetInfo::LibName => names.lib_name = text.to_vec(),
                SetInfo::LibVer => names.lib_version = text.to_vec(),
            }
            drop(names);
            ctx.reply().ok();
        }
        ClientCommand::List { kind, ids } => {
            let mut clients = ctx.server.clients().list();
            clients.retain(|c| kind != Some(ClientType::Other) && (ids.is_empty() || ids.contains(&c.id)));
            let list = lines(ctx, &clients);
            ctx.reply().verbatim(*b"txt", list.as_bytes());
        }
        ClientCommand::KillAddress(address) => {
            let clients = ctx.server.clients().list();
            let victim = clients.iter().find(|c| c.peer.remote.as_bytes() == address);
            kill(ctx, victim.ok_or(NO_SUCH_CLIENT)?);
            ctx.reply().ok();
        }
        ClientCommand::Kill(filter) => {
            let now = ctx.server.monotonic();
            let mut clients = ctx.server.clients().list();
            clients.retain(|c| fits(&filter, c, ctx.client.id, c.age(now).as_secs()));
            clients.iter().for_each(|victim| kill(ctx, victim));
            ctx.reply().count(clients.len());
        }
        ClientCommand::NoEvict(on) => {
            ctx.client.no_evict.store(on, Ordering::Relaxed);
            ctx.reply().ok();
        }
        ClientCommand::NoTouch(on) => {
            ctx.client.no_touch.store(on, Ordering::Relaxed);
            ctx.reply().ok();
        }
        ClientCommand::Reply(mode) => {
            ctx.session.replies = match mode {
                ReplyMode::On => Replies::On,
                ReplyMode::Off => Replies::Off,
                ReplyMode::Skip => Replies::SkipNext,
            };
            ctx.reply().ok();
        }
        ClientCommand::Help => {}
    }
    Ok(())
}

fn lines(ctx: &Ctx<'_>, clients: &[Arc<Client>]) -> String {
    let now = ctx.server.monotonic();
    let mut out = String::new();
    for client in clients {
        client.describe(now, &mut out);
        out.push('\n');
    }
    out
}

fn fits(filter: &KillFilter<'_>, client: &Client, me: u64, age_s: u64) -> bool {
    filter.id.is_none_or(|id| id == client.id)
        && filter.addr.is_none_or(|addr| addr == client.peer.remote.as_bytes())
        && filter.laddr.is_none_or(|addr| addr == client.peer.local.as_bytes())
        && filter.kind.is_none_or(|kind| kind == ClientType::Normal)
        && filter.user.is_none_or(|user| user == b"default")
        && filter.age_s_min.is_none_or(|min| age_s >= min)
        && !(filter.skip_me && client.id == me)
}

/// Asks a connection to close; this one closes after its reply.
fn kill(ctx: &mut Ctx<'_>, victim: &Client) {
    if victim.id == ctx.client.id {
        ctx.close = true;
    } else {
        victim.close();
    }
}
