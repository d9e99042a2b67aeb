//! Reading the log back (R3): from the oldest segment that is still needed to the anchored head,
//! every record of which must verify, and on to the end of what verifies.
//!
//! A segment is read a window at a time, opened in place, and each group's runs are handed to the
//! [`Sink`] as one borrowed piece: replay holds a window and a group, however large the log is.

use super::record::{CLAIM, Claim, OPS_CONTINUED, OPS_START};
use super::writer::{LogContext, derive_sealer};
use crate::files;
use crate::manifest::state::Life;
use ringfort_base::codec::DecodeError;
use ringfort_base::world::DiskFile;
use ringfort_base::{Error, EvidenceKind, FileNo, KeyspaceId, Result, Untrusted};
use ringfort_trust::chain::{Ahead, ChainReader, EndReason, LogKind, Record, SegmentHeader};
use ringfort_trust::defence::{self, Defence};
use ringfort_trust::{Anchor, Head, Sealer};
use std::collections::BTreeMap;

/// Largest segment that is read, bytes. Not taken from an option: the host chooses those, and a store
/// may have been written under others.
const SEGMENT_BYTES_MAX: u64 = 8 << 30;

/// How much of a segment is read at a time, bytes.
const WINDOW_BYTES: usize = 2 << 20;
const _: () = assert!(WINDOW_BYTES >= ChainReader::WINDOW_BYTES_MIN);

/// A group that verified, and the head that it makes.
pub(crate) enum Group<'a> {
    Ops { runs: &'a Runs, head: Head },
    Claim { claim: Claim, head: Head },
}

/// The runs of a group, their pieces joined, in one buffer.
#[derive(Default)]
pub(crate) struct Runs {
    bytes: Vec<u8>,
    /// Where each ends in `bytes`.
    ends: Vec<(KeyspaceId, usize)>,
}

impl Runs {
    /// Each run with its keyspace.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (KeyspaceId, &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |&(keyspace, end)| {
            let run = &self.bytes[start..end];
            start = end;
            (keyspace, run)
        })
    }

    fn begin(&mut self, keyspace: KeyspaceId, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
        self.ends.push((keyspace, self.bytes.len()));
    }

    /// Goes on with the last run; `false` if that is none of `keyspace`.
    fn go_on(&mut self, keyspace: KeyspaceId, piece: &[u8]) -> bool {
        match self.ends.last_mut() {
            Some((last, end)) if *last == keyspace => {
                self.bytes.extend_from_slice(piece);
                *end = self.bytes.len();
                true
            }
            _ => false,
        }
    }

    fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// What replay reports while it goes.
