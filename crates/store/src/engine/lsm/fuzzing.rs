//! Bodies of fuzz targets: arbitrary bytes as the *plaintext* of a block, as if its seal had
//! verified, and as operands of merges. Each must end in a typed error or a bounded walk; fuzz targets
//! and a replay test call them.

use super::blob::format::{BlobFooter, decode_index};
use super::blob::{BlobMeta, BlobPointer, LoneValue};
use super::filter::{Filter, hash_key};
use super::key::{Trailer, cmp_internal};
use super::table::block::{Block, BlockCursor, Content};
use super::table::format::{Footer, PartitionHandles, Plain};
use super::table::index::Index;
use super::table::meta::TableMeta;
use super::table::properties::Properties;
use super::table::reader::{collect_tombstones, decode_handle};
use crate::merge::MergeOperators;
use ringfort_base::codec::Reader;
use ringfort_base::{FileNo, Seq};
use std::sync::Arc;

/// A data block or, by the first byte, one of tombstones: both walks meet the same ordered
/// entries, and searches agree with them.
pub fn block(data: &[u8]) {
    let Some((which, data)) = data.split_first() else { return };
    let content = if which & 1 == 0 { Content::Data } else { Content::Tombstones };
    let Ok(block) = Block::parse(Plain::pretend(data.to_vec()), content) else { return };
    walk(&Arc::new(block));
    if content == Content::Tombstones
        && let Ok(block) = Block::parse(Plain::pretend(data.to_vec()), content)
    {
        collect_tombstones(block);
    }
    if content == Content::Data
        && let Ok(loaded) =
            Block::parse(Plain::pretend(data.to_vec()), content).and_then(|block| block.stamped(Seq(7)))
    {
        walk(&Arc::new(loaded));
    }
}

/// An index block or, by the first byte, a top index: every handle of a block that parsed decodes.
pub fn index(data: &[u8]) {
    let Some((which, data)) = data.split_first() else { return };
    let content = if which & 1 == 0 { Content::Index } else { Content::TopIndex };
    let Ok(block) = Block::parse(Plain::pretend(data.to_vec()), content) else { return };
    let block = Arc::new(block);
    walk(&block);
    let mut cursor = BlockCursor::new();
    cursor.set_block(block);
    cursor.seek_to_first();
    while cursor.valid() {
        let decodes = match content {
            Content::TopIndex => PartitionHandles::decode(cursor.value()).is_ok(),
            _ => decode_handle(cursor.value()).is_ok(),
        };
        assert!(decodes, "a checked handle does not decode");
        cursor.next();
    }
    cursor.seek_to_first();
    let Ok(block) = Block::parse(Plain::pretend(data.to_vec()), content) else { return };
    let index = Index::new(block);
    for at in 0..index.len() {
        assert_eq!(index.seek(cursor.key(), cursor.trailer()), at, "an entry that is there is found");
        assert_eq!(index.value(at), cursor.value());
        cursor.next();
    }
    assert!(!cursor.valid(), "both meet the same entries");
}

/// A filter: asking it never fails.
pub fn filter(data: &[u8]) {
    let Ok(filter) = Filter::parse(Plain::pretend(data.to_vec())) else { return };
    let hashes = (0..64u64).map(|n| hash_key(&n.to_le_bytes())).chain([0, u64::MAX]);
    let passed = hashes.filter(|hash| filter.may_contain(*hash)).count();
    assert!(passed <= 66);
}

/// A footer, properties, or the MANIFEST's record of a table, by the first byte: what decodes
/// encodes to the same bytes.
pub fn footer(data: &[u8]) {
    let Some((which, data)) = data.split_first() else { return };
    match which % 3 {
        0 => {
            if let Ok(footer) = Footer::decode(data) {
                assert_eq!(footer.encode(), data, "footers are canonical");
            }
        }
        1 => {
            if let Ok(properties) = Properties::decode(data) {
                assert_eq!(properties.encode(), data, "properties are canonical");
            }
        }
        _ => {
            let mut reader = Reader::new(data);
            if let Ok(meta) = TableMeta::decode(&mut reader) {
                let mut again = Vec::new();
                meta.encode(&mut again);
                assert_eq!(again, data[..data.len() - reader.remaining()], "table records are canonical");
            }
        }
    }
}

