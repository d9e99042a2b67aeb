//! [`Changes`]: one command's writes to one database, with count and expiry index kept true.

use super::keys::{DB_END, META_START, expiry_key, field_key, meta_key};
use super::record::{HashMeta, Record};
use ringfort_base::KeyspaceId;
use ringfort_store::{StoredValue, WriteBatch};

/// Collects the writes of a command. Each method takes what is stored under the key now (read under
/// its lock), so that the count and the expiry index change with the record.
pub struct Changes {
    keyspace: KeyspaceId,
    batch: WriteBatch,
    count: i64,
    /// The earliest expiry written, for the reaper's alarm.
    earliest_expiry_ms: Option<u64>,
}

impl Changes {
    /// Nothing yet, in `keyspace`.
    #[must_use]
    pub fn new(keyspace: KeyspaceId) -> Self {
        Self { keyspace, batch: WriteBatch::new(), count: 0, earliest_expiry_ms: None }
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
        self.batch.put(self.keyspace, field_key(key, generation, field), value);
    }

    /// Removes a field.
    pub fn delete_field(&mut self, key: &[u8], generation: u64, field: &[u8]) {
        self.batch.delete(self.keyspace, field_key(key, generation, field));
    }

    /// Removes a key: for a hash the record only (its fields become orphans).
    pub fn remove(&mut self, key: &[u8], old: &Record) {
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
    }

    /// The batch, and the earliest expiry in it.
    #[must_use]
    pub fn finish(mut self) -> (WriteBatch, Option<u64>) {
        self.batch.count(self.keyspace, self.count);
        (self.batch, self.earliest_expiry_ms)
    }
}
