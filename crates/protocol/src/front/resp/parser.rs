//! The incremental parser of requests.
//!
//! ```text
//!   request = "*" count CRLF bulk{count}  |  inline-line LF
//!   bulk    = "$" length CRLF byte{length} CRLF
//! ```
//!
//! What it guarantees, whatever a stranger sends:
//! - **The same requests for every way of cutting the stream.** Whether a request is good is
//!   decided by its bytes alone, never by where a read happened to end.
//! - **Linear time.** Progress is remembered: arguments that are understood are not looked at
//!   again, and the bytes of a large bulk are moved out of the buffer as they arrive.
//! - **Memory by what arrived.** An announced length or count allocates nothing by itself; all
//!   that a request may hold is bounded by [`Limits`] and refused when it is announced.
//!   The buffer itself is the caller's: read a piece (16 KiB), drain the requests, read again, and
//!   it stays as small as a piece and a bulk below [`LARGE_BULK_BYTES`].
//! - **An error is final.** After one the stream has no meaning: every later call repeats it, and
//!   the connection is to be closed after the reply.
//!
//! Stricter than Redis in two places: CR must be followed by LF, and a bulk must be followed by
//! CR LF. Redis skips both unseen, which lets two parsers in a row disagree about a stream.

use ringfort_base::limits::{
    BATCH_VALUE_BYTES_MAX, RESP_ARGS_MAX, RESP_INLINE_BYTES_MAX, UNAUTHENTICATED_BYTES_MAX,
};
use thiserror::Error;

use super::buffer::Buffer;
use super::inline;
use super::number::parse_i64;
use super::request::{Arg, Request};

/// Why a stream is not RESP, in Redis's words. The reply is `-ERR ` and this.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ProtocolError {
    /// The number after `*` is none, or too large.
    #[error("Protocol error: invalid multibulk length")]
    InvalidMultibulkLength,
    /// The number after `$` is none, negative or too large, or the bulk does not end there.
    #[error("Protocol error: invalid bulk length")]
    InvalidBulkLength,
    /// A bulk was expected.
    #[error("Protocol error: expected '$', got '{}'", printable(*.0))]
    ExpectedBulk(u8),
    /// The line after `*` does not end.
    #[error("Protocol error: too big mbulk count string")]
    TooBigMultibulkCount,
    /// The line after `$` does not end.
    #[error("Protocol error: too big bulk count string")]
    TooBigBulkCount,
    /// An inline command without an end.
    #[error("Protocol error: too big inline request")]
    TooBigInline,
    /// An inline command whose quotes do not match.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
    /// More arguments than a stranger may send.
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedMultibulkLength,
    /// A longer argument than a stranger may send.
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulkLength,
    /// All arguments together are more than a request may hold.
    #[error("Protocol error: request exceeds {0} bytes")]
    TooBigRequest(usize),
}

/// What one request may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    request_bytes_max: usize,
    args_max: usize,
    bulk_bytes_max: usize,
    authenticated: bool,
}

impl Limits {
    /// For a connection that has not authenticated: enough for `HELLO` and `AUTH`.
    #[must_use]
    pub const fn unauthenticated() -> Self {
        Self {
            request_bytes_max: UNAUTHENTICATED_BYTES_MAX,
            args_max: UNAUTHENTICATED_ARGS_MAX,
            bulk_bytes_max: UNAUTHENTICATED_BULK_BYTES_MAX,
            authenticated: false,
        }
    }

    /// For a connection that may run commands. `request_bytes_max` bounds the whole request.
    #[must_use]
    pub fn authenticated(request_bytes_max: usize) -> Self {
        Self {
            // Positions within a request are 32 bits wide.
            request_bytes_max: request_bytes_max.min(u32::MAX as usize),
            args_max: RESP_ARGS_MAX,
            bulk_bytes_max: BATCH_VALUE_BYTES_MAX + BULK_SLACK_BYTES,
            authenticated: true,
        }
    }

    /// With another bound on one argument; a little more is read, for its command to refuse.
    #[must_use]
    pub const fn with_bulk_bytes_max(self, bytes: usize) -> Self {
        Self { bulk_bytes_max: bytes + BULK_SLACK_BYTES, ..self }
    }

    /// The bound on a whole request, bytes.
    #[must_use]
    pub const fn request_bytes_max(&self) -> usize {
        self.request_bytes_max
    }

