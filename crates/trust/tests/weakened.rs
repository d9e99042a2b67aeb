//! Each defence of this crate, once standing and once switched off, under the attack that it is there for (R27).
//!
//! Runs with `RUSTFLAGS="--cfg ringfort_weaken"` and a target directory of its own; empty otherwise.
//! The switches are process-wide, so this is one test.
#![cfg(ringfort_weaken)]

use ringfort_base::{
    Epoch, FileNo, Incarnation, KeyspaceId, Level, Lineage, Result, StoreId, Untrusted, world::Device,
    world::Entropy,
};
use ringfort_fault::entropy::SeededEntropy;
use ringfort_fault::memory::MemDisk;
use ringfort_trust::chain::{ChainReader, ChainWriter, LogKind, SegmentHeader, draw_salt};
use ringfort_trust::counter::{Advance, Counter, slot::VolumeCounter};
use ringfort_trust::defence::Defence;
use ringfort_trust::keyfile::{KeyFile, Mode, Settings};
use ringfort_trust::keys::Secret;
use ringfort_trust::platform::sim::{SimDevice, SimPlatform};
use ringfort_trust::{Anchor, Head, Protection, Sealer, Suite, weaken};
use std::sync::Arc;

const SEALED: Protection = Protection::Sealed(Suite::Aes256Gcm);
const STORE: StoreId = StoreId([1; 16]);

/// Whether the altered bytes come through.
fn altered_piece_is_believed(protection: Protection) -> bool {
    let sealer = Sealer::new(protection, &Secret::from_verified([3; 32]));
    let mut piece = vec![0x40; 5000];
    sealer.seal([1; 12], b"place", &mut piece, 0);
    piece[4321] ^= 1;
    let Ok(opened) = sealer.open([1; 12], b"place", Untrusted::new(piece)) else { return false };
    let flipped: Vec<usize> = (0..5000).filter(|at| opened[*at] != 0x40).collect();
    assert_eq!((flipped, opened.len()), (vec![4321], 5000), "it decrypts, with the attacker's bit in it");
    true
}

/// Whether a piece is believed in another place.
fn moved_piece_is_believed() -> bool {
    let sealer = Sealer::new(SEALED, &Secret::from_verified([3; 32]));
    let mut piece = b"some words".to_vec();
    sealer.seal([1; 12], b"this place", &mut piece, 0);
    sealer.open([1; 12], b"that place", Untrusted::new(piece)).is_ok()
}

/// Whether the second record of one copy of the log is believed behind the first of another.
fn spliced_record_is_believed() -> Result<bool> {
    let entropy = SeededEntropy::new(7);
    let (disk, device) = (MemDisk::new(), MemDisk::new());
    let device: Arc<dyn Device> = Arc::new(SimDevice::new(Arc::new(device), Arc::new(SeededEntropy::new(8))));
    let settings = Settings {
        mode: Mode::Software,
        trusted_volume: None,
        counter: "sim".to_owned(),
        minimum_level: Level::Buffered,
        owner_key: None,
    };
    let keys = KeyFile::create(&disk, &SimPlatform::new(device), &entropy, STORE, settings)?;
    let header = SegmentHeader {
        kind: LogKind::Wal,
        store: STORE,
        lineage: keys.lineage,
        segment: FileNo(1),
        incarnation: Incarnation(1),
        epoch: keys.ring.current(),
        salt: draw_salt(&entropy, Incarnation(1))?,
        continues: Head::default(),
    };
    let sealer = keys.ring.log_sealer(SEALED, &header, LogKind::Wal, None).unwrap();
    let write = |texts: [&[u8]; 2]| {
        let mut writer = ChainWriter::new(&header);
        texts.map(|text| record(&mut writer, text, &sealer, &entropy))
    };
    let (ours, theirs) = (write([b"a", b"b"]), write([b"x", b"y"]));
    let mixed = [&header.encode()[..], &ours[0], &theirs[1]].concat();
    let mut reader = ChainReader::new(Untrusted::new(mixed), &header);
    let mut next = || reader.next(&mut |_| Some(&sealer)).is_ok();
    assert!(next());
    Ok(next())
}

fn record(writer: &mut ChainWriter, text: &[u8], sealer: &Sealer, entropy: &dyn Entropy) -> Vec<u8> {
    let mut out = Vec::new();
    let start = writer.begin(&mut out, 1);
    out.extend_from_slice(text);
    writer.finish(&mut out, start, KeyspaceId::SYSTEM, true, sealer, entropy).unwrap();
    out
}

/// Whether a second copy of a store gets on with its counter.
fn second_copy_advances() -> Result<bool> {
    let anchor = |life| Anchor {
        store: STORE,
        lineage: Lineage([2; 16]),
        epoch: Epoch(1),
        incarnation: Incarnation(life),
        claim: [life as u8; 16],
        wal: Head::default(),
        manifest: Head::default(),
        key_file_version: 1,
        key_file_digest: [0; 32],
    };
    let counter = VolumeCounter::new(Arc::new(MemDisk::new()), STORE);
    counter.advance(None, &anchor(1), true)?;
    counter.advance(Some(anchor(1).digest()), &anchor(2), true)?;
    let copy = counter.advance(Some(anchor(1).digest()), &anchor(3), true)?;
    Ok(matches!(copy, Advance::Done(_)))
}

#[test]
fn r27_each_defence_is_what_stops_its_attack() {
    type Attack = Box<dyn Fn() -> bool>;
    let attacks: [(Defence, Attack); 5] = [
        (Defence::TagCheck, Box::new(|| altered_piece_is_believed(SEALED))),
        (Defence::TagCheck, Box::new(|| altered_piece_is_believed(Protection::Checksummed))),
        (Defence::PlaceBinding, Box::new(moved_piece_is_believed)),
        (Defence::ChainPrevious, Box::new(|| spliced_record_is_believed().unwrap())),
        (Defence::CounterCondition, Box::new(|| second_copy_advances().unwrap())),
    ];
    for (defence, attack) in attacks {
        assert!(!attack(), "{defence:?} stands and the attack succeeds");
        weaken::off(defence);
        assert!(attack(), "{defence:?} is off and something else stops the attack");
        weaken::all_on();
    }
}
