//! The settings that stand in the key file, sealed from the host's hands (R17).

use ringfort_base::Level;
use ringfort_base::codec::{DecodeError, Reader, Write};
use ringfort_base::limits::NAME_BYTES_MAX;
use std::fmt;
use std::str::FromStr;

/// Where the classes of files live and what freshness stands on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Mode {
    /// Everything sealed on the untrusted volume; freshness from a trusted counter.
    Software = 1,
    /// Everything on the trusted volume.
    Hardware = 2,
    /// WAL and MANIFEST on the trusted volume, tables sealed on the untrusted one.
    Twin = 3,
}

impl Mode {
    /// All modes.
    pub const ALL: [Self; 3] = [Self::Software, Self::Hardware, Self::Twin];

    /// The name that users type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Software => "software",
            Self::Hardware => "hardware",
            Self::Twin => "twin",
        }
    }

    /// The number that formats store.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The mode of a stored number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.code() == code)
    }

    /// Whether the mode needs a trusted volume.
    #[must_use]
    pub const fn needs_trusted_volume(self) -> bool {
        !matches!(self, Self::Software)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.name().eq_ignore_ascii_case(s))
            .ok_or_else(|| format!("'{s}' is not a mode; use software, hardware or twin"))
    }
}

/// What the host may not change by a flag (R17).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The mode.
    pub mode: Mode,
    /// The random id of the trusted volume, in the modes that have one.
    pub trusted_volume: Option<[u8; 16]>,
    /// The kind of counter: "sim" or "volume" in this version.
    pub counter: String,
    /// No session may ask for less than this for writes.
    pub minimum_level: Level,
    /// Ed25519 key of the owner; `None` on the simulated platform, where a phrase suffices.
    pub owner_key: Option<[u8; 32]>,
}

impl Settings {
    /// The canonical bytes, as the module `keyfile` draws them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u8(self.mode.code());
        put_option(&mut out, self.trusted_volume.as_ref());
        out.put_bytes(self.counter.as_bytes());
        out.put_u8(match self.minimum_level {
            Level::Buffered => 1,
            Level::Durable => 2,
            Level::Fresh => 3,
        });
        put_option(&mut out, self.owner_key.as_ref());
        out
    }

    /// The inverse; all bytes must be used.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        let mode = from.u8()?;
        let settings = Self {
            mode: Mode::from_code(mode).ok_or(DecodeError::Variant(mode))?,
            trusted_volume: option(&mut from)?,
            counter: from.str(NAME_BYTES_MAX)?.to_owned(),
            minimum_level: match from.u8()? {
                1 => Level::Buffered,
                2 => Level::Durable,
                3 => Level::Fresh,
                other => return Err(DecodeError::Variant(other)),
            },
            owner_key: option(&mut from)?,
        };
        from.finish()?;
        Ok(settings)
    }
}

fn put_option<const N: usize>(out: &mut Vec<u8>, value: Option<&[u8; N]>) {
    out.put_bool(value.is_some());
    if let Some(value) = value {
        out.put(value);
    }
}

fn option<const N: usize>(from: &mut Reader<'_>) -> Result<Option<[u8; N]>, DecodeError> {
    Ok(if from.bool()? { Some(from.array()?) } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_have_names_and_stable_numbers() {
        for (code, mode) in (1u8..).zip(Mode::ALL) {
            assert_eq!(mode.code(), code);
            assert_eq!(Mode::from_code(code), Some(mode));
            assert_eq!(mode.to_string().to_uppercase().parse(), Ok(mode));
        }
        assert_eq!(Mode::from_code(0), None);
        assert!("soft".parse::<Mode>().unwrap_err().contains("software, hardware or twin"));
    }

    #[test]
    fn settings_round_trip_and_nothing_else_decodes() {
        for (trusted_volume, owner_key) in [(None, None), (Some([1; 16]), None), (None, Some([2; 32]))] {
            for minimum_level in Level::ALL {
                let counter = "sim".to_owned();
                let settings =
                    Settings { mode: Mode::Twin, trusted_volume, counter, minimum_level, owner_key };
                let mut bytes = settings.encode();
                assert_eq!(Settings::decode(&bytes), Ok(settings));
                for cut in 0..bytes.len() {
                    assert!(Settings::decode(&bytes[..cut]).is_err());
                }
                bytes.push(0);
                assert_eq!(Settings::decode(&bytes), Err(DecodeError::Trailing));
            }
        }
    }
}
