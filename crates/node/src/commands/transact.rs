//! MULTI, EXEC, DISCARD, WATCH, UNWATCH, and TXN.
//!
//! ```text
//!  request ─► not authenticated? ─► MULTI … TXN …: here ─► queued since MULTI? ─► run
//! ```
//!
//! **EXEC** takes the locks of all that its commands name, and of what the session watches, before it carries out
//! the first, in the order in which everybody takes them. So it carries each out once and never fails for others' sake:
//! should a transaction that takes its locks as it goes make it the victim of a deadlock, it has done nothing yet, and
//! begins again, as old as it was. Its commands become one batch in the log, and its reply waits for all that they read and wrote.
//! What a command itself is refused (WRONGTYPE) is its reply among the others, as in Redis; where the server fails it (memory, the
//! disk), nothing of EXEC is done.
//!
//! **TXN** is a transaction of the store in the client's hands. Each command's reply waits for the transaction's
//! level at what it read, so nothing is shown that could still be lost (R6); what the transaction itself wrote is nobody's
//! but the client's, and waits only for what was read before it was written. COMMIT waits for all.

use super::ctx::{CLOCK_SUSPECT, CLOSING, Ctx, Done, Fail};
use super::writing::cover_all;
use super::{account, arg, run};
use crate::model::Slot;
use crate::server::locking::{self, Wanted};
use crate::server::views::OpenView;
use crate::server::watches::Watching;
use crate::txn::{Interactive, Multi, Open};
use ringfort_base::{Error, ErrorKind, KeyspaceId, Result as StoreResult, Seq};
use ringfort_protocol::front::resp::command::{Command, CommandId, flags, help_reply};
use ringfort_protocol::front::resp::error::{
    DISCARD_WITHOUT_MULTI, EXEC_ABORT, EXEC_WITHOUT_MULTI, NESTED_MULTI, NESTED_TXN, NO_AUTH, NO_SAVEPOINT,
    NO_TXN, NOT_IN_MULTI, NOT_IN_TXN, OVER_BUDGET, TXN_TOO_LARGE, WATCH_IN_MULTI, exec_abort,
    level_below_minimum, txn_is_over,
};
use ringfort_protocol::front::resp::options::{self, TxnKind};
use ringfort_protocol::front::resp::{ReplyError, Request};
use ringfort_store::Store;
use ringfort_store::txn::locks::Mode;
use ringfort_store::txn::transaction::{Concurrency, Ready, Transaction, TxnOptions};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Carries a request out, queues it, or begins or ends a transaction.
pub(super) async fn carry_out(ctx: &mut Ctx<'_>, req: &Request, command: &'static Command) -> Done {
    if !ctx.session.authenticated && !command.has(flags::NO_AUTH) {
        ctx.session.abort_multi();
        return Err(NO_AUTH.into());
    }
    if command.has(flags::CONTROL) {
        // Apart, so that other commands' futures do not grow by it.
        return Box::pin(control(ctx, req, command)).await;
    }
    if ctx.session.multi.is_some() {
        return queue(ctx, req, command);
    }
    check_in_txn(ctx, command)?;
    let result = run(ctx, req, command).await;
    if ctx.session.txn.is_some() {
        ctx.session.txn_used(ctx.server.monotonic());
        end_if_lost(ctx, &result);
    }
    result
}

/// The error for a request that is no command, or has not the right number of arguments.
pub(super) fn not_queued(ctx: &mut Ctx<'_>, req: &Request, error: ReplyError) -> ReplyError {
    if req.name().eq_ignore_ascii_case(b"EXEC") {
        discard_all(ctx);
        return exec_abort(&error);
    }
    ctx.session.abort_multi();
    error
}

