//! The anchor: what the trusted counter vouches for (R1).
//!
//! ```text
//! anchor := version u8 = 1 | store 16 | lineage 16 | epoch u32 | incarnation u64 | claim 16
//!         | wal head | manifest head | key file version u64 | key file sha256 32        (little-endian)
//! head   := position u64 | tag 16
//! digest := sha256("ringfort anchor v1" | anchor)
//! ```

use crate::aead::Tag;
use aws_lc_rs::digest::{Context, SHA256};
use ringfort_base::codec::{DecodeError, Reader, Write};
use ringfort_base::{Epoch, Incarnation, Lineage, StoreId};

const FORMAT: u8 = 1;

/// The head of a log: a position and the tag of the record that ends there. By the chain, the tag
/// stands for everything before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Head {
    /// WAL: the sequence number at which the record ends. MANIFEST: the number of the edit.
    pub position: u64,
    /// The tag of that record.
    pub tag: Tag,
}

impl Head {
    pub(crate) fn put(&self, out: &mut impl Write) {
        out.put_u64(self.position);
        out.put(&self.tag.0);
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { position: from.u64()?, tag: Tag(from.array()?) })
    }
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
    /// Length of the encoding, bytes.
    pub const BYTES: usize = 1 + 16 + 16 + 4 + 8 + 16 + 24 + 24 + 8 + 32;

    /// The canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::BYTES);
        out.put_u8(FORMAT);
        out.put(&self.store.0);
        out.put(&self.lineage.0);
        out.put_u32(self.epoch.0);
        out.put_u64(self.incarnation.0);
        out.put(&self.claim);
        self.wal.put(&mut out);
        self.manifest.put(&mut out);
        out.put_u64(self.key_file_version);
        out.put(&self.key_file_digest);
        out
    }

    /// The inverse; all bytes must be used.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        match from.u8()? {
            FORMAT => {}
            other => return Err(DecodeError::Variant(other)),
        }
        let anchor = Self {
            store: StoreId(from.array()?),
            lineage: Lineage(from.array()?),
            epoch: Epoch(from.u32()?),
            incarnation: Incarnation(from.u64()?),
            claim: from.array()?,
            wal: Head::read(&mut from)?,
            manifest: Head::read(&mut from)?,
            key_file_version: from.u64()?,
            key_file_digest: from.array()?,
        };
        from.finish()?;
        Ok(anchor)
    }

    /// SHA-256 over [`Anchor::encode`] behind a label: what a 32-byte counter holds.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        sha256(&[b"ringfort anchor v1", &self.encode()])
    }
}

/// SHA-256 over the concatenation of `parts`.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An anchor of incarnation `life` with its WAL at `position`.
    pub(crate) fn sample(life: u64, position: u64) -> Anchor {
        Anchor {
            store: StoreId([1; 16]),
            lineage: Lineage([2; 16]),
            epoch: Epoch(3),
            incarnation: Incarnation(life),
            claim: [life as u8; 16],
            wal: Head { position, tag: Tag([5; 16]) },
            manifest: Head { position: 6, tag: Tag([7; 16]) },
            key_file_version: 8,
            key_file_digest: [9; 32],
        }
    }

    #[test]
    fn an_anchor_round_trips_and_nothing_else_decodes() {
        let anchor = sample(4, 100);
        let bytes = anchor.encode();
        assert_eq!(bytes.len(), Anchor::BYTES);
        assert_eq!(Anchor::decode(&bytes), Ok(anchor));
        for cut in 0..bytes.len() {
            assert_eq!(Anchor::decode(&bytes[..cut]), Err(DecodeError::Short));
        }
        let mut more = bytes.clone();
        more.push(0);
        assert_eq!(Anchor::decode(&more), Err(DecodeError::Trailing));
        more[0] = 2;
        assert_eq!(Anchor::decode(&more), Err(DecodeError::Variant(2)));
    }

    #[test]
    fn every_byte_of_an_anchor_changes_its_digest() {
        let anchor = sample(4, 100);
        let mut digests = vec![anchor.digest()];
        for i in 1..Anchor::BYTES {
            let mut bytes = anchor.encode();
            bytes[i] ^= 1;
            digests.push(Anchor::decode(&bytes).unwrap().digest());
        }
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), Anchor::BYTES);
    }
}
