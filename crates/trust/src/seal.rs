//! [`Sealer`]: how one file's pieces are protected, sealed or checksummed, in one layout.
//!
//! Both ways append 16 bytes, so file layouts do not depend on the mode. Which way a file uses
//! comes from the MANIFEST or the sealed settings, never from the file's own bytes (R16).
//!
//! ```text
//! piece       := data' | tag 16
//! sealed      data' = AEAD ciphertext of data, tag = its tag
//! checksummed data' = data, tag = XXH3-128("ringfort v1 checksum" | nonce 12 | u64 length of aad | aad | data),
//!             little-endian
//! ```

use crate::aead::{AeadKey, NONCE_BYTES, Suite, Tag};
use crate::defence::{self, Defence};
use crate::keys::Secret;
use crate::verified::{Verified, look};
use ringfort_base::Untrusted;
use ringfort_base::limits::TAG_BYTES;
use xxhash_rust::xxh3::Xxh3Default;

/// What protects a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Protection {
    /// AEAD, bound to its place: for untrusted volumes.
    Sealed(Suite),
    /// Plain bytes and a 128-bit checksum (XXH3) over the same associated data: for trusted
    /// volumes, where the medium keeps confidentiality and integrity and the checksum finds damage.
    Checksummed,
}

impl Protection {
    /// The number that formats store: 0, or the suite's.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Checksummed => 0,
            Self::Sealed(suite) => suite.code(),
        }
    }

    /// The protection of a stored number.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match (code, Suite::from_code(code)) {
            (0, _) => Some(Self::Checksummed),
            (_, Some(suite)) => Some(Self::Sealed(suite)),
            (_, None) => None,
        }
    }
}

/// The seal of a piece does not verify. Carries nothing: the caller knows file and position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadSeal;

impl std::fmt::Display for BadSeal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the seal does not verify")
    }
}

impl std::error::Error for BadSeal {}

/// Seals and opens the pieces of one file. Holds the expanded key; make one per open file.
pub struct Sealer {
    /// `None`: checksums.
    key: Option<AeadKey>,
}

impl Sealer {
    /// A sealer under `key` (ignored by [`Protection::Checksummed`]).
    #[must_use]
    pub fn new(protection: Protection, key: &Secret<32>) -> Self {
        match protection {
            Protection::Sealed(suite) => Self { key: Some(AeadKey::new(suite, key)) },
            Protection::Checksummed => Self { key: None },
        }
    }

    /// Seals `buf[from..]` in place and appends its tag, which it also returns. The caller
    /// guarantees that `nonce` was never used under this key (R13).
    ///
    /// # Panics
    /// If `from` is behind the end of `buf`.
    pub fn seal(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], buf: &mut Vec<u8>, from: usize) -> Tag {
        let aad = bound(aad);
        let data = &mut buf[from..];
        let tag = match &self.key {
            Some(key) => key.seal(nonce, aad, data),
            None => checksum(nonce, aad, data),
        };
        buf.extend_from_slice(&tag.0);
        tag
    }

    /// Opens a piece in the buffer that it was read into and cuts the tag off.
    pub fn open(
        &self,
        nonce: [u8; NONCE_BYTES],
        aad: &[u8],
        sealed: Untrusted<Vec<u8>>,
    ) -> Result<Verified<Vec<u8>>, BadSeal> {
        let mut piece = look(sealed);
        let len = self.open_in_place(nonce, aad, &mut piece)?;
        piece.truncate(len);
        Ok(Verified::new(piece))
    }

    /// Opens a piece where it lies; the plaintext is its first bytes, as many as this returns.
    /// After an error its bytes are worth nothing.
    pub(crate) fn open_in_place(
        &self,
        nonce: [u8; NONCE_BYTES],
        aad: &[u8],
        piece: &mut [u8],
    ) -> Result<usize, BadSeal> {
        let len = piece.len().checked_sub(TAG_BYTES).ok_or(BadSeal)?;
        let aad = bound(aad);
        match &self.key {
            Some(key) => key.open(nonce, aad, piece).map_err(|()| BadSeal)?,
            None => {
                let (data, tag) = piece.split_at(len);
                if defence::on(Defence::TagCheck) && checksum(nonce, aad, data).0 != *tag {
                    return Err(BadSeal);
                }
            }
        }
        Ok(len)
    }
}

