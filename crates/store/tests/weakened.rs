//! Each defence of an open store, once standing and once switched off, under the attack that it is
//! there for (R27): with the defence the attack is refused, without it false data are served.
//!
//! Runs with `RUSTFLAGS="--cfg ringfort_weaken"` and a target directory of its own; empty otherwise.
//! The switches are process-wide, so this is one test.
#![cfg(ringfort_weaken)]
#![allow(clippy::unwrap_used, clippy::ok_expect, reason = "helpers of tests fail the test")]

#[path = "attacks/anatomy.rs"]
mod anatomy;
#[path = "campaign/clients.rs"]
mod clients;
mod common;
#[path = "campaign/lives.rs"]
mod lives;
#[path = "common/power.rs"]
mod power;
#[path = "campaign/schedule.rs"]
mod schedule;

use anatomy::{FRAME_BYTES, TAG_BYTES};
use common::{Machine, commit, get, put, small, wait};
use ringfort_base::world::Entropy;
use ringfort_base::{KeyspaceId, Level, Result};
use ringfort_fault::attack;
use ringfort_fault::entropy::SeededEntropy;
use ringfort_fault::memory::MemDisk;
use ringfort_store::{Store, World, WriteBatch};
use ringfort_trust::defence::Defence;
use ringfort_trust::keyfile::Mode;
use ringfort_trust::weaken;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// `Ok(true)`: false data were served. `Ok(false)`: the attack changed nothing. `Err`: refused.
type Attack = fn() -> Result<bool>;

fn opened(mode: Mode, seed: u64) -> (Machine, Store, KeyspaceId) {
    let machine = Machine::new(mode, seed);
    let store = machine.open().unwrap();
    let ks = store.create_keyspace("ks", small()).unwrap();
    (machine, store, ks)
}

/// TagCheck, the log: a bit of a value in a record of the log.
fn altered_record() -> Result<bool> {
    let (machine, store, ks) = opened(Mode::Software, 1);
    put(&store, ks, b"balance", b"100 coins", Level::Fresh).unwrap();
    put(&store, ks, b"later", b"x", Level::Fresh).unwrap();
    drop(store);
    let machine = machine.after_kill();
    let anatomy = anatomy::dissect(&machine);
    let file = &anatomy.wal[anatomy.head.0];
    // The value ends where the record's ciphertext ends: its first character, 1 → 9.
    let record = &file.records[anatomy.head.1 - 1];
    machine
        .data
        .poke(
            &file.path,
            (record.end - TAG_BYTES - 9) as u64,
            &[flipped(&file.bytes, record.end - TAG_BYTES - 9, b'1' ^ b'9')],
        )
        .unwrap();
    let store = machine.open()?;
    Ok(get(&store, ks, b"balance")?.as_deref() == Some(b"900 coins"))
}

fn flipped(bytes: &[u8], at: usize, bits: u8) -> u8 {
    bytes[at] ^ bits
}

/// TagCheck, tables: some bit of a data block.
fn altered_block() -> Result<bool> {
    altered_block_in(Mode::Software)
}

/// TagCheck where it is a checksum.
fn altered_plain_block() -> Result<bool> {
    altered_block_in(Mode::Hardware)
}

fn altered_block_in(mode: Mode) -> Result<bool> {
    let (machine, store, ks) = opened(mode, 2);
    put(&store, ks, b"balance", b"100 coins", Level::Fresh).unwrap();
    store.flush(None).unwrap();
    store.close().unwrap();
    drop(store);
    let anatomy = anatomy::dissect(&machine);
    let table = &anatomy.tables[0];
    let block = table.blocks[0].handle;
    let mut refusal = None;
    for at in block.offset..block.end() - TAG_BYTES as u64 {
        let machine = machine.after_kill();
        attack::flip(machine.table_disk(), &table.path, at, b'1' ^ b'9').unwrap();
        let read = machine.open().and_then(|store| get(&store, ks, b"balance"));
        match read {
            Ok(value) if value.as_deref() == Some(b"900 coins") => return Ok(true),
            Ok(_) => {}
            Err(error) => refusal = Some(error),
        }
    }
    refusal.map_or(Ok(false), Err)
}

/// Randomness that is the same on two machines until they part.
struct Parting {
    common: SeededEntropy,
    own: SeededEntropy,
    parted: AtomicBool,
}

impl Entropy for Parting {
    fn fill(&self, buf: &mut [u8]) -> std::io::Result<()> {
        if self.parted.load(Ordering::SeqCst) { self.own.fill(buf) } else { self.common.fill(buf) }
    }
}

