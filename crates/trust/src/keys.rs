//! The key hierarchy as a chain of types: root → epoch → file (R14).
//!
//! Epoch keys and keyspace keys and table keys are random; only purpose and file keys are derived
//! (HKDF-SHA256, one label per purpose). Everything here is zeroized on drop and has no `Debug`.

use crate::chain::{LogKind, SegmentHeader};
use crate::seal::{Protection, Sealer};
use ringfort_base::world::Entropy;
use ringfort_base::{Epoch, Result};

/// `N` secret bytes: zeroized on drop, never printed, compared in constant time.
pub struct Secret<const N: usize>(pub(crate) [u8; N]);

impl<const N: usize> Secret<N> {
    /// Random bytes from the door.
    pub fn random(_entropy: &dyn Entropy) -> Result<Self> {
        todo!()
    }

    /// Takes bytes that came out of verified storage (a MANIFEST record).
    #[must_use]
    pub fn from_verified(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// The bytes, for writing into a structure that is sealed next.
    #[must_use]
    pub fn expose_for_sealing(&self) -> &[u8; N] {
        &self.0
    }
}
// H2: Clone, Drop zeroize, PartialEq constant time. No Debug.

/// The random key of one epoch, from the key file.
pub struct EpochKey {
    /// Which epoch.
    pub epoch: Epoch,
    _key: Secret<32>,
}

/// All epochs that the key file holds; the last one seals new files.
pub struct KeyRing {
    _epochs: Vec<EpochKey>,
}

impl KeyRing {
    /// The epoch that seals new files.
    #[must_use]
    pub fn current(&self) -> Epoch {
        todo!()
    }

    /// The sealer of one key domain of a log segment: HKDF over the epoch's log key and the
    /// domain's key (`None` for the system domain and the MANIFEST), salted by the segment's salt,
    /// with the whole clear header in the info, so that any change of the header is another key.
    /// `None` if the key file has no such epoch.
    #[must_use]
    pub fn log_sealer(
        &self,
        _protection: Protection,
        _header: &SegmentHeader,
        _kind: LogKind,
        _domain_key: Option<&Secret<32>>,
    ) -> Option<Sealer> {
        todo!()
    }
}
