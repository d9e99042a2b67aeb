//! What crosses the bus between [`super::sim::SimPlatform`] and [`super::sim::SimDevice`].
//!
//! ```text
//! sent    := sequence u64 | request                         sequence: counted up by the driver
//! answer  := reply | sha256("ringfort v1 sim reply" | sent | reply) 32
//! request := version u8 = 1 | command u8 | fields
//!   1 sealing key  store 16               5 forget   name
//!   2 known        name                   6 read     name | store 16
//!   3 begin        name | store 16        7 advance  name | store 16 | option 32 | anchor | claim bool
//!   4 commit       name | store 16
//! reply   := version u8 = 1 | kind u8 | fields
//!   0 done                                4 conflict option reading
//!   1 sealing key  32                     5 failed   kind u8 | message
//!   2 known        0 | 1 store | 2 store  6 evidence kind u8 | file | position u64 | detail
//!   3 reading      option reading         7 advanced value u64
//! name, message, file, detail := varint length | UTF-8;  option x := 0 | 1 x;  reading := value u64 | anchor
//! ```
//! The digest binds an answer to its request, so that one that was garbled, or belongs to an earlier
//! request, is noticed and counts as lost (R4). It is no secret: a real device authenticates its session.

use super::Known;
use crate::anchor::{Anchor, sha256};
use crate::counter::Reading;
use ringfort_base::codec::{DecodeError, Reader, Write};
use ringfort_base::limits::NAME_BYTES_MAX;
use ringfort_base::{Error, ErrorKind, EvidenceKind, StoreId};
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const TEXT_BYTES_MAX: usize = 4096;

/// What the device appends to `reply`, its answer to `sent`.
pub(super) fn binding(sent: &[u8], reply: &[u8]) -> [u8; 32] {
    sha256(&[b"ringfort v1 sim reply", sent, reply])
}

/// A command to the device.
#[derive(PartialEq, Debug)]
pub(super) enum Request {
    SealingKey { store: StoreId },
    Known { name: String },
    Begin { name: String, store: StoreId },
    Commit { name: String, store: StoreId },
    Forget { name: String },
    CounterRead { name: String, store: StoreId },
    CounterAdvance { name: String, store: StoreId, expected: Option<[u8; 32]>, to: Anchor, claim: bool },
}

impl Request {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        let mut head = |command: u8, name: &str, store: Option<&StoreId>| {
            out.put_u8(command);
            if command != 1 {
                out.put_bytes(name.as_bytes());
            }
            if let Some(store) = store {
                out.put(&store.0);
            }
        };
        match self {
            Self::SealingKey { store } => head(1, "", Some(store)),
            Self::Known { name } => head(2, name, None),
            Self::Begin { name, store } => head(3, name, Some(store)),
            Self::Commit { name, store } => head(4, name, Some(store)),
            Self::Forget { name } => head(5, name, None),
            Self::CounterRead { name, store } => head(6, name, Some(store)),
            Self::CounterAdvance { name, store, expected, to, claim } => {
                head(7, name, Some(store));
                put_option(&mut out, expected.as_ref(), |out, digest| out.put(digest));
                out.put(&to.encode());
                out.put_bool(*claim);
            }
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        version(&mut from)?;
        let command = from.u8()?;
        let name = if command == 1 { String::new() } else { from.str(NAME_BYTES_MAX)?.to_owned() };
        let store = |from: &mut Reader<'_>| from.array().map(StoreId);
        let request = match command {
            1 => Self::SealingKey { store: store(&mut from)? },
            2 => Self::Known { name },
            3 => Self::Begin { name, store: store(&mut from)? },
            4 => Self::Commit { name, store: store(&mut from)? },
            5 => Self::Forget { name },
            6 => Self::CounterRead { name, store: store(&mut from)? },
            7 => Self::CounterAdvance {
                name,
                store: store(&mut from)?,
                expected: option(&mut from, Reader::array)?,
                to: Anchor::decode(from.take(Anchor::BYTES)?)?,
                claim: from.bool()?,
            },
            other => return Err(DecodeError::Variant(other)),
        };
        from.finish()?;
        Ok(request)
    }
}

/// The device's answer.
pub(super) enum Reply {
    Done,
    SealingKey(Zeroizing<[u8; 32]>),
    Known(Known),
    Reading(Option<Reading>),
    Conflict(Option<Reading>),
    Advanced(u64),
    Failed(Error),
}

