//! A counter in a two-slot file of a disk that the host cannot roll back: the trusted volume's
//! claim record (`volume` counter), and the store of the simulated device.
//!
//! Each slot: sequence u64, length u32, payload, SHA-256; the higher valid sequence counts. A write
//! goes to the other slot, so it never tears.

use super::{Advance, Counter, Reading};
use crate::anchor::Anchor;
use ringfort_base::world::Disk;
use ringfort_base::{Result, StoreId};
use std::sync::Arc;

/// The claim record of a trusted volume (R2, R5): file `CLAIM` at its root.
pub struct VolumeCounter {
    _inner: (),
}

impl VolumeCounter {
    /// On the trusted volume `disk`, for `store`.
    pub fn new(_disk: Arc<dyn Disk>, _store: StoreId) -> Self {
        todo!()
    }
}

impl Counter for VolumeCounter {
    fn kind(&self) -> &'static str {
        "volume"
    }
    fn read(&self) -> Result<Option<Reading>> {
        todo!()
    }
    fn advance(&self, _expected: Option<[u8; 32]>, _to: &Anchor, _claim: bool) -> Result<Advance> {
        todo!()
    }
}
