//! An inline skiplist: one allocation per entry, lock-free inserts, wait-free reads.
//!
//! ```text
//! node:  ┌─────────┬──────────────────┬───────────┬────────┬───────────────┬─────┬───────┐
//!        │ trailer │ key len · height │ value len │ rank   │ tower (u32 …) │ key │ value │
//!        └─────────┴──────────────────┴───────────┴────────┴───────────────┴─────┴───────┘
//!        0         8                  12          16       24              24 + 4·height
//! ```
//!
//! `tower[l]` is the offset of the next node on level `l` (0: none). A search compares the
//! key's 8-byte [rank](super::rank), which shares a cache line with the tower, and touches the key only if
//! the ranks are equal.
//!
//! # Invariants
//! 1. A node is written whole before a compare-and-swap (release) links it on level 0; from then
//!    on nothing of it changes but its tower. Who finds it by an acquiring load sees it whole.
//! 2. Nodes are never unlinked and never freed before the list is: no epochs, no hazard pointers.
//! 3. A node on level `l` is on all levels below (a reader in between may miss the upper links of
//!    a node that is being inserted; level 0 decides).
//! 4. Every `u32` that a tower holds, and every [`NodeId`], is 0 or the offset of a node of this
//!    list. `NodeId`s do not leave this module: what hands them out holds its list.

#![expect(unsafe_code, reason = "reads and writes nodes in the arena; every block states why it is sound")]

use super::Memtable;
use super::arena::{ALIGN, Arena};
use super::hash_index::{HashIndex, Held, Probe};
use super::rank::Ranks;
use crate::engine::lsm::filter::hash_key;
use crate::engine::lsm::key::{Trailer, key_prefix};
use parking_lot::Mutex;
use std::cmp::Ordering;
use std::ops::Deref;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering as Memory};

/// One node in two rises a level, so 20 levels are right for a million entries, and fine for fifty. (With
/// one in four a search looks at a quarter more nodes, most of which are not in the processor's cache.)
const HEIGHT_MAX: usize = 20;
const LENGTHS_AT: usize = 8;
/// Beside the tower: a step of a search touches these two.
const RANK_AT: usize = 16;
const TOWER_AT: usize = 24;
/// Most that a node takes beside its key and value.
pub(super) const NODE_BYTES_MAX: usize = TOWER_AT + 4 * HEIGHT_MAX + ALIGN;
/// Key lengths share a word with the height.
const HEIGHT_BITS: u32 = 8;
const KEY_LEN_MAX: usize = (1 << (32 - HEIGHT_BITS)) - 1;

const _: () = assert!(ringfort_base::limits::KEY_BYTES_MAX <= KEY_LEN_MAX);
const _: () = assert!(HEIGHT_MAX < 1 << HEIGHT_BITS);

/// Why an insert did nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// No room in the arena.
    Full,
    /// The same internal key is there already.
    Duplicate,
}

/// The offset of a node; 0 is none.
#[derive(Clone, Copy, PartialEq, Eq)]
struct NodeId(u32);

const NONE: NodeId = NodeId(0);

/// What a search looks for.
struct Target<'a> {
    rank: u64,
    key: &'a [u8],
    trailer: Trailer,
}

/// Where an insert links on each level: behind `prev`, before `next`. `prev[l]` is always below
/// the key it was made for, and stays a good place to start for keys above `prev[0]`.
struct Splice {
    prev: [NodeId; HEIGHT_MAX],
    next: [NodeId; HEIGHT_MAX],
}

/// See the module's chapter.
pub(super) struct SkipList {
    arena: Arena,
    head: NodeId,
    height: AtomicUsize,
    /// The splice of the last insert: ascending inserts start there. Whoever cannot have it at
    /// once searches from the top instead.
    hint: Mutex<Splice>,
    seed: u64,
    index: HashIndex,
    ranks: Ranks,
}

