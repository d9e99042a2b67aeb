//! Commands that go through many keys: SCAN, HSCAN, KEYS, RANDOMKEY, RANGE, DBSIZE, FLUSHDB.
//!
//! All of them read at one snapshot and in order of keys. A pattern's literal beginning bounds the
//! range that is read, so `KEYS user:*` costs what there is under `user:`.

use super::arg;
use super::ctx::{Ctx, Done, Found, Span, View};
use super::hash::without_prefix;
use crate::cursors::Scanned;
use crate::model::{Kind, META_END, META_START, Record, meta_key, next_prefix, user_key};
use crate::server::locking::Wanted;
use ringfort_base::KeyspaceId;
use ringfort_protocol::front::resp::{Request, glob, options};
use ringfort_store::txn::locks::Mode;
use std::ops::ControlFlow;

/// Keys up to this many are drawn from uniformly by RANDOMKEY.
const UNIFORM_KEYS_MAX: u64 = 256;
/// Bytes in which keys differ that RANDOMKEY looks at.
const RANDOM_BYTES_MAX: usize = 32;
/// Hashes up to this many fields come whole from HSCAN, as small ones do in Redis.
const WHOLE_HASH_FIELDS_MAX: u64 = 128;

/// What a scan shows.
struct Filter {
    /// Only names that match.
    pattern: Option<Vec<u8>>,
    /// Only keys of this type. `Some(None)`: of a type that no key has.
    kind: Option<Option<Kind>>,
}

impl Filter {
    fn matches_name(&self, name: &[u8]) -> bool {
        self.pattern.as_deref().is_none_or(|pattern| glob::matches(pattern, name))
    }

    /// The part of `base..end` (all of whose keys begin with `base`) where matches can be.
    fn span(&self, base: Vec<u8>, end: Vec<u8>) -> Span {
        let Some(pattern) = self.pattern.as_deref() else {
            return Span { from: base, to: end, reverse: false, is_small: false, heads: true };
        };
        let literal = glob::literal_prefix(pattern);
        if literal.bytes.is_empty() && !literal.is_whole {
            return Span { from: base, to: end, reverse: false, is_small: false, heads: true };
        }
        let mut from = base;
        from.extend_from_slice(&literal.bytes);
        let to = if literal.is_whole {
            let mut after = from.clone();
            after.push(0);
            after
        } else {
            next_prefix(from.clone())
        };
        Span { from, to: to.min(end), reverse: false, is_small: false, heads: true }
    }
}

/// The visitor of meta records that are alive at `now_ms` and pass the filter.
fn visit_keys(
    filter: Filter,
    now_ms: u64,
) -> impl Fn(Vec<u8>, Vec<u8>, &mut Found) -> ControlFlow<()> + Send + Sync + 'static {
    move |stored, value, found| {
        let Some(name) = user_key(&stored) else { return ControlFlow::Continue(()) };
        if !filter.matches_name(name) {
            return ControlFlow::Continue(());
        }
        // A record that does not decode is shown by its own command as the error that it is.
        let Ok(record) = Record::decode(value) else { return ControlFlow::Continue(()) };
        let right_kind = filter.kind.is_none_or(|kind| kind == Some(record.kind()));
        if record.is_expired(now_ms) {
            found.hidden_ms = Some(record.expiry_ms());
        } else if right_kind {
            found.keep(name.to_vec(), Vec::new());
        }
        ControlFlow::Continue(())
    }
}

/// `KEYS pattern`.
pub(super) async fn keys(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let filter = Filter { pattern: Some(arg(req, 1).to_vec()), kind: None };
    let span = filter.span(META_START.to_vec(), META_END.to_vec());
    let (at, now_ms) = (ctx.snapshot(), ctx.now_ms());
    let found = ctx.scan(&at, ctx.keyspace(), span, usize::MAX, visit_keys(filter, now_ms)).await?;
    let mut reply = ctx.reply();
    reply.array(found.items.len());
    found.items.iter().for_each(|(name, _)| reply.bulk(name));
    Ok(())
}

