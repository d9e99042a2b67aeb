//! The results file: one JSON object a line, appended to and never rewritten.
//!
//! ```text
//! {"kind":"run", …}       one benchmark of one run, appended when its process has ended
//! {"kind":"result", …}    one engine at one benchmark: medians over the repeats, appended when all are in
//! {"kind":"server", …}    one server at one test, likewise
//! {"kind":"recovery", …}  one opening of one store
//! {"kind":"fresh", …}     one kind of run of `ringfort bench fresh`, with its repeats
//! ```
//! An interrupted comparison goes on where it was: a run whose setup has the same number
//! ([`Setup::hash`]) and the same repeat is taken from the file. A last line that was torn when the
//! program was killed is left behind and passed over; any other line that is no JSON is an error.

use crate::report::Row;
use crate::setup::{Setup, build};
use crate::{Result, server};
use ringfort_bench::Measured;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// One benchmark of one run, as the file has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct RunLine {
    kind: String,
    settings_hash: String,
    /// This program, by its content.
    #[serde(default)]
    build: String,
    repeat: usize,
    /// The number of the benchmark in the run's list, and how many there are.
    step: usize,
    steps: usize,
    setup: Setup,
    #[serde(flatten)]
    outcome: Outcome,
}

/// What became of one benchmark of a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Outcome {
    /// It was measured.
    Measured(Box<Measured>),
    /// The engine has no such operation.
    Skipped {
        /// Which.
        benchmark: ringfort_bench::Benchmark,
        /// Why.
        skipped: String,
    },
}

impl Outcome {
    /// What was measured, if it was.
    pub fn measured(&self) -> Option<&Measured> {
        match self {
            Self::Measured(measured) => Some(measured),
            Self::Skipped { .. } => None,
        }
    }
}

/// The file, and what it had when it was opened.
#[derive(Default)]
pub struct Book {
    path: Option<PathBuf>,
    runs: HashMap<(String, usize), Vec<Outcome>>,
    results: Vec<String>,
}

impl Book {
    /// Opens the file; without a path, runs are not kept.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let mut book = Self { path: Some(path.to_owned()), ..Self::default() };
        let mut steps: HashMap<(String, usize), Vec<RunLine>> = HashMap::new();
        for (kind, line) in lines(path)? {
            match kind.as_str() {
                "run" => {
                    let line: RunLine = serde_json::from_str(&line)?;
                    steps.entry((line.settings_hash.clone(), line.repeat)).or_default().push(line);
                }
                "result" => book.results.push(line),
                _ => {}
            }
        }
        for (key, mut lines) in steps {
            lines.sort_by_key(|line| line.step);
            lines.dedup_by_key(|line| line.step);
            // One that lacks a part is run again.
            if lines.first().is_some_and(|first| first.steps == lines.len()) {
                book.runs.insert(key, lines.into_iter().map(|line| line.outcome).collect());
            }
        }
        Ok(book)
    }

    /// The run of this setup and repeat, if the file has it.
    pub fn find(&self, setup: &Setup, repeat: usize) -> Result<Option<Vec<Outcome>>> {
        Ok(self.runs.get(&(setup.hash()?, repeat)).cloned())
    }

    /// Appends a run that has ended.
    pub fn add(&mut self, setup: &Setup, repeat: usize, run: &[Outcome]) -> Result<()> {
        let hash = setup.hash()?;
        let line = |(step, outcome): (usize, &Outcome)| {
            serde_json::to_string(&RunLine {
                kind: "run".to_owned(),
                settings_hash: hash.clone(),
                build: build().to_owned(),
                repeat,
                step,
                steps: run.len(),
                setup: setup.clone(),
                outcome: outcome.clone(),
            })
        };
        let lines = run.iter().enumerate().map(line).collect::<std::result::Result<Vec<_>, _>>()?;
        self.append(&lines)?;
        self.runs.insert((hash, repeat), run.to_vec());
        Ok(())
    }

    /// Appends results, except those that the file has word for word.
    pub fn conclude(&mut self, rows: &[Row]) -> Result<()> {
        let lines = rows.iter().map(serde_json::to_string).collect::<std::result::Result<Vec<_>, _>>()?;
        let new: Vec<String> = lines.into_iter().filter(|line| !self.results.contains(line)).collect();
        self.append(&new)?;
        self.results.extend(new);
        Ok(())
    }

    /// Appends lines of another kind.
    pub fn append(&self, new: &[String]) -> Result<()> {
        self.path.as_ref().map_or(Ok(()), |path| ringfort_bench::lines::append(path, new))
    }
}

