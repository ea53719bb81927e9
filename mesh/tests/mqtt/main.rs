//! The MQTT listener with real clients over loopback.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![allow(missing_docs, unreachable_pub, reason = "nobody but these tests sees it")]

mod device;
mod exactly_once;
mod leaves;
mod raw;
mod with_rumqttc;

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use device::{Device, PASSWORD, until};
use proptest::prelude::*;
use raw::Raw;
use wayside_actors::device::io::Mqtt;
use wayside_mesh::mqtt::{MqttEvent, Settings};

fn last_ticket(device: &Device) -> Option<u64> {
    device.desk.events.lock().unwrap().iter().rev().find_map(|event| match event {
        MqttEvent::Published { ticket, .. } => Some(*ticket),
        MqttEvent::Released { .. }
        | MqttEvent::SessionCleared { .. }
        | MqttEvent::Session { .. }
        | MqttEvent::Flights { .. }
        | MqttEvent::Subscribed { .. }
        | MqttEvent::Disconnected { .. }
        | MqttEvent::Online { .. }
        | MqttEvent::Offline { .. }
        | MqttEvent::Acked { .. }
        | MqttEvent::Answered { .. }
        | MqttEvent::TwinWanted { .. }
        | MqttEvent::Reported { .. }
        | MqttEvent::Lock { .. }
        | MqttEvent::Undelivered { .. } => None,
    })
}

#[test]
fn no_acknowledgement_before_the_device_accepts() {
    let device = Device::start();
    let mut raw = Raw::connected(device.address, 4);
    device.desk.is_silent.store(true, Ordering::Relaxed);
    raw.send(&raw::publish(9, b"x"));
    until("the publish", || last_ticket(&device).is_some());
    assert!(raw.is_silent());
    device.perform(Mqtt::Accept { tickets: vec![last_ticket(&device).unwrap()] });
    assert_eq!(raw.packet().unwrap(), [0x40, 2, 0, 9]);
}

#[test]
fn a_wrong_password_is_refused_late() {
    let device = Device::start();
    for (level, code) in [(4, 4), (5, 0x86)] {
        let begun = Instant::now();
        let mut raw = Raw::open(device.address);
        raw.send(&raw::connect(level, "wrong"));
        assert_eq!(raw.packet().unwrap()[3], code);
        assert_eq!(raw.packet(), None);
        assert!(begun.elapsed() >= Duration::from_millis(200));
    }
}

#[test]
fn a_module_that_is_not_wanted_is_refused_and_disconnected() {
    let device = Device::start();
    let mut raw = Raw::connected(device.address, 5);
    device.perform(Mqtt::Clients(Vec::new()));
    let disconnect = raw.packet().unwrap();
    assert_eq!((disconnect[0], disconnect[2]), (0xe0, 0x98));
    let mut raw = Raw::open(device.address);
    raw.send(&raw::connect(4, PASSWORD));
    assert_eq!(raw.packet().unwrap(), [0x20, 2, 0, 4]);
}

#[test]
fn a_second_connection_takes_over() {
    let device = Device::start();
    let mut first = Raw::connected(device.address, 5);
    let mut second = Raw::connected(device.address, 4);
    let disconnect = first.packet().unwrap();
    assert_eq!((disconnect[0], disconnect[2]), (0xe0, 0x8e));
    assert_eq!(first.packet(), None);
    second.send(&raw::publish(1, b"still here"));
    assert_eq!(second.packet().unwrap(), [0x40, 2, 0, 1]);
}

#[test]
fn packets_above_the_limit_end_the_connection_before_they_are_read() {
    let device = Device::start();
    // The length says 2 MiB; not a byte of it is sent.
    let header = [0x30, 0x80, 0x80, 0x80, 0x01];
    let mut raw = Raw::connected(device.address, 5);
    raw.send(&header);
    let disconnect = raw.packet().unwrap();
    assert_eq!((disconnect[0], disconnect[2]), (0xe0, 0x95));
    let mut raw = Raw::connected(device.address, 4);
    raw.send(&header);
    assert_eq!(raw.packet(), None);
    // A stranger may send even less.
    let mut raw = Raw::open(device.address);
    raw.send(&[0x10, 0x80, 0x80, 0x08]);
    assert_eq!(raw.packet(), None);
}

