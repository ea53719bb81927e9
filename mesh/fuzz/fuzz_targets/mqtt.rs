//! A client of the MQTT listener that sends anything in any pieces: see `wayside_mesh::mqtt::hostile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| wayside_mesh::mqtt::hostile::play(script));
