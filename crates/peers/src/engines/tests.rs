//! Every engine keeps what it is given: the adapters against a map, at each level that they have.

use super::*;
use ringfort_base::Level;
use ringfort_bench::{Direction, Op};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let name = name.replace(':', "-");
        let dir = std::env::temp_dir().join(format!("ringfort-engine-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn settings() -> Settings {
    Settings {
        memory_budget: 64 << 20,
        write_buffer_size: 1 << 20,
        block_size: 4096,
        bloom_bits: 10,
        compression_type: Compression::None,
        use_direct_reads: None,
        background_jobs: 2,
        min_blob_size: None,
        merge_operator: None,
    }
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn key(n: u32) -> Vec<u8> {
    format!("{:08}key", n.wrapping_mul(2_654_435_761) % 100_000).into_bytes()
}

fn fill(engine: &dyn Engine, model: &mut Model) {
    for n in 0..4_000u32 {
        let (key, value) = (key(n), vec![n as u8; 100 + n as usize % 900]);
        engine.put(&key, &value, Level::Buffered).unwrap();
        model.insert(key, value);
    }
    for n in 4_000..4_010 {
        engine.put(&key(n), b"synced", Level::Durable).unwrap();
        model.insert(key(n), b"synced".to_vec());
    }
    engine.delete(&key(7), Level::Buffered).unwrap();
    engine.delete(b"never there", Level::Buffered).unwrap();
    model.remove(&key(7));
    let (new, old) = (b"a batch's".to_vec(), key(8));
    engine.write(&[Op::Put { key: &new, value: b"1" }, Op::Delete { key: &old }], Level::Buffered).unwrap();
    model.insert(new, b"1".to_vec());
    model.remove(&old);
}

fn check(engine: &dyn Engine, model: &Model, when: &str) {
    let mut copy = Vec::new();
    for n in (0..4_020).step_by(3) {
        let expected = model.get(&key(n));
        assert_eq!(engine.get(&key(n)).unwrap(), expected.map(Vec::len), "{when}: key {n}");
        assert_eq!(engine.read(&key(n), &mut copy).unwrap(), expected.is_some(), "{when}");
        assert!(expected.is_none_or(|expected| *expected == copy), "{when}: value {n}");
    }
    assert_eq!(engine.get(b"nothing").unwrap(), None);
    let from = key(1_000);
    scan(engine, Direction::Forward, None, model.iter(), when);
    scan(engine, Direction::Forward, Some(&from), model.range(from.clone()..), when);
    scan(engine, Direction::Reverse, None, model.iter().rev(), when);
    scan(engine, Direction::Reverse, Some(&from), model.range(..=from.clone()).rev(), when);
}

/// All of it, and the first few.
fn scan<'a>(
    engine: &dyn Engine,
    direction: Direction,
    from: Option<&[u8]>,
    expected: impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>,
    when: &str,
) {
    let expected: Vec<_> = expected.collect();
    for most in [usize::MAX, 5] {
        let mut seen = 0;
        let mut visit = |key: &[u8], value: &[u8]| {
            assert!(
                expected.get(seen).is_some_and(|(k, v)| *k == key && *v == value),
                "{when}: entry {seen} {direction:?} from {from:?}"
            );
            seen += 1;
            if seen == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        engine.scan(from, direction, &mut visit).unwrap();
        assert_eq!(seen, expected.len().min(most), "{when}: {direction:?} from {from:?}");
    }
}

fn is_a_map(name: &str) {
    is_a_map_with(name, name, &settings());
}

fn is_a_map_with(name: &str, dir: &str, settings: &Settings) {
    let dir = Dir::new(dir);
    let kind = by_name(name).unwrap();
    let emulation = Emulation { counter_latency: 100, page_cache: 256 << 10 };
    let engine = kind.open(&dir.0, settings, &emulation).unwrap();
    let mut model = Model::new();
    fill(&*engine, &mut model);
    check(&*engine, &model, "before settling");
    engine.settle().unwrap();
    check(&*engine, &model, "after settling");
    let keys: Vec<Vec<u8>> = (0..20).map(key).collect();
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let mut lens = Vec::new();
    match engine.multi_get(&keys, &mut lens) {
        Ok(()) => assert_eq!(lens, keys.iter().map(|key| model.get(*key).map(Vec::len)).collect::<Vec<_>>()),
        Err(error) => assert!(Unsupported::of(&*error).is_some(), "{error}"),
    }
    let fresh = engine.put(b"fresh", b"1", Level::Fresh);
    match name.contains("ringfort") || name.contains("twinstore") {
        true => fresh.unwrap(),
        false => assert!(Unsupported::of(&*fresh.unwrap_err()).is_some()),
    }
    engine.close().unwrap();
}

macro_rules! each {
    ($($test:ident $name:literal),* $(,)?) => {
        $(#[test] fn $test() { is_a_map($name); })*

        #[test]
        fn every_engine_has_its_test() {
            let tested = [$($name),*];
            assert!(all().map(|kind| kind.name).eq(tested), "in the order of the list");
        }
    };
}

each! {
    ringfort_is_a_map "ringfort",
    rocksdb_is_a_map "rocksdb",
    fjall_is_a_map "fjall",
    lmdb_is_a_map "lmdb",
    redb_is_a_map "redb",
    surrealkv_is_a_map "surrealkv",
    surrealkv_tde_is_a_map "surrealkv:tde",
    ringfort_plain_is_a_map "ringfort:plain",
    ringfort_hardware_is_a_map "ringfort:hardware",
    ringfort_twin_is_a_map "ringfort:twin",
    software_paper_is_a_map "twinstore:software-paper",
    software_is_a_map "twinstore:software",
    hardware_sector_is_a_map "twinstore:hardware-sector",
    hardware_integrity_is_a_map "twinstore:hardware-integrity",
    twin_sector_is_a_map "twinstore:twin-sector",
    twin_integrity_is_a_map "twinstore:twin-integrity",
}

#[test]
fn values_that_lie_apart_are_read_the_same() {
    for name in ["ringfort", "rocksdb", "fjall"] {
        let apart = Settings { min_blob_size: Some(500), ..settings() };
        is_a_map_with(name, &format!("{name}-apart"), &apart);
    }
}

/// Each operator gives the same value in both stores that merge; the others say that they cannot.
#[test]
fn merges_mean_the_same_in_all_that_have_them() {
    for operator in ["append", "max", "min", "add_u64"] {
        let merging = Settings { merge_operator: Some(operator.to_owned()), ..settings() };
        let values: Vec<Vec<u8>> = ["ringfort", "rocksdb"]
            .iter()
            .map(|name| {
                let dir = Dir::new(&format!("{name}-{operator}"));
                let engine = by_name(name).unwrap().open(&dir.0, &merging, &Emulation::default()).unwrap();
                let terms = [700u64, 3, 90_000].map(u64::to_le_bytes);
                engine.put(b"k", &terms[0], Level::Buffered).unwrap();
                engine.merge(b"k", &terms[1], Level::Buffered).unwrap();
                engine.settle().unwrap();
                engine.merge(b"k", &terms[2], Level::Buffered).unwrap();
                let mut value = Vec::new();
                assert!(engine.read(b"k", &mut value).unwrap());
                engine.close().unwrap();
                value
            })
            .collect();
        assert_eq!(values[0], values[1], "{operator}");
        assert!(!values[0].is_empty());
    }
    let dir = Dir::new("fjall-merge");
    let engine = by_name("fjall").unwrap().open(&dir.0, &settings(), &Emulation::default()).unwrap();
    assert!(Unsupported::of(&*engine.merge(b"k", b"v", Level::Buffered).unwrap_err()).is_some());
    let wrong = Settings { merge_operator: Some("no such".to_owned()), ..settings() };
    let dir = Dir::new("rocksdb-wrong-operator");
    assert!(by_name("rocksdb").unwrap().open(&dir.0, &wrong, &Emulation::default()).is_err());
}

/// What is written under encryption does not stand on the disk as it is; without, it does.
#[test]
fn encryption_is_on_where_the_name_says_so() {
    let plain = |name: &str| {
        let dir = Dir::new(&format!("{name}-at-rest"));
        let engine = by_name(name).unwrap().open(&dir.0, &settings(), &Emulation::default()).unwrap();
        let value = b"a value that anybody can read".repeat(40);
        (0..2_000u32).for_each(|n| engine.put(&key(n), &value, Level::Buffered).unwrap());
        // The log may be gone once everything is in tables.
        let in_log = contains(&dir.0, b"anybody can read");
        engine.settle().unwrap();
        engine.close().unwrap();
        drop(engine);
        in_log || contains(&dir.0, b"anybody can read")
    };
    let sealed = ["ringfort", "surrealkv:tde", "twinstore:software", "twinstore:twin-sector"];
    for name in sealed.iter().chain(&["twinstore:hardware-integrity", "twinstore:twin-integrity"]) {
        assert!(!plain(name), "{name}");
    }
    for name in ["ringfort:plain", "ringfort:hardware", "ringfort:twin", "surrealkv", "rocksdb"] {
        assert!(plain(name), "{name}");
    }
}

fn contains(dir: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return contains(&path, needle);
        }
        std::fs::read(&path).unwrap().windows(needle.len()).any(|window| window == needle)
    })
}

/// Two threads that write the same keys at once.
#[test]
fn threads_that_write_the_same_keys_all_succeed() {
    for kind in all() {
        let dir = Dir::new(&format!("{}-threads", kind.name));
        let engine = kind.open(&dir.0, &settings(), &Emulation::default()).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..2u8 {
                let engine = &engine;
                scope.spawn(move || {
                    (0..200u32)
                        .for_each(|n| engine.put(&key(n % 20), &[thread; 50], Level::Buffered).unwrap());
                });
            }
        });
        (0..20).for_each(|n| assert_eq!(engine.get(&key(n)).unwrap(), Some(50), "{}", kind.name));
        engine.close().unwrap();
    }
}
