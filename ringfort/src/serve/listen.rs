//! Listeners and runtimes.
//!
//! One thread accepts and hands connections round-robin to the *lanes*: threads with a
//! single-threaded runtime each. A connection stays in its lane for life, so its session is never
//! moved between cores.
//!
//! ```text
//!   accept ──► lane 0: connections 0, n, 2n, …
//!          └─► lane 1: connections 1, n+1, …            SIGTERM, SIGINT: finish turns, then end
//!   admin  ──► on the accepting thread                  a second one: end at once
//! ```

use super::stop::Stop;
use crate::cli::report::Failure;
use ringfort_host::door;
use ringfort_node::admin::serve_admin;
use ringfort_node::{Peer, Server};
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::{TcpListener as StdListener, TcpStream as StdStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// A connection on which nothing came for this long is asked whether it is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(300);
/// And asked again, until the system gives up (after nine times on Linux).
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// After an accept that failed (no descriptors are left, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Admin requests at once; more wait in the listener's queue.
const ADMIN_REQUESTS_MAX: usize = 32;
/// Threads of each lane for reads that go to the disk.
const READERS_PER_LANE: usize = 4;

/// Replies leave at once; a client that vanished without a word is noticed and gives its place up.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Accepts until a signal comes or the server asks for an end, and lets connections finish.
pub(super) fn run(
    server: &Arc<Server>,
    resp: StdListener,
    admin: Option<StdListener>,
    lanes: usize,
    stop: Stop,
) -> Result<(), Failure> {
    let lanes: Vec<Lane> = (0..lanes).map(|nth| Lane::start(nth, server)).collect::<io::Result<_>>()?;
    runtime()?.block_on(accept(server, resp, admin, &lanes, stop))?;
    lanes.into_iter().for_each(Lane::end);
    Ok(())
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().max_blocking_threads(READERS_PER_LANE).build()
}

/// A thread with its runtime.
struct Lane {
    connections: UnboundedSender<(StdStream, Peer)>,
    thread: JoinHandle<()>,
}

impl Lane {
    fn start(nth: usize, server: &Arc<Server>) -> io::Result<Self> {
        let (connections, mut arriving) = unbounded_channel::<(StdStream, Peer)>();
        let server = Arc::clone(server);
        let runtime = runtime()?;
        let thread = door::spawn(&format!("ringfort-lane-{nth}"), move || {
            runtime.block_on(async {
                let lane = server.lane();
                while let Some((stream, peer)) = arriving.recv().await {
                    match TcpStream::from_std(stream) {
                        Ok(stream) => {
                            let (server, lane) = (Arc::clone(&server), Arc::clone(&lane));
                            ringfort_node::door::spawn(async move {
                                server.serve_connection(&lane, stream, peer).await;
                            });
                        }
                        Err(error) => tracing::warn!(%error, "a connection was lost at the door"),
                    }
                }
            });
            // What did not finish in time is cut off; reads that are at the disk are not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self { connections, thread })
    }

    fn end(self) {
        drop(self.connections);
        if self.thread.join().is_err() {
            tracing::error!("a lane ended by a panic");
        }
    }
}

async fn accept(
    server: &Arc<Server>,
    resp: StdListener,
    admin: Option<StdListener>,
    lanes: &[Lane],
    mut stop: Stop,
) -> io::Result<()> {
    if let Some(admin) = admin {
        ringfort_node::door::spawn(accept_admin(Arc::clone(server), to_tokio(admin)?));
    }
    let resp = to_tokio(resp)?;
    for lane in lanes.iter().cycle() {
        let accepted = tokio::select! {
            accepted = resp.accept() => accepted,
            () = server.shutdown_requested() => {
                stop.begin();
                break;
            }
            name = stop.asked() => {
                tracing::info!(signal = name, "shutting down; once more to end at once");
                break;
            }
        };
        if let Err(error) = accepted.and_then(|(stream, remote)| hand_over(lane, stream, &remote.to_string()))
        {
            tracing::warn!(%error, "cannot accept a connection");
            ringfort_node::door::sleep(ACCEPT_PAUSE).await;
        }
    }
    drop(resp);
    server.shut_down().await;
    Ok(())
}

fn hand_over(lane: &Lane, stream: TcpStream, remote: &str) -> io::Result<()> {
    prepare(&stream)?;
    let peer = Peer { remote: remote.to_owned(), local: stream.local_addr()?.to_string() };
    lane.connections.send((stream.into_std()?, peer)).map_err(|_| io::Error::other("the lane has ended"))
}

async fn accept_admin(server: Arc<Server>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(ADMIN_REQUESTS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let server = Arc::clone(&server);
                ringfort_node::door::spawn(async move {
                    // How such a request ends is its client's business.
                    let _ = serve_admin(&server, stream).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an admin connection");
                ringfort_node::door::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn to_tokio(listener: StdListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_does_not_outlive_its_client_in_silence() {
        runtime().unwrap().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (accepted, _) = listener.accept().await.unwrap();
            assert!(!SockRef::from(&accepted).keepalive().unwrap(), "no system does it by itself");
            prepare(&accepted).unwrap();
            assert!(SockRef::from(&accepted).keepalive().unwrap() && accepted.nodelay().unwrap());
        });
    }
}
