//! Commands on hashes: a record and one entry per field.

use super::ctx::{Ctx, Done, Found, Span, View, check_field, check_field_value, live_of_kind};
use super::writing::Held;
use super::{arg, distinct, last_of_each};
use crate::model::{Changes, HashMeta, Kind, Record, Slot, field_key};
use ringfort_protocol::front::resp::Request;
use ringfort_protocol::front::resp::error::{HASH_NOT_A_FLOAT, HASH_NOT_AN_INTEGER, INFINITE};
use ringfort_protocol::front::resp::number::{
    add_floats, add_integers, float, integer, parse_i64, write_i64,
};
use ringfort_store::Value;
use std::ops::ControlFlow;

/// A hash that is being changed under its lock.
struct Edit<'k> {
    key: &'k [u8],
    slot: Slot,
    expiry_ms: u64,
    meta: HashMeta,
    changes: Changes,
}

impl<'k> Edit<'k> {
    /// Reads the record; a hash that is not there yet gets a new generation.
    async fn begin(ctx: &mut Ctx<'_>, key: &'k [u8]) -> Done<Self> {
        let slot = ctx.load_locked(key).await?;
        let (meta, expiry_ms) = match live_of_kind(&slot, Kind::Hash)? {
            Some(record) => (record.hash(), record.expiry_ms()),
            None => (HashMeta { generation: ctx.new_generation(ctx.keyspace(), key), count: 0 }, 0),
        };
        let changes = ctx.changes();
        Ok(Self { key, slot, expiry_ms, meta, changes })
    }

    /// The present value of a field.
    async fn read(&self, ctx: &mut Ctx<'_>, field: &[u8]) -> Done<Option<Value>> {
        check_field(self.key, field)?;
        if self.meta.count == 0 {
            return Ok(None);
        }
        ctx.fetch(ctx.keyspace(), &field_key(self.key, self.meta.generation, field), None).await
    }

    /// Sets a field; `is_new`: it was not there.
    fn put(&mut self, field: &[u8], value: &[u8], is_new: bool) {
        self.meta.count += u64::from(is_new);
        self.changes.put_field(self.key, self.meta.generation, field, value);
    }

    /// Removes a field that is there.
    fn remove(&mut self, field: &[u8]) {
        self.meta.count = self.meta.count.saturating_sub(1);
        self.changes.delete_field(self.key, self.meta.generation, field);
    }

    /// Writes what changed: the record only if it says something else now. A hash without
    /// fields does not exist.
    fn commit(mut self, ctx: &mut Ctx<'_>, lock: Held) -> Done {
        if self.changes.is_empty() {
            return Ok(());
        }
        let before = self.slot.live().map(Record::hash);
        if self.meta.count == 0 {
            if let Some(stored) = self.slot.stored() {
                self.changes.remove(self.key, stored);
            }
        } else if before != Some(self.meta) {
            self.changes.put_hash(self.key, self.slot.stored(), self.expiry_ms, self.meta);
        }
        ctx.commit(self.changes, lock)
    }
}

/// `HSET key field value ...`.
pub(super) async fn hset(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let added = set_fields(ctx, req, "hset").await?;
    ctx.reply().integer(added);
    Ok(())
}

/// `HMSET key field value ...`.
pub(super) async fn hmset(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    set_fields(ctx, req, "hmset").await?;
    ctx.reply().ok();
    Ok(())
}

async fn set_fields(ctx: &mut Ctx<'_>, req: &Request, name: &str) -> Done<i64> {
    let key = arg(req, 1);
    let pairs = last_of_each(req, 2, name)?;
    for (field, value) in &pairs {
        check_field(key, field)?;
        check_field_value(value.len())?;
    }
    let lock = ctx.lock(key).await?;
    let mut edit = Edit::begin(ctx, key).await?;
    let mut added = 0;
    for (field, value) in &pairs {
        let is_new = edit.read(ctx, field).await?.is_none();
        added += i64::from(is_new);
        edit.put(field, value, is_new);
    }
    edit.commit(ctx, lock)?;
    Ok(added)
}

/// `HSETNX key field value`.
pub(super) async fn hsetnx(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let (key, field, value) = (arg(req, 1), arg(req, 2), arg(req, 3));
    check_field_value(value.len())?;
    let lock = ctx.lock(key).await?;
    let mut edit = Edit::begin(ctx, key).await?;
    let is_new = edit.read(ctx, field).await?.is_none();
    if is_new {
        edit.put(field, value, true);
    }
    edit.commit(ctx, lock)?;
    ctx.reply().integer(i64::from(is_new));
    Ok(())
}

/// `HDEL key field...`.
pub(super) async fn hdel(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let key = arg(req, 1);
    let lock = ctx.lock(key).await?;
    let mut edit = Edit::begin(ctx, key).await?;
    let mut removed = 0;
    for field in distinct(req, 2) {
        if edit.read(ctx, field).await?.is_some() {
            edit.remove(field);
            removed += 1;
        }
    }
    edit.commit(ctx, lock)?;
    ctx.reply().integer(removed);
    Ok(())
}

