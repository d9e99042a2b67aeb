//! Fuzzes a whole store: arbitrary changes to its files, then open and read everything.
#![no_main]

#[path = "../../crates/store/tests/hostile/body.rs"]
mod body;
#[path = "../../crates/store/tests/common/mod.rs"]
mod common;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    body::hostile(data);
});
