//! How readers come by a tree's view without meeting each other.
//!
//! ```text
//! thread ─▶ its stripe ─▶ keyspace ─▶ Arc<Handle> ─▶ Arc<View>
//!           (lock, map)               one per stripe: its count is written by this stripe's threads
//! ```
//! One lock and one reference count for all readers would travel between the processors with every
//! read. So each thread has a stripe; stripes hold handles of their own, made when first asked for,
//! and a tree that gets a new view takes its handles out of all of them (R26). No thread keeps an old
//! view for longer than its read takes.
//!
//! # Invariant
//! When [`Handles::forget`] returns, every later [`Handles::get`] finds the view that the tree had
//! before `forget` was called, or a newer one: a stripe is filled only if it was not told to forget
//! since before the view was looked up.

use super::View;
use parking_lot::Mutex;
use ringfort_base::{KeyspaceId, Result};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const STRIPES: usize = 16;

/// A stripe's own way to a view.
pub(crate) struct Handle {
    view: Arc<View>,
}

impl Handle {
    /// Whether both lead to the same view.
    pub(crate) fn is_same_view(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.view, &other.view)
    }
}

impl std::ops::Deref for Handle {
    type Target = View;
    #[inline]
    fn deref(&self) -> &View {
        &self.view
    }
}

#[derive(Default)]
struct Held {
    /// By keyspace.
    handles: Vec<(KeyspaceId, Arc<Handle>)>,
    /// How often it was told to forget.
    forgotten: u64,
    /// By the stripe's threads.
    reads: Reads,
}

/// What views were asked for, counted where nobody else writes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Reads {
    pub(crate) gets: u64,
    pub(crate) iterators: u64,
}

/// Two cache lines, so that neighbours do not share one (processors fetch pairs).
#[derive(Default)]
#[repr(align(128))]
struct Stripe(Mutex<Held>);

/// See the module.
#[derive(Default)]
pub(crate) struct Handles {
    stripes: [Stripe; STRIPES],
}

impl Handles {
    /// The view of a keyspace for a read by this thread, which `count` counts; `find` looks it up.
    #[inline]
    pub(crate) fn get(
        &self,
        keyspace: KeyspaceId,
        count: impl FnOnce(&mut Reads),
        find: impl FnOnce() -> Result<Arc<View>>,
    ) -> Result<Arc<Handle>> {
        let stripe = &self.stripes[my_number() % STRIPES].0;
        let forgotten = {
            let mut held = stripe.lock();
            count(&mut held.reads);
            if let Ok(at) = held.handles.binary_search_by_key(&keyspace, |entry| entry.0) {
                return Ok(Arc::clone(&held.handles[at].1));
            }
            held.forgotten
        };
        let handle = Arc::new(Handle { view: find()? });
        let mut held = stripe.lock();
        if held.forgotten == forgotten
            && let Err(at) = held.handles.binary_search_by_key(&keyspace, |entry| entry.0)
        {
            held.handles.insert(at, (keyspace, Arc::clone(&handle)));
        }
        Ok(handle)
    }

    /// The keyspace's tree has a new view, or is gone.
    pub(crate) fn forget(&self, keyspace: KeyspaceId) {
        for stripe in &self.stripes {
            let mut held = stripe.0.lock();
            held.forgotten += 1;
            let at = held.handles.binary_search_by_key(&keyspace, |entry| entry.0);
            let gone = at.ok().map(|at| held.handles.remove(at));
            drop(held);
            drop(gone); // Perhaps the last holder of memtables: not under the lock.
        }
    }

    /// All that were counted.
    pub(crate) fn reads(&self) -> Reads {
        let mut all = Reads::default();
        for stripe in &self.stripes {
            let Reads { gets, iterators } = stripe.0.lock().reads;
            (all.gets, all.iterators) = (all.gets + gets, all.iterators + iterators);
        }
        all
    }
}

/// This thread's number, given out in order.
#[inline]
fn my_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<Option<usize>> = const { Cell::new(None) };
    }
    MINE.get().unwrap_or_else(|| {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        MINE.set(Some(number));
        number
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::lsm::tree::{Mem, Ranks, Version};
    use ringfort_base::{Error, ErrorKind};

    const KEYSPACE: KeyspaceId = KeyspaceId(7);

    fn one(reads: &mut Reads) {
        reads.gets += 1;
    }

    fn view() -> Arc<View> {
        let version = Arc::new(Version::new(Default::default(), Arc::default(), 0));
        Arc::new(View {
            active: Mem::new(1, 0, Ranks::default()).unwrap(),
            frozen: Vec::new(),
            version,
            merger: None,
        })
    }

    #[test]
    fn a_view_is_looked_up_once_until_it_is_forgotten() {
        let handles = Handles::default();
        let (old, new) = (view(), view());
        let unasked = || -> Result<Arc<View>> { panic!("asked again") };
        assert!(Arc::ptr_eq(&handles.get(KEYSPACE, one, || Ok(Arc::clone(&old))).unwrap().view, &old));
        assert!(Arc::ptr_eq(&handles.get(KEYSPACE, one, unasked).unwrap().view, &old));
        handles.forget(KeyspaceId(8));
        assert!(Arc::ptr_eq(&handles.get(KEYSPACE, one, unasked).unwrap().view, &old));
        handles.forget(KEYSPACE);
        assert_eq!(Arc::strong_count(&old), 1, "nobody keeps an old view");
        assert!(Arc::ptr_eq(&handles.get(KEYSPACE, one, || Ok(Arc::clone(&new))).unwrap().view, &new));
        assert_eq!(handles.reads(), Reads { gets: 4, iterators: 0 });
    }

    #[test]
    fn what_was_looked_up_before_a_change_is_not_kept() {
        let handles = Handles::default();
        let (old, new) = (view(), view());
        let changed_meanwhile = || {
            handles.forget(KEYSPACE);
            Ok(Arc::clone(&old))
        };
        assert!(Arc::ptr_eq(&handles.get(KEYSPACE, one, changed_meanwhile).unwrap().view, &old));
        assert!(Arc::ptr_eq(&handles.get(KEYSPACE, one, || Ok(Arc::clone(&new))).unwrap().view, &new));
        let missing = || Err(Error::new(ErrorKind::NotFound, "no such keyspace"));
        handles.forget(KEYSPACE);
        assert_eq!(handles.get(KEYSPACE, one, missing).err().unwrap().kind(), ErrorKind::NotFound);
    }

    /// A reader that begins after a change is complete never sees what was before it.
    #[test]
    fn no_thread_sees_an_old_view_after_the_change() {
        let handles = Handles::default();
        let current = Mutex::new((0u64, view()));
        let announced = std::sync::atomic::AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..3000 {
                        let least = announced.load(Ordering::Acquire);
                        let handle =
                            handles.get(KEYSPACE, one, || Ok(Arc::clone(&current.lock().1))).unwrap();
                        assert!(handle.active.frozen_at().0 >= least);
                    }
                });
            }
            for n in 1..300 {
                let next = view();
                next.active.frozen_at.store(n, Ordering::Release);
                *current.lock() = (n, next);
                handles.forget(KEYSPACE);
                announced.store(n, Ordering::Release);
            }
        });
    }
}
