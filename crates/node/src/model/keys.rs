//! How the keys of the three families are spelt.

use ringfort_base::codec::{Reader, Write};
use ringfort_base::limits::KEY_BYTES_MAX;

/// The first byte of a key: which family it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Family {
    /// Meta records.
    Meta = 1,
    /// Fields of hashes.
    Field = 2,
    /// The expiry index.
    Expiry = 3,
}

/// Longest user key, and longest user key plus field, bytes: what the longest spelling adds
/// (family, varint of three bytes, generation) still fits a store's key.
pub const USER_KEY_BYTES_MAX: usize = KEY_BYTES_MAX - 16;

const _: () = assert!(1 + 3 + 8 <= KEY_BYTES_MAX - USER_KEY_BYTES_MAX);
const _: () = assert!(USER_KEY_BYTES_MAX < 1 << 21);

/// The least key of family meta.
pub const META_START: &[u8] = &[Family::Meta as u8];
/// Above every key of family meta.
pub const META_END: &[u8] = &[Family::Field as u8];
/// Above every key of a database.
pub const DB_END: &[u8] = &[Family::Expiry as u8 + 1];

/// The key of a meta record.
#[must_use]
pub fn meta_key(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    meta_key_into(&mut out, key);
    out
}

/// [`meta_key`] into a buffer that is used again.
pub fn meta_key_into(out: &mut Vec<u8>, key: &[u8]) {
    out.clear();
    out.reserve_exact(1 + key.len());
    out.put_u8(Family::Meta as u8);
    out.put(key);
}

/// The user key of a meta record's key.
#[must_use]
pub fn user_key(meta_key: &[u8]) -> Option<&[u8]> {
    meta_key.strip_prefix(META_START)
}

/// What the keys of all fields of one generation of a hash begin with.
#[must_use]
pub fn field_prefix(key: &[u8], generation: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(12 + key.len());
    out.put_u8(Family::Field as u8);
    out.put_bytes(key);
    out.put(&generation.to_be_bytes());
    out
}

/// The range of the fields of a key, of whatever generation.
#[must_use]
pub fn all_fields(key: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut from = Vec::with_capacity(4 + key.len());
    from.put_u8(Family::Field as u8);
    from.put_bytes(key);
    let to = next_prefix(from.clone());
    (from, to)
}

/// The key of one field.
#[must_use]
pub fn field_key(key: &[u8], generation: u64, field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(12 + key.len() + field.len());
    out.put_u8(Family::Field as u8);
    out.put_bytes(key);
    out.put(&generation.to_be_bytes());
    out.put(field);
    out
}

/// User key, generation and field of a field's key.
#[must_use]
pub fn parse_field_key(stored: &[u8]) -> Option<(&[u8], u64, &[u8])> {
    let mut r = Reader::new(stored);
    if r.u8().ok()? != Family::Field as u8 {
        return None;
    }
    let key = r.bytes(KEY_BYTES_MAX).ok()?;
    let generation = u64::from_be_bytes(r.array().ok()?);
    Some((key, generation, r.rest()))
}

/// The key of an entry of the expiry index.
#[must_use]
pub fn expiry_key(expiry_ms: u64, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(9 + key.len());
    out.put_u8(Family::Expiry as u8);
    out.put(&expiry_ms.to_be_bytes());
    out.put(key);
    out
}

/// The range of the expiry index that is due at `now_ms`, inclusive.
#[must_use]
pub fn expiry_until(now_ms: u64) -> (Vec<u8>, Vec<u8>) {
    let end = match now_ms.checked_add(1) {
        Some(after) => expiry_key(after, b""),
        None => DB_END.to_vec(),
    };
    (vec![Family::Expiry as u8], end)
}

/// Expiry and user key of an entry of the expiry index.
#[must_use]
pub fn parse_expiry_key(stored: &[u8]) -> Option<(u64, &[u8])> {
    let mut r = Reader::new(stored);
    if r.u8().ok()? != Family::Expiry as u8 {
        return None;
    }
    let expiry_ms = u64::from_be_bytes(r.array().ok()?);
    Some((expiry_ms, r.rest()))
}

/// The least key above all that begin with `prefix`, which must hold a byte below 0xff (every
/// key of the model begins with a family byte).
#[must_use]
pub fn next_prefix(mut prefix: Vec<u8>) -> Vec<u8> {
    while let Some(last) = prefix.pop() {
        if last < 0xff {
            prefix.push(last + 1);
            break;
        }
    }
    prefix
}
