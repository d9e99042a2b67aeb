//! The encoder of replies, in both versions of the protocol.
//!
//! | value | RESP2 | RESP3 |
//! |---|---|---|
//! | null | `$-1` or `*-1` | `_` |
//! | map of n | array of 2n | `%n` |
//! | set, push | array | `~n`, `>n` |
//! | double, big number, verbatim | bulk | `,` `(` `=` |
//! | boolean | `:1` `:0` | `#t` `#f` |
//!
//! A caller writes what it means; the version decides how it looks. Lines can never be broken by
//! what stands in them: CR and LF become spaces.

use super::error::ReplyError;
use super::number::{write_i64, write_u64};

/// The version of the protocol that a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Version {
    /// RESP2: what every connection begins with.
    #[default]
    V2,
    /// RESP3: after `HELLO 3`.
    V3,
}

impl Version {
    /// 2 or 3.
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }
}

/// Appends replies to a byte vector.
#[derive(Debug)]
pub struct ReplyWriter<'a> {
    out: &'a mut Vec<u8>,
    version: Version,
}

impl<'a> ReplyWriter<'a> {
    /// A writer for one connection's turn.
    pub const fn new(out: &'a mut Vec<u8>, version: Version) -> Self {
        Self { out, version }
    }

    /// The version that is written.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// From here on in another version (`HELLO`).
    pub const fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// Bytes written so far to the vector, for budgets.
    #[must_use]
    pub fn written_bytes(&self) -> usize {
        self.out.len()
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// A short status.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// An error, with its code as first word.
    pub fn error(&mut self, error: &ReplyError) {
        self.line(b'-', error.text().as_bytes());
    }

    /// An integer.
    pub fn integer(&mut self, value: i64) {
        self.out.push(b':');
        write_i64(self.out, value);
        self.end_line();
    }

    /// A count or size.
    pub fn count(&mut self, value: usize) {
        self.integer(i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// Bytes.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.out.reserve(bytes.len() + HEADER_BYTES_MAX);
        self.header(b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.end_line();
    }

    /// Text as bytes.
    pub fn bulk_text(&mut self, text: &str) {
        self.bulk(text.as_bytes());
    }

    /// An integer as bytes (`CONFIG GET`, `SCAN` cursors).
    pub fn bulk_integer(&mut self, value: u64) {
        let mut text = Vec::with_capacity(20);
        write_u64(&mut text, value);
        self.bulk(&text);
    }

    /// Bytes, or null.
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// No value.
    pub fn null(&mut self) {
        self.out.extend_from_slice(match self.version {
            Version::V2 => b"$-1\r\n",
            Version::V3 => b"_\r\n",
        });
    }

    /// No array.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(match self.version {
            Version::V2 => b"*-1\r\n",
            Version::V3 => b"_\r\n",
        });
    }

    /// `len` values follow.
    pub fn array(&mut self, len: usize) {
        self.header(b'*', len);
    }

    /// `len` pairs of values follow.
    pub fn map(&mut self, len: usize) {
        match self.version {
            Version::V2 => self.header(b'*', len * 2),
            Version::V3 => self.header(b'%', len),
        }
    }

    /// `len` distinct values follow.
    pub fn set(&mut self, len: usize) {
        self.versioned_header(b'~', len);
    }

    /// An out-of-band message of `len` values follows.
    pub fn push(&mut self, len: usize) {
        self.versioned_header(b'>', len);
    }

    /// A float.
    pub fn double(&mut self, value: f64) {
        let text = double_text(value);
        match self.version {
            Version::V2 => self.bulk(text.as_bytes()),
            Version::V3 => self.line(b',', text.as_bytes()),
        }
    }

    /// A truth value.
    pub fn boolean(&mut self, value: bool) {
        match self.version {
            Version::V2 => self.integer(i64::from(value)),
            Version::V3 => self.out.extend_from_slice(if value { b"#t\r\n" } else { b"#f\r\n" }),
        }
    }

    /// Text with a format of three letters: `txt`, `mkd`.
    pub fn verbatim(&mut self, format: [u8; 3], text: &[u8]) {
        match self.version {
            Version::V2 => self.bulk(text),
            Version::V3 => {
                self.header(b'=', text.len() + 4);
                self.out.extend_from_slice(&format);
                self.out.push(b':');
                self.out.extend_from_slice(text);
                self.end_line();
            }
        }
    }

    /// An integer beyond 64 bits, as decimal digits.
    pub fn big_number(&mut self, digits: &[u8]) {
        match self.version {
            Version::V2 => self.bulk(digits),
            Version::V3 => self.line(b'(', digits),
        }
    }

    fn versioned_header(&mut self, kind: u8, len: usize) {
        match self.version {
            Version::V2 => self.header(b'*', len),
            Version::V3 => self.header(kind, len),
        }
    }