impl Reply {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        match self {
            Self::Done => out.put_u8(0),
            Self::SealingKey(key) => {
                out.put_u8(1);
                out.put(&**key);
            }
            Self::Known(known) => {
                out.put_u8(2);
                match known {
                    Known::No => out.put_u8(0),
                    Known::Creating(store) => {
                        out.put_u8(1);
                        out.put(&store.0);
                    }
                    Known::Live(store) => {
                        out.put_u8(2);
                        out.put(&store.0);
                    }
                }
            }
            Self::Reading(reading) => {
                out.put_u8(3);
                put_option(&mut out, reading.as_ref(), put_reading);
            }
            Self::Conflict(reading) => {
                out.put_u8(4);
                put_option(&mut out, reading.as_ref(), put_reading);
            }
            Self::Failed(error) => put_error(&mut out, error),
            Self::Advanced(value) => {
                out.put_u8(7);
                out.put_u64(*value);
            }
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        version(&mut from)?;
        let reply = match from.u8()? {
            0 => Self::Done,
            1 => Self::SealingKey(Zeroizing::new(from.array()?)),
            2 => Self::Known(match from.u8()? {
                0 => Known::No,
                1 => Known::Creating(StoreId(from.array()?)),
                2 => Known::Live(StoreId(from.array()?)),
                other => return Err(DecodeError::Variant(other)),
            }),
            3 => Self::Reading(option(&mut from, reading)?),
            4 => Self::Conflict(option(&mut from, reading)?),
            5 => {
                let kind = code_of(&KINDS, from.u8()?)?;
                Self::Failed(Error::new(kind, from.str(TEXT_BYTES_MAX)?))
            }
            6 => {
                let kind = code_of(&EVIDENCE, from.u8()?)?;
                let file = from.str(TEXT_BYTES_MAX)?;
                let position = from.u64()?;
                Self::Failed(Error::evidence(kind, file, position, from.str(TEXT_BYTES_MAX)?))
            }
            7 => Self::Advanced(from.u64()?),
            other => return Err(DecodeError::Variant(other)),
        };
        from.finish()?;
        Ok(reply)
    }
}

/// The kinds of failure that a device reports, at their numbers; any other is reported as the last.
const KINDS: [ErrorKind; 7] = [
    ErrorKind::Invalid,
    ErrorKind::NotFound,
    ErrorKind::AlreadyExists,
    ErrorKind::Busy,
    ErrorKind::Refused,
    ErrorKind::Internal,
    ErrorKind::Io,
];

/// The same for evidence.
const EVIDENCE: [EvidenceKind; 2] = [EvidenceKind::BadSeal, EvidenceKind::Inconsistent];

fn code_of<T: Copy>(table: &[T], code: u8) -> Result<T, DecodeError> {
    table.get(usize::from(code)).copied().ok_or(DecodeError::Variant(code))
}

fn code<T: PartialEq>(table: &[T], value: &T) -> u8 {
    table.iter().position(|known| known == value).unwrap_or(table.len() - 1) as u8
}

fn put_error(out: &mut Vec<u8>, error: &Error) {
    match error.proof() {
        None => {
            out.put_u8(5);
            out.put_u8(code(&KINDS, &error.kind()));
            put_text(out, error.message());
        }
        Some(evidence) => {
            out.put_u8(6);
            out.put_u8(code(&EVIDENCE, &evidence.kind));
            put_text(out, &evidence.file);
            out.put_u64(evidence.position);
            put_text(out, &evidence.detail);
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    out.put_bytes(&text.as_bytes()[..end]);
}

pub(super) fn put_reading(out: &mut Vec<u8>, reading: &Reading) {
    out.put_u64(reading.value);
    out.put(&reading.anchor.encode());
}

pub(super) fn reading(from: &mut Reader<'_>) -> Result<Reading, DecodeError> {
    Ok(Reading { value: from.u64()?, anchor: Anchor::decode(from.take(Anchor::BYTES)?)? })
}

pub(super) fn put_option<T>(out: &mut Vec<u8>, value: Option<&T>, put: impl FnOnce(&mut Vec<u8>, &T)) {
    out.put_bool(value.is_some());
    if let Some(value) = value {
        put(out, value);
    }
}

pub(super) fn option<'a, T>(
    from: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    Ok(if from.bool()? { Some(read(from)?) } else { None })
}

pub(super) fn version(from: &mut Reader<'_>) -> Result<(), DecodeError> {
    match from.u8()? {
        VERSION => Ok(()),
        other => Err(DecodeError::Variant(other)),
    }
}
