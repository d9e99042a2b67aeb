//! [`Keyspace`]: one named map of a store, to read and to write.

use crate::db::{Shared, Snapshot};
use crate::pump::block_on;
use crate::range::of_prefix;
use crate::{Commit, KeyRange, KeyspaceId, Level, Result, Value, ValueReader, ValueWriter, WriteBatch};
use ringfort_base::limits::STORED_VALUE_BYTES_MIN;
use std::sync::Arc;

/// A handle to a keyspace. Cheap to clone; many threads may use it at once.
///
/// ```
/// use ringfort::{Compression, Db, KeyspaceOptions};
///
/// # fn main() -> ringfort::Result<()> {
/// let db = Db::open_temporary()?;
/// let options = KeyspaceOptions { compression: Compression::Lz4, ..KeyspaceOptions::default() };
/// let users = db.create_keyspace("users", options)?;
/// users.put("u/1", "Ada")?;
/// users.put("u/2", "Grace")?;
/// assert_eq!(users.prefix("u/")?.count(), 2);
/// assert_eq!(db.get("u/1")?, None, "the default keyspace is another one");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Keyspace {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: KeyspaceId,
    pub(crate) name: Arc<str>,
}

impl Keyspace {
    /// Its id: what batches name it by. Never reused.
    #[must_use]
    pub fn id(&self) -> KeyspaceId {
        self.id
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads a key at the store's read level.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        self.get_with(key, self.shared.read_level)
    }

    /// Reads a key; the answer, also "it is not there", is held back until it has `level` (R6).
    pub fn get_with(&self, key: impl AsRef<[u8]>, level: Level) -> Result<Option<Value>> {
        let answer = self.shared.pump.store.get(self.id, key.as_ref(), None)?;
        self.shared.pump.gate(answer.depends, level)?;
        Ok(answer.value)
    }

    /// Reads many keys at the store's read level, all as of one moment: never half of a batch. The
    /// values in the order of the keys. Held back once; keys that lie together are found together, keys
    /// in any order cost about as much as so many [`Keyspace::get`].
    pub fn multi_get<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Value>>> {
        let answer = self.shared.pump.store.multi_get(self.id, keys, None)?;
        self.shared.pump.gate(answer.depends, self.shared.read_level)?;
        Ok(answer.value)
    }

    /// Reads a key's value by the piece, at the store's read level.
    pub fn reader(&self, key: impl AsRef<[u8]>) -> Result<Option<ValueReader>> {
        let answer = self.shared.pump.store.value_reader(self.id, key.as_ref(), None)?;
        self.shared.pump.gate(answer.depends, self.shared.read_level)?;
        Ok(answer.value.map(|reader| ValueReader::new(reader, &self.shared)))
    }

