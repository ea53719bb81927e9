//! Hands libFuzzer's bytes to the patches of twins.
#![no_main]

#[path = "../../tests/hostile/patch.rs"]
mod patch;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| patch::read(bytes));
