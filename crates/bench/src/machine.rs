//! The machine, as far as a reader of the numbers needs it, and how busy it was.

use std::path::Path;

/// What Linux's `statfs` calls a file system in memory.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// One line: processors, memory, system.
pub fn describe() -> String {
    let cpu = first("/proc/cpuinfo", "model name", ':').unwrap_or_else(|| "unknown processor".to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory_kib: u64 = first("/proc/meminfo", "MemTotal", ':')
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    let system = first("/etc/os-release", "PRETTY_NAME", '=').unwrap_or_else(|| "Linux".to_owned());
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{cores} x {cpu}, {} GiB, {}, Linux {}",
        memory_kib >> 20,
        system.trim_matches('"'),
        // The build's own suffix says nothing to a reader.
        kernel.trim().split('-').next().unwrap_or_default()
    )
}

/// The load of the last minute.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_owned()
}

/// Whether files in `dir` are only in memory, where a disk costs nothing.
pub fn is_in_memory(dir: &Path) -> bool {
    rustix::fs::statfs(dir).is_ok_and(|stat| u64::try_from(stat.f_type) == Ok(TMPFS_MAGIC))
}

/// The value of the first line that begins with `name`.
fn first(path: &str, name: &str, separator: char) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(separator)?.1.trim().to_owned())
}
