//! Hands libFuzzer's bytes to the parser.
#![no_main]

#[path = "../../tests/hostile/settings.rs"]
mod settings;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| settings::read(bytes));
