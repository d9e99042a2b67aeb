//! The trusted counter: it holds the anchor, and changes it only for whoever knows the present one.
//!
//! An advance is conditional, so of two live copies of a store only one gets on: the other finds an
//! anchor that it does not know, and stops. Requests and replies cross the host, which may swallow or
//! delay them, so an advance without an answer is decided by reading ([`advance_confirmed`], R4).

pub mod slot;

use crate::anchor::Anchor;
use crate::defence::{self, Defence};
use ringfort_base::{Error, ErrorKind, EvidenceKind, Result};

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

/// How an advance from `current` under the condition `expected` ends, before it is carried out.
pub(crate) fn conditional(current: Option<Reading>, expected: Option<[u8; 32]>) -> Advance {
    let holds = current.as_ref().map(|reading| reading.anchor.digest());
    if holds == expected || !defence::on(Defence::CounterCondition) {
        Advance::Done(current.map_or(0, |reading| reading.value) + 1)
    } else {
        Advance::Conflict(current)
    }
}

/// [`Counter::advance`] with R4: after a lost reply the counter is read; own proposal → success,
/// old value → one retry … at most `attempts`; anything else → [`ringfort_base::ErrorKind::SecondCopy`]
/// with evidence that names the counter, both incarnations and positions.
///
/// A claim whose reply was lost is advanced once more, from itself to itself, because only a reply says
/// that it was synced. If the last attempt ends without an answer as well, the error is
/// [`ErrorKind::OutcomeUnknown`]; the counter's own refusals are passed on at once.
pub fn advance_confirmed(
    counter: &dyn Counter,
    expected: Option<&Anchor>,
    to: &Anchor,
    claim: bool,
    attempts: u32,
) -> Result<u64> {
    let old = expected.map(Anchor::digest);
    let own = to.digest();
    let mut condition = old;
    let mut last_error = None;
    for _ in 0..attempts.max(1) {
        let held = match counter.advance(condition, to, claim) {
            Ok(Advance::Done(value)) => return Ok(value),
            Ok(Advance::Conflict(held)) => held,
            Err(error) if is_refusal(&error) => return Err(error),
            Err(error) => {
                last_error = Some(error);
                match counter.read() {
                    Ok(held) => held,
                    Err(error) if is_refusal(&error) => return Err(error),
                    Err(_) => continue,
                }
            }
        };
        match held {
            Some(reading) if reading.anchor.digest() == own => {
                if !claim {
                    return Ok(reading.value);
                }
                condition = Some(own);
            }
            held if held.as_ref().map(|reading| reading.anchor.digest()) == old => condition = old,
            held => return Err(second_copy(counter, expected, to, held.as_ref())),
        }
    }
    let reason =
        last_error.map_or_else(|| "it kept refusing its own value".to_owned(), |error| error.to_string());
    let message = format!("the {} counter did not confirm an advance: {reason}", counter.kind());
    Err(Error::new(ErrorKind::OutcomeUnknown, message))
}

/// Whether an error is the counter's own answer, which asking again would not change.
fn is_refusal(error: &Error) -> bool {
    let kind = error.kind();
    error.proof().is_some() || matches!(kind, ErrorKind::Refused | ErrorKind::Invalid | ErrorKind::Internal)
}

fn second_copy(
    counter: &dyn Counter,
    expected: Option<&Anchor>,
    to: &Anchor,
    held: Option<&Reading>,
) -> Error {
    let life =
        |anchor: &Anchor| format!("incarnation {} at position {}", anchor.incarnation, anchor.wal.position);
    let found = match held {
        Some(reading) => format!("{} (value {})", life(&reading.anchor), reading.value),
        None => "nothing: it was reset or its store destroyed".to_owned(),
    };
    let detail = format!(
        "expected to advance it from {} to {}, but it holds {found}; another copy of this store is alive",
        expected.map_or_else(|| "nothing".to_owned(), life),
        life(to),
    );
    let position = held.map_or(0, |reading| reading.anchor.wal.position);
    Error::evidence(EvidenceKind::SecondCopy, format!("{} counter", counter.kind()), position, detail)
}

#[cfg(test)]
mod tests;
