//! Hands libFuzzer's bytes to the frames of the uplink.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wayside_cloud_bridge::wire::hostile::read(bytes));
