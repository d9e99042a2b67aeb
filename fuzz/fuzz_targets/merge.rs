//! Fuzzes the merge operators that a store always knows, by name, and merging a part of the operands before the rest.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringfort_store::engine::lsm::fuzzing::merge(data));
