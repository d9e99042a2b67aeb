//! Attacks on the write-ahead log: its segments, records and frames (matrix rows 1-7).

use crate::anatomy::{FRAME_BYTES, LogFile, RecordAt, TAG_BYTES};
use crate::matrix::{Aim, Expect, Row, run};
use ringfort_base::EvidenceKind::{self, BadSeal, Foreign, Fork, Inconsistent, Missing, Rollback, Truncated};
use ringfort_fault::attack;
use ringfort_trust::chain::SegmentHeader;

/// What an altered log can look like: its seals, its order, or where it ends.
const ALTERED: &[EvidenceKind] = &[BadSeal, Inconsistent, Missing, Rollback, Foreign, Fork, Truncated];
const CUT: &[EvidenceKind] = &[Rollback, Missing, BadSeal, Truncated];
const REFUSED: [Expect; 3] = [Expect::Refused(ALTERED, "wal"); 3];

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "flip-log-header",
        what: "a bit of the header of an anchored segment",
        by: "R13: AES-256-GCM, key derived from the whole header",
        expect: REFUSED,
        rounds: 60,
        attack: flip_header,
    },
    Row {
        id: "flip-log-frame",
        what: "a bit of the clear frame of an anchored record",
        by: "R13: AES-256-GCM, key derived from the whole header",
        expect: REFUSED,
        rounds: 60,
        attack: flip_frame,
    },
    Row {
        id: "flip-log-ciphertext",
        what: "a bit of the ciphertext of an anchored record",
        by: "R13: AES-256-GCM, key derived from the whole header",
        expect: REFUSED,
        rounds: 40,
        attack: flip_ciphertext,
    },
    Row {
        id: "flip-log-tag",
        what: "a bit of the tag of an anchored record",
        by: "R13: AES-256-GCM, key derived from the whole header",
        expect: REFUSED,
        rounds: 20,
        attack: flip_tag,
    },
    Row {
        id: "flip-log-tail",
        what: "a bit behind the anchored head",
        by: "R3: behind the anchored head a torn end is honest",
        expect: [Expect::Crash; 3],
        rounds: 100,
        attack: flip_tail,
    },
    Row {
        id: "cut-log-anchored",
        what: "a segment cut at and inside every anchored record",
        by: "R1, R3: the anchor holds the head of the log",
        expect: [Expect::Refused(CUT, "wal"); 3],
        rounds: usize::MAX,
        attack: cut_anchored,
    },
    Row {
        id: "cut-log-tail",
        what: "the last segments cut at and inside every record behind the anchored head",
        by: "R3: the anchor says how far the log must reach",
        expect: [Expect::Crash; 3],
        rounds: usize::MAX,
        attack: cut_tail,
    },
    Row {
        id: "zero-log-anchored",
        what: "zeros from an anchored record to the end of its segment",
        by: "R1, R3: the anchor holds the head of the log",
        expect: [Expect::Refused(CUT, "wal"); 3],
        rounds: 30,
        attack: zero_anchored,
    },
    Row {
        id: "delete-log-segment",
        what: "an anchored segment deleted: the first, each in the middle, the last",
        by: "R1, R3: the chain, the MANIFEST names the first segment, the anchor the last record",
        expect: [Expect::Refused(CUT, "wal"); 3],
        rounds: usize::MAX,
        attack: delete_segment,
    },
    Row {
        id: "delete-log-tail",
        what: "the segments behind the anchored head deleted",
        by: "R3: the anchor says how far the log must reach",
        expect: [Expect::Crash; 3],
        rounds: 1,
        attack: delete_tail,
    },
    Row {
        id: "delete-log",
        what: "all segments deleted",
        by: "R1, R3: the chain, the MANIFEST names the first segment, the anchor the last record",
        expect: [Expect::Refused(CUT, "wal"); 3],
        rounds: 1,
        attack: delete_all,
    },
    Row {
        id: "splice-log-record",
        what: "an anchored record over another of its length in the same segment",
        by: "R13: associated data bind a record to segment, number and predecessor",
        expect: REFUSED,
        rounds: 30,
        attack: splice_in_file,
    },
    Row {
        id: "splice-log-segment",
        what: "an anchored record over the record of the same number in another segment",
        by: "R13: associated data bind a record to segment, number and predecessor",
        expect: REFUSED,
        rounds: 20,
        attack: splice_between_files,
    },
    Row {
        id: "splice-log-index",
        what: "as before, its frame's number made to fit",
        by: "R13: associated data bind a record to segment, number and predecessor",
        expect: REFUSED,
        rounds: 30,
        attack: splice_with_index,
    },
    Row {
        id: "move-log-keyspace",
        what: "an anchored record declared another keyspace's",
        by: "R13, R15: associated data bind the keyspace",
        expect: REFUSED,
        rounds: 10,
        attack: change_domain,
    },
    Row {
        id: "halve-log-batch",
        what: "the first record of an un-anchored batch over two keyspaces declared its last, the other cut",
        by: "R13: associated data bind the flag that ends a group",
        expect: [Expect::Crash; 3],
        rounds: 8,
        attack: halve_batch,
    },
    Row {
        id: "reorder-log-records",
        what: "two neighbouring anchored records exchanged",
        by: "R13: the chain of tags",
        expect: REFUSED,
        rounds: 30,
        attack: reorder_records,
    },
    Row {
        id: "reorder-log-segments",
        what: "two anchored segments exchanged",
        by: "R13: the chain of tags",
        expect: REFUSED,
        rounds: 6,
        attack: reorder_segments,
    },
    Row {
        id: "repeat-log-record",
        what: "an anchored record a second time right behind itself",
        by: "R13: the chain of tags",
        expect: REFUSED,
        rounds: 20,
        attack: repeat_record,
    },
    Row {
        id: "drop-log-record",
        what: "an anchored record taken out, what follows moved up",
        by: "R13: the chain of tags",
        expect: REFUSED,
        rounds: 20,
        attack: drop_record,
    },
    Row {
        id: "repeat-log-segment",
        what: "an anchored segment a second time under the next free number",
        by: "R2, R3: a copy continues from no head of this life",
        expect: [Expect::Crash; 3],
        rounds: 4,
        attack: repeat_segment,
    },
    Row {
        id: "repeat-log-tail",
        what: "the last record a second time at the end of the log",
        by: "R2, R3: a copy continues from no head of this life",
        expect: [Expect::Crash; 3],
        rounds: 1,
        attack: repeat_tail,
    },
    Row {
        id: "extend-log",
        what: "noise behind the end of the log",
        by: "R3",
        expect: [Expect::Crash; 3],
        rounds: 10,
        attack: extend,
    },
    Row {
        id: "fill-log-reserve",
        what: "noise in the reserved space of the last segment",
        by: "R3",
        expect: [Expect::Crash; 3],
        rounds: 10,
        attack: fill_reserve,
    },
    Row {
        id: "drop-decision",
        what: "the log cut before the anchored decision of a prepared transaction, so that it is in doubt again",
        by: "R1, R3: the anchor holds the head of the log",
        expect: [Expect::Refused(CUT, "wal"); 3],
        rounds: usize::MAX,
        attack: drop_decision,
    },
    Row {
        id: "swap-prepared",
        what: "two anchored records of votes or decisions exchanged, their frames' numbers made to fit",
        by: "R13: associated data bind a record to segment, number and predecessor",
        expect: REFUSED,
        rounds: 12,
        attack: swap_prepared,
    },
    Row {
        id: "repeat-vote",
        what: "the record of a vote that was decided again at the end of the log",
        by: "R2, R3: a copy continues from no head of this life",
        expect: [Expect::Crash; 3],
        rounds: usize::MAX,
        attack: repeat_vote,
    },
    Row {
        id: "disown-first-segment",
        what: "number or incarnation in the header of the first needed segment altered, so that it looks like another file's",
        by: "R3: the log starts at the segment that the MANIFEST names",
        expect: REFUSED,
        rounds: 16,
        attack: disown_first,
    },
    Row {
        id: "forge-first-segment",
        what: "the first needed segment replaced by a header alone that continues from where a later segment does, or from the anchored head",
        by: "R3: a header is believed when a record under it verified",
        expect: REFUSED,
        rounds: 8,
        attack: forge_first,
    },
    Row {
        id: "flip-log-tail-header",
        what: "each byte of the header of a segment behind the anchored head",
        by: "R3: behind the anchored head a torn end is honest",
        expect: [Expect::Crash; 3],
        rounds: SegmentHeader::BYTES,
        attack: flip_tail_header,
    },
    Row {
        id: "noise-segment",
        what: "a segment of noise under the next free number",
        by: "R2, R3: no life claimed it",
        expect: [Expect::Crash; 3],
        rounds: 5,
        attack: noise_segment,
    },
];

