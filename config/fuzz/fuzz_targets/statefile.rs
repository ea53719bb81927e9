//! Hands libFuzzer's bytes to the parser.
#![no_main]

#[path = "../../tests/hostile/statefile.rs"]
mod statefile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| statefile::read(bytes));