/// `SCAN cursor [MATCH pattern] [COUNT n] [TYPE type]`: visits up to `count` keys.
pub(super) async fn scan(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let cursor = options::cursor(arg(req, 1))?;
    let options = options::scan(req.args_from(2))?;
    let kind = options.type_name.map(|name| {
        [Kind::String, Kind::Hash].into_iter().find(|kind| name.eq_ignore_ascii_case(kind.name().as_bytes()))
    });
    let filter = Filter { pattern: options.pattern.map(<[u8]>::to_vec), kind };
    let count = usize::try_from(options.count).unwrap_or(usize::MAX);
    let scanned = Scanned::Keys(ctx.keyspace());
    let mut span = filter.span(META_START.to_vec(), META_END.to_vec());
    resume(ctx, cursor, &scanned, &mut span);
    let (at, now_ms) = (ctx.snapshot(), ctx.now_ms());
    let visit = visit_counted(count, visit_keys(filter, now_ms));
    let found = ctx.scan(&at, ctx.keyspace(), span, count, visit).await?;
    let next = next_cursor(ctx, scanned, &found);
    let mut reply = ctx.reply();
    reply.array(2);
    reply.bulk_integer(next);
    reply.array(found.items.len());
    found.items.iter().for_each(|(name, _)| reply.bulk(name));
    Ok(())
}