#[test]
fn attacks_on_the_log() {
    run(ROWS);
}

/// An anchored record, by the dice.
fn anchored<'a>(aim: &mut Aim<'a>) -> (&'a LogFile, usize) {
    let (last, head) = aim.anatomy.head;
    let wal = &aim.anatomy.wal;
    let segment = aim.within(0..last + 1);
    let records = if segment == last { head + 1 } else { wal[segment].records.len() };
    (&wal[segment], aim.within(0..records))
}

fn flip_in(aim: &mut Aim<'_>, file: &LogFile, from: usize, to: usize) -> Option<String> {
    let at = aim.within(from..to);
    Some(aim.flip(aim.machine.log_disk(), &file.path, at))
}

fn flip_header(aim: &mut Aim<'_>) -> Option<String> {
    let (file, _) = anchored(aim);
    flip_in(aim, file, 0, SegmentHeader::BYTES)
}

fn flip_frame(aim: &mut Aim<'_>) -> Option<String> {
    let (file, nth) = anchored(aim);
    let offset = file.records[nth].offset;
    flip_in(aim, file, offset, offset + FRAME_BYTES)
}

fn flip_ciphertext(aim: &mut Aim<'_>) -> Option<String> {
    let (file, nth) = anchored(aim);
    let RecordAt { offset, end, .. } = file.records[nth];
    flip_in(aim, file, offset + FRAME_BYTES, end - TAG_BYTES)
}

