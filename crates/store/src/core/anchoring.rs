//! Log → counter: one advance covers everything that is durable, one read confirms for everyone
//! who waits (R1, R4, R5, R7).

use super::Inner;
use crate::store::Round;
use parking_lot::MutexGuard;
use ringfort_base::{Error, ErrorKind, EvidenceKind, Level, Result, Seq};
use ringfort_trust::Anchor;
use ringfort_trust::counter::{Counter, Reading, advance_confirmed};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How often an advance whose reply was lost is tried again.
const ADVANCE_ATTEMPTS: u32 = 5;

/// What the counter holds, as this life knows it.
pub(crate) struct AnchorState {
    pub(crate) counter: Arc<dyn Counter>,
    pub(crate) current: Anchor,
    /// The MANIFEST position of the last anchor that was synced by the platform: files that an
    /// edit at or below it freed may be deleted (R8).
    pub(crate) synced_manifest: u64,
}

impl Inner {
    /// Anchors what is durable, or confirms by a read for those who wait. `None` if there was nothing
    /// to do.
    pub(crate) fn round_wanted(&self) -> Result<Option<Round>> {
        self.check()?;
        if !self.frontiers.round_wanted() {
            return Ok(None);
        }
        self.anchor.try_lock().map(|state| self.anchor_round(state, false)).transpose()
    }

    /// Anchors now, synced by the platform: for what must not be lost with the power (R8, R19).
    pub(crate) fn anchor_now(&self) -> Result<()> {
        self.anchor_round(self.anchor.lock(), true).map(drop)
    }

    pub(crate) fn anchor_round(&self, mut state: MutexGuard<'_, AnchorState>, synced: bool) -> Result<Round> {
        self.check()?;
        let round = self.frontiers.begin_round();
        // The MANIFEST's head first: its edits never need more of the log than is durable now (R9).
        let manifest = *self.manifest_head.lock();
        let wal = *self.durable_head.lock();
        let needs_sync = synced && manifest.position > state.synced_manifest;
        let before = Seq(state.current.wal.position);
        let moved = wal != state.current.wal || manifest != state.current.manifest;
        if moved || needs_sync {
            let to = Anchor { wal, manifest, ..state.current.clone() };
            self.or_stop(|| {
                advance_confirmed(&*state.counter, Some(&state.current), &to, synced, ADVANCE_ATTEMPTS)
            })?;
            state.current = to;
            if synced {
                state.synced_manifest = manifest.position;
            }
            self.stats.advances.fetch_add(1, Ordering::Relaxed);
        } else {
            self.confirm(&state)?;
            self.stats.counter_reads.fetch_add(1, Ordering::Relaxed);
        }
        drop(state);
        let submitted = self.queue.lock().newest().position;
        self.frontiers.raise(Level::Fresh, Seq(wal.position));
        let released = self.frontiers.end_round(round);
        self.wake_if_wanted();
        Ok(Round { before, after: Seq(wal.position), submitted, released })
    }

    /// Reads the counter; a reply that is lost is asked for again. A counter that stays silent stops
    /// the store: nothing could be released at `fresh` any more, and whoever waits must hear of it.
    fn read_counter(&self, counter: &dyn Counter) -> Result<Option<Reading>> {
        let mut last = None;
        for _ in 0..ADVANCE_ATTEMPTS {
            match counter.read() {
                Ok(reading) => return Ok(reading),
                Err(error) if error.proof().is_some() => return Err(self.stop(error)),
                Err(error) => last = Some(error),
            }
        }
        let error = last.unwrap_or_else(|| Error::new(ErrorKind::Internal, "the counter was not read"));
        Err(self.stop(error.context("the trusted counter does not answer")))
    }

    /// R5: the counter still shows this life and its head.
    fn confirm(&self, state: &AnchorState) -> Result<()> {
        let read = self.read_counter(&*state.counter)?;
        if read.as_ref().is_some_and(|reading| reading.anchor == state.current) {
            return Ok(());
        }
        let found = read.map_or_else(
            || "it is empty".to_owned(),
            |r| {
                format!(
                    "it holds incarnation {}, log position {}",
                    r.anchor.incarnation, r.anchor.wal.position
                )
            },
        );
        Err(self.stop(Error::evidence(
            EvidenceKind::SecondCopy,
            format!("counter '{}'", state.counter.kind()),
            state.current.wal.position,
            format!(
                "somebody else advanced the counter: expected incarnation {}, log position {}, {found}",
                state.current.incarnation, state.current.wal.position
            ),
        )))
    }
}
