//! Fuzzes the decoder of a filter, as plaintext: what a seal that verified may say.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringfort_store::engine::lsm::fuzzing::filter(data));
