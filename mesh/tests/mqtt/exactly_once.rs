//! QoS 2 to a client, over a device that is killed.

use std::sync::atomic::Ordering;

use wayside_mesh::mqtt::Settings;

use super::{
    device::{Device, PASSWORD, until},
    raw::{self, Raw},
};

/// A PUBLISH at QoS 2 to `dev/sensor/t`.
fn offered(dup: bool, id: u8, text: u8) -> Vec<u8> {
    let first = if dup { 0x3c } else { 0x34 };
    [&[first, 17, 0, 12], &b"dev/sensor/t"[..], &[0, id, text]].concat()
}

#[test]
fn each_message_is_offered_under_one_identifier_over_a_kill() {
    let device = Device::start();
    let mut raw = Raw::open(device.address);
    raw.send(&raw::connect_lasting(4, PASSWORD));
    assert_eq!(raw.packet().unwrap(), [0x20, 2, 0, 0]);
    raw.send(b"\x82\x0a\0\x01\0\x05dev/#\x02");
    assert_eq!(raw.packet().unwrap(), [0x90, 3, 0, 1, 2]);
    device.deliver(1, &["a", "b", "c"]);
    for (id, text) in [(1, b'a'), (2, b'b'), (3, b'c')] {
        assert_eq!(raw.packet().unwrap(), offered(false, id, text));
    }
    raw.send(&[0x50, 2, 0, 1]);
    assert_eq!(raw.packet().unwrap(), [0x62, 2, 0, 1]);
    until("the queue goes on", || device.desk.acked.load(Ordering::Relaxed) == 1);
    // The receipt of the second is stored, and nobody hears of it.
    device.desk.is_silent.store(true, Ordering::Relaxed);
    let before = device.desk.disk.lock().unwrap().marks.clone();
    raw.send(&[0x50, 2, 0, 2]);
    until("the receipt on the disk", || device.desk.disk.lock().unwrap().marks != before);
    assert!(raw.is_silent());

    let (address, desk) = device.kill();
    desk.is_silent.store(false, Ordering::Relaxed);
    let device = Device::start_at(address, desk, Settings::default());
    let mut raw = Raw::open(device.address);
    raw.send(&raw::connect_lasting(4, PASSWORD));
    assert_eq!(raw.packet().unwrap(), [0x20, 2, 1, 0]);
    for id in [1, 2] {
        assert_eq!(raw.packet().unwrap(), [0x62, 2, 0, id]);
        raw.send(&[0x70, 2, 0, id]);
    }
    // The queue has trimmed nothing.
    device.deliver(1, &["a", "b", "c", "d"]);
    assert_eq!(raw.packet().unwrap(), offered(true, 3, b'c'));
    let fourth = raw.packet().unwrap();
    let fourth_id = fourth[17];
    assert_eq!(fourth, offered(false, fourth_id, b'd'));
    for id in [fourth_id, 3] {
        raw.send(&[0x50, 2, 0, id]);
        assert_eq!(raw.packet().unwrap(), [0x62, 2, 0, id]);
        raw.send(&[0x70, 2, 0, id]);
    }
    until("all are settled", || device.desk.acked.load(Ordering::Relaxed) == 4);
}
