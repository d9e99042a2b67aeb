//! The simulated platform: a directory that stands for hardware which the host cannot roll back.
//! Two halves: [`SimDevice`], the "hardware" (a [`Device`] over a [`Disk`], one lock file for the
//! critical sections, so that two processes share it), and [`SimPlatform`], the driver that speaks
//! to it through the bus, where a test can swallow or delay a message.

use ringfort_base::world::{Device, Disk, Entropy};
use std::sync::Arc;

/// The simulated hardware.
pub struct SimDevice {
    _inner: (),
}

impl SimDevice {
    /// Over the state directory `disk`; draws the sealing root at the first use.
    pub fn new(_disk: Arc<dyn Disk>, _entropy: Arc<dyn Entropy>) -> Self {
        todo!()
    }
}

/// The driver.
pub struct SimPlatform {
    _inner: (),
}

impl SimPlatform {
    /// Speaks to `device`.
    pub fn new(_device: Arc<dyn Device>) -> Self {
        todo!()
    }
}
// H2: impl Device for SimDevice; impl Platform for SimPlatform.