    /// Why a count of arguments may not be.
    pub(super) fn check_args(&self, count: usize) -> Result<(), ProtocolError> {
        match count > self.args_max {
            false => Ok(()),
            true if self.authenticated => Err(ProtocolError::InvalidMultibulkLength),
            true => Err(ProtocolError::UnauthenticatedMultibulkLength),
        }
    }

    fn check_bulk(&self, len: usize) -> Result<(), ProtocolError> {
        match len > self.bulk_bytes_max {
            false => Ok(()),
            true if self.authenticated => Err(ProtocolError::InvalidBulkLength),
            true => Err(ProtocolError::UnauthenticatedBulkLength),
        }
    }

    pub(super) fn check_total(&self, bytes: usize) -> Result<(), ProtocolError> {
        match bytes > self.request_bytes_max {
            true => Err(ProtocolError::TooBigRequest(self.request_bytes_max)),
            false => Ok(()),
        }
    }
}

/// The parser of one connection.
pub struct Parser {
    limits: Limits,
    state: State,
    /// Wire bytes of the current request that were moved out of the buffer before its end.
    data: Vec<u8>,
    args: Vec<Arg>,
    /// Bytes at the front of the buffer that belong to the current request and are understood.
    scanned: usize,
    /// What the current request costs so far: wire bytes and the bookkeeping of arguments.
    charged: usize,
    failed: Option<ProtocolError>,
}

enum State {
    /// Between requests, or within an inline line.
    Idle,
    /// So many arguments are missing.
    Args { left: usize },
    /// Within a large bulk of `len` bytes; so many arguments are missing, this one included.
    Large { left: usize, len: usize, bytes: Vec<u8> },
}

