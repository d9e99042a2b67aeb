//! Inline commands: a line as a person types it, split like Redis splits it.
//!
//! - Words are separated by white space.
//! - Within `"…"`: `\n \r \t \b \a`, `\xHH`, and a backslash before any other byte is that byte.
//! - Within `'…'`: only `\'` is special.
//! - A closing quote must be followed by white space or the end of the line.
//! - A quote may open in the middle of a word and then belongs to it: `a"b c"` is `ab c`.

use super::parser::{Limits, ProtocolError};
use super::request::Arg;

/// Splits `line` into arguments, whose bytes are appended to `data`.
pub(super) fn split(
    line: &[u8],
    limits: &Limits,
    data: &mut Vec<u8>,
    args: &mut Vec<Arg>,
) -> Result<(), ProtocolError> {
    let mut words = Words { line, at: 0 };
    while words.skip_blanks() {
        limits.check_args(args.len() + 1)?;
        limits.check_total((args.len() + 1) * size_of::<Arg>() + line.len())?;
        let start = data.len();
        words.read_word(data)?;
        // A line is at most 64 KiB long and its words are no longer than it.
        args.push(Arg::Span { start: start as u32, len: (data.len() - start) as u32 });
    }
    Ok(())
}

struct Words<'a> {
    line: &'a [u8],
    at: usize,
}

impl Words<'_> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.line.get(self.at + ahead).copied()
    }

    /// True if a word follows.
    fn skip_blanks(&mut self) -> bool {
        while let Some(byte) = self.peek(0) {
            if !is_space(byte) {
                return true;
            }
            self.at += 1;
        }
        false
    }

    fn read_word(&mut self, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        while let Some(byte) = self.peek(0) {
            self.at += 1;
            match byte {
                b' ' | b'\n' | b'\r' | b'\t' => return Ok(()),
                b'"' => return self.read_double(out),
                b'\'' => return self.read_single(out),
                other => out.push(other),
            }
        }
        Ok(())
    }

    fn read_double(&mut self, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        while let Some(byte) = self.peek(0) {
            self.at += 1;
            match byte {
                b'"' => return self.end_quote(),
                b'\\' => match (self.peek(0), self.hex_pair()) {
                    (Some(b'x'), Some(value)) => {
                        out.push(value);
                        self.at += 3;
                    }
                    (Some(escaped), _) => {
                        out.push(unescape(escaped));
                        self.at += 1;
                    }
                    (None, _) => out.push(b'\\'),
                },
                other => out.push(other),
            }
        }
        Err(ProtocolError::UnbalancedQuotes)
    }

    fn read_single(&mut self, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        while let Some(byte) = self.peek(0) {
            self.at += 1;
            match byte {
                b'\'' => return self.end_quote(),
                b'\\' if self.peek(0) == Some(b'\'') => {
                    out.push(b'\'');
                    self.at += 1;
                }
                other => out.push(other),
            }
        }
        Err(ProtocolError::UnbalancedQuotes)
    }

    fn end_quote(&self) -> Result<(), ProtocolError> {
        match self.peek(0) {
            Some(byte) if !is_space(byte) => Err(ProtocolError::UnbalancedQuotes),
            _ => Ok(()),
        }
    }

    /// The value of the two hexadecimal digits behind `x`, if they are there.
    fn hex_pair(&self) -> Option<u8> {
        Some(hex_digit(self.peek(1)?)? * 16 + hex_digit(self.peek(2)?)?)
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

/// C's `isspace`.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::resp::Request;

    fn words(line: &[u8]) -> Result<Vec<Vec<u8>>, ProtocolError> {
        let mut request = Request::default();
        split(line, &Limits::authenticated(1 << 20), &mut request.data, &mut request.args)?;
        Ok(request.args().map(<[u8]>::to_vec).collect())
    }

    #[test]
    fn splits_like_redis() {
        let table: &[(&[u8], &[&[u8]])] = &[
            (b"", &[]),
            (b" \t ", &[]),
            (b"PING", &[b"PING"]),
            (b"  set  a\tb ", &[b"set", b"a", b"b"]),
            (b"\"a b\" 'c d'", &[b"a b", b"c d"]),
            (b"\"\" ''", &[b"", b""]),
            (b"a\"b c\"", &[b"ab c"]),
            (br#""\x41\xfF\n\t\q\"""#, &[b"A\xff\n\tq\""]),
            (br#""\x4g""#, &[b"x4g"]),
            (br"'\n\''", &[br"\n'"]),
            (b"a\x0bb", &[b"a\x0bb"]),
            (b"\"\\\\\"", &[b"\\"]),
        ];
        for (line, expected) in table {
            assert_eq!(words(line).unwrap(), *expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn refuses_unbalanced_quotes() {
        for line in [&b"\"a"[..], b"'a", b"\"a\"b", b"'a'b", b"\"a\\\"", b"\"a\\", b"x '"] {
            assert_eq!(words(line), Err(ProtocolError::UnbalancedQuotes), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn counts_words_of_strangers() {
        let line = b"a ".repeat(11);
        let (mut data, mut args) = (Vec::new(), Vec::new());
        let result = split(&line, &Limits::unauthenticated(), &mut data, &mut args);
        assert_eq!(result, Err(ProtocolError::UnauthenticatedMultibulkLength));
        assert_eq!(args.len(), 10);
    }
}
