#![no_main]
//! Bodies of frames: an error at worst; and what is read comes back when it is written.

use libfuzzer_sys::fuzz_target;
use wayside_actors::frame::{ToCloud, ToDevice};
use wayside_cloud_bridge::wire::Frame;

fuzz_target!(|body: &[u8]| {
    check::<ToCloud>(body);
    check::<ToDevice>(body);
});

fn check<F: Frame + PartialEq + std::fmt::Debug>(body: &[u8]) {
    let Ok(frame) = F::decode(body.to_vec().into()) else { return };
    let written = frame.encode().expect("what was read is not too large");
    let again = F::decode(written.slice(4..)).expect("what was written can be read");
    assert_eq!(again, frame);
}