impl SkipList {
    /// An empty list that is meant to grow to `capacity_bytes`. `seed` moves the random heights.
    /// `None` if there is no memory.
    pub(super) fn new(seed: u64, capacity_bytes: usize, ranks: Ranks) -> Option<Self> {
        let arena = Arena::new();
        let bytes = TOWER_AT + 4 * HEIGHT_MAX;
        let head = NodeId(arena.alloc(bytes)?);
        // SAFETY: `bytes` bytes just handed out; zeros are an empty tower.
        unsafe { arena.at(head.0).write_bytes(0, bytes) };
        let hint = Mutex::new(Splice { prev: [head; HEIGHT_MAX], next: [NONE; HEIGHT_MAX] });
        let index = HashIndex::new(capacity_bytes);
        Some(Self { arena, head, height: AtomicUsize::new(1), hint, seed, index, ranks })
    }

    /// Bytes in use with `entries` inside.
    #[inline]
    pub(super) fn used_bytes(&self, entries: usize) -> usize {
        self.arena.used_bytes() + self.index.used_bytes(entries)
    }

    /// Bytes of large pages that are not in use yet.
    #[inline]
    pub(super) fn untouched_bytes(&self) -> usize {
        self.arena.untouched_bytes()
    }

    /// Bytes that can still be handed out.
    #[inline]
    pub(super) fn free_bytes(&self) -> u64 {
        self.arena.free_bytes()
    }

