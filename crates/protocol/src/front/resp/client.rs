//! The other half of the protocol: what a client sends and how it reads replies.
//!
//! [`Decoder`] gives the same promises as the parser of requests (any cutting of the stream,
//! linear time, memory by what arrived, errors are final), because a client does not trust a
//! server that it has not attested. It reads both versions without being told which one it is.

use thiserror::Error;

use super::buffer::Buffer;
use super::error::ReplyError;
use super::number::{parse_i64, write_u64};
use super::parser::append_growing;
use super::reply::{ReplyWriter, Version};

/// A decoded reply.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// No value, in any of its spellings.
    Null,
    /// A short status.
    Simple(Vec<u8>),
    /// An error, with its code.
    Error(Vec<u8>),
    /// An integer.
    Integer(i64),
    /// Bytes.
    Bulk(Vec<u8>),
    /// Values in order.
    Array(Vec<Value>),
    /// Pairs (RESP3).
    Map(Vec<(Value, Value)>),
    /// Distinct values (RESP3).
    Set(Vec<Value>),
    /// An out-of-band message (RESP3).
    Push(Vec<Value>),
    /// A float (RESP3).
    Double(f64),
    /// A truth value (RESP3).
    Boolean(bool),
    /// Text and its format (RESP3).
    Verbatim([u8; 3], Vec<u8>),
    /// Decimal digits (RESP3).
    BigNumber(Vec<u8>),
}

impl Value {
    /// Bytes of a bulk, status or verbatim text.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bulk(bytes) | Self::Simple(bytes) | Self::Verbatim(_, bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The integer.
    #[must_use]
    pub const fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// The text of an error.
    #[must_use]
    pub fn as_error(&self) -> Option<String> {
        match self {
            Self::Error(text) => Some(String::from_utf8_lossy(text).into_owned()),
            _ => None,
        }
    }

    /// Whether it is `+OK`.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        matches!(self, Self::Simple(text) if text == b"OK")
    }

    /// The values of an array, set or push.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Self::Array(items) | Self::Set(items) | Self::Push(items) => Some(items),
            _ => None,
        }
    }

    /// Writes the value as a server would.
    pub fn write(&self, writer: &mut ReplyWriter<'_>) {
        match self {
            Self::Null => writer.null(),
            Self::Simple(text) => writer.raw_line(b'+', text),
            Self::Error(text) => writer.any_error(text),
            Self::Integer(value) => writer.integer(*value),
            Self::Bulk(bytes) => writer.bulk(bytes),
            Self::Array(items) => {
                writer.array(items.len());
                items.iter().for_each(|item| item.write(writer));
            }
            Self::Set(items) => {
                writer.set(items.len());
                items.iter().for_each(|item| item.write(writer));
            }
            Self::Push(items) => {
                writer.push(items.len());
                items.iter().for_each(|item| item.write(writer));
            }
            Self::Map(pairs) => {
                writer.map(pairs.len());
                for (key, value) in pairs {
                    key.write(writer);
                    value.write(writer);
                }
            }
            Self::Double(value) => writer.double(*value),
            Self::Boolean(value) => writer.boolean(*value),
            Self::Verbatim(format, text) => writer.verbatim(*format, text),
            Self::BigNumber(digits) => writer.big_number(digits),
        }
    }

    /// The value's wire bytes.
    #[must_use]
    pub fn encode(&self, version: Version) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut ReplyWriter::new(&mut out, version));
        out
    }
}

impl From<ReplyError> for Value {
    fn from(error: ReplyError) -> Self {
        Self::Error(error.text().as_bytes().to_vec())
    }
}

/// A command's wire bytes.
#[must_use]
pub fn encode_command(args: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + args.iter().map(|arg| arg.len() + 16).sum::<usize>());
    append_command(&mut out, args);
    out
}

/// Appends a command's wire bytes (pipelines).
pub fn append_command(out: &mut Vec<u8>, args: &[&[u8]]) {
    out.push(b'*');
    write_u64(out, args.len() as u64);
    for arg in args {
        out.extend_from_slice(b"\r\n$");
        write_u64(out, arg.len() as u64);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(arg);
    }
    out.extend_from_slice(b"\r\n");
}

/// Why a stream is no sequence of replies.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum DecodeError {
    /// No value begins with this byte.
    #[error("a reply cannot begin with byte {0:#04x}")]
    UnknownType(u8),
    /// A line does not hold what its type says, or a bulk does not end where it should.
    #[error("malformed reply of type '{0}'")]
    Malformed(char),
    /// A line does not end.
    #[error("a line of a reply exceeds {LINE_BYTES_MAX} bytes")]
    LineTooLong,
    /// Values within values within values.
    #[error("a reply is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// More than the caller wants to hold.
    #[error("a reply exceeds {0} bytes")]
    TooBig(usize),
}