async fn control(ctx: &mut Ctx<'_>, req: &Request, command: &'static Command) -> Done {
    use CommandId as C;
    match command.id {
        C::Multi => multi(ctx),
        C::Exec => exec(ctx).await,
        C::Discard => discard(ctx),
        C::Watch => watch(ctx, req).await,
        C::Quit => super::connection::quit(ctx),
        C::Reset => super::connection::reset(ctx),
        _ if ctx.session.multi.is_some() => {
            ctx.session.abort_multi();
            Err(NOT_IN_MULTI.into())
        }
        C::TxnBegin => begin(ctx, req),
        C::TxnCommit => commit(ctx).await,
        C::TxnRollback => rollback(ctx, req),
        C::TxnSavepoint => savepoint(ctx),
        C::TxnStatus => status(ctx),
        _ => {
            help_reply(command, &mut ctx.reply());
            Ok(())
        }
    }
}

// --- MULTI and WATCH ----------------------------------------------------------------------------------

fn multi(ctx: &mut Ctx<'_>) -> Done {
    if ctx.session.txn.is_some() {
        return Err(NESTED_TXN.into());
    }
    if ctx.session.multi.is_some() {
        return Err(NESTED_MULTI.into());
    }
    ctx.session.multi = Some(Multi::default());
    ctx.reply().ok();
    Ok(())
}

fn queue(ctx: &mut Ctx<'_>, req: &Request, command: &'static Command) -> Done {
    if command.has(flags::NO_MULTI) {
        ctx.session.abort_multi();
        return Err(NOT_IN_MULTI.into());
    }
    let more = ctx.session.multi.as_ref().map_or(0, |multi| multi.bytes_with(req) - multi.bytes);
    if let Err(full) = ctx.check_txn_bytes(ctx.session.held_bytes() + more) {
        // What was queued goes at once: it will not be carried out.
        ctx.session.multi = Some(Multi { aborted: true, ..Multi::default() });
        return Err(full);
    }
    if let Some(multi) = &mut ctx.session.multi
        && !multi.aborted
    {
        multi.push(req, command);
    }
    ctx.reply().simple("QUEUED");
    Ok(())
}

fn discard_all(ctx: &mut Ctx<'_>) {
    ctx.session.multi = None;
    ctx.session.watching.forget();
}

fn discard(ctx: &mut Ctx<'_>) -> Done {
    if ctx.session.multi.is_none() {
        return Err(DISCARD_WITHOUT_MULTI.into());
    }
    discard_all(ctx);
    ctx.reply().ok();
    Ok(())
}

/// `UNWATCH`.
pub(super) fn unwatch(ctx: &mut Ctx<'_>) -> Done {
    ctx.session.watching.forget();
    ctx.reply().ok();
    Ok(())
}

/// `WATCH key...`: from here on, also where a writer holds a key now: his write comes before.
async fn watch(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    if ctx.session.multi.is_some() {
        return Err(WATCH_IN_MULTI.into());
    }
    if ctx.session.txn.is_some() {
        return Err(NOT_IN_TXN.into());
    }
    let keyspace = ctx.keyspace();
    let bytes: usize = req.args_from(1).map(|key| 2 * key.len() + Watching::PLACE_BYTES).sum();
    ctx.check_txn_bytes(ctx.session.held_bytes() + bytes)?;
    let mut wanted = Vec::with_capacity(req.len() - 1);
    for key in req.args_from(1) {
        super::ctx::check_key(key)?;
        wanted.push(Wanted::key(keyspace, key, Mode::Shared));
    }
    let held = ctx.lock_all(wanted).await?;
    for key in req.args_from(1) {
        let was_live = ctx.load_in(keyspace, key, None).await?.live().is_some();
        ctx.session.watching.watch(keyspace, key, was_live);
    }
    drop(held);
    ctx.reply().ok();
    Ok(())
}

// --- EXEC ---------------------------------------------------------------------------------------------