fn flip_tag(aim: &mut Aim<'_>) -> Option<String> {
    let (file, nth) = anchored(aim);
    let end = file.records[nth].end;
    flip_in(aim, file, end - TAG_BYTES, end)
}

/// The files from the anchored head on, with where in them it ends.
fn tail<'a>(aim: &Aim<'a>) -> Vec<(&'a LogFile, usize)> {
    let (last, head) = aim.anatomy.head;
    let end = aim.anatomy.wal[last].records[head].end;
    let files = aim.anatomy.wal[last..].iter();
    files.enumerate().map(|(i, file)| (file, if i == 0 { end } else { 0 })).collect()
}

fn flip_tail(aim: &mut Aim<'_>) -> Option<String> {
    let files: Vec<_> = tail(aim).into_iter().filter(|(file, from)| *from < file.written()).collect();
    let &(file, from) = aim.pick(&files)?;
    flip_in(aim, file, from, file.written())
}

/// The `round`-th place to cut at: each record's begin, inside it, and its last byte.
fn cut(aim: &Aim<'_>, places: &[(&LogFile, usize)]) -> Option<String> {
    let (file, len) = places.get(aim.round)?;
    attack::truncate(aim.machine.log_disk(), &file.path, *len as u64).unwrap();
    Some(format!("{} cut to {len} bytes", file.path))
}

fn places_in(record: &RecordAt) -> [usize; 4] {
    [record.offset, record.offset + 3, record.offset + FRAME_BYTES + 5, record.end - 1]
}

fn cut_anchored(aim: &mut Aim<'_>) -> Option<String> {
    let (last, head) = aim.anatomy.head;
    let mut places = Vec::new();
    for (s, file) in aim.anatomy.wal.iter().enumerate().take(last + 1) {
        places.push((file, 0));
        places.push((file, SegmentHeader::BYTES - 1));
        let records = if s == last { &file.records[..=head] } else { &file.records[..] };
        places.extend(records.iter().flat_map(places_in).map(|at| (file, at)));
    }
    cut(aim, &places)
}

fn cut_tail(aim: &mut Aim<'_>) -> Option<String> {
    let mut places = Vec::new();
    for (file, from) in tail(aim) {
        places.push((file, from));
        let records = file.records.iter().filter(|record| record.offset >= from);
        places.extend(records.flat_map(places_in).map(|at| (file, at)));
        places.push((file, file.written()));
    }
    cut(aim, &places)
}

fn zero_anchored(aim: &mut Aim<'_>) -> Option<String> {
    let (file, nth) = anchored(aim);
    let from = file.records[nth].offset;
    attack::edit(aim.machine.log_disk(), &file.path, |bytes| {
        bytes[from..].fill(0);
        Ok(())
    })
    .unwrap();
    Some(format!("{} is zeros from {from} on", file.path))
}

