//! The arena: memory that is handed out by bumping an offset and freed all at once.
//!
//! An *offset* (`u32`, so 4 GiB at most) names a place; the upper bits select a slot of a fixed
//! table of chunk addresses, the lower ones a byte of the chunk. Chunks never move and are never
//! freed before the arena is, so a place that was handed out stays valid as long as the arena.
//!
//! ```text
//! offset = slot (11 bits) | byte (21 bits)
//! slots: [0]──▶ 2 MiB   [1]──▶ ┌─ one allocation of 6 MiB for a large entry ─┐
//!                       [2]──▶ │ + 2 MiB                                     │
//!                       [3]──▶ └ + 4 MiB ────────────────────────────────────┘   [4] null …
//! ```
//!
//! An entry larger than a chunk gets an allocation that spans consecutive slots, so that from the
//! first byte on it is contiguous in memory. A chunk is a large page, and all but the first ask the
//! system to be one: a search goes from chunk to chunk at random. (The first does not: many keyspaces
//! hold little, and a page that is touched is there whole.) Such chunks go from a memtable that was
//! flushed to the next one, so that the system need not clear them again. Offset 0 is never handed out: it means "none".

#![expect(unsafe_code, reason = "hands out raw memory to the skiplist; every block states why it is sound")]

use parking_lot::Mutex;
use ringfort_base::memory::{LARGE_PAGE_BYTES, prefer_large_pages, release};
use std::alloc::{Layout, alloc, dealloc};
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::slice;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

const CHUNK_SHIFT: u32 = 21;
pub(super) const CHUNK_BYTES: u64 = 1 << CHUNK_SHIFT;
const SLOTS: usize = 1 << (32 - CHUNK_SHIFT);
const _: () = assert!(CHUNK_BYTES == LARGE_PAGE_BYTES as u64);
const ADDRESSABLE_BYTES: u64 = 1 << 32;

/// Every piece is aligned to this.
pub(super) const ALIGN: usize = 8;

/// Most chunks that are kept for the next memtable: 64 MiB, one write buffer of the usual size.
const SPARE_CHUNKS_MAX: usize = 32;

/// A chunk that no arena has.
struct Spare(*mut u8);

// SAFETY: whoever has the value has the memory alone; it is tied to no thread.
unsafe impl Send for Spare {}

/// Chunks that dropped arenas left, advised already. Never more than memtables took at once.
static SPARE: Mutex<Vec<Spare>> = Mutex::new(Vec::new());

/// Memory of the chunks that no arena has.
pub(super) fn spare_bytes() -> usize {
    SPARE.lock().len() * LARGE_PAGE_BYTES
}

fn chunk_layout(bytes: u64) -> Option<Layout> {
    Layout::from_size_align(usize::try_from(bytes).ok()?, LARGE_PAGE_BYTES).ok()
}

/// Memory for chunks, uninitialized; null if there is none. With `large`, of large pages if possible.
fn take(layout: Layout, large: bool) -> *mut u8 {
    if large
        && layout.size() == LARGE_PAGE_BYTES
        && let Some(Spare(base)) = SPARE.lock().pop()
    {
        return base;
    }
    // SAFETY: the layout's size is at least a chunk, never zero.
    let base = unsafe { alloc(layout) };
    if large && !base.is_null() {
        // SAFETY: just allocated with this size; bytes that may be uninitialized, nobody else's yet.
        let memory = unsafe { slice::from_raw_parts_mut(base.cast::<MaybeUninit<u8>>(), layout.size()) };
        prefer_large_pages(memory);
    }
    base
}

/// See the module's chapter.
pub(super) struct Arena {
    /// Address of the first byte of each slot; null where nothing was allocated yet.
    slots: Box<[AtomicPtr<u8>; SLOTS]>,
    /// The offset of the next free byte. Below the next chunk boundary its chunk is allocated;
    /// on a boundary it is not.
    tail: AtomicU64,
    /// Held while a chunk is added; what must be freed in the end.
    chunks: Mutex<Vec<(*mut u8, Layout)>>,
}

// SAFETY: the raw pointers in `chunks` are owned by the arena, touched under its lock and freed
// only by `drop`, which has the arena alone. Everything else is atomic.
unsafe impl Send for Arena {}
// SAFETY: as above; `alloc` and `at` are safe to call from any number of threads.
unsafe impl Sync for Arena {}

