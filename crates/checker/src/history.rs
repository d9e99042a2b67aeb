//! A history: what the clients did and saw. One JSON object a line where it is kept in a file.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{self, BufRead, Write};

/// What a client knows of the end of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The commit was acknowledged.
    Committed,
    /// It was refused or rolled back: nothing of it may ever be seen.
    Aborted,
    /// No answer came, or the answer was "outcome unknown": it may have happened, or happen later.
    Unknown,
}

/// What one operation of a transaction did and saw.
///
/// A key is a list or a register for the whole history. In each key a value is written at most once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Appends a value to the list of a key.
    Append {
        /// The key.
        key: u64,
        /// The value, unique in its key.
        value: u64,
    },
    /// Saw a whole list; one that does not exist is empty.
    List {
        /// The key.
        key: u64,
        /// The elements, oldest first.
        values: Vec<u64>,
    },
    /// Saw all lists of a range of keys; those that are not named did not exist.
    ScanLists {
        /// The first key of the range.
        from: u64,
        /// The first key behind it.
        to: u64,
        /// What was found.
        found: Vec<(u64, Vec<u64>)>,
    },
    /// Writes a register.
    Write {
        /// The key.
        key: u64,
        /// The value, unique in its key.
        value: u64,
    },
    /// Saw a register; `None` if it was never written.
    Read {
        /// The key.
        key: u64,
        /// The value.
        value: Option<u64>,
    },
    /// Saw all registers of a range of keys; those that are not named were never written.
    ScanValues {
        /// The first key of the range.
        from: u64,
        /// The first key behind it.
        to: u64,
        /// What was found.
        found: Vec<(u64, u64)>,
    },
}

/// A transaction as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Txn {
    /// Who ran it: a session's transactions do not overlap.
    pub session: u32,
    /// When it began, on one clock for all sessions, in any unit.
    pub start: u64,
    /// When its end was known; of no meaning if the outcome is unknown.
    pub end: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// What it did, in order. Reads of a transaction that did not commit are not looked at.
    pub ops: Vec<Op>,
}

/// Why a history cannot be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub(crate) String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the history cannot be checked: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// Reads a history, one JSON object a line; empty lines are skipped.
///
/// # Errors
/// [`Malformed`] with the number of the line that cannot be read.
pub fn read_json_lines(from: impl BufRead) -> Result<Vec<Txn>, Malformed> {
    let mut history = Vec::new();
    for (number, line) in from.lines().enumerate() {
        let malformed = |e: &dyn fmt::Display| Malformed(format!("line {}: {e}", number + 1));
        let line = line.map_err(|e| malformed(&e))?;
        if !line.trim().is_empty() {
            history.push(serde_json::from_str(&line).map_err(|e| malformed(&e))?);
        }
    }
    Ok(history)
}

/// Writes a history as [`read_json_lines`] reads it.
///
/// # Errors
/// Those of the writer.
pub fn write_json_lines(mut to: impl Write, history: &[Txn]) -> io::Result<()> {
    for txn in history {
        serde_json::to_writer(&mut to, txn)?;
        to.write_all(b"\n")?;
    }
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        let ops = vec![Op::Append { key: 1, value: 2 }, Op::Read { key: 3, value: None }];
        let txn = Txn { session: 4, start: 5, end: 6, outcome: Outcome::Unknown, ops };
        let history = vec![txn.clone(), Txn { outcome: Outcome::Committed, ops: Vec::new(), ..txn }];
        let mut lines = Vec::new();
        write_json_lines(&mut lines, &history).unwrap();
        assert_eq!(read_json_lines(&lines[..]).unwrap(), history);
    }
}
