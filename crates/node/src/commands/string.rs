//! Commands on strings.

use super::ctx::{Ctx, Done, check_key, live_of_kind};
use super::key::as_i64;
use super::{arg, last_of_each};
use crate::model::{Changes, Kind, Record, Slot};
use crate::stats::add;
use ringfort_protocol::front::resp::error::{OFFSET_OUT_OF_RANGE, OVER_BUDGET};
use ringfort_protocol::front::resp::number::{add_floats, add_integers, integer, negate, write_i64};
use ringfort_protocol::front::resp::options::{Deadline, GetExExpiry, SetExpiry, TimeUnit};
use ringfort_protocol::front::resp::{Request, options};

/// `GET key`.
pub(super) async fn get(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let record = ctx.load_string(arg(req, 1)).await?;
    ctx.reply().bulk_or_null(record.as_ref().map(Record::value));
    Ok(())
}

/// `SET key value [NX|XX] [GET] [EX s|PX ms|EXAT s|PXAT ms|KEEPTTL]`.
pub(super) async fn set(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let options = options::set(req.args_from(3))?;
    let (key, value) = (arg(req, 1), arg(req, 2));
    ctx.check_string(value.len())?;
    // Before the key is looked at: a time that is none is refused even if NX or XX would decide.
    let until = match options.expiry {
        SetExpiry::Set(deadline) => deadline_ms(ctx, deadline, "set")?,
        SetExpiry::Clear | SetExpiry::Keep => None,
    };
    let (lock, slot) = ctx.lock_and_load(key).await?;
    // With GET the old value is answered, so it must be a string.
    let old = if options.get { live_of_kind(&slot, Kind::String)? } else { slot.live() };
    if options.get {
        ctx.check_reply(old.map_or(0, |r| r.value().len()))?;
    }
    let allowed = !(options.nx && old.is_some() || options.xx && old.is_none());
    if allowed {
        let mut changes = ctx.changes();
        match options.expiry {
            SetExpiry::Clear => ctx.put_string(&mut changes, key, slot.stored(), 0, &[value]).await?,
            SetExpiry::Keep => {
                ctx.put_string(&mut changes, key, slot.stored(), old.map_or(0, Record::expiry_ms), &[value])
                    .await?;
            }
            SetExpiry::Set(_) => match until {
                Some(at_ms) => ctx.put_string(&mut changes, key, slot.stored(), at_ms, &[value]).await?,
                None => remove(ctx, &mut changes, key, &slot),
            },
        }
        ctx.commit(changes, lock)?;
    }
    match (options.get, allowed) {
        (true, _) => ctx.reply().bulk_or_null(old.map(Record::value)),
        (false, true) => ctx.reply().ok(),
        (false, false) => ctx.reply().null(),
    }
    Ok(())
}

/// The Unix time of a deadline; `None` if it has passed.
fn deadline_ms(ctx: &Ctx<'_>, deadline: Deadline, command: &str) -> Done<Option<u64>> {
    let now_ms = as_i64(ctx.now_for_expiry_ms()?);
    let at_ms = deadline.unix_ms(now_ms, command)?;
    Ok(u64::try_from(at_ms).ok().filter(|_| at_ms > now_ms))
}

/// Removes what is stored because its new expiry has passed.
fn remove(ctx: &Ctx<'_>, changes: &mut Changes, key: &[u8], slot: &Slot) {
    if let Some(stored) = slot.stored() {
        changes.remove(key, stored);
        add(&ctx.server.stats().expired_keys, 1);
    }
}

/// `SETEX key seconds value` and `PSETEX key milliseconds value`.
pub(super) async fn setex(ctx: &mut Ctx<'_>, req: &Request, unit: TimeUnit) -> Done {
    let deadline = options::set_ex(arg(req, 2), unit)?;
    let command = if unit == TimeUnit::Seconds { "setex" } else { "psetex" };
    let (key, value) = (arg(req, 1), arg(req, 3));
    ctx.check_string(value.len())?;
    let (lock, slot) = ctx.lock_and_load(key).await?;
    let mut changes = ctx.changes();
    match deadline_ms(ctx, deadline, command)? {
        Some(at_ms) => ctx.put_string(&mut changes, key, slot.stored(), at_ms, &[value]).await?,
        None => remove(ctx, &mut changes, key, &slot),
    }
    ctx.commit(changes, lock)?;
    ctx.reply().ok();
    Ok(())
}