/// The results of some files; of those that say the same thing, the last.
pub fn results(paths: &[PathBuf]) -> Result<Vec<Row>> {
    if let Some(missing) = paths.iter().find(|path| !path.exists()) {
        let missing = missing.display();
        return Err(format!("{missing}: there is no such file; compare --json FILE writes one").into());
    }
    let mut rows: Vec<Row> = Vec::new();
    for row in of_kind::<Row>(paths, "result")? {
        rows.retain(|other| !other.is_same_point(&row));
        rows.push(row);
    }
    Ok(rows)
}

/// The results of servers of some files; of those that say the same thing, the last.
pub fn of_servers(paths: &[PathBuf]) -> Result<Vec<server::Row>> {
    let mut rows: Vec<server::Row> = Vec::new();
    for row in of_kind::<server::Row>(paths, server::KIND)? {
        rows.retain(|other| !other.is_same_point(&row));
        rows.push(row);
    }
    Ok(rows)
}

/// All runs of one setup by one program.
pub struct Series {
    /// The setup.
    pub setup: Setup,
    /// The program: later ones have greater numbers.
    pub build: usize,
    /// The figures that it is a point of.
    pub figures: Vec<String>,
    /// Whether it is (also) one of a comparison.
    pub compared: bool,
    /// The benchmarks of each repeat.
    pub repeats: BTreeMap<usize, BTreeMap<usize, Outcome>>,
}

/// The runs of some files, in the order in which their setups first came.
pub fn series(paths: &[PathBuf]) -> Result<Vec<Series>> {
    let (mut all, mut by_hash): (Vec<Series>, HashMap<String, usize>) = Default::default();
    let (mut builds, mut concluded): (Vec<String>, Vec<Row>) = Default::default();
    for path in paths {
        let named = |error: serde_json::Error| format!("{}: {error}", path.display());
        for (kind, line) in lines(path)? {
            match kind.as_str() {
                "run" => {
                    let line: RunLine = serde_json::from_str(&line).map_err(named)?;
                    let build = builds.iter().position(|known| *known == line.build).unwrap_or_else(|| {
                        builds.push(line.build.clone());
                        builds.len() - 1
                    });
                    let nth = *by_hash.entry(line.settings_hash).or_insert_with(|| {
                        let (setup, repeats) = (line.setup, BTreeMap::new());
                        all.push(Series { setup, build, figures: Vec::new(), compared: false, repeats });
                        all.len() - 1
                    });
                    all[nth].repeats.entry(line.repeat).or_default().insert(line.step, line.outcome);
                }
                "result" => concluded.push(serde_json::from_str(&line).map_err(named)?),
                _ => {}
            }
        }
    }
    for row in concluded {
        let Some(series) = by_hash.get(&row.settings_hash).and_then(|nth| all.get_mut(*nth)) else {
            continue;
        };
        match row.figure {
            Some(figure) if series.figures.contains(&figure) => {}
            Some(figure) => series.figures.push(figure),
            None => series.compared = true,
        }
    }
    // What was interrupted before its medians is a comparison until a figure claims it.
    all.iter_mut().for_each(|series| series.compared |= series.figures.is_empty());
    Ok(all)
}

/// The lines of one kind of some files, in order.
pub fn of_kind<T: serde::de::DeserializeOwned>(paths: &[PathBuf], kind: &str) -> Result<Vec<T>> {
    let mut found = Vec::new();
    for path in paths {
        for (_, line) in lines(path)?.into_iter().filter(|(of, _)| of == kind) {
            found.push(serde_json::from_str(&line).map_err(|e| format!("{}: {e}", path.display()))?);
        }
    }
    Ok(found)
}

/// What every line of ours begins with.
const OURS: &str = "{\"kind\":\"";

