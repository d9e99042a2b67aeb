//! Files that are reserved for appends: what is seen of them after the process that wrote them ended,
//! in every way in which it can end, and whatever their tails say.
#![allow(clippy::unwrap_used, reason = "a test may")]

use ringfort_base::Untrusted;
use ringfort_base::world::{Disk, DiskFile};
use ringfort_fault::attack;
use ringfort_fault::rng::SplitMix64;
use ringfort_fault::tempdir::TempDir;
use ringfort_host::disk::OsDisk;
use std::path::Path;
use std::sync::Arc;

const RESERVED: u64 = 300_000;

fn disk(label: &str) -> (TempDir, OsDisk) {
    let dir = TempDir::new(label).unwrap();
    let disk = OsDisk::open(dir.path()).unwrap();
    (dir, disk)
}

fn create(disk: &OsDisk) -> Arc<dyn DiskFile> {
    let file = disk.create("log").unwrap();
    file.write_at(b"head", 0).unwrap();
    file.allocate_for_appends(RESERVED).unwrap();
    file
}

fn raw(dir: &Path) -> Vec<u8> {
    std::fs::read(dir.join("log")).unwrap()
}

/// What is seen by who opens the file now.
fn seen(disk: &OsDisk) -> Vec<u8> {
    let all = attack::read_file(disk, "log").unwrap();
    let file = disk.open("log").unwrap();
    for at in (0..all.len()).step_by(7001) {
        let piece = file.read_at(Vec::new(), at as u64, 5000).unwrap();
        assert_eq!(piece, Untrusted::new(all[at..all.len().min(at + 5000)].to_vec()));
    }
    all
}

/// The process ends here, as far as the file is concerned: nothing is written any more.
fn killed(file: Arc<dyn DiskFile>) {
    std::mem::forget(file);
}

/// Whether this file system has tails at all; elsewhere there is nothing to test.
fn has_tails(dir: &Path) -> bool {
    dir.join("log.tail").exists()
}

#[test]
fn what_was_appended_survives_the_end_of_the_process() {
    for seed in 0..30 {
        let (dir, disk) = disk("killed");
        let file = create(&disk);
        let mut rng = SplitMix64::new(seed);
        let mut expected = b"head".to_vec();
        let appends = rng.below(200);
        for _ in 0..appends {
            // Small pieces, some that fill the tail alone, some larger than it.
            let len =
                [100, 1000, 30_000, 32_768, 70_000][rng.below(5) as usize / (1 + rng.below(4) as usize)];
            let data: Vec<u8> = (0..1 + rng.below(len)).map(|_| rng.next_u64() as u8 | 1).collect();
            file.write_at(&data, expected.len() as u64).unwrap();
            expected.extend_from_slice(&data);
            if rng.below(20) == 0 {
                file.sync().unwrap();
                assert!(
                    raw(dir.path()).starts_with(&expected),
                    "seed {seed}: a sync leaves nothing in the tail"
                );
            }
        }
        killed(file);
        let len = expected.len();
        let seen = seen(&disk);
        assert!(seen[..len] == expected[..], "seed {seed}: something is lost");
        assert!(seen[len..].iter().all(|b| *b == 0), "seed {seed}: something is there that was not written");
    }
}

#[test]
fn a_small_append_is_no_call_of_the_system_and_a_drop_leaves_no_tail() {
    let (dir, disk) = disk("small");
    let file = create(&disk);
    if !has_tails(dir.path()) {
        return;
    }
    file.write_at(b"one", 4).unwrap();
    file.write_at(b"two", 7).unwrap();
    assert_eq!(raw(dir.path())[..10], *b"head\0\0\0\0\0\0");
    assert_eq!(file.read_at(Vec::new(), 2, 8).unwrap(), Untrusted::new(b"adonetwo".to_vec()));
    file.write_at(b"X", 5).unwrap(); // anywhere else is fine, too
    file.write_at(b"Y", 8).unwrap();
    drop(file);
    assert_eq!(raw(dir.path())[..10], *b"headoXetYo");
    assert!(!has_tails(dir.path()));
    let file = disk.create("log2").unwrap();
    file.allocate_for_appends(100).unwrap();
    file.write_at(&[7; 300], 50).unwrap(); // beyond what is reserved
    killed(file);
    assert!(dir.path().join("log2.tail").exists());
    disk.remove("log2").unwrap();
    assert!(!dir.path().join("log2.tail").exists());
}

