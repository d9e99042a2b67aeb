//! The sealed chained log under honest use and under every alteration of its bytes.

use super::*;
use crate::keys::Secret;
use crate::seal::Protection;
use crate::testing::{TestEntropy, ring};
use ringfort_base::{Epoch, FileNo, Incarnation, Lineage, StoreId, Untrusted};
use std::collections::HashSet;

const BOTH: [Protection; 2] = [Protection::Sealed(crate::Suite::Aes256Gcm), Protection::Checksummed];
const SEALED: Protection = BOTH[0];

fn header(segment: u64, incarnation: u64) -> SegmentHeader {
    SegmentHeader {
        kind: LogKind::Wal,
        store: StoreId([1; 16]),
        lineage: Lineage([2; 16]),
        segment: FileNo(segment),
        incarnation: Incarnation(incarnation),
        epoch: Epoch(1),
        salt: [9; 32],
        continues: Head { position: 10, tag: Tag([3; 16]) },
    }
}

fn sealer(protection: Protection, header: &SegmentHeader) -> Sealer {
    ring().log_sealer(protection, header, header.kind, None).unwrap()
}

fn payload(i: u64) -> Vec<u8> {
    format!("payload {i} ").repeat(i as usize % 4).into_bytes()
}

/// A segment of `records` records at positions 11, 12, …; and where each ends.
fn segment(protection: Protection, header: &SegmentHeader, records: u64) -> (Vec<u8>, Vec<usize>) {
    let (entropy, sealer) = (TestEntropy::default(), sealer(protection, header));
    let mut writer = ChainWriter::new(header);
    let mut out = header.encode().to_vec();
    let mut ends = Vec::new();
    for i in 0..records {
        let start = writer.begin(&mut out, 11 + i);
        out.extend_from_slice(&payload(i));
        let head = writer.finish(&mut out, start, KeyspaceId(0), i % 2 == 1, &sealer, &entropy).unwrap();
        assert_eq!(head, writer.head());
        ends.push(out.len());
    }
    (out, ends)
}

/// Reads all: how many records there are (each checked against what was written), and the end. Where
/// the file is cut into windows changes nothing (but for the reason, with windows as short as these:
/// a false length may point behind them).
fn read(protection: Protection, header: &SegmentHeader, bytes: &[u8]) -> (u64, EndReason, u64) {
    let whole = read_by(protection, header, bytes, bytes.len() + 1);
    for window in [SegmentHeader::BYTES, SegmentHeader::BYTES + 29] {
        let (records, _, at) = read_by(protection, header, bytes, window);
        assert_eq!((records, at), (whole.0, whole.2), "windows of {window}");
    }
    whole
}

/// As [`read`], a window of `len` bytes at a time.
fn read_by(
    protection: Protection,
    header: &SegmentHeader,
    bytes: &[u8],
    len: usize,
) -> (u64, EndReason, u64) {
    let sealer = sealer(protection, header);
    let window = |offset: u64| {
        let rest = &bytes[offset as usize..];
        (Untrusted::new(rest[..rest.len().min(len)].to_vec()), rest.len() < len)
    };
    let (front, complete) = window(0);
    let mut reader = ChainReader::windowed(front, complete, header);
    let mut records = 0;
    loop {
        match reader.ahead() {
            Ahead::Refill(offset) => {
                drop(reader.take_buffer());
                let (next, complete) = window(offset);
                reader.refill(next, complete);
            }
            Ahead::Record(domain) => {
                let head = match reader.open((domain == KeyspaceId(0)).then_some(&sealer)) {
                    Ok(record) => {
                        assert_eq!(*record.payload, payload(records));
                        assert_eq!(record.head.position, 11 + records);
                        assert_eq!(record.last, records % 2 == 1);
                        record.head
                    }
                    Err((end, at)) => {
                        assert_eq!(reader.ahead(), Ahead::End(end, at), "an end stays");
                        return (records, end, at);
                    }
                };
                assert_eq!(head, reader.head());
                records += 1;
            }
            Ahead::End(end, at) => {
                assert_eq!(reader.ahead(), Ahead::End(end, at), "an end stays");
                return (records, end, at);
            }
        }
    }
}

