//! How settings are written: sizes, times, addresses.

use ringfort::{Compression, Level, Mode};
use std::path::PathBuf;
use std::time::Duration;

/// Something that a setting can be. The error says what would have been right.
pub(crate) trait Value: Sized {
    fn parse(text: &str) -> Result<Self, String>;
}

/// A number of bytes: `4096`, `64KiB`, `512MiB`, `2GiB` (or `k`, `M`, `G`; all powers of 1024).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bytes(pub(crate) u64);

/// A time: `250ms`, `30s`, `10m`, `24h`; a bare number is seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span(pub(crate) Duration);

/// A time of whole seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seconds(pub(crate) Duration);

/// A time above which something is noted, or `off`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Threshold(pub(crate) Option<Duration>);

/// Where to listen: `HOST:PORT`, or `off`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Address(pub(crate) Option<String>);

/// A number of runtimes: `auto` is one per core, at most four.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Threads(pub(crate) usize);

impl Value for Bytes {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not a size; write 4096, 64KiB, 512MiB or 2GiB");
        let (number, unit) = split(text).ok_or_else(wrong)?;
        let shift = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(wrong()),
        };
        number.checked_mul(1 << shift).map(Self).ok_or_else(wrong)
    }
}

impl Value for Span {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not a time; write 500us, 250ms, 30s, 10m or 24h");
        let (number, unit) = split(text).ok_or_else(wrong)?;
        let us_each = match unit.to_ascii_lowercase().as_str() {
            "us" => 1,
            "ms" => 1_000,
            "" | "s" => 1_000_000,
            "m" | "min" => 60_000_000,
            "h" => 3_600_000_000,
            "d" => 86_400_000_000,
            _ => return Err(wrong()),
        };
        number.checked_mul(us_each).map(|us| Self(Duration::from_micros(us))).ok_or_else(wrong)
    }
}

impl Value for Seconds {
    fn parse(text: &str) -> Result<Self, String> {
        let Span(time) = Span::parse(text)?;
        // A part of a second would be cut off further in, and what is left may mean "never".
        if time.subsec_nanos() == 0 {
            Ok(Self(time))
        } else {
            Err(format!("'{text}' is not a time of whole seconds; write 30s, 10m or 24h"))
        }
    }
}

impl Value for Threshold {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        Span::parse(text).map(|Span(time)| Self(Some(time))).map_err(|why| format!("{why}, or off"))
    }
}

/// A number and the unit behind it.
fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim()))
}

impl Value for Address {
    fn parse(text: &str) -> Result<Self, String> {
        if matches!(text, "off" | "none") {
            return Ok(Self(None));
        }
        let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
        if port.is_some_and(|port| port.parse::<u16>().is_ok()) {
            return Ok(Self(Some(text.to_owned())));
        }
        Err(format!("'{text}' is not an address; write HOST:PORT, as 127.0.0.1:6379, or off"))
    }
}

impl Value for Threads {
    fn parse(text: &str) -> Result<Self, String> {
        const MOST: usize = 1024;
        if text == "auto" {
            return Ok(Self(std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4))));
        }
        let count = text.parse().ok().filter(|count| (1..=MOST).contains(count));
        count
            .map(Self)
            .ok_or_else(|| format!("'{text}' is not a number of runtimes; write 1 to {MOST}, or auto"))
    }
}

impl Value for bool {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("'{text}' is neither true nor false"))
    }
}

impl Value for PathBuf {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("a path is not empty".to_owned()) } else { Ok(text.into()) }
    }
}

impl Value for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl Value for Level {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }
}

impl Value for Mode {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }
}

impl Value for Compression {
    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "none" | "off" => Ok(Self::None),
            "lz4" => Ok(Self::Lz4),
            "zstd" => Ok(Self::Zstd),
            _ => Err(format!("'{text}' is not a compression; use none, lz4 or zstd")),
        }
    }
}

impl Value for u32 {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("'{text}' is not a whole number"))
    }
}

/// A setting that need not be given; nothing is written as nothing.
impl<T: Value> Value for Option<T> {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(None) } else { T::parse(text).map(Some) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times() {
        for (text, bytes) in
            [("0", 0), ("4096", 4096), ("64KiB", 65536), ("2 GiB", 2 << 30), ("512m", 512 << 20)]
        {
            assert_eq!(Bytes::parse(text), Ok(Bytes(bytes)), "{text}");
        }
        for text in ["", "KiB", "12x", "-1", "1.5GiB", "99999999999999999999", "20000000T"] {
            assert!(Bytes::parse(text).unwrap_err().contains("is not a size"), "{text}");
        }
        for (text, ms) in [("250ms", 250), ("30", 30_000), ("10m", 600_000), ("24h", 86_400_000)] {
            assert_eq!(Span::parse(text), Ok(Span(Duration::from_millis(ms))), "{text}");
        }
        assert_eq!(Span::parse("500us"), Ok(Span(Duration::from_micros(500))));
        assert!(Span::parse("soon").is_err() && Span::parse("5 weeks").is_err());
        assert_eq!(Seconds::parse("2000ms"), Ok(Seconds(Duration::from_secs(2))));
        assert_eq!(Seconds::parse("0"), Ok(Seconds(Duration::ZERO)));
        assert!(Seconds::parse("500ms").unwrap_err().contains("whole seconds"));
        assert_eq!(Threshold::parse("10ms"), Ok(Threshold(Some(Duration::from_millis(10)))));
        assert_eq!(Threshold::parse("off"), Ok(Threshold(None)));
        assert!(Threshold::parse("slow").unwrap_err().ends_with("or off"));
    }

    #[test]
    fn addresses() {
        assert_eq!(Address::parse("off"), Ok(Address(None)));
        for good in ["127.0.0.1:6379", "[::1]:0", "localhost:65535"] {
            assert_eq!(Address::parse(good), Ok(Address(Some(good.to_owned()))));
        }
        for bad in ["", "6379", ":6379", "host", "host:", "host:70000"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
