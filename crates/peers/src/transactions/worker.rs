//! A store in a process of its own, which keeps it open and does what it is told, line by line:
//!
//! ```text
//!  parent ──{"Open":…} {"Load":…} {"Run":…} {"Run":…}──►  worker (one store, open, warm)
//!         ◄──"Done" "Done" {"Measured":…} {"Measured":…}──
//! ```
//! So every store is loaded once and stays warm, stores take turns at every point, and the processor time of each
//! is its own. A worker that is not asked does nothing: it answers when its background work is done.

use super::point::{Load, Measured, Point};
use super::stores::{self, By, Opening, Reads, Store};
use crate::{Result, engines};
use ringfort_base::Level;
use ringfort_bench::{Settings, tpcc};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// What a worker is told.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    Open(Open),
    Load(Load),
    Run(Box<Point>),
    /// TPC-C's consistency conditions.
    Check {
        warehouses: u32,
    },
}

/// How it opens its store.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Open {
    pub store: String,
    pub dir: PathBuf,
    pub by: By,
    pub counter_latency_us: u64,
    pub to_load: bool,
    pub settings: Settings,
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    Done,
    Measured(Measured),
    /// What does not hold.
    Violations(Vec<String>),
    Failed(String),
}

/// The worker: orders from standard input until it ends.
pub fn serve() -> Result<()> {
    let mut store: Option<Box<dyn Store>> = None;
    for line in std::io::stdin().lock().lines() {
        let done = serde_json::from_str(&line?).map_err(Into::into).and_then(|order| obey(order, &mut store));
        let reply = done.unwrap_or_else(|error| Reply::Failed(error.to_string()));
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(&reply)?)?;
        out.flush()?;
    }
    store.map_or(Ok(()), Store::close)
}

fn obey(order: Order, store: &mut Option<Box<dyn Store>>) -> Result<Reply> {
    let open = |store: &Option<Box<dyn Store>>| store.is_some();
    match order {
        Order::Open(_) if open(store) => Err("there is a store open".into()),
        Order::Open(Open { store: name, dir, by, counter_latency_us, to_load, settings }) => {
            let kind = stores::by_name(&name)?;
            let counter_latency = Duration::from_micros(counter_latency_us);
            std::fs::create_dir_all(&dir)?;
            let opening = Opening { settings: &settings, by, counter_latency };
            *store = Some(if to_load {
                (kind.open_to_load)(&dir, &opening)?
            } else {
                (kind.open)(&dir, &opening)?
            });
            Ok(Reply::Done)
        }
        order => match store {
            None => Err("there is no store open".into()),
            Some(store) => on_store(&order, &**store),
        },
    }
}

fn on_store(order: &Order, store: &dyn Store) -> Result<Reply> {
    let reply = match order {
        Order::Load(load) => {
            load.load(&*store.at(Level::Buffered, Reads::Tracked)?)?;
            Reply::Done
        }
        Order::Run(point) => {
            let reads = stores::by_name(&point.store)?.reads;
            Reply::Measured(point.run(&*store.at(point.level, reads)?)?)
        }
        Order::Check { warehouses } => {
            Reply::Violations(tpcc::check(&*store.at(Level::Buffered, Reads::Tracked)?, *warehouses)?)
        }
        Order::Open(_) => return Err("a store is opened once".into()),
    };
    engines::wait_until_idle();
    Ok(reply)
}

/// The parent's end.
pub struct Worker {
    open: Open,
    child: Child,
    orders: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts one; it opens the store.
    pub fn start(open: Open) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("transactions-worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take();
        let replies = child.stdout.take().ok_or("the worker has no output")?;
        let order = Order::Open(open.clone());
        let mut worker = Self { open, child, orders, replies: BufReader::new(replies) };
        worker.ask(&order)?;
        Ok(worker)
    }

    /// How it has opened its store.
    pub fn open(&self) -> &Open {
        &self.open
    }

    /// Where its store lies.
    pub fn dir(&self) -> &Path {
        &self.open.dir
    }

    /// Loads it.
    pub fn load(&mut self, load: Load) -> Result<()> {
        self.ask(&Order::Load(load)).map(drop)
    }

    /// Runs a point.
    pub fn run(&mut self, point: &Point) -> Result<Measured> {
        match self.ask(&Order::Run(Box::new(point.clone())))? {
            Reply::Measured(measured) => Ok(measured),
            other => Err(format!("a worker answered {other:?}").into()),
        }
    }

    /// Which of TPC-C's consistency conditions do not hold.
    pub fn check(&mut self, warehouses: u32) -> Result<Vec<String>> {
        match self.ask(&Order::Check { warehouses })? {
            Reply::Violations(violations) => Ok(violations),
            other => Err(format!("a worker answered {other:?}").into()),
        }
    }

    /// Ends it, and waits until its store is closed.
    pub fn close(mut self) -> Result<()> {
        self.orders = None;
        let status = self.child.wait()?;
        status.success().then_some(()).ok_or_else(|| format!("'{}': {status}", self.open.store).into())
    }

    fn ask(&mut self, order: &Order) -> Result<Reply> {
        let name = &self.open.store;
        let orders = self.orders.as_mut().ok_or("the worker is closed")?;
        let mut line = String::new();
        let sent = writeln!(orders, "{}", serde_json::to_string(order)?).and_then(|()| orders.flush());
        if sent.is_err() || self.replies.read_line(&mut line)? == 0 {
            return Err(format!("the process of '{name}' ended: {}", self.child.wait()?).into());
        }
        match serde_json::from_str(&line)? {
            Reply::Failed(why) => Err(format!("'{name}': {why}").into()),
            reply => Ok(reply),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.orders = None;
        // It ends by itself when its input does; one that failed is ended.
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.child.wait();
        }
    }
}
