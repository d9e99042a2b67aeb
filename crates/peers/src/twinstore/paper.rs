//! What the paper says (TWINSTORE, section 5.2), for the column beside ours. It gives ranges in its
//! text and the points only as bars of a figure.
//!
//! Its machine: 64 cores of AMD Milan under SEV-SNP, 256 GB, NVMe; RocksDB's `db_bench`, 48 threads,
//! reads to writes 9:1, blocks of 32 KiB, keys of 16 B, values of 1 KiB, block cache of 512 MB.

use crate::figures::Varied;

/// The paper's words for one figure.
pub struct Said {
    /// TWINSTORE by hardware-only.
    pub by_hardware: &'static str,
    /// TWINSTORE by software-only.
    pub by_software: &'static str,
}

/// What it says of this figure.
pub const fn said(varied: Varied) -> Said {
    match varied {
        Varied::ValueSize => Said {
            by_hardware: "1.06 to 1.16, growing with the value",
            by_software: "3.8 to 3.2, falling with the value",
        },
        Varied::BlockSize => {
            Said { by_hardware: "0.98 to 1.19, growing with the block", by_software: "about 3.4 throughout" }
        }
        Varied::ReadShare => Said {
            by_hardware: "slightly better with more writes",
            by_software: "slightly better with more writes",
        },
        Varied::Threads => {
            Said { by_hardware: "0.90 (few threads) to 1.18 (many)", by_software: "not given" }
        }
    }
}

/// Its averages: TWINSTORE by hardware-only and by software-only.
pub const AVERAGE: (f64, f64) = (1.1, 3.4);
