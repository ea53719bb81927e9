//! What comes from the network, whatever it is: an error at worst.

use wayside_actors::frame::{ToCloud, ToDevice};

use super::{Frame, MAX_FRAME_BYTES, read_frame};

/// Bodies of frames: what is read comes back when it is written.
///
/// # Panics
/// When it does not.
pub fn read(body: &[u8]) {
    check::<ToCloud>(body);
    check::<ToDevice>(body);
}

fn check<F: Frame + PartialEq + std::fmt::Debug>(body: &[u8]) {
    let Ok(frame) = F::decode(body.to_vec().into()) else { return };
    let written = frame.encode().expect("what was read is not too large");
    let again = F::decode(written.slice(4..)).expect("what was written can be read");
    assert_eq!(again, frame);
}

/// A stream of frames, cut anywhere.
///
/// # Panics
/// When there is no runtime.
pub fn stream(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let mut stream = bytes;
        while let Ok(Some(_)) = read_frame::<ToCloud>(&mut stream, MAX_FRAME_BYTES).await {}
    });
}