impl Arena {
    /// An empty arena; the first allocation brings the first chunk.
    pub(super) fn new() -> Self {
        let slots: Box<[AtomicPtr<u8>]> = (0..SLOTS).map(|_| AtomicPtr::new(null_mut())).collect();
        let slots = slots.try_into().unwrap_or_else(|_| unreachable!("made with SLOTS elements"));
        Self { slots, tail: AtomicU64::new(0), chunks: Mutex::new(Vec::new()) }
    }

    /// Hands out `len` uninitialized bytes, aligned to [`ALIGN`]: their offset, or `None` if the
    /// arena's 4 GiB (or the machine's memory) do not suffice. Nobody else gets any of them.
    #[inline]
    pub(super) fn alloc(&self, len: usize) -> Option<u32> {
        let len = (len.max(1) as u64).next_multiple_of(ALIGN as u64);
        let mut tail = self.tail.load(Ordering::Acquire);
        loop {
            let end = tail.checked_add(len)?;
            if end > tail.next_multiple_of(CHUNK_BYTES) {
                match self.grow(len)? {
                    Grown::Taken(offset) => return Some(offset),
                    Grown::ByOther(now) => tail = now,
                }
                continue;
            }
            // Acquire on both outcomes: seeing a tail inside a chunk means seeing its slot.
            match self.tail.compare_exchange_weak(tail, end, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return u32::try_from(tail).ok(),
                Err(now) => tail = now,
            }
        }
    }

    /// Takes `len` bytes from the front of a new chunk, unless somebody else just added one.
    #[cold]
    fn grow(&self, len: u64) -> Option<Grown> {
        let mut chunks = self.chunks.lock();
        let tail = self.tail.load(Ordering::Acquire);
        let boundary = tail.next_multiple_of(CHUNK_BYTES);
        if tail.checked_add(len)? <= boundary {
            return Some(Grown::ByOther(tail));
        }
        // In the first chunk, offset 0 stays unused.
        let first = if boundary == 0 { ALIGN as u64 } else { boundary };
        let bytes = (first - boundary + len).next_multiple_of(CHUNK_BYTES);
        if boundary + bytes > ADDRESSABLE_BYTES {
            return None;
        }
        let layout = chunk_layout(bytes)?;
        let base = take(layout, boundary > 0);
        if base.is_null() {
            return None;
        }
        chunks.push((base, layout));
        for i in 0..bytes / CHUNK_BYTES {
            let slot = ((boundary >> CHUNK_SHIFT) + i) as usize;
            // SAFETY: `i` chunks into an allocation of `bytes / CHUNK_BYTES` chunks.
            let address = unsafe { base.add((i * CHUNK_BYTES) as usize) };
            self.slots[slot].store(address, Ordering::Relaxed);
        }
        // Others may have moved the tail up to `boundary` meanwhile (the rest of the old chunk is
        // theirs); only the holder of the lock moves it beyond. Release: with the slots.
        self.tail.store(first + len, Ordering::Release);
        Some(Grown::Taken(u32::try_from(first).ok()?))
    }

    /// The address of an offset. Dereferencing it is the caller's affair.
    ///
    /// `offset` must have come from [`Arena::alloc`] of this arena (or lie inside such a piece, in
    /// its first chunk), and its piece must have been handed to this thread in a way that
    /// synchronizes (an acquiring load of what the allocating thread released): then the slot,
    /// stored before, is seen.
    #[inline]
    pub(super) fn at(&self, offset: u32) -> *mut u8 {
        let base = self.slots[(offset >> CHUNK_SHIFT) as usize].load(Ordering::Relaxed);
        base.wrapping_add((offset & (CHUNK_BYTES as u32 - 1)) as usize)
    }

    /// Address space handed out so far, waste at the ends of chunks included.
    #[inline]
    pub(super) fn used_bytes(&self) -> usize {
        self.tail.load(Ordering::Relaxed) as usize
    }

    /// The rest of the last chunk, which is memory already if it is a large page.
    #[inline]
    pub(super) fn untouched_bytes(&self) -> usize {
        let used = self.used_bytes();
        let end = used.next_multiple_of(LARGE_PAGE_BYTES);
        if used > LARGE_PAGE_BYTES { end - used } else { 0 }
    }

