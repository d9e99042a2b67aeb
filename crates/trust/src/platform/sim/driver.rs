//! The driver of the simulated platform: requests out, answers in, and what an answer means.

use super::super::wire::{self, Reply, Request};
use super::super::{Known, Platform};
use super::check_name;
use crate::anchor::Anchor;
use crate::counter::{Advance, Counter, Reading};
use crate::keys::Secret;
use crate::verified::look;
use ringfort_base::world::Device;
use ringfort_base::{Error, ErrorKind, Result, StoreId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use zeroize::Zeroizing;

/// The driver's end of the bus.
struct Bus {
    device: Arc<dyn Device>,
    sequence: AtomicU64,
}

impl Bus {
    /// One exchange with the device. After an error that is not the device's own the outcome is unknown.
    fn transact(&self, request: &Request) -> Result<Reply> {
        let mut sent = self.sequence.fetch_add(1, Ordering::Relaxed).to_le_bytes().to_vec();
        sent.extend_from_slice(&request.encode());
        let failed = |error| Error::io("reach", "the simulated platform", &error);
        let answer = Zeroizing::new(look(self.device.transact(&sent).map_err(failed)?));
        let garbled =
            || Error::new(ErrorKind::Io, "an answer of the simulated platform is garbled or another one's");
        let (reply, binding) = answer.split_last_chunk::<32>().ok_or_else(garbled)?;
        if *binding != wire::binding(&sent, reply) {
            return Err(garbled());
        }
        match Reply::decode(reply).map_err(|_| garbled())? {
            Reply::Failed(error) => Err(error.context("simulated platform")),
            reply => Ok(reply),
        }
    }
}

/// The driver.
pub struct SimPlatform {
    bus: Arc<Bus>,
}

impl SimPlatform {
    /// Speaks to `device`.
    pub fn new(device: Arc<dyn Device>) -> Self {
        Self { bus: Arc::new(Bus { device, sequence: AtomicU64::new(0) }) }
    }
}

/// A reply that answers another question.
fn unexpected() -> Error {
    Error::new(ErrorKind::Io, "the simulated platform answered another question")
}

fn done(reply: Reply) -> Result<()> {
    if let Reply::Done = reply { Ok(()) } else { Err(unexpected()) }
}

impl Platform for SimPlatform {
    fn describe(&self) -> String {
        "simulated platform: the host can read and change its state directory, so it protects against no real \
         attacker on this machine; for tests and development"
            .to_owned()
    }

    fn is_simulated(&self) -> bool {
        true
    }

    fn sealing_key(&self, store: StoreId) -> Result<Secret<32>> {
        match self.bus.transact(&Request::SealingKey { store })? {
            Reply::SealingKey(key) => Ok(Secret(*key)),
            _ => Err(unexpected()),
        }
    }

    fn known(&self, name: &str) -> Result<Known> {
        check_name(name)?;
        match self.bus.transact(&Request::Known { name: name.to_owned() })? {
            Reply::Known(known) => Ok(known),
            _ => Err(unexpected()),
        }
    }

    fn begin(&self, name: &str, store: StoreId) -> Result<()> {
        check_name(name)?;
        done(self.bus.transact(&Request::Begin { name: name.to_owned(), store })?)
    }

    fn commit(&self, name: &str, store: StoreId) -> Result<()> {
        check_name(name)?;
        done(self.bus.transact(&Request::Commit { name: name.to_owned(), store })?)
    }

    fn forget(&self, name: &str) -> Result<()> {
        check_name(name)?;
        done(self.bus.transact(&Request::Forget { name: name.to_owned() })?)
    }

    fn counter(&self, name: &str, store: StoreId) -> Result<Arc<dyn Counter>> {
        check_name(name)?;
        Ok(Arc::new(SimCounter { bus: self.bus.clone(), name: name.to_owned(), store }))
    }
}

/// The counter of one store.
struct SimCounter {
    bus: Arc<Bus>,
    name: String,
    store: StoreId,
}

impl Counter for SimCounter {
    fn kind(&self) -> &'static str {
        "sim"
    }

    fn read(&self) -> Result<Option<Reading>> {
        let request = Request::CounterRead { name: self.name.clone(), store: self.store };
        match self.bus.transact(&request)? {
            Reply::Reading(reading) => Ok(reading),
            _ => Err(unexpected()),
        }
    }

    fn advance(&self, expected: Option<[u8; 32]>, to: &Anchor, claim: bool) -> Result<Advance> {
        let (name, store) = (self.name.clone(), self.store);
        let request = Request::CounterAdvance { name, store, expected, to: to.clone(), claim };
        match self.bus.transact(&request)? {
            Reply::Advanced(value) => Ok(Advance::Done(value)),
            Reply::Conflict(held) => Ok(Advance::Conflict(held)),
            _ => Err(unexpected()),
        }
    }
}
