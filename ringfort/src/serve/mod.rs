//! # `ringfort serve`: from settings to a running server
//!
//! ```text
//! settings ─► harden the process ─► bind the addresses
//!          ─► open the store (verify, claim: or refuse, exit 3)
//!          ─► say what is served, and how it is protected ─► accept until told to stop
//!          ─► let connections finish their turn ─► stop the workers ─► anchor and close
//! ```
//!
//! Whatever can be wrong with settings and addresses is found before the store is made, or claimed
//! for a new life. Who connects while the store is being opened waits in the listener's queue.

mod listen;
pub(crate) mod stop;

use crate::cli::report::Failure;
use crate::cli::settings::Config;
use ringfort::{Error, Mode, Opened};
use ringfort_base::world::Clock;
use ringfort_host::door::{self, OsClock, OsEntropy};
use ringfort_node::config::DATABASES;
use ringfort_node::jobs::{Jobs, Spawner};
use ringfort_node::{Server, ServerConfig};
use ringfort_store::Store;
use std::io::{IsTerminal, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// What files, tables, the platform and the server itself may have open besides connections.
const FILES_BESIDES_CONNECTIONS: u64 = 256;

/// Prints a line to standard output. Nobody listening is no reason to stop.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Serves until told to stop.
pub(crate) fn run(config: &Config) -> Result<(), Failure> {
    let clock = OsClock::new();
    log_to_stderr(&config.log)?;
    if let Err(error) = door::harden_process() {
        tracing::warn!(%error, "the process could not be closed to debuggers and core dumps");
    }
    let files_max = door::raise_open_files().unwrap_or_else(|error| {
        tracing::warn!(%error, "the limit of open files could not be raised");
        door::open_files()
    });
    let doors = Doors::bind(config)?;
    let opened = config.options().open_store()?;
    let result = serve(config, &opened, doors, files_max, clock);
    // Whatever happened, what was acknowledged is anchored if that is still possible.
    let closed = opened.store.close();
    result?;
    closed.map_err(Failure::from)
}

fn log_to_stderr(filter: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter).map_err(|e| {
        Failure::Usage(format!("--log: '{filter}' is not a filter ({e}); write info or debug"))
    })?;
    let ansi = std::io::stderr().is_terminal();
    // Set once per process; a second one would be a bug that only costs messages.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(ansi)
        .with_writer(std::io::stderr)
        .try_init();
    Ok(())
}

/// Where clients and the operator's tools come in.
struct Doors {
    resp: TcpListener,
    admin: Option<TcpListener>,
}

impl Doors {
    fn bind(config: &Config) -> Result<Self, Failure> {
        let resp =
            config.resp.0.as_deref().ok_or_else(|| {
                Failure::Usage("--resp: a server without an address serves nobody".to_owned())
            })?;
        let resp = bind("resp", resp)?;
        let admin = config.admin.0.as_deref().map(|address| bind("admin", address)).transpose()?;
        Ok(Self { resp, admin })
    }
}

/// As many connections as were asked for, or as the limit of open files leaves room for.
fn connections_max(asked: u32, files_max: u64) -> usize {
    let room = files_max.saturating_sub(FILES_BESIDES_CONNECTIONS).max(1);
    usize::try_from(room.min(u64::from(asked))).unwrap_or(usize::MAX)
}

/// As the server has it: negative is never.
fn slower_than_us(threshold: Option<Duration>) -> i64 {
    threshold.map_or(-1, |time| i64::try_from(time.as_micros()).unwrap_or(i64::MAX))
}

