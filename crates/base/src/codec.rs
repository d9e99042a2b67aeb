//! The bounded codec: how every structure of Ringfort becomes bytes and comes back.
//!
//! Fixed-width integers are little-endian; varints are LEB128 and *canonical* (a longer spelling
//! of a number is refused), so `encode ∘ decode` is the identity on accepted bytes. A reader never
//! allocates more than what is left of its input.

use thiserror::Error;

/// Why bytes are not an encoding. Decoders run on verified bytes, so this means either a bug, a
/// newer format, or a forged frame on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end inside a field.
    #[error("ends inside a field")]
    Short,
    /// A varint is longer than its number needs, or does not fit.
    #[error("a number is not canonical")]
    Varint,
    /// A length or number is above its limit.
    #[error("a field is above its limit")]
    Limit,
    /// A byte that selects a variant selects none.
    #[error("unknown variant {0}")]
    Variant(u8),
    /// Bytes are left over at the end.
    #[error("bytes are left over")]
    Trailing,
    /// The fields contradict each other.
    #[error("{0}")]
    Meaning(&'static str),
}

/// Reads fields from a slice, front to back.
#[derive(Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether all is read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[b]| b)
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A canonical LEB128 number.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        let (value, used) = read_varint(self.rest)?;
        self.rest = &self.rest[used..];
        Ok(value)
    }

    /// A varint that fits a `u32`.
    pub fn varint32(&mut self) -> Result<u32, DecodeError> {
        u32::try_from(self.varint()?).map_err(|_| DecodeError::Limit)
    }

    /// Bytes behind their varint length, at most `max` long.
    #[inline]
    pub fn bytes(&mut self, max: usize) -> Result<&'a [u8], DecodeError> {
        let len = usize::try_from(self.varint()?).map_err(|_| DecodeError::Limit)?;
        if len > max {
            return Err(DecodeError::Limit);
        }
        self.take(len)
    }

    /// UTF-8 behind its varint length, at most `max` bytes long.
    pub fn str(&mut self, max: usize) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes(max)?).map_err(|_| DecodeError::Meaning("not UTF-8"))
    }

    /// 0 or 1.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::Variant(other)),
        }
    }

    /// Demands that nothing is left.
    pub const fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) }
    }

    /// All that is left.
    #[must_use]
    pub const fn rest(self) -> &'a [u8] {
        self.rest
    }
}

/// Reads a canonical LEB128 number from the front of `bytes`: the number and how long it is.
#[inline]
pub fn read_varint(bytes: &[u8]) -> Result<(u64, usize), DecodeError> {
    if let Some(&b) = bytes.first()
        && b < 0x80
    {
        return Ok((u64::from(b), 1));
    }
    let mut value = 0u64;
    for (i, &b) in bytes.iter().take(10).enumerate() {
        let bits = u64::from(b & 0x7f);
        if i == 9 && b > 1 {
            return Err(DecodeError::Varint);
        }
        value |= bits << (7 * i);
        if b < 0x80 {
            return if b == 0 { Err(DecodeError::Varint) } else { Ok((value, i + 1)) };
        }
    }
    Err(if bytes.len() < 10 { DecodeError::Short } else { DecodeError::Varint })
}

/// Appends fields to a byte vector: the counterpart of [`Reader`].
pub trait Write {
    /// Raw bytes.
    fn put(&mut self, bytes: &[u8]);

    /// One byte.
    fn put_u8(&mut self, v: u8) {
        self.put(&[v]);
    }
    /// Two bytes, little-endian.
    fn put_u16(&mut self, v: u16) {
        self.put(&v.to_le_bytes());
    }
    /// Four bytes, little-endian.
    fn put_u32(&mut self, v: u32) {
        self.put(&v.to_le_bytes());
    }
    /// Eight bytes, little-endian.
    fn put_u64(&mut self, v: u64) {
        self.put(&v.to_le_bytes());
    }
    /// 0 or 1.
    fn put_bool(&mut self, v: bool) {
        self.put_u8(u8::from(v));
    }
    /// A canonical LEB128 number.
    fn put_varint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.put_u8((v as u8) | 0x80);
            v >>= 7;
        }
        self.put_u8(v as u8);
    }
    /// Bytes behind their varint length.
    fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_varint(bytes.len() as u64);
        self.put(bytes);
    }
}

impl Write for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
    fn put_u8(&mut self, v: u8) {
        self.push(v);
    }
}

/// The length of `v` as a varint, bytes.
#[must_use]
pub const fn varint_len(v: u64) -> usize {
    (70 - (v | 1).leading_zeros() as usize) / 7
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_and_are_canonical() {
        for v in [0, 1, 127, 128, 300, 16383, 16384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut buf = Vec::new();
            buf.put_varint(v);
            assert_eq!(buf.len(), varint_len(v), "length of {v}");
            assert_eq!(read_varint(&buf), Ok((v, buf.len())));
            for cut in 0..buf.len() {
                assert_eq!(read_varint(&buf[..cut]), Err(DecodeError::Short));
            }
        }
        assert_eq!(read_varint(&[0x80, 0x00]), Err(DecodeError::Varint), "a longer zero");
        assert_eq!(read_varint(&[0xff; 10]), Err(DecodeError::Varint), "more than 64 bits");
        assert_eq!(
            read_varint(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]),
            Err(DecodeError::Varint)
        );
    }

    #[test]
    fn a_length_cannot_ask_for_more_than_there_is() {
        let mut buf = Vec::new();
        buf.put_varint(1 << 40);
        assert_eq!(Reader::new(&buf).bytes(usize::MAX), Err(DecodeError::Short));
        assert_eq!(Reader::new(&buf).bytes(10), Err(DecodeError::Limit));
    }

    #[test]
    fn leftovers_are_refused() {
        let mut r = Reader::new(&[1, 2]);
        assert_eq!(r.u8(), Ok(1));
        assert_eq!(r.finish(), Err(DecodeError::Trailing));
    }
}
