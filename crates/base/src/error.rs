//! The public error: a kind that says what the caller can do, a message for people, and, for a
//! refusal, the evidence.

use std::fmt;

/// `Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, sorted by what the caller can do about it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is wrong: fix the call.
    Invalid,
    /// What was named does not exist.
    NotFound,
    /// What was to be created exists.
    AlreadyExists,
    /// A limit of ours was reached (memory, size, count): ask for less, or later.
    Exhausted,
    /// Somebody else holds what is needed: retry.
    Busy,
    /// A transaction read what has been changed since: nothing was written, begin it again.
    Conflict,
    /// A transaction waited for itself, by way of others: nothing was written, begin it again.
    Deadlock,
    /// A transaction waited for others' locks longer than it wants to: nothing was written; begin it again, or look
    /// who holds what it needs.
    LockTimeout,
    /// The operation was given up after its time.
    Timeout,
    /// Stored bytes failed verification: see the evidence. Nothing more is written.
    Tampered,
    /// The store, or a part of it, is older than what was acknowledged: see the evidence.
    Rollback,
    /// Another copy of the store is alive: this one stops.
    SecondCopy,
    /// Settings, platform or policy forbid it (R17): nothing was written.
    Refused,
    /// The commit may or may not have happened (R11): read to find out.
    OutcomeUnknown,
    /// An earlier failure stopped the store: restart it.
    Stopped,
    /// The host failed an operation that changed nothing.
    Io,
    /// A bug of Ringfort.
    Internal,
}

/// The kind of proof that a refusal stands on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum EvidenceKind {
    /// A seal or checksum does not verify: altered, moved, swapped or damaged bytes.
    BadSeal,
    /// Bytes that must exist end early.
    Truncated,
    /// A file that must exist is not there.
    Missing,
    /// The log does not contain the anchored head: an older state was put in place.
    Rollback,
    /// At the anchored position stands another history.
    Fork,
    /// The counter was advanced by somebody else.
    SecondCopy,
    /// It belongs to another store, lineage or platform.
    Foreign,
    /// It verifies and still contradicts itself or its neighbours.
    Inconsistent,
}

impl EvidenceKind {
    /// The word that stands in messages and in the audit record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadSeal => "bad seal",
            Self::Truncated => "truncated",
            Self::Missing => "missing file",
            Self::Rollback => "rollback",
            Self::Fork => "fork",
            Self::SecondCopy => "second copy",
            Self::Foreign => "foreign",
            Self::Inconsistent => "inconsistent",
        }
    }
}

/// Where and what: the proof behind [`ErrorKind::Tampered`], [`ErrorKind::Rollback`] and
/// [`ErrorKind::SecondCopy`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Evidence {
    /// What kind of proof.
    pub kind: EvidenceKind,
    /// The file, relative to its volume, or the counter's name.
    pub file: String,
    /// Byte offset or log position within it, as `detail` explains.
    pub position: u64,
    /// What was expected and what was found.
    pub detail: String,
}

/// The public error of every crate. Cheap to move; never holds keys or values.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    kind: ErrorKind,
    message: String,
    evidence: Option<Evidence>,
}

impl Error {
    /// An error without evidence. The message says what happened, why, and what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), evidence: None }))
    }

    /// A refusal on evidence. Its kind follows from the evidence.
    pub fn evidence(
        kind: EvidenceKind,
        file: impl Into<String>,
        position: u64,
        detail: impl Into<String>,
    ) -> Self {
        let error_kind = match kind {
            EvidenceKind::Rollback | EvidenceKind::Fork => ErrorKind::Rollback,
            EvidenceKind::SecondCopy => ErrorKind::SecondCopy,
            _ => ErrorKind::Tampered,
        };
        let evidence = Evidence { kind, file: file.into(), position, detail: detail.into() };
        let message =
            format!("{}: {} at {}: {}", kind.name(), evidence.file, evidence.position, evidence.detail);
        Self(Box::new(Inner { kind: error_kind, message, evidence: Some(evidence) }))
    }

    /// The host failed `doing` something to `what`.
    pub fn io(doing: &str, what: &str, error: &std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
            std::io::ErrorKind::StorageFull => ErrorKind::Exhausted,
            std::io::ErrorKind::WouldBlock => ErrorKind::Busy,
            _ => ErrorKind::Io,
        };
        Self::new(kind, format!("cannot {doing} {what}: {error}"))
    }

    /// A short way to [`ErrorKind::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The proof behind a refusal.
    #[must_use]
    pub fn proof(&self) -> Option<&Evidence> {
        self.0.evidence.as_ref()
    }

    /// The same error with words in front of its message.
    #[must_use]
    pub fn context(mut self, words: &str) -> Self {
        self.0.message = format!("{words}: {}", self.0.message);
        self
    }

    /// The same error as another kind (its evidence stays).
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}: {})", self.0.kind, self.0.message)
    }
}

impl std::error::Error for Error {}
