//! # The write-ahead log
//!
//! ```text
//! wal/00000007.log   one segment: the sealed chained log of ringfort_trust::chain
//!   group  := record+                      the last one has the `last` flag
//!   record := ops(start) ops(continued)*   one run per keyspace that the group touches   (R15)
//!           | claim                        first own record of a life                     (R2)
//! ```
//!
//! A commit group is sealed with one seal where it touches one keyspace and fits a record; else it
//! is a chain of records ≤ 1 MiB, applied when the last verifies. A group's log position is the
//! sequence number of its last operation; a claim consumes one sequence number.
//!
//! A segment belongs to one *life* (incarnation). It is created with a fresh salt, never reopened
//! for append (R13), and continues from the head of its predecessor; the first one of a life
//! continues from the anchored head (R2), and what lies behind that head in older files is ignored.

pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod writer;

use ringfort_base::FileNo;

/// The directory of segments.
pub(crate) const DIR: &str = "wal";

/// The path of a segment.
pub(crate) fn path(segment: FileNo) -> String {
    format!("{DIR}/{:08}.log", segment.0)
}

/// The number in a segment's file name.
pub(crate) fn parse_name(name: &str) -> Option<FileNo> {
    crate::files::parse_numbered(name, "", ".log")
}
