//! Edits of the MANIFEST, and their bytes.
//!
//! ```text
//! edit    := entry*                                        one record, or several of one group
//! entry   := 1 | keyspace u32 | name bytes | options | key 32 | flushed varint | count i64      create keyspace
//!          | 2 | keyspace u32 | at varint                                                  drop keyspace
//!          | 3 | keyspace u32 | level u8 | table meta (bytes)                               add table
//!          | 4 | keyspace u32 | level u8 | file varint                                      remove table
//!          | 5 | keyspace u32 | through varint | count i64                                  flushed
//!          | 6 | segment varint                                                             log starts at
//!          | 7 | incarnation varint | first segment varint | continues: position u64, tag 16     life
//!          | 8 | next file varint | next keyspace u32 | last seq varint | time_ms varint          counters
//!          | 9 |                                                                            snapshot begins
//!          | 10 | keyspace u32                                                              forget keyspace
//!          | 11                                                                          reserved
//!          | 12 | at varint                                                                checkpoint marker (R21)
//!          | 13 | keyspace u32 | value file meta (bytes)                                    add value file
//!          | 14 | keyspace u32 | file varint                                                remove value file
//! options := write buffer varint | block varint | restart varint | bloom varint | codec u8
//!          | table bytes varint | level 0 tables varint | level 1 bytes varint
//!          | name of the merge operator bytes (empty: none)
//!          | separate values from bytes varint
//! ```

use crate::engine::lsm::blob::BlobMeta;
use crate::engine::lsm::table::meta::TableMeta;
use crate::options::{Compression, KeyspaceOptions};
use ringfort_base::codec::{DecodeError, Reader, Write};
use ringfort_base::limits::{BLOCK_BYTES_MAX, BLOCK_BYTES_MIN, KEY_BYTES_MAX, LEVELS, NAME_BYTES_MAX};
use ringfort_base::{FileNo, Incarnation, KeyspaceId, Seq};
use ringfort_trust::keys::Secret;
use ringfort_trust::{Head, Tag};
use std::sync::Arc;

use super::state::Life;

/// No table's record is longer: two keys, and a few bytes for each value file that it points into.
const TABLE_META_BYTES_MAX: usize = 16 << 20;

/// One change.
#[derive(Clone)]
pub(crate) enum Entry {
    CreateKeyspace {
        id: KeyspaceId,
        name: String,
        options: KeyspaceOptions,
        key: Secret<32>,
        flushed: Seq,
        count: i64,
    },
    /// Logically dropped at a position; its key stays until the log no longer needs it.
    DropKeyspace {
        id: KeyspaceId,
        at: Seq,
    },
    /// Its key is gone as well.
    ForgetKeyspace {
        id: KeyspaceId,
    },
    AddTable {
        keyspace: KeyspaceId,
        level: u8,
        meta: Arc<TableMeta>,
    },
    RemoveTable {
        keyspace: KeyspaceId,
        level: u8,
        file: FileNo,
    },
    Flushed {
        keyspace: KeyspaceId,
        through: Seq,
        count: i64,
    },
    LogStart {
        segment: FileNo,
    },
    Life(Life),
    Counters {
        next_file: FileNo,
        next_keyspace: KeyspaceId,
        last_seq: Seq,
        time_ms: u64,
    },
    /// What follows replaces everything before.
    Snapshot,
    /// The MANIFEST is a checkpoint's.
    Checkpoint {
        at: Seq,
    },
    /// Before the tables that point into it.
    AddValues {
        keyspace: KeyspaceId,
        meta: Arc<BlobMeta>,
    },
    /// Behind the removal of the last table that pointed into it.
    RemoveValues {
        keyspace: KeyspaceId,
        file: FileNo,
    },
}

