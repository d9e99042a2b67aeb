//! Appending edits.

use super::edit::{self, Entry};
use super::state::State;
use crate::wal::writer::LogContext;
use ringfort_base::codec::Write;
use ringfort_base::limits::RECORD_BYTES_MAX;
use ringfort_base::world::{Disk, DiskFile};
use ringfort_base::{Error, ErrorKind, FileNo, KeyspaceId, Result};
use ringfort_trust::chain::{ChainWriter, LogKind, SegmentHeader, draw_salt};
use ringfort_trust::{Head, Protection, Sealer};
use std::sync::Arc;

/// A new MANIFEST is started when the present one has grown by this behind its snapshot, bytes.
pub(crate) const ROLL_BYTES: u64 = 4 << 20;

/// The present MANIFEST.
pub(crate) struct ManifestWriter {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    path: String,
    pub(crate) number: FileNo,
    chain: ChainWriter,
    sealer: Sealer,
    len: u64,
    /// Header and snapshot.
    snapshot_len: u64,
    /// What all edits so far add up to.
    pub(crate) state: State,
}

impl ManifestWriter {
    /// Creates MANIFEST `number` with a snapshot of `state`, chained to `continues`; synced with its
    /// directory, CURRENT pointing at it.
    pub(crate) fn create(
        context: &LogContext,
        disk: Arc<dyn Disk>,
        protection: Protection,
        number: FileNo,
        continues: Head,
        state: State,
    ) -> Result<Self> {
        let header = SegmentHeader {
            kind: LogKind::Manifest,
            store: context.store,
            lineage: context.lineage,
            segment: number,
            incarnation: context.incarnation,
            epoch: context.epoch,
            salt: draw_salt(&*context.entropy, context.incarnation)?,
            continues,
        };
        let sealer =
            context.ring.log_sealer(protection, &header, LogKind::Manifest, None).ok_or_else(|| {
                Error::new(ErrorKind::Internal, format!("the key file has no epoch {}", header.epoch))
            })?;
        let path = super::path(number);
        let file = disk.create(&path).map_err(|e| Error::io("create", &path, &e))?;
        let bytes = header.encode();
        file.write_at(&bytes, 0).map_err(|e| Error::io("write", &path, &e))?;
        let chain = ChainWriter::new(&header);
        let snapshot = state.snapshot();
        let len = bytes.len() as u64;
        let mut new =
            Self { disk, file, path, number, chain, sealer, len, snapshot_len: 0, state: State::default() };
        new.append(context, snapshot)?;
        new.snapshot_len = new.len;
        new.point_current()?;
        new.disk.sync_dir("").map_err(|e| Error::io("sync", "the directory of the MANIFEST", &e))?;
        Ok(new)
    }

    /// Seals, writes and syncs one edit and applies it to the state. Any error is final: the
    /// caller stops the store (R11, R13).
    pub(crate) fn append(&mut self, context: &LogContext, entries: Vec<Entry>) -> Result<Head> {
        let mut plain = Vec::new();
        entries.iter().for_each(|entry| edit::encode(&mut plain, entry));
        self.state
            .apply(entries)
            .map_err(|why| Error::new(ErrorKind::Internal, format!("MANIFEST edit: {why}")))?;
        let position = self.chain.head().position + 1;
        let mut out = Vec::with_capacity(plain.len() + 256);
        let mut pieces = plain.chunks(RECORD_BYTES_MAX).peekable();
        while let Some(piece) = pieces.next() {
            let last = pieces.peek().is_none();
            let start = self.chain.begin(&mut out, position);
            out.put(piece);
            self.chain.finish(&mut out, start, KeyspaceId::SYSTEM, last, &self.sealer, &*context.entropy)?;
        }
        self.file.write_at(&out, self.len).map_err(|e| Error::io("write", &self.path, &e))?;
        self.file.sync().map_err(|e| Error::io("sync", &self.path, &e))?;
        self.len += out.len() as u64;
        Ok(self.chain.head())
    }

    pub(crate) fn head(&self) -> Head {
        self.chain.head()
    }

    /// Whether it is time for a new file.
    pub(crate) fn is_large(&self) -> bool {
        self.len - self.snapshot_len > ROLL_BYTES.max(self.snapshot_len)
    }

    /// CURRENT is a hint: written aside and renamed, so that it is never torn.
    fn point_current(&self) -> Result<()> {
        let aside = super::aside(self.number);
        let write = || {
            let _ = self.disk.remove(&aside);
            let file = self.disk.create(&aside)?;
            file.write_at(format!("{}\n", self.path).as_bytes(), 0)?;
            file.sync()?;
            self.disk.rename(&aside, super::CURRENT)
        };
        write().map_err(|e| Error::io("write", super::CURRENT, &e))
    }
}
