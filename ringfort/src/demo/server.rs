//! `ringfort serve` as a child process: started on free ports, killed, stopped, or seen to refuse.

use crate::cli::report::EXIT_REFUSED;
use ringfort_base::world::Clock;
use ringfort_host::door::{self, OsClock};
use std::fs::File;
use std::io::{BufRead, BufReader, Error, Read, Result};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// A child that neither listens nor ends within this time hangs.
const START_TIME_MAX: Duration = Duration::from_secs(60);
const HANGS: &str = "a server neither listens nor ends";
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Where one store lives.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) data: PathBuf,
    pub(crate) platform: PathBuf,
    /// Settings beyond the places.
    pub(crate) settings: Vec<String>,
}

impl Place {
    /// `data` and `platform` below `root`.
    pub(crate) fn below(root: &Path, settings: &[String]) -> Self {
        Self { data: root.join("data"), platform: root.join("platform"), settings: settings.to_vec() }
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        // What the user has set for servers of his own is not meant for these.
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RINGFORT_"))
        {
            command.env_remove(name);
        }
        command.arg("serve").arg("--data").arg(&self.data).arg("--platform-state").arg(&self.platform);
        command.args(["--resp", "127.0.0.1:0", "--admin", "off", "--log", "warn", "--store", "demo"]);
        command.args(&self.settings).stdin(Stdio::null());
        Ok(command)
    }

    /// Starts the server and waits until it listens, or has refused to.
    pub(crate) fn start(&self) -> Result<Start> {
        let clock = OsClock::new();
        let errors = self.data.with_extension("stderr");
        let mut child = self.command()?.stdout(Stdio::piped()).stderr(File::create(&errors)?).spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| Error::other("the child has no output"))?;
        let mut server = Server { child, address: String::new(), errors, clock };
        let said = lines_of(stdout)?;
        loop {
            let left = START_TIME_MAX.saturating_sub(server.age());
            let line = match said.recv_timeout(left) {
                Ok(line) => line?,
                Err(RecvTimeoutError::Disconnected) => return server.wait().map(Start::Ended),
                // Dropping it kills it.
                Err(RecvTimeoutError::Timeout) => return Err(Error::other(HANGS)),
            };
            match line.split_once(' ').unwrap_or((&line, "")) {
                ("resp", address) => address.trim().clone_into(&mut server.address),
                ("ready", _) => return Ok(Start::Listens(server)),
                _ => {}
            }
        }
    }

    /// Starts a server that has to start.
    pub(crate) fn must_start(&self) -> std::result::Result<Server, String> {
        match self.start().map_err(|e| format!("cannot start a server: {e}"))? {
            Start::Listens(server) => Ok(server),
            Start::Ended(end) => Err(format!("the server did not start:\n{}", end.errors)),
        }
    }
}

/// The lines of a child, read by a thread: reading a pipe cannot be given up, waiting for the thread
/// can. It goes on when nobody listens any more: what the child says later must not fill the pipe.
fn lines_of(output: impl Read + Send + 'static) -> Result<Receiver<Result<String>>> {
    let (tell, said) = channel();
    door::spawn("demo-lines", move || {
        for line in BufReader::new(output).lines() {
            let failed = line.is_err();
            let _ = tell.send(line);
            if failed {
                break;
            }
        }
    })?;
    Ok(said)
}

/// What became of a start.
pub(crate) enum Start {
    /// It listens.
    Listens(Server),
    /// It ended instead.
    Ended(End),
}

/// How a server ended.
pub(crate) struct End {
    status: ExitStatus,
    /// What it said on standard error.
    pub(crate) errors: String,
    /// How long after its start.
    pub(crate) after: Duration,
}

impl End {
    /// Whether it refused on evidence.
    pub(crate) fn refused(&self) -> bool {
        self.status.code() == Some(i32::from(EXIT_REFUSED)) && self.errors.contains("REFUSED")
    }

    /// The kind of the refusal, evidence and place, in one line.
    pub(crate) fn evidence(&self) -> String {
        let word = self.errors.split_once("REFUSED (").and_then(|(_, rest)| rest.split(')').next());
        let field = |name: &str| {
            let line = self.errors.lines().find(|line| line.trim_start().starts_with(name));
            line.map_or("?", |line| line.trim_start().trim_start_matches(name).trim())
        };
        match word {
            Some(word) => {
                format!("{word}: {}, {} at {}", field("evidence"), field("file"), field("position"))
            }
            None => format!("{}: {}", self.status, self.errors.lines().next().unwrap_or_default()),
        }
    }

    /// What was proved, for machines.
    pub(crate) fn word(&self) -> Option<&str> {
        self.errors.split_once("REFUSED (").and_then(|(_, rest)| rest.split(')').next())
    }
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) address: String,
    errors: PathBuf,
    clock: OsClock,
}

impl Server {
    /// How long it took until it listened, or has run since.
    pub(crate) fn age(&self) -> Duration {
        self.clock.monotonic()
    }

    /// SIGKILL: as if the process had crashed.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// SIGTERM, and waits for the clean end.
    pub(crate) fn stop(mut self) -> std::result::Result<(), String> {
        let told = Command::new("sh").arg("-c").arg(format!("kill -TERM {}", self.child.id())).status();
        if !told.is_ok_and(|status| status.success()) {
            return Err("cannot send SIGTERM to the server".to_owned());
        }
        let end = self.wait().map_err(|e| e.to_string())?;
        if end.status.success() {
            Ok(())
        } else {
            Err(format!("the server did not end cleanly:\n{}", end.errors))
        }
    }

    /// Waits for an end that comes by itself.
    pub(crate) fn wait(&mut self) -> Result<End> {
        let begin = self.clock.monotonic();
        loop {
            if let Some(status) = self.child.try_wait()? {
                let errors = std::fs::read(&self.errors).unwrap_or_default();
                let errors = String::from_utf8_lossy(&errors).into_owned();
                return Ok(End { status, errors, after: self.clock.monotonic() });
            }
            if self.clock.monotonic() - begin > START_TIME_MAX {
                return Err(Error::other(HANGS));
            }
            door::sleep(LOOK_AGAIN);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