async fn exec(ctx: &mut Ctx<'_>) -> Done {
    let Some(multi) = ctx.session.multi.take() else { return Err(EXEC_WITHOUT_MULTI.into()) };
    // Whatever comes of it, nothing is watched afterwards.
    let empty = Watching::new(ctx.server.watches());
    let watching = std::mem::replace(&mut ctx.session.watching, empty);
    if multi.aborted {
        return Err(EXEC_ABORT.into());
    }
    let mut wanted = wanted_by(ctx, &multi);
    wanted.extend(watching.keys().map(|(keyspace, key, _)| Wanted::key(keyspace, key, Mode::Shared)));
    locking::in_order(&mut wanted);
    let store = ctx.server.store();
    ctx.pace().await;
    let inner = ctx.wait_for_locks(None, pin!(begin_covering(store, &wanted))).await?;
    // Only now: what has expired while it waited is not there.
    let mut open = Open::new(inner, TxnKind::Pessimistic, store.now_ms());
    open.is_covered = true;
    ctx.session.open = Some(Box::new(open));
    let selected = (ctx.session.db, ctx.client.db.load(Ordering::Relaxed));
    let result = exec_covered(ctx, &multi, &watching).await;
    let done = match (result, ctx.session.open.take()) {
        (Ok(()), Some(open)) => close(ctx, *open).await,
        (result, _) => result,
    };
    if done.is_err() {
        // Neither does SELECT hold of what was not done.
        ctx.session.db = selected.0;
        ctx.client.db.store(selected.1, Ordering::Relaxed);
    }
    done
}

