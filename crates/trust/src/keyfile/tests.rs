//! The key file: slots, envelopes, epochs, and every refusal.

use super::*;
use crate::chain::{LogKind, SegmentHeader};
use crate::platform::sim::{SimDevice, SimPlatform};
use crate::seal::Protection;
use crate::testing::TestEntropy;
use ringfort_base::{FileNo, Incarnation, Level, Untrusted};
use ringfort_fault::attack;
use ringfort_fault::memory::{CrashChoice, MemDisk};
use ringfort_fault::script::{Fault, FaultDisk, When};
use std::sync::Arc;

const STORE: StoreId = StoreId([1; 16]);

fn settings() -> Settings {
    Settings {
        mode: Mode::Software,
        trusted_volume: None,
        counter: "sim".to_owned(),
        minimum_level: Level::Buffered,
        owner_key: None,
    }
}

fn platform(seed: u64) -> SimPlatform {
    let entropy = TestEntropy { next: seed.into(), ..TestEntropy::default() };
    SimPlatform::new(Arc::new(SimDevice::new(Arc::new(MemDisk::new()), Arc::new(entropy))))
}

/// A disk with a key file, its platform, and entropy to go on with.
struct World {
    disk: MemDisk,
    platform: SimPlatform,
    entropy: TestEntropy,
}

impl World {
    fn new() -> Self {
        Self { disk: MemDisk::new(), platform: platform(1000), entropy: TestEntropy::default() }
    }

    fn create(&self) -> Verified<KeyFile> {
        KeyFile::create(&self.disk, &self.platform, &self.entropy, STORE, settings()).unwrap()
    }

    fn rotate(&self, from: &KeyFile) -> Verified<KeyFile> {
        from.rotate_epoch(&self.disk, &self.platform, &self.entropy).unwrap()
    }

    fn open(&self, at: &KeyFile) -> Result<Verified<KeyFile>> {
        KeyFile::open(&self.disk, &self.platform, STORE, at.version, at.digest)
    }

    /// Why `at` is refused: kind and file.
    fn refusal(&self, at: &KeyFile) -> (EvidenceKind, String) {
        let error = self.open(at).err().expect("it must be refused");
        let proof = error.proof().expect("a refusal has evidence");
        (proof.kind, proof.file.clone())
    }
}

/// What seals a segment of `epoch`; equal keys make equal bytes.
fn sealed_with(file: &KeyFile, epoch: u32) -> Option<Vec<u8>> {
    let header = SegmentHeader {
        kind: LogKind::Wal,
        store: STORE,
        lineage: Lineage([2; 16]),
        segment: FileNo(1),
        incarnation: Incarnation(1),
        epoch: Epoch(epoch),
        salt: [3; 32],
        continues: crate::Head::default(),
    };
    let protection = Protection::Sealed(crate::Suite::Aes256Gcm);
    let sealer = file.ring.log_sealer(protection, &header, LogKind::Wal, None)?;
    let mut bytes = b"some words".to_vec();
    sealer.seal([0; 12], b"", &mut bytes, 0);
    assert!(sealer.open([0; 12], b"", Untrusted::new(bytes.clone())).is_ok());
    Some(bytes)
}

#[test]
fn what_is_created_opens_as_anchored() {
    let world = World::new();
    let created = world.create();
    assert_eq!((created.version, created.ring.current()), (1, Epoch(1)));
    assert_eq!(world.disk.files().keys().collect::<Vec<_>>(), ["KEYS.1"]);
    assert_eq!(created.digest, crate::anchor::sha256(&[&world.disk.bytes_of("KEYS.1").unwrap()]));
    for opened in [world.open(&created), KeyFile::open_unanchored(&world.disk, &world.platform)] {
        let opened = opened.unwrap();
        assert_eq!(opened.settings, settings());
        assert_eq!((opened.store, opened.lineage, opened.digest), (STORE, created.lineage, created.digest));
        assert!(sealed_with(&opened, 1) == sealed_with(&created, 1));
    }
}

