//! A server as a child process, and `redis-benchmark` against it.

use super::{Args, Level};
use crate::Result;
use ringfort_base::world::Clock;
use ringfort_host::door::{self, OsClock};
use rustix::process::{Pid, Signal};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long a server may take to answer, or to end.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Which server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Ringfort,
    Redis,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ringfort => "ringfort",
            Self::Redis => "redis",
        }
    }

    /// What a reader of the numbers has to know.
    pub fn about(self, level: Level) -> String {
        match self {
            Self::Ringfort => format!(
                "ringfort serve {}, mode software, level {}, simulated counter",
                env!("CARGO_PKG_VERSION"),
                level.name()
            ),
            Self::Redis => format!("redis-server, appendonly yes, appendfsync {}", fsync(level)),
        }
    }
}

/// Redis's name of the level.
const fn fsync(level: Level) -> &'static str {
    match level {
        Level::Buffered => "everysec",
        Level::Durable => "always",
    }
}

/// One command at one depth.
#[derive(Clone, PartialEq, Debug)]
pub struct Test {
    pub command: String,
    pub pipeline: u32,
    pub ops_per_sec: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// Processor time of the server alone.
    pub cpu_us_per_op: f64,
    pub peak_rss_bytes: f64,
}

/// Whether a program can be started.
pub fn need(program: &Path, name: &str, flag: &str) -> Result<()> {
    let tried = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match tried {
        Ok(_) => Ok(()),
        Err(error) => Err(format!(
            "{}: {error}; crates/peers/setup.sh installs {name} (Debian: apt-get install redis-server redis-tools), \
             or name it with {flag}",
            program.display()
        )
        .into()),
    }
}

/// A server that answers; ended when it is dropped.
pub struct Running {
    kind: Kind,
    child: Child,
    port: u16,
}

impl Running {
    /// Starts one on a free port, with its data below `dir`.
    pub fn start(kind: Kind, program: &Path, dir: &Path, level: Level) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(program);
        match kind {
            Kind::Ringfort => {
                command.args(["serve", "--admin=off", "--log=error"]);
                command.arg(format!("--resp=127.0.0.1:{port}")).arg(format!("--level={}", level.name()));
                command.arg("--data").arg(dir.join("data")).arg("--platform-state").arg(dir.join("platform"));
            }
            Kind::Redis => {
                command.args([
                    "--bind",
                    "127.0.0.1",
                    "--save",
                    "",
                    "--appendonly",
                    "yes",
                    "--loglevel",
                    "warning",
                ]);
                command.args(["--port", &port.to_string(), "--appendfsync", fsync(level)]);
                command.arg("--dir").arg(dir);
            }
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|e| format!("{}: {e}", program.display()))?;
        let mut server = Self { kind, child, port };
        server.wait_until_it_answers()?;
        Ok(server)
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let clock = OsClock::new();
        loop {
            if answers(self.port) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("{} ended before it served: {status}", self.kind.name()).into());
            }
            if clock.monotonic() > PATIENCE {
                let (name, seconds) = (self.kind.name(), PATIENCE.as_secs());
                return Err(format!("{name} did not answer within {seconds} s").into());
            }
            door::sleep(LOOK_AGAIN);
        }
    }

    /// SET and GET at one depth.
    pub fn drive(&self, args: &Args, pipeline: u32) -> Result<Vec<Test>> {
        let mut tests = Vec::new();
        for command in ["SET", "GET"] {
            let before = cpu_seconds(self.child.id())?;
            let output = Command::new(&args.redis_benchmark)
                .args([
                    "-h",
                    "127.0.0.1",
                    "-p",
                    &self.port.to_string(),
                    "--csv",
                    "-t",
                    &command.to_lowercase(),
                ])
                .args(["-n", &args.requests.to_string(), "-d", &args.value_size.to_string()])
                .args(["-c", &args.clients.to_string(), "-P", &pipeline.to_string()])
                .args(["-r", &args.keys.to_string()])
                .stdin(Stdio::null())
                .output()?;
            let text = String::from_utf8_lossy(&output.stdout);
            let Some((ops_per_sec, p50_us, p99_us)) =
                parse(&text, command).filter(|_| output.status.success())
            else {
                let errors = String::from_utf8_lossy(&output.stderr);
                let (name, status) = (self.kind.name(), output.status);
                return Err(
                    format!("redis-benchmark of {command} on {name}: {status}: {text}{errors}").into()
                );
            };
            let cpu = cpu_seconds(self.child.id())? - before;
            tests.push(Test {
                command: command.to_owned(),
                pipeline,
                ops_per_sec,
                p50_us,
                p99_us,
                cpu_us_per_op: cpu * 1e6 / args.requests as f64,
                peak_rss_bytes: peak_rss(self.child.id())?,
            });
        }
        Ok(tests)
    }

    /// Asks it to end, and sees that it ends well.
    pub fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or("a process without a number")?;
        rustix::process::kill_process(pid, Signal::TERM)?;
        let clock = OsClock::new();
        while clock.monotonic() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                return match status.success() {
                    true => Ok(()),
                    false => Err(format!("{} ended with {status}", self.kind.name()).into()),
                };
            }
            door::sleep(LOOK_AGAIN);
        }
        Err(format!("{} did not end within {} s", self.kind.name(), PATIENCE.as_secs()).into())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // It did not end when it was asked, or something else failed: its data goes anyway.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn answers(port: u16) -> bool {
    let ping = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"*1\r\n$4\r\nPING\r\n")?;
        let mut reply = [0; 5];
        stream.read_exact(&mut reply)?;
        Ok(reply == *b"+PONG")
    };
    ping().unwrap_or(false)
}