pub(crate) trait Sink {
    /// A group; `anchored` = at or before the anchored head.
    fn group(&mut self, group: &Group<'_>, anchored: bool) -> Result<()>;
    /// A segment of the log was read, from the head that it continues to its last needed one;
    /// `bytes` of it.
    fn segment(&mut self, number: FileNo, start: Head, end: Head, bytes: u64);
}

/// Where the log ended.
#[derive(Debug)]
pub(crate) struct Replayed {
    /// The head of the last group that verified.
    pub(crate) end: Head,
    /// How many bytes of a torn or altered end were dropped behind it, as far as is known.
    pub(crate) torn: Option<(String, u64)>,
}

/// Replays all segments from `start` on. `lives` are the claimed lives whose segments may still
/// be needed, oldest first; the last one is the anchored one.
pub(crate) fn replay(
    context: &LogContext,
    start: FileNo,
    lives: &[Life],
    anchor: &Anchor,
    sink: &mut dyn Sink,
) -> Result<Replayed> {
    let segments = claimed_segments(context, start, lives)?;
    let mut walk = Walk {
        context,
        anchor,
        lives,
        sink,
        head: None,
        proven: false,
        reached: !defence::on(Defence::AnchorCompare),
        torn: None,
        window: Vec::new(),
    };
    for (number, (life, path)) in &segments {
        if !walk.segment(*number, *life, path)? {
            break;
        }
    }
    walk.finish(&segments)
}

/// The segments on disk that belong to claimed lives, by number, with the index of their life.
fn claimed_segments(
    context: &LogContext,
    start: FileNo,
    lives: &[Life],
) -> Result<BTreeMap<FileNo, (usize, String)>> {
    let mut found = BTreeMap::new();
    for name in files::list(&*context.disk, super::DIR)? {
        let Some(number) = super::parse_name(&name).filter(|n| *n >= start) else { continue };
        // The life whose segments start at or before this number, last one first.
        if let Some(life) = lives.iter().rposition(|life| life.first_segment <= number) {
            found.insert(number, (life, super::path(number)));
        }
    }
    if !found.contains_key(&start) {
        return Err(Error::evidence(
            EvidenceKind::Missing,
            super::path(start),
            0,
            "the log segment where replay must start is not there",
        ));
    }
    Ok(found)
}

struct Walk<'a> {
    context: &'a LogContext,
    anchor: &'a Anchor,
    lives: &'a [Life],
    sink: &'a mut dyn Sink,
    head: Option<Head>,
    /// A record verified, and with it the header of the first segment: before that, the head that
    /// it claims to continue from is the word of whoever wrote the file.
    proven: bool,
    /// The anchored head was passed.
    reached: bool,
    torn: Option<(String, u64)>,
    /// The buffer that segments are read into.
    window: Vec<u8>,
}