    #[inline]
    fn target<'a>(&self, key: &'a [u8], trailer: Trailer) -> Target<'a> {
        Target { rank: self.ranks.of(key), key, trailer }
    }

    /// Inserts an entry. Any number of threads may insert and read at the same time.
    pub(super) fn insert(&self, key: &[u8], trailer: Trailer, value: &[u8]) -> Result<(), Refused> {
        let target = self.target(key, trailer);
        let hash = hash_key(key);
        self.index.prefetch(hash);
        let node = if let Some(mut hint) = self.hint.try_lock() {
            if !self.brackets(&hint, &target) {
                self.find_splice(&target, &mut hint);
            }
            self.insert_at(&mut hint, &target, value)?
        } else {
            let mut splice = Splice { prev: [self.head; HEIGHT_MAX], next: [NONE; HEIGHT_MAX] };
            self.find_splice(&target, &mut splice);
            self.insert_at(&mut splice, &target, value)?
        };
        self.index.note(hash, node.0, |held| {
            let held = NodeId(held); // Invariant 4: only nodes of this list are noted.
            match self.trailer(held) {
                _ if self.key(held) != key => Held::Other,
                older if older < trailer => Held::Older,
                _ => Held::Newer,
            }
        });
        Ok(())
    }

    /// Whether the splice's place on level 0 is the target's. It is then good on all levels:
    /// `prev[l]` is at or before `prev[0]`, and a stale `next[l]` is found out when linking.
    fn brackets(&self, splice: &Splice, target: &Target<'_>) -> bool {
        (splice.prev[0] == self.head || self.order(splice.prev[0], target) == Ordering::Less)
            && (splice.next[0] == NONE || self.order(splice.next[0], target) == Ordering::Greater)
    }

    fn insert_at(&self, splice: &mut Splice, target: &Target<'_>, value: &[u8]) -> Result<NodeId, Refused> {
        if splice.next[0] != NONE && self.order(splice.next[0], target) == Ordering::Equal {
            return Err(Refused::Duplicate);
        }
        let height = self.random_height(target);
        let node = self.write_node(height, target, value)?;
        self.height.fetch_max(height, Memory::Relaxed);
        for level in 0..height {
            loop {
                let (prev, next) = (splice.prev[level], splice.next[level]);
                self.tower(node, level).store(next.0, Memory::Relaxed);
                // Release: the node is whole before it can be found (invariant 1).
                let link = self.tower(prev, level);
                if link.compare_exchange(next.0, node.0, Memory::Release, Memory::Relaxed).is_ok() {
                    break;
                }
                // Somebody linked a node in between, or the hint was stale on this level.
                let (prev, next) = self.walk(prev, level, target);
                (splice.prev[level], splice.next[level]) = (prev, next);
                if level == 0 && next != NONE && self.order(next, target) == Ordering::Equal {
                    return Err(Refused::Duplicate); // The node's memory is wasted: never linked.
                }
            }
        }
        splice.prev[..height].fill(node);
        Ok(node)
    }

    fn find_splice(&self, target: &Target<'_>, splice: &mut Splice) {
        let top = self.height.load(Memory::Relaxed);
        let mut at = self.head;
        for level in (0..HEIGHT_MAX).rev() {
            if level >= top {
                (splice.prev[level], splice.next[level]) = (self.head, NONE);
            } else {
                (splice.prev[level], splice.next[level]) = self.walk(at, level, target);
                at = splice.prev[level];
            }
        }
    }

    /// From `at`, which is before the target, to the last node of the level before it.
    #[inline]
    fn walk(&self, mut at: NodeId, level: usize, target: &Target<'_>) -> (NodeId, NodeId) {
        loop {
            let next = self.next(at, level);
            if next == NONE || self.order(next, target) != Ordering::Less {
                return (at, next);
            }
            at = next;
        }
    }

    /// The first node at or behind the target.
    #[inline]
    fn seek(&self, target: &Target<'_>) -> NodeId {
        let mut at = self.head;
        let mut level = self.height.load(Memory::Relaxed) - 1;
        let mut bigger = NONE;
        loop {
            let next = self.next(at, level);
            // A node that stopped the level above stops this one as well.
            if next != bigger && next != NONE {
                match self.order(next, target) {
                    Ordering::Less => {
                        at = next;
                        continue;
                    }
                    Ordering::Equal => return next,
                    Ordering::Greater => bigger = next,
                }
            }
            if level == 0 {
                return next;
            }
            level -= 1;
        }
    }

    /// The last node before the target; none if the first is not before it.
    fn seek_before(&self, target: &Target<'_>) -> NodeId {
        let mut at = self.head;
        for level in (0..self.height.load(Memory::Relaxed)).rev() {
            at = self.walk(at, level, target).0;
        }
        if at == self.head { NONE } else { at }
    }

    fn last(&self) -> NodeId {
        let mut at = self.head;
        for level in (0..self.height.load(Memory::Relaxed)).rev() {
            loop {
                let next = self.next(at, level);
                if next == NONE {
                    break;
                }
                at = next;
            }
        }
        if at == self.head { NONE } else { at }
    }

    /// Keys in order, spread evenly: all of the highest level that has at least `least`, of which
    /// there are about as many again at the most; or all there are.
    pub(super) fn sample(&self, least: usize) -> Vec<&[u8]> {
        let mut keys = Vec::new();
        for level in (0..self.height.load(Memory::Relaxed)).rev() {
            keys.clear();
            let mut at = self.next(self.head, level);
            while at != NONE {
                keys.push(self.key(at));
                at = self.next(at, level);
            }
            if keys.len() >= least {
                break;
            }
        }
        keys
    }

    /// How a node stands to the target.
    #[inline]
    fn order(&self, node: NodeId, target: &Target<'_>) -> Ordering {
        match self.rank(node).cmp(&target.rank) {
            Ordering::Equal => {}
            order => return order,
        }
        self.key(node).cmp(target.key).then_with(|| target.trailer.cmp(&self.trailer(node)))
    }

    /// Geometric with ratio 1/2, from a hash of what clients do not choose alone.
    fn random_height(&self, target: &Target<'_>) -> usize {
        let mut x = self.seed ^ target.trailer.0 ^ (self.arena.used_bytes() as u64) << 32;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        (1 + x.trailing_zeros() as usize).min(HEIGHT_MAX)
    }

    /// Writes a node that nobody can see yet; its tower is still empty memory.
    fn write_node(&self, height: usize, target: &Target<'_>, value: &[u8]) -> Result<NodeId, Refused> {
        debug_assert!(target.key.len() <= KEY_LEN_MAX);
        let value_len = u32::try_from(value.len()).map_err(|_| Refused::Full)?;
        let key_at = TOWER_AT + 4 * height;
        let offset = self.arena.alloc(key_at + target.key.len() + value.len()).ok_or(Refused::Full)?;
        let lengths = (target.key.len() as u32) << HEIGHT_BITS | height as u32;
        let at = self.arena.at(offset);
        // SAFETY: the arena just handed out exactly the bytes written here, aligned to 8, to this
        // thread alone. The tower words become zeros, so every byte of the node is initialized.
        unsafe {
            at.cast::<u64>().write(target.trailer.0);
            at.add(RANK_AT).cast::<u64>().write(target.rank);
            at.add(LENGTHS_AT).cast::<u32>().write(lengths);
            at.add(LENGTHS_AT + 4).cast::<u32>().write(value_len);
            at.add(TOWER_AT).write_bytes(0, 4 * height);
            at.add(key_at).copy_from_nonoverlapping(target.key.as_ptr(), target.key.len());
            at.add(key_at + target.key.len()).copy_from_nonoverlapping(value.as_ptr(), value.len());
        }
        Ok(NodeId(offset))
    }

    /// The link of a node on a level that is below the node's height (the head has all levels).
    #[inline]
    fn tower(&self, node: NodeId, level: usize) -> &AtomicU32 {
        const { assert!(TOWER_AT.is_multiple_of(align_of::<AtomicU32>()) && ALIGN >= align_of::<AtomicU32>()) };
        // SAFETY: invariant 4; callers reach a node on `level` only through a link of that level,
        // or wrote it with that height, so the word lies in its tower. It is initialized, aligned,
        // lives as long as `self`, and after linking is only touched as an atomic.
        unsafe { &*self.arena.at(node.0).add(TOWER_AT + 4 * level).cast::<AtomicU32>() }
    }

    /// Acquire: pairs with the release that linked the node (invariant 1).
    #[inline]
    fn next(&self, node: NodeId, level: usize) -> NodeId {
        NodeId(self.tower(node, level).load(Memory::Acquire))
    }

    #[inline]
    fn rank(&self, node: NodeId) -> u64 {
        // SAFETY: invariants 1 and 4: a whole node of this list, whose header never changes.
        unsafe { self.arena.at(node.0).add(RANK_AT).cast::<u64>().read() }
    }

    #[inline]
    fn trailer(&self, node: NodeId) -> Trailer {
        // SAFETY: as in `rank`.
        Trailer(unsafe { self.arena.at(node.0).cast::<u64>().read() })
    }

    /// Where the key begins, how long it is, how long the value is.
    #[inline]
    fn lengths(&self, node: NodeId) -> (usize, usize, usize) {
        // SAFETY: as in `rank`.
        let (lengths, value) = unsafe {
            let at = self.arena.at(node.0).add(LENGTHS_AT).cast::<u32>();
            (at.read(), at.add(1).read())
        };
        let height = (lengths & ((1 << HEIGHT_BITS) - 1)) as usize;
        (TOWER_AT + 4 * height, (lengths >> HEIGHT_BITS) as usize, value as usize)
    }

    #[inline]
    fn key(&self, node: NodeId) -> &[u8] {
        let (at, len, _) = self.lengths(node);
        // SAFETY: as in `rank`; the lengths are those the node was allocated with, and nothing
        // frees or changes its bytes while `self` lives.
        unsafe { slice::from_raw_parts(self.arena.at(node.0).add(at), len) }
    }

    #[inline]
    fn value(&self, node: NodeId) -> &[u8] {
        let (at, key_len, len) = self.lengths(node);
        // SAFETY: as in `key`.
        unsafe { slice::from_raw_parts(self.arena.at(node.0).add(at + key_len), len) }
    }

    /// The first entry of `key` at or behind `trailer`: its trailer and value. `hash` is the key's.
    #[inline]
    pub(super) fn get(&self, key: &[u8], hash: u64, trailer: Trailer) -> Option<(Trailer, &[u8])> {
        let node = self.find(key, hash, trailer)?;
        Some((self.trailer(node), self.value(node)))
    }

    /// Inserts that the reader's snapshot covers were completed, index and all, before it was
    /// published; so the index is right about them, and what it holds is the newest of them or
    /// newer than the snapshot.
    #[inline]
    fn find(&self, key: &[u8], hash: u64, trailer: Trailer) -> Option<NodeId> {
        match self.index.find(hash, |held| self.key(NodeId(held)) == key) {
            Probe::Absent => return None,
            Probe::Here(node) if self.trailer(NodeId(node)) <= trailer => return Some(NodeId(node)),
            Probe::Here(_) | Probe::Unknown => {}
        }
        let node = self.seek(&self.target(key, trailer));
        (node != NONE && self.key(node) == key).then_some(node)
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for &super::Memtable {}
    impl Sealed for std::sync::Arc<super::Memtable> {}
}