/// Appends one entry.
pub(crate) fn encode(out: &mut Vec<u8>, entry: &Entry) {
    match entry {
        Entry::CreateKeyspace { id, name, options, key, flushed, count } => {
            begin(out, 1, *id);
            out.put_bytes(name.as_bytes());
            encode_options(out, options);
            out.put(key.expose_for_sealing());
            out.put_varint(flushed.0);
            out.put_u64(*count as u64);
        }
        Entry::DropKeyspace { id, at } => {
            begin(out, 2, *id);
            out.put_varint(at.0);
        }
        Entry::AddTable { keyspace, level, meta } => {
            begin(out, 3, *keyspace);
            out.put_u8(*level);
            put_record(out, |bytes| meta.encode(bytes));
        }
        Entry::RemoveTable { keyspace, level, file } => {
            begin(out, 4, *keyspace);
            out.put_u8(*level);
            out.put_varint(file.0);
        }
        Entry::Flushed { keyspace, through, count } => {
            begin(out, 5, *keyspace);
            out.put_varint(through.0);
            out.put_u64(*count as u64);
        }
        Entry::LogStart { segment } => {
            out.put_u8(6);
            out.put_varint(segment.0);
        }
        Entry::Life(life) => {
            out.put_u8(7);
            out.put_varint(life.incarnation.0);
            out.put_varint(life.first_segment.0);
            out.put_u64(life.continues.position);
            out.put(&life.continues.tag.0);
        }
        Entry::Counters { next_file, next_keyspace, last_seq, time_ms } => {
            out.put_u8(8);
            out.put_varint(next_file.0);
            out.put_u32(next_keyspace.0);
            out.put_varint(last_seq.0);
            out.put_varint(*time_ms);
        }
        Entry::Snapshot => out.put_u8(9),
        Entry::Checkpoint { at } => {
            out.put_u8(12);
            out.put_varint(at.0);
        }
        Entry::ForgetKeyspace { id } => {
            begin(out, 10, *id);
        }
        Entry::AddValues { keyspace, meta } => {
            begin(out, 13, *keyspace);
            put_record(out, |bytes| meta.encode(bytes));
        }
        Entry::RemoveValues { keyspace, file } => {
            begin(out, 14, *keyspace);
            out.put_varint(file.0);
        }
    }
}

/// The front of an entry about a keyspace.
fn begin(out: &mut Vec<u8>, kind: u8, keyspace: KeyspaceId) {
    out.put_u8(kind);
    out.put_u32(keyspace.0);
}

/// A record with its length in front.
fn put_record(out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = Vec::new();
    encode(&mut bytes);
    out.put_bytes(&bytes);
}

/// Decodes all entries of an edit.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Entry>, DecodeError> {
    let mut r = Reader::new(bytes);
    let mut entries = Vec::new();
    while !r.is_empty() {
        entries.push(decode_entry(&mut r)?);
    }
    Ok(entries)
}

fn decode_entry(r: &mut Reader<'_>) -> Result<Entry, DecodeError> {
    Ok(match r.u8()? {
        1 => Entry::CreateKeyspace {
            id: KeyspaceId(r.u32()?),
            name: r.str(NAME_BYTES_MAX)?.to_owned(),
            options: decode_options(r)?,
            key: Secret::from_verified(r.array()?),
            flushed: Seq(r.varint()?),
            count: r.u64()? as i64,
        },
        2 => Entry::DropKeyspace { id: KeyspaceId(r.u32()?), at: Seq(r.varint()?) },
        3 => {
            let keyspace = KeyspaceId(r.u32()?);
            let level = level(r)?;
            let mut meta = Reader::new(r.bytes(TABLE_META_BYTES_MAX)?);
            let table = TableMeta::decode(&mut meta)?;
            meta.finish()?;
            Entry::AddTable { keyspace, level, meta: Arc::new(table) }
        }
        4 => {
            Entry::RemoveTable { keyspace: KeyspaceId(r.u32()?), level: level(r)?, file: FileNo(r.varint()?) }
        }
        5 => Entry::Flushed {
            keyspace: KeyspaceId(r.u32()?),
            through: Seq(r.varint()?),
            count: r.u64()? as i64,
        },
        6 => Entry::LogStart { segment: FileNo(r.varint()?) },
        7 => Entry::Life(Life {
            incarnation: Incarnation(r.varint()?),
            first_segment: FileNo(r.varint()?),
            continues: Head { position: r.u64()?, tag: Tag(r.array()?) },
        }),
        8 => Entry::Counters {
            next_file: FileNo(r.varint()?),
            next_keyspace: KeyspaceId(r.u32()?),
            last_seq: Seq(r.varint()?),
            time_ms: r.varint()?,
        },
        9 => Entry::Snapshot,
        10 => Entry::ForgetKeyspace { id: KeyspaceId(r.u32()?) },
        12 => Entry::Checkpoint { at: Seq(r.varint()?) },
        13 => {
            let keyspace = KeyspaceId(r.u32()?);
            let mut meta = Reader::new(r.bytes(1 << 10)?);
            let values = BlobMeta::decode(&mut meta)?;
            meta.finish()?;
            Entry::AddValues { keyspace, meta: Arc::new(values) }
        }
        14 => Entry::RemoveValues { keyspace: KeyspaceId(r.u32()?), file: FileNo(r.varint()?) },
        other => return Err(DecodeError::Variant(other)),
    })
}

