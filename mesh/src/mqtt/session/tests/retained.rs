//! What was retained, and who gets it.

use super::*;

fn wish(packet_id: u16, filter: &str, retained: WhenRetained) -> Incoming {
    let mut subscribe = subscribe(packet_id, &[(filter, 1)]);
    let Incoming::Subscribe { filters, .. } = &mut subscribe else { unreachable!() };
    filters[0].retained = retained;
    subscribe
}

/// Whether the subscription asks for what is retained.
fn asks(bench: &mut Bench, subscribe: Incoming) -> bool {
    let events = bench.receive(subscribe);
    bench.accept_all(&events);
    bench.bytes();
    events.contains(&MqttEvent::Subscribed { module: module() })
}

fn parcel(topic: &str) -> Parcel {
    Parcel { topic: topic.into(), payload: Bytes::from_static(b"x"), is_retained: true, ..Parcel::default() }
}

#[test]
fn a_new_subscription_gets_what_is_retained_as_it_asks() {
    let mut bench = Bench::connected(v5(false, 60));
    assert!(asks(&mut bench, wish(1, "dev/#", WhenRetained::IfNew)));
    bench.session.retained(vec![parcel("dev/sensor/t"), parcel("0/sensor/t")]);
    // With the retain flag, and only what it matches.
    assert_eq!(bench.bytes(), b"\x33\x12\0\x0cdev/sensor/t\0\x01\0x");
    assert!(!asks(&mut bench, wish(2, "dev/#", WhenRetained::IfNew)));
    assert!(!asks(&mut bench, wish(3, "dev/+/t", WhenRetained::Never)));
    assert!(!asks(&mut bench, wish(4, "$share/g/dev/#", WhenRetained::Always)));
    assert!(asks(&mut bench, wish(5, "dev/#", WhenRetained::Always)));
    // It is in flight like any other: a connection that breaks gets it again.
    bench.session.lost(bench.link, 0);
    bench.session.retained(Vec::new());
    bench.connect(v5(false, 60));
    let bytes = bench.bytes();
    assert!(bytes.ends_with(b"\x3b\x12\0\x0cdev/sensor/t\0\x01\0x"), "{bytes:x?}");
    let events = bench.receive(Incoming::Puback { packet_id: 1, refused: false });
    assert_eq!(events, [], "no queue goes on by it");
}

#[test]
fn the_retain_flag_of_what_comes_now_is_as_the_subscription_asks() {
    let mut bench = Bench::subscribed(v5(true, 0));
    bench.session.deliver(queue(), 1, vec![parcel("dev/sensor/t")]);
    assert_eq!(bench.bytes()[0], 0x32);
    let mut as_published = subscribe(2, &[("dev/sensor/#", 1)]);
    let Incoming::Subscribe { filters, .. } = &mut as_published else { unreachable!() };
    filters[0].as_published = true;
    let events = bench.receive(as_published);
    bench.accept_all(&events);
    bench.bytes();
    bench.session.deliver(queue(), 2, vec![parcel("dev/sensor/t")]);
    assert_eq!(bench.bytes()[0], 0x33);
}

#[test]
fn what_is_to_be_retained_says_so_on_its_way() {
    let mut bench = Bench::connected(v4(true));
    let events = bench.receive(altered(publish(1, 1), |publish| publish.retain = true));
    let [MqttEvent::Published { properties, .. }] = &events[..] else { panic!("{events:?}") };
    assert!(properties.contains_key(wayside_actors::message::property::RETAIN));
}

#[test]
fn what_is_retained_is_asked_for_once_however_often_a_client_subscribes() {
    let mut bench = Bench::connected(v5(false, 60));
    assert!(asks(&mut bench, wish(1, "dev/#", WhenRetained::Always)));
    assert!(!asks(&mut bench, wish(2, "dev/#", WhenRetained::Always)));
    assert!(!asks(&mut bench, wish(3, "0/#", WhenRetained::Always)));
    // The one answer is for all of them.
    bench.session.retained(vec![parcel("0/sensor/t"), parcel("dev/sensor/t")]);
    assert_eq!(bench.bytes().iter().filter(|byte| **byte == 0x33).count(), 2);
    assert!(asks(&mut bench, wish(4, "dev/#", WhenRetained::Always)));
    // Whoever was to answer may have begun anew.
    bench.session.lost(bench.link, 0);
    let events = bench.connect(v5(true, 60));
    bench.accept_all(&events);
    assert!(asks(&mut bench, wish(5, "dev/#", WhenRetained::Always)));
}

#[test]
fn what_waits_for_a_client_that_does_not_acknowledge_is_no_more_than_is_retained_now() {
    let mut bench = Bench::connected(Connect { receive_maximum: 1, ..v5(true, 0) });
    for round in 0..50 {
        assert!(asks(&mut bench, wish(1, "dev/#", WhenRetained::Always)));
        let topics = ["a", "b"].map(|name| format!("dev/sensor/{name}{round}"));
        bench.session.retained(topics.iter().map(|topic| parcel(topic)).collect());
        bench.bytes();
    }
    let mut sent = Vec::new();
    for packet_id in 1..10 {
        bench.receive(Incoming::Puback { packet_id, refused: false });
        sent.extend(bench.bytes());
    }
    let sent = String::from_utf8_lossy(&sent);
    assert!(sent.contains("dev/sensor/a49") && sent.contains("dev/sensor/b49"), "{sent}");
    assert_eq!(sent.matches("dev/sensor/").count(), 2, "{sent}");
}

#[test]
fn large_ones_are_in_flight_up_to_a_bound_in_bytes() {
    let mut bench = Bench::connected(v5(true, 0));
    assert!(asks(&mut bench, wish(1, "dev/#", WhenRetained::Always)));
    let large = |number: u16| Parcel {
        payload: vec![0; 60_000].into(),
        ..parcel(&format!("dev/sensor/{number:03}"))
    };
    bench.session.retained((0..100).map(large).collect());
    let mut sent = 0;
    while let bytes @ 1.. = bench.bytes().len() {
        sent += bytes;
    }
    assert!((1 << 20..1_200_000).contains(&sent), "{sent} bytes");
    bench.receive(Incoming::Puback { packet_id: 1, refused: false });
    assert!((60_000..70_000).contains(&bench.bytes().len()));
}