/// A transaction that has the locks. It has done nothing before, so it can begin again.
async fn begin_covering(store: &Store, wanted: &[Wanted]) -> StoreResult<Transaction> {
    let mut age = None;
    loop {
        let options = TxnOptions { concurrency: Concurrency::Pessimistic, age };
        let mut txn = store.begin(options);
        age = Some(txn.age());
        match cover_all(&mut txn, wanted).await {
            Ok(()) => return Ok(txn),
            Err(error) if error.kind() == ErrorKind::Deadlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// The replies of all commands, or nil.
async fn exec_covered(ctx: &mut Ctx<'_>, multi: &Multi, watching: &Watching) -> Done {
    if is_changed(ctx, watching).await? {
        // Nothing of it is done. The answer depends on whatever changed the key.
        ctx.session.open = None;
        let visible = ctx.server.store().snapshot().position();
        ctx.shows.read(visible);
        ctx.reply().null_array();
        return Ok(());
    }
    ctx.reply().array(multi.queue.len());
    for (req, command) in &multi.queue {
        let start = ctx.out.len();
        let result = run(ctx, req, command).await;
        if let Err(fail) = &result
            && (is_servers(fail) || ctx.server.failure().is_some())
        {
            // Rather nothing than half of it.
            return result;
        }
        let failed = ctx.settle(start, result);
        account(ctx, req, Some(command), failed);
        ctx.check_reply(0)?;
    }
    Ok(())
}

async fn is_changed(ctx: &mut Ctx<'_>, watching: &Watching) -> Done<bool> {
    if watching.is_changed() {
        return Ok(true);
    }
    for (keyspace, key, was_live) in watching.keys() {
        // No write tells of a key that has expired.
        if let Slot::Absent | Slot::Expired(_) = ctx.load_in(keyspace, key, None).await?
            && was_live
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The locks of all that the commands use.
fn wanted_by(ctx: &Ctx<'_>, multi: &Multi) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let mut db = ctx.session.db;
    for (req, command) in &multi.queue {
        if command.id == CommandId::Select {
            db = options::db_index(arg(req, 1)).map_or(db, usize::from);
        }
        if command.flags & (flags::READONLY | flags::WRITE) != 0 {
            wanted_by_one(ctx, ctx.keyspace_of(db), req, command, &mut wanted);
        }
    }
    wanted
}

fn wanted_by_one(
    ctx: &Ctx<'_>,
    keyspace: KeyspaceId,
    req: &Request,
    command: &'static Command,
    wanted: &mut Vec<Wanted>,
) {
    let mode = if command.is_write() { Mode::Exclusive } else { Mode::Shared };
    let mut places = command.key_positions(req.len()).peekable();
    if command.id == CommandId::FlushAll {
        wanted.extend(ctx.server.databases().iter().map(|db| Wanted::database(*db, mode)));
    } else if command.id == CommandId::Copy {
        // The one command that reaches into another database.
        let target = options::copy(req.args_from(3)).ok().and_then(|options| options.db);
        let target = target.map_or(keyspace, |db| ctx.keyspace_of(usize::from(db)));
        wanted.push(Wanted::key(keyspace, arg(req, 1), mode));
        wanted.push(Wanted::key(target, arg(req, 2), mode));
    } else if places.peek().is_none() {
        wanted.push(Wanted::database(keyspace, mode));
    } else {
        wanted.extend(places.map(|at| Wanted::key(keyspace, arg(req, at), mode)));
    }
}

/// Commits what was opened. The locks go with the batch, and are given back when it is visible.
async fn close(ctx: &mut Ctx<'_>, open: Open) -> Done {
    let Open { inner, touched, earliest_expiry_ms, lock_timeout, .. } = open;
    let ready = ctx.wait_for_locks(lock_timeout, pin!(inner.ready())).await;
    if let Err(Fail::Read(error)) = &ready
        && error.kind() == ErrorKind::Conflict
    {
        // So says a write that is newer than what was read (R6).
        let visible = ctx.server.store().snapshot().position();
        ctx.shows.read(visible);
    }
    let Ready { batch, depends, locks, .. } = ready?;
    if depends > Seq::ZERO {
        ctx.shows.read(depends);
    }
    ctx.submit(batch, earliest_expiry_ms, &touched, locks)
}

// --- TXN ----------------------------------------------------------------------------------------------

fn begin(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let options = options::txn_begin(req.args_from(2))?;
    if ctx.session.txn.is_some() {
        return Err(NESTED_TXN.into());
    }
    let level = options.level.unwrap_or(ctx.session.level);
    let minimum = ctx.server.config().minimum_level;
    if level < minimum {
        return Err(level_below_minimum(level, minimum).into());
    }
    // What this turn wrote lies before it.
    ctx.pending.flush();
    let most = ctx.server.config().txn_lock_timeout;
    let mut open = opened(ctx, options.kind);
    open.lock_timeout = Some(options.timeout_ms.map_or(most, |ms| Duration::from_millis(ms).min(most)));
    ctx.session.open = Some(Box::new(open));
    ctx.session.txn = Some(Interactive { level, ended_by: None, last_used: ctx.server.monotonic() });
    ctx.reply().ok();
    Ok(())
}

fn opened(ctx: &Ctx<'_>, kind: TxnKind) -> Open {
    let store = ctx.server.store();
    let now_ms = store.now_ms();
    let with = |concurrency| TxnOptions { concurrency, ..TxnOptions::default() };
    let concurrency = match kind {
        TxnKind::Pessimistic => return Open::new(store.begin(with(Concurrency::Pessimistic)), kind, now_ms),
        TxnKind::Optimistic => Concurrency::Optimistic,
        TxnKind::Snapshot => Concurrency::Snapshot,
    };
    let (view, inner) = OpenView::drawn(ctx.server, || {
        let inner = store.begin(with(concurrency));
        let snapshot = inner.snapshot().cloned().unwrap_or_else(|| store.snapshot());
        (snapshot, inner)
    });
    let mut open = Open::new(inner, kind, now_ms);
    open.view = Some(Arc::new(view));
    open
}

/// Refuses what the transaction cannot do.
fn check_in_txn(ctx: &Ctx<'_>, command: &'static Command) -> Done {
    let Some(txn) = &ctx.session.txn else { return Ok(()) };
    if let Some(why) = &txn.ended_by {
        return Err(txn_is_over(why).into());
    }
    match command.id {
        CommandId::Level | CommandId::WaitAof => Err(NOT_IN_TXN.into()),
        _ => Ok(()),
    }
}

/// Whether it is the server that fails, and not the command that is wrong where it stands.
fn is_servers(fail: &Fail) -> bool {
    match fail {
        Fail::Reply(error) => [OVER_BUDGET, TXN_TOO_LARGE, CLOCK_SUSPECT, CLOSING].contains(error),
        Fail::Read(_) | Fail::Write(_) => true,
    }
}

/// Whether the transaction is gone with this error.
fn is_lost(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Deadlock | ErrorKind::Conflict)
}

fn end_if_lost(ctx: &mut Ctx<'_>, result: &Done) {
    if let Err(Fail::Read(error) | Fail::Write(error)) = result
        && is_lost(error)
    {
        ctx.session.end_txn(ReplyError::from(error));
    }
}

async fn commit(ctx: &mut Ctx<'_>) -> Done {
    match &ctx.session.txn {
        None => return Err(NO_TXN.into()),
        Some(Interactive { ended_by: Some(why), .. }) => return Err(txn_is_over(why).into()),
        Some(_) => {}
    }
    if let Some(error) = ctx.server.failure() {
        // Nothing was written, and nothing can be.
        let error = error.clone();
        ctx.session.txn = None;
        ctx.session.open = None;
        return Err(Fail::Read(error));
    }
    ctx.session.txn = None;
    if let Some(open) = ctx.session.open.take() {
        close(ctx, *open).await?;
    }
    ctx.reply().ok();
    Ok(())
}

fn rollback(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let to_savepoint = options::txn_rollback(req.args_from(2))?;
    let Some(txn) = &ctx.session.txn else { return Err(NO_TXN.into()) };
    if to_savepoint {
        if let Some(why) = &txn.ended_by {
            return Err(txn_is_over(why).into());
        }
        if !ctx.session.open.as_mut().is_some_and(|open| open.rollback_to_savepoint()) {
            return Err(NO_SAVEPOINT.into());
        }
        ctx.session.txn_used(ctx.server.monotonic());
    } else {
        ctx.session.txn = None;
        ctx.session.open = None;
    }
    ctx.reply().ok();
    Ok(())
}

fn savepoint(ctx: &mut Ctx<'_>) -> Done {
    let Some(txn) = &ctx.session.txn else { return Err(NO_TXN.into()) };
    if let Some(why) = &txn.ended_by {
        return Err(txn_is_over(why).into());
    }
    ctx.check_txn_bytes(ctx.session.held_bytes() + Open::SAVEPOINT_BYTES)?;
    if let Some(open) = &mut ctx.session.open {
        open.set_savepoint();
    }
    ctx.session.txn_used(ctx.server.monotonic());
    ctx.reply().ok();
    Ok(())
}

/// `TXN STATUS`: a map; of a session without a transaction it says so.
fn status(ctx: &mut Ctx<'_>) -> Done {
    let (open, txn) = (&ctx.session.open, &ctx.session.txn);
    let (state, level) = match txn {
        None => ("none", ctx.session.level()),
        Some(Interactive { ended_by: Some(_), .. }) => ("over", ctx.session.level()),
        Some(_) => ("open", ctx.session.level()),
    };
    let kind = open.as_ref().map(|open| open.kind.name());
    let bytes = open.as_ref().map_or(0, |open| open.bytes());
    let mut reply = ctx.reply();
    reply.map(4);
    reply.bulk_text("state");
    reply.bulk_text(state);
    reply.bulk_text("kind");
    reply.bulk_or_null(kind.map(str::as_bytes));
    reply.bulk_text("level");
    reply.bulk_text(level.name());
    reply.bulk_text("bytes");
    reply.count(bytes);
    Ok(())
}
