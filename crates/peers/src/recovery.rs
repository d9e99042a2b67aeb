//! `recovery`: how long stores take to come back ([`ringfort_bench::recovery`]).
//!
//! Ringfort verifies each record of its log up to the trusted counter's anchor and claims the store
//! anew. RocksDB checks CRC-32C; as it is (`open`) it writes what it replayed to a table before it
//! serves, which Ringfort does afterwards; opened for reading only (`replay`) it replays and no more,
//! and that is the bar.

use crate::Result;
use crate::engines::{ringfort, rocksdb};
use ringfort_bench::recovery::{self, Step, Subject};
use std::process::Command;

/// The command line.
#[derive(Clone, Debug, clap::Args)]
#[command(rename_all = "snake_case")]
pub struct Args {
    /// The engines, in the order in which they take turns.
    #[arg(long, value_delimiter = ',', default_value = "ringfort,rocksdb")]
    pub engines: Vec<String>,
    #[command(flatten)]
    pub recovery: recovery::Args,
}

const SUBJECTS: &[Subject] = &[
    Subject { name: "ringfort", ways: &[("open", ringfort::open_software)] },
    Subject { name: "rocksdb", ways: &[("replay", rocksdb::replay), ("open", rocksdb::open)] },
];

fn by_name(name: &str) -> Result<Subject> {
    let found = SUBJECTS.iter().find(|subject| subject.name == name).copied();
    found.ok_or_else(|| format!("'{name}' is not measured here; there are: ringfort, rocksdb").into())
}

/// Runs the engines in turn.
pub fn run(args: &Args) -> Result<()> {
    let subjects = args.engines.iter().map(|name| by_name(name)).collect::<Result<Vec<_>>>()?;
    recovery::run(&args.recovery, &subjects, &|| {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("recovery-step");
        Ok(command)
    })
}

/// One child.
pub fn step(step: &Step) -> Result<()> {
    recovery::step(step, &by_name(&step.engine)?)
}
