//! One client's connection: read, run a turn, write, again.
//!
//! It never holds more than its share: the request buffer grows only as far as the server's byte
//! budget lets it (a connection that may not grow does not read: back-pressure), a turn ends when
//! its replies reach [`TURN_REPLY_BYTES`], and what is not needed between turns is given back.
//!
//! Nor does it hold it for longer than a client that takes its replies needs: a turn's replies have
//! one deadline, by their size, however many writes they take. A connection that is asked to close
//! (`CLIENT KILL`, shutdown) does not wait for memory any more, and has [`CLOSE_GRACE`] to finish its
//! turn: then it ends wherever it waits, at the gate or for a client that does not read.

use super::Server;
use super::lane::{Bell, Lane, Present};
use super::pending::Pending;
use super::turn::{Shows, Turn};
use crate::budget::Charge;
use crate::clients::{Client, Peer};
use crate::commands::{self, CLOSING, Ctx, Flow};
use crate::door;
use crate::session::Session;
use crate::stats::add;
use ringfort_base::limits::BATCH_BYTES_MAX;
use ringfort_protocol::front::resp::error::{TOO_MANY_CLIENTS, TXN_IDLE, TXN_TOO_LARGE};
use ringfort_protocol::front::resp::{Buffer, Limits, Parser, ReplyError, ReplyWriter, Request, Version};
use std::future::pending;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A turn ends when its replies have this size.
const TURN_REPLY_BYTES: usize = 256 * 1024;
/// A turn ends after this many requests, so that one pipeline does not hold up the others.
const TURN_REQUESTS_MAX: usize = 1024;
/// Read at once, normally and within a large request.
const READ_BYTES: usize = 16 * 1024;
const READ_BYTES_LARGE: usize = 256 * 1024;
/// The slowest client that is waited for: a turn's replies have this much time more than the
/// configured one.
const WRITE_BYTES_PER_S: usize = 64 * 1024;
/// How long a connection that was asked to close may still wait for the gate and for its client.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
/// Read while a command of an interactive transaction waits.
const READ_AHEAD_BYTES: usize = 32 * 1024;
/// What a request may have beyond its values: keys, and the protocol's own bytes.
const REQUEST_SLACK_BYTES: usize = 16 << 20;

/// Serves `stream` until it ends.
pub(super) async fn serve<S>(server: &Arc<Server>, lane: &Arc<Lane>, mut stream: S, peer: Peer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let stats = server.stats();
    let max = server.settings().maxclients.load(Ordering::Relaxed);
    let Some(registration) = server.clients().register(peer, max, server.monotonic()) else {
        add(&stats.rejected_connections, 1);
        let mut out = Vec::new();
        ReplyWriter::new(&mut out, Version::V2).error(&TOO_MANY_CLIENTS);
        let refused = door::within(Some(Duration::from_secs(1)), stream.write_all(&out)).await;
        drop(refused);
        return;
    };
    add(&stats.connections, 1);
    let client = Arc::clone(&registration.client);
    let session = Session::new(server);
    client.authenticated.store(session.authenticated, Ordering::Relaxed);
    let mut connection = Connection {
        parser: Parser::new(limits(server, session.authenticated)),
        charge: server.budget().charge(),
        pending: Pending::new(server),
        bell: Bell::new(lane),
        lane: Arc::clone(lane),
        _present: lane.enter(),
        server: Arc::clone(server),
        client,
        session,
        stream,
        buffer: Buffer::new(),
        out: Vec::new(),
        turn: Turn::default(),
        scratch: Vec::new(),
    };
    // How a connection ends is the client's business: there is nobody to tell.
    if let Err(error) = connection.run().await {
        tracing::debug!(client = connection.client.id, %error, "connection ended");
    }
    drop(registration);
}

/// The longest request is the largest batch, or the longest string.
fn limits(server: &Server, authenticated: bool) -> Limits {
    if !authenticated {
        return Limits::unauthenticated();
    }
    let string = server.string_bytes_max();
    Limits::authenticated(string.max(BATCH_BYTES_MAX) + REQUEST_SLACK_BYTES).with_bulk_bytes_max(string)
}

/// Resolves when the connection was asked to close and had its time to.
async fn overstayed(client: &Client) {
    client.closed().await;
    door::sleep(CLOSE_GRACE).await;
}

/// Resolves when the client has gone, while a command of its interactive transaction waits: the transaction is nobody's
/// then. What it sends meanwhile is kept, up to [`READ_AHEAD_BYTES`]; of who sends more and then goes, only the
/// limits of the transaction tell.
async fn hung_up<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Buffer) {
    while buffer.len() < READ_AHEAD_BYTES {
        match stream.read(buffer.space(READ_BYTES)).await {
            Ok(0) | Err(_) => return,
            Ok(n) => buffer.commit(n),
        }
    }
    pending::<()>().await;
}