/// Reads replies of both versions as they arrive.
#[derive(Debug)]
pub struct Decoder {
    reply_bytes_max: usize,
    stack: Vec<Frame>,
    bulk: Option<Bulk>,
    /// Bytes of an unfinished line that hold no line end.
    scanned: usize,
    charged: usize,
    failed: Option<DecodeError>,
}

/// An unfinished aggregate.
#[derive(Debug)]
struct Frame {
    kind: u8,
    left: usize,
    items: Vec<Value>,
}

/// An unfinished bulk.
#[derive(Debug)]
struct Bulk {
    kind: u8,
    len: usize,
    bytes: Vec<u8>,
}

enum Step {
    Partial,
    /// An aggregate or bulk was opened, or an attribute closed.
    Opened,
    Leaf(Value),
}

impl Decoder {
    /// A decoder at the beginning of a stream. One reply may hold `reply_bytes_max` in memory.
    #[must_use]
    pub const fn new(reply_bytes_max: usize) -> Self {
        Self { reply_bytes_max, stack: Vec::new(), bulk: None, scanned: 0, charged: 0, failed: None }
    }

    /// The next reply, or `None` if it has not arrived in full.
    pub fn next(&mut self, buf: &mut Buffer) -> Result<Option<Value>, DecodeError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.advance(buf);
        if let Err(error) = &result {
            *self = Self { failed: Some(error.clone()), ..Self::new(self.reply_bytes_max) };
        }
        result
    }

    fn advance(&mut self, buf: &mut Buffer) -> Result<Option<Value>, DecodeError> {
        loop {
            let step = match self.bulk.take() {
                Some(bulk) => self.read_bulk(bulk, buf)?,
                None => self.read_line(buf)?,
            };
            match step {
                Step::Partial => return Ok(None),
                Step::Opened => {}
                Step::Leaf(value) => {
                    if let Some(reply) = self.fold(value)? {
                        self.charged = 0;
                        return Ok(Some(reply));
                    }
                }
            }
        }
    }

    fn read_line(&mut self, buf: &mut Buffer) -> Result<Step, DecodeError> {
        let unread = buf.unread();
        let Some(kind) = unread.first().copied() else { return Ok(Step::Partial) };
        if !b"+-:$*_,#=(%~>!|".contains(&kind) {
            return Err(DecodeError::UnknownType(kind));
        }
        let unseen = unread.get(self.scanned..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', unseen).map(|at| at + self.scanned) else {
            self.scanned = unread.len();
            let too_long = unread.len() > LINE_BYTES_MAX;
            return if too_long { Err(DecodeError::LineTooLong) } else { Ok(Step::Partial) };
        };
        if end > LINE_BYTES_MAX {
            return Err(DecodeError::LineTooLong);
        }
        let text = unread.get(1..end).and_then(|line| line.strip_suffix(b"\r"));
        let text = text.ok_or(DecodeError::Malformed(kind as char))?;
        self.charged += size_of::<Value>() + text.len();
        if self.charged > self.reply_bytes_max {
            return Err(DecodeError::TooBig(self.reply_bytes_max));
        }
        let opened = match kind {
            b'$' | b'=' | b'!' => Err(false),
            b'*' | b'%' | b'~' | b'>' | b'|' => Err(true),
            _ => leaf(kind, text).ok_or(DecodeError::Malformed(kind as char)).map(Ok)?,
        };
        let step = match opened {
            Ok(value) => Step::Leaf(value),
            Err(aggregate) => {
                let len = parse_i64(text).ok_or(DecodeError::Malformed(kind as char))?;
                match (aggregate, usize::try_from(len)) {
                    (false, Ok(len)) => self.open_bulk(kind, len)?,
                    (true, Ok(len)) => self.open_aggregate(kind, len)?,
                    // RESP2's nulls.
                    (_, Err(_)) if len == -1 && matches!(kind, b'$' | b'*') => Step::Leaf(Value::Null),
                    (_, Err(_)) => return Err(DecodeError::Malformed(kind as char)),
                }
            }
        };
        buf.consume(end + 1);
        self.scanned = 0;
        Ok(step)
    }

    fn open_bulk(&mut self, kind: u8, len: usize) -> Result<Step, DecodeError> {
        self.charged = self.charged.saturating_add(len);
        if self.charged > self.reply_bytes_max {
            return Err(DecodeError::TooBig(self.reply_bytes_max));
        }
        self.bulk = Some(Bulk { kind, len, bytes: Vec::new() });
        Ok(Step::Opened)
    }

    fn open_aggregate(&mut self, kind: u8, len: usize) -> Result<Step, DecodeError> {
        let pairs = matches!(kind, b'%' | b'|');
        let left = if pairs { len.saturating_mul(2) } else { len };
        // Each value that is announced will cost at least this much, so refuse it now.
        let least = left.saturating_mul(size_of::<Value>());
        if self.charged.saturating_add(least) > self.reply_bytes_max {
            return Err(DecodeError::TooBig(self.reply_bytes_max));
        }
        if self.stack.len() >= DEPTH_MAX {
            return Err(DecodeError::TooDeep);
        }
        if left > 0 {
            self.stack.push(Frame { kind, left, items: Vec::with_capacity(left.min(ITEMS_RESERVE_MAX)) });
            return Ok(Step::Opened);
        }
        Ok(close(kind, Vec::new()).map_or(Step::Opened, Step::Leaf))
    }

    fn read_bulk(&mut self, mut bulk: Bulk, buf: &mut Buffer) -> Result<Step, DecodeError> {
        let missing = bulk.len - bulk.bytes.len();
        let arrived = buf.unread().len().min(missing);
        append_growing(&mut bulk.bytes, buf.unread().get(..arrived).unwrap_or_default(), bulk.len);
        buf.consume(arrived);
        let end = if arrived == missing { buf.unread().get(..2) } else { None };
        match end {
            None => {
                self.bulk = Some(bulk);
                return Ok(Step::Partial);
            }
            Some(b"\r\n") => buf.consume(2),
            Some(_) => return Err(DecodeError::Malformed(bulk.kind as char)),
        }
        match bulk.kind {
            b'!' => Ok(Step::Leaf(Value::Error(bulk.bytes))),
            b'=' => match bulk.bytes.as_slice() {
                [a, b, c, b':', text @ ..] => Ok(Step::Leaf(Value::Verbatim([*a, *b, *c], text.to_vec()))),
                _ => Err(DecodeError::Malformed('=')),
            },
            _ => Ok(Step::Leaf(Value::Bulk(bulk.bytes))),
        }
    }

    /// Puts a finished value where it belongs; a whole reply if it belongs nowhere.
    fn fold(&mut self, mut value: Value) -> Result<Option<Value>, DecodeError> {
        loop {
            let Some(frame) = self.stack.last_mut() else { return Ok(Some(value)) };
            frame.items.push(value);
            frame.left -= 1;
            if frame.left > 0 {
                return Ok(None);
            }
            let Some(frame) = self.stack.pop() else { return Ok(None) };
            match close(frame.kind, frame.items) {
                Some(closed) => value = closed,
                None => return Ok(None),
            }
        }
    }
}

