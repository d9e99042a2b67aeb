//! Meta records: what a user key is.

use super::keys::USER_KEY_BYTES_MAX;
use ringfort_base::codec::{Reader, Write};
use ringfort_base::{Error, ErrorKind, Result};
use ringfort_store::Value;

/// The type of a user key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A string of bytes.
    String = 1,
    /// Fields and values.
    Hash = 2,
}

impl Kind {
    /// What `TYPE` answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Hash => "hash",
        }
    }
}

/// What a hash's meta record says beyond type and expiry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HashMeta {
    /// Under which its fields stand.
    pub generation: u64,
    /// How many there are; never 0 in a stored record.
    pub count: u64,
}

/// A decoded meta record. It keeps the bytes where the store has them, so that a string's value goes from
/// there to the reply without another copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    kind: Kind,
    expiry_ms: u64,
    hash: HashMeta,
    body: usize,
    bytes: Value,
}

impl Record {
    /// Decodes what the store returned.
    pub fn decode(bytes: impl Into<Value>) -> Result<Self> {
        let bytes = bytes.into();
        let mut r = Reader::new(&bytes);
        let parsed = (|| {
            let kind = match r.u8()? {
                1 => Kind::String,
                2 => Kind::Hash,
                other => return Err(ringfort_base::codec::DecodeError::Variant(other)),
            };
            let expiry_ms = r.varint()?;
            let body = bytes.len() - r.remaining();
            let mut hash = HashMeta { generation: 0, count: 0 };
            if kind == Kind::Hash {
                hash = HashMeta { generation: r.u64()?, count: r.varint()? };
                r.finish()?;
            }
            Ok((kind, expiry_ms, hash, body))
        })();
        let (kind, expiry_ms, hash, body) = parsed
            .map_err(|e| Error::new(ErrorKind::Internal, format!("a meta record does not decode: {e}")))?;
        Ok(Self { kind, expiry_ms, hash, body, bytes })
    }

    /// A string's record as bytes: `parts` are written one after the other (a value that is changed
    /// in the middle needs no buffer of its own).
    #[must_use]
    pub fn encode_string(expiry_ms: u64, parts: &[&[u8]]) -> Vec<u8> {
        let len: usize = parts.iter().map(|p| p.len()).sum();
        let mut out = Vec::with_capacity(11 + len);
        out.put_u8(Kind::String as u8);
        out.put_varint(expiry_ms);
        for part in parts {
            out.put(part);
        }
        out
    }

    /// A hash's record as bytes.
    #[must_use]
    pub fn encode_hash(expiry_ms: u64, hash: HashMeta) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        out.put_u8(Kind::Hash as u8);
        out.put_varint(expiry_ms);
        out.put_u64(hash.generation);
        out.put_varint(hash.count);
        out
    }

    /// The same record with another expiry, as bytes.
    #[must_use]
    pub fn encode_with_expiry(&self, expiry_ms: u64) -> Vec<u8> {
        match self.kind {
            Kind::String => Self::encode_string(expiry_ms, &[self.value()]),
            Kind::Hash => Self::encode_hash(expiry_ms, self.hash),
        }
    }

    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// When it expires, Unix milliseconds; 0: never.
    #[must_use]
    pub const fn expiry_ms(&self) -> u64 {
        self.expiry_ms
    }

    /// A string's value (empty for a hash).
    #[must_use]
    pub fn value(&self) -> &[u8] {
        match self.kind {
            Kind::String => self.bytes.get(self.body..).unwrap_or_default(),
            Kind::Hash => &[],
        }
    }

    /// A hash's part.
    #[must_use]
    pub const fn hash(&self) -> HashMeta {
        self.hash
    }

    /// Length of the stored record, bytes.
    #[must_use]
    pub fn stored_len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it is absent for commands at `now_ms`.
    #[must_use]
    pub const fn is_expired(&self, now_ms: u64) -> bool {
        self.expiry_ms != 0 && self.expiry_ms <= now_ms
    }
}

/// What is stored under a user key, and whether commands may see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Slot {
    /// Nothing.
    Absent,
    /// A key that commands see.
    Live(Record),
    /// A key that has expired and is still stored: absent for commands, and cleared away by whoever
    /// writes here next.
    Expired(Record),
}

impl Slot {
    /// Sorts what the store returned; asks for the time only if there is an expiry.
    pub fn decode(stored: Option<impl Into<Value>>, now_ms: impl FnOnce() -> u64) -> Result<Self> {
        let Some(bytes) = stored else { return Ok(Self::Absent) };
        let record = Record::decode(bytes)?;
        let expired = record.expiry_ms() != 0 && record.is_expired(now_ms());
        Ok(if expired { Self::Expired(record) } else { Self::Live(record) })
    }

    /// What commands see.
    #[must_use]
    pub const fn live(&self) -> Option<&Record> {
        match self {
            Self::Live(record) => Some(record),
            Self::Absent | Self::Expired(_) => None,
        }
    }

    /// What is stored, seen or not.
    #[must_use]
    pub const fn stored(&self) -> Option<&Record> {
        match self {
            Self::Live(record) | Self::Expired(record) => Some(record),
            Self::Absent => None,
        }
    }

    /// What commands see, owned.
    #[must_use]
    pub fn into_live(self) -> Option<Record> {
        match self {
            Self::Live(record) => Some(record),
            Self::Absent | Self::Expired(_) => None,
        }
    }
}

// A record of the longest key and value must fit a store's limits; the value is bounded by the
// commands so that the record's head fits too.
const _: () = assert!(USER_KEY_BYTES_MAX < ringfort_base::limits::KEY_BYTES_MAX);
