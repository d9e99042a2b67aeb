//! How a store is opened: [`Settings`], equal for all engines.

use crate::Result;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Equal for all engines. The write-ahead log is always on.
#[derive(Clone, PartialEq, Debug, clap::Args, Serialize, Deserialize)]
#[command(rename_all = "snake_case")]
pub struct Settings {
    /// Memory for the block cache (Ringfort: for everything, memtables too): bytes, or 512MiB.
    #[arg(long, alias = "cache_size", value_name = "SIZE", default_value = "512MiB", value_parser = bytes)]
    pub memory_budget: usize,
    /// A memtable is flushed at this size: bytes, or 64MiB.
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = bytes)]
    pub write_buffer_size: usize,
    /// Size of a data block: bytes, or 4KiB.
    #[arg(long, value_name = "SIZE", default_value = "4KiB", value_parser = bytes)]
    pub block_size: usize,
    /// Bloom filter bits per key; 0 or -1 for none.
    #[arg(long, value_name = "N", default_value = "10", value_parser = bits, allow_negative_numbers = true)]
    pub bloom_bits: u32,
    /// Compression of data blocks.
    #[arg(long, value_enum, value_name = "CODEC", default_value_t = Compression::None)]
    pub compression_type: Compression,
    /// Read tables past the system's page cache; if not said, as the store thinks best.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_direct_reads: Option<bool>,
    /// Threads for flushes and compactions, where a store lets one choose (Ringfort has one).
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub background_jobs: usize,
    /// Values of so many bytes or more lie apart from the tables; 0 for none. Where not said, each store's
    /// own default (Ringfort 8 KiB, RocksDB none). Stores without value files take no notice.
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub min_blob_size: Option<usize>,
    /// The merge operator of mergerandom: append, max, min or add_u64 (with --value_size=8).
    #[arg(long, value_name = "NAME")]
    pub merge_operator: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            memory_budget: 512 << 20,
            write_buffer_size: 64 << 20,
            block_size: 4 << 10,
            bloom_bits: 10,
            compression_type: Compression::None,
            background_jobs: 2,
            min_blob_size: None,
            use_direct_reads: None,
            merge_operator: None,
        }
    }
}

/// Codecs, by db_bench's names. An engine refuses those that it does not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lower")]
pub enum Compression {
    /// As they are.
    None,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
    /// Snappy.
    Snappy,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
        })
    }
}

/// A number of bytes as people write it: `4096`, `64KiB`, `512MiB`, `2GiB` (powers of 1024).
pub fn bytes(text: &str) -> Result<usize> {
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => usize::BITS,
    };
    let number: Option<usize> = number.parse().ok();
    let wrong = || format!("'{text}' is not a size; write 4096, 64KiB, 512MiB or 2GiB").into();
    1usize.checked_shl(shift).and_then(|unit| number?.checked_mul(unit)).ok_or_else(wrong)
}

/// db_bench has -1 for "no filter".
fn bits(text: &str) -> Result<u32> {
    if text == "-1" {
        Ok(0)
    } else {
        text.parse().map_err(|_| format!("'{text}' is not a number of bits").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_flag_says_is_the_default() {
        use clap::FromArgMatches;
        let command = <Settings as clap::Args>::augment_args(clap::Command::new("x"));
        let unsaid = Settings::from_arg_matches(&command.get_matches_from(["x"])).unwrap();
        assert_eq!(unsaid, Settings::default());
    }

    #[test]
    fn sizes_have_units() {
        for (text, expected) in
            [("0", 0), ("4096", 4096), ("64KiB", 65536), ("512m", 512 << 20), ("2 GB", 2 << 30)]
        {
            assert_eq!(bytes(text).unwrap(), expected, "{text}");
        }
        for text in ["", "KiB", "-1", "1.5GiB", "12x", "99999999999999999999", "99999999999G"] {
            assert!(bytes(text).unwrap_err().to_string().contains("is not a size"), "{text}");
        }
        assert_eq!((bits("-1").unwrap(), bits("0").unwrap(), bits("10").unwrap()), (0, 0, 10));
        assert!(bits("-2").is_err());
    }
}
