//! One run in a process of its own: a new directory, a control group if memory is limited, and the
//! results by a pipe.

use crate::Result;
use crate::cgroup::Cgroup;
use crate::compare::Turns;
use crate::results::Outcome;
use crate::setup::Setup;
use ringfort_bench::scratch::Scratch;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the kernel is to enforce.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Memory of a run, page cache included.
    pub bytes: u64,
    parent: Option<PathBuf>,
}

impl Limits {
    /// The limits that the command line asks for.
    pub fn of(turns: &Turns) -> Result<Option<Self>> {
        let Some(bytes) = turns.memory_limit else { return Ok(None) };
        Ok(Some(Self { bytes: u64::try_from(bytes)?, parent: turns.cgroup_parent.clone() }))
    }

    /// Whether they can be enforced.
    pub fn try_out(&self) -> Result<()> {
        self.enforce().map(drop)
    }

    fn enforce(&self) -> Result<Cgroup> {
        Cgroup::create(self.bytes, self.parent.as_deref())
    }
}

/// Runs it and waits for it.
pub fn run(setup: &Setup, dir: &Path, limits: Option<&Limits>, label: &str) -> Result<Vec<Outcome>> {
    let dir = Scratch::new(dir, "ringfort-peers")?;
    let group = limits.map(Limits::enforce).transpose()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("run").args(setup.flags()?).args(["--label", label]).arg("--dir").arg(&dir.0);
    if let Some(group) = &group {
        command.arg("--cgroup").arg(group.dir());
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut outcomes = Vec::new();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            outcomes.push(serde_json::from_str(&line?)?);
        }
    }
    let status = child.wait()?;
    if status.success() && outcomes.len() == setup.benchmarks.len() {
        return Ok(outcomes);
    }
    let mut why = format!("the run of '{}' failed: {status}", setup.engine);
    if group.is_some_and(|group| group.ran_out()) {
        why += "; the kernel killed it because its --memory_limit was too small for it";
    }
    Err(why.into())
}
