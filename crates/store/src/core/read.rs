//! Reading: point reads, snapshots, iterators.

use super::Inner;
use crate::engine::lsm::blob::{BlobFiles, BlobSet};
use crate::engine::lsm::iter::{Entries, LevelCursor, Shown, Source, VisibleIter};
use crate::engine::lsm::table::{TableCursor, TableMeta};
use crate::engine::lsm::table_cache::TableSlot;
use crate::engine::lsm::tree::{GetOutcome, Handle, Reads, Tables, View};
use crate::store::{Answer, Snapshot};
use crate::value::Value;
use ringfort_base::limits::LEVELS;
use ringfort_base::{Error, ErrorKind, KeyspaceId, Level, Result, Seq};
use std::sync::Arc;

impl Inner {
    /// The newest visible position.
    pub(crate) fn visible(&self) -> Seq {
        self.frontiers.get(Level::Buffered)
    }

    pub(crate) fn snapshot(self: &Arc<Self>) -> Snapshot {
        // Registered under the lock that compaction reads the list under: it never misses one.
        let mut snapshots = self.snapshots.lock();
        let position = self.visible();
        *snapshots.entry(position.0).or_default() += 1;
        drop(snapshots);
        Snapshot::new(Arc::clone(self), position)
    }

    /// Registers a position that is registered already once more.
    pub(crate) fn pin_snapshot(self: &Arc<Self>, position: Seq) -> Snapshot {
        *self.snapshots.lock().entry(position.0).or_default() += 1;
        Snapshot::new(Arc::clone(self), position)
    }

    pub(crate) fn release_snapshot(&self, position: Seq) {
        let mut snapshots = self.snapshots.lock();
        if let Some(count) = snapshots.get_mut(&position.0) {
            *count -= 1;
            if *count == 0 {
                snapshots.remove(&position.0);
            }
        }
    }

    /// The present view of a keyspace, for a read by this thread.
    #[inline]
    pub(crate) fn view(&self, keyspace: KeyspaceId, count: impl FnOnce(&mut Reads)) -> Result<Arc<Handle>> {
        self.tables.handles.get(keyspace, count, || Ok(self.tree(keyspace)?.view()))
    }

    /// `None`: it needs I/O and `resident_only` was asked for.
    pub(crate) fn get(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        at: Option<Seq>,
        resident_only: bool,
    ) -> Result<Option<Answer<Option<Value>>>> {
        self.check()?;
        // The view first: a version that a later view lacks may be the one that an earlier position needs.
        let view = self.view(keyspace, |reads| reads.gets += 1)?;
        let at = at.unwrap_or_else(|| self.visible());
        self.answer(&view, key, at, resident_only)
    }

    /// [`Inner::get`] from a view that is at hand, with I/O.
    pub(crate) fn get_from(&self, view: &View, key: &[u8], at: Seq) -> Result<Answer<Option<Value>>> {
        let answer = self.answer(view, key, at, false)?;
        answer.ok_or_else(|| Error::new(ErrorKind::Internal, "a read was not finished"))
    }

    #[inline]
    fn answer(
        &self,
        view: &View,
        key: &[u8],
        at: Seq,
        resident_only: bool,
    ) -> Result<Option<Answer<Option<Value>>>> {
        let outcome = view.get(key, at, &self.tables, resident_only).map_err(|error| self.refuse(error))?;
        Ok(match outcome {
            GetOutcome::Found(value, depends) => Some(Answer { value: Some(value), depends }),
            GetOutcome::Absent(depends) => Some(Answer { value: None, depends }),
            GetOutcome::NeedsIo => None,
            GetOutcome::Merge if resident_only => None, // its older entries may be anywhere
            GetOutcome::Merge => {
                let merged = merged(view, key, at, &self.tables);
                Some(merged.map_err(|error| self.refuse(error))?)
            }
        })
    }

    /// All of it as of one position: `at`, or the newest visible one.
    pub(crate) fn multi_get<K: AsRef<[u8]>>(
        &self,
        keyspace: KeyspaceId,
        keys: &[K],
        at: Option<Seq>,
    ) -> Result<Answer<Vec<Option<Value>>>> {
        self.check()?;
        let mut view = self.view(keyspace, |reads| reads.gets += keys.len() as u64)?;
        let at = match at {
            Some(at) => at,
            // A view that changed meanwhile may lack a part of what the position shows.
            None => loop {
                let at = self.visible();
                let again = self.view(keyspace, |_| {})?;
                if again.is_same_view(&view) {
                    break at;
                }
                view = again;
            },
        };
        let outcomes = view.multi_get(keys, at, &self.tables).map_err(|error| self.refuse(error))?;
        let mut depends = Seq::ZERO;
        let mut values = Vec::with_capacity(keys.len());
        for (key, outcome) in keys.iter().zip(outcomes) {
            let answer = match outcome {
                GetOutcome::Found(value, depends) => Answer { value: Some(value), depends },
                GetOutcome::Absent(depends) => Answer { value: None, depends },
                GetOutcome::NeedsIo => Answer { value: None, depends: at }, // It was not asked to stay in memory.
                GetOutcome::Merge => {
                    merged(&view, key.as_ref(), at, &self.tables).map_err(|error| self.refuse(error))?
                }
            };
            depends = depends.max(answer.depends);
            values.push(answer.value);
        }
        Ok(Answer { value: values, depends })
    }

