//! Hands libFuzzer's bytes to whoever reads a stream of the uplink.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wayside_cloud_bridge::wire::hostile::stream(bytes));
