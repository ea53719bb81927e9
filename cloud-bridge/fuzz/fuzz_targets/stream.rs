#![no_main]
//! A stream of frames as it comes from the network, cut anywhere.

use libfuzzer_sys::fuzz_target;
use wayside_actors::frame::ToCloud;
use wayside_cloud_bridge::wire::{MAX_FRAME_BYTES, read_frame};

fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let mut stream = bytes;
        while let Ok(Some(_)) = read_frame::<ToCloud>(&mut stream, MAX_FRAME_BYTES).await {}
    });
});