    pub(crate) fn iter(
        self: &Arc<Self>,
        keyspace: KeyspaceId,
        from: &[u8],
        to: Option<&[u8]>,
        (reverse, shown): (bool, Shown),
        at: Seq,
    ) -> Result<Entries> {
        self.check()?;
        let open = || {
            let view = self.view(keyspace, |reads| reads.iterators += 1)?;
            let sources = sources(&view, from, to, &self.tables)?;
            let iter = VisibleIter::new(sources, at, from, to)?
                .with_merger(view.merger.as_ref(), values_of(&view, &self.tables));
            Entries::new(iter, (reverse, shown), values_of(&view, &self.tables))
        };
        open().map_err(|error| self.refuse(error))
    }

    /// Evidence met while reading stops the store: nothing more is written (fail closed).
    pub(crate) fn refuse(&self, error: ringfort_base::Error) -> ringfort_base::Error {
        if error.proof().is_some() { self.stop(error) } else { error }
    }
}

/// The value of a key whose newest entry is an operand.
pub(crate) fn merged(view: &View, key: &[u8], at: Seq, tables: &Tables) -> Result<Answer<Option<Value>>> {
    let behind = [key, &[0]].concat();
    let sources = sources(view, key, Some(&behind), tables)?;
    let mut iter = VisibleIter::new(sources, at, key, Some(&behind))?
        .with_merger(view.merger.as_ref(), values_of(view, tables));
    iter.seek_to_first()?;
    Ok(Answer { value: iter.pin_value(), depends: iter.depends() })
}

/// All sources of a view that may touch `from..to`, newest first.
pub(crate) fn sources(view: &View, from: &[u8], to: Option<&[u8]>, tables: &Tables) -> Result<Vec<Source>> {
    let mut sources: Vec<Source> = view.memtables().map(|mem| Source::Memtable(mem.table.cursor())).collect();
    let prefix = common_prefix_of((from, to), view.version.prefix_bytes);
    for slot in view.version.read(0).slots().iter().rev() {
        if slot.meta().overlaps(from, to) && may_matter(slot, prefix, tables)? {
            let table = Arc::clone(&*tables.open.open(slot)?);
            sources.push(Source::Table(TableCursor::new(table, Arc::clone(&tables.blocks), true)));
        }
    }
    for level in 1..LEVELS {
        if let Some(mut cursor) = LevelCursor::over(view.version.read(level), from, to, &tables.open)
            && (prefix.is_none() || cursor.narrow(|slot| may_matter(slot, prefix, tables))?)
        {
            sources.push(Source::Level(cursor));
        }
    }
    Ok(sources)
}

/// Where the pointers of a view lead.
pub(crate) fn values_of(view: &View, tables: &Tables) -> (Arc<BlobFiles>, Arc<BlobSet>) {
    (Arc::clone(&tables.values), view.value_files())
}

/// The first `prefix_bytes` bytes that all keys of a range have in common, if they have; none for 0.
fn common_prefix_of<'f>((from, to): (&'f [u8], Option<&[u8]>), prefix_bytes: usize) -> Option<&'f [u8]> {
    let prefix = from.get(..prefix_bytes).filter(|prefix| !prefix.is_empty())?;
    let to = to?;
    // Below the first key behind the prefix: it has the prefix, or is that key.
    let mut behind = prefix.to_vec();
    while behind.pop_if(|last| *last == u8::MAX).is_some() {}
    *behind.last_mut()? += 1;
    (to <= behind.as_slice()).then_some(prefix)
}

/// Whether a scan of keys with `prefix` must look into a table. Range tombstones are in no filter.
fn may_matter(slot: &TableSlot, prefix: Option<&[u8]>, tables: &Tables) -> Result<bool> {
    match prefix {
        Some(prefix) if slot.meta().range_tombstones == 0 => {
            tables.open.open(slot)?.may_have_prefix(prefix, &tables.blocks)
        }
        _ => Ok(true),
    }
}

/// One table. `fill_cache`: keep its blocks, as a reader wants and a compaction does not.
pub(crate) fn table_source(meta: &Arc<TableMeta>, tables: &Tables, fill_cache: bool) -> Result<Source> {
    Ok(Source::Table(TableCursor::new(tables.get(meta)?, Arc::clone(&tables.blocks), fill_cache)))
}

/// Disjoint tables in order.
pub(crate) fn level_source(metas: Vec<Arc<TableMeta>>, tables: &Tables, fill_cache: bool) -> Source {
    Source::Level(LevelCursor::new(&metas, Arc::clone(&tables.open), fill_cache))
}

#[cfg(test)]
mod tests {
    use super::common_prefix_of;

    #[test]
    fn a_range_has_a_prefix_only_if_all_its_keys_have() {
        let of = |from: &'static [u8], to: Option<&[u8]>| common_prefix_of((from, to), 2);
        assert_eq!(of(b"ab", Some(b"ac")), Some(&b"ab"[..]));
        assert_eq!(of(b"abx", Some(b"aby")), Some(&b"ab"[..]));
        assert_eq!(of(b"abx", Some(b"ac\0")), None, "'ac' is inside");
        assert_eq!(of(b"abx", None), None);
        assert_eq!(of(b"a", Some(b"ab")), None, "too short");
        assert_eq!(of(b"a\xff", Some(b"b")), Some(&b"a\xff"[..]));
        assert_eq!(of(b"a\xff", Some(b"b\0")), None);
        assert_eq!(of(b"\xff\xff", Some(b"\xff\xff\xff")), None, "no key is behind it: not worth a rule");
        assert_eq!(common_prefix_of((b"ab", Some(b"ac")), 0), None, "the option is off");
    }
}