#[test]
fn a_header_round_trips_and_claims_are_bounded() {
    let header = header(7, 8);
    let bytes = header.encode();
    assert_eq!(SegmentHeader::claimed(&Untrusted::new(bytes.to_vec())), Ok(header));
    for cut in 0..bytes.len() {
        assert_eq!(
            SegmentHeader::claimed(&Untrusted::new(bytes[..cut].to_vec())),
            Err(DecodeError::Short),
            "cut at {cut}"
        );
    }
    for (at, value) in [(0, b'X'), (4, 2), (6, 3), (7, 1)] {
        let mut bad = bytes.to_vec();
        bad[at] = value;
        assert!(SegmentHeader::claimed(&Untrusted::new(bad)).is_err(), "byte {at}");
    }
}

#[test]
fn what_was_written_is_read_up_to_its_end() {
    for protection in BOTH {
        let header = header(7, 8);
        let (bytes, ends) = segment(protection, &header, 6);
        let used = *ends.last().unwrap() as u64;
        assert_eq!(read(protection, &header, &bytes), (6, EndReason::Short, used));
        for zeros in [1, 3, 4, 20, 21, 100] {
            let mut reserved = bytes.clone();
            reserved.resize(bytes.len() + zeros, 0);
            assert_eq!(read(protection, &header, &reserved), (6, EndReason::Zeros, used));
        }
        assert_eq!(read(protection, &header, &header.encode()), (0, EndReason::Short, 116));
    }
}

/// Records of several sizes through windows of the least size: every answer is that of the whole file.
#[test]
fn the_least_window_gives_the_answers_of_the_whole_file() {
    let header = header(7, 8);
    let (entropy, sealer) = (TestEntropy::default(), sealer(SEALED, &header));
    let mut writer = ChainWriter::new(&header);
    let mut bytes = header.encode().to_vec();
    for len in [5, 700_000, PLAIN_BYTES_MAX - 8, 0, 900_000] {
        let start = writer.begin(&mut bytes, 11);
        bytes.resize(bytes.len() + len, len as u8);
        writer.finish(&mut bytes, start, KeyspaceId(0), true, &sealer, &entropy).unwrap();
    }
    let read = |bytes: &[u8], window: usize| {
        let cut = |offset: usize| {
            let rest = &bytes[offset..];
            (Untrusted::new(rest[..rest.len().min(window)].to_vec()), rest.len() < window)
        };
        let (front, complete) = cut(0);
        let mut reader = ChainReader::windowed(front, complete, &header);
        let mut lens = Vec::new();
        loop {
            match reader.ahead() {
                Ahead::Refill(offset) => {
                    let (window, complete) = cut(offset as usize);
                    reader.refill(window, complete);
                }
                Ahead::Record(_) => match reader.open(Some(&sealer)) {
                    Ok(record) => lens.push(record.payload.len()),
                    Err(end) => return (lens, end),
                },
                Ahead::End(end, at) => return (lens, (end, at)),
            }
        }
    };
    let least = ChainReader::WINDOW_BYTES_MIN;
    assert_eq!(read(&bytes, least).0, [5, 700_000, PLAIN_BYTES_MAX - 8, 0, 900_000]);
    for at in [0, 120, 150, 200, 700_100, bytes.len() - 900_030, bytes.len() - 1] {
        let mut bad = bytes.clone();
        bad[at] ^= 0x10;
        assert_eq!(read(&bad, least), read(&bad, bad.len() + 1), "byte {at}");
        assert_eq!(read(&bytes[..at], least), read(&bytes[..at], at + 1), "cut at {at}");
    }
}

#[test]
fn sealed_records_hide_what_they_say_and_checksummed_ones_do_not() {
    let header = header(7, 8);
    let shows =
        |protection| segment(protection, &header, 4).0.windows(9).any(|window| window == b"payload 3");
    assert!(!shows(BOTH[0]));
    assert!(shows(BOTH[1]));
}

#[test]
fn every_flipped_bit_costs_its_record_and_all_behind_it() {
    for protection in BOTH {
        let header = header(7, 8);
        let (bytes, ends) = segment(protection, &header, 5);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let before = ends.iter().filter(|end| **end <= bit / 8).count() as u64;
            let (records, _, at) = read(protection, &header, &bad);
            let expected = if bit / 8 < SegmentHeader::BYTES { 0 } else { before };
            assert_eq!(records, expected, "{protection:?}: bit {bit}, ended at {at}");
        }
    }
}

#[test]
fn every_cut_yields_the_records_in_front_of_it() {
    for protection in BOTH {
        let header = header(7, 8);
        let (bytes, ends) = segment(protection, &header, 5);
        for cut in 0..bytes.len() {
            let whole = ends.iter().filter(|end| **end <= cut).count() as u64;
            let (records, end, _) = read(protection, &header, &bytes[..cut]);
            assert_eq!((records, end), (whole, EndReason::Short), "cut at {cut}");
            // A torn write into reserved space.
            let mut torn = bytes[..cut].to_vec();
            torn.resize(bytes.len() + 50, 0);
            // (a tag whose last bytes were zeros would be whole; with these keys none is)
            assert_eq!(read(protection, &header, &torn).0, whole, "torn at {cut}");
        }
    }
}

