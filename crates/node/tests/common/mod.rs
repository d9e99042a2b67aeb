//! A server over a world in memory: disks, a clock that is set by hand, entropy from a seed, the
//! simulated platform; and clients over in-memory streams that speak RESP.
#![allow(dead_code, reason = "each test binary uses its part")]

use ringfort_base::world::{Clock, Device, Entropy};
use ringfort_base::{Level, Untrusted};
use ringfort_fault::clock::ManualClock;
use ringfort_fault::device::FaultDevice;
use ringfort_fault::entropy::SeededEntropy;
use ringfort_fault::memory::MemDisk;
use ringfort_fault::script::FaultDisk;
use ringfort_node::jobs::{Jobs, Spawner};
use ringfort_node::server::Lane;
use ringfort_node::{Peer, Server, ServerConfig, door};
use ringfort_protocol::front::resp::{Buffer, Decoder, Value, client::append_command};
use ringfort_store::{Store, StoreOptions, World};
use ringfort_trust::platform::sim::{SimDevice, SimPlatform};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::Barrier;

/// Long enough for a loaded machine, short enough to notice a hang.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The anchor window of most tests.
const WINDOW: Duration = Duration::from_millis(20);

/// A running server. Its background workers have threads; without [`Rig::jobs`] stopped they end with
/// the process.
pub struct Rig {
    pub server: Arc<Server>,
    pub clock: Arc<ManualClock>,
    pub data: MemDisk,
    /// The platform's state.
    pub platform: MemDisk,
    /// The data volume as the store sees it.
    pub faults: FaultDisk,
    /// The counter's device as the store sees it.
    pub bus: Arc<FaultDevice>,
    pub jobs: Jobs,
    /// Of each runtime, by its thread.
    lanes: Mutex<HashMap<ThreadId, Arc<Lane>>>,
    clients: AtomicU64,
}

impl Rig {
    /// With default settings.
    pub fn new() -> Self {
        Self::with(ServerConfig::default())
    }

    /// With settings.
    pub fn with(config: ServerConfig) -> Self {
        let clock = ManualClock::new(Duration::from_secs(1_700_000_000));
        let clock = Arc::new(clock);
        Self::over(
            config,
            MemDisk::new(),
            MemDisk::new(),
            Arc::clone(&clock) as Arc<dyn Clock>,
            clock,
            7,
            WINDOW,
        )
    }

    /// With a clock that runs by itself; `Rig::clock` does nothing.
    pub fn in_real_time(config: ServerConfig, anchor_window: Duration) -> Self {
        let clock = Arc::new(ManualClock::new(Duration::ZERO));
        #[expect(clippy::disallowed_methods, reason = "tests have no host to ask for the time")]
        let real = Arc::new(RealClock(std::time::Instant::now()));
        Self::over(config, MemDisk::new(), MemDisk::new(), real, clock, 7, anchor_window)
    }

    /// With a clock that counts how often the time of day is read.
    pub fn with_counted_clock() -> (Self, Arc<AtomicU64>) {
        let clock = Arc::new(ManualClock::new(Duration::from_secs(1_700_000_000)));
        let looked = Arc::new(AtomicU64::new(0));
        let counted = Arc::new(CountedClock(Arc::clone(&clock), Arc::clone(&looked)));
        let config = ServerConfig { default_level: Level::Buffered, ..ServerConfig::default() };
        (Self::over(config, MemDisk::new(), MemDisk::new(), counted, clock, 7, WINDOW), looked)
    }

    /// The server that starts after this one's process was killed.
    pub fn after_kill(&self) -> Self {
        let (data, platform) = (self.data.process_kill(), self.platform.process_kill());
        self.jobs.stop();
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        Self::over(self.server.config().clone(), data, platform, clock, Arc::clone(&self.clock), 8, WINDOW)
    }

    fn over(
        config: ServerConfig,
        data: MemDisk,
        platform: MemDisk,
        running: Arc<dyn Clock>,
        clock: Arc<ManualClock>,
        seed: u64,
        anchor_window: Duration,
    ) -> Self {
        let faults = FaultDisk::new(Arc::new(data.clone()));
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(seed));
        let device = SimDevice::new(Arc::new(platform.clone()), Arc::clone(&entropy));
        let bus = Arc::new(FaultDevice::new(Arc::new(device)));
        let world = World {
            data: Arc::new(faults.clone()),
            trusted: None,
            clock: Arc::clone(&running),
            entropy: Arc::clone(&entropy),
            platform: Arc::new(SimPlatform::new(Arc::clone(&bus) as Arc<dyn Device>)),
        };
        let options = StoreOptions { memory_budget: 32 << 20, ..StoreOptions::default() };
        let store = Store::open(world, options).expect("opens");
        let server = Server::new(store, config, running, &*entropy).expect("starts");
        let jobs = Jobs::start(&server, anchor_window, &spawner());
        Self {
            server,
            clock,
            data,
            platform,
            faults,
            bus,
            jobs,
            lanes: Mutex::default(),
            clients: AtomicU64::new(0),
        }
    }

    /// At a level, which makes tests of other things than levels fast.
    pub fn at(level: Level) -> Self {
        Self::with(ServerConfig { default_level: level, ..ServerConfig::default() })
    }

    /// A new connection.
    pub fn connect(&self) -> Client {
        let (ours, theirs) = duplex(64 * 1024);
        let n = self.clients.fetch_add(1, Ordering::Relaxed) + 1;
        let peer = Peer { remote: format!("10.0.0.1:{n}"), local: "10.0.0.2:6379".to_owned() };
        let server = Arc::clone(&self.server);
        let mut lanes = self.lanes.lock().expect("no panic");
        let lane = Arc::clone(lanes.entry(std::thread::current().id()).or_insert_with(|| server.lane()));
        drop(lanes);
        door::spawn(async move { server.serve_connection(&lane, theirs, peer).await });
        Client { stream: ours, buffer: Buffer::new(), decoder: Decoder::new(1 << 30) }
    }
}

