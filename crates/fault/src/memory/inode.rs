//! One file: what a sync made safe, what a reader sees, and the steps between.
//!
//! ```text
//!   synced --op--op--op--> current         sync: synced = current, no steps left
//! ```
//!
//! **What a power cut may leave.** The disk writes whole sectors of 512 bytes, in any order, and
//! each sector holds some version that the page cache once held. So per sector one of the versions
//! after each step is picked; a later version contains the earlier steps on that sector. The
//! length is one more such cell. From this follow lost, torn and reordered writes, and nothing
//! that no disk could do.

use super::content::Content;
use super::crash::Fate;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The unit that a disk writes whole.
pub const SECTOR: u64 = 512;

#[derive(Clone, Default)]
pub(super) struct Inode {
    synced: Content,
    current: Content,
    pending: Vec<FileOp>,
    /// Handles that keep an unlinked file readable.
    pub(super) handles: usize,
}

/// A step that no sync has covered.
#[derive(Clone)]
pub(super) struct FileOp {
    /// The place in the order of all unsynced steps of the disk.
    pub(super) at: u64,
    pub(super) kind: FileOpKind,
    /// The file's length after it.
    pub(super) len_after: u64,
    /// Whether it changed the length.
    pub(super) changes_len: bool,
}

#[derive(Clone)]
pub(super) enum FileOpKind {
    Write { offset: u64, data: Arc<[u8]> },
    SetLen,
}

impl FileOp {
    /// How many sectors it touches.
    pub(super) fn sectors(&self) -> usize {
        match &self.kind {
            FileOpKind::Write { offset, data } => {
                let end = offset + data.len() as u64;
                (end.div_ceil(SECTOR) - offset / SECTOR) as usize
            }
            FileOpKind::SetLen => 0,
        }
    }
}

impl Inode {
    /// A file whose `content` is all on the disk.
    pub(super) fn settled(content: Content) -> Self {
        Self { synced: content.clone(), current: content, pending: Vec::new(), handles: 0 }
    }

    pub(super) const fn current(&self) -> &Content {
        &self.current
    }

    pub(super) fn pending(&self) -> &[FileOp] {
        &self.pending
    }

    pub(super) fn write(&mut self, at: u64, data: &[u8], offset: u64) {
        if data.is_empty() {
            return;
        }
        let before = self.current.len();
        self.current.write(data, offset);
        self.note(at, FileOpKind::Write { offset, data: data.into() }, before);
    }

    /// Changes bytes as an attacker does: at once, on the disk and in the cache.
    pub(super) fn tamper(&mut self, data: &[u8], offset: u64) {
        self.current.write(data, offset);
        self.synced.write(data, offset);
    }

    pub(super) fn set_len(&mut self, at: u64, len: u64) {
        let before = self.current.len();
        if len != before {
            self.current.set_len(len);
            self.note(at, FileOpKind::SetLen, before);
        }
    }

    fn note(&mut self, at: u64, kind: FileOpKind, before: u64) {
        let len_after = self.current.len();
        self.pending.push(FileOp { at, kind, len_after, changes_len: len_after != before });
    }

    pub(super) fn sync(&mut self) {
        let cut_or_grown = self.pending.iter().any(|op| matches!(op.kind, FileOpKind::SetLen));
        if cut_or_grown {
            self.synced = self.current.clone();
        } else {
            // Only what was touched: a sync costs what was written, not what the file holds.
            for op in &self.pending {
                if let FileOpKind::Write { offset, data } = &op.kind {
                    self.synced.adopt(&self.current, *offset, data.len());
                }
            }
            self.synced.set_len(self.current.len());
        }
        self.pending.clear();
    }

    /// A sync that failed, as Linux has it: the pages count as clean afterwards, so readers still
    /// see the steps, and no later sync saves them.
    pub(super) fn forget_pending(&mut self) {
        self.pending.clear();
    }

    /// What is left after a power cut when the i-th unsynced step meets `fates[i]`.
    pub(super) fn after_power_cut(&self, fates: &[Fate]) -> Content {
        let newest = self.newest_kept(fates);
        let kept_len =
            self.pending.iter().zip(fates).rposition(|(op, fate)| op.changes_len && fate.keeps_len());
        let mut left = self.synced.clone();
        for (i, op) in self.pending.iter().enumerate() {
            match &op.kind {
                FileOpKind::Write { offset, data } => {
                    for (sector, part, part_at) in sectors(*offset, data) {
                        if newest.get(&sector).is_some_and(|&newest| i <= newest) {
                            left.write(part, part_at);
                        }
                    }
                }
                FileOpKind::SetLen if kept_len.is_some_and(|kept| i <= kept) => left.set_len(op.len_after),
                FileOpKind::SetLen => {}
            }
        }
        left.set_len(kept_len.map_or(self.synced.len(), |kept| self.pending[kept].len_after));
        left
    }

    /// Per sector, the last step whose version of it reached the disk.
    fn newest_kept(&self, fates: &[Fate]) -> BTreeMap<u64, usize> {
        let mut newest = BTreeMap::new();
        for (i, (op, fate)) in self.pending.iter().zip(fates).enumerate() {
            if let FileOpKind::Write { offset, data } = &op.kind {
                for (nth, (sector, ..)) in sectors(*offset, data).enumerate() {
                    if fate.keeps_sector(nth) {
                        newest.insert(sector, i);
                    }
                }
            }
        }
        newest
    }
}

/// Splits a write at sector bounds: sector, the part of the data in it, where that part goes.
fn sectors(offset: u64, data: &[u8]) -> impl Iterator<Item = (u64, &[u8], u64)> {
    let end = offset + data.len() as u64;
    (offset / SECTOR..end.div_ceil(SECTOR)).map(move |sector| {
        let from = offset.max(sector * SECTOR);
        let to = end.min((sector + 1) * SECTOR);
        (sector, &data[(from - offset) as usize..(to - offset) as usize], from)
    })
}