    /// Sets a key, at the store's write level. Values may have up to 512 MiB; from 4 MiB on they go to
    /// files of their own.
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        let batch = self.batch_of(key.as_ref(), value.as_ref())?;
        self.shared.write(batch)
    }

    /// Sets a key to all that `source` has, which is never held whole, at the store's write level; how many
    /// bytes that were.
    pub fn put_from(&self, key: impl AsRef<[u8]>, source: impl std::io::Read) -> Result<u64> {
        let mut writer = ValueWriter::new(&self.shared);
        let bytes = writer.write_from(source)?;
        let mut batch = WriteBatch::new();
        batch.put_stored(self.id, key, writer.finish()?);
        self.shared.write(batch).map(|()| bytes)
    }

    /// A long value goes by the piece.
    fn batch_of(&self, key: &[u8], value: &[u8]) -> Result<WriteBatch> {
        let mut batch = WriteBatch::new();
        if value.len() < STORED_VALUE_BYTES_MIN {
            batch.put(self.id, key, value);
        } else {
            let mut writer = ValueWriter::new(&self.shared);
            writer.write(value)?;
            batch.put_stored(self.id, key, writer.finish()?);
        }
        Ok(batch)
    }

    /// Changes a key's value by the keyspace's merge operator, without reading it, at the store's write
    /// level.
    ///
    /// ```
    /// use ringfort::{Db, KeyspaceOptions};
    ///
    /// # fn main() -> ringfort::Result<()> {
    /// let db = Db::open_temporary()?;
    /// let counter = KeyspaceOptions { merge_operator: Some("add_u64".into()), ..KeyspaceOptions::default() };
    /// let hits = db.create_keyspace("hits", counter)?;
    /// hits.merge("/index", 2u64.to_le_bytes())?;
    /// hits.merge("/index", 3u64.to_le_bytes())?;
    /// assert_eq!(hits.get("/index")?.as_deref(), Some(&5u64.to_le_bytes()[..]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn merge(&self, key: impl AsRef<[u8]>, operand: impl AsRef<[u8]>) -> Result<()> {
        let mut batch = WriteBatch::new();
        batch.merge(self.id, key, operand);
        self.shared.write(batch)
    }

    /// Removes a key, at the store's write level. Removing what is not there is fine.
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<()> {
        let mut batch = WriteBatch::new();
        batch.delete(self.id, key);
        self.shared.write(batch)
    }

    /// Removes all keys in `from..to`, at the store's write level and at the cost of one write.
    pub fn delete_range(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<()> {
        let mut batch = WriteBatch::new();
        batch.delete_range(self.id, from, to);
        self.shared.write(batch)
    }

    /// Writes at a level of choice; the handle can be awaited for a higher one.
    pub fn put_with(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, level: Level) -> Result<Commit> {
        let batch = self.batch_of(key.as_ref(), value.as_ref())?;
        self.shared.write_with(batch, level)
    }

    /// Loads many entries at once, in ascending order of their keys: they become tables without the
    /// log, the memtable and compactions. All of them show together, newer than everything written
    /// before, and have level `fresh` on return. Transactions that are at work in the range are waited for, and see
    /// all of it or nothing. Concurrent writes into the range are newer; if they do
    /// not end, the load gives way with `Exhausted`. Keys out of order are refused, and nothing was
    /// changed then.
    ///
    /// ```
    /// # fn main() -> ringfort::Result<()> {
    /// let db = ringfort::Db::open_temporary()?;
    /// let squares = db.create_keyspace("squares", Default::default())?;
    /// squares.bulk_load((0..100_000u64).map(|n| (n.to_be_bytes(), (n * n).to_be_bytes())))?;
    /// assert_eq!(squares.get(12u64.to_be_bytes())?.as_deref(), Some(&144u64.to_be_bytes()[..]));
    /// assert!(squares.bulk_load([("b", ""), ("a", "")]).is_err(), "not sorted");
    /// # Ok(())
    /// # }
    /// ```
    pub fn bulk_load<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<()> {
        block_on(self.shared.pump.store.bulk_load(self.id, entries)).map(drop)
    }

    /// The entries of a range in ascending order, as of now.
    pub fn scan(&self, range: impl KeyRange) -> Result<Scan> {
        self.shared.snapshot()?.scan(self, range)
    }

    /// The entries of a range in descending order, as of now.
    pub fn scan_rev(&self, range: impl KeyRange) -> Result<Scan> {
        self.shared.snapshot()?.scan_rev(self, range)
    }

    /// The entries whose keys begin with `prefix`, in ascending order, as of now.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Result<Scan> {
        let (from, to) = of_prefix(prefix.as_ref());
        self.shared.snapshot()?.scan_bounds(self.id, (from, to), false)
    }

    /// Writes what is in memory to tables, and waits until it is there.
    pub fn flush(&self) -> Result<()> {
        self.shared.pump.store.flush(Some(self.id))
    }

    /// Flushes and compacts a range down to one level.
    pub fn compact_range(&self, range: impl KeyRange) -> Result<()> {
        let (from, to) = range.bounds();
        let from = Some(from).filter(|from| !from.is_empty());
        self.shared.pump.store.compact_range(self.id, from.as_deref(), to.as_deref())
    }

    /// About how many bytes a range takes, in memory and in tables.
    pub fn approximate_size(&self, range: impl KeyRange) -> Result<u64> {
        let (from, to) = range.bounds();
        let from = Some(from).filter(|from| !from.is_empty());
        self.shared.pump.store.approximate_size(self.id, from.as_deref(), to.as_deref())
    }

    /// Tables and bytes of each level.
    pub fn levels(&self) -> Result<Vec<(usize, u64)>> {
        self.shared.pump.store.levels(self.id)
    }
}

/// The entries of a range, in order: key and value, or the error that ended the scan. All entries
/// are of one moment, that of the scan's beginning or of its snapshot.
pub struct Scan {
    iter: ringfort_store::Iter,
    ended: bool,
}

impl Scan {
    pub(crate) fn of(
        snapshot: &Snapshot,
        keyspace: KeyspaceId,
        (from, to): (Vec<u8>, Option<Vec<u8>>),
        reverse: bool,
    ) -> Result<Self> {
        let store = &snapshot.shared.pump.store;
        let iter = store.iter(keyspace, &from, to.as_deref(), reverse, &snapshot.inner)?;
        Ok(Self { iter, ended: false })
    }

    /// The present entry, borrowed from where it lives: what a caller who needs no copy reads, before
    /// each [`Scan::advance`]. `None` behind the last one.
    #[must_use]
    pub fn entry(&self) -> Option<(&[u8], &[u8])> {
        if self.ended { None } else { self.iter.entry() }
    }

    /// Moves on to the next entry.
    pub fn advance(&mut self) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        let moved = self.iter.advance();
        self.ended = moved.is_err();
        moved
    }
}

impl Iterator for Scan {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let entry = self.iter.next();
        // After an error there is nothing that could be trusted to follow.
        self.ended = !matches!(entry, Some(Ok(_)));
        entry
    }
}
