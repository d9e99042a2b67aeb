//! How commands read: keys, views and scans, of the store or through a transaction.
//!
//! - Outside of transactions a command reads the newest state, or one [`View`] of it.
//! - In a transaction that locks, what is read is covered first, and then the newest state is the one that counts; in one that
//!   does not, everything is read at the transaction's view, and told to it. What it wrote itself lies over that.
//!
//! Whatever is read is noted for the gate (R6).

use super::ctx::{CLOSING, Ctx, Done, Found, SLICE_BYTES, SLICE_ENTRIES, Span, View, check_key, of_kind};
use super::merged::Merged;
use crate::door;
use crate::model::{Kind, META_START, Record, Slot, meta_key_into};
use crate::server::locking::Wanted;
use crate::server::views::OpenView;
use crate::stats::add;
use ringfort_base::{KeyspaceId, Result as StoreResult, Seq};
use ringfort_protocol::front::resp::error::{NEEDS_LOCKS, OVER_BUDGET};
use ringfort_protocol::front::resp::options::TxnKind;
use ringfort_store::Value;
use ringfort_store::txn::covered::Own;
use ringfort_store::txn::locks::Mode;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Entries that a scan covers first; then twice as many each time.
const COVERED_ENTRIES_MIN: usize = 64;

impl Ctx<'_> {
    /// Reads a stored key: from memory inline, else in the pool (R23).
    pub(crate) async fn fetch(
        &mut self,
        keyspace: KeyspaceId,
        stored: &[u8],
        at: Option<&View>,
    ) -> Done<Option<Value>> {
        if let Some(open) = &self.session.open
            && let Some(own) = open.inner.own(keyspace, stored)?
        {
            // It may be made of what was read before, in a reply that was not shown.
            if open.inner.depends() > Seq::ZERO {
                self.shows.read(open.inner.depends());
            }
            return Ok(own);
        }
        let store = self.server.store();
        let at = self.position_of(at);
        let answer = match store.get_resident(keyspace, stored, at.as_deref().map(|at| &**at))? {
            Some(answer) => answer,
            None => {
                add(&self.server.stats().pool_reads, 1);
                let (store, stored) = (store.clone(), stored.to_vec());
                let read = move || store.get(keyspace, &stored, at.as_deref().map(|at| &**at));
                Box::pin(door::blocking(read)).await?
            }
        };
        self.shows.read(answer.depends);
        if let Some(open) = &mut self.session.open {
            open.inner.saw(keyspace, stored, answer.depends);
        }
        Ok(answer.value)
    }

    /// The snapshot that a view stands for; none if the newest state is to be read.
    fn position_of(&self, at: Option<&View>) -> Option<Arc<OpenView>> {
        match (at, &self.session.open) {
            (_, Some(open)) => open.view.clone(),
            (Some(View::At(view)), None) => Some(Arc::clone(view)),
            (Some(View::Newest) | None, None) => None,
        }
    }

    /// What stands under a user key of the selected database, for a writer that holds its lock.
    pub(crate) async fn load_locked(&mut self, key: &[u8]) -> Done<Slot> {
        self.load_in(self.keyspace(), key, None).await
    }

    /// [`Ctx::load_locked`] in another database, or at a snapshot.
    pub(crate) async fn load_in(
        &mut self,
        keyspace: KeyspaceId,
        key: &[u8],
        at: Option<&View>,
    ) -> Done<Slot> {
        check_key(key)?;
        let mut stored = std::mem::take(self.scratch);
        meta_key_into(&mut stored, key);
        let value = self.fetch(keyspace, &stored, at).await;
        *self.scratch = stored;
        Ok(Slot::decode(value?, || self.now_ms())?)
    }

    /// What commands see under a user key of the selected database. Its size is charged to the
    /// budget, so this may wait: not for holders of locks.
    pub(crate) async fn load(&mut self, key: &[u8], at: Option<&View>) -> Done<Option<Record>> {
        self.cover_key(key).await?;
        loop {
            let slot = self.load_in(self.keyspace(), key, at).await?;
            if let Slot::Expired(record) = &slot {
                self.overdue(record.expiry_ms());
            }
            let Some(record) = slot.into_live() else {
                add(&self.server.stats().misses, 1);
                return Ok(None);
            };
            let bytes = record.stored_len();
            if self.try_charge(2 * bytes) {
                add(&self.server.stats().hits, 1);
                return Ok(Some(record));
            }
            drop(record);
            self.wait_for_room(2 * bytes).await?;
        }
    }

    /// [`Ctx::fetch`] of what will be shown, charged as [`Ctx::load`] does: not for holders of locks.
    pub(crate) async fn fetch_charged(
        &mut self,
        keyspace: KeyspaceId,
        stored: &[u8],
        at: Option<&View>,
    ) -> Done<Option<Value>> {
        loop {
            let value = self.fetch(keyspace, stored, at).await?;
            let bytes = value.as_ref().map_or(0, |value| value.len());
            self.check_reply(bytes)?;
            if self.try_charge(2 * bytes) {
                return Ok(value);
            }
            drop(value);
            self.wait_for_room(2 * bytes).await?;
        }
    }

    /// Tells the reaper of a key that is hidden because it has expired.
    fn overdue(&self, expiry_ms: u64) {
        self.server.alarm().overdue(expiry_ms, self.server.reaper_signal());
    }

    /// [`Ctx::load`] for a command on strings.
    pub(crate) async fn load_string(&mut self, key: &[u8]) -> Done<Option<Record>> {
        of_kind(self.load(key, None).await?, Kind::String)
    }

    /// [`Ctx::load`] for a command on hashes, which reads record and fields at one snapshot.
    pub(crate) async fn load_hash(&mut self, key: &[u8], at: &View) -> Done<Option<Record>> {
        of_kind(self.load(key, Some(at)).await?, Kind::Hash)
    }

    /// The newest visible state, this turn's writes included; in a transaction, what that sees.
    pub(crate) fn snapshot(&mut self) -> View {
        if self.session.open.is_some() {
            return View::Newest;
        }
        self.pending.flush();
        View::At(Arc::new(OpenView::new(self.server)))
    }

    /// Makes a key what a reader may look at: this turn's writes visible, or the key covered.
    async fn cover_key(&mut self, key: &[u8]) -> Done {
        if self.session.open.is_none() {
            self.pending.flush();
            return Ok(());
        }
        check_key(key)?;
        let wanted = [Wanted::key(self.keyspace(), key, Mode::Shared)];
        Box::pin(self.cover(&wanted)).await
    }

    /// Scans `span` at a snapshot, in slices in the pool unless it is small (R23). The visitor keeps what it wants and says when to stop. What it keeps is
    /// charged slice by slice, twice (as it was found, and in the reply or the batch), so this may wait:
    /// not for holders of locks.
    pub(crate) async fn scan(
        &mut self,
        at: &View,
        keyspace: KeyspaceId,
        span: Span,
        entries_max: usize,
        visit: impl Fn(Vec<u8>, Vec<u8>, &mut Found) -> ControlFlow<()> + Send + Sync + 'static,
    ) -> Done<Found> {
        self.scan_as(Room::Waits, at, keyspace, span, entries_max, visit).await
    }

    /// [`Ctx::scan`] for the holder of a lock: without room it fails instead of waiting.
    pub(crate) async fn scan_locked(
        &mut self,
        at: &View,
        keyspace: KeyspaceId,
        span: Span,
        entries_max: usize,
        visit: impl Fn(Vec<u8>, Vec<u8>, &mut Found) -> ControlFlow<()> + Send + Sync + 'static,
    ) -> Done<Found> {
        self.scan_as(Room::Fails, at, keyspace, span, entries_max, visit).await
    }

    async fn scan_as(
        &mut self,
        room: Room,
        at: &View,
        keyspace: KeyspaceId,
        mut span: Span,
        entries_max: usize,
        visit: impl Fn(Vec<u8>, Vec<u8>, &mut Found) -> ControlFlow<()> + Send + Sync + 'static,
    ) -> Done<Found> {
        let mut found = Found::default();
        let visit = Arc::new(visit);
        let mut left = entries_max;
        let mut take = if self.session.open.is_some() { COVERED_ENTRIES_MIN } else { SLICE_ENTRIES };
        while left > 0 {
            // The part that this slice goes through; behind it there may be more.
            let part = self.cover_next(keyspace, &span, take.min(left)).await?;
            let at = match self.position_of(Some(at)) {
                Some(at) => at,
                None => Arc::new(OpenView::new(self.server)),
            };
            self.shows.read(at.position());
            let slice =
                Slice { at: Arc::clone(&at), keyspace, span: part.clone(), own: self.own(keyspace, &part)? };
            let visited = if span.is_small {
                slice.visit(self.server.store(), take.min(left), &mut found, &*visit)?
            } else {
                add(&self.server.stats().pool_reads, 1);
                let (store, visit, entries_max) =
                    (self.server.store().clone(), Arc::clone(&visit), take.min(left));
                let (state, visited) = door::blocking(move || {
                    let visited = slice.visit(&store, entries_max, &mut found, &*visit)?;
                    Ok((found, visited))
                })
                .await?;
                found = state;
                visited
            };
            let rest = span.behind(&part, visited.ended, found.last.as_deref());
            self.saw(keyspace, &span, rest.as_ref(), at.position());
            self.charge_found(room, &found).await?;
            left = left.saturating_sub(visited.entries);
            match rest {
                Some(rest) if !found.stopped => span = rest,
                _ => break,
            }
            if self.client.is_closing() {
                return Err(CLOSING.into());
            }
            take = (take * 2).min(SLICE_ENTRIES);
        }
        if let Some(expiry_ms) = found.hidden_ms {
            self.overdue(expiry_ms);
        }
        Ok(found)
    }

    async fn charge_found(&mut self, room: Room, found: &Found) -> Done {
        self.check_reply(found.bytes)?;
        let held = found.held_bytes.saturating_add(found.bytes);
        match room {
            _ if self.try_charge(held) => Ok(()),
            Room::Waits => self.wait_for_room(held).await,
            Room::Fails => Err(OVER_BUDGET.into()),
        }
    }

    /// How many keys a database has: what is stored, and what the transaction made of that.
    pub(crate) fn count(&mut self, keyspace: KeyspaceId) -> Done<i64> {
        let count = self.server.store().count(keyspace)?;
        self.shows.read(count.depends);
        Ok(self.session.open.as_ref().map_or(count.value, |open| open.count(keyspace, count.value)))
    }

    /// Covers all keys of a database; in a transaction that cannot, it fails.
    pub(crate) async fn cover_database(&mut self, keyspace: KeyspaceId, mode: Mode) -> Done {
        self.check_locks()?;
        Box::pin(self.cover(&[Wanted::database(keyspace, mode)])).await
    }

    /// Refuses what a transaction without locks cannot do: the count of keys is the newest, whatever its view.
    pub(crate) fn check_locks(&self) -> Done {
        match &self.session.open {
            Some(open) if open.kind != TxnKind::Pessimistic => Err(NEEDS_LOCKS.into()),
            _ => Ok(()),
        }
    }

    /// What the transaction itself wrote in a span.
    fn own(&self, keyspace: KeyspaceId, span: &Span) -> Done<Own> {
        match &self.session.open {
            Some(open) => Ok(open.inner.own_range(keyspace, &span.from, &span.to)?),
            None => Ok(Own::default()),
        }
    }

    /// Tells the transaction what of `span` was looked at: all but the rest.
    fn saw(&mut self, keyspace: KeyspaceId, span: &Span, rest: Option<&Span>, depends: Seq) {
        let Some(open) = &mut self.session.open else { return };
        let (from, to) = match rest {
            None => (&span.from, &span.to),
            Some(rest) if span.reverse => (&rest.to, &span.to),
            Some(rest) => (&span.from, &rest.from),
        };
        open.inner.saw_range(keyspace, from, to, depends);
    }

    /// The first part of a span, with about so many entries, after it was covered: what a scan does not come to is
    /// not kept from others. Outside of transactions, and where all is covered already, it is the whole span.
    async fn cover_next(&mut self, keyspace: KeyspaceId, span: &Span, entries: usize) -> Done<Span> {
        let is_covered = match &self.session.open {
            // The fields of a hash are covered by its record.
            Some(open) => {
                open.is_covered || open.kind != TxnKind::Pessimistic || !span.from.starts_with(META_START)
            }
            None => true,
        };
        if is_covered || span.from >= span.to {
            return Ok(span.clone());
        }
        let (store, looked) = (self.server.store().clone(), span.clone());
        let edge = door::blocking(move || {
            let (from, to) = (looked.from.as_slice(), Some(looked.to.as_slice()));
            let now = store.snapshot();
            let mut keys = store.iter_keys(keyspace, from, to, looked.reverse, &now)?;
            keys.nth(entries - 1).transpose()
        })
        .await?;
        let part = match edge {
            None => span.clone(),
            Some((edge, _)) if span.reverse => Span { from: edge, ..span.clone() },
            Some((edge, _)) => Span { to: behind(edge), ..span.clone() },
        };
        let (from, to) = (part.from.clone(), Some(part.to.clone()));
        self.cover(&[Wanted { keyspace, from, to, mode: Mode::Shared }]).await?;
        Ok(part)
    }
}

