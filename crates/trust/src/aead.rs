//! Authenticated encryption behind one [`Suite`].
//!
//! Callers use [`crate::seal::Sealer`]; this module is the one that names the library.

use crate::keys::Secret;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ringfort_base::limits::TAG_BYTES;

/// Bytes of a nonce. Every caller shows why its nonces never repeat under one key (R13).
pub const NONCE_BYTES: usize = 12;

/// The cipher suites. The number is what formats store; 2 (AES-128-GCM) and 3
/// (ChaCha20-Poly1305) are reserved.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Suite {
    /// AES-256-GCM, 96-bit nonce, 128-bit tag.
    Aes256Gcm = 1,
}

impl Suite {
    /// The number that formats store.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The suite of a stored number.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Aes256Gcm),
            _ => None,
        }
    }
}

/// An AEAD tag, or the checksum that stands in its place on a trusted volume. Not secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tag(pub [u8; TAG_BYTES]);

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl std::fmt::Debug for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// An expanded key. The library wipes the schedule when it is dropped.
pub(crate) struct AeadKey {
    key: LessSafeKey,
    /// Kept to decrypt without asking the tag, which only a weakened build does.
    #[cfg(ringfort_weaken)]
    raw: Secret<32>,
}

impl AeadKey {
    pub(crate) fn new(suite: Suite, key: &Secret<32>) -> Self {
        let algorithm = match suite {
            Suite::Aes256Gcm => &AES_256_GCM,
        };
        let unbound = UnboundKey::new(algorithm, key.expose_for_sealing())
            .expect("the suite's key length is 32 bytes, by type");
        Self {
            key: LessSafeKey::new(unbound),
            #[cfg(ringfort_weaken)]
            raw: key.clone(),
        }
    }

    /// Encrypts `data` in place.
    pub(crate) fn seal(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], data: &mut [u8]) -> Tag {
        let tag = self
            .key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), data)
            .expect("sealing fails only above 64 GiB, and no piece is larger than a block or record");
        let mut bytes = [0; TAG_BYTES];
        bytes.copy_from_slice(tag.as_ref());
        Tag(bytes)
    }

    /// Decrypts `sealed` (ciphertext and tag) in place. `Err` if the tag does not verify; then the
    /// bytes are worth nothing.
    pub(crate) fn open(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], sealed: &mut [u8]) -> Result<(), ()> {
        #[cfg(ringfort_weaken)]
        if !crate::defence::on(crate::defence::Defence::TagCheck) {
            self.decrypt_unchecked(nonce, sealed);
            return Ok(());
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key.open_in_place(nonce, Aad::from(aad), sealed).map(|_| ()).map_err(|_| ())
    }

    /// GCM without its tag is counter mode that starts at block 2.
    #[cfg(ringfort_weaken)]
    fn decrypt_unchecked(&self, nonce: [u8; NONCE_BYTES], sealed: &mut [u8]) {
        use aws_lc_rs::cipher::{AES_256, DecryptingKey, DecryptionContext, UnboundCipherKey};
        let data = sealed.len() - TAG_BYTES;
        let mut iv = [0; 16];
        iv[..NONCE_BYTES].copy_from_slice(&nonce);
        iv[15] = 2;
        let key = UnboundCipherKey::new(&AES_256, self.raw.expose_for_sealing()).expect("32 bytes");
        DecryptingKey::ctr(key)
            .expect("AES-256 has a counter mode")
            .decrypt(&mut sealed[..data], DecryptionContext::Iv128(iv.into()))
            .expect("counter mode takes any length");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        text.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    /// Test cases 13, 14 and 16 of the GCM specification submitted to NIST.
    #[test]
    fn known_answers_of_aes_256_gcm() {
        let zeros = "00".repeat(32);
        let key16 = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
        let cases = [
            (&*zeros, "000000000000000000000000", "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"),
            (
                &*zeros,
                "000000000000000000000000",
                "",
                "00000000000000000000000000000000",
                "cea7403d4d606b6e074ec5d3baf39d18",
                "d0d1c8a799996bf0265b98b5d48ab919",
            ),
            (
                key16,
                "cafebabefacedbaddecaf888",
                "feedfacedeadbeeffeedfacedeadbeefabaddad2",
                "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                 1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
                "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
                 8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
                "76fc6ece0f4e1768cddf8853bb2d551b",
            ),
        ];
        for (key, nonce, aad, plain, cipher, tag) in cases {
            let key = AeadKey::new(Suite::Aes256Gcm, &Secret::from_verified(hex(key).try_into().unwrap()));
            let nonce: [u8; 12] = hex(nonce).try_into().unwrap();
            let mut data = hex(plain);
            let got = key.seal(nonce, &hex(aad), &mut data);
            assert_eq!(data, hex(cipher));
            assert_eq!(got.0.to_vec(), hex(tag));
            data.extend_from_slice(&got.0);
            assert_eq!(key.open(nonce, &hex(aad), &mut data), Ok(()));
            assert_eq!(data[..data.len() - TAG_BYTES], hex(plain));
        }
    }

    #[test]
    fn suite_numbers_are_stable() {
        assert_eq!(Suite::Aes256Gcm.code(), 1);
        assert_eq!(Suite::from_code(1), Some(Suite::Aes256Gcm));
        assert_eq!([0, 2, 3, 255].map(Suite::from_code), [None; 4]);
    }
}
