//! What a hostile host does to the files of a store that is not running.
//!
//! Everything goes through [`Disk`], so it works on a disk in memory and on a real directory. The
//! attacker is careful: each change is synced, so that no power cut undoes it. To change bytes
//! under a running store use [`MemDisk::poke`](crate::memory::MemDisk::poke).

use crate::rng::SplitMix64;
use ringfort_base::Untrusted;
use ringfort_base::world::Disk;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind, Result};
use std::ops::Range;

/// All files of a directory at one moment: the raw material of every rollback.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Image {
    /// The bytes by path.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The directories below the root.
    pub dirs: BTreeSet<String>,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sizes = self.files.iter().map(|(path, bytes)| (path, bytes.len()));
        f.debug_map().entries(sizes).finish()
    }
}

/// Copies everything.
pub fn capture(disk: &dyn Disk) -> Result<Image> {
    let mut image = Image::default();
    let mut todo = vec![String::new()];
    while let Some(dir) = todo.pop() {
        for name in disk.list(&dir)? {
            let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
            match read_file(disk, &path) {
                Ok(bytes) => drop(image.files.insert(path, bytes)),
                Err(e) if e.kind() == ErrorKind::IsADirectory => {
                    image.dirs.insert(path.clone());
                    todo.push(path);
                }
                Err(e) => return Err(e),
            }
        }
    }
    Ok(image)
}

/// Puts the whole directory back as it was: files that came since are removed, all others get
/// their old bytes. Files that are the same are not touched.
pub fn restore(disk: &dyn Disk, image: &Image) -> Result<()> {
    let now = capture(disk)?;
    for path in now.files.keys().filter(|path| !image.files.contains_key(*path)) {
        delete(disk, path)?;
    }
    for dir in &image.dirs {
        disk.create_dir(dir)?;
    }
    for (path, bytes) in &image.files {
        if now.files.get(path) != Some(bytes) {
            write_file(disk, path, bytes)?;
        }
    }
    Ok(())
}

/// Puts one file back as it was, whether it exists now or not.
pub fn restore_file(disk: &dyn Disk, image: &Image, path: &str) -> Result<()> {
    let bytes = image.files.get(path).ok_or_else(|| not_in_image(path))?;
    write_file(disk, path, bytes)
}

/// Removes every file.
pub fn empty(disk: &dyn Disk) -> Result<()> {
    restore(disk, &Image { dirs: BTreeSet::new(), files: BTreeMap::new() })
}

/// Removes a file.
pub fn delete(disk: &dyn Disk, path: &str) -> Result<()> {
    disk.remove(path)?;
    disk.sync_dir(parent(path))
}

/// Flips the bits of `bits` in the byte at `offset`.
pub fn flip(disk: &dyn Disk, path: &str, offset: u64, bits: u8) -> Result<()> {
    edit(disk, path, |bytes| {
        let at = range(bytes, offset, 1)?.start;
        bytes[at] ^= bits;
        Ok(())
    })
}

/// Flips one bit somewhere in `within` (as much of it as there is), as the seed says; returns the
/// byte's offset.
pub fn flip_somewhere(disk: &dyn Disk, path: &str, within: Range<u64>, seed: u64) -> Result<u64> {
    let mut rng = SplitMix64::new(seed);
    let mut offset = 0;
    edit(disk, path, |bytes| {
        offset = random_offset(within, bytes.len() as u64, &mut rng).ok_or_else(beyond)?;
        bytes[offset as usize] ^= 1 << rng.below(8);
        Ok(())
    })?;
    Ok(offset)
}

/// An offset in `within` below `len`; `None` if there is none.
pub fn random_offset(within: Range<u64>, len: u64, rng: &mut SplitMix64) -> Option<u64> {
    let end = within.end.min(len);
    (within.start < end).then(|| within.start + rng.below(end - within.start))
}

/// Cuts a file to `len` bytes.
pub fn truncate(disk: &dyn Disk, path: &str, len: u64) -> Result<()> {
    edit(disk, path, |bytes| {
        bytes.truncate(range(bytes, len, 0)?.start);
        Ok(())
    })
}

/// Adds bytes at the end.
pub fn append(disk: &dyn Disk, path: &str, more: &[u8]) -> Result<()> {
    edit(disk, path, |bytes| {
        bytes.extend_from_slice(more);
        Ok(())
    })
}

/// Gives each of two files the other's bytes.
pub fn swap(disk: &dyn Disk, one: &str, other: &str) -> Result<()> {
    let (first, second) = (read_file(disk, one)?, read_file(disk, other)?);
    write_file(disk, one, &second)?;
    write_file(disk, other, &first)
}

/// Overwrites bytes of `to` at `to_offset` by `len` bytes of `from` at `from_offset`; the two may
/// be one file.
pub fn splice(
    disk: &dyn Disk,
    from: &str,
    from_offset: u64,
    len: u64,
    to: &str,
    to_offset: u64,
) -> Result<()> {
    let source = read_file(disk, from)?;
    let part = source[range(&source, from_offset, len)?].to_vec();
    edit(disk, to, |bytes| {
        let target = range(bytes, to_offset, len)?;
        bytes[target].copy_from_slice(&part);
        Ok(())
    })
}

/// Repeats `len` bytes at `offset` right after themselves; what follows moves up.
pub fn duplicate(disk: &dyn Disk, path: &str, offset: u64, len: u64) -> Result<()> {
    edit(disk, path, |bytes| {
        let part = range(bytes, offset, len)?;
        let copy = bytes[part.clone()].to_vec();
        bytes.splice(part.end..part.end, copy);
        Ok(())
    })
}