    fn header(&mut self, kind: u8, len: usize) {
        self.out.push(kind);
        write_u64(self.out, len as u64);
        self.end_line();
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.push(kind);
        let harmless = |byte: &u8| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte };
        self.out.extend(text.iter().map(harmless));
        self.end_line();
    }

    pub(super) fn raw_line(&mut self, kind: u8, text: &[u8]) {
        self.line(kind, text);
    }

    /// An error of any bytes: what does not fit a line is RESP3's bulk error, or cut to a line.
    pub(super) fn any_error(&mut self, text: &[u8]) {
        let fits =
            text.len() <= ERROR_LINE_BYTES_MAX && !text.iter().any(|byte| matches!(byte, b'\r' | b'\n'));
        if fits || self.version == Version::V2 {
            self.line(b'-', text.get(..ERROR_LINE_BYTES_MAX).unwrap_or(text));
        } else {
            self.header(b'!', text.len());
            self.out.extend_from_slice(text);
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        self.out.extend_from_slice(b"\r\n");
    }
}

/// The shortest text that reads back as the same float.
fn double_text(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    let magnitude = value.abs();
    let plain = magnitude == 0.0 || magnitude.is_infinite() || (1e-5..1e17).contains(&magnitude);
    if plain { value.to_string() } else { format!("{value:e}") }
}

/// Kind, digits of a 64-bit length, two line ends.
const HEADER_BYTES_MAX: usize = 25;
/// Longer errors are no lines.
const ERROR_LINE_BYTES_MAX: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::resp::error;

    fn both(write: impl Fn(&mut ReplyWriter<'_>)) -> (String, String) {
        let text = |version| {
            let mut out = Vec::new();
            write(&mut ReplyWriter::new(&mut out, version));
            String::from_utf8(out).unwrap()
        };
        (text(Version::V2), text(Version::V3))
    }

    #[test]
    fn each_value_in_both_versions() {
        type Write = fn(&mut ReplyWriter<'_>);
        let table: &[(Write, &str, &str)] = &[
            (|w| w.ok(), "+OK\r\n", "+OK\r\n"),
            (|w| w.simple("PONG"), "+PONG\r\n", "+PONG\r\n"),
            (|w| w.error(&error::SYNTAX), "-ERR syntax error\r\n", "-ERR syntax error\r\n"),
            (|w| w.integer(-42), ":-42\r\n", ":-42\r\n"),
            (|w| w.integer(i64::MIN), ":-9223372036854775808\r\n", ":-9223372036854775808\r\n"),
            (|w| w.count(7), ":7\r\n", ":7\r\n"),
            (|w| w.bulk(b"a\r\nb"), "$4\r\na\r\nb\r\n", "$4\r\na\r\nb\r\n"),
            (|w| w.bulk(b""), "$0\r\n\r\n", "$0\r\n\r\n"),
            (|w| w.bulk_integer(10), "$2\r\n10\r\n", "$2\r\n10\r\n"),
            (|w| w.bulk_or_null(None), "$-1\r\n", "_\r\n"),
            (|w| w.null_array(), "*-1\r\n", "_\r\n"),
            (|w| w.array(0), "*0\r\n", "*0\r\n"),
            (|w| w.map(3), "*6\r\n", "%3\r\n"),
            (|w| w.set(3), "*3\r\n", "~3\r\n"),
            (|w| w.push(3), "*3\r\n", ">3\r\n"),
            (|w| w.double(1.5), "$3\r\n1.5\r\n", ",1.5\r\n"),
            (|w| w.double(3.0), "$1\r\n3\r\n", ",3\r\n"),
            (|w| w.double(1e300), "$5\r\n1e300\r\n", ",1e300\r\n"),
            (|w| w.double(f64::NEG_INFINITY), "$4\r\n-inf\r\n", ",-inf\r\n"),
            (|w| w.double(f64::NAN), "$3\r\nnan\r\n", ",nan\r\n"),
            (|w| w.boolean(true), ":1\r\n", "#t\r\n"),
            (|w| w.boolean(false), ":0\r\n", "#f\r\n"),
            (|w| w.verbatim(*b"txt", b"hi"), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"),
            (|w| w.big_number(b"123"), "$3\r\n123\r\n", "(123\r\n"),
        ];
        for (write, v2, v3) in table {
            assert_eq!(both(write), ((*v2).to_owned(), (*v3).to_owned()));
        }
    }

    #[test]
    fn lines_cannot_be_broken() {
        let evil = ReplyError::composed("ERR a\r\n+OK".to_owned());
        assert_eq!(both(|w| w.error(&evil)).0, "-ERR a  +OK\r\n");
        assert_eq!(both(|w| w.simple("a\nb")).0, "+a b\r\n");
    }
}