fn delete_segment(aim: &mut Aim<'_>) -> Option<String> {
    let file = aim.anatomy.wal[..=aim.anatomy.head.0].get(aim.round)?;
    attack::delete(aim.machine.log_disk(), &file.path).unwrap();
    Some(format!("{} deleted", file.path))
}

fn delete_tail(aim: &mut Aim<'_>) -> Option<String> {
    let behind = &aim.anatomy.wal[aim.anatomy.head.0 + 1..];
    behind.iter().for_each(|file| attack::delete(aim.machine.log_disk(), &file.path).unwrap());
    (!behind.is_empty()).then(|| format!("{} segments deleted", behind.len()))
}

fn delete_all(aim: &mut Aim<'_>) -> Option<String> {
    let disk = aim.machine.log_disk();
    let names: Vec<String> = disk.files().into_keys().filter(|path| path.starts_with("wal/")).collect();
    names.iter().for_each(|path| attack::delete(disk, path).unwrap());
    Some(format!("{} segments deleted", names.len()))
}

fn len(record: &RecordAt) -> usize {
    record.end - record.offset
}

/// Two anchored records of one length.
fn splice(aim: &mut Aim<'_>, same_file: bool, same_index: bool, fit_index: bool) -> Option<String> {
    for _ in 0..1000 {
        let ((to_file, to), (from_file, from)) = (anchored(aim), anchored(aim));
        let (target, source) = (&to_file.records[to], &from_file.records[from]);
        let same = to_file.path == from_file.path;
        if len(target) != len(source)
            || same != same_file
            || (same && to == from)
            || (same_index && to != from)
        {
            continue;
        }
        let mut bytes = from_file.bytes[source.offset..source.end].to_vec();
        if fit_index {
            bytes[4..8].copy_from_slice(&(to as u32).to_le_bytes());
        }
        aim.machine.log_disk().poke(&to_file.path, target.offset as u64, &bytes).unwrap();
        return Some(format!("record {from} of {} over record {to} of {}", from_file.path, to_file.path));
    }
    None
}

fn splice_in_file(aim: &mut Aim<'_>) -> Option<String> {
    splice(aim, true, false, false)
}

fn splice_between_files(aim: &mut Aim<'_>) -> Option<String> {
    splice(aim, false, true, false)
}

fn splice_with_index(aim: &mut Aim<'_>) -> Option<String> {
    let same_file = aim.round.is_multiple_of(2);
    splice(aim, same_file, false, true)
}

fn change_domain(aim: &mut Aim<'_>) -> Option<String> {
    let (file, nth) = anchored(aim);
    let record = &file.records[nth];
    let other = if record.domain == aim.scene.keyspaces[0].0 {
        aim.scene.keyspaces[1]
    } else {
        aim.scene.keyspaces[0]
    };
    aim.machine.log_disk().poke(&file.path, record.offset as u64 + 16, &other.0.to_le_bytes()).unwrap();
    Some(format!("record {nth} of {} declared keyspace {other}'s", file.path))
}

fn halve_batch(aim: &mut Aim<'_>) -> Option<String> {
    let tails = tail(aim);
    let firsts = tails.iter().flat_map(|(file, from)| {
        let records = file.records.iter().filter(move |record| record.offset >= *from && !record.last);
        records.map(move |record| (*file, record))
    });
    let (file, record) = firsts.into_iter().nth(aim.round)?;
    let disk = aim.machine.log_disk();
    disk.poke(&file.path, record.offset as u64 + 20, &[1]).unwrap();
    attack::truncate(disk, &file.path, record.end as u64).unwrap();
    Some(format!("half of the batch at {} of {}", record.offset, file.path))
}

fn reorder_records(aim: &mut Aim<'_>) -> Option<String> {
    let (file, nth) = anchored(aim);
    let nth = nth.max(1);
    let (one, two) = (&file.records[nth - 1], &file.records[nth]);
    let mut bytes = file.bytes[two.offset..two.end].to_vec();
    bytes.extend_from_slice(&file.bytes[one.offset..one.end]);
    if aim.round.is_multiple_of(2) {
        bytes[4..8].copy_from_slice(&(nth as u32 - 1).to_le_bytes());
        let second = len(two) + 4;
        bytes[second..second + 4].copy_from_slice(&(nth as u32).to_le_bytes());
    }
    aim.machine.log_disk().poke(&file.path, one.offset as u64, &bytes).unwrap();
    Some(format!("records {} and {nth} of {} exchanged", nth - 1, file.path))
}

