//! Reads a run of blocks at once, for whoever walks over them.
//!
//! ```text
//! file      | block | block | block | block | block | …
//! window            [ one read, sealed bytes        )
//! ```
//!
//! A window holds bytes as the host gave them: each block is cut out of it and verified on its own,
//! like one that was read alone (R25). A compaction, which is going to read everything, begins with
//! the full window; a cursor of a reader begins with none, and doubles it for as long as it goes
//! from block to block in one direction, so that a short scan reads no more than it needs.

use super::format::{BlockHandle, BlockKind, Plain, SealedFile};
use crate::engine::lsm::buffers::Buffers;
use ringfort_base::{Result, Untrusted};

/// The largest window, bytes: what still fits the processor's cache beside the blocks cut out of it.
const WINDOW_BYTES_MAX: usize = 256 << 10;
/// The first window of a reader that goes from block to block, bytes.
const WINDOW_BYTES_FIRST: usize = 16 << 10;
/// So many neighbours are read one by one before a reader gets a window.
const SEQUENTIAL_READS: u32 = 2;

/// See the module.
#[derive(Default)]
pub(super) struct Readahead {
    window: Untrusted<Vec<u8>>,
    /// Where the window begins in the file.
    from: u64,
    /// How much the next window reads, bytes; 0: each block alone.
    bytes: usize,
    /// The last block that was asked for.
    last: Option<BlockHandle>,
    /// How many neighbours were asked for in a row.
    run: u32,
    /// Everything is going to be read: a gap is what the cache had.
    whole: bool,
}

impl Readahead {
    /// For a walk over everything.
    pub(super) fn full() -> Self {
        Self { bytes: WINDOW_BYTES_MAX, whole: true, ..Self::default() }
    }

    /// Lets go of the window: the walk ended.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// A data block, from the window or with a window from the disk. `data_bytes`: data blocks lie
    /// before it, and no window reads beyond.
    pub(super) fn open_block(
        &mut self,
        file: &SealedFile,
        handle: &BlockHandle,
        data_bytes: u64,
    ) -> Result<Plain> {
        let backward = self.note(handle);
        if let Some(sealed) = self.cut(handle, &file.buffers) {
            return file.open_read(BlockKind::Data, handle, sealed);
        }
        let len = handle.sealed_len as usize;
        if self.bytes <= len {
            return file.open_block(BlockKind::Data, handle);
        }
        let (from, to) = if backward {
            (handle.end().saturating_sub(self.bytes as u64), handle.end())
        } else {
            let to = handle.offset.saturating_add(self.bytes as u64);
            (handle.offset, to.min(data_bytes).max(handle.end()))
        };
        let buf = std::mem::take(&mut self.window).recycle();
        self.window = file.read(buf, from, (to - from) as usize)?;
        self.from = from;
        self.bytes = (self.bytes * 2).min(WINDOW_BYTES_MAX);
        let sealed = self.cut(handle, &file.buffers);
        // Not even the block itself: the host's file is shorter. Read alone, it says so.
        sealed.map_or_else(
            || file.open_block(BlockKind::Data, handle),
            |sealed| file.open_read(BlockKind::Data, handle, sealed),
        )
    }

    /// Notes that a block is asked for; whether the walk goes backward.
    fn note(&mut self, handle: &BlockHandle) -> bool {
        let last = self.last.replace(*handle);
        let forward = last.is_some_and(|last| last.end() == handle.offset);
        let backward = last.is_some_and(|last| handle.end() == last.offset);
        if forward || backward {
            self.run = self.run.saturating_add(1);
            if self.run >= SEQUENTIAL_READS && self.bytes == 0 {
                self.bytes = WINDOW_BYTES_FIRST;
            }
        } else if last.is_some() && !self.whole {
            (self.run, self.bytes) = (0, 0);
        }
        backward
    }

    /// A copy of the block, if the window holds it.
    fn cut(&self, handle: &BlockHandle, buffers: &Buffers) -> Option<Untrusted<Vec<u8>>> {
        let from = usize::try_from(handle.offset.checked_sub(self.from)?).ok()?;
        let len = handle.sealed_len as usize;
        self.window.piece(from, len, |len| buffers.take(len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Compression;

    fn handle(offset: u64) -> BlockHandle {
        BlockHandle { offset, sealed_len: 100, codec: Compression::None }
    }

    #[test]
    fn a_walk_gets_a_window_and_a_jump_loses_it() {
        let mut ahead = Readahead::default();
        assert!(!ahead.note(&handle(1000)) && ahead.bytes == 0, "the first block says nothing");
        assert!(!ahead.note(&handle(1100)) && ahead.bytes == 0);
        assert!(!ahead.note(&handle(1200)) && ahead.bytes == WINDOW_BYTES_FIRST);
        assert!(!ahead.note(&handle(5000)) && ahead.bytes == 0, "a jump");
        assert!(ahead.note(&handle(4900)) && ahead.bytes == 0);
        assert!(ahead.note(&handle(4800)) && ahead.bytes == WINDOW_BYTES_FIRST, "backward as well");
    }

    #[test]
    fn a_walk_over_everything_has_the_full_window_from_first_to_last() {
        let mut ahead = Readahead::full();
        ahead.note(&handle(0));
        ahead.note(&handle(5000));
        assert_eq!(ahead.bytes, WINDOW_BYTES_MAX);
    }

    #[test]
    fn only_what_the_window_holds_is_cut_out_of_it() {
        let mut ahead = Readahead { from: 1000, ..Readahead::default() };
        ahead.window = Untrusted::new(vec![7; 250]);
        let buffers = Buffers::new(0);
        assert_eq!(ahead.cut(&handle(1100), &buffers).map(|piece| piece.len()), Some(100));
        for outside in [0, 900, 999, 1151, 1200, 5000, u64::MAX] {
            assert!(ahead.cut(&handle(outside), &buffers).is_none(), "{outside}");
        }
    }
}
