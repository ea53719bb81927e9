//! What outlives a connection, and a device.

use super::*;

fn kept(events: &[MqttEvent]) -> Option<Vec<u8>> {
    events.iter().rev().find_map(|event| match event {
        MqttEvent::Session { kept, .. } => kept.clone(),
        MqttEvent::Published { .. }
        | MqttEvent::Released { .. }
        | MqttEvent::SessionCleared { .. }
        | MqttEvent::Disconnected { .. }
        | MqttEvent::Online { .. }
        | MqttEvent::Offline { .. }
        | MqttEvent::Flights { .. }
        | MqttEvent::Subscribed { .. }
        | MqttEvent::Acked { .. }
        | MqttEvent::Answered { .. }
        | MqttEvent::TwinWanted { .. }
        | MqttEvent::Reported { .. }
        | MqttEvent::Lock { .. }
        | MqttEvent::Undelivered { .. } => None,
    })
}

#[test]
fn the_session_is_told_of_only_once_it_is_kept() {
    let mut bench = Bench::new(None);
    let events = bench.connect(v4(false));
    assert!(matches!(
        events[..],
        [MqttEvent::SessionCleared { .. }, MqttEvent::Session { kept: Some(_), .. }]
    ));
    assert_eq!(bench.bytes(), NO_BYTES);
    bench.accept_all(&events);
    assert_eq!(bench.bytes(), [0x20, 2, 0, 0]);
    let events = bench.receive(subscribe(4, &[("dev/#", 2), ("a/#/b", 0), ("$share/g/#/a", 0)]));
    assert!(matches!(events[..], [MqttEvent::Session { kept: Some(_), .. }, MqttEvent::Online { .. }]));
    assert_eq!(bench.bytes(), NO_BYTES);
    bench.accept_all(&events);
    assert_eq!(bench.bytes(), [0x90, 5, 0, 4, 2, 0x80, 0x80]);
}

#[test]
fn a_restarted_device_finds_the_session_and_its_subscriptions() {
    let mut before = Bench::connected(v4(false));
    let mark = kept(&before.receive(subscribe(1, &[("dev/#", 1)])));
    let mut after = Bench::new(mark.clone());
    let events = after.connect(v4(false));
    assert_eq!(events, [MqttEvent::Online { module: module() }]);
    assert_eq!(after.bytes(), [0x20, 2, 1, 0]);
    after.deliver(1, &["x"]);
    assert_eq!(after.bytes()[0], 0x32);
    // Another client identifier is another client: its packet identifiers mean something else.
    let mut other = Bench::new(mark);
    let events = other.connect(Connect { client_id: "other".to_owned(), ..v4(false) });
    other.accept_all(&events);
    assert!(events.contains(&MqttEvent::SessionCleared { module: module() }));
    assert_eq!(other.bytes(), [0x20, 2, 0, 0]);
}

#[test]
fn a_session_that_was_not_stored_is_stored_before_it_is_found() {
    let mut bench = Bench::new(None);
    bench.connect(v4(false));
    bench.session.lost(bench.link, 0);
    bench.events();
    let events = bench.connect(v4(false));
    assert!(matches!(events[..], [MqttEvent::Session { kept: Some(_), .. }]));
    assert_eq!(bench.bytes(), NO_BYTES);
    bench.accept_all(&events);
    assert_eq!(bench.bytes(), [0x20, 2, 1, 0]);
}

#[test]
fn a_session_that_cannot_be_stored_is_refused() {
    let mut bench = Bench::new(None);
    let ticket = tickets(&bench.connect(v4(false)))[0];
    bench.session.refuse(ticket, "disk full".to_owned());
    let (bytes, polled) = bench.poll();
    assert_eq!(bytes, [0x20, 2, 0, 3]);
    assert_eq!(polled, Polled::Closing(End::Refused(Refusal::Unavailable("disk full".to_owned()))));
}

#[test]
fn a_session_expires() {
    let mut bench = Bench::connected(v5(false, 10));
    bench.session.lost(1, 5_000);
    bench.session.connect(2, v5(false, 10), String::new(), 15_000);
    assert!(!bench.events().contains(&MqttEvent::SessionCleared { module: module() }));
    bench.session.lost(2, 20_000);
    bench.session.connect(3, v5(false, 10), String::new(), 30_001);
    assert!(bench.events().contains(&MqttEvent::SessionCleared { module: module() }));
}

#[test]
fn ending_the_session_with_the_connection_forgets_it() {
    let mut bench = Bench::subscribed(v5(false, 10));
    let events = bench.receive(Incoming::Disconnect { publish_will: false, expiry_s: Some(0) });
    assert!(matches!(events[..], [MqttEvent::Session { kept: None, .. }, MqttEvent::Offline { .. }]));
    bench.session.lost(1, 0);
    assert!(bench.connect(v5(false, 10)).contains(&MqttEvent::SessionCleared { module: module() }));
}

#[test]
fn subscriptions_end_where_the_store_s_room_does() {
    let mut bench = Bench::connected(v5(false, u32::MAX));
    let long = "x".repeat(1000);
    let filters: Vec<_> = (0..5).map(|n| format!("0/{n}{}", &long[1..])).collect();
    let filters: Vec<_> = filters.iter().map(|filter| (filter.as_str(), 1)).collect();
    let events = bench.receive(subscribe(1, &filters));
    assert!(kept(&events).unwrap().len() <= crate::mqtt::settings::MAX_SESSION_BYTES);
    bench.accept_all(&events);
    assert_eq!(bench.bytes(), [0x90, 8, 0, 1, 0, 1, 1, 1, 1, 0x97]);
}

#[test]
fn an_unwanted_module_is_told_and_its_session_is_stored_anew() {
    let mut bench = Bench::subscribed(v5(false, u32::MAX));
    bench.session.evict(Fault::Unwanted);
    let (bytes, polled) = bench.poll();
    assert_eq!((bytes[0], bytes[2]), (0xe0, 0x98));
    assert_eq!(polled, Polled::Closing(End::Fault(Fault::Unwanted)));
    bench.session.lost(1, 0);
    bench.events();
    let events = bench.connect(v5(false, u32::MAX));
    assert!(matches!(events[..], [MqttEvent::Session { kept: Some(_), .. }]), "{events:?}");
}

#[test]
fn what_was_acknowledged_last_is_told_when_the_connection_ends() {
    let mut bench = Bench::subscribed(v4(true));
    bench.deliver(1, &["a"]);
    bench.bytes();
    bench.receive(Incoming::Puback { packet_id: 1, refused: false });
    bench.session.lost(bench.link, 0);
    assert_eq!(bench.events().first(), Some(&MqttEvent::Acked { queue: queue(), upto: 1 }));
}
