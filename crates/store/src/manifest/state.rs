//! The state that the edits of a MANIFEST add up to.

use super::edit::Entry;
use crate::engine::lsm::blob::BlobMeta;
use crate::engine::lsm::table::meta::TableMeta;
use crate::engine::lsm::tree::insert_in_level;
use crate::options::KeyspaceOptions;
use ringfort_base::limits::{KEYSPACES_MAX, LEVELS};
use ringfort_base::{FileNo, Incarnation, KeyspaceId, Seq};
use ringfort_trust::Head;
use ringfort_trust::keys::Secret;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A claimed life whose segments may still be needed (R2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Life {
    pub(crate) incarnation: Incarnation,
    /// Its segments have this number or a higher one, up to the next life's first.
    pub(crate) first_segment: FileNo,
    /// The anchored head that it continued from; what older files hold behind it is ignored.
    pub(crate) continues: Head,
}

/// A keyspace as the MANIFEST knows it.
#[derive(Clone)]
pub(crate) struct KeyspaceState {
    pub(crate) name: String,
    pub(crate) options: KeyspaceOptions,
    pub(crate) key: Secret<32>,
    /// Everything at or below is in tables: replay skips it (R10).
    pub(crate) flushed: Seq,
    /// The maintained count as of `flushed`.
    pub(crate) count: i64,
    pub(crate) levels: [Vec<Arc<TableMeta>>; LEVELS],
    pub(crate) values: BTreeMap<FileNo, Arc<BlobMeta>>,
    /// Dropped at this position; kept until the log no longer needs its key.
    pub(crate) dropped: Option<Seq>,
}

impl KeyspaceState {
    /// A keyspace without tables.
    pub(crate) fn new(
        name: String,
        options: KeyspaceOptions,
        key: Secret<32>,
        flushed: Seq,
        count: i64,
    ) -> Self {
        Self {
            name,
            options,
            key,
            flushed,
            count,
            levels: Default::default(),
            values: BTreeMap::new(),
            dropped: None,
        }
    }

    /// The entry that creates it.
    pub(crate) fn create_entry(&self, id: KeyspaceId) -> Entry {
        let Self { name, options, key, flushed, count, .. } = self.clone();
        Entry::CreateKeyspace { id, name, options, key, flushed, count }
    }
}

/// Everything a MANIFEST says.
#[derive(Clone, Default)]
pub(crate) struct State {
    pub(crate) keyspaces: BTreeMap<KeyspaceId, KeyspaceState>,
    /// Oldest first.
    pub(crate) lives: Vec<Life>,
    /// Replay starts here.
    pub(crate) log_start: FileNo,
    pub(crate) next_file: FileNo,
    pub(crate) next_keyspace: KeyspaceId,
    pub(crate) last_seq: Seq,
    pub(crate) time_ms: u64,
    /// This is a checkpoint of the store at a position, and no store (R21).
    pub(crate) checkpoint: Option<Seq>,
}

impl State {
    /// Applies one edit. An error says why verified entries contradict the state: a bug, since
    /// nobody else can write them.
    pub(crate) fn apply(&mut self, entries: Vec<Entry>) -> Result<(), String> {
        entries.into_iter().try_for_each(|entry| self.apply_one(entry))
    }

    fn apply_one(&mut self, entry: Entry) -> Result<(), String> {
        match entry {
            Entry::Snapshot => *self = Self::default(),
            Entry::CreateKeyspace { id, name, options, key, flushed, count } => {
                if self.keyspaces.len() >= KEYSPACES_MAX || self.keyspaces.contains_key(&id) {
                    return Err(format!("keyspace {id} is created twice, or one too many"));
                }
                self.keyspaces.insert(id, KeyspaceState::new(name, options, key, flushed, count));
            }
            Entry::DropKeyspace { id, at } => {
                let keyspace = self.keyspace(id)?;
                keyspace.dropped = Some(at);
                keyspace.levels = Default::default();
                keyspace.values.clear();
            }
            Entry::ForgetKeyspace { id } => {
                self.keyspaces.remove(&id);
            }
            Entry::AddTable { keyspace, level, meta } => {
                let keyspace = self.keyspace(keyspace)?;
                if let Some(used) = meta.values.iter().find(|used| !keyspace.values.contains_key(&used.file))
                {
                    return Err(format!(
                        "table {} points into value file {}, which is not there",
                        meta.file, used.file
                    ));
                }
                insert_in_level(&mut keyspace.levels[usize::from(level)], usize::from(level), meta);
            }
            Entry::AddValues { keyspace, meta } => {
                let file = meta.file;
                if self.keyspace(keyspace)?.values.insert(file, meta).is_some() {
                    return Err(format!("value file {file} is added twice"));
                }
            }
            Entry::RemoveValues { keyspace, file } => {
                let keyspace = self.keyspace(keyspace)?;
                let mut uses = keyspace.levels.iter().flatten().flat_map(|table| &table.values);
                if uses.any(|used| used.file == file) || keyspace.values.remove(&file).is_none() {
                    return Err(format!("value file {file} is removed, but is not there or is pointed into"));
                }
            }
            Entry::RemoveTable { keyspace, level, file } => {
                let tables = &mut self.keyspace(keyspace)?.levels[usize::from(level)];
                let before = tables.len();
                tables.retain(|table| table.file != file);
                if tables.len() + 1 != before {
                    return Err(format!("table {file} is removed from level {level}, where it is not"));
                }
            }
            Entry::Flushed { keyspace, through, count } => {
                let keyspace = self.keyspace(keyspace)?;
                if through < keyspace.flushed {
                    return Err(format!("flushed position falls from {} to {through}", keyspace.flushed));
                }
                keyspace.flushed = through;
                keyspace.count = count;
            }
            Entry::LogStart { segment } => self.log_start = segment,
            Entry::Life(life) => self.lives.push(life),
            Entry::Checkpoint { at } => self.checkpoint = Some(at),
            Entry::Counters { next_file, next_keyspace, last_seq, time_ms } => {
                self.next_file = self.next_file.max(next_file);
                self.next_keyspace = self.next_keyspace.max(next_keyspace);
                self.last_seq = self.last_seq.max(last_seq);
                self.time_ms = self.time_ms.max(time_ms);
            }
        }
        Ok(())
    }

    fn keyspace(&mut self, id: KeyspaceId) -> Result<&mut KeyspaceState, String> {
        self.keyspaces.get_mut(&id).ok_or_else(|| format!("keyspace {id} is unknown"))
    }

    /// The whole state as one edit: the first of a new MANIFEST. Lives before the log's start are left out.
    pub(crate) fn snapshot(&self) -> Vec<Entry> {
        let mut entries = vec![
            Entry::Snapshot,
            Entry::Counters {
                next_file: self.next_file,
                next_keyspace: self.next_keyspace,
                last_seq: self.last_seq,
                time_ms: self.time_ms,
            },
            Entry::LogStart { segment: self.log_start },
        ];
        let needed = self.lives.iter().rposition(|life| life.first_segment <= self.log_start).unwrap_or(0);
        entries.extend(self.lives.iter().skip(needed).copied().map(Entry::Life));
        entries.extend(self.checkpoint.map(|at| Entry::Checkpoint { at }));
        for (&id, keyspace) in &self.keyspaces {
            let KeyspaceState { levels, values, dropped, .. } = keyspace.clone();
            entries.push(keyspace.create_entry(id));
            entries.extend(values.into_values().map(|meta| Entry::AddValues { keyspace: id, meta }));
            for (level, tables) in levels.into_iter().enumerate() {
                let level = level as u8;
                entries.extend(tables.into_iter().map(|meta| Entry::AddTable { keyspace: id, level, meta }));
            }
            entries.extend(dropped.map(|at| Entry::DropKeyspace { id, at }));
        }
        entries
    }
}
