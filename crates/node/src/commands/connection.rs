//! Commands about this connection.

use super::arg;
use super::ctx::{Ctx, Done, Fail};
use crate::clients::Names;
use crate::door;
use ringfort_base::Level;
use ringfort_protocol::front::resp::error::{
    AUTH_WITHOUT_PASSWORD, NO_AUTH_HELLO, WRONG_PASS, level_below_minimum, wrong_arity,
};
use ringfort_protocol::front::resp::{Request, options};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What `HELLO` and `INFO` call the version: what Redis clients expect of a server with these commands.
pub(super) const REDIS_VERSION: &str = "7.2.0";

/// `HELLO [version [AUTH user password] [SETNAME name]]`.
pub(super) fn hello(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let hello = options::hello(req.args_from(1))?;
    match hello.auth {
        Some((user, password)) => authenticate(ctx, user, password)?,
        None if !ctx.session.authenticated => return Err(NO_AUTH_HELLO.into()),
        None => {}
    }
    if let Some(version) = hello.version {
        ctx.session.version = version;
        ctx.client.protocol.store(version.number() as u8, Ordering::Relaxed);
    }
    if let Some(name) = hello.name {
        ctx.client.names.lock().name = name.to_vec();
    }
    let (version, id) = (ctx.session.version, ctx.client.id);
    let mut reply = ctx.reply();
    reply.map(7);
    reply.bulk_text("server");
    reply.bulk_text("redis");
    reply.bulk_text("version");
    reply.bulk_text(REDIS_VERSION);
    reply.bulk_text("proto");
    reply.integer(version.number());
    reply.bulk_text("id");
    reply.integer(super::key::as_i64(id));
    reply.bulk_text("mode");
    reply.bulk_text("standalone");
    reply.bulk_text("role");
    reply.bulk_text("master");
    reply.bulk_text("modules");
    reply.array(0);
    Ok(())
}

/// `AUTH [user] password`.
pub(super) fn auth(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let (user, password) = options::auth(req.args_from(1))?;
    if user.is_none() && ctx.server.config().requirepass.is_none() {
        return Err(AUTH_WITHOUT_PASSWORD.into());
    }
    authenticate(ctx, user.unwrap_or(b"default"), password)?;
    ctx.reply().ok();
    Ok(())
}

/// There is one user; without a password any password is right, as in Redis.
fn authenticate(ctx: &mut Ctx<'_>, user: &[u8], password: &[u8]) -> Done {
    let right = match &ctx.server.config().requirepass {
        None => true,
        Some(expected) => same_bytes(expected, password),
    };
    // Both are checked whatever the first says.
    if !(right & same_bytes(b"default", user)) {
        tracing::warn!(client = %ctx.client.peer.remote, "a wrong password was given");
        return Err(WRONG_PASS.into());
    }
    ctx.session.authenticated = true;
    ctx.client.authenticated.store(true, Ordering::Relaxed);
    Ok(())
}

/// Compares in a time that depends on the length of `given` only.
fn same_bytes(expected: &[u8], given: &[u8]) -> bool {
    let mut difference = u8::from(expected.len() != given.len());
    for (i, byte) in given.iter().enumerate() {
        let wanted = expected.get(i).copied().unwrap_or(!byte);
        difference = std::hint::black_box(difference | (byte ^ wanted));
    }
    difference == 0
}

/// `PING [message]`.
pub(super) fn ping(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    match (req.arg(1), req.len()) {
        (None, _) => ctx.reply().simple("PONG"),
        (Some(message), 2) => ctx.reply().bulk(message),
        _ => return Err(wrong_arity("ping").into()),
    }
    Ok(())
}

/// `ECHO message`.
pub(super) fn echo(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    ctx.reply().bulk(arg(req, 1));
    Ok(())
}

/// `SELECT n`.
pub(super) fn select(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let db = options::db_index(arg(req, 1))?;
    ctx.session.db = usize::from(db);
    ctx.client.db.store(db, Ordering::Relaxed);
    ctx.reply().ok();
    Ok(())
}

/// `QUIT`.
pub(super) fn quit(ctx: &mut Ctx<'_>) -> Done {
    ctx.reply().ok();
    ctx.close = true;
    Ok(())
}

/// `RESET`.
pub(super) fn reset(ctx: &mut Ctx<'_>) -> Done {
    ctx.session.reset(ctx.server);
    let client = ctx.client;
    *client.names.lock() = Names::default();
    client.db.store(0, Ordering::Relaxed);
    client.protocol.store(2, Ordering::Relaxed);
    client.no_evict.store(false, Ordering::Relaxed);
    client.no_touch.store(false, Ordering::Relaxed);
    client.authenticated.store(ctx.session.authenticated, Ordering::Relaxed);
    ctx.reply().simple("RESET");
    Ok(())
}

/// `LEVEL [buffered|durable|fresh]`: for the replies of this session from here on.
pub(super) fn level(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    match options::level(req.args_from(1))? {
        None => {
            let name = ctx.session.level.name();
            ctx.reply().bulk_text(name);
        }
        Some(level) => {
            let minimum = ctx.server.config().minimum_level;
            if level < minimum {
                return Err(level_below_minimum(level, minimum).into());
            }
            ctx.session.level = level;
            ctx.reply().ok();
        }
    }
    Ok(())
}

/// `WAITAOF numlocal numreplicas timeout`: until the last write of this session is durable. There are
/// no replicas, so their number is always 0, and asking for some does not wait for them.
pub(super) async fn waitaof(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let (wait_here, timeout_ms) = options::wait_aof(arg(req, 1), arg(req, 2), arg(req, 3))?;
    // What is only submitted is written by nobody else.
    ctx.pending.flush();
    let store = ctx.server.store();
    let last = ctx.session.last_write;
    let mut durable = store.frontier(Level::Durable) >= last;
    // EXEC does not wait in its middle, as in Redis.
    if wait_here && !durable && ctx.session.open.is_none() {
        let timeout = (timeout_ms > 0).then(|| Duration::from_millis(timeout_ms));
        let wait = store.wait(last, Level::Durable);
        match door::within(timeout, wait).await {
            Some(Ok(())) => durable = true,
            Some(Err(error)) => return Err(Fail::Write(error)),
            None => {}
        }
    }
    let mut reply = ctx.reply();
    reply.array(2);
    reply.integer(i64::from(durable));
    reply.integer(0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_compared_whole() {
        assert!(same_bytes(b"secret", b"secret"));
        for wrong in [&b""[..], b"secre", b"secrets", b"Secret", b"secreu"] {
            assert!(!same_bytes(b"secret", wrong));
        }
        assert!(!same_bytes(b"", b"x") && same_bytes(b"", b""));
    }
}
