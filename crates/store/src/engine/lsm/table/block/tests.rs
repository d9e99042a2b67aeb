//! Blocks against a sorted list, and broken blocks.

use super::*;
use crate::engine::lsm::key::{Kind, Trailer, cmp_internal};
use crate::engine::lsm::table::format::Plain;
use proptest::prelude::*;
use ringfort_base::Seq;
use ringfort_base::codec::DecodeError;
use std::sync::Arc;

pub(super) type Entries = Vec<(Vec<u8>, Trailer, Vec<u8>)>;

fn build(entries: &Entries, restart_interval: usize) -> Vec<u8> {
    let mut builder = BlockBuilder::new(restart_interval);
    for (key, trailer, value) in entries {
        builder.add(key, *trailer, value);
    }
    let (size, mut bytes) = (builder.size(), Vec::new());
    builder.finish_into(&mut bytes);
    assert_eq!(bytes.len(), size);
    bytes
}

fn parse(bytes: Vec<u8>) -> Result<Block, DecodeError> {
    Block::parse(Plain::pretend(bytes), Content::Data)
}

fn entries_strategy() -> impl Strategy<Value = Entries> {
    let key = prop::collection::vec(prop_oneof![0..3u8, Just(255)], 0..10);
    let value = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..20),
        1 => prop::collection::vec(any::<u8>(), 100..400),
    ];
    prop::collection::vec((key, 0..6u64, any::<bool>(), value), 0..80).prop_map(|raw| {
        let mut entries: Entries = raw
            .into_iter()
            .map(|(key, seq, put, value)| {
                let kind = if put { Kind::Put } else { Kind::Delete };
                (key, Trailer::new(Seq(seq), kind), if put { value } else { Vec::new() })
            })
            .collect();
        entries.sort_by(|a, b| cmp_internal((&a.0, a.1), (&b.0, b.1)));
        entries.dedup_by(|a, b| a.0 == b.0 && a.1 == b.1);
        entries
    })
}

fn shown(cursor: &BlockCursor) -> Option<(Vec<u8>, Trailer, Vec<u8>)> {
    cursor.valid().then(|| (cursor.key().to_vec(), cursor.trailer(), cursor.value().to_vec()))
}

proptest! {
    #[test]
    fn agrees_with_the_list(
        entries in entries_strategy(),
        interval in 1..20usize,
        probes in prop::collection::vec((prop::collection::vec(0..4u8, 0..10), 0..7u64), 20),
    ) {
        let block = Arc::new(parse(build(&entries, interval)).unwrap());
        let mut cursor = BlockCursor::new();
        cursor.set_block(Arc::clone(&block));
        cursor.seek_to_first();
        for entry in &entries {
            prop_assert_eq!(shown(&cursor), Some(entry.clone()));
            cursor.next();
        }
        prop_assert!(!cursor.valid());
        cursor.seek_to_last();
        for entry in entries.iter().rev() {
            prop_assert_eq!(shown(&cursor), Some(entry.clone()));
            cursor.prev();
        }
        prop_assert!(!cursor.valid());
        let own = entries.iter().map(|(key, trailer, _)| (key.clone(), trailer.seq().0));
        for (key, snapshot) in probes.into_iter().chain(own) {
            let trailer = Trailer::seek(Seq(snapshot));
            let at = entries.partition_point(|e| cmp_internal((&e.0, e.1), (&key, trailer)).is_lt());
            cursor.seek(&key, trailer);
            prop_assert_eq!(shown(&cursor), entries.get(at).cloned());
            let found = block.seek_entry(&key, trailer);
            let shown_found = found.as_ref().map(|f| (f.trailer, block.bytes()[f.value.clone()].to_vec(), f.same_key));
            let expected = entries.get(at).map(|e| (e.1, e.2.clone(), e.0 == key));
            prop_assert_eq!(shown_found, expected);
            cursor.seek_before(&key, trailer);
            prop_assert_eq!(shown(&cursor), at.checked_sub(1).map(|i| entries[i].clone()));
            // Turning around in the middle.
            cursor.next();
            if at > 0 {
                prop_assert_eq!(shown(&cursor), entries.get(at).cloned());
                if cursor.valid() {
                    cursor.prev();
                    prop_assert_eq!(shown(&cursor), Some(entries[at - 1].clone()));
                }
            }
        }
    }

    #[test]
    fn a_changed_byte_is_refused_or_reads_as_a_sound_block(
        entries in entries_strategy(), interval in 1..6usize, at: prop::sample::Index, bit in 0..8u8,
    ) {
        let mut bytes = build(&entries, interval);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(block) = parse(bytes) {
            walk_soundly(block);
        }
    }

    #[test]
    fn noise_is_refused_or_reads_as_a_sound_block(bytes: Vec<u8>) {
        if let Ok(block) = parse(bytes) {
            walk_soundly(block);
        }
    }
}

