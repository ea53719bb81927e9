//! A client that sends any bytes in any pieces, and a device that answers at any time: what it takes must
//! stay within its bounds, and what it says must be packets. For the fuzz target and for tests.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use wayside_actors::{
    device::reconciler::{LOCK_MAX_MS, REASON_BYTES},
    message::MAX_PAYLOAD_BYTES,
    queue::{Endpoint, Queue},
};
use wayside_config::{limits::TWIN_BYTES, workload::ModuleId};

use super::{
    decode,
    event::MqttEvent,
    framing::Framing,
    outbox::Parcel,
    packet::{Connect, Version, Will},
    session::{Marks, Polled, Session},
    subscription,
    ticket::Tickets,
    window::{OUT_BYTES, RECEIVE_MAXIMUM, REQUEST_MAXIMUM, SILENT_MAXIMUM},
};

/// More than may ever wait for the device's answers: the connection of the moment, and what ended
/// connections left.
const MAX_OPEN: usize = RECEIVE_MAXIMUM as usize + SILENT_MAXIMUM + REQUEST_MAXIMUM + 8;

/// Plays what `script` says: a byte for what happens, then what that needs.
pub fn play(script: &[u8]) {
    let module = ModuleId::new("w", "m");
    let mut session = Session::new(module.clone(), Tickets::new(), Marks::default(), Arc::default(), 0);
    session.grant(["dev/#".to_owned()].into());
    let mut play = Play {
        module,
        session,
        link: None,
        links: 0,
        tickets: VecDeque::new(),
        last: 0,
        seq: 1,
        called: 0,
        calls: BTreeSet::new(),
    };
    let mut script = Script(script);
    while let Some(what) = script.byte() {
        match what % 9 {
            0..=2 => {
                let length = usize::from(script.byte().unwrap_or(0));
                play.read(script.take(length));
            }
            3 => play.answer(true),
            4 => play.answer(false),
            5 => play.deliver(script.byte().unwrap_or(0)),
            6 => play.open(script.byte().unwrap_or(0)),
            7 => play.lose(),
            _ => play.deny(),
        }
        play.look();
    }
}

struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

struct Play {
    module: ModuleId,
    session: Session,
    link: Option<Link>,
    links: u64,
    /// What the device has not answered, oldest first.
    tickets: VecDeque<u64>,
    last: u64,
    seq: u64,
    /// How often it was called, and what of it is not over.
    called: u64,
    calls: BTreeSet<u64>,
}

/// A connection from the client's side.
struct Link {
    id: u64,
    /// Known once it has connected.
    version: Option<Version>,
    framing: Framing,
    may_read: bool,
    /// Checks that what is written are packets.
    written: Framing,
}

impl Play {
    /// A new connection; one that is there is taken over. It begins with its CONNECT, or after one that was good.
    fn open(&mut self, how: u8) {
        self.links += 1;
        let id = self.links;
        let mut written = Framing::new();
        written.admit();
        let mut link = Link { id, version: None, framing: Framing::new(), may_read: true, written };
        if how & 1 == 0 {
            let version = if how & 2 == 0 { Version::V4 } else { Version::V5 };
            link.version = Some(version);
            link.framing.admit();
            self.session.connect(id, connect(version, how), "assigned".to_owned(), self.links);
        }
        self.link = Some(link);
    }

    fn read(&mut self, bytes: &[u8]) {
        let Some(link) = &mut self.link else { return };
        link.framing.buffer.extend_from_slice(bytes);
        // As the connection does it: one packet after another, while the session lets it.
        loop {
            self.look();
            let Some(link) = self.link.as_mut().filter(|link| link.may_read) else { return };
            match (link.framing.next(), link.version) {
                (Ok(None), _) => return,
                (Ok(Some(raw)), Some(version)) => match decode::packet(version, &raw) {
                    Ok(packet) => self.session.receive(link.id, packet),
                    Err(fault) => self.session.fail(link.id, fault),
                },
                (Ok(Some(raw)), None) => match decode::connect(&raw) {
                    Ok(connect) if Session::admit(&connect).is_ok() => {
                        link.version = Some(connect.version);
                        link.framing.admit();
                        self.session.connect(link.id, connect, "assigned".to_owned(), self.links);
                    }
                    Ok(_) | Err(_) => self.link = None,
                },
                (Err(fault), Some(_)) => self.session.fail(link.id, fault),
                (Err(_), None) => self.link = None,
            }
        }
    }

