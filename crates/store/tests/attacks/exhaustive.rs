//! Every byte of every file of a very small store, altered one at a time: the same data, or a
//! refusal with evidence; never a panic, never anything else.

use crate::common::{MODES, Machine, commit, dump, settle, small};
use crate::scene::note;
use ringfort_base::{EvidenceKind, KeyspaceId, Level, Result};
use ringfort_fault::memory::MemDisk;
use ringfort_store::{KeyspaceOptions, Store, StoreOptions, WriteBatch};

fn options(machine: &Machine) -> StoreOptions {
    StoreOptions { segment_bytes: 512, ..machine.options() }
}

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// One table with a range tombstone, a little log, closed: everything is anchored.
fn tiny(machine: &Machine) -> (KeyspaceId, Rows) {
    let store = Store::open(machine.world(), options(machine)).unwrap();
    // Every second value lies apart.
    let options = KeyspaceOptions { separate_values_from_bytes: 5, ..small() };
    let ks = store.create_keyspace("ks", options).unwrap();
    for n in 0..6u8 {
        let mut batch = WriteBatch::new();
        batch.put(ks, [b'k', n], if n.is_multiple_of(2) { vec![b'v', n] } else { vec![b'v', n, 0, 0, 0, 0] });
        if n == 4 {
            batch.delete_range(ks, [b'k', 1], [b'k', 3]);
        }
        commit(&store, batch, Level::Buffered).unwrap();
    }
    store.flush(None).unwrap();
    settle(&store).unwrap();
    for n in 3..5u8 {
        let mut batch = WriteBatch::new();
        batch.put(ks, [b'k', n], [b'w', n]);
        commit(&store, batch, Level::Fresh).unwrap();
    }
    let rows = dump(&store, ks).unwrap();
    store.close().unwrap();
    (ks, rows)
}

fn read(machine: &Machine, ks: KeyspaceId) -> Result<Rows> {
    let store = Store::open(machine.world(), options(machine))?;
    let rows = dump(&store, ks)?;
    store.verify_checksums()?;
    Ok(rows)
}

#[test]
fn every_byte_of_every_file() {
    for mode in MODES {
        let machine = Machine::new(mode, 77);
        let (ks, truth) = tiny(&machine);
        let (mut refused, mut harmless) = (0, 0);
        for trusted in [false, true] {
            let disk =
                |machine: &Machine| if trusted { machine.trusted.clone() } else { machine.data.clone() };
            for (path, bytes) in disk(&machine).files() {
                for (at, byte) in bytes.iter().enumerate() {
                    let fork = machine.map(MemDisk::fork);
                    let bit = 1 << (at % 8);
                    disk(&fork).poke(&path, at as u64, &[byte ^ bit]).unwrap();
                    match read(&fork, ks) {
                        Ok(rows) => {
                            harmless += 1;
                            assert!(rows == truth, "{mode}: byte {at} of {path}: FALSE DATA {rows:?}");
                        }
                        Err(error) => {
                            refused += 1;
                            note(&error);
                            let proof = error
                                .proof()
                                .unwrap_or_else(|| panic!("{mode}: byte {at} of {path}: {error:?}"));
                            assert_ne!(proof.kind, EvidenceKind::SecondCopy, "{mode}: byte {at} of {path}");
                        }
                    }
                }
            }
        }
        println!("{mode}: {refused} refused, {harmless} without effect");
        assert!(refused > 1000 && harmless > 0, "{mode}: {refused} refused, {harmless} without effect");
    }
}