/// R14: epoch keys are random, not derived from the root.
#[test]
fn r14_epochs_are_random_rotated_and_stay_usable() {
    let (one, other) = (World::new(), World::new());
    let root = Secret([7; 32]);
    let mut keys = Vec::new();
    for (world, seed) in [(&one, 1), (&other, 2)] {
        let entropy = TestEntropy { next: seed.into(), ..TestEntropy::default() };
        let first = EpochKey { epoch: Epoch(1), key: Secret::random(&entropy).unwrap() };
        let ring = KeyRing::new(vec![first]).unwrap();
        let (lineage, envelopes) = (Lineage([2; 16]), Vec::new());
        let file = KeyFile {
            store: STORE,
            lineage,
            settings: settings(),
            version: 1,
            digest: [0; 32],
            ring,
            envelopes,
        };
        keys.push(sealed_with(&file.write(&world.disk, &root, &entropy).unwrap(), 1));
    }
    assert!(keys[0] != keys[1], "one root, two creations: other epoch keys");

    let world = World::new();
    let first = world.create();
    let second = world.rotate(&first);
    assert_eq!((second.version, second.ring.current()), (2, Epoch(2)));
    assert!(sealed_with(&second, 1) == sealed_with(&first, 1), "the old epoch stays usable");
    assert!(sealed_with(&second, 2) != sealed_with(&second, 1));
    assert!(sealed_with(&first, 2).is_none());
    assert!(sealed_with(&world.open(&second).unwrap(), 2) == sealed_with(&second, 2));
}

/// R14: a new root and a new epoch; the old root opens neither.
#[test]
fn r14_a_new_root_shuts_out_whoever_knew_the_old_one() {
    let world = World::new();
    let first = world.create();
    let old_root = first.root(&world.platform).unwrap();
    let second = first.reroot(&world.disk, &world.platform, &world.entropy).unwrap();
    assert!(second.root(&world.platform).unwrap() != old_root);
    assert_eq!((second.version, second.ring.current()), (2, Epoch(2)));
    let reopened = world.open(&second).unwrap();
    assert!(sealed_with(&reopened, 1) == sealed_with(&first, 1));
    assert!(sealed_with(&reopened, 2) == sealed_with(&second, 2));

    let bytes = world.disk.bytes_of("KEYS.0").unwrap();
    let claimed = Claimed::parse(&bytes).unwrap();
    assert!(claimed.verify(&old_root).is_err());
    assert!(claimed.verify(&second.root(&world.platform).unwrap()).is_ok());
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let world = World::new();
    let file = world.create();
    let bytes = world.disk.bytes_of("KEYS.1").unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        attack::write_file(&world.disk, "KEYS.1", &bad).unwrap();
        let (kind, path) = world.refusal(&file);
        assert!(matches!(kind, EvidenceKind::BadSeal | EvidenceKind::Foreign), "bit {bit}: {kind:?}");
        assert_eq!(path, "KEYS.1");
        assert!(KeyFile::open_unanchored(&world.disk, &world.platform).is_err(), "bit {bit}");
    }
    for cut in 0..bytes.len() {
        attack::write_file(&world.disk, "KEYS.1", &bytes[..cut]).unwrap();
        assert_eq!(world.refusal(&file).0, EvidenceKind::BadSeal, "cut at {cut}");
    }
    attack::write_file(&world.disk, "KEYS.1", &[0; KEY_FILE_BYTES_MAX + 9]).unwrap();
    assert_eq!(world.refusal(&file).0, EvidenceKind::BadSeal);
}