/// Two copies of one machine, resumed from one snapshot with the present segment open: they append
/// to it under the same key. Returns each one's disks behind its own two commits.
fn two_copies_in_one_segment() -> ([Machine; 2], KeyspaceId) {
    let (machine, store, ks) = opened(Mode::Software, 3);
    store.close().unwrap();
    drop(store);
    let machines = [(1, b"100 coins"), (2, b"666 coins")].map(|(n, value)| {
        let copy = machine.after_kill();
        let entropy = Arc::new(Parting {
            common: SeededEntropy::new(50),
            own: SeededEntropy::new(50 + n),
            parted: AtomicBool::new(false),
        });
        let world = World { entropy: Arc::clone(&entropy) as _, ..copy.world() };
        let store = Store::open(world, copy.options()).unwrap();
        entropy.parted.store(true, Ordering::SeqCst);
        put(&store, ks, b"balance", value, Level::Fresh).unwrap();
        put(&store, ks, b"later", b"x", Level::Fresh).unwrap();
        copy
    });
    (machines.map(|machine| machine.after_kill()), ks)
}

/// ChainPrevious: a record of the other copy in the place of ours, in the middle of the log.
fn record_of_the_other_copy() -> Result<bool> {
    let ([ours, theirs], ks) = two_copies_in_one_segment();
    let (one, two) = (anatomy::dissect(&ours), anatomy::dissect(&theirs));
    let (file, other) = (&one.wal[one.head.0], &two.wal[two.head.0]);
    assert_eq!(file.header, other.header, "the same segment, under the same key");
    let record = &file.records[one.head.1 - 1];
    assert_eq!(record, &RecordSpan::of(other, one.head.1 - 1, record.tag), "at the same place");
    ours.data.poke(&file.path, record.offset as u64, &other.bytes[record.offset..record.end]).unwrap();
    let store = ours.open()?;
    Ok(get(&store, ks, b"balance")?.as_deref() == Some(b"666 coins"))
}

/// The span of another's record, with our tag: everything but the tag must agree.
struct RecordSpan;

impl RecordSpan {
    fn of(file: &anatomy::LogFile, nth: usize, tag: [u8; 16]) -> anatomy::RecordAt {
        anatomy::RecordAt { tag, ..file.records[nth].clone() }
    }
}

/// PlaceBinding, the log: half of a batch over two keyspaces passed off as the whole.
fn half_a_batch() -> Result<bool> {
    let (machine, store, ks) = opened(Mode::Software, 4);
    let other = store.create_keyspace("other", small()).unwrap();
    put(&store, ks, b"from", b"100", Level::Fresh).unwrap();
    let mut batch = WriteBatch::new();
    batch.put(ks, "from", "000");
    batch.put(other, "to", "100");
    commit(&store, batch, Level::Durable).unwrap();
    drop(store);
    let machine = machine.after_kill();
    let anatomy = anatomy::dissect(&machine);
    let file = anatomy.wal.last().unwrap();
    let half = &file.records[file.records.len() - 2];
    assert!(!half.last && half.end - half.offset > FRAME_BYTES + TAG_BYTES);
    machine.data.poke(&file.path, half.offset as u64 + 20, &[1]).unwrap();
    attack::truncate(&machine.data, &file.path, half.end as u64).unwrap();
    let store = machine.open()?;
    // With the defence: the whole batch is gone, as in a crash. Without it: the money is.
    Ok(get(&store, ks, b"from")?.as_deref() == Some(b"000") && get(&store, other, b"to")?.is_none())
}

/// PlaceBinding on a trusted volume: a write that landed in the wrong file.
fn misdirected_block() -> Result<bool> {
    let (machine, store, ks) = opened(Mode::Hardware, 5);
    for value in [b"666 coins", b"100 coins"] {
        put(&store, ks, b"balance", value, Level::Fresh).unwrap();
        store.flush(None).unwrap();
    }
    store.close().unwrap();
    drop(store);
    let anatomy = anatomy::dissect(&machine);
    let [old, new] = &anatomy.tables[..] else { panic!("two tables of level 0: {:?}", anatomy.tables) };
    let machine = machine.after_kill();
    let (from, to) = (old.blocks[0].handle, new.blocks[0].handle);
    assert_eq!(from, to, "the same place in both files");
    let len = u64::from(from.sealed_len);
    attack::splice(machine.table_disk(), &old.path, from.offset, len, &new.path, to.offset).unwrap();
    let store = machine.open()?;
    Ok(get(&store, ks, b"balance")?.as_deref() == Some(b"666 coins"))
}

/// AnchorCompare: the whole directory as it was.
fn old_directory() -> Result<bool> {
    let (machine, store, ks) = opened(Mode::Software, 6);
    put(&store, ks, b"balance", b"666 coins", Level::Fresh).unwrap();
    let old = attack::capture(&machine.data).unwrap();
    put(&store, ks, b"balance", b"100 coins", Level::Fresh).unwrap();
    drop(store);
    let machine = machine.after_kill();
    attack::restore(&machine.data, &old).unwrap();
    let store = machine.open()?;
    Ok(get(&store, ks, b"balance")?.as_deref() == Some(b"666 coins"))
}