#[test]
fn other_protocols_are_told_or_left() {
    let device = Device::start();
    for (bytes, answer) in [
        (&b"\x10\x13\0\x06MQIsdp\x03\x02\0\x3c\0\x05hello"[..], Some(vec![0x20, 2, 0, 1])),
        (b"\x10\x11\0\x04MQTT\x06\x02\0\x3c\0\x05hello", Some(vec![0x20, 2, 0, 1])),
        (b"GET / HTTP/1.1\r\n\r\n", None),
        (b"\xc0\0", None),
    ] {
        let mut raw = Raw::open(device.address);
        raw.send(bytes);
        assert_eq!(raw.packet(), answer, "{bytes:x?}");
    }
}

#[test]
fn silence_ends_a_connection() {
    let settings = Settings { connect_timeout: Duration::from_millis(200), ..Settings::default() };
    let device = Device::start_at(([127, 0, 0, 1], 0).into(), Arc::default(), settings);
    assert_eq!(Raw::open(device.address).packet(), None);
    let mut connect = raw::connect(5, PASSWORD);
    connect[11] = 1;
    let mut raw = Raw::open(device.address);
    let begun = Instant::now();
    raw.send(&connect);
    assert_eq!(raw.packet().unwrap()[0], 0x20);
    let disconnect = raw.packet().unwrap();
    assert_eq!((disconnect[0], disconnect[2]), (0xe0, 0x8d));
    assert!(begun.elapsed() >= Duration::from_millis(1500));
}

#[test]
fn a_client_that_had_nothing_to_read_for_long_still_reads() {
    let settings = Settings { write_timeout: Duration::from_millis(100), ..Settings::default() };
    let device = Device::start_at(([127, 0, 0, 1], 0).into(), Arc::default(), settings);
    let mut raw = Raw::connected(device.address, 4);
    // Whether it is let go would be left to chance each time.
    for round in 0..10 {
        std::thread::sleep(Duration::from_millis(250));
        raw.send(b"\xc0\0");
        assert_eq!(raw.packet(), Some(vec![0xd0, 0]), "{round}");
    }
}

#[test]
fn closing_answers_what_was_sent_and_says_goodbye() {
    let mut device = Device::start();
    let mut raw = Raw::connected(device.address, 5);
    device.desk.is_silent.store(true, Ordering::Relaxed);
    raw.send(&[0x32, 7, 0, 1, b't', 0, 3, 0, b'x']);
    until("the publish", || last_ticket(&device).is_some());
    let listener = device.listener.take().unwrap();
    let closer = listener.clone();
    let closing = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(closer.close());
    });
    assert!(raw.is_silent());
    listener.perform(Mqtt::Accept { tickets: vec![last_ticket(&device).unwrap()] });
    assert_eq!(raw.packet().unwrap(), [0x40, 2, 0, 3]);
    let disconnect = raw.packet().unwrap();
    assert_eq!((disconnect[0], disconnect[2]), (0xe0, 0x8b));
    assert_eq!(raw.packet(), None);
    closing.join().unwrap();
    assert!(std::net::TcpStream::connect(device.address).is_err());
}

#[test]
fn a_full_event_channel_stops_reading_and_loses_nothing() {
    let settings = Settings { events: 1, ..Settings::default() };
    let device = Device::start_at(([127, 0, 0, 1], 0).into(), Arc::default(), settings);
    let mut raw = Raw::connected(device.address, 4);
    let packets: Vec<u8> = (1..=200).flat_map(|id| raw::publish(id, &[b'a' + id % 26])).collect();
    raw.send(&packets);
    for id in 1..=200 {
        assert_eq!(raw.packet().unwrap(), [0x40, 2, 0, id]);
    }
    assert_eq!(device.desk.disk.lock().unwrap().stored.len(), 200);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_closes_the_connection_and_nothing_else(
        is_connected in any::<bool>(),
        level in 4u8..=5,
        kind in any::<u8>(),
        body in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        thread_local! { static DEVICE: Device = Device::start(); }
        let address = DEVICE.with(|device| device.address);
        let mut raw = if is_connected { Raw::connected(address, level) } else { Raw::open(address) };
        let mut packet = vec![kind, u8::try_from(body.len()).unwrap()];
        packet.extend(body);
        raw.send(&packet);
        raw.0.shutdown(std::net::Shutdown::Write).unwrap();
        while raw.packet().is_some() {}
        // Whoever comes next is served.
        drop(Raw::connected(address, 4));
    }
}
