//! [`Changes`]: one command's writes to one database, with count and expiry index kept true.

use super::keys::{DB_END, META_START, expiry_key, field_key, meta_key};
use super::record::{HashMeta, Record};
use ringfort_base::KeyspaceId;
use ringfort_store::{StoredValue, WriteBatch};

/// The user keys that a change is about: who watches one of them is told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Touched {
    /// Of which database.
    pub keyspace: KeyspaceId,
    /// Keys that were written, and keys that were removed. One may stand there more than once.
    pub written: Vec<Vec<u8>>,
    /// See `written`.
    pub removed: Vec<Vec<u8>>,
    /// All keys were removed.
    pub cleared: bool,
}

impl Touched {
    /// What it takes, bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let keys = self.written.iter().chain(&self.removed);
        size_of::<Self>() + keys.map(|key| key.len() + size_of::<Vec<u8>>()).sum::<usize>()
    }
}

/// Finished changes.
#[derive(Default)]
pub struct Finished {
    /// What is written.
    pub batch: WriteBatch,
    /// The earliest expiry in it.
    pub earliest_expiry_ms: Option<u64>,
    /// What it is about, as far as that was to be noted.
    pub touched: Vec<Touched>,
}

impl Finished {
    /// Changes to several databases as one.
    #[must_use]
    pub fn of_all(all: impl IntoIterator<Item = Changes>) -> Self {
        let mut one = Self::default();
        for changes in all {
            let Self { batch, earliest_expiry_ms, touched } = changes.finish();
            match one.batch.is_empty() {
                true => one.batch = batch,
                false => one.batch.append(batch),
            }
            one.earliest_expiry_ms = one.earliest_expiry_ms.into_iter().chain(earliest_expiry_ms).min();
            one.touched.extend(touched);
        }
        one
    }
}

/// Collects the writes of a command. Each method takes what is stored under the key now (read under
/// its lock), so that the count and the expiry index change with the record.
pub struct Changes {
    keyspace: KeyspaceId,
    batch: WriteBatch,
    count: i64,
    /// The earliest expiry written, for the reaper's alarm.
    earliest_expiry_ms: Option<u64>,
    touched: Option<Touched>,
}

impl Changes {
    /// Nothing yet, in `keyspace`.
    #[must_use]
    pub fn new(keyspace: KeyspaceId) -> Self {
        Self { keyspace, batch: WriteBatch::new(), count: 0, earliest_expiry_ms: None, touched: None }
    }

    /// Notes which user keys it is about.
    #[must_use]
    pub fn noting_keys(self) -> Self {
        let touched = Some(Touched { keyspace: self.keyspace, ..Touched::default() });
        Self { touched, ..self }
    }

    fn wrote(&mut self, key: &[u8]) {
        if let Some(touched) = &mut self.touched
            && touched.written.last().is_none_or(|last| last != key)
        {
            touched.written.push(key.to_vec());
        }
    }

    /// Which database it changes.
    #[must_use]
    pub const fn keyspace(&self) -> KeyspaceId {
        self.keyspace
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Bytes of keys and values so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.batch.bytes()
    }

    /// Puts a record in the place of `old`.
    pub fn put_record(&mut self, key: &[u8], old: Option<&Record>, expiry_ms: u64, record: Vec<u8>) {
        self.replace(key, old, expiry_ms);
        self.batch.put(self.keyspace, meta_key(key), record);
    }

    /// Puts a string whose record was written by the piece in the place of `old`.
    pub fn put_stored_string(
        &mut self,
        key: &[u8],
        old: Option<&Record>,
        expiry_ms: u64,
        record: StoredValue,
    ) {
        self.replace(key, old, expiry_ms);
        self.batch.put_stored(self.keyspace, meta_key(key), record);
    }

    /// What a record in the place of `old` means for the count and the expiry index.
    fn replace(&mut self, key: &[u8], old: Option<&Record>, expiry_ms: u64) {
        self.wrote(key);
        let old_expiry_ms = old.map_or(0, Record::expiry_ms);
        if old_expiry_ms != expiry_ms {
            if old_expiry_ms != 0 {
                self.batch.delete(self.keyspace, expiry_key(old_expiry_ms, key));
            }
            if expiry_ms != 0 {
                self.batch.put(self.keyspace, expiry_key(expiry_ms, key), Vec::new());
            }
        }
        if expiry_ms != 0 {
            let earliest = self.earliest_expiry_ms.map_or(expiry_ms, |e| e.min(expiry_ms));
            self.earliest_expiry_ms = Some(earliest);
        }
        if old.is_none() {
            self.count += 1;
        }
    }

    /// Puts a string in the place of `old`.
    pub fn put_string(&mut self, key: &[u8], old: Option<&Record>, expiry_ms: u64, parts: &[&[u8]]) {
        self.put_record(key, old, expiry_ms, Record::encode_string(expiry_ms, parts));
    }

    /// Puts a hash's record in the place of `old`.
    pub fn put_hash(&mut self, key: &[u8], old: Option<&Record>, expiry_ms: u64, hash: HashMeta) {
        self.put_record(key, old, expiry_ms, Record::encode_hash(expiry_ms, hash));
    }

    /// Sets a field.
    pub fn put_field(&mut self, key: &[u8], generation: u64, field: &[u8], value: &[u8]) {
        self.wrote(key);
        self.batch.put(self.keyspace, field_key(key, generation, field), value);
    }

    /// Removes a field.
    pub fn delete_field(&mut self, key: &[u8], generation: u64, field: &[u8]) {
        self.wrote(key);
        self.batch.delete(self.keyspace, field_key(key, generation, field));
    }

    /// Removes a key: for a hash the record only (its fields become orphans).
    pub fn remove(&mut self, key: &[u8], old: &Record) {
        if let Some(touched) = &mut self.touched {
            touched.removed.push(key.to_vec());
        }
        if old.expiry_ms() != 0 {
            self.batch.delete(self.keyspace, expiry_key(old.expiry_ms(), key));
        }
        self.count -= 1;
        self.batch.delete(self.keyspace, meta_key(key));
    }

    /// Removes an entry of the expiry index that no record stands behind.
    pub fn remove_stale_expiry(&mut self, key: &[u8], expiry_ms: u64) {
        self.batch.delete(self.keyspace, expiry_key(expiry_ms, key));
    }

    /// Removes everything; `count` is the present one. Call it with the whole database locked.
    pub fn clear(&mut self, count: i64) {
        self.batch.delete_range(self.keyspace, META_START, DB_END);
        self.count -= count;
        if let Some(touched) = &mut self.touched {
            touched.cleared = true;
        }
    }

    /// All of it.
    #[must_use]
    pub fn finish(mut self) -> Finished {
        self.batch.count(self.keyspace, self.count);
        let touched = self.touched.into_iter().collect();
        Finished { batch: self.batch, earliest_expiry_ms: self.earliest_expiry_ms, touched }
    }
}