/// The associated data, which binds a piece to its place.
fn bound(aad: &[u8]) -> &[u8] {
    if defence::on(Defence::PlaceBinding) { aad } else { &[] }
}

/// What stands in the place of a tag on a trusted volume. Finds damage, not malice: not keyed.
fn checksum(nonce: [u8; NONCE_BYTES], aad: &[u8], data: &[u8]) -> Tag {
    let mut hash = Xxh3Default::new();
    hash.update(b"ringfort v1 checksum");
    hash.update(&nonce);
    hash.update(&(aad.len() as u64).to_le_bytes());
    hash.update(aad);
    hash.update(data);
    Tag(hash.digest128().to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Protection; 2] = [Protection::Sealed(Suite::Aes256Gcm), Protection::Checksummed];

    fn sealer(protection: Protection) -> Sealer {
        Sealer::new(protection, &Secret([3; 32]))
    }

    #[test]
    fn a_sealer_is_shared_between_threads() {
        fn check<T: Send + Sync>() {}
        check::<Sealer>();
    }

    #[test]
    fn what_is_sealed_opens_and_the_front_of_the_buffer_is_left_alone() {
        for protection in BOTH {
            for len in [0, 1, 15, 16, 17, 4096] {
                let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
                let mut buf = b"front".to_vec();
                buf.extend_from_slice(&data);
                let tag = sealer(protection).seal([1; 12], b"place", &mut buf, 5);
                assert_eq!(&buf[..5], b"front");
                assert_eq!(buf.len(), 5 + len + TAG_BYTES);
                assert_eq!(buf[5 + len..], tag.0);
                let in_clear = buf[5..5 + len] == data;
                assert_eq!(in_clear, protection == Protection::Checksummed || len == 0);
                let piece = Untrusted::new(buf.split_off(5));
                let opened = sealer(protection).open([1; 12], b"place", piece);
                assert_eq!(opened.unwrap().into_inner(), data);
            }
        }
    }

    #[test]
    fn every_flipped_bit_cut_place_or_nonce_is_noticed() {
        for protection in BOTH {
            let sealer = sealer(protection);
            let mut piece = b"some plain words".to_vec();
            sealer.seal([1; 12], b"place", &mut piece, 0);
            let open = |nonce, aad: &[u8], bytes: &[u8]| {
                sealer.open(nonce, aad, Untrusted::new(bytes.to_vec())).map(|v| v.len())
            };
            assert_eq!(open([1; 12], b"place", &piece), Ok(16));
            for bit in 0..piece.len() * 8 {
                let mut bad = piece.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(open([1; 12], b"place", &bad), Err(BadSeal), "{protection:?}, bit {bit}");
            }
            for cut in 0..piece.len() {
                assert_eq!(open([1; 12], b"place", &piece[..cut]), Err(BadSeal), "{protection:?}, cut {cut}");
            }
            assert_eq!(open([2; 12], b"place", &piece), Err(BadSeal));
            assert_eq!(open([1; 12], b"plac", &piece), Err(BadSeal));
            assert_eq!(open([1; 12], b"", &piece), Err(BadSeal));
        }
    }

    #[test]
    fn bytes_do_not_move_between_associated_data_and_data_unnoticed() {
        let sealer = sealer(Protection::Checksummed);
        let mut piece = b"bc".to_vec();
        sealer.seal([1; 12], b"a", &mut piece, 0);
        let mut moved = b"c".to_vec();
        moved.extend_from_slice(&piece[2..]);
        assert!(sealer.open([1; 12], b"ab", Untrusted::new(moved)).is_err());
    }

    #[test]
    fn protection_numbers_are_stable() {
        for protection in BOTH {
            assert_eq!(Protection::from_code(protection.code()), Some(protection));
        }
        assert_eq!(Protection::Checksummed.code(), 0);
        assert_eq!(Protection::from_code(2), None);
    }
}
