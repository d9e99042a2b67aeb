//! The attacks, one by one: what the host does to a stopped store, and what must come of it.
//!
//! Each row of [`ATTACKS`] gets its own copy of the store. What stands for the trusted hardware is
//! copied with it, as it is: the host of a real one could not turn it back either. The attacker is
//! the host, and may do anything to the files.

use super::kill::Ledger;
use super::tree;
use ringfort_fault::attack;
use ringfort_fault::rng::SplitMix64;
use ringfort_host::disk::OsDisk;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One line of the table.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) changed: String,
    pub(crate) expected: &'static str,
    pub(crate) got: String,
    pub(crate) took: Duration,
    pub(crate) ok: bool,
}

/// What the attacker has to work with.
pub(crate) struct Spoils {
    /// The whole data directory as it was some time before.
    pub(crate) older: PathBuf,
    /// The log's directory as it was a little before, within the present life.
    pub(crate) older_log: PathBuf,
    /// What was acknowledged since then, so that rolling back loses something.
    pub(crate) since: Ledger,
}

/// What must come of an attack.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Refused at the start or at the first read; the kind of evidence does not matter.
    Refused,
    /// Refused as a rollback.
    Rollback,
    /// It opens, and everything is there.
    Opens,
}

impl Expect {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Rollback => "refused: rollback",
            Self::Opens => "opens, all data right",
        }
    }
}

/// Changes the files of a data directory and says what it changed.
type Strike = fn(&Target<'_>) -> Result<String>;

/// An attack, or an honest control beside them.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) expect: Expect,
    pub(crate) strike: Strike,
}

const fn attack(name: &'static str, expect: Expect, strike: Strike) -> Attack {
    Attack { name, expect, strike }
}

pub(crate) const ATTACKS: &[Attack] = &[
    attack("control: untouched copy", Expect::Opens, |_| Ok("nothing".to_owned())),
    attack("bit flip in the log", Expect::Refused, |target| {
        let (log, used) = target.log()?;
        target.flip(&log, used / 4..used / 2)
    }),
    attack("bit flip in a table's data", Expect::Refused, |target| {
        let table = target.largest(TABLE)?;
        let len = target.len(&table)?;
        target.flip(&table, 0..len / 2)
    }),
    attack("bit flip in a table's footer", Expect::Refused, |target| {
        let table = target.largest(TABLE)?;
        let len = target.len(&table)?;
        target.flip(&table, len - 16..len)
    }),
    attack("bit flip in the MANIFEST", Expect::Refused, |target| {
        let manifest = target.manifest()?;
        let len = target.used(&manifest)?;
        target.flip(&manifest, len / 4..len / 2)
    }),
    attack("bit flip in the key file", Expect::Refused, |target| {
        let keys = target.newest("", "KEYS.")?;
        let len = target.len(&keys)?;
        target.flip(&keys, 0..len)
    }),
    attack("log cut below the anchor", Expect::Refused, |target| {
        let (log, used) = target.log()?;
        attack::truncate(&target.disk, &log, used / 2)?;
        Ok(format!("{log}: cut from {used} to {} bytes", used / 2))
    }),
    attack("log segment deleted", Expect::Refused, |target| {
        let (log, _) = target.log()?;
        attack::delete(&target.disk, &log)?;
        Ok(format!("{log}: gone"))
    }),
    attack("table deleted", Expect::Refused, |target| {
        let table = target.largest(TABLE)?;
        attack::delete(&target.disk, &table)?;
        Ok(format!("{table}: gone"))
    }),
    attack("two tables swapped", Expect::Refused, |target| {
        let tables = target.present(TABLE)?;
        let [one, .., other] = tables.as_slice() else { return Err(Error::other("fewer than two tables")) };
        attack::swap(&target.disk, one, other)?;
        Ok(format!("{one} <-> {other}"))
    }),
    attack("table replaced by an older one", Expect::Refused, |target| {
        let table = target.largest(TABLE)?;
        let older = target.former(TABLE)?;
        attack::write_file(&target.disk, &table, &std::fs::read(&older)?)?;
        Ok(format!("{table} := former {}", file_name(&older)))
    }),
    attack("bit flip in a value", Expect::Refused, |target| {
        let values = target.largest(VALUES)?;
        let len = target.len(&values)?;
        target.flip(&values, 0..len / 2)
    }),
    attack("value file replaced by an older one", Expect::Refused, |target| {
        let values = target.largest(VALUES)?;
        let older = target.former(VALUES)?;
        attack::write_file(&target.disk, &values, &std::fs::read(&older)?)?;
        Ok(format!("{values} := former {}", file_name(&older)))
    }),
    attack("log spliced", Expect::Refused, |target| {
        let (log, used) = target.log()?;
        let (from, to, len) = (used / 4, used / 2, 512);
        attack::splice(&target.disk, &log, from, len, &log, to)?;
        Ok(format!("{log}: {len} bytes of {from} over {to}"))
    }),
    attack("log replaced by an older copy", Expect::Rollback, |target| {
        let (log, used) = target.log()?;
        let older = std::fs::read(target.spoils.older_log.join(file_name(Path::new(&log))))?;
        let then = older.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        attack::write_file(&target.disk, &log, &older)?;
        Ok(format!("{log}: {used} bytes back to {then}"))
    }),
    attack("whole directory rolled back", Expect::Rollback, |target| {
        std::fs::remove_dir_all(target.data)?;
        tree::copy(&target.spoils.older, target.data)?;
        Ok("all files: an older copy".to_owned())
    }),
    attack("directory emptied", Expect::Refused, |target| {
        attack::empty(&target.disk)?;
        Ok("all files: gone".to_owned())
    }),
];