fn level(r: &mut Reader<'_>) -> Result<u8, DecodeError> {
    let level = r.u8()?;
    if usize::from(level) < LEVELS { Ok(level) } else { Err(DecodeError::Limit) }
}

fn encode_options(out: &mut Vec<u8>, o: &KeyspaceOptions) {
    out.put_varint(o.write_buffer_bytes as u64);
    out.put_varint(o.block_bytes as u64);
    out.put_varint(o.restart_interval as u64);
    out.put_varint(u64::from(o.bloom_bits_per_key));
    out.put_u8(o.compression as u8);
    out.put_varint(o.table_bytes);
    out.put_varint(o.level0_tables as u64);
    out.put_varint(o.level1_bytes);
    out.put_bytes(o.merge_operator.as_deref().unwrap_or_default().as_bytes());
    out.put_varint(o.separate_values_from_bytes as u64);
    out.put_varint(o.prefix_bytes as u64);
}

fn decode_options(r: &mut Reader<'_>) -> Result<KeyspaceOptions, DecodeError> {
    let size = |v: u64| usize::try_from(v).map_err(|_| DecodeError::Limit);
    let options = KeyspaceOptions {
        write_buffer_bytes: size(r.varint()?)?,
        block_bytes: size(r.varint()?)?,
        restart_interval: size(r.varint()?)?,
        bloom_bits_per_key: r.varint32()?,
        compression: match r.u8()? {
            0 => Compression::None,
            1 => Compression::Lz4,
            2 => Compression::Zstd,
            other => return Err(DecodeError::Variant(other)),
        },
        table_bytes: r.varint()?,
        level0_tables: size(r.varint()?)?,
        level1_bytes: r.varint()?,
        merge_operator: Some(r.str(NAME_BYTES_MAX)?.to_owned()).filter(|name| !name.is_empty()),
        separate_values_from_bytes: size(r.varint()?)?,
        prefix_bytes: size(r.varint()?)?,
    };
    check_options(&options).map_err(DecodeError::Meaning)?;
    Ok(options)
}

/// What a keyspace may be asked for.
pub(crate) fn check_options(o: &KeyspaceOptions) -> Result<(), &'static str> {
    if !(BLOCK_BYTES_MIN..=BLOCK_BYTES_MAX).contains(&o.block_bytes) {
        return Err("block_bytes must be between 1 KiB and 1 MiB");
    }
    if !(1..=1024).contains(&o.restart_interval) {
        return Err("restart_interval must be between 1 and 1024");
    }
    if o.bloom_bits_per_key > 64 {
        return Err("bloom_bits_per_key must be at most 64");
    }
    if o.write_buffer_bytes < 4096 || o.table_bytes < 4096 || o.level1_bytes < 4096 {
        return Err("write_buffer_bytes, table_bytes and level1_bytes must be at least 4 KiB");
    }
    if o.prefix_bytes > KEY_BYTES_MAX {
        return Err("prefix_bytes must be at most the longest key's length");
    }
    if o.prefix_bytes > 0 && o.bloom_bits_per_key == 0 {
        return Err("prefix_bytes needs filters: bloom_bits_per_key must not be 0");
    }
    if !(1..=1000).contains(&o.level0_tables) {
        return Err("level0_tables must be between 1 and 1000");
    }
    if o.merge_operator.as_ref().is_some_and(|name| name.is_empty() || name.len() > NAME_BYTES_MAX) {
        return Err("the name of a merge operator has 1 to 255 bytes");
    }
    Ok(())
}