/// What a cursor holds its memtable by: a reference or an [`Arc`]. Sealed, because a holder must
/// lead to the same memtable every time (invariant 4).
pub trait Holder: Deref<Target = Memtable> + sealed::Sealed {}
impl Holder for &Memtable {}
impl Holder for Arc<Memtable> {}

/// A place between or on the entries of a memtable; moves both ways. Sees entries that are
/// inserted meanwhile.
pub struct Cursor<H: Holder> {
    held: H,
    node: NodeId,
}

impl<H: Holder> Cursor<H> {
    /// A cursor on no entry.
    pub(super) fn new(held: H) -> Self {
        Self { held, node: NONE }
    }

    /// The memtable.
    pub fn memtable(&self) -> &H {
        &self.held
    }

    /// Whether it stands on an entry. The accessors may be called only then.
    #[inline]
    pub fn valid(&self) -> bool {
        self.node != NONE
    }

    fn list(&self) -> &SkipList {
        &self.held.list
    }

    fn on(&self) -> NodeId {
        assert!(self.node != NONE, "a cursor on no entry was asked for it");
        self.node
    }

    /// Moves to the first entry at or behind an internal key.
    pub fn seek(&mut self, key: &[u8], trailer: Trailer) {
        self.node = self.list().seek(&self.list().target(key, trailer));
    }

