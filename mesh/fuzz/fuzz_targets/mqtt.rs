//! Hands libFuzzer's bytes to the MQTT listener, as a script of what a client does.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wayside_mesh::mqtt::hostile::play(bytes));
