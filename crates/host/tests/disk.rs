//! The real disk: the contract of every disk, what only a real one can show, and random work done on
//! it and on the disk in memory side by side.

use ringfort_base::Untrusted;
use ringfort_base::world::{Disk, DiskFile};
use ringfort_fault::memory::MemDisk;
use ringfort_fault::rng::SplitMix64;
use ringfort_fault::tempdir::TempDir;
use ringfort_fault::{attack, contract};
use ringfort_host::disk::OsDisk;
use ringfort_host::door;
use std::io::{ErrorKind, Result};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

fn disk(label: &str) -> (TempDir, OsDisk) {
    let dir = TempDir::new(label).expect("a temporary directory");
    let disk = OsDisk::open(dir.path()).expect("the directory opens");
    (dir, disk)
}

#[test]
fn keeps_the_contract() {
    let (_dir, disk) = disk("contract");
    contract::check(&disk).unwrap();
}

#[test]
fn attacks_work_on_real_files() {
    let (_dir, disk) = disk("attacks");
    disk.create_dir("d").unwrap();
    attack::write_file(&disk, "d/a", b"old").unwrap();
    let image = attack::capture(&disk).unwrap();
    attack::flip(&disk, "d/a", 0, 1).unwrap();
    attack::write_file(&disk, "b", b"new").unwrap();
    assert_eq!(attack::read_file(&disk, "d/a").unwrap(), b"nld");
    attack::restore(&disk, &image).unwrap();
    assert_eq!(attack::capture(&disk).unwrap(), image);
}

#[test]
fn a_missing_root_is_named_and_create_makes_it_private() {
    let dir = TempDir::new("root").unwrap();
    let path = dir.path().join("x/y");
    let error = OsDisk::open(&path).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("x/y"), "{error}");
    let disk = OsDisk::create(&path).unwrap();
    disk.create("file").unwrap();
    disk.create_dir("sub").unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("sub")), 0o700);
    assert_eq!(mode(&path.join("file")), 0o600);
}

#[test]
fn a_moved_directory_stays_usable() {
    let dir = TempDir::new("moved").unwrap();
    let disk = OsDisk::create(&dir.path().join("before")).unwrap();
    std::fs::rename(dir.path().join("before"), dir.path().join("after")).unwrap();
    attack::write_file(&disk, "a", b"x").unwrap();
    assert_eq!(std::fs::read(dir.path().join("after/a")).unwrap(), b"x");
}

#[test]
fn links_and_pipes_in_place_of_files_are_refused_at_once() {
    let (dir, disk) = disk("links");
    attack::write_file(&disk, "real", b"x").unwrap();
    std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
    assert!(disk.open("link").is_err());
    assert!(disk.lock("link").is_err());
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert_eq!(disk.open("pipe").err().unwrap().kind(), ErrorKind::InvalidInput);
}

#[test]
fn buffers_of_any_capacity_read_the_same() {
    let (_dir, disk) = disk("buffers");
    let data: Vec<u8> = (0..50_000u32).map(|i| (i % 251) as u8).collect();
    attack::write_file(&disk, "a", &data).unwrap();
    let file = disk.open("a").unwrap();
    for capacity in [0, 1, 4096, 4100, 1 << 20] {
        let mut buf = Vec::with_capacity(capacity);
        buf.push(7);
        let read = file.read_at(buf, 49_000 - 4096, 4096).unwrap();
        assert_eq!(read, Untrusted::new(data[49_000 - 4096..49_000].to_vec()), "capacity {capacity}");
        let short = file.read_at(Vec::with_capacity(capacity), 49_999, 4096).unwrap();
        assert_eq!(short, Untrusted::new(data[49_999..].to_vec()), "capacity {capacity}");
    }
    assert!(file.read_at(Vec::new(), u64::MAX, 1).is_err());
}

/// Whether the page cache has the byte at `offset`. Asking may bring it there.
fn is_cached(path: &std::path::Path, offset: u64) -> bool {
    let mut byte = [0];
    let slices = &mut [std::io::IoSliceMut::new(&mut byte)];
    let at_once = rustix::io::ReadWriteFlags::NOWAIT;
    std::fs::File::open(path).is_ok_and(|file| rustix::io::preadv2(file, slices, offset, at_once).is_ok())
}

#[test]
fn what_is_read_uncached_leaves_nothing_in_the_page_cache() {
    const IN_MEMORY: i64 = 0x0102_1994;
    let (dir, disk) = disk("uncached");
    let data: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    let kept_in_memory = rustix::fs::statfs(dir.path()).unwrap().f_type == IN_MEMORY;
    for (name, offset, len) in [("a", 150_000, 4300), ("b", 149_999, 65_536), ("c", 299_000, 1000)] {
        let path = dir.path().join(name);
        attack::write_file(&disk, name, &data).unwrap();
        assert!(is_cached(&path, offset as u64), "as it was written");
        let file = disk.open_uncached(name).unwrap();
        let read = file.read_at(Vec::new(), offset as u64, len).unwrap();
        assert_eq!(read, Untrusted::new(data[offset..offset + len].to_vec()));
        // A page that the kernel is writing back just then stays; the next read finds it written.
        let gone = (0..20).any(|_| {
            let gone = !is_cached(&path, offset as u64);
            gone || file.read_at(Vec::new(), offset as u64, len).is_err()
        });
        assert_ne!(gone, kept_in_memory, "{len} at {offset}");
        // Both ways of reading see a change.
        std::os::unix::fs::FileExt::write_all_at(
            &std::fs::OpenOptions::new().write(true).open(&path).unwrap(),
            b"?",
            150_000,
        )
        .unwrap();
        assert_eq!(file.read_at(Vec::new(), 150_000, 1).unwrap(), Untrusted::new(b"?".to_vec()));
        let long = file.read_at(Vec::new(), 100, 200_000).unwrap();
        assert_eq!(long.piece(149_900, 1, Vec::with_capacity), Some(Untrusted::new(b"?".to_vec())));
    }
}

