//! A table's properties: what statistics, size estimates and people want to know of it.
//!
//! ```text
//! properties := version u8 (1) | varint × 9, in the order of the fields
//! ```

use ringfort_base::codec::{DecodeError, Reader, Write};

const VERSION: u8 = 1;

/// See the module.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Properties {
    /// Data blocks.
    pub data_blocks: u64,
    /// Bytes of data blocks on disk; they lie at the front of the file.
    pub data_bytes: u64,
    /// Bytes of user keys, before prefixes are shared.
    pub raw_key_bytes: u64,
    /// Bytes of values, before compression.
    pub raw_value_bytes: u64,
    /// Bytes of all index blocks, plaintext.
    pub index_bytes: u64,
    /// Bytes of all filters.
    pub filter_bytes: u64,
    /// Index partitions; 0 if the index is one block.
    pub partitions: u64,
    /// Filter bits per key that were asked for.
    pub bloom_bits_per_key: u64,
    /// So many first bytes of each key are in the filters as well; 0: none.
    pub prefix_bytes: u64,
}

impl Properties {
    fn fields(&self) -> [u64; 9] {
        let Self { data_blocks, data_bytes, raw_key_bytes, raw_value_bytes, .. } = *self;
        let Self { index_bytes, filter_bytes, partitions, bloom_bits_per_key, prefix_bytes, .. } = *self;
        [
            data_blocks,
            data_bytes,
            raw_key_bytes,
            raw_value_bytes,
            index_bytes,
            filter_bytes,
            partitions,
            bloom_bits_per_key,
            prefix_bytes,
        ]
    }

    /// The plaintext of the properties block.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        self.fields().into_iter().for_each(|field| out.put_varint(field));
        out
    }

    /// Reads it back.
    ///
    /// # Errors
    /// [`DecodeError`] if it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let version = r.u8()?;
        if version != VERSION {
            return Err(DecodeError::Variant(version));
        }
        let properties = Self {
            data_blocks: r.varint()?,
            data_bytes: r.varint()?,
            raw_key_bytes: r.varint()?,
            raw_value_bytes: r.varint()?,
            index_bytes: r.varint()?,
            filter_bytes: r.varint()?,
            partitions: r.varint()?,
            bloom_bits_per_key: r.varint()?,
            prefix_bytes: r.varint()?,
        };
        r.finish().map(|()| properties)
    }
}
