//! The trusted counter: it holds the anchor, and changes it only for whoever knows the present one.

pub mod slot;

use crate::anchor::Anchor;
use ringfort_base::Result;

/// What a counter holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reading {
    /// Counted up by every advance.
    pub value: u64,
    /// The anchor.
    pub anchor: Anchor,
}

/// How an advance ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Advance {
    /// The counter holds the proposed anchor now; the new value.
    Done(u64),
    /// It held another anchor than expected, which it still holds (`None`: it was empty or is gone).
    Conflict(Option<Reading>),
}

/// One counter of one store.
pub trait Counter: Send + Sync {
    /// "sim", "volume", …
    fn kind(&self) -> &'static str;

    /// Reads it; `None` if it was never advanced.
    fn read(&self) -> Result<Option<Reading>>;

    /// Replaces the anchor if its digest is `expected` (`None`: if it is empty). With `claim` the
    /// change is synced before it is confirmed (R2). An error means that the outcome is unknown:
    /// use [`advance_confirmed`].
    fn advance(&self, expected: Option<[u8; 32]>, to: &Anchor, claim: bool) -> Result<Advance>;
}

/// [`Counter::advance`] with R4: after a lost reply the counter is read; own proposal → success,
/// old value → one retry … at most `attempts`; anything else → [`ringfort_base::ErrorKind::SecondCopy`]
/// with evidence that names the counter, both incarnations and positions.
pub fn advance_confirmed(
    _counter: &dyn Counter,
    _expected: Option<&Anchor>,
    _to: &Anchor,
    _claim: bool,
    _attempts: u32,
) -> Result<u64> {
    todo!()
}
