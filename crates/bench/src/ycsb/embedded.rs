//! Transactions on a store in this process, by its [`Transactional`].

use super::client::{Operation, Session, Step};
use crate::Result;
use crate::transactional::{End, Transaction, Transactional};
use crate::values::Values;

/// One client of a store.
pub(super) struct Embedded<'e> {
    engine: &'e dyn Transactional,
    found: Vec<u8>,
}

impl<'e> Embedded<'e> {
    pub(super) fn new(engine: &'e dyn Transactional) -> Self {
        Self { engine, found: Vec::new() }
    }
}

impl Session for Embedded<'_> {
    fn transact(&mut self, steps: &[Step], values: &Values) -> Result<u64> {
        let is_read_only =
            steps.iter().all(|step| matches!(step.operation, Operation::Read | Operation::Scan));
        let found = &mut self.found;
        self.engine.transact(is_read_only, &mut |txn| {
            steps.iter().try_for_each(|step| carry_out(txn, step, values, found))?;
            Ok(End::Commit)
        })
    }
}

fn carry_out(txn: &mut dyn Transaction, step: &Step, values: &Values, found: &mut Vec<u8>) -> Result<()> {
    let value = values.bytes(step.value.clone());
    match step.operation {
        // One that is being inserted may not be there yet.
        Operation::Read => txn.get(&step.key, false, found).map(drop),
        Operation::Update | Operation::Insert => txn.put(&step.key, value),
        Operation::ReadModifyWrite => {
            txn.get(&step.key, true, found)?;
            txn.put(&step.key, value)
        }
        Operation::Scan => txn.scan(&step.key, b"user:", false, step.limit, &mut |_, value| {
            std::hint::black_box(value.len());
            Ok(())
        }),
    }
}