/// `GETEX key [EX s|PX ms|EXAT s|PXAT ms|PERSIST]`.
pub(super) async fn getex(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let expiry = options::getex(req.args_from(2))?;
    if expiry == GetExExpiry::Keep {
        return get(ctx, req).await;
    }
    let key = arg(req, 1);
    let (lock, slot) = ctx.lock_and_load(key).await?;
    let Some(old) = live_of_kind(&slot, Kind::String)? else {
        ctx.reply().null();
        return Ok(());
    };
    ctx.check_reply(old.value().len())?;
    let mut changes = ctx.changes();
    let at_ms = match expiry {
        GetExExpiry::Set(deadline) => deadline_ms(ctx, deadline, "getex")?,
        GetExExpiry::Persist | GetExExpiry::Keep => Some(0),
    };
    match at_ms {
        None => remove(ctx, &mut changes, key, &slot),
        // PERSIST of what does not expire changes nothing.
        Some(at_ms) if at_ms == old.expiry_ms() => {}
        Some(at_ms) => ctx.put_expiry(&mut changes, key, old, at_ms).await?,
    }
    ctx.commit(changes, lock)?;
    ctx.reply().bulk(old.value());
    Ok(())
}

/// `STRLEN key`.
pub(super) async fn strlen(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let record = ctx.load_string(arg(req, 1)).await?;
    ctx.reply().count(record.map_or(0, |r| r.value().len()));
    Ok(())
}

/// `GETRANGE key start end`, and `SUBSTR`.
pub(super) async fn getrange(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let (start, end) = (integer(arg(req, 2))?, integer(arg(req, 3))?);
    let record = ctx.load_string(arg(req, 1)).await?;
    let value = record.as_ref().map_or(&b""[..], Record::value);
    ctx.reply().bulk(slice_of(value, start, end));
    Ok(())
}

/// The bytes from `start` to `end`, inclusive; negative ones count from the end.
fn slice_of(value: &[u8], start: i64, end: i64) -> &[u8] {
    let len = value.len() as i64;
    if start < 0 && end < 0 && start > end {
        return &[];
    }
    let place = |at: i64| if at < 0 { (len + at).max(0) } else { at };
    let (start, end) = (place(start), place(end).min(len - 1));
    if start > end {
        return &[];
    }
    value.get(start as usize..=end as usize).unwrap_or_default()
}

/// `MGET key...`: one snapshot, so never half of an `MSET`.
pub(super) async fn mget(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    ctx.reply().array(req.len() - 1);
    let at = (req.len() > 2).then(|| ctx.snapshot());
    for key in req.args_from(1) {
        let record = ctx.load(key, at.as_ref()).await?;
        let value = record.as_ref().filter(|r| r.kind() == Kind::String).map(Record::value);
        ctx.check_reply(value.map_or(0, <[u8]>::len))?;
        ctx.reply().bulk_or_null(value);
    }
    Ok(())
}

/// `GETSET key value`.
pub(super) async fn getset(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let (key, value) = (arg(req, 1), arg(req, 2));
    ctx.check_string(value.len())?;
    let (lock, slot) = ctx.lock_and_load(key).await?;
    let old = live_of_kind(&slot, Kind::String)?;
    ctx.check_reply(old.map_or(0, |r| r.value().len()))?;
    let mut changes = ctx.changes();
    ctx.put_string(&mut changes, key, slot.stored(), 0, &[value]).await?;
    ctx.commit(changes, lock)?;
    ctx.reply().bulk_or_null(old.map(Record::value));
    Ok(())
}

/// `GETDEL key`.
pub(super) async fn getdel(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let key = arg(req, 1);
    let (lock, slot) = ctx.lock_and_load(key).await?;
    let old = live_of_kind(&slot, Kind::String)?;
    ctx.check_reply(old.map_or(0, |r| r.value().len()))?;
    let mut changes = ctx.changes();
    if let Some(stored) = slot.stored() {
        changes.remove(key, stored);
    }
    ctx.commit(changes, lock)?;
    ctx.reply().bulk_or_null(old.map(Record::value));
    Ok(())
}

/// `SETNX key value`.
pub(super) async fn setnx(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let (key, value) = (arg(req, 1), arg(req, 2));
    ctx.check_string(value.len())?;
    let (lock, slot) = ctx.lock_and_load(key).await?;
    let absent = slot.live().is_none();
    if absent {
        let mut changes = ctx.changes();
        ctx.put_string(&mut changes, key, slot.stored(), 0, &[value]).await?;
        ctx.commit(changes, lock)?;
    }
    ctx.reply().integer(i64::from(absent));
    Ok(())
}

/// `MSET key value ...`: one batch.
pub(super) async fn mset(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    set_many(ctx, req, "mset").await?;
    ctx.reply().ok();
    Ok(())
}

/// `MSETNX key value ...`: all or none.
pub(super) async fn msetnx(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let done = set_many(ctx, req, "msetnx").await?;
    ctx.reply().integer(i64::from(done));
    Ok(())
}

