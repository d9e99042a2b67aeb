//! Reading a segment back, front to back, through a window of the file.
//!
//! ```text
//! file     header  record  record  record  record …
//! window                  [───────────────)            bytes that were read and not passed yet
//!                          ▲ offset: where the next frame begins
//! ```
//! A segment may be larger than memory wants to hold at once, so the reader keeps a *window* and
//! says when it needs the next one ([`Ahead::Refill`]). A record is opened where it lies in the
//! window; its payload is borrowed from there.
//!
//! # Invariants
//! 1. What is decided about a record is decided from a window that holds all of it, or that is the
//!    last one: where the windows are cut changes no answer.
//! 2. `head` is the head of the last record that verified; only [`ChainReader::open`] moves it.

use super::{FLAG_LAST, FRAME_BYTES, Frame, PLAIN_BYTES_MAX, POSITION_BYTES, SegmentHeader};
use crate::aead::Tag;
use crate::anchor::{Head, sha256};
use crate::seal::Sealer;
use crate::verified::{Verified, look};
use ringfort_base::codec::Reader;
use ringfort_base::limits::{SEGMENT_RECORDS_MAX, TAG_BYTES};
use ringfort_base::{KeyspaceId, Untrusted};

/// A record that verified.
pub struct Record<'w> {
    /// Byte offset of its frame in the segment.
    pub offset: u64,
    /// Byte offset behind it.
    pub end: u64,
    /// Its key domain.
    pub domain: KeyspaceId,
    /// Whether it completes its group.
    pub last: bool,
    /// The head that it makes.
    pub head: Head,
    /// What it says.
    pub payload: Verified<&'w [u8]>,
}

/// Why a segment yields no further record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndReason {
    /// Zeros: space that was reserved and not written.
    Zeros,
    /// The bytes end exactly behind a record, or inside a frame.
    Short,
    /// A record whose seal or frame does not verify: torn, or altered. The anchor decides which.
    BadSeal,
    /// A record of a key domain that nobody knows.
    UnknownDomain(KeyspaceId),
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ahead {
    /// A whole frame that claims to be of this key domain: [`ChainReader::open`] it.
    Record(KeyspaceId),
    /// The window ends inside it: hand over the bytes from this offset of the file on.
    Refill(u64),
    /// Nothing, for this reason, at this offset. The answer stays.
    End(EndReason, u64),
}

/// Reads the records of one segment; see the module. No bytes make it panic, and it holds no more
/// than the window that it was given.
pub struct ChainReader {
    window: Vec<u8>,
    /// Where the next frame begins in the window.
    at: usize,
    /// Where the window begins in the file.
    base: u64,
    /// The file has no bytes behind the window.
    complete: bool,
    header_hash: [u8; 32],
    index: u32,
    head: Head,
    end: Option<EndReason>,
}

impl ChainReader {
    /// Reads `segment` (the whole file), which must begin with exactly `header`, the caller having
    /// derived the keys from it.
    #[must_use]
    pub fn new(segment: Untrusted<Vec<u8>>, header: &SegmentHeader) -> Self {
        Self::windowed(segment, true, header)
    }

    /// As [`ChainReader::new`], from the first window of a file; `complete`: it has no bytes behind
    /// that. A window must hold a header and then any record whole:
    /// [`ChainReader::WINDOW_BYTES_MIN`].
    #[must_use]
    pub fn windowed(front: Untrusted<Vec<u8>>, complete: bool, header: &SegmentHeader) -> Self {
        let window = look(front);
        let encoded = header.encode();
        let (at, end) = if window.starts_with(&encoded) {
            (SegmentHeader::BYTES, None)
        } else if encoded.starts_with(&window) {
            (0, Some(EndReason::Short))
        } else {
            (0, Some(EndReason::BadSeal))
        };
        let header_hash = sha256(&[&encoded]);
        Self { window, at, base: 0, complete, header_hash, index: 0, head: header.continues, end }
    }

    /// A window of this size holds the header or a record of any length.
    pub const WINDOW_BYTES_MIN: usize = {
        let record = FRAME_BYTES + PLAIN_BYTES_MAX + TAG_BYTES;
        if record > SegmentHeader::BYTES { record } else { SegmentHeader::BYTES }
    };

    /// What comes next, without moving.
    #[must_use]
    pub fn ahead(&self) -> Ahead {
        if let Some(end) = self.end {
            return Ahead::End(end, self.offset());
        }
        let whole = |frame: Frame| self.rest().len() >= FRAME_BYTES + frame.len as usize + TAG_BYTES;
        match self.frame() {
            Ok(frame) if whole(frame) => Ahead::Record(KeyspaceId(frame.domain)),
            Ok(_) | Err(EndReason::Short) if !self.complete => Ahead::Refill(self.offset()),
            Ok(_) => Ahead::End(EndReason::Short, self.offset()),
            Err(end) => Ahead::End(end, self.offset()),
        }
    }