impl Parser {
    /// A parser at the beginning of a stream.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Idle,
            data: Vec::new(),
            args: Vec::new(),
            scanned: 0,
            charged: 0,
            failed: None,
        }
    }

    /// Other limits for the requests to come (a client has authenticated, or a budget changed).
    pub const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The next request, or `None` if it has not arrived in full. Whatever it consumes belongs to
    /// the request; bytes of later requests stay in the buffer.
    pub fn next(&mut self, buf: &mut Buffer) -> Result<Option<Request>, ProtocolError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.advance(buf);
        if let Err(error) = &result {
            // Nothing of the broken request is kept: its memory belongs to others now.
            *self = Self { failed: Some(error.clone()), ..Self::new(self.limits) };
        }
        result
    }

    /// Takes back a request that was carried out, so that the next one reuses its memory.
    pub fn recycle(&mut self, request: Request) {
        let Request { mut args, mut data } = request;
        let idle = matches!(self.state, State::Idle) && self.data.capacity() == 0;
        if idle && data.capacity() <= RECYCLE_BYTES_MAX && args.capacity() <= RECYCLE_ARGS_MAX {
            args.clear();
            data.clear();
            self.args = args;
            self.data = data;
        }
    }

    /// Bytes of memory that the unfinished request holds outside the buffer, for budgets.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let large = match &self.state {
            State::Large { bytes, .. } => bytes.capacity(),
            _ => 0,
        };
        let owned: usize = self.args.iter().map(owned_bytes).sum();
        large + owned + self.data.capacity() + self.args.capacity() * size_of::<Arg>()
    }

    /// Whether a request has begun and not ended (an idle limit then means a stuck client). Its
    /// very first bytes may still lie in the buffer alone: a buffer that is not empty after
    /// [`Parser::next`] gave `None` means the same.
    #[must_use]
    pub fn is_mid_request(&self) -> bool {
        !matches!(self.state, State::Idle) || self.scanned > 0
    }

    fn advance(&mut self, buf: &mut Buffer) -> Result<Option<Request>, ProtocolError> {
        loop {
            let more = match &mut self.state {
                State::Idle => match buf.unread().first() {
                    None => false,
                    Some(b'*') => self.read_count(buf)?,
                    Some(_) => match self.read_inline(buf)? {
                        Line::Request(request) => return Ok(Some(request)),
                        Line::Empty => true,
                        Line::Partial => false,
                    },
                },
                State::Args { left: 0 } => return Ok(Some(self.finish(buf))),
                State::Args { .. } => self.read_args(buf)?,
                State::Large { .. } => self.read_large(buf)?,
            };
            if !more {
                return Ok(None);
            }
        }
    }

    /// `*3\r\n`. True if the state changed, false if bytes are missing.
    fn read_count(&mut self, buf: &mut Buffer) -> Result<bool, ProtocolError> {
        let (value, line) = match header(buf.unread()) {
            Header::Partial => return Ok(false),
            Header::TooLong => return Err(ProtocolError::TooBigMultibulkCount),
            Header::Bad => return Err(ProtocolError::InvalidMultibulkLength),
            Header::Value { value, line } => (value, line),
        };
        if value <= 0 {
            // An empty request asks for nothing and gets no reply.
            buf.consume(line);
            return Ok(true);
        }
        let count = usize::try_from(value).map_err(|_| ProtocolError::InvalidMultibulkLength)?;
        self.limits.check_args(count)?;
        self.limits.check_total(count * (size_of::<Arg>() + BULK_WIRE_BYTES_MIN))?;
        self.args.reserve(count.min(ARGS_RESERVE_MAX));
        self.scanned = line;
        self.charged = line;
        self.state = State::Args { left: count };
        Ok(true)
    }

    /// The hot loop: as many arguments as lie in the buffer in full.
    fn read_args(&mut self, buf: &mut Buffer) -> Result<bool, ProtocolError> {
        let State::Args { left } = &mut self.state else { return Ok(true) };
        let unread = buf.unread();
        let base = self.data.len();
        let mut at = self.scanned;
        let mut large = None;
        while *left > 0 {
            let rest = unread.get(at..).unwrap_or_default();
            let (len, line) = match rest.first() {
                None => break,
                Some(b'$') => match header(rest) {
                    Header::Partial => break,
                    Header::TooLong => return Err(ProtocolError::TooBigBulkCount),
                    Header::Bad => return Err(ProtocolError::InvalidBulkLength),
                    Header::Value { value, line } => {
                        (usize::try_from(value).map_err(|_| ProtocolError::InvalidBulkLength)?, line)
                    }
                },
                Some(other) => return Err(ProtocolError::ExpectedBulk(*other)),
            };
            self.limits.check_bulk(len)?;
            let charged = self.charged + size_of::<Arg>() + line + len + 2;
            self.limits.check_total(charged)?;
            if len >= LARGE_BULK_BYTES {
                at += line;
                self.charged = charged;
                large = Some(len);
                break;
            }
            match rest.get(line + len..line + len + 2) {
                None => break,
                Some(b"\r\n") => {}
                Some(_) => return Err(ProtocolError::InvalidBulkLength),
            }
            // Both fit: a request is at most 4 GiB long (`Limits::authenticated`).
            self.args.push(Arg::Span { start: (base + at + line) as u32, len: len as u32 });
            self.charged = charged;
            at += line + len + 2;
            *left -= 1;
        }
        let left = *left;
        self.scanned = at;
        if let Some(len) = large {
            self.flush(buf);
            self.state = State::Large { left, len, bytes: Vec::new() };
            return Ok(true);
        }
        if left > 0 && self.scanned >= FLUSH_BYTES {
            self.flush(buf);
        }
        Ok(left == 0)
    }

    /// A large bulk: its bytes leave the buffer as they come.
    fn read_large(&mut self, buf: &mut Buffer) -> Result<bool, ProtocolError> {
        let State::Large { left, len, bytes } = &mut self.state else { return Ok(true) };
        let missing = *len - bytes.len();
        let arrived = buf.unread().len().min(missing);
        if arrived > 0 {
            append_growing(bytes, buf.unread().get(..arrived).unwrap_or_default(), *len);
            buf.consume(arrived);
        }
        if arrived < missing {
            return Ok(false);
        }
        match buf.unread().get(..2) {
            None => return Ok(false),
            Some(b"\r\n") => buf.consume(2),
            Some(_) => return Err(ProtocolError::InvalidBulkLength),
        }
        self.args.push(Arg::Owned(std::mem::take(bytes)));
        self.state = State::Args { left: *left - 1 };
        Ok(true)
    }

    fn read_inline(&mut self, buf: &mut Buffer) -> Result<Line, ProtocolError> {
        let unread = buf.unread();
        let unseen = unread.get(self.scanned..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', unseen).map(|at| at + self.scanned) else {
            if unread.len() > RESP_INLINE_BYTES_MAX {
                return Err(ProtocolError::TooBigInline);
            }
            self.scanned = unread.len();
            return Ok(Line::Partial);
        };
        if end > RESP_INLINE_BYTES_MAX {
            return Err(ProtocolError::TooBigInline);
        }
        let line = unread.get(..end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        inline::split(line, &self.limits, &mut self.data, &mut self.args)?;
        buf.consume(end + 1);
        self.scanned = 0;
        if self.args.is_empty() {
            return Ok(Line::Empty);
        }
        Ok(Line::Request(self.take_request()))
    }

    fn finish(&mut self, buf: &mut Buffer) -> Request {
        self.flush(buf);
        self.state = State::Idle;
        self.take_request()
    }

    fn take_request(&mut self) -> Request {
        self.charged = 0;
        Request { args: std::mem::take(&mut self.args), data: std::mem::take(&mut self.data) }
    }

    /// Moves the understood bytes from the buffer to the request. Positions of arguments hold,
    /// because they count from the beginning of `data` followed by the buffer.
    fn flush(&mut self, buf: &mut Buffer) {
        self.data.extend_from_slice(buf.unread().get(..self.scanned).unwrap_or_default());
        buf.consume(self.scanned);
        self.scanned = 0;
    }
}

