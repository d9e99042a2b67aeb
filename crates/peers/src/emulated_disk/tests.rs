//! The emulated disk against a plain vector of bytes, and what stands on the host's files.

use super::*;
use ringfort_base::Untrusted;
use std::os::unix::fs::FileExt;

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("ringfort-disk-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[expect(clippy::disallowed_methods, reason = "a test looks at what it wrote itself")]
fn seen<T>(value: Untrusted<T>) -> T {
    value.expose_to_verifier()
}

fn read(file: &dyn DiskFile, offset: u64, len: usize) -> Vec<u8> {
    seen(file.read_at(Vec::new(), offset, len).unwrap())
}

/// A small generator, so that the runs are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn as_a_vector_of_bytes(layout: Layout, page_cache: usize, name: &str) {
    let dir = Dir::new(name);
    let disk = EmulatedDisk::create(&dir.0.join("disk"), layout, page_cache).unwrap();
    let file = disk.create("file").unwrap();
    let (mut model, mut random) = (Vec::<u8>::new(), Random(7));
    for step in 0..3_000u64 {
        match random.below(12) {
            0..=4 => {
                let at = random.below(model.len() as u64 + 9_000) as usize;
                let data = vec![step as u8 | 1; random.below(20_000) as usize];
                if at + data.len() < 4 << 20 {
                    file.write_at(&data, at as u64).unwrap();
                    model.resize(model.len().max(at + data.len()), 0);
                    model[at..at + data.len()].copy_from_slice(&data);
                }
            }
            5 => {
                // As a log is written: a little behind the end.
                file.write_at(&[step as u8; 300], model.len() as u64).unwrap();
                model.extend([step as u8; 300]);
            }
            6 => file.sync().unwrap(),
            7 if step % 10 == 0 => {
                let len = random.below(model.len() as u64 + 1) as usize;
                file.truncate(len as u64).unwrap();
                model.truncate(len);
            }
            _ => {
                let at = random.below(model.len() as u64 + 5_000) as usize;
                let len = random.below(40_000) as usize;
                let expected = &model[at.min(model.len())..(at + len).min(model.len())];
                assert!(read(&*file, at as u64, len) == expected, "step {step}: {at} + {len}");
            }
        }
        assert_eq!(seen(file.len().unwrap()), model.len() as u64, "step {step}");
    }
    assert!(read(&*file, 0, model.len()) == model);
    let (encrypted, decrypted) = disk.sectors();
    assert!(encrypted > 1_000 && decrypted > 0, "the device did the work: {encrypted}, {decrypted}");
}

#[test]
fn a_file_beside_its_tags_is_a_vector_of_bytes() {
    as_a_vector_of_bytes(Layout::Beside, 256 << 10, "beside");
}

#[test]
fn a_journaled_file_is_a_vector_of_bytes() {
    as_a_vector_of_bytes(Layout::Journaled, 256 << 10, "journaled");
}

#[test]
fn without_a_page_cache_as_well() {
    as_a_vector_of_bytes(Layout::Beside, 0, "uncached");
    as_a_vector_of_bytes(Layout::Journaled, 0, "uncached-journaled");
}

#[test]
fn nothing_on_the_host_is_plain_and_nothing_altered_is_read() {
    for layout in [Layout::Beside, Layout::Journaled] {
        let dir = Dir::new("altered");
        let disk = EmulatedDisk::create(&dir.0, layout, 0).unwrap();
        disk.create_dir("below").unwrap();
        let file = disk.create("below/file").unwrap();
        file.write_at(&[b'x'; 3 * SECTOR], 0).unwrap();
        file.sync().unwrap();
        let path = dir.0.join("below/file");
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.len() >= 3 * SECTOR);
        assert!(!bytes.windows(16).any(|window| window == [b'x'; 16]));
        assert_eq!(read(&*file, 0, 5), b"xxxxx");
        let host = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        // A byte of the second sector, then the third in place of the first.
        host.write_all_at(&[!bytes[SECTOR + 100]], SECTOR as u64 + 100).unwrap();
        let error = file.read_at(Vec::new(), SECTOR as u64, 10).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
        assert_eq!(read(&*file, 2 * SECTOR as u64, 5), b"xxxxx", "the others are fine");
        let stride = bytes.len() / 3;
        host.write_all_at(&bytes[2 * stride..], 0).unwrap();
        assert_eq!(file.read_at(Vec::new(), 0, 10).unwrap_err().kind(), ErrorKind::InvalidData);
    }
}

/// Every sector is written twice, and the ring begins anew when it is full.
#[test]
fn the_journal_has_everything_first() {
    let dir = Dir::new("journal");
    let disk = EmulatedDisk::create(&dir.0, Layout::Journaled, 0).unwrap();
    let file = disk.create("file").unwrap();
    let piece = vec![9; 1 << 20];
    for nth in 0..80u64 {
        file.write_at(&piece, nth << 20).unwrap();
    }
    file.sync().unwrap();
    let bytes = |name: &str| std::fs::metadata(dir.0.join(name)).unwrap().len();
    assert_eq!((bytes("file"), bytes("file.tags")), (80 << 20, 80 * 256 * 32));
    let journal = bytes("JOURNAL");
    assert!((60 << 20..=64 << 20).contains(&journal), "{journal}");
    assert_eq!(disk.list("").unwrap(), ["file"], "tags and journal are the device's own");
    assert!(read(&*file, 79 << 20, 1 << 20) == piece);
}

#[test]
fn pages_stay_within_their_room_and_spare_the_device() {
    let dir = Dir::new("pages");
    let disk = EmulatedDisk::create(&dir.0, Layout::Beside, 64 * SECTOR).unwrap();
    let file = disk.create("file").unwrap();
    file.write_at(&vec![1; 512 * SECTOR], 0).unwrap();
    file.sync().unwrap();
    for _ in 0..2 {
        for sector in 0..512u64 {
            read(&*file, sector * SECTOR as u64, SECTOR);
        }
    }
    assert!(disk.shared.pages.kept() <= 64 + 2, "{}", disk.shared.pages.kept());
    let before = disk.sectors().1;
    (0..100).for_each(|_| drop(read(&*file, 511 * SECTOR as u64, SECTOR)));
    assert!(disk.sectors().1 <= before + 1, "what was read is read from memory");
    drop(file);
    disk.remove("file").unwrap();
    assert_eq!(disk.shared.pages.kept(), 0);
}

#[test]
fn names_are_the_hosts() {
    let dir = Dir::new("names");
    let disk = EmulatedDisk::create(&dir.0, Layout::Journaled, 1 << 20).unwrap();
    let file = disk.create("a").unwrap();
    assert_eq!(disk.create("a").err().unwrap().kind(), ErrorKind::AlreadyExists);
    assert!(disk.create("../a").is_err());
    file.write_at(b"one", 0).unwrap();
    disk.rename("a", "b").unwrap();
    assert_eq!(disk.open("a").err().unwrap().kind(), ErrorKind::NotFound);
    assert_eq!(read(&*disk.open("b").unwrap(), 0, 9), b"one");
    disk.remove("b").unwrap();
    assert_eq!(read(&*file, 0, 9), b"one", "open files outlive their name");
    assert!(disk.list("").unwrap().is_empty());
    let _lock = disk.lock("LOCK").unwrap();
    assert!(disk.lock("LOCK").is_err());
}
