//! # protocol: state machines that never touch the world
//!
//! Everything here is sans-io: bytes and times come in as arguments, bytes and effects go out as
//! values. No clock, socket, file, thread or lock. What arrives was sent by a stranger: every
//! parser is bounded by limits that its caller sets, allocates by what has arrived and never by
//! what was announced, and answers nonsense with a typed error.
//!
//! - [`front::resp`]: the Redis protocol, versions 2 and 3: requests, replies, the command table,
//!   options, patterns, and the words of errors.
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::indexing_slicing))]

pub mod front;
#[doc(hidden)]
pub mod fuzzing;
