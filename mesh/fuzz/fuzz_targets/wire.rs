//! Hands libFuzzer's bytes to what neighbours send each other.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wayside_mesh::wire::hostile::read(bytes));
