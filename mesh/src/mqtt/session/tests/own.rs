//! What the device and a module say to each other below `$wayside/`.

use mqtt_protocol_core::mqtt::result_code::SubackReasonCode;
use wayside_actors::device::calls::Undelivered;

use super::*;

fn calling(connect: Connect, filter: &str) -> Bench {
    let mut bench = Bench::connected(connect);
    let events = bench.receive(subscribe(1, &[(filter, 1)]));
    bench.accept_all(&events);
    bench.events();
    bench.bytes();
    bench
}

fn answer(topic: &str) -> Incoming {
    altered(publish(1, 7), |answer| answer.topic = topic.to_owned())
}

fn not_delivered(call: u64, why: Undelivered) -> Vec<MqttEvent> {
    vec![MqttEvent::Undelivered { call, why }]
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn a_call_goes_out_at_qos_0_and_its_answer_is_acknowledged_at_once() {
    let mut bench = calling(v4(true), "$wayside/call/+/+");
    bench.session.call(0xab, "measure", "now".into());
    let sent = bench.bytes();
    assert_eq!(sent[0], 0x30);
    assert!(contains(&sent, "$wayside/call/measure/abnow"));
    let events = bench.receive(answer("$wayside/answer/ab"));
    let [MqttEvent::Answered { call: 0xab, answer: Ok(_), .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(bench.bytes(), [0x40, 2, 0, 7]);
    // A second one is nobody's, and taken all the same.
    assert_eq!(bench.receive(answer("$wayside/answer/ab")), []);
    assert_eq!(bench.bytes(), [0x40, 2, 0, 7]);
    bench.session.call(0xac, "measure", Bytes::new());
    bench.bytes();
    let events = bench.receive(answer("$wayside/answer/ac/error"));
    assert!(matches!(&events[..], [MqttEvent::Answered { call: 0xac, answer: Err(_), .. }]));
}

#[test]
fn mqtt_5_gets_where_to_answer_as_properties() {
    let mut bench = calling(v5(true, 0), "$wayside/call/+");
    bench.session.call(0xab, "measure", "now".into());
    let sent = bench.bytes();
    assert!(contains(&sent, "$wayside/call/measure") && !contains(&sent, "measure/ab"));
    assert!(contains(&sent, "$wayside/answer/ab"));
    // With the short form not subscribed to, the long one does.
    let mut bench = calling(v5(true, 0), "$wayside/call/measure/+");
    bench.session.call(0xab, "measure", "now".into());
    assert!(contains(&bench.bytes(), "measure/ab"));
    bench.session.call(1, "other", "now".into());
    assert_eq!(bench.events(), not_delivered(1, Undelivered::NotSubscribed));
    // Correlation data would not travel with a message, and does no harm here.
    let data = altered(publish(0, 0), |answer| {
        answer.topic = "$wayside/answer/ab".to_owned();
        answer.properties = None;
    });
    assert!(matches!(&bench.receive(data)[..], [MqttEvent::Answered { .. }]));
}

#[test]
fn a_call_for_nobody_is_given_back_at_once() {
    let mut bench = Bench::new(None);
    bench.session.call(1, "m", Bytes::new());
    assert_eq!(bench.events(), not_delivered(1, Undelivered::NotConnected));
    // Who subscribes to everything does not subscribe to this.
    let mut bench = calling(v5(true, 0), "#");
    bench.session.call(1, "m", Bytes::new());
    assert_eq!(bench.events(), not_delivered(1, Undelivered::NotSubscribed));
    let mut bench = calling(Connect { max_packet: 64, ..v5(true, 0) }, "$wayside/call/#");
    bench.session.call(1, "m", vec![0; 64].into());
    assert_eq!(bench.bytes(), [0; 0]);
    assert_eq!(bench.events(), not_delivered(1, Undelivered::TooLarge));
    let mut bench = calling(v4(true), "$wayside/call/#");
    for call in 0..8 {
        bench.session.call(call, "m", vec![0; 128 << 10].into());
    }
    assert_eq!(bench.events(), []);
    bench.session.call(8, "m", vec![0; 1].into());
    assert_eq!(bench.events(), not_delivered(8, Undelivered::Full));
    bench.session.withdraw(0);
    bench.session.call(9, "m", vec![0; 1].into());
    assert_eq!(bench.events(), []);
}

#[test]
fn the_end_of_the_connection_ends_its_calls() {
    let mut bench = calling(v4(false), "$wayside/call/#");
    bench.session.call(1, "m", Bytes::new());
    bench.bytes();
    bench.session.call(2, "m", Bytes::new());
    bench.session.withdraw(2);
    bench.session.lost(bench.link, 0);
    assert_eq!(bench.events()[..1], not_delivered(1, Undelivered::Ended));
    // Neither is handed over to the next one.
    let events = bench.connect(v4(false));
    bench.accept_all(&events);
    assert!(!contains(&bench.bytes(), "$wayside"));
}

#[test]
fn only_what_something_is_sent_to_can_be_subscribed_to() {
    let code = |connect: Connect, filter: &str| {
        let mut bench = Bench::connected(connect);
        let events = bench.receive(subscribe(1, &[(filter, 2)]));
        bench.accept_all(&events);
        *bench.bytes().last().unwrap()
    };
    for (filter, in_v4, in_v5) in [
        ("$wayside/call/+", false, true),
        ("$wayside/call/measure", false, true),
        ("$wayside/call/+/+", true, true),
        ("$wayside/call/measure/+", true, true),
        ("$wayside/call/#", true, true),
        ("$wayside/#", true, true),
        ("$wayside/twin/desired", true, true),
        ("$wayside/twin/+", true, true),
        ("$wayside/twin/reported", false, false),
        ("$wayside/call", false, false),
        ("$wayside/answer/+", false, false),
        ("$wayside/call/a b/+", false, false),
        ("$SYS/#", false, false),
    ] {
        assert_eq!(code(v4(true), filter), if in_v4 { 0 } else { 0x80 }, "{filter}");
        let refused = SubackReasonCode::NotAuthorized as u8;
        assert_eq!(code(v5(true, 0), filter), if in_v5 { 0 } else { refused }, "{filter}");
    }
}

#[test]
fn nothing_else_is_published_below_it() {
    for topic in
        ["$wayside/x", "$wayside/answer/xyz", "$wayside/answer/1/2", "$wayside/call/m", "$wayside/answer"]
    {
        let mut bench = calling(v4(true), "$wayside/#");
        assert_eq!(bench.receive(answer(topic)), [], "{topic}");
        assert!(matches!(bench.poll().1, Polled::Closing(End::Fault(Fault::Topic(_)))), "{topic}");
    }
}

#[test]
fn only_the_newest_of_what_is_desired_is_told_and_only_to_who_wants_it() {
    let mut bench = Bench::connected(v4(false));
    bench.session.desired("1".into());
    assert_eq!(bench.bytes(), NO_BYTES);
    let events = bench.receive(subscribe(1, &[("$wayside/twin/desired", 1)]));
    assert!(events.contains(&MqttEvent::TwinWanted { module: module() }), "{events:?}");
    bench.accept_all(&events);
    bench.bytes();
    bench.session.desired("1".into());
    bench.session.desired("2".into());
    let sent = bench.bytes();
    assert!(contains(&sent, "$wayside/twin/desired2") && !contains(&sent, "desired1"));
    // The same client is back: it is told again, once it is let in.
    bench.session.lost(bench.link, 0);
    bench.events();
    let events = bench.connect(v4(false));
    assert!(events.contains(&MqttEvent::TwinWanted { module: module() }), "{events:?}");
    bench.session.desired("3".into());
    bench.accept_all(&events);
    assert!(contains(&bench.bytes(), "$wayside/twin/desired3"));
}

#[test]
fn what_is_reported_is_acknowledged_when_it_is_stored_and_refused_when_it_is_too_large() {
    let mut bench = Bench::connected(v5(true, 0));
    let report = |bytes: usize| {
        altered(publish(1, 7), |report| {
            report.topic = "$wayside/twin/reported".to_owned();
            report.payload = vec![b'x'; bytes].into();
        })
    };
    let events = bench.receive(report(10));
    assert!(matches!(&events[..], [MqttEvent::Reported { .. }]), "{events:?}");
    assert_eq!(bench.bytes(), NO_BYTES);
    bench.accept_all(&events);
    assert_eq!(bench.bytes(), [0x40, 2, 0, 7]);
    assert_eq!(bench.receive(report(wayside_config::limits::TWIN_BYTES + 1)), []);
    assert_eq!(bench.bytes()[4], 0x83);
}

#[test]
fn a_lock_is_a_duration_with_a_reason_and_nothing_lets_go() {
    let lock = |payload: &'static str| {
        altered(publish(1, 7), |lock| {
            lock.topic = "$wayside/lock".to_owned();
            lock.payload = Bytes::from_static(payload.as_bytes());
        })
    };
    let mut bench = Bench::connected(v4(true));
    for (payload, expected) in
        [("10m filling a tank", (600_000, "filling a tank")), ("24h", (86_400_000, "")), ("", (0, ""))]
    {
        let events = bench.receive(lock(payload));
        let [MqttEvent::Lock { ticket, for_ms, reason, .. }] = &events[..] else { panic!("{events:?}") };
        assert_eq!((*for_ms, reason.as_str()), expected);
        // It holds when that is acknowledged, and not before.
        assert_eq!(bench.bytes(), [0; 0]);
        bench.session.accept(&[*ticket]);
        assert_eq!(bench.bytes(), [0x40, 2, 0, 7]);
    }
}

#[test]
fn what_is_no_lock_is_refused() {
    for payload in ["25h", "soon", "0s", "10m  \u{7f}", " 10m"] {
        let is_read = super::super::own::read_lock(payload.as_bytes()).is_some();
        assert_eq!(is_read, payload.starts_with("10m"), "{payload}");
    }
    assert!(super::super::own::read_lock(&[0xff]).is_none());
    assert!(super::super::own::read_lock(format!("1h {}", "x".repeat(257)).as_bytes()).is_none());
}
