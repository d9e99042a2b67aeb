//! Fuzzes the decoder of a block of a table, as plaintext: what a seal that verified may say.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringfort_store::engine::lsm::fuzzing::block(data));
