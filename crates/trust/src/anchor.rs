//! The anchor: what the trusted counter vouches for (R1).

use crate::aead::Tag;
use ringfort_base::codec::DecodeError;
use ringfort_base::{Epoch, Incarnation, Lineage, StoreId};

/// The head of a log: a position and the tag of the record that ends there. By the chain, the tag
/// stands for everything before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Head {
    /// WAL: the sequence number at which the record ends. MANIFEST: the number of the edit.
    pub position: u64,
    /// The tag of that record.
    pub tag: Tag,
}

/// One value over everything whose age matters. Advanced atomically; the counter compares
/// [`Anchor::digest`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Anchor {
    /// The store.
    pub store: StoreId,
    /// Its history (R21).
    pub lineage: Lineage,
    /// The key epoch in use.
    pub epoch: Epoch,
    /// The life that advanced it (R2).
    pub incarnation: Incarnation,
    /// The random id of that life's claim.
    pub claim: [u8; 16],
    /// Head of the WAL.
    pub wal: Head,
    /// Head of the MANIFEST.
    pub manifest: Head,
    /// Version of the key file.
    pub key_file_version: u64,
    /// SHA-256 of the key file.
    pub key_file_digest: [u8; 32],
}

impl Anchor {
    /// The canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        todo!()
    }
    /// The inverse; all bytes must be used.
    pub fn decode(_bytes: &[u8]) -> Result<Self, DecodeError> {
        todo!()
    }
    /// SHA-256 over [`Anchor::encode`] behind a label: what a 32-byte counter holds.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        todo!()
    }
}
