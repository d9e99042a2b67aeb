//! How many clean pages all files of a disk keep together, and which go: second chance, first come.

use super::file::File;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// Pages that are looked at per page that should go, at the most: those that are dirty or in use stay.
const LOOKS_MAX: usize = 16;
/// Pages that one call lets go at the most, more or less.
const LOOK_AT_MAX: usize = 1024;

/// The account.
pub struct Pages {
    capacity: usize,
    kept: AtomicUsize,
    queue: Mutex<VecDeque<(Weak<File>, u64)>>,
}

impl Pages {
    /// Room for so many pages.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, kept: AtomicUsize::new(0), queue: Mutex::default() }
    }

    /// Whether clean pages are kept at all.
    pub fn keeps(&self) -> bool {
        self.capacity > 0
    }

    /// These pages of `file` came into memory. No lock of a file may be held.
    pub fn came(&self, file: &Arc<File>, sectors: &[u64]) {
        if sectors.is_empty() {
            return;
        }
        self.kept.fetch_add(sectors.len(), Ordering::Relaxed);
        self.queue.lock().extend(sectors.iter().map(|sector| (Arc::downgrade(file), *sector)));
        self.shrink();
    }

    /// Lets pages go until there is room, as far as they are not needed. No lock of a file may be held.
    pub fn shrink(&self) {
        let over = self.kept.load(Ordering::Relaxed).saturating_sub(self.capacity);
        let mut looks = over.min(LOOK_AT_MAX) * LOOKS_MAX;
        while self.kept.load(Ordering::Relaxed) > self.capacity && looks > 0 {
            looks -= 1;
            let Some((file, sector)) = self.queue.lock().pop_front() else { return };
            let Some(found) = file.upgrade() else { continue };
            if !found.let_go(sector) {
                self.queue.lock().push_back((file, sector));
            }
        }
    }

    /// So many pages are no longer in memory.
    pub fn went(&self, pages: usize) {
        self.kept.fetch_sub(pages, Ordering::Relaxed);
    }

    /// Pages in memory.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }
}
