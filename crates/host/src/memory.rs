//! How much memory there is for this process: the machine's, or what its control group leaves it.
//!
//! ```text
//! /proc/meminfo                    MemTotal
//! /proc/self/cgroup + mountinfo ─▶ own group ─▶ its limit, and that of each group above
//! ```
//! Nothing safe hangs on it: the host may say what it likes, and it is used to choose between two ways
//! of reading the same bytes.

use std::path::{Path, PathBuf};

/// The two interfaces of the kernel to control groups.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// A hierarchy for each controller.
    One,
    /// One hierarchy.
    Two,
}

impl Version {
    /// The file of a group with its limit.
    const fn limit_file(self) -> &'static str {
        match self {
            Self::One => "memory.limit_in_bytes",
            Self::Two => "memory.max",
        }
    }
}

/// Memory that this process may have, bytes; `None` where the system does not say.
#[must_use]
pub fn total_bytes() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| in_meminfo(&text));
    let group = own_group().and_then(|(version, dir)| limit_of(version, &dir));
    machine.into_iter().chain(group).min()
}

/// The control group of this process that limits its memory, and where it is.
#[must_use]
pub fn own_group() -> Option<(Version, PathBuf)> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    find(&groups, &std::fs::read_to_string("/proc/self/mountinfo").ok()?)
}

fn in_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The least limit of a group and of those above it. A group without one says `max`, or a number that is
/// larger than any memory.
fn limit_of(version: Version, dir: &Path) -> Option<u64> {
    let limit = |dir: &Path| std::fs::read_to_string(dir.join(version.limit_file())).ok();
    dir.ancestors().map_while(limit).filter_map(|text| text.trim().parse().ok()).min()
}

/// The directory of the own group in the hierarchy that has the memory controller.
fn find(groups: &str, mounts: &str) -> Option<(Version, PathBuf)> {
    // The first version's line says which controllers it has: `4:memory:/path`. The second's has none: `0::/path`.
    let line = |controller: &str| {
        groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let found = parts.next()?.split(',').any(|name| name == controller);
            found.then(|| parts.next()).flatten()
        })
    };
    let one =
        line("memory").and_then(|path| Some((Version::One, mounted(mounts, "cgroup", "memory", path)?)));
    one.or_else(|| Some((Version::Two, mounted(mounts, "cgroup2", "", line("")?)?)))
}

/// Where `path` of a hierarchy is seen: `36 25 0:31 ROOT MOUNTPOINT options … - TYPE source options`.
fn mounted(mounts: &str, kind: &str, option: &str, path: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (place, what) = line.split_once(" - ")?;
        let mut what = what.split(' ');
        if what.next()? != kind {
            return None;
        }
        if !option.is_empty() && !what.nth(1)?.split(',').any(|name| name == option) {
            return None;
        }
        let mut place = place.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        // A container may see only a part of the hierarchy.
        let below = if root == "/" { path } else { path.strip_prefix(root)? };
        Some(Path::new(point).join(below.trim_start_matches('/')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_own_group_is_found_in_both_versions() {
        let one = find("8:pids:/\n4:cpuacct,memory:/a/b\n0::/c\n", MOUNTS);
        assert_eq!(one, Some((Version::One, "/sys/fs/cgroup/memory/a/b".into())));
        let two = "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = find("0::/user.slice/x.scope\n", two);
        assert_eq!(found, Some((Version::Two, "/sys/fs/cgroup/user.slice/x.scope".into())));
        assert_eq!(find("0::/\n", two), Some((Version::Two, "/sys/fs/cgroup/".into())));
    }

    #[test]
    fn a_container_sees_its_own_part() {
        let part = "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let found = find("0::/docker/abc/child\n", part);
        assert_eq!(found, Some((Version::Two, "/sys/fs/cgroup/child".into())));
        assert_eq!(find("0::/elsewhere\n", part), None);
    }

    #[test]
    fn without_the_memory_controller_there_is_no_group() {
        assert_eq!(find("", MOUNTS), None);
        assert_eq!(find("4:memory:/\n", "1 2 0:3 / /x rw - cgroup cgroup rw,cpu\n"), None);
        assert_eq!(find("nonsense\n::\n", "nonsense"), None);
    }

    #[test]
    fn the_machine_and_the_groups_above_say_how_much_there_is() {
        assert_eq!(in_meminfo("MemFree: 5 kB\nMemTotal:   24685060 kB\n"), Some(24_685_060 << 10));
        assert_eq!(in_meminfo("MemTotal: much"), None);
        let root = std::env::temp_dir().join(format!("ringfort-groups-{}", std::process::id()));
        let inner = root.join("a/b");
        std::fs::create_dir_all(&inner).unwrap();
        let set = |dir: &Path, text: &str| std::fs::write(dir.join("memory.max"), text).unwrap();
        set(&inner, "max\n");
        assert_eq!(limit_of(Version::Two, &inner), None, "no limit");
        set(&root.join("a"), "4096\n");
        set(&root, "8192\n");
        assert_eq!(limit_of(Version::Two, &inner), Some(4096), "that of a group above");
        std::fs::remove_dir_all(&root).unwrap();
        assert!(total_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
