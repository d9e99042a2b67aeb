//! What the paper says (TREATY, DSN 2022, section VIII), for the column beside ours: slowdowns against RocksDB, which it
//! gives in its text; the points only as lines of its figures.
//!
//! Its machine: Intel i9-10900K, SGX v1, SCONE; its builds are native or inside SCONE, without encryption, with it, and with
//! stabilization (`fresh`). Native builds are those that ours can be held against; of stabilization it
//! has only the build inside SCONE.

use super::Workload;
use crate::transactions::stores::By;

/// The paper's words on one workload and kind: for `plain`, `sealed`, and `sealed, fresh`.
pub struct Said {
    pub plain: &'static str,
    pub sealed: &'static str,
    pub fresh: &'static str,
}

/// What it says.
pub const fn said(by: By, workload: Workload) -> Said {
    match (by, workload) {
        (By::Pessimistic, Workload::Tpcc) => {
            Said { plain: "1.6x (SCONE)", sealed: "2x (SCONE)", fresh: "2.1x (SCONE)" }
        }
        (By::Pessimistic, Workload::Ycsb80) => Said {
            plain: "–",
            sealed: "1.3x, latency 1.6x; 2.7x, latency 4.6x (SCONE)",
            fresh: "3.5x (SCONE)",
        },
        (By::Pessimistic, Workload::Ycsb20) => Said {
            plain: "–",
            sealed: "1.2x, latency 1.5x; 2.8x, latency 4.7x (SCONE)",
            fresh: "3.2x (SCONE)",
        },
        (By::Optimistic, Workload::Tpcc) => {
            Said { plain: "–", sealed: "as with stabilization (SCONE)", fresh: "5x (SCONE)" }
        }
        (By::Optimistic, Workload::Ycsb80 | Workload::Ycsb20) => {
            Said { plain: "–", sealed: "as with stabilization (SCONE)", fresh: "4x (SCONE)" }
        }
    }
}
