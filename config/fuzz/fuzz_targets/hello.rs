//! Hands libFuzzer's bytes to the parser.
#![no_main]

#[path = "../../tests/hostile/hello.rs"]
mod hello;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hello::read(bytes));