    /// Takes the window that [`Ahead::Refill`] asked for: bytes of the file from that offset on.
    pub fn refill(&mut self, window: Untrusted<Vec<u8>>, complete: bool) {
        self.base = self.offset();
        self.window = look(window);
        self.at = 0;
        self.complete = complete;
        if !complete && matches!(self.ahead(), Ahead::Refill(_)) {
            // Shorter than any window may be and not the last one: whoever reads the file fails to.
            self.end = Some(EndReason::Short);
        }
    }

    /// The present window's buffer, to be read into again; the reader has none until the next refill.
    #[must_use]
    pub fn take_buffer(&mut self) -> Vec<u8> {
        self.base = self.offset();
        self.at = 0;
        std::mem::take(&mut self.window)
    }

    /// Opens the record ahead in place; or why there is none, and at which byte offset. `sealer` is
    /// that of its key domain, `None` if nobody knows it. After an end the reader keeps answering it.
    pub fn open(&mut self, sealer: Option<&Sealer>) -> Result<Record<'_>, (EndReason, u64)> {
        let offset = self.offset();
        match self.read(sealer) {
            Ok((plain, head, frame)) => {
                let payload = Verified::new(&self.window[plain]);
                let last = frame.flags & FLAG_LAST != 0;
                let end = self.base + self.at as u64;
                Ok(Record { offset, end, domain: KeyspaceId(frame.domain), last, head, payload })
            }
            Err(end) => {
                self.end = Some(end);
                Err((end, offset))
            }
        }
    }

    /// [`ChainReader::ahead`] and [`ChainReader::open`] in one, where the window is the whole file:
    /// `sealer` gives the sealer of a key domain.
    #[allow(clippy::type_complexity)]
    pub fn next<'s>(
        &mut self,
        sealer: &mut dyn FnMut(KeyspaceId) -> Option<&'s Sealer>,
    ) -> Result<Record<'_>, (EndReason, u64)> {
        match self.ahead() {
            Ahead::Record(domain) => self.open(sealer(domain)),
            Ahead::Refill(offset) => Err((EndReason::Short, offset)),
            Ahead::End(end, offset) => {
                self.end = Some(end);
                Err((end, offset))
            }
        }
    }

    fn read(&mut self, sealer: Option<&Sealer>) -> Result<(std::ops::Range<usize>, Head, Frame), EndReason> {
        if let Some(end) = self.end {
            return Err(end);
        }
        let frame = self.frame()?;
        let body = self.at + FRAME_BYTES;
        let end = body + frame.len as usize + TAG_BYTES;
        let piece = self.window.get_mut(body..end).ok_or(EndReason::Short)?;
        let sealer = sealer.ok_or(EndReason::UnknownDomain(KeyspaceId(frame.domain)))?;

        let aad = frame.aad(&self.header_hash, self.head.tag);
        let opened = sealer.open_in_place(frame.nonce(), &aad, piece);
        let len = opened.map_err(|_| EndReason::BadSeal)?;
        let position = Reader::new(&piece[..len]).u64().map_err(|_| EndReason::BadSeal)?;
        let tag = Reader::new(&piece[len..]).array().map_err(|_| EndReason::BadSeal)?;

        self.at = end;
        self.index += 1;
        self.head = Head { position, tag: Tag(tag) };
        Ok((body + POSITION_BYTES..body + len, self.head, frame))
    }

    /// The next frame, if it is one that a writer could have written here.
    fn frame(&self) -> Result<Frame, EndReason> {
        let rest = self.rest();
        let len = &rest[..rest.len().min(4)];
        if !len.is_empty() && len.iter().all(|b| *b == 0) && (len.len() == 4 || self.complete) {
            return Err(EndReason::Zeros);
        }
        let frame = Frame::read(&mut Reader::new(rest)).map_err(|_| EndReason::Short)?;
        let plausible = (POSITION_BYTES..=PLAIN_BYTES_MAX).contains(&(frame.len as usize))
            && frame.index == self.index
            && frame.index < SEGMENT_RECORDS_MAX
            && frame.flags & !FLAG_LAST == 0;
        if plausible { Ok(frame) } else { Err(EndReason::BadSeal) }
    }

    fn rest(&self) -> &[u8] {
        self.window.get(self.at..).unwrap_or_default()
    }

    /// Where the next frame begins in the file.
    fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// The head behind the last record that verified.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }
}
