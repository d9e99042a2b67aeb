//! One client: it draws a transaction of n operations, and has a [`Session`] carry it out.

use super::choose::Choice;
use super::{Plan, key};
use crate::Result;
use crate::rng::Mt64;
use crate::transactional::End;
use crate::transactional::driver::{self, Done};
use crate::values::Values;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What an operation does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    Read,
    Update,
    Insert,
    Scan,
    ReadModifyWrite,
}

/// The kinds of transactions: by their operations, in the order of [`Operation`], and those that have several.
pub(super) const KINDS: [&str; 6] = ["read", "update", "insert", "scan", "read-modify-write", "mixed"];
const MIXED: usize = KINDS.len() - 1;

/// An operation with its key; it is the same for each try.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) operation: Operation,
    pub(super) key: Vec<u8>,
    /// Where its value stands.
    pub(super) value: std::ops::Range<usize>,
    /// How many entries a scan takes.
    pub(super) limit: usize,
}

/// Where a client's transactions are carried out.
pub(super) trait Session: Send {
    /// Carries the steps out as one serializable transaction; how often it was begun again.
    fn transact(&mut self, steps: &[Step], values: &Values) -> Result<u64>;
}

/// One client.
pub(super) struct Client<'c, S> {
    plan: &'c Plan,
    session: S,
    choice: Choice,
    rng: Mt64,
    values: Values,
    /// Loaded or inserted by now.
    records: &'c AtomicU64,
    steps: Vec<Step>,
    name: String,
}

impl<'c, S> Client<'c, S> {
    pub(super) fn new(
        plan: &'c Plan,
        session: S,
        number: usize,
        (choice, values): (Choice, Values),
        records: &'c AtomicU64,
    ) -> Self {
        Self {
            plan,
            session,
            choice,
            rng: Mt64::new(plan.seed ^ ((number as u64 + 1) << 32)),
            values,
            records,
            steps: Vec::new(),
            name: String::new(),
        }
    }

    fn draw(&mut self) -> Step {
        let (share, first, rest) = self.plan.mix.shares();
        let operation = if self.rng.next_u64() % 100 < share { first } else { rest };
        let record = match operation {
            Operation::Insert => self.records.fetch_add(1, Ordering::Relaxed),
            _ => self.choice.record(&mut self.rng, self.records.load(Ordering::Relaxed)),
        };
        key(record, &mut self.name);
        let limit = 1 + (self.rng.next_u64() % 100) as usize;
        let value = self.values.window(self.plan.value_bytes);
        Step { operation, key: self.name.clone().into_bytes(), value, limit }
    }
}

impl<S: Session> driver::Client for Client<'_, S> {
    fn next(&mut self, _time: Duration) -> Result<Done> {
        self.steps.clear();
        for _ in 0..self.plan.operations {
            let step = self.draw();
            self.steps.push(step);
        }
        let retries = self.session.transact(&self.steps, &self.values)?;
        Ok(Done { kind: kind(&self.steps), end: End::Commit, retries })
    }
}

/// By the number among [`KINDS`].
fn kind(steps: &[Step]) -> usize {
    let mut kinds = steps.iter().map(|step| step.operation as usize);
    let first = kinds.next().unwrap_or(MIXED);
    if kinds.all(|kind| kind == first) { first } else { MIXED }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_called_by_its_operations() {
        let step = |operation| Step { operation, key: Vec::new(), value: 0..0, limit: 0 };
        let name = |operations: &[Operation]| {
            KINDS[kind(&operations.iter().map(|operation| step(*operation)).collect::<Vec<_>>())]
        };
        use Operation::{Insert, Read, ReadModifyWrite, Scan, Update};
        assert_eq!(name(&[Read, Read]), "read");
        assert_eq!((name(&[Update]), name(&[Insert]), name(&[Scan])), ("update", "insert", "scan"));
        assert_eq!((name(&[ReadModifyWrite]), name(&[Read, Update])), ("read-modify-write", "mixed"));
    }
}