    /// What is left of the 4 GiB.
    #[inline]
    pub(super) fn free_bytes(&self) -> u64 {
        ADDRESSABLE_BYTES - self.tail.load(Ordering::Relaxed)
    }
}

enum Grown {
    Taken(u32),
    ByOther(u64),
}

impl Drop for Arena {
    fn drop(&mut self) {
        let mut spare = SPARE.lock();
        for (nth, (base, layout)) in self.chunks.get_mut().drain(..).enumerate() {
            // The first one is no large page.
            if nth > 0 && layout.size() == LARGE_PAGE_BYTES && spare.len() < SPARE_CHUNKS_MAX {
                spare.push(Spare(base));
            } else {
                // SAFETY: allocated by `take` with this layout; freed here only, where no arena has it: all
                // of it is ours and may hold anything.
                unsafe {
                    release(slice::from_raw_parts_mut(base.cast::<MaybeUninit<u8>>(), layout.size()));
                    dealloc(base, layout);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_do_not_overlap_and_large_ones_are_contiguous() {
        let arena = Arena::new();
        let mut pieces = Vec::new();
        for (i, len) in
            [1, 8, 100, 1 << 20, 3 << 20, 70, (1 << 20) - 16, 5000, (2 << 20) + 1].into_iter().enumerate()
        {
            let offset = arena.alloc(len).unwrap();
            assert_ne!(offset, 0);
            assert_eq!(offset as usize % ALIGN, 0);
            // SAFETY: just handed out, `len` bytes, nobody else has them.
            unsafe { arena.at(offset).write_bytes(i as u8 + 1, len) };
            pieces.push((offset, len, i as u8 + 1));
        }
        for (offset, len, fill) in pieces {
            // SAFETY: written above, whole.
            let bytes = unsafe { std::slice::from_raw_parts(arena.at(offset), len) };
            assert!(bytes.iter().all(|b| *b == fill), "piece {fill} was overwritten");
        }
        assert!(arena.used_bytes() > 7 << 20);
    }

    #[test]
    fn a_full_arena_says_so() {
        let arena = Arena::new();
        let mut got = 0;
        while arena.alloc(200 << 20).is_some() {
            got += 1; // Untouched memory: the machine does not pay for it.
        }
        assert_eq!(got, 20, "4096 MiB hold twenty pieces of 200 MiB");
        assert!(arena.alloc(150 << 20).is_none());
        assert!(arena.alloc(64 << 20).is_some(), "what still fits is still given");
        assert!(arena.alloc(usize::MAX / 2).is_none());
    }

    #[test]
    fn chunks_that_were_left_go_to_one_arena_each() {
        let fill = |arena: &Arena, byte: u8| -> Vec<u32> {
            let pieces: Vec<u32> = (0..60).map(|_| arena.alloc(100 << 10).unwrap()).collect();
            for piece in &pieces {
                // SAFETY: just handed out, nobody else has them.
                unsafe { arena.at(*piece).write_bytes(byte, 100 << 10) };
            }
            pieces
        };
        drop([Arena::new(), Arena::new()].map(|arena| fill(&arena, 9)));
        let arenas = [1, 2, 3].map(|byte| {
            let arena = Arena::new();
            (fill(&arena, byte), arena, byte)
        });
        for (pieces, arena, byte) in &arenas {
            for piece in pieces {
                // SAFETY: written above, whole.
                let bytes = unsafe { std::slice::from_raw_parts(arena.at(*piece), 100 << 10) };
                assert!(bytes.iter().all(|b| b == byte), "a chunk has two arenas");
            }
        }
        drop(arenas);
        assert!(SPARE.lock().len() <= SPARE_CHUNKS_MAX);
    }

    #[test]
    fn threads_get_different_pieces() {
        let arena = Arena::new();
        std::thread::scope(|scope| {
            for t in 1..=4u8 {
                let arena = &arena;
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    for i in 0..3000 {
                        let len = 1 + (i * 37 + t as usize) % 900;
                        let offset = arena.alloc(len).unwrap();
                        // SAFETY: just handed out to this thread.
                        unsafe { arena.at(offset).write_bytes(t, len) };
                        mine.push((offset, len));
                    }
                    for (offset, len) in mine {
                        // SAFETY: written above by this thread, whole.
                        let bytes = unsafe { std::slice::from_raw_parts(arena.at(offset), len) };
                        assert!(bytes.iter().all(|b| *b == t));
                    }
                });
            }
        });
    }
}
