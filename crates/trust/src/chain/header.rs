//! The clear header of a segment, and the salt in it; the module above draws them.

use crate::anchor::{Head, sha256};
use crate::keys::fill;
use crate::verified::look;
use ringfort_base::codec::{DecodeError, Reader, Write};
use ringfort_base::world::Entropy;
use ringfort_base::{Epoch, FileNo, Incarnation, Lineage, Result, StoreId, Untrusted};

const MAGIC: [u8; 4] = *b"RFLG";
const FORMAT: u16 = 1;

/// Which log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum LogKind {
    /// Commits.
    Wal = 1,
    /// Edits of the set of files.
    Manifest = 2,
}

/// The clear first bytes of a segment. Every field is bound into the segment's keys and
/// associated data, so a false one makes the first record fail.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// Which log.
    pub kind: LogKind,
    /// Which store.
    pub store: StoreId,
    /// Which history.
    pub lineage: Lineage,
    /// The file's number.
    pub segment: FileNo,
    /// The life that wrote it.
    pub incarnation: Incarnation,
    /// The epoch of its keys.
    pub epoch: Epoch,
    /// Fresh for every segment (R13).
    pub salt: [u8; 32],
    /// The head that its first record continues from.
    pub continues: Head,
}

impl SegmentHeader {
    /// Length of the encoding, bytes.
    pub const BYTES: usize = 4 + 2 + 1 + 1 + 16 + 16 + 8 + 8 + 4 + 32 + 8 + 16;

    /// The clear bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = Vec::with_capacity(Self::BYTES);
        out.put(&MAGIC);
        out.put_u16(FORMAT);
        out.put_u8(self.kind as u8);
        out.put_u8(0);
        out.put(&self.store.0);
        out.put(&self.lineage.0);
        out.put_u64(self.segment.0);
        out.put_u64(self.incarnation.0);
        out.put_u32(self.epoch.0);
        out.put(&self.salt);
        self.continues.put(&mut out);
        out.try_into().expect("every field has a fixed length, and BYTES is their sum")
    }

    /// Parses the front of a segment. What it says is a *claim* until its first record opened,
    /// which is why the result is for choosing a file only.
    pub fn claimed(bytes: &Untrusted<Vec<u8>>) -> Result<Self, DecodeError> {
        let mut from = Reader::new(look(bytes.as_ref()).as_slice());
        if from.array()? != MAGIC {
            return Err(DecodeError::Meaning("not a log segment"));
        }
        if from.u16()? != FORMAT {
            return Err(DecodeError::Meaning("a log segment of an unknown format"));
        }
        let kind = match from.u8()? {
            1 => LogKind::Wal,
            2 => LogKind::Manifest,
            other => return Err(DecodeError::Variant(other)),
        };
        match from.u8()? {
            0 => {}
            other => return Err(DecodeError::Variant(other)),
        }
        Ok(Self {
            kind,
            store: StoreId(from.array()?),
            lineage: Lineage(from.array()?),
            segment: FileNo(from.u64()?),
            incarnation: Incarnation(from.u64()?),
            epoch: Epoch(from.u32()?),
            salt: from.array()?,
            continues: Head::read(&mut from)?,
        })
    }
}

/// Draws a salt that mixes entropy with incarnation and a random id (R13).
///
/// The keys that it salts also depend on the segment's number and incarnation (they stand in the
/// header), so even an entropy source that was rewound repeats no key between segments or lives.
pub fn draw_salt(entropy: &dyn Entropy, incarnation: Incarnation) -> Result<[u8; 32]> {
    let mut random = [0; 32];
    let mut id = [0; 16];
    fill(entropy, &mut random)?;
    fill(entropy, &mut id)?;
    Ok(sha256(&[b"ringfort v1 salt", &incarnation.0.to_le_bytes(), &id, &random]))
}