/// A value that is its line.
fn leaf(kind: u8, text: &[u8]) -> Option<Value> {
    if text.contains(&b'\r') {
        return None;
    }
    match kind {
        b'+' => Some(Value::Simple(text.to_vec())),
        b'-' => Some(Value::Error(text.to_vec())),
        b':' => parse_i64(text).map(Value::Integer),
        b'_' => text.is_empty().then_some(Value::Null),
        b'#' => match text {
            b"t" => Some(Value::Boolean(true)),
            b"f" => Some(Value::Boolean(false)),
            _ => None,
        },
        b',' => std::str::from_utf8(text).ok()?.parse().ok().map(Value::Double),
        b'(' => {
            let digits = text.strip_prefix(b"-").unwrap_or(text);
            let fine = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
            fine.then(|| Value::BigNumber(text.to_vec()))
        }
        _ => None,
    }
}

/// A finished aggregate; `None` for an attribute, which only annotates the value behind it.
fn close(kind: u8, items: Vec<Value>) -> Option<Value> {
    match kind {
        b'*' => Some(Value::Array(items)),
        b'~' => Some(Value::Set(items)),
        b'>' => Some(Value::Push(items)),
        b'%' => {
            let mut pairs = Vec::with_capacity(items.len() / 2);
            let mut items = items.into_iter();
            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                pairs.push((key, value));
            }
            Some(Value::Map(pairs))
        }
        _ => None,
    }
}

/// Longest status, error or header line.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// `COMMAND` nests six deep.
const DEPTH_MAX: usize = 32;
/// Room made when an aggregate is announced.
const ITEMS_RESERVE_MAX: usize = 16;