/// Large pages of the page cache: what is written ends on a boundary, the rest waits in the tail.
#[test]
fn a_tail_is_written_up_to_a_boundary() {
    const PIECE: usize = 32 << 10;
    let (dir, disk) = disk("boundary");
    let file = create(&disk);
    if !has_tails(dir.path()) {
        return;
    }
    let mut expected = b"head".to_vec();
    for len in [100, 30_000, 2_663, 1, 1, PIECE, PIECE - 2, 1, 5_000, PIECE].into_iter().chain([700; 100]) {
        let data: Vec<u8> = (0..len).map(|i| i as u8 | 1).collect();
        file.write_at(&data, expected.len() as u64).unwrap();
        expected.extend_from_slice(&data);
        let (written, held) = expected.split_at(expected.len() / PIECE * PIECE);
        let file = raw(dir.path());
        assert!(file.starts_with(written), "up to {} of {}", written.len(), expected.len());
        let behind = &file[written.len()..][..held.len()];
        assert!(behind.iter().all(|b| *b == 0) || written.is_empty(), "behind {}", written.len());
    }
    killed(file);
    assert!(seen(&disk).starts_with(&expected));
}

/// A kill in the middle of writing the tail into the file.
#[test]
fn a_tail_that_was_written_in_part_is_seen_whole() {
    let (dir, disk) = disk("part");
    let file = create(&disk);
    let data: Vec<u8> = (0..10_000).map(|i| i as u8 | 1).collect();
    data.chunks(100).zip(0..).for_each(|(piece, i)| file.write_at(piece, 4 + 100 * i).unwrap());
    killed(file);
    for written in [0, 1, 99, 4096, 9_999, 10_000] {
        let mut bytes = raw(dir.path());
        bytes[4..4 + written].copy_from_slice(&data[..written]);
        std::fs::write(dir.path().join("log"), bytes).unwrap();
        assert_eq!(seen(&disk)[4..10_004], data, "{written} bytes were written");
    }
}

/// After a power cut, and if somebody else writes it, a tail may say anything: what is in the file
/// stands, and reading changes nothing.
#[test]
fn no_tail_covers_what_is_in_the_file() {
    let (dir, disk) = disk("hostile");
    let file = create(&disk);
    let data: Vec<u8> = (0..20_000).map(|i| i as u8 | 1).collect();
    file.write_at(&data, 4).unwrap();
    file.sync().unwrap();
    drop(file);
    let honest = raw(dir.path());
    let mut rng = SplitMix64::new(1);
    for round in 0..500 {
        let mut tail: Vec<u8> = (0..rng.below(80_000)).map(|_| rng.next_u64() as u8).collect();
        let (base, len) = match round % 4 {
            0 => (rng.next_u64(), rng.next_u64()),
            1 => (rng.below(30_000), rng.below(80_000)),
            2 => (rng.below(20_004), 1 + rng.below(1000)),
            _ => (19_000 + rng.below(2_000), 1 + rng.below(60_000)),
        };
        for (at, word) in [(0, base), (8, len)] {
            if tail.len() >= at + 8 {
                tail[at..at + 8].copy_from_slice(&word.to_le_bytes());
            }
        }
        std::fs::write(dir.path().join("log.tail"), &tail).unwrap();
        let seen = seen(&disk);
        assert_eq!(seen.len(), honest.len(), "round {round}");
        assert!(seen[..20_004] == honest[..20_004], "round {round}: base {base}, {len} bytes");
    }
    assert!(raw(dir.path()) == honest);
    // One that is no file at all is none.
    std::fs::remove_file(dir.path().join("log.tail")).unwrap();
    std::fs::create_dir(dir.path().join("log.tail")).unwrap();
    assert!(seen(&disk) == honest);
}
