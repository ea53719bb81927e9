//! Hands libFuzzer's bytes to the parser.
#![no_main]

#[path = "../../tests/hostile/cosign.rs"]
mod cosign;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cosign::read(bytes));