impl Walk<'_> {
    /// Replays one segment. `false`: the log ends here.
    fn segment(&mut self, number: FileNo, life: usize, path: &str) -> Result<bool> {
        let is_last_life = life + 1 == self.lives.len();
        let stop = self.lives.get(life + 1).map(|next| next.continues);
        if stop.is_some() && self.head == stop {
            return Ok(true); // behind the head that the next life continued from
        }
        let file = self.context.disk.open(path).map_err(|e| Error::io("open", path, &e))?;
        let front = read_window(&*file, path, std::mem::take(&mut self.window), 0)?;
        let header = match SegmentHeader::claimed(&front) {
            Ok(header) => header,
            // A segment whose header was never written whole: a rotation that a crash cut short.
            Err(_) if self.reached => {
                self.torn = Some((path.to_owned(), 0));
                return Ok(false);
            }
            Err(e) => return Err(bad_header(path, e)),
        };
        let first = self.head.is_none();
        if header.incarnation != self.lives[life].incarnation || header.segment != number {
            if first {
                // The MANIFEST names it as the start of the log, and no chain would miss it.
                let detail =
                    "the header of the segment where replay must start was altered, or is another file's";
                return Err(Error::evidence(EvidenceKind::Foreign, path, 0, detail));
            }
            // Of an attempt that never claimed, or another file's bytes: not part of the log. If it
            // stands where a claimed segment must be, the chain will miss that one.
            return Ok(true);
        }
        if !self.is_ours(&header) {
            if self.reached {
                self.torn = Some((path.to_owned(), 0));
                return Ok(false);
            }
            let detail = "of another store, lineage, log or key epoch";
            return Err(Error::evidence(EvidenceKind::Foreign, path, 0, detail));
        }
        if let Some(head) = self.head.filter(|head| *head != header.continues) {
            if self.reached && is_last_life {
                // Behind the anchored head: a rotation whose predecessor's tail was lost.
                self.torn = Some((path.to_owned(), 0));
                return Ok(false);
            }
            return Err(Error::evidence(
                EvidenceKind::Missing,
                path,
                header.continues.position,
                format!(
                    "the log is interrupted: this segment continues from position {}, the one before ends at {}",
                    header.continues.position, head.position
                ),
            ));
        }
        self.head.get_or_insert(header.continues);
        self.check_reached();
        let (carry_on, bytes) = self.records(&*file, front, &header, path, stop)?;
        if !self.proven {
            let detail = "the segment where replay must start holds no record";
            return Err(Error::evidence(EvidenceKind::Truncated, path, bytes, detail));
        }
        self.sink.segment(number, header.continues, self.head.unwrap_or_default(), bytes);
        Ok(carry_on)
    }

    /// Whether a header may be one of this log. Its word counts for nothing more until a record
    /// under it verifies.
    fn is_ours(&self, header: &SegmentHeader) -> bool {
        header.kind == LogKind::Wal
            && header.store == self.context.store
            && header.lineage == self.context.lineage
            && self.context.ring.epochs().iter().any(|known| known.epoch == header.epoch)
    }

    fn check_reached(&mut self) {
        if !self.reached && self.proven && self.head == Some(self.anchor.wal) {
            self.reached = true;
            self.torn = None; // the ends of segments before were those of rotated ones
        }
    }

    /// Reads the records of one segment, up to `stop` if the next life continues from a head in it.
    /// Whether the log goes on, and how many bytes were passed.
    fn records(
        &mut self,
        file: &dyn DiskFile,
        front: Untrusted<Vec<u8>>,
        header: &SegmentHeader,
        path: &str,
        stop: Option<Head>,
    ) -> Result<(bool, u64)> {
        let complete = front.len() < WINDOW_BYTES;
        let mut reader = ChainReader::windowed(front, complete, header);
        let mut sealers = Sealers { context: self.context, header, by_domain: BTreeMap::new() };
        let mut group = Runs::default();
        let mut passed = 0;
        let carry_on = loop {
            if self.proven && stop.is_some() && stop == self.head {
                break true;
            }
            let (reason, offset) = match reader.ahead() {
                Ahead::Refill(offset) => {
                    let window = read_window(file, path, reader.take_buffer(), offset)?;
                    let complete = window.len() < WINDOW_BYTES;
                    reader.refill(window, complete);
                    continue;
                }
                Ahead::Record(domain) => match reader.open(sealers.get(domain)?) {
                    Ok(record) => {
                        passed = record.end;
                        self.record(record, &mut group, path)?;
                        continue;
                    }
                    Err(end) => end,
                },
                Ahead::End(reason, offset) => (reason, offset),
            };
            break self.end(reason, offset, path)?;
        };
        self.window = reader.take_buffer();
        Ok((carry_on, passed))
    }

    fn record(&mut self, record: Record<'_>, group: &mut Runs, path: &str) -> Result<()> {
        if !self.proven {
            // The first record under the first header proves what the header continues from.
            self.proven = true;
            self.check_reached();
        }
        let inconsistent =
            |detail: String| Error::evidence(EvidenceKind::Inconsistent, path, record.offset, detail);
        let payload: &[u8] = &record.payload;
        let (kind, body) = payload.split_first().ok_or_else(|| inconsistent("empty record".to_owned()))?;
        let head = record.head;
        let done = match *kind {
            OPS_START => {
                group.begin(record.domain, body);
                record.last.then_some(Group::Ops { runs: group, head })
            }
            OPS_CONTINUED => {
                if !group.go_on(record.domain, body) {
                    return Err(inconsistent("continues nothing".to_owned()));
                }
                record.last.then_some(Group::Ops { runs: group, head })
            }
            CLAIM if record.last && group.is_empty() => {
                let claim = Claim::decode(body).map_err(|e| inconsistent(e.to_string()))?;
                Some(Group::Claim { claim, head })
            }
            other => return Err(inconsistent(format!("record kind {other} is unknown here"))),
        };
        if let Some(done) = done {
            let compares = defence::on(Defence::AnchorCompare);
            let anchored = !self.reached || !compares;
            self.head = Some(record.head);
            if compares
                && anchored
                && record.head.position >= self.anchor.wal.position
                && record.head != self.anchor.wal
            {
                return Err(self.fork(path, record.head));
            }
            self.sink.group(&done, anchored)?;
            group.clear();
            self.check_reached();
        }
        Ok(())
    }

    /// A segment yields no further record: is that its honest end?
    fn end(&mut self, reason: EndReason, offset: u64, path: &str) -> Result<bool> {
        if self.reached {
            if !matches!(reason, EndReason::Zeros | EndReason::Short) {
                self.torn = Some((path.to_owned(), offset));
            }
            // A later segment of the same life may follow (rotation).
            return Ok(true);
        }
        match reason {
            // The end of a segment that was rotated, or of a log that was cut: the next one tells.
            EndReason::Zeros | EndReason::Short => {
                self.torn = Some((path.to_owned(), offset));
                Ok(true)
            }
            EndReason::BadSeal => Err(Error::evidence(
                EvidenceKind::BadSeal,
                path,
                offset,
                format!(
                    "a log record does not verify (altered, moved or damaged) before the anchored position {}",
                    self.anchor.wal.position
                ),
            )),
            EndReason::UnknownDomain(domain) => Err(Error::evidence(
                EvidenceKind::Inconsistent,
                path,
                offset,
                format!("a log record of keyspace {domain}, which the MANIFEST does not know"),
            )),
        }
    }

    fn fork(&self, path: &str, found: Head) -> Error {
        Error::evidence(
            EvidenceKind::Fork,
            path,
            found.position,
            format!(
                "another history: the counter anchors position {} with tag {}, the log has position {} with tag {}",
                self.anchor.wal.position, self.anchor.wal.tag, found.position, found.tag
            ),
        )
    }

    fn finish(mut self, segments: &BTreeMap<FileNo, (usize, String)>) -> Result<Replayed> {
        self.check_reached();
        let end = self.head.unwrap_or_default();
        if self.reached {
            return Ok(Replayed { end, torn: self.torn });
        }
        let (file, offset) = self.torn.unwrap_or_else(|| {
            (segments.values().next_back().map_or_else(|| super::DIR.to_owned(), |s| s.1.clone()), 0)
        });
        Err(Error::evidence(
            EvidenceKind::Rollback,
            file,
            offset,
            format!(
                "the log ends at position {}, but the counter anchors position {} of incarnation {}: \
                 an older state was put in place, or the log was cut",
                end.position, self.anchor.wal.position, self.anchor.incarnation
            ),
        ))
    }
}