#[test]
fn locks_conflict_between_two_disks_and_waiting_ends() {
    let (dir, one) = disk("locks");
    let two = OsDisk::open(dir.path()).unwrap();
    let held = one.lock("LOCK").unwrap();
    let refusal = two.lock("LOCK").err().unwrap();
    assert_eq!(refusal.kind(), ErrorKind::WouldBlock);
    assert!(refusal.to_string().contains("LOCK"), "{refusal}");
    let waiting = door::spawn("waiter", move || {
        let _held = two.lock_wait("LOCK").unwrap();
        two.lock("LOCK").err().map(|e| e.kind())
    })
    .unwrap();
    door::sleep(Duration::from_millis(20));
    assert!(!waiting.is_finished());
    drop(held);
    assert_eq!(waiting.join().unwrap(), Some(ErrorKind::WouldBlock));
    drop(one.lock("LOCK").unwrap());
}

#[test]
fn reserved_space_is_there() {
    use std::os::unix::fs::MetadataExt;
    let (dir, disk) = disk("reserve");
    let file = disk.create("a").unwrap();
    file.allocate(0).unwrap();
    file.allocate(1 << 20).unwrap();
    let meta = std::fs::metadata(dir.path().join("a")).unwrap();
    // A file system without the call leaves the file empty, which is allowed.
    assert!(meta.len() == 0 || (meta.len() == 1 << 20 && meta.blocks() * 512 >= 1 << 20), "{meta:?}");
    file.truncate(10).unwrap();
    assert_eq!(file.len().unwrap(), Untrusted::new(10));
}

/// One random step; the same generator state gives the same step on any disk that answers the same.
fn random_step(disk: &dyn Disk, open: &mut Vec<Arc<dyn DiskFile>>, rng: &mut SplitMix64) -> Result<String> {
    let names = ["a", "b", "d/a", "d/b", "d/e/a", "d", "d/e", "missing/a"];
    let mut name = || names[rng.below(names.len() as u64) as usize];
    let (one, two) = (name(), name());
    let nth = rng.below(open.len().max(1) as u64) as usize;
    let (offset, len) = (rng.below(10_000), rng.below(5_000));
    let data = vec![rng.next_u64() as u8; len as usize];
    match rng.below(13) {
        0 | 1 => disk.create(one).map(|file| open.push(file)).map(|()| "created".to_owned()),
        2 => disk.open(one).map(|file| open.push(file)).map(|()| "opened".to_owned()),
        3 => disk.rename(one, two).map(|()| "renamed".to_owned()),
        4 => disk.remove(one).map(|()| "removed".to_owned()),
        5 => disk.create_dir(one).map(|()| "made".to_owned()),
        6 => disk.sync_dir(one).map(|()| "synced".to_owned()),
        7 => disk.list(one).map(|mut names| {
            names.sort();
            names.join(" ")
        }),
        8 if open.len() > 6 => {
            drop(open.swap_remove(nth));
            Ok("closed".to_owned())
        }
        choice => {
            let Some(file) = open.get(nth) else { return Ok("nothing open".to_owned()) };
            match choice {
                9 => file.truncate(offset).map(|()| "cut".to_owned()),
                10 => file.sync().map(|()| "synced".to_owned()),
                _ => file.write_at(&data, offset).map(|()| format!("wrote {}", data.len())),
            }
        }
    }
}

#[test]
fn the_disk_in_memory_does_what_the_real_one_does() {
    for seed in 0..20 {
        let (_dir, real) = disk("mirror");
        let memory = MemDisk::new();
        let (mut real_open, mut memory_open) = (Vec::new(), Vec::new());
        let (mut real_rng, mut memory_rng) = (SplitMix64::new(seed), SplitMix64::new(seed));
        for step in 0..300 {
            let got = random_step(&real, &mut real_open, &mut real_rng);
            let expected = random_step(&memory, &mut memory_open, &mut memory_rng);
            // Which error it is differs between systems in places; that it is one does not.
            assert_eq!(
                got.as_ref().ok(),
                expected.as_ref().ok(),
                "seed {seed}, step {step}: {got:?}, {expected:?}"
            );
            for (one, other) in real_open.iter().zip(&memory_open) {
                assert_eq!(one.len().unwrap(), other.len().unwrap(), "seed {seed}, step {step}");
            }
        }
        for (one, other) in real_open.iter().zip(&memory_open) {
            let (one, other) = (one.read_at(Vec::new(), 0, 1 << 20), other.read_at(Vec::new(), 0, 1 << 20));
            assert!(one.unwrap() == other.unwrap(), "seed {seed}: an open file differs");
        }
        assert_eq!(attack::capture(&real).unwrap(), attack::capture(&memory).unwrap(), "seed {seed}");
    }
}
