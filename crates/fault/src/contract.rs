//! What every [`Disk`] owes its caller, as one check that runs over all of them.
//!
//! [`check`] speaks to the disk as the store does and fails with a sentence about the first broken
//! promise. It leaves its files behind under the directory `contract`.

use crate::attack::{read_file, write_file};
use ringfort_base::Untrusted;
use ringfort_base::world::Disk;
use std::io::{Error, ErrorKind, Result};

/// Checks the promises of [`Disk`] and its files on an empty `disk`.
pub fn check(disk: &dyn Disk) -> Result<()> {
    directories(disk)?;
    paths(disk)?;
    bytes(disk)?;
    lengths(disk)?;
    names(disk)?;
    locks(disk)
}

fn directories(disk: &dyn Disk) -> Result<()> {
    ensure(disk.list("")?.is_empty(), "the disk is empty at first")?;
    disk.create_dir("contract/deep")?;
    disk.create_dir("contract/deep")?;
    disk.sync_dir("")?;
    disk.sync_dir("contract")?;
    ensure(disk.list("")? == ["contract"], "the root lists a directory")?;
    ensure(disk.list("contract")? == ["deep"], "a directory lists a directory")?;
    ensure(disk.list("contract/deep")?.is_empty(), "a new directory is empty")?;
    fails(disk.list("contract/none"), ErrorKind::NotFound, "listing what is not there")?;
    fails(disk.sync_dir("contract/none"), ErrorKind::NotFound, "syncing what is not there")?;
    fails(disk.open("contract/deep"), ErrorKind::IsADirectory, "opening a directory")?;
    fails(disk.create("contract/none/a"), ErrorKind::NotFound, "creating in a directory that is not there")?;
    ensure(disk.remove("contract/deep").is_err(), "a directory is not removed as a file")
}

fn paths(disk: &dyn Disk) -> Result<()> {
    for path in ["", "/a", "a/", "a//b", ".", "..", "contract/../a", "contract/./a", "a\0b"] {
        let what = format!("the path {path:?}");
        fails(disk.create(path), ErrorKind::InvalidInput, &what)?;
        fails(disk.open(path), ErrorKind::InvalidInput, &what)?;
        fails(disk.open_uncached(path), ErrorKind::InvalidInput, &what)?;
        fails(disk.remove(path), ErrorKind::InvalidInput, &what)?;
        fails(disk.create_dir(path), ErrorKind::InvalidInput, &what)?;
        fails(disk.rename("contract/deep", path), ErrorKind::InvalidInput, &what)?;
        fails(disk.lock(path), ErrorKind::InvalidInput, &what)?;
        if !path.is_empty() {
            fails(disk.list(path), ErrorKind::InvalidInput, &what)?;
            fails(disk.sync_dir(path), ErrorKind::InvalidInput, &what)?;
        }
    }
    Ok(())
}

fn bytes(disk: &dyn Disk) -> Result<()> {
    let path = "contract/bytes";
    let file = disk.create(path)?;
    fails(disk.create(path), ErrorKind::AlreadyExists, "creating a file twice")?;
    let data: Vec<u8> = (0..10_000u32).map(|i| (i % 251) as u8).collect();
    file.write_at(&data, 0)?;
    file.write_at(b"", 1 << 40)?;
    ensure(
        file.len()? == Untrusted::new(10_000),
        "the length is what was written, an empty write adds nothing",
    )?;
    let used = vec![9; 77];
    ensure(
        file.read_at(used, 100, 50)? == Untrusted::new(data[100..150].to_vec()),
        "a read gives what was asked",
    )?;
    let end = file.read_at(Vec::new(), 9_990, 50)?;
    ensure(end == Untrusted::new(data[9_990..].to_vec()), "a read is short at the end")?;
    ensure(file.read_at(vec![1], 10_000, 5)?.is_empty(), "a read at the end is empty")?;
    ensure(file.read_at(vec![1], 1 << 40, 5)?.is_empty(), "a read beyond the end is empty")?;
    file.write_at(b"X", 10_004)?;
    let hole = file.read_at(Vec::new(), 10_000, 5)?;
    ensure(hole == Untrusted::new(b"\0\0\0\0X".to_vec()), "a hole reads as zeros")?;
    file.sync()?;
    let reader = disk.open(path)?;
    ensure(reader.len()? == Untrusted::new(10_005), "a reader sees what was written")?;
    ensure(reader.write_at(b"x", 0).is_err(), "a file opened for reading is not written")?;
    ensure(reader.read_at(Vec::new(), 0, 10)? == Untrusted::new(data[..10].to_vec()), "nor was it")?;
    reader.sync()?;
    uncached(disk, path, &file.read_at(Vec::new(), 0, 20_000)?)
}

fn uncached(disk: &dyn Disk, path: &str, whole: &Untrusted<Vec<u8>>) -> Result<()> {
    let reader = disk.open_uncached(path)?;
    ensure(reader.len()? == Untrusted::new(whole.len() as u64), "an uncached file is as long")?;
    for (from, len) in [(0, 1), (1, 4095), (4095, 2), (100, 9000), (8192, 1813), (10_004, 1), (0, 10_005)] {
        let piece = whole.piece(from, len, Vec::with_capacity);
        ensure(Some(reader.read_at(vec![1], from as u64, len)?) == piece, "an uncached file reads the same")?;
    }
    let end = whole.piece(9_000, 1_005, Vec::with_capacity);
    ensure(Some(reader.read_at(Vec::new(), 9_000, 5_000)?) == end, "and is short at the end")?;
    ensure(reader.read_at(vec![1], 1 << 40, 5)?.is_empty(), "and empty beyond it")?;
    fails(disk.open_uncached("contract/none"), ErrorKind::NotFound, "opening what is not there")
}