/// `HINCRBY key field step`.
pub(super) async fn hincrby(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let (key, field, step) = (arg(req, 1), arg(req, 2), integer(arg(req, 3))?);
    let lock = ctx.lock(key).await?;
    let mut edit = Edit::begin(ctx, key).await?;
    let old = edit.read(ctx, field).await?;
    let before = match &old {
        None => 0,
        Some(text) => parse_i64(text).ok_or(HASH_NOT_AN_INTEGER)?,
    };
    let after = add_integers(before, step)?;
    let mut text = Vec::with_capacity(20);
    write_i64(&mut text, after);
    edit.put(field, &text, old.is_none());
    edit.commit(ctx, lock)?;
    ctx.reply().integer(after);
    Ok(())
}

/// `HINCRBYFLOAT key field step`.
pub(super) async fn hincrbyfloat(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let (key, field) = (arg(req, 1), arg(req, 2));
    // Unlike `INCRBYFLOAT`, Redis looks at the step before it looks at the key.
    if float(arg(req, 3))?.is_infinite() {
        return Err(INFINITE.into());
    }
    let lock = ctx.lock(key).await?;
    let mut edit = Edit::begin(ctx, key).await?;
    let old = edit.read(ctx, field).await?;
    let after = add_floats(old.as_deref().unwrap_or(b"0"), arg(req, 3), HASH_NOT_A_FLOAT)?;
    edit.put(field, &after, old.is_none());
    edit.commit(ctx, lock)?;
    ctx.reply().bulk(&after);
    Ok(())
}

/// The record of a hash at a snapshot, and one of its fields.
async fn field_at(ctx: &mut Ctx<'_>, key: &[u8], field: &[u8], at: &View) -> Done<Option<Value>> {
    check_field(key, field)?;
    match ctx.load_hash(key, at).await? {
        None => Ok(None),
        Some(record) => {
            let stored = field_key(key, record.hash().generation, field);
            ctx.fetch_charged(ctx.keyspace(), &stored, Some(at)).await
        }
    }
}

/// `HGET key field`.
pub(super) async fn hget(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let at = ctx.snapshot();
    let value = field_at(ctx, arg(req, 1), arg(req, 2), &at).await?;
    ctx.reply().bulk_or_null(value.as_deref());
    Ok(())
}

/// `HEXISTS key field`.
pub(super) async fn hexists(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let at = ctx.snapshot();
    let value = field_at(ctx, arg(req, 1), arg(req, 2), &at).await?;
    ctx.reply().integer(i64::from(value.is_some()));
    Ok(())
}

/// `HSTRLEN key field`.
pub(super) async fn hstrlen(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let at = ctx.snapshot();
    let value = field_at(ctx, arg(req, 1), arg(req, 2), &at).await?;
    ctx.reply().count(value.map_or(0, |v| v.len()));
    Ok(())
}

/// `HMGET key field...`.
pub(super) async fn hmget(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let key = arg(req, 1);
    let at = ctx.snapshot();
    let record = ctx.load_hash(key, &at).await?;
    ctx.reply().array(req.len() - 2);
    for field in req.args_from(2) {
        check_field(key, field)?;
        let value = match &record {
            None => None,
            Some(record) => {
                let stored = field_key(key, record.hash().generation, field);
                ctx.fetch_charged(ctx.keyspace(), &stored, Some(&at)).await?
            }
        };
        ctx.reply().bulk_or_null(value.as_deref());
    }
    Ok(())
}

/// `HLEN key`.
pub(super) async fn hlen(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let at = ctx.snapshot();
    let record = ctx.load_hash(arg(req, 1), &at).await?;
    ctx.reply().integer(record.map_or(0, |r| i64::try_from(r.hash().count).unwrap_or(i64::MAX)));
    Ok(())
}

/// Which part of its fields a command shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Both,
    Fields,
    Values,
}

/// `HGETALL key`.
pub(super) async fn hgetall(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let found = all_fields(ctx, arg(req, 1), Part::Both).await?;
    let mut reply = ctx.reply();
    reply.map(found.items.len());
    for (field, value) in &found.items {
        reply.bulk(field);
        reply.bulk(value);
    }
    Ok(())
}

/// `HKEYS key`.
pub(super) async fn hkeys(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let found = all_fields(ctx, arg(req, 1), Part::Fields).await?;
    let mut reply = ctx.reply();
    reply.array(found.items.len());
    found.items.iter().for_each(|(field, _)| reply.bulk(field));
    Ok(())
}

/// `HVALS key`.
pub(super) async fn hvals(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let found = all_fields(ctx, arg(req, 1), Part::Values).await?;
    let mut reply = ctx.reply();
    reply.array(found.items.len());
    found.items.iter().for_each(|(_, value)| reply.bulk(value));
    Ok(())
}

async fn all_fields(ctx: &mut Ctx<'_>, key: &[u8], part: Part) -> Done<Found> {
    let at = ctx.snapshot();
    let Some(record) = ctx.load_hash(key, &at).await? else { return Ok(Found::default()) };
    let meta = record.hash();
    let span = Span::of_fields(key, meta);
    let prefix_len = span.from.len();
    let count = usize::try_from(meta.count).unwrap_or(usize::MAX);
    ctx.scan(&at, ctx.keyspace(), span, count, move |stored, value, found| {
        let field = if part == Part::Values { Vec::new() } else { without_prefix(stored, prefix_len) };
        found.keep(field, if part == Part::Fields { Vec::new() } else { value });
        ControlFlow::Continue(())
    })
    .await
}

/// A stored key without the first `len` bytes.
pub(super) fn without_prefix(mut stored: Vec<u8>, len: usize) -> Vec<u8> {
    // Into memory of its own size: it may be kept for as long as a scan takes.
    stored.split_off(len.min(stored.len()))
}
