//! Authenticated encryption behind one [`Suite`].

use ringfort_base::limits::TAG_BYTES;

/// The cipher suites. The number is what formats store; 2 (AES-128-GCM) and 3
/// (ChaCha20-Poly1305) are reserved.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Suite {
    /// AES-256-GCM, 96-bit nonce, 128-bit tag.
    Aes256Gcm = 1,
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
