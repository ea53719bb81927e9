//! Hands libFuzzer's bytes to the conditions of routes.
#![no_main]

#[path = "../../tests/hostile/condition.rs"]
mod condition;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| condition::read(bytes));