/// Stops the visitor's scan at its `count`-th entry, so that "stopped" tells a full page from the end.
fn visit_counted(
    count: usize,
    visit: impl Fn(Vec<u8>, Vec<u8>, &mut Found) -> ControlFlow<()> + Send + Sync + 'static,
) -> impl Fn(Vec<u8>, Vec<u8>, &mut Found) -> ControlFlow<()> + Send + Sync + 'static {
    let visited = std::sync::atomic::AtomicUsize::new(0);
    move |stored, value, found| {
        visit(stored, value, found)?;
        let n = visited.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        if n >= count { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Continues behind the cursor's last key, if the table still knows it.
fn resume(ctx: &Ctx<'_>, cursor: u64, scanned: &Scanned, span: &mut Span) {
    if cursor == 0 {
        return;
    }
    if let Some(mut last) = ctx.server.cursors().lock().resume(cursor, scanned) {
        last.push(0);
        if last > span.from {
            span.from = last;
        }
    }
}

/// The cursor for the rest; 0 at the end.
fn next_cursor(ctx: &Ctx<'_>, scanned: Scanned, found: &Found) -> u64 {
    match &found.last {
        Some(last) if found.stopped => ctx.server.cursors().lock().save(scanned, last.clone()),
        _ => 0,
    }
}

/// `HSCAN key cursor [MATCH pattern] [COUNT n]`.
pub(super) async fn hscan(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let cursor = options::cursor(arg(req, 2))?;
    let options = options::hscan(req.args_from(3))?;
    let filter = Filter { pattern: options.pattern.map(<[u8]>::to_vec), kind: None };
    let count = usize::try_from(options.count).unwrap_or(usize::MAX);
    let key = arg(req, 1);
    let at = ctx.snapshot();
    let record = ctx.load_hash(key, &at).await?;
    let mut next = 0;
    let mut found = Found::default();
    if let Some(record) = record {
        let meta = record.hash();
        let whole = Span::of_fields(key, meta);
        let prefix_len = whole.from.len();
        let scanned = Scanned::Fields(ctx.keyspace(), key.to_vec(), meta.generation);
        let mut span = Span { is_small: whole.is_small, heads: false, ..filter.span(whole.from, whole.to) };
        resume(ctx, cursor, &scanned, &mut span);
        let count = if meta.count <= WHOLE_HASH_FIELDS_MAX { usize::MAX } else { count };
        let visit = visit_counted(count, move |stored, value, found: &mut Found| {
            let field = without_prefix(stored, prefix_len);
            if filter.matches_name(&field) {
                found.keep(field, value);
            }
            ControlFlow::Continue(())
        });
        let entries_max = count.min(usize::try_from(meta.count).unwrap_or(usize::MAX));
        found = ctx.scan(&at, ctx.keyspace(), span, entries_max, visit).await?;
        next = next_cursor(ctx, scanned, &found);
    }
    let mut reply = ctx.reply();
    reply.array(2);
    reply.bulk_integer(next);
    reply.array(if options.no_values { found.items.len() } else { found.items.len() * 2 });
    for (field, value) in &found.items {
        reply.bulk(field);
        if !options.no_values {
            reply.bulk(value);
        }
    }
    Ok(())
}

/// `RANGE start end [LIMIT n] [REV]`: string keys of `start..end` with their values, in order of
/// keys (backwards with REV); hashes are passed over. An empty `end` is the end of the database.
pub(super) async fn range(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let options = options::range(req.args_from(3))?;
    let (start, end, reverse) = (arg(req, 1), arg(req, 2), options.reverse);
    let limit = options.limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let to = if end.is_empty() { META_END.to_vec() } else { meta_key(end) };
    let span = Span { from: meta_key(start), to, reverse, is_small: false, heads: false };
    let (at, now_ms) = (ctx.snapshot(), ctx.now_ms());
    let visit = move |stored: Vec<u8>, value: Vec<u8>, found: &mut Found| {
        if found.items.len() >= limit {
            return ControlFlow::Break(());
        }
        if let (Some(name), Ok(record)) = (user_key(&stored), Record::decode(value))
            && record.kind() == Kind::String
            && !record.is_expired(now_ms)
        {
            found.keep(name.to_vec(), record.value().to_vec());
        }
        if found.items.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let found = ctx.scan(&at, ctx.keyspace(), span, if limit == 0 { 0 } else { usize::MAX }, visit).await?;
    let mut reply = ctx.reply();
    reply.map(found.items.len());
    for (name, value) in &found.items {
        reply.bulk(name);
        reply.bulk(value);
    }
    Ok(())
}

/// `RANDOMKEY`: uniform in a small database. In a large one a walk down the keys' bytes, choosing
/// at random among the bytes that occur: nearly uniform for keys that end in numbers, and three
/// seeks per byte in which keys differ, whatever the size.
pub(super) async fn randomkey(ctx: &mut Ctx<'_>) -> Done {
    let (at, now_ms, keyspace) = (ctx.snapshot(), ctx.now_ms(), ctx.keyspace());
    let count = ctx.count(keyspace)?;
    let whole = Span {
        from: META_START.to_vec(),
        to: META_END.to_vec(),
        reverse: false,
        is_small: false,
        heads: true,
    };
    let count = u64::try_from(count).unwrap_or(0);
    let name = if count <= UNIFORM_KEYS_MAX {
        let all = Filter { pattern: None, kind: None };
        let found =
            ctx.scan(&at, keyspace, whole, UNIFORM_KEYS_MAX as usize, visit_keys(all, now_ms)).await?;
        let mut items = found.items;
        if items.is_empty() {
            None
        } else {
            let at = (ctx.server.roll() % items.len() as u64) as usize;
            Some(items.swap_remove(at).0)
        }
    } else {
        let from = random_stored_key(ctx, &at, keyspace).await?;
        let behind =
            first_living(ctx, &at, keyspace, Span { from: from.clone(), ..whole.clone() }, now_ms).await?;
        match behind {
            Some(name) => Some(name),
            None => {
                first_living(ctx, &at, keyspace, Span { to: from, reverse: true, ..whole }, now_ms).await?
            }
        }
    };
    ctx.reply().bulk_or_null(name.as_deref());
    Ok(())
}

/// A stored key found by the walk of [`randomkey`]. It may have expired.
async fn random_stored_key(ctx: &mut Ctx<'_>, at: &View, keyspace: KeyspaceId) -> Done<Vec<u8>> {
    let mut prefix = META_START.to_vec();
    for _ in 0..RANDOM_BYTES_MAX {
        let span = |from: Vec<u8>, reverse| Span {
            from,
            to: next_prefix(prefix.clone()),
            reverse,
            is_small: false,
            heads: true,
        };
        let first = edge(ctx, at, keyspace, span(prefix.clone(), false)).await?;
        let last = edge(ctx, at, keyspace, span(prefix.clone(), true)).await?;
        let (Some(first), Some(last)) = (first, last) else { break };
        let common = first.iter().zip(&last).take_while(|(a, b)| a == b).count();
        let Some(&high) = last.get(common) else { return Ok(first) };
        let roll = ctx.server.roll();
        let low = match first.get(common) {
            Some(&low) => low,
            // The first key is the beginning of the others: it has no byte here to be chosen by.
            None if roll.is_multiple_of(16) => return Ok(first),
            None => 0,
        };
        let width = u64::from(high - low) + 1;
        let mut point = last.get(..common).unwrap_or_default().to_vec();
        point.push(low + (roll / 16 % width) as u8);
        let Some(mut chosen) = edge(ctx, at, keyspace, span(point, false)).await? else { break };
        chosen.truncate(common + 1);
        prefix = chosen;
    }
    Ok(prefix)
}

/// The first stored key of a span, in its direction.
async fn edge(ctx: &mut Ctx<'_>, at: &View, keyspace: KeyspaceId, span: Span) -> Done<Option<Vec<u8>>> {
    let found = ctx.scan(at, keyspace, span, 1, |_, _, _| ControlFlow::Break(())).await?;
    Ok(found.last)
}

/// The first key of `span` that has not expired.
async fn first_living(
    ctx: &mut Ctx<'_>,
    at: &View,
    keyspace: KeyspaceId,
    span: Span,
    now_ms: u64,
) -> Done<Option<Vec<u8>>> {
    let visit = visit_keys(Filter { pattern: None, kind: None }, now_ms);
    let found = ctx
        .scan(at, keyspace, span, usize::MAX, move |stored, value, found: &mut Found| {
            visit(stored, value, found)?;
            if found.items.is_empty() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .await?;
    Ok(found.items.into_iter().next().map(|(name, _)| name))
}

/// `DBSIZE`: the maintained count; keys that have expired and are not removed yet count, as in Redis.
pub(super) async fn dbsize(ctx: &mut Ctx<'_>) -> Done {
    let keyspace = ctx.keyspace();
    ctx.cover_database(keyspace, Mode::Shared).await?;
    let count = ctx.count(keyspace)?;
    ctx.reply().integer(count);
    Ok(())
}

/// `FLUSHDB` and `FLUSHALL`: one batch, O(1), whatever the size; ASYNC and SYNC are the same.
pub(super) async fn flush(ctx: &mut Ctx<'_>, req: &Request, all_databases: bool) -> Done {
    options::flush(req.args_from(1))?;
    let own = [ctx.keyspace()];
    let server = ctx.server;
    let keyspaces: &[KeyspaceId] = if all_databases { server.databases() } else { &own };
    let all = keyspaces.iter().map(|keyspace| Wanted::database(*keyspace, Mode::Exclusive));
    ctx.check_locks()?;
    let lock = ctx.lock_all(all.collect()).await?;
    let mut all = Vec::with_capacity(keyspaces.len());
    for &keyspace in keyspaces {
        // Exact: nobody else writes while all of it is locked.
        let count = ctx.count(keyspace)?;
        let mut changes = ctx.changes_to(keyspace);
        changes.clear(count);
        all.push(changes);
    }
    ctx.commit_all(all, lock)?;
    ctx.reply().ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_bounds_what_is_read() {
        let span = |pattern: &[u8]| {
            let filter = Filter { pattern: Some(pattern.to_vec()), kind: None };
            let span = filter.span(META_START.to_vec(), META_END.to_vec());
            (span.from, span.to)
        };
        assert_eq!(span(b"*"), (b"\x01".to_vec(), b"\x02".to_vec()));
        assert_eq!(span(b"user:*"), (b"\x01user:".to_vec(), b"\x01user;".to_vec()));
        assert_eq!(span(b"user"), (b"\x01user".to_vec(), b"\x01user\0".to_vec()));
        assert_eq!(span(b"\xff*"), (b"\x01\xff".to_vec(), b"\x02".to_vec()));
        assert_eq!(span(b""), (b"\x01".to_vec(), b"\x01\0".to_vec()));
    }
}
