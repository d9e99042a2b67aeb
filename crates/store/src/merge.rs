//! Merge operators: a write that says how a value changes, without reading it.
//!
//! ```text
//! put "5"   merge +2   merge +1          the entries of a key, oldest first
//!    └─────────┴──────────┴──▶ "8"       what a read shows: full_merge("5", [+2, +1])
//!              └──────────┴──▶ +3        what a compaction may make of it: partial_merge([+2, +1])
//! ```
//! A keyspace is created with the *name* of an operator, which is sealed in the MANIFEST with its other
//! options: what its operands mean is not for the host to choose, nor for whoever opens the store next.
//! The built-in names are always known; others are registered when the store is opened. Without its
//! operator a keyspace refuses to read a key that has operands and to take new ones, by an error that
//! names both; everything else of it works, and a compaction keeps the operands as they are.
//!
//! An operator must be *deterministic*, and a partial merge must not change what a full merge over it
//! gives: merging happens whenever a compaction or a read gets to it.

use crate::engine::lsm::blob::BlobPointer;
use ringfort_base::limits::BATCH_VALUE_BYTES_MAX;
use ringfort_base::{Error, ErrorKind, Result};
use std::fmt;
use std::sync::Arc;

/// Why an operator cannot merge. A fixed text: errors never hold keys or values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CannotMerge(pub &'static str);

/// How values of a keyspace change; see the module.
pub trait MergeOperator: Send + Sync {
    /// Its name, which keyspaces are bound to. A change of meaning is another name.
    fn name(&self) -> &str;

    /// The value that `operands`, oldest first, make of the `existing` one (none: the key is absent).
    ///
    /// # Errors
    /// The read fails with it; the key stays as it is until a put or a deletion replaces it.
    fn full_merge(
        &self,
        key: &[u8],
        existing: Option<&[u8]>,
        operands: &[&[u8]],
    ) -> std::result::Result<Vec<u8>, CannotMerge>;

    /// One operand in place of `operands` (two or more, oldest first), if there is one.
    fn partial_merge(&self, _key: &[u8], _operands: &[&[u8]]) -> Option<Vec<u8>> {
        None
    }
}

/// `add_u64`: a counter. Values and operands are 8 bytes, little-endian; an absent value is 0. The
/// sum wraps around at 2^64, so that subtracting is adding the two's complement.
#[derive(Clone, Copy, Debug)]
pub struct AddU64;

impl AddU64 {
    /// Its name.
    pub const NAME: &str = "add_u64";

    fn sum(terms: impl Iterator<Item = impl AsRef<[u8]>>) -> std::result::Result<Vec<u8>, CannotMerge> {
        let number = |term: &[u8]| term.try_into().map(u64::from_le_bytes);
        let mut sum = 0u64;
        for term in terms {
            let term = number(term.as_ref()).map_err(|_| CannotMerge("a term is not of 8 bytes"))?;
            sum = sum.wrapping_add(term);
        }
        Ok(sum.to_le_bytes().to_vec())
    }
}

impl MergeOperator for AddU64 {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn full_merge(
        &self,
        _key: &[u8],
        existing: Option<&[u8]>,
        operands: &[&[u8]],
    ) -> std::result::Result<Vec<u8>, CannotMerge> {
        Self::sum(existing.into_iter().chain(operands.iter().copied()))
    }

    fn partial_merge(&self, _key: &[u8], operands: &[&[u8]]) -> Option<Vec<u8>> {
        Self::sum(operands.iter()).ok()
    }
}

/// `max` and `min`: the bytewise greatest or least of value and operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extreme {
    /// `max`.
    Max,
    /// `min`.
    Min,
}

impl Extreme {
    fn of<'v>(self, all: impl Iterator<Item = &'v [u8]>) -> Option<Vec<u8>> {
        let found = if self == Self::Max { all.max() } else { all.min() };
        found.map(<[u8]>::to_vec)
    }
}

impl MergeOperator for Extreme {
    fn name(&self) -> &str {
        if *self == Self::Max { "max" } else { "min" }
    }

    fn full_merge(
        &self,
        _key: &[u8],
        existing: Option<&[u8]>,
        operands: &[&[u8]],
    ) -> std::result::Result<Vec<u8>, CannotMerge> {
        let all = existing.into_iter().chain(operands.iter().copied());
        self.of(all).ok_or(CannotMerge("there is no operand"))
    }

    fn partial_merge(&self, _key: &[u8], operands: &[&[u8]]) -> Option<Vec<u8>> {
        self.of(operands.iter().copied())
    }
}

/// `append`: operands behind the value, with a separator in between if there is one; its bytes are
/// part of the name, in hexadecimal: `append:2c` puts commas.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Append {
    separator: Vec<u8>,
    name: String,
}

impl Append {
    const NAME: &str = "append";
    /// Longest separator, bytes.
    pub const SEPARATOR_BYTES_MAX: usize = 64;

