//! The levels that a commit passes, as data: `buffered → durable → fresh`.

use std::fmt;
use std::str::FromStr;

/// How safe a commit must be before its caller is answered, or what a reader demands of all that
/// an answer shows. Ordered: a higher level includes the lower ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Level {
    /// Handed to the operating system: survives a crash of the process.
    Buffered,
    /// Synced: survives a power cut.
    Durable,
    /// Synced, and a trusted counter makes losing it detectable. For readers: additionally
    /// confirmed by a counter operation that began after the request arrived (R5).
    Fresh,
}

impl Level {
    /// All levels, lowest first.
    pub const ALL: [Self; 3] = [Self::Buffered, Self::Durable, Self::Fresh];

    /// The name that users type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Buffered => "buffered",
            Self::Durable => "durable",
            Self::Fresh => "fresh",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|level| level.name().eq_ignore_ascii_case(s))
            .ok_or_else(|| format!("'{s}' is not a level; use buffered, durable or fresh"))
    }
}