fn reorder_segments(aim: &mut Aim<'_>) -> Option<String> {
    let last = aim.anatomy.head.0;
    let (one, two) = (aim.within(0..last + 1), aim.within(0..last));
    let two = if two >= one { two + 1 } else { two };
    let (one, two) = (&aim.anatomy.wal[one].path, &aim.anatomy.wal[two].path);
    attack::swap(aim.machine.log_disk(), one, two).unwrap();
    Some(format!("{one} and {two} exchanged"))
}

fn repeat_record(aim: &mut Aim<'_>) -> Option<String> {
    // Not the last one before the head: its copy would lie behind the head.
    let (file, nth) = anchored(aim);
    let nth = if file.path == aim.anatomy.wal[aim.anatomy.head.0].path {
        nth.min(aim.anatomy.head.1 - 1)
    } else {
        nth
    };
    let record = &file.records[nth];
    let disk = aim.machine.log_disk();
    attack::duplicate(disk, &file.path, record.offset as u64, len(record) as u64).unwrap();
    if aim.round.is_multiple_of(2) {
        let at = record.end as u64 + 4;
        disk.poke(&file.path, at, &(nth as u32 + 1).to_le_bytes()).unwrap();
    }
    Some(format!("record {nth} of {} twice", file.path))
}

fn drop_record(aim: &mut Aim<'_>) -> Option<String> {
    let (file, nth) = anchored(aim);
    let record = &file.records[nth];
    attack::cut_out(aim.machine.log_disk(), &file.path, record.offset as u64, len(record) as u64).unwrap();
    Some(format!("record {nth} of {} taken out", file.path))
}

fn next_free(aim: &Aim<'_>) -> String {
    format!("wal/{:08}.log", 90_000_000 + aim.round)
}

fn repeat_segment(aim: &mut Aim<'_>) -> Option<String> {
    let at = aim.within(0..aim.anatomy.head.0 + 1);
    let (bytes, path) = (&aim.anatomy.wal[at].bytes, next_free(aim));
    attack::write_file(aim.machine.log_disk(), &path, bytes).unwrap();
    Some(format!("{} again as {path}", aim.anatomy.wal[at].path))
}

fn repeat_tail(aim: &mut Aim<'_>) -> Option<String> {
    let file = aim.anatomy.wal.last()?;
    let record = file.records.last()?;
    let mut again = file.bytes[record.offset..record.end].to_vec();
    again[4..8].copy_from_slice(&(file.records.len() as u32).to_le_bytes());
    aim.machine.log_disk().poke(&file.path, record.end as u64, &again).unwrap();
    Some(format!("the last record of {} again", file.path))
}

/// The anchored records of votes and decisions: those of the store's own keyspace, but for claims, which
/// begin a segment.
fn prepared<'a>(aim: &Aim<'a>) -> Vec<(&'a LogFile, usize)> {
    let (last, head) = aim.anatomy.head;
    let mut found = Vec::new();
    for (s, file) in aim.anatomy.wal.iter().enumerate().take(last + 1) {
        let records = if s == last { &file.records[..=head] } else { &file.records[..] };
        let system = |nth: &usize| *nth > 0 && records[*nth].domain == 0;
        found.extend((0..records.len()).filter(system).map(|nth| (file, nth)));
    }
    found
}

fn drop_decision(aim: &mut Aim<'_>) -> Option<String> {
    let all = prepared(aim);
    // A vote's parts follow it; a decision ends its group.
    let decisions: Vec<_> = all.iter().filter(|(file, nth)| file.records[*nth].last).collect();
    let &&(file, mut nth) = decisions.get(aim.round)?;
    // With what it does, which stands before it in the group.
    while nth > 0 && !file.records[nth - 1].last {
        nth -= 1;
    }
    let at = file.records[nth].offset;
    attack::truncate(aim.machine.log_disk(), &file.path, at as u64).unwrap();
    Some(format!("{} cut before a decision, to {at} bytes", file.path))
}

