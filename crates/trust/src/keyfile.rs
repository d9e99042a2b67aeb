//! # The key file: envelopes around the root, epochs under it, and the sealed settings
//!
//! Two slots, `KEYS.0` and `KEYS.1`; version n lives in slot n mod 2 and is written whole and
//! synced before the anchor names it, so a crash leaves the anchored version intact (R14).
//! The settings that the host must not choose (R17) are in here, authenticated under the root.
//!
//! ```text
//! file     := magic "RFKF" | format u16 = 1 | version u64 | store 16 | lineage 16
//!           | settings (varint length + bytes) | envelopes | epochs | mac 32              (little-endian)
//! settings := mode u8 (1 software, 2 hardware, 3 twin) | option trusted volume 16 | counter (varint length + UTF-8)
//!           | minimum level u8 (1 buffered, 2 durable, 3 fresh) | option owner key 32     option x := 0 | 1 x
//! envelopes:= count varint (<= 16) | (kind u8 | payload (varint length + bytes))*
//!   kind 1 := nonce 12 | AES-256-GCM(sealing key of the simulated platform, root) 32 | tag 16
//!             aad = "ringfort v1 envelope" | store | lineage | kind u8
//! epochs   := count varint | (epoch u32 | nonce 12 | AES-256-GCM(wrapping key, epoch key) 32 | tag 16)*, ascending
//!             wrapping key = HKDF(root, "ringfort v1 wrap epoch" | store | epoch u32)
//!             aad = "ringfort v1 epoch" | store | epoch u32
//! mac      := HMAC-SHA256(HKDF(root, "ringfort v1 key file auth" | store), all bytes before it)
//! ```
//! A slot is written as `KEYS.n.new`, synced and renamed, so each slot is always one whole version.
//! Envelopes of a kind that this version does not know are kept and skipped. The root is not kept in
//! memory: whatever changes the key file asks the platform for it again.

mod format;
mod settings;

pub use settings::{Mode, Settings};

use crate::files::{read_whole, remove, replace};
use crate::keys::{EpochKey, KeyRing, Secret, fill};
use crate::platform::Platform;
use crate::verified::Verified;
use format::{Claimed, Content, Envelope};
use ringfort_base::limits::KEY_FILE_BYTES_MAX;
use ringfort_base::world::{Disk, Entropy};
use ringfort_base::{Epoch, Error, ErrorKind, EvidenceKind, Lineage, Result, StoreId};

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
    envelopes: Vec<Envelope>,
}

impl KeyFile {
    /// Draws root, lineage and first epoch, seals the root to `platform` and writes slot 1 (version 1),
    /// synced with its directory. Left-overs of a creation that was interrupted are replaced: call it
    /// only for a store that the platform does not know as live.
    pub fn create(
        disk: &dyn Disk,
        platform: &dyn Platform,
        entropy: &dyn Entropy,
        store: StoreId,
        settings: Settings,
    ) -> Result<Verified<Self>> {
        remove(disk, &slot(0))?;
        let mut lineage = Lineage([0; 16]);
        fill(entropy, &mut lineage.0)?;
        let root = Secret::random(entropy)?;
        let envelope = Envelope::simulated(&root, &platform.sealing_key(store)?, store, lineage, entropy)?;
        let first = EpochKey { epoch: Epoch(1), key: Secret::random(entropy)? };
        let ring = KeyRing::new(vec![first]).expect("one epoch ascends");
        let file =
            Self { store, lineage, settings, version: 1, digest: [0; 32], ring, envelopes: vec![envelope] };
        file.write(disk, &root, entropy)
    }

    /// Opens the slot that is exactly (`version`, `digest`), as anchored. Refuses (evidence: file,
    /// Missing / Rollback / Fork / BadSeal / Foreign) if no slot is.
    pub fn open(
        disk: &dyn Disk,
        platform: &dyn Platform,
        store: StoreId,
        version: u64,
        digest: [u8; 32],
    ) -> Result<Verified<Self>> {
        let path = slot(version);
        let Some(bytes) = read_slot(disk, &path)? else {
            return Err(Self::missing(disk, platform, store, version));
        };
        let found = Self::verify(&path, &bytes, platform, Some(store))?;
        if found.version == version && found.digest == digest {
            return Ok(found);
        }
        let older = found.version < version;
        let kind = if older { EvidenceKind::Rollback } else { EvidenceKind::Fork };
        let detail = format!(
            "expected key file version {version} with digest {}, found version {} with digest {}",
            short(&digest),
            found.version,
            short(&found.digest)
        );
        Err(Error::evidence(kind, path, 0, detail))
    }

    /// The evidence when the slot of the anchored `version` is not there: an older one may be.
    fn missing(disk: &dyn Disk, platform: &dyn Platform, store: StoreId, version: u64) -> Error {
        let path = slot(version);
        let other = slot(version + 1);
        match read_slot(disk, &other) {
            Err(error) => error,
            Ok(None) => {
                let detail = format!("key file version {version} is anchored, and neither slot is there");
                Error::evidence(EvidenceKind::Missing, path, 0, detail)
            }
            Ok(Some(bytes)) => match Self::verify(&other, &bytes, platform, Some(store)) {
                Ok(found) if found.version < version => {
                    let detail = format!(
                        "key file version {version} is anchored, found only version {}",
                        found.version
                    );
                    Error::evidence(EvidenceKind::Rollback, other, 0, detail)
                }
                Ok(_) => {
                    let detail = format!("key file version {version} is anchored, and its slot is not there");
                    Error::evidence(EvidenceKind::Missing, path, 0, detail)
                }
                Err(error) => error,
            },
        }
    }

