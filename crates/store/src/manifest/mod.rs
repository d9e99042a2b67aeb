//! # The MANIFEST: which files the store is made of
//!
//! ```text
//! MANIFEST-00000012    a sealed chained log (ringfort_trust::chain) of edits
//!   first edit         a snapshot of the whole state
//!   later edits        changes: tables added and removed, flushed positions, keyspaces
//! CURRENT              the name of the newest MANIFEST: a hint for people; recovery looks for the
//!                      MANIFEST that holds the anchored head (R8)
//! ```
//!
//! Every open starts a new MANIFEST with a snapshot (no file is reopened for append, R13), chained
//! to the anchored head. Recovery rebuilds the state *at the anchored head exactly*; edits behind
//! it are repeated from the log: the files they free are not deleted before a synced anchor covers
//! them, and an edit that installs a flush is written only after the log is synced through it (R9).
//! So the state at the anchored edit never overtakes the anchored log.

pub(crate) mod edit;
pub(crate) mod reader;
pub(crate) mod state;
pub(crate) mod writer;

use ringfort_base::FileNo;

/// The hint file.
pub(crate) const CURRENT: &str = "CURRENT";

/// Where a new CURRENT is written before it is renamed.
pub(crate) fn aside(number: FileNo) -> String {
    format!("{CURRENT}.{}.tmp", number.0)
}

/// Whether a name is one of [`aside`].
pub(crate) fn is_aside(name: &str) -> bool {
    name.strip_prefix(CURRENT).is_some_and(|rest| rest.starts_with('.') && rest.ends_with(".tmp"))
}

/// The path of a MANIFEST.
pub(crate) fn path(number: FileNo) -> String {
    format!("MANIFEST-{:08}", number.0)
}

/// The number in a MANIFEST's name.
pub(crate) fn parse_name(name: &str) -> Option<FileNo> {
    crate::files::parse_numbered(name, "MANIFEST-", "")
}
