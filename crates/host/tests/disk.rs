//! The real disk: the contract of every disk, and what only a real one can show.

use ringfort_base::Untrusted;
use ringfort_base::world::Disk;
use ringfort_fault::tempdir::TempDir;
use ringfort_fault::{attack, contract};
use ringfort_host::disk::OsDisk;
use ringfort_host::door;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
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
