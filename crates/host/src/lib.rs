//! # host: the real outside world
//!
//! Files ([`disk`]), and the doors to clock, entropy, threads and the process ([`door`]). By
//! definition this is what the attacker owns: nothing here is trusted, everything it returns is a
//! claim. It is the only crate with system calls of its own; the rest of Ringfort sees the traits
//! of [`ringfort_base::world`], so that a test, the simulator or an attacker can stand in.
//!
//! `unsafe` stands in four files: `cpu_random` asks the processor for random bits, `tail` appends to
//! logs through memory, `page_advice` advises the system about memory, `turns` about threads.
#![deny(unsafe_code)]

mod cpu_random;
mod direct;
pub mod disk;
pub mod door;
pub mod memory;
mod page_advice;
mod tail;
mod turns;