impl Span {
    /// What is left of it when a slice went through `part`, to its end or to `last`.
    fn behind(&self, part: &Self, ended: bool, last: Option<&[u8]>) -> Option<Self> {
        let rest = match (ended, last, self.reverse) {
            (true, _, true) => Self { to: part.from.clone(), ..self.clone() },
            (true, _, false) => Self { from: part.to.clone(), ..self.clone() },
            // The next slice continues behind (or, in reverse, below) the last visited key.
            (false, Some(last), true) => Self { to: last.to_vec(), ..self.clone() },
            (false, Some(last), false) => Self { from: behind(last.to_vec()), ..self.clone() },
            (false, None, _) => return None,
        };
        (rest.from < rest.to).then_some(rest)
    }
}

/// The first key behind this one.
fn behind(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

/// What a scan does when the budget has no room for what it has found.
#[derive(Clone, Copy)]
enum Room {
    Waits,
    Fails,
}

/// What a slice has seen.
struct Visited {
    entries: usize,
    /// The span has no more.
    ended: bool,
}

/// A part of a scan that is visited at once.
struct Slice {
    at: Arc<OpenView>,
    keyspace: KeyspaceId,
    span: Span,
    /// What the transaction wrote there.
    own: Own,
}

impl Slice {
    /// Visits up to `entries_max` entries, or [`SLICE_BYTES`] of what is kept.
    fn visit(
        &self,
        store: &ringfort_store::Store,
        entries_max: usize,
        found: &mut Found,
        visit: &(impl Fn(Vec<u8>, Vec<u8>, &mut Found) -> ControlFlow<()> + ?Sized),
    ) -> StoreResult<Visited> {
        let Span { from, to, reverse, heads, .. } = &self.span;
        if from >= to {
            return Ok(Visited { entries: 0, ended: true });
        }
        let stored = match heads {
            true => store.iter_heads(self.keyspace, from, Some(to), *reverse, &self.at)?,
            false => store.iter(self.keyspace, from, Some(to), *reverse, &self.at)?,
        };
        if self.own.is_empty() {
            return visit_each(stored, entries_max, found, visit);
        }
        visit_each(Merged::new(stored, &self.own, (from, to), *reverse), entries_max, found, visit)
    }
}

fn visit_each(
    entries: impl Iterator<Item = StoreResult<(Vec<u8>, Vec<u8>)>>,
    entries_max: usize,
    found: &mut Found,
    visit: &(impl Fn(Vec<u8>, Vec<u8>, &mut Found) -> ControlFlow<()> + ?Sized),
) -> StoreResult<Visited> {
    let enough = found.held_bytes.saturating_add(SLICE_BYTES);
    let mut visited = 0;
    for entry in entries {
        let (key, value) = entry?;
        visited += 1;
        match &mut found.last {
            Some(last) => last.clone_from(&key),
            last => *last = Some(key.clone()),
        }
        if visit(key, value, found).is_break() {
            found.stopped = true;
            return Ok(Visited { entries: visited, ended: false });
        }
        if visited >= entries_max || found.held_bytes >= enough {
            return Ok(Visited { entries: visited, ended: false });
        }
    }
    Ok(Visited { entries: visited, ended: true })
}
