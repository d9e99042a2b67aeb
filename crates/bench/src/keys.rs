//! Keys as db_bench writes them: a number, big endian, and ASCII zeros up to the key's size.

/// A buffer that holds one key at a time.
pub struct Key {
    bytes: Vec<u8>,
    /// How many bytes the number takes.
    number: usize,
}

impl Key {
    /// Keys of `size` bytes.
    pub fn new(size: usize) -> Self {
        Self { bytes: vec![b'0'; size], number: size.min(8) }
    }

    /// The key of `value`: its low bytes first, if a key is shorter than a number.
    pub fn of(&mut self, value: u64) -> &[u8] {
        self.bytes[..self.number].copy_from_slice(&value.to_be_bytes()[8 - self.number..]);
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_big_endian_number_and_zeros() {
        let mut key = Key::new(16);
        assert_eq!(key.of(0x0102), b"\0\0\0\0\0\0\x01\x0200000000");
        assert_eq!(key.of(u64::MAX), b"\xff\xff\xff\xff\xff\xff\xff\xff00000000");
        assert_eq!(Key::new(3).of(0x0102_0304), b"\x02\x03\x04");
    }
}
