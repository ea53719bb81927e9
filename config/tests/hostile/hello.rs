//! A packet of a lobby, of any bytes: nobody here has signed one.

use wayside_config::hello::{Packet, claimed_sender, open};

pub(crate) fn read(bytes: &[u8]) {
    let _ = claimed_sender(bytes);
    assert!(!matches!(open(bytes), Ok(Packet::Hello { .. })));
}
