//! The switches behind [`crate::defence`], in weakened test builds only (`--cfg ringfort_weaken`,
//! R27). Process-wide: a test binary that uses them runs its weakened cases one at a time.
//!
//! Defences that shape what is *written* ([`Defence::ChainPrevious`], [`Defence::PlaceBinding`])
//! must be off from the creation of the store on: bytes sealed with them do not open without them.

use crate::defence::Defence;
use std::sync::atomic::{AtomicBool, Ordering};

static OFF: [AtomicBool; 12] = [const { AtomicBool::new(false) }; 12];

/// Switches `defence` off.
pub fn off(defence: Defence) {
    OFF[defence as usize].store(true, Ordering::SeqCst);
}

/// Switches every defence on again.
pub fn all_on() {
    OFF.iter().for_each(|flag| flag.store(false, Ordering::SeqCst));
}

/// Whether `defence` stands.
#[must_use]
pub fn on(defence: Defence) -> bool {
    !OFF[defence as usize].load(Ordering::SeqCst)
}
