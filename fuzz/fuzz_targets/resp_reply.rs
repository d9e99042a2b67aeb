//! Fuzzes the parser of RESP replies. The body is an ordinary function, so that a replay is a test.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringfort_protocol::fuzzing::reply(data));