/// How the names of tables end.
const TABLE: &str = ".sst";
/// How the names of value files end.
const VALUES: &str = ".blob";

/// The directory that an attack works on.
pub(crate) struct Target<'a> {
    pub(crate) data: &'a Path,
    pub(crate) disk: OsDisk,
    pub(crate) spoils: &'a Spoils,
    /// Where the random choices come from.
    pub(crate) seed: u64,
}

impl Target<'_> {
    fn flip(&self, path: &str, within: std::ops::Range<u64>) -> Result<String> {
        let offset = attack::flip_somewhere(&self.disk, path, within, self.seed)?;
        Ok(format!("{path}: one bit at {offset}"))
    }

    /// The segment that is written to, and how much of it is used.
    pub(crate) fn log(&self) -> Result<(String, u64)> {
        let path = self.newest("wal", "")?;
        let used = self.used(&path)?;
        Ok((path, used))
    }

    fn manifest(&self) -> Result<String> {
        self.newest("", "MANIFEST-")
    }

    /// The file with the highest number.
    fn newest(&self, dir: &str, start: &str) -> Result<String> {
        let found = tree::files(&self.data.join(dir), "")?;
        let names = found.iter().map(|path| file_name(path)).filter(|name| name.starts_with(start));
        let name = names.max().ok_or_else(|| Error::other(format!("there is no {dir}/{start}*")))?;
        Ok(if dir.is_empty() { name } else { format!("{dir}/{name}") })
    }

    fn present(&self, end: &str) -> Result<Vec<String>> {
        let found = tree::files(&self.data.join("tables"), end)?;
        Ok(found.iter().map(|path| format!("tables/{}", file_name(path))).collect())
    }

    fn largest(&self, end: &str) -> Result<String> {
        let mut files = self
            .present(end)?
            .into_iter()
            .map(|path| Ok((self.len(&path)?, path)))
            .collect::<Result<Vec<_>>>()?;
        files.sort();
        files.pop().map(|(_, path)| path).ok_or_else(|| Error::other(format!("there is no {end} file")))
    }

    /// A file that the store had before, under a name that is not in use now.
    fn former(&self, end: &str) -> Result<PathBuf> {
        let now = self.present(end)?;
        let older = tree::files(&self.spoils.older.join("tables"), end)?;
        let former = older.into_iter().find(|path| !now.contains(&format!("tables/{}", file_name(path))));
        former.ok_or_else(|| Error::other(format!("no {end} file was compacted away")))
    }

    fn len(&self, path: &str) -> Result<u64> {
        Ok(std::fs::metadata(self.data.join(path))?.len())
    }

    /// Up to the last byte that is not zero: files are allocated ahead.
    fn used(&self, path: &str) -> Result<u64> {
        let bytes = std::fs::read(self.data.join(path))?;
        Ok(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1))
    }
}

/// A seed for the attacks of this run; printed, so that a run can be understood later.
pub(crate) fn seeds(first: u64) -> impl Iterator<Item = u64> {
    let mut rng = SplitMix64::new(first);
    std::iter::repeat_with(move || rng.next_u64())
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_threat_model_lists_every_attack() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/threat-model.md");
        let text = std::fs::read_to_string(path).unwrap();
        // Lines break anywhere.
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for attack in super::ATTACKS {
            assert!(text.contains(attack.name), "docs/threat-model.md does not know '{}'", attack.name);
        }
    }
}
