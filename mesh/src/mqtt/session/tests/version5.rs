//! What MQTT 5 adds: aliases, identifiers, wills that wait, and what goes with a message.

use super::*;
use crate::mqtt::packet::Connect;

fn will(delay_s: u32) -> Will {
    Will {
        topic: "gone".to_owned(),
        payload: Bytes::new(),
        qos: 1,
        retain: false,
        properties: Some([("unit".to_owned(), "C".to_owned())].into()),
        delay_s,
    }
}

fn has_will(events: &[MqttEvent]) -> bool {
    events.iter().any(|event| {
        matches!(event, MqttEvent::Published { topic, properties, .. } if topic == "gone" && properties.len() == 1)
    })
}

/// A client that left a will which waits for so many seconds, in a session of so many.
fn left(delay_s: u32, expiry_s: u32) -> (Bench, Vec<MqttEvent>) {
    let mut bench = Bench::connected(Connect { will: Some(will(delay_s)), ..v5(true, expiry_s) });
    bench.session.lost(bench.link, 0);
    let events = bench.events();
    (bench, events)
}

#[test]
fn a_will_waits_for_its_client_but_not_longer_than_the_session() {
    let (bench, events) = left(0, 60);
    assert!(has_will(&events) && bench.session.waiting_will().is_none());
    let (bench, events) = left(60, 0);
    assert!(has_will(&events) && bench.session.waiting_will().is_none());
    let (mut bench, events) = left(60, 30);
    assert!(!has_will(&events));
    let (number, delay) = bench.session.waiting_will().unwrap();
    assert_eq!(delay.as_secs(), 30);
    bench.session.will_is_due(number + 1);
    assert!(!has_will(&bench.events()), "that one is past");
    bench.session.will_is_due(number);
    assert!(has_will(&bench.events()));
    bench.session.will_is_due(number);
    assert_eq!(bench.events(), []);
}

#[test]
fn a_will_that_waits_is_not_published_when_its_client_is_back_in_its_session() {
    let (mut bench, _) = left(60, 60);
    assert!(!has_will(&bench.connect(v5(false, 60))));
    assert!(bench.session.waiting_will().is_none());
    let (mut bench, _) = left(60, 60);
    assert!(has_will(&bench.connect(v5(true, 60))), "its session has ended");
}

#[test]
fn aliases_stand_for_topics_in_both_directions() {
    let mut bench = Bench::connected(Connect { topic_aliases: 5, ..v5(true, 0) });
    let topic_of = |events: Vec<MqttEvent>| match &events[..] {
        [MqttEvent::Published { topic, .. }] => topic.clone(),
        _ => panic!("{events:?}"),
    };
    assert_eq!(topic_of(bench.receive(altered(publish(0, 0), |publish| publish.alias = Some(3)))), "t");
    let again = altered(publish(0, 0), |publish| (publish.topic, publish.alias) = (String::new(), Some(3)));
    assert_eq!(topic_of(bench.receive(again)), "t");
    let events = bench.receive(subscribe(1, &[("dev/#", 0)]));
    bench.accept_all(&events);
    bench.bytes();
    bench.deliver(1, &["a", "b"]);
    let expected = [&b"\x30\x13\0\x0cdev/sensor/t\x03\x23\0\x01a"[..], b"\x30\x07\0\0\x03\x23\0\x01b"];
    assert_eq!(bench.bytes(), expected.concat());
}

#[test]
fn identifiers_of_all_that_match_and_what_is_left_of_its_time_go_with_a_message() {
    let mut bench = Bench::connected(v5(true, 0));
    for (packet_id, filter, identifier) in [(1, "dev/#", 7), (2, "+/sensor/t", 300)] {
        let Incoming::Subscribe { filters, .. } = subscribe(packet_id, &[(filter, 0)]) else {
            unreachable!()
        };
        let events = bench.receive(Incoming::Subscribe { packet_id, identifier: Some(identifier), filters });
        bench.accept_all(&events);
    }
    bench.bytes();
    let parcel = Parcel { topic: "dev/sensor/t".into(), expiry_s: Some(9), ..Parcel::default() };
    bench.session.deliver(queue(), 1, vec![parcel]);
    // In the order of the filters.
    assert_eq!(bench.bytes(), b"\x30\x19\0\x0cdev/sensor/t\x0a\x02\0\0\0\x09\x0b\xac\x02\x0b\x07");
}

#[test]
fn a_shared_subscription_is_one_like_any_other() {
    let mut bench = Bench::connected(v5(true, 0));
    let events =
        bench.receive(subscribe(1, &[("$share/group/dev/#", 1), ("$share/group", 1), ("$share//a", 1)]));
    bench.accept_all(&events);
    assert_eq!(bench.bytes(), [0x90, 6, 0, 1, 0, 1, 0x87, 0x8f]);
    bench.deliver(1, &["a"]);
    assert_eq!(bench.bytes()[0], 0x32);
    let mut wish = subscribe(2, &[("$share/group/dev/#", 1)]);
    let Incoming::Subscribe { filters, .. } = &mut wish else { unreachable!() };
    filters[0].no_local = true;
    bench.receive(wish);
    assert!(matches!(bench.poll().1, Polled::Closing(End::Fault(Fault::Protocol(_)))));
}

#[test]
fn a_keep_alive_is_bounded_and_that_is_said() {
    let mut bench = Bench::new(None);
    let events = bench.connect(Connect { keep_alive_s: 0, ..v5(true, 0) });
    bench.accept_all(&events);
    let connack = bench.bytes();
    assert!(connack.windows(3).any(|bytes| bytes == [0x13, 0x0e, 0x10]), "{connack:x?}");
    assert_eq!(v4(true).server_keep_alive(), None, "3.1.1 cannot say so");
}