/// The lines of a file with their kinds. One that does not exist has none.
fn lines(path: &Path) -> Result<Vec<(String, String)>> {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(default)]
        kind: String,
    }
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("{}: {error}", path.display()).into()),
    };
    // A torn line may end within a character.
    let text = String::from_utf8_lossy(&bytes);
    let mut found = Vec::new();
    for (nth, line) in text.split_inclusive('\n').enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match serde_json::from_str::<Kind>(line.trim()) {
            Ok(Kind { kind }) => found.push((kind, line.trim().to_owned())),
            // One of ours, torn when the program was killed; what was appended later begins on a line of its own.
            Err(_) if OURS.starts_with(line.trim()) || line.starts_with(OURS) => {}
            Err(error) => return Err(format!("{}:{}: {error}", path.display(), nth + 1).into()),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{measured, setup};
    use ringfort_bench::Benchmark;

    struct File(PathBuf);

    impl File {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ringfort-results-{name}-{}", std::process::id()));
            let _ = std::fs::remove_file(&path);
            Self(path)
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn run() -> Vec<Outcome> {
        let one = Outcome::Measured(Box::new(measured(Benchmark::FillRandom, 1000.0)));
        vec![one, Outcome::Skipped { benchmark: Benchmark::MergeRandom, skipped: "unsupported".into() }]
    }

    #[test]
    fn a_run_that_is_in_the_file_is_found_again() {
        let file = File::new("again");
        let setup = setup("ringfort");
        let mut book = Book::open(Some(&file.0)).unwrap();
        assert_eq!(book.find(&setup, 1).unwrap(), None);
        book.add(&setup, 1, &run()).unwrap();
        let book = Book::open(Some(&file.0)).unwrap();
        assert_eq!(book.find(&setup, 1).unwrap(), Some(run()));
        assert_eq!(book.find(&setup, 2).unwrap(), None, "another repeat");
        let other = Setup { threads: 2, ..setup };
        assert_eq!(book.find(&other, 1).unwrap(), None, "another setup");
    }

    #[test]
    fn a_torn_line_is_passed_over_and_its_run_repeated() {
        let file = File::new("torn");
        let setup = setup("ringfort");
        Book::open(Some(&file.0)).unwrap().add(&setup, 1, &run()).unwrap();
        let whole = std::fs::read_to_string(&file.0).unwrap();
        // Every place at which the program may have been killed.
        for end in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
            std::fs::write(&file.0, &whole[..end]).unwrap();
            let mut book = Book::open(Some(&file.0)).unwrap();
            // Without its newline the last line is whole all the same.
            let complete = end == whole.len() - 1;
            assert_eq!(book.find(&setup, 1).unwrap().is_some(), complete, "{end}");
            book.add(&setup, 1, &run()).unwrap();
            let book = Book::open(Some(&file.0)).unwrap();
            assert_eq!(book.find(&setup, 1).unwrap(), Some(run()), "{end}");
        }
    }

    #[test]
    fn a_line_that_is_no_json_is_an_error_that_names_it() {
        let file = File::new("wrong");
        std::fs::write(&file.0, "{\"other\":1}\n\nnonsense\n{}\n").unwrap();
        let error = Book::open(Some(&file.0)).err().unwrap().to_string();
        assert!(error.contains(":3:"), "{error}");
    }

    #[test]
    fn results_are_appended_once_and_read_back() {
        let file = File::new("results");
        let rows = crate::report::tests::rows();
        let mut book = Book::open(Some(&file.0)).unwrap();
        book.conclude(&rows).unwrap();
        let len = std::fs::metadata(&file.0).unwrap().len();
        Book::open(Some(&file.0)).unwrap().conclude(&rows).unwrap();
        assert_eq!(std::fs::metadata(&file.0).unwrap().len(), len, "nothing is said twice");
        assert_eq!(results(std::slice::from_ref(&file.0)).unwrap(), rows);
        let text = std::fs::read_to_string(&file.0).unwrap();
        let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        for key in [
            "engine",
            "benchmark",
            "threads",
            "value_size",
            "block_size",
            "ops_per_sec",
            "cpu_us_per_op",
            "p99_us",
        ] {
            assert!(first.get(key).is_some_and(|value| !value.is_null()), "{key}: {first}");
        }
    }

    #[test]
    fn a_newer_result_takes_the_place_of_an_older_one() {
        let file = File::new("newer");
        let mut rows = crate::report::tests::rows();
        let mut book = Book::open(Some(&file.0)).unwrap();
        book.conclude(&rows).unwrap();
        rows[0].ops_per_sec *= 2.0;
        book.conclude(&rows).unwrap();
        let found = results(std::slice::from_ref(&file.0)).unwrap();
        assert_eq!(found.len(), rows.len());
        assert!(found.contains(&rows[0]));
        assert!(results(&["/nowhere/at all".into()]).is_err());
    }
}