    /// Opens the newest slot that verifies, without an anchor: for checkpoints, inspection and a creation that was
    /// interrupted; never for serving.
    pub fn open_unanchored(disk: &dyn Disk, platform: &dyn Platform) -> Result<Verified<Self>> {
        let mut newest: Option<Verified<Self>> = None;
        let mut refusal = None;
        for path in [slot(0), slot(1)] {
            let Some(bytes) = read_slot(disk, &path)? else { continue };
            match Self::verify(&path, &bytes, platform, None) {
                Ok(file) if newest.as_ref().is_none_or(|known| known.version < file.version) => {
                    newest = Some(file)
                }
                Ok(_) => {}
                Err(error) => refusal = Some(error),
            }
        }
        newest.ok_or_else(|| {
            let nothing = || {
                Error::evidence(EvidenceKind::Missing, slot(1), 0, "neither slot of the key file is there")
            };
            refusal.unwrap_or_else(nothing)
        })
    }

    /// Adds a random epoch and writes the next version into the other slot, synced. It counts when the anchor names it.
    pub fn rotate_epoch(
        &self,
        disk: &dyn Disk,
        platform: &dyn Platform,
        entropy: &dyn Entropy,
    ) -> Result<Verified<Self>> {
        let root = self.root(platform)?;
        self.successor(self.envelopes.clone(), entropy)?.write(disk, &root, entropy)
    }

    /// Draws a new root, wraps the epochs under it, adds a random epoch and writes the next version into the
    /// other slot, synced (R14): whoever knew the old root can read neither the new file nor what the new
    /// epoch seals. What older epochs sealed stays exposed to him until it is sealed anew. Every other
    /// envelope is dropped, for it holds the old root. It counts when the anchor names it.
    pub fn reroot(
        &self,
        disk: &dyn Disk,
        platform: &dyn Platform,
        entropy: &dyn Entropy,
    ) -> Result<Verified<Self>> {
        let root = Secret::random(entropy)?;
        let key = platform.sealing_key(self.store)?;
        let envelope = Envelope::simulated(&root, &key, self.store, self.lineage, entropy)?;
        self.successor(vec![envelope], entropy)?.write(disk, &root, entropy)
    }

    /// The next version, with one more epoch; not written yet.
    fn successor(&self, envelopes: Vec<Envelope>, entropy: &dyn Entropy) -> Result<Self> {
        let mut epochs = self.ring.epochs().to_vec();
        let next = self.ring.current().0.checked_add(1);
        let epoch = Epoch(next.ok_or_else(|| Error::new(ErrorKind::Exhausted, "no key epoch is left"))?);
        epochs.push(EpochKey { epoch, key: Secret::random(entropy)? });
        Ok(Self {
            store: self.store,
            lineage: self.lineage,
            settings: self.settings.clone(),
            version: self.version + 1,
            digest: [0; 32],
            ring: KeyRing::new(epochs).expect("the new epoch is above the others"),
            envelopes,
        })
    }

    fn write(mut self, disk: &dyn Disk, root: &Secret<32>, entropy: &dyn Entropy) -> Result<Verified<Self>> {
        let content = Content {
            version: self.version,
            store: self.store,
            lineage: self.lineage,
            settings: &self.settings,
            envelopes: &self.envelopes,
            epochs: self.ring.epochs(),
        };
        let bytes = content.encode(root, entropy)?;
        if bytes.len() > KEY_FILE_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::Exhausted,
                "the key file is full of epochs: re-seal and drop old ones",
            ));
        }
        replace(disk, "", &slot(self.version), &bytes)?;
        self.digest = format::digest(&bytes);
        Ok(Verified::new(self))
    }

    fn root(&self, platform: &dyn Platform) -> Result<Secret<32>> {
        let key = platform.sealing_key(self.store)?;
        let opened = self.envelopes.iter().find_map(|envelope| envelope.open(&key, self.store, self.lineage));
        opened.ok_or_else(|| {
            Error::new(ErrorKind::Refused, "this platform opens no envelope of the key file any more")
        })
    }

    /// Believes the bytes of one slot, or says why not.
    fn verify(
        path: &str,
        bytes: &[u8],
        platform: &dyn Platform,
        expected: Option<StoreId>,
    ) -> Result<Verified<Self>> {
        let refuse = |kind, detail: String| Error::evidence(kind, path, 0, detail);
        let claimed = Claimed::parse(bytes).map_err(|error| {
            refuse(EvidenceKind::BadSeal, format!("not a key file of this version: {error}"))
        })?;
        if let Some(store) = expected.filter(|store| *store != claimed.store) {
            let detail = format!("it belongs to store {}, expected {store}", claimed.store);
            return Err(refuse(EvidenceKind::Foreign, detail));
        }
        let key = platform.sealing_key(claimed.store)?;
        let root = claimed.root(&key).ok_or_else(|| {
            let detail = "no envelope opens: altered, or sealed to another platform".to_owned();
            refuse(EvidenceKind::BadSeal, detail)
        })?;
        let (settings, ring) =
            claimed.verify(&root).map_err(|error| refuse(EvidenceKind::BadSeal, error.to_string()))?;
        Ok(Verified::new(Self {
            store: claimed.store,
            lineage: claimed.lineage,
            settings,
            version: claimed.version,
            digest: format::digest(bytes),
            ring,
            envelopes: claimed.envelopes,
        }))
    }
}

/// Where `version` lives.
fn slot(version: u64) -> String {
    format!("KEYS.{}", version % 2)
}

fn read_slot(disk: &dyn Disk, path: &str) -> Result<Option<Vec<u8>>> {
    read_whole(disk, path, KEY_FILE_BYTES_MAX)
}

/// The first bytes of a digest, for people.
fn short(digest: &[u8; 32]) -> String {
    digest[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
