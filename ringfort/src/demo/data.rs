//! What is loaded: real data (the source files of Ringfort when run in its repository, otherwise
//! this program's own bytes) and generated records, whose values follow from their number, so that
//! every value read back can be checked in full.

use ringfort_fault::rng::SplitMix64;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest piece of a real file that becomes one value: long enough to lie in a value file.
const PIECE_BYTES: usize = 64 << 10;
/// Most of the real data.
const REAL_BYTES_MAX: usize = 16 << 20;
const RECORD_BYTES_MIN: u64 = 200;
const RECORD_BYTES_SPREAD: u64 = 1_600;

/// Everything that is loaded. Cheap to clone.
#[derive(Clone)]
pub(crate) struct DataSet {
    real: Arc<Vec<(String, Vec<u8>)>>,
    /// Where the real part comes from, for people.
    pub(crate) origin: String,
    /// How many generated records.
    pub(crate) generated: u64,
    /// Keys and values together.
    pub(crate) bytes: u64,
}

impl DataSet {
    /// About `bytes` of it.
    pub(crate) fn new(bytes: u64) -> Self {
        let (origin, real) = real_data((bytes as usize / 4).min(REAL_BYTES_MAX));
        let of_real: usize = real.iter().map(|(key, value)| key.len() + value.len()).sum();
        let (mut generated, mut total) = (0, of_real as u64);
        while total < bytes {
            let (key, value) = record(generated);
            total += (key.len() + value.len()) as u64;
            generated += 1;
        }
        Self { real: Arc::new(real), origin, generated, bytes: total }
    }

    /// How many entries.
    pub(crate) fn len(&self) -> u64 {
        self.real.len() as u64 + self.generated
    }

    /// The numbers of the entries that `database` holds.
    pub(crate) fn range(&self, database: Database) -> std::ops::Range<u64> {
        let real = self.real.len() as u64;
        match database {
            Database::Real => 0..real,
            Database::Generated => real..self.len(),
        }
    }

    /// The `nth` entry: database, key and value.
    pub(crate) fn entry(&self, nth: u64) -> (Database, String, Vec<u8>) {
        match self.real.get(nth as usize) {
            Some((key, value)) => (Database::Real, key.clone(), value.clone()),
            None => {
                let (key, value) = record(nth - self.real.len() as u64);
                (Database::Generated, key, value)
            }
        }
    }
}

/// Where entries are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Database {
    Generated,
    Real,
}

impl Database {
    /// In the order in which they are loaded.
    pub(crate) const ALL: [Self; 2] = [Self::Real, Self::Generated];

    /// The argument of SELECT.
    pub(crate) fn number(self) -> &'static str {
        match self {
            Self::Generated => "0",
            Self::Real => "1",
        }
    }
}

/// The `nth` generated record. Half of it does not compress.
fn record(nth: u64) -> (String, Vec<u8>) {
    let mut rng = SplitMix64::new(nth);
    let len = (RECORD_BYTES_MIN + rng.below(RECORD_BYTES_SPREAD)) as usize;
    let mut value = format!("{{\"record\": {nth}, \"bytes\": {len}, \"noise\": \"").into_bytes();
    let filler = value.len() + len / 2;
    value.resize(filler, b'.');
    value.resize(filler + len / 2, 0);
    rng.fill(&mut value[filler..]);
    (format!("record:{nth:08}"), value)
}

fn real_data(most: usize) -> (String, Vec<(String, Vec<u8>)>) {
    let mut pieces = Vec::new();
    let mut room = most;
    let mut add = |name: &str, bytes: &[u8]| {
        for (nth, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
            if room < piece.len() {
                return;
            }
            room -= piece.len();
            pieces.push((format!("{name}#{nth}"), piece.to_vec()));
        }
    };
    if let Some(root) = repository() {
        for path in source_files(&root) {
            let name = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
            add(&name, &std::fs::read(&path).unwrap_or_default());
        }
        return ("the repository's source files".to_owned(), pieces);
    }
    let program = std::env::current_exe().and_then(std::fs::read).unwrap_or_default();
    add("ringfort", &program);
    ("this program's own bytes".to_owned(), pieces)
}

/// The root of Ringfort's repository, if the current directory lies in it.
fn repository() -> Option<PathBuf> {
    let here = std::env::current_dir().ok()?;
    let is_root =
        |dir: &&Path| dir.join("ringfort/Cargo.toml").is_file() && dir.join("crates/trust").is_dir();
    here.ancestors().find(is_root).map(Path::to_owned)
}

/// Text files below `root`, sorted; no hidden directories and nothing that was built.
fn source_files(root: &Path) -> Vec<PathBuf> {
    let (mut files, mut dirs) = (Vec::new(), vec![root.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
                dirs.push(path);
            } else if kind.is_file()
                && path.extension().is_some_and(|end| end == "rs" || end == "md" || end == "toml")
            {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_the_same_every_time_and_have_different_keys() {
        let set = DataSet::new(300_000);
        assert!(set.bytes >= 300_000 && set.len() > set.generated, "{} of {}", set.generated, set.len());
        let keys: std::collections::BTreeSet<_> = (0..set.len()).map(|nth| set.entry(nth).1).collect();
        assert_eq!(keys.len() as u64, set.len());
        let again = DataSet::new(300_000);
        assert!((0..set.len()).all(|nth| set.entry(nth) == again.entry(nth)));
    }
}
