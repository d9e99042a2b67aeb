//! Commands on keys of any type: existence, expiry, renaming, copying.

use super::ctx::{Ctx, Done, Span};
use super::{arg, distinct};
use crate::model::{Changes, Kind, Record, Slot};
use crate::server::locking::Wanted;
use crate::stats::{add, read};
use ringfort_base::limits::BATCH_BYTES_MAX;
use ringfort_base::{Error, ErrorKind, KeyspaceId};
use ringfort_protocol::front::resp::error::{NO_SUCH_KEY, OVER_BUDGET, SAME_OBJECT};
use ringfort_protocol::front::resp::options::TimeUnit;
use ringfort_protocol::front::resp::{Request, options};
use ringfort_store::txn::locks::Mode;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// `DEL key...` and `UNLINK key...`: the same here, a hash of any size goes in O(1).
pub(super) async fn del(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let keys = distinct(req, 1);
    let lock = ctx.lock_keys(keys.iter().copied()).await?;
    let mut changes = ctx.changes();
    let mut removed = 0;
    for key in keys {
        let slot = ctx.load_locked(key).await?;
        removed += i64::from(slot.live().is_some());
        if let Some(stored) = slot.stored() {
            changes.remove(key, stored);
        }
    }
    ctx.commit(changes, lock)?;
    ctx.reply().integer(removed);
    Ok(())
}

/// `EXISTS key...`: a key named twice counts twice.
pub(super) async fn exists(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let at = (req.len() > 2).then(|| ctx.snapshot());
    let mut count = 0;
    for key in req.args_from(1) {
        count += i64::from(ctx.load(key, at.as_ref()).await?.is_some());
    }
    ctx.reply().integer(count);
    Ok(())
}

/// `TYPE key`.
pub(super) async fn type_of(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let record = ctx.load(arg(req, 1), None).await?;
    ctx.reply().simple(record.map_or("none", |r| r.kind().name()));
    Ok(())
}

/// `TTL key` and `PTTL key`: -2 without a key, -1 without an expiry.
pub(super) async fn ttl(ctx: &mut Ctx<'_>, req: &Request, unit: TimeUnit) -> Done {
    let left = match ctx.load(arg(req, 1), None).await?.map(|r| r.expiry_ms()) {
        None => -2,
        Some(0) => -1,
        Some(expiry_ms) => match (expiry_ms.saturating_sub(ctx.server.store().now_ms()), unit) {
            (ms, TimeUnit::Milliseconds) => as_i64(ms),
            (ms, TimeUnit::Seconds) => as_i64((ms + 500) / 1000),
        },
    };
    ctx.reply().integer(left);
    Ok(())
}

/// `EXPIRETIME key` and `PEXPIRETIME key`.
pub(super) async fn expiretime(ctx: &mut Ctx<'_>, req: &Request, unit: TimeUnit) -> Done {
    let at = match ctx.load(arg(req, 1), None).await?.map(|r| r.expiry_ms()) {
        None => -2,
        Some(0) => -1,
        Some(expiry_ms) if unit == TimeUnit::Milliseconds => as_i64(expiry_ms),
        Some(expiry_ms) => as_i64((expiry_ms + 500) / 1000),
    };
    ctx.reply().integer(at);
    Ok(())
}

