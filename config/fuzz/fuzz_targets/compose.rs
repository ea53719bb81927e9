//! Hands libFuzzer's bytes to the parser.
#![no_main]

#[path = "../../tests/hostile/compose.rs"]
mod compose;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| compose::read(bytes));