fn clone_of(machine: &Machine) -> Machine {
    Machine { data: machine.data.fork(), ..machine.map(Clone::clone) }
}

/// CounterCondition: a copy that was overtaken goes on writing as if it were alone.
fn overtaken_copy_writes() -> Result<bool> {
    let (machine, original, ks) = opened(Mode::Software, 7);
    let other = clone_of(&machine);
    let clone = other.open().unwrap();
    put(&clone, ks, b"balance", b"100 coins", Level::Fresh).unwrap();
    put(&original, ks, b"balance", b"666 coins", Level::Fresh)?;
    Ok(get(&original, ks, b"balance")?.as_deref() == Some(b"666 coins"))
}

/// Claim: a copy serves its clients a state of its own while the original's fresh reads notice nothing.
fn unclaimed_copy_reads() -> Result<bool> {
    let (machine, original, ks) = opened(Mode::Software, 8);
    put(&original, ks, b"balance", b"100 coins", Level::Fresh).unwrap();
    let other = clone_of(&machine);
    let clone = other.open().unwrap();
    put(&clone, ks, b"balance", b"666 coins", Level::Buffered).unwrap();
    let theirs = get(&clone, ks, b"balance").unwrap();
    let ours = original.get(ks, b"balance", None)?;
    wait(&original, ours.depends, Level::Fresh)?;
    Ok(theirs.as_deref() == Some(b"666 coins") && ours.value.as_deref() == Some(b"100 coins"))
}

/// The honest control: an untouched store is whole in this build, too.
fn honest_store_is_whole() {
    let machine = Machine::new(Mode::Twin, 9);
    let store = machine.open().unwrap();
    let ks = store.create_keyspace("ks", small()).unwrap();
    put(&store, ks, b"k", b"v", Level::Fresh).unwrap();
    drop(store);
    let next = machine.map(MemDisk::process_kill);
    assert_eq!(get(&next.open().unwrap(), ks, b"k").unwrap().as_deref(), Some(b"v".as_slice()));
}

#[test]
fn r27_each_defence_is_what_stops_its_attack() {
    let attacks: [(Defence, &str, Attack); 9] = [
        (Defence::TagCheck, "an altered record of the log", altered_record),
        (Defence::TagCheck, "an altered block of a sealed table", altered_block),
        (Defence::TagCheck, "a damaged block of a checksummed table", altered_plain_block),
        (Defence::ChainPrevious, "a record of another copy", record_of_the_other_copy),
        (Defence::PlaceBinding, "half a batch", half_a_batch),
        (Defence::PlaceBinding, "a misdirected block", misdirected_block),
        (Defence::AnchorCompare, "an old directory", old_directory),
        (Defence::CounterCondition, "a copy that was overtaken", overtaken_copy_writes),
        (Defence::Claim, "a copy that never claimed", unclaimed_copy_reads),
    ];
    honest_store_is_whole();
    for (defence, name, attack) in attacks {
        let standing = attack();
        assert!(!matches!(standing, Ok(true)), "{defence:?} stands and {name} succeeds");
        weaken::off(defence);
        let off = attack();
        weaken::all_on();
        assert!(matches!(off, Ok(true)), "{defence:?} is off and something else stops {name}: {off:?}");
        println!("{defence:?}: {name}: {standing:?}, without the defence it succeeds");
    }
    each_lock_and_each_validation_is_missed();
}

/// Without any one of what keeps transactions apart, the first campaigns are not serializable, and one of the next few
/// shows the anomaly that the defence is named for; with all of them the same campaigns are clean.
fn each_lock_and_each_validation_is_missed() {
    let cases = [
        (Defence::ReadLocks, "lost-update"),
        (Defence::RangeLocks, "G2-predicate"),
        (Defence::KeyValidation, "lost-update"),
        (Defence::RangeValidation, "G2-predicate"),
        (Defence::Gate, "G-single"),
        (Defence::LocksUntilVisible, "lost-update"),
    ];
    let plan = |seed| lives::Plan { mode: Mode::Software, seed, txns: 2_000, threads: false };
    for (defence, name) in cases {
        let mut is_seen = false;
        let named = (1..=50).find(|&seed| {
            weaken::off(defence);
            let found = lives::run(plan(seed));
            weaken::all_on();
            let report = found.map_or_else(|(report, _)| report, |_| String::new());
            is_seen |= !report.is_empty();
            assert!(is_seen || seed < 3, "{defence:?} is off, and nobody sees it");
            report.contains(&format!("x {name}"))
        });
        let Some(seed) = named else { panic!("{defence:?} is off, and there is never a {name}") };
        println!("{defence:?}: without it the checker finds a {name} in campaign {seed}, and others before");
        if let Err((report, _)) = lives::run(plan(seed)) {
            panic!("all stand: {report}");
        }
    }
}
