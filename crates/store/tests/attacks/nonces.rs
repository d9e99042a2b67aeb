//! No key meets a nonce twice (R13, matrix row 25), seen from outside: where a keystream repeats,
//! equal plaintext gives equal ciphertext.
//!
//! Two lives, or two machines, write *the same* keys and values. Of everything that they hand to
//! the disk no sixteen bytes may be the same in both, apart from what is clear: headers, frames,
//! the key file, which is copied.

use crate::anatomy::{FRAME_BYTES, log_file};
use crate::common::{Machine, get, put, settle, small};
use crate::scene::options;
use parking_lot::Mutex;
use ringfort_base::Level;
use ringfort_base::world::Entropy;
use ringfort_fault::entropy::{SeededEntropy, SnapshotEntropy};
use ringfort_fault::memory::MemDisk;
use ringfort_store::{KeyspaceOptions, Store, World};
use ringfort_trust::chain::SegmentHeader;
use ringfort_trust::keyfile::Mode;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Sealed bytes with the place of each.
type Pieces = Vec<(String, Vec<u8>)>;
type Files = BTreeMap<String, Vec<u8>>;

const WINDOW: usize = 16;

fn world(machine: &Machine, entropy: Arc<dyn Entropy>) -> World {
    World { entropy, ..machine.world() }
}

/// The same work every time: log, MANIFEST edits, tables of two levels.
fn work(store: &Store) {
    let ks = store.create_keyspace("ks", small()).unwrap();
    let apart = KeyspaceOptions { separate_values_from_bytes: 100, ..small() };
    let apart = store.create_keyspace("apart", apart).unwrap();
    for n in 0..120u32 {
        put(store, ks, &n.to_be_bytes(), &[b'p'; 100], Level::Durable).unwrap();
        put(store, apart, &(n % 50).to_be_bytes(), &[b'p'; 100], Level::Durable).unwrap();
        if n == 80 {
            store.flush(None).unwrap(); // frees the log so far
        }
    }
    settle(store).unwrap();
    assert!(get(store, ks, &7u32.to_be_bytes()).unwrap().is_some());
}

/// The sealed bytes of all files, with the place of each piece.
fn sealed(files: &Files) -> Pieces {
    let mut pieces = Vec::new();
    for (path, bytes) in files {
        if path.starts_with("wal/") || path.starts_with("MANIFEST") {
            let Some(log) = log_file(path, bytes.clone()) else { continue };
            for record in &log.records {
                let place = format!("{path}+{}", record.offset);
                pieces.push((place, bytes[record.offset + FRAME_BYTES..record.end].to_vec()));
            }
            assert!(log.written() > SegmentHeader::BYTES, "{path} has records");
        } else if path.starts_with("tables/") {
            pieces.push((path.clone(), bytes.clone()));
        }
    }
    pieces
}

/// Where a window of one set stands in the other, too.
fn repeated(one: &[(String, Vec<u8>)], other: &[(String, Vec<u8>)]) -> Option<String> {
    let windows: HashMap<&[u8], &str> = one
        .iter()
        .flat_map(|(place, bytes)| bytes.windows(WINDOW).map(move |w| (w, place.as_str())))
        .collect();
    other.iter().find_map(|(place, bytes)| {
        let found = bytes.windows(WINDOW).enumerate().find_map(|(at, w)| Some((at, windows.get(w)?)));
        found.map(|(at, original)| format!("{original} and {place} (byte {at})"))
    })
}

fn only_new(machine: &Machine, before: &Files) -> Pieces {
    let mut files = machine.data.files();
    files.retain(|path, bytes| before.get(path) != Some(bytes));
    sealed(&files)
}

/// The host resumes a snapshot of the machine at every start: every life draws the same bytes.
#[test]
fn lives_that_draw_the_same_randomness_share_no_keystream() {
    let machine = Machine::new(Mode::Software, 31);
    let entropy = Arc::new(SnapshotEntropy::new(32));
    drop(Store::open(world(&machine, Arc::clone(&entropy) as _), options(&machine)).unwrap());
    machine.data.unlock_all();
    let moment = entropy.snapshot();
    let mut lives: Vec<Pieces> = Vec::new();
    for life in 0..4 {
        let before = machine.data.files();
        entropy.rewind(&moment);
        let store = Store::open(world(&machine, Arc::clone(&entropy) as _), options(&machine)).unwrap();
        work(&store);
        let new = only_new(&machine, &before);
        assert!(new.len() > 20, "life {life} wrote {} pieces", new.len());
        drop(store);
        machine.data.unlock_all();
        for (earlier, pieces) in lives.iter().enumerate() {
            let found = repeated(pieces, &new);
            assert_eq!(found, None, "lives {earlier} and {life} share a keystream");
        }
        lives.push(new);
    }
}

/// The operating system's randomness is the same on both machines until `split`; what the CPU
/// gives never is.
struct Diverging {
    common: SnapshotEntropy,
    own: SeededEntropy,
    split: Mutex<bool>,
}

impl Entropy for Diverging {
    fn fill(&self, buf: &mut [u8]) -> std::io::Result<()> {
        if *self.split.lock() { self.own.fill(buf) } else { self.common.fill(buf) }
    }
}

/// Two machines resumed from one snapshot, their platforms too (before either claim is known to the
/// other). `early`: they part when they resume; else only when they are open, in the middle of the
/// same segment under the same key.
fn clones(early: bool) -> [(Pieces, Files); 2] {
    let machine = Machine::new(Mode::Software, 33);
    let entropy = SnapshotEntropy::new(34);
    let moment = entropy.snapshot();
    drop(Store::open(world(&machine, Arc::new(entropy)), options(&machine)).unwrap());
    [1, 2].map(|n| {
        let copy = machine.map(MemDisk::fork);
        let entropy = Arc::new(Diverging {
            common: SnapshotEntropy::resume_elsewhere(&moment),
            own: SeededEntropy::new(100 + n),
            split: Mutex::new(early),
        });
        let before = copy.data.files();
        let store = Store::open(world(&copy, Arc::clone(&entropy) as _), options(&copy)).unwrap();
        let opened = copy.data.files();
        *entropy.split.lock() = true;
        work(&store);
        let all = only_new(&copy, &before);
        let own = all.into_iter().filter(|piece| early || !sealed(&opened).contains(piece)).collect();
        (own, opened)
    })
}

#[test]
fn cloned_machines_share_no_keystream() {
    let [(one, _), (two, _)] = clones(true);
    assert!(one.len() > 20 && two.len() > 20);
    assert_eq!(repeated(&one, &two), None);
}

#[test]
fn machines_cloned_in_the_middle_of_a_segment_share_no_keystream() {
    let [(one, opened), (two, also_opened)] = clones(false);
    assert!(opened == also_opened, "up to the split both are the same machine: same segment, same key");
    assert!(one.len() > 20 && two.len() > 20);
    assert_eq!(repeated(&one, &two), None);
}

/// The oracle bites: two machines that never part write the same bytes.
#[test]
fn the_oracle_sees_a_keystream_that_repeats() {
    let write = || {
        let machine = Machine::new(Mode::Software, 35);
        let store =
            Store::open(world(&machine, Arc::new(SeededEntropy::new(36))), options(&machine)).unwrap();
        work(&store);
        sealed(&machine.data.files())
    };
    assert!(repeated(&write(), &write()).is_some());
}