async fn set_many(ctx: &mut Ctx<'_>, req: &Request, name: &str) -> Done<bool> {
    let only_if_absent = name == "msetnx";
    let pairs = last_of_each(req, 1, name)?;
    for (key, value) in &pairs {
        check_key(key)?;
        ctx.check_string(value.len())?;
    }
    let lock = ctx.lock_keys(pairs.iter().map(|(key, _)| *key)).await?;
    let mut changes = ctx.changes();
    for (key, value) in &pairs {
        let slot = ctx.load_locked(key).await?;
        if only_if_absent && slot.live().is_some() {
            return Ok(false);
        }
        ctx.put_string(&mut changes, key, slot.stored(), 0, &[*value]).await?;
    }
    ctx.commit(changes, lock)?;
    Ok(true)
}

/// `APPEND key value`.
pub(super) async fn append(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let (key, value) = (arg(req, 1), arg(req, 2));
    let (lock, slot) = ctx.lock_and_load(key).await?;
    let old = live_of_kind(&slot, Kind::String)?;
    let before = old.map_or(&b""[..], Record::value);
    let len = before.len() + value.len();
    ctx.check_string(len)?;
    let mut changes = ctx.changes();
    ctx.put_string(&mut changes, key, slot.stored(), old.map_or(0, Record::expiry_ms), &[before, value])
        .await?;
    ctx.commit(changes, lock)?;
    ctx.reply().count(len);
    Ok(())
}

/// `SETRANGE key offset value`.
pub(super) async fn setrange(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let (key, value) = (arg(req, 1), arg(req, 3));
    let offset = usize::try_from(integer(arg(req, 2))?).map_err(|_| OFFSET_OUT_OF_RANGE)?;
    let (lock, slot) = ctx.lock_and_load(key).await?;
    let old = live_of_kind(&slot, Kind::String)?;
    let before = old.map_or(&b""[..], Record::value);
    if value.is_empty() {
        ctx.reply().count(before.len());
        return Ok(());
    }
    ctx.check_string(offset.saturating_add(value.len()))?;
    let head = before.get(..offset.min(before.len())).unwrap_or_default();
    let gap = offset - head.len();
    // The one command that asks for more than it brings.
    if !ctx.try_charge(2 * slot.stored().map_or(0, Record::stored_len) + gap) {
        return Err(OVER_BUDGET.into());
    }
    let gap = vec![0; gap];
    let tail = before.get(offset + value.len()..).unwrap_or_default();
    let mut changes = ctx.changes();
    ctx.put_string(
        &mut changes,
        key,
        slot.stored(),
        old.map_or(0, Record::expiry_ms),
        &[head, &gap, value, tail],
    )
    .await?;
    ctx.commit(changes, lock)?;
    ctx.reply().count(head.len() + gap.len() + value.len() + tail.len());
    Ok(())
}

/// `INCR key`.
pub(super) async fn incr(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    add_to(ctx, arg(req, 1), 1).await
}

/// `DECR key`.
pub(super) async fn decr(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    add_to(ctx, arg(req, 1), -1).await
}

/// `INCRBY key step`.
pub(super) async fn incrby(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let step = integer(arg(req, 2))?;
    add_to(ctx, arg(req, 1), step).await
}

/// `DECRBY key step`.
pub(super) async fn decrby(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let step = negate(integer(arg(req, 2))?)?;
    add_to(ctx, arg(req, 1), step).await
}

async fn add_to(ctx: &mut Ctx<'_>, key: &[u8], step: i64) -> Done {
    let (lock, slot) = ctx.lock_and_load(key).await?;
    let old = live_of_kind(&slot, Kind::String)?;
    let before = old.map_or(Ok(0), |r| integer(r.value()))?;
    let after = add_integers(before, step)?;
    let mut text = Vec::with_capacity(20);
    write_i64(&mut text, after);
    let mut changes = ctx.changes();
    ctx.put_string(&mut changes, key, slot.stored(), old.map_or(0, Record::expiry_ms), &[&text]).await?;
    ctx.commit(changes, lock)?;
    ctx.reply().integer(after);
    Ok(())
}

/// `INCRBYFLOAT key step`.
pub(super) async fn incrbyfloat(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let key = arg(req, 1);
    let (lock, slot) = ctx.lock_and_load(key).await?;
    let old = live_of_kind(&slot, Kind::String)?;
    let before = old.map_or(&b"0"[..], Record::value);
    let not_a_float = ringfort_protocol::front::resp::error::NOT_A_FLOAT;
    let after = add_floats(before, arg(req, 2), not_a_float)?;
    let mut changes = ctx.changes();
    ctx.put_string(&mut changes, key, slot.stored(), old.map_or(0, Record::expiry_ms), &[&after]).await?;
    ctx.commit(changes, lock)?;
    ctx.reply().bulk(&after);
    Ok(())
}
