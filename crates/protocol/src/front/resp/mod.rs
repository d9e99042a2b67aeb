//! # RESP: what Redis clients speak
//!
//! ```text
//!   socket ──► Buffer ──► Parser ──► Request ──► command::resolve ──► options::* ──► (node)
//!                                                     │ ReplyError        │ ReplyError   │
//!   socket ◄── Vec<u8> ◄── ReplyWriter ◄──────────────┴───────────────────┴──────────────┘
//! ```
//!
//! A connection owns one [`Buffer`] and one [`Parser`]; it reads into the first and asks the
//! second for requests until there is none. Replies are appended to a byte vector by a
//! [`ReplyWriter`] that knows which version the client asked for. [`client`] holds the other
//! half, for tests, tools and clients.
//!
//! Left out: MULTI and its kin, scripts, publish/subscribe, lists, sets and sorted sets.

pub mod buffer;
pub mod client;
pub mod command;
pub mod error;
pub mod glob;
mod inline;
pub mod number;
pub mod options;
pub mod parser;
pub mod reply;
pub mod request;

pub use buffer::Buffer;
pub use client::{Decoder, Value};
pub use command::{Command, CommandId};
pub use error::ReplyError;
pub use parser::{Limits, Parser, ProtocolError};
pub use reply::{ReplyWriter, Version};
pub use request::Request;
