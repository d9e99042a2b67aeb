//! The bytes of the key file; the module above draws them.

use super::Settings;
use crate::aead::{AeadKey, NONCE_BYTES, Suite};
use crate::anchor::sha256;
use crate::keys::{EpochKey, KeyRing, Secret, derive, fill};
use aws_lc_rs::hmac;
use ringfort_base::codec::{DecodeError, Reader, Write};
use ringfort_base::limits::KEY_FILE_BYTES_MAX;
use ringfort_base::world::Entropy;
use ringfort_base::{Epoch, Lineage, Result, StoreId};
use zeroize::Zeroizing;

const MAGIC: [u8; 4] = *b"RFKF";
const FORMAT: u16 = 1;
const MAC_BYTES: usize = 32;
const ENVELOPES_MAX: u64 = 16;
const SETTINGS_BYTES_MAX: usize = 4096;
const ENVELOPE_BYTES_MAX: usize = 4096;
/// A wrapped key: 32 bytes and a tag.
const WRAPPED_BYTES: usize = 32 + 16;
/// The root, sealed to the simulated platform.
pub(super) const KIND_SIMULATED: u8 = 1;

/// The root under one way of getting at it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) kind: u8,
    pub(super) payload: Vec<u8>,
}

impl Envelope {
    /// Seals `root` under the platform's `key`.
    pub(super) fn simulated(
        root: &Secret<32>,
        key: &Secret<32>,
        store: StoreId,
        lineage: Lineage,
        entropy: &dyn Entropy,
    ) -> Result<Self> {
        let payload = wrap(key, &envelope_aad(store, lineage, KIND_SIMULATED), root, entropy)?;
        Ok(Self { kind: KIND_SIMULATED, payload })
    }

    /// The root, if this is an envelope for `key`.
    pub(super) fn open(&self, key: &Secret<32>, store: StoreId, lineage: Lineage) -> Option<Secret<32>> {
        let known = self.kind == KIND_SIMULATED;
        known.then(|| unwrap(key, &envelope_aad(store, lineage, self.kind), &self.payload))?
    }
}

fn envelope_aad(store: StoreId, lineage: Lineage, kind: u8) -> Vec<u8> {
    [b"ringfort v1 envelope", &store.0[..], &lineage.0, &[kind]].concat()
}

/// nonce 12 | AES-256-GCM(key, secret) 32 | tag 16.
fn wrap(key: &Secret<32>, aad: &[u8], secret: &Secret<32>, entropy: &dyn Entropy) -> Result<Vec<u8>> {
    let mut nonce = [0; NONCE_BYTES];
    fill(entropy, &mut nonce)?;
    let mut data = Zeroizing::new(*secret.expose_for_sealing());
    let tag = AeadKey::new(Suite::Aes256Gcm, key).seal(nonce, aad, &mut *data);
    Ok([&nonce[..], &*data, &tag.0].concat())
}

fn unwrap(key: &Secret<32>, aad: &[u8], wrapped: &[u8]) -> Option<Secret<32>> {
    let (nonce, sealed) = wrapped.split_first_chunk::<NONCE_BYTES>()?;
    let mut sealed = Zeroizing::new(<[u8; WRAPPED_BYTES]>::try_from(sealed).ok()?);
    AeadKey::new(Suite::Aes256Gcm, key).open(*nonce, aad, &mut *sealed).ok()?;
    sealed.first_chunk().copied().map(Secret)
}

/// Each epoch is wrapped under a key of its own.
fn wrapping_key(root: &Secret<32>, store: StoreId, epoch: Epoch) -> Secret<32> {
    derive(&root.0, &[], &[b"ringfort v1 wrap epoch", &store.0, &epoch.0.to_le_bytes()])
}

fn epoch_aad(store: StoreId, epoch: Epoch) -> Vec<u8> {
    [b"ringfort v1 epoch", &store.0[..], &epoch.0.to_le_bytes()].concat()
}

fn mac_key(root: &Secret<32>, store: StoreId) -> hmac::Key {
    let key = derive(&root.0, &[], &[b"ringfort v1 key file auth", &store.0]);
    hmac::Key::new(hmac::HMAC_SHA256, key.expose_for_sealing())
}

/// What a key file says, to be written.
pub(super) struct Content<'a> {
    pub(super) version: u64,
    pub(super) store: StoreId,
    pub(super) lineage: Lineage,
    pub(super) settings: &'a Settings,
    pub(super) envelopes: &'a [Envelope],
    pub(super) epochs: &'a [EpochKey],
}

