//! What the TEE's hardware gives: a sealing root that the host cannot read, a memory of which
//! stores exist (R18), and counters. `sim` is the default; real ones are later issues.

pub mod sim;
mod wire;

use crate::counter::Counter;
use crate::keys::Secret;
use ringfort_base::{Result, StoreId};
use std::sync::Arc;

/// What a platform knows of a store's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    /// Nothing.
    No,
    /// Its creation began and no claim was anchored: nothing was ever acknowledged.
    Creating(StoreId),
    /// It exists. Missing data is evidence.
    Live(StoreId),
}

/// A TEE platform.
pub trait Platform: Send + Sync {
    /// One line for people: what it is and what it does not protect against.
    fn describe(&self) -> String;

    /// Whether it is the simulated one.
    fn is_simulated(&self) -> bool;

    /// The sealing root that wraps a store's root secret in a key file's envelope, bound to the store's id.
    fn sealing_key(&self, store: StoreId) -> Result<Secret<32>>;

    /// What is known of `name`.
    fn known(&self, name: &str) -> Result<Known>;

    /// Remembers that the creation of `name` begins. Synced. Refuses a name that is live.
    fn begin(&self, name: &str, store: StoreId) -> Result<()>;

    /// Makes `name` live. Synced. After this, missing data is evidence.
    fn commit(&self, name: &str, store: StoreId) -> Result<()>;

    /// Forgets `name`, its counter and what sealed it (destroy). Synced.
    fn forget(&self, name: &str) -> Result<()>;

    /// The counter of a store on this platform.
    fn counter(&self, name: &str, store: StoreId) -> Result<Arc<dyn Counter>>;
}
