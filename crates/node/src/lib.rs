//! # node: runs the store for clients
//!
//! ```text
//!   stream ─► server::connection ─► commands ─► model ─► Store
//!                   │  ▲ held until      │ lock, read, batch, apply
//!                   ▼  │ the level       ▼
//!                 one write per turn   jobs: sync, anchor, maintain, reap
//! ```
//!
//! Connections, sessions, commands, background jobs, the admin endpoint: all over streams, disks and
//! clocks that are handed in. This crate names no socket and no file, so a simulator can hand it
//! others; listeners, runtimes and threads are built by the binary.
#![forbid(unsafe_code)]

pub mod admin;
pub mod budget;
pub mod clients;
mod commands;
pub mod config;
pub mod cursors;
pub mod door;
pub mod jobs;
pub mod metrics;
pub mod model;
pub mod reaper;
pub mod server;
pub mod session;
pub mod slowlog;
pub mod stats;
mod txn;

pub use clients::Peer;
pub use commands::{HELD_BYTES_MAX, REPLY_BYTES_MAX};
pub use config::ServerConfig;
pub use server::Server;