pub(super) fn as_i64(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// `PERSIST key`.
pub(super) async fn persist(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let key = arg(req, 1);
    let (lock, slot) = ctx.lock_and_load(key).await?;
    let volatile = slot.live().filter(|record| record.expiry_ms() != 0);
    if let Some(record) = volatile {
        let mut changes = ctx.changes();
        ctx.put_expiry(&mut changes, key, record, 0).await?;
        ctx.commit(changes, lock)?;
    }
    ctx.reply().integer(i64::from(volatile.is_some()));
    Ok(())
}

/// `RENAME key newkey`.
pub(super) async fn rename(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    rename_to(ctx, arg(req, 1), arg(req, 2), false).await?;
    ctx.reply().ok();
    Ok(())
}

/// `RENAMENX key newkey`.
pub(super) async fn renamenx(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let renamed = rename_to(ctx, arg(req, 1), arg(req, 2), true).await?;
    ctx.reply().integer(i64::from(renamed));
    Ok(())
}

async fn rename_to(ctx: &mut Ctx<'_>, from: &[u8], to: &[u8], only_if_absent: bool) -> Done<bool> {
    let keyspace = ctx.keyspace();
    let lock = ctx.lock_keys([from, to]).await?;
    let source = ctx.load_locked(from).await?;
    let Some(record) = source.live() else { return Err(NO_SUCH_KEY.into()) };
    if from == to {
        return Ok(!only_if_absent);
    }
    let target = ctx.load_locked(to).await?;
    if only_if_absent && target.live().is_some() {
        return Ok(false);
    }
    let mut changes = ctx.changes();
    copy_record(ctx, (keyspace, from, record), &mut changes, to, &target).await?;
    changes.remove(from, record);
    ctx.commit(changes, lock)?;
    Ok(true)
}

/// Puts a copy of a record, and for a hash of its fields, in the place of `target`. The fields carry
/// the name of their key, so this costs what the hash holds, and one batch bounds it.
async fn copy_record(
    ctx: &mut Ctx<'_>,
    (keyspace, from, record): (KeyspaceId, &[u8], &Record),
    changes: &mut Changes,
    to: &[u8],
    target: &Slot,
) -> Done {
    if record.kind() == Kind::String {
        // Held twice: as it was read, and in the batch.
        if !ctx.try_charge(2 * record.stored_len()) {
            return Err(OVER_BUDGET.into());
        }
        ctx.put_string(changes, to, target.stored(), record.expiry_ms(), &[record.value()]).await?;
        return Ok(());
    }
    let mut meta = record.hash();
    let span = Span::of_fields(from, meta);
    let prefix_len = span.from.len();
    let count = usize::try_from(meta.count).unwrap_or(usize::MAX);
    let at = ctx.snapshot();
    let found = ctx
        .scan_locked(&at, keyspace, span, count, move |stored, value, found| {
            found.keep(super::hash::without_prefix(stored, prefix_len), value);
            // More than a batch holds: no need to read on.
            if found.bytes > BATCH_BYTES_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .await?;
    if found.bytes + found.items.len() * (to.len() + 16) > BATCH_BYTES_MAX {
        let why = "the hash is too large to be renamed or copied in one step";
        return Err(Error::new(ErrorKind::Exhausted, why).into());
    }
    meta.generation = ctx.new_generation(changes.keyspace(), to);
    meta.count = found.items.len() as u64;
    for (field, value) in &found.items {
        super::ctx::check_field(to, field)?;
        changes.put_field(to, meta.generation, field, value);
    }
    changes.put_hash(to, target.stored(), record.expiry_ms(), meta);
    Ok(())
}

/// `COPY source destination [DB n] [REPLACE]`.
pub(super) async fn copy(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let options = options::copy(req.args_from(3))?;
    let (from, to, replace) = (arg(req, 1), arg(req, 2), options.replace);
    let db = options.db.map_or(ctx.session.db, usize::from);
    let (source_in, target_in) = (ctx.keyspace(), ctx.keyspace_of(db));
    if source_in == target_in && from == to {
        return Err(SAME_OBJECT.into());
    }
    let both = [(source_in, from), (target_in, to)];
    let both = both.map(|(keyspace, key)| Wanted::key(keyspace, key, Mode::Exclusive));
    let lock = ctx.lock_all(both.into()).await?;
    let source = ctx.load_locked(from).await?;
    let target = ctx.load_in(target_in, to, None).await?;
    let copied = match source.live() {
        Some(record) if replace || target.live().is_none() => {
            let mut changes = ctx.changes_to(target_in);
            copy_record(ctx, (source_in, from, record), &mut changes, to, &target).await?;
            ctx.commit(changes, lock)?;
            true
        }
        _ => false,
    };
    ctx.reply().integer(i64::from(copied));
    Ok(())
}

/// `EXPIRE key time [NX|XX|GT|LT]` and its kin; `relative`: to now. A time that has passed removes
/// the key.
pub(super) async fn expire(
    ctx: &mut Ctx<'_>,
    req: &Request,
    unit: TimeUnit,
    relative: bool,
    command: &str,
) -> Done {
    let conditions = options::expire_conditions(req.args_from(3))?;
    let key = arg(req, 1);
    let now_ms = as_i64(ctx.now_for_expiry_ms()?);
    let base_ms = if relative { now_ms } else { 0 };
    let at_ms = options::expire_deadline_ms(arg(req, 2), unit, base_ms, command)?;
    let (lock, slot) = ctx.lock_and_load(key).await?;
    let allowed = slot.live().filter(|record| {
        let current = Some(record.expiry_ms()).filter(|ms| *ms != 0).map(as_i64);
        conditions.allow(current, at_ms)
    });
    if let Some(record) = allowed {
        let mut changes = ctx.changes();
        match u64::try_from(at_ms) {
            Ok(at) if at_ms > now_ms => {
                ctx.put_expiry(&mut changes, key, record, at).await?;
            }
            _ => {
                changes.remove(key, record);
                add(&ctx.server.stats().expired_keys, 1);
            }
        }
        ctx.commit(changes, lock)?;
    }
    ctx.reply().integer(i64::from(allowed.is_some()));
    Ok(())
}

/// `OBJECT ENCODING key`, in the words that clients know for such values.
pub(super) async fn object_encoding(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let record = ctx.load(arg(req, 2), None).await?;
    let encoding = record.map(|r| match r.kind() {
        Kind::Hash if r.hash().count <= 128 => "listpack",
        Kind::Hash => "hashtable",
        Kind::String if ringfort_protocol::front::resp::number::parse_i64(r.value()).is_some() => "int",
        Kind::String if r.value().len() <= 44 => "embstr",
        Kind::String => "raw",
    });
    match encoding {
        Some(encoding) => ctx.reply().bulk_text(encoding),
        None => ctx.reply().null(),
    }
    Ok(())
}

/// `OBJECT REFCOUNT|IDLETIME key`: a constant for keys that exist.
pub(super) async fn object_constant(ctx: &mut Ctx<'_>, req: &Request, value: i64) -> Done {
    match ctx.load(arg(req, 2), None).await? {
        Some(_) => ctx.reply().integer(value),
        None => ctx.reply().null(),
    }
    Ok(())
}

/// `OBJECT FREQ key`: frequencies are not tracked.
pub(super) async fn object_freq(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    match ctx.load(arg(req, 2), None).await? {
        Some(_) => Err(ringfort_protocol::front::resp::error::NO_FREQUENCY.into()),
        None => {
            ctx.reply().null();
            Ok(())
        }
    }
}

/// `MEMORY USAGE key`: bytes of the stored entries; a hash is estimated from a sample of its fields.
pub(super) async fn memory_usage(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let samples = match options::memory_usage(req.args_from(3))? {
        None => SAMPLES,
        Some(0) => usize::MAX,
        Some(n) => usize::try_from(n).unwrap_or(usize::MAX),
    };
    let key = arg(req, 2);
    let at = ctx.snapshot();
    let Some(record) = ctx.load(key, Some(&at)).await? else {
        ctx.reply().null();
        return Ok(());
    };
    let mut bytes = (key.len() + 1 + record.stored_len() + ENTRY_OVERHEAD_BYTES) as u64;
    if record.kind() == Kind::Hash {
        let meta = record.hash();
        let span = Span::of_fields(key, meta);
        // Counted outside of what a scan collects: nothing is kept, so nothing is bounded.
        let sum = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
        let into = Arc::clone(&sum);
        ctx.scan(&at, ctx.keyspace(), span, samples, move |stored, value, _| {
            add(&into.0, 1);
            add(&into.1, (stored.len() + value.len() + ENTRY_OVERHEAD_BYTES) as u64);
            ControlFlow::Continue(())
        })
        .await?;
        bytes += read(&sum.1).saturating_mul(meta.count) / read(&sum.0).max(1);
    }
    ctx.reply().integer(as_i64(bytes));
    Ok(())
}

/// Fields that are looked at unless the caller says (as in Redis).
const SAMPLES: usize = 5;
/// What an entry costs beyond its bytes, roughly.
const ENTRY_OVERHEAD_BYTES: usize = 32;