    /// With `separator`, of at most [`Append::SEPARATOR_BYTES_MAX`] bytes; a longer one is cut there.
    #[must_use]
    pub fn new(separator: &[u8]) -> Self {
        let separator = separator[..separator.len().min(Self::SEPARATOR_BYTES_MAX)].to_vec();
        let mut name = Self::NAME.to_owned();
        if !separator.is_empty() {
            name.push(':');
            name.extend(separator.iter().map(|byte| format!("{byte:02x}")));
        }
        Self { separator, name }
    }

    /// The operator with this name.
    fn by_name(name: &str) -> Option<Self> {
        let digits = name.strip_prefix(Self::NAME)?;
        let digits = if digits.is_empty() { digits } else { digits.strip_prefix(':')? };
        let pairs = digits.as_bytes().chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        });
        let operator = Self::new(&pairs.collect::<Option<Vec<u8>>>()?);
        // One spelling of each name.
        (operator.name == name).then_some(operator)
    }

    fn join<'v>(&self, mut all: impl Iterator<Item = &'v [u8]>) -> Vec<u8> {
        let mut joined = all.next().unwrap_or_default().to_vec();
        for part in all {
            joined.extend_from_slice(&self.separator);
            joined.extend_from_slice(part);
        }
        joined
    }
}

impl MergeOperator for Append {
    fn name(&self) -> &str {
        &self.name
    }

    fn full_merge(
        &self,
        _key: &[u8],
        existing: Option<&[u8]>,
        operands: &[&[u8]],
    ) -> std::result::Result<Vec<u8>, CannotMerge> {
        Ok(self.join(existing.into_iter().chain(operands.iter().copied())))
    }

    fn partial_merge(&self, _key: &[u8], operands: &[&[u8]]) -> Option<Vec<u8>> {
        Some(self.join(operands.iter().copied()))
    }
}

/// The operators that a store knows: the built-in ones and those that were registered.
#[derive(Clone, Default)]
pub struct MergeOperators(Vec<Arc<dyn MergeOperator>>);

impl MergeOperators {
    /// Adds an operator. A built-in name keeps its built-in meaning.
    pub fn register(&mut self, operator: Arc<dyn MergeOperator>) {
        self.0.push(operator);
    }

    /// The operator of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Arc<dyn MergeOperator>> {
        match name {
            AddU64::NAME => Some(Arc::new(AddU64)),
            "max" => Some(Arc::new(Extreme::Max)),
            "min" => Some(Arc::new(Extreme::Min)),
            _ => match Append::by_name(name) {
                Some(append) => Some(Arc::new(append)),
                None => self.0.iter().find(|operator| operator.name() == name).cloned(),
            },
        }
    }
}

impl fmt::Debug for MergeOperators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|operator| operator.name())).finish()
    }
}

/// A keyspace's operator, or its name alone.
pub(crate) struct Merger {
    keyspace: String,
    name: String,
    operator: Option<Arc<dyn MergeOperator>>,
}

impl Merger {
    pub(crate) fn new(keyspace: &str, name: &str, operators: &MergeOperators) -> Self {
        Self { keyspace: keyspace.to_owned(), name: name.to_owned(), operator: operators.find(name) }
    }

    /// The operator.
    ///
    /// # Errors
    /// `Refused` if it is not registered.
    pub(crate) fn operator(&self) -> Result<&dyn MergeOperator> {
        self.operator.as_deref().ok_or_else(|| {
            let Self { keyspace, name, .. } = self;
            let message = format!(
                "keyspace '{keyspace}' merges by the operator '{name}', which is not registered: register it when \
                 the store is opened"
            );
            Error::new(ErrorKind::Refused, message)
        })
    }

    /// Refuses to merge with the value behind `pointer` if that is longer than a batch may hold: it would
    /// have to be held whole, and the result could not be stored.
    pub(crate) fn check_base(&self, pointer: &[u8]) -> Result<()> {
        match BlobPointer::decode(pointer) {
            Ok(pointer) if pointer.is_long() => {
                let message = format!(
                    "keyspace '{}': a value of {} bytes is too long to be merged with: at most {BATCH_VALUE_BYTES_MAX}",
                    self.keyspace, pointer.payload_len
                );
                Err(Error::invalid(message))
            }
            _ => Ok(()),
        }
    }

    /// What `operands`, oldest first, make of `existing`.
    pub(crate) fn full(&self, key: &[u8], existing: Option<&[u8]>, operands: &[&[u8]]) -> Result<Vec<u8>> {
        let failed = |why: &str| {
            let Self { keyspace, name, .. } = self;
            Error::invalid(format!("the merge operator '{name}' of keyspace '{keyspace}' failed: {why}"))
        };
        let merged = self.operator()?.full_merge(key, existing, operands);
        let merged = merged.map_err(|CannotMerge(why)| failed(why))?;
        if merged.len() > BATCH_VALUE_BYTES_MAX {
            return Err(failed("its value is longer than a value may be"));
        }
        Ok(merged)
    }

