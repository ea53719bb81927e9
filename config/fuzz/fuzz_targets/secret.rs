//! Hands libFuzzer's bytes to the parser.
#![no_main]

#[path = "../../tests/hostile/secret.rs"]
mod secret;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| secret::read(bytes));
