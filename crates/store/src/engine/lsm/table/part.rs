//! Parts: what leads a read through a table, in pieces that can be read and evicted alone.
//!
//! ```text
//! guide := Flat: one part                                 small tables
//!        | Top:  index of parts ─▶ part, part, part …     its entries' values name filter and index
//! part  := [filter] | index ─▶ slots of its data blocks
//! ```
//! Filter and index of a part serve the same keys, so they come and go together. A part is pinned in
//! its table while guides take no more than their share of the budget: reaching it then costs one
//! load. Otherwise it stands in a slot of the cache, like a data block.

use super::block::Block;
use super::format::PartitionHandles;
use super::index::Index;
use crate::engine::lsm::cache::{BlockCache, Cached, Heat, Pin, Ref, Shelf, Slot, Slots, Swept};
use crate::engine::lsm::filter::Filter;
use ringfort_base::Result;
use ringfort_base::codec::DecodeError;
use std::sync::Arc;

/// Filter and index over a run of data blocks, and where these are in memory.
pub(crate) struct Part {
    pub(super) filter: Option<Filter>,
    pub(super) index: Index,
    pub(super) blocks: Slots<Block>,
    heat: Heat,
}

impl Part {
    pub(super) fn new(filter: Option<Filter>, index: Index, cache: &BlockCache) -> Self {
        let blocks = Slots::new(index.len(), cache);
        Self { filter, index, blocks, heat: Heat::new(Heat::HOT) }
    }
}

impl Cached for Part {
    fn memory_bytes(&self) -> usize {
        let filter = self.filter.as_ref().map_or(0, Filter::bytes);
        size_of::<Self>() + filter + self.index.memory_bytes() + self.blocks.memory_bytes()
    }

    fn heat(&self) -> &Heat {
        &self.heat
    }

    fn into_buffer(self) -> Option<Vec<u8>> {
        None
    }
}

impl Shelf for Part {
    fn sweep(&self, number: usize) -> Swept {
        self.blocks.get(number).map_or(Swept::Gone, Slot::sweep)
    }
}

/// How a table's parts are found.
pub(super) enum Guide {
    Flat(PartitionHandles),
    Top(Index),
}

impl Guide {
    /// How many parts.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Flat(_) => 1,
            Self::Top(top) => top.len(),
        }
    }

    /// Whether keys that begin with `prefix` may stand behind part `at`.
    pub(super) fn goes_on_behind(&self, at: usize, prefix: &[u8]) -> bool {
        match self {
            Self::Flat(_) => false,
            Self::Top(top) => top.key(at) <= prefix || top.key(at).starts_with(prefix),
        }
    }

    /// Where a part lies.
    pub(super) fn handles(&self, at: usize) -> Result<PartitionHandles, DecodeError> {
        match self {
            Self::Flat(handles) => Ok(*handles),
            Self::Top(top) => PartitionHandles::decode(top.value(at)),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Self::Flat(_) => 0,
            Self::Top(top) => top.memory_bytes(),
        }
    }
}

/// The parts of a table that are in memory.
pub(super) struct Parts {
    pinned: Box<[Pin<Part>]>,
    slots: Slots<Part>,
}

impl Parts {
    pub(super) fn new(len: usize, cache: &BlockCache) -> Self {
        Self { pinned: (0..len).map(|_| Pin::new()).collect(), slots: Slots::new(len, cache) }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.pinned) + self.slots.memory_bytes()
    }

    /// A part, if it is in memory.
    #[inline]
    pub(super) fn resident(&self, at: usize) -> Option<Ref<'_, Part>> {
        match self.pinned.get(at)?.get() {
            Some((part, _)) => Some(Ref::Pinned(part)),
            None => self.slots.get(at)?.resident().map(Ref::Shared),
        }
    }

    /// A part; loaded if it is not in memory. `None`: there is no such.
    pub(super) fn get(
        self: &Arc<Self>,
        at: usize,
        cache: &BlockCache,
        load: impl FnOnce() -> Result<Part>,
    ) -> Result<Option<Ref<'_, Part>>> {
        let (Some(pinned), Some(slot)) = (self.pinned.get(at), self.slots.get(at)) else {
            return Ok(None);
        };
        if let Some((part, _)) = pinned.get() {
            return Ok(Some(Ref::Pinned(part)));
        }
        cache.fetch_guide((pinned, slot), (self, at), load).map(|part| Some(Ref::Shared(part)))
    }
}

impl Shelf for Parts {
    fn sweep(&self, number: usize) -> Swept {
        self.slots.get(number).map_or(Swept::Gone, Slot::sweep)
    }
}
