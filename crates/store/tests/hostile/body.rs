//! The body of the fuzz target `hostile_directory`: arbitrary changes to the files of a valid
//! store, then open and read everything. The outcome is the same data (of what was not anchored,
//! an unbroken front) or a typed error; never a panic, never anything else.
//!
//! ```text
//! input  := mode u8 | change*
//! change := what u8 | file u8 | at u16 | len u16 | more u8…          (bounds wrap around)
//! ```

use crate::common::{Machine, commit, dump, settle, small};
use ringfort_base::{ErrorKind, KeyspaceId, Level, Result};
use ringfort_fault::attack::{self, Image};
use ringfort_fault::memory::MemDisk;
use ringfort_store::{KeyspaceOptions, Store, StoreOptions, WriteBatch};
use ringfort_trust::keyfile::Mode;
use std::sync::OnceLock;

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

struct Valid {
    machine: Machine,
    ks: KeyspaceId,
    /// What may be shown: the anchored state, then the one behind each commit that was only durable.
    states: Vec<Rows>,
    /// The data directory earlier in the same life: files to put back.
    earlier: Image,
}

fn options(machine: &Machine) -> StoreOptions {
    StoreOptions { segment_bytes: 1024, ..machine.options() }
}

fn write(store: &Store, ks: KeyspaceId, n: u8, version: u8, level: Level) {
    let mut batch = WriteBatch::new();
    // Every second value is long enough to lie apart.
    batch.put(ks, [b'k', n], vec![version; if n.is_multiple_of(2) { 40 } else { 39 }]);
    if n % 5 == 4 {
        batch.delete(ks, [b'k', n - 2]);
    }
    commit(store, batch, level).unwrap();
}

fn valid(mode: Mode) -> Valid {
    let machine = Machine::new(mode, 61);
    let store = Store::open(machine.world(), options(&machine)).unwrap();
    let apart = KeyspaceOptions { separate_values_from_bytes: 40, ..small() };
    let ks = store.create_keyspace("ks", apart).unwrap();
    (0..20).for_each(|n| write(&store, ks, n, 1, Level::Durable));
    store.flush(None).unwrap();
    store.compact_range(ks, None, None).unwrap();
    settle(&store).unwrap();
    let earlier = attack::capture(&machine.data).unwrap();
    (10..20).for_each(|n| write(&store, ks, n, 2, Level::Durable));
    store.flush(None).unwrap();
    settle(&store).unwrap();
    (0..15).for_each(|n| write(&store, ks, n, 3, Level::Fresh));
    let mut states = vec![dump(&store, ks).unwrap()];
    for n in 0..4 {
        write(&store, ks, n * 2, 4, Level::Durable);
        states.push(dump(&store, ks).unwrap());
    }
    let killed = machine.after_kill();
    drop(store);
    Valid { machine: killed, ks, states, earlier }
}

fn base(twin: bool) -> &'static Valid {
    static VALID: [OnceLock<Valid>; 2] = [const { OnceLock::new() }; 2];
    VALID[usize::from(twin)].get_or_init(|| valid(if twin { Mode::Twin } else { Mode::Software }))
}

/// The numbers of an input; zeros when it is used up.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, bound: usize) -> usize {
        let number = usize::from(self.byte()) << 8 | usize::from(self.byte());
        if bound == 0 { 0 } else { number % bound }
    }
}

/// Carries out one change.
fn change(disk: &MemDisk, earlier: &Image, input: &mut Input<'_>) {
    let files = disk.files();
    let names: Vec<&String> = files.keys().filter(|path| *path != "LOCK").collect();
    let Some(path) = names.get(usize::from(input.byte()) % names.len().max(1)) else { return };
    let bytes = &files[*path];
    let what = input.byte();
    let (at, len) = (input.below(bytes.len()), input.below(400));
    let end = (at + len).min(bytes.len());
    let part = &bytes[at..end];
    let other = names[usize::from(input.byte()) % names.len()];
    // Anything that the disk refuses is a change that cannot be made.
    let _ = match what % 14 {
        0..=2 => attack::flip(disk, path, at as u64, 1 << (len % 8)),
        3 => attack::truncate(disk, path, at as u64),
        4 => attack::delete(disk, path),
        5 => attack::swap(disk, path, other),
        6 => attack::duplicate(disk, path, at as u64, part.len() as u64),
        7 => attack::cut_out(disk, path, at as u64, part.len() as u64),
        8 => disk.poke(other, input.below(files[other].len()) as u64, part),
        9 => attack::append(disk, path, part),
        10 => disk.poke(path, at as u64, &vec![0; part.len()]),
        11 => attack::write_file(disk, other, bytes),
        12 => {
            let number = input.below(100);
            let name = match path.rsplit_once('/') {
                Some(("wal", _)) => format!("wal/{number:08}.log"),
                Some((dir, old)) if old.ends_with(".blob") => format!("{dir}/{number:08}.blob"),
                Some((dir, _)) => format!("{dir}/{number:08}.sst"),
                None => format!("MANIFEST-{number:08}"),
            };
            attack::write_file(disk, &name, bytes).and_then(|()| attack::delete(disk, path))
        }
        _ => {
            let old: Vec<&String> = earlier.files.keys().collect();
            attack::restore_file(disk, earlier, old[at % old.len()])
        }
    };
}

fn read(machine: &Machine, ks: KeyspaceId) -> Result<Rows> {
    let store = Store::open(machine.world(), options(machine))?;
    let rows = dump(&store, ks)?;
    for (key, value) in &rows {
        assert_eq!(
            store.get(ks, key, None)?.value.as_deref(),
            Some(value.as_slice()),
            "a point read and a scan agree"
        );
    }
    store.verify_checksums()?;
    Ok(rows)
}

/// What came of an input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Same,
    TailLost,
    Refused,
}

/// The target.
///
/// # Panics
/// If a promise is broken.
pub fn hostile(data: &[u8]) -> Verdict {
    let mut input = Input(data);
    let valid = base(input.byte() % 4 == 3);
    let machine = valid.machine.map(MemDisk::fork);
    for _ in 0..8 {
        change(&machine.data, &valid.earlier, &mut input);
        if input.0.is_empty() {
            break;
        }
    }
    let before = [machine.data.files(), machine.trusted.files()];
    let opened = Store::open(machine.world(), options(&machine)).map(drop);
    if opened.is_err() {
        assert!([machine.data.files(), machine.trusted.files()] == before, "R12: the refusal changed a file");
    }
    machine.data.unlock_all();
    machine.trusted.unlock_all();
    match read(&machine, valid.ks) {
        Ok(rows) if Some(&rows) == valid.states.last() => Verdict::Same,
        Ok(rows) => {
            assert!(valid.states.contains(&rows), "FALSE DATA: {} rows", rows.len());
            Verdict::TailLost
        }
        Err(error) => {
            assert_ne!(error.kind(), ErrorKind::Internal, "{error:?}");
            Verdict::Refused
        }
    }
}
