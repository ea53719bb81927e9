//! The sender's half of MQTT QoS 2: each message leaves once and in order, over any number of connections.
//!
//! rumqttc 0.25's own event loop is no help here: after a broken connection it sends again in the order of
//! packet identifiers, not of messages, and forgets everything when the broker has no session.

use std::collections::VecDeque;

use rumqttc::{Packet, PubRel, Publish, QoS};

/// Messages between "wanted" and "the broker has it, and both sides know". Bounded by [`Outbox::has_room`].
#[derive(Debug, Default)]
pub struct Outbox {
    in_flight: VecDeque<InFlight>,
    last_id: u16,
}

/// The most messages sent and not settled. Packet identifiers run from 1 to twice that.
const WINDOW: u16 = 64;

#[derive(Debug)]
struct InFlight {
    publish: Publish,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// PUBLISH is out, or will be with the next connection.
    Sent,
    /// PUBREC came: the broker owns the message. PUBREL is out.
    Released,
}

impl Outbox {
    /// Whether one more message may be taken.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.in_flight.len() < usize::from(WINDOW)
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Takes a message; the packet is to be sent now if there is a connection.
    pub fn take(&mut self, topic: &str, payload: String) -> Packet {
        let mut publish = Publish::new(topic, QoS::ExactlyOnce, payload);
        publish.pkid = self.free_id();
        self.in_flight.push_back(InFlight { publish: publish.clone(), stage: Stage::Sent });
        Packet::Publish(publish)
    }

    /// What a new connection begins with, in order. Without a session the broker knows no identifiers any
    /// more: what it acknowledged is settled, the rest is new to it.
    pub fn resume(&mut self, session_present: bool) -> Vec<Packet> {
        if !session_present {
            self.in_flight.retain(|message| message.stage == Stage::Sent);
        }
        self.in_flight
            .iter_mut()
            .map(|message| match message.stage {
                Stage::Released => Packet::PubRel(PubRel::new(message.publish.pkid)),
                Stage::Sent => {
                    message.publish.dup = session_present;
                    Packet::Publish(message.publish.clone())
                }
            })
            .collect()
    }

    /// PUBREC: the broker owns the message. Answers with PUBREL, also for an identifier that is not known,
    /// for the broker waits for it.
    pub fn received(&mut self, id: u16) -> Packet {
        for message in &mut self.in_flight {
            if message.publish.pkid == id {
                message.stage = Stage::Released;
            }
        }
        Packet::PubRel(PubRel::new(id))
    }

    /// PUBCOMP: settled; the identifier is free.
    pub fn completed(&mut self, id: u16) {
        self.in_flight.retain(|message| message.publish.pkid != id || message.stage == Stage::Sent);
    }

    fn free_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id % (2 * WINDOW) + 1;
            if self.in_flight.iter().all(|message| message.publish.pkid != self.last_id) {
                return self.last_id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(packets: &[Packet]) -> Vec<(&'static str, u16)> {
        let id = |packet: &Packet| match packet {
            Packet::Publish(publish) => Some(("publish", publish.pkid)),
            Packet::PubRel(release) => Some(("release", release.pkid)),
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::PubAck(_)
            | Packet::PubRec(_)
            | Packet::PubComp(_)
            | Packet::Subscribe(_)
            | Packet::SubAck(_)
            | Packet::Unsubscribe(_)
            | Packet::UnsubAck(_)
            | Packet::PingReq
            | Packet::PingResp
            | Packet::Disconnect => None,
        };
        packets.iter().filter_map(id).collect()
    }

    #[test]
    fn a_resumed_session_releases_first_and_repeats_in_order() {
        let mut outbox = Outbox::default();
        for n in 0..4 {
            outbox.take("t", n.to_string());
        }
        outbox.received(1);
        outbox.completed(1);
        outbox.received(2);
        assert_eq!(ids(&outbox.resume(true)), [("release", 2), ("publish", 3), ("publish", 4)]);
    }

    #[test]
    fn order_survives_wrapping_identifiers() {
        let mut outbox = Outbox::default();
        let mut taken = VecDeque::new();
        for n in 0..1000 {
            if !outbox.has_room() {
                let id = taken.pop_front().unwrap();
                outbox.received(id);
                outbox.completed(id);
            }
            outbox.take("t", n.to_string());
            taken.push_back(outbox.in_flight.back().unwrap().publish.pkid);
        }
        let payloads: Vec<u32> = outbox
            .in_flight
            .iter()
            .map(|message| String::from_utf8(message.publish.payload.to_vec()).unwrap().parse().unwrap())
            .collect();
        assert_eq!(payloads, (1000 - u32::from(WINDOW)..1000).collect::<Vec<_>>());
    }

    #[test]
    fn without_a_session_nothing_acknowledged_is_sent_again() {
        let mut outbox = Outbox::default();
        outbox.take("t", "a".into());
        outbox.take("t", "b".into());
        outbox.received(1);
        let packets = outbox.resume(false);
        assert_eq!(ids(&packets), [("publish", 2)]);
        assert!(matches!(&packets[0], Packet::Publish(publish) if !publish.dup));
    }

    #[test]
    fn a_late_completion_does_not_settle_what_was_not_received() {
        let mut outbox = Outbox::default();
        outbox.take("t", "a".into());
        outbox.completed(1);
        assert!(!outbox.is_empty());
    }
}
