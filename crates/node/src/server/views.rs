//! The views that commands have open, so that compaction knows which deletions all of them see.
//!
//! The store keeps what a snapshot sees of a *key*; but whether a hash's *field* means anything is
//! decided by another key, the hash's record. A view from before a `DEL` still reads the fields, so
//! they are orphans only when every open view sees the deletion ([`crate::model::is_orphan_field`]).

use super::Server;
use parking_lot::Mutex;
use ringfort_base::Seq;
use ringfort_store::Snapshot;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

/// The positions of open views, and how many have each.
#[derive(Default)]
pub(crate) struct Views(Mutex<BTreeMap<Seq, usize>>);

impl Views {
    /// The position of the oldest open view.
    pub(crate) fn oldest(&self) -> Option<Seq> {
        self.0.lock().first_key_value().map(|(position, _)| *position)
    }
}

/// A snapshot of the store that is noted in [`Views`] while it is open.
pub(crate) struct OpenView {
    snapshot: Snapshot,
    server: Arc<Server>,
}

impl OpenView {
    /// The newest visible state.
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        Self::drawn(server, || (server.store().snapshot(), ())).0
    }

    /// A snapshot that is drawn with something else. Drawn and noted under one lock: who looks at the oldest
    /// view sees either this one, or nothing that was deleted after it.
    pub(crate) fn drawn<T>(server: &Arc<Server>, draw: impl FnOnce() -> (Snapshot, T)) -> (Self, T) {
        let mut open = server.views().0.lock();
        let (snapshot, with) = draw();
        *open.entry(snapshot.position()).or_default() += 1;
        (Self { snapshot, server: Arc::clone(server) }, with)
    }
}

impl Deref for OpenView {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl Drop for OpenView {
    fn drop(&mut self) {
        let position = self.snapshot.position();
        let mut open = self.server.views().0.lock();
        if let Some(count) = open.get_mut(&position) {
            *count -= 1;
            if *count == 0 {
                open.remove(&position);
            }
        }
    }
}
