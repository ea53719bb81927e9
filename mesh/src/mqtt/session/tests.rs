mod bounds;
mod lasting;
mod live;
mod own;
mod retained;
mod version5;

use bytes::Bytes;
use wayside_actors::{
    message::MAX_PAYLOAD_BYTES,
    queue::{Endpoint, Queue},
};

use super::*;
use crate::mqtt::{
    packet::{Publish, WhenRetained, Will, Wish},
    window::SILENT_MAXIMUM,
};

const NO_BYTES: &[u8] = &[];

/// A session with one connection at a time, and a device that answers when it is told to.
struct Bench {
    session: Session,
    link: u64,
}

impl Bench {
    fn new(mark: Option<Vec<u8>>) -> Self {
        let mut session =
            Session::new(module(), Tickets::new(), Marks { session: mark, flights: None }, Arc::default(), 0);
        session.grant(["+/sensor/t".to_owned(), "0/#".to_owned()].into());
        Self { session, link: 0 }
    }

    /// Connects and does not answer yet.
    fn connect(&mut self, connect: Connect) -> Vec<MqttEvent> {
        self.link += 1;
        self.session.connect(self.link, connect, "assigned".to_owned(), 0);
        self.events()
    }

    /// Connects, and the device keeps the session.
    fn connected(connect: Connect) -> Self {
        let mut bench = Self::new(None);
        let events = bench.connect(connect);
        bench.accept_all(&events);
        bench.bytes();
        bench
    }

    fn subscribed(connect: Connect) -> Self {
        let mut bench = Self::connected(connect);
        let events = bench.receive(subscribe(1, &[("dev/#", 1)]));
        bench.accept_all(&events);
        bench.events();
        bench.bytes();
        bench
    }

    fn receive(&mut self, packet: Incoming) -> Vec<MqttEvent> {
        self.session.receive(self.link, packet);
        self.events()
    }

    fn events(&mut self) -> Vec<MqttEvent> {
        std::iter::from_fn(|| self.session.next_event()).collect()
    }

    fn poll(&mut self) -> (Vec<u8>, Polled) {
        let mut out = BytesMut::new();
        let polled = self.session.poll(self.link, &mut out);
        (out.to_vec(), polled)
    }

    fn bytes(&mut self) -> Vec<u8> {
        self.poll().0
    }

    fn accept_all(&mut self, events: &[MqttEvent]) {
        tickets(events).into_iter().for_each(|ticket| self.session.accept(&[ticket]));
    }

