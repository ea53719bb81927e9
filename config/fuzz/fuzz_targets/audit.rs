//! Hands libFuzzer's bytes to the parser.
#![no_main]

#[path = "../../tests/hostile/audit.rs"]
mod audit;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| audit::read(bytes));
