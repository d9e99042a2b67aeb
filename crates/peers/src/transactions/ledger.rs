//! [`Ledger`]: runs of points in the file of results, so that what was interrupted goes on.

use super::point::{Measured, Point};
use super::stores;
use crate::setup::build;
use crate::{Result, machine, results};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What its lines are called.
pub const KIND: &str = "transactions";

/// One run of one point, as the file has it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Line {
    kind: String,
    settings_hash: String,
    /// The program, by its content.
    build: String,
    /// What it was run for.
    pub part: String,
    pub repeat: usize,
    pub point: Point,
    #[serde(flatten)]
    pub measured: Measured,
    /// Name and version of the store.
    pub about: String,
    pub machine: String,
}

/// The file, and what it had when it was opened.
#[derive(Default)]
pub struct Ledger {
    path: Option<PathBuf>,
    runs: HashMap<(String, String, usize), Measured>,
}

impl Ledger {
    /// Opens the file; without a path, runs are not kept.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let lines: Vec<Line> = results::of_kind(&[path.to_owned()], KIND)?;
        let runs =
            lines.into_iter().map(|line| ((line.part, line.settings_hash, line.repeat), line.measured));
        Ok(Self { path: Some(path.to_owned()), runs: runs.collect() })
    }

    /// The run of this point and repeat, if the file has it.
    pub fn find(&self, part: &str, point: &Point, repeat: usize) -> Result<Option<Measured>> {
        Ok(self.runs.get(&(part.to_owned(), point.hash()?, repeat)).cloned())
    }

    /// Appends a run.
    pub fn add(&mut self, part: &str, point: &Point, repeat: usize, measured: &Measured) -> Result<()> {
        let line = Line {
            kind: KIND.to_owned(),
            settings_hash: point.hash()?,
            build: build().to_owned(),
            part: part.to_owned(),
            repeat,
            point: point.clone(),
            measured: measured.clone(),
            about: (stores::by_name(&point.store)?.about)(),
            machine: machine::describe(),
        };
        if let Some(path) = &self.path {
            ringfort_bench::lines::append(path, &[serde_json::to_string(&line)?])?;
        }
        self.runs.insert((line.part, line.settings_hash, repeat), line.measured);
        Ok(())
    }
}

/// The runs of some files; of several programs those of the last, part by part.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Line>> {
    let lines: Vec<Line> = results::of_kind(paths, KIND)?;
    let mut last: HashMap<String, String> = HashMap::new();
    lines.iter().for_each(|line| drop(last.insert(line.part.clone(), line.build.clone())));
    Ok(lines.into_iter().filter(|line| last.get(&line.part) == Some(&line.build)).collect())
}
