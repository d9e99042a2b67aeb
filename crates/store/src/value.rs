//! [`Value`]: what a read hands out, without a copy.
//!
//! ```text
//! Value ──▶ block in the cache     ┐
//!      └──▶ value of a value file  │
//!      └──▶ memtable               ├ kept alive, unchanged, for as long as the value lives
//!      └──▶ bytes of its own       ┘
//! ```
//! A block that was evicted and a memtable that was flushed meanwhile stay in memory until their last
//! value goes: a value is for using soon. What is to be kept long is better copied
//! ([`Value::to_vec`](slice::to_vec)), so that one small value does not hold a whole memtable.

use crate::engine::lsm::blob::ApartValue;
use crate::engine::lsm::memtable::PinnedValue;
use crate::engine::lsm::table::block::Block;
use std::borrow::Borrow;
use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// A value where it lies. Dereferences to its bytes. Cheap to clone.
#[derive(Clone)]
pub struct Value(Place);

#[derive(Clone)]
enum Place {
    Block { block: Arc<Block>, range: Range<usize> },
    Apart(Arc<ApartValue>),
    Memtable(PinnedValue),
    Own(Arc<[u8]>),
}

impl Value {
    pub(crate) const fn in_block(block: Arc<Block>, range: Range<usize>) -> Self {
        Self(Place::Block { block, range })
    }

    /// The bytes, copied.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        self.to_vec()
    }
}

impl Deref for Value {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Place::Block { block, range } => &block.bytes()[range.clone()],
            Place::Apart(value) => value.bytes(),
            Place::Memtable(value) => value,
            Place::Own(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Borrow<[u8]> for Value {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl From<PinnedValue> for Value {
    fn from(value: PinnedValue) -> Self {
        Self(Place::Memtable(value))
    }
}

impl From<Arc<ApartValue>> for Value {
    fn from(value: Arc<ApartValue>) -> Self {
        Self(Place::Apart(value))
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Place::Own(bytes.into()))
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self(Place::Own(bytes.into()))
    }
}

impl From<Value> for Vec<u8> {
    fn from(value: Value) -> Self {
        value.into_vec()
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// An empty value.
impl Default for Value {
    fn default() -> Self {
        Self(Place::Own(Arc::default()))
    }
}

impl Eq for Value {}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

/// Values compare with whatever bytes compare with.
macro_rules! compares_with {
    ($([$($generic:tt)*] $other:ty),* $(,)?) => {
        $(impl<$($generic)*> PartialEq<$other> for Value {
            fn eq(&self, other: &$other) -> bool {
                **self == other[..]
            }
        }

        impl<$($generic)*> PartialEq<Value> for $other {
            fn eq(&self, other: &Value) -> bool {
                self[..] == **other
            }
        })*
    };
}

compares_with!([] [u8], [] &[u8], [] Vec<u8>, [const N: usize] [u8; N], [const N: usize] &[u8; N]);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::lsm::key::Kind;
    use crate::engine::lsm::memtable::Memtable;
    use ringfort_base::Seq;

    #[test]
    fn a_value_outlives_its_memtable_and_compares_as_bytes() {
        let memtable = Arc::new(Memtable::new(1).unwrap());
        memtable.insert(Seq(1), Kind::Put, b"k", b"value").unwrap();
        let value = Value::from(memtable.get_pinned(b"k", Seq(1)).unwrap().2);
        let weak = Arc::downgrade(&memtable);
        drop(memtable);
        assert!(weak.upgrade().is_some(), "the value holds it");
        assert_eq!(value, b"value");
        assert_eq!(value, Value::from(b"value".to_vec()));
        assert_eq!((&value[..2], value.as_ref().len()), (&b"va"[..], 5));
        assert_eq!(format!("{value:?}"), format!("{:?}", b"value"));
        assert_eq!(Vec::from(value), b"value".to_vec());
        assert!(weak.upgrade().is_none(), "and lets it go");
    }
}