    /// The device answers what has waited longest.
    fn answer(&mut self, accept: bool) {
        let Some(ticket) = self.tickets.pop_front() else { return };
        if accept {
            self.session.accept(&[ticket]);
        } else {
            self.session.refuse(ticket, "no".to_owned());
        }
    }

    /// The device denies what has waited longest.
    fn deny(&mut self) {
        let Some(ticket) = self.tickets.pop_front() else { return };
        self.session.deny(ticket);
    }

    fn deliver(&mut self, count: u8) {
        if count >= 0x80 {
            self.called += 1;
            self.calls.insert(self.called);
            let body = Bytes::from(vec![count; usize::from(count) * 64]);
            return self.session.call(self.called, "m", body);
        }
        let queue = Queue::new("w/r", Endpoint::Module(self.module.clone()));
        let message = |n| Parcel {
            topic: format!("dev/m/{}", n % 3).into(),
            payload: Bytes::from(vec![n; usize::from(n) * 16]),
            ..Parcel::default()
        };
        let messages: Vec<_> = (0..count % 16).map(message).collect();
        let first = self.seq;
        self.seq += messages.len() as u64;
        self.session.deliver(queue, first, messages);
    }

    fn lose(&mut self) {
        if let Some(link) = self.link.take() {
            self.session.lost(link.id, self.links);
        }
        // Of the wills that wait each second one comes to its time.
        if let Some((number, _)) = self.session.waiting_will()
            && number % 2 == 0
        {
            self.session.will_is_due(number);
        }
    }

    /// Takes what the session says, and holds it to its bounds.
    fn look(&mut self) {
        if let Some(link) = self.link.as_mut().filter(|link| link.version.is_some()) {
            let mut out = BytesMut::new();
            let polled = self.session.poll(link.id, &mut out);
            assert!(out.len() < OUT_BYTES + 2 * MAX_PAYLOAD_BYTES, "{} bytes at once", out.len());
            link.written.buffer.extend_from_slice(&out);
            while link.written.next().expect("what is written are packets").is_some() {}
            assert!(link.written.buffer.is_empty(), "what is written are whole packets");
            match polled {
                Polled::Open { read } => link.may_read = read,
                Polled::Closing(_) | Polled::TakenOver => self.lose(),
            }
        }
        while let Some(event) = self.session.next_event() {
            self.told(event);
        }
        assert!(self.tickets.len() <= MAX_OPEN * 2, "{} tickets are open", self.tickets.len());
    }

    fn told(&mut self, event: MqttEvent) {
        match event {
            MqttEvent::Published { ticket, topic, payload, qos, packet_id, .. } => {
                assert!(subscription::is_publishable(&topic), "{topic}");
                assert!(payload.len() <= MAX_PAYLOAD_BYTES && qos <= 2 && (packet_id.is_none() || qos == 2));
                self.asked(ticket);
            }
            MqttEvent::Released { ticket, .. } => self.asked(ticket),
            MqttEvent::Session { ticket, kept, .. } => {
                assert!(kept.is_none_or(|kept| kept.len() <= super::settings::MAX_SESSION_BYTES));
                self.asked(ticket);
            }
            MqttEvent::Subscribed { .. } => {
                let parcel = |n: u8| Parcel { topic: format!("dev/m/{n}").into(), ..Parcel::default() };
                self.session.retained((0..3).map(parcel).collect());
            }
            MqttEvent::Flights { ticket, kept, .. } => {
                assert!(kept.len() <= super::settings::MAX_SESSION_BYTES);
                self.asked(ticket);
            }
            MqttEvent::Answered { call, .. } | MqttEvent::Undelivered { call, .. } => {
                assert!(self.calls.remove(&call), "a call is over once");
            }
            MqttEvent::Lock { ticket, for_ms, reason, .. } => {
                assert!(for_ms <= LOCK_MAX_MS && reason.len() <= REASON_BYTES, "{for_ms} {reason}");
                self.asked(ticket);
            }
            MqttEvent::Reported { ticket, patch, .. } => {
                assert!(patch.len() <= TWIN_BYTES);
                self.asked(ticket);
            }
            MqttEvent::TwinWanted { .. } => self.session.desired(Bytes::from_static(b"{}")),
            // What an ended connection asked is answered to nobody.
            MqttEvent::Disconnected { .. } => self.tickets.clear(),
            MqttEvent::Acked { upto, .. } => assert!(upto < self.seq, "only what was delivered"),
            MqttEvent::SessionCleared { .. } | MqttEvent::Online { .. } | MqttEvent::Offline { .. } => {}
        }
    }