#[test]
fn records_cannot_be_reordered_repeated_dropped_or_spliced() {
    for protection in BOTH {
        let this = header(7, 8);
        let (bytes, ends) = segment(protection, &this, 4);
        let record = |i: usize| {
            let start = if i == 0 { SegmentHeader::BYTES } else { ends[i - 1] };
            &bytes[start..ends[i]]
        };
        let build = |order: &[&[u8]]| [&[&this.encode()[..]], order].concat().concat();
        let bad = EndReason::BadSeal;
        let ended = |order: &[&[u8]]| {
            let (records, end, _) = read(protection, &this, &build(order));
            (records, end)
        };
        assert_eq!(ended(&[record(0), record(1), record(2), record(3)]), (4, EndReason::Short));
        assert_eq!(ended(&[record(1), record(0)]), (0, bad), "reordered");
        assert_eq!(ended(&[record(0), record(0)]), (1, bad), "repeated");
        assert_eq!(ended(&[record(0), record(2), record(3)]), (1, bad), "dropped");

        // The same records of a segment that differs in one field of its header.
        for other in [header(8, 8), header(7, 9), SegmentHeader { salt: [8; 32], ..this.clone() }] {
            let (foreign, foreign_ends) = segment(protection, &other, 4);
            let second = &foreign[foreign_ends[0]..foreign_ends[1]];
            assert_eq!(ended(&[record(0), second]), (1, bad), "spliced");
            assert_eq!(read(protection, &this, &foreign).1, bad, "another header");
            let relabelled = build(&[&foreign[SegmentHeader::BYTES..]]);
            assert_eq!(read(protection, &this, &relabelled).1, bad, "another header's records");
        }
    }
}

/// Two writers of one history, as after a clone: same header, same index, another record before.
#[test]
fn a_record_belongs_to_the_record_before_it() {
    for protection in BOTH {
        let header = header(7, 8);
        let sealer = sealer(protection, &header);
        let entropy = TestEntropy::default();
        let write = |texts: [&[u8]; 2]| {
            let mut writer = ChainWriter::new(&header);
            texts.map(|text| {
                let mut out = Vec::new();
                let start = writer.begin(&mut out, 11);
                out.extend_from_slice(text);
                writer.finish(&mut out, start, KeyspaceId(0), true, &sealer, &entropy).unwrap();
                out
            })
        };
        let (ours, theirs) = (write([b"a", b"b"]), write([b"x", b"b"]));
        let mixed = [&header.encode()[..], &ours[0], &theirs[1]].concat();
        let mut reader = ChainReader::new(Untrusted::new(mixed), &header);
        assert!(reader.next(&mut |_| Some(&sealer)).is_ok());
        assert_eq!(reader.next(&mut |_| Some(&sealer)).err().map(|end| end.0), Some(EndReason::BadSeal));
    }
}

#[test]
fn key_domains_have_their_own_keys() {
    let header = header(7, 8);
    let (system, key) = (sealer(SEALED, &header), Secret([5; 32]));
    let domain = ring().log_sealer(SEALED, &header, LogKind::Wal, Some(&key)).unwrap();
    let mut writer = ChainWriter::new(&header);
    let mut out = header.encode().to_vec();
    let start = writer.begin(&mut out, 11);
    writer.finish(&mut out, start, KeyspaceId(4), true, &domain, &TestEntropy::default()).unwrap();

    let ended = |pick: Option<&Sealer>| {
        let mut reader = ChainReader::new(Untrusted::new(out.clone()), &header);
        reader.next(&mut |_| pick).err().map(|end| end.0)
    };
    assert_eq!(ended(Some(&domain)), None);
    assert_eq!(ended(Some(&system)), Some(EndReason::BadSeal));
    assert_eq!(ended(None), Some(EndReason::UnknownDomain(KeyspaceId(4))));
    assert!(
        ring().log_sealer(SEALED, &SegmentHeader { epoch: Epoch(2), ..header }, LogKind::Wal, None).is_none()
    );
}

