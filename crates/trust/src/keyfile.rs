//! # The key file: envelopes around the root, epochs under it, and the sealed settings
//!
//! Two slots, `KEYS.0` and `KEYS.1`; version n lives in slot n mod 2 and is written whole and
//! synced before the anchor names it, so a crash leaves the anchored version intact (R14).
//! The settings that the host must not choose (R17) are in here, authenticated under the root.

use crate::keys::KeyRing;
use crate::platform::Platform;
use crate::verified::Verified;
use ringfort_base::world::{Disk, Entropy};
use ringfort_base::{Level, Lineage, Result, StoreId};

/// Where the classes of files live and what freshness stands on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Mode {
    /// Everything sealed on the untrusted volume; freshness from a trusted counter.
    Software = 1,
    /// Everything on the trusted volume.
    Hardware = 2,
    /// WAL and MANIFEST on the trusted volume, tables sealed on the untrusted one.
    Twin = 3,
}
// H2: name(), Display, FromStr, from code

/// What the host may not change by a flag (R17).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The mode.
    pub mode: Mode,
    /// The random id of the trusted volume, in the modes that have one.
    pub trusted_volume: Option<[u8; 16]>,
    /// The kind of counter: "sim" or "volume" in this version.
    pub counter: String,
    /// No session may ask for less than this for writes.
    pub minimum_level: Level,
    /// Ed25519 key of the owner; `None` on the simulated platform, where a phrase suffices.
    pub owner_key: Option<[u8; 32]>,
}

/// An opened key file.
pub struct KeyFile {
    /// The store.
    pub store: StoreId,
    /// Its history.
    pub lineage: Lineage,
    /// The sealed settings.
    pub settings: Settings,
    /// Version, counted up by every change.
    pub version: u64,
    /// SHA-256 of the file's bytes, as the anchor holds it.
    pub digest: [u8; 32],
    /// The epochs.
    pub ring: KeyRing,
}

impl KeyFile {
    /// Draws root, lineage and first epoch, seals the root to `platform` and writes slot 1 (version 1), synced with
    /// its directory. `name` is the store's name on the platform.
    pub fn create(
        _disk: &dyn Disk,
        _platform: &dyn Platform,
        _entropy: &dyn Entropy,
        _store: StoreId,
        _settings: Settings,
    ) -> Result<Verified<Self>> {
        todo!()
    }

    /// Opens the slot that is exactly (`version`, `digest`), as anchored. Refuses (evidence: file,
    /// Missing / Rollback / BadSeal / Foreign) if no slot is.
    pub fn open(
        _disk: &dyn Disk,
        _platform: &dyn Platform,
        _store: StoreId,
        _version: u64,
        _digest: [u8; 32],
    ) -> Result<Verified<Self>> {
        todo!()
    }

    /// Opens the newest slot that verifies, without an anchor: for checkpoints, inspection and a creation that was
    /// interrupted; never for serving.
    pub fn open_unanchored(_disk: &dyn Disk, _platform: &dyn Platform) -> Result<Verified<Self>> {
        todo!()
    }

    /// Adds a random epoch and writes the next version into the other slot, synced. It counts when the anchor names it.
    pub fn rotate_epoch(
        &self,
        _disk: &dyn Disk,
        _platform: &dyn Platform,
        _entropy: &dyn Entropy,
    ) -> Result<Verified<Self>> {
        todo!()
    }
}