    fn asked(&mut self, ticket: u64) {
        assert!(self.last == 0 || ticket > self.last, "tickets are new");
        self.last = ticket;
        self.tickets.push_back(ticket);
    }
}

fn connect(version: Version, how: u8) -> Connect {
    let clean = how & 4 == 0;
    Connect {
        version,
        client_id: "c".to_owned(),
        clean,
        keep_alive_s: 10,
        user_name: None,
        password: None,
        will: (how & 128 != 0).then(|| Will {
            topic: "gone".to_owned(),
            payload: Bytes::new(),
            qos: 1,
            retain: how & 16 != 0,
            properties: Some(Default::default()),
            delay_s: u32::from(how & 8),
        }),
        expiry_s: if clean { 0 } else { u32::MAX },
        receive_maximum: if how & 8 == 0 { u16::MAX } else { 1 },
        // MQTT 3.1.1 has none, and whoever reads its packets gives none.
        topic_aliases: if how & 64 == 0 || version == Version::V4 { 0 } else { u16::MAX },
        max_packet: if how & 16 == 0 { u32::MAX } else { 64 },
        reasons: version == Version::V5 && how & 32 == 0,
        authentication: false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::play;

    /// A script of whole packets: connect, subscribe, publish, answer, deliver.
    #[test]
    fn a_good_client_is_no_trouble() {
        let mut script = vec![6, 1];
        let mut send = |bytes: &[u8]| {
            script.extend([0, u8::try_from(bytes.len()).unwrap()]);
            script.extend(bytes);
            script.extend([3, 3]);
        };
        send(b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01c");
        send(b"\x82\x0a\0\x01\0\x05dev/#\x01");
        send(b"\x32\x06\0\x01t\0\x02x");
        send(b"\x34\x06\0\x01t\0\x03x");
        send(b"\x62\x02\0\x03");
        script.extend([5, 9, 0, 4, 0x40, 2, 0, 1, 0, 2, 0xe0, 0]);
        play(&script);
    }

    /// The same of MQTT 5, with what it adds: an identifier, QoS 2 to the client, a retained publish under an alias.
    #[test]
    fn a_good_client_of_mqtt_5_is_no_trouble() {
        let mut script = vec![6, 0b1100_0110];
        let mut send = |bytes: &[u8]| {
            script.extend([0, u8::try_from(bytes.len()).unwrap()]);
            script.extend(bytes);
            script.extend([3, 3]);
        };
        send(b"\x82\x0d\0\x01\x02\x0b\x07\0\x05dev/#\x02");
        send(b"\x31\x08\0\x01t\x03\x23\0\x01x");
        send(b"\x30\x07\0\0\x03\x23\0\x01x");
        script.extend([5, 4, 3, 3]);
        script.extend([0, 4, 0x50, 2, 0, 1, 3, 3, 0, 4, 0x70, 2, 0, 1, 3, 8, 7, 6, 0b1100_0110, 3, 3, 7]);
        play(&script);
    }

    /// A client of MQTT 5 that comes back with 3.1.1 to what is under way, which the fuzzer found.
    #[test]
    fn a_client_may_come_back_with_the_older_version() {
        let mut script = vec![6, 0b1100_0110];
        script.extend([0, 15, 0x82, 13, 0, 1, 2, 11, 7, 0, 5]);
        script.extend(b"dev/#\x02");
        script.extend([3, 3, 5, 4, 3, 3, 0, 4, 0x50, 2, 0, 1, 3, 3, 7, 6, 0b0111_0100, 3, 3, 5, 4, 3, 3, 7]);
        play(&script);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn any_script_stays_within_bounds(script in prop::collection::vec(any::<u8>(), 0..400)) {
            play(&script);
        }

        /// Packets that are nearly right, in small pieces.
        #[test]
        fn nearly_right_packets_stay_within_bounds(
            how in any::<u8>(),
            packets in prop::collection::vec(
                (
                    prop::sample::select(vec![
                        0x30u8, 0x31, 0x32, 0x34, 0x40, 0x50, 0x62, 0x70, 0x82, 0xa2, 0xc0, 0xe0,
                    ]),
                    prop::collection::vec(any::<u8>(), 0..12),
                    prop::collection::vec(3u8..6, 0..3),
                ),
                0..40,
            ),
        ) {
            let mut script = vec![6, how & !1];
            for (first, body, then) in packets {
                let length = u8::try_from(body.len()).unwrap();
                script.extend([0, 1, first, 1, 1, length, 2, length]);
                script.extend(body);
                script.extend(then);
            }
            play(&script);
        }
    }
}