impl Content<'_> {
    pub(super) fn encode(&self, root: &Secret<32>, entropy: &dyn Entropy) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        out.put(&MAGIC);
        out.put_u16(FORMAT);
        out.put_u64(self.version);
        out.put(&self.store.0);
        out.put(&self.lineage.0);
        out.put_bytes(&self.settings.encode());
        out.put_varint(self.envelopes.len() as u64);
        for envelope in self.envelopes {
            out.put_u8(envelope.kind);
            out.put_bytes(&envelope.payload);
        }
        out.put_varint(self.epochs.len() as u64);
        for EpochKey { epoch, key } in self.epochs {
            out.put_u32(epoch.0);
            let wrapping = wrapping_key(root, self.store, *epoch);
            out.put(&wrap(&wrapping, &epoch_aad(self.store, *epoch), key, entropy)?);
        }
        let mac = hmac::sign(&mac_key(root, self.store), &out);
        out.put(mac.as_ref());
        Ok(out)
    }
}

/// A key file cut into its fields, none of them believed yet.
pub(super) struct Claimed<'a> {
    pub(super) version: u64,
    pub(super) store: StoreId,
    pub(super) lineage: Lineage,
    pub(super) envelopes: Vec<Envelope>,
    settings: &'a [u8],
    epochs: Vec<(Epoch, &'a [u8])>,
    body: &'a [u8],
    mac: &'a [u8],
}

impl<'a> Claimed<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.len() > KEY_FILE_BYTES_MAX {
            return Err(DecodeError::Limit);
        }
        let body_len = bytes.len().checked_sub(MAC_BYTES).ok_or(DecodeError::Short)?;
        let (body, mac) = bytes.split_at(body_len);
        let mut from = Reader::new(body);
        if from.array()? != MAGIC {
            return Err(DecodeError::Meaning("not a key file"));
        }
        if from.u16()? != FORMAT {
            return Err(DecodeError::Meaning("a key file of an unknown format"));
        }
        let claimed = Self {
            version: from.u64()?,
            store: StoreId(from.array()?),
            lineage: Lineage(from.array()?),
            settings: from.bytes(SETTINGS_BYTES_MAX)?,
            envelopes: envelopes(&mut from)?,
            epochs: epochs(&mut from)?,
            body,
            mac,
        };
        from.finish()?;
        Ok(claimed)
    }

    /// The root, from the first envelope that `key` opens.
    pub(super) fn root(&self, key: &Secret<32>) -> Option<Secret<32>> {
        self.envelopes.iter().find_map(|envelope| envelope.open(key, self.store, self.lineage))
    }

    /// What it says, if all of it is authentic under `root`.
    pub(super) fn verify(&self, root: &Secret<32>) -> Result<(Settings, KeyRing), DecodeError> {
        hmac::verify(&mac_key(root, self.store), self.body, self.mac)
            .map_err(|_| DecodeError::Meaning("its authentication code does not match"))?;
        let unwrapped = self.epochs.iter().map(|&(epoch, wrapped)| {
            let key = unwrap(&wrapping_key(root, self.store, epoch), &epoch_aad(self.store, epoch), wrapped)?;
            Some(EpochKey { epoch, key })
        });
        let ring = unwrapped.collect::<Option<Vec<_>>>().and_then(KeyRing::new);
        let ring = ring.ok_or(DecodeError::Meaning("its epochs do not unwrap in order"))?;
        Ok((Settings::decode(self.settings)?, ring))
    }
}

fn envelopes(from: &mut Reader<'_>) -> Result<Vec<Envelope>, DecodeError> {
    let count = from.varint()?;
    if count > ENVELOPES_MAX {
        return Err(DecodeError::Limit);
    }
    (0..count)
        .map(|_| Ok(Envelope { kind: from.u8()?, payload: from.bytes(ENVELOPE_BYTES_MAX)?.to_vec() }))
        .collect()
}

fn epochs<'a>(from: &mut Reader<'a>) -> Result<Vec<(Epoch, &'a [u8])>, DecodeError> {
    let count = from.varint()?;
    // Not reserved for: a false count ends at the first entry that is not there.
    let mut epochs = Vec::new();
    for _ in 0..count {
        epochs.push((Epoch(from.u32()?), from.take(NONCE_BYTES + WRAPPED_BYTES)?));
    }
    Ok(epochs)
}

/// What the anchor holds of a key file.
pub(super) fn digest(bytes: &[u8]) -> [u8; 32] {
    sha256(&[bytes])
}
