//! Hands libFuzzer's bytes to the parser.
#![no_main]

#[path = "../../tests/hostile/envelope.rs"]
mod envelope;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| envelope::read(bytes));
