//! [`Sealer`]: how one file's pieces are protected, sealed or checksummed, in one layout.
//!
//! Both ways append 16 bytes, so file layouts do not depend on the mode. Which way a file uses
//! comes from the MANIFEST or the sealed settings, never from the file's own bytes (R16).

use crate::aead::{Suite, Tag};
use crate::keys::Secret;
use crate::verified::Verified;
use ringfort_base::Untrusted;

/// What protects a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Protection {
    /// AEAD, bound to its place: for untrusted volumes.
    Sealed(Suite),
    /// Plain bytes and a 128-bit checksum (XXH3) over the same associated data: for trusted
    /// volumes, where the medium keeps confidentiality and integrity and the checksum finds damage.
    Checksummed,
}
// H2: to/from u8 code (0 = Checksummed, else suite number).

/// The seal of a piece does not verify. Carries nothing: the caller knows file and position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadSeal;

/// Seals and opens the pieces of one file. Holds the expanded key; make one per open file.
pub struct Sealer {
    _inner: (),
}

impl Sealer {
    /// A sealer under `key` (ignored by [`Protection::Checksummed`]).
    #[must_use]
    pub fn new(_protection: Protection, _key: &Secret<32>) -> Self {
        todo!()
    }

    /// Seals `buf[from..]` in place and appends its tag, which it also returns. The caller
    /// guarantees that `nonce` was never used under this key (R13).
    pub fn seal(&self, _nonce: [u8; 12], _aad: &[u8], _buf: &mut Vec<u8>, _from: usize) -> Tag {
        todo!()
    }

    /// Opens a piece in the buffer that it was read into and cuts the tag off.
    pub fn open(
        &self,
        _nonce: [u8; 12],
        _aad: &[u8],
        _sealed: Untrusted<Vec<u8>>,
    ) -> Result<Verified<Vec<u8>>, BadSeal> {
        todo!()
    }
}