#[test]
fn an_older_missing_foreign_or_other_version_is_evidence() {
    let world = World::new();
    let first = world.create();
    let image = attack::capture(&world.disk).unwrap();
    let second = world.rotate(&first);
    let third = world.rotate(&second);
    assert!(world.open(&third).is_ok());
    assert!(world.open(&second).is_ok(), "until the third is anchored");
    assert_eq!(world.refusal(&first), (EvidenceKind::Fork, "KEYS.1".to_owned()), "a newer one in its slot");

    attack::restore(&world.disk, &image).unwrap();
    assert_eq!(world.refusal(&third), (EvidenceKind::Rollback, "KEYS.1".to_owned()), "its slot is older");
    assert_eq!(world.refusal(&second), (EvidenceKind::Rollback, "KEYS.1".to_owned()), "only an older one");
    let other_second = world.rotate(&first);
    assert!(other_second.digest != second.digest);
    assert_eq!(world.refusal(&second), (EvidenceKind::Fork, "KEYS.0".to_owned()), "another second");

    attack::delete(&world.disk, "KEYS.1").unwrap();
    assert_eq!(world.refusal(&first), (EvidenceKind::Missing, "KEYS.1".to_owned()));
    attack::empty(&world.disk).unwrap();
    assert_eq!(world.refusal(&third), (EvidenceKind::Missing, "KEYS.1".to_owned()));
    let error = KeyFile::open_unanchored(&world.disk, &world.platform).err().unwrap();
    assert_eq!(error.proof().unwrap().kind, EvidenceKind::Missing);

    let foreign = StoreId([9; 16]);
    KeyFile::create(&world.disk, &world.platform, &world.entropy, foreign, settings()).unwrap();
    assert_eq!(world.refusal(&first), (EvidenceKind::Foreign, "KEYS.1".to_owned()));
}

#[test]
fn a_key_file_opens_on_its_platform_only() {
    let world = World::new();
    let file = world.create();
    let elsewhere = platform(2000);
    let error = KeyFile::open(&world.disk, &elsewhere, STORE, file.version, file.digest).err().unwrap();
    assert_eq!(error.proof().unwrap().kind, EvidenceKind::BadSeal);
    assert!(file.rotate_epoch(&world.disk, &elsewhere, &world.entropy).is_err());
}

/// Creation and rotation die at every disk call, and power is cut: the anchored version opens, and the step can
/// be made again.
#[test]
fn a_crash_at_any_call_leaves_the_anchored_version() {
    for nth in 1..=14 {
        let world = World::new();
        let faulty = FaultDisk::new(Arc::new(world.disk.clone()));
        faulty.inject(When::Mutating(nth), Fault::Freeze);
        let mut anchored: Vec<Verified<KeyFile>> = Vec::new();
        let created = KeyFile::create(&faulty, &world.platform, &world.entropy, STORE, settings());
        let mut next = created.ok();
        while let Some(file) = next.take().filter(|_| anchored.len() < 3) {
            next = file.rotate_epoch(&faulty, &world.platform, &world.entropy).ok();
            anchored.push(file);
        }
        for seed in 0..20 {
            let world = World { disk: world.disk.crash(CrashChoice::Seeded(seed)), ..World::new() };
            let Some(last) = anchored.last() else {
                let again = world.create();
                assert!(world.open(&again).is_ok(), "call {nth}, seed {seed}");
                continue;
            };
            let opened = world.open(last).unwrap();
            let successor = world.rotate(&opened);
            assert!(world.open(&successor).is_ok() && world.open(last).is_ok(), "call {nth}, seed {seed}");
        }
    }
}

#[test]
fn a_creation_replaces_what_an_interrupted_one_left() {
    let world = World::new();
    world.rotate(&world.create());
    attack::write_file(&world.disk, "KEYS.1.new", b"left over").unwrap();
    let file = world.create();
    assert!(world.open(&file).is_ok());
    assert_eq!(world.disk.files().keys().collect::<Vec<_>>(), ["KEYS.1"]);
    assert_eq!(KeyFile::open_unanchored(&world.disk, &world.platform).unwrap().digest, file.digest);
}

#[test]
fn no_secret_stands_in_the_file_in_clear() {
    let world = World::new();
    let file = world.create();
    let bytes = world.disk.bytes_of("KEYS.1").unwrap();
    let root = file.root(&world.platform).unwrap();
    for secret in [&root, &file.ring.epochs()[0].key] {
        assert!(!bytes.windows(8).any(|window| secret.0.windows(8).any(|part| part == window)));
    }
}
