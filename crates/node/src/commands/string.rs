//! Commands on strings.

use super::ctx::{Ctx, Done, check_field, check_key, check_string, live_of_kind};
use super::{arg, last_of_each};
use crate::model::{Kind, Record, Slot};
use ringfort_protocol::front::resp::Request;
use ringfort_protocol::front::resp::error::{OFFSET_OUT_OF_RANGE, WRONG_TYPE};
use ringfort_protocol::front::resp::number::{add_floats, add_integers, integer, negate, write_i64};

/// `GET key`.
pub(super) async fn get(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let record = ctx.load_string(arg(req, 1)).await?;
    ctx.reply().bulk_or_null(record.as_ref().map(Record::value));
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
    check_string(value.len())?;
    let latch = ctx.latch(ctx.keyspace(), [key]).await;
    let slot = ctx.load_latched(key).await?;
    let old = live_of_kind(&slot, Kind::String)?;
    ctx.check_reply(old.map_or(0, |r| r.value().len()))?;
    let mut changes = ctx.changes();
    changes.put_string(key, slot.stored(), 0, &[value]);
    ctx.commit(changes)?;
    drop(latch);
    ctx.reply().bulk_or_null(old.map(Record::value));
    Ok(())
}

/// `GETDEL key`.
pub(super) async fn getdel(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let key = arg(req, 1);
    let latch = ctx.latch(ctx.keyspace(), [key]).await;
    let slot = ctx.load_latched(key).await?;
    let old = live_of_kind(&slot, Kind::String)?;
    ctx.check_reply(old.map_or(0, |r| r.value().len()))?;
    let mut changes = ctx.changes();
    if let Some(stored) = slot.stored() {
        changes.remove(key, stored);
    }
    ctx.commit(changes)?;
    drop(latch);
    ctx.reply().bulk_or_null(old.map(Record::value));
    Ok(())
}

/// `SETNX key value`.
pub(super) async fn setnx(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let (key, value) = (arg(req, 1), arg(req, 2));
    check_string(value.len())?;
    let latch = ctx.latch(ctx.keyspace(), [key]).await;
    let slot = ctx.load_latched(key).await?;
    let absent = slot.live().is_none();
    if absent {
        let mut changes = ctx.changes();
        changes.put_string(key, slot.stored(), 0, &[value]);
        ctx.commit(changes)?;
    }
    drop(latch);
    ctx.reply().integer(i64::from(absent));
    Ok(())
}

/// `MSET key value ...`: one batch.
pub(super) async fn mset(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    set_many(ctx, req, false).await?;
    ctx.reply().ok();
    Ok(())
}

/// `MSETNX key value ...`: all or none.
pub(super) async fn msetnx(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let done = set_many(ctx, req, true).await?;
    ctx.reply().integer(i64::from(done));
    Ok(())
}

async fn set_many(ctx: &mut Ctx<'_>, req: &Request, only_if_absent: bool) -> Done<bool> {
    let pairs = last_of_each(req, 1);
    for (key, value) in &pairs {
        check_key(key)?;
        check_string(value.len())?;
    }
    let latch = ctx.latch(ctx.keyspace(), pairs.iter().map(|(key, _)| *key)).await;
    let mut changes = ctx.changes();
    for (key, value) in &pairs {
        let slot = ctx.load_latched(key).await?;
        if only_if_absent && slot.live().is_some() {
            return Ok(false);
        }
        changes.put_string(key, slot.stored(), 0, &[*value]);
    }
    ctx.commit(changes)?;
    drop(latch);
    Ok(true)
}

/// `APPEND key value`.
pub(super) async fn append(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let (key, value) = (arg(req, 1), arg(req, 2));
    let latch = ctx.latch(ctx.keyspace(), [key]).await;
    let slot = ctx.load_latched(key).await?;
    let old = live_of_kind(&slot, Kind::String)?;
    let before = old.map_or(&b""[..], Record::value);
    let len = before.len() + value.len();
    check_string(len)?;
    let mut changes = ctx.changes();
    changes.put_string(key, slot.stored(), old.map_or(0, Record::expiry_ms), &[before, value]);
    ctx.commit(changes)?;
    drop(latch);
    ctx.reply().count(len);
    Ok(())
}

/// `SETRANGE key offset value`.
pub(super) async fn setrange(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let (key, value) = (arg(req, 1), arg(req, 3));
    let offset = usize::try_from(integer(arg(req, 2))?).map_err(|_| OFFSET_OUT_OF_RANGE)?;
    let latch = ctx.latch(ctx.keyspace(), [key]).await;
    let slot = ctx.load_latched(key).await?;
    let old = live_of_kind(&slot, Kind::String)?;
    let before = old.map_or(&b""[..], Record::value);
    if value.is_empty() {
        ctx.reply().count(before.len());
        return Ok(());
    }
    check_string(offset.saturating_add(value.len()))?;
    let head = before.get(..offset.min(before.len())).unwrap_or_default();
    let gap = vec![0; offset - head.len()];
    let tail = before.get(offset + value.len()..).unwrap_or_default();
    let mut changes = ctx.changes();
    changes.put_string(key, slot.stored(), old.map_or(0, Record::expiry_ms), &[head, &gap, value, tail]);
    ctx.commit(changes)?;
    drop(latch);
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
    let latch = ctx.latch(ctx.keyspace(), [key]).await;
    let slot = ctx.load_latched(key).await?;
    let old = live_of_kind(&slot, Kind::String)?;
    let before = old.map_or(Ok(0), |r| integer(r.value()))?;
    let after = add_integers(before, step)?;
    let mut text = Vec::with_capacity(20);
    write_i64(&mut text, after);
    let mut changes = ctx.changes();
    changes.put_string(key, slot.stored(), old.map_or(0, Record::expiry_ms), &[&text]);
    ctx.commit(changes)?;
    drop(latch);
    ctx.reply().integer(after);
    Ok(())
}

/// `INCRBYFLOAT key step`.
pub(super) async fn incrbyfloat(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let key = arg(req, 1);
    let latch = ctx.latch(ctx.keyspace(), [key]).await;
    let slot = ctx.load_latched(key).await?;
    let old = live_of_kind(&slot, Kind::String)?;
    let before = old.map_or(&b"0"[..], Record::value);
    let not_a_float = ringfort_protocol::front::resp::error::NOT_A_FLOAT;
    let after = add_floats(before, arg(req, 2), not_a_float)?;
    let mut changes = ctx.changes();
    changes.put_string(key, slot.stored(), old.map_or(0, Record::expiry_ms), &[&after]);
    ctx.commit(changes)?;
    drop(latch);
    ctx.reply().bulk(&after);
    Ok(())
}
