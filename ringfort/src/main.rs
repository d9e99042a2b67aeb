//! # The binary: `ringfort serve`, `demo` and the operator's commands
//!
//! | module | holds |
//! |---|---|
//! | [`cli`] | commands, settings (flag, file, environment), what is said on failure, exit codes |
//! | [`serve`] | the server: opening, listening, runtimes, signals |
//! | [`demo`] | the demonstration: load, kill, verify, attack |
//!
//! Exit codes: 0 all is well; 2 the command line or a setting is wrong; 3 the store was refused on
//! evidence (altered, rolled back, alive elsewhere); 130 a second signal ended it at once; 1
//! everything else.
#![forbid(unsafe_code)]

mod cli;
mod demo;
mod serve;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