/// The sealers of a segment's key domains, derived as they are met.
struct Sealers<'a> {
    context: &'a LogContext,
    header: &'a SegmentHeader,
    by_domain: BTreeMap<KeyspaceId, Sealer>,
}

impl Sealers<'_> {
    /// `None`: a domain that nobody knows.
    fn get(&mut self, domain: KeyspaceId) -> Result<Option<&Sealer>> {
        if !self.by_domain.contains_key(&domain) {
            let known = domain == KeyspaceId::SYSTEM || self.context.domain_keys.read().contains_key(&domain);
            if !known {
                return Ok(None);
            }
            self.by_domain.insert(domain, derive_sealer(self.context, self.header, domain)?);
        }
        Ok(self.by_domain.get(&domain))
    }
}

/// Reads the window of a segment that begins at `offset`.
fn read_window(file: &dyn DiskFile, path: &str, buf: Vec<u8>, offset: u64) -> Result<Untrusted<Vec<u8>>> {
    if offset > SEGMENT_BYTES_MAX {
        let detail = format!("longer than the {SEGMENT_BYTES_MAX} bytes that such a file can have");
        return Err(Error::evidence(EvidenceKind::Inconsistent, path, offset, detail));
    }
    file.read_at(buf, offset, WINDOW_BYTES).map_err(|e| Error::io("read", path, &e))
}

fn bad_header(path: &str, error: DecodeError) -> Error {
    Error::evidence(EvidenceKind::BadSeal, path, 0, format!("not a log segment: {error}"))
}