struct Connection<S> {
    server: Arc<Server>,
    client: Arc<Client>,
    session: Session,
    stream: S,
    buffer: Buffer,
    parser: Parser,
    out: Vec<u8>,
    turn: Turn,
    pending: Pending,
    lane: Arc<Lane>,
    bell: Arc<Bell>,
    _present: Present,
    charge: Charge,
    scratch: Vec<u8>,
}

/// How a turn ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// All requests that have arrived are answered.
    Drained,
    /// There may be more requests in the buffer.
    Full,
    /// The connection is to be closed after the replies.
    Close,
    /// The connection is to be closed at once, without replies.
    Drop,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    async fn run(&mut self) -> io::Result<()> {
        loop {
            let ended = self.run_turn().await;
            if ended == Ended::Drop {
                return Ok(());
            }
            self.write().await?;
            self.charge.shrink(self.held_bytes());
            if ended == Ended::Close || self.client.is_closing() {
                return self.stream.shutdown().await;
            }
            if ended == Ended::Drained && !self.read().await? {
                return Ok(());
            }
        }
    }

    /// Memory that it holds between two requests, bytes.
    fn held_bytes(&self) -> usize {
        let buffers = self.buffer.capacity() + self.parser.held_bytes() + self.out.capacity();
        buffers + self.session.held_bytes()
    }

    /// The next request that has arrived whole, or how the turn ends.
    fn next_request(&mut self) -> Result<Request, Ended> {
        match self.parser.next(&mut self.buffer) {
            Ok(Some(request)) if request.is_http() => {
                tracing::warn!(client = %self.client.peer.remote, "an HTTP request on the RESP port: closed");
                Err(Ended::Drop)
            }
            Ok(Some(request)) => Ok(request),
            Ok(None) => Err(Ended::Drained),
            Err(error) => {
                add(&self.server.stats().errors, 1);
                ReplyWriter::new(&mut self.out, self.session.version).error(&ReplyError::from(error));
                self.turn.reply(self.out.len(), Shows::Nothing, self.session.level);
                Err(Ended::Close)
            }
        }
    }

    /// Carries out requests that have arrived, in order, and waits until their replies may be shown.
    async fn run_turn(&mut self) -> Ended {
        let mut ended = Ended::Full;
        let mut last_command = None;
        let mut now = self.server.monotonic();
        while self.turn.len() < TURN_REQUESTS_MAX && self.out.len() < TURN_REPLY_BYTES {
            let request = match self.next_request() {
                Ok(request) => request,
                Err(why) => {
                    ended = why;
                    break;
                }
            };
            let was_authenticated = self.session.authenticated;
            let base_bytes = self.buffer.capacity() + request.held_bytes();
            let was_in_txn = self.session.open.is_some();
            let mut ctx = Ctx {
                server: &self.server,
                client: &self.client,
                session: &mut self.session,
                out: &mut self.out,
                turn: &mut self.turn,
                pending: &mut self.pending,
                charge: &mut self.charge,
                scratch: &mut self.scratch,
                base_bytes,
                shows: Shows::Nothing,
                now,
                close: false,
                name: None,
            };
            let flow = if was_in_txn {
                tokio::select! {
                    biased;
                    flow = commands::execute(&mut ctx, &request) => flow,
                    () = hung_up(&mut self.stream, &mut self.buffer) => return Ended::Drop,
                }
            } else {
                commands::execute(&mut ctx, &request).await
            };
            now = ctx.now;
            last_command = ctx.name.or(last_command);
            self.parser.recycle(request);
            if self.session.authenticated != was_authenticated {
                self.parser.set_limits(limits(&self.server, self.session.authenticated));
            }
            // Of a transaction whose connection is asked to close nothing more is carried out: a part of it would be committed.
            let is_in_txn = was_in_txn || self.session.open.is_some();
            if flow == Flow::Close || (is_in_txn && self.client.is_closing()) {
                self.session.end_txn(CLOSING);
                ended = Ended::Close;
                break;
            }
            // Replies of commands that charge nothing themselves. Without room the turn ends here: what
            // is sent needs none.
            if self.out.len() > READ_BYTES && !self.charge.try_cover(self.held_bytes()) {
                break;
            }
        }
        ended = self.release_replies(ended).await;
        if let Some(name) = last_command {
            self.client.active(now, name);
        }
        ended
    }

    /// Leaves the turn's writes with the lane, and waits until its replies may be shown.
    async fn release_replies(&mut self, ended: Ended) -> Ended {
        self.client.reply_bytes.store(self.out.len(), Ordering::Relaxed);
        // Applied by the clerk; the client's next turn must see it, whatever its replies wait for.
        if !self.pending.is_empty() {
            self.turn.need_visible(self.pending.position());
            self.lane.leave(&mut self.pending);
        }
        tokio::select! {
            biased;
            () = self.turn.gate(&self.server, &self.bell, &mut self.out) => ended,
            // Not shown, because it must not be.
            () = overstayed(&self.client) => Ended::Drop,
        }
    }

    /// Sends the replies; a client that does not take them in time is left.
    async fn write(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        add(&self.server.stats().output_bytes, self.out.len() as u64);
        let limit = self.server.config().write_timeout
            + Duration::from_secs((self.out.len() / WRITE_BYTES_PER_S) as u64);
        let mut txn_limit = self.txn_idle_limit();
        let (stream, out) = (&mut self.stream, self.out.as_slice());
        let write = async {
            stream.write_all(out).await?;
            stream.flush().await
        };
        {
            let mut write = pin!(door::within(Some(limit), write));
            let mut overstayed = pin!(overstayed(&self.client));
            loop {
                tokio::select! {
                    biased;
                    written = &mut write => {
                        written.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))?;
                        break;
                    }
                    () = &mut overstayed => return Err(io::ErrorKind::ConnectionAborted.into()),
                    // Others do not wait for what it has locked until it reads.
                    _ = door::within(txn_limit, pending::<()>()) => {
                        self.session.end_txn(TXN_IDLE);
                        txn_limit = None;
                    }
                }
            }
        }
        self.out.clear();
        if self.out.capacity() > READ_BYTES {
            self.out = Vec::new();
        }
        self.client.reply_bytes.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Reads what has arrived; false at the end of the stream or when the connection is to close.
    async fn read(&mut self) -> io::Result<bool> {
        self.buffer.release(READ_BYTES);
        let mid_request = self.parser.is_mid_request() || !self.buffer.is_empty();
        let held = self.parser.held_bytes();
        let want = if held > READ_BYTES { READ_BYTES_LARGE } else { READ_BYTES };
        // What the buffer will be: the room to read into may be there already.
        let buffer_bytes = self.buffer.capacity().max(self.buffer.len() + want);
        let bytes = buffer_bytes + held + self.out.capacity() + self.session.held_bytes();
        let unfinished = self.buffer.len() + if mid_request { held } else { 0 };
        self.client.request_bytes.store(unfinished, Ordering::Relaxed);
        self.charge.shrink(bytes);
        let client = Arc::clone(&self.client);
        if self.session.open.is_some() && !self.charge.try_cover(bytes) {
            // Nobody waits for memory with locks in hand.
            self.session.end_txn(TXN_TOO_LARGE);
        }
        tokio::select! {
            () = self.charge.cover(bytes) => {}
            () = client.closed() => return Ok(false),
        }
        let n = loop {
            let (limit, txn_limit) = (self.idle_limit(mid_request), self.txn_idle_limit());
            let space = self.buffer.space(want);
            let soonest = limit.into_iter().chain(txn_limit).min();
            let read = door::within(soonest, self.stream.read(space));
            let n = tokio::select! {
                n = read => n,
                () = client.closed() => return Ok(false),
            };
            match n {
                Some(n) => break n?,
                // The transaction was idle, not the connection.
                None if limit.is_none_or(|limit| Some(limit) > txn_limit) && txn_limit.is_some() => {
                    self.session.end_txn(TXN_IDLE);
                }
                None => return Ok(false),
            }
        };
        if n == 0 {
            return Ok(false);
        }
        self.buffer.commit(n);
        add(&self.server.stats().input_bytes, n as u64);
        Ok(true)
    }

    /// How long the client may leave its interactive transaction alone.
    fn txn_idle_limit(&self) -> Option<Duration> {
        let idle = self.server.config().txn_idle_timeout;
        let txn = self.session.txn.as_ref().filter(|txn| txn.ended_by.is_none() && !idle.is_zero())?;
        Some((txn.last_used + idle).saturating_sub(self.server.monotonic()))
    }

    /// How long to wait for bytes. Who stops in the middle of a request while others wait for the
    /// memory that it holds is not waited for without end.
    fn idle_limit(&self, mid_request: bool) -> Option<Duration> {
        let timeout_s = self.server.settings().timeout_s.load(Ordering::Relaxed);
        let idle = (timeout_s > 0).then(|| Duration::from_secs(timeout_s));
        let stall = (mid_request && self.charge.held() > 0).then(|| self.server.config().write_timeout);
        match (idle, stall) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}