/// A value pointer, value index, footer, the MANIFEST's record of a value file or the log's, by the first byte:
/// what decodes encodes to the same bytes, and its extents are sound.
pub fn value_file(data: &[u8]) {
    let Some((which, data)) = data.split_first() else { return };
    match which % 5 {
        4 => {
            if let Ok(lone) = LoneValue::decode(data) {
                let mut again = Vec::new();
                lone.encode(&mut again);
                assert_eq!(again, data, "values of the log are canonical");
                assert_eq!(lone.pointer().end(), lone.meta.data_bytes, "it fills its file");
            }
        }
        0 => {
            if let Ok(pointer) = BlobPointer::decode(data) {
                let mut again = Vec::new();
                pointer.encode(&mut again);
                assert_eq!(again, data, "pointers are canonical");
                let end = pointer.pieces().fold(pointer.offset, |at, piece| {
                    assert_eq!(piece.offset, at, "pieces follow each other");
                    piece.end()
                });
                assert_eq!(end, pointer.end(), "pieces fill their value");
            }
        }
        1 => {
            if let Ok(pointers) = decode_index(data, FileNo(7)) {
                let end = pointers.iter().fold(0, |at, pointer| {
                    assert_eq!(pointer.offset, at, "values follow each other");
                    pointer.end()
                });
                assert_eq!(end == 0, data.is_empty());
            }
        }
        2 => {
            if let Ok(footer) = BlobFooter::decode(data) {
                assert_eq!(footer.encode(), data, "footers are canonical");
            }
        }
        _ => {
            let mut reader = Reader::new(data);
            if let Ok(meta) = BlobMeta::decode(&mut reader) {
                let mut again = Vec::new();
                meta.encode(&mut again);
                assert_eq!(again, data[..data.len() - reader.remaining()], "records are canonical");
            }
        }
    }
}

/// A merge: the operator's name, whether there is a value, and it and the operands, each behind its
/// length. A name has one spelling; merging a part first changes nothing, wherever the part is.
pub fn merge(data: &[u8]) {
    let mut reader = Reader::new(data);
    let Ok(name) = reader.str(255) else { return };
    let Some(operator) = MergeOperators::default().find(name) else { return };
    assert_eq!(operator.name(), name, "an operator has one name");
    let Ok(exists) = reader.bool() else { return };
    let parts: Vec<&[u8]> = std::iter::from_fn(|| reader.bytes(255).ok()).take(12).collect();
    let (existing, operands) = if exists { parts.split_at(1.min(parts.len())) } else { parts.split_at(0) };
    let existing = existing.first().copied();
    let whole = operator.full_merge(b"key", existing, operands);
    for from in 0..operands.len() {
        for to in from + 2..=operands.len() {
            let Some(part) = operator.partial_merge(b"key", &operands[from..to]) else { continue };
            let (before, after) = (&operands[..from], &operands[to..]);
            let merged: Vec<&[u8]> = [before, &[part.as_slice()], after].concat();
            assert_eq!(operator.full_merge(b"key", existing, &merged), whole, "{name}: {from}..{to}");
        }
    }
}

