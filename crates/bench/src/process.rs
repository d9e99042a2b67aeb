//! What this process has used, from `/proc/self`: memory and bytes handed to the system.

use crate::Result;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Forgets the peak of resident memory, so that the next reading is of what follows.
pub fn reset_peak_rss() -> Result<()> {
    Ok(std::fs::write("/proc/self/clear_refs", "5")?)
}

/// The most resident memory since the last reset, bytes.
pub fn peak_rss() -> Result<u64> {
    Ok(field("/proc/self/status", "VmHWM:")? << 10)
}

/// Bytes that went through calls like `write`, by all threads.
pub fn bytes_written() -> Result<u64> {
    field("/proc/self/io", "wchar:")
}

/// The number behind `name` in a file of lines `name number …`.
fn field(path: &str, name: &str) -> Result<u64> {
    let text = std::fs::read_to_string(path)?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    Ok(value.ok_or_else(|| format!("{path} has no '{name}'"))?.parse()?)
}

/// The blocks that all files below `dir` occupy, bytes.
pub fn disk_bytes(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        // A file may go while its directory is read.
        let Ok(meta) = entry.metadata() else { continue };
        bytes += if meta.is_dir() { disk_bytes(&entry.path())? } else { meta.blocks() * 512 };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_shows_in_the_peak_until_it_is_reset() {
        reset_peak_rss().unwrap();
        let before = peak_rss().unwrap();
        let buffer = std::hint::black_box(vec![1u8; 64 << 20]);
        assert!(peak_rss().unwrap() >= before + (32 << 20));
        drop(buffer);
        reset_peak_rss().unwrap();
        assert!(peak_rss().unwrap() < before + (32 << 20));
    }

    #[test]
    fn written_bytes_and_occupied_blocks_are_counted() {
        let dir = std::env::temp_dir().join(format!("ringfort-bench-test-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("below")).unwrap();
        let before = bytes_written().unwrap();
        std::fs::write(dir.join("below/file"), vec![7; 100_000]).unwrap();
        assert!(bytes_written().unwrap() >= before + 100_000);
        // Some file systems allocate only when they write out.
        std::fs::File::open(dir.join("below/file")).unwrap().sync_all().unwrap();
        let bytes = disk_bytes(&dir).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        assert!((100_000..1_000_000).contains(&bytes), "{bytes}");
    }
}
