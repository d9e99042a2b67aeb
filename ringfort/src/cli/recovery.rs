//! `ringfort bench recovery`: how long a store takes to come back with its log, or with its tables
//! ([`ringfort_bench::recovery`]).

use super::report::Failure;
use ringfort::bench::Ringfort;
use ringfort_bench::recovery::{self, Args, Step, Subject};
use ringfort_bench::{Engine, Result, Settings};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// Mode `software`, sealed.
const SUBJECT: Subject = Subject { name: "ringfort", ways: &[("open", open)] };

fn open(dir: &Path, settings: &Settings) -> Result<Arc<dyn Engine>> {
    Ringfort::default().open(dir, settings)
}

/// Runs it.
pub(crate) fn recovery(args: &Args) -> std::result::Result<(), Failure> {
    let child = || {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "recovery-step"]);
        Ok(command)
    };
    recovery::run(args, &[SUBJECT], &child).map_err(|error| Failure::Other(error.to_string()))
}

/// One child of it.
pub(crate) fn step(step: &Step) -> std::result::Result<(), Failure> {
    recovery::step(step, &SUBJECT).map_err(|error| Failure::Other(error.to_string()))
}
