//! Finding the MANIFEST that the anchor names, and reading it (R3, R8).

use super::edit;
use super::state::State;
use crate::files;
use crate::wal::writer::LogContext;
use ringfort_base::world::Disk;
use ringfort_base::{Error, EvidenceKind, FileNo, Result};
use ringfort_trust::chain::{ChainReader, EndReason, LogKind, SegmentHeader};
use ringfort_trust::defence::{self, Defence};
use ringfort_trust::{Anchor, Head, Protection};

/// Largest MANIFEST that is read, bytes.
const MANIFEST_BYTES_MAX: u64 = 1 << 30;

/// How one file answered.
enum Found {
    /// It holds the anchored head: the state there.
    State(Box<State>),
    /// It does not; where and why it ends.
    Not { ends_at: u64, reason: EndReason, offset: u64, state: Box<State> },
    /// It is not of this store and lineage, or unreadable.
    Foreign,
}

/// The state at the anchored head.
pub(crate) fn recover(
    context: &LogContext,
    disk: &dyn Disk,
    protection: Protection,
    anchor: &Anchor,
) -> Result<State> {
    let mut numbers: Vec<FileNo> =
        files::list(disk, "")?.iter().filter_map(|name| super::parse_name(name)).collect();
    numbers.sort_unstable();
    let mut nearest: Option<(FileNo, u64, EndReason, u64)> = None;
    for &number in numbers.iter().rev() {
        match read(context, disk, protection, Some(anchor.manifest), number)? {
            Found::State(state) => return Ok(*state),
            Found::Not { state, .. } if !defence::on(Defence::AnchorCompare) => return Ok(*state),
            Found::Not { ends_at, reason, offset, .. } => {
                if nearest.is_none_or(|(_, best, ..)| ends_at > best) {
                    nearest = Some((number, ends_at, reason, offset));
                }
            }
            Found::Foreign => {}
        }
    }
    Err(refusal(anchor, nearest))
}

fn refusal(anchor: &Anchor, nearest: Option<(FileNo, u64, EndReason, u64)>) -> Error {
    let expected = format!(
        "the counter anchors MANIFEST edit {} and log position {} of incarnation {}",
        anchor.manifest.position, anchor.wal.position, anchor.incarnation
    );
    match nearest {
        None => Error::evidence(
            EvidenceKind::Missing,
            "MANIFEST",
            anchor.manifest.position,
            format!("no MANIFEST of this store is there; {expected}"),
        ),
        Some((number, _, EndReason::BadSeal | EndReason::UnknownDomain(_), offset)) => Error::evidence(
            EvidenceKind::BadSeal,
            super::path(number),
            offset,
            format!("an edit does not verify (altered, moved or damaged); {expected}"),
        ),
        Some((number, ends_at, ..)) => Error::evidence(
            EvidenceKind::Rollback,
            super::path(number),
            ends_at,
            format!(
                "the newest MANIFEST ends at edit {ends_at}, but {expected}: an older state was put in place"
            ),
        ),
    }
}

/// The state at the end of the newest MANIFEST, all of which must verify: a checkpoint's.
pub(crate) fn whole(context: &LogContext, disk: &dyn Disk, protection: Protection) -> Result<State> {
    let numbers = files::list(disk, "")?;
    let newest = numbers.iter().filter_map(|name| super::parse_name(name)).max();
    let newest = newest
        .ok_or_else(|| Error::evidence(EvidenceKind::Missing, "MANIFEST", 0, "no MANIFEST is there"))?;
    match read(context, disk, protection, None, newest)? {
        Found::Not { state, reason: EndReason::Zeros | EndReason::Short, ends_at, .. } if ends_at > 0 => {
            Ok(*state)
        }
        Found::Not { offset, .. } => {
            let detail = "an edit does not verify (altered, moved or damaged)";
            Err(Error::evidence(EvidenceKind::BadSeal, super::path(newest), offset, detail))
        }
        _ => {
            Err(Error::evidence(EvidenceKind::Foreign, super::path(newest), 0, "of another store or lineage"))
        }
    }
}

/// Reads a MANIFEST up to the head `stop`, or to its end.
fn read(
    context: &LogContext,
    disk: &dyn Disk,
    protection: Protection,
    stop: Option<Head>,
    number: FileNo,
) -> Result<Found> {
    let path = super::path(number);
    let file = match disk.open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Foreign),
        Err(e) => return Err(Error::io("open", &path, &e)),
    };
    let bytes = files::read_all(&*file, &path, MANIFEST_BYTES_MAX)?;
    let Ok(header) = SegmentHeader::claimed(&bytes) else { return Ok(Found::Foreign) };
    let ours = header.kind == LogKind::Manifest
        && header.store == context.store
        && header.lineage == context.lineage
        && header.segment == number;
    let sealer = context.ring.log_sealer(protection, &header, LogKind::Manifest, None);
    let (true, Some(sealer)) = (ours, sealer) else { return Ok(Found::Foreign) };
    let mut reader = ChainReader::new(bytes, &header);
    let mut state = State::default();
    let mut edit_bytes = Vec::new();
    let mut ends_at = header.continues.position;
    loop {
        match reader.next(&mut |domain| (domain.0 == 0).then_some(&sealer)) {
            Ok(record) => {
                edit_bytes.extend_from_slice(&record.payload);
                if !record.last {
                    continue;
                }
                let inconsistent =
                    |why: String| Error::evidence(EvidenceKind::Inconsistent, &path, record.offset, why);
                let entries = edit::decode(&edit_bytes).map_err(|e| inconsistent(e.to_string()))?;
                edit_bytes.clear();
                state.apply(entries).map_err(inconsistent)?;
                ends_at = record.head.position;
                if Some(record.head) == stop {
                    return Ok(Found::State(Box::new(state)));
                }
            }
            Err((reason, offset)) => {
                return Ok(Found::Not { ends_at, reason, offset, state: Box::new(state) });
            }
        }
    }
}
