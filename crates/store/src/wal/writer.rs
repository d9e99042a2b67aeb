//! Writing the log: groups become sealed records at the end of the present segment.

use super::record::{self, Claim, OPS_CONTINUED, OPS_START, Run};
use crate::batch::Op;
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
    sealers: HashMap<KeyspaceId, Sealer>,
    /// Bytes written.
    len: u64,
    records: u32,
    buf: Vec<u8>,
}

/// One submitted batch with its place in the log.
pub(crate) struct Entry {
    pub(crate) first: Seq,
    pub(crate) ops: Vec<Op>,
}

impl WalWriter {
    /// Creates segment `number`, continuing from `continues`: header written, nothing synced.
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
        file.allocate(context.segment_bytes).map_err(|e| Error::io("reserve space for", &path, &e))?;
        let bytes = header.encode();
        file.write_at(&bytes, 0).map_err(|e| Error::io("write", &path, &e))?;
        let chain = ChainWriter::new(&header);
        Ok(Self {
            context,
            header,
            file,
            chain,
            sealers: HashMap::new(),
            len: bytes.len() as u64,
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
        let first = entries.first().map_or(position, |e| e.first);
        self.buf.clear();
        match single_keyspace(entries) {
            Some(keyspace) => {
                let start = self.chain.begin(&mut self.buf, position.0);
                self.buf.put_u8(OPS_START);
                record::encode_run_header(&mut self.buf, time_ms, first);
                encode_entries(&mut self.buf, entries, first);
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
        let context = Arc::clone(&self.context);
        if !self.sealers.contains_key(&domain) {
            let sealer = derive_sealer(&context, &self.header, domain)?;
            self.sealers.insert(domain, sealer);
        }
        let sealer = &self.sealers[&domain];
        self.records += 1;
        self.chain.finish(&mut self.buf, start, domain, last, sealer, &*context.entropy)?;
        Ok(())
    }

    fn flush_buf(&mut self) -> Result<Head> {
        let path = super::path(self.header.segment);
        self.file.write_at(&self.buf, self.len).map_err(|e| Error::io("write", &path, &e))?;
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
    let mut ops = entries.iter().flat_map(|e| &e.ops);
    let first = ops.next()?;
    let keyspace = first.keyspace();
    let mut bytes = record::op_len_max(first) + 32;
    for op in ops {
        bytes += record::op_len_max(op);
        if op.keyspace() != keyspace {
            return None;
        }
    }
    (bytes <= RECORD_BYTES_MAX).then_some(keyspace)
}

fn encode_entries(out: &mut Vec<u8>, entries: &[Entry], first: Seq) {
    for entry in entries {
        for (i, op) in entry.ops.iter().enumerate() {
            record::encode_op(out, entry.first.0 - first.0 + i as u64, op);
        }
    }
}

fn split_by_keyspace(entries: &[Entry], first: Seq, time_ms: u64) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for entry in entries {
        for (i, op) in entry.ops.iter().enumerate() {
            let keyspace = op.keyspace();
            let run = match runs.iter_mut().position(|run| run.keyspace == keyspace) {
                Some(at) => &mut runs[at],
                None => {
                    let mut bytes = Vec::new();
                    record::encode_run_header(&mut bytes, time_ms, first);
                    runs.push(Run { keyspace, bytes });
                    let at = runs.len() - 1;
                    &mut runs[at]
                }
            };
            record::encode_op(&mut run.bytes, entry.first.0 - first.0 + i as u64, op);
        }
    }
    runs
}