#[test]
fn no_bytes_make_the_reader_panic_or_allocate_what_is_not_there() {
    let header = header(7, 8);
    let entropy = TestEntropy::default();
    for round in 0..2000usize {
        let mut bytes = header.encode().to_vec();
        let mut tail = vec![0; round % 97];
        entropy.fill(&mut tail).unwrap();
        if round % 3 == 0 && tail.len() >= 4 {
            tail[..4].copy_from_slice(&(round as u32 % 64).to_le_bytes());
        }
        bytes.extend_from_slice(&tail);
        assert_eq!(read(BOTH[round % 2], &header, &bytes).0, 0);
    }
    for len in [1u32, 7, PLAIN_BYTES_MAX as u32 + 1, u32::MAX] {
        let mut bytes = header.encode().to_vec();
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.resize(bytes.len() + 100, 0);
        assert_eq!(read(SEALED, &header, &bytes).1, EndReason::BadSeal, "len {len}");
    }
}

#[test]
fn a_writer_refuses_after_a_failure_and_leaves_no_plaintext() {
    let header = header(7, 8);
    let sealer = sealer(SEALED, &header);
    let entropy = TestEntropy { fails_after: 1, ..TestEntropy::default() };
    let mut writer = ChainWriter::new(&header);
    let mut out = Vec::new();
    let finish = |writer: &mut ChainWriter, out: &mut Vec<u8>, len: usize| {
        let start = writer.begin(out, 11);
        out.resize(out.len() + len, 7);
        writer.finish(out, start, KeyspaceId(0), true, &sealer, &entropy).map_err(|error| error.kind())
    };
    let head = finish(&mut writer, &mut out, 3).unwrap();
    let len = out.len();
    assert_eq!(finish(&mut writer, &mut out, 3), Err(ErrorKind::Io));
    assert_eq!((out.len(), writer.head()), (len, head));
    entropy.rewind();
    assert_eq!(finish(&mut writer, &mut out, 3), Err(ErrorKind::Stopped));

    let mut writer = ChainWriter::new(&header);
    assert_eq!(finish(&mut writer, &mut out, PLAIN_BYTES_MAX - 7), Err(ErrorKind::Internal));
    let mut writer = ChainWriter::new(&header);
    entropy.rewind();
    assert!(finish(&mut writer, &mut out, PLAIN_BYTES_MAX - 8).is_ok());
    let mut writer = ChainWriter { index: SEGMENT_RECORDS_MAX, ..ChainWriter::new(&header) };
    assert_eq!(finish(&mut writer, &mut out, 3), Err(ErrorKind::Exhausted));
}

/// R13: no pair of key and nonce repeats, though the host rewinds whatever it can.
#[test]
fn r13_no_key_and_nonce_repeat_under_rewound_entropy_or_a_live_snapshot() {
    let mut seen = HashSet::new();
    let mut use_pairs = |header: &SegmentHeader, entropy: &TestEntropy| {
        let sealer = sealer(SEALED, header);
        let key = ring().segment_key(header, header.kind, None).unwrap();
        let mut writer = ChainWriter::new(header);
        for _ in 0..20 {
            let mut out = Vec::new();
            let start = writer.begin(&mut out, 11);
            writer.finish(&mut out, start, KeyspaceId(0), true, &sealer, entropy).unwrap();
            let nonce: [u8; 12] = out[4..16].try_into().unwrap();
            assert!(seen.insert((*key.expose_for_sealing(), nonce)), "a nonce repeats under its key");
        }
    };
    let entropy = TestEntropy::default();
    // Lives that start from the same rewound entropy, and segments of one life that do.
    for (segment, incarnation) in [(7, 1), (7, 2), (7, 3), (8, 3), (9, 3)] {
        entropy.rewind();
        let salt = draw_salt(&entropy, Incarnation(incarnation)).unwrap();
        use_pairs(&SegmentHeader { salt, ..header(segment, incarnation) }, &entropy);
    }
    // A machine that was copied alive: the same segment, the same indexes; the random half differs.
    entropy.rewind();
    let shared = SegmentHeader { salt: draw_salt(&entropy, Incarnation(4)).unwrap(), ..header(10, 4) };
    use_pairs(&shared, &entropy);
    use_pairs(&shared, &entropy);
}

#[test]
fn salts_differ_by_entropy_and_by_incarnation() {
    let entropy = TestEntropy::default();
    let draw = |life| draw_salt(&entropy, Incarnation(life)).unwrap();
    let first = draw(1);
    assert_ne!(first, draw(1));
    entropy.rewind();
    assert_eq!(first, draw(1));
    entropy.rewind();
    assert_ne!(first, draw(2));
}