/// A clock set by hand, and how often it was looked at.
struct CountedClock(Arc<ManualClock>, Arc<AtomicU64>);

impl Clock for CountedClock {
    fn wall(&self) -> Untrusted<Duration> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.wall()
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
}

/// A clock that runs, from a fixed date on.
struct RealClock(std::time::Instant);

impl Clock for RealClock {
    fn wall(&self) -> Untrusted<Duration> {
        Untrusted::new(Duration::from_secs(1_700_000_000) + self.0.elapsed())
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Threads for the workers.
pub fn spawner() -> Spawner {
    Arc::new(|name, work| {
        #[expect(clippy::disallowed_methods, reason = "tests have no host to ask for threads")]
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
        drop(thread.expect("a thread"));
    })
}

/// A client.
pub struct Client {
    pub stream: DuplexStream,
    buffer: Buffer,
    decoder: Decoder,
}

impl Client {
    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("sends");
    }

    /// The next `n` bytes.
    pub async fn take(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        let read = door::within(Some(PATIENCE), self.stream.read_exact(&mut bytes)).await;
        match read {
            Some(Ok(_)) => bytes,
            Some(Err(error)) => panic!("the stream ended before {n} bytes: {error}"),
            None => panic!("no {n} bytes in time"),
        }
    }

    /// Everything up to the end of the stream.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        door::within(Some(PATIENCE), self.stream.read_to_end(&mut bytes))
            .await
            .expect("ends in time")
            .expect("ends");
        bytes
    }

    /// The next reply; `None` at the end of the stream.
    pub async fn reply(&mut self) -> Option<Value> {
        loop {
            if let Some(value) = self.decoder.next(&mut self.buffer).expect("valid replies") {
                return Some(value);
            }
            let space = self.buffer.space(16 * 1024);
            let n = door::within(Some(PATIENCE), self.stream.read(space)).await.expect("in time").ok()?;
            if n == 0 {
                return None;
            }
            self.buffer.commit(n);
        }
    }

    /// Sends a command and waits for its reply.
    pub async fn call(&mut self, args: &[&[u8]]) -> Value {
        let mut bytes = Vec::new();
        append_command(&mut bytes, args);
        self.send(&bytes).await;
        self.reply().await.expect("a reply")
    }

    /// [`Client::call`] with words.
    pub async fn run(&mut self, line: &str) -> Value {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.call(&args).await
    }
}

/// The text of a bulk, status or error; the digits of an integer.
pub fn text(value: &Value) -> String {
    if let Some(error) = value.as_error() {
        return error;
    }
    if let Some(n) = value.as_integer() {
        return n.to_string();
    }
    value.as_bytes().map_or_else(|| format!("{value:?}"), |b| String::from_utf8_lossy(b).into_owned())
}

/// The texts of an array.
pub fn texts(value: &Value) -> Vec<String> {
    value.as_array().expect("an array").iter().map(text).collect()
}

/// Runs a command that succeeds.
pub async fn ok(client: &mut Client, line: &str) {
    assert_eq!(text(&client.run(line).await), "OK", "{line}");
}

/// Queues a command.
pub async fn queue(client: &mut Client, line: &str) {
    assert_eq!(text(&client.run(line).await), "QUEUED", "{line}");
}

/// Whether it is nil.
pub fn is_null(value: &Value) -> bool {
    text(value) == "Null"
}

/// The first word of a reply.
pub fn word(value: &Value) -> String {
    text(value).split(' ').next().unwrap_or_default().to_owned()
}

/// Sends a command whose reply must not come yet.
pub async fn blocked(client: &mut Client, line: &str) {
    client.send(format!("{line}\r\n").as_bytes()).await;
    let early = door::within(Some(Duration::from_millis(30)), client.reply()).await;
    assert!(early.is_none(), "{line} was answered: {early:?}");
}

/// The text of the next reply.
pub async fn reply(client: &mut Client) -> String {
    text(&client.reply().await.expect("a reply"))
}

/// A rig whose sessions have the level `buffered`, in real time.
pub fn at_buffered(change: impl FnOnce(&mut ServerConfig)) -> Rig {
    let mut config = ServerConfig { default_level: Level::Buffered, ..ServerConfig::default() };
    change(&mut config);
    Rig::in_real_time(config, Duration::from_millis(20))
}

/// Runs a test on a runtime as the binary builds it: one thread, and a small pool.
pub fn on_runtime(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .expect("a runtime");
    runtime.block_on(test);
}

/// Runs `work` for each of so many clients at once and waits for all.
pub async fn all_at_once<F: Future<Output = ()> + Send + 'static>(
    rig: &Rig,
    connections: usize,
    work: impl Fn(usize, Client) -> F,
) {
    let done = Arc::new(Barrier::new(connections + 1));
    for n in 0..connections {
        let (task, done) = (work(n, rig.connect()), Arc::clone(&done));
        door::spawn(async move {
            task.await;
            done.wait().await;
        });
    }
    let waited = door::within(Some(PATIENCE * 3), done.wait()).await;
    assert!(waited.is_some(), "a connection did not finish");
}
