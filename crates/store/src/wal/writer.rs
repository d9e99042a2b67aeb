//! Writing the log: groups become sealed records at the end of the present segment.

use super::record::{self, Claim, OPS_CONTINUED, OPS_START, Run};
use crate::batch::WriteBatch;
use crate::txn::locks::Owner;
use parking_lot::RwLock;
use ringfort_base::codec::Write;
use ringfort_base::limits::{RECORD_BYTES_MAX, SEGMENT_RECORDS_MAX};
use ringfort_base::world::{Disk, DiskFile, Entropy};
use ringfort_base::{
    Epoch, Error, ErrorKind, FileNo, Incarnation, KeyspaceId, Lineage, Result, Seq, StoreId,
};
use ringfort_trust::chain::{ChainWriter, LogKind, SegmentHeader, draw_salt};
use ringfort_trust::keys::{KeyRing, Secret};
use ringfort_trust::{Head, Protection, Sealer};
use std::collections::HashMap;
use std::sync::Arc;

/// Most bytes of a record's kind and its run's header: 1 and two varints.
const RUN_HEADER_BYTES_MAX: usize = 1 + 2 * 10;

/// What all segments of one life share.
pub(crate) struct LogContext {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) protection: Protection,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) store: StoreId,
    pub(crate) lineage: Lineage,
    pub(crate) incarnation: Incarnation,
    pub(crate) epoch: Epoch,
    pub(crate) ring: Arc<KeyRing>,
    /// The keys of the keyspaces (R15).
    pub(crate) domain_keys: Arc<RwLock<HashMap<KeyspaceId, Secret<32>>>>,
    pub(crate) segment_bytes: u64,
}

/// The present segment.
pub(crate) struct WalWriter {
    pub(crate) context: Arc<LogContext>,
    header: SegmentHeader,
    file: Arc<dyn DiskFile>,
    chain: ChainWriter,
    /// By keyspace, ascending.
    sealers: Vec<(KeyspaceId, Sealer)>,
    /// Bytes written.
    len: u64,
    /// Space for the whole segment is reserved.
    reserved: bool,
    records: u32,
    buf: Vec<u8>,
}

/// One submitted batch with its place in the log.
pub(crate) struct Entry {
    pub(crate) first: Seq,
    pub(crate) batch: WriteBatch,
    /// Released when the batch is visible.
    pub(crate) locks: Option<Owner>,
}

impl Entry {
    /// The sequence number of its last operation.
    pub(crate) fn last(&self) -> Seq {
        Seq(self.first.0 + self.batch.len() as u64 - 1)
    }
}

impl WalWriter {
    /// Creates segment `number`, continuing from `continues`: header written, nothing synced. Its space is
    /// reserved when the first group comes: a log that is not written to takes none.
    pub(crate) fn create(context: Arc<LogContext>, number: FileNo, continues: Head) -> Result<Self> {
        let header = SegmentHeader {
            kind: LogKind::Wal,
            store: context.store,
            lineage: context.lineage,
            segment: number,
            incarnation: context.incarnation,
            epoch: context.epoch,
            salt: draw_salt(&*context.entropy, context.incarnation)?,
            continues,
        };
        let path = super::path(number);
        let file = context.disk.create(&path).map_err(|e| Error::io("create", &path, &e))?;
        let bytes = header.encode();
        file.write_at(&bytes, 0).map_err(|e| Error::io("write", &path, &e))?;
        let chain = ChainWriter::new(&header);
        Ok(Self {
            context,
            header,
            file,
            chain,
            sealers: Vec::new(),
            len: bytes.len() as u64,
            reserved: false,
            records: 0,
            buf: Vec::new(),
        })
    }

    pub(crate) fn number(&self) -> FileNo {
        self.header.segment
    }

    pub(crate) fn file(&self) -> &Arc<dyn DiskFile> {
        &self.file
    }

    pub(crate) fn head(&self) -> Head {
        self.chain.head()
    }

    /// Bytes in the segment.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Gives back the space that was reserved and not written: the segment is ended, and synced.
    pub(crate) fn give_back(&self) -> std::io::Result<()> {
        self.file.truncate(self.len)
    }

    /// Whether a group was written since the segment was begun, and so its space is reserved.
    pub(crate) fn is_reserved(&self) -> bool {
        self.reserved
    }

    /// Whether a group of about `bytes` should start a new segment.
    pub(crate) fn is_full(&self, bytes: usize) -> bool {
        let records = bytes / RECORD_BYTES_MAX + 64;
        (self.records > 0 && self.len + bytes as u64 > self.context.segment_bytes)
            || u64::from(self.records) + records as u64 > u64::from(SEGMENT_RECORDS_MAX)
    }

    /// Seals and writes one commit group that ends at `position`.
    ///
    /// An error after sealing began leaves the outcome unknown (R11): the caller stops the store,
    /// and the segment's key is never used again (R13).
    pub(crate) fn append(&mut self, entries: &[Entry], position: Seq, time_ms: u64) -> Result<Head> {
        if !self.reserved {
            match self.file.allocate_for_appends(self.context.segment_bytes) {
                // It is a help: what is left of a nearly full disk may do for the group.
                Err(e) if e.kind() != std::io::ErrorKind::StorageFull => {
                    return Err(Error::io("reserve space for", &super::path(self.number()), &e));
                }
                _ => self.reserved = true,
            }
        }
        self.append_group(entries, position, time_ms)
    }

    /// As [`WalWriter::append`], for a position that changes nothing: it reserves no space.
    pub(crate) fn append_marker(&mut self, marker: Entry, position: Seq, time_ms: u64) -> Result<Head> {
        self.append_group(&[marker], position, time_ms)
    }

