//! Hands libFuzzer's bytes to the parser.
#![no_main]

#[path = "../../tests/hostile/join.rs"]
mod join;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| join::read(bytes));
