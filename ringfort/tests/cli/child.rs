//! A directory with a store, and the binary run on it.

#[path = "../support/dir.rs"]
mod shared;

pub use shared::{Dir, contents};

use ringfort_base::world::Clock;
use ringfort_host::door::{self, OsClock};
use ringfort_protocol::front::resp::client::append_command;
use ringfort_protocol::front::resp::{Buffer, Decoder, Value};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

impl Dir {
    /// The binary with a command, in an environment without settings.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfort"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("RINGFORT_") {
                command.env_remove(name);
            }
        }
        command.args(words).current_dir(self.root()).stdin(Stdio::null());
        command
    }

    /// A line of shell, in the same place and environment as [`Dir::command`].
    pub fn sh(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RINGFORT_"))
        {
            command.env_remove(name);
        }
        command.args(["-c", line]).current_dir(self.root()).stdin(Stdio::null());
        command
    }

    /// As [`Dir::command`], on this directory's store.
    pub fn on_store(&self, words: &[&str]) -> Command {
        let mut command = self.command(words);
        command.arg("--data").arg(self.path("data")).arg("--platform-state").arg(self.path("platform"));
        command
    }

    /// A server on free ports.
    pub fn serve(&self, flags: &[&str]) -> Server {
        let mut command = self.on_store(&["serve", "--resp", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.args(flags);
        Server::start(command)
    }

    /// Runs a command that ends by itself.
    pub fn run(&self, words: &[&str]) -> Output {
        self.on_store(words).output().unwrap()
    }
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A running server; killed when dropped.
pub struct Server {
    pub child: Child,
    pub resp: String,
    pub admin: String,
    /// What it said at its start.
    pub said: String,
    /// From its start until a client could be answered.
    pub ready_after: Duration,
}

impl Server {
    pub fn start(mut command: Command) -> Self {
        let clock = OsClock::new();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let (mut said, mut line) = (String::new(), String::new());
        while !line.starts_with("ready") {
            line.clear();
            if lines.read_line(&mut line).unwrap() == 0 {
                let mut errors = String::new();
                child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
                panic!("it did not start: {said}\n{errors}");
            }
            said.push_str(&line);
        }
        let word = |name: &str| {
            let line = said.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.trim_start_matches(name).trim().to_owned()
        };
        let (resp, admin) = (word("resp"), word("admin"));
        // Pipes that nobody reads would stop it.
        door::spawn("drain", move || std::io::copy(&mut lines, &mut std::io::sink())).unwrap();
        Self { child, resp, admin, said, ready_after: clock.monotonic() }
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.resp)
    }

    /// SIGTERM; the exit code and what it said on standard error.
    pub fn stop(mut self) -> (Option<i32>, String) {
        self.signal("TERM");
        self.end()
    }

    /// Sends a signal, by its name.
    pub fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").arg("-c").arg(line).status().unwrap().success());
    }

    /// Waits for the end.
    pub fn end(&mut self) -> (Option<i32>, String) {
        for _ in 0..3_000 {
            if let Some(status) = self.child.try_wait().unwrap() {
                let mut errors = String::new();
                if let Some(mut stderr) = self.child.stderr.take() {
                    stderr.read_to_string(&mut errors).unwrap();
                }
                return (status.code(), errors);
            }
            door::sleep(Duration::from_millis(10));
        }
        panic!("the server does not end");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A RESP connection.
pub struct Client {
    stream: TcpStream,
    decoder: Decoder,
    buffer: Buffer,
}

impl Client {
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { stream, decoder: Decoder::new(64 << 20), buffer: Buffer::new() }
    }

    /// One command, whose reply is not waited for.
    pub fn send(&mut self, command: &[&[u8]]) -> std::io::Result<()> {
        let mut out = Vec::new();
        append_command(&mut out, command);
        self.stream.write_all(&out)
    }

    /// One command and its reply; an error if the connection broke.
    pub fn try_call(&mut self, command: &[&[u8]]) -> std::io::Result<Value> {
        self.send(command)?;
        loop {
            if let Some(value) = self.decoder.next(&mut self.buffer).unwrap() {
                return Ok(value);
            }
            let n = match self.stream.read(self.buffer.space(4096)) {
                // A read with a timeout is not begun again by the system.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            if n == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            self.buffer.commit(n);
        }
    }

    /// One command in words, and its reply.
    pub fn call(&mut self, command: &str) -> Value {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        self.try_call(&words).unwrap()
    }
}

/// GET of a path from the admin endpoint: the status line and the rest.
pub fn http_get(address: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (status, rest) = reply.split_once("\r\n").unwrap();
    (status.to_owned(), rest.to_owned())
}