fn lengths(disk: &dyn Disk) -> Result<()> {
    let file = disk.create("contract/lengths")?;
    file.write_at(b"abc", 0)?;
    file.allocate(100_000)?;
    let reserved = file.read_at(Vec::new(), 0, 200_000)?;
    let mut zeros = b"abc".to_vec();
    let nothing_done = Untrusted::new(zeros.clone());
    zeros.resize(100_000, 0);
    let did_nothing = reserved == nothing_done;
    ensure(did_nothing || reserved == Untrusted::new(zeros), "reserved space reads as zeros")?;
    file.allocate(10)?;
    let len = if did_nothing { 3 } else { 100_000 };
    ensure(file.len()? == Untrusted::new(len), "reserving never shrinks")?;
    file.truncate(2)?;
    ensure(file.len()? == Untrusted::new(2), "a cut file is as long as it was cut to")?;
    file.write_at(b"z", 3)?;
    let all = file.read_at(Vec::new(), 0, 10)?;
    ensure(all == Untrusted::new(b"ab\0z".to_vec()), "what was cut does not come back")?;
    file.sync()
}

fn names(disk: &dyn Disk) -> Result<()> {
    write_file(disk, "contract/old", b"old")?;
    write_file(disk, "contract/new", b"new")?;
    let old = disk.open("contract/old")?;
    disk.rename("contract/new", "contract/old")?;
    disk.sync_dir("contract")?;
    ensure(read_file(disk, "contract/old")? == b"new", "a rename replaces")?;
    fails(disk.open("contract/new"), ErrorKind::NotFound, "opening a name that was renamed away")?;
    let kept = old.read_at(Vec::new(), 0, 10)?;
    ensure(kept == Untrusted::new(b"old".to_vec()), "a replaced file stays for its readers")?;
    disk.rename("contract/old", "contract/deep/moved")?;
    ensure(read_file(disk, "contract/deep/moved")? == b"new", "a rename moves between directories")?;
    let open = disk.open("contract/deep/moved")?;
    disk.remove("contract/deep/moved")?;
    fails(disk.open("contract/deep/moved"), ErrorKind::NotFound, "opening a removed file")?;
    let kept = open.read_at(Vec::new(), 0, 10)?;
    ensure(kept == Untrusted::new(b"new".to_vec()), "a removed file stays for its readers")?;
    fails(disk.remove("contract/deep/moved"), ErrorKind::NotFound, "removing twice")?;
    fails(disk.rename("contract/none", "contract/x"), ErrorKind::NotFound, "renaming what is not there")?;
    ensure(disk.create_dir("contract/bytes").is_err(), "a directory does not replace a file")?;
    ensure(disk.create("contract/bytes/x").is_err(), "a file is no directory")
}

fn locks(disk: &dyn Disk) -> Result<()> {
    let held = disk.lock("contract/LOCK")?;
    fails(disk.lock("contract/LOCK"), ErrorKind::WouldBlock, "a lock that is held")?;
    let other = disk.lock("contract/LOCK2")?;
    ensure(disk.list("contract")?.contains(&"LOCK".to_owned()), "a lock is a file")?;
    drop(held);
    let held = disk.lock_wait("contract/LOCK")?;
    fails(disk.lock("contract/LOCK"), ErrorKind::WouldBlock, "a lock that was waited for")?;
    drop((held, other));
    drop(disk.lock("contract/LOCK")?);
    ensure(!disk.describe().is_empty(), "a disk says where it is")
}

fn ensure(holds: bool, promise: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::other(format!("broken promise: {promise}"))) }
}

fn fails<T>(result: Result<T>, kind: ErrorKind, what: &str) -> Result<()> {
    match result {
        Err(e) if e.kind() == kind => Ok(()),
        Err(e) => Err(Error::other(format!("{what}: expected {kind:?}, got {:?}: {e}", e.kind()))),
        Ok(_) => Err(Error::other(format!("{what}: expected {kind:?}, got success"))),
    }
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::memory::MemDisk;
    use crate::script::{Fault, FaultDisk, Op, When};
    use std::sync::Arc;

    #[test]
    fn the_disk_in_memory_keeps_the_contract() {
        check(&MemDisk::new()).unwrap();
    }

    #[test]
    fn a_wrapped_disk_keeps_the_contract() {
        check(&FaultDisk::new(Arc::new(MemDisk::new()))).unwrap();
    }

    #[test]
    fn a_disk_that_fails_breaks_it() {
        for op in [Op::Create, Op::Open, Op::List, Op::Write, Op::Read, Op::Sync, Op::Rename, Op::Lock] {
            let disk = FaultDisk::new(Arc::new(MemDisk::new()));
            disk.inject(When::From(op, 1), Fault::Error(std::io::ErrorKind::Other));
            assert!(check(&disk).is_err(), "{op:?}");
        }
    }
}