fn swap_prepared(aim: &mut Aim<'_>) -> Option<String> {
    let all = prepared(aim);
    let pairs: Vec<_> = (0..all.len())
        .flat_map(|a| (0..a).map(move |b| (a, b)))
        .map(|(a, b)| (all[a], all[b]))
        .filter(|((f, a), (g, b))| len(&f.records[*a]) == len(&g.records[*b]))
        .collect();
    let &((one, a), (two, b)) = aim.pick(&pairs)?;
    let record = |file: &LogFile, from: usize, to: usize| {
        let mut bytes = file.bytes[file.records[from].offset..file.records[from].end].to_vec();
        bytes[4..8].copy_from_slice(&(to as u32).to_le_bytes());
        bytes
    };
    let disk = aim.machine.log_disk();
    disk.poke(&one.path, one.records[a].offset as u64, &record(two, b, a)).unwrap();
    disk.poke(&two.path, two.records[b].offset as u64, &record(one, a, b)).unwrap();
    Some(format!("record {a} of {} and record {b} of {} exchanged", one.path, two.path))
}

fn repeat_vote(aim: &mut Aim<'_>) -> Option<String> {
    let all = prepared(aim);
    let votes: Vec<_> = all.iter().filter(|(file, nth)| !file.records[*nth].last).collect();
    let &&(from, first) = votes.get(aim.round)?;
    let file = aim.anatomy.wal.last()?;
    let end = (first..from.records.len()).find(|nth| from.records[*nth].last)?;
    let mut again = Vec::new();
    for (n, record) in from.records[first..=end].iter().enumerate() {
        let start = again.len();
        again.extend_from_slice(&from.bytes[record.offset..record.end]);
        again[start + 4..start + 8].copy_from_slice(&((file.records.len() + n) as u32).to_le_bytes());
    }
    aim.machine.log_disk().poke(&file.path, file.records.last()?.end as u64, &again).unwrap();
    Some(format!("the vote at record {first} of {} again behind {}", from.path, file.path))
}

fn noise(aim: &mut Aim<'_>, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    aim.rng.fill(&mut bytes);
    bytes
}

fn extend(aim: &mut Aim<'_>) -> Option<String> {
    let bytes = noise(aim, 700);
    let file = aim.anatomy.wal.last()?;
    attack::append(aim.machine.log_disk(), &file.path, &bytes).unwrap();
    Some(format!("{} is longer", file.path))
}

fn fill_reserve(aim: &mut Aim<'_>) -> Option<String> {
    let bytes = noise(aim, 200);
    let file = aim.anatomy.wal.last()?;
    aim.machine.log_disk().poke(&file.path, file.written() as u64, &bytes).unwrap();
    Some(format!("{} has noise behind its last record", file.path))
}

fn noise_segment(aim: &mut Aim<'_>) -> Option<String> {
    let len = aim.within(0..5000);
    let (bytes, path) = (noise(aim, len), next_free(aim));
    attack::write_file(aim.machine.log_disk(), &path, &bytes).unwrap();
    Some(format!("{path} of noise"))
}

fn disown_first(aim: &mut Aim<'_>) -> Option<String> {
    Some(aim.flip(aim.machine.log_disk(), &aim.anatomy.wal[0].path, 40 + aim.round))
}

/// Everything in a header can be had from the clear headers of other segments, and the head from
/// a guess at its position.
fn forge_first(aim: &mut Aim<'_>) -> Option<String> {
    let wal = &aim.anatomy.wal;
    let mut header = wal[0].header.clone();
    let later = aim.round / 2 + 1;
    header.continues =
        if later <= aim.anatomy.head.0 { wal[later].header.continues } else { aim.anatomy.anchor.wal };
    let mut bytes = header.encode().to_vec();
    if aim.round.is_multiple_of(2) {
        bytes.resize(4096, 0);
    }
    let disk = aim.machine.log_disk();
    attack::write_file(disk, &wal[0].path, &bytes).unwrap();
    let covered = &wal[1..later.min(aim.anatomy.head.0 + 1)];
    covered.iter().for_each(|file| attack::delete(disk, &file.path).unwrap());
    Some(format!("{} holds nothing and continues from {}", wal[0].path, header.continues.position))
}

fn flip_tail_header(aim: &mut Aim<'_>) -> Option<String> {
    let file = aim.anatomy.wal.get(aim.anatomy.head.0 + 1)?;
    Some(aim.flip(aim.machine.log_disk(), &file.path, aim.round))
}
