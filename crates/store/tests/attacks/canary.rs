//! Nothing readable leaves the TEE (matrix row 29): planted keys and values, and the keys of the
//! store itself, are looked for in everything that was ever handed to a disk or to the platform.
//!
//! The scan is shown to bite on the trusted volumes, where plaintext belongs.

use crate::common::{MODES, Machine, get, put, settle};
use crate::matrix::{Outcome, observe};
use crate::scene::{KEY_CANARY, VALUE_CANARY, noted, options, scene, tell};
use crate::table_rows::ROWS;
use parking_lot::Mutex;
use ringfort_base::world::{Device, Entropy};
use ringfort_base::{Level, Untrusted};
use ringfort_fault::memory::MemDisk;
use ringfort_fault::script::FaultDisk;
use ringfort_store::{KeyspaceOptions, Store, World};
use ringfort_trust::keyfile::Mode;
use ringfort_trust::platform::sim::{SimDevice, SimPlatform};
use std::io;
use std::sync::Arc;

fn find(haystack: &[u8], needle: &[u8]) -> bool {
    let Some(first) = needle.first() else { return false };
    let mut rest = haystack;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        if rest[at..].starts_with(needle) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

fn texts() -> Vec<Vec<u8>> {
    vec![KEY_CANARY.into(), VALUE_CANARY.into(), vec![b'w'; 32], vec![b'x'; 32]]
}

fn clean<'a>(what: &str, files: impl IntoIterator<Item = (&'a String, &'a Vec<u8>)>, needles: &[Vec<u8>]) {
    for (path, bytes) in files {
        for (n, needle) in needles.iter().enumerate() {
            assert!(!find(bytes, needle), "{what}: {path} holds canary {n}");
        }
    }
}

/// The files of the whole scene, its moments and its checkpoint.
#[test]
fn no_canary_lies_on_an_untrusted_volume() {
    for mode in MODES {
        let scene = scene(mode);
        let mut needles = texts();
        needles.extend(scene.anatomy().secrets.iter().map(|secret| secret.to_vec()));
        assert!(needles.len() > 20, "keys of keyspaces and tables are looked for");
        clean("data", &scene.machine.data.files(), &needles);
        for (name, moment) in &scene.same_life {
            clean(name, &moment.data.files, &needles);
        }
        clean("checkpoint", &scene.checkpoint.files, &needles);
        if mode != Mode::Software {
            let found =
                |needle: &[u8]| scene.machine.trusted.files().values().any(|bytes| find(bytes, needle));
            let bites = texts().iter().filter(|needle| found(needle)).count();
            assert!(bites >= 2, "{mode}: the scan finds what does lie readable on the trusted volume");
        }
    }
}

/// Records what crosses the platform's bus.
struct Tapped {
    inner: SimDevice,
    seen: Mutex<Vec<u8>>,
}

impl Device for Tapped {
    #[expect(clippy::disallowed_methods, reason = "the tap looks at every byte on the bus")]
    fn transact(&self, request: &[u8]) -> io::Result<Untrusted<Vec<u8>>> {
        let reply = self.inner.transact(request)?.expose_to_verifier();
        let mut seen = self.seen.lock();
        seen.extend_from_slice(request);
        seen.extend_from_slice(&reply);
        Ok(Untrusted::new(reply))
    }
}

/// Every byte that was handed over on the way, also what was overwritten or deleted since.
#[test]
fn no_canary_crosses_the_boundary() {
    for mode in MODES {
        let machine = Machine::new(mode, 21);
        let data = FaultDisk::new(Arc::new(machine.data.clone()));
        data.start_tap();
        let entropy: Arc<dyn Entropy> = Arc::clone(&machine.entropy) as _;
        let device = SimDevice::new(Arc::new(machine.platform_disk.clone()), entropy);
        let bus = Arc::new(Tapped { inner: device, seen: Mutex::default() });
        let world = World {
            platform: Arc::new(SimPlatform::new(Arc::clone(&bus) as Arc<dyn Device>)),
            ..machine.world_over(Arc::new(data.clone()), Arc::new(machine.trusted.clone()))
        };
        let store = Store::open(world, options(&machine)).unwrap();
        let name = format!("{KEY_CANARY}-name");
        let ks = store
            .create_keyspace(&name, KeyspaceOptions { write_buffer_bytes: 4096, ..crate::common::small() })
            .unwrap();
        for n in 0..600u32 {
            let key = format!("{KEY_CANARY}-{:03}", n % 300);
            put(&store, ks, key.as_bytes(), format!("{VALUE_CANARY}-{n}").as_bytes(), Level::Durable)
                .unwrap();
            if n % 50 == 0 {
                settle(&store).unwrap();
            }
        }
        store.compact_range(ks, None, None).unwrap();
        assert!(get(&store, ks, format!("{KEY_CANARY}-007").as_bytes()).unwrap().is_some());
        let error = store.create_keyspace(&"n".repeat(300), KeyspaceOptions::default()).unwrap_err();
        crate::scene::note(&error);
        store.close().unwrap();
        let tapped: Vec<(String, Vec<u8>)> = data.tapped();
        let expected = if mode == Mode::Hardware { 1 } else { 20 };
        assert!(tapped.len() >= expected, "{mode}: {} writes were seen", tapped.len());
        clean("data", tapped.iter().map(|(path, bytes)| (path, bytes)), &texts()[..2]);
        let seen = bus.seen.lock();
        assert!(
            seen.len() > if mode == Mode::Software { 2_000 } else { 200 },
            "{mode}: {} bytes crossed",
            seen.len()
        );
        texts()
            .iter()
            .for_each(|needle| assert!(!find(&seen, needle), "{mode}: a canary crossed the platform's bus"));
    }
}

/// The errors of a whole table of attacks, word by word.
#[test]
fn no_canary_stands_in_an_error() {
    for mode in MODES {
        let scene = tell(mode, 90);
        let anatomy = scene.anatomy();
        let secrets: Vec<String> =
            anatomy.secrets.iter().flat_map(|secret| [hex(secret), format!("{secret:?}")]).collect();
        for row in ROWS {
            let machine = scene.fork();
            let rng = ringfort_fault::rng::SplitMix64::new(5);
            let mut aim =
                crate::matrix::Aim { scene: &scene, anatomy: &anatomy, machine: &machine, rng, round: 0 };
            if (row.attack)(&mut aim).is_some()
                && let Outcome::Refused(error) | Outcome::Stopped(error) = observe(&scene, &machine)
            {
                let words = format!("{error} {error:?} {:?}", error.proof());
                assert!(!secrets.iter().any(|secret| words.contains(secret)), "a key stands in an error");
            }
        }
    }
    assert!(noted().len() > 40, "many errors were looked at");
    for words in noted() {
        assert!(!words.contains(KEY_CANARY) && !words.contains(VALUE_CANARY), "{words}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A wrong scan would find nothing anywhere.
#[test]
fn the_scan_finds_what_is_there() {
    let disk = MemDisk::new();
    ringfort_fault::attack::write_file(&disk, "f", format!("cc{KEY_CANARY}x").as_bytes()).unwrap();
    assert!(find(&disk.bytes_of("f").unwrap(), KEY_CANARY.as_bytes()));
    assert!(!find(b"canary-canary-key-", KEY_CANARY.as_bytes()));
}
