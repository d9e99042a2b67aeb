//! Fuzzes an anchored edit of the MANIFEST, as if whoever holds the keys had written it: open, read, write, compact.
#![no_main]

#[path = "../../crates/store/tests/attacks/anatomy.rs"]
mod anatomy;
#[path = "../../crates/store/tests/common/mod.rs"]
mod common;
#[path = "../../crates/store/tests/hostile/logs.rs"]
#[allow(dead_code, reason = "each target uses its part")]
mod logs;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    logs::manifest(data);
});