    fn deliver(&mut self, first_seq: u64, payloads: &[&'static str]) {
        let messages = payloads.iter().map(|text| Parcel {
            topic: "dev/sensor/t".into(),
            payload: Bytes::from(*text),
            ..Parcel::default()
        });
        self.session.deliver(queue(), first_seq, messages.collect());
    }
}

fn module() -> ModuleId {
    "plant/detector".parse().unwrap()
}

fn queue() -> Queue {
    Queue::new("plant/data", Endpoint::Module(module()))
}

fn v4(clean: bool) -> Connect {
    Connect {
        version: Version::V4,
        client_id: "c".to_owned(),
        clean,
        keep_alive_s: 10,
        user_name: None,
        password: None,
        will: None,
        expiry_s: if clean { 0 } else { u32::MAX },
        receive_maximum: u16::MAX,
        max_packet: u32::MAX,
        topic_aliases: 0,
        reasons: false,
        authentication: false,
    }
}

fn v5(clean: bool, expiry_s: u32) -> Connect {
    Connect { version: Version::V5, clean, expiry_s, reasons: true, ..v4(clean) }
}

fn publish(qos: u8, packet_id: u16) -> Incoming {
    Incoming::Publish(Publish {
        topic: "t".to_owned(),
        payload: Bytes::from_static(b"x"),
        qos,
        retain: false,
        packet_id: (qos > 0).then_some(packet_id),
        alias: None,
        properties: Some(Default::default()),
    })
}

fn altered(packet: Incoming, alter: impl FnOnce(&mut Publish)) -> Incoming {
    let Incoming::Publish(mut publish) = packet else { panic!("not a publish: {packet:?}") };
    alter(&mut publish);
    Incoming::Publish(publish)
}

fn subscribe(packet_id: u16, filters: &[(&str, u8)]) -> Incoming {
    let wish = |(filter, qos): &(&str, u8)| Wish {
        filter: (*filter).to_owned(),
        qos: *qos,
        no_local: false,
        as_published: false,
        retained: WhenRetained::Never,
    };
    Incoming::Subscribe { packet_id, identifier: None, filters: filters.iter().map(wish).collect() }
}

fn tickets(events: &[MqttEvent]) -> Vec<u64> {
    events
        .iter()
        .filter_map(|event| match event {
            MqttEvent::Published { ticket, .. }
            | MqttEvent::Released { ticket, .. }
            | MqttEvent::Session { ticket, .. }
            | MqttEvent::Flights { ticket, .. }
            | MqttEvent::Reported { ticket, .. }
            | MqttEvent::Lock { ticket, .. } => Some(*ticket),
            MqttEvent::SessionCleared { .. }
            | MqttEvent::Subscribed { .. }
            | MqttEvent::Disconnected { .. }
            | MqttEvent::Online { .. }
            | MqttEvent::Offline { .. }
            | MqttEvent::Acked { .. }
            | MqttEvent::Answered { .. }
            | MqttEvent::TwinWanted { .. }
            | MqttEvent::Undelivered { .. } => None,
        })
        .collect()
}

#[test]
fn nothing_is_acknowledged_before_it_is_accepted_and_then_in_order() {
    let mut bench = Bench::connected(v4(true));
    let first = tickets(&bench.receive(publish(1, 10)))[0];
    let second = tickets(&bench.receive(publish(1, 11)))[0];
    assert_eq!(bench.bytes(), NO_BYTES);
    bench.session.accept(&[second]);
    assert_eq!(bench.bytes(), NO_BYTES);
    bench.session.accept(&[first]);
    assert_eq!(bench.bytes(), [0x40, 2, 0, 10, 0x40, 2, 0, 11]);
}

#[test]
fn a_topic_that_is_not_its_own_is_denied_and_nothing_ends() {
    let mut bench = Bench::connected(v5(true, 0));
    let tickets_of = |events: Vec<MqttEvent>| tickets(&events)[0];
    let first = tickets_of(bench.receive(publish(1, 9)));
    let second = tickets_of(bench.receive(publish(2, 10)));
    let silent = tickets_of(bench.receive(publish(0, 0)));
    [first, second, silent].into_iter().for_each(|ticket| bench.session.deny(ticket));
    let bytes = bench.bytes();
    assert_eq!((bytes[0], &bytes[2..5]), (0x40, &[0, 9, 0x87][..]));
    let second = &bytes[usize::from(bytes[1]) + 2..];
    assert_eq!((second[0], &second[2..5]), (0x50, &[0, 10, 0x87][..]));
    bench.receive(subscribe(1, &[("dev/other/t", 1), ("$share/g/dev/other/t", 1), ("#", 1)]));
    assert_eq!(bench.bytes(), [0x90, 6, 0, 1, 0, 0x87, 0x87, 1]);
    let counted = bench.session.counts.now();
    assert_eq!((counted.denied_publishes, counted.denied_subscriptions), (3, 2));

    let mut bench = Bench::connected(v4(true));
    let first = tickets_of(bench.receive(publish(1, 9)));
    let second = tickets_of(bench.receive(publish(2, 10)));
    [first, second].into_iter().for_each(|ticket| bench.session.deny(ticket));
    assert_eq!(bench.bytes(), [0x40, 2, 0, 9, 0x50, 2, 0, 10]);
}

#[test]
fn exactly_once_goes_through_the_device_twice() {
    let mut bench = Bench::connected(v4(true));
    let events = bench.receive(publish(2, 7));
    assert!(matches!(events[..], [MqttEvent::Published { packet_id: Some(7), qos: 2, .. }]));
    bench.accept_all(&events);
    assert_eq!(bench.bytes(), [0x50, 2, 0, 7]);
    let events = bench.receive(Incoming::Pubrel { packet_id: 7 });
    assert!(matches!(events[..], [MqttEvent::Released { packet_id: 7, .. }]));
    assert_eq!(bench.bytes(), NO_BYTES);
    bench.accept_all(&events);
    assert_eq!(bench.bytes(), [0x70, 2, 0, 7]);
}

#[test]
fn at_most_once_is_not_answered_but_counted() {
    let mut bench = Bench::connected(v4(true));
    let mut asked = Vec::new();
    while matches!(bench.poll().1, Polled::Open { read: true }) {
        asked.extend(bench.receive(publish(0, 0)));
    }
    assert_eq!(asked.len(), SILENT_MAXIMUM);
    bench.accept_all(&asked);
    assert_eq!(bench.poll(), (Vec::new(), Polled::Open { read: true }));
}

#[test]
fn acknowledgements_of_the_module_are_told_as_one() {
    let mut bench = Bench::subscribed(v4(true));
    bench.deliver(1, &["a", "b", "c"]);
    bench.bytes();
    assert_eq!(bench.receive(Incoming::Puback { packet_id: 2, refused: false }), []);
    assert_eq!(bench.receive(Incoming::Puback { packet_id: 1, refused: false }), []);
    assert_eq!(bench.receive(Incoming::Puback { packet_id: 3, refused: false }), []);
    bench.bytes();
    assert_eq!(bench.events(), [MqttEvent::Acked { queue: queue(), upto: 3 }]);
}

#[test]
fn a_message_at_qos_2_goes_on_as_the_store_and_the_client_have_it() {
    let mut bench = Bench::connected(v5(false, u32::MAX));
    let events = bench.receive(subscribe(1, &[("dev/#", 2)]));
    bench.accept_all(&events);
    assert_eq!(bench.bytes(), [0x90, 4, 0, 1, 0, 2]);
    bench.deliver(1, &["a"]);
    assert_eq!(bench.bytes(), NO_BYTES, "its identifier is not kept yet");
    let events = bench.events();
    assert!(matches!(events[..], [MqttEvent::Flights { .. }]), "{events:?}");
    bench.accept_all(&events);
    assert_eq!(bench.bytes()[0], 0x34);
    assert_eq!(bench.receive(Incoming::Pubrec { packet_id: 1, refused: false }), []);
    assert_eq!(bench.bytes(), NO_BYTES, "nor that the client has it");
    let events = bench.events();
    bench.accept_all(&events);
    assert_eq!(bench.bytes(), [0x62, 2, 0, 1]);
    assert_eq!(bench.events(), [MqttEvent::Acked { queue: queue(), upto: 1 }]);
    bench.receive(Incoming::Pubcomp { packet_id: 1 });
    bench.bytes();
    assert!(matches!(bench.events()[..], [MqttEvent::Flights { .. }]));
    bench.receive(Incoming::Pubrec { packet_id: 9, refused: false });
    assert_eq!(bench.bytes(), [0x62, 3, 0, 9, 0x92]);
}

#[test]
fn messages_wait_for_a_subscription_and_for_the_client_s_window() {
    let mut bench = Bench::connected(Connect { receive_maximum: 1, ..v5(true, 0) });
    bench.deliver(1, &["a", "b"]);
    assert_eq!(bench.bytes(), NO_BYTES);
    let events = bench.receive(subscribe(1, &[("+/sensor/#", 1)]));
    assert_eq!(events, [MqttEvent::Online { module: module() }]);
    let bytes = bench.bytes();
    assert_eq!(bytes.iter().filter(|byte| **byte == 0x32).count(), 1, "{bytes:x?}");
    bench.receive(Incoming::Puback { packet_id: 1, refused: false });
    assert_eq!(bench.bytes()[0], 0x32);
}

#[test]
fn a_message_above_the_client_s_limit_counts_as_sent() {
    let mut bench = Bench::subscribed(Connect { max_packet: 40, ..v5(true, 0) });
    bench.deliver(1, &["this is more than forty bytes with its topic and its header", "b"]);
    let bytes = bench.bytes();
    assert!(bytes.ends_with(b"b") && bytes.len() < 40, "{bytes:x?}");
    assert_eq!(bench.events(), [MqttEvent::Acked { queue: queue(), upto: 1 }]);
    assert_eq!(bench.session.counts.now().discarded, 1);
}

#[test]
fn a_second_connection_takes_over() {
    let will = Will {
        topic: "gone".to_owned(),
        payload: Bytes::new(),
        qos: 1,
        retain: false,
        properties: Some(Default::default()),
        delay_s: 0,
    };
    let mut bench = Bench::subscribed(Connect { will: Some(will), ..v4(false) });
    bench.deliver(1, &["a"]);
    bench.bytes();
    let open = tickets(&bench.receive(publish(1, 5)))[0];
    let events = bench.connect(v4(false));
    let told = |event: &MqttEvent| match event {
        MqttEvent::Published { topic, .. } => topic.to_string(),
        MqttEvent::Disconnected { .. } => "disconnected".to_owned(),
        MqttEvent::Offline { .. } => "offline".to_owned(),
        MqttEvent::Online { .. } => "online".to_owned(),
        MqttEvent::Released { .. }
        | MqttEvent::SessionCleared { .. }
        | MqttEvent::Session { .. }
        | MqttEvent::Flights { .. }
        | MqttEvent::Subscribed { .. }
        | MqttEvent::Acked { .. }
        | MqttEvent::Answered { .. }
        | MqttEvent::TwinWanted { .. }
        | MqttEvent::Reported { .. }
        | MqttEvent::Lock { .. }
        | MqttEvent::Undelivered { .. } => format!("{event:?}"),
    };
    assert_eq!(events.iter().map(told).collect::<Vec<_>>(), ["disconnected", "gone", "offline", "online"]);
    assert_eq!(bench.session.poll(1, &mut BytesMut::new()), Polled::TakenOver);
    // The unacknowledged message comes again as a duplicate under its identifier, after the CONNACK.
    let bytes = bench.bytes();
    assert_eq!((&bytes[..4], bytes[4]), (&[0x20, 2, 1, 0][..], 0x3a));
    // The answer to the first connection's publish is nobody's any more.
    bench.session.accept(&[open]);
    assert_eq!(bench.bytes(), NO_BYTES);
    bench.session.lost(1, 0);
    assert_eq!(bench.events(), []);
}

#[test]
fn a_normal_end_publishes_no_will() {
    let will = Will {
        topic: "w".to_owned(),
        payload: Bytes::new(),
        qos: 0,
        retain: false,
        properties: Some(Default::default()),
        delay_s: 0,
    };
    let mut bench = Bench::connected(Connect { will: Some(will), ..v5(true, 0) });
    bench.receive(Incoming::Disconnect { publish_will: false, expiry_s: None });
    assert_eq!(bench.poll().1, Polled::Closing(End::Disconnected));
    bench.session.lost(1, 0);
    assert_eq!(bench.events(), [MqttEvent::Disconnected { module: module() }]);
}

#[test]
fn what_is_not_supported_is_said() {
    let cases = [
        (altered(publish(1, 1), |publish| publish.alias = Some(17)), Fault::TopicAlias),
        (altered(publish(0, 0), |publish| publish.properties = None), Fault::Properties),
        (altered(publish(1, 1), |publish| publish.topic = "a/#".into()), Fault::Topic("a/#".into())),
        (altered(publish(1, 1), |publish| publish.topic = "$SYS/x".into()), Fault::Topic("$SYS/x".into())),
        (
            altered(publish(1, 1), |publish| publish.payload = vec![0; MAX_PAYLOAD_BYTES + 1].into()),
            Fault::TooLarge,
        ),
    ];
    for (packet, fault) in cases {
        let mut bench = Bench::connected(v5(true, 0));
        assert_eq!(bench.receive(packet), []);
        let (bytes, polled) = bench.poll();
        assert_eq!((bytes[0], bytes[2]), (0xe0, fault.code() as u8));
        assert_eq!(polled, Polled::Closing(End::Fault(fault)));
    }
}

#[test]
fn a_refused_publish_has_a_reason_or_ends_the_connection() {
    let mut bench = Bench::connected(v5(true, 0));
    let ticket = tickets(&bench.receive(publish(1, 9)))[0];
    bench.session.refuse(ticket, "no".to_owned());
    assert_eq!(bench.bytes(), [0x40, 9, 0, 9, 0x83, 5, 0x1f, 0, 2, b'n', b'o']);
    assert_eq!(bench.receive(altered(publish(2, 9), |publish| publish.properties = None)), []);
    assert_eq!(bench.bytes()[..5], [0x50, bench_reason_length(), 0, 9, 0x83]);

    let mut bench = Bench::connected(v4(true));
    let ticket = tickets(&bench.receive(publish(1, 9)))[0];
    bench.session.refuse(ticket, "no".to_owned());
    assert_eq!(bench.poll(), (Vec::new(), Polled::Closing(End::Fault(Fault::Refused("no".to_owned())))));
}

/// The remaining length of the PUBREC that refuses properties.
fn bench_reason_length() -> u8 {
    u8::try_from(2 + 1 + 1 + 3 + super::packets::NOT_CARRIED.len()).unwrap()
}