fn walk(block: &Arc<Block>) {
    let mut cursor = BlockCursor::new();
    cursor.set_block(Arc::clone(block));
    let mut last: Option<(Vec<u8>, Trailer)> = None;
    let mut forward = 0usize;
    cursor.seek_to_first();
    while cursor.valid() {
        let (key, trailer) = (cursor.key().to_vec(), cursor.trailer());
        if let Some((last_key, last_trailer)) = &last {
            assert!(cmp_internal((last_key, *last_trailer), (&key, trailer)).is_lt(), "entries ascend");
        }
        let found = block.seek_entry(&key, trailer).expect("an entry that is there is found");
        assert!(found.same_key && found.trailer == trailer && block.bytes()[found.value] == *cursor.value());
        last = Some((key, trailer));
        forward += 1;
        cursor.next();
    }
    let mut backward = 0usize;
    cursor.seek_to_last();
    while cursor.valid() {
        backward += 1;
        cursor.prev();
    }
    assert_eq!(forward, backward, "both ways meet the same entries");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes that look like a block more often than noise does.
    fn shaped() -> impl Strategy<Value = Vec<u8>> {
        let entry = (0..4u8, 0..4u8, 0..5u8, prop::collection::vec(any::<u8>(), 0..16), 0..3u8);
        (prop::collection::vec(entry, 0..6), 0..2u8, prop::collection::vec(0..60u32, 0..3)).prop_map(
            |(entries, which, restarts)| {
                let mut bytes = vec![which];
                let mut values = Vec::new();
                for (shared, unshared, value, mut body, kind) in entries {
                    bytes.extend([shared, unshared, value]);
                    body.resize(usize::from(unshared), 1);
                    bytes.extend(body);
                    bytes.extend([kind, 9, 0, 0, 0, 0, 0, 0]);
                    values.extend(vec![200; usize::from(value)]);
                }
                let (entries_end, count) = (bytes.len() as u32 - 1, restarts.len() as u32 + 1);
                bytes.extend(values);
                for restart in [0].iter().chain(&restarts) {
                    bytes.extend(u64::from(*restart).to_le_bytes());
                }
                bytes.extend(entries_end.to_le_bytes());
                bytes.extend(count.to_le_bytes());
                bytes
            },
        )
    }

    proptest! {
        #[test]
        fn no_bytes_break_a_reader(noise: Vec<u8>, shaped in shaped()) {
            for data in [&noise, &shaped] {
                block(data);
                index(data);
                filter(data);
                footer(data);
                value_file(data);
                merge(data);
            }
        }
    }

    #[test]
    fn single_changes_of_sound_structures_break_no_reader() {
        use crate::engine::lsm::table::format::BlockHandle;
        use crate::options::Compression;
        let handle = BlockHandle { offset: 300, sealed_len: 400, codec: Compression::Lz4 };
        let sound = Footer {
            partitioned: true,
            properties: handle,
            index: handle,
            filter: None,
            tombstones: Some(handle),
            entries: 1000,
            deletes: 10,
            range_tombstones: 3,
        }
        .encode();
        let meta = BlobMeta {
            file: FileNo(300),
            file_bytes: 3_000_100,
            protection: ringfort_trust::Protection::Checksummed,
            key: ringfort_trust::keys::Secret::from_verified([7; 32]),
            footer: BlockHandle { offset: 3_000_060, sealed_len: 40, codec: Compression::None },
            footer_tag: ringfort_trust::Tag([3; 16]),
            values: 1,
            data_bytes: 3_000_048,
            epoch: ringfort_base::Epoch(1),
        };
        let mut lone = vec![4];
        LoneValue { meta, payload_len: 3_000_000 }.encode(&mut lone);
        assert!(LoneValue::decode(&lone[1..]).is_ok() && lone.len() <= LoneValue::ENCODED_BYTES_MAX);
        for at in 1..lone.len() {
            for byte in 0..=255 {
                let mut bytes = lone.clone();
                bytes[at] = byte;
                value_file(&bytes);
            }
            value_file(&lone[..at]);
        }
        let filter_bytes = crate::engine::lsm::filter::build(&[1, 2, 3], 10);
        for at in 0..sound.len() {
            for byte in 0..=255 {
                let mut bytes = [&[0], sound.as_slice()].concat();
                bytes[at + 1] = byte;
                footer(&bytes);
            }
        }
        for at in 0..filter_bytes.len() {
            for byte in [0, 1, 6, 24, 25, 255] {
                let mut bytes = filter_bytes.clone();
                bytes[at] = byte;
                filter(&bytes);
            }
        }
    }
}