impl std::fmt::Debug for Parser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Parser({} arguments so far, {} bytes held)", self.args.len(), self.held_bytes())
    }
}

enum Line {
    Request(Request),
    Empty,
    Partial,
}

enum Header {
    Partial,
    TooLong,
    Bad,
    /// The number, and the length of its line with the type byte and CR LF.
    Value {
        value: i64,
        line: usize,
    },
}

/// Reads `Xnumber\r\n` at the front of `bytes`.
fn header(bytes: &[u8]) -> Header {
    let window = bytes.get(1..bytes.len().min(1 + HEADER_BYTES_MAX)).unwrap_or_default();
    let Some(digits) = window.iter().position(|byte| *byte == b'\r') else {
        return if window.len() == HEADER_BYTES_MAX { Header::TooLong } else { Header::Partial };
    };
    match bytes.get(digits + 2) {
        None => return Header::Partial,
        Some(b'\n') => {}
        Some(_) => return Header::Bad,
    }
    match window.get(..digits).and_then(parse_i64) {
        Some(value) => Header::Value { value, line: digits + 3 },
        None => Header::Bad,
    }
}

/// Appends with doubling growth that never exceeds the announced length.
pub(super) fn append_growing(bytes: &mut Vec<u8>, piece: &[u8], announced: usize) {
    if bytes.capacity() - bytes.len() < piece.len() {
        let doubled = bytes.len().saturating_mul(2).min(announced);
        let want = doubled.max(bytes.len() + piece.len());
        bytes.reserve_exact(want - bytes.len());
    }
    bytes.extend_from_slice(piece);
}

fn owned_bytes(arg: &Arg) -> usize {
    match arg {
        Arg::Owned(bytes) => bytes.capacity(),
        Arg::Span { .. } => 0,
    }
}

/// A byte as it may stand in a reply line.
fn printable(byte: u8) -> char {
    if byte.is_ascii_graphic() || byte == b' ' { byte as char } else { '?' }
}

/// Longest line that holds a count or length; a number has 20 characters at the most.
const HEADER_BYTES_MAX: usize = 64;
/// `$0\r\n\r\n`.
const BULK_WIRE_BYTES_MIN: usize = 6;
/// From this size on a bulk has its own allocation.
pub const LARGE_BULK_BYTES: usize = 32 * 1024;
/// An unfinished request of many small arguments leaves the buffer in pieces of this size.
const FLUSH_BYTES: usize = 16 * 1024;
/// Room made for arguments when their count is announced.
const ARGS_RESERVE_MAX: usize = 64;
/// A value that is a little too long is read, so that its command can refuse it in its own words.
const BULK_SLACK_BYTES: usize = 64 * 1024;
/// As in Redis.
const UNAUTHENTICATED_ARGS_MAX: usize = 10;
/// As in Redis.
const UNAUTHENTICATED_BULK_BYTES_MAX: usize = 16 * 1024;
/// Larger requests are dropped, not recycled.
const RECYCLE_BYTES_MAX: usize = 16 * 1024;
/// See [`RECYCLE_BYTES_MAX`].
const RECYCLE_ARGS_MAX: usize = 256;

const _: () = assert!(UNAUTHENTICATED_BULK_BYTES_MAX < LARGE_BULK_BYTES);
const _: () = assert!(RESP_INLINE_BYTES_MAX <= UNAUTHENTICATED_BYTES_MAX);