/// Rate, median and p99 of a command, in microseconds, from `redis-benchmark --csv`.
fn parse(text: &str, command: &str) -> Option<(f64, f64, f64)> {
    let fields = |line: &str| -> Vec<String> {
        line.trim().split("\",\"").map(|field| field.trim_matches('"').to_owned()).collect()
    };
    let heading = fields(text.lines().find(|line| line.starts_with("\"test\""))?);
    let row = fields(text.lines().find(|line| line.starts_with(&format!("\"{command}")))?);
    let field = |name: &str| -> Option<f64> {
        row.get(heading.iter().position(|heading| heading == name)?)?.parse().ok()
    };
    Some((field("rps")?, field("p50_latency_ms")? * 1000.0, field("p99_latency_ms")? * 1000.0))
}

/// User and system time of a process so far.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = cpu_ticks(&text).ok_or_else(|| format!("/proc/{pid}/stat cannot be read"))?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The fields `utime` and `stime`; the name of the program may hold anything, brackets too.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

fn peak_rss(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib =
        text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
    let kib: f64 = kib.ok_or_else(|| format!("/proc/{pid}/status has no VmHWM"))?;
    Ok(kib * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: &str = "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\"p95_latency_ms\",\
        \"p99_latency_ms\",\"max_latency_ms\"\n\"SET\",\"98231.83\",\"0.285\",\"0.096\",\"0.263\",\"0.383\",\"0.623\",\"2.111\"\n";

    #[test]
    fn what_redis_benchmark_says_is_understood() {
        let (rate, p50, p99) = parse(CSV, "SET").unwrap();
        assert_eq!((rate, p50, p99.round()), (98_231.83, 263.0, 623.0));
        assert_eq!(parse(CSV, "GET"), None);
        assert_eq!(parse("", "SET"), None);
        assert_eq!(parse("\"test\",\"rps\"\n\"SET\",\"x\"\n", "SET"), None);
    }

    #[test]
    fn processor_time_is_read_whatever_the_program_is_called() {
        let stat = "12 (a ) b) S 1 12 12 0 -1 4194304 100 0 0 0 70 30 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_ticks(stat), Some(100));
        assert_eq!(cpu_ticks("nonsense"), None);
        assert!(cpu_seconds(std::process::id()).unwrap() >= 0.0);
        assert!(peak_rss(std::process::id()).unwrap() > 1e6);
    }

    #[test]
    fn a_port_that_nobody_serves_does_not_answer() {
        assert!(!answers(free_port().unwrap()));
    }

    #[test]
    fn a_server_that_ends_at_once_is_an_error() {
        let error = Running::start(Kind::Redis, Path::new("/bin/true"), Path::new("."), Level::Buffered);
        assert!(error.err().unwrap().to_string().contains("ended before it served"));
        assert!(need(Path::new("/nowhere/x"), "x", "--x").unwrap_err().to_string().contains("setup.sh"));
    }
}