    fn append_group(&mut self, entries: &[Entry], position: Seq, time_ms: u64) -> Result<Head> {
        let first = entries.first().map_or(position, |e| e.first);
        self.buf.clear();
        match single_keyspace(entries) {
            Some(keyspace) => {
                let start = self.chain.begin(&mut self.buf, position.0);
                self.buf.put_u8(OPS_START);
                record::encode_run_header(&mut self.buf, time_ms, first);
                entries.iter().for_each(|entry| self.buf.put(entry.batch.encoded()));
                self.finish(start, keyspace, true)?;
            }
            None => {
                let runs = split_by_keyspace(entries, first, time_ms);
                self.append_runs(&runs, position)?;
            }
        }
        self.flush_buf()
    }

    /// Writes runs as a chain of records; the last piece of the last run completes the group.
    pub(crate) fn append_runs(&mut self, runs: &[Run], position: Seq) -> Result<()> {
        for (r, run) in runs.iter().enumerate() {
            let mut pieces = run.bytes.chunks(RECORD_BYTES_MAX - 1).peekable();
            let mut kind = OPS_START;
            while let Some(piece) = pieces.next() {
                let last = pieces.peek().is_none() && r + 1 == runs.len();
                let start = self.chain.begin(&mut self.buf, position.0);
                self.buf.put_u8(kind);
                self.buf.put(piece);
                self.finish(start, run.keyspace, last)?;
                kind = OPS_CONTINUED;
            }
        }
        Ok(())
    }

    /// Re-seals a recovered group into this segment (R2). It is written with its successors, at the
    /// latest with the claim that follows them all.
    pub(crate) fn append_copied(&mut self, runs: &[Run], position: Seq) -> Result<()> {
        self.append_runs(runs, position)?;
        if self.buf.len() >= RECORD_BYTES_MAX {
            self.flush_buf()?;
            self.buf.clear();
        }
        Ok(())
    }

    /// Writes the claim record at `position`, behind what was copied.
    pub(crate) fn append_claim(&mut self, claim: &Claim, position: Seq) -> Result<Head> {
        let start = self.chain.begin(&mut self.buf, position.0);
        claim.encode(&mut self.buf);
        self.finish(start, KeyspaceId::SYSTEM, true)?;
        self.flush_buf()
    }

    fn finish(&mut self, start: usize, domain: KeyspaceId, last: bool) -> Result<()> {
        let at = self.sealers.partition_point(|(keyspace, _)| *keyspace < domain);
        if self.sealers.get(at).is_none_or(|(keyspace, _)| *keyspace != domain) {
            self.sealers.insert(at, (domain, derive_sealer(&self.context, &self.header, domain)?));
        }
        let sealer = &self.sealers[at].1;
        self.records += 1;
        self.chain.finish(&mut self.buf, start, domain, last, sealer, &*self.context.entropy)?;
        Ok(())
    }

    fn flush_buf(&mut self) -> Result<Head> {
        let number = self.header.segment;
        let failed = |e| Error::io("write", &super::path(number), &e);
        self.file.write_at(&self.buf, self.len).map_err(failed)?;
        self.len += self.buf.len() as u64;
        if self.buf.capacity() > 4 * RECORD_BYTES_MAX {
            self.buf = Vec::new();
        }
        Ok(self.chain.head())
    }
}

/// The sealer of a key domain in a segment.
pub(crate) fn derive_sealer(
    context: &LogContext,
    header: &SegmentHeader,
    domain: KeyspaceId,
) -> Result<Sealer> {
    let keys = context.domain_keys.read();
    let key = match domain {
        KeyspaceId::SYSTEM => None,
        other => Some(
            keys.get(&other)
                .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("keyspace {other} does not exist")))?,
        ),
    };
    context
        .ring
        .log_sealer(context.protection, header, LogKind::Wal, key)
        .ok_or_else(|| Error::new(ErrorKind::Internal, format!("the key file has no epoch {}", header.epoch)))
}

/// The keyspace, if all operations are of one and the group fits one record.
fn single_keyspace(entries: &[Entry]) -> Option<KeyspaceId> {
    let keyspace = entries.first()?.batch.single_keyspace()?;
    let others = entries[1..].iter().any(|entry| entry.batch.single_keyspace() != Some(keyspace));
    let bytes: usize = entries.iter().map(|entry| entry.batch.encoded().len()).sum();
    (!others && bytes + RUN_HEADER_BYTES_MAX <= RECORD_BYTES_MAX).then_some(keyspace)
}

/// The group's operations by keyspace, in the order of each keyspace's first one.
fn split_by_keyspace(entries: &[Entry], first: Seq, time_ms: u64) -> Vec<Run> {
    // With the sequence number that follows on the run's last.
    let mut runs: Vec<(u64, Run)> = Vec::new();
    for entry in entries {
        let mut seq = entry.first.0;
        for span in entry.batch.spans() {
            let at = runs.iter().position(|(_, run)| run.keyspace == span.keyspace).unwrap_or_else(|| {
                let mut bytes = Vec::new();
                record::encode_run_header(&mut bytes, time_ms, first);
                runs.push((first.0, Run { keyspace: span.keyspace, bytes }));
                runs.len() - 1
            });
            let (next, run) = &mut runs[at];
            record::encode_span(&mut run.bytes, seq - *next, span);
            seq += span.ops as u64;
            *next = seq;
        }
    }
    runs.into_iter().map(|(_, run)| run).collect()
}