fn serve(
    config: &Config,
    opened: &Opened,
    doors: Doors,
    files_max: u64,
    clock: OsClock,
) -> Result<(), Failure> {
    create_databases(config, &opened.store)?;
    let Doors { resp, admin } = doors;
    let port = resp.local_addr().map_or(0, |address| address.port());
    let maxclients = connections_max(config.maxclients, files_max);
    let server_config = ServerConfig {
        requirepass: config.requirepass.as_ref().map(|password| password.clone().into_bytes()),
        default_level: config.level,
        minimum_level: opened.store.minimum_level(),
        maxclients,
        idle_timeout: config.timeout.0,
        connection_memory_bytes: usize::try_from(config.connection_memory.0).unwrap_or(usize::MAX),
        txn_idle_timeout: config.txn_idle_timeout.0,
        txn_lock_timeout: config.txn_lock_timeout.0,
        txn_memory_bytes: usize::try_from(config.txn_memory.0).unwrap_or(usize::MAX),
        slowlog_log_slower_than_us: slower_than_us(config.slowlog_slower_than.0),
        port,
        ..ServerConfig::default()
    };
    let server = Server::new(opened.store.clone(), server_config, Arc::new(clock), &OsEntropy)?;
    let spawner: Spawner = Arc::new(|name, work| {
        if let Err(error) = door::spawn(name, work) {
            // The work is dropped with the closure, which counts the worker out.
            tracing::error!(%error, worker = name, "cannot start a worker");
        }
    });
    // Whoever reads that it is ready may ask for its end.
    let stop = stop::Stop::listen()?;
    let jobs = Jobs::start(&server, config.anchor_window.0, &spawner);
    let fewer = (maxclients < config.maxclients as usize).then(|| {
        format!(
            "at most {maxclients} connections, not {}: the process may open only {files_max} files; raise that limit \
             (ulimit -n, LimitNOFILE=)",
            config.maxclients
        )
    });
    announce(config, opened, &resp, admin.as_ref(), fewer, &clock);
    let result = listen::run(&server, resp, admin, config.threads.0, stop);
    jobs.stop();
    result?;
    match server.failure() {
        Some(error) => Err(error.clone().into()),
        None => Ok(()),
    }
}

/// New databases get the settings of new keyspaces; those that exist keep theirs.
fn create_databases(config: &Config, store: &Store) -> Result<(), Failure> {
    for n in 0..DATABASES {
        let name = format!("db{n}");
        if store.keyspace(&name).is_none() {
            store.create_keyspace(&name, config.keyspace_options())?;
        }
    }
    Ok(())
}

fn bind(flag: &str, address: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).map_err(|error| {
        Failure::Other(format!(
            "cannot listen on {address}: {error}. Is another server running there? Choose another address with --{flag}"
        ))
    })
}

fn announce(
    config: &Config,
    opened: &Opened,
    resp: &TcpListener,
    admin: Option<&TcpListener>,
    warning: Option<String>,
    clock: &OsClock,
) {
    let store = &opened.store;
    say(&format!("ringfort {}", env!("CARGO_PKG_VERSION")));
    say(&format!(
        "store     '{}' ({}), mode {}, life {}",
        config.store,
        store.id(),
        store.mode(),
        store.incarnation()
    ));
    say(&format!("platform  {}", opened.platform.describe()));
    if store.mode() != Mode::Software {
        say(&format!(
            "note      in mode {} freshness comes from the trusted volume: rolling back that volume itself is outside \
             the model",
            store.mode()
        ));
    }
    for warning in opened.warnings.iter().chain(&warning) {
        say(&format!("WARNING   {warning}"));
        tracing::warn!("{warning}");
    }
    let shown = |listener: &TcpListener| {
        listener.local_addr().map_or_else(|error| error.to_string(), |address| address.to_string())
    };
    let public = resp.local_addr().is_ok_and(|address| !address.ip().is_loopback());
    if public {
        let how =
            if config.requirepass.is_some() { "passwords and values" } else { "commands of anybody, values" };
        say(&format!(
            "WARNING   connections from other machines are not encrypted yet: {how} pass in the clear"
        ));
    }
    say(&format!("level     {} (a session may choose another with LEVEL)", config.level));
    say(&format!("admin     {}", admin.map_or_else(|| "off".to_owned(), shown)));
    say(&format!("resp      {}", shown(resp)));
    say(&format!("ready     after {} ms", clock.monotonic().as_millis()));
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Error::io("run", "the server", &error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_files() {
        assert_eq!(connections_max(10_000, u64::MAX), 10_000);
        assert_eq!(connections_max(10_000, 10_256), 10_000);
        assert_eq!(connections_max(10_000, 1024), 768);
        assert_eq!(connections_max(100, 1024), 100);
        assert_eq!(connections_max(10, 64), 1, "one is always let in, and may fail for itself");
    }
}
