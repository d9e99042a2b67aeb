//! Fuzzes the decoders of a value pointer, a value file's index and footer, and the MANIFEST's record of it, as plaintext: what a seal that verified may say.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringfort_store::engine::lsm::fuzzing::value_file(data));