    /// Moves to the last entry before an internal key.
    pub fn seek_before(&mut self, key: &[u8], trailer: Trailer) {
        self.node = self.list().seek_before(&self.list().target(key, trailer));
    }

    /// Moves to the first entry.
    pub fn seek_to_first(&mut self) {
        self.node = self.list().next(self.list().head, 0);
    }

    /// Moves to the last entry.
    pub fn seek_to_last(&mut self) {
        self.node = self.list().last();
    }

    /// Moves to the next entry.
    #[inline]
    pub fn next(&mut self) {
        self.node = self.list().next(self.on(), 0);
    }

    /// Moves to the entry before, by a search: nodes know no way back.
    pub fn prev(&mut self) {
        let (list, node) = (self.list(), self.on());
        let target = Target { rank: list.rank(node), key: list.key(node), trailer: list.trailer(node) };
        self.node = list.seek_before(&target);
    }

    /// The user key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        self.list().key(self.on())
    }

    /// [`key_prefix`] of the user key.
    #[inline]
    pub fn prefix(&self) -> u64 {
        key_prefix(self.key())
    }

    /// The trailer.
    #[inline]
    pub fn trailer(&self) -> Trailer {
        self.list().trailer(self.on())
    }

    /// The value; empty for a deletion.
    #[inline]
    pub fn value(&self) -> &[u8] {
        self.list().value(self.on())
    }
}

impl Cursor<Arc<Memtable>> {
    /// The value, without a copy, for as long as it is wanted.
    pub fn pin_value(&self) -> PinnedValue {
        PinnedValue { memtable: Arc::clone(&self.held), node: self.on() }
    }
}

/// A value inside a memtable, which it keeps alive.
#[derive(Clone)]
pub struct PinnedValue {
    memtable: Arc<Memtable>,
    node: NodeId,
}

impl PinnedValue {
    /// The first entry of `key` at or behind `trailer`.
    pub(super) fn find(
        memtable: &Arc<Memtable>,
        key: &[u8],
        hash: u64,
        trailer: Trailer,
    ) -> Option<(Trailer, Self)> {
        let node = memtable.list.find(key, hash, trailer)?;
        Some((memtable.list.trailer(node), Self { memtable: Arc::clone(memtable), node }))
    }
}

impl Deref for PinnedValue {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        self.memtable.list.value(self.node)
    }
}
