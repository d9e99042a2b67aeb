//! # The key hierarchy as a chain of types: root → epoch → file (R14)
//!
//! Epoch keys and keyspace keys and table keys are random; only purpose and file keys are derived
//! (HKDF-SHA256, one label per purpose). Everything here is zeroized on drop and has no `Debug`.
//!
//! ```text
//! root        random, in the key file's envelopes
//!  ├─ wrap:   HKDF(root, "ringfort v1 wrap epoch" | store | epoch)  wraps an epoch key
//!  └─ auth:   HKDF(root, "ringfort v1 key file auth" | store)       authenticates the key file
//! epoch key   random, wrapped in the key file
//!  ├─ log:    HKDF(epoch key, "ringfort v1 wal" | store)            of the WAL
//!  └─ log:    HKDF(epoch key, "ringfort v1 manifest" | store)       of the MANIFEST
//! segment key HKDF(log key | keyspace key or nothing, salt = the segment's salt,
//!                  "ringfort v1 segment " "system" or "domain" | the clear header)
//! ```

use crate::chain::{LogKind, SegmentHeader};
use crate::seal::{Protection, Sealer};
use aws_lc_rs::{constant_time, hkdf};
use ringfort_base::world::Entropy;
use ringfort_base::{Epoch, Error, Result, StoreId};
use zeroize::{Zeroize, Zeroizing};

/// `N` secret bytes: zeroized on drop, never printed, compared in constant time.
pub struct Secret<const N: usize>(pub(crate) [u8; N]);

impl<const N: usize> Secret<N> {
    /// Random bytes from the door.
    pub fn random(entropy: &dyn Entropy) -> Result<Self> {
        let mut secret = Self([0; N]);
        fill(entropy, &mut secret.0)?;
        Ok(secret)
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

impl<const N: usize> Clone for Secret<N> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl<const N: usize> Eq for Secret<N> {}

/// Random bytes from the door, as the crate's error.
pub(crate) fn fill(entropy: &dyn Entropy, buf: &mut [u8]) -> Result<()> {
    entropy.fill(buf).map_err(|error| Error::io("draw random bytes from", "the entropy source", &error))
}

/// HKDF-SHA256 of `ikm`; `info` is the concatenation of a label and fields of fixed length.
pub(crate) fn derive(ikm: &[u8], salt: &[u8], info: &[&[u8]]) -> Secret<32> {
    let mut out = Secret([0; 32]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
        .extract(ikm)
        .expand(info, hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut out.0))
        .expect("32 bytes are one block of HKDF-SHA256");
    out
}

/// The random key of one epoch, from the key file.
#[derive(Clone)]
pub struct EpochKey {
    /// Which epoch.
    pub epoch: Epoch,
    pub(crate) key: Secret<32>,
}

impl EpochKey {
    /// The key of a log in this epoch.
    fn log_key(&self, kind: LogKind, store: StoreId) -> Secret<32> {
        let label: &[u8] = match kind {
            LogKind::Wal => b"ringfort v1 wal",
            LogKind::Manifest => b"ringfort v1 manifest",
        };
        derive(&self.key.0, &[], &[label, &store.0])
    }
}

/// All epochs that the key file holds; the last one seals new files.
///
/// Invariant: at least one epoch, in strictly ascending order.
#[derive(Clone)]
pub struct KeyRing {
    epochs: Vec<EpochKey>,
}

impl KeyRing {
    /// `None` if there is no epoch, or they do not ascend.
    pub(crate) fn new(epochs: Vec<EpochKey>) -> Option<Self> {
        let ascending = epochs.windows(2).all(|pair| pair[0].epoch < pair[1].epoch);
        (ascending && !epochs.is_empty()).then_some(Self { epochs })
    }

    /// The epoch that seals new files.
    #[must_use]
    pub fn current(&self) -> Epoch {
        self.epochs.last().expect("a ring has at least one epoch").epoch
    }

    /// The epochs, oldest first.
    #[must_use]
    pub fn epochs(&self) -> &[EpochKey] {
        &self.epochs
    }

    /// The sealer of one key domain of a log segment: HKDF over the epoch's log key and the
    /// domain's key (`None` for the system domain and the MANIFEST), salted by the segment's salt,
    /// with the whole clear header in the info, so that any change of the header is another key.
    /// `None` if the key file has no such epoch.
    #[must_use]
    pub fn log_sealer(
        &self,
        protection: Protection,
        header: &SegmentHeader,
        kind: LogKind,
        domain_key: Option<&Secret<32>>,
    ) -> Option<Sealer> {
        Some(Sealer::new(protection, &self.segment_key(header, kind, domain_key)?))
    }

    /// The key of one domain of a segment.
    pub(crate) fn segment_key(
        &self,
        header: &SegmentHeader,
        kind: LogKind,
        domain_key: Option<&Secret<32>>,
    ) -> Option<Secret<32>> {
        let epoch = self.epochs.iter().find(|key| key.epoch == header.epoch)?;
        let log_key = epoch.log_key(kind, header.store);
        let mut ikm = Zeroizing::new([0; 64]);
        ikm[..32].copy_from_slice(&log_key.0);
        let (used, purpose): (usize, &[u8]) = match domain_key {
            None => (32, b"system"),
            Some(key) => {
                ikm[32..].copy_from_slice(&key.0);
                (64, b"domain")
            }
        };
        let info: [&[u8]; 3] = [b"ringfort v1 segment ", purpose, &header.encode()];
        Some(derive(&ikm[..used], &header.salt, &info))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(epochs: &[u32]) -> Option<KeyRing> {
        let key = |&e: &u32| EpochKey { epoch: Epoch(e), key: Secret([e as u8; 32]) };
        KeyRing::new(epochs.iter().map(key).collect())
    }

    #[test]
    fn a_ring_has_ascending_epochs_and_seals_with_the_last() {
        assert!(ring(&[]).is_none());
        assert!(ring(&[2, 2]).is_none());
        assert!(ring(&[3, 1]).is_none());
        assert_eq!(ring(&[1, 4]).unwrap().current(), Epoch(4));
    }

    #[test]
    fn secrets_compare_by_value() {
        assert!(Secret([7; 32]) == Secret([7; 32]));
        assert!(Secret([7; 32]) != Secret([8; 32]));
    }

    /// RFC 5869, test case 3 (no salt, no info), cut to its first block.
    #[test]
    fn known_answer_of_hkdf() {
        let expected = [
            0x8d, 0xa4, 0xe7, 0x75, 0xa5, 0x63, 0xc1, 0x8f, 0x71, 0x5f, 0x80, 0x2a, 0x06, 0x3c, 0x5a, 0x31,
            0xb8, 0xa1, 0x1f, 0x5c, 0x5e, 0xe1, 0x87, 0x9e, 0xc3, 0x45, 0x4e, 0x5f, 0x3c, 0x73, 0x8d, 0x2d,
        ];
        assert!(derive(&[0x0b; 22], &[], &[]) == Secret(expected));
    }
}