/// Takes `len` bytes at `offset` out; what follows moves down.
pub fn cut_out(disk: &dyn Disk, path: &str, offset: u64, len: u64) -> Result<()> {
    edit(disk, path, |bytes| {
        let part = range(bytes, offset, len)?;
        bytes.drain(part);
        Ok(())
    })
}

/// Changes a file's bytes by any function.
pub fn edit(disk: &dyn Disk, path: &str, change: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
    let mut bytes = read_file(disk, path)?;
    change(&mut bytes)?;
    write_file(disk, path, &bytes)
}

/// All bytes of a file.
pub fn read_file(disk: &dyn Disk, path: &str) -> Result<Vec<u8>> {
    let file = disk.open(path)?;
    let len = usize::try_from(expose(file.len()?)).map_err(Error::other)?;
    Ok(expose(file.read_at(Vec::new(), 0, len)?))
}

/// Makes `path` a new file with these bytes, in place of what may stand there.
pub fn write_file(disk: &dyn Disk, path: &str, bytes: &[u8]) -> Result<()> {
    match disk.remove(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let file = disk.create(path)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    disk.sync_dir(parent(path))
}

/// `offset..offset + len`, if `bytes` has it.
fn range(bytes: &[u8], offset: u64, len: u64) -> Result<Range<usize>> {
    let end = offset.checked_add(len).filter(|end| *end <= bytes.len() as u64).ok_or_else(beyond)?;
    Ok(offset as usize..end as usize)
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

fn beyond() -> Error {
    Error::new(ErrorKind::InvalidInput, "beyond the end of the file")
}

fn not_in_image(path: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("{path} is not in the image"))
}

#[expect(clippy::disallowed_methods, reason = "the attacker looks at every byte outside")]
fn expose<T>(value: Untrusted<T>) -> T {
    value.expose_to_verifier()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{CrashChoice, MemDisk};

    fn disk(files: &[(&str, &[u8])]) -> MemDisk {
        let disk = MemDisk::new();
        disk.create_dir("d").unwrap();
        disk.sync_dir("").unwrap();
        for (path, bytes) in files {
            write_file(&disk, path, bytes).unwrap();
        }
        disk
    }

    /// What a power cut right after the attack leaves of a file: attacks must be durable.
    fn after(disk: &MemDisk, path: &str) -> Vec<u8> {
        disk.crash(CrashChoice::LoseAll).bytes_of(path).unwrap()
    }

    #[test]
    fn small_changes_change_only_what_they_say() {
        let disk = disk(&[("d/a", b"abcdef"), ("b", b"123456")]);
        flip(&disk, "d/a", 1, 0x01).unwrap();
        assert_eq!(after(&disk, "d/a"), b"accdef");
        splice(&disk, "b", 2, 2, "d/a", 0).unwrap();
        assert_eq!(after(&disk, "d/a"), b"34cdef");
        duplicate(&disk, "d/a", 0, 2).unwrap();
        assert_eq!(after(&disk, "d/a"), b"3434cdef");
        cut_out(&disk, "d/a", 1, 2).unwrap();
        assert_eq!(after(&disk, "d/a"), b"34cdef");
        truncate(&disk, "d/a", 3).unwrap();
        append(&disk, "d/a", b"!").unwrap();
        assert_eq!(after(&disk, "d/a"), b"34c!");
        swap(&disk, "d/a", "b").unwrap();
        assert_eq!((after(&disk, "d/a"), after(&disk, "b")), (b"123456".to_vec(), b"34c!".to_vec()));
    }

    #[test]
    fn beyond_the_end_is_refused_and_changes_nothing() {
        let disk = disk(&[("a", b"abc")]);
        assert!(flip(&disk, "a", 3, 1).is_err());
        assert!(truncate(&disk, "a", 4).is_err());
        assert!(duplicate(&disk, "a", 2, 2).is_err());
        assert!(splice(&disk, "a", u64::MAX, 2, "a", 0).is_err());
        assert!(flip_somewhere(&disk, "a", 3..9, 1).is_err());
        assert_eq!(disk.bytes_of("a").unwrap(), b"abc");
    }

    #[test]
    fn a_seed_names_the_bit_and_stays_in_range() {
        for seed in 0..200 {
            let disk = disk(&[("a", &[0; 100])]);
            let offset = flip_somewhere(&disk, "a", 40..1000, seed).unwrap();
            let bytes = disk.bytes_of("a").unwrap();
            assert!((40..100).contains(&offset));
            assert_eq!(bytes.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
            assert_eq!(bytes[offset as usize].count_ones(), 1);
        }
    }

    #[test]
    fn an_older_copy_comes_back_whole() {
        let disk = disk(&[("a", b"old"), ("d/gone", b"x")]);
        let image = capture(&disk).unwrap();
        write_file(&disk, "a", b"newer").unwrap();
        write_file(&disk, "d/new", b"y").unwrap();
        delete(&disk, "d/gone").unwrap();
        assert_ne!(capture(&disk).unwrap(), image);
        restore(&disk, &image).unwrap();
        assert_eq!(capture(&disk.crash(CrashChoice::LoseAll)).unwrap(), image);
    }

    #[test]
    fn one_file_comes_back_alone() {
        let disk = disk(&[("a", b"old"), ("b", b"old")]);
        let image = capture(&disk).unwrap();
        write_file(&disk, "a", b"new").unwrap();
        delete(&disk, "b").unwrap();
        restore_file(&disk, &image, "b").unwrap();
        assert_eq!((after(&disk, "a"), after(&disk, "b")), (b"new".to_vec(), b"old".to_vec()));
        assert_eq!(restore_file(&disk, &image, "c").unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn an_emptied_directory_is_empty() {
        let disk = disk(&[("a", b"x"), ("d/b", b"y")]);
        empty(&disk).unwrap();
        assert!(disk.crash(CrashChoice::LoseAll).files().is_empty());
    }
}