/// Both directions meet the same entries, in order.
fn walk_soundly(block: Block) {
    let mut cursor = BlockCursor::new();
    cursor.set_block(Arc::new(block));
    let (mut forward, mut backward) = (Entries::new(), Entries::new());
    cursor.seek_to_first();
    while let Some(entry) = shown(&cursor) {
        forward.push(entry);
        cursor.next();
    }
    cursor.seek_to_last();
    while let Some(entry) = shown(&cursor) {
        backward.push(entry);
        cursor.prev();
    }
    backward.reverse();
    assert_eq!(forward, backward);
    assert!(forward.is_sorted_by(|a, b| cmp_internal((&a.0, a.1), (&b.0, b.1)).is_lt()));
}

#[test]
fn every_cut_is_refused() {
    let entries: Entries = (0..40u8)
        .map(|i| (vec![i / 4, i], Trailer::new(Seq(u64::from(i)), Kind::Put), vec![i; i as usize * 5]))
        .collect();
    let bytes = build(&entries, 4);
    assert!(parse(bytes.clone()).is_ok());
    for cut in 0..bytes.len() {
        assert!(parse(bytes[..cut].to_vec()).is_err(), "cut at {cut}");
    }
}

#[test]
fn what_does_not_belong_is_refused() {
    let one = |trailer: u64, value: &[u8]| {
        let mut builder = BlockBuilder::new(16);
        builder.add(b"k", Trailer(trailer), value);
        let mut bytes = Vec::new();
        builder.finish_into(&mut bytes);
        bytes
    };
    assert!(parse(one(7 << 8 | 1, b"v")).is_ok());
    assert!(parse(one(7 << 8, b"")).is_ok());
    assert!(parse(one(7 << 8, b"a deletion's value")).is_err());
    assert!(parse(one(7 << 8 | 2, b"z")).is_err(), "a range deletion among point entries");
    assert!(parse(one(7 << 8 | 3, b"an operand")).is_ok());
    assert!(parse(one(7 << 8 | 5, &[9, 0, 30, 0])).is_ok(), "a pointer: file, offset, length, codec");
    assert_eq!(parse(one(7 << 8 | 5, b"v")).err(), Some(DecodeError::Short));
    assert_eq!(parse(one(7 << 8 | 5, &[9, 0, 0, 0])).err(), Some(DecodeError::Limit), "an empty value");
    assert_eq!(parse(one(7 << 8 | 5, &[9, 0, 30, 3])).err(), Some(DecodeError::Variant(3)), "no codec");
    for reserved in [4, 6, 255] {
        assert_eq!(parse(one(7 << 8 | reserved, b"v")).err(), Some(DecodeError::Variant(reserved as u8)));
    }
    let tombstones = |bytes| Block::parse(Plain::pretend(bytes), Content::Tombstones);
    assert!(tombstones(one(7 << 8 | 2, b"z")).is_ok());
    assert!(tombstones(one(7 << 8 | 2, b"k")).is_err(), "an empty range");
    assert!(tombstones(one(7 << 8 | 1, b"z")).is_err());
    let index = |bytes| Block::parse(Plain::pretend(bytes), Content::Index);
    assert!(index(one(7 << 8 | 1, &[0, 100, 0])).is_ok());
    assert!(index(one(7 << 8 | 1, &[0, 100, 9])).is_err(), "an unknown codec");
    assert!(index(one(7 << 8 | 1, &[0, 3, 0])).is_err(), "no room for a tag");
    assert!(index(one(7 << 8 | 1, &[0, 100, 0, 0])).is_err(), "bytes left over");
}
