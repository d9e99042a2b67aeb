//! What is said when a command fails, and with which exit code: what happened, why, what to do.

use ringfort::{Error, ErrorKind, Evidence};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line or a setting is wrong.
    Usage(String),
    /// The store said no.
    Store(Error),
    /// Anything else, in words.
    Other(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl From<Box<dyn std::error::Error + Send + Sync>> for Failure {
    fn from(error: Box<dyn std::error::Error + Send + Sync>) -> Self {
        match error.downcast::<Error>() {
            Ok(error) => Self::Store(*error),
            Err(error) => Self::Other(error.to_string()),
        }
    }
}

/// The exit code of a refusal on evidence.
pub(crate) const EXIT_REFUSED: u8 = 3;
const EXIT_USAGE: u8 = 2;
const EXIT_FAILED: u8 = 1;

/// Prints the failure to standard error and returns the exit code.
pub(crate) fn report(failure: &Failure) -> ExitCode {
    let (text, code) = explain(failure);
    // If nobody listens there is nobody to tell; the exit code stands.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
    ExitCode::from(code)
}

fn explain(failure: &Failure) -> (String, u8) {
    match failure {
        Failure::Usage(text) => (format!("ringfort: {text}\nSee: ringfort help\n"), EXIT_USAGE),
        Failure::Other(text) => (format!("ringfort: {text}\n"), EXIT_FAILED),
        Failure::Store(error) => match (error.proof(), refusal(error.kind())) {
            (Some(proof), Some(word)) => (refused(word, error, proof), EXIT_REFUSED),
            (None, Some(word)) => (format!("ringfort: REFUSED ({word})\n  {error}\n"), EXIT_REFUSED),
            // A commit that was not confirmed because of evidence: the evidence is what matters.
            (Some(proof), None) if error.kind() == ErrorKind::OutcomeUnknown => {
                (refused(proof.kind.name(), error, proof), EXIT_REFUSED)
            }
            _ if error.kind() == ErrorKind::Invalid => (format!("ringfort: {error}\n"), EXIT_USAGE),
            _ => (format!("ringfort: {error}\n"), EXIT_FAILED),
        },
    }
}

/// The word for a refusal on evidence.
fn refusal(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::Tampered => Some("tampered"),
        ErrorKind::Rollback => Some("rollback"),
        ErrorKind::SecondCopy => Some("second copy"),
        _ => None,
    }
}

fn refused(word: &str, error: &Error, proof: &Evidence) -> String {
    let (meaning, advice) = match error.kind() {
        ErrorKind::Rollback => (
            "the stored state is older than one that was acknowledged, or another history stands in its place",
            "put the current state of the directory back. If it is lost, the store is: give it up with `ringfort \
             destroy`, or restore a backup as a new store",
        ),
        ErrorKind::SecondCopy => (
            "another copy of this store is alive and has taken over the counter",
            "find out which copy is the right one; stop the other; only one can go on",
        ),
        _ => (
            "stored bytes are not what this store wrote",
            "put the right bytes back (from the medium that is intact); if the damage is real, restore a backup as a \
             new store",
        ),
    };
    let mut out = format!("ringfort: REFUSED ({word})\n");
    for (label, text) in [
        ("what", meaning.to_owned()),
        ("evidence", proof.kind.name().to_owned()),
        ("file", proof.file.clone()),
        ("position", proof.position.to_string()),
        ("detail", proof.detail.clone()),
        // Words that were put in front of the evidence on its way here.
        ("context", error.message().split_once(proof.kind.name()).map_or("", |(words, _)| words).to_owned()),
        ("do", advice.to_owned()),
    ] {
        let text = text.trim().trim_end_matches(':');
        if !text.is_empty() {
            let _ = writeln!(out, "  {label:<9} {text}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfort::EvidenceKind;

    #[test]
    fn exit_codes_follow_the_kind() {
        let code = |failure: Failure| explain(&failure).1;
        assert_eq!(code(Failure::Usage(String::new())), 2);
        assert_eq!(code(Failure::Other(String::new())), 1);
        assert_eq!(code(Error::invalid("x").into()), 2);
        assert_eq!(code(Error::new(ErrorKind::Busy, "x").into()), 1);
        assert_eq!(code(Error::new(ErrorKind::Refused, "x").into()), 1);
        for kind in
            [EvidenceKind::BadSeal, EvidenceKind::Rollback, EvidenceKind::SecondCopy, EvidenceKind::Missing]
        {
            let error = Error::evidence(kind, "f", 7, "d");
            assert_eq!(code(error.clone().into()), 3, "{kind:?}");
            assert_eq!(code(error.with_kind(ErrorKind::OutcomeUnknown).into()), 3, "{kind:?}");
        }
    }

    #[test]
    fn a_refusal_is_one_block_with_everything_in_it() {
        let error = Error::evidence(EvidenceKind::Rollback, "wal/00000003.log", 77, "the anchor names 80");
        let (text, _) = explain(&Failure::Store(error));
        assert!(text.starts_with("ringfort: REFUSED (rollback)\n"));
        for part in ["wal/00000003.log", "77", "the anchor names 80", "ringfort destroy"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