    /// One operand in place of `operands`, oldest first.
    pub(crate) fn partial(&self, key: &[u8], operands: &[&[u8]]) -> Option<Vec<u8>> {
        let merged = self.operator.as_ref()?.partial_merge(key, operands)?;
        (operands.len() > 1 && merged.len() <= BATCH_VALUE_BYTES_MAX).then_some(merged)
    }
}

/// An operand was met in a keyspace that has no operator: nobody can have put it there.
pub(crate) fn no_operator() -> Error {
    Error::new(
        ErrorKind::Refused,
        "an entry is an operand of a merge, but its keyspace has no merge operator",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn builtin(name: &str) -> Arc<dyn MergeOperator> {
        MergeOperators::default().find(name).unwrap()
    }

    #[test]
    fn the_built_in_operators_do_what_they_say() {
        let add = builtin("add_u64");
        let n = |n: u64| n.to_le_bytes();
        assert_eq!(add.full_merge(b"", None, &[&n(2), &n(3)]), Ok(n(5).to_vec()));
        assert_eq!(add.full_merge(b"", Some(&n(1)), &[&n(u64::MAX)]), Ok(n(0).to_vec()), "wraps");
        assert!(add.full_merge(b"", Some(b"1"), &[&n(1)]).is_err());
        assert_eq!(add.partial_merge(b"", &[&n(1), b"x"]), None);
        assert_eq!(builtin("max").full_merge(b"", Some(b"b"), &[b"a", b"c"]), Ok(b"c".to_vec()));
        assert_eq!(builtin("min").full_merge(b"", None, &[b"b", b"a"]), Ok(b"a".to_vec()));
        assert_eq!(builtin("append").full_merge(b"", Some(b"x"), &[b"y"]), Ok(b"xy".to_vec()));
        assert_eq!(builtin("append:2c20").full_merge(b"", None, &[b"x", b"y"]), Ok(b"x, y".to_vec()));
    }

    #[test]
    fn names_have_one_spelling_and_built_in_ones_stay() {
        let mut operators = MergeOperators::default();
        for name in ["append:", "append:2C", "append:2", "append:zz", "appendix", "", "add"] {
            assert!(operators.find(name).is_none(), "{name}");
        }
        assert_eq!(Append::new(&[0xab; 100]).name().len(), 7 + 2 * Append::SEPARATOR_BYTES_MAX);
        struct Impostor(&'static str);
        impl MergeOperator for Impostor {
            fn name(&self) -> &str {
                self.0
            }
            fn full_merge(
                &self,
                _: &[u8],
                _: Option<&[u8]>,
                _: &[&[u8]],
            ) -> std::result::Result<Vec<u8>, CannotMerge> {
                Err(CannotMerge("never"))
            }
        }
        operators.register(Arc::new(Impostor("max")));
        operators.register(Arc::new(Impostor("other")));
        assert!(operators.find("max").unwrap().full_merge(b"", None, &[b"a"]).is_ok());
        assert!(operators.find("other").unwrap().full_merge(b"", None, &[b"a"]).is_err());
    }

    #[test]
    fn errors_name_the_keyspace_and_the_operator_and_no_key() {
        let merger = Merger::new("hits", "mine", &MergeOperators::default());
        let error = merger.full(b"secret", None, &[b"x"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.message().contains("'hits'") && error.message().contains("'mine'"), "{error}");
        let error = Merger::new("hits", "add_u64", &MergeOperators::default());
        let error = error.full(b"secret", None, &[b"x"]).unwrap_err();
        assert!(error.message().contains("'hits'") && !error.message().contains("secret"), "{error}");
    }

    proptest! {
        /// A compaction may merge partially wherever it likes.
        #[test]
        fn partial_merges_change_no_full_merge(
            operands in prop::collection::vec(prop::array::uniform8(any::<u8>()), 2..8),
            existing in prop::option::of(prop::array::uniform8(any::<u8>())),
            cut in 0..6usize,
        ) {
            let all: Vec<&[u8]> = operands.iter().map(<[u8; 8]>::as_slice).collect();
            let cut = cut.min(all.len() - 2);
            for name in ["add_u64", "max", "min", "append", "append:00"] {
                let operator = builtin(name);
                let whole = operator.full_merge(b"k", existing.as_ref().map(<[u8; 8]>::as_slice), &all);
                let partial = operator.partial_merge(b"k", &all[cut..]).unwrap();
                let parts: Vec<&[u8]> = all[..cut].iter().copied().chain([partial.as_slice()]).collect();
                let parts = operator.full_merge(b"k", existing.as_ref().map(<[u8; 8]>::as_slice), &parts);
                prop_assert_eq!(whole, parts);
            }
        }
    }
}
