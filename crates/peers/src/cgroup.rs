//! A memory limit that the kernel enforces: a control group per run, below the own one.
//!
//! ```text
//!   own group  (from /proc/self/cgroup and the mounts)
//!     └─ ringfort-peers-PID-N    limit, no swap; the child joins it before it opens a store
//! ```
//! Memory of the process and the page cache of its files count alike, so engines that cache for
//! themselves and engines that leave it to the system stand on the same ground.
//!
//! Both versions of the hierarchy are understood. Making a group takes rights that are often not
//! given (a container, an account without delegation). Then the comparison is refused with what the
//! kernel said: a limit that is not enforced would be a number that says something else.

use crate::Result;
use ringfort_host::memory::{self, Version};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often and how long to wait for the last process to leave before its group is removed.
const REMOVE_TRIES: usize = 50;
const REMOVE_PAUSE: Duration = Duration::from_millis(20);

/// A group of its own with a limit; removed when it is dropped.
pub struct Cgroup {
    version: Version,
    dir: PathBuf,
}

impl Cgroup {
    /// Makes a group with `limit` bytes below `parent`, or below the own group.
    pub fn create(limit: u64, parent: Option<&Path>) -> Result<Self> {
        static NTH: AtomicU64 = AtomicU64::new(0);
        let (version, parent) = match parent {
            Some(dir) if dir.join("cgroup.controllers").exists() => (Version::Two, dir.to_owned()),
            Some(dir) => (Version::One, dir.to_owned()),
            None => own_group()?,
        };
        let nth = NTH.fetch_add(1, Ordering::Relaxed);
        let dir = parent.join(format!("ringfort-peers-{}-{nth}", std::process::id()));
        std::fs::create_dir(&dir).map_err(|e| refused(&dir, &e.to_string()))?;
        let group = Self { version, dir };
        if version == Version::Two && !group.file("memory.max").exists() {
            // The memory controller is handed to the children of a group only on demand.
            let control = parent.join("cgroup.subtree_control");
            set(&control, "+memory").map_err(|e| refused(&group.dir, &e.to_string()))?;
        }
        for (name, value, needed) in settings(version, limit) {
            match set(&group.file(name), &value) {
                Ok(()) => {}
                Err(_) if !needed && no_swap() => {}
                Err(error) => return Err(refused(&group.dir, &format!("{name}: {error}"))),
            }
        }
        Ok(group)
    }

    /// Its directory: what a child is told to [`join`].
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the kernel killed a process for want of memory.
    pub fn ran_out(&self) -> bool {
        let (name, key) = match self.version {
            Version::One => ("memory.oom_control", "oom_kill "),
            Version::Two => ("memory.events", "oom_kill "),
        };
        let text = std::fs::read_to_string(self.file(name)).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok());
        count.is_some_and(|count| count > 0)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for _ in 0..REMOVE_TRIES {
            match std::fs::remove_dir(&self.dir) {
                Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                    ringfort_host::door::sleep(REMOVE_PAUSE);
                }
                _ => return,
            }
        }
        eprintln!("ringfort-peers: the control group {} stays behind: it is in use", self.dir.display());
    }
}

/// Puts this process into a group. For a child, before it does anything else.
pub fn join(dir: &Path) -> Result<()> {
    let file = dir.join("cgroup.procs");
    set(&file, &std::process::id().to_string()).map_err(|e| format!("{}: {e}", file.display()).into())
}

/// What a group is set to: file, value, and whether the limit is worth nothing without it. What
/// concerns swap alone may be missing on a machine that has none.
fn settings(version: Version, limit: u64) -> Vec<(&'static str, String, bool)> {
    match version {
        Version::One => vec![
            ("memory.limit_in_bytes", limit.to_string(), true),
            ("memory.memsw.limit_in_bytes", limit.to_string(), false),
            ("memory.swappiness", "0".to_owned(), false),
        ],
        Version::Two => {
            vec![("memory.max", limit.to_string(), true), ("memory.swap.max", "0".to_owned(), false)]
        }
    }
}

/// Writes to a file that exists. A file system of control groups has its files from the beginning.
fn set(path: &Path, value: &str) -> std::io::Result<()> {
    std::fs::OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

fn refused(dir: &Path, why: &str) -> Box<dyn std::error::Error + Send + Sync> {
    format!(
        "--memory_limit: no control group can be made: {}: {why}. It needs root, or a group that was handed to you; \
         try: systemd-run --user --scope -p Delegate=yes ringfort-peers …, or name one that you may write to with \
         --cgroup_parent DIR",
        dir.display()
    )
    .into()
}

fn no_swap() -> bool {
    // One line of headings.
    std::fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() <= 1)
}

fn own_group() -> Result<(Version, PathBuf)> {
    memory::own_group().ok_or_else(|| {
        "--memory_limit: this system mounts no control groups for memory; run without the option".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_get_the_limit_and_no_swap() {
        for (version, limit) in [(Version::One, "memory.limit_in_bytes"), (Version::Two, "memory.max")] {
            let all = settings(version, 4096);
            assert_eq!(all[0], (limit, "4096".to_owned(), true));
            assert!(all.iter().any(|(name, ..)| name.contains("swap")));
        }
    }

    #[test]
    fn a_directory_that_is_no_group_is_refused_and_nothing_stays() {
        let parent = std::env::temp_dir().join(format!("ringfort-cgroup-{}", std::process::id()));
        std::fs::create_dir_all(&parent).unwrap();
        let refused = Cgroup::create(1 << 20, Some(&parent)).err().unwrap().to_string();
        let left = std::fs::read_dir(&parent).unwrap().count();
        std::fs::remove_dir_all(&parent).unwrap();
        assert!(
            refused.contains("memory.limit_in_bytes") && refused.contains("--cgroup_parent"),
            "{refused}"
        );
        assert_eq!(left, 0);
        assert!(Cgroup::create(1, Some(&parent)).is_err(), "a parent that does not exist");
        assert!(join(&parent).is_err());
    }
}
